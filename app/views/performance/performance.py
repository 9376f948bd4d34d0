"""The page Performance: metrics, calibration, ranking, a threshold with its cost, the ladder of parts, and slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app.charts.performance import calibration_curve, component_ladder, off_by_chance
from app.shared import groups, predictions, run_status
from app.shared.predictions import predicted_runs, same_predictions, say_which_is_better
from app.state import links, saved_runs, sharing
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.views.performance.run_diff import difference_section
from app.views.performance.slices import slice_section
from app.views.performance.threshold import threshold_section
from app.widgets.columns import LADDER, RATES
from app.widgets.figure import figure
from app.widgets.layout import heading_for_readers, side_by_side
from app.widgets.text import MODEL_TITLES, code, plain
from deepfm_core._words import percent, signed
from deepfm_core.metrics.bootstrap import DEEP, SECOND, ladder
from deepfm_core.metrics.scores import Metrics, calibration, few_cases, not_better
from deepfm_core.store.records import RunRow

FEWEST_BUCKETS, MOST_BUCKETS = 3, 10


def main() -> None:
    """Draw the page."""
    st.title("Performance", anchor=False)
    run = run_status.finished_run()
    run_status.show_run(run)
    run_status.say_copies(run)
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
    if len(rows) < metrics.rows:
        st.caption(
            f"The scores above are of all {metrics.rows:,} rows. What follows is of the {len(rows):,} of them that are "
            "in the run's sample."
        )
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
    if said := few_cases(metrics):
        text += f" {said}"
    if metrics.auc is not None:
        text += f" A positive row ranks above a negative one **{percent(metrics.auc)}** of the time"
        guess = (metrics.auc_low or 0.0) <= 0.5 <= (metrics.auc_high or 1.0)
        text += ", and guessing might do as well." if guess else "."
    if metrics.normalised_entropy is not None:
        gain = 1 - metrics.normalised_entropy
        word = "below" if gain >= 0 else "above"
        text += f" The logloss is **{abs(gain):.0%} {word}** that of always predicting the share of positive rows."
        text += f" **{said}**" if (said := not_better(metrics)) else ""
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


# What each part of a run's logit adds, against models trained with that part alone.


LADDER_PARTS = {SECOND: "FM pairs", DEEP: "DNN"}
"""Names of the ladder's parts in a sentence, by their rungs."""
ALONE = ("lr", "fm", "dnn")
"""Models that are trained with a single part of the ladder."""


def ladder_section(run: OpenRun, part: str) -> None:
    """Draw the section, for runs whose logit has several parts and on the rows that have partial sums."""
    sums = saved_runs.frame(run, "partial_sums")
    if sums is None or not (sums["part"] == part).any():
        return
    rungs = _rungs(run.id, part, tuple(row.id for row in _alone(run)), run)
    name = MODEL_TITLES[run.spec.model.name]
    st.header("What each part adds", anchor=False, divider="gray")
    st.markdown(_sentence(rungs, name))
    left, right = side_by_side(2, least=400, gap="large")
    for cell, metric, title in ((left, "logloss", "Logloss by part"), (right, "auc", "AUC by part")):
        if rungs[metric].notna().any():
            with cell:
                _figure(rungs, metric, title, name)
    if not (rungs["model"] != "").any():
        st.caption("Start *Compare* from this run: its comparison shows LR, FM and DNN here, next to the parts.")


def _alone(run: OpenRun) -> list[OpenRun]:
    """Find the finished runs of a comparison with the same seed that have one part only."""
    return [
        saved_runs.open_run(other.id)
        for other in _beside(run)
        if other.ended_well
        and sharing.may_see_run(other)
        and other.spec.model.name in ALONE
        and other.spec.seed == run.spec.seed
    ]


def _beside(run: OpenRun) -> Sequence[RunRow]:
    """List the runs of the run's comparison, or of the newest comparison on its table if it belongs to none."""
    if run.row is not None and run.row.comparison is not None:
        return store().comparisons.runs(run.row.comparison)
    newest = groups.newest_comparison(run.spec)
    return () if newest is None else newest[1]


@st.cache_data(max_entries=64, show_spinner=False)
def _rungs(run_id: str, part: str, alone: tuple[str, ...], _run: OpenRun) -> pd.DataFrame:
    sums = saved_runs.frame(_run, "partial_sums")
    assert sums is not None
    logits: dict[str, NDArray[np.floating]] = {}
    for other in map(saved_runs.open_run, alone):
        rows = predictions.predictions(other, part)
        if rows is not None and predictions.same_rows(_run, other, part):
            logits[other.spec.model.name] = rows["logit"].to_numpy()
    rungs = ladder(sums[sums["part"] == part], logits)
    return rungs.assign(title=rungs["model"].map(MODEL_TITLES).fillna(""))


def _sentence(rungs: pd.DataFrame, name: str) -> str:
    own = rungs[rungs["model"] == ""].reset_index(drop=True)
    steps = [
        f"adding the **{LADDER_PARTS.get(rung, rung)}** {_change(step, low, high)}"
        for rung, step, low, high in own.loc[1:, ["rung", "step", "step_low", "step_high"]].to_numpy()
    ]
    return (
        f"{name}'s logit is a sum. With {own['rung'][0]} alone, its logloss is {own['logloss'][0]:.4f} nats; "
        f"{', then '.join(steps)}. Intervals are of these changes, on the same rows."
    )


def _change(step: float, low: float, high: float) -> str:
    """Say how a part changes the logloss: by how much it lowers or raises it, where that is clear above noise."""
    if low <= 0 <= high:
        return f"changes it by no more than noise, {signed(step, 4)} (95%: {signed(low, 4)} to {signed(high, 4)})"
    least, most = sorted((abs(low), abs(high)))
    return f"{'lowers' if step < 0 else 'raises'} it by {abs(step):.4f} (95%: {least:.4f} to {most:.4f})"


def _figure(rungs: pd.DataFrame, metric: str, title: str, name: str) -> None:
    better = "lower" if metric == "logloss" else "higher"
    reading = f"From top to bottom, the parts of one trained logit are added; {better} is better. Bar: 95% interval."
    if metric == "logloss":
        reading += " A partial sum was not trained to be used alone, so its mean may be off, which raises its logloss."
    else:
        reading += " AUC does not depend on the mean."
    table = rungs[["rung", "title", metric, f"{metric}_low", f"{metric}_high"]].rename(
        columns={"title": "trained alone"}
    )
    chart = component_ladder(rungs, metric, name)
    figure(title, lambda: chart, table, reading, key=f"ladder {metric}", file=f"ladder-{metric}", titles=LADDER)


main()
