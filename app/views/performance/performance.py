"""The page Performance: metrics, calibration, ranking, a threshold with its cost, the ladder of parts, and slices."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.performance import calibration_curve
from app.shared import predictions, run_status
from app.shared.predictions import predicted_runs, same_predictions, say_which_is_better
from app.state import links
from app.state.saved_runs import OpenRun
from app.views.performance.ablation import ladder_section
from app.views.performance.metrics import metric_row, too_few
from app.views.performance.run_diff import difference_section
from app.views.performance.slices import slice_section
from app.views.performance.threshold import threshold_section
from app.widgets.columns import RATES
from app.widgets.figure import figure
from app.widgets.text import code, plain
from deepfm_core.metrics.scores import Metrics, calibration

FEWEST_BUCKETS, MOST_BUCKETS = 3, 10


def main() -> None:
    """Draw the page."""
    st.title("Performance", anchor=False)
    run = run_status.finished_run()
    other = run_status.compared_run(run)
    part = choose_part(run)
    rows, metrics = predictions.predictions(run, part), predictions.metrics(run, part)
    if rows is None or metrics is None:
        st.info(f"Run {code(run.name)} has no metrics of this part. Train it again, or choose another run.")
        return
    same = other is not None and predictions.same_rows(run, other, part)
    differ = same and not same_predictions(run, other, part)
    metric_row(metrics, predictions.metrics(other, part) if other and differ else None)
    if other:
        say_which_is_better(run, other, part)
    if metrics.note:
        st.warning(metrics.note)
    if other and predictions.same_table(run, other, part):
        difference_section(run, other, rows, predictions.predictions(other, part) if same else None, metrics)
        st.header("Calibration and ranking", anchor=False, divider="gray")
    runs = predicted_runs(run, rows, other, part)
    show_calibration(runs, part, metrics)
    threshold_section(runs, metrics, part)
    ladder_section(run, part)
    slice_section(run, part, rows, metrics)


def choose_part(run: OpenRun) -> str:
    """Let the visitor choose between test and validation part; test comes first."""
    frame = run_status.frame(run, "predictions", "predictions")
    parts = [part for part in predictions.NAMES if part in set(frame["part"])]
    titles = {part: predictions.NAMES[part] for part in parts}
    for part in parts:
        table = predictions.holdout_table(run, part)
        titles[part] += f": {plain(table)}" if table else ""
    chosen: str | None = st.segmented_control(
        "Rows",
        parts,
        required=True,
        format_func=titles.__getitem__,
        label_visibility="collapsed",
        **links.mirror("part", parts, parts[0]),
    )
    return chosen or parts[0]


def buckets_for(labels: pd.Series) -> int:
    """Choose the number of buckets so that each can hold some rows of the rarer outcome."""
    rarer = int(min(labels.sum(), len(labels) - labels.sum()))
    return min(MOST_BUCKETS, max(FEWEST_BUCKETS, rarer // 10))


def show_calibration(runs: dict[str, pd.DataFrame], part: str, metrics: Metrics) -> None:
    """Draw the observed against the predicted click rate, and say how many buckets are off."""
    by_run = {
        name: calibration(rows["label"].to_numpy(), rows["probability"].to_numpy(), buckets_for(rows["label"]))
        for name, rows in runs.items()
    }
    table = next(iter(by_run.values()))
    if len(by_run) > 1:
        table = pd.concat([buckets.assign(run=name) for name, buckets in by_run.items()], ignore_index=True)
    first = next(iter(by_run.values()))
    off = int(((first["predicted"] < first["low"]) | (first["predicted"] > first["high"])).sum())
    finding = "No bucket is off" if off == 0 else f"{off} of {len(first)} buckets are off"
    finding = "There are too few rows to judge" if too_few(metrics) else finding
    reading = (
        f"Each point is a bucket of about {int(first['rows'].median()):,} rows with similar predictions. On the dashed "
        f"line, prediction and click rate agree. Bar: 95% interval of the click rate (Wilson). {finding}."
    )
    figure(
        "Calibration",
        lambda: calibration_curve(table),
        table,
        reading,
        key="calibration",
        titles=RATES,
        file=f"calibration-{part}",
    )


main()
