"""What the data shows in each cell of a pair of fields, beside what the model learned there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.designs import FieldDesign, dense_designs, field_designs, level_slots
from deepfm_core.evidence.levels import Levels
from deepfm_core.evidence.main_effects import fit_main_effects
from deepfm_core.evidence.ranking import labels_of
from deepfm_core.evidence.score_test import Residuals

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


# The observed part of the drill-down: what the labels say of each cell of a pair's table, shrunk by its support.

LEAST_STRENGTH = 0.02
"""Cell effects are shrunk as if a pair had at least this strength, in log-odds."""


def observed_level_pairs(table: EncodedTable, levels: Sequence[Levels], pairs: pd.DataFrame) -> pd.DataFrame:
    """Estimate the effect of every level pair on the logit beyond the two levels' own, from the labels alone.

    With W the sum of a cell's residuals without their additive part and V their variance, the raw effect is W/V, and
    the shrunken one W / (V + 1/τ²), its posterior mean when the pair's effects are normal with the observed strength τ.
    Raw effects have weighted margins of zero: Σ V · raw over a row or column of the table vanishes.

    Args:
        table: N labelled rows.
        levels: F fields' levels over the same rows, those to be shown (rare ones pooled).
        pairs: `field_a`, `field_b`, `observed` of the pairs wanted, as `observed_interactions` gives them.

    Returns:
        One row a level pair with rows: `field_a`, `field_b`, `level_a`, `level_b`, `rows`, and in log-odds `observed`
        (the shrunken effect), `observed_error` (its posterior standard deviation), `observed_raw`.
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
    pure = rows.pure_sums(a, b, cells)
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
