"""Ranking and threshold: ROC, precision–recall and lift, with counts and cost at a chosen threshold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.performance import lift_curve, precision_recall_curve, roc_curve
from app.widgets.columns import RATES
from app.widgets.figure import figure
from app.widgets.layout import side_by_side
from app.widgets.text import plain
from deepfm_core._words import percent
from deepfm_core.metrics.scores import Metrics, thresholds

THRESHOLD = "threshold"
"""Name of the choice in the URL."""
COUNTS = (
    ("True positives", "true_positives", "positive rows that are flagged"),
    ("False positives", "false_positives", "negative rows that are flagged"),
    ("False negatives", "false_negatives", "positive rows that are not flagged"),
    ("True negatives", "true_negatives", "negative rows that are not flagged"),
)
"""The four counts: title, name in `counts_at`, and help."""


@st.fragment
def threshold_section(runs: dict[str, pd.DataFrame], metrics: Metrics, part: str) -> None:
    """Draw the section; as a fragment, only it runs again when the threshold moves.

    Args:
        runs: predictions by run name, the current run first.
        metrics: metrics of the current run on the part, of which the predictions may be a sample.
        part: used in names of files.
    """
    st.header("Ranking and threshold", anchor=False, divider="gray")
    if metrics.auc is None:
        st.caption("The curves need both positive and negative rows.")
        return
    labels = next(iter(runs.values()))["label"]
    if len(labels) < metrics.rows:
        metrics = replace(metrics, rows=len(labels), clicks=int(labels.sum()))
    curves = {name: thresholds(rows["label"].to_numpy(), rows["probability"].to_numpy()) for name, rows in runs.items()}
    own = next(iter(curves.values()))
    left, right = side_by_side(2)
    with left:
        threshold = _choose_threshold(own, metrics)
    with right:
        costs = _choose_costs()
    _show_counts(own, threshold, metrics, costs)
    table = own
    if len(curves) > 1:
        table = pd.concat([curve.assign(run=name) for name, curve in curves.items()], ignore_index=True)
    _show_curves(table, threshold, metrics, part)


def steps(curve: pd.DataFrame) -> tuple[float, float]:
    """Give the slider's largest threshold and its step, from the largest probability."""
    top = max(float(curve["threshold"].max()), 1e-6)
    step = 10.0 ** math.floor(math.log10(top / 50))
    return math.ceil(top / step) * step, step


def _decimals(step: float) -> int:
    return max(0, round(-math.log10(step)))


def _choose_threshold(curve: pd.DataFrame, metrics: Metrics) -> float:
    """Let the visitor choose the decision threshold; the default flags about as many rows as are positive."""
    top, step = steps(curve)
    linked = st.query_params.get(THRESHOLD)
    if linked is not None and not _within(linked, top):
        st.caption(f"The link's threshold {plain(linked)} is not between 0 and {top:g}. Showing the default.")
    chosen: float = st.slider(
        "Decision threshold",
        0.0,
        top,
        as_many(curve, metrics.clicks),
        step,
        format=f"%.{_decimals(step)}f",
        key=THRESHOLD,
        bind="query-params",
        help="Rows with at least this probability are flagged as positive.",
    )
    return chosen


def as_many(curve: pd.DataFrame, clicks: int) -> float:
    """Give the default threshold: it flags about as many rows as there are positive ones."""
    _, step = steps(curve)
    return round(float(curve.loc[curve["called"] >= clicks, "threshold"].iloc[0]) / step) * step


def _within(text: str, top: float) -> bool:
    try:
        return 0 <= float(text) <= top
    except ValueError:
        return False


def counts_at(curve: pd.DataFrame, threshold: float, rows: int, clicks: int) -> dict[str, int]:
    """Count `true_positives`, `false_positives`, `false_negatives` and `true_negatives` at a threshold."""
    at = curve[curve["threshold"] >= threshold].tail(1)
    flagged, found = (int(at["called"].iloc[0]), int(at["hits"].iloc[0])) if len(at) else (0, 0)
    missed = clicks - found
    return {
        "true_positives": found,
        "false_positives": flagged - found,
        "false_negatives": missed,
        "true_negatives": rows - flagged - missed,
    }


