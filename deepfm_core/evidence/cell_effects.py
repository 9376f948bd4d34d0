"""What the labels show in each cell of a pair, beside what the model learned there.

`observed_effects` starts from a run's model and adds what the labels say beyond it. Cells with few rows are shrunk
towards no effect.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SWEEPS = 50
"""Sweeps over the two fields that remove the additive part."""

LEAST_SD = 0.05
"""Smallest spread of cell effects assumed, in log-odds: a pair of strength 0 still shows what its cells hold."""


def observed_effects(cells: pd.DataFrame, sd: float) -> NDArray[np.float64]:
    """Estimate each cell's effect beyond main effects from its clicks, shrunk by its support.

    The estimate is one Newton step from the model. With V = expected · (1 − expected ÷ rows) the cell's information, it
    is learned + (clicks − expected) ÷ V, without the part of the step that is additive over the two fields' levels.
    Under a normal prior of spread `sd` around 0 the posterior mean is V ÷ (V + 1 ÷ sd²) times that. So a cell of few
    rows shows little, and the cells of a pair that the data does not support show next to nothing.

    Args:
        cells: the C level pairs of one pair that have rows: `level_a`, `level_b`, `rows`, `clicks`, `expected` and
            `learned` (docs/store.md).
        sd: the spread of cell effects in log-odds: the strength that the data supports, if it is known.

    Returns:
        (C,) in log-odds.
    """
    rows, expected = cells["rows"].to_numpy(dtype=float), cells["expected"].to_numpy(dtype=float)
    rate = np.clip(expected / rows, 1e-6, 1 - 1e-6)  # (C,)
    information = np.maximum(expected * (1 - rate), 1e-9)  # (C,) V
    step = (cells["clicks"].to_numpy(dtype=float) - expected) / information
    step = _without_additive(step, information, cells["level_a"], cells["level_b"])
    spread = max(sd, LEAST_SD)
    return np.asarray((cells["learned"].to_numpy(dtype=float) + step) * information / (information + spread**-2))


def _without_additive(
    values: NDArray[np.float64], weights: NDArray[np.float64], a: pd.Series[str], b: pd.Series[str]
) -> NDArray[np.float64]:
    """Remove weighted means over the levels of either field in turn, until (nearly) none are left: (C,)."""
    fields = [pd.factorize(levels)[0] for levels in (a, b)]
    for _ in range(SWEEPS):
        for codes in fields:
            means = np.bincount(codes, weights * values) / np.bincount(codes, weights)
            values = values - means[codes]
    return values
