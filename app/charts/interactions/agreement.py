"""Model against data as scatter charts: every pair of fields, and every cell of one pair."""

from __future__ import annotations

import pandas as pd

from app.charts.grammar.theme import ACCENT, BACKGROUND, LOG_ODDS, MUTED, SIGNED, TEXT, dress
from app.charts.grammar.vega import Chart, click_selects, expr, hover, layer, mark, nominal, quantity, when
from app.charts.interactions.levels import contrasts
from app.charts.interactions.ranking import MEASURES, NOTICED, evaluated, named


def cell_scatter(level_pairs: pd.DataFrame, *, height: int = 340) -> Chart:
    """Draw each pair of levels by its effect in the data and in the model, with the line of equality.

    The size of a mark shows rows.

    Args:
        level_pairs: the rows of one pair; see `levels.contrasts`.
        height: of the plot, in pixels.
    """
    cells = contrasts(level_pairs)
    cells = cells[cells["rows"] > 0].dropna(subset=["observed", "model"])
    cells = cells.assign(rate=cells["clicks"] / cells["rows"])
    end = 1.08 * max(float(cells[["observed", "model"]].abs().to_numpy().max()) if len(cells) else 0.0, 0.2)
    common = {"scale": {"domain": [-end, end], "nice": False}, "axis": {"labelExpr": SIGNED, "tickCount": 6}}
    x = quantity("observed", title=f"the data ({LOG_ODDS})", **common)
    y = quantity("model", title=f"the model ({LOG_ODDS})", **common)
    tooltip = hover(
        ("level_a", str(cells["field_a"].iloc[0]) if len(cells) else "level"),
        ("level_b", str(cells["field_b"].iloc[0]) if len(cells) else "with"),
        ("observed", "observed (log-odds)", "+.2f"),
        ("model", "model (log-odds)", "+.2f"),
        ("rows", "training rows", ","),
        ("rate", "positive rate", ".1%"),
    )
    equal = pd.DataFrame({"observed": [-end, end], "model": [-end, end]})
    size = quantity("rows", scale={"range": [12, 420]}, legend=None)
    layers = [
        layer(equal, mark("line", color=MUTED.ink, strokeDash=[4, 4], strokeWidth=1, aria=False), x=x, y=y),
        layer(cells, mark("circle", color=ACCENT.ink, opacity=0.6), x=x, y=y, size=size, tooltip=tooltip),
    ]
    description = f"{len(cells):,} pairs of levels: the effect in the model against that in the data, in log-odds."
    return dress(layers, description, height=height)


# Scatter chart of pairs: one strength against another, such as learned against observed.


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
        pairs: columns `field_a`, `field_b`, both measures and, if known, `significant` (clear above noise).
        x: the measure on the horizontal axis.
        y: the measure on the vertical axis.
        selected: the pair to mark and to name, as the three strongest are.
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
        fillOpacity=when("datum.significant", 0.75, 0),
        size=when("datum.chosen", 220, 80),
        tooltip=hover(("pair", "pair"), (x, MEASURES[x].label, ".3f"), (y, MEASURES[y].label, ".3f"))
        + (hover(("verdict", "verdict")) if evaluated(rows) else []),
    )
    side = {
        "align": expr("datum.far ? 'right' : 'left'"),
        "dx": expr("datum.far ? -10 : 10"),
        "dy": expr("datum.low ? -14 : -2"),
    }
    side["limit"] = expr("width * 0.5")
    names = mark("text", color=TEXT.ink, **side)
    halo = mark("text", color=TEXT.ink, stroke=BACKGROUND.ink, strokeWidth=3, strokeJoin="round", aria=False, **side)
    equal = pd.DataFrame({x: [0.0, end], y: [0.0, end]})
    layers = [
        layer(equal, mark("line", color=MUTED.ink, strokeDash=[4, 4], strokeWidth=1), x=across, y=up),
        points,
        layer(labelled, halo, x=across, y=up, text=nominal("pair")),
        layer(labelled, names, x=across, y=up, text=nominal("pair")),
    ]
    description = f"{len(rows):,} pairs: {MEASURES[y].label} against {MEASURES[x].label}, both in log-odds."
    return dress(layers, description, height=height)


def _not_crowded(rows: pd.DataFrame, x: str, y: str, end: float) -> pd.DataFrame:
    """Choose whose names are written: the chosen pair, then strongest first, if the name overlaps no other."""
    kept: list[int] = []
    ordered = rows.assign(sum=rows[x] + rows[y]).sort_values(["chosen", "sum"], ascending=False)
    places = ordered[[x, y]].to_numpy()
    for i, (across, up) in enumerate(places):
        if all(abs(up - places[k][1]) > 0.05 * end or _names_are_clear(across, places[k][0], end) for k in kept):
            kept.append(i)
    return ordered.iloc[kept]


def _names_are_clear(one: float, other: float, end: float) -> bool:
    """Say whether two names on one line do not meet: each is up to half the chart wide, on its point's inner side."""
    starts = sorted(place - (0.5 * end if place > 0.5 * end else 0.0) for place in (one, other))
    return starts[1] - starts[0] > 0.5 * end


def _titled(measure: str) -> str:
    return f"{MEASURES[measure].label} ({LOG_ODDS}, sd)"
