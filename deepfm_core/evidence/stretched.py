"""Columns over rows in memory or on the disk, of which a stretch of rows is there at a time.

To solve a problem over many rows takes sums over them, never all of them at once. Rows in memory are one stretch, and
what is made of them is kept; those on the disk are read anew for each sum. In shapes: N rows, C cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable, Layout
from deepfm_core.evidence.designs import DIRECT_CODES, Slots, cell_codes, full_products, full_slots

Values = NDArray[np.float64]


class ByField(Protocol):
    """N labelled encoded rows whose fields can be read one by one."""

    @property
    def layout(self) -> Layout:
        """Which slot and feature belongs to which field."""

    @property
    def labels(self) -> NDArray[np.floating]:
        """(N,) of 0 and 1."""

    @property
    def stretches(self) -> Sequence[slice]:
        """All rows, as many at a time as are to be read together."""

    def field(self, field: EncodedField, rows: slice) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """Give the ids (n, slots) of a stretch of rows, and their x, None where every one is 1."""

    def dense_values(self, number: int, rows: slice) -> NDArray[np.float32]:
        """Give the values (n,) of a dense field for a stretch of rows."""


class Held:
    """Rows in memory, as `ByField` has them: one stretch."""

    def __init__(self, table: EncodedTable, labels: Values) -> None:
        self.layout, self.labels, self._table = table.layout, labels, table
        self.stretches = [slice(0, len(table))]

    def field(self, field: EncodedField, rows: slice) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """Give the ids (n, slots) of a stretch of rows, and their x, None where every one is 1."""
        x = self._table.x(field)
        ids = self._table.ids[rows, field.first_slot : field.first_slot + field.slots]
        return ids, None if x is None else x[rows]

    def dense_values(self, number: int, rows: slice) -> NDArray[np.float32]:
        """Give the values (n,) of a dense field for a stretch of rows."""
        return self._table.dense[rows, number]


class Stretched:
    """(N, size) columns, of which a stretch of rows is made at a time.

    Attributes:
        size: how many columns there are.
        one_hot: whether every row has a single 1.
        full: as in `Slots`.
        stretches: all rows.
    """

    def __init__(
        self,
        size: int,
        stretches: Sequence[slice],
        make: Callable[[slice], Slots],
        *,
        one_hot: bool,
        full: bool = False,
    ) -> None:
        """Take how a stretch of rows is made."""
        self.size, self.one_hot, self.full, self.stretches = size, one_hot, full, stretches
        self._make: Callable[[slice], Slots] | None = make
        self._kept: Slots | None = None

    @classmethod
    def of(cls, slots: Slots) -> Stretched:
        """Take columns that are in memory."""
        whole = [slice(0, len(slots.ids))]
        return cls(slots.size, whole, lambda _: slots, one_hot=slots.one_hot, full=slots.full)

    @classmethod
    def of_field(cls, rows: ByField, field: EncodedField) -> Stretched:
        """Take a field's features as columns, with the x of each."""

        def make(at: slice) -> Slots:
            ids, x = rows.field(field, at)
            own = ids.astype(np.int64, order="C") - field.offset
            if x is None:
                return Slots(own, None if field.slots == 1 else np.ones(own.shape), field.size)
            return Slots(own, x.astype(np.float64, order="C"), field.size)

        alone = field.slots == 1 and rows.field(field, slice(0, 0))[1] is None
        return cls(field.size, rows.stretches, make, one_hot=alone)

    @classmethod
    def of_dense(cls, rows: ByField, number: int) -> Stretched:
        """Take a dense field's values as a column."""

        def make(at: slice) -> Slots:
            return full_slots(rows.dense_values(number, at).astype(np.float64)[:, None])

        return cls(1, rows.stretches, make, one_hot=False, full=True)

    def parts(self) -> Iterator[tuple[slice, Slots]]:
        """Yield each stretch of rows with its columns."""
        if self._kept is not None:
            yield self.stretches[0], self._kept
            return
        make = self._make
        assert make is not None
        for at in self.stretches:
            slots = make(at)
            if len(self.stretches) == 1:
                self._kept, self._make = slots, None
            yield at, slots

    @property
    def rows(self) -> int:
        """N."""
        return self.stretches[-1].stop if self.stretches else 0

    @cached_property
    def mass(self) -> Values:
        """(size,) Σ x over the rows of each column."""
        total = np.zeros(self.size)
        for _, slots in self.parts():
            total += np.bincount(slots.ids.ravel(), slots.values.ravel(), self.size)
        return total

    @cached_property
    def squares(self) -> Values:
        """(size,) Σ x² over the rows of each column."""
        total = np.zeros(self.size)
        for _, slots in self.parts():
            total += slots.square_sums(np.ones(len(slots.ids)))
        return total

    def times(self, heights: Values) -> Stretched:
        """Return the product (N, waves) with (size, waves) heights."""

        def make(at: slice) -> Slots:
            return full_slots(np.asarray(self._at(at).matrix @ heights))

        return Stretched(heights.shape[1], self.stretches, make, one_hot=False, full=True)

    def _at(self, at: slice) -> Slots:
        if self._kept is None and self._make is not None and len(self.stretches) > 1:
            return self._make(at)
        return next(self.parts())[1]


