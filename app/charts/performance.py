"""How good probabilities are: calibration, ROC, precision–recall, lift, the component ladder, and slices."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
import pandas as pd

from app.charts.grammar.theme import (
    ACCENT,
    DASHES,
    MUTED,
    RUNS,
    SHAPES,
    TEXT,
    channel_of,
    dress,
    inks,
    label_limit,
    legend_of,
    narrow,
    step,
)
from app.charts.grammar.vega import Chart, Layer, Spec, column, expr, hover, layer, mark, nominal, quantity, when
from app.charts.grammar.vega import value as value_of
from deepfm_core._words import percent

CURVE_POINTS = 400
"""Points drawn of a threshold curve: no more than it has pixels across."""
DASHED = mark("line", color=MUTED.ink, strokeDash=[4, 4], strokeWidth=1, aria=False)
PERCENT: Spec = {"format": "~%", "tickCount": 6}


COVERED = 0.95
"""Share of buckets of a calibrated model whose interval holds the prediction."""


def off_by_chance(off: int, count: int) -> str:
    """Say how many buckets are off, and how often chance alone puts as many off if the model is calibrated."""
    if off == 0:
        return "No bucket is off"
    chance = sum(comb(count, k) * (1 - COVERED) ** k * COVERED ** (count - k) for k in range(off, count + 1))
    may = "may be" if chance >= 0.01 else "are"
    means = ": no sign of a fault" if chance >= 0.05 else f", so the probabilities {may} off"
    said = f"{off} of {count} buckets {'is' if off == 1 else 'are'} off"
    return f"{said}. Chance alone would put as many off {percent(chance)} of the time{means}"


def calibration_curve(buckets: pd.DataFrame) -> Chart:
    """Draw the observed against the predicted positive rate, in buckets of equally many rows; both axes start at zero.

    Args:
        buckets: columns `predicted`, `observed`, `low`, `high` (95% interval), `rows`; with a column `run`, one colour
            per run.
    """
    end = min(1.0, 1.05 * float(buckets[["predicted", "high"]].to_numpy().max())) if len(buckets) else 1.0
    scale = {"domain": [0, end], "nice": False}
    x = quantity("predicted", title="predicted positive rate (mean of the bucket)", scale=scale, axis=PERCENT)
    y = quantity("observed", title="observed positive rate", scale=scale, axis=PERCENT)
    low = quantity("low", scale=scale)
    tooltip = hover(
        ("predicted", "predicted", ".2%"),
        ("observed", "observed", ".2%"),
        ("low", "95% from", ".2%"),
        ("high", "95% to", ".2%"),
        ("rows", "rows", ","),
    )
    colour, shape, under = _colour(buckets), _second_channel(buckets, "shape", SHAPES), _first_on_top(buckets)
    bar = mark("rule", strokeWidth=2, opacity=0.6, aria=False)
    point = mark("point", filled=True, opacity=1)
    layers = [
        layer(pd.DataFrame({"predicted": [0.0, end], "observed": [0.0, end]}), DASHED, x=x, y=y),
        layer(under, bar, x=x, y=low, y2=column("high"), color=colour),
        layer(under, point, x=x, y=y, color=colour, **shape, size=when("datum.under", 180, 70), tooltip=tooltip),
    ]
    return dress(layers, _calibration_takeaway(buckets), height=320)


def roc_curve(thresholds: pd.DataFrame, *, auc: float | None = None, threshold: float | None = None) -> Chart:
    """Draw the ROC curve with the line of chance, and the chosen threshold on it.

    Args:
        thresholds: columns `threshold`, `recall`, `false_positive_rate`, `precision`, of falling threshold; with a
            column `run`, one line per run; the threshold is marked on the first.
        auc: area under the curve, for the alternative text.
        threshold: the probability from which a row is flagged as a click.
    """
    chance = pd.DataFrame({"false_positive_rate": [0.0, 1.0], "recall": [0.0, 1.0]})
    x, y = _share("false_positive_rate", "false positive rate"), _up("recall", "true positive rate (recall)")
    area = f" The area under it is {auc:.3f}." if auc is not None else ""
    description = f"ROC curve: recall against false positive rate.{area}"
    return dress(_curve(thresholds, x, y, chance, threshold), description, height=280)


def precision_recall_curve(thresholds: pd.DataFrame, *, base_rate: float, threshold: float | None = None) -> Chart:
    """Draw precision against recall, with the base rate, which is the precision of guessing.

    Args:
        thresholds: as for `roc_curve`.
        base_rate: positive rate of all rows.
        threshold: the probability from which a row is flagged as a click.
    """
    chance = pd.DataFrame({"recall": [0.0, 1.0], "precision": [base_rate, base_rate]})
    chance["label"] = [f"base rate {percent(base_rate, 1)}", ""]
    rows = _enough(thresholds)
    layers = _curve(rows, _share("recall", "recall"), _up("precision", "precision"), chance, threshold)
    description = f"Precision against recall. Guessing has a precision of {percent(base_rate, 1)} at every recall."
    return dress(layers, description, height=280)


def lift_curve(thresholds: pd.DataFrame, *, threshold: float | None = None) -> Chart:
    """Draw the positive rate of the rows of highest probability, in multiples of the base rate.

    Args:
        thresholds: columns `threshold`, `share`, `lift`.
        threshold: the probability from which a row is flagged as a click.
    """
    rows = _enough(thresholds)
    chance = pd.DataFrame({"share": [0.0, 1.0], "lift": [1.0, 1.0], "label": ["base rate", ""]})
    x = _share("share", "share of rows flagged, most likely first")
    y = quantity(
        "lift", title="lift (times the base rate)", scale={"domainMin": 0, "nice": True}, axis={"tickCount": 6}
    )
    at = rows[rows["share"] <= 0.1].tail(1)
    lead = (
        f" The tenth of rows with the highest probability has {at['lift'].iloc[0]:.1f} times the base rate."
        if len(at)
        else ""
    )
    return dress(_curve(rows, x, y, chance, threshold), f"Lift by share of rows flagged.{lead}", height=280)


def _enough(thresholds: pd.DataFrame) -> pd.DataFrame:
    """Leave out thresholds that flag under one row in 200: the positive rate of so few rows jumps between 0 and 1."""
    return thresholds[thresholds["share"] >= 0.005]


def _share(field: str, title: str) -> Spec:
    return quantity(field, title=title, scale={"domain": [0, 1]}, axis={**PERCENT, "labelFlush": True})


def _up(field: str, title: str) -> Spec:
    return quantity(field, title=title, scale={"domain": [0, 1]}, axis=PERCENT)


def _colour(rows: pd.DataFrame) -> Spec:
    """Colour by run if there are several, else in the accent."""
    if "run" not in rows:
        return {"value": ACCENT.ink}
    names = list(dict.fromkeys(rows["run"]))
    return nominal("run", **legend_of(names, RUNS, columns=narrow("1", "2", width=560)))


def _second_channel(rows: pd.DataFrame, channel: str, looks: Sequence[Any]) -> Spec:
    """Give runs a shape or dash besides their colour, so that overlapping marks can be distinguished."""
    if "run" not in rows:
        return {}
    names = list(dict.fromkeys(rows["run"]))
    return {channel: nominal("run", **channel_of(names, looks, columns=narrow("1", "2", width=560)))}


def _first_on_top(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows so that the first run is drawn last, on top; the others, marked `under`, are drawn larger."""
    under = rows["run"] != rows["run"].iloc[0] if "run" in rows and len(rows) else pd.Series(False, index=rows.index)
    return rows.assign(under=under).sort_values("under", ascending=False, kind="stable")


