"""The component ladder: a metric of a model's partial sums, against models trained with that part alone."""

from __future__ import annotations

import pandas as pd

from app.charts.grammar.theme import ACCENT, MUTED, TEXT, dress, label_limit, legend_of, step
from app.charts.grammar.vega import Chart, Spec, column, hover, layer, mark, nominal, quantity

TITLES = {"auc": "AUC", "logloss": "logloss (nats)"}


def component_ladder(rungs: pd.DataFrame, metric: str, name: str) -> Chart:
    """Draw a metric of each partial sum, joined by a line from top to bottom, with its 95% interval.

    Args:
        rungs: columns `rung`, `title` (empty for a partial sum, else the model trained alone), the metric, `…_low`,
            `…_high`; partial sums in order.
        metric: `auc` or `logloss`.
        name: name of the model with these partial sums.
    """
    partial = f"partial sums of {name}"
    rows = rungs.rename(columns={metric: "value", f"{metric}_low": "low", f"{metric}_high": "high"})
    rows = rows.assign(series=rows["title"].where(rows["title"] != "", partial)).dropna(subset=["value"])
    rows["kind"] = rows["title"].eq("").map({True: partial, False: "trained alone"})
    own = rows[rows["kind"] == partial].reset_index(drop=True).reset_index(names="place")
    axis = {"labelColor": TEXT.ink, "labelLimit": label_limit(0.4, 170)}
    y = nominal("rung", sort=list(dict.fromkeys(own["rung"])), title=None, axis=axis)
    x = quantity("value", title=TITLES[metric], scale={"zero": False, "padding": 12}, axis={"tickCount": 5})
    tooltip = hover(
        ("series", "what"),
        ("rung", "rung"),
        ("value", TITLES[metric], ".4f"),
        ("low", "95% from", ".4f"),
        ("high", "95% to", ".4f"),
    )
    kinds: Spec = legend_of([partial, "trained alone"], [ACCENT, MUTED], symbolType="circle")
    bar = mark("rule", color=MUTED.ink, strokeWidth=7, opacity=0.28, strokeCap="round", aria=False)
    path = mark("line", color=ACCENT.ink, strokeWidth=1.5, aria=False)
    alone = rows[rows["kind"] == "trained alone"]
    label = mark("text", align="left", dx=9, color=MUTED.ink)
    layers = [
        layer(own, bar, y=y, x={**x, "field": "low"}, x2=column("high")),
        layer(own, path, x=x, y=y, order=quantity("place")),
        layer(rows, mark("point", filled=True, size=110, opacity=1), x=x, y=y, color=nominal("kind", **kinds)),
        layer(rows, mark("point", filled=True, size=300, opacity=0), x=x, y=y, tooltip=tooltip),
        layer(alone, label, x=x, y=y, text=nominal("title")),
    ]
    return dress(layers, _takeaway(own, metric, name), height=step(38))


def _takeaway(own: pd.DataFrame, metric: str, name: str) -> str:
    if own.empty:
        return f"No partial sums of {name}."
    steps = ", ".join(f"{rung}: {value:.4f}" for rung, value in zip(own["rung"], own["value"], strict=True))
    return f"{TITLES[metric]} of {name}'s logit as its parts are added: {steps}."
