"""The model as a drawing, with the numbers of one row: fields, weights, embeddings, FM pairs, DNN, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.charts.grammar.theme import (
    ACCENT,
    DIVERGING,
    DNN,
    EMPTY,
    FM,
    GRID,
    LOG_ODDS,
    MUTED,
    TEXT,
    Tone,
    dress,
    inks,
    narrow,
)
from app.charts.grammar.vega import Chart, Layer, Spec, click_selects, column, expr, hover, layer, mark, quantity, value
from deepfm_core._words import named, percent

MOST_FIELDS, MOST_NUMBERS = 12, 16
"""Fields of a row, and numbers of an embedding, that are drawn."""
SELECTION = "field"
"""Name of the point selection, and of its field."""
_LABELS_END, _WEIGHT, _NUMBERS, _NUMBERS_END = 0.29, 0.305, 0.35, 0.5
_PARTS, _PARTS_END, _SUM, _SUM_END = 0.6, 0.76, 0.83, 1.0


@dataclass(frozen=True)
class Part:
    """A part of the logit: its name, its value in log-odds, its colour, and where its box stands, as a share of the
    height."""

    name: str
    value: float
    tone: Tone
    place: float


def parts_of(row: pd.Series[float], *, first_order: bool, second_order: bool, deep: bool) -> list[Part]:
    """Give the parts that a model has, with a row's values (a line of the frame `examples`)."""
    there = []
    if first_order:
        there.append(Part("bias + first order", float(row["bias"] + row["first_order"]), MUTED, 0.14))
    if second_order:
        there.append(Part("FM pairs", float(row["second_order"]), FM, 0.42))
    if deep:
        there.append(Part("DNN", float(row["dnn_logit"]), DNN, 0.76))
    return there


def architecture(
    fields: pd.DataFrame,
    vectors: NDArray[np.float64] | None,
    parts: Sequence[Part],
    layers: Sequence[int],
    logit: float,
    probability: float,
    *,
    chosen: str | None = None,
) -> Chart:
    """Draw how a row becomes a probability; a click on a field selects it (`field`).

    Args:
        fields: columns `field`, `cell` and `weight` (x·w summed over the field's features, in log-odds).
        vectors: (F, K) the embedding of each field in this row; None if the model has none.
        parts: of the logit, from `parts_of`.
        layers: numbers of inputs, hidden units and outputs of the DNN; empty if there is none.
        logit: the sum, in log-odds.
        probability: of the logit.
        chosen: the field to mark.
    """
    shown = fields.head(MOST_FIELDS).reset_index(drop=True)
    more = len(fields) - len(shown)
    height = max(len(shown) + (more > 0), 9)
    rows = shown.assign(y=np.arange(len(shown)) + 0.5 + (height - len(shown)) / 2 * (more == 0))
    rows["text"] = [named(name, cell) for name, cell in zip(rows["field"], rows["cell"].astype(str), strict=True)]
    rows["chosen"] = rows["field"] == chosen
    boxes = _boxes(parts, logit, probability, height)
    drawn = [
        *_links(rows, parts, vectors is not None, height),
        *_field_layers(rows, height),
        *_numbers(rows, vectors, height),
        *_network(layers, parts, height),
        *_box_layers(boxes, height),
    ]
    if more:
        rest = pd.DataFrame({"x": [_LABELS_END], "y": [len(shown) + 0.5], "text": [f"and {more} more fields"]})
        drawn.append(_text(rest, height, align="right", color=MUTED.ink))
    said = ", ".join(f"{part.name} {part.value:+.2f}" for part in parts)
    return dress(
        drawn, f"One row: {said}; sum {logit:+.2f} log-odds, probability {percent(probability, 1)}.", height=28 * height
    )


def _x(name: str = "x") -> Spec:
    return quantity(name, scale={"domain": [0, 1], "nice": False}, axis=None)


def _y(height: float, name: str = "y") -> Spec:
    return quantity(name, scale={"domain": [height, 0], "nice": False}, axis=None)