def _thin(rows: pd.DataFrame) -> pd.DataFrame:
    if "run" in rows:
        return pd.concat(
            [_thin(part.drop(columns="run")).assign(run=run) for run, part in rows.groupby("run", sort=False)]
        )
    if len(rows) <= CURVE_POINTS:
        return rows
    kept = sorted({round(i * (len(rows) - 1) / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)})
    return rows.iloc[kept]


def _curve(rows: pd.DataFrame, x: Spec, y: Spec, chance: pd.DataFrame, threshold: float | None) -> list[Layer]:
    """Draw a threshold curve over its line of chance, and the chosen threshold as a point."""
    form = ".2f" if y["field"] == "lift" else ".1%"
    tooltip = hover(("threshold", "threshold", ".3f"), (x["field"], x["title"], ".1%"), (y["field"], y["title"], form))
    line = mark("line", strokeWidth=2, strokeJoin="round")
    order, broken = quantity("threshold"), _second_channel(rows, "strokeDash", DASHES)
    layers = [
        layer(chance, DASHED, x=x, y=y),
        layer(_thin(rows), line, x=x, y=y, color=_colour(rows), **broken, order=order, tooltip=tooltip),
    ]
    if "label" in chance:
        name = mark("text", align="left", dx=6, dy=-8, color=MUTED.ink)
        layers.append(layer(chance, name, x=x, y=y, text=nominal("label")))
    if threshold is not None:
        first = rows[rows["run"] == rows["run"].iloc[0]] if "run" in rows else rows
        point = mark("point", filled=True, size=110, color=TEXT.ink, opacity=1)
        layers.append(layer(first[first["threshold"] >= threshold].tail(1), point, x=x, y=y, tooltip=tooltip))
    return layers


