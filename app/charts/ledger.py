"""One row: the terms of its logit as a waterfall, how far each field moves the DNN logit, and what if one changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.charts.grammar.theme import (
    ACCENT,
    DNN,
    GRID,
    IS_LIGHT,
    LOG_ODDS,
    MUTED,
    NEGATIVE,
    POSITIVE,
    SIGNED,
    TEXT,
    dress,
    label_limit,
    legend_of,
    step,
)
from app.charts.grammar.vega import Chart, Layer, Spec, column, expr, hover, layer, mark, nominal, quantity
from app.charts.interactions.ranking import pair_label
from deepfm_core._words import isolated, named, percent
from deepfm_core.spec.models import ADDENDS

# The ledger of a row: the terms of its logit as a waterfall, and how far each field moves the DNN logit.


RAISES, LOWERS, STANDS = "+ raises", "− lowers", "= logit"
OWN = {
    "base": "mean logit",
    "higher-order": "higher order",
    "other-pairs": "all other pairs",
    "rest": "other pairs, higher order",
}
TITLES = {**OWN, **{name: kind.title for name, kind in ADDENDS.items()}}
BY_FIELDS_ALONE = ("first-order", "main", "second-order", "pair")
"""Kinds of addends whose fields name them. The title of any other kind is added."""
WRITTEN = 0.005
"""Log-odds below which a value rounds to zero."""
PROBABILITIES = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
"""Ticks of the axis of probabilities."""


def ledger_rows(terms: pd.DataFrame, *, top: int = 12, cells: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Sort the terms of a row by size, sum up the small ones, and start each where the last one ended.

    Args:
        terms: the terms of the row: `term` (`bias`, `first-order`, `second-order`, `dnn`, or purified `base`, `main`,
            `pair`, `higher-order`), `field_a`, `field_b`, `value`; for a row with changed cells also `before`.
        top: how many fields and pairs are shown; smaller ones are summed, pairs in one line and fields in another.
        cells: the row's values by field, added to the labels.

    Returns:
        One row per line, in order: `label`, `kind`, `value`, `before`, `start`, `end`, `sign`; the last is the logit.
    """
    labels = [addend_label(term, cells) for term in terms.to_dict("records")]
    lines = pd.DataFrame({"label": labels, "kind": terms["term"].to_numpy(), "value": terms["value"].to_numpy(float)})
    lines["before"] = terms["before"].to_numpy(float) if "before" in terms else lines["value"]
    lines = _fold(lines, terms[["field_a", "field_b"]].notna().sum(axis=1).to_numpy(), top)
    is_bias = lines["kind"].isin(["bias", "base"])
    sized = lines[~is_bias].sort_values("value", key=np.abs, ascending=False, kind="stable")
    lines = pd.concat([lines[is_bias], sized], ignore_index=True)
    lines["end"] = lines["value"].cumsum()
    lines["start"] = lines["end"] - lines["value"]
    lines["sign"] = np.where(lines["value"] >= 0, RAISES, LOWERS)
    total, before = float(lines["value"].sum()), float(lines["before"].sum())
    last = {"label": STANDS, "kind": "logit", "value": total, "start": 0.0, "end": total, "sign": STANDS}
    last["before"] = before
    return pd.concat([lines, pd.DataFrame([last])], ignore_index=True)


def ledger(terms: pd.DataFrame, *, top: int = 12, cells: Mapping[str, str] | None = None) -> Chart:
    """Draw the terms of one row's logit as a waterfall that ends at the logit.

    The arguments are those of `ledger_rows`. Probabilities do not add up, so they have an axis of their own, on top
    and with uneven steps. Only lengths in log-odds can be compared.
    """
    lines = ledger_rows(terms, top=top, cells=cells)
    scale = _room(lines)
    dnn = expr(f"datum.value == 'DNN' ? {_pick(DNN)} : {_pick(TEXT)}")
    axis = {"labelLimit": label_limit(0.4, 220), "labelColor": dnn}
    y = nominal("label", sort=list(lines["label"]), title=None, axis=axis)
    layers = [
        _probability_axis(lines, scale),
        _steps(lines, scale, y),
        _bars(lines, scale, y),
        _amounts(lines, scale, y),
    ]
    return dress(layers, _takeaway(lines), height=step(26), resolve={"axis": {"x": "independent"}})


