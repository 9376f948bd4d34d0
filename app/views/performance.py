"""How good the probabilities are: calibration first, then ranking, a threshold and its cost, and slices."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import finished, home, links, parts
from app.charts.performance import calibration_curve
from app.column_titles import RATES
from app.difference_section import difference_section
from app.figure import figure, signed
from app.inputs import plain
from app.ladder_section import ladder_section
from app.metric_row import metric_row
from app.slice_section import slice_section
from app.threshold_section import threshold_section
from deepfm_core.training.comparison import logloss_difference
from deepfm_core.training.metrics import calibration

FEWEST_BUCKETS, MOST_BUCKETS = 3, 10


def main() -> None:
    """Draw the page."""
    st.title("Performance", anchor=False)
    run = finished.finished_run()
    other = finished.compared_run(run)
    part = choose_part(run)
    rows, metrics = parts.predictions(run, part), parts.metrics(run, part)
    if rows is None or metrics is None:
        st.info(f"Run `{run.name}` holds no metrics of this part. Train it again, or choose another run.")
        return
    same = other is not None and parts.same_rows(run, other, part)
    metric_row(metrics, parts.metrics(other, part) if other and same else None)
    if other:
        compare(rows, parts.predictions(other, part), other, same)
    if metrics.note:
        st.warning(metrics.note)
    if other:
        difference_section(run, other, rows, parts.predictions(other, part) if same else None, metrics)
        st.header("Calibration and ranking", anchor=False, divider="gray")
    runs = predicted_runs(run, rows, other, part)
    show_calibration(runs, part)
    threshold_section(runs, metrics, part)
    ladder_section(run, part)
    slice_section(run, part, rows, metrics)


def choose_part(run: home.OpenRun) -> str:
    """Let the visitor choose between the judged parts, test first."""
    frame = finished.frame(run, "predictions", "predictions")
    there = [part for part in parts.NAMES if part in set(frame["part"])]
    chosen: str | None = st.segmented_control(
        "Rows",
        there,
        required=True,
        format_func=parts.NAMES.__getitem__,
        label_visibility="collapsed",
        **links.mirror("part", there, there[0]),
    )
    return chosen or there[0]


def compare(rows: pd.DataFrame, theirs: pd.DataFrame | None, other: home.OpenRun, same: bool) -> None:
    """Say which of two runs predicts the same rows better, and whether chance would explain it."""
    name = plain(other.name)
    if theirs is None or not same:
        st.caption(
            f"**{name}** was judged on other rows: its curves stand beside these, its figures cannot be compared."
        )
        return
    labels, logits = rows["label"].to_numpy(dtype=float), rows["logit"].to_numpy()
    apart = logloss_difference(labels, logits, theirs["logit"].to_numpy())
    which = "lower" if apart.value < 0 else "higher"
    verdict = "more than chance explains" if apart.told_apart else "which chance alone could explain"
    st.caption(
        f"Against **{name}**, row by row on the same rows, the logloss is {abs(apart.value):.3f} {which} "
        f"(95%: {signed(apart.low, 3)} to {signed(apart.high, 3)}), {verdict}."
    )


def predicted_runs(
    run: home.OpenRun, rows: pd.DataFrame, other: home.OpenRun | None, part: str
) -> dict[str, pd.DataFrame]:
    """Give the predictions of the current run and, where it has this part, of the compared one, by name."""
    compared = None if other is None else parts.predictions(other, part)
    if other is None or compared is None:
        return {run.name: rows}
    name = other.name if other.name != run.name else f"{other.name} (compared)"
    return {run.name: rows, name: compared}


def buckets_for(labels: pd.Series) -> int:
    """Choose how many buckets, so that each can hold some of the rarer outcome."""
    rarer = int(min(labels.sum(), len(labels) - labels.sum()))
    return min(MOST_BUCKETS, max(FEWEST_BUCKETS, rarer // 10))


def show_calibration(runs: dict[str, pd.DataFrame], part: str) -> None:
    """Draw observed against predicted click rate, and say how many buckets are off."""
    by_run = {
        name: calibration(rows["label"].to_numpy(), rows["probability"].to_numpy(), buckets_for(rows["label"]))
        for name, rows in runs.items()
    }
    table = next(iter(by_run.values()))
    if len(by_run) > 1:
        table = pd.concat([buckets.assign(run=name) for name, buckets in by_run.items()], ignore_index=True)
    first = next(iter(by_run.values()))
    off = int(((first["predicted"] < first["low"]) | (first["predicted"] > first["high"])).sum())
    says = "None of them is off" if off == 0 else f"{off} of {len(first)} are off"
    reading = (
        f"Each point is about {int(first['rows'].median()):,} rows of like prediction; on the dashed line it "
        f"agrees with the click rate. The bar is the 95% interval of the click rate over rows drawn (Wilson). {says}."
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
