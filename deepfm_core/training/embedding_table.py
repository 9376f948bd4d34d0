"""The embedding table while it trains: what a batch reads of it, and how it moves."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.models.batch import Lookup
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.adam import Group, Slot, decay, learning_rate

ALWAYS_WHOLE = 1 << 14
"""Rows of a table up to which all of them count as read by every batch."""


class DenseTable:
    """Moves every row at every step: best for small vocabularies."""

    def __init__(self, table: Tensor, spec: FitSpec, *, fixed: bool = False) -> None:
        self.slot = Slot.of(table, spec.averaging)
        self._group = Group([self.slot])
        self._columns = Columns(spec, fixed=fixed)
        self._distinct = Distinct(len(table), table.device)
        self._written: Tensor | None = None
        self._rows, self._whole = table.shape[0], False

    def read(self, ids: Tensor, weights: Tensor | None) -> Lookup:
        """Look up the (L,) ids with their x; begins a step."""
        self._whole = self._rows <= max(2 * ids.shape[0], ALWAYS_WHOLE)
        if self._whole:
            return Lookup(self.slot.weight, ids, weights)
        self._found, positions = self._distinct(ids)
        return Lookup(read_rows(self.slot.weight, self._found), positions, weights)

    @property
    def gradient_buffer(self) -> Tensor | None:
        """Where the gradient of the rows that were looked up is best written, if anywhere."""
        return self.slot.gradient if self._whole else None

    def differentiate(self, gradient: Tensor) -> None:
        """Take ∂loss/∂rows (R, columns) of the rows that were looked up."""
        if self._whole:
            self._written = None
            return
        if self._written is None:
            self.slot.gradient.zero_()
        else:
            self.slot.gradient.index_fill_(0, self._written.long(), 0.0)
            self._columns.clean(self.slot)
        self._written = self._found
        write_rows(self.slot.gradient, self._found, gradient)

    def move(self, steps: int) -> None:
        """Do Adam's step number `steps`."""
        self._columns.move(self._group, self.slot, steps)

    def average(self, count: int) -> None:
        """Take the weights into their running averages, `count` being how often, from 1, that has been done."""
        self.slot.take_average(count)

    def flush(self) -> None:
        """No row ever waits here."""

    def load(self, steps: int) -> None:
        """Go on from `steps` steps."""


def write_rows(table: Tensor, ids: Tensor, rows: Tensor) -> None:
    """Put (U, C) rows in their places in the table; on the CPU as wholes, which is faster than `index_copy_`."""
    if table.device.type == "cpu":
        np.put(_whole_rows(table), ids.numpy(), _whole_rows(rows), mode="clip")
    else:
        table.index_copy_(0, ids.long(), rows)


def read_rows(table: Tensor, ids: Tensor, factors: Tensor | None = None) -> Tensor:
    """Gather (U, C) rows of the table, each times its own factor; bags of one are fetched ahead, unlike other rows."""
    starts = torch.arange(ids.shape[0], dtype=ids.dtype, device=ids.device)
    return torch.embedding_bag(table, ids, starts, False, 0, False, factors)[0]


def _whole_rows(rows: Tensor) -> NDArray[np.void]:
    return rows.numpy().view(np.dtype((np.void, rows.shape[1] * rows.element_size())))[:, 0]


class Columns:
    """Adam on rows [w | v], whose first-order weights w have a rate and an L2 of their own.

    One pass moves all columns as embeddings; what w differs in is put right before and after it, exactly.
    """

    def __init__(self, spec: FitSpec, *, fixed: bool = False) -> None:
        """Move the columns of a table; w not at all where it is `fixed`."""
        self._rate, self._l2 = learning_rate("table", spec), decay("table", spec)
        self._faster, self._more = spec.first_order_rate - 1.0, spec.l2 - self._l2
        self._fixed = fixed

    def move(self, group: Group, slot: Slot, steps: int) -> None:
        """Do Adam's step number `steps` on the one slot of a group."""
        w, before = slot.weight[:, 0], None
        if self._fixed:
            before = w.clone()
            group.move(steps, self._rate, self._l2)
            w.copy_(before)
            return
        if self._more:
            slot.gradient[:, 0].add_(w, alpha=self._more)
        if self._faster:
            before = w.clone()
        group.move(steps, self._rate, self._l2)
        if before is not None:
            w.add_(w - before, alpha=self._faster)

    def clean(self, slot: Slot) -> None:
        """Take out of the gradient what the last `move` has added to it, where it is not written anew as a whole."""
        if self._more and not self._fixed:
            slot.gradient[:, 0].zero_()

    def subtract(self, weight: Tensor, move: Tensor) -> None:
        """Move rows (U, columns) against `move`, by the learning rates."""
        if self._fixed:
            weight[:, 1:].sub_(move[:, 1:], alpha=self._rate)
            return
        weight.sub_(move, alpha=self._rate)
        if self._faster:
            weight[:, 0].sub_(move[:, 0], alpha=self._rate * self._faster)

    def penalty(self, weight: Tensor, factors: Tensor) -> Tensor:
        """Give λ w of rows (U, columns), each times its own of (U,) factors."""
        rows = read_rows(weight, torch.arange(len(weight), dtype=torch.int32, device=weight.device), factors * self._l2)
        if self._more and self._l2:
            rows[:, 0].mul_(1 + self._more / self._l2)
        elif self._more:
            torch.mul(weight[:, 0], factors, out=rows[:, 0]).mul_(self._more)
        return rows

    def shrink(self, weight: Tensor, divisor: Tensor, slowed: Tensor) -> Tensor:
        """Shrink rows by exp(−x (1 + x · slowed)) with x = rate · λ / divisor; all (U, columns), two used up.

        Returns:
            What they were midway.
        """
        strength = weight.new_full((weight.shape[1],), self._rate * self._l2)
        strength[0] = 0.0 if self._fixed else self._rate * (1 + self._faster) * (self._l2 + self._more)
        x = torch.div(strength, divisor, out=divisor)
        half = slowed.mul_(x).add_(1.0).mul_(x).mul_(-0.5).exp_()
        midway = weight * half
        torch.mul(midway, half, out=weight)
        return midway


# The distinct ids of a batch, without sorting them.


class Distinct:
    """Finds the distinct ones of ids below V: of equal ids the last in a list stands for all.

    Every id writes its place into a list of V places, and reads back which place was written last. That is three
    passes over the ids, where sorting them takes ten times as long.
    """

    def __init__(self, vocabulary: int, device: torch.device) -> None:
        self._place = torch.zeros(vocabulary, dtype=torch.int32, device=device)
        self._places = torch.zeros(0, dtype=torch.int32, device=device)

    def __call__(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Give the U distinct ones of (L,) ids, (U,) int32, and where in them each of the L stands, (L,) int32."""
        if self._places.shape[0] < ids.shape[0]:
            self._places = torch.arange(ids.shape[0], dtype=torch.int32, device=ids.device)
        places, where = self._places[: ids.shape[0]], ids.long()
        self._place.scatter_(0, where, places)
        last = self._place.gather(0, where)
        found = (last == places).nonzero().squeeze(1)
        self._place.scatter_(0, where.index_select(0, found), self._places[: found.shape[0]])
        return ids.index_select(0, found), self._place.gather(0, where)
