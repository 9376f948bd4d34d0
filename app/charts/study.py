"""Charts of a study: a measure over the values of one factor, and all settings on parallel axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from app.charts.grammar.theme import ACCENT, EMPTY, MUTED, SEQUENTIAL, TEXT, dress, inks, narrow
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
)

MEASURES = {
    "valid_logloss": "validation logloss (nats)",
    "valid_auc": "validation AUC",
    "test_logloss": "test logloss (nats)",
    "test_auc": "test AUC",
}


LEAST_SPAN = 5e-4
"""Half of the shortest axis of a measure: a shorter one would show rounding as a difference."""
TINY = 1e-3
"""Smaller numbers are written as powers of ten."""


@dataclass(frozen=True)
class Axis:
    """An axis of settings.

    Attributes:
        title: title of the factor.
        order: its values in order; empty if the axis is a scale of numbers.
        log: whether the scale is logarithmic.
    """

    title: str
    order: Sequence[object] = ()
    log: bool = False


def factor_line(
    rows: pd.DataFrame,
    axis: Axis,
    *,
    measure: str,
    joined: bool,
    ends: tuple[float, float] | None = None,
) -> Chart:
    """Draw a measure over the values of one factor: a thin line per seed, a thick one for their median.

    Args:
        rows: columns `value` (text, or number if the axis is a scale), `seed`, `measure`.
        axis: axis of the factor.
        measure: from `MEASURES`.
        joined: whether to join values by lines; a search has points only.
        ends: ends of the measure's axis, so that factors can be compared.
    """
    shown, title, order = rows.dropna(subset=["measure"]), axis.title, axis.order
    shown = shown.assign(measure=shown["measure"].round(6))  # less is rounding of the machine
    if ends is not None:
        middle_of, half = (ends[0] + ends[1]) / 2, max((ends[1] - ends[0]) / 2, LEAST_SPAN)
        ends = middle_of - half, middle_of + half
    middle = shown.groupby("value")["measure"].median().reset_index()
    x = nominal("value", sort=list(order), title=title, axis={"labelAngle": 0, "labelOverlap": True, "grid": False})
    if not len(order):
        by = {"type": "log", "nice": False} if axis.log else {"zero": False}
        tiny = axis.log and bool((shown["value"].astype(float) < TINY).any())
        look = {"tickCount": 4, "grid": False, "format": "~e" if tiny else "~g", "labelOverlap": True}
        x = quantity("value", title=title, scale={**by, "padding": 8}, axis=look)
    scale: Spec = {"zero": False, "padding": 12} | ({} if ends is None else {"domain": list(ends), "nice": True})
    y = quantity("measure", title=MEASURES[measure], scale=scale, axis={"tickCount": 5})
    tooltip = hover(("value", title), ("seed", "seed", "d"), ("measure", MEASURES[measure], ".4f"))
    layers = [
        layer(shown, mark("point", filled=True, size=26, color=MUTED.ink, opacity=0.8), x=x, y=y, tooltip=tooltip)
    ]
    if joined:
        thin = mark("line", color=MUTED.ink, strokeWidth=1, opacity=0.5)
        thick = mark("line", color=ACCENT.ink, strokeWidth=3, point={"size": 60, "color": ACCENT.ink})
        named = hover(("value", title), ("measure", f"median {MEASURES[measure]}", ".4f"))
        layers = [
            layer(shown, thin, x=x, y=y, detail=column("seed")),
            *layers,
            layer(middle, thick, x=x, y=y, tooltip=named),
        ]
    return dress(layers, _takeaway(middle, title, measure), height=210)


def _takeaway(middle: pd.DataFrame, title: str, measure: str) -> str:
    if middle.empty:
        return f"{MEASURES[measure]} by {title}. No run has finished."
    best = middle.sort_values("measure", ascending=not measure.endswith("auc")).iloc[0]
    at = _written(best["value"])
    return f"{MEASURES[measure]} by {title}: best at {at} with {best['measure']:.4f} (median over seeds)."


def setting_lines(
    trials: pd.DataFrame,
    factors: Mapping[str, Axis],
    measure: str,
    *,
    brush: str = "brush",
    point: str = "trial",
    chosen: Sequence[int] = (),
) -> Chart:
    """Draw each setting as a line across parallel axes: one per varied factor, and the measure last.

    Dragging along an axis selects settings (`brush`: names under `axis`, a range under `share`), a click one (`point`,
    field `trial`).

    Args:
        trials: columns `trial`, the factors, the measure.
        factors: the axes by column.
        measure: from `MEASURES`.
        brush: name of the interval selection.
        point: name of the point selection.
        chosen: trials in full colour while the others fade; if empty, all are.
    """
    rows = axis_shares(trials, factors, measure).merge(trials[["trial", measure]], on="trial")
    rows["full_colour"] = rows["trial"].isin(list(chosen)) if len(chosen) else True
    axes = [axis.title for axis in factors.values()] + [MEASURES[measure]]
    x = nominal(
        "axis",
        sort=axes,
        title=None,
        scale={"type": "point", "padding": 0.35},
        axis={
            "orient": "top",
            "labelColor": TEXT.ink,
            "labelAngle": 0,
            "labelLimit": 130,
            "labelOverlap": False,
            "labelExpr": narrow("split(datum.label, ' ')", "datum.label", width=560)["expr"],  # a word a line
            "labelPadding": narrow("32", "6", width=560),
            "grid": False,
        },
    )
    y: Spec = quantity("share", axis=None, scale={"domain": [-0.06, 1.06], "nice": False})
    scale: Spec = {"range": inks(SEQUENTIAL if measure.endswith("auc") else SEQUENTIAL[::-1]), "interpolate": "lab"}
    legend = {"title": MEASURES[measure], "orient": "bottom", "format": ".4f", "tickCount": narrow("2", "4")}
    colour = quantity(measure, scale=scale, legend=legend)
    fade = {"condition": {"test": "datum.full_colour", "value": 0.9}, "value": 0.12}
    values = hover(*((name, axis.title) for name, axis in factors.items()), (measure, MEASURES[measure], ".4f"))
    named = rows.merge(trials[["trial", *factors]].astype({name: str for name in factors}), on="trial")
    lines = layer(
        named,
        mark("line", strokeWidth=1.8, strokeJoin="round"),
        x=x,
        y=y,
        detail=column("trial"),
        color=colour,
        opacity=fade,
        order=quantity("place"),
    )
    points = layer(
        named,
        mark("point", filled=True, size=70, cursor="pointer"),
        selections=[drag_selects(brush), click_selects(point, "trial")],
        x=x,
        y=y,
        color=colour,
        opacity=fade,
        tooltip=values,
    )
    layers = [*_axes(axes, x, y), lines, points, *_ticks(trials, factors, measure, x, y)]
    return dress(layers, f"{len(trials):,} settings across {len(factors)} factors, by {MEASURES[measure]}.", height=320)


def brushed_settings(trials: pd.DataFrame, factors: Mapping[str, Axis], measure: str, *, dark: bool) -> Spec:
    """Give the figure of all settings on parallel axes for Plotly, where several axes can be brushed at once.

    Args:
        trials: columns `trial`, the factors, the measure.
        factors: the axes by column.
        measure: from `MEASURES`.
        dark: whether the page is dark; Plotly cannot find out as it draws.
    """
    shares = axis_shares(trials, factors, measure)
    axes = [*factors.items(), (measure, Axis(MEASURES[measure]))]
    dimensions = [
        {
            "label": _safe(axis.title),
            "values": shares.loc[shares["place"] == place, "share"].tolist(),
            "range": [0, 1],
            "tickvals": [share for share, _ in _places(trials, name, axis, measure)],
            "ticktext": [_safe(text) for _, text in _places(trials, name, axis, measure)],
        }
        for place, (name, axis) in enumerate(axes)
    ]
    tones = [tone.dark if dark else tone.light for tone in SEQUENTIAL]
    tones = tones if measure.endswith("auc") else tones[::-1]
    ink = TEXT.dark if dark else TEXT.light
    lines = {
        "type": "parcoords",
        "dimensions": dimensions,
        "labelfont": {"color": ink, "size": 13},
        "tickfont": {"color": ink, "size": 12},
        "rangefont": {"size": 1, "color": "rgba(0,0,0,0)"},  # the ends of an axis are among its ticks
        "unselected": {"line": {"opacity": 0.08}},
        "line": {
            "color": trials[measure].tolist(),
            "colorscale": [[place / (len(tones) - 1), tone] for place, tone in enumerate(tones)],
        },
    }
    layout: Spec = {"height": 400, "margin": {"l": 70, "r": 85, "t": 60, "b": 20}, "paper_bgcolor": "rgba(0,0,0,0)"}
    return {"data": [lines], "layout": layout}


def axis_shares(trials: pd.DataFrame, factors: Mapping[str, Axis], measure: str) -> pd.DataFrame:
    """Place settings on the axes: columns `trial`, `axis`, its `place`, and `share` (0 at the bottom, 1 on top)."""
    parts = []
    for place, (name, axis) in enumerate([*factors.items(), (measure, Axis(MEASURES[measure]))]):
        parts.append((axis.title, place, _shares(trials[name], axis)))
    return pd.concat(
        [
            pd.DataFrame({"trial": trials["trial"], "axis": title, "place": place, "share": shares})
            for title, place, shares in parts
        ],
        ignore_index=True,
    )


def _shares(values: pd.Series, axis: Axis) -> pd.Series:
    if len(axis.order):
        places = {value: place for place, value in enumerate(axis.order)}
        return values.map(places).astype(float) / max(len(axis.order) - 1, 1)
    numbers = values.astype(float).map(math.log if axis.log else float)
    low, high = float(numbers.min()), float(numbers.max())
    return (numbers - low) / (high - low) if high > low else numbers * 0 + 0.5


def _axes(axes: Sequence[str], x: Spec, y: Spec) -> list[Layer]:
    ends = pd.DataFrame([{"axis": title, "share": 0.0, "top": 1.0} for title in axes], columns=["axis", "share", "top"])
    return [layer(ends, mark("rule", color=MUTED.ink, strokeWidth=1, opacity=0.6), x=x, y=y, y2=column("top"))]


def _ticks(trials: pd.DataFrame, factors: Mapping[str, Axis], measure: str, x: Spec, y: Spec) -> list[Layer]:
    """Write the values of each axis: all of an ordered axis, both ends of a scale."""
    lines = [
        {"axis": axis.title, "share": share, "label": text}
        for name, axis in [*factors.items(), (measure, Axis(MEASURES[measure]))]
        for share, text in _places(trials, name, axis, measure)
    ]
    labels = pd.DataFrame(lines, columns=["axis", "share", "label"])
    halo = mark("text", align="left", dx=7, fontSize=11, stroke=EMPTY.ink, strokeWidth=4, opacity=0.9, aria=False)
    text = mark("text", align="left", dx=7, fontSize=11, color=TEXT.ink, aria=False)
    return [layer(labels, look, x=x, y=y, text=nominal("label")) for look in (halo, text)]


def _places(trials: pd.DataFrame, name: str, axis: Axis, measure: str) -> list[tuple[float, str]]:
    """Give the values that stand at an axis, each with its place from 0 to 1."""
    values = list(axis.order) or ([trials[name].min(), trials[name].max()] if len(trials) else [])
    shares = [place / max(len(values) - 1, 1) for place in range(len(values))]
    if not len(axis.order) and len(set(values)) == 1:
        values, shares = values[:1], [0.5]
    return [(share, _written(value, 4 if name == measure else 3)) for value, share in zip(values, shares, strict=True)]


def _safe(text: str) -> str:
    """Write a text so that Plotly takes nothing in it for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _written(value: object, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
