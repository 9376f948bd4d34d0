"""Rankings of pairs: the strongest pairs as points, and FM pairs over epochs; also the names of the measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from app.charts.grammar.theme import (
    ACCENT,
    DNN,
    FM,
    LOG_ODDS,
    MUTED,
    RUNS,
    TEXT,
    Tone,
    dress,
    inks,
    legend_of,
    narrow,
    shortened_pairs,
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
    value,
    when,
)
from deepfm_core.evidence.verdicts import (
    CLEAR,
    DETERMINED,
    DOES_NOT_HOLD,
    HARDLY_LEARNED,
    HOLDS,
    LEARNED,
    NOT_LEARNED,
    NOT_SUPPORTED,
    OVERSTATED,
    STANDS_IN,
    UNCONFIRMED,
    UNSURE,
    clear,
    put_first,
    unsure,
)


@dataclass(frozen=True)
class Measure:
    """A way to measure the strength of a pair: its name, colour and mark in every chart."""

    label: str
    tone: Tone
    shape: str


MEASURES = {
    "strength": Measure("the data", TEXT, "stroke"),
    "learned_fm": Measure("FM pairs", FM, "diamond"),
    "learned_dnn": Measure("DNN", DNN, "square"),
    "learned": Measure("the model", ACCENT, "circle"),
    "held_out_strength": Measure("held-out rows", RUNS[2], "triangle-up"),
    "observed": Measure("the data, pair alone", RUNS[3], "triangle-right"),
    "compared": Measure("compared run", RUNS[1], "cross"),
}
"""Strengths of a pair by column: each is a standard deviation over rows, in log-odds."""
_LETTER = 6.5
"""Average width of a letter of a legend, in pixels."""
_HEADING = "\u241f"
"""Begins the name of a row that is a heading: a character that no field's name holds."""
HOLDING = "hold on held-out rows"
TOO_LARGE = "hold, but overstated by the model"
TOO_SMALL = "hold, but hardly learned"
CLEAR_IN_DATA = "clear in the data"
NOT_HELD_OUT = "clear, but not on held-out rows"
CLEAR_ALONE = UNSURE
UNSUPPORTED = "learned, but not supported"
STAND_IN = "stand in for another pair"
NOT_CLEAR = "not clear above noise"
ONE_DETERMINES = "one field determines the other"
GROUPS = (
    HOLDING,
    TOO_LARGE,
    TOO_SMALL,
    CLEAR_IN_DATA,
    NOT_HELD_OUT,
    CLEAR_ALONE,
    UNSUPPORTED,
    STAND_IN,
    NOT_CLEAR,
    ONE_DETERMINES,
)
"""Groups of pairs by their verdicts, in the order in which they are drawn."""
_GROUP_OF = {
    HOLDS: HOLDING,
    OVERSTATED: TOO_LARGE,
    HARDLY_LEARNED: TOO_SMALL,
    **dict.fromkeys((CLEAR, LEARNED, NOT_LEARNED), CLEAR_IN_DATA),
    UNCONFIRMED: NOT_HELD_OUT,
    UNSURE: CLEAR_ALONE,
    **dict.fromkeys((DOES_NOT_HOLD, NOT_SUPPORTED), UNSUPPORTED),
    DETERMINED: ONE_DETERMINES,
}
"""The group of a verdict; all others, among them of pairs that were not tested, are `NOT_CLEAR`."""
ALIKE = 0.005
"""Two measures that differ by less log-odds in every row drawn would hide each other: one of them is drawn."""
NOTICED = 0.2
"""Axes and colour scales of pairs end at this strength or beyond: 0.2 log-odds change the odds by a fifth."""


def pair_label(field_a: str, field_b: str) -> str:
    """Name a pair as the charts do."""
    return f"{field_a} × {field_b}"


