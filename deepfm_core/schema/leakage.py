"""How well a single field predicts the label on rows it was not counted on: what leaks shows here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfm_core.schema.column import Cells
from deepfm_core.schema.knots import bucket_edges

FOLDS = 5
_PRIOR_ROWS = 10.0
_BUCKETS = 200


def folds_of(labels: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (N,) the fold of each row, dealt out in turn within each class."""
    turn = np.where(labels, np.cumsum(labels), np.cumsum(~labels))
    return turn % FOLDS


def field_auc(cells: Cells, labels: NDArray[np.bool_], folds: NDArray[np.int64], *, by_number: bool) -> float:
    """Return the AUC of scoring each row by the click rate of its value in the other folds.

    Rates are drawn towards the base rate by 10 rows, so a value that stands in one row only scores like any other and
    nearly unique columns come out at about one half. Numbers are counted by quantile buckets.

    Source: out-of-fold target encoding (Micci-Barreca 2001) and the rank-sum form of the AUC with ties as halves.
    """
    level = _levels(cells, by_number)[cells.codes]
    size = int(level.max(initial=0)) + 1
    cell = level * FOLDS + folds
    rows = np.bincount(cell, minlength=size * FOLDS).reshape(size, FOLDS).astype(np.float64)
    clicks = np.bincount(cell, weights=labels.astype(np.float64), minlength=size * FOLDS).reshape(size, FOLDS)
    base = clicks.sum() / max(rows.sum(), 1.0)
    others_rows = rows.sum(axis=1, keepdims=True) - rows
    others_clicks = clicks.sum(axis=1, keepdims=True) - clicks
    score = (others_clicks + _PRIOR_ROWS * base) / (others_rows + _PRIOR_ROWS)
    return weighted_auc(score.ravel(), clicks.ravel(), (rows - clicks).ravel())


def weighted_auc(score: NDArray[Any], positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """Return the AUC of n groups of rows that share a score; 0.5 where a class is empty."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    up, down = np.add.reduceat(positive[order], starts), np.add.reduceat(negative[order], starts)
    if not up.sum() or not down.sum():
        return 0.5
    below = np.cumsum(down) - down
    return float((up * (below + down / 2)).sum() / (up.sum() * down.sum()))


def _levels(cells: Cells, by_number: bool) -> NDArray[np.int64]:
    """Return (D,) a level for each distinct text."""
    if not by_number:
        return np.where(cells.missing, len(cells.texts), np.arange(len(cells.texts)))
    values = cells.numbers.values
    edges = bucket_edges(values, cells.counts, _BUCKETS)
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="right") + 1)
