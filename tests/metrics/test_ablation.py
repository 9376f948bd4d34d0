"""The component ladder: partial sums of a logit, rung by rung."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfm_core.metrics.bootstrap import DEEP, FIRST, SECOND, ladder
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.reader import read_table
from tests.conftest import ROOT, clicks

pytestmark = pytest.mark.slow


def sums_of(model: str, tmp_path, **settings: object) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    clicks(800).to_csv(tmp_path / "clicks.csv", index=False)
    table = read_table(tmp_path / "clicks.csv")
    fit = FitSpec(epochs=2, batch_size=128)
    spec = RunSpec("small", table.name, infer_schema(table, "clicked"), model=ModelSpec(model, layers=(8,)), fit=fit)
    folder = RunFolder(tmp_path / "run")
    list(execute(Job(RunSpec(**{**vars(spec), "folds": 0, **settings}), str(folder.path)), Context(lambda _: table)))
    predictions = folder.frame("predictions")
    assert predictions is not None
    return folder.frame("partial_sums"), predictions


@pytest.mark.parametrize("model", ["deepfm", "fm-dnn", "fm", "wide-deep"])
def test_the_last_partial_sum_is_the_logit_that_was_judged(model: str, tmp_path) -> None:
    sums, predictions = sums_of(model, tmp_path)
    assert sums is not None
    test = predictions[predictions["part"] == "test"].reset_index(drop=True)
    np.testing.assert_array_equal(sums["row"], test["row"])
    np.testing.assert_allclose(sums["logit"], test["logit"], atol=1e-5)
    assert sums["fm"].isna().all() == (model == "wide-deep")
    if model == "fm":
        np.testing.assert_allclose(sums["fm"], sums["logit"], atol=1e-5)


@pytest.mark.parametrize("model", ["lr", "dnn"])
def test_a_logit_of_one_part_has_no_ladder(model: str, tmp_path) -> None:
    assert sums_of(model, tmp_path)[0] is None


def drawn(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    first, pairs, deep = rng.normal(size=(3, rows))
    logit = first + pairs + deep
    label = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    return pd.DataFrame({"label": label, "first_order": first, "fm": first + pairs, "logit": logit})


def test_rungs_are_the_metrics_of_the_partial_sums() -> None:
    sums = drawn()
    rungs = ladder(sums, {"lr": sums["first_order"].to_numpy() * 0.9, "dnn": sums["logit"].to_numpy() * 0.5})
    own = rungs[rungs["model"] == ""]
    assert list(own["rung"]) == [FIRST, SECOND, DEEP]
    assert own["auc"].iloc[1] == auc(sums["label"].to_numpy(), sums["fm"].to_numpy())
    assert own["logloss"].iloc[2] == pytest.approx(logloss(sums["label"].to_numpy(), sums["logit"].to_numpy()))
    assert own["step"].iloc[1] == pytest.approx(own["logloss"].iloc[1] - own["logloss"].iloc[0])
    assert (own["step_high"].iloc[1:] < 0).all()
    assert rungs.set_index("model").loc[["lr", "dnn"], "rung"].tolist() == [FIRST, DEEP]


def test_without_pairs_the_ladder_has_two_rungs() -> None:
    rungs = ladder(drawn().assign(fm=np.nan), {"fm": np.zeros(500)})
    assert list(rungs["rung"]) == [FIRST, DEEP]


def test_the_bundled_runs_ladder_ends_at_its_own_metrics() -> None:
    folder = RunFolder(ROOT / "sample_data" / "run")
    sums, metrics = folder.frame("partial_sums"), folder.read_json("metrics.json")
    assert sums is not None
    assert metrics is not None
    last = ladder(sums, {}).iloc[-1]
    assert last["auc"] == pytest.approx(metrics["test"]["auc"], abs=1e-6)
    assert last["logloss"] == pytest.approx(metrics["test"]["logloss"], abs=1e-6)
