"""Sampled rows by their logit: as a plane of FM logit and DNN logit, or as strips for a model of one part."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from app.charts.grammar.theme import ACCENT, DNN, FM, LOG_ODDS, MUTED, SIGNED, TEXT, dress, inks, legend_of
from app.charts.grammar.vega import (
    Chart,
    Layer,
    Spec,
    click_selects,
    column,
    drag_selects,
    hover,
    layer,
    mark,
    nominal,
    quantity,
    when,
)
from deepfm_core._words import percent

PROBABILITIES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)

APART = 0.08
"""Names of lines of equal probability are at least this share of the axis apart."""
Outcomes = tuple[str, str]
"""What the negative and the positive outcome are called."""
OUTCOMES: Outcomes = ("negative", "positive")
"""What they are called where a chart is not told the visitor's own label."""


def logit_plane(
    examples: pd.DataFrame,
    *,
    selected: int | None = None,
    brush: str = "brush",
    point: str = "row",
    names: tuple[str, str] = ("FM logit", "DNN logit"),
    titles: tuple[str, str] = ("FM logit: bias + first order + second order", "DNN logit"),
    outcomes: Outcomes = OUTCOMES,
) -> Chart:
    """Draw rows by FM logit (horizontal) and DNN logit (vertical), with diagonals of equal probability.

    Dragging selects an area (`brush`, intervals of `fm_logit` and `dnn_logit`), a click a row (`point`, field `row`).

    Args:
        examples: columns `row`, `label`, `fm_logit`, `dnn_logit`, `logit`, `probability`.
        selected: the row to ring.
        brush: name of the interval selection.
        point: name of the point selection.
        names: names of the two parts, if they are not FM logit and DNN logit.
        titles: of the axes, without unit.
        outcomes: what the negative and the positive outcome are called.
    """
    rows = examples[["row", "label", "fm_logit", "dnn_logit", "logit", "probability"]].copy()
    rows["outcome"] = np.where(rows["label"] > 0.5, outcomes[1], outcomes[0])
    rows = rows.sort_values("label", kind="stable")
    x_range, y_range = _padded(rows["fm_logit"]), _padded(rows["dnn_logit"])
    tones = (FM, DNN) if names[1] == "DNN logit" else (MUTED, MUTED)
    x = _logit("fm_logit", f"{titles[0]} ({LOG_ODDS})", x_range, tones[0].ink)
    y = _logit("dnn_logit", f"{titles[1]} ({LOG_ODDS})", y_range, tones[1].ink)
    ring = mark("point", size=220, strokeWidth=2.5, color=TEXT.ink, opacity=1)
    chosen = layer(rows[rows["row"] == (-1 if selected is None else selected)], ring, x=x, y=y)
    layers = [*_diagonals(x_range, y_range, x, y), _points(rows, x, y, (brush, point), names, outcomes), chosen]
    return dress(layers, _takeaway(rows, names), height=440)


def _logit(field: str, title: str, domain: list[float], ink: Spec) -> Spec:
    axis = {"titleColor": ink, "labelExpr": SIGNED, "tickCount": 8}
    return quantity(field, title=title, scale={"domain": domain, "nice": False}, axis=axis)


