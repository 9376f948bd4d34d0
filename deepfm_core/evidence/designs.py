"""The levels of a field, the design columns made of them, and the cells of two fields.

A level is a row or column of an interaction table, as a person reads it. What levels are depends on the kind of field:

- categorical, bucketised: its features;
- numeric: quantile buckets of its value;
- piecewise: its knots, a row counting at the nearer one;
- multi-valued: its values, a row counting at each value of its cell.

A main effect is linear in a field's `main` columns. An interaction is bilinear in the `crossed` columns of two fields.
Start with `field_levels`, and with `field_designs`, which makes both kinds of columns for a table. `cross` and `gather`
find the cells of a pair. In shapes: N rows, s slots per row, C cells, B draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable
from deepfm_core.encoding.vocabulary import MISSING
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

    def at_rows(self, effects: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each row the sum of (L,) effects of its levels: (N,)."""
        return np.asarray(np.append(effects, 0.0)[self.codes].sum(axis=1))  # -1 is the 0 that was appended


def field_levels(table: EncodedTable) -> list[Levels]:
    """Return the levels of each embedded field of a table, in the layout's order."""
    return list(each_levels(table))


def levels_are_fixed(table: EncodedTable) -> bool:
    """Say whether the levels of a table's fields are the same whatever its rows, as quantiles are not."""
    readings = {field.kind.entry.reading for field in table.layout.fields}
    return Reading.QUANTILES not in readings and not table.layout.dense


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


MOST_LEVELS = 1000
"""Most columns of a field; levels beyond them, those with the fewest rows, share the last one."""

WAVES = 4
"""Cosine waves per number. Four waves follow a curve of up to four rises and falls."""

DENSE_BUCKETS = 16
"""Quantile buckets of a dense field's main effect."""

COUNTED = 20_000
"""Entries up to which sums over several columns a row are counted: to begin a sparse product takes longer."""
COUNTED_SLOTS = 3
"""Slots of a row up to which X'VX is counted, a pair of them at a time. For two, a sparse product takes seven times as
long."""

Columns: TypeAlias = Any
"""A matrix: an array or a csr_array, which has no types. `@` and `.T` work alike on both."""


