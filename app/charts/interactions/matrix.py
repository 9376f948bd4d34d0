"""The field matrix: every pair's strength as a heat map, main effects on the diagonal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from app.charts.grammar.legends import shortened, swatches
from app.charts.grammar.theme import (
    BACKGROUND,
    DIAGONAL,
    EMPTY,
    LOG_ODDS,
    MUTED,
    SEQUENTIAL,
    TEXT,
    Tone,
    dress,
    ink_on,
    inks,
    step,
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
)
from app.charts.interactions.ranking import MEASURES, NOTICED

NOISE = "not told apart from noise"
HOLLOW: Spec = {
    "symbolType": "square",
    "symbolSize": 190,
    "symbolFillColor": "transparent",
    "symbolStrokeWidth": 1,
    "symbolOpacity": 1,
    "orient": "top",
    "padding": 0,
    "offset": 6,
    "labelLimit": 240,
}
"""The legend of hollow cells, above the matrix: below it the colours take the whole width."""
LIMIT = 40
VALUES_LIMIT = 24
"""Most fields whose cells may have room for their values."""
FITTING: Spec = {
    "fontSize": expr("clamp(bandwidth('x') * 0.44, 8, 11)"),
    "opacity": expr("bandwidth('x') < 19 ? 0 : 1"),
}
"""A value in a cell: smaller where cells are, and none where it would run over."""


def field_matrix(
    pairs: pd.DataFrame,
    fields: pd.DataFrame,
    *,
    upper: str = "strength",
    lower: str | None = None,
    selected: tuple[str, str] | None = None,
    selection: str = "pair",
    limit: int = LIMIT,
    largest: float | None = None,
    live: bool = False,
) -> Chart:
    """Draw pairs of fields by strength, on one sequential scale; main effects, in a hue of their own, on the diagonal.

    A click on a cell selects `field_a` and `field_b`, in the frame's order; on the diagonal both are the same field.
    The corner of a diagonal cell is the strength of the pairs within a multi-valued field.

    Args:
        pairs: columns `field_a`, `field_b`, the measures and, where known, `solid` (false: drawn hollow).
        fields: columns `field`, `order`, `main_effect`, `within`.
        upper: the measure above the diagonal, from `MEASURES`.
        lower: the measure below it; as above where not given.
        selected: the pair to outline, in either order.
        selection: name of the point selection.
        limit: most fields drawn; beyond it, those of the strongest pairs, with a note.
        largest: the strength at the scale's end, so that matrices can be compared; by default the largest drawn, and
            no less than would be noticed.
        live: let the browser find the scale's end, so that growing strengths replace the data alone.
    """
    lower = lower or upper
    order = fields_in_order(pairs, fields, upper, limit)
    cells = _cells(pairs, order, upper, lower, selected)
    if largest is None and len(cells) and not live:
        largest = max(NOTICED, float(cells["value"].max()))
    cells = _with_share(cells, largest)
    diagonal = _diagonal(fields, order, selected)
    at = places(order)
    layers = [*_pair_layers(cells, at, live), *_diagonal_layers(diagonal, at), *_within(diagonal, cells, order)]
    if len(order) <= VALUES_LIMIT:
        layers += [_values(cells, at), _values(diagonal, at)]
    layers += [_outline(cells, diagonal, at), _capture_pairs(cells, at, selection), _capture_fields(diagonal, at)]
    note = f"The {len(order)} fields of the strongest pairs, of {len(fields)}."
    return dress(
        layers,
        _takeaway(pairs, upper, lower, len(order)),
        height=step(max(14, min(36, 480 // max(len(order), 1)))),
        resolve={"scale": {"color": "independent"}},
        **({"title": {"text": note}} if len(order) < len(fields) else {}),
    )


def fields_in_order(pairs: pd.DataFrame, fields: pd.DataFrame, measure: str, limit: int = LIMIT) -> list[str]:
    """List the fields by `order`, so that strong pairs gather; of more than `limit`, those of the strongest pairs."""
    ordered = list(fields.sort_values("order")["field"])
    if len(ordered) <= limit:
        return ordered
    strongest = pairs.sort_values(measure, ascending=False)
    kept: dict[str, None] = {}
    for a, b in zip(strongest["field_a"], strongest["field_b"], strict=True):
        if len(kept.keys() | {a, b}) > limit:
            break
        kept.update({a: None, b: None})
    return [field for field in ordered if field in kept]


def _cells(
    pairs: pd.DataFrame, order: list[str], upper: str, lower: str, selected: tuple[str, str] | None
) -> pd.DataFrame:
    """Give every pair its cell above the diagonal and the one below."""
    place = {field: i for i, field in enumerate(order)}
    known = pairs[pairs["field_a"].isin(place) & pairs["field_b"].isin(place)]
    first = known["field_a"].map(place) < known["field_b"].map(place)
    early, late = known["field_a"].where(first, known["field_b"]), known["field_b"].where(first, known["field_a"])
    solid = known["solid"].astype(bool) if "solid" in known else pd.Series(True, index=known.index)
    chosen = [selected is not None and {a, b} == set(selected) for a, b in zip(early, late, strict=True)]
    common = pd.DataFrame({"field_a": known["field_a"], "field_b": known["field_b"], "solid": solid, "chosen": chosen})
    above = common.assign(row=early, column=late, value=known[upper], measure=MEASURES[upper].label)
    below = common.assign(row=late, column=early, value=known[lower], measure=MEASURES[lower].label)
    cells = pd.concat([above, below], ignore_index=True)
    names = [f"{a} with {b}: {v:.2f}" for a, b, v in zip(cells["row"], cells["column"], cells["value"], strict=True)]
    verdict = cells["solid"].map({True: "told apart from noise", False: NOISE})
    return cells.assign(name=names, verdict=verdict)


def _diagonal(fields: pd.DataFrame, order: list[str], selected: tuple[str, str] | None) -> pd.DataFrame:
    kept = fields[fields["field"].isin(order)]
    field, effect = kept["field"], kept["main_effect"]
    within = kept["within"] if "within" in kept else pd.Series(float("nan"), index=kept.index)
    chosen = [selected is not None and set(selected) == {name} for name in field]
    names = [f"{name}: main effect {v:.2f}" for name, v in zip(field, effect, strict=True)]
    frame = pd.DataFrame({"row": field, "column": field, "field_a": field, "field_b": field, "value": effect})
    return _with_share(frame.assign(within=within, chosen=chosen, solid=True, name=names))


def _with_share(cells: pd.DataFrame, largest: float | None = None) -> pd.DataFrame:
    """Add the value at the scale's end and each value's share of it."""
    end = cells["value"].max() if largest is None else largest
    end = max(float(end), 1e-9) if pd.notna(end) else 1.0
    return cells.assign(end=end, share=cells["value"] / end)


def places(order: list[str]) -> Spec:
    """Give the two axes; labels stand upright where cells are narrow."""
    steep = f"containerSize()[0] * 0.7 / {max(len(order), 1)} < 24"
    scale = {"domain": order, "paddingInner": 0.06, "paddingOuter": 0}
    down = {"labelColor": TEXT.ink, **shortened(0.22, 130), "labelOverlap": False}
    across = {
        **down,
        "orient": "top",
        "labelAngle": expr(f"{steep} ? -90 : -45"),
        "labelAlign": "left",
        "labelBaseline": expr(f"{steep} ? 'middle' : 'bottom'"),
        "labelFontSize": expr("clamp(bandwidth('x') * 0.95, 7, 12)"),
    }
    return {
        "x": nominal("column", title=None, sort=order, scale=scale, axis=across),
        "y": nominal("row", title=None, sort=order, scale=scale, axis=down),
    }


def _scale(cells: pd.DataFrame, ramp: Sequence[Tone]) -> Spec:
    end = float(cells["end"].iloc[0]) if len(cells) else 1.0
    return {"domain": [0, end], "range": inks(ramp), "interpolate": "lab", "clamp": True}


def _pair_layers(cells: pd.DataFrame, at: Spec, live: bool) -> list[Layer]:
    scale = _scale(cells, SEQUENTIAL)
    if live:
        scale = {name: scale[name] for name in ("range", "interpolate")} | {"domainMin": 0}
    colour = quantity(
        "value", scale=scale, legend=swatches(f"pair ({LOG_ODDS}, sd)", None if live else scale["domain"][1])
    )
    solid = layer(cells[cells["solid"]], mark("rect", cornerRadius=2, aria=False), **at, color=colour)
    if cells["solid"].all():
        return [solid]
    line = {"fill": "transparent", "strokeWidth": 1, "strokeOpacity": 0.45}
    outlined = nominal("verdict", title=None, scale={"domain": [NOISE], "range": inks([MUTED])}, legend=HOLLOW)
    return [
        solid,
        layer(cells[~cells["solid"]], mark("rect", cornerRadius=2, aria=False, **line), **at, stroke=outlined),
    ]


def _diagonal_layers(diagonal: pd.DataFrame, at: Spec) -> list[Layer]:
    square = mark("rect", cornerRadius=2, aria=False, color=EMPTY.ink)
    if not diagonal["value"].notna().any():
        return [layer(diagonal, square, **at)]
    scale = _scale(diagonal, DIAGONAL)
    legend = swatches(f"main effect ({LOG_ODDS}, sd)", scale["domain"][1])
    colour = quantity("value", scale=scale, legend=legend)
    return [layer(diagonal, square, **at, color=colour)]


def _within(diagonal: pd.DataFrame, cells: pd.DataFrame, order: list[str]) -> list[Layer]:
    """Mark the pairs within a multi-valued field by a corner of its diagonal cell, on the scale of pairs."""
    rows = diagonal.dropna(subset=["within"])
    if rows.empty:
        return []
    scale = {"domain": order}
    return [
        layer(
            rows,
            mark("rect", cornerRadius=2, stroke=BACKGROUND.ink, strokeWidth=1, aria=False),
            x=nominal("column", scale=scale, bandPosition=0.68),
            x2=column("column", bandPosition=1),
            y=nominal("row", scale=scale, bandPosition=0.68),
            y2=column("row", bandPosition=1),
            color=quantity("within", scale=_scale(cells, SEQUENTIAL), legend=None),
        )
    ]


def _values(cells: pd.DataFrame, at: Spec) -> Layer:
    shown = cells.dropna(subset=["value"]).assign(share=cells["share"].where(cells["solid"], 0.0))
    ink = expr(f"datum.solid ? ({ink_on('share')['expr']}) : {MUTED.ink['expr']}")
    text = mark("text", color=ink, aria=False, **FITTING)
    form = ".2f" if cells["end"].max() < 10 else ".0f"
    return layer(shown, text, **at, text=quantity("value", format=form))


def _outline(cells: pd.DataFrame, diagonal: pd.DataFrame, at: Spec) -> Layer:
    columns = ["row", "column"]
    chosen = pd.concat([cells.loc[cells["chosen"], columns], diagonal.loc[diagonal["chosen"], columns]])
    look = mark("rect", fill="transparent", stroke=TEXT.ink, strokeWidth=2, cornerRadius=3, aria=False)
    return layer(chosen, look, **at)


def _capture_pairs(cells: pd.DataFrame, at: Spec, selection: str) -> Layer:
    """Lay an invisible cell over each pair: one place for the click, the tooltip and the name read aloud."""
    tooltip = hover(("row", "field"), ("column", "with"), ("measure", "shows"), ("value", LOG_ODDS, ".3f"))
    if not cells["solid"].all():
        tooltip += hover(("verdict", "verdict"))
    return layer(
        cells,
        mark("rect", color="transparent", cursor="pointer"),
        selections=[click_selects(selection, "field_a", "field_b")],
        **at,
        tooltip=tooltip,
        description=nominal("name"),
    )


def _capture_fields(diagonal: pd.DataFrame, at: Spec) -> Layer:
    tooltip = hover(("row", "field"), ("value", f"main effect ({LOG_ODDS})", ".3f"))
    if diagonal["within"].notna().any():
        tooltip += hover(("within", f"pairs within it ({LOG_ODDS})", ".3f"))
    look = mark("rect", color="transparent", cursor="pointer")
    return layer(diagonal, look, **at, tooltip=tooltip, description=nominal("name"))


def _takeaway(pairs: pd.DataFrame, upper: str, lower: str, count: int) -> str:
    text = f"Strengths of the pairs of {count} fields in log-odds, {MEASURES[upper].label}"
    text += "." if lower == upper else f" above the diagonal, {MEASURES[lower].label} below it."
    if pairs.empty or not pairs[upper].notna().any():
        return text
    best = pairs.nlargest(1, upper).iloc[0]
    return f"{text} The strongest is {best['field_a']} × {best['field_b']} with {best[upper]:.2f}."
