"""Every pair by two of its strengths: what the model learned against what the data shows."""

from __future__ import annotations

import pandas as pd

from .pairs import MEASURES, NOTICED, judged, named
from .theme import ACCENT, LOG_ODDS, MUTED, TEXT, dress
from .vega import Chart, click_selects, expr, hover, layer, mark, nominal, quantity, when


def pair_scatter(
    pairs: pd.DataFrame,
    x: str = "observed",
    y: str = "learned",
    *,
    selected: tuple[str, str] | None = None,
    selection: str = "pair",
    height: int = 340,
) -> Chart:
    """Draw one measure of every pair against another with the line of equality; a click selects a pair.

    Args:
        pairs: columns `field_a`, `field_b`, both measures and, where known, `solid`.
        x: the measure across.
        y: the measure up.
        selected: the pair to mark and name beside the three strongest.
        selection: name of the point selection.
        height: of the plot, in pixels.
    """
    rows = named(pairs.dropna(subset=[x, y]), selected)
    end = max(1.08 * float(rows[[x, y]].to_numpy().max()), NOTICED) if len(rows) else 1.0
    rows = rows.assign(far=rows[x] > 0.5 * end, low=rows[y] < 0.04 * end)
    labelled = _not_crowded(rows[rows["chosen"] | (rows[x] + rows[y]).rank(ascending=False).le(3)], x, y, end)
    across, up = (quantity(m, scale={"domain": [0, end]}, title=_titled(m), axis={"tickCount": 6}) for m in (x, y))
    look = {"color": ACCENT.ink, "stroke": ACCENT.ink, "strokeWidth": 1.5}
    points = layer(
        rows,
        mark("point", filled=True, cursor="pointer", **look),
        selections=[click_selects(selection, "field_a", "field_b")],
        x=across,
        y=up,
        fillOpacity=when("datum.solid", 0.75, 0),
        size=when("datum.chosen", 220, 80),
        tooltip=hover(("pair", "pair"), (x, MEASURES[x].label, ".3f"), (y, MEASURES[y].label, ".3f"))
        + (hover(("verdict", "verdict")) if judged(rows) else []),
    )
    side = {
        "align": expr("datum.far ? 'right' : 'left'"),
        "dx": expr("datum.far ? -10 : 10"),
        "dy": expr("datum.low ? -14 : -2"),
    }
    names = mark("text", color=TEXT.ink, limit=expr("width * 0.5"), **side)
    equal = pd.DataFrame({x: [0.0, end], y: [0.0, end]})
    layers = [
        layer(equal, mark("line", color=MUTED.ink, strokeDash=[4, 4], strokeWidth=1), x=across, y=up),
        points,
        layer(labelled, names, x=across, y=up, text=nominal("pair")),
    ]
    description = f"{len(rows)} pairs: {MEASURES[y].label} against {MEASURES[x].label}, both in log-odds."
    return dress(layers, description, height=height)


def _not_crowded(rows: pd.DataFrame, x: str, y: str, end: float) -> pd.DataFrame:
    """Keep the chosen pair and, strongest first, those whose names would not run into one that is kept."""
    kept: list[int] = []
    ordered = rows.assign(sum=rows[x] + rows[y]).sort_values(["chosen", "sum"], ascending=False)
    places = ordered[[x, y]].to_numpy()
    for i, (across, up) in enumerate(places):
        if all(abs(up - places[k][1]) > 0.05 * end or _apart(across, places[k][0], end) for k in kept):
            kept.append(i)
    return ordered.iloc[kept]


def _apart(one: float, other: float, end: float) -> bool:
    """Say whether two names of half the chart's width do not meet; they stand on the inner side of their points."""
    starts = sorted(place - (0.5 * end if place > 0.5 * end else 0.0) for place in (one, other))
    return starts[1] - starts[0] > 0.5 * end


def _titled(measure: str) -> str:
    return f"{MEASURES[measure].label} ({LOG_ODDS}, sd)"