def _calibration_takeaway(buckets: pd.DataFrame) -> str:
    off = int(((buckets["predicted"] < buckets["low"]) | (buckets["predicted"] > buckets["high"])).sum())
    text = f"Observed against predicted positive rate in {len(buckets)} buckets with 95% intervals."
    return f"{text} In {off} of them the prediction lies outside the interval."


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
    # Where no model was trained alone, the chart has one kind of mark, and its title says what that is.
    kinds: Spec = {"scale": {"domain": [partial, "trained alone"], "range": inks([ACCENT, MUTED])}, "legend": None}
    if rows["kind"].eq("trained alone").any():
        kinds = legend_of([partial, "trained alone"], [ACCENT, MUTED], symbolType="circle")
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


# A metric at each level of a field, with its interval; the axis fits the values.


RATIO_TICKS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 0.25, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 8, 16, 32, 64)
ROUND_TICKS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
_WIDE = 4.0
"""A ratio's axis has room for ticks between powers of two if its ends are at most this factor, squared, apart."""
_MOST = 4.0
"""An interval stretches the axis of a ratio up to this factor, then it ends in an arrow. Points are always inside."""


def slices(
    frame: pd.DataFrame,
    *,
    value: str,
    title: str,
    overall: float | None = None,
    form: str = ".3f",
    field: str = "",
    ratio: bool = False,
    shares: bool = False,
) -> Chart:
    """Draw a metric for each level of a field, with interval and number of rows; order as given.

    Args:
        frame: columns `level`, `value`, `low`, `high` (may be null), `rows`.
        value: the column that holds the metric.
        title: what it is, with its unit.
        overall: the metric over all rows, as a line.
        form: d3 format of its numbers.
        field: name of the field.
        ratio: whether the metric is a ratio: its axis is logarithmic around 1, and an interval beyond its ends has an
            arrow.
        shares: whether a pale bar behind each level shows its share of all rows (column `share`).
    """
    names = [f"{level}  ({count:,})" for level, count in zip(frame["level"], frame["rows"], strict=True)]
    rows = frame.assign(name=names, drawn_low=frame["low"], drawn_high=frame["high"])
    scale: Spec = {"zero": False, "padding": 12}
    axis: Spec = {"format": form, "tickCount": 6}
    if ratio:
        ends = ratio_ends(frame, value, overall)
        rows = rows.assign(drawn_low=frame["low"].clip(*ends), drawn_high=frame["high"].clip(*ends))
        scale = {"type": "log", "base": 2, "domain": list(ends), "nice": False}
        # No `format` here: with one, Vega drops every tick that is not a power of the base.
        axis = {"values": ratio_ticks(ends), "labelExpr": "'×' + format(datum.value, '.3~r')", "labelOverlap": "greedy"}
    x = quantity(value, title=title, scale=scale, axis=axis)
    y = nominal("name", sort=names, title=f"{field} (rows)", axis={"labelColor": TEXT.ink})
    tooltip = hover(
        ("level", field or "level"),
        (value, title, form),
        ("low", "95% from", form),
        ("high", "95% to", form),
        ("rows", "rows", ","),
    )
    bar = mark("rule", color=ACCENT.ink, strokeWidth=6, opacity=0.28, strokeCap="round", aria=False)
    layers = [
        layer(rows, bar, x=quantity("drawn_low"), x2=column("drawn_high"), y=y),
        *(_arrows(rows, y) if ratio else []),
        layer(rows, mark("circle", color=ACCENT.ink, size=80, opacity=1), x=x, y=y, tooltip=tooltip),
    ]
    if shares:
        widest = max(float(frame["share"].max()), 1e-9) if len(frame) else 1.0
        look = mark("bar", color=MUTED.ink, opacity=0.18, height={"band": 0.9}, aria=False)
        at = value_of(expr(f"width * datum.share / {widest}"))
        layers.insert(0, layer(rows, look, x=value_of(0), x2=at, y=y))
    if overall is not None:
        whole = mark("rule", color=MUTED.ink, strokeDash=[4, 4], aria=False)
        layers.insert(0, layer(pd.DataFrame({value: [overall]}), whole, x=x))
    return dress(layers, f"{title} by level of {field or 'a field'}.", height=step(28))