def cheapest(curve: pd.DataFrame, rows: int, clicks: int, costs: tuple[float, float]) -> tuple[float, float]:
    """Find the slider's threshold of lowest cost on these rows, the highest if there are several, and that cost.

    Args:
        curve: columns `threshold` (falling), `called`, `hits`.
        rows: number of rows.
        clicks: number of clicks.
        costs: of a false positive and of a false negative.
    """
    top, step = steps(curve)
    choices = np.round(np.arange(round(top / step), -1, -1) * step, _decimals(step))
    paid = [_cost(counts_at(curve, float(choice), rows, clicks), costs) for choice in choices]
    best = int(np.argmin(paid))
    return float(choices[best]), paid[best]


def _cost(counts: dict[str, int], costs: tuple[float, float]) -> float:
    return counts["false_positives"] * costs[0] + counts["false_negatives"] * costs[1]


def _choose_costs() -> tuple[float, float]:
    left, right = st.columns(2)
    false_alarm: float = left.number_input(
        "Cost of a false positive", 0.0, value=1.0, key="false_alarm", bind="query-params"
    )
    miss: float = right.number_input("Cost of a false negative", 0.0, value=1.0, key="miss", bind="query-params")
    if false_alarm == miss == 1:
        st.caption("With both at 1, the cost is the number of wrong rows. Enter what each mistake costs you.")
    return false_alarm, miss


def _show_counts(curve: pd.DataFrame, threshold: float, metrics: Metrics, costs: tuple[float, float]) -> None:
    counts = counts_at(curve, threshold, metrics.rows, metrics.clicks)
    cost = _cost(counts, costs)
    columns = side_by_side(5, least=110, gap="small")
    for column, (title, key, meaning) in zip(columns, COUNTS, strict=False):
        column.metric(title, f"{counts[key]:,}", help=meaning.capitalize() + ".")
    columns[4].metric("Cost", f"{cost:,.0f}", help="False positives and false negatives, each times its cost.")
    flagged = counts["true_positives"] + counts["false_positives"]
    precision = f" ({percent(counts['true_positives'] / flagged)} of them are positive)" if flagged else ""
    recall = f"finds {percent(counts['true_positives'] / max(metrics.clicks, 1))} of all positive rows"
    default = abs(threshold - as_many(curve, metrics.clicks)) < 1e-9
    text = f"A threshold of {threshold:g} flags {flagged:,} of {metrics.rows:,} rows{precision} and {recall}. "
    if default:
        text += f"The default, {threshold:g}, flags about as many rows as are positive. "
    best, least = cheapest(curve, metrics.rows, metrics.clicks, costs)
    if cost <= least:
        st.caption(f"{text}No other threshold costs less on these rows.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{text}The lowest possible cost on these rows is {least:,.0f}, at {best:g}.", width="stretch")
        st.button(f"Lowest cost: {best:g}", icon=":material/savings:", on_click=_go_to, args=(best,))


def _go_to(threshold: float) -> None:
    st.session_state[THRESHOLD] = threshold


def _show_curves(table: pd.DataFrame, threshold: float, metrics: Metrics, part: str) -> None:
    left, middle, right = side_by_side(3, least=280)
    with left:
        reading = "Higher and further left is better. Dashed: guessing. The dot is the threshold."
        chart = roc_curve(table, auc=metrics.auc, threshold=threshold)
        figure("ROC", lambda: chart, table, reading, key="roc", titles=RATES, file=f"roc-{part}")
    with middle:
        reading = "Share of positive rows among flagged ones, by the share of positive rows found. Dashed: guessing."
        rate = metrics.clicks / metrics.rows
        pr = precision_recall_curve(table, base_rate=rate, threshold=threshold)
        figure("Precision, recall", lambda: pr, table, reading, key="pr", titles=RATES, file=f"precision-recall-{part}")
    with right:
        reading = "Positive rate of the flagged rows, in multiples of the base rate."
        lift = lift_curve(table, threshold=threshold)
        figure("Lift", lambda: lift, table, reading, key="lift", titles=RATES, file=f"lift-{part}")