def _pick(tone: Any) -> str:
    return f"({IS_LIGHT} ? '{tone.light}' : '{tone.dark}')"


def addend_label(term: Mapping[Any, Any], cells: Mapping[str, str] | None = None) -> str:
    """Name an addend: `term`, `field_a` and `field_b`, with the row's value behind the name of a single field."""
    kind, a, b = term["term"], term.get("field_a"), term.get("field_b")
    if pd.isna(a):
        return TITLES[kind]
    return (named_value(str(a), cells or {}) if pd.isna(b) else _pair(str(a), str(b))) + _suffix(kind)


def _pair(a: str, b: str) -> str:
    return f"{a} (within the field)" if a == b else pair_label(a, b)


def _suffix(kind: str) -> str:
    return "" if kind in BY_FIELDS_ALONE else f" ({TITLES[kind]})"


def named_value(field: str, cells: Mapping[str, str]) -> str:
    """Name a field with the row's value, if it is known."""
    value = cells.get(field)
    if value is None:
        return field
    return named(field, value) if value.strip() else f"{isolated(field)} missing"


def _fold(lines: pd.DataFrame, fields: NDArray[np.int64], top: int) -> pd.DataFrame:
    """Sum the small addends of each kind into one line; `fields` says how many fields each addend belongs to."""
    foldable = pd.Series(fields > 0, index=lines.index)
    size = lines["value"].abs().where(foldable, math.inf)
    small = size.rank(ascending=False, method="first") > top + int((~foldable).sum())
    small |= (size < WRITTEN) & (lines["before"].abs() < WRITTEN)  # would be written as zero
    parts = [lines[~small]]
    for count, noun in ((2, "pairs"), (1, "fields")):
        for kind in lines["kind"][fields == count].unique():
            folded = lines[small & lines["kind"].eq(kind) & (fields == count)]
            if len(folded) > 1:
                label = f"{len(folded):,} other {noun}{_suffix(kind)}"
                sums = folded[["value", "before"]].sum().to_dict()
                folded = pd.DataFrame([{"label": label, "kind": kind, **sums}])
            parts.append(folded)
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


AMOUNT, BOTH = 46, 104
"""Pixels that an amount takes beside its bar, and those it takes with what it was before."""


def _room(lines: pd.DataFrame) -> Spec:
    """Give the scale of a ledger, with room for the amounts on the right however narrow the window becomes."""
    low, high = _ends(lines)
    changed = (lines["value"] - lines["before"]).abs().max() >= WRITTEN
    start, pixels = low - 0.12 * max(high - low, 0.1), BOTH if changed else AMOUNT
    most = f"{high} + {max(high - start, 0.1)} * {pixels} / max(width - {pixels}, {pixels})"
    return {"domainMin": start, "domainMax": expr(most), "nice": False}


def _ends(lines: pd.DataFrame) -> tuple[float, float]:
    reached = lines[["start", "end"]].to_numpy()
    return min(0.0, float(reached.min())), max(0.0, float(reached.max()))


def _probability_axis(lines: pd.DataFrame, scale: Spec) -> Layer:
    low, high = scale["domainMin"], _ends(lines)[1]
    ticks = [math.log(p / (1 - p)) for p in PROBABILITIES if low < math.log(p / (1 - p)) <= high]
    axis = {
        "orient": "top",
        "values": ticks,
        "labelExpr": "format(1 / (1 + exp(-datum.value)), '.3~p')",
        "grid": False,
        "ticks": True,
        "tickSize": 4,
        "tickColor": MUTED.ink,
    }
    x = quantity("at", title="probability (does not add up)", axis=axis, scale=scale)
    return layer(pd.DataFrame({"at": [0.0]}), mark("rule", color=MUTED.ink, strokeWidth=1, aria=False), x=x)


def _steps(lines: pd.DataFrame, scale: Spec, y: Spec) -> Layer:
    """Draw the thin line from the end of a bar to the start of the next one."""
    links = lines.iloc[:-1].assign(next=lines["label"].shift(-1).iloc[:-1])
    thin = mark("rule", color=MUTED.ink, strokeWidth=1, opacity=0.6, aria=False)
    return layer(links, thin, x=quantity("end", axis=None, scale=scale), y=y, y2=column("next"))


