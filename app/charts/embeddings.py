"""Features as points: their embeddings in two or three dimensions, their lengths, and the partners of one of them.

The map in three dimensions is a figure for Plotly, as plain values: Plotly itself is loaded where it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from app.charts.grammar.theme import (
    ACCENT,
    BACKGROUND,
    DIVERGING,
    GRID,
    LOG_ODDS,
    MUTED,
    NEGATIVE,
    POSITIVE,
    RUNS,
    SEQUENTIAL,
    SIGNED,
    TEXT,
    Tone,
    channel_of,
    dress,
    inks,
    legend_of,
    narrow,
    shortened,
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
    when,
)
from deepfm_core._words import named, percent

RATE, FIELD, EFFECT = "rate", "field", "effect"
"""What points can be coloured by: share of positives, field, effect together with the chosen feature."""
OTHERS = "other fields"
SELECTION = "feature"
"""Name of the point selection; its field is `id`."""
_MOST_NAMED, _LETTERS = 14, 26
"""Points whose names are written, and letters of a name."""
_LETTER, _LONGEST, _HIGH, _GAP = 0.016, 0.34, 0.05, 0.03
"""Room that a letter, the longest name, a line and a point take, as shares of the map."""
_NARROW = 1.7
"""How much more of a narrow map, as on a phone, a letter and a point take."""
_RADIUS = 0.035
"""Of the point with most rows, as a share of the map's height."""


def point_name(field: str, feature: str) -> str:
    """Name a feature with its field; a knot of a number has its field's name already."""
    return feature if feature.startswith(f"{field} = ") else named(field, feature)


def embedding_map(
    points: pd.DataFrame,
    shares: Sequence[float],
    *,
    colour: str = RATE,
    chosen: int | None = None,
    positive: str = "positive",
    thin: int = 30,
) -> Chart:
    """Draw features by their first two components; a click selects one.

    Args:
        points: columns `id`, `field`, `feature`, `rows`, `rate`, `norm`, `x`, `y` and, to colour by it, `effect`.
        shares: of the variance that the two components show.
        colour: `RATE`, `FIELD` or `EFFECT`.
        chosen: id of the feature to ring.
        positive: what the label calls positive.
        thin: training rows below which a point is hollow.
    """
    rows = _named(points, chosen, thin)
    x, y = (_component(axis, number, shares[number]) for number, axis in enumerate("xy"))
    tooltip = hover(
        ("name", "feature"),
        ("rows", "training rows", ","),
        ("rate", f"share of {positive}", ".1%"),
        ("norm", "length", ".3f"),
    ) + (hover(("effect", f"with the chosen feature ({LOG_ODDS})", "+.3f")) if colour == EFFECT else [])
    points_drawn = layer(
        rows,
        mark("point", filled=True, cursor="pointer", strokeWidth=1.2),
        selections=[click_selects(SELECTION, "id")],
        x=x,
        y=y,
        size=quantity("rows", scale={"type": "sqrt", "range": [18, 520]}, legend=None),
        fillOpacity=when("datum.thin", 0.08, 0.8),
        tooltip=tooltip,
        description=nominal("name"),
        **_colours(rows, colour, positive),
    )
    ring = layer(rows[rows["chosen"]], mark("point", size=620, strokeWidth=2.5, color=TEXT.ink, opacity=1), x=x, y=y)
    return dress([points_drawn, ring, *_names(rows, x, y)], _map_said(rows, shares), height=400)


def _named(points: pd.DataFrame, chosen: int | None, thin: int) -> pd.DataFrame:
    names = [point_name(field, feature) for field, feature in zip(points["field"], points["feature"], strict=True)]
    is_chosen = points["id"] == (-1 if chosen is None else chosen)
    rows = points.assign(name=names, thin=points["rows"] < thin, chosen=is_chosen)
    if "x" not in rows:
        return rows
    rows = rows.assign(group=grouped_fields(rows))
    return rows.sort_values("group", key=lambda names: names != OTHERS, kind="stable", ignore_index=True)


