"""Models and runs compared: models by one metric, and two runs as run B − run A."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from app.charts.grammar.theme import (
    ACCENT,
    BACKGROUND,
    DIVERGING,
    EMPTY,
    LOG_ODDS,
    MUTED,
    SIGNED,
    TEXT,
    dress,
    ink_on,
    inks,
    label_limit,
    legend_of,
    step,
    swatches,
)
from app.charts.grammar.vega import Chart, Layer, Spec, column, expr, hover, layer, mark, nominal, quantity, value, when
from app.charts.interactions.matrix import FITTING, LIMIT, VALUES_LIMIT, places
from app.charts.logits import OUTCOMES, Outcomes

TITLES = {"auc": "test AUC", "logloss": "test logloss (nats)"}


def model_dots(table: pd.DataFrame, runs: pd.DataFrame, metric: str = "logloss", *, part: str = "test") -> Chart:
    """Draw models as dots in the order of the rows, with the 95% interval of the difference to the best model.

    The interval is added to the best model's value. If it crosses that line, the dot is hollow: no more than noise.

    Args:
        table: columns `title`, `baseline`, the metric with `…_difference`, `…_low`, `…_high`, and `…_sd`.
        runs: columns `title`, `seed` and the metric, one row per run: drawn as ticks.
        metric: `auc` or `logloss`.
        part: `test` or `valid`, for the title of the axis.
    """
    rows = _placed(table.dropna(subset=[metric]), metric)
    title = TITLES[metric].replace("test", {"test": "test", "valid": "validation"}[part])
    order = list(rows["title"])
    y = nominal("title", sort=order, title=None, axis={"labelColor": TEXT.ink, "labelLimit": label_limit(0.36, 170)})
    x = quantity("value", title=title, scale={"zero": False, "nice": True, "padding": 12}, axis={"tickCount": 5})
    seeds = runs[runs["title"].isin(order)].rename(columns={metric: "value"}).dropna(subset=["value"])
    layers = [*_best_line(rows, x), *_intervals(rows, x, y), *_seeds(seeds, rows, x, y), _dots(rows, x, y, title)]
    return dress(layers, _takeaway(rows, title), height=step(30))


def _placed(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    best = table.loc[table[f"{metric}_difference"].isna() & ~table["baseline"].astype(bool), metric]
    at = float(best.iloc[0]) if len(best) else float("nan")
    low, high = table[f"{metric}_low"].astype(float), table[f"{metric}_high"].astype(float)
    beyond_noise = (low > 0) | (high < 0)
    is_best = table[f"{metric}_difference"].isna() & ~table["baseline"].astype(bool)
    verdict = pd.Series("no more than noise", index=table.index)
    verdict = verdict.mask(beyond_noise, "more than noise").mask(is_best, "the best on these rows")
    return pd.DataFrame(
        {
            "title": table["title"],
            "baseline": table["baseline"].astype(bool),
            "value": table[metric].astype(float),
            "spread": table[f"{metric}_sd"].astype(float),
            "difference": table[f"{metric}_difference"].astype(float),
            "low": at + low,
            "high": at + high,
            "best": at,
            "clear": beyond_noise | is_best,
            "verdict": verdict,
        }
    )


def _best_line(rows: pd.DataFrame, x: Spec) -> list[Layer]:
    ends = rows[["best"]].dropna().drop_duplicates().rename(columns={"best": "value"})
    return [layer(ends, mark("rule", color=ACCENT.ink, strokeDash=[4, 4], strokeWidth=1.2), x=x)]


def _intervals(rows: pd.DataFrame, x: Spec, y: Spec) -> list[Layer]:
    look = mark("rule", color=MUTED.ink, strokeWidth=7, opacity=0.3, strokeCap="round", aria=False)
    return [layer(rows.dropna(subset=["low"]), look, y=y, x={**x, "field": "low"}, x2=column("high"))]


def _seeds(seeds: pd.DataFrame, rows: pd.DataFrame, x: Spec, y: Spec) -> list[Layer]:
    many = seeds.groupby("title")["value"].transform("size") > 1
    look = mark("tick", color=TEXT.ink, thickness=1.2, height=14, opacity=0.55)
    tooltip = hover(("title", "model"), ("seed", "seed", "d"), ("value", "value", ".4f"))
    return [layer(seeds[many], look, x=x, y=y, tooltip=tooltip)] if len(rows) else []


def _dots(rows: pd.DataFrame, x: Spec, y: Spec, title: str) -> Layer:
    tooltip = hover(
        ("title", "model"),
        ("value", title, ".4f"),
        ("spread", "sd over seeds", ".4f"),
        ("difference", "from the best", "+.4f"),
        ("verdict", "verdict"),
    )
    return layer(
        rows,
        mark("point", filled=True, size=110, strokeWidth=2, opacity=1),
        x=x,
        y=y,
        stroke=when("datum.baseline", MUTED.ink, ACCENT.ink),
        fill={
            "condition": [
                {"test": "!datum.clear", "value": BACKGROUND.ink},
                {"test": "datum.baseline", "value": MUTED.ink},
            ],
            **value(ACCENT.ink),
        },
        shape=when("datum.baseline", "diamond", "circle"),
        tooltip=tooltip,
    )


def _takeaway(rows: pd.DataFrame, title: str) -> str:
    best = rows[rows["verdict"] == "the best on these rows"]
    if best.empty:
        return f"Models by {title}. None has finished."
    near = int((~rows["clear"]).sum())
    first = best.iloc[0]
    return (
        f"{len(rows)} models by {title}. {first['title']} is best with {first['value']:.4f}; "
        f"{near} others differ by no more than noise."
    )


# Two runs compared, run B − run A: their logits on the same rows, and their field matrices.


OF_STRENGTH = 0.25
"""The scale ends at this share of the largest strength or beyond, so that small differences stay pale."""
LEAST = 0.005
"""Differences from this size on are written into their cells."""
_ROOM: Spec = expr("bandwidth('x') < 30 ? 0 : 1")
"""A number with a sign needs a wider cell than one without."""


def logit_scatter(rows: pd.DataFrame, b: str, a: str, *, outcomes: Outcomes = OUTCOMES) -> Chart:
    """Draw rows by their logit in run A (horizontal) and run B (vertical), with the line where both are equal.

    Args:
        rows: columns `row`, `label`, `b`, `a`: logits.
        b: name of run B.
        a: name of run A.
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
    return dress([equal, points], f"{len(rows):,} rows by the logits of two runs.{note}", height=360)


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
    return dress(layers, _pairs_takeaway(pairs, b, a), height=height)


def _strongest(pairs: pd.DataFrame, order: list[str]) -> list[str]:
    """If there are more than `LIMIT` fields, keep those of the largest differences."""
    known = {*pairs["field_a"], *pairs["field_b"]}
    if len(known) > LIMIT:
        first = pairs.head(LIMIT // 2)
        known = {*first["field_a"], *first["field_b"]}
    return [field for field in order if field in known]


def _pairs_takeaway(pairs: pd.DataFrame, b: str, a: str) -> str:
    if pairs.empty:
        return f"{b} and {a} share no pairs."
    most = pairs.iloc[0]
    return (
        f"Strength of each pair, {b} − {a}, in log-odds. The largest difference is "
        f"{most['field_a']} × {most['field_b']} with {most['difference']:+.2f}."
    )
