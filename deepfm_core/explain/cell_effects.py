"""What the data shows in each cell of a pair of fields, beside what the model learned there."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SWEEPS = 50
LEAST_SD = 0.05
"""Cells of a pair without any strength are still drawn as if its effects could spread this much, in log-odds."""


def observed_effects(cells: pd.DataFrame, sd: float) -> NDArray[np.float64]:
    """Estimate each cell's effect beyond main effects from its clicks, shrunk by its support.

    One Newton step from the model: with V = expected · (1 − expected ÷ rows) the cell's information, the effect is
    learned + (clicks − expected) ÷ V, less the part of the step that is additive over the two fields' levels. Under a
    normal prior of spread `sd` around no effect its posterior mean is V ÷ (V + 1 ÷ sd²) times that, so that cells of
    few rows say little, and those of a pair that the data does not support next to nothing.

    Args:
        cells: C level pairs of one pair of fields, each with rows: `level_a`, `level_b`, `rows`, `clicks`, `expected`
            and `learned` (docs/store.md).
        sd: how far cell effects spread, in log-odds: the strength that the data supports, where it is known.

    Returns:
        (C,) in log-odds.
    """
    rows, expected = cells["rows"].to_numpy(dtype=float), cells["expected"].to_numpy(dtype=float)
    rate = np.clip(expected / rows, 1e-6, 1 - 1e-6)
    information = np.maximum(expected * (1 - rate), 1e-9)
    step = (cells["clicks"].to_numpy(dtype=float) - expected) / information
    step = _without_additive(step, information, cells["level_a"], cells["level_b"])
    spread = max(sd, LEAST_SD)
    return np.asarray((cells["learned"].to_numpy(dtype=float) + step) * information / (information + spread**-2))


def _without_additive(
    values: NDArray[np.float64], weights: NDArray[np.float64], a: pd.Series[str], b: pd.Series[str]
) -> NDArray[np.float64]:
    """Remove weighted means over the levels of either field, in turn."""
    fields = [pd.factorize(levels)[0] for levels in (a, b)]
    for _ in range(SWEEPS):
        for codes in fields:
            means = np.bincount(codes, weights * values) / np.bincount(codes, weights)
            values = values - means[codes]
    return values
