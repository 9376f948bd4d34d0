"""What pages say of a compared run, of a threshold, and of links that name what is not there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from app.views.performance.threshold import as_many, cheapest, counts_at
from deepfm_core.metrics.scores import evaluate, thresholds
from deepfm_core.store.store import Store
from tests.app.test_results import BUNDLED, ROOT, Opened, finished_copy, frame_changed, opened, text_of

pytestmark = pytest.mark.slow

__all__ = ["opened"]


def _moved(folder: Path) -> None:
    frame_changed(folder, "predictions", lambda frame: frame.assign(logit=frame["logit"] * 0.5))


def _of_another_table(folder: Path) -> None:
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps(spec | {"table": "f" * 64}))


def test_identical_runs_are_said_to_be_so_and_get_no_badges(opened: Opened, store: Store) -> None:
    app = opened("performance", run="sample", compare=finished_copy(store, lambda folder: None))
    assert "is identical" in text_of(app)
    assert "changed run" in text_of(app)
    assert not [metric.delta for metric in app.metric if metric.delta]


def test_a_run_that_differs_is_measured_row_by_row(opened: Opened, store: Store) -> None:
    app = opened("performance", run="sample", compare=finished_copy(store, _moved))
    assert "On the same rows, the logloss is" in text_of(app)
    assert "changed run" in "".join(str(chart.proto) for chart in app.get("vega_lite_chart"))


def test_a_run_on_another_table_is_left_out_and_said_to_be(opened: Opened, store: Store) -> None:
    other = finished_copy(store, _of_another_table)
    _with_spec(store, other)
    app = opened("performance", run="sample", compare=other)
    assert "The two cannot be compared" in text_of(app)
    charts = "".join(str(chart.proto) for chart in app.get("vega_lite_chart"))
    assert charts
    assert "changed run" not in charts

    def without_common_pairs(folder: Path) -> None:
        frame_changed(folder, "pairs", lambda pairs: pairs.assign(field_a="else " + pairs["field_a"].astype(str)))

    without_common_pairs(store.folder(other).path)
    assert "has none of these pairs" in text_of(opened("interactions", run="sample", compare=other))


def _with_spec(store: Store, run: str, **changed: object) -> None:
    """Change the spec of a stored run."""
    spec = json.loads((store.folder(run).path / "spec.json").read_text()) | changed
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET spec = ? WHERE id = ?", (json.dumps(spec), run))


def test_start_trains_the_table_that_it_shows(opened: Opened, store: Store) -> None:
    control = store.import_table(ROOT / "sample_data" / "clicks_no_interaction.csv", "control.csv", "local").sha256
    run = finished_copy(store, lambda folder: None)
    _with_spec(store, run, table=control, table_name="control.csv", split={"by": "random", "valid": 0.2, "test": 0.1})
    app = opened("start", run=run)
    next(button for button in app.button if button.label == "Train this live").click().run()
    spec = next(row for row in store.runs() if row.id != run).spec
    assert (spec.table, spec.table_name, spec.split.valid, spec.model.name) == (control, "control.csv", 0.2, "deepfm")


def test_start_says_which_table_a_click_trains_on_and_that_such_a_run_exists(opened: Opened, store: Store) -> None:
    control = store.import_table(ROOT / "sample_data" / "clicks_no_interaction.csv", "control.csv", "local").sha256
    run = finished_copy(store, lambda folder: None, embedding_size=5)
    _with_spec(store, run, table=control, table_name="control.csv")

    def said() -> str:
        app = opened("start", run=run)
        return next(button for button in app.button if button.label == "Train this live").help

    assert said() == "Trains DeepFM on control.csv, with the recommended settings."
    shown = opened("start", run=run)
    next(button for button in shown.button if button.label == "Train this live").click().run()
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET status = 'finished'")
    assert said().endswith("You have a finished run with the same table and settings: a second one ends the same.")


def test_a_comparison_ends_with_the_table_it_was_chosen_for(opened: Opened, store: Store) -> None:
    """A visitor who goes on to a run of another table is not followed by a run that cannot be compared."""
    same, elsewhere = (finished_copy(store, lambda folder: None) for _ in range(2))
    _with_spec(store, elsewhere, table="f" * 64)
    app = opened("performance", run="sample", compare=same)
    app.sidebar.selectbox[0].select(elsewhere).run()
    assert "compare" not in app.query_params
    app.sidebar.selectbox[1].select("sample").run()
    assert app.query_params["compare"] in ("sample", ["sample"])


def test_with_very_few_clicks_nothing_is_concluded(opened: Opened, store: Store) -> None:
    def few(folder: Path) -> None:
        def keep(frame: pd.DataFrame) -> pd.DataFrame:
            clicks = frame[frame["label"] == 1].groupby("part", observed=True).head(5)
            return pd.concat([clicks, frame[frame["label"] == 0]]).sort_index()

        frame_changed(folder, "predictions", keep)
        rows = pd.read_parquet(folder / "frames" / "predictions.parquet").query("part == 'test'")
        metrics = asdict(evaluate(rows["label"].to_numpy(), rows["logit"].to_numpy(), 0.16))
        (folder / "metrics.json").write_text(json.dumps({"test": metrics, "valid": metrics}))

    said = text_of(opened("performance", run=finished_copy(store, few)))
    assert "nothing can be concluded" in said
    assert "the probabilities fit" not in said


def test_the_threshold_of_least_cost_is_the_best_the_slider_has_and_one_click_away(opened: Opened) -> None:
    rows = pd.read_parquet(BUNDLED / "frames" / "predictions.parquet").query("part == 'test'")
    labels, clicks = rows["label"].to_numpy(), int(rows["label"].sum())
    curve = thresholds(labels, rows["probability"].to_numpy())
    best, least = cheapest(curve, len(rows), clicks, (1.0, 1.0))
    for threshold in (0.0, 0.1, as_many(curve, clicks), 0.5):
        counts = counts_at(curve, threshold, len(rows), clicks)
        assert counts["false_positives"] + counts["false_negatives"] >= least
    app = opened("performance")
    assert "flags about as many rows as are positive" in text_of(app)
    next(button for button in app.button if button.label == f"Lowest cost: {best:g}").click().run()
    assert app.slider[0].value == best
    assert "No other threshold costs less" in text_of(app)


def test_mistakes_cost_the_same_until_a_visitor_says_what_they_cost(opened: Opened) -> None:
    app = opened("performance")
    costs = [box for box in app.number_input if box.label.startswith("Cost of")]
    assert [box.value for box in costs] == [1.0, 1.0]
    assert "the cost is the number of wrong rows" in text_of(app)
    costs[1].set_value(5.0).run()
    assert "the cost is the number of wrong rows" not in text_of(app)


def test_a_link_to_a_pair_or_a_row_that_is_not_there_is_said_to_be_one(opened: Opened) -> None:
    assert "This run has no pair nope × ad" in text_of(opened("interactions", pair="nope~ad"))
    assert "Row 99999999 is not among the" in text_of(opened("examples", row="99999999"))
    assert not opened("interactions", pair="device~placement").info


def test_a_threshold_that_is_none_is_said_to_be_left_out(opened: Opened) -> None:
    for text in ("7", "high"):
        assert f"The link's threshold {text}" in text_of(opened("performance", threshold=text))