def ranked(pairs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Sort pairs by a measure, in the order in which all pages tell them: noise and what is overstated look strong."""
    return put_first(pairs, measure)


def strongest_pairs(
    pairs: pd.DataFrame,
    *,
    top: int = 12,
    unclear: int | None = None,
    rank_by: str = "strength",
    measures: Sequence[str] = ("learned_fm", "learned"),
    selected: tuple[str, str] | None = None,
    selection: str = "pair",
) -> Chart:
    """Draw the strongest pairs, one per row, with a mark for each measure; a click selects a pair.

    Pairs whose verdicts differ stand in groups, each under a heading.

    Args:
        pairs: columns `field_a`, `field_b`, `rank_by` and the measures. Optional: `strength_low` and `strength_high`
            (the interval of `strength`), `significant` (passes the test against noise; pairs that are not clear are
            drawn hollow, after clear ones) and `verdict` (which makes the groups).
        top: how many.
        unclear: how many of those that are noise, alone too; by default, as many as `top` leaves.
        rank_by: the measure that orders the pairs; drawn as a mark unless it equals one of the measures.
        measures: columns drawn as marks, from `MEASURES`.
        selected: the pair to highlight, in either order.
        selection: name of the point selection, with fields `field_a` and `field_b`.
    """
    rows = _grouped(_at_top(named(ranked(pairs, rank_by), selected), top, unclear))
    shown = _measures_to_draw(rows, rank_by, measures)
    names = _with_headings(rows)
    axis = {**shortened_pairs(0.4, 230), "labelColor": TEXT.ink, "labelPadding": 12}
    axis["labelExpr"] = f"datum.value[0] == '{_HEADING}' ? '' : ({axis['labelExpr']})"
    y = nominal("pair", sort=names, title=None, axis=axis, scale={"domain": names})
    marks = [*_interval(rows, y), *_join(rows, shown, y), _marks(rows, shown, y)]
    capture = _row_capture(rows, y, shown, rank_by, selection)
    layers = [_row_highlight(rows, y), *marks, *_headings(names, y), capture]
    return dress(layers, _takeaway(rows, rank_by), height=step(28))


def pairs_by_epoch(frame: pd.DataFrame, *, top: int = 8, selected: tuple[str, str] | None = None) -> Chart:
    """Draw the strongest FM pairs over epochs; broken lines are pairs that are not clear above noise.

    Args:
        frame: columns `epoch`, `field_a`, `field_b`, `learned_fm` and, if known, `significant` (clear above noise).
        top: how many pairs, by their strength in the last epoch; the selected one is always drawn.
        selected: the pair drawn thick.
    """
    rows = named(frame, selected)
    last = rows[rows["epoch"] == rows["epoch"].max()]
    last = last.sort_values(["chosen", "learned_fm"], ascending=False, kind="stable").head(top)
    names = list(last.sort_values("learned_fm", ascending=False)["pair"])
    two = 2 * (_LETTER * max(map(len, names), default=0) + 50)
    lines = layer(
        rows[rows["pair"].isin(names)],
        mark("line", strokeJoin="round", point={"size": 18}),
        x=quantity("epoch", title="epoch", axis={"tickMinStep": 1, "format": "d", "grid": False}),
        y=quantity("learned_fm", title=f"FM pairs ({LOG_ODDS}, sd)", axis={"tickCount": 6}),
        color=nominal("pair", **legend_of(names, RUNS, columns=narrow("1", "2", width=round(two)))),
        strokeWidth=when("datum.chosen", 4, 1.8),
        strokeDash=when("datum.significant", [1, 0], [5, 4]),
        tooltip=hover(("pair", "pair"), ("epoch", "epoch", "d"), ("learned_fm", "FM pairs", ".3f")),
    )
    lead = f" In the last epoch {names[0]} is the strongest." if names else ""
    return dress([lines], f"Strength of {len(names)} FM pairs over epochs, in log-odds.{lead}", height=260)


def named(pairs: pd.DataFrame, selected: tuple[str, str] | None) -> pd.DataFrame:
    """Add what the marks need: the pair's name, whether it is clear above noise, whether it is selected."""
    a, b = selected or ("", "")
    forward = pairs["field_a"].eq(a) & pairs["field_b"].eq(b)
    chosen = forward | (pairs["field_a"].eq(b) & pairs["field_b"].eq(a))
    names = [pair_label(first, second) for first, second in zip(pairs["field_a"], pairs["field_b"], strict=True)]
    sure = clear(pairs) if "significant" in pairs else True
    return pairs.assign(pair=names, significant=sure, unsure=unsure(pairs), chosen=chosen)


def _at_top(rows: pd.DataFrame, top: int, unclear: int | None) -> pd.DataFrame:
    """Keep the first `top` rows; of those that are not clear above noise at most `unclear`, and the selected one."""
    rows = rows.head(top)
    if unclear is None or not (rows["significant"] | rows["unsure"]).any():
        return rows
    passed = rows["significant"] | rows["unsure"]
    return rows[passed | (~passed).cumsum().le(unclear) | rows["chosen"]]


def _grouped(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the group of each pair and put the rows in the order of groups; empty names if all share a verdict."""
    if not evaluated(rows):
        return rows.assign(group="")
    groups = rows["verdict"].map(
        lambda said: STAND_IN if said.startswith(STANDS_IN) else _GROUP_OF.get(said, NOT_CLEAR)
    )
    order = groups.map({group: place for place, group in enumerate(GROUPS)})
    return rows.assign(group=groups).iloc[order.to_numpy().argsort(kind="stable")]


def _with_headings(rows: pd.DataFrame) -> list[str]:
    """List the names of the rows from top to bottom, a heading before each group."""
    names: list[str] = []
    for group, pairs in rows.groupby("group", sort=False)["pair"]:
        names += [*([_HEADING + str(group)] if group else []), *pairs]
    return names


def _measures_to_draw(rows: pd.DataFrame, rank_by: str, measures: Sequence[str]) -> list[str]:
    """List the measures that have values, in the order of `MEASURES`, without one that another one would hide."""
    wanted = [m for m in MEASURES if m in {*measures, rank_by} and m in rows and rows[m].notna().any()]
    first = sorted(wanted, key=lambda m: (m not in ("strength", "learned"), m != rank_by))
    kept: list[str] = []
    for m in first:
        if not any((rows[m] - rows[other]).abs().max() < ALIKE for other in kept):
            kept.append(m)
    return [m for m in wanted if m in kept] or [rank_by]


def _whole_row(y: Spec) -> Spec:
    return {"y": y, "x": value(0), "x2": value("width")}


def _row_highlight(rows: pd.DataFrame, y: Spec) -> Layer:
    look = mark("rect", color=ACCENT.ink, opacity=0.14, cornerRadius=4, aria=False)
    return layer(rows[rows["chosen"]], look, **_whole_row(y))


def _interval(rows: pd.DataFrame, y: Spec) -> list[Layer]:
    if not {"strength_low", "strength_high"} <= set(rows.columns):
        return []
    look = mark("rule", color=MUTED.ink, strokeWidth=7, opacity=0.28, aria=False)
    return [layer(rows, look, y=y, x=quantity("strength_low"), x2=column("strength_high"))]


def evaluated(rows: pd.DataFrame) -> bool:
    """Say whether the pairs have verdicts that differ; a verdict that all share is written once, above the chart."""
    return "verdict" in rows and rows["verdict"].nunique() > 1


def _headings(names: list[str], y: Spec) -> list[Layer]:
    """Write the verdict of each group above its rows."""
    headings = [name for name in names if name.startswith(_HEADING)]
    if not headings:
        return []
    rows = pd.DataFrame({"pair": headings, "heading": [name.removeprefix(_HEADING) for name in headings]})
    look = {"align": "left", "baseline": "middle", "dy": 4, "fontWeight": "bold", "limit": expr("width + 40")}
    words = mark("text", color=TEXT.ink, aria=False, **look)
    return [layer(rows, words, y=y, x=value(-4), text=nominal("heading"))]


def _join(rows: pd.DataFrame, shown: list[str], y: Spec) -> list[Layer]:
    if not {"learned_fm", "learned"} <= set(shown):
        return []
    look = mark("rule", color=MUTED.ink, strokeWidth=1.5, aria=False)
    return [layer(rows, look, y=y, x=quantity("learned_fm"), x2=column("learned"))]


def _marks(rows: pd.DataFrame, shown: list[str], y: Spec) -> Layer:
    drawn = [MEASURES[m] for m in shown]
    labels = [m.label for m in drawn]
    long = rows.melt(id_vars=["pair", "field_a", "field_b", "significant"], value_vars=shown, var_name="measure")
    long["measure"] = long["measure"].map(dict(zip(shown, labels, strict=True)))
    ink = {"domain": labels, "range": inks([m.tone for m in drawn])}
    legend = {"columns": narrow("2", str(len(labels)), width=150 * len(labels))}
    return layer(
        long.dropna(subset=["value"]),
        mark("point", size=90, strokeWidth=2, opacity=1, aria=False),
        y=y,
        x=quantity(
            "value",
            title=f"strength ({LOG_ODDS}, sd over rows)",
            scale={"domainMin": 0, "nice": True, **_shortest(rows, shown)},
            axis={"tickCount": 6, "labelFlush": True},
        ),
        fill=nominal("measure", title=None, scale=ink, legend=legend),
        stroke=nominal("measure", title=None, scale=ink, legend=legend),
        shape=nominal(
            "measure", title=None, legend=legend, scale={"domain": labels, "range": [m.shape for m in drawn]}
        ),
        fillOpacity=when("datum.significant", 1, 0),
        # The mark of the data is a stroke, which cannot be hollow: it is faint instead.
        strokeOpacity=when(f"datum.significant || datum.measure != '{MEASURES['strength'].label}'", 1, 0.45),
    )


def _shortest(rows: pd.DataFrame, shown: list[str]) -> Spec:
    """End the axis at `NOTICED` or beyond, so that noise is not drawn as large as an effect."""
    ends = [*shown, *(["strength_high"] if "strength_high" in rows else [])]
    return {"domainMax": NOTICED} if not (rows[ends] > NOTICED).any(axis=None) else {}


def _row_capture(rows: pd.DataFrame, y: Spec, shown: list[str], rank_by: str, selection: str) -> Layer:
    """Lay an invisible bar over each row, so that the whole row takes the click and shows the numbers."""
    columns = list(dict.fromkeys([rank_by, *shown]))
    tooltip = hover(("pair", "pair"), *((m, MEASURES[m].label, ".3f") for m in columns))
    if "support" in rows:
        tooltip += hover(("support", "level pairs with rows", ","))
    names = [f"{pair}: {strength:.2f}" for pair, strength in zip(rows["pair"], rows[rank_by], strict=True)]
    if evaluated(rows):
        tooltip += hover(("verdict", "verdict"))
        names = [f"{name}, {verdict}" for name, verdict in zip(names, rows["verdict"], strict=True)]
    return layer(
        rows.assign(name=names),
        mark("rect", color="transparent", cursor="pointer"),
        selections=[click_selects(selection, "field_a", "field_b")],
        **_whole_row(y),
        tooltip=tooltip,
        description=nominal("name"),
    )


def _takeaway(rows: pd.DataFrame, rank_by: str) -> str:
    if rows.empty:
        return "No pairs of fields."
    first = rows.iloc[0]
    hollow = int((~rows["significant"]).sum())
    some = "The one pair" if len(rows) == 1 else f"The {len(rows):,} strongest pairs"
    text = f"{some} in log-odds; {first['pair']} leads with {first[rank_by]:.2f}."
    return text + (f" {hollow} of them are not clear above noise." if hollow else "")
