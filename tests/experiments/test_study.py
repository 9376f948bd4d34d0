"""A hyper-parameter study: factors, designs, the search, and its tables."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.errors import SpecError
from deepfm_core.experiments import comparison as experiments_comparison
from deepfm_core.experiments import study
from deepfm_core.experiments.study import (
    GRID,
    SEARCH,
    StudyPlan,
    against_start,
    factor_lines,
    in_order,
    study_table,
    trial_table,
)
from deepfm_core.runs.engine import execute
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.spec.events import Finished
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec
from deepfm_core.spec.search_space import (
    FACTORS,
    PAPER,
    Value,
    factors_of,
    parse_values,
    setting_of,
    shape_of,
    with_setting,
)
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import perform
from tests.conftest import clicks

pytestmark = pytest.mark.slow

SCHEMA = Schema(LabelRole("click", "1", "0"), (FieldRole("hour", Kind.CATEGORICAL),))
START = RunSpec("a" * 64, "clicks.csv", SCHEMA, model=ModelSpec(layers=(200, 400, 600), dropout=0.5))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def base(store: Store) -> RunSpec:
    entry = store.import_table(clicks(700).to_csv(index=False).encode(), "clicks.csv")
    return RunSpec(entry.sha256, entry.name, infer_schema(store.table(entry.sha256), "clicked"))


def instant(job, context):
    """An engine whose validation logloss is lowest at a keep probability of 0.7 and a narrow network."""
    own = setting_of(job.spec)
    loss = 0.4 + (float(own["keep"]) - 0.7) ** 2 + 0.001 * np.log2(float(own["neurons"])) + 0.0001 * job.spec.seed
    scores = {"auc": 1 - loss, "logloss": loss}
    label = np.arange(40) % 2
    frame = pd.DataFrame({"part": "test", "row": np.arange(40), "label": label, "logit": (2 * label - 1) * (1 - loss)})
    job.folder.create().write_frame("predictions", frame)
    yield Finished({"valid": scores, "test": scores, "seconds": {"fit": 1.0}, "parameters": 7})


def work(store: Store, comparison: str, most: int = 1000, engine=instant) -> int:
    me = Process.current()
    for done in range(most):
        run = store.claims.next(me, comparison)
        if run is None:
            return done
        list(perform(store, run, study.choosing(store, run, engine), me))
    return most


def test_a_setting_put_into_a_run_is_read_back_from_it() -> None:
    setting: dict[str, Value] = {
        "activation": "tanh",
        "keep": 0.8,
        "neurons": 100,
        "layers": 4,
        "shape": "diamond",
        "l2": 1e-4,
    }
    spec = with_setting(START, setting | {"embedding_size": 5, "learning_rate": 0.02})
    assert setting_of(spec) == setting | {"embedding_size": 5, "learning_rate": 0.02}
    assert sum(spec.model.layers) == 400
    assert spec.model.dropout == pytest.approx(0.2)


def test_what_a_setting_does_not_name_stays() -> None:
    assert with_setting(START, {}) == START
    changed = with_setting(START, {"layers": 5})
    assert shape_of(changed.model.layers) == "increasing"
    assert sum(changed.model.layers) == 400 * 5, "neurons per layer stay"
    assert with_setting(START, {"shape": "constant"}).model.layers == (400, 400, 400)


def test_the_papers_factors_come_first_and_lr_has_no_network() -> None:
    assert tuple(FACTORS)[:5] == PAPER
    assert factors_of("lr") == ("learning_rate", "l2")
    assert factors_of("fm") == ("embedding_size", "learning_rate", "l2")
    assert factors_of("deepfm") == tuple(FACTORS)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("keep", "", "there is none"),
        ("keep", "0.5, half", "Share kept \\(dropout\\) is 'half', not a number"),
        ("layers", "1.5", "Number of layers is '1.5', not a whole number"),
        ("activation", "relu, gelu", "Activation is 'gelu'. Use some of relu"),
    ],
)
def test_values_that_cannot_be_are_named(name: str, text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_values(name, text)


def test_values_are_read_once_each_in_their_type() -> None:
    assert parse_values("neurons", "64, 32,64 ") == (64, 32)
    assert parse_values("learning_rate", "1e-3, 0.01") == (0.001, 0.01)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"factors": {}}, "No factor is varied"),
        ({"factors": {"keep": (0.5,)}, "model": "lr"}, "which lr does not have. Use some of learning_rate, l2"),
        ({"factors": {"keep": (0.5,)}, "design": "all"}, "Design is 'all'"),
        ({"factors": {"keep": (0.5,)}, "design": "search", "trials": 1}, "Trials is 1"),
        ({"factors": {"keep": (0.5,)}, "seeds": 0}, "Seeds is 0"),
    ],
)
def test_a_study_that_cannot_be_done_says_why(plan: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        StudyPlan(**plan)  # type: ignore[arg-type]


def test_too_many_runs_are_refused_before_any_is_entered(store: Store, base: RunSpec) -> None:
    values = tuple(range(1, 30))
    plan = StudyPlan({"neurons": values, "layers": values}, design=GRID)
    with pytest.raises(SpecError, match="That would be"):
        study.begin(store, base, 560, plan)
    with pytest.raises(SpecError, match=r"Share kept \(dropout\) is 1\.5"):
        study.begin(store, base, 560, StudyPlan({"keep": (1.5,)}))
    assert store.runs() == []


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ({"learning_rate": (0.0, 0.1)}, "Learning rate is 0"),
        ({"embedding_size": (0, 8)}, "Embedding size is 0"),
        ({"neurons": (2, 64), "layers": (1, 7), "shape": ("constant", "increasing")}, "Neurons is 14"),
    ],
)
def test_a_search_is_refused_where_it_could_come_to_what_cannot_be(
    store: Store, base: RunSpec, factors: dict[str, tuple[object, ...]], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        study.begin(store, base, 560, StudyPlan(factors, design=SEARCH))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="That would be 2,000 runs"):
        study.begin(store, base, 560, StudyPlan({"keep": (0.5, 1.0)}, design=SEARCH, trials=100, seeds=20))
    assert store.runs() == []


def test_one_factor_at_a_time_varies_one_and_the_first_trial_is_the_start(base: RunSpec) -> None:
    plan = StudyPlan({"activation": ("relu", "tanh"), "keep": (0.5, 0.9)})
    start = plan.start(base, 560)
    assert start.model.dropout == 0.5
    assert plan.settings(start) == [{}, {"activation": "tanh"}, {"keep": 0.9}]


def test_a_grid_has_every_combination_once(base: RunSpec) -> None:
    plan = StudyPlan({"activation": ("relu", "tanh"), "keep": (0.5, 0.9)}, design=GRID)
    assert len(plan.settings(plan.start(base, 560))) == 4, "the start is one of them"


def test_shapes_that_are_the_same_network_are_tried_once(base: RunSpec) -> None:
    plan = StudyPlan({"shape": ("constant", "increasing", "decreasing", "diamond")})
    assert plan.settings(plan.start(base, 560)) == [{}, {"shape": "constant"}, {"shape": "increasing"}]


def test_a_plan_survives_the_store(store: Store, base: RunSpec) -> None:
    plan = StudyPlan({"keep": (0.5, 1.0), "neurons": (8, 16)}, design=SEARCH, trials=4, seeds=2)
    comparison = study.begin(store, base, 560, plan)
    assert StudyPlan.from_dict(store.comparisons.of(comparison).plan) == plan


def test_a_design_of_several_seeds_has_its_tables(store: Store, base: RunSpec) -> None:
    plan = StudyPlan({"keep": (0.5, 0.7, 0.9), "neurons": (16, 64)}, seeds=2)
    comparison = study.begin(store, base, 560, plan)
    work(store, comparison)
    runs = store.comparisons.runs(comparison)
    assert len(runs) == 2 * 5
    assert len({run.spec.rows_seed for run in runs}) == 1
    table = study_table(runs, plan)
    trials = trial_table(table, plan)
    assert trials.loc[0, "keep"] == 0.7
    assert list(trials["runs"]) == [2] * 5
    lines = factor_lines(table, plan, "valid_logloss")
    keep = lines[lines["factor"] == "keep"]
    assert list(keep["value"]) == [0.5, 0.5, 0.7, 0.7, 0.9, 0.9]
    assert keep.groupby("value")["measure"].mean().idxmin() == 0.7
    assert in_order("neurons", list(lines[lines["factor"] == "neurons"]["value"])) == [16, 48, 64]


def test_one_layer_stands_in_its_factors_line_whatever_its_shape_is_called(store: Store, base: RunSpec) -> None:
    plan = StudyPlan({"layers": (1, 2, 3), "shape": ("increasing", "decreasing")})
    comparison = study.begin(store, base, 560, plan)
    work(store, comparison)
    lines = factor_lines(study_table(store.comparisons.runs(comparison), plan), plan, "valid_logloss")
    assert list(lines[lines["factor"] == "layers"]["value"]) == [1, 2, 3]


def test_a_search_finds_its_way_and_every_trial_has_one_setting(store: Store, base: RunSpec) -> None:
    plan = StudyPlan({"keep": (0.3, 1.0), "neurons": (8, 128)}, design=SEARCH, trials=14, seeds=2)
    comparison = study.begin(store, base, 560, plan)
    assert sum(run.to_choose for run in store.comparisons.runs(comparison)) == 2 * 13
    work(store, comparison)
    runs = store.comparisons.runs(comparison)
    assert not any(run.to_choose for run in runs)
    table = study_table(runs, plan)
    assert len(table) == 28
    assert (table.groupby("trial")[["keep", "neurons"]].nunique() == 1).all(axis=None)
    assert table.groupby("trial")["keep"].first().nunique() > 10
    assert table["keep"].between(0.3, 1.0).all()
    assert abs(trial_table(table, plan)["keep"][0] - 0.7) < 0.12
    assert all(store.folder(run.id).spec() == run.spec for run in runs)
    assert len(factor_lines(table, plan, "valid_auc")) == 2 * 28, "every run of a search is a point"


def test_a_search_cancelled_and_resumed_goes_on_from_what_has_ended(store: Store, base: RunSpec) -> None:
    plan = StudyPlan({"keep": (0.3, 1.0)}, design=SEARCH, trials=6)
    whole, halves = (study.begin(store, base, 560, plan) for _ in range(2))
    work(store, whole)
    work(store, halves, most=3)
    experiments_comparison.cancel(store, halves)
    assert experiments_comparison.resume(store, halves) == 3
    work(store, halves)
    values = [study_table(store.comparisons.runs(one), plan)["keep"].tolist() for one in (whole, halves)]
    assert values[0] == values[1]


def test_a_trial_that_fails_says_why_and_the_search_goes_on(
    store: Store, base: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposed = {1: {"keep": 1.5}, 2: {"keep": 0.7}}
    monkeypatch.setattr(study, "propose", lambda plan, runs, trial: proposed[trial])
    comparison = study.begin(store, base, 560, StudyPlan({"keep": (0.5, 0.9)}, design=SEARCH, trials=3))
    work(store, comparison)
    runs = store.comparisons.runs(comparison)
    assert [run.state for run in runs] == ["finished", "failed", "finished"]
    assert "Share kept (dropout) is 1.5" in (runs[1].message or "")


def test_a_search_without_optuna_says_what_to_install(
    store: Store, base: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # importing it fails as where it is not installed
    comparison = study.begin(store, base, 560, StudyPlan({"keep": (0.5, 0.9)}, design=SEARCH, trials=2))
    work(store, comparison)
    messages = [run.message for run in store.comparisons.runs(comparison) if run.state == "failed"]
    assert messages == ["A search needs Optuna, and it is not installed. Run `pip install optuna`."]


def test_a_single_run_goes_before_a_whole_study(store: Store, base: RunSpec) -> None:
    comparison = study.begin(store, base, 560, StudyPlan({"keep": (0.5, 0.9)}))
    alone = store.enqueue(base)
    assert store.position(alone) == 1
    assert store.position(store.comparisons.runs(comparison)[0].id) == 2
    claimed = store.claims.next(Process.current())
    assert claimed is not None
    assert claimed.id == alone


def test_real_runs_of_a_study_are_judged_on_the_same_rows_and_explain_nothing(store: Store, base: RunSpec) -> None:
    plan = StudyPlan({"activation": ("relu", "tanh")}, preset="quick")
    comparison = study.begin(store, base, 560, plan)
    work(store, comparison, engine=execute)
    runs = store.comparisons.runs(comparison)
    assert {run.state for run in runs} == {"finished"}
    assert all(store.folder(run.id).frames() == ("epochs", "predictions") for run in runs)
    table = study_table(runs, plan)
    difference = against_start(store, table, 1)
    assert difference is not None
    means = table.set_index("trial")["test_logloss"]
    assert difference.value == pytest.approx(means[1] - means[0], abs=1e-9)
    assert against_start(store, table, 0) is None


def test_l2_of_the_start_is_the_presets_own(base: RunSpec) -> None:
    plan = StudyPlan({"l2": (1e-3,), "keep": (0.9,)})
    start = plan.start(base, 560)
    runs = plan.runs(base, 560)
    assert runs[0].spec.fit == start.fit
    assert runs[1].spec.fit == replace(start.fit, l2=1e-3, embedding_l2=None)
    assert runs[2].spec.fit == start.fit
    assert isinstance(start.fit, FitSpec)
