"""The levels of a pair in panels (observed, model, difference) or as a surface, and the levels of one field.

Two scatter charts set model against data: every cell of one pair, and every pair of fields.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from app.charts.grammar.theme import (
    ACCENT,
    BACKGROUND,
    DIVERGING,
    EMPTY,
    GRID,
    LOG_ODDS,
    MUTED,
    SIGNED,
    TEXT,
    dress,
    hatched,
    inks,
    label_limit,
    step,
    swatches,
)
from app.charts.grammar.vega import (
    Chart,
    Layer,
    Spec,
    click_selects,
    expr,
    hover,
    layer,
    mark,
    nominal,
    quantity,
    value,
    when,
)
from app.charts.interactions.ranking import MEASURES, NOTICED, evaluated, named
from deepfm_core._words import in_sequence, is_no_value, is_recurring

PANELS = {"observed": "observed in the data", "model": "the model", "difference": "observed − model"}
FAINT = 0.01
"""If no cell of a pair reaches this many log-odds in the model, the model has learned nothing of it."""
THIN = 30
"""Cells of fewer rows are faded: below it, a positive rate of 0.2 is uncertain by more than 0.5 log-odds."""
MOST_ACROSS = 13
"""Levels of the second field that stand side by side; more go down if the first field has fewer."""
_TURNED = (("a", "b"), ("b", "a"))
_SEP = "\u241f"
"""Between panel and level in the names of the columns: a character that no level holds."""
_ROWS = "rows"


def contrasts(level_pairs: pd.DataFrame) -> pd.DataFrame:
    """Add what the charts of a pair's cells set beside `observed`, in log-odds: `model` and `difference`.

    `model` is `learned`, or `learned_fm` where the network was not asked. `difference` is `observed` less `model`.

    Args:
        level_pairs: the rows of one pair: `observed` (`deepfm_core.evidence.cell_effects`), `learned`, `learned_fm`.
    """
    cells = level_pairs.copy()
    cells["model"] = cells["learned"] if cells["learned"].notna().any() else cells["learned_fm"]
    return cells.assign(difference=cells["observed"] - cells["model"])


def level_panels(
    level_pairs: pd.DataFrame,
    levels: pd.DataFrame,
    *,
    panels: Sequence[str] = ("observed", "model", "difference"),
    limit: float | None = None,
    selection: str = "cell",
) -> Chart:
    """Draw a pair level by level in panels sharing one diverging scale, zero in the middle, rows in the margins.

    Cells without rows are hatched; cells of fewer than 30 rows are faded. Levels keep their natural order
    (`levels.order`), pooled levels last; times stand in their order whatever an earlier version wrote. A long list of
    levels goes down the side, where names can be read on a phone. A click selects `level_a` and `level_b`.

    Args:
        level_pairs: the rows of one pair; see `contrasts`.
        levels: columns `field`, `level`, `order`, `rows`.
        panels: which of `observed`, `model`, `difference`, from left to right.
        limit: the log-odds of full colour; by default, those of this pair's largest cell of 30 rows or more.
        selection: name of the point selection.
    """
    cells = contrasts(level_pairs)
    if MOST_ACROSS < cells["level_b"].nunique() > cells["level_a"].nunique():
        cells = cells.rename(columns={f"{name}_{a}": f"{name}_{b}" for name in ("field", "level") for a, b in _TURNED})
    field_a, field_b = str(cells["field_a"].iloc[0]), str(cells["field_b"].iloc[0])
    down = _ordered_levels(cells["level_a"], levels[levels["field"] == field_a])
    across = _ordered_levels(cells["level_b"], levels[levels["field"] == field_b])
    grid = _grid(cells, down, across, panels)
    at = _places(down, across, panels, field_a, field_b)
    layers = [*_cell_layers(grid, at, limit or _own_limit(grid)), *_margin_bars(cells, down, across, panels, at)]
    layers += [_panel_titles(across, panels, at), _capture(grid, at, field_a, field_b, selection)]
    size = max(16, min(30, 300 // (len(down) + 1)))
    return dress(layers, _takeaway(grid, field_a, field_b), height=step(size))


def level_effects(levels: pd.DataFrame, field: str, *, top: int = 20) -> Chart:
    """Draw the main effect of each level of a field in natural order; the size of a mark shows rows.

    Args:
        levels: columns `field`, `level`, `rows`, `clicks`, `effect`, `order`.
        field: which.
        top: how many levels are drawn at most, those with the most rows; hours and the like are drawn whole.
    """
    rows = levels[levels["field"] == field].sort_values("order")
    if not is_recurring(list(rows["level"])):
        rows = rows.nlargest(top, "rows").sort_values("order")
    rows = rows.assign(rate=rows["clicks"] / rows["rows"].clip(lower=1))
    y = nominal("level", sort=list(rows["level"]), title=field, axis={"labelColor": TEXT.ink})
    axis = {"labelExpr": SIGNED, "tickCount": 6}
    x = quantity("effect", title=f"main effect ({LOG_ODDS})", axis=axis, scale={"padding": 10})
    tooltip = hover(
        ("level", field),
        ("effect", f"main effect ({LOG_ODDS})", "+.3f"),
        ("rows", "training rows", ","),
        ("rate", "positive rate", ".1%"),
    )
    size = quantity("rows", scale={"range": [30, 260]}, legend=None)
    zero = pd.DataFrame({"effect": [0.0]})
    layers = [
        layer(zero, mark("rule", color=MUTED.ink, aria=False), x=x),
        layer(rows, mark("rule", color=ACCENT.ink, strokeWidth=2, aria=False), x=x, x2={"datum": 0}, y=y),
        layer(rows, mark("circle", color=ACCENT.ink, opacity=1), x=x, y=y, size=size, tooltip=tooltip),
    ]
    return dress(layers, f"Main effects of {len(rows):,} levels of {field} in log-odds.", height=step(24))


def _ordered_levels(present: pd.Series[str], known: pd.DataFrame) -> list[str]:
    place = dict(zip(known["level"], known["order"], strict=True))
    ranked = sorted(dict.fromkeys(present), key=lambda level: (place.get(level, math.inf), level))
    sequence = in_sequence(ranked)
    return ranked if sequence is None or _values(ranked) == _values(sequence) else sequence


def _values(levels: list[str]) -> list[str]:
    return [level for level in levels if not is_no_value(level)]


def _grid(cells: pd.DataFrame, down: list[str], across: list[str], panels: Sequence[str]) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([down, across], names=["level_a", "level_b"])
    full = cells.set_index(["level_a", "level_b"]).reindex(index).reset_index()
    full["rows"] = full["rows"].fillna(0)
    full["empty"] = full["rows"] == 0
    full["weight"] = np.where(full["rows"] >= THIN, 1.0, 0.25 + 0.5 * full["rows"] / THIN)
    parts = [full.assign(panel=panel, column=panel + _SEP + full["level_b"], value=full[panel]) for panel in panels]
    return pd.concat(parts, ignore_index=True)


def own_limit(level_pairs: pd.DataFrame) -> float:
    """Give the log-odds of full colour for this pair alone: those of its largest cell of 30 rows or more."""
    cells = contrasts(level_pairs)
    return _own_limit(pd.concat([cells.assign(value=cells[panel]) for panel in PANELS]))


def _own_limit(grid: pd.DataFrame) -> float:
    trusted = grid[grid["rows"] >= THIN]
    values = (trusted if len(trusted) else grid)["value"].abs()
    largest = float(values.max()) if values.notna().any() else 0.0
    return max(math.ceil(largest * 10) / 10, 0.1)


def _places(down: list[str], across: list[str], panels: Sequence[str], field_a: str, field_b: str) -> Spec:
    """Give the axes: all panels share one horizontal axis, with gaps between them and room for the bars of rows."""
    columns: list[str] = []
    for panel in panels:
        columns += [panel + _SEP + level for level in across] + [panel + _SEP]
    columns[-1] = _SEP + _ROWS
    rows = [_SEP, *down]
    steep = f"containerSize()[0] * 0.85 / {len(columns)} < 20"
    label = {
        "labelExpr": f"split(datum.value, '{_SEP}')[0] ? split(datum.value, '{_SEP}')[1] : ''",
        "labelAngle": expr(f"{steep} ? -90 : -45"),
        "labelAlign": "right",
        "labelBaseline": "middle",
        "labelLimit": 110,
        "labelOverlap": False,
        "labelColor": TEXT.ink,
        "labelFontSize": expr("clamp(bandwidth('x') * 0.95, 7, 12)"),
    }
    axis = {
        "labelExpr": f"datum.value == '{_SEP}' ? '' : datum.value",
        "labelOverlap": False,
        "labelColor": TEXT.ink,
        "labelLimit": label_limit(0.25, 160),
    }
    return {
        "x": nominal("column", title=field_b, sort=columns, axis=label, scale={"domain": columns, "padding": 0.04}),
        "y": nominal("level_a", title=field_a, sort=rows, axis=axis, scale={"domain": rows, "padding": 0.04}),
    }


def _cell_layers(grid: pd.DataFrame, at: Spec, limit: float) -> list[Layer]:
    legend = swatches(f"beyond main effects ({LOG_ODDS})", limit, signed=True)
    scale = {"domain": [-limit, limit], "range": inks(DIVERGING), "interpolate": "lab", "clamp": True}
    empty, seen = grid[grid["empty"]], grid[~grid["empty"]]
    return [
        *hatched(empty, at),
        layer(seen, mark("rect", color=EMPTY.ink, cornerRadius=2, aria=False), **at),
        layer(
            seen,
            mark("rect", cornerRadius=2, aria=False),
            **at,
            color=quantity("value", scale=scale, legend=legend),
            opacity=quantity("weight", scale=None),
        ),
    ]


def _margin_bars(
    cells: pd.DataFrame, down: list[str], across: list[str], panels: Sequence[str], at: Spec
) -> list[Layer]:
    """Draw the rows of each level as bars: above each panel, and to the right of the last one."""
    by_a = cells.groupby("level_a")["rows"].sum().reindex(down).to_numpy()
    by_b = cells.groupby("level_b")["rows"].sum().reindex(across).to_numpy()
    right = pd.DataFrame({"level_a": down, "column": _SEP + _ROWS, "rows": by_a})
    tops = [pd.DataFrame({"level_b": across, "rows": by_b}).assign(panel=panel) for panel in panels]
    top = pd.concat(tops, ignore_index=True).assign(level_a=_SEP)
    top["column"] = top["panel"] + _SEP + top["level_b"]
    right, top = (frame.assign(share=frame["rows"] / max(frame["rows"].max(), 1)) for frame in (right, top))
    foot, edge = f"scale('y', '{_SEP}') + bandwidth('y')", f"scale('x', '{_SEP}{_ROWS}')"
    look = mark("bar", color=MUTED.ink, opacity=0.55, aria=False)
    return [
        layer(
            top,
            look,
            x=at["x"],
            y=value(expr(foot)),
            y2=value(expr(f"{foot} - max(1, datum.share * bandwidth('y') * 0.9)")),
            tooltip=hover(("level_b", "level"), ("rows", "training rows", ",")),
        ),
        layer(
            right,
            look,
            y=at["y"],
            x=value(expr(edge)),
            x2=value(expr(f"{edge} + max(1, datum.share * bandwidth('x'))")),
            tooltip=hover(("level_a", "level"), ("rows", "training rows", ",")),
        ),
    ]


def _panel_titles(across: list[str], panels: Sequence[str], at: Spec) -> Layer:
    middle = across[(len(across) - 1) // 2]
    titles = pd.DataFrame({"column": [p + _SEP + middle for p in panels], "title": [PANELS[p] for p in panels]})
    bold = mark("text", dy=-10, fontWeight="bold", baseline="bottom", color=TEXT.ink)
    return layer(titles, bold, x=at["x"], y=value(0), text=nominal("title"))


def _capture(grid: pd.DataFrame, at: Spec, field_a: str, field_b: str, selection: str) -> Layer:
    rows = grid.assign(rate=grid["clicks"] / grid["rows"].clip(lower=1))
    rows["name"] = rows["panel"] + ": " + rows["level_a"] + " with " + rows["level_b"]
    return layer(
        rows,
        mark("rect", color="transparent", cursor="pointer"),
        selections=[click_selects(selection, "level_a", "level_b")],
        **at,
        tooltip=hover(
            ("level_a", field_a),
            ("level_b", field_b),
            ("observed", "observed (log-odds)", "+.2f"),
            ("model", "model (log-odds)", "+.2f"),
            ("difference", "difference", "+.2f"),
            ("rows", "training rows", ","),
            ("rate", "positive rate", ".1%"),
        ),
        description=nominal("name"),
    )


def _takeaway(grid: pd.DataFrame, field_a: str, field_b: str) -> str:
    text = f"Levels of {field_a} by levels of {field_b}: effects beyond main effects in log-odds."
    firm = grid[grid["rows"] >= THIN].dropna(subset=["value"])
    model = firm[firm["panel"] == "model"]
    learned = len(model) > 0 and float(model["value"].abs().max()) >= FAINT
    seen = model if learned else firm[firm["panel"] == "observed"]
    if seen.empty:
        return text
    cell = seen.iloc[int(seen["value"].abs().to_numpy().argmax())]
    where = "model" if learned else "data (the model has learned nothing here)"
    return f"{text} The largest in the {where} is {cell['value']:+.2f}, at {cell['level_a']} with {cell['level_b']}."


# The effect of two numbers together as a surface: observed, model, or their difference.
#
# It is a figure for Plotly, as plain values: Plotly itself is loaded where it is drawn.


FEWEST = 3
"""Numbers that each field needs for a surface: two are an edge."""
_WIDE = 20.0
"""From this ratio of largest to smallest number on, an axis of positive numbers is logarithmic."""
_TICKS = 8
"""Numbers that an axis of a surface has room for."""


def has_surface(cells: pd.DataFrame) -> bool:
    """Say whether both fields of a pair have enough levels that are numbers."""
    return all(_numbers(cells[level]).dropna().nunique() >= FEWEST for level in ("level_a", "level_b"))


def effect_surface(
    cells: pd.DataFrame, fields: tuple[str, str], panel: str, *, dark: bool, limit: float | None = None
) -> Spec:
    """Give the figure of a pair of numeric fields, for Plotly; levels that are no numbers, as missing, are left out.

    Args:
        cells: `level_a`, `level_b`, `rows` and the effects of `PANELS`, in log-odds.
        fields: the names of both fields.
        panel: the effect to draw, from `PANELS`.
        dark: whether the page is dark; Plotly cannot find out as it draws.
        limit: log-odds of full colour and of the ends of the axis, unless an effect is larger.
    """
    known = cells.assign(a=_numbers(cells["level_a"]), b=_numbers(cells["level_b"])).dropna(subset=["a", "b"])
    heights = known.pivot_table(index="a", columns="b", values=panel)
    rows = known.pivot_table(index="a", columns="b", values="rows", aggfunc="sum")
    top = max(float(known[list(PANELS)].abs().to_numpy().max()), limit or 0.01)
    tones = [tone.dark if dark else tone.light for tone in DIVERGING]
    surface = {
        "type": "surface",
        "x": heights.columns.tolist(),
        "y": heights.index.tolist(),
        "z": _plain(heights.to_numpy()),
        "customdata": _plain(rows.to_numpy()),
        "surfacecolor": _plain(heights.to_numpy()),
        "colorscale": [[place / (len(tones) - 1), tone] for place, tone in enumerate(tones)],
        "cmin": -top,
        "cmax": top,
        "connectgaps": False,
        "contours": {axis: {"show": True, "color": _line(dark), "width": 1} for axis in ("x", "y")},
        "colorbar": {"title": {"text": LOG_ODDS}, "thickness": 12, "len": 0.6},
        "hovertemplate": f"{_safe(fields[0])} = %{{y}}<br>{_safe(fields[1])} = %{{x}}<br>%{{z:+.2f}} {LOG_ODDS}"
        "<br>%{customdata:,} training rows<extra></extra>",
    }
    scene = {
        "xaxis": _axis(_safe(fields[1]), heights.columns.to_numpy(float), dark),
        "yaxis": _axis(_safe(fields[0]), heights.index.to_numpy(float), dark),
        "zaxis": {**_look("", dark), "range": [-top, top]},  # the choice above names it; a title here would be cut
        "bgcolor": "rgba(0,0,0,0)",
        "aspectmode": "cube",
        "camera": {"eye": {"x": 1.65, "y": -1.65, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.12}},
    }
    layout: Spec = {
        "scene": scene,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "height": 460,
        "font": {"color": TEXT.dark if dark else TEXT.light},
        "paper_bgcolor": "rgba(0,0,0,0)",
    }
    return {"data": [surface], "layout": layout}


def _numbers(levels: pd.Series) -> pd.Series:
    return pd.to_numeric(levels, errors="coerce").replace([np.inf, -np.inf], np.nan)


def _plain(values: np.ndarray) -> list[list[float | None]]:
    """Write numbers for JSON, which has no NaN."""
    return [[None if np.isnan(value) else float(value) for value in line] for line in values]


def _axis(title: str, values: np.ndarray, dark: bool) -> Spec:
    wide = values.min() > 0 and values.max() / values.min() > _WIDE
    shown = _apart(np.log(values) if wide else values, values)
    ticks = {"tickvals": shown.tolist(), "ticktext": [f"{value:g}" for value in shown]}
    return {**_look(title, dark), **ticks, "type": "log" if wide else "linear"}


def _apart(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Give the values whose places are far enough apart for a number at each; the last one always."""
    room, kept = (places[-1] - places[0]) / _TICKS, [len(values) - 1]
    for number in range(len(values) - 2, -1, -1):
        if places[kept[-1]] - places[number] >= room:
            kept.append(number)
    return values[kept[::-1]]


