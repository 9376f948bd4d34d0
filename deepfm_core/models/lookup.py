"""Reading the embedding table for a batch, and bringing the gradients back: both are one sparse product.

With A the matrix that has x at each (field of a row, row of the table) that a slot reads, the looked-up fields are
A · rows and the gradient of the rows is Aᵀ · the gradient of the fields (docs/training-step.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepfm_core._private import transposed_product
from deepfm_core.encoding.encoded_table import Layout

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

    def mean(self, lookup: Lookup, columns: slice, rows: int) -> Tensor:
        """Give the mean over B rows of each field's x · v, of some columns: (F·width,)."""
        across = lookup.positions.view(rows, self.count).t().flatten()
        x = None if lookup.weights is None else lookup.weights.view(rows, self.count).t().flatten()
        starts = self._first.int() * rows
        summed = torch.embedding_bag(lookup.columns(columns), across, starts, False, 0, False, x)[0]
        return summed.flatten().div_(rows)

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
