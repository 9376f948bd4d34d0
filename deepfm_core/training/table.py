"""The embedding table while it trains: what a batch reads of it, and how it moves."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from deepfm_core.training.adam import Group, Slot, decay, learning_rate
from deepfm_core.training.distinct import distinct
from deepfm_core.training.lookup import Lookup, Slots
from deepfm_core.training.spec import FitSpec

SORTED_FROM = 1 << 14
"""Lookups of a batch from which sorting them pays: their gradients are then summed by id, not added one by one."""


class DenseTable:
    """Moves every row at every step: best for small vocabularies."""

    def __init__(self, table: Tensor, slots: Slots, spec: FitSpec) -> None:
        self.slot = Slot.of(table, spec.averaging)
        self._slots = slots
        self._group = Group([self.slot])
        self._columns = Columns(spec)
        self._written: Tensor | None = None

    @property
    def gradient(self) -> Tensor:
        """The gradient of the rows that `read` gave, (R, columns)."""
        return self.slot.gradient

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Give rows (R, columns) of the table and, for each of the (L,) ids, which of them it reads; begins a step."""
        return self.slot.weight, ids

    def differentiate(self, lookup: Lookup, gradient: Tensor) -> None:
        """Fill `gradient` from ∂loss/∂fields (B, F·columns)."""
        if self._written is None:
            self.gradient.zero_()
        else:
            self.gradient.index_fill_(0, self._written, 0.0)
        if len(lookup.positions) < SORTED_FROM:
            self._written = None
            self.gradient.index_add_(0, lookup.positions.long(), self._slots.by_slot(lookup, gradient))
        else:
            found = distinct(lookup.positions)
            self._written = found.ids
            write_rows(self.gradient, found.ids, self._slots.by_id(lookup, gradient, found))

    def move(self, steps: int) -> None:
        """Do Adam's step number `steps`."""
        self._columns.move(self._group, self.slot, steps)

    def flush(self) -> None:
        """No row ever waits here."""

    def load(self, steps: int) -> None:
        """Go on from `steps` steps."""


def write_rows(table: Tensor, ids: Tensor, rows: Tensor) -> None:
    """Put (U, C) rows in their places in the table; on the CPU whole rows at a time, twice as fast as `index_copy_`."""
    if table.device.type != "cpu":
        table.index_copy_(0, ids, rows)
        return
    row = np.dtype((np.void, rows.shape[1] * rows.element_size()))
    table.numpy().view(row)[:, 0][ids.numpy()] = rows.numpy().view(row)[:, 0]


class Columns:
    """Adam on rows [w | v], whose first-order weights w have a rate and an L2 of their own.

    One pass moves all columns as embeddings; what w differs in is put right before and after it, exactly.
    """

    def __init__(self, spec: FitSpec) -> None:
        self._rate, self._l2 = learning_rate("table", spec), decay("table", spec)
        self._faster, self._more = spec.first_order_rate - 1.0, spec.l2 - self._l2

    def move(self, group: Group, slot: Slot, steps: int) -> None:
        """Do Adam's step number `steps` on the one slot of a group."""
        w, before = slot.weight[:, 0], None
        if self._more:
            slot.gradient[:, 0].add_(w, alpha=self._more)
        if self._faster:
            before = w.clone()
        group.move(steps, self._rate, self._l2)
        if before is not None:
            w.add_(w - before, alpha=self._faster)

    def subtract(self, weight: Tensor, move: Tensor) -> None:
        """Move rows (U, columns) against `move`, by the learning rates."""
        weight.sub_(move, alpha=self._rate)
        if self._faster:
            weight[:, 0].sub_(move[:, 0], alpha=self._rate * self._faster)