def _component(axis: str, number: int, share: float) -> Spec:
    ordinal = ("first", "second")[number]
    scale = {"zero": False, "padding": 24}
    return quantity(
        axis, title=f"{ordinal} component ({percent(share)} of variance)", scale=scale, axis={"tickCount": 6}
    )


def _colours(rows: pd.DataFrame, colour: str, positive: str) -> Spec:
    if colour == FIELD:
        names, tones = _groups(rows)
        look = {"symbolType": "circle", "columns": narrow("1", "2", width=340), "labelLimit": 160}
        return {name: nominal("group", **legend_of(names, tones, **look)) for name in ("color", "stroke")}
    if colour == EFFECT:
        end = float(np.nanmax(np.abs(rows["effect"]))) if rows["effect"].notna().any() else 0.0
        scale: Spec = {"domain": [-max(end, 0.01), max(end, 0.01)], "range": inks(DIVERGING), "interpolate": "rgb"}
        title, legend_end, signed = f"with the chosen feature ({LOG_ODDS})", max(end, 0.01), True
        column = EFFECT
    else:
        top = _highest_rate(rows)
        scale = {"domain": [0, top], "range": inks(SEQUENTIAL), "interpolate": "rgb", "clamp": True}
        title, legend_end, signed, column = f"share of {positive}", top, False, RATE
    legend = swatches(title, legend_end, signed=signed)
    legend = legend if signed else {**legend, "labelExpr": "format(datum.value, '.0%')"}
    known = f"isValid(datum.{column})"
    shade = {"condition": {"test": known, **quantity(column, scale=scale, legend=legend)}, "value": MUTED.ink}
    return {"color": shade, "stroke": {"value": MUTED.ink}}


def _highest_rate(rows: pd.DataFrame) -> float:
    """Give the end of the scale of shares: that of points with enough rows, if there are any."""
    known = rows.dropna(subset=["rate"])
    firm = known[~known["thin"]]
    top = float((known if firm.empty else firm)["rate"].max()) if len(known) else 1.0
    return top or 1.0


def _groups(rows: pd.DataFrame) -> tuple[list[str], list[Tone]]:
    """Give the groups that have a colour, and the colours: the last one is grey, for all other fields."""
    names = list(dict.fromkeys(sorted(rows["group"], key=lambda name: name == OTHERS)))
    return names, [MUTED if name == OTHERS else RUNS[place % len(RUNS)] for place, name in enumerate(names)]


def grouped_fields(rows: pd.DataFrame) -> list[str]:
    """Name each point's field; beyond as many as there are colours, fields that stand close to the middle are one."""
    spread = (rows["rows"] * (rows["x"] ** 2 + rows["y"] ** 2)).groupby(rows["field"], sort=False).sum()
    most = len(RUNS) - 1
    names = set(spread.index if len(spread) <= most else spread.nlargest(most).index)
    return [name if name in names else OTHERS for name in rows["field"]]


def _names(rows: pd.DataFrame, x: Spec, y: Spec) -> list[Layer]:
    """Write the names of the chosen point and of those with most rows, where they hide nothing."""
    sides = _apart(rows)
    small = _apart(rows, _NARROW, sides)
    kept = rows.iloc[list(sides)].assign(right=list(sides.values()), small=[place in small for place in sides])
    side = {
        "align": expr("datum.right ? 'right' : 'left'"),
        "dx": expr("(datum.right ? -1 : 1) * (datum.chosen ? 21 : 14)"),
    }
    look = {"color": TEXT.ink, "fontSize": 11, "limit": expr("width * 0.34"), "aria": False}
    kept = kept.assign(short=[_short(name) for name in kept["name"]])
    at: Spec = {"x": x, "y": y, "text": nominal("short")}
    halo = {
        "stroke": BACKGROUND.ink,
        "strokeWidth": 3,
        "strokeJoin": "round",
        "opacity": narrow("0.8 * datum.small", "0.8"),
    }
    own = {"opacity": narrow("1 * datum.small", "1")}
    return [layer(kept, mark("text", **side, **look, **drawn), **at) for drawn in (halo, own)]


