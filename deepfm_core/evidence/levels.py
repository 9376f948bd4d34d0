"""The levels of a field: the rows or columns of an interaction table, as a person reads them.

Main effects are functions of levels. What the levels are depends on the kind of field:

- categorical, bucketised: its features;
- numeric: quantile buckets of its value;
- piecewise: its knots, a row counting at the nearer one;
- multi-valued: its values, a row counting at each value of its cell.

Start with `field_levels`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable
from deepfm_core.metrics.scores import range_names
from deepfm_core.schema.kinds import Reading

NUMERIC_BUCKETS = 16
"""Quantile buckets of a numeric field, fewer where values repeat."""


@dataclass(frozen=True)
class Levels:
    """One field's levels over N rows.

    Attributes:
        field: the field's name.
        names: L level names.
        codes: (N, M) int64, the levels a row stands at; -1 fills up. M is 1 except for multi-valued fields.
        ordered: whether the levels have a natural order (numbers), which is then the order of `names`.
    """

    field: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]
    ordered: bool

    def __len__(self) -> int:
        return len(self.names)

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum `values` (N,) over the rows of each level: (L,)."""
        return np.asarray(
            sum(
                np.bincount(column[column >= 0], weights=values[column >= 0], minlength=len(self))
                for column in self.codes.T
            ),
            dtype=np.float64,
        )

    def rows(self) -> NDArray[np.float64]:
        """Count the rows of each level: (L,)."""
        return self.sums(np.ones(len(self.codes)))


def field_levels(table: EncodedTable) -> list[Levels]:
    """Return the levels of each embedded field of a table, in the layout's order."""
    return list(each_levels(table))


def each_levels(table: EncodedTable) -> Iterator[Levels]:
    """Yield each field's levels in turn. Use it where the levels of all fields would fill memory."""
    for field in table.layout.fields:
        yield _levels(table, field)


def _levels(table: EncodedTable, field: EncodedField) -> Levels:
    slots = slice(field.first_slot, field.first_slot + field.slots)
    codes = table.ids[:, slots].astype(np.int64) - field.offset  # (N, slots) within the field's own vocabulary
    weights = table.x(field)
    if weights is None:
        return Levels(field.name, tuple(field.features), codes, field.kind.is_number)
    return _READ[field.kind.entry.reading](field, codes, weights)


def _features(field: EncodedField, codes: NDArray[np.int64], x: NDArray[np.float32]) -> Levels:
    """Let a row stand at each feature with x > 0; empty slots have x = 0."""
    return Levels(field.name, tuple(field.features), np.where(x > 0, codes, -1), field.kind.is_number)


def _nearest(field: EncodedField, codes: NDArray[np.int64], x: NDArray[np.float32]) -> Levels:
    """Let a row stand at the feature of the largest x: two knots share a value, the nearer has more."""
    nearer = np.take_along_axis(codes, x.argmax(1)[:, None], 1)
    return Levels(field.name, tuple(field.features), nearer, field.kind.is_number)


def _quantiles(field: EncodedField, codes: NDArray[np.int64], x: NDArray[np.float32]) -> Levels:
    """Cut the value feature (number 0) into quantile buckets; every other feature is a level after them."""
    feature, value = codes[:, 0], x[:, 0]
    present = feature == 0
    edges: NDArray[np.floating] = np.zeros(0)
    if present.any():
        edges = np.unique(np.quantile(value[present], np.linspace(0, 1, NUMERIC_BUCKETS + 1)[1:-1]))
    buckets = len(edges) + 1
    level = np.where(present, np.searchsorted(edges, value, side="right"), buckets - 1 + feature)
    names = range_names(edges, ".3g", " sd")
    return Levels(field.name, (*names, *field.features[1:]), level[:, None].astype(np.int64), field.kind.is_number)


_READ = {
    Reading.FEATURES: _features,
    Reading.NEAREST: _nearest,
    Reading.QUANTILES: _quantiles,
}
"""How a field's levels are read from its (N, slots) features and their x, by what its kind says they are."""