def _look(title: str, dark: bool) -> Spec:
    line = _line(dark)
    return {"title": {"text": title}, "gridcolor": line, "zerolinecolor": line, "showbackground": False}


def _line(dark: bool) -> str:
    return GRID.dark if dark else GRID.light


def _safe(name: str) -> str:
    """Write a name so that Plotly takes nothing in it for markup or for a placeholder."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")


def cell_scatter(level_pairs: pd.DataFrame) -> Chart:
    """Draw each pair of levels by its effect in the data and in the model, with the line of equality.

    The size of a mark shows rows.

    Args:
        level_pairs: the rows of one pair; see `levels.contrasts`.
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
    return dress(layers, description, height=340)


# Scatter chart of pairs: one strength against another, such as learned against observed.


def pair_scatter(
    pairs: pd.DataFrame,
    x: str = "observed",
    y: str = "learned",
    *,
    selected: tuple[str, str] | None = None,
    selection: str = "pair",
) -> Chart:
    """Draw one measure of every pair against another with the line of equality; a click selects a pair.

    Args:
        pairs: columns `field_a`, `field_b`, both measures and, if known, `significant` (clear above noise).
        x: the measure on the horizontal axis.
        y: the measure on the vertical axis.
        selected: the pair to mark and to name, as the three strongest are.
        selection: name of the point selection.
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
    return dress(layers, description, height=340)


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