def _bars(lines: pd.DataFrame, scale: Spec, y: Spec) -> Layer:
    signs, tones = [RAISES, LOWERS, STANDS], [POSITIVE, NEGATIVE, ACCENT]
    axis = {"labelExpr": SIGNED, "tickCount": 6}
    return layer(
        lines,
        mark("bar", height={"band": 0.72}, cornerRadius=2),
        x=quantity("start", title=f"logit so far ({LOG_ODDS})", scale=scale, axis=axis),
        x2=column("end"),
        y=y,
        color=nominal("sign", **legend_of(signs, tones, symbolType="square")),
        tooltip=hover(
            ("label", "term"), ("kind", "kind"), ("value", LOG_ODDS, "+.4f"), ("end", "logit so far", "+.4f")
        ),
    )


def _amounts(lines: pd.DataFrame, scale: Spec, y: Spec) -> Layer:
    pairs = zip(lines["value"], lines["before"], strict=True)
    rows = lines.assign(text=[amount(value) + _was(value, before) for value, before in pairs])
    rows["right"] = rows[["start", "end"]].max(axis=1)
    name = mark("text", align="left", dx=6, color=TEXT.ink, aria=False)
    return layer(rows, name, x=quantity("right", axis=None, scale=scale), y=y, text=nominal("text"))


def amount(value: float, digits: int = 2) -> str:
    """Write log-odds with their sign; what rounds to zero has none."""
    return f"{value:+.{digits}f}".replace("-", "−") if abs(value) >= 0.5 * 10.0**-digits else f"{0:.{digits}f}"


def _was(value: float, before: float) -> str:
    """Say what a value was before cells were changed; empty if it is the same."""
    return f" (was {amount(before)})" if abs(value - before) >= WRITTEN else ""


def _takeaway(lines: pd.DataFrame) -> str:
    total = float(lines["value"].iloc[-1])
    text = f"The row's logit is {total:+.2f}, a probability of {percent(1 / (1 + math.exp(-total)), 1)}."
    moves = lines.iloc[:-1][~lines["kind"].iloc[:-1].isin(["bias", "base"])]
    if moves.empty:
        return text
    first = moves.iloc[0]
    start = lines["label"].iloc[0]
    return f"{text} Apart from the {start}, {first['label']} moves it most, by {first['value']:+.2f} log-odds."


def attribution(values: pd.DataFrame, *, top: int = 10, cells: Mapping[str, str] | None = None) -> Chart:
    """Draw a row's attributions as bars from zero, the largest first.

    Args:
        values: one row's `field`, `value`.
        top: how many fields are shown; the others are summed in one bar.
        cells: the row's values by field, added to the labels.
    """
    rows = attribution_rows(values, top=top, cells=cells)
    colour = nominal("sign", **legend_of([RAISES, LOWERS], [POSITIVE, NEGATIVE], symbolType="square"))
    end = 1.35 * max(float(rows["value"].abs().max()) if len(rows) else 0.0, 0.01)
    axis = {"labelExpr": SIGNED, "tickCount": 5}
    title = f"change of the DNN logit ({LOG_ODDS})"
    x = quantity("value", title=title, scale={"domain": [-end, end], "nice": False}, axis=axis)
    y = nominal("label", title=None, sort=list(rows["label"]), axis={"labelLimit": label_limit(0.4, 220)})
    tooltip = hover(("label", "field"), ("value", LOG_ODDS, "+.4f"))
    side = {"align": expr("datum.value < 0 ? 'right' : 'left'"), "dx": expr("datum.value < 0 ? -6 : 6")}
    layers = [
        layer(rows, mark("bar", height={"band": 0.72}, cornerRadius=2), x=x, y=y, color=colour, tooltip=tooltip),
        layer(rows, mark("text", color=TEXT.ink, aria=False, **side), x=x, y=y, text=nominal("text")),
    ]
    first = f" {rows['label'].iloc[0]} moves it most, by {rows['value'].iloc[0]:+.2f}." if len(rows) else ""
    return dress(layers, f"The DNN logit by field, in log-odds.{first}", height=step(24))


