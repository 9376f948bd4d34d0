"""The field matrix: the strength of every pair as a heat map, with main effects on the diagonal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

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
    shortened,
    step,
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
)
from app.charts.interactions.ranking import MEASURES, NOTICED, ranked
from deepfm_core.evidence.verdicts import clear

CLEAR_OR_NOT = {True: "clear above noise", False: "not clear above noise"}
"""What a pair's column `significant` means, in words."""
NOISE = CLEAR_OR_NOT[False]
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
"""The legend of hollow cells. It stands above the matrix, since the colour legends below need the whole width."""
LIMIT = 40
WIDE, STRONGEST = 20, 12
"""Of more fields than `WIDE`, a matrix shows the `STRONGEST`: names and cells of all would be too small to read."""
VALUES_LIMIT = 24
"""Values are written into the cells for at most this many fields; with more, cells are too small."""
STANDS_OUT = 0.2
"""A value is written from this share of the largest one on: the others are seen to be small, and hover says them."""
SMALLEST_TEXT = 10
"""Pixels below which no value and no name is written."""
FITTING: Spec = {
    "fontSize": expr(f"clamp(bandwidth('x') * 0.42, {SMALLEST_TEXT}, 11)"),
    "opacity": expr("bandwidth('x') < 23 ? 0 : 1"),
}
"""The look of a value in a cell: the smaller the cell, the smaller the text; none if it would not fit."""