def _short(name: str) -> str:
    """Cut a long name in its middle: names of one family differ at their ends."""
    half = _LETTERS // 2
    return name if len(name) <= _LETTERS else f"{name[:half]}…{name[-half:]}"


def _apart(rows: pd.DataFrame, scale: float = 1.0, among: Mapping[int, bool] | None = None) -> dict[int, bool]:
    """Choose the points whose names are written: by place, whether the name ends at the point or begins there.

    A name covers no other name and no point. Only that of the chosen point is written in any case.

    Args:
        rows: the points.
        scale: how much more of the map's width letters and points take than on a wide one.
        among: an earlier choice, of which some are kept as they are.
    """
    if rows.empty:
        return {}
    places = rows[["x", "y"]].to_numpy() / [max(float(np.ptp(rows[axis])), 1e-12) for axis in "xy"]
    letters = np.array([len(name) for name in rows["name"]], dtype=np.float64)
    gap = _GAP * scale
    widths = np.minimum(letters * _LETTER * scale + gap, _LONGEST * max(1.0, scale * 0.8))
    low, high = places[:, 0].min(), places[:, 0].max()
    sizes = np.sqrt(rows["rows"].to_numpy(np.float64) / max(float(rows["rows"].max()), 1.0))
    reach = _HIGH / 3 + _RADIUS * np.sqrt(sizes)
    chosen = rows["chosen"].to_numpy()
    kept: dict[int, bool] = {}
    boxes: list[tuple[float, float, float]] = []
    for place in map(int, np.lexsort((-rows["rows"], ~rows["chosen"]))):
        x, y = places[place]
        if among is not None and place not in among:
            continue
        right = bool(x > (low + high) / 2)
        for ends in (right, not right) if among is None else (among[place],):
            start = x - widths[place] if ends else x
            box = (start, start + widths[place], y)
            inside = chosen[place] or (low - gap <= start and box[1] <= high + gap + (0 if ends else gap))
            if inside and not _covers(box, boxes) and (chosen[place] or not _hides(box, places, reach, place)):
                kept[place] = ends
                boxes.append(box)
                break
        if len(kept) == _MOST_NAMED:
            break
    return kept


def _covers(box: tuple[float, float, float], others: Sequence[tuple[float, float, float]]) -> bool:
    start, end, y = box
    return any(first < end and start < last and abs(at - y) < _HIGH for first, last, at in others)


def _hides(box: tuple[float, float, float], places: np.ndarray, reach: np.ndarray, own: int) -> bool:
    """Say whether a name would lie on a point that is not its own; `reach` is how far each is hit from its middle."""
    start, end, y = box
    under = (places[:, 0] > start) & (places[:, 0] < end) & (np.abs(places[:, 1] - y) < reach)
    under[own] = False
    return bool(under.any())


def _map_said(rows: pd.DataFrame, shares: Sequence[float]) -> str:
    if rows.empty:
        return "No features."
    return (
        f"{len(rows):,} features by the first two principal components of what the model holds of them, which show "
        f"{percent(sum(shares[:2]))} of the variance."
    )


# The same in three dimensions.


