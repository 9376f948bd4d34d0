"""Training curves: logloss and AUC over epochs, of one run, of its seeds, or of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from app.charts.grammar.theme import (
    ACCENT,
    BACKGROUND,
    DASHES,
    MUTED,
    RUNS,
    TEXT,
    Tone,
    channel_of,
    dress,
    legend_of,
    narrow,
)
from app.charts.grammar.vega import Chart, Layer, Spec, column, expr, hover, layer, mark, nominal, quantity, value, when
from deepfm_core.metrics.scores import auc_range

TRAINING, VALIDATION = "training", "validation"
MEASURES = {
    "valid_logloss": "validation logloss (nats)",
    "train_logloss": "training logloss (nats)",
    "valid_auc": "validation AUC",
}
EPOCH = quantity(
    "epoch",
    title="epoch",
    axis={"tickMinStep": 1, "format": "d", "grid": False},
    scale={"domainMin": 0, "nice": False, "padding": 4},
)
LOGLOSS = quantity("logloss", title="logloss (nats)", axis={"tickCount": 6}, scale={"zero": False, "padding": 10})


def loss_curves(
    epochs: pd.DataFrame,
    *,
    base_logloss: float | None = None,
    progress: pd.DataFrame | None = None,
    guide: float | None = None,
    live: bool = False,
) -> Chart:
    """Draw training and validation logloss per epoch, unsmoothed, with the base-rate line and the best epoch.

    Args:
        epochs: columns `epoch`, `train_logloss`, `valid_logloss`, `best`; with a column `seed`, a thin line each and
            their median, over the epochs that more than half of the seeds reached.
        base_logloss: validation logloss of predicting the training part's positive rate.
        progress: columns `epoch` (from 1), `step`, `steps`, `loss`: points within an epoch, drawn for an unfinished
            epoch and for the first.
        guide: validation logloss of the guide, if the run kept it alone: it is marked before the first epoch, and no
            epoch is.
        live: keep the alternative text fixed while the curves grow.
    """
    lines = _loss_lines(epochs)
    layers = [*_base_line(lines, progress, base_logloss), _points_within(epochs, progress), _thin_lines(lines)]
    layers += [*_median_line(lines), *_best_marks(epochs, "valid_logloss", LOGLOSS, guide, live=live)]
    takeaway = _loss_takeaway(epochs, base_logloss, guide)
    description = "Training and validation logloss per epoch." if live else takeaway
    return dress(layers, description, height=260)


def auc_curve(epochs: pd.DataFrame, *, guide: float | None = None, live: bool = False) -> Chart:
    """Draw validation AUC per epoch, with the best epoch marked.

    Args:
        epochs: columns `epoch`, `valid_auc`, `best`, and `seed` where there are several.
        guide: validation AUC of the guide, if the run kept it alone.
        live: keep the alternative text fixed while the curve grows.
    """
    rows = _with_seed(epochs).dropna(subset=["valid_auc"])
    values = [*rows["valid_auc"], *([] if guide is None else [guide])]
    scale = {"zero": False, "padding": 8, **({} if live else _domain("valid_auc", values))}
    auc = quantity("valid_auc", title=MEASURES["valid_auc"], axis={"tickCount": 5}, scale=scale)
    line = layer(
        rows,
        mark("line", color=ACCENT.ink, strokeWidth=2, point={"size": 16, "color": ACCENT.ink}),
        x=EPOCH,
        y=auc,
        detail=column("seed"),
        tooltip=hover(("epoch", "epoch", "d"), ("valid_auc", "validation AUC", ".4f")),
    )
    best = rows[rows["best"].astype(bool)].tail(1)
    takeaway = f" At the best epoch {best['epoch'].iloc[0]} it is {best['valid_auc'].iloc[0]:.3f}." if len(best) else ""
    takeaway = takeaway if guide is None else f" The run kept its guide alone, with {guide:.3f}."
    description = "Validation AUC per epoch." + ("" if live else takeaway)
    return dress([line, *_best_marks(rows, "valid_auc", auc, guide, live=live)], description, height=200)


LEAST_LOGLOSS = 0.002
"""Shortest axis of logloss, in nats, on which runs are compared: a shorter one would show rounding as a difference."""


def _domain(measure: str, values: Sequence[float]) -> Spec:
    """Widen an axis around values that hardly differ; empty where they fill it."""
    if not values:
        return {}
    low, high = auc_range(values) if measure == "valid_auc" else _logloss_range(values)
    return {} if (low, high) == (min(values), max(values)) else {"domainMin": low, "domainMax": high}


def _logloss_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    more = max(LEAST_LOGLOSS - (high - low), 0.0) / 2
    return low - more, high + more


def compare_runs(epochs: pd.DataFrame, measure: str = "valid_logloss") -> Chart:
    """Draw one measure of several runs in one chart, with the best epoch of each marked.

    Args:
        epochs: columns `run` (the name to show), `epoch`, `best` and the measure; eight colours. Epoch 0 is marked and
            no line leads to it: what a run starts from, where it kept that.
        measure: `valid_logloss`, `train_logloss` or `valid_auc`.
    """
    rows = epochs.dropna(subset=[measure])
    names = list(dict.fromkeys(rows["run"]))
    best = rows[rows["best"].astype(bool)].drop_duplicates("run", keep="last")
    look = {"columns": narrow("1", "2", width=560), "symbolType": "stroke", "symbolSize": 500, "symbolStrokeWidth": 2}
    scale = {"zero": False, "padding": 8, **_domain(measure, list(rows[measure]))}
    channels: Spec = {
        "x": EPOCH,
        "y": quantity(measure, title=MEASURES[measure], axis={"tickCount": 6}, scale=scale),
        "color": nominal("run", **legend_of(names, RUNS, **look)),
        "tooltip": hover(("run", "run"), ("epoch", "epoch", "d"), (measure, MEASURES[measure], ".4f")),
    }
    broken = nominal("run", **channel_of(names, DASHES, **look))
    lines = layer(
        rows[rows["epoch"] > 0], mark("line", strokeWidth=2, strokeJoin="round"), **channels, strokeDash=broken
    )
    marks = layer(best, mark("point", filled=True, size=90, opacity=1), **channels)
    return dress([lines, marks], _runs_takeaway(rows, measure, len(names)), height=300)


def _with_seed(epochs: pd.DataFrame) -> pd.DataFrame:
    return epochs if "seed" in epochs else epochs.assign(seed=0)


def _loss_lines(epochs: pd.DataFrame) -> pd.DataFrame:
    lines = _with_seed(epochs).melt(
        id_vars=["epoch", "seed"],
        value_vars=["train_logloss", "valid_logloss"],
        var_name="series",
        value_name="logloss",
    )
    lines["series"] = lines["series"].map({"train_logloss": TRAINING, "valid_logloss": VALIDATION})
    return lines.dropna(subset=["logloss"])


def _series() -> Spec:
    options = legend_of([TRAINING, VALIDATION], [MUTED, ACCENT], symbolType="stroke", symbolSize=200)
    return nominal("series", **options)


def _thin_lines(lines: pd.DataFrame) -> Layer:
    many = lines["seed"].nunique() > 1
    look: Spec = {"opacity": 0.45} if many else {"point": {"size": 16}}
    # Widths differ, too, since grey and teal can look alike.
    width = value(1) if many else when(f"datum.series === '{VALIDATION}'", 2.5, 1.3)
    return layer(
        lines,
        mark("line", strokeJoin="round", **look),
        x=EPOCH,
        y=LOGLOSS,
        color=_series(),
        strokeWidth=width,
        detail=column("seed"),
        tooltip=hover(("series", "part"), ("epoch", "epoch", "d"), ("logloss", "logloss", ".4f")),
    )


def _median_line(lines: pd.DataFrame) -> list[Layer]:
    seeds = lines["seed"].nunique()
    if seeds < 2:
        return []
    middle = lines.groupby(["series", "epoch"])["logloss"].agg(logloss="median", seeds="size").reset_index()
    tooltip = hover(
        ("series", "part"), ("epoch", "epoch", "d"), ("logloss", "median logloss", ".4f"), ("seeds", "seeds", "d")
    )
    return [
        layer(
            middle[middle["seeds"] * 2 > seeds],
            mark("line", strokeWidth=3, strokeJoin="round"),
            x=EPOCH,
            y=LOGLOSS,
            color=_series(),
            tooltip=tooltip,
        )
    ]


def _base_line(lines: pd.DataFrame, progress: pd.DataFrame | None, base: float | None) -> list[Layer]:
    if base is None:
        return []
    last = max([1.0, *lines["epoch"], *([] if progress is None else progress["epoch"])])
    ends = pd.DataFrame({"epoch": [0.0, last], "logloss": [base, base], "label": ["", f"base rate {base:.4f}"]})
    return [
        layer(ends, mark("line", color=MUTED.ink, strokeWidth=1, strokeDash=[4, 4]), x=EPOCH, y=LOGLOSS),
        *_readable({"align": "right", "dy": -7}, MUTED, ends, x=EPOCH, y=LOGLOSS, text=nominal("label")),
    ]


def _readable(look: Spec, colour: Tone, rows: pd.DataFrame, **channels: Any) -> list[Layer]:
    """Write labels with a rim of the background's colour, so that no line runs through their letters."""
    rim = mark("text", **look, stroke=BACKGROUND.ink, strokeWidth=4, strokeJoin="round", opacity=0.9, aria=False)
    return [layer(rows, rim, **channels), layer(rows, mark("text", **look, color=colour.ink), **channels)]


