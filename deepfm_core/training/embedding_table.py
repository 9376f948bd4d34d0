"""The embedding table while it trains: what a batch reads of it, and how it moves, also touching only its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.models.batch import Lookup
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.adam import BETA1, BETA2, EPSILON, Group, Slot, decay, learning_rate, share_of_average

ALWAYS_WHOLE = 1 << 14
"""Rows of a table up to which all of them count as read by every batch."""


class DenseTable:
    """Moves every row at every step: best for small vocabularies."""

    def __init__(self, table: Tensor, spec: FitSpec, distinct: Distinct, *, fixed: bool = False) -> None:
        self.slot = Slot.of(table, spec.averaging)
        self._group = Group([self.slot])
        self._columns = Columns(spec, fixed=fixed)
        self._distinct = distinct
        self._written: Tensor | None = None
        self._rows, self._whole = table.shape[0], False

    def read(self, ids: Tensor, weights: Tensor | None) -> Lookup:
        """Look up the (L,) ids with their x; begins a step."""
        self._whole = self._rows <= max(2 * ids.shape[0], ALWAYS_WHOLE) and not self._distinct.shared
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
        write_rows(self.slot.gradient, self._found, self._distinct.total(gradient))

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

    shared = False
    """Whether the ids are those of several workers."""

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

    def total(self, gradient: Tensor) -> Tensor:
        """Give the gradient (U, columns) of the distinct ones, summed over the workers: here alone, as it is."""
        return gradient


# The embedding table of a large vocabulary: a step touches the batch's rows alone, and yet equals dense Adam.


_FADED = 256
"""Missed steps after which momentum is gone: 0.9²⁵⁶ ≈ 2·10⁻¹²."""

_AT_ONCE = 1 << 13
"""Rows that are caught up at a time when all are: what is made of them stays in the processor's cache."""

_NEVER = torch.iinfo(torch.int32).max
"""Stands for the last step of a row that no batch has read: without L2 and moments it misses nothing."""

_NO_DRAG, _TINY = 1e-9, 1e-30


def worth_rows(vocabulary: int, slots: int, spec: FitSpec) -> bool:
    """Say whether to touch the batch's rows alone: faster for a large vocabulary."""
    lookups = spec.batch_size * slots
    return vocabulary > max(100_000, 2 * lookups)


@dataclass(frozen=True)
class Missed:
    """What rows are to be multiplied with, (U,) each, for the n steps that each has missed (docs/training-step.md).

    Attributes:
        pull, inverse: by its momentum m a row moves by rate · pull m / (√(inverse · s) + 1).
        fade, square: β₁ⁿ and β₂ⁿ.
        kept: what stays of the running average.
        passed: the share of the momentum's move that had passed when the average was taken, in the mean.
        old, own, least, lag: with an L2 of λ, it shrinks by exp(−x (1 + x (γ/4 + lag))), where
            x = rate λ / (√(old · s + (own · λ w)²) + least) and γ is the second term's share in the first root.
        drawn, grown: 1 − β₁ⁿ and √(1 − β₂ⁿ), the shares of λ w and of its square in the moments.
    """

    pull: Tensor
    inverse: Tensor
    fade: Tensor
    square: Tensor
    kept: Tensor
    passed: Tensor
    old: Tensor
    own: Tensor
    least: Tensor
    lag: Tensor
    drawn: Tensor
    grown: Tensor