def _padded(values: pd.Series[float]) -> list[float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    pad = max(0.05 * (high - low), 0.05)
    return [low - pad, high + pad]


def _diagonals(x_range: list[float], y_range: list[float], x: Spec, y: Spec) -> list[Layer]:
    """Clip each line of equal probability to the plot; its label is at the upper or left end."""
    ends, labels = [], []
    apart, last = APART * (x_range[1] - x_range[0]), -math.inf
    for p in PROBABILITIES:
        total = math.log(p / (1 - p))
        left = max(x_range[0], total - y_range[1])
        right = min(x_range[1], total - y_range[0])
        if right - left <= 0.02 * (x_range[1] - x_range[0]):
            continue
        ends += [{"p": p, "fm_logit": v, "dnn_logit": total - v} for v in (left, right)]
        if left - last < apart and left > x_range[0]:
            continue  # its name would lie on that of the last one
        last = left
        labels.append({"fm_logit": left, "dnn_logit": total - left, "label": percent(p, 1) if p < 0.01 else percent(p)})
    lines = pd.DataFrame(ends, columns=["p", "fm_logit", "dnn_logit"])
    names = pd.DataFrame(labels, columns=["fm_logit", "dnn_logit", "label"])
    dashes = mark("line", color=MUTED.ink, strokeWidth=1, strokeDash=[3, 4], opacity=0.6)
    text = mark("text", align="left", baseline="top", dx=5, dy=4, fontSize=11, color=MUTED.ink)
    return [layer(lines, dashes, x=x, y=y, detail=column("p")), layer(names, text, x=x, y=y, text=nominal("label"))]


def _points(
    rows: pd.DataFrame, x: Spec, y: Spec, selections: tuple[str, str], names: tuple[str, str], outcomes: Outcomes
) -> Layer:
    domain = list(outcomes)
    shapes = {"domain": domain, "range": ["circle", "diamond"]}
    return layer(
        rows,
        mark("point", filled=True, size=26, cursor="pointer"),
        selections=[drag_selects(selections[0]), click_selects(selections[1], "row")],
        x=x,
        y=y,
        color=nominal("outcome", **legend_of(domain, [MUTED, ACCENT])),
        shape=nominal("outcome", title=None, sort=domain, scale=shapes),
        opacity=when("datum.label > 0.5", 0.85, 0.35),
        tooltip=hover(
            ("row", "row", "d"),
            ("outcome", "outcome"),
            ("fm_logit", names[0], "+.3f"),
            ("dnn_logit", names[1], "+.3f"),
            ("probability", "probability", ".2%"),
        ),
    )


def _takeaway(rows: pd.DataFrame, names: tuple[str, str]) -> str:
    if rows.empty:
        return "No rows."
    fm, dnn = float(rows["fm_logit"].std(ddof=0)), float(rows["dnn_logit"].std(ddof=0))
    return (
        f"{len(rows):,} rows by {names[0]} and {names[1]}. Over rows, the first varies by {fm:.2f} and the second by "
        f"{dnn:.2f} log-odds (sd); {int((rows['label'] > 0.5).sum()):,} rows are positive."
    )


# A model of one part has one axis: a strip of logits for each outcome.


def logit_strip(
    examples: pd.DataFrame,
    *,
    selected: int | None = None,
    brush: str = "brush",
    point: str = "row",
    outcomes: Outcomes = OUTCOMES,
) -> Chart:
    """Draw rows by logit, positive ones above negative ones; within a strip they are spread out to stay visible.

    Dragging selects logits (`brush`, an interval of `logit`), a click a row (`point`, field `row`).

    Args:
        examples: columns `row`, `label`, `logit`, `probability`.
        selected: the row to ring.
        brush: name of the interval selection.
        point: name of the point selection.
        outcomes: what the negative and the positive outcome are called.
    """
    rows = examples[["row", "label", "logit", "probability"]].copy()
    rows["outcome"] = np.where(rows["label"] > 0.5, outcomes[1], outcomes[0])
    rows["spread"] = (rows["row"] * 0.618034) % 1.0
    domain = [outcomes[1], outcomes[0]]
    at: Spec = {
        "x": quantity("logit", title=f"logit ({LOG_ODDS})", scale={"zero": False}, axis={"labelExpr": SIGNED}),
        "y": nominal("outcome", title=None, sort=domain, axis={"labelColor": TEXT.ink}),
        "yOffset": quantity("spread", scale={"domain": [-0.1, 1.1]}),
    }
    points = layer(
        rows,
        mark("point", filled=True, size=26, opacity=0.5, cursor="pointer"),
        selections=[drag_selects(brush, "x"), click_selects(point, "row")],
        **at,
        color=nominal("outcome", legend=None, sort=domain, scale={"domain": domain, "range": inks([ACCENT, MUTED])}),
        tooltip=hover(
            ("row", "row", "d"),
            ("outcome", "outcome"),
            ("logit", "logit", "+.3f"),
            ("probability", "probability", ".2%"),
        ),
    )
    ring = mark("point", size=220, strokeWidth=2.5, color=TEXT.ink, opacity=1)
    chosen = layer(rows[rows["row"] == (-1 if selected is None else selected)], ring, **at)
    return dress([points, chosen], f"{len(rows):,} rows by logit, positive ones above negative ones.", height=260)