class Cells(Stretched):
    """The occupied cells of two fields' columns.

    Attributes:
        cell_a, cell_b: (C,) the column of either field that a cell belongs to.
    """

    def __init__(self, a: Stretched, b: Stretched, numbers: NDArray[np.int64]) -> None:
        """Take cells by their numbers (C,), ascending: column of a · size of b + column of b."""
        numbers = numbers if len(numbers) else np.zeros(1, np.int64)  # a table without rows still gets one empty cell
        place = _placed(numbers, a.size * b.size, kept=len(a.stretches) > 1)

        def make(at: slice) -> Slots:
            left, right = a._at(at), b._at(at)
            if left.full and right.full:
                return full_products(left, right)
            codes, x = cell_codes(left, right)
            return Slots(place(codes), x, len(numbers))

        one_hot, full = a.one_hot and b.one_hot, a.full and b.full
        super().__init__(len(numbers), a.stretches, make, one_hot=one_hot, full=full)
        self.cell_a, self.cell_b = np.divmod(numbers, b.size)

    @classmethod
    def crossing(cls, a: Stretched, b: Stretched, most: int) -> Cells | None:
        """Cross two fields' columns, and keep the cells that have rows; None where there are more than `most`."""
        numbers = np.arange(a.size * b.size) if a.full and b.full else _occupied(a, b, most)
        return None if numbers is None or len(numbers) > most else cls(a, b, numbers)


def _occupied(a: Stretched, b: Stretched, most: int) -> NDArray[np.int64] | None:
    """Number the cells that have rows, ascending; None where it is clear that there are more than `most`."""
    direct = a.size * b.size <= DIRECT_CODES
    held, found = np.zeros(a.size * b.size if direct else 0, dtype=bool), np.zeros(0, np.int64)
    for at, left in a.parts():
        codes, x = cell_codes(left, b._at(at))
        own = codes if x is None else codes[x != 0]  # unused slots occupy no cell
        if direct:
            held[own] = True
            continue
        found = np.union1d(found, own)
        if len(found) > most:
            return None
    return np.flatnonzero(held) if direct else found


_WORTH_A_TABLE = 8
"""Possible cells for each occupied one, up to which a table of all possible ones is worth keeping."""


def _placed(numbers: NDArray[np.int64], every: int, *, kept: bool) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    """Say how the place of cells among `numbers` (C,) is found; that of unused slots may be any.

    Of rows on the disk, cells are made again for each sum, so what finds their places is `kept`, and must be small.
    """
    if every <= DIRECT_CODES and (not kept or every <= _WORTH_A_TABLE * len(numbers)):
        place = np.zeros(every, dtype=np.int32)
        place[numbers] = np.arange(len(numbers))
        return lambda codes: place[codes].astype(np.int64)
    return lambda codes: np.minimum(np.searchsorted(numbers, codes), len(numbers) - 1)
