"""What a model reads: encoded rows as tensors, the embeddings looked up for them, and what its terms take of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from deepfm_core._private import transposed_product
from deepfm_core.encoding.encoded_table import EncodedTable, Layout

if TYPE_CHECKING:
    from deepfm_core.models.deepfm import DeepFM


class Rows(Protocol):
    """N rows that can be gone through in their order."""

    def __len__(self) -> int: ...

    def split(self, size: int) -> Iterator[Batch]:
        """Yield consecutive rows, at most `size` at a time."""


@dataclass(frozen=True)
class Share:
    """Which rows of a batch a worker has, where several workers share it.

    Attributes:
        first: the number of its first row.
        rows: of the whole batch.
        copies: how many workers have each row: all of them where a batch has fewer rows than there are workers.
    """

    first: int
    rows: int
    copies: int = 1


@dataclass(frozen=True)
class Batch:
    """B encoded rows.

    Attributes:
        ids: (B, S) int32, feature ids.
        weights: (B, S) float, the x of each feature, or None where every x is 1; (B, W) of the slots `weighted` alone
            where that is given.
        dense: (B, D) float, scaled values of the dense fields.
        labels: (B,) float, 0 or 1, or None.
        crosses: (B, C) int32, ids of the crossed fields' combinations, or None where there are none.
        offset: (B,) log-odds that do not learn, computed ahead; None where there are none.
        weighted: (W,) the slots that `weights` has a column for, in a table that batches are taken from; None in these.
        share: which rows of a batch that workers share these are; None where they are all of it.
    """

    ids: Tensor
    weights: Tensor | None
    dense: Tensor
    labels: Tensor | None = None
    crosses: Tensor | None = None
    offset: Tensor | None = None
    weighted: Tensor | None = None
    share: Share | None = None

    @classmethod
    def from_table(cls, table: EncodedTable, device: str | torch.device = "cpu") -> Batch:
        """Give all rows of a table as one batch."""
        return cls.held(table, device)._whole()

    @classmethod
    def held(cls, table: EncodedTable, device: str | torch.device = "cpu") -> Batch:
        """Wrap the table's arrays as tensors to take batches from, without copying on the CPU.

        The x of slots where it is always 1 is filled in as batches are taken, so that memory holds it for these alone.
        """

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        return cls(
            tensor(table.ids),
            None if table.weights is None else tensor(table.weights),
            tensor(table.dense),
            None if table.labels is None else tensor(table.labels),
            None if table.crosses is None else tensor(table.crosses),
            None,
            None if table.weighted is None else tensor(np.array(table.weighted)),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counted(self) -> int:
        """How many rows the mean over the batch is of: B, or those of all workers."""
        return len(self) if self.share is None else self.share.rows * self.share.copies

    def take(self, rows: Tensor) -> Batch:
        """Return the given rows, in the given order."""
        return self._each(lambda part: part.index_select(0, rows))._whole()

    def slice(self, start: int, stop: int) -> Batch:
        """Return rows `start … stop-1`, as views but for what has to be filled in."""
        return self._each(lambda part: part[start:stop])._whole()

    def split(self, size: int) -> Iterator[Batch]:
        """Yield consecutive slices of at most `size` rows."""
        for start in range(0, len(self), size):
            yield self.slice(start, start + size)

    def double(self) -> Batch:
        """Return the batch with its real values in float64, for exact comparisons."""
        return Batch(
            self.ids,
            None if self.weights is None else self.weights.double(),
            self.dense.double(),
            None if self.labels is None else self.labels.double(),
            self.crosses,
            None if self.offset is None else self.offset.double(),
            self.weighted,
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        weights, labels, crosses, offset = (
            None if part is None else change(part) for part in (self.weights, self.labels, self.crosses, self.offset)
        )
        return Batch(change(self.ids), weights, change(self.dense), labels, crosses, offset, self.weighted)

    def _whole(self) -> Batch:
        """Return the batch with the x of every slot."""
        if self.weights is None or self.weighted is None:
            return self
        whole = self.weights.new_ones(self.ids.shape).index_copy_(1, self.weighted, self.weights)
        return replace(self, weights=whole, weighted=None)


# Reading the embedding table for a batch, and bringing the gradients back: both are one sparse product.
#
# With A the matrix that has x at each (field of a row, row of the table) that a slot reads, the looked-up fields are A
# · rows and the gradient of the rows is Aᵀ · the gradient of the fields (docs/training-step.md).


_ALWAYS_COPIED = 1 << 14
"""Rows of a table up to which their columns are laid out anew for a batch, however few the batch reads."""


@dataclass
class Lookup:
    """What B rows of S slots read of the table.

    Attributes:
        rows: (R, columns), rows [w | v …] of the table.
        positions: (B·S,) int32, the row that each slot reads.
        weights: (B·S,), the x of each slot, or None where every x is 1.
    """

    rows: Tensor
    positions: Tensor
    weights: Tensor | None
    _columns: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def columns(self, columns: slice) -> Tensor:
        """Give some columns of the rows as they are read fastest: (R, width), contiguous."""
        key = columns.start, columns.stop
        if key not in self._columns:
            self._columns[key] = self.rows[:, columns].contiguous()
        return self._columns[key]

    @property
    def worth_copying(self) -> bool:
        """Whether laying out all rows costs no more than reading them."""
        return self.rows.shape[0] <= max(self.positions.shape[0], _ALWAYS_COPIED)


class Slots:
    """Which slots of a row make up its fields."""

    def __init__(self, slots: Sequence[int], device: torch.device) -> None:
        """Describe F fields of so many slots each."""
        counts = torch.tensor(slots, dtype=torch.long, device=device)
        self.count = sum(slots)
        self._fields = len(slots)
        self._first = counts.cumsum(0) - counts
        self._field_of_slot = torch.arange(len(slots), device=device).repeat_interleave(counts, output_size=self.count)
        self._rows, self._starts = 0, {1: self._first.int()}
        self._ones = torch.ones(0)

    @classmethod
    def of(cls, layout: Layout, device: torch.device) -> Slots:
        """Describe the embedded fields of a layout."""
        return cls([described.slots for described in layout.fields], device)

    def fields(self, lookup: Lookup, columns: slice, piece: slice) -> Tensor:
        """Sum x · v over the slots of each field of the piece's n rows, of some columns: (n, F·width)."""
        if lookup.worth_copying:
            read = self._bags(lookup.columns(columns), lookup, piece, self._fields)
        else:
            read = self._bags(lookup.rows, lookup, piece, self._fields)[:, columns]
        return read.reshape(piece.stop - piece.start, self._fields * read.shape[1])

    def sums(self, lookup: Lookup, piece: slice) -> Tensor:
        """Sum x · [w | v …] over all slots of the piece's n rows: (n, columns)."""
        return self._bags(lookup.rows, lookup, piece, 1)

    def mean(self, lookup: Lookup, columns: slice, rows: int, counted: int) -> Tensor:
        """Sum each field's x · v, of some columns, over B rows, divided by how many are `counted`: (F·width,)."""
        across = lookup.positions.view(rows, self.count).t().flatten()
        x = None if lookup.weights is None else lookup.weights.view(rows, self.count).t().flatten()
        starts = self._first.int() * rows
        summed = torch.embedding_bag(lookup.columns(columns), across, starts, False, 0, False, x)[0]
        return summed.flatten().div_(counted)

    def gradient(
        self, lookup: Lookup, parts: Sequence[tuple[slice, Tensor]], delta: Tensor | None, into: Tensor | None = None
    ) -> Tensor:
        """Give ∂loss/∂rows (R, columns), in `into` where there is one.

        Args:
            lookup: what was read.
            parts: ∂loss/∂fields (B, F·width) with the columns it is for.
            delta: ∂loss/∂logit (B,) where the first column is a weight that adds to the logit.
        """
        if not self.count:
            return torch.zeros_like(lookup.rows) if into is None else into.zero_()
        found = [self._back(lookup, part.view(-1, part.shape[1] // self._fields), self._fields) for _, part in parts]
        if delta is not None:
            found.insert(0, self._back(lookup, delta.unsqueeze(1), 1))
        elif parts[0][0].start:
            found.insert(0, lookup.rows.new_zeros(lookup.rows.shape[0], 1))
        if into is not None:
            return torch.cat(found, 1, out=into)
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def _bags(self, rows: Tensor, lookup: Lookup, piece: slice, bags: int) -> Tensor:
        """Sum what the piece's rows read, by field or, with one bag, by row: (n · bags, columns)."""
        count = piece.stop - piece.start
        part = slice(piece.start * self.count, piece.stop * self.count)
        weights = None if lookup.weights is None else lookup.weights[part]
        starts = self._starts_of(count, bags)[:-1]
        return torch.embedding_bag(rows, lookup.positions[part], starts, False, 0, False, weights)[0]

    def _back(self, lookup: Lookup, gradient: Tensor, bags: int) -> Tensor:
        """Bring gradients (B · bags, width) back to the rows: (R, width)."""
        if gradient.device.type != "cpu":
            return self._back_anywhere(lookup, gradient, bags)
        rows = gradient.shape[0] // bags
        x = lookup.weights if lookup.weights is not None else self._ones_of(gradient.dtype, rows)
        return transposed_product(x, lookup.positions, self._starts_of(rows, bags), lookup.rows.shape[0], gradient)

    def _back_anywhere(self, lookup: Lookup, gradient: Tensor, bags: int) -> Tensor:
        """Do the same on any device."""
        bag = torch.arange(gradient.shape[0] // bags, device=gradient.device).unsqueeze(1) * bags
        each = gradient.index_select(0, (bag + self._field_of_slot * (bags > 1)).flatten())
        each = each if lookup.weights is None else each * lookup.weights.unsqueeze(1)
        return gradient.new_zeros(lookup.rows.shape[0], gradient.shape[1]).index_add_(0, lookup.positions, each)

    def _starts_of(self, rows: int, bags: int) -> Tensor:
        """Say at which slot each bag of so many rows begins, and where the last one ends: (rows · bags + 1,)."""
        if rows > self._rows:
            row = torch.arange(rows + 1, dtype=torch.int32, device=self._first.device).unsqueeze(1) * self.count
            self._rows, self._starts = rows, {1: row.flatten(), self._fields: (row + self._first).flatten()}
        return self._starts[bags][: rows * bags + 1]

    def _ones_of(self, dtype: torch.dtype, rows: int) -> Tensor:
        """Give the x of each slot of so many rows, 1: (rows · S,)."""
        if self._ones.dtype != dtype or self._ones.shape[0] < rows * self.count:
            self._ones = torch.ones(rows * self.count, dtype=dtype)
        return self._ones[: rows * self.count]


# What the terms of a model read of a batch: with an autograd graph, or by hand in pieces (docs/training-step.md).


class Reading:
    """What a model reads of B rows, for autograd; each part is computed when a term first asks for it."""

    def __init__(self, model: DeepFM, batch: Batch) -> None:
        self.model, self.batch = model, batch
        rows = model.table[batch.ids.long()]  # (B, S, 1 + K …)
        self._rows = rows if batch.weights is None else rows * batch.weights.unsqueeze(2)
        self._fields: dict[tuple[int, int], Tensor] = {}

    @property
    def weights(self) -> Tensor:
        """x·w of each slot: (B, S)."""
        return self._rows[..., 0]

    @property
    def features(self) -> Tensor:
        """x·v of each slot, as the FM reads it: (B, S, K)."""
        return self._rows[..., self.model.fm_columns]

    def fields(self, columns: slice) -> Tensor:
        """Give the sum of each field's slots, of some columns of the table: (B, F, width)."""
        key = columns.start, columns.stop
        if key not in self._fields:
            self._fields[key] = self.model.sum_slots(self._rows[..., columns])
        return self._fields[key]

    @property
    def embeddings(self) -> Tensor:
        """The embedding e of each field, as the FM reads it: (B, F, K)."""
        return self.fields(self.model.fm_columns)


class Pass:
    """One batch on its way through the terms, by hand: what they read of it, and the gradients that they leave."""

    def __init__(
        self, model: DeepFM, columns: Sequence[slice], total: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Prepare for terms that leave gradients for the fields' `columns` of the table; terms may share them.

        `total` adds up a tensor over the workers that share each batch, if any.
        """
        self._total = total
        self._slots = Slots.of(model.layout, model.table.device)
        found = {(c.start, c.stop): c for c in columns}
        self._columns = [found[key] for key in sorted(found)]
        nothing = model.table.detach()
        widths = {key: len(model.layout.fields) * (key[1] - key[0]) for key in found}
        self._buffers = {key: nothing.new_empty(0, width) for key, width in widths.items()}

    def begin(
        self,
        batch: Batch,
        lookup: Lookup,
        kept: Sequence[Tensor] = (),
        lookups: Mapping[str, Lookup] | None = None,
    ) -> None:
        """Begin a batch of B rows.

        Args:
            batch: the rows.
            lookup: what they read of the embedding table.
            kept: dropout's masks.
            lookups: what they read of the terms' own tables, by name.
        """
        self.batch, self.lookup, self.kept, self.lookups = batch, lookup, kept, lookups or {}
        self.rows, self.counted = len(batch), batch.counted
        for key, buffer in self._buffers.items():
            if buffer.shape[0] < self.rows:
                self._buffers[key] = buffer.new_empty(self.rows, buffer.shape[1])

    def pieces(self, most: int) -> Iterator[Piece]:
        """Cut the batch into pieces of at most so many rows."""
        count = -(-self.rows // most)
        return (Piece(self, slice(self.rows * n // count, self.rows * (n + 1) // count)) for n in range(count))

    @property
    def whole(self) -> Piece:
        """The batch as one piece."""
        return Piece(self, slice(0, self.rows))

    def mean(self, columns: slice) -> Tensor:
        """Give the mean over the batch of what is read of each field: (F·width,)."""
        return self.total(self._slots.mean(self.lookup, columns, self.rows, self.counted))

    def total(self, summed: Tensor) -> Tensor:
        """Give what was summed over the rows here, summed over all rows of the batch."""
        return summed if self._total is None else self._total(summed)

    def fields(self, columns: slice, piece: slice) -> Tensor:
        """Give what is read of the fields of n rows, of some columns of the table: (n, F·width)."""
        return self._slots.fields(self.lookup, columns, piece)

    def sums(self, piece: slice) -> Tensor:
        """Give Σ x · [w | v …] over all slots of n rows: (n, columns)."""
        return self._slots.sums(self.lookup, piece)

    def gradient(self, columns: slice) -> Tensor:
        """Give ∂loss/∂(what was read of the fields) of the batch: (B, F·width)."""
        return self._buffers[columns.start, columns.stop][: self.rows]

    def table_gradient(self, delta: Tensor | None, into: Tensor | None) -> Tensor:
        """Bring what the terms left for the fields back to the rows of the table: (R, columns), in `into` if given.

        `delta` is ∂loss/∂logit (B,) where the table's first column is a weight that adds to the logit.
        """
        return self._slots.gradient(self.lookup, [(c, self.gradient(c)) for c in self._columns], delta, into)


class Piece:
    """Some rows of a batch: small enough that what the network holds of them stays in the processor's cache."""

    def __init__(self, of: Pass, rows: slice) -> None:
        self._of, self.rows, self.count = of, rows, rows.stop - rows.start
        self._fields: dict[tuple[int, int], Tensor] = {}
        self._sums: Tensor | None = None
        self._filled: set[tuple[int, int]] = set()

    @property
    def batch(self) -> Batch:
        """The batch that the piece is of."""
        return self._of.batch

    @property
    def dense(self) -> Tensor:
        """The dense fields' values: (n, D)."""
        return self._of.batch.dense[self.rows]

    @property
    def kept(self) -> list[Tensor]:
        """Dropout's masks: for each hidden layer (n, units)."""
        return [mask[self.rows] for mask in self._of.kept]

    @property
    def sums(self) -> Tensor:
        """Σ x · [w | v …] over all slots of each row: (n, columns)."""
        if self._sums is None:
            self._sums = self._of.sums(self.rows)
        return self._sums

    def fields(self, columns: slice) -> Tensor:
        """Give Σ x · v over the slots of each field, of some columns of the table: (n, F·width)."""
        key = columns.start, columns.stop
        if key not in self._fields:
            self._fields[key] = self._of.fields(columns, self.rows)
        return self._fields[key]

    def gradient(self, columns: slice) -> tuple[Tensor, bool]:
        """Give where a term leaves ∂loss/∂(what it read of the fields) (n, F·width), and whether to add to it.

        The first term that asks writes, all others add to what stands there.
        """
        key = columns.start, columns.stop
        filled = key in self._filled
        self._filled.add(key)
        return self._of.gradient(columns)[self.rows], filled
