"""The pair that a model has learned in place of one that the data shows: where fields go together, either explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.evidence.cell_effects import observed_effects
from deepfm_core.evidence.verdicts import LEARNED_SHARE
from deepfm_core.explain.purify import purify_table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class InPlace:
    """A pair of `shared` and `other` that a model has learned in place of the pair of `shared` and `missed`."""

    shared: str
    missed: str
    other: str
    strength: float
    """What the model has of it, seen through the two fields of the pair in place of which it stands, in log-odds."""


def learned_in_place(cells: pd.DataFrame, field_a: str, field_b: str, strength: float) -> InPlace | None:
    """Find the pair that a model has learned in place of one that it has hardly learned; None where no data tells.

    The effects of a pair that has one field of the two are averaged over the rows of each level of the other one. That
    is what the model says of the pair without naming it. It counts if it has at least half of the strength in the data,
    and if the labels show less than half of the strength beyond the model: then nothing is missing.

    Args:
        cells: the frame `level_pairs` of the run (docs/store.md).
        field_a: a field of the pair that the model has hardly learned.
        field_b: the other one.
        strength: of the pair in the data, in log-odds.
    """
    cells = cells[cells["rows"] > 0]
    own = cells[(cells["field_a"] == field_a) & (cells["field_b"] == field_b)]
    if own.empty or _spread(observed_effects(own, strength), own["rows"].to_numpy(float)) >= LEARNED_SHARE * strength:
        return None
    found = [*_candidates(cells, field_a, field_b), *_candidates(cells, field_b, field_a)]
    best = max(found, key=lambda each: each.strength, default=None)
    return best if best is not None and best.strength >= LEARNED_SHARE * strength else None


def _candidates(cells: pd.DataFrame, shared: str, missed: str) -> Iterator[InPlace]:
    grid = partial(_grid, cells)
    rows = grid(shared, missed, "rows")
    for other in sorted(set(cells["field_a"]) | set(cells["field_b"])):
        effects, together = grid(shared, other, "learned"), grid(missed, other, "rows")
        if other in (shared, missed) or effects.empty or together.empty:
            continue
        counts = together.reindex(index=rows.columns, columns=effects.columns).fillna(0.0).to_numpy()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)  # (levels of missed, levels of other)
        seen = effects.reindex(index=rows.index).fillna(0.0).to_numpy() @ shares.T
        weights = rows.to_numpy(dtype=float)
        yield InPlace(shared, missed, other, _spread(purify_table(seen, weights), weights))


def _grid(cells: pd.DataFrame, down: str, across: str, values: str) -> pd.DataFrame:
    """Lay the cells of a pair out as levels of `down` × levels of `across`; empty where the run has none."""
    for a, b, index, columns in ((down, across, "level_a", "level_b"), (across, down, "level_b", "level_a")):
        own = cells[(cells["field_a"] == a) & (cells["field_b"] == b)].astype({"level_a": str, "level_b": str})
        if len(own):
            return own.pivot_table(index=index, columns=columns, values=values, aggfunc="sum").fillna(0.0).astype(float)
    return pd.DataFrame()


def _spread(effects: Floats, weights: Floats) -> float:
    return float(np.sqrt((weights * effects**2).sum() / weights.sum()))
