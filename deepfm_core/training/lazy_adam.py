"""The embedding table of a large vocabulary: a step touches the batch's rows alone, and yet equals dense Adam."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from deepfm_core.models.lookup import Lookup
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.adam import BETA1, BETA2, EPSILON, Group, Slot
from deepfm_core.training.embedding_table import Columns, Distinct, read_rows, write_rows

_FADED = 256
"""Missed steps after which momentum is gone: 0.9²⁵⁶ ≈ 2·10⁻¹²."""

_FLUSHED_AT_ONCE = 1 << 16

_NEVER = torch.iinfo(torch.int32).max
"""Stands for the last step of a row that no batch has read: without moments it misses nothing."""


def worth_rows(vocabulary: int, slots: int, spec: FitSpec) -> bool:
    """Say whether to touch the batch's rows alone: exact without L2, and faster for a large vocabulary.

    With an L2 every row has a gradient at every step, for which Adam has no closed form: then all rows are moved.
    """
    lookups = spec.batch_size * slots
    return not (spec.l2 or spec.l2_embeddings) and vocabulary > max(100_000, 2 * lookups)


class MissedSteps:
    """What Adam does to a weight in n steps in which it has no gradient, in closed form (docs/training-step.md).

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
        self._plain, self._pull = torch.zeros(2, 256, dtype=torch.float64, device=self._like.device)
        self._factors = self._like.new_zeros(2, 256)

    def advance(self) -> None:
        """Take in the next step."""
        self.steps += 1
        stop = self.steps - self._first
        if stop == len(self._plain):
            self._plain, self._pull = (torch.cat([part, torch.zeros_like(part)]) for part in (self._plain, self._pull))
            self._factors = torch.cat([self._factors, torch.zeros_like(self._factors)], 1)
        recent, terms = slice(max(stop - _FADED, 0), stop), slice(max(_FADED - stop, 0), None)
        correction1, correction2 = 1 - BETA1**self.steps, 1 - BETA2**self.steps
        plain = self._plain[recent].add_(self._fades[terms], alpha=1 / correction1)
        pull = self._pull[recent].add_(self._ratios[terms], alpha=correction2**0.5 / correction1)
        self._factors[0, recent] = plain / EPSILON
        self._factors[1, recent] = (plain / pull).div_(EPSILON).square_()

    def factors(self, done: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give what rows are to be multiplied with, (U,) each, from the number of the last step each has done.

        The move is rate · a m / (√(b s) + 1) with a = plain / ε and b = (plain / (ε · pull))², the first two; the other
        two are β₁ⁿ and β₂ⁿ.
        """
        a, b = self._factors.index_select(1, done - self._first)
        missed = (self.steps - done).to(a)
        return a, b, torch.exp(missed * math.log(BETA1)), torch.exp(missed * math.log(BETA2))


class RowTable:
    """Moves the rows a batch reads; each of the others is caught up when it is next read.

    Equal to `DenseTable` where the table has no L2: with one, every row has a gradient at every step.
    """

    def __init__(self, table: Tensor, spec: FitSpec, *, fixed: bool = False) -> None:
        self.slot = Slot.of(table, spec.averaging, gradient=False)
        self._columns = Columns(spec, fixed=fixed)
        self._missed = MissedSteps(table)
        self._distinct = Distinct(len(table), table.device)
        self._done = torch.full((len(table),), _NEVER, dtype=torch.int32, device=table.device)

    def load(self, steps: int) -> None:
        """Go on from a state in which every row has done `steps` steps."""
        self._missed.restart(steps)
        self._done.fill_(steps)

    def read(self, ids: Tensor, weights: Tensor | None) -> Lookup:
        """Look up the (L,) ids with their x; begins a step."""
        self._found, positions = self._distinct(ids)
        self._rows = self._caught_up(self._found)
        return Lookup(self._rows.weight, positions, weights)

    @property
    def gradient_buffer(self) -> None:
        """The rows' gradient is kept as it comes."""

    def differentiate(self, gradient: Tensor) -> None:
        """Take ∂loss/∂rows (R, columns) of the rows that were looked up."""
        self._rows = replace(self._rows, gradient=gradient)

    def move(self, steps: int) -> None:
        """Do Adam's step number `steps`."""
        self._columns.move(Group([self._rows]), self._rows, steps)
        self._missed.advance()
        self._write(self._found, self._rows)

    def flush(self) -> None:
        """Catch up every row."""
        late = (self._done < self._missed.steps).nonzero().squeeze(1)
        for ids in torch.split(late, _FLUSHED_AT_ONCE):
            self._write(ids, self._caught_up(ids))
        self._missed.restart(self._missed.steps)

    def _caught_up(self, ids: Tensor) -> Slot:
        """Give copies of U rows as they are after all steps so far."""
        table = self.slot
        pull, inverse, fade, square = self._missed.factors(
            self._done.index_select(0, ids).clamp_max_(self._missed.steps)
        )
        move, mean = read_rows(table.mean, ids, pull), read_rows(table.mean, ids, fade)
        divisor, square = read_rows(table.square, ids, inverse), read_rows(table.square, ids, square)
        weight = read_rows(table.weight, ids)
        self._columns.subtract(weight, move.div_(divisor.sqrt_().add_(1.0)))
        return Slot(weight, move, mean, square, None)

    def _write(self, ids: Tensor, rows: Slot) -> None:
        write_rows(self.slot.weight, ids, rows.weight)
        write_rows(self.slot.mean, ids, rows.mean)
        write_rows(self.slot.square, ids, rows.square)
        self._done.index_fill_(0, ids.long(), self._missed.steps)