def ratio_ends(frame: pd.DataFrame, value: str, overall: float | None = None) -> tuple[float, float]:
    """Choose the ends of a ratio's axis: around 1, every point inside, and the intervals up to ×4.

    Args:
        frame: columns `value`, `low`, `high`.
        value: the column that holds the ratio.
        overall: the ratio over all rows.
    """
    points = _logs([*frame[value], *([] if overall is None else [overall])])
    intervals = np.clip(_logs([*frame["low"], *frame["high"]]), -np.log(_MOST), np.log(_MOST))
    both = np.concatenate([points, intervals, [-0.1, 0.1]])
    low, high = float(both.min()), float(both.max())
    room = 0.03 * (high - low)
    return float(np.exp(low - room)), float(np.exp(high + room))


def ratio_ticks(ends: tuple[float, float]) -> list[float]:
    """List the ticks inside a ratio's axis; a wide axis has powers of two only."""
    wide = ends[1] / ends[0] > _WIDE**2
    return [tick for tick in (ROUND_TICKS if wide else RATIO_TICKS) if ends[0] <= tick <= ends[1]]


def goes_on(frame: pd.DataFrame, value: str, overall: float | None = None) -> bool:
    """Say whether an interval continues beyond the axis of a ratio."""
    low, high = ratio_ends(frame, value, overall)
    return bool((frame["low"] < low).any() or (frame["high"] > high).any())


def _logs(ratios: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    known = np.array([ratio for ratio in ratios if pd.notna(ratio)], dtype=float)
    logs: np.ndarray[tuple[int], np.dtype[np.float64]] = np.log(np.clip(known, 1e-3, 1e3))
    return logs


def _arrows(rows: pd.DataFrame, y: Spec) -> list[Layer]:
    """Draw an arrow where an interval is cut off at the end of the axis."""
    look: Spec = {"filled": True, "color": ACCENT.ink, "size": 70, "opacity": 0.75, "aria": False}
    left, right = rows[rows["low"] < rows["drawn_low"]], rows[rows["high"] > rows["drawn_high"]]
    return [
        layer(left, mark("point", shape="triangle-left", **look), x=quantity("drawn_low"), y=y),
        layer(right, mark("point", shape="triangle-right", **look), x=quantity("drawn_high"), y=y),
    ]
