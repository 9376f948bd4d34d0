"""How good probabilities are: metrics with intervals, calibration, curves, and all of it for each level of a field.

Start with `evaluate`. It is numpy alone, so that a page need not load torch. Curves and AUC are exact with ties; tests
compare them with scikit-learn. `level_rows` says which level of a field each row is at; `slice_metrics` evaluates the
rows of each level, and `level_rates` only counts them. In shapes: N rows. A *click* is a row with label 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from deepfm_core._words import in_sequence
from deepfm_core.schema.number_parsing import parse_numbers
from deepfm_core.schema.schema import FieldRole
from deepfm_core.schema.timestamps import form_of, parse_moments
from deepfm_core.tables.table import is_missing

Floats = NDArray[np.float64]
Z95 = 1.959964
"""The 97.5% quantile of the standard normal distribution: half a 95% interval in standard errors."""


LEAST_AUC = 0.01
"""The least range of an axis of AUC: a change in the fifth digit must not look like a fall."""


def auc_range(values: Iterable[float]) -> tuple[float, float]:
    """Give the range that an axis of these values of AUC spans: at least `LEAST_AUC`, and never beyond 1."""
    held = list(values)
    low, high = min(held), max(held)
    more = max(LEAST_AUC - (high - low), 0.0)
    high = max(high, min(high + more / 2, 1.0))
    return min(low, max(high - LEAST_AUC, 0.0)), high


def sigmoid(logits: NDArray[np.floating]) -> Floats:
    """Turn logits into probabilities, without overflow."""
    z = np.asarray(logits, dtype=np.float64)
    e = np.atleast_1d(np.abs(z))  # in place from here on: fits call this for every field of every sweep
    np.exp(np.negative(e, out=e), out=e)  # in 0 … 1, whatever the sign of z
    top = np.where(z >= 0, 1.0, e)
    e += 1.0
    top /= e
    found: Floats = top.reshape(z.shape)[()]  # a number for a number
    return found


def logloss(labels: NDArray[np.floating], logits: NDArray[np.floating]) -> float:
    """Return the mean negative log-likelihood in nats. Logits are used, not probabilities, so nothing overflows."""
    return float(np.mean(logloss_by_row(labels, logits)))


def logloss_by_row(labels: NDArray[np.floating], logits: NDArray[np.floating]) -> Floats:
    """Return each row's negative log-likelihood in nats: (N,)."""
    z = np.asarray(logits, dtype=np.float64)
    # log(1 + e^z) − y z, with e^z taken out of the logarithm for z > 0.
    return np.asarray(np.maximum(z, 0.0) - z * labels + np.log1p(np.exp(-np.abs(z))))


def base_logloss(labels: NDArray[np.floating], rate: float) -> float:
    """Return the logloss of the constant probability `rate`, which is kept a millionth away from 0 and 1."""
    p = min(max(rate, 1e-6), 1 - 1e-6)
    clicks = float(np.mean(labels))
    return -(clicks * math.log(p) + (1 - clicks) * math.log(1 - p))