def attribution_rows(values: pd.DataFrame, *, top: int, cells: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Sort attributions by size and sum up the small ones: columns `label`, `value`, `sign`, `text`."""
    sized = values[["field", "value"]].sort_values("value", key=np.abs, ascending=False, kind="stable")
    shown, rest = (sized.head(top), sized.iloc[top:]) if len(sized) > top + 1 else (sized, sized.iloc[:0])
    lines = [
        (named_value(str(field), cells or {}), float(value))
        for field, value in zip(shown["field"], shown["value"], strict=True)
    ]
    if len(rest):
        lines.append((f"{len(rest):,} other fields", float(rest["value"].sum())))
    rows = pd.DataFrame(lines, columns=["label", "value"]).astype({"value": float})
    digits = 2 if len(rows) and rows["value"].abs().max() >= 0.05 else 4
    text = [amount(value, digits) for value in rows["value"]]
    return rows.assign(sign=np.where(rows["value"] >= 0, RAISES, LOWERS), text=text)


# The probability of a row over the values of one field, with all other fields unchanged.


_POINTING = nominal(
    "side", scale={"domain": ["left", "right"], "range": ["triangle-left", "triangle-right"]}, legend=None
)
AS_IT_IS, WHAT_IF = "own value", "what if"


def value_sweep(
    answers: pd.DataFrame,
    field: str,
    *,
    numeric: bool = False,
    ends: tuple[float, float] | None = None,
) -> Chart:
    """Draw the probability of a row with each value of one field.

    Args:
        answers: columns `value` (text, or number if `numeric`), `probability`, `own` (the row's own value) and
            `chosen` (the value it is changed to).
        field: name of the field.
        numeric: whether values are numbers, drawn as a line, or texts, drawn as a list in the order given.
        ends: smallest and largest number in the training rows; a value beyond is an arrow at the end of the axis.
    """
    rows = answers.assign(mark=answers["chosen"].map({True: WHAT_IF, False: ""}).where(~answers["own"], AS_IT_IS))
    marked = rows[rows["mark"] != ""]
    low, high = rows["probability"].min(), rows["probability"].max()
    description = f"Probability by value of {field}, from {percent(low, 1)} to {percent(high, 1)}."
    tooltip = hover(("value", field), ("probability", "probability", ".2%"))
    colour = nominal("mark", **legend_of([AS_IT_IS, WHAT_IF], [TEXT, ACCENT], symbolType="circle"))
    axis: Spec = {"format": "~%", "tickCount": 5}
    dot = mark("circle", size=110, opacity=1)
    if numeric:
        x = quantity("value", title=field, scale={"zero": False, "nice": False})
        y = quantity("probability", title="probability", axis=axis, scale={"zero": True})
        inside = pd.Series(True, index=rows.index) if ends is None else rows["value"].between(*ends)
        line = layer(rows[inside], mark("line", color=MUTED.ink, strokeWidth=2), x=x, y=y, tooltip=tooltip)
        points = layer(marked[inside[marked.index]], dot, x=x, y=y, color=colour, tooltip=tooltip)
        beyond = _beyond(marked[~inside[marked.index]], rows.loc[inside, "value"])
        arrow = mark("point", filled=True, size=110, opacity=1)
        x = {**x, "field": "edge"}
        pointing = layer(beyond, arrow, x=x, y=y, color=colour, shape=_POINTING, tooltip=tooltip)
        return dress([line, points, pointing], description, height=240)
    names = {"labelLimit": label_limit(0.4, 200), "labelColor": TEXT.ink}
    y = nominal("value", title=None, sort=list(rows["value"]), axis=names)
    x = quantity("probability", title=f"probability by {field}", axis=axis, scale={"zero": True})
    layers = [
        layer(rows, mark("rule", color=GRID.ink, strokeWidth=2, aria=False), x=x, x2={"datum": 0}, y=y),
        layer(rows, mark("circle", size=60, color=MUTED.ink, opacity=1), x=x, y=y, tooltip=tooltip),
        layer(marked, dot, x=x, y=y, color=colour, tooltip=tooltip),
    ]
    return dress(layers, description, height=step(22))


def _beyond(marked: pd.DataFrame, drawn: pd.Series[float]) -> pd.DataFrame:
    """Place values beyond the axis at its nearer end."""
    low, high = (drawn.min(), drawn.max()) if len(drawn) else (0.0, 0.0)
    return marked.assign(
        side=marked["value"].map(lambda number: "left" if number < low else "right"),
        edge=marked["value"].clip(low, high),
    )
