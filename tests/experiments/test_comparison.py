"""A comparison of models: its runs, how far it is, and its table."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfm_core.errors import RunError, SpecError
from deepfm_core.experiments import comparison as experiments_comparison
from deepfm_core.experiments.comparison import (
    COLUMNS,
    COMPARED,
    ComparisonPlan,
    compared_as,
    expected_seconds,
    model_table,
    run_table,
)
from deepfm_core.runs.engine import execute
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import BASELINE, ModelSpec, RunSpec
from deepfm_core.store import run_queue
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.reader import read_table
from deepfm_core.workers.lane import perform
from tests.conftest import clicks

pytestmark = pytest.mark.slow

SMALL = {"embedding_size": 4, "layers": (8,), "epochs": 2, "batch_size": 256}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def base(store: Store, tmp_path: Path) -> RunSpec:
    path = tmp_path / "clicks.csv"
    clicks(900).to_csv(path, index=False)
    entry = store.import_table(path, path.name)
    return RunSpec(entry.sha256, entry.name, infer_schema(read_table(path), "clicked"))


def begin(store: Store, base: RunSpec, *models: str, **plan: object) -> str:
    chosen = ComparisonPlan(models, chosen=SMALL, **plan)  # type: ignore[arg-type]
    return experiments_comparison.begin(store, base, 720, chosen)


def work(store: Store, comparison: str, most: int = 100) -> None:
    """Do queued runs of a comparison, as a worker would."""
    me = Process.current()
    for _ in range(most):
        run = store.claims.next(me, comparison)
        if run is None:
            return
        for _ in perform(store, run, execute, me):
            pass


def test_all_runs_share_rows_encoder_and_rule_to_stop(base: RunSpec) -> None:
    specs = ComparisonPlan(seeds=2).specs(replace(base, seed=5), rows=720)
    assert {spec.rows_seed for spec in specs} == {5}
    assert len({(spec.split, spec.min_count, spec.folds) for spec in specs}) == 1
    rules = {(spec.fit.patience, spec.fit.least_gain) for spec in specs if spec.model.name not in ("lr", BASELINE)}
    assert rules == {(8, 0.0)}  # the patience of guided models, and any gain, as for the others
    steady = {spec.fit.patience for spec in specs if spec.model.name == "lr"}
    assert steady == {preset("recommended", "lr", 720)[1].patience}  # 180 steps; a DNN would overfit meanwhile
    assert {spec.seed for spec in specs} == {5, 6}
    assert compared_as(specs) == [*COMPARED, BASELINE, *COMPARED]


def test_deepfm_as_published_stands_beside_the_form_that_the_settings_give(base: RunSpec) -> None:
    plan = ComparisonPlan(("deepfm", "deepfm-paper"), chosen={"embedding_size": 4, "epochs": 7}, baseline=False)
    own, published = plan.specs(base, rows=720)
    assert own.model.guided
    assert own.model.embedding_size == 4
    assert published.model == preset("paper", "deepfm", 720)[0]  # whatever was chosen
    assert (published.fit.epochs, published.fit.patience) == (7, own.fit.patience)
    assert compared_as([own, published]) == ["deepfm", "deepfm-paper"]


def test_deepfm_as_published_is_there_once(base: RunSpec) -> None:
    specs = ComparisonPlan(("deepfm", "deepfm-paper"), preset="paper", baseline=False).specs(base, rows=720)
    assert compared_as(specs) == ["deepfm"]
    alone = ComparisonPlan(("deepfm-paper",), preset="quick", baseline=False).specs(base, rows=720)
    assert [spec.fit.epochs for spec in alone] == [3]


def test_chosen_settings_are_those_of_every_model(base: RunSpec) -> None:
    plan = ComparisonPlan(("fm", "lr"), chosen={"embedding_size": 3, "learning_rate": 0.01}, baseline=False)
    specs = plan.specs(base, rows=720)
    assert [(s.model.name, s.model.embedding_size, s.fit.learning_rate) for s in specs] == [
        ("lr", 3, 0.01),
        ("fm", 3, 0.01),
    ]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"models": ("lr", "gbdt")}, r"Model to compare is `gbdt`\. Name some of lr, fm"),
        ({"models": ()}, r"Model to compare is `none`"),
        ({"seeds": 0}, r"Seeds is 0\. Use 1 to 20"),
    ],
)
def test_a_plan_that_cannot_be_done_says_why(plan: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        ComparisonPlan(**plan)  # type: ignore[arg-type]


def test_a_setting_out_of_range_enters_nothing(store: Store, base: RunSpec) -> None:
    with pytest.raises(SpecError, match="Dropout is 2"):
        experiments_comparison.begin(store, base, 720, ComparisonPlan(chosen={"dropout": 2.0}))
    assert store.runs() == []
    assert store.comparisons.all("local", "models") == []


def test_the_table_fills_in_and_says_what_is_significant(store: Store, base: RunSpec) -> None:
    comparison = begin(store, base, "lr", "fm", "deepfm", seeds=2)
    assert model_table(store, store.comparisons.runs(comparison)).empty
    work(store, comparison, most=2)
    table = model_table(store, store.comparisons.runs(comparison))
    assert sorted(table["model"]) == ["fm", "lr"]
    work(store, comparison)
    runs = store.comparisons.runs(comparison)
    table = model_table(store, runs)
    assert list(table.columns) == list(COLUMNS)
    assert list(table["model"])[-1] == BASELINE
    models = table[~table["baseline"]].set_index("model")
    assert list(models["runs"]) == [2, 2, 2]
    assert models["logloss"].is_monotonic_increasing
    assert models["logloss_difference"].isna().sum() == 1
    apart = models.dropna(subset=["logloss_difference"])
    assert (apart["logloss_low"] < apart["logloss_difference"]).all()
    assert (apart["logloss_difference"] < apart["logloss_high"]).all()
    assert models.loc["lr", "relative_seconds"] == 1.0
    parameters = models["parameters"]
    assert parameters["lr"] < parameters["fm"] < parameters["deepfm"]
    by_run = run_table(store, runs)
    assert models.loc["fm", "auc"] == pytest.approx(by_run[by_run["model"] == "fm"]["auc"].mean(), abs=1e-12)


def test_seeds_of_a_comparison_are_judged_on_the_same_rows(store: Store, base: RunSpec) -> None:
    comparison = begin(store, base, "fm", seeds=2)
    work(store, comparison)
    frames = [store.folder(run.id).frame("predictions") for run in store.comparisons.runs(comparison)]
    first, baseline, second = (frame for frame in frames if frame is not None)
    np.testing.assert_array_equal(first["row"], second["row"])
    np.testing.assert_array_equal(first["row"], baseline["row"])
    assert not np.allclose(first["logit"], second["logit"], atol=1e-6)


def test_one_observation_serves_all_runs_of_a_comparison(store: Store, base: RunSpec, monkeypatch) -> None:
    made: list[str] = []
    start = run_queue._start
    monkeypatch.setattr(run_queue, "_start", lambda home, lane: made.append(lane) or start(home, lane))
    comparison = begin(store, base, "lr", "fm", baseline=False)
    work(store, comparison)
    assert made == [run_queue.LABELS]
    first, second = (store.folder(run.id).frame("observed") for run in store.comparisons.runs(comparison))
    assert first is not None
    assert first.equals(second)


def test_cancel_and_resume_are_for_the_whole(store: Store, base: RunSpec) -> None:
    comparison = begin(store, base, "lr", "fm")
    work(store, comparison, most=1)
    experiments_comparison.cancel(store, comparison)
    standing = experiments_comparison.Standing.of(store.comparisons.runs(comparison), time.time(), {})
    assert (standing.finished, standing.stopped, standing.active, standing.seconds_left) == (1, 2, False, None)
    assert experiments_comparison.resume(store, comparison) == 2
    standing = experiments_comparison.Standing.of(store.comparisons.runs(comparison), time.time(), {})
    assert (standing.queued, standing.active) == (2, True)
    assert standing.fraction == pytest.approx(1 / 3)
    assert standing.seconds_left is not None
    work(store, comparison)
    assert experiments_comparison.Standing.of(store.comparisons.runs(comparison), time.time(), {}).fraction == 1.0


def test_a_whole_comparison_is_deleted_and_brought_back(store: Store, base: RunSpec) -> None:
    comparison = begin(store, base, "lr", "fm")
    alone = store.enqueue(base)
    store.delete(store.comparisons.runs(comparison)[0].id)
    store.comparisons.delete(comparison)
    assert [run.id for run in store.runs()] == [alone]
    with pytest.raises(RunError, match=r"is not in the store"):
        store.comparisons.of(comparison)
    store.comparisons.restore(comparison)
    assert len(store.comparisons.runs(comparison)) == 2, "the run deleted before stays deleted"
    assert {run.state for run in store.comparisons.runs(comparison)} == {"cancelled"}


def test_a_comparison_at_work_is_not_deleted(store: Store, base: RunSpec) -> None:
    comparison = begin(store, base, "lr")
    store.claims.next(Process.current(), comparison)
    with pytest.raises(RunError, match=r"is running\. Cancel it first"):
        store.comparisons.delete(comparison)


def test_a_worker_can_take_the_runs_of_one_comparison_only(store: Store, base: RunSpec) -> None:
    other = store.enqueue(base)
    comparison = begin(store, base, "lr", baseline=False)
    claimed = store.claims.next(Process.current(), comparison)
    assert claimed is not None
    assert claimed.comparison == comparison
    assert store.claims.next(Process.current(), comparison) is None
    rest = store.claims.next(Process.current())
    assert rest is not None
    assert rest.id == other


def test_gradient_boosting_learns_what_is_there_from_every_kind_of_column(store: Store, tmp_path: Path) -> None:
    frame = clicks(3000)
    clicked = (frame["device"] == "phone").astype(int) + frame["interests"].str.contains("a") + (frame["price"] > 8)
    frame["clicked"] = (clicked >= 2).astype(int)
    frame.loc[::50, "price"] = np.nan
    frame.to_csv(tmp_path / "certain.csv", index=False)
    entry = store.import_table(tmp_path / "certain.csv", "certain.csv")
    spec = RunSpec(entry.sha256, entry.name, infer_schema(store.table(entry.sha256), "clicked"))
    store.enqueue(replace(spec, model=ModelSpec(BASELINE)))
    run = store.claims.next(Process.current())
    assert run is not None
    summary = list(perform(store, run, execute, Process.current()))[-1].to_dict()["summary"]
    assert summary["test"]["auc"] > 0.98
    assert summary["rows"] == {"train": 2400, "valid": 300, "test": 300}


def test_a_run_that_is_only_compared_makes_no_frames_about_pairs(store: Store, base: RunSpec) -> None:
    run_id = store.enqueue(replace(base, explained=False, fit=replace(base.fit, epochs=1)))
    run = store.claims.next(Process.current())
    assert run is not None
    events = list(perform(store, run, execute, Process.current()))
    assert events[-1].kind == "finished"
    assert store.folder(run_id).frames() == ("epochs", "predictions")


def test_how_long_runs_take_is_told_by_those_on_their_table() -> None:
    base = RunSpec("t", "t.csv", infer_schema(table_from_frame(clicks(60)), "clicked"))
    specs = ComparisonPlan(("lr", "fm", "deepfm")).specs(base, 48)
    assert expected_seconds(specs, []) is None
    lr, fm = specs[0], specs[1]
    elsewhere: tuple[RunSpec, dict[str, Any]] = (replace(lr, table="other"), {"seconds": {"fit": 900.0}})
    assert expected_seconds(specs, [elsewhere]) is None
    known = [(lr, {"seconds": {"fit": 1.0, "explain": 1.0}}), (fm, {"seconds": {"fit": 4.0}}), (fm, {}), elsewhere]
    assert expected_seconds(specs, known) == pytest.approx(2 + 4 + 3)  # LR, FM, DeepFM as their mean, the baseline
    bare = [replace(spec, explained=False) for spec in specs]
    assert expected_seconds(bare, known) == pytest.approx(1 + 4 + 2.5)