def embedding_space(
    points: pd.DataFrame, shares: Sequence[float], *, dark: bool, colour: str = RATE, positive: str = "positive"
) -> Spec:
    """Give the figure of features by their first three components, for Plotly.

    Args:
        points: as for `embedding_map`, with `z`.
        shares: of the variance that the three components show.
        dark: whether the page is dark; Plotly cannot find out as it draws.
        colour: `RATE`, `FIELD` or `EFFECT`.
        positive: what the label calls positive.
    """
    rows = _named(points, None, 30)
    ink = TEXT.dark if dark else TEXT.light
    titles = [f"{name} ({percent(share)})" for name, share in zip(("first", "second", "third"), shares, strict=True)]
    axes = {f"{axis}axis": _plotly_axis(title, dark) for axis, title in zip("xyz", titles, strict=True)}
    layout: Spec = {
        "scene": {**axes, "bgcolor": "rgba(0,0,0,0)", "aspectmode": "cube"},
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "height": 520,
        "font": {"color": ink},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "y": 0, "itemsizing": "constant"},
        "showlegend": colour == FIELD,
    }
    if colour != FIELD:
        known = rows[colour].notna()
        clouds = [_cloud(rows[known], _shade(rows[known], colour, positive, dark))]
        clouds += [_cloud(rows[~known], {"color": _tone(MUTED, dark)})] if not known.all() else []
        return {"data": clouds, "layout": layout}
    clouds = [
        {**_cloud(rows[rows["group"] == name], {"color": _tone(tone, dark)}), "name": name}
        for name, tone in zip(*_groups(rows), strict=True)
    ]
    return {"data": clouds, "layout": layout}


def _plotly_axis(title: str, dark: bool) -> Spec:
    line = _tone(GRID, dark)
    return {"title": {"text": title}, "gridcolor": line, "zerolinecolor": line, "showbackground": False}


def _tone(tone: Tone, dark: bool) -> str:
    return tone.dark if dark else tone.light


def _shade(rows: pd.DataFrame, colour: str, positive: str, dark: bool) -> Spec:
    ramp = DIVERGING if colour == EFFECT else SEQUENTIAL
    stops = [[place / (len(ramp) - 1), _tone(tone, dark)] for place, tone in enumerate(ramp)]
    end = _highest_rate(rows) if colour == RATE else max(float(rows[colour].abs().max()) if len(rows) else 0.0, 0.01)
    bar: Spec = {"title": {"text": f"share of {positive}", "side": "right"}, "thickness": 12, "tickformat": ".0%"}
    if colour == EFFECT:
        bar = {"title": {"text": LOG_ODDS, "side": "right"}, "thickness": 12}
    return {
        "color": rows[colour].tolist(),
        "colorscale": stops,
        "cmin": -end if colour == EFFECT else 0.0,
        "cmax": end,
        "colorbar": bar,
    }


def _cloud(rows: pd.DataFrame, look: Spec) -> Spec:
    most = max(float(rows["rows"].max()) if len(rows) else 1.0, 1.0)
    marker = {"size": [4 + 12 * math.sqrt(count / most) for count in rows["rows"]], "opacity": 0.85, **look}
    return {
        "type": "scatter3d",
        "mode": "markers",
        **{axis: rows[axis].tolist() for axis in "xyz"},
        "text": rows["name"].tolist(),
        "customdata": rows[["rows"]].to_numpy().tolist(),
        "hovertemplate": "%{text}<br>%{customdata[0]:,} training rows<extra></extra>",
        "marker": marker,
    }


# Lengths of embeddings, and the partners of a feature.

UNTRAINED, TRAINED = "never trained", "trained"