def _text(rows: pd.DataFrame, height: float, **look: object) -> Layer:
    text = mark("text", fontSize=narrow("10", "12"), aria=False, **look)
    return layer(rows, text, x=_x(), y=_y(height), text=column("text", type="nominal"))


def _field_layers(rows: pd.DataFrame, height: float) -> list[Layer]:
    """Write each field with its cell, and draw its weight as a square."""
    end = max(float(rows["weight"].abs().max()) if rows["weight"].notna().any() else 0.0, 1e-9)
    at = rows.assign(x=_LABELS_END, x0=_WEIGHT, x1=_WEIGHT + 0.018, y0=rows["y"] - 0.32, y1=rows["y"] + 0.32)
    edges: Spec = {"x": _x("x0"), "x2": column("x1"), "y": _y(height, "y0"), "y2": column("y1")}
    tooltip = hover(("field", "field"), ("cell", "cell"), ("weight", f"weight ({LOG_ODDS})", "+.3f"))
    scale: Spec = {"domain": [-end, end], "range": inks(DIVERGING), "interpolate": "rgb"}
    label = mark(
        "text",
        align="right",
        fontSize=narrow("10", "12"),
        limit=expr(f"width * {_LABELS_END - 0.01}"),
        cursor="pointer",
        fontWeight=expr("datum.chosen ? 'bold' : 'normal'"),
        color=expr(f"datum.chosen ? {ACCENT.ink['expr']} : {TEXT.ink['expr']}"),
    )
    drawn = [
        layer(
            at,
            label,
            selections=[click_selects(SELECTION, "field")],
            x=_x(),
            y=_y(height),
            text=column("text", type="nominal"),
            tooltip=tooltip,
            description=column("text", type="nominal"),
        )
    ]
    weighed = at.dropna(subset=["weight"])
    if len(weighed):
        square = mark("rect", stroke=MUTED.ink, strokeWidth=0.6)
        shade = quantity("weight", scale=scale, legend=None)
        drawn.append(layer(weighed, square, **edges, color=shade, tooltip=tooltip))
    return drawn


def _numbers(rows: pd.DataFrame, vectors: NDArray[np.float64] | None, height: float) -> list[Layer]:
    """Draw the numbers of each field's embedding as squares."""
    if vectors is None or not len(rows):
        return []
    shown = vectors[: len(rows), :MOST_NUMBERS]
    count = shown.shape[1]
    width = (_NUMBERS_END - _NUMBERS) / count
    places = np.tile(np.arange(count), len(rows))
    at = rows.loc[rows.index.repeat(count), ["field", "y"]].assign(number=places + 1, value=shown.ravel())
    at = at.assign(x0=_NUMBERS + places * width, x1=_NUMBERS + (places + 1) * width, y0=at["y"] - 0.32)
    at["y1"] = at["y"] + 0.32
    end = float(np.abs(shown).max())
    tooltip = hover(("field", "field"), ("number", "number", "d"), ("value", "value", "+.4f"))
    edges: Spec = {"x": _x("x0"), "x2": column("x1"), "y": _y(height, "y0"), "y2": column("y1")}
    cell = mark("rect", stroke=GRID.ink, strokeWidth=0.6)
    if end == 0:
        return [layer(at, {**cell, "color": EMPTY.ink, "stroke": MUTED.ink}, **edges, tooltip=tooltip)]
    scale: Spec = {"domain": [-end, end], "range": inks(DIVERGING), "interpolate": "rgb"}
    return [layer(at, cell, **edges, color=quantity("value", scale=scale, legend=None), tooltip=tooltip)]


def _links(rows: pd.DataFrame, parts: Sequence[Part], embedded: bool, height: float) -> list[Layer]:
    """Draw a line from each field to each part that reads it, and from each part to the sum."""
    lines, sums = [], []
    for part in parts:
        start = _NUMBERS_END if embedded and part.tone is not MUTED else _WEIGHT + 0.018
        line = rows[["y"]].assign(x=start + 0.006, x1=_PARTS, y1=part.place * height)
        lines.append(line.assign(name=part.name))
        sums.append({"x": _PARTS_END, "x1": _SUM, "y": part.place * height, "y1": 0.36 * height, "name": part.name})
    if not lines:
        return []
    whole = pd.concat([*lines, pd.DataFrame(sums)], ignore_index=True)
    names, tones = [part.name for part in parts], [part.tone for part in parts]
    colour = column("name", type="nominal", scale={"domain": names, "range": inks(tones)}, legend=None)
    across: Spec = {"x": _x(), "x2": column("x1"), "y": _y(height), "y2": column("y1")}
    rule = mark("rule", strokeWidth=1, opacity=0.35, aria=False)
    return [layer(whole, rule, **across, color=colour)]