def field_matrix(
    pairs: pd.DataFrame,
    fields: pd.DataFrame,
    *,
    upper: str = "strength",
    lower: str | None = None,
    selected: tuple[str, str] | None = None,
    selection: str = "pair",
    limit: int | None = None,
    largest: float | None = None,
    live: bool = False,
) -> Chart:
    """Draw pairs of fields by strength on one colour scale, and main effects on the diagonal on another.

    A click on a cell selects `field_a` and `field_b` in the frame's order; on the diagonal both are the same field. The
    corner of a diagonal cell shows the strength of the pairs of values within a multi-valued field.

    Args:
        pairs: columns `field_a`, `field_b`, the measures and, if known, `significant` (false: not clear, drawn hollow).
        fields: columns `field`, `order`, `main_effect`, `within`.
        upper: the measure above the diagonal, from `MEASURES`.
        lower: the measure below the diagonal; by default the same.
        selected: the pair to outline, in either order.
        selection: name of the point selection.
        limit: most fields drawn; with more, those of the strongest pairs, with a note. By default `STRONGEST` of more
            than `WIDE`; live, `LIMIT`, so that fields stay in their places.
        largest: the strength at the end of the scale, so that matrices can be compared; by default the largest drawn,
            but at least `NOTICED`.
        live: let the browser find the end of the scale, so that a growing run sends new rows only.
    """
    lower = lower or upper
    if limit is None:
        limit = LIMIT if live or len(fields) <= WIDE else STRONGEST
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
    note = f"{len(order)} fields of the strongest pairs, of {len(fields)}"
    return dress(
        layers,
        _takeaway(pairs, upper, lower, len(order)),
        height=step(max(14, min(36, 480 // max(len(order), 1)))),
        resolve={"scale": {"color": "independent"}},
        **({"title": {"text": note}} if len(order) < len(fields) else {}),
    )


def fields_in_order(pairs: pd.DataFrame, fields: pd.DataFrame, measure: str, limit: int = LIMIT) -> list[str]:
    """List the fields by `order`, which puts strong pairs close; at most `limit`, those of the strongest pairs."""
    ordered = list(fields.sort_values("order")["field"])
    if len(ordered) <= limit:
        return ordered
    strongest = ranked(pairs.dropna(subset=[measure]), measure)
    kept: dict[str, None] = {}
    for a, b in zip(strongest["field_a"], strongest["field_b"], strict=True):
        if len(kept.keys() | {a, b}) <= limit:
            kept.update({a: None, b: None})
    return [field for field in ordered if field in kept]


def _cells(
    pairs: pd.DataFrame, order: list[str], upper: str, lower: str, selected: tuple[str, str] | None
) -> pd.DataFrame:
    """Give every pair two cells: one above the diagonal, one below."""
    place = {field: i for i, field in enumerate(order)}
    known = pairs[pairs["field_a"].isin(place) & pairs["field_b"].isin(place)]
    first = known["field_a"].map(place) < known["field_b"].map(place)
    early, late = known["field_a"].where(first, known["field_b"]), known["field_b"].where(first, known["field_a"])
    sure = clear(known) if "significant" in known else pd.Series(True, index=known.index)
    chosen = [selected is not None and {a, b} == set(selected) for a, b in zip(early, late, strict=True)]
    common = known[["field_a", "field_b"]].assign(significant=sure, chosen=chosen)
    above = common.assign(row=early, column=late, value=known[upper], measure=MEASURES[upper].label)
    below = common.assign(row=late, column=early, value=known[lower], measure=MEASURES[lower].label)
    cells = pd.concat([above, below], ignore_index=True)
    names = [f"{a} with {b}: {v:.2f}" for a, b, v in zip(cells["row"], cells["column"], cells["value"], strict=True)]
    verdict = cells["significant"].map(CLEAR_OR_NOT)
    return cells.assign(name=names, verdict=verdict)


def _diagonal(fields: pd.DataFrame, order: list[str], selected: tuple[str, str] | None) -> pd.DataFrame:
    kept = fields[fields["field"].isin(order)]
    field, effect = kept["field"], kept["main_effect"]
    within = kept["within"] if "within" in kept else pd.Series(float("nan"), index=kept.index)
    chosen = [selected is not None and set(selected) == {name} for name in field]
    names = [f"{name}: main effect {v:.2f}" for name, v in zip(field, effect, strict=True)]
    frame = pd.DataFrame({"row": field, "column": field, "field_a": field, "field_b": field, "value": effect})
    return _with_share(frame.assign(within=within, chosen=chosen, significant=True, name=names))


def _with_share(cells: pd.DataFrame, largest: float | None = None) -> pd.DataFrame:
    """Add the value at the end of the scale, and each value as a share of it."""
    end = cells["value"].max() if largest is None else largest
    end = max(float(end), 1e-9) if pd.notna(end) else 1.0
    return cells.assign(end=end, share=cells["value"] / end)


def places(order: list[str]) -> Spec:
    """Give the two axes; labels are vertical if cells are narrow, and left out on top if they are narrower still."""
    room = f"containerSize()[0] * 0.7 / {max(len(order), 1)}"
    steep = f"{room} < 24"
    scale = {"domain": order, "paddingInner": 0.06, "paddingOuter": 0}
    down = {"labelColor": TEXT.ink, **shortened(0.22, 130), "labelOverlap": False}
    across = {
        **down,
        "orient": "top",
        "labelAngle": expr(f"{steep} ? -90 : -45"),
        "labelAlign": "left",
        "labelBaseline": expr(f"{steep} ? 'middle' : 'bottom'"),
        "labelFontSize": expr(f"clamp(bandwidth('x') * 0.95, {SMALLEST_TEXT}, 12)"),
        "labelOpacity": expr(f"{room} < {SMALLEST_TEXT} ? 0 : 1"),
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
    filled = layer(cells[cells["significant"]], mark("rect", cornerRadius=2, aria=False), **at, color=colour)
    if cells["significant"].all():
        return [filled]
    line = {"fill": "transparent", "strokeWidth": 1, "strokeOpacity": 0.45}
    outlined = nominal("verdict", title=None, scale={"domain": [NOISE], "range": inks([MUTED])}, legend=HOLLOW)
    return [
        filled,
        layer(cells[~cells["significant"]], mark("rect", cornerRadius=2, aria=False, **line), **at, stroke=outlined),
    ]


def _diagonal_layers(diagonal: pd.DataFrame, at: Spec) -> list[Layer]:
    square = mark("rect", cornerRadius=2, aria=False, color=EMPTY.ink)
    if not diagonal["value"].notna().any():
        return [layer(diagonal, square, **at)]
    scale = _scale(diagonal, DIAGONAL)
    legend = swatches("main effect (sd)", scale["domain"][1])
    colour = quantity("value", scale=scale, legend=legend)
    return [layer(diagonal, square, **at, color=colour)]


def _within(diagonal: pd.DataFrame, cells: pd.DataFrame, order: list[str]) -> list[Layer]:
    """Show the pairs of values within a multi-valued field in the corner of its cell, in the colours of pairs."""
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
    """Write the values that stand out."""
    shown = cells[cells["significant"] & (cells["share"] >= STANDS_OUT)]
    text = mark("text", color=ink_on("share"), aria=False, **FITTING)
    form = ".2f" if cells["end"].max() < 10 else ".0f"
    return layer(shown, text, **at, text=quantity("value", format=form))


def _outline(cells: pd.DataFrame, diagonal: pd.DataFrame, at: Spec) -> Layer:
    columns = ["row", "column"]
    chosen = pd.concat([cells.loc[cells["chosen"], columns], diagonal.loc[diagonal["chosen"], columns]])
    look = mark("rect", fill="transparent", stroke=TEXT.ink, strokeWidth=2, cornerRadius=3, aria=False)
    return layer(chosen, look, **at)


def _capture_pairs(cells: pd.DataFrame, at: Spec, selection: str) -> Layer:
    """Lay an invisible cell over each pair: it takes the click, the tooltip and the name for screen readers."""
    tooltip = hover(("row", "field"), ("column", "with"), ("measure", "measure"), ("value", LOG_ODDS, ".3f"))
    if not cells["significant"].all():
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
        tooltip += hover(("within", f"pairs within the field ({LOG_ODDS})", ".3f"))
    look = mark("rect", color="transparent", cursor="pointer")
    return layer(diagonal, look, **at, tooltip=tooltip, description=nominal("name"))


def _takeaway(pairs: pd.DataFrame, upper: str, lower: str, count: int) -> str:
    text = f"Strengths of the pairs of {count} fields in log-odds, {MEASURES[upper].label}"
    text += "." if lower == upper else f" above the diagonal, {MEASURES[lower].label} below it."
    if pairs.empty or not pairs[upper].notna().any():
        return text
    best = pairs.nlargest(1, upper).iloc[0]
    return f"{text} The strongest is {best['field_a']} × {best['field_b']} with {best[upper]:.2f}."
