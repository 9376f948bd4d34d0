"""Pairs of fields side by side: the strongest as points, over epochs, and model against data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from .labels import shortened_pairs
from .theme import (
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
    step,
)
from .vega import Chart, Layer, Spec, click_selects, column, expr, hover, layer, mark, nominal, quantity, value, when


@dataclass(frozen=True)
class Measure:
    """A way to measure a pair's strength, as it is named and drawn everywhere."""

    label: str
    tone: Tone
    shape: str


MEASURES = {
    "strength": Measure("the data", TEXT, "stroke"),
    "learned_fm": Measure("FM's part", FM, "diamond"),
    "learned_dnn": Measure("DNN's part", DNN, "square"),
    "learned": Measure("whole logit", ACCENT, "circle"),
    "held_out_strength": Measure("on unseen rows", RUNS[2], "triangle-up"),
    "observed": Measure("the data, pair alone", RUNS[3], "triangle-right"),
    "compared": Measure("compared run", RUNS[1], "cross"),
}
"""Strengths of a pair, all standard deviations in log-odds."""


def pair_label(field_a: str, field_b: str) -> str:
    """Name a pair as the charts do."""
    return f"{field_a} × {field_b}"


def strongest_pairs(
    pairs: pd.DataFrame,
    *,
    top: int = 12,
    rank_by: str = "strength",
    measures: Sequence[str] = ("learned_fm", "learned"),
    selected: tuple[str, str] | None = None,
    selection: str = "pair",
) -> Chart:
    """Draw the strongest pairs as points on a line: each measure a mark, joined; a click selects a pair.

    Args:
        pairs: columns `field_a`, `field_b`, `rank_by`, the measures; where they exist, `strength_low` and
            `strength_high` (the interval of `rank_by`) and `solid` (false: not told apart from noise, drawn hollow).
        top: how many.
        rank_by: what orders the pairs; drawn as a mark of its own unless it equals one of the measures.
        measures: columns drawn as marks, from `MEASURES`.
        selected: the pair to highlight, in either order.
        selection: name of the point selection, with fields `field_a` and `field_b`.
    """
    rows = _named(pairs.sort_values(rank_by, ascending=False, kind="stable").head(top), selected)
    shown = _measures_to_draw(rows, rank_by, measures)
    axis = {**shortened_pairs(0.4, 230), "labelColor": TEXT.ink, "labelPadding": 12}
    y = nominal("pair", sort=list(rows["pair"]), title=None, axis=axis)
    layers = [_row_highlight(rows, y), *_interval(rows, y), *_join(rows, shown, y), _marks(rows, shown, y)]
    layers.append(_row_capture(rows, y, shown, rank_by, selection))
    return dress(layers, _takeaway(rows, rank_by), height=step(30))


def pairs_by_epoch(
    frame: pd.DataFrame, *, top: int = 8, selected: tuple[str, str] | None = None, height: int = 260
) -> Chart:
    """Draw the FM's part of the strongest pairs over epochs.

    Args:
        frame: columns `epoch`, `field_a`, `field_b`, `learned_fm`.
        top: how many pairs, by their value in the last epoch; the selected one is added.
        selected: the pair drawn thick.
        height: of the plot, in pixels.
    """
    rows = _named(frame, selected)
    last = rows[rows["epoch"] == rows["epoch"].max()]
    last = last.sort_values(["chosen", "learned_fm"], ascending=False, kind="stable").head(top)
    names = list(last.sort_values("learned_fm", ascending=False)["pair"])
    lines = layer(
        rows[rows["pair"].isin(names)],
        mark("line", strokeJoin="round", point={"size": 18}),
        x=quantity("epoch", title="epoch", axis={"tickMinStep": 1, "format": "d", "grid": False}),
        y=quantity("learned_fm", title=f"FM's part ({LOG_ODDS}, sd)", axis={"tickCount": 6}),
        color=nominal("pair", **legend_of(names, RUNS, columns=narrow("1", "2", width=560))),
        strokeWidth=when("datum.chosen", 4, 1.8),
        tooltip=hover(("pair", "pair"), ("epoch", "epoch", "d"), ("learned_fm", "FM's part", ".3f")),
    )
    lead = f" In the last epoch {names[0]} is the strongest." if names else ""
    return dress([lines], f"The FM's part of {len(names)} pairs over epochs, in log-odds.{lead}", height=height)


def pair_scatter(
    pairs: pd.DataFrame,
    x: str = "observed",
    y: str = "learned",
    *,
    selected: tuple[str, str] | None = None,
    selection: str = "pair",
    height: int = 340,
) -> Chart:
    """Draw one measure of every pair against another with the line of equality; a click selects a pair.

    Args:
        pairs: columns `field_a`, `field_b`, both measures and, where known, `solid`.
        x: the measure across.
        y: the measure up.
        selected: the pair to mark and name beside the three strongest.
        selection: name of the point selection.
        height: of the plot, in pixels.
    """
    rows = _named(pairs.dropna(subset=[x, y]), selected)
    end = 1.08 * float(rows[[x, y]].to_numpy().max()) if len(rows) else 1.0
    rows["far"] = rows[x] > 0.5 * end
    named = _not_crowded(rows[rows["chosen"] | (rows[x] + rows[y]).rank(ascending=False).le(3)], x, y, end)
    across, up = (quantity(m, scale={"domain": [0, end]}, title=_titled(m), axis={"tickCount": 6}) for m in (x, y))
    look = {"color": ACCENT.ink, "stroke": ACCENT.ink, "strokeWidth": 1.5}
    points = layer(
        rows,
        mark("point", filled=True, cursor="pointer", **look),
        selections=[click_selects(selection, "field_a", "field_b")],
        x=across,
        y=up,
        fillOpacity=when("datum.solid", 0.75, 0),
        size=when("datum.chosen", 220, 80),
        tooltip=hover(("pair", "pair"), (x, MEASURES[x].label, ".3f"), (y, MEASURES[y].label, ".3f")),
    )
    side = {"align": expr("datum.far ? 'right' : 'left'"), "dx": expr("datum.far ? -10 : 10"), "dy": -2}
    names = mark("text", color=TEXT.ink, limit=expr("width * 0.5"), **side)
    equal = pd.DataFrame({x: [0.0, end], y: [0.0, end]})
    layers = [
        layer(equal, mark("line", color=MUTED.ink, strokeDash=[4, 4], strokeWidth=1), x=across, y=up),
        points,
        layer(named, names, x=across, y=up, text=nominal("pair")),
    ]
    description = f"{len(rows)} pairs: {MEASURES[y].label} against {MEASURES[x].label}, both in log-odds."
    return dress(layers, description, height=height)