def _points_within(epochs: pd.DataFrame, progress: pd.DataFrame | None) -> Layer:
    columns = ["epoch", "step", "steps", "loss"]
    rows = pd.DataFrame(columns=columns, dtype=float) if progress is None else progress[columns]
    ended = int(epochs["epoch"].max()) if len(epochs) else 0
    rows = rows[(rows["epoch"] > ended) | (ended <= 1)]
    return layer(
        pd.DataFrame({"epoch": rows["epoch"] - 1 + rows["step"] / rows["steps"], "logloss": rows["loss"]}),
        mark(
            "line",
            color=MUTED.ink,
            strokeWidth=1,
            opacity=0.6,
            point={"size": 14, "color": MUTED.ink, "opacity": 0.6, "aria": False},
            aria=False,  # often without rows, and marks of none have no name
        ),
        x=EPOCH,
        y=LOGLOSS,
        tooltip=hover(("epoch", "epoch", ".2f"), ("logloss", "training logloss of the last batches", ".4f")),
    )


def _best_marks(epochs: pd.DataFrame, measure: str, y: Spec, guide: float | None, *, live: bool = False) -> list[Layer]:
    """Mark the best epoch, or the guide that was kept alone; the label is at the bottom, on the side with more room.

    While curves are `live`, the epoch is the best so far: in the end, the guide alone may be kept.
    """
    if "seed" in epochs and epochs["seed"].nunique() > 1:
        return []
    best = epochs[epochs["best"].astype(bool)].tail(1).dropna(subset=[measure])
    best = best.assign(**{y["field"]: best[measure], "early": best["epoch"] < 0.35 * epochs["epoch"].max()})
    called = "best so far:" if live else "best"
    best["label"] = [f"{called} epoch {int(e)} · {v:.4f}" for e, v in zip(best["epoch"], best[measure], strict=True)]
    if guide is not None:
        kept = {"epoch": 0.0, measure: guide, y["field"]: guide, "early": True}
        best = pd.DataFrame([{**kept, "label": f"kept: the guide alone · {guide:.4f}"}])
    tooltip = hover(
        ("epoch", "guide, before epoch 1" if guide is not None else "best epoch so far" if live else "best epoch", "d"),
        (y["field"], MEASURES[measure], ".4f"),
    )
    name = {"align": expr("datum.early ? 'left' : 'right'"), "dx": expr("datum.early ? 8 : -8"), "dy": -8}
    return [
        layer(best, mark("rule", color=ACCENT.ink, strokeWidth=1, opacity=0.4), x=EPOCH),
        layer(best, mark("point", filled=True, size=90, color=ACCENT.ink, opacity=1), x=EPOCH, y=y, tooltip=tooltip),
        *_readable(name, TEXT, best, x=EPOCH, y=value("height"), text=nominal("label")),
    ]


def _loss_takeaway(epochs: pd.DataFrame, base: float | None, guide: float | None) -> str:
    text = "Training and validation logloss per epoch."
    if guide is not None:
        return f"{text} The run kept its guide alone, with {guide:.4f} on the validation rows."
    best = epochs[epochs["best"].astype(bool)].tail(1) if len(epochs) else epochs
    if best.empty:
        return text
    text += f" At the best epoch {int(best['epoch'].iloc[0])} validation is {best['valid_logloss'].iloc[0]:.4f}"
    return text + (f", against {base:.4f} for the base rate." if base is not None else ".")


def _runs_takeaway(rows: pd.DataFrame, measure: str, runs: int) -> str:
    text = f"{MEASURES[measure]} per epoch of {runs} {'run' if runs == 1 else 'runs'}."
    if rows.empty:
        return text
    best = rows.sort_values(measure, ascending=measure != "valid_auc").iloc[0]
    return f"{text} The best is {best['run']} with {best[measure]:.4f} at epoch {best['epoch']}."
