"""How good probabilities are: metrics with intervals, calibration, and the counts behind ROC and PR curves.

Start with `evaluate`. It is numpy alone, so that a page need not load torch. Curves and AUC are exact with ties; tests
compare them with scikit-learn. In shapes: N rows. A *click* is a row with label 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z95 = 1.959964
"""The 97.5% quantile of the standard normal distribution: half a 95% interval in standard errors."""


def sigmoid(logits: NDArray[np.floating]) -> Floats:
    """Turn logits into probabilities, without overflow."""
    z = np.asarray(logits, dtype=np.float64)
    e = np.exp(-np.abs(z))  # in 0 … 1, whatever the sign of z
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


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
