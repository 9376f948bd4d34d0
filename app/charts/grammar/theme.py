"""The look of every chart: colours for light and dark mode, colour scales, configuration, labels and legends.

A colour is a `Tone`: a light and a dark form. The chart chooses between them by the background it is drawn on, so it
follows the theme of the browser at once, without a run of the page, and looks right in a notebook, too. All tones were
designed in OKLCH. Within a mode they have equal lightness, so that none stands out, and at least 4.5:1 contrast to the
background. `.streamlit/config.toml` repeats the values that widgets share; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from app.charts.grammar.vega import Chart, Layer, Spec, column, expr, layer, mark, over


@dataclass(frozen=True)
class Tone:
    """One colour for light and for dark mode (hexadecimal sRGB)."""

    light: str
    dark: str

    @property
    def ink(self) -> Spec:
        """Give the colour for a mark, an axis or a scale's range."""
        return expr(f"{IS_LIGHT} ? '{self.light}' : '{self.dark}'")


IS_LIGHT = "luminance(background) > 0.4"
"""A Vega expression. The background is a signal of Vega, which Streamlit sets from its theme."""

BACKGROUND = Tone("#ffffff", "#0f1518")
TEXT = Tone("#1b252d", "#e3e9ec")
MUTED = Tone("#59656d", "#9fadb6")
"""Axis labels, reference lines and other minor marks. Still 4.5:1, since they must be readable."""
GRID = Tone("#e6ebee", "#262f35")
EMPTY = Tone("#f3f6f9", "#181f24")
"""Background of an empty cell."""

ACCENT = Tone("#0a6f82", "#45bcd6")
"""The only accent colour: what is chosen, validation, clicks and the whole logit."""
BUTTON = Tone("#0a6f82", "#058298")
"""The accent as a background of buttons: Streamlit writes white text on it in both modes."""
FM = Tone("#3a58c3", "#88a7fd")
"""FM pairs and FM logit, everywhere. With every colour blindness it differs from the DNN's orange."""
DNN = Tone("#9b4805", "#ec915c")
"""The DNN, everywhere."""
POSITIVE = Tone("#137738", "#5ac576")
"""Raises the logit. Green and purple are the ends of the diverging scale, and differ from FM and DNN."""
NEGATIVE = Tone("#9a3289", "#e087ce")
"""Lowers the logit."""

RUNS = (
    Tone("#0a6f82", "#45bcd6"),
    Tone("#a94e00", "#fb985d"),
    Tone("#a83c81", "#fa87cb"),
    Tone("#846807", "#d4b045"),
    Tone("#4764c2", "#95b1fd"),
    Tone("#218041", "#73cb87"),
    Tone("#99574c", "#e89f92"),
    Tone("#59656d", "#9fadb6"),
)
"""Colours of runs in one chart, in order."""

DASHES = ([1, 0], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2], [1, 4], [12, 4], [6, 2, 1, 2])
"""Line dashes of runs: the first is solid, the others are broken, so that a line under another is visible."""
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
"""Point shapes of runs."""


def _ramp(light: str, dark: str) -> tuple[Tone, ...]:
    return tuple(Tone(a, b) for a, b in zip(light.split(), dark.split(), strict=True))


SEQUENTIAL = _ramp(
    "#dff3f3 #b2e1e5 #86cdda #5cb7d0 #36a0c5 #1587b8 #076ea6 #115690 #183f75 #182b58",
    "#273042 #2d445f #2e587b #276f97 #0888b2 #359fbd #58b5c7 #7bcad3 #9de0e0 #bff4ef",
)
"""Strength of a pair. Lightness changes evenly and away from the background, so the order is visible in grey, too. The
low end still differs from the background."""
DIAGONAL = _ramp(
    "#f4efdb #e8dbb4 #ddc68d #d3b069 #c89b47 #bb8528 #ab7109 #986004 #854e00 #6f400d",
    "#3c2d1c #533d20 #6a4e22 #825f23 #997221 #ad8732 #bd9d52 #ceb46f #dfcb8c #f1e2a9",
)
"""Main effects on the diagonal. Gold, so that nobody compares them with pairs."""
DIVERGING = _ramp(
    "#782078 #934b91 #ac73aa #c59bc3 #dcc4db #eef1f2 #bad5c0 #88b994 #569c6b #128042 #005e2c",
    "#feb3fb #d790d4 #aa74a8 #7e5a7d #544253 #292c2d #394f3f #497455 #5a9b6c #6bc385 #7ded9f",
)
"""Signed log-odds: purple lowers, green raises, grey is zero. Safe under colour blindness, as ColorBrewer's PRGn."""

