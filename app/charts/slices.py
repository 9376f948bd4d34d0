"""A metric at each level of a field, with its interval; the axis fits the values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from app.charts.grammar.theme import ACCENT, MUTED, TEXT, dress, step
from app.charts.grammar.vega import Chart, Layer, Spec, column, expr, hover, layer, mark, nominal, quantity
from app.charts.grammar.vega import value as value_of

RATIO_TICKS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 0.25, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 8, 16, 32, 64)
ROUND_TICKS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
_WIDE = 4.0
"""A ratio's axis has room for ticks between powers of two if its ends are at most this factor, squared, apart."""
_MOST = 4.0
"""An interval stretches the axis of a ratio up to this factor, then it ends in an arrow. Points are always inside."""


def slices(
    frame: pd.DataFrame,
    *,
    value: str,
    title: str,
    overall: float | None = None,
    form: str = ".3f",
    field: str = "",
    ratio: bool = False,
    shares: bool = False,
) -> Chart:
    """Draw a metric for each level of a field, with interval and number of rows; order as given.

    Args:
        frame: columns `level`, `value`, `low`, `high` (may be null), `rows`.
        value: the column that holds the metric.
        title: what it is, with its unit.
        overall: the metric over all rows, as a line.
        form: d3 format of its numbers.
        field: name of the field.
        ratio: whether the metric is a ratio: its axis is logarithmic around 1, and an interval beyond its ends has an
            arrow.
        shares: whether a pale bar behind each level shows its share of all rows (column `share`).
    """
    names = [f"{level}  ({count:,})" for level, count in zip(frame["level"], frame["rows"], strict=True)]
    rows = frame.assign(name=names, drawn_low=frame["low"], drawn_high=frame["high"])
    scale: Spec = {"zero": False, "padding": 12}
    axis: Spec = {"format": form, "tickCount": 6}
    if ratio:
        ends = ratio_ends(frame, value, overall)
        rows = rows.assign(drawn_low=frame["low"].clip(*ends), drawn_high=frame["high"].clip(*ends))
        scale = {"type": "log", "base": 2, "domain": list(ends), "nice": False}
        # No `format` here: with one, Vega drops every tick that is not a power of the base.
        axis = {"values": ratio_ticks(ends), "labelExpr": "'×' + format(datum.value, '.3~r')", "labelOverlap": "greedy"}
    x = quantity(value, title=title, scale=scale, axis=axis)
    y = nominal("name", sort=names, title=f"{field} (rows)", axis={"labelColor": TEXT.ink})
    tooltip = hover(
        ("level", field or "level"),
        (value, title, form),
        ("low", "95% from", form),
        ("high", "95% to", form),
        ("rows", "rows", ","),
    )
    bar = mark("rule", color=ACCENT.ink, strokeWidth=6, opacity=0.28, strokeCap="round", aria=False)
    layers = [
        layer(rows, bar, x=quantity("drawn_low"), x2=column("drawn_high"), y=y),
        *(_arrows(rows, y) if ratio else []),
        layer(rows, mark("circle", color=ACCENT.ink, size=80, opacity=1), x=x, y=y, tooltip=tooltip),
    ]
    if shares:
        widest = max(float(frame["share"].max()), 1e-9) if len(frame) else 1.0
        look = mark("bar", color=MUTED.ink, opacity=0.18, height={"band": 0.9}, aria=False)
        at = value_of(expr(f"width * datum.share / {widest}"))
        layers.insert(0, layer(rows, look, x=value_of(0), x2=at, y=y))
    if overall is not None:
        whole = mark("rule", color=MUTED.ink, strokeDash=[4, 4], aria=False)
        layers.insert(0, layer(pd.DataFrame({value: [overall]}), whole, x=x))
    return dress(layers, f"{title} by level of {field or 'a field'}.", height=step(28))


def ratio_ends(frame: pd.DataFrame, value: str, overall: float | None = None) -> tuple[float, float]:
    """Choose the ends of a ratio's axis: around 1, every point inside, and the intervals up to ×4.

    Args:
        frame: columns `value`, `low`, `high`.
        value: the column that holds the ratio.
        overall: the ratio over all rows.
    """
    points = _logs([*frame[value], *([] if overall is None else [overall])])
    intervals = np.clip(_logs([*frame["low"], *frame["high"]]), -np.log(_MOST), np.log(_MOST))
    both = np.concatenate([points, intervals, [-0.1, 0.1]])
    low, high = float(both.min()), float(both.max())
    room = 0.03 * (high - low)
    return float(np.exp(low - room)), float(np.exp(high + room))


def ratio_ticks(ends: tuple[float, float]) -> list[float]:
    """List the ticks inside a ratio's axis; a wide axis has powers of two only."""
    wide = ends[1] / ends[0] > _WIDE**2
    return [tick for tick in (ROUND_TICKS if wide else RATIO_TICKS) if ends[0] <= tick <= ends[1]]


def goes_on(frame: pd.DataFrame, value: str, overall: float | None = None) -> bool:
    """Say whether an interval continues beyond the axis of a ratio."""
    low, high = ratio_ends(frame, value, overall)
    return bool((frame["low"] < low).any() or (frame["high"] > high).any())


def _logs(ratios: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    known = np.array([ratio for ratio in ratios if pd.notna(ratio)], dtype=float)
    logs: np.ndarray[tuple[int], np.dtype[np.float64]] = np.log(np.clip(known, 1e-3, 1e3))
    return logs


def _arrows(rows: pd.DataFrame, y: Spec) -> list[Layer]:
    """Draw an arrow where an interval is cut off at the end of the axis."""
    look: Spec = {"filled": True, "color": ACCENT.ink, "size": 70, "opacity": 0.75, "aria": False}
    left, right = rows[rows["low"] < rows["drawn_low"]], rows[rows["high"] > rows["drawn_high"]]
    return [
        layer(left, mark("point", shape="triangle-left", **look), x=quantity("drawn_low"), y=y),
        layer(right, mark("point", shape="triangle-right", **look), x=quantity("drawn_high"), y=y),
    ]
