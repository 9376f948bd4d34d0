"""What the labels show in each cell of a pair, beside what the model learned there.

`observed_effects` starts from a run's model and adds what the labels say beyond it. `observed_level_pairs` uses the
labels alone. Both shrink cells with few rows towards no effect.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.designs import FieldDesign, Levels, dense_designs, field_designs, level_slots
from deepfm_core.evidence.main_effects import fit_main_effects
from deepfm_core.evidence.ranking import labels_of
from deepfm_core.evidence.score_test import Residuals

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


# Cells by the labels alone: the observed part of the drill-down.

LEAST_STRENGTH = 0.02
"""Smallest strength, in log-odds, that the shrinkage of cell effects assumes."""


def observed_level_pairs(table: EncodedTable, levels: Sequence[Levels], pairs: pd.DataFrame) -> pd.DataFrame:
    """Estimate from the labels alone the effect of each level pair on the logit, beyond those of its two levels.

    W is the sum of a cell's residuals without their additive part, and V its variance. The raw effect is W/V. The
    shrunken one is W / (V + 1/τ²), the posterior mean if the pair's effects are normal with the observed strength τ.
    The weighted margins of raw effects are zero: Σ V · raw is 0 over each row and column of the table.

    Args:
        table: N labelled rows.
        levels: the levels of F fields over the same rows, as they are shown (rare ones pooled).
        pairs: `field_a`, `field_b`, `observed` of the pairs wanted, as `observed_interactions` returns them.

    Returns:
        One row per level pair that has rows: `field_a`, `field_b`, `level_a`, `level_b`, `rows`, and in log-odds
        `observed` (the shrunken effect), `observed_error` (its posterior standard deviation) and `observed_raw`.
    """
    labels = labels_of(table)
    main = fit_main_effects((*field_designs(table), *dense_designs(table)), labels)
    p = main.probability
    designs = [FieldDesign(level.field, slots, slots) for level in levels for slots in (level_slots(level),)]
    rows = Residuals(designs, labels - p, p * (1 - p), None)
    number = {level.field: place for place, level in enumerate(levels)}
    wanted = pairs[["field_a", "field_b", "observed"]].itertuples(index=False)
    frames = [_level_pairs(rows, levels, number[a], number[b], float(strength)) for a, b, strength in wanted]
    return pd.concat(frames, ignore_index=True)


def _level_pairs(rows: Residuals, levels: Sequence[Levels], a: int, b: int, strength: float) -> pd.DataFrame:
    cells = rows.cells(a, b)
    pure = rows.pure_sums(a, b, cells)  # (C,) W
    precision = cells.V + 1 / max(strength, LEAST_STRENGTH) ** 2
    names_a, names_b = np.array(levels[a].names, dtype=object), np.array(levels[b].names, dtype=object)
    return pd.DataFrame(
        {
            "field_a": levels[a].field,
            "field_b": levels[b].field,
            "level_a": names_a[cells.crossing.cell_a],
            "level_b": names_b[cells.crossing.cell_b],
            "rows": cells.sums(np.ones(len(rows.residual))).astype(np.int64),
            "observed": pure / precision,
            "observed_error": 1 / np.sqrt(precision),
            "observed_raw": pure / np.maximum(cells.V, 1e-12),
        }
    )