def auc(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> float | None:
    """Return the area under the ROC curve, ties counted half; None if a class is absent.

    This is the Mann–Whitney statistic: the share of (click, other row) pairs in which the click scores higher. Each
    class is sorted by itself, and one is looked up in the other. That sorts values, not positions, in half the time.
    """
    scores, positive = np.asarray(scores), np.asarray(labels) > 0.5
    clicks, others = np.sort(scores[positive]), np.sort(scores[~positive])
    pairs = len(clicks) * len(others)
    if not pairs:
        return None
    # Look the smaller class up in the larger one; wins are whole numbers, so no rounding adds up.
    if len(clicks) <= len(others):
        return _half_wins(clicks, others) / (2 * pairs)
    return 1.0 - _half_wins(others, clicks) / (2 * pairs)


def _half_wins(few: NDArray[np.floating], many: NDArray[np.floating]) -> int:
    """Count 2 for each value of `few` above a value of `many`, and 1 for each tie; both are in ascending order."""
    return int(np.searchsorted(many, few, "left").sum()) + int(np.searchsorted(many, few, "right").sum())


def auc_interval(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> tuple[float, float] | None:
    """Return the 95% interval of the AUC by the variance of DeLong et al. (1988), as computed by Sun & Xu (2014)."""
    value = auc(labels, scores)
    if value is None:
        return None
    positive, placements = np.asarray(labels) > 0.5, auc_by_row(labels, scores)
    above, below = placements[positive], placements[~positive]
    variance = _variance(above) / len(above) + _variance(below) / len(below)
    half = Z95 * math.sqrt(variance)
    return max(0.0, value - half), min(1.0, value + half)


def auc_by_row(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> Floats:
    """Return each row's placement: the share of the other class that it is ranked correctly against, ties half (N,).

    The mean over clicks is the AUC, and so is the mean over the other rows. Both classes must be present.
    """
    positive = np.asarray(labels) > 0.5
    scores = np.asarray(scores)
    # Rank among all rows, minus rank within the own class, counts the rows of the other class below.
    placements = _midranks(scores)
    placements[positive] -= _midranks(scores[positive])
    placements[~positive] -= _midranks(scores[~positive])
    clicks = int(positive.sum())
    placements[positive] /= len(positive) - clicks
    placements[~positive] = 1.0 - placements[~positive] / clicks  # share of the clicks above
    return placements


def _variance(values: Floats) -> float:
    return float(np.var(values, ddof=1)) if len(values) > 1 else 0.0


def _midranks(values: NDArray[np.floating]) -> Floats:
    """Rank values from 1, equal values at the mean of their ranks: (N,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[inverse], dtype=np.float64)


@dataclass(frozen=True)
class Metrics:
    """Metrics of one part of the rows, with 95% intervals. An undefined metric is None, and `note` says why."""

    rows: int
    clicks: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    logloss: float
    logloss_low: float
    logloss_high: float
    base_logloss: float
    """Logloss of predicting the training part's click rate for every row."""
    normalised_entropy: float | None
    """Logloss ÷ base logloss (He et al. 2014); below 1 is better than knowing only the click rate."""
    normalised_entropy_low: float | None
    normalised_entropy_high: float | None
    calibration_ratio: float | None
    """Mean predicted probability ÷ observed click rate; 1 is right on average."""
    calibration_low: float | None
    calibration_high: float | None
    note: str = ""


FEW_CASES = 100
"""Rows of the rarer outcome below which scores are said to be a first hint."""


def not_better(metrics: Metrics) -> str:
    """Say that a model is no better than always predicting the training positive rate; empty where it is better."""
    ratio, low = metrics.normalised_entropy, metrics.normalised_entropy_low
    if ratio is None or metrics.logloss is None or ratio < 1:
        return ""
    how = "worse" if low is not None and low > 1 else "no better"
    return (
        f"The model is {how} than always predicting the share of positive rows: its logloss is {metrics.logloss:.4f}, "
        f"and that of the share {metrics.base_logloss:.4f}."
    )


def few_cases(metrics: Metrics) -> str:
    """Say that few rows of one outcome judge a part's scores; empty where there are enough."""
    cases, word = min((metrics.clicks, "positive"), (metrics.rows - metrics.clicks, "negative"))
    if cases >= FEW_CASES:
        return ""
    rows = f"{cases:,} {word} {'row judges' if cases == 1 else 'rows judge'}"
    return f"Only {rows} these scores. On other rows, they may differ a lot."


def evaluate(labels: NDArray[np.floating], logits: NDArray[np.floating], base_rate: float) -> Metrics:
    """Compute all metrics of a part of at least one row.

    Args:
        labels: (N,) of 0 and 1.
        logits: (N,) log-odds.
        base_rate: the training part's click rate.
    """
    by_row = logloss_by_row(labels, logits)
    value, half = float(by_row.mean()), Z95 * math.sqrt(_variance(by_row) / len(by_row))
    base = base_logloss(labels, base_rate)
    ranking, interval = auc(labels, logits), auc_interval(labels, logits)
    ratio = _calibration_ratio(labels, logits)
    entropy_half = _entropy_half_width(labels, by_row, base_rate)
    clicks = int(np.sum(labels))
    return Metrics(
        rows=len(by_row),
        clicks=clicks,
        auc=ranking,
        auc_low=interval[0] if interval else None,
        auc_high=interval[1] if interval else None,
        logloss=value,
        logloss_low=max(0.0, value - half),
        logloss_high=value + half,
        base_logloss=base,
        normalised_entropy=value / base,
        normalised_entropy_low=max(0.0, value / base - entropy_half),
        normalised_entropy_high=value / base + entropy_half,
        calibration_ratio=ratio[0],
        calibration_low=ratio[1],
        calibration_high=ratio[2],
        note=_single_class_note(clicks, len(by_row)),
    )


def _single_class_note(clicks: int, rows: int) -> str:
    if 0 < clicks < rows:
        return ""
    which = "no" if clicks == 0 else "only"
    return f"These {rows:,} rows hold {which} clicks, so AUC is not defined. Use a larger share or a stratified split."


def _entropy_half_width(labels: NDArray[np.floating], by_row: Floats, base_rate: float) -> float:
    """Return half the 95% interval of the normalised entropy, by the delta method for a ratio of two means."""
    p = min(max(base_rate, 1e-6), 1 - 1e-6)
    base_by_row = -np.where(np.asarray(labels) > 0.5, math.log(p), math.log(1 - p))
    ratio = by_row.mean() / base_by_row.mean()
    # First-order error of a ratio A/B of means: (a_i − ratio · b_i) / B.
    residual = (by_row - ratio * base_by_row) / base_by_row.mean()
    return Z95 * math.sqrt(_variance(residual) / len(by_row))


def _calibration_ratio(
    labels: NDArray[np.floating], logits: NDArray[np.floating]
) -> tuple[float | None, float | None, float | None]:
    probabilities = sigmoid(logits)
    clicks, predicted = float(np.sum(labels)), float(probabilities.sum())
    if clicks == 0:
        return None, None, None
    # Clicks are independent Bernoulli draws: their number varies by Σ p(1 − p). Its interval is turned upside down.
    half = Z95 * math.sqrt(float((probabilities * (1 - probabilities)).sum()))
    low, high = predicted / (clicks + half), predicted / max(clicks - half, 0.5)
    return predicted / clicks, low, high


def wilson(clicks: NDArray[np.number], rows: NDArray[np.number]) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of the 95% interval of each click rate, by Wilson (1927)."""
    n = np.maximum(np.asarray(rows, dtype=np.float64), 1.0)
    p = np.asarray(clicks, dtype=np.float64) / n
    middle = p + Z95**2 / (2 * n)
    half = Z95 * np.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    return np.maximum((middle - half) / scale, 0.0), np.minimum((middle + half) / scale, 1.0)


def calibration(labels: NDArray[np.floating], probabilities: NDArray[np.floating], buckets: int = 10) -> pd.DataFrame:
    """Compare predicted with observed click rate in buckets of equally many rows.

    Returns:
        One row per bucket: `bucket`, `predicted` (mean probability), `observed` (click rate), `low` and `high` (its 95%
        Wilson interval), `rows`. Rows of equal probability share a bucket.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, buckets + 1)[1:-1]))
    number = np.searchsorted(edges, p, side="right")
    rows = np.bincount(number, minlength=len(edges) + 1)
    clicks = np.bincount(number, weights=labels, minlength=len(edges) + 1)
    sums = np.bincount(number, weights=p, minlength=len(edges) + 1)
    kept = rows > 0
    low, high = wilson(clicks[kept], rows[kept])
    return pd.DataFrame(
        {
            "bucket": np.arange(1, int(kept.sum()) + 1),
            "predicted": sums[kept] / rows[kept],
            "observed": clicks[kept] / rows[kept],
            "low": low,
            "high": high,
            "rows": rows[kept],
        }
    )


