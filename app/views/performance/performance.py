"""The page Performance: metrics, calibration, ranking, a threshold with its cost, the ladder of parts, and slices."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app.charts.performance import calibration_curve, off_by_chance
from app.shared import predictions, run_status
from app.shared.predictions import predicted_runs, same_predictions, say_which_is_better
from app.state import links
from app.state.saved_runs import OpenRun
from app.views.performance.ablation import ladder_section
from app.views.performance.run_diff import difference_section
from app.views.performance.slices import slice_section
from app.views.performance.threshold import threshold_section
from app.widgets.columns import RATES
from app.widgets.figure import figure
from app.widgets.layout import heading_for_readers, side_by_side
from app.widgets.text import code, plain
from deepfm_core._words import percent
from deepfm_core.metrics.scores import Metrics, calibration

FEWEST_BUCKETS, MOST_BUCKETS = 3, 10


def main() -> None:
    """Draw the page."""
    st.title("Performance", anchor=False)
    run = run_status.finished_run()
    run_status.show_run(run)
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
    else:
        heading_for_readers("Calibration")
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
    """Draw the observed against the predicted positive rate, and say how many buckets are off."""
    by_run = {
        name: calibration(rows["label"].to_numpy(), rows["probability"].to_numpy(), buckets_for(rows["label"]))
        for name, rows in runs.items()
    }
    table = next(iter(by_run.values()))
    if len(by_run) > 1:
        table = pd.concat([buckets.assign(run=name) for name, buckets in by_run.items()], ignore_index=True)
    first = next(iter(by_run.values()))
    off = int(((first["predicted"] < first["low"]) | (first["predicted"] > first["high"])).sum())
    finding = "There are too few rows to judge" if too_few(metrics) else off_by_chance(off, len(first))
    reading = (
        f"Each point is a bucket of about {int(first['rows'].median()):,} rows with similar predictions. On the dashed "
        f"line, prediction and positive rate agree. Bar: 95% interval of the positive rate (Wilson). {finding}."
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


# The four metrics of a part with their 95% intervals, and a sentence on what they mean.


@dataclass(frozen=True)
class Shown:
    """A metric as it is shown: title, name in `Metrics`, whether more is better (None: 1 is best), and help text."""

    title: str
    name: str
    more_is_better: bool | None
    help: str

    def value(self, metrics: Metrics) -> float | None:
        """Read the metric."""
        value: float | None = getattr(metrics, self.name)
        return value

    def interval(self, metrics: Metrics) -> str:
        """Write the 95% interval."""
        stem = self.name.removesuffix("_ratio")
        low, high = getattr(metrics, f"{stem}_low"), getattr(metrics, f"{stem}_high")
        return "not defined on these rows" if low is None else f"95%: {low:.3f} to {high:.3f}"


SHOWN = (
    Shown("AUC", "auc", True, "Chance that a random positive row ranks above a random negative one. Interval: DeLong."),
    Shown("Logloss (nats)", "logloss", False, "Mean negative log-likelihood per row. Lower is better."),
    Shown(
        "Normalised entropy",
        "normalised_entropy",
        False,
        "Logloss ÷ logloss of predicting the training positive rate for every row. Below 1 is better than that.",
    ),
    Shown(
        "Predicted ÷ observed rate",
        "calibration_ratio",
        None,
        "Sum of probabilities ÷ number of positive rows. 1 is right on average; above 1 predicts too many.",
    ),
)


FEWEST = 10
"""With fewer rows of either outcome nothing is concluded, since every interval is wider than what it measures."""


def too_few(metrics: Metrics) -> bool:
    """Say whether a part holds too few of either outcome to conclude anything."""
    return min(metrics.clicks, metrics.rows - metrics.clicks) < FEWEST


def metric_row(metrics: Metrics, compared: Metrics | None) -> None:
    """Draw the metrics, their difference to a compared run on the same rows, and a sentence on them."""
    columns = side_by_side(4, least=220, gap="small")
    for column, shown in zip(columns, SHOWN, strict=True):
        with column.container(border=True, gap=None):
            _metric(shown, metrics, compared)
    st.markdown(sentence(metrics))


def sentence(metrics: Metrics) -> str:
    """Say in words what the metrics of a part mean."""
    text = f"Of {metrics.rows:,} rows, {metrics.clicks:,} ({percent(metrics.clicks / metrics.rows, 1)}) are positive."
    if too_few(metrics):
        rarer = "positive rows" if metrics.clicks * 2 <= metrics.rows else "negative rows"
        return f"{text} With so few {rarer}, nothing can be concluded. Test on more rows."
    if metrics.auc is not None:
        text += f" A positive row ranks above a negative one **{percent(metrics.auc)}** of the time"
        guess = (metrics.auc_low or 0.0) <= 0.5 <= (metrics.auc_high or 1.0)
        text += ", and guessing might do as well." if guess else "."
    if metrics.normalised_entropy is not None:
        gain = 1 - metrics.normalised_entropy
        word = "below" if gain >= 0 else "above"
        text += f" The logloss is **{abs(gain):.0%} {word}** that of always predicting the share of positive rows."
    low, high = metrics.calibration_low, metrics.calibration_high
    if low is not None and high is not None:
        fits = low <= 1 <= high
        text += " On average, " + (
            "the probabilities fit." if fits else "the probabilities are **off** by more than noise."
        )
    return text


def _metric(shown: Shown, metrics: Metrics, compared: Metrics | None) -> None:
    value, other = shown.value(metrics), shown.value(compared) if compared else None
    colour = {True: "normal", False: "inverse", None: "off"}[shown.more_is_better]
    change = None if value is None or other is None else f"{value - other:+.3f}"
    same = change in ("+0.000", "-0.000")
    st.metric(
        shown.title,
        "–" if value is None else f"{value:.3f}",
        "±0.000" if same else change,
        delta_color="off" if same else colour,  # type: ignore[arg-type]
        delta_arrow="off" if same else "auto",
        help=shown.help,
    )
    st.caption(shown.interval(metrics))


main()
