"""A study of settings: a line a factor with a thin one for each seed, and all settings as lines across axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from .theme import ACCENT, EMPTY, MUTED, SEQUENTIAL, TEXT, dress, inks, narrow
from .vega import Chart, Layer, Spec, click_selects, column, drag_selects, hover, layer, mark, nominal, quantity

MEASURES = {
    "valid_logloss": "validation logloss (nats)",
    "valid_auc": "validation AUC",
    "test_logloss": "test logloss (nats)",
    "test_auc": "test AUC",
}


def factor_line(
    rows: pd.DataFrame,
    order: Sequence[str],
    *,
    title: str,
    measure: str,
    joined: bool,
    ends: tuple[float, float] | None = None,
    height: int = 210,
) -> Chart:
    """Draw a measure over the values of one factor: a thin line a seed, and their median.

    Args:
        rows: columns `value` (text, or number where `order` is empty), `seed`, `measure`.
        order: of the values; empty where they are numbers on a scale.
        title: of the factor.
        measure: from `MEASURES`.
        joined: whether values are joined by lines; those of a search are points.
        ends: smallest and largest value of the axis, so that factors can be compared.
        height: of the plot, in pixels.
    """
    shown = rows.dropna(subset=["measure"])
    middle = shown.groupby("value")["measure"].median().reset_index()
    x = nominal("value", sort=list(order), title=title, axis={"labelAngle": 0, "labelOverlap": True, "grid": False})
    if not len(order):
        x = quantity("value", title=title, scale={"zero": False, "padding": 8}, axis={"tickCount": 4, "grid": False})
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
    return dress(layers, _takeaway(middle, title, measure), height=height)


def _takeaway(middle: pd.DataFrame, title: str, measure: str) -> str:
    if middle.empty:
        return f"{MEASURES[measure]} by {title}; no run has finished."
    best = middle.sort_values("measure", ascending=not measure.endswith("auc")).iloc[0]
    at = _written(best["value"])
    return f"{MEASURES[measure]} by {title}: best at {at} with {best['measure']:.4f} (median over seeds)."


def setting_lines(
    trials: pd.DataFrame,
    factors: Mapping[str, tuple[str, Sequence[object]]],
    measure: str,
    *,
    brush: str = "brush",
    point: str = "trial",
    chosen: Sequence[int] = (),
    height: int = 320,
) -> Chart:
    """Draw each setting as a line across parallel axes, one a varied factor and the last one the measure.

    Dragging along an axis selects settings (`brush`: names under `axis`, a range under `share`), a click one (`point`,
    field `trial`).

    Args:
        trials: columns `trial`, the factors, the measure.
        factors: by column, the title and the values in order; empty where they are numbers laid out by size.
        measure: from `MEASURES`.
        brush: name of the interval selection.
        point: name of the point selection.
        chosen: trials drawn in full colour where some are chosen; the others fade.
        height: of the plot, in pixels.
    """
    rows = axis_shares(trials, factors, measure).merge(trials[["trial", measure]], on="trial")
    rows["solid"] = rows["trial"].isin(list(chosen)) if len(chosen) else True
    axes = [title for title, _ in factors.values()] + [MEASURES[measure]]
    x = nominal(
        "axis",
        sort=axes,
        title=None,
        scale={"type": "point", "padding": 0.35},
        axis={"orient": "top", "labelColor": TEXT.ink, "labelAngle": 0, "labelLimit": 130, "grid": False},
    )
    y: Spec = quantity("share", axis=None, scale={"domain": [-0.06, 1.06], "nice": False})
    scale: Spec = {"range": inks(SEQUENTIAL if measure.endswith("auc") else SEQUENTIAL[::-1]), "interpolate": "lab"}
    legend = {"title": MEASURES[measure], "orient": "bottom", "format": ".4f", "tickCount": narrow("2", "4")}
    colour = quantity(measure, scale=scale, legend=legend)
    fade = {"condition": {"test": "datum.solid", "value": 0.9}, "value": 0.12}
    values = hover(*((name, title) for name, (title, _) in factors.items()), (measure, MEASURES[measure], ".4f"))
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
    return dress(
        layers, f"{len(trials)} settings across {len(factors)} factors, by {MEASURES[measure]}.", height=height
    )


def axis_shares(
    trials: pd.DataFrame, factors: Mapping[str, tuple[str, Sequence[object]]], measure: str
) -> pd.DataFrame:
    """Lay settings out along the axes: `trial`, `axis`, `place` (of the axis), `share` (0 at its foot, 1 on top)."""
    parts = []
    for place, (name, (title, order)) in enumerate(factors.items()):
        parts.append((title, place, _shares(trials[name], order)))
    parts.append((MEASURES[measure], len(parts), _shares(trials[measure], ())))
    return pd.concat(
        [
            pd.DataFrame({"trial": trials["trial"], "axis": title, "place": place, "share": shares})
            for title, place, shares in parts
        ],
        ignore_index=True,
    )


def _shares(values: pd.Series, order: Sequence[object]) -> pd.Series:
    if len(order):
        places = {value: place for place, value in enumerate(order)}
        return values.map(places).astype(float) / max(len(order) - 1, 1)
    numbers = values.astype(float)
    low, high = float(numbers.min()), float(numbers.max())
    return (numbers - low) / (high - low) if high > low else numbers * 0 + 0.5


def _axes(axes: Sequence[str], x: Spec, y: Spec) -> list[Layer]:
    ends = pd.DataFrame([{"axis": title, "share": 0.0, "top": 1.0} for title in axes], columns=["axis", "share", "top"])
    return [layer(ends, mark("rule", color=MUTED.ink, strokeWidth=1, opacity=0.6), x=x, y=y, y2=column("top"))]


def _ticks(
    trials: pd.DataFrame, factors: Mapping[str, tuple[str, Sequence[object]]], measure: str, x: Spec, y: Spec
) -> list[Layer]:
    """Write the values of each axis: all of those laid out in order, the ends of the others."""
    lines = []
    for name, (title, order) in [*factors.items(), (measure, (MEASURES[measure], ()))]:
        values = list(order) or ([trials[name].min(), trials[name].max()] if len(trials) else [])
        shares = [place / max(len(values) - 1, 1) for place in range(len(values))]
        if not len(order) and len(set(values)) == 1:
            values, shares = values[:1], [0.5]
        lines += [
            {"axis": title, "share": share, "label": _written(value)}
            for value, share in zip(values, shares, strict=True)
        ]
    labels = pd.DataFrame(lines, columns=["axis", "share", "label"])
    halo = mark("text", align="left", dx=7, fontSize=11, stroke=EMPTY.ink, strokeWidth=4, opacity=0.9, aria=False)
    text = mark("text", align="left", dx=7, fontSize=11, color=TEXT.ink, aria=False)
    return [layer(labels, look, x=x, y=y, text=nominal("label")) for look in (halo, text)]


def _written(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
