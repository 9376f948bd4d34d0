"""Where a numeric field bends: quantile knots and buckets that a spike cannot swallow, and how values are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deepfm_core.schema.number_parsing import number_names

CLIP = 5.0
"""Scaled values beyond this many standard deviations are held there."""


_ISOLATED_MAX = 256
_ISOLATED_ROWS = 100


def default_knots(rows: int) -> int:
    """Return about how many knots the given training rows support: 8 on small tables, 32 from 80,000 rows on.

    On the real tables tried, with 10,000 and 30,000 rows, more knots cost held-out logloss
    (docs/decisions/003-numbers-as-piecewise-lines.md).
    """
    return min(max(round(rows / 2500), 8), 32)


def piecewise_knots(values: NDArray[np.float64], counts: NDArray[np.int64], knots: int) -> NDArray[np.float64]:
    """Return ascending knots for D distinct values: every isolated value, and quantile knots for the others.

    Amounts that only take a few values far from each other, such as the capital gains of a tax table, are levels more
    than a scale, and a straight line from one to the next says little.
    """
    values, counts = _distinct(values, counts)
    isolated = _isolated(values, counts)
    if len(values) <= knots or not isolated.any():
        return quantile_knots(values, counts, knots)
    if isolated.all():
        return values
    return np.unique(np.concatenate([values[isolated], quantile_knots(values[~isolated], counts[~isolated], knots)]))


def _isolated(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which ascending values have no neighbour at the column's smallest step; none unless most have none."""
    if not 3 <= len(values) <= min(_ISOLATED_MAX, counts.sum() / _ISOLATED_ROWS):
        return np.zeros(len(values), dtype=bool)
    steps = np.diff(values)
    nearest = np.minimum(np.append(np.inf, steps), np.append(steps, np.inf))
    isolated: NDArray[np.bool_] = nearest > 1.5 * steps.min()
    return isolated if isolated.mean() >= 0.5 else np.zeros(len(values), dtype=bool)


def quantile_knots(values: NDArray[np.float64], counts: NDArray[np.int64], knots: int) -> NDArray[np.float64]:
    """Return about `knots` ascending knots for D distinct finite values that stand in `counts` (D,) rows.

    Up to `knots` distinct values are all knots. Otherwise a value that holds a knot's fair share of the rows alone (the
    0 of a column that is mostly 0) becomes one knot, and the others stand at the middles of equal shares of the rest,
    so that every knot is supported by about as many rows and extreme values do not stretch the ends. Without any value
    there is one knot, 0.
    """
    values, counts = _distinct(values, counts)
    if not len(values):
        return np.zeros(1)
    if len(values) <= knots:
        return values
    spikes, left = _spikes(counts, knots)
    middles = (np.arange(left) + 0.5) / left
    return np.unique(np.concatenate([values[spikes], _at_shares(values[~spikes], counts[~spikes], middles)]))


def _spikes(counts: NDArray[np.int64], places: int) -> tuple[NDArray[np.bool_], int]:
    """Say which values hold a fair share of the rows alone, and how many of the `places` they leave, at least 1."""
    spikes = np.zeros(len(counts), dtype=bool)
    left = places
    while True:
        more = ~spikes & (counts * left >= counts[~spikes].sum())
        if not more.any() or left - int(more.sum()) < 1:
            return spikes, left
        spikes |= more
        left = places - int(spikes.sum())


def _at_shares(
    values: NDArray[np.float64], counts: NDArray[np.int64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the values at the given shares (0 … 1) of the rows, values ascending."""
    ends = np.cumsum(counts) / counts.sum()
    return values[np.minimum(np.searchsorted(ends, shares, side="right"), len(values) - 1)]


def blend(values: NDArray[np.float64], knots: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Place D values between `knots` (k,), ascending.

    Returns:
        (D,) the knot to the left, and (D,) t in 0 … 1, the weight of the knot to its right: value = (1-t)·left +
        t·right. Values beyond the ends stand on the end knots. NaN gives 0 and 0.
    """
    known = np.where(np.isnan(values), knots[0], values)
    left = np.clip(np.searchsorted(knots, known, side="right") - 1, 0, max(len(knots) - 2, 0)).astype(np.int32)
    if len(knots) == 1:
        return left, np.zeros(len(values), dtype=np.float32)
    low, high = knots[left], knots[left + 1]
    return left, np.clip((known - low) / (high - low), 0.0, 1.0).astype(np.float32)


def bucket_edges(values: NDArray[np.float64], counts: NDArray[np.int64], buckets: int) -> NDArray[np.float64]:
    """Return the ascending lower edges of about `buckets` buckets; the first bucket reaches down without end.

    A value that holds a bucket's fair share of the rows alone gets one of its own; the rest is cut at quantiles.
    """
    values, counts = _distinct(values, counts)
    if not len(values):
        return np.zeros(1)
    if len(values) <= buckets:
        return values
    spikes, left = _spikes(counts, buckets)
    after = values[np.flatnonzero(spikes[:-1]) + 1]
    starts = _at_shares(values[~spikes], counts[~spikes], np.arange(left) / left)
    return np.unique(np.concatenate([values[:1], values[spikes], after, starts]))


def bucket_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Name each bucket by its half-open range, such as `[3, 7)`."""
    names = number_names(edges)
    if len(names) == 1:
        return ("any value",)
    inner = [f"[{low}, {high})" for low, high in pairwise(names[1:])]
    return (f"< {names[1]}", *inner, f"≥ {names[-1]}")


def _distinct(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Merge equal values (`1`, `1.0`), drop NaN and values no row holds, and sort."""
    held = ~np.isnan(values) & (counts > 0)
    distinct, place = np.unique(values[held], return_inverse=True)
    return distinct, np.bincount(place, weights=counts[held], minlength=len(distinct)).astype(np.int64)


@dataclass(frozen=True)
class Scale:
    """How a numeric or dense field's values are scaled: (g(x) − mean) / sd, held within ±5.

    g is the signed logarithm sign(x)·ln(1+|x|) where that makes the training values less skewed, otherwise x itself;
    mean and sd are those of g(x) over the training rows.
    """

    log: bool
    mean: float
    sd: float

    @classmethod
    def of(cls, values: NDArray[np.float64], counts: NDArray[np.int64]) -> Scale:
        """Fit the scale to D distinct values that stand in `counts` (D,) training rows; NaN is left out."""
        values, counts = _distinct(values, counts)
        if not len(values):
            return cls(False, 0.0, 1.0)
        plain, logged = _moments(values, counts), _moments(_signed_log(values), counts)
        log = abs(logged[2]) < abs(plain[2])
        mean, sd, _ = logged if log else plain
        return cls(log, mean, sd)

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return (D,) the scaled values; NaN becomes 0, the training mean."""
        shaped = _signed_log(values) if self.log else values
        scaled = np.clip((shaped - self.mean) / self.sd, -CLIP, CLIP)
        return np.nan_to_num(scaled, nan=0.0).astype(np.float32)


def _signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.log1p(np.abs(values))


def _moments(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return mean, standard deviation (1 where all values are equal) and skewness."""
    mean = float(np.average(values, weights=counts))
    sd = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
    if not np.isfinite(sd) or sd <= 1e-12 * max(1.0, abs(mean)):
        return mean, 1.0, 0.0
    return mean, sd, float(np.average(((values - mean) / sd) ** 3, weights=counts))
