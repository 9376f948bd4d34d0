"""Labels and legends: long names shortened in the middle, colour scales as swatches, and hatched empty cells.

Names are cut in the middle, since names of one family, such as `user_age` and `user_city`, differ at their ends.
"""

from __future__ import annotations

import pandas as pd

from app.charts.grammar.theme import EMPTY, MUTED, label_limit
from app.charts.grammar.vega import Layer, Spec, column, layer, mark

_PIXELS = 6.1
"""Average width of a letter of an axis label, in pixels."""


def shortened(share: float, most: int) -> Spec:
    """Give axis options that shorten names to a share of the container's width, and to `most` pixels."""
    return {
        "labelLimit": label_limit(share * 1.15, round(most * 1.15)),
        "labelExpr": _cut("datum.label", _room(share, most)),
    }


def shortened_pairs(share: float, most: int) -> Spec:
    """Give axis options that shorten both names of a pair; a short name leaves its room to the other."""
    room = f"({_room(share, most)} - 3)"
    first, second = (f"split(datum.label, ' × ')[{place}]" for place in (0, 1))
    sides = [
        _cut(name, f"max(floor({room} / 2), {room} - length({other}))")
        for name, other in ((first, second), (second, first))
    ]
    fits = f"length(datum.label) <= {_room(share, most)} || length(split(datum.label, ' × ')) != 2"
    text = f"{fits} ? {_cut('datum.label', _room(share, most))} : {sides[0]} + ' × ' + {sides[1]}"
    return {**_limit(share, most), "labelExpr": text}


def _limit(share: float, most: int) -> Spec:
    """Give a limit with some spare room: names of wide letters are cut off at their end by Vega."""
    return {"labelLimit": label_limit(share * 1.15, round(most * 1.15))}


def _room(share: float, most: int) -> str:
    return f"floor(clamp(containerSize()[0] * {share}, 60, {most}) / {_PIXELS})"


def _cut(text: str, letters: str) -> str:
    """Write the Vega expression that keeps both ends of a text."""
    head, tail = f"ceil(({letters} - 1) / 2)", f"floor(({letters} - 1) / 2)"
    return f"(length({text}) <= {letters} ? {text} : slice({text}, 0, {head}) + '…' + slice({text}, -{tail}))"


# Legends of colour scales, and hatched cells.

_STRIPES = [((0.0, share), (share, 0.0)) for share in (0.25, 0.5, 0.75, 1.0)] + [
    ((share, 1.0), (1.0, share)) for share in (0.25, 0.5, 0.75)
]
"""Both ends of each stripe, as shares of a cell's width and height."""


def swatches(title: str, end: float | None, *, signed: bool = False, lines: bool = False) -> Spec:
    """Give the legend of a colour scale from 0, or from −`end` if it is signed, to `end`; None if only Vega knows it.

    For `lines`, the colours are shown as strokes.
    """
    shares = (-1.0, -0.5, 0.0, 0.5, 1.0) if signed else (0.0, 0.5, 1.0)
    ticks: Spec = {"tickCount": 4} if end is None else {"values": [share * end for share in shares]}
    form = "+.2~g" if signed else ".2~g"
    return {
        "type": "symbol",
        "symbolType": "stroke" if lines else "square",
        "symbolSize": 190,
        "symbolStrokeWidth": 9 if lines else 0,
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
    """Draw empty cells of two band axes with a hatch, since white would read as zero.

    Each stripe is a layer from edge to edge of a cell, so that it fits cells of any shape.
    """
    line = mark("rule", color=MUTED.ink, strokeWidth=1, opacity=0.45, aria=False)
    stripes = []
    for start, end in _STRIPES:
        x, y = ({**at[side], "bandPosition": start[place]} for place, side in enumerate("xy"))
        x2, y2 = (column(at[side]["field"], bandPosition=end[place]) for place, side in enumerate("xy"))
        stripes.append(layer(rows, line, x=x, y=y, x2=x2, y2=y2))
    return [layer(rows, mark("rect", color=EMPTY.ink, cornerRadius=2, aria=False), **at), *stripes]
