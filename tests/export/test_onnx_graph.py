"""The ONNX graph gives the logit and its parts, in another runtime, for every model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from deepfm_core.export.formats import FORMATS, content
from deepfm_core.export.model_card import Facts
from deepfm_core.export.scoring import OPSET, OUTPUTS, onnx_bytes
from deepfm_core.models.batch import Batch
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.runs.predictor import Trained
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.presets import settings
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.reader import read_table
from tests.conftest import ROOT
from tests.export.runs import rows, table
from tests.export.test_scoring import CASES

pytestmark = pytest.mark.slow

SAMPLE = ROOT / "sample_data" / "clicks.csv"


@pytest.mark.parametrize(("model", "chosen"), CASES[:-2])
def test_the_graph_gives_the_logit_and_its_parts(run_of, tmp_path, model, chosen) -> None:
    folder = run_of(model, **chosen)
    trained = Trained.load(folder)
    session = onnxruntime.InferenceSession(onnx_bytes(Facts.of(folder)))
    for count in (1, 300):  # other numbers of rows than it was traced with
        data = table(rows(count, seed=5), tmp_path / "fresh.csv")
        outputs = session.run(list(OUTPUTS), inputs(session, trained, data))
        expected = trained.explain(data)
        for name, values in zip(OUTPUTS, outputs, strict=True):
            np.testing.assert_allclose(values, expected[name], atol=1e-5)


@pytest.mark.parametrize("form", ["score", "code", "onnx"])
def test_every_form_of_a_guided_model_with_cells_can_be_written(guided, form) -> None:
    assert len(Trained.load(guided).model.cell_keys)
    assert content(guided, form)


def test_the_graph_of_a_guided_model_adds_its_cells(guided) -> None:
    trained = Trained.load(guided)
    data = replace(read_table(SAMPLE), frame=read_table(SAMPLE).frame.iloc[:500])
    session = onnxruntime.InferenceSession(onnx_bytes(Facts.of(guided)))
    outputs = session.run(list(OUTPUTS), inputs(session, trained, data))
    expected = trained.explain(data)
    for name, values in zip(OUTPUTS, outputs, strict=True):
        np.testing.assert_allclose(values, expected[name], atol=1e-5)


@pytest.fixture(scope="module", params=["the sample's run", "few rows"])
def guided(request, tmp_path_factory) -> RunFolder:
    """Give a run whose guide has cells; of few rows, those of its pair are few, too."""
    if request.param == "the sample's run":
        return RunFolder(SAMPLE.parent / "run")
    folder = tmp_path_factory.mktemp("guided")
    data = read_table(SAMPLE)
    frame = data.frame.iloc[:1500]
    (folder / "few.csv").write_text(frame.to_csv(index=False), encoding="utf-8")
    few = read_table(folder / "few.csv")
    schema = infer_schema(few, "clicked")
    model, fit = settings("quick", "deepfm", 1200, {"epochs": 1})
    spec = RunSpec("a" * 64, few.name, schema, model=model, fit=fit, explained=False, folds=0)
    for _ in execute(Job(spec, str(folder / "run")), Context(lambda _: few)):
        pass
    return RunFolder(folder / "run")


def inputs(session, trained, data) -> dict[str, np.ndarray]:
    batch = Batch.from_table(trained.encoder.encode(data.frame, subject="rows"))
    x = torch.ones(batch.ids.shape) if batch.weights is None else batch.weights
    crosses = batch.ids if batch.crosses is None else batch.crosses
    parts = {"ids": batch.ids.long(), "x": x, "dense": batch.dense, "crosses": crosses.long()}
    return {given.name: parts[given.name].numpy() for given in session.get_inputs()}


def test_the_graph_says_what_it_is_of(run_of) -> None:
    graph = onnx.load_from_string(onnx_bytes(Facts.of(run_of("wide-deep"), "my run")))
    onnx.checker.check_model(graph)
    said = {entry.key: entry.value for entry in graph.metadata_props}
    assert [(used.domain, used.version) for used in graph.opset_import] == [("", OPSET)]
    assert (said["run"], said["label"], said["positive"]) == ("my run", "clicked", "yes")
    assert json.loads(said["crosses"]) == ["device × price", "seen hour × zip"]
    assert json.loads(said["slots"]).count("interests") == 4
    assert [part.name for part in graph.graph.input] == ["ids", "x", "dense", "crosses"]


def test_without_the_packages_it_is_said_what_to_install(run_of, monkeypatch) -> None:
    monkeypatch.setattr("deepfm_core.export.formats.find_spec", lambda name: None)
    assert FORMATS["onnx"].missing == "Install onnx and onnxscript first: `pip install onnx onnxscript`."
    with pytest.raises(ValueError, match="cannot be written here"):
        content(run_of("lr"), "onnx")
