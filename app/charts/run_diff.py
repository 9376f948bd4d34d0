"""Two runs compared, run B − run A: their logits on the same rows, and their field matrices."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from app.charts.grammar.theme import (
    ACCENT,
    DIVERGING,
    EMPTY,
    LOG_ODDS,
    MUTED,
    SIGNED,
    dress,
    ink_on,
    inks,
    legend_of,
    step,
    swatches,
)
from app.charts.grammar.vega import Chart, Spec, expr, hover, layer, mark, nominal, quantity, when
from app.charts.interactions.matrix import FITTING, LIMIT, VALUES_LIMIT, places
from app.charts.logits import OUTCOMES, Outcomes

OF_STRENGTH = 0.25
"""The scale ends at this share of the largest strength or beyond, so that small differences stay pale."""
LEAST = 0.005
"""Differences from this size on are written into their cells."""
_ROOM: Spec = expr("bandwidth('x') < 30 ? 0 : 1")
"""A number with a sign needs a wider cell than one without."""


def logit_scatter(rows: pd.DataFrame, b: str, a: str, *, height: int = 360, outcomes: Outcomes = OUTCOMES) -> Chart:
    """Draw rows by their logit in run A (horizontal) and run B (vertical), with the line where both are equal.

    Args:
        rows: columns `row`, `label`, `b`, `a`: logits.
        b: name of run B.
        a: name of run A.
        height: of the plot, in pixels.
        outcomes: what the negative and the positive outcome are called.
    """
    shown = rows.assign(outcome=np.where(rows["label"] > 0.5, outcomes[1], outcomes[0])).sort_values(
        "label", kind="stable"
    )
    values = rows[["b", "a"]].to_numpy(dtype=float)
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    pad = max(0.04 * (high - low), 0.05)
    scale = {"domain": [low - pad, high + pad], "nice": False}
    axis = {"labelExpr": SIGNED, "tickCount": 6}
    x = quantity("a", title=f"logit of {a} ({LOG_ODDS})", scale=scale, axis=axis)
    y = quantity("b", title=f"logit of {b} ({LOG_ODDS})", scale=scale, axis=axis)
    ends = pd.DataFrame({"a": [low - pad, high + pad], "b": [low - pad, high + pad]})
    domain = list(outcomes)
    points = layer(
        shown,
        mark("point", filled=True, size=24),
        x=x,
        y=y,
        color=nominal("outcome", **legend_of(domain, [MUTED, ACCENT])),
        shape=nominal("outcome", title=None, sort=domain, scale={"domain": domain, "range": ["circle", "diamond"]}),
        opacity=when("datum.label > 0.5", 0.8, 0.35),
        tooltip=hover(("row", "row", "d"), ("outcome", "outcome"), ("a", f"logit of {a}", "+.3f"), ("b", b, "+.3f")),
    )
    equal = layer(ends, mark("line", color=MUTED.ink, strokeDash=[4, 4], strokeWidth=1), x=x, y=y)
    correlation = float(np.corrcoef(values.T)[0, 1]) if len(values) > 2 else math.nan
    note = f" Their correlation is {correlation:.2f}." if math.isfinite(correlation) else ""
    return dress([equal, points], f"{len(rows):,} rows by the logits of two runs.{note}", height=height)


def matrix_difference(pairs: pd.DataFrame, order: list[str], b: str, a: str) -> Chart:
    """Draw how much stronger each pair is in run B than in run A, on a colour scale with zero in its middle.

    Args:
        pairs: columns `field_a`, `field_b`, `b`, `a` (strengths) and `difference`, the largest first.
        order: of the fields, as in the field matrix.
        b: name of run B.
        a: name of run A.
    """
    fields = _strongest(pairs, order)
    kept = pairs[pairs["field_a"].isin(fields) & pairs["field_b"].isin(fields)]
    turned = kept.rename(columns={"field_a": "field_b", "field_b": "field_a"})
    cells = pd.concat([kept, turned], ignore_index=True).rename(columns={"field_a": "row", "field_b": "column"})
    end = max(float(cells["difference"].abs().max()), OF_STRENGTH * float(cells[["b", "a"]].max().max()), 1e-9)
    end = end if len(cells) else 1.0
    cells["share"] = cells["difference"].abs() / end
    at = places(fields)
    diagonal = pd.DataFrame({"row": fields, "column": fields})
    legend = swatches(f"{b} − {a} ({LOG_ODDS})", end, signed=True)
    scale = {"domain": [-end, end], "range": inks(DIVERGING), "interpolate": "lab", "clamp": True}
    tooltip = hover(
        ("row", "field"), ("column", "with"), ("b", b, ".3f"), ("a", a, ".3f"), ("difference", "difference", "+.3f")
    )
    square = mark("rect", cornerRadius=2, aria=False)
    colour = quantity("difference", scale=scale, legend=legend)
    layers = [
        layer(diagonal, {**square, "color": EMPTY.ink}, **at),
        layer(cells, square, **at, color=colour, tooltip=tooltip),
    ]
    if len(fields) <= VALUES_LIMIT:
        text = mark("text", color=ink_on("share"), aria=False, **{**FITTING, "opacity": _ROOM})
        written = cells[cells["difference"].abs() >= LEAST]
        layers.append(layer(written, text, **at, text=quantity("difference", format="+.2f")))
    height = step(max(14, min(36, 480 // max(len(fields), 1))))
    return dress(layers, _takeaway(pairs, b, a), height=height)


def _strongest(pairs: pd.DataFrame, order: list[str]) -> list[str]:
    """If there are more than `LIMIT` fields, keep those of the largest differences."""
    known = {*pairs["field_a"], *pairs["field_b"]}
    if len(known) > LIMIT:
        first = pairs.head(LIMIT // 2)
        known = {*first["field_a"], *first["field_b"]}
    return [field for field in order if field in known]


def _takeaway(pairs: pd.DataFrame, b: str, a: str) -> str:
    if pairs.empty:
        return f"{b} and {a} share no pairs."
    most = pairs.iloc[0]
    return (
        f"Strength of each pair, {b} − {a}, in log-odds. The largest difference is "
        f"{most['field_a']} × {most['field_b']} with {most['difference']:+.2f}."
    )