LOG_ODDS = "log-odds"
SIGNED = "datum.value == 0 ? '0' : (datum.value > 0 ? '+' : '') + datum.label"
"""Vega expression of an axis label in signed log-odds. Vega's own label has the digits that tell the ticks apart."""


def narrow(below: str, otherwise: str, *, width: int = 480) -> Spec:
    """Choose between two Vega expressions by the width of the chart's container, in pixels."""
    return expr(f"containerSize()[0] < {width} ? {below} : {otherwise}")


def label_limit(share: float, most: int) -> Spec:
    """Limit row labels to a share of the container's width and to `most` pixels, so that the plot has enough room."""
    return expr(f"clamp(containerSize()[0] * {share}, 60, {most})")


def inks(tones: Sequence[Tone]) -> list[Spec]:
    """Give tones as the range of a scale."""
    return [tone.ink for tone in tones]


def ink_on(share: str) -> Spec:
    """Give a text colour that is readable on a cell; the column `share` holds its place on the colour scale, 0 … 1."""
    strong = f"({IS_LIGHT} ? '{BACKGROUND.light}' : '{BACKGROUND.dark}')"
    weak = f"({IS_LIGHT} ? '{TEXT.light}' : '{TEXT.dark}')"
    return expr(f"datum.{share} > 0.5 ? {strong} : {weak}")


def legend_of(names: Sequence[str], tones: Sequence[Tone], **options: Any) -> Spec:
    """Give the options of a colour channel, one colour per name: order, scale, and a legend without a title."""
    legend = {"labelLimit": 240, "symbolOpacity": 1, **options}
    scale = {"domain": list(names), "range": inks(tones)}
    return {"title": None, "sort": list(names), "scale": scale, "legend": legend}


def channel_of(names: Sequence[str], looks: Sequence[Any], **options: Any) -> Spec:
    """Give the options of a second channel, dashes or shapes, that shares the legend of `legend_of`."""
    own = legend_of(names, (), **options)
    return {**own, "scale": {"domain": list(names), "range": list(looks[: max(len(names), 1)])}}


PADDING = {"left": 0, "right": 4, "top": 4, "bottom": 4}
CONFIG: Spec = {
    "axis": {
        "labelColor": MUTED.ink,
        "titleColor": MUTED.ink,
        "gridColor": GRID.ink,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelPadding": 6,
        "titlePadding": 10,
        "labelLimit": label_limit(0.4, 180),
        "labelFlush": False,
        "labelOverlap": True,
        "domain": False,
        "ticks": False,
    },
    "legend": {
        "orient": "top",
        "direction": "horizontal",
        "labelColor": TEXT.ink,
        "titleColor": MUTED.ink,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 6,
        "labelPadding": 6,
        "columnPadding": 16,
        "columns": narrow("1", "4", width=360),
        "padding": 0,
        "offset": 12,
        "symbolStrokeWidth": 2,
        "labelOverlap": "greedy",
        "labelSeparation": 8,
    },
    "text": {"fontSize": 12, "color": TEXT.ink},
    "title": {"fontSize": 12, "fontWeight": "normal", "color": MUTED.ink, "offset": 8, "anchor": "start"},
    "view": {"strokeWidth": 0},
}
"""Vega configuration on top of Streamlit's theme, which sets font and background."""


def dress(layers: Sequence[Layer], description: str, *, height: int | Spec, **properties: Any) -> Chart:
    """Combine layers into a chart in the common look.

    The width follows the container. The height is that of the plot, so labels never squeeze it.

    Args:
        layers: the first is at the bottom.
        description: the alternative text, with the main result.
        height: of the plot, in pixels, or `step(pixels)` per row.
        properties: other properties of the view, such as `title` (a note above the plot) or `resolve`.
    """
    size: Spec = {"height": height, "autosize": {"type": "fit-x", "contains": "padding"}, "padding": PADDING}
    return over(layers, description, **size, **properties, config=CONFIG)


def step(pixels: int) -> Spec:
    """Give a height per row, in pixels."""
    return {"step": pixels}


# Labels and legends: long names shortened in the middle, colour scales as swatches, and hatched empty cells.
#
# Names are cut in the middle, since names of one family, such as `user_age` and `user_city`, differ at their ends.


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