def lengths(points: pd.DataFrame, *, chosen: int | None = None) -> Chart:
    """Draw the length of each feature's vector against its training rows; what was never trained is grey.

    Args:
        points: columns `id`, `field`, `feature`, `rows`, `norm`.
        chosen: id of the feature to ring.
    """
    rows = _named(points, chosen, 0)
    rows["state"] = np.where(rows["rows"] > 0, TRAINED, UNTRAINED)
    held = rows.loc[rows["rows"] > 0, "rows"]
    least, most = (max(float(held.min()) / 2, 1.0), float(held.max())) if len(held) else (1.0, 1.0)
    ticks = _row_ticks(least, most)
    scale: Spec = {"type": "symlog", "constant": least}
    x = quantity(
        "rows", title="training rows", scale=scale, axis={"labelExpr": "format(datum.value, '~s')", "values": ticks}
    )
    y = quantity("norm", title="length", scale={"zero": True}, axis={"tickCount": 5})
    tooltip = hover(("name", "feature"), ("rows", "training rows", ","), ("norm", "length", ".3f"), ("state", "state"))
    names = [TRAINED, UNTRAINED]
    drawn = layer(
        rows,
        mark("point", filled=True, size=44, opacity=0.7, cursor="pointer"),
        selections=[click_selects(SELECTION, "id")],
        x=x,
        y=y,
        color=nominal("state", **legend_of(names, [ACCENT, MUTED])),
        shape=nominal("state", **channel_of(names, ["circle", "cross"])),
        tooltip=tooltip,
        description=nominal("name"),
    )
    ring = layer(rows[rows["chosen"]], mark("point", size=260, strokeWidth=2.5, color=TEXT.ink, opacity=1), x=x, y=y)
    count = int((rows["rows"] == 0).sum())
    said = f"Length against training rows of {len(rows):,} features; {count:,} never trained."
    return dress([drawn, ring], said, height=300)


def _row_ticks(least: float, most: float) -> list[float]:
    """Give 0 and a few round numbers of rows: powers of ten, or 1, 2 and 5 times them where these are few."""
    powers = [10**power for power in range(10) if least <= 10**power <= most]
    if len(powers) >= 3:
        return [0, *powers]
    return [0, *(step * 10**power for power in range(10) for step in (1, 2, 5) if least <= step * 10**power <= most)]


def partner_bars(partners: pd.DataFrame, name: str, *, measure: str = "fm", top: int = 12) -> Chart:
    """Draw what a feature adds together with its strongest partners, in log-odds.

    Args:
        partners: as `Embeddings.partners` gives them, strongest first.
        name: of the feature.
        measure: `fm`, with the whole logit as a tick where it is known, or `whole`.
        top: how many are drawn.
    """
    rows = partners.head(top)
    names = [point_name(field, feature) for field, feature in zip(rows["field"], rows["feature"], strict=True)]
    rows = rows.assign(name=names, raises=rows[measure] > 0)
    label = "FM pairs" if measure == "fm" else "whole logit"
    y = nominal("name", sort=names, title=None, axis={"labelColor": TEXT.ink, **shortened(0.42, 210)})
    x = quantity(measure, title=f"added together ({LOG_ODDS})", axis={"labelExpr": SIGNED, "tickCount": 5})
    tooltip = hover(
        ("name", "partner"),
        (measure, f"{label} ({LOG_ODDS})", "+.3f"),
        ("whole", f"whole logit ({LOG_ODDS})", "+.3f"),
        ("both", "training rows with both", ","),
        ("rate", "positive among these", ".1%"),
    )
    colour = {"condition": {"test": "datum.raises", "value": POSITIVE.ink}, "value": NEGATIVE.ink}
    zero = pd.DataFrame({measure: [0.0]})
    layers = [
        layer(
            rows,
            mark("bar", height={"band": 0.62}, cornerRadius=2),
            x=x,
            y=y,
            color=colour,
            tooltip=tooltip,
            description=nominal("name"),
        ),
        layer(zero, mark("rule", color=MUTED.ink, aria=False), x=x),
    ]
    if measure == "fm" and rows["whole"].notna().any():
        tick = mark("tick", color=TEXT.ink, thickness=2, height={"band": 0.8}, aria=False)
        layers.append(layer(rows.dropna(subset=["whole"]), tick, x={**x, "field": "whole"}, y=y))
    said = "No partners." if rows.empty else f"{len(rows):,} strongest partners of {name}, first {names[0]}."
    return dress(layers, said, height=step(24))