def _boxes(parts: Sequence[Part], logit: float, probability: float, height: float) -> pd.DataFrame:
    rows = [
        {"name": part.name, "said": f"{part.value:+.2f}", "x0": _PARTS, "x1": _PARTS_END, "y": part.place * height}
        for part in parts
    ]
    rows.append({"name": "logit", "said": f"{logit:+.2f}", "x0": _SUM, "x1": _SUM_END, "y": 0.36 * height})
    rows.append(
        {"name": "probability", "said": percent(probability, 1), "x0": _SUM, "x1": _SUM_END, "y": 0.64 * height}
    )
    return pd.DataFrame(rows).assign(x=lambda frame: (frame["x0"] + frame["x1"]) / 2)


def _box_layers(boxes: pd.DataFrame, height: float) -> list[Layer]:
    """Draw each part as a box with its value, and its name above."""
    at = boxes.assign(said=boxes["said"].str.replace("-", "−"), y0=boxes["y"] - 0.55, y1=boxes["y"] + 0.55)
    edges: Spec = {"x": _x("x0"), "x2": column("x1"), "y": _y(height, "y0"), "y2": column("y1")}
    box = mark("rect", color=EMPTY.ink, stroke=MUTED.ink, cornerRadius=4)
    tooltip = hover(("name", "part"), ("said", "value"))
    arrow = pd.DataFrame({"x": [(_SUM + _SUM_END) / 2], "y": [0.36 * height + 0.55], "y1": [0.64 * height - 1.3]})
    down = mark("rule", color=ACCENT.ink, strokeWidth=1.5, aria=False)
    number = mark("text", fontSize=narrow("11", "14"), fontWeight="bold", color=TEXT.ink, aria=False)
    name = mark("text", fontSize=narrow("9", "12"), color=TEXT.ink, dy=-24, aria=False)
    return [
        layer(arrow, down, x=_x(), y=_y(height), y2=column("y1")),
        layer(at, box, **edges, tooltip=tooltip),
        layer(at, number, x=_x(), y=_y(height), text=column("said", type="nominal")),
        layer(at, name, x=_x(), y=_y(height), text=column("name", type="nominal")),
    ]


def _network(layers: Sequence[int], parts: Sequence[Part], height: float) -> list[Layer]:
    """Draw the layers of the DNN as bars below its box, higher for more units."""
    place = next((part.place for part in parts if part.tone is DNN), None)
    if not layers or place is None:
        return []
    most = np.log1p(max(layers))
    sizes = 1.1 * np.log1p(np.array(layers)) / most
    count = len(layers)
    step = (_PARTS_END - _PARTS) / count
    titles = ["inputs", *(f"hidden layer {number}" for number in range(1, count - 1)), "output"]
    frame = pd.DataFrame({"layer": titles, "units": layers, "x0": _PARTS + np.arange(count) * step})
    middle = place * height + 1.35
    frame = frame.assign(x1=frame["x0"] + 0.6 * step, y0=middle - sizes / 2, y1=middle + sizes / 2)
    edges: Spec = {"x": _x("x0"), "x2": column("x1"), "y": _y(height, "y0"), "y2": column("y1")}
    tooltip = hover(("layer", "layer"), ("units", "units", ","))
    text = frame.assign(x=(frame["x0"] + frame["x1"]) / 2, y=middle + 0.85, text=[f"{units:,}" for units in layers])
    return [
        layer(frame, mark("rect", color=DNN.ink, cornerRadius=1), **edges, opacity=value(0.75), tooltip=tooltip),
        _text(text, height, color=MUTED.ink, align="center"),
    ]