class MissedSteps:
    """What Adam does to a weight in n steps in which no batch reads it, in closed form (docs/training-step.md).

    The moments fade to β₁ⁿ m and β₂ⁿ s. The weight moves by −rate · plain · m / (√s · plain / pull + ε), with the sums
    over the missed steps plain = Σ β₁ⁱ / c₁ and pull = Σ (β₁/√β₂)ⁱ · √c₂ / c₁, where c₁ and c₂ are the bias corrections
    of each step. Both sums are kept for each step that a row may have done last; a new step adds its term to them.
    """

    def __init__(self, table: Tensor) -> None:
        self._like = table
        n = torch.arange(_FADED, 0, -1, dtype=torch.float64, device=table.device)
        self._fades, self._ratios = BETA1**n, (BETA1 / BETA2**0.5) ** n
        self.restart(0)

    def restart(self, steps: int) -> None:
        """Forget what came before: every row has done `steps` steps."""
        self.steps = self._first = steps
        self._sums = torch.zeros(3, 256, dtype=torch.float64, device=self._like.device)
        self._kept = torch.ones(256, dtype=torch.float64, device=self._like.device)
        self._passed = torch.zeros_like(self._kept)
        self._factors: Tensor | None = None

    def advance(self) -> None:
        """Take in the next step."""
        self.steps += 1
        stop = self.steps - self._first
        if stop == len(self._kept):
            self._sums = torch.cat([self._sums, torch.zeros_like(self._sums)], 1)
            self._kept = torch.cat([self._kept, torch.ones_like(self._kept)])
            self._passed = torch.cat([self._passed, torch.zeros_like(self._passed)])
        recent, terms = slice(max(stop - _FADED, 0), stop), slice(max(_FADED - stop, 0), None)
        correction1, correction2 = 1 - BETA1**self.steps, 1 - BETA2**self.steps
        self._sums[0, recent].add_(self._fades[terms], alpha=1 / correction1)
        self._sums[1, recent].add_(self._ratios[terms], alpha=correction2**0.5 / correction1)
        n = torch.arange(stop, 0, -1, dtype=torch.float64, device=self._like.device)
        self._sums[2, :stop].add_(1 - BETA1**n, alpha=correction2**0.5 / correction1)
        self._factors = None

    def average(self, share: float) -> None:
        """Take note that the running average now takes in `share` of each weight."""
        stop = self.steps - self._first + 1
        self._kept[:stop].mul_(1.0 - share)
        self._passed[:stop].lerp_(self._sums[0, :stop], share)
        self._factors = None

    @property
    def averaged(self) -> bool:
        """Whether any average was taken since every row was caught up."""
        return float(self._kept[0]) < 1.0

    def of(self, done: Tensor) -> Missed:
        """Give the factors of U rows by the number (U,) of the last step each has done."""
        if self._factors is None:
            self._factors = self._table().to(self._like)
        return Missed(*self._factors.index_select(1, done - self._first))

    def _table(self) -> Tensor:
        """Give the factors for each last step since `restart`: (12, steps)."""
        count = self.steps - self._first + 1
        n = torch.arange(count - 1, -1, -1, dtype=torch.float64, device=self._like.device)
        plain, pull, drag = self._sums[:, :count]
        fade, square, half = BETA1**n, BETA2**n, BETA2 ** ((n + 1) / 2)
        drag = drag.clamp_min(_NO_DRAG)
        ratio = torch.where(n > 0, plain / pull / EPSILON, 0.0)
        return torch.stack(
            [
                plain / EPSILON,
                ratio.square_(),
                fade,
                square,
                self._kept[:count],
                (self._passed[:count] / (plain * (1 - self._kept[:count])).clamp_min_(_TINY)).clamp_max_(1.0),
                half / drag.square(),
                (1 - half).sqrt_() / drag,
                EPSILON / drag,
                9 / (n + 10),
                1 - fade,
                (1 - square).sqrt_(),
            ]
        )