@dataclass(frozen=True)
class Slots:
    """A sparse (N, size) matrix with at most s entries a row: row i has the value `x[i, s]` in column `ids[i, s]`.

    Attributes:
        ids: (N, s) column numbers in `0 … size-1`.
        x: (N, s) values, 0 for an unused slot; None where there is one slot and every value is 1.
        size: how many columns there are.
        full: whether the matrix is dense: s = size, and slot s is column s. Sums are then dense products, several times
            as fast.
    """

    ids: NDArray[np.int64]
    x: NDArray[np.float64] | None
    size: int
    full: bool = False

    @property
    def one_hot(self) -> bool:
        """Whether every row has a single 1."""
        return self.x is None

    @property
    def values(self) -> NDArray[np.float64]:
        """(N, s) values, ones included."""
        return np.ones(self.ids.shape) if self.x is None else self.x

    @cached_property
    def matrix(self) -> Columns:
        """(N, size) columns, sparse unless `full`."""
        return self.values if self.full else self._sparse(self.values)

    @cached_property
    def single_across(self) -> Columns:
        """(size, N) `matrix` across, in float32: made at once, since SciPy takes longer to turn one than sums take."""
        values = self.values.astype(np.float32)
        return values.T if self.full else csc_array(self._entries(values), shape=(self.size, len(self.ids)))

    def weighted(self, weights: NDArray[np.float64]) -> Columns:
        """Return (N, size) columns times (N,) row weights."""
        values = self._times(weights)
        return values if self.full else self._sparse(values)

    def _sparse(self, values: NDArray[np.floating]) -> csr_array:
        return csr_array(self._entries(values), shape=(len(self.ids), self.size))

    def _entries(self, values: NDArray[np.floating]) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32]]:
        """Give (N, s) values row by row, the columns they stand in, and where each row begins."""
        rows, slots = self.ids.shape
        starts = np.arange(0, rows * slots + 1, slots, dtype=np.int32)  # every row has s entries
        return values.ravel(), self.ids.astype(np.int32).ravel(), starts

    def sums(self, values: NDArray[np.floating]) -> NDArray[Any]:
        """Sum x times (N,) or (N, B) values over the rows of each column: (size,) or (size, B)."""
        # X'r. With a single 1 in each row this is a count, which is faster than a sparse product; so it is, to the same
        # bits, where there are few entries.
        if values.ndim == 1 and (self.one_hot or (not self.full and self.ids.size <= COUNTED)):
            return np.bincount(self.ids.ravel(), self._times(values).ravel(), self.size)
        return np.asarray((self.single_across if values.dtype == np.float32 else self.matrix.T) @ values)

    def square_sums(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum x² times (N,) weights over the rows of each column: (size,)."""
        if self.one_hot:
            return np.asarray(self.sums(weights))
        values = self.values**2 * weights[:, None]
        summed = values.sum(axis=0) if self.full else np.bincount(self.ids.ravel(), values.ravel(), self.size)
        return np.asarray(summed, dtype=np.float64)

    def gram(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return X'VX under (N,) row weights: (size, size)."""
        if self.x is None:
            return np.asarray(np.diag(self.sums(weights)))
        if self.full:
            return np.asarray(self.values.T @ self._times(weights))
        if self.ids.shape[1] > COUNTED_SLOTS:
            return np.asarray((self.matrix.T @ self.weighted(weights)).toarray())
        found = np.zeros((self.size, self.size))
        for a, b in combinations_with_replacement(range(self.ids.shape[1]), 2):
            cells = self.ids[:, a] * self.size + self.ids[:, b]
            part = np.bincount(cells, self.x[:, a] * self.x[:, b] * weights, self.size**2).reshape(found.shape)
            found += part if a == b else part + part.T
        return found

    def _times(self, weights: NDArray[np.floating]) -> NDArray[Any]:
        """Return the values (N, s) times (N,) row weights."""
        return weights[:, None] if self.x is None else self.x * weights[:, None]

    def at_rows(self, effects: NDArray[np.floating]) -> NDArray[Any]:
        """Return each row the sum of x times (size, …) effects of its columns: (N, …)."""
        return np.asarray(effects[self.ids[:, 0]] if self.one_hot else self.matrix @ effects)

    def take(self, rows: NDArray[np.int64]) -> Slots:
        """Keep the given rows."""
        return Slots(self.ids[rows], None if self.x is None else self.x[rows], self.size, self.full)


@dataclass(frozen=True)
class FieldDesign:
    """One field over N rows.

    Attributes:
        name: the field's name.
        main: what its main effect is linear in: one column per level, a multi-valued field's row having several.
        crossed: what its interactions are bilinear in: the same columns, or for numbers a few smooth waves of the rank.
            The mean of Σ x² over rows is 1. Rows at the same level have the same crossed columns.
    """

    name: str
    main: Slots
    crossed: Slots

    def take(self, rows: NDArray[np.int64]) -> FieldDesign:
        """Keep the given rows."""
        main = self.main.take(rows)
        return FieldDesign(self.name, main, main if self.crossed is self.main else self.crossed.take(rows))


def field_designs(table: EncodedTable) -> list[FieldDesign]:
    """Return the designs of a table's embedded fields, in the layout's order."""
    return [design_of(levels) for levels in field_levels(table)]


def dense_designs(table: EncodedTable) -> list[FieldDesign]:
    """Return designs of a table's dense fields, in quantile buckets: dense fields have main effects but no pairs."""
    designs = []
    for name, values in zip(table.layout.dense, table.dense.T, strict=True):
        edges = np.unique(np.quantile(values, np.linspace(0, 1, DENSE_BUCKETS + 1)[1:-1]))
        codes = np.searchsorted(edges, values, side="right").astype(np.int64)
        main = Slots(codes[:, None], None, len(edges) + 1)
        designs.append(FieldDesign(name, main, main))
    return designs


def design_of(levels: Levels) -> FieldDesign:
    """Make the design of one field from its levels."""
    main = pooled(level_slots(levels))
    if not levels.ordered:
        return FieldDesign(levels.field, main, main)
    return FieldDesign(levels.field, main, waves(levels))


def level_slots(levels: Levels) -> Slots:
    """Return one column per level; a row of a multi-valued field has a 1 for each of its values."""
    if levels.codes.shape[1] == 1:
        return Slots(levels.codes, None, len(levels))
    # Unused slots (-1) point at column 0 with the value 0, so they add nothing.
    return Slots(np.maximum(levels.codes, 0), (levels.codes >= 0).astype(np.float64), len(levels))


def pooled(slots: Slots, most: int = MOST_LEVELS) -> Slots:
    """Drop columns without rows; columns beyond the `most` with most rows share the last one."""
    place, size = _pooled_places(slots, most)
    ids = place[slots.ids]
    return Slots(ids if slots.one_hot else np.where(slots.values != 0, ids, 0), slots.x, size)


def _pooled_places(slots: Slots, most: int) -> tuple[NDArray[np.int64], int]:
    """Give each column's place among the pooled ones (size,), and their number; columns without rows come after it."""
    rows = np.bincount(slots.ids.ravel(), None if slots.x is None else slots.x.ravel() != 0, slots.size)
    order = np.argsort(-rows, kind="stable")
    place = np.empty(slots.size, dtype=np.int64)
    place[order] = np.minimum(np.arange(slots.size), most - 1)
    return place, max(1, min(int((rows > 0).sum()), most))


def by_level(levels: Levels, effects: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each level (L,) the effect of its column in the main design of the same rows, and 0 if it has no rows."""
    place, size = _pooled_places(level_slots(levels), MOST_LEVELS)
    return np.append(effects, 0.0)[np.minimum(place, size)]


def waves(levels: Levels, count: int = WAVES) -> Slots:
    """Return cosine waves of the rank of an ordered field's levels, the k-th 1/k as high, and a column for missing.

    With independent coefficients of equal spread, the interaction is a smooth function of the value, because faster
    waves are lower. Columns that are 0 in every row are left out, such as that for missing where no value is: cells of
    theirs would have no rows, and take time.
    """
    table = wave_heights(levels.rows(), [name == MISSING for name in levels.names], count)
    x = table[levels.codes[:, 0]]  # (N, count + 1)
    used = np.abs(x).max(axis=0, initial=0.0) > 1e-9
    used[0] |= not used.any()  # of rows that are all alike, a column of zeros is left
    return full_slots(x[:, used])


def wave_heights(rows: NDArray[np.float64], absent: Sequence[bool], count: int = WAVES) -> NDArray[np.float64]:
    """Return the height (L, count + 1) of each wave at L levels with so many `rows`; `absent` marks the missing one."""
    missing = np.asarray(absent)
    known = np.where(missing, 0.0, rows)
    middle = (np.cumsum(known) - known / 2) / max(known.sum(), 1.0)  # (L,) mean rank of each level's rows, 0 … 1
    k = np.arange(1, count + 1)
    heights = np.cos(np.pi * np.outer(middle, k)) / k  # (L, count)
    heights[missing] = 0.0
    table = np.concatenate([heights, missing[:, None].astype(np.float64)], axis=1)
    share = rows / max(rows.sum(), 1.0)
    # Centre the columns over rows, then scale them so that Σ x² is 1 in the mean: a unit variance of coefficients
    # then gives the logit a unit variance, as one-hot columns do.
    table -= share @ table
    table /= np.sqrt(max(float(share @ (table**2).sum(axis=1)), 1e-12))
    return np.asarray(table)


def full_slots(x: NDArray[np.float64]) -> Slots:
    """Return (N, size) dense columns as slots."""
    return Slots(np.broadcast_to(np.arange(x.shape[1]), x.shape), x, x.shape[1], full=True)


def take_rows(designs: Sequence[FieldDesign], rows: NDArray[np.int64]) -> list[FieldDesign]:
    """Keep the given rows of every design."""
    return [design.take(rows) for design in designs]


# Cells: where each row stands in the level × level table of two fields.

Values = NDArray[np.float64]

DIRECT_CODES = 4_000_000
"""Largest level × level table that is marked cell by cell. For larger ones, codes are sorted to save memory."""


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
        """(N,) Σ x² of each row's cells: the variance of the row's logit if cell effects have variance 1."""
        return np.asarray((self.slots.values**2).sum(axis=1))


def cross(a: Slots, b: Slots) -> Crossing:
    """Cross two fields' columns, and keep the cells that have rows."""
    if a.full and b.full:
        return Crossing(full_products(a, b), *np.divmod(np.arange(a.size * b.size), b.size))
    codes, x = cell_codes(a, b)
    if a.size * b.size <= DIRECT_CODES:
        held = np.zeros(a.size * b.size, dtype=bool)
        held[codes if x is None else codes[x != 0]] = True  # unused slots occupy no cell
        cells = np.flatnonzero(held)
        place = np.zeros(len(held), dtype=np.int64)
        place[cells] = np.arange(len(cells))  # cell of the full table -> occupied cell
        ids = place[codes]
    else:
        cells, inverse = np.unique(codes, return_inverse=True)
        ids = inverse.reshape(codes.shape).astype(np.int64)
    size = max(len(cells), 1)  # a table without rows still gets one empty cell
    cell_a, cell_b = np.divmod(cells if len(cells) else np.zeros(1, dtype=np.int64), b.size)
    return Crossing(Slots(ids, x, size), cell_a, cell_b)


def full_products(a: Slots, b: Slots) -> Slots:
    """Return the products (N, a.size · b.size) of two dense sets of columns."""
    return full_slots((a.values[:, :, None] * b.values[:, None, :]).reshape(len(a.ids), -1))


def cell_codes(a: Slots, b: Slots) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the number of each cell of a row, level of a · size of b + level of b, and its x, None where each is 1.

    Both are (N, s_a · s_b).
    """
    codes = (a.ids[:, :, None] * b.size + b.ids[:, None, :]).reshape(len(a.ids), -1)
    single = a.one_hot and b.one_hot
    return codes, None if single else (a.values[:, :, None] * b.values[:, None, :]).reshape(codes.shape)


def gather(a: Slots, b: Slots) -> Slots | None:
    """Group the rows that are at the same levels of both fields: one column per kind of row.

    Return None where rows have several levels each: such rows hardly repeat.
    """
    if not (a.one_hot and b.one_hot):
        return None
    codes = a.ids[:, 0] * b.size + b.ids[:, 0]
    if a.size * b.size > DIRECT_CODES:
        kinds, place = np.unique(codes, return_inverse=True)
        return Slots(place[:, None], None, len(kinds))
    held = np.zeros(a.size * b.size, dtype=bool)
    held[codes] = True
    place = np.cumsum(held) - 1  # number the occupied cells in order
    return Slots(place[codes][:, None], None, int(place[-1]) + 1)


def level_pairs_with_rows(a: FieldDesign, b: FieldDesign) -> int:
    """Count the level pairs that have rows."""
    rows, columns = a.main, b.main
    if rows.one_hot and columns.one_hot and rows.size * columns.size <= DIRECT_CODES:
        there = np.zeros(rows.size * columns.size, dtype=bool)
        there[rows.ids[:, 0] * columns.size + columns.ids[:, 0]] = True
        return int(there.sum())
    return len(cross(rows, columns).cell_a)


def determined(
    designs: Sequence[FieldDesign], pairs: Sequence[tuple[int, int]], support: Sequence[int]
) -> NDArray[np.bool_]:
    """Say of P pairs whether one field's level is known once the other's is.

    There are then no more level pairs with rows, their `support`, than that field has levels with rows.
    """
    levels = [np.count_nonzero(np.bincount(d.main.ids[:, 0])) if d.main.one_hot else -1 for d in designs]
    return np.array([found in (levels[a], levels[b]) for (a, b), found in zip(pairs, support, strict=True)], dtype=bool)
