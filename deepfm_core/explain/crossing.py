"""Where a row stands in the level × level table of two fields, and which rows are alike to the pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deepfm_core.explain.designs import Slots, full_slots

Values = NDArray[np.float64]

DIRECT_CODES = 4_000_000
"""Level pairs up to which they are told apart by a table of all of them, and not by sorting."""


@dataclass(frozen=True)
class Crossing:
    """The occupied cells of two fields' crossed columns.

    Attributes:
        slots: (N, s) cells of a row with their values, the products of the two fields' values.
        cell_a, cell_b: (C,) the crossed column of either field a cell belongs to.
    """

    slots: Slots
    cell_a: NDArray[np.int64]
    cell_b: NDArray[np.int64]

    @cached_property
    def squares(self) -> Values:
        """(N,) Σ x² of each row's cells: the variance a unit variance of cell effects gives the row's logit."""
        return np.asarray((self.slots.values**2).sum(axis=1))


def cross(a: Slots, b: Slots) -> Crossing:
    """Cross two fields' columns, keeping the cells some row stands in."""
    if a.full and b.full:
        products = (a.values[:, :, None] * b.values[:, None, :]).reshape(len(a.ids), -1)
        return Crossing(full_slots(products), *np.divmod(np.arange(a.size * b.size), b.size))
    codes = (a.ids[:, :, None] * b.size + b.ids[:, None, :]).reshape(len(a.ids), -1)
    single = a.one_hot and b.one_hot
    x = None if single else (a.values[:, :, None] * b.values[:, None, :]).reshape(codes.shape)
    if a.size * b.size <= DIRECT_CODES:
        held = np.zeros(a.size * b.size, dtype=bool)
        held[codes if x is None else codes[x != 0]] = True
        cells = np.flatnonzero(held)
        place = np.zeros(len(held), dtype=np.int64)
        place[cells] = np.arange(len(cells))
        ids = place[codes]
    else:
        cells, inverse = np.unique(codes, return_inverse=True)
        ids = inverse.reshape(codes.shape).astype(np.int64)
    size = max(len(cells), 1)
    cell_a, cell_b = np.divmod(cells if len(cells) else np.zeros(1, dtype=np.int64), b.size)
    return Crossing(Slots(ids, x, size), cell_a, cell_b)


def gather(a: Slots, b: Slots) -> Slots | None:
    """Say which rows are alike, those at the same levels of both fields, as one column for all rows of a kind.

    None where rows have several levels, which hardly repeat.
    """
    if not (a.one_hot and b.one_hot):
        return None
    codes = a.ids[:, 0] * b.size + b.ids[:, 0]
    if a.size * b.size > DIRECT_CODES:
        kinds, place = np.unique(codes, return_inverse=True)
        return Slots(place[:, None], None, len(kinds))
    held = np.zeros(a.size * b.size, dtype=bool)
    held[codes] = True
    place = np.cumsum(held) - 1
    return Slots(place[codes][:, None], None, int(place[-1]) + 1)