class RowTable:
    """Moves the rows a batch reads; each of the others is caught up when it is next read.

    Equal to `DenseTable` but for what the closed forms leave out: nearly nothing without L2, and a few steps of
    the learning rate with (docs/training-step.md).
    """

    def __init__(self, table: Tensor, spec: FitSpec, distinct: Distinct, *, fixed: bool = False) -> None:
        self.slot = Slot.of(table, spec.averaging, gradient=False)
        self._columns = Columns(spec, fixed=fixed)
        self._shrinks = bool(spec.l2 or spec.l2_embeddings)
        self._missed, self._taken = MissedSteps(table), 0
        self._distinct = distinct
        self._done = torch.full((len(table),), 0 if self._shrinks else _NEVER, dtype=torch.int32, device=table.device)

    def load(self, steps: int) -> None:
        """Go on from a state in which every row has done `steps` steps."""
        self._missed.restart(steps)
        self._done.fill_(steps)
        self._taken = steps

    def read(self, ids: Tensor, weights: Tensor | None) -> Lookup:
        """Look up the (L,) ids with their x; begins a step."""
        if not self._missed.steps and self.slot.average is not None:  # a row that is never read is its own average
            self.slot.average.copy_(self.slot.weight)
        self._found, positions = self._distinct(ids)
        self._rows = self._caught_up(self._found)
        return Lookup(self._rows.weight, positions, weights)

    @property
    def gradient_buffer(self) -> None:
        """The rows' gradient is kept as it comes."""

    def differentiate(self, gradient: Tensor) -> None:
        """Take ∂loss/∂rows (R, columns) of the rows that were looked up."""
        self._rows = replace(self._rows, gradient=self._distinct.total(gradient))

    def move(self, steps: int) -> None:
        """Do Adam's step number `steps`."""
        self._columns.move(Group([self._rows]), self._rows, steps)
        self._missed.advance()
        self._write(self._found, self._rows)

    def average(self, count: int) -> None:
        """Take the weights into their running averages: those of rows that were read since the last time as they are
        now, those of the others when they are next caught up."""
        if self.slot.average is None:
            return
        self._catch_up((self._done > self._taken) & (self._done < self._missed.steps))
        self._taken = self._missed.steps
        self._missed.average(share_of_average(count))

    def flush(self) -> None:
        """Catch up every row."""
        late = self._done < self._missed.steps
        if self._missed.averaged:
            late |= self._done == self._missed.steps
        self._catch_up(late)
        self._missed.restart(self._missed.steps)
        self._taken = self._missed.steps

    def _catch_up(self, late: Tensor) -> None:
        """Catch up the rows that are (V,) late."""
        for ids in torch.split(late.nonzero().squeeze(1).int(), _AT_ONCE):
            self._write(ids, self._caught_up(ids))

    def _caught_up(self, ids: Tensor) -> Slot:
        """Give copies of U rows as they are after all steps so far; bring their running averages up to there."""
        table = self.slot
        missed = self._missed.of(self._done.index_select(0, ids).clamp_max_(self._missed.steps))
        weight, before = read_rows(table.weight, ids), None
        move, mean = read_rows(table.mean, ids, missed.pull), read_rows(table.mean, ids, missed.fade)
        divisor, square = read_rows(table.square, ids, missed.inverse), read_rows(table.square, ids, missed.square)
        if self._shrinks or self._missed.averaged:
            before = weight.clone()
        self._columns.subtract(weight, move.div_(divisor.sqrt_().add_(1.0)))
        taken = weight
        if self._shrinks and before is not None:
            taken = self._shrink(ids, missed, before, weight, mean, square)
        if table.average is not None and before is not None and self._missed.averaged:
            self._average(ids, missed, before, taken)
        return Slot(weight, move, mean, square, None)

    def _shrink(
        self, ids: Tensor, missed: Missed, before: Tensor, weight: Tensor, mean: Tensor, square: Tensor
    ) -> Tensor:
        """Apply the L2 of the missed steps to U rows, all (U, columns); give the weights midway."""
        old, own = read_rows(self.slot.square, ids, missed.old), self._columns.penalty(before, missed.own).square_()
        total = old.add_(own).add_(_TINY)
        slowed = own.div_(total).mul_(0.25).add_(missed.lag.unsqueeze(1))
        midway = self._columns.shrink(weight, total.sqrt_().add_(missed.least.unsqueeze(1)), slowed)
        mean.add_(self._columns.penalty(weight, missed.drawn))
        grown = self._columns.penalty(torch.lerp(before, weight, 0.5), missed.grown)
        square.addcmul_(grown, grown)
        return midway

    def _average(self, ids: Tensor, missed: Missed, before: Tensor, weight: Tensor) -> None:
        """Take weights (U, columns) into the running averages of those rows that have missed a taking."""
        late = (missed.kept < 1.0).nonzero().squeeze(1)
        if not late.shape[0]:
            return
        assert self.slot.average is not None
        ids, kept, passed = (part.index_select(0, late) for part in (ids, missed.kept, missed.passed))
        taken = torch.lerp(before.index_select(0, late), weight.index_select(0, late), passed.unsqueeze(1))
        average = read_rows(self.slot.average, ids)
        write_rows(self.slot.average, ids, torch.lerp(taken, average, kept.unsqueeze(1)))

    def _write(self, ids: Tensor, rows: Slot) -> None:
        write_rows(self.slot.weight, ids, rows.weight)
        write_rows(self.slot.mean, ids, rows.mean)
        write_rows(self.slot.square, ids, rows.square)
        self._done.index_fill_(0, ids.long(), self._missed.steps)
