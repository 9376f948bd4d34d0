"""Legends of colour scales as swatches, and the hatch of cells that hold nothing.

An SVG gradient is named by the page's address where Vega draws it; every choice that stands in the address would leave
it pointing nowhere and the legend empty. So no chart has a gradient (a test asks).
"""

from __future__ import annotations

import pandas as pd

from .theme import EMPTY, MUTED
from .vega import Layer, Spec, expr, layer, mark

_STRIPES = "M-1,-.5L-.5,-1M-1,0L0,-1M-1,.5L.5,-1M-1,1L1,-1M-.5,1L1,-.5M0,1L1,0M.5,1L1,.5"


def swatches(title: str, end: float | None, *, signed: bool = False) -> Spec:
    """Give the legend of a colour scale from 0 (or −`end`, where it is signed) to `end`; None where only Vega knows."""
    shares = (-1.0, -0.5, 0.0, 0.5, 1.0) if signed else (0.0, 0.5, 1.0)
    ticks: Spec = {"tickCount": 4} if end is None else {"values": [share * end for share in shares]}
    form = "+.2~g" if signed else ".2~g"
    return {
        "type": "symbol",
        "symbolType": "square",
        "symbolSize": 190,
        "symbolStrokeWidth": 0,
        "symbolOpacity": 1,
        "columns": 6,
        "columnPadding": 9,
        "labelPadding": 0,
        "title": title,
        "titleLimit": 300,
        "orient": "bottom",
        "padding": 10,
        "offset": 2,
        "labelExpr": f"datum.value == 0 ? '0' : format(datum.value, '{form}')",
        **ticks,
    }


def hatched(rows: pd.DataFrame, at: Spec) -> list[Layer]:
    """Draw cells of two band axes that hold nothing: a hatch, since white would read as zero."""
    side = "min(bandwidth('x'), bandwidth('y'))"
    stripes = mark("point", shape=_STRIPES, size=expr(f"pow({side}, 2)"), filled=False, aria=False)
    look: Spec = {"stroke": MUTED.ink, "strokeWidth": 1, "strokeOpacity": 0.45, "opacity": 1}
    return [
        layer(rows, mark("rect", color=EMPTY.ink, cornerRadius=2, aria=False), **at),
        layer(rows, {**stripes, **look}, **at),
    ]
