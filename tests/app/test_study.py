"""The page Study, driven without a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.shared.launch import WRITTEN, choices_of
from deepfm_core.experiments import study
from deepfm_core.experiments.study import SEARCH, StudyPlan
from deepfm_core.schema.column_rules import Said
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import RunSpec, SplitSpec
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import perform
from tests.app.test_compare import button, text_of
from tests.conftest import clicks
from tests.experiments.test_study import instant

pytestmark = pytest.mark.slow

Opened = Callable[..., AppTest]


def begin(
    store: Store,
    plan: StudyPlan,
    runs: int = 100,
    split: SplitSpec | None = None,
    said: dict[str, Said] | None = None,
    decimal: str = ".",
    owner: str = "local",
    **kinds: Kind,
) -> str:
    entry = store.import_table(clicks(700).to_csv(index=False, sep=";", decimal=decimal).encode(), "mine.csv")
    schema = infer_schema(store.table(entry.sha256), "clicked", said=said).with_kinds(kinds)
    base = RunSpec(entry.sha256, entry.name, schema, split=split or SplitSpec())
    comparison = study.begin(store, base, base.training_rows(700), plan, owner=owner)
    for _ in range(runs):
        run = store.claims.next(Process.current(), comparison)
        if run is None:
            break
        list(perform(store, run, study.choosing(store, run, instant), Process.current()))
    return comparison


EXPECTED_OF_A_SHORT_TABLE = ":material/hourglass_top:"


def test_without_a_study_the_page_offers_the_papers_factors(opened: Opened, store: Store) -> None:
    app = opened("study")
    assert "18 runs" in text_of(app)
    button(app, "Study").click().run()
    assert not app.exception
    assert not app.error
    row = store.comparisons.all("local", "settings")[0]
    assert list(row.plan["factors"]) == ["activation", "keep", "neurons", "layers", "shape"]
    assert "0 of 18 runs finished" in text_of(app)


def test_factors_values_and_design_come_from_the_url(opened: Opened, store: Store) -> None:
    values = json.dumps({"keep": "0.2, 0.4"})
    app = opened("study", factors="keep,l2", values=values, design="search", trials="5", seeds="2", model="fm-dnn")
    assert "10 runs" in text_of(app)
    button(app, "Study").click().run()
    plan = StudyPlan.from_dict(store.comparisons.all("local", "settings")[0].plan)
    assert plan.factors["keep"] == (0.2, 0.4)
    assert (plan.design, plan.trials, plan.seeds, plan.model) == (SEARCH, 5, 2, "fm-dnn")


def test_a_study_of_the_dnn_is_warned_of_where_a_run_kept_its_guide_alone(opened: Opened, store: Store) -> None:
    """Each of four runs kept its guide, and the page said that the DNN's settings do not matter on this table."""
    comparison = begin(store, StudyPlan({"layers": (1, 2)}))
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET summary = json_set(summary, '$.best_epoch', 0)")
    said = text_of(opened("study", study=comparison))
    assert "The DNN’s settings never came into play. Switch *Guided by the evidence* off to study them." in said
    table = store.comparisons.runs(comparison)[0].spec.table
    warned = "kept its guide alone: its DNN never came into play"
    assert warned in text_of(opened("study", table=table))
    assert warned not in text_of(opened("study", table=table, factors="layers,l2"))
    free = opened("study", table=table, guided="off")
    assert warned not in text_of(free)
    button(free, "Study").click().run()
    newest = store.comparisons.all("local", "settings")[0]
    assert not StudyPlan.from_dict(newest.plan).guided
    assert not any(run.spec.model.has_guide for run in store.comparisons.runs(newest.id))


def test_a_value_that_cannot_be_gets_its_sentence(opened: Opened) -> None:
    app = opened("study", values=json.dumps({"keep": "0.5, half"}))
    assert "Share kept (dropout) is 'half', not a number" in app.error[0].value


def test_a_model_without_network_has_no_factors_of_one(opened: Opened) -> None:
    app = opened("study", model="lr")
    assert not app.error
    assert [field.label.split(", starting")[0] for field in app.text_input] == ["Learning rate"]


@pytest.mark.parametrize("design", ["one", "grid", "search"])
def test_a_finished_study_names_its_best_setting(design: str, opened: Opened, store: Store) -> None:
    plan = StudyPlan({"keep": (0.5, 0.7), "activation": ("relu", "tanh")}, design=design, trials=6, seeds=2)
    comparison = begin(store, plan)
    app = opened("study", study=comparison)
    assert not app.exception
    assert not app.error
    said = text_of(app)
    assert "runs finished" in said
    assert "validation logloss" in said
    assert len(app.dataframe[-1].value) == len({run.trial for run in store.comparisons.runs(comparison)})


def test_a_study_is_cancelled_and_resumed(opened: Opened, store: Store) -> None:
    comparison = begin(store, StudyPlan({"keep": (0.5, 1.0)}, design=SEARCH, trials=5), runs=2)
    app = opened("study", study=comparison)
    assert "2 of 5 runs finished" in text_of(app)
    button(app, "Cancel all").click().run()
    assert [run.state for run in store.comparisons.runs(comparison)].count("cancelled") == 3
    app = opened("study", study=comparison)
    button(app, "Resume").click().run()
    assert [run.state for run in store.comparisons.runs(comparison)].count("queued") == 3


