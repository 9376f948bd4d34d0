"""Ranking and a threshold: ROC, precision–recall and lift, with live counts and cost at a chosen probability."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.performance import lift_curve, precision_recall_curve, roc_curve
from app.column_titles import RATES
from app.figure import figure
from app.layout import side_by_side
from deepfm_core.training.metrics import Metrics, thresholds

COUNTS = (
    ("Hits", "hits", "called a click, was one"),
    ("False alarms", "false_alarms", "called a click, was none"),
    ("Misses", "misses", "not called, was a click"),
    ("Rightly left out", "left_out", "not called, was none"),
)


@st.fragment
def threshold_section(runs: dict[str, pd.DataFrame], metrics: Metrics, part: str) -> None:
    """Draw the section; only it runs again when the threshold moves.

    Args:
        runs: predictions by run name, the current run first.
        metrics: of the current run's part.
        part: for the names of files.
    """
    st.header("Ranking and threshold", anchor=False, divider="gray")
    if metrics.auc is None:
        st.caption("Curves need clicks and non-clicks.")
        return
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


def _choose_threshold(curve: pd.DataFrame, metrics: Metrics) -> float:
    """Let the visitor choose from which probability a row is called a click; at first as many as there are clicks."""
    top = float(curve["threshold"].max())
    step = 10.0 ** math.floor(math.log10(max(top, 1e-6) / 50))
    as_many = float(curve.loc[curve["called"] >= metrics.clicks, "threshold"].iloc[0])
    chosen: float = st.slider(
        "Call a row a click from this probability on",
        0.0,
        math.ceil(top / step) * step,
        round(as_many / step) * step,
        step,
        format=f"%.{max(0, round(-math.log10(step)))}f",
        key="threshold",
        bind="query-params",
    )
    return chosen


def counts_at(curve: pd.DataFrame, threshold: float, rows: int, clicks: int) -> dict[str, int]:
    """Count what a threshold gets right and wrong: `hits`, `false_alarms`, `misses`, `left_out`."""
    at = curve[curve["threshold"] >= threshold].tail(1)
    called, hits = (int(at["called"].iloc[0]), int(at["hits"].iloc[0])) if len(at) else (0, 0)
    misses = clicks - hits
    return {"hits": hits, "false_alarms": called - hits, "misses": misses, "left_out": rows - called - misses}


def cheapest(curve: pd.DataFrame, clicks: int, false_alarm: float, miss: float) -> tuple[float, float]:
    """Find the threshold of least cost on these rows, and that cost."""
    cost = (curve["called"] - curve["hits"]) * false_alarm + (clicks - curve["hits"]) * miss
    best = int(np.argmin(cost.to_numpy()))
    if clicks * miss < float(cost.iloc[best]):
        return math.inf, clicks * miss
    return float(curve["threshold"].iloc[best]), float(cost.iloc[best])


def _choose_costs() -> tuple[float, float]:
    left, right = st.columns(2)
    false_alarm: float = left.number_input(
        "A false alarm costs", 0.0, value=1.0, key="false_alarm", bind="query-params"
    )
    miss: float = right.number_input("A miss costs", 0.0, value=5.0, key="miss", bind="query-params")
    return false_alarm, miss


def _show_counts(curve: pd.DataFrame, threshold: float, metrics: Metrics, costs: tuple[float, float]) -> None:
    counts = counts_at(curve, threshold, metrics.rows, metrics.clicks)
    cost = counts["false_alarms"] * costs[0] + counts["misses"] * costs[1]
    columns = side_by_side(5, least=110, gap="small")
    for column, (title, key, meaning) in zip(columns, COUNTS, strict=False):
        column.metric(title, f"{counts[key]:,}", help=meaning.capitalize() + ".")
    columns[4].metric("Cost", f"{cost:,.0f}", help="False alarms and misses, each times its cost.")
    called = counts["hits"] + counts["false_alarms"]
    precision = f"{counts['hits'] / called:.0%} of them are clicks" if called else "so nothing is found"
    best, least = cheapest(curve, metrics.clicks, *costs)
    where = "calling nothing a click" if math.isinf(best) else f"at {best:.3f}"
    st.caption(
        f"At {threshold:g}, {called:,} of {metrics.rows:,} rows are called clicks: {precision}, and "
        f"{counts['hits'] / max(metrics.clicks, 1):.0%} of all clicks are found. The least these rows can cost is "
        f"{least:,.0f}, {where}."
    )


def _show_curves(table: pd.DataFrame, threshold: float, metrics: Metrics, part: str) -> None:
    left, middle, right = side_by_side(3, least=280)
    with left:
        reading = "Up and left is better; the dashed line is guessing. The dot is the threshold."
        chart = roc_curve(table, auc=metrics.auc, threshold=threshold)
        figure("ROC", lambda: chart, table, reading, key="roc", titles=RATES, file=f"roc-{part}")
    with middle:
        reading = "Of the rows called, how many are clicks, as more clicks are found. Dashed: guessing."
        rate = metrics.clicks / metrics.rows
        pr = precision_recall_curve(table, base_rate=rate, threshold=threshold)
        figure("Precision, recall", lambda: pr, table, reading, key="pr", titles=RATES, file=f"precision-recall-{part}")
    with right:
        reading = "How many times the base rate the rows of highest probability click."
        lift = lift_curve(table, threshold=threshold)
        figure("Lift", lambda: lift, table, reading, key="lift", titles=RATES, file=f"lift-{part}")
