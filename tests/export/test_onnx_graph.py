"""The ONNX graph gives the logit and its parts, in another runtime, for every model."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from deepfm_core.export.formats import FORMATS, content
from deepfm_core.export.model_card import Facts
from deepfm_core.export.scoring import OPSET, OUTPUTS, onnx_bytes
from deepfm_core.models.batch import Batch
from deepfm_core.runs.predictor import Trained
from tests.export.runs import rows, table
from tests.export.test_scoring import CASES

pytestmark = pytest.mark.slow


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