def test_the_best_setting_is_taken_over_into_train(opened: Opened, store: Store) -> None:
    plan = StudyPlan({"keep": (0.5, 0.7), "shape": ("constant", "increasing")}, preset="paper")
    comparison = begin(store, plan, price=Kind.BUCKETISED)
    app = opened("study", study=comparison)
    button(app, "Use these settings in Train").click().run()
    assert not app.exception
    assert not app.error
    link = {name: value[0] if isinstance(value, list) else value for name, value in app.query_params.items()}
    app = opened("train", **link)
    assert {one.icon for one in app.info} <= {EXPECTED_OF_A_SHORT_TABLE}
    button(app, "Train").click().run()
    trained = next(run for run in store.runs() if run.comparison is None).spec
    best = min(store.comparisons.runs(comparison), key=lambda run: float(run.summary["valid"]["logloss"])).spec
    assert trained.model == best.model
    assert trained.fit == best.fit
    assert trained.schema.role("price").kind is Kind.BUCKETISED
    assert replace(trained.model, dropout=0.3) == trained.model


def test_settings_of_somebody_elses_study_are_not_taken_over(opened: Opened, store: Store) -> None:
    app = opened("study", study=begin(store, StudyPlan({"keep": (0.5, 0.7)}), owner="ann"))
    assert "validation logloss" in text_of(app)
    assert not [one.label for one in app.button if "in Train" in one.label]
    assert "in Train" not in text_of(app)


def test_what_was_said_of_how_columns_are_written_is_taken_over(opened: Opened, store: Store) -> None:
    comparison = begin(store, StudyPlan({"keep": (0.5, 0.7)}), said={"price": "literal"}, decimal=",")
    app = opened("study", study=comparison)
    button(app, "Use these settings in Train").click().run()
    link = {name: value[0] if isinstance(value, list) else value for name, value in app.query_params.items()}
    assert list(json.loads(link["written"])) == ["price"]
    assert "kinds" not in link
    app = opened("train", **link)
    button(app, "Train").click().run()
    trained = next(run for run in store.runs() if run.comparison is None).spec
    studied = store.comparisons.runs(comparison)[0].spec
    assert trained.schema.role("price") == studied.schema.role("price")
    assert trained.schema.role("price").kind is not Kind.PIECEWISE


def test_the_split_of_a_studied_run_is_taken_over_with_its_settings(opened: Opened, store: Store) -> None:
    split = SplitSpec("group", "site", valid=0.2, test=0.2)
    comparison = begin(store, StudyPlan({"keep": (0.5, 0.7)}), split=split)
    app = opened("study", study=comparison)
    button(app, "Use these settings in Train").click().run()
    link = {name: value[0] if isinstance(value, list) else value for name, value in app.query_params.items()}
    app = opened("train", **link)
    assert {one.icon for one in app.info} <= {EXPECTED_OF_A_SHORT_TABLE}
    button(app, "Train").click().run()
    assert next(run for run in store.runs() if run.comparison is None).spec.split == split


def test_a_value_that_comes_to_the_same_network_as_another_is_said_to_be_one(opened: Opened, store: Store) -> None:
    comparison = begin(store, StudyPlan({"shape": ("constant", "diamond"), "keep": (0.5, 0.7)}))
    said = text_of(opened("study", study=comparison))
    assert said.count("Not run, since another value gives the same DNN") == 1
    assert "Not run, since another value gives the same DNN: diamond." in said
    assert "Recommended settings · 1 seed · split at random" in said


def test_how_columns_are_written_is_found_for_all_of_them_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    days, amounts = rng.integers(1, 13, (4, 300)), rng.integers(100, 999, (4, 300))
    frame = pd.DataFrame({f"day {'abcd'[n]}": [f"0{d % 9 + 1}/{d:02d}/2024" for d in days[n]] for n in range(4)})
    for n in range(4):
        frame[f"amount {'abcd'[n]}"] = [f"{value % 9 + 1},{value}" for value in amounts[n]]
    frame["clicked"] = rng.integers(0, 2, 300)
    sha = store.import_table(frame.to_csv(index=False).encode(), "dates.csv").sha256
    other = {"day a": "month first", "day b": "day first", "day c": "literal"}
    said = {**other, **{f"amount {letter}": "decimal comma" for letter in "abcd"}}
    schema = infer_schema(store.table(sha), "clicked", said=said)  # type: ignore[arg-type]
    usual, looks = infer_schema(store.table(sha), "clicked"), []

    def counted(*arguments: object, **named: object) -> Schema:
        looks.append(named["said"])
        return infer_schema(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("deepfm_core.schema.infer.infer_schema", counted)
    chosen = choices_of(RunSpec(sha, "dates.csv", schema), 300)
    written = json.loads(chosen[WRITTEN] or "{}")
    assert {role.column for role in schema.roles if role != usual.role(role.column)} >= set(written)
    again = infer_schema(store.table(sha), "clicked", said=written)
    assert [(role.form, role.notation) for role in again.roles] == [(role.form, role.notation) for role in schema.roles]
    assert len(written) >= 5
    assert len(looks) <= 7  # one before, one for each of the five ways, and one with all that was found
