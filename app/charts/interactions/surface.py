"""The effect of two numbers together as a surface: observed, model, or their difference.

It is a figure for Plotly, as plain values: Plotly itself is loaded where it is drawn.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from app.charts.grammar.theme import DIVERGING, GRID, LOG_ODDS, TEXT
from app.charts.grammar.vega import Spec
from app.charts.interactions.levels import PANELS

FEWEST = 3
"""Numbers that each field needs for a surface: two are an edge."""
_WIDE = 20.0
"""From this ratio of largest to smallest number on, an axis of positive numbers is logarithmic."""


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
        "zaxis": {**_look(PANELS[panel], dark), "range": [-top, top]},
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
    shown = values[:: max(1, len(values) // 5)]
    ticks = {"tickvals": shown.tolist(), "ticktext": [f"{value:g}" for value in shown]}
    return {**_look(title, dark), **ticks, "type": "log" if wide else "linear"}


def _look(title: str, dark: bool) -> Spec:
    line = _line(dark)
    return {"title": {"text": title}, "gridcolor": line, "zerolinecolor": line, "showbackground": False}


def _line(dark: bool) -> str:
    return GRID.dark if dark else GRID.light


def _safe(name: str) -> str:
    """Write a name so that Plotly takes nothing in it for markup or for a placeholder."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")