def _not_crowded(rows: pd.DataFrame, x: str, y: str, end: float) -> pd.DataFrame:
    """Keep the chosen pair and, strongest first, those whose names would not run into one that is kept."""
    kept: list[int] = []
    ordered = rows.assign(sum=rows[x] + rows[y]).sort_values(["chosen", "sum"], ascending=False)
    places = ordered[[x, y]].to_numpy()
    for i, (across, up) in enumerate(places):
        if all(abs(up - places[k][1]) > 0.05 * end or abs(across - places[k][0]) > 0.5 * end for k in kept):
            kept.append(i)
    return ordered.iloc[kept]


def _titled(measure: str) -> str:
    return f"{MEASURES[measure].label} ({LOG_ODDS}, sd)"


def _named(pairs: pd.DataFrame, selected: tuple[str, str] | None) -> pd.DataFrame:
    """Add what the marks need: the pair's name, whether it is solid, whether it is the selected one."""
    a, b = selected or ("", "")
    forward = pairs["field_a"].eq(a) & pairs["field_b"].eq(b)
    chosen = forward | (pairs["field_a"].eq(b) & pairs["field_b"].eq(a))
    names = [pair_label(first, second) for first, second in zip(pairs["field_a"], pairs["field_b"], strict=True)]
    solid = pairs["solid"].astype(bool) if "solid" in pairs else True
    return pairs.assign(pair=names, solid=solid, chosen=chosen)


def _measures_to_draw(rows: pd.DataFrame, rank_by: str, measures: Sequence[str]) -> list[str]:
    shown = [m for m in measures if m in rows and rows[m].notna().any()]
    repeats = any((rows[m] - rows[rank_by]).abs().max() < 1e-9 for m in shown)
    return shown if repeats else [*shown, rank_by]


def _whole_row(y: Spec) -> Spec:
    return {"y": y, "x": value(0), "x2": value("width")}


def _row_highlight(rows: pd.DataFrame, y: Spec) -> Layer:
    look = mark("rect", color=ACCENT.ink, opacity=0.14, cornerRadius=4, aria=False)
    return layer(rows[rows["chosen"]], look, **_whole_row(y))


def _interval(rows: pd.DataFrame, y: Spec) -> list[Layer]:
    if not {"strength_low", "strength_high"} <= set(rows.columns):
        return []
    look = mark("rule", color=MUTED.ink, strokeWidth=7, opacity=0.28, strokeCap="round", aria=False)
    return [layer(rows, look, y=y, x=quantity("strength_low"), x2=column("strength_high"))]


def _join(rows: pd.DataFrame, shown: list[str], y: Spec) -> list[Layer]:
    if not {"learned_fm", "learned"} <= set(shown):
        return []
    look = mark("rule", color=MUTED.ink, strokeWidth=1.5, aria=False)
    return [layer(rows, look, y=y, x=quantity("learned_fm"), x2=column("learned"))]


def _marks(rows: pd.DataFrame, shown: list[str], y: Spec) -> Layer:
    drawn = [MEASURES[m] for m in shown]
    labels = [m.label for m in drawn]
    long = rows.melt(id_vars=["pair", "field_a", "field_b", "solid"], value_vars=shown, var_name="measure")
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
            scale={"domainMin": 0, "nice": True},
            axis={"tickCount": 6, "labelFlush": True},
        ),
        fill=nominal("measure", title=None, scale=ink, legend=legend),
        stroke=nominal("measure", title=None, scale=ink, legend=legend),
        shape=nominal(
            "measure", title=None, legend=legend, scale={"domain": labels, "range": [m.shape for m in drawn]}
        ),
        fillOpacity=when("datum.solid", 1, 0),
        strokeOpacity=when(f"datum.solid || datum.measure != '{MEASURES['strength'].label}'", 1, 0.45),  # has no inside
    )


def _row_capture(rows: pd.DataFrame, y: Spec, shown: list[str], rank_by: str, selection: str) -> Layer:
    """Lay an invisible bar over each row: the whole row takes the click and shows the numbers."""
    columns = list(dict.fromkeys([rank_by, *shown]))
    tooltip = hover(("pair", "pair"), *((m, MEASURES[m].label, ".3f") for m in columns))
    if "support" in rows:
        tooltip += hover(("support", "level pairs seen", ","))
    names = [f"{pair}: {strength:.2f}" for pair, strength in zip(rows["pair"], rows[rank_by], strict=True)]
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
    hollow = int((~rows["solid"]).sum())
    text = f"The {len(rows)} strongest pairs in log-odds; {first['pair']} leads with {first[rank_by]:.2f}."
    return text + (f" {hollow} of them are not told apart from noise." if hollow else "")
