"""Models by one metric: the mean over seeds, every seed, and the difference to the best model."""

from __future__ import annotations

import pandas as pd

from app.charts.grammar.theme import ACCENT, BACKGROUND, MUTED, TEXT, dress, label_limit, step
from app.charts.grammar.vega import Chart, Layer, Spec, column, hover, layer, mark, nominal, quantity, value, when

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
