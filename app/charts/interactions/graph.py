"""Graph of pairs: fields on a circle, pairs as chords between them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from app.charts.grammar.theme import (
    BACKGROUND,
    DIAGONAL,
    LOG_ODDS,
    MUTED,
    SEQUENTIAL,
    TEXT,
    dress,
    inks,
    narrow,
    swatches,
)
from app.charts.grammar.vega import (
    Chart,
    Layer,
    Spec,
    click_selects,
    column,
    expr,
    hover,
    layer,
    mark,
    nominal,
    quantity,
    when,
)
from app.charts.interactions.matrix import CLEAR_OR_NOT, LIMIT, fields_in_order
from app.charts.interactions.ranking import MEASURES, NOTICED, pair_label
from deepfm_core.evidence.verdicts import clear

UPRIGHT_LIMIT = 16
"""Up to this many fields, names are written horizontally; with more, along the radius."""
FAINT_SHARE = 0.25
"""A pair that is not clear above noise is drawn, faintly, from this share of the largest strength on."""
UNJUDGED = 2
"""Without evidence, this many of the strongest pairs per field are drawn."""
THINNEST, THICKEST = 1.5, 11.0
SMALLEST, LARGEST = 60.0, 620.0


def pair_graph(
    pairs: pd.DataFrame,
    fields: pd.DataFrame,
    *,
    measure: str = "strength",
    selected: tuple[str, str] | None = None,
    selection: str = "pair",
    limit: int = LIMIT,
) -> Chart:
    """Draw fields on a circle and their pairs as chords, wider and darker where stronger; a click selects a pair.

    Pairs clear above noise are solid lines; others are faint and, if weak, left out. The area of a field's dot shows
    its main effect. A click on it selects the field with itself.

    Args:
        pairs: columns `field_a`, `field_b`, the measure and, if known, `significant` (clear above noise).
        fields: columns `field`, `order`, `main_effect`.
        measure: from `MEASURES`.
        selected: the pair to highlight, in either order.
        selection: name of the point selection, with fields `field_a` and `field_b`.
        limit: most fields drawn; with more, those of the strongest pairs, with a note.
    """
    order = fields_in_order(pairs, fields, measure, limit)
    dots = _dots(fields, order, selected)
    chords = _chords(pairs, dots, measure, selected)
    at = _places(len(order))
    layers = [*_chord_layers(chords, at), _capture(chords, at, measure, selection), *_dot_layers(dots, at)]
    note = f"The {len(order)} fields of the strongest pairs, of {len(fields)}."
    return dress(
        layers,
        _takeaway(chords, measure),
        height=520,
        resolve={"scale": {"color": "independent", "size": "independent"}},
        **({"title": {"text": note}} if len(order) < len(fields) else {}),
    )


def _dots(fields: pd.DataFrame, order: list[str], selected: tuple[str, str] | None) -> pd.DataFrame:
    """Place the fields on the circle, clockwise from the top, and their names outside it."""
    effects = fields.set_index("field")["main_effect"].reindex(order).to_numpy(dtype=float)
    turn = np.arange(len(order)) * 2 * math.pi / max(len(order), 1)
    x, y = np.sin(turn), np.cos(turn)
    left = x < -1e-9
    degrees = np.degrees(turn) - np.where(left, 270.0, 90.0)
    largest = np.nanmax(effects) if np.isfinite(effects).any() else 1.0
    size = SMALLEST + (LARGEST - SMALLEST) * np.nan_to_num(effects) / max(largest, 1e-9)
    names = [f"{field}: main effect {effect:.2f}" for field, effect in zip(order, effects, strict=True)]
    return pd.DataFrame(
        {
            "field_a": order,
            "field_b": order,
            "x": x,
            "y": y,
            "main_effect": effects,
            "size": size,
            "left": left,
            "middle": np.abs(x) < 0.2,
            "angle": degrees if len(order) > UPRIGHT_LIMIT else 0.0,
            "label_gap": 8 + np.sqrt(size) / 2,  # pixels from the dot's centre to its name
            "up": y > 0,
            "chosen": [field in (selected or ()) for field in order],
            "name": names,
        }
    )


def _chords(pairs: pd.DataFrame, dots: pd.DataFrame, measure: str, selected: tuple[str, str] | None) -> pd.DataFrame:
    """Choose the pairs to draw, weakest first, so that strong ones lie on top; add both ends of each chord."""
    known = pairs[pairs["field_a"].isin(dots["field_a"]) & pairs["field_b"].isin(dots["field_a"])]
    known = known.dropna(subset=[measure]).sort_values(measure, kind="stable")
    strength = known[measure]
    chosen = pd.Series(
        [{a, b} == set(selected or ()) for a, b in zip(known["field_a"], known["field_b"], strict=True)],
        index=known.index,
        dtype=bool,
    )
    has_evidence = "significant" in known
    strongest = strength.rank(ascending=False, method="first") <= UNJUDGED * len(dots)
    sure = clear(known) if has_evidence else strongest
    end = max(NOTICED, float((strength[sure] if sure.any() else strength).max())) if len(known) else 1.0
    drawn = known[sure | chosen | ((strength >= FAINT_SHARE * end) & strongest)]
    place = dots.set_index("field_a")[["x", "y"]]
    frame = pd.DataFrame({"field_a": drawn["field_a"], "field_b": drawn["field_b"], "value": drawn[measure]})
    for side, names in (("", drawn["field_a"]), ("2", drawn["field_b"])):
        frame[[f"x{side}", f"y{side}"]] = place.reindex(names).to_numpy()
    return frame.assign(
        end=end,
        width=THINNEST + (THICKEST - THINNEST) * (frame["value"] / end).clip(upper=1),
        significant=sure,
        chosen=chosen,
        pair=[pair_label(a, b) for a, b in zip(frame["field_a"], frame["field_b"], strict=True)],
        verdict=sure.map(CLEAR_OR_NOT) if has_evidence else "",
        name=[
            f"{pair_label(a, b)}: {shown:.2f}"
            for a, b, shown in zip(frame["field_a"], frame["field_b"], frame["value"], strict=True)
        ],
    )


def _places(count: int) -> Spec:
    """Give the scales of the circle: both have the same pixels per unit at every width, so it stays round."""
    side_margin, top_margin = narrow("84", "130", width=560)["expr"], "34" if count <= UPRIGHT_LIMIT else "112"
    radius = f"max(60, min(width / 2 - ({side_margin}), height / 2 - {top_margin}))"

    def axis(field: str, size: str, sign: int) -> Spec:
        ends = [expr(f"{size} / 2 - {sign} * {radius}"), expr(f"{size} / 2 + {sign} * {radius}")]
        return quantity(field, axis=None, scale={"domain": [-1, 1], "range": ends, "nice": False, "zero": False})

    return {"x": axis("x", "width", 1), "y": axis("y", "height", -1)}


def _line(at: Spec) -> Spec:
    return {**at, "x2": column("x2"), "y2": column("y2")}


def _chord_layers(chords: pd.DataFrame, at: Spec) -> list[Layer]:
    end = float(chords["end"].iloc[0]) if len(chords) else 1.0
    scale = {"domain": [0, end], "range": inks(SEQUENTIAL[2:]), "interpolate": "lab", "clamp": True}
    legend = swatches(f"pair ({LOG_ODDS}, sd)", end, lines=True)
    width = quantity("width", scale=None)
    faint = mark("rule", color=MUTED.ink, opacity=0.35, strokeDash=[3, 4], strokeWidth=1.2, aria=False)
    marked = chords[chords["chosen"]]
    outline = [
        layer(
            marked.assign(width=marked["width"] + more),
            mark("rule", color=tone.ink, strokeCap="round", aria=False),
            **_line(at),
            strokeWidth=width,
        )
        for tone, more in ((TEXT, 9), (BACKGROUND, 4))
    ]
    firm = mark("rule", strokeCap="round", opacity=0.95, aria=False)
    return [
        layer(chords[~chords["significant"]], faint, **_line(at)),
        *outline,
        layer(
            chords[chords["significant"] | chords["chosen"]],
            firm,
            **_line(at),
            strokeWidth=width,
            strokeDash=when("datum.significant", [1, 0], [3, 6]),
            color=quantity("value", scale=scale, legend=legend),
        ),
    ]


def _capture(chords: pd.DataFrame, at: Spec, measure: str, selection: str) -> Layer:
    """Lay an invisible, wide line over each chord: it takes the click, the tooltip and the name for screen readers."""
    tooltip = hover(("pair", "pair"), ("value", MEASURES[measure].label, ".3f"))
    if chords["verdict"].ne("").any():
        tooltip += hover(("verdict", "verdict"))
    return layer(
        chords,
        mark("rule", color="transparent", strokeWidth=14, cursor="pointer"),
        selections=[click_selects(selection, "field_a", "field_b")],
        **_line(at),
        tooltip=tooltip,
        description=nominal("name"),
    )


def _dot_layers(dots: pd.DataFrame, at: Spec) -> list[Layer]:
    look = {"fill": DIAGONAL[4].ink, "stroke": BACKGROUND.ink, "strokeWidth": 2, "opacity": 1, "cursor": "pointer"}
    tooltip = hover(("field_a", "field"), ("main_effect", f"main effect ({LOG_ODDS})", ".3f"))
    size = quantity("size", scale=None, legend=None)
    circles = layer(dots, mark("circle", **look), **at, size=size, tooltip=tooltip, description=nominal("name"))
    if (dots["angle"] != 0).any():
        side = {
            "align": expr("datum.left ? 'right' : 'left'"),
            "dx": expr("datum.left ? -datum.label_gap : datum.label_gap"),
        }
        text = mark("text", baseline="middle", fontSize=11, limit=100, color=TEXT.ink, aria=False, **side)
        turned = quantity("angle", scale=None)
        return [circles, layer(dots, text, **at, text=nominal("field_a"), angle=turned)]
    side = {
        "align": expr("datum.middle ? 'center' : datum.left ? 'right' : 'left'"),
        "dx": expr("datum.middle ? 0 : datum.left ? -datum.label_gap : datum.label_gap"),
        "dy": expr("!datum.middle ? 0 : datum.up ? -datum.label_gap - 4 : datum.label_gap + 4"),
    }
    text = mark("text", baseline="middle", limit=narrow("78", "122", width=560), color=TEXT.ink, aria=False, **side)
    return [circles, layer(dots, text, **at, text=nominal("field_a"))]


def _takeaway(chords: pd.DataFrame, measure: str) -> str:
    firm = int(chords["significant"].sum())
    has_evidence = bool(chords["verdict"].ne("").any())
    what = "pairs clear above noise" if has_evidence else "strongest pairs"
    text = f"Fields on a circle with {firm or 'no'} {what} as chords, by {MEASURES[measure].label}, in {LOG_ODDS}."
    if not firm:
        return text
    best = chords[chords["significant"]].iloc[-1]
    return f"{text} The strongest is {best['pair']} with {best['value']:.2f}."