def thresholds(labels: NDArray[np.floating], probabilities: NDArray[np.floating]) -> pd.DataFrame:
    """Count for every distinct threshold, from high to low, the rows called clicks and those that are clicks.

    A row is called a click if its probability is at or above the threshold. ROC, PR and lift curves come from this.

    Returns:
        One row per threshold: `threshold`, `called`, `hits` (true positives), `recall` (true positive rate),
        `false_positive_rate`, `precision`, `lift` (precision ÷ click rate), `share` (called ÷ rows).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-p, kind="stable")
    ordered, clicks = p[order], np.asarray(labels, dtype=np.float64)[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # the last of each run of equal probabilities
    called, hits = last + 1.0, np.cumsum(clicks)[last]
    total, rows = max(float(clicks.sum()), 1.0), len(p)
    precision = hits / called
    return pd.DataFrame(
        {
            "threshold": ordered[last],
            "called": called.astype(np.int64),
            "hits": hits.astype(np.int64),
            "recall": hits / total,
            "false_positive_rate": (called - hits) / max(rows - float(clicks.sum()), 1.0),
            "precision": precision,
            "lift": precision / (total / rows),
            "share": called / rows,
        }
    )


# Slices: the rows at one level of a field.


MOST_LEVELS = 12
"""Levels shown by themselves; rarer ones are pooled as `other`."""
NUMBER_SLICES = 5
MISSING = "missing"


def level_rows(cells: pd.Series[str], role: FieldRole) -> pd.DataFrame:
    """Return the levels of a field that each of N rows is at.

    Numbers are cut into five buckets of similar size. Points in time become three-hour slices of the day. Each
    value of a multi-valued cell is a level. Only the twelve levels with most rows are kept; the others are pooled.
    Whole numbers and times stand by value, other levels by rows.

    Args:
        cells: the field's column as text, N rows.
        role: its role; an ignored field counts as categorical.

    Returns:
        One row per row and level, which is more than N for a multi-valued field: `position` (0 … N-1), `level` and
        `order` (the level's place among the others).
    """
    texts, codes = _distinct(cells)
    missing = np.array([is_missing(text) for text in texts], dtype=bool)
    if role.kind.is_number:
        return _number_rows(texts, missing, codes, role)
    if role.kind.is_time:
        return _hour_rows(texts, missing, codes, role)
    if not role.separator:
        return _pooled_codes([MISSING if absent else text for text, absent in zip(texts, missing, strict=True)], codes)
    values = [
        [MISSING] if absent else _values(text, role.separator) for text, absent in zip(texts, missing, strict=True)
    ]
    exploded = pd.Series(values, dtype=object).take(codes).reset_index(drop=True).explode()
    return _pooled(pd.DataFrame({"position": exploded.index.to_numpy(), "level": exploded.to_numpy(dtype=str)}))


def slice_metrics(labels: NDArray[np.floating], logits: NDArray[np.floating], levels: pd.DataFrame) -> pd.DataFrame:
    """Evaluate the rows of each level by themselves; normalised entropies use the click rate of all N rows.

    Args:
        labels: (N,) of 0 and 1.
        logits: (N,) log-odds.
        levels: the frame of `level_rows`.

    Returns:
        One row per level, in the levels' order: `level` and the fields of `Metrics`; null if not defined.
    """
    base_rate = float(np.mean(labels))
    parts = []
    for (_, level), rows in levels.groupby(["order", "level"], sort=True)["position"]:
        positions = rows.to_numpy()
        parts.append({"level": level, **asdict(evaluate(labels[positions], logits[positions], base_rate))})
    return pd.DataFrame(parts)


def level_rates(labels: NDArray[np.floating], levels: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of each level, and the share of positives among them, with its 95% interval (Wilson).

    Args:
        labels: (N,) of 0 and 1.
        levels: the frame of `level_rows`.

    Returns:
        One row per level, in the levels' order: `level`, `rows`, `share` (of all N), `rate`, `low`, `high`.
    """
    known = levels.assign(positive=labels[levels["position"].to_numpy()])
    counts = known.groupby(["order", "level"], sort=True)["positive"].agg(rows="size", clicks="sum").reset_index()
    low, high = wilson(counts["clicks"].to_numpy(float), counts["rows"].to_numpy(float))
    rates = counts.assign(
        share=counts["rows"] / max(len(labels), 1), rate=counts["clicks"] / counts["rows"], low=low, high=high
    )
    return rates[["level", "rows", "share", "rate", "low", "high"]]


def _distinct(cells: pd.Series[str]) -> tuple[list[str], NDArray[np.int64]]:
    numbers, found = pd.factorize(cells, sort=True)
    codes, texts = numbers.astype(np.int64), [str(text).strip() for text in found]
    if (codes < 0).any():
        codes, texts = np.where(codes < 0, len(texts), codes), [*texts, ""]  # NaN becomes an empty text
    return texts, codes


def _values(text: str, separator: str | None) -> list[str]:
    parts = [part.strip() for part in text.split(separator)] if separator else [text]
    return list(dict.fromkeys(part for part in parts if part)) or [MISSING]


def _number_rows(
    texts: list[str], missing: NDArray[np.bool_], codes: NDArray[np.int64], role: FieldRole
) -> pd.DataFrame:
    numbers = parse_numbers(pa.array(texts, pa.string()), missing, role.notation).values[codes]
    present = ~np.isnan(numbers)
    edges = np.zeros(0)
    if present.any():
        edges = np.unique(np.quantile(numbers[present], np.linspace(0, 1, NUMBER_SLICES + 1)[1:-1]))
        edges = edges[edges > numbers[present].min()]  # no bucket below the smallest number
    names = np.array([*range_names(edges, ",.4g"), MISSING])
    bucket = np.where(present, np.searchsorted(edges, numbers, side="right"), len(edges) + 1)
    return pd.DataFrame({"position": np.arange(len(codes)), "level": names[bucket], "order": bucket})


def range_names(edges: NDArray[np.floating], form: str, unit: str = "") -> list[str]:
    """Name the buckets between (E,) ascending edges, E + 1 of them; `form` writes an edge, `unit` follows the last."""
    if not len(edges):
        return ["any value"]
    said = [format(edge, form) for edge in edges]
    between = [f"{low} to {high}{unit}" for low, high in pairwise(said)]
    return [f"below {said[0]}{unit}", *between, f"{said[-1]}{unit} or more"]


def _hour_rows(texts: list[str], missing: NDArray[np.bool_], codes: NDArray[np.int64], role: FieldRole) -> pd.DataFrame:
    present = pa.array([text for text, absent in zip(texts, missing, strict=True) if not absent], pa.string())
    form = role.form or (form_of(present, role.column, sure=True) or ("", False))[0]
    hours = np.full(len(texts), -1, dtype=np.int64)
    if form:
        moments = parse_moments(present, form)
        hours[~missing] = np.where(moments.valid, moments.hours, -1)
    order = np.where(hours < 0, 8, hours // 3)  # 8 slices of 3 hours, and missing ones last
    names = np.array([*(f"{start:02d}:00 to {start + 2:02d}:59" for start in range(0, 24, 3)), MISSING])
    return pd.DataFrame({"position": np.arange(len(codes)), "level": names[order][codes], "order": order[codes]})


def _pooled_codes(texts: list[str], codes: NDArray[np.int64]) -> pd.DataFrame:
    """Do what `_pooled` does for rows at one level each, whose `texts` the (N,) codes number."""
    names, of_text = np.unique(np.array(texts or [MISSING], dtype=str), return_inverse=True)
    level = of_text[codes]  # two texts may be one level
    counts = np.bincount(level, minlength=len(names))
    order = np.argsort(-counts, kind="stable")  # names ascend, so equal counts do
    order = order[counts[order] > 0]
    kept = order[: MOST_LEVELS if len(order) > MOST_LEVELS + 1 else len(order)]
    if (sequence := in_sequence(list(names[kept]))) is not None:
        kept = np.searchsorted(names, sequence)
    other = f"other ({len(order) - len(kept)} levels)"
    same = np.flatnonzero(names[kept] == other)  # a level of that very name takes the others in
    place = np.full(len(names), same[0] if len(same) else len(kept))
    place[kept] = np.arange(len(kept))
    shown = np.array([*names[kept], other])
    return pd.DataFrame({"position": np.arange(len(codes)), "level": shown[place[level]], "order": place[level]})


def _pooled(rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows["level"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    # A single level is never pooled: `other (1 levels)` would take the same space.
    kept = list(counts.index[: MOST_LEVELS if len(counts) > MOST_LEVELS + 1 else len(counts)])
    kept = in_sequence(kept) or kept
    place = {level: number for number, level in enumerate(kept)}
    other = f"other ({len(counts) - len(kept)} levels)"
    level = rows["level"].where(rows["level"].isin(kept), other)
    return rows.assign(level=level, order=level.map(place).fillna(len(kept)).astype(int)).drop_duplicates()
