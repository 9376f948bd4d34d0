"""The term of a guided model's cells: a weight for each combination of two features, solved before training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.models.batch import Batch, Pass, Piece, Reading
from deepfm_core.models.term import ROWS_AT_ONCE, Addends, Pairs, Term, Values

if TYPE_CHECKING:
    from deepfm_core.models.deepfm import DeepFM

_LAID_OUT = 1 << 22
"""Cells of all pairs that are laid out to be looked up directly."""


class Cells(Term):
    """The cells of the pairs that the labels support: Σ over these pairs, and over features i of one field and j of the
    other, of x_i x_j u_ij.

    They are solved before the model trains (`evidence.guide`), and stay as they are. A cell that no training row is in
    has the weight 0.
    """

    switch = "second_order"
    gives_pairs = True
    fixed = True

    @classmethod
    def build(cls, model: DeepFM) -> None:
        """Add what a guide fills in; a model that is loaded brings the sizes."""
        if model.spec.has_guide:
            model.register_buffer("cell_pairs", torch.zeros(0, 2, dtype=torch.long))
            model.register_buffer("cell_keys", torch.zeros(0, dtype=torch.long))
            model.register_buffer("cell_weights", torch.zeros(0))

    @classmethod
    def of(cls, model: DeepFM) -> bool:
        """Say whether the model is guided."""
        return model.spec.has_guide

    def forward(self, read: Reading) -> Tensor:
        """Give the sum over pairs: (B,)."""
        return self.by_pair(read.batch).sum(1)

    def addends(self, read: Reading) -> Iterator[Addends]:
        """Yield each pair's sum."""
        names = self.model.layout.names
        yield Addends("second-order", [(names[a], names[b]) for a, b in self._pairs], self.by_pair(read.batch))

    def of_pairs(self, table: EncodedTable, pairs: Pairs, means: Tensor | None = None) -> Iterator[Values]:
        """Yield the pair's sum, 0 where it has no cells: (N,) a pair."""
        parts = [self.by_pair(batch) for batch in Batch.held(table).split(ROWS_AT_ONCE)]
        place = {pair: number for number, pair in enumerate(self._pairs)}
        each = torch.cat(parts).double().numpy() if place else np.zeros((len(table), 0))
        for pair in pairs:
            yield each[:, place[pair]] if pair in place else np.zeros(len(table))

    def table_of(self, pair: tuple[int, int]) -> csr_array | None:
        """Give a pair's cells (features of a, features of b), sparse; None where it has none."""
        if pair not in self._pairs:
            return None
        a, b = (self.model.layout.fields[number] for number in pair)
        keys, vocabulary = self.model.cell_keys.cpu().numpy(), self.model.layout.vocabulary
        left, right = keys // vocabulary - a.offset, keys % vocabulary - b.offset
        own = (left >= 0) & (left < a.size) & (right >= 0) & (right < b.size)
        weights = self.model.cell_weights.cpu().numpy()[own].astype(np.float64)
        return csr_array((weights, (left[own], right[own])), shape=(a.size, b.size))

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return [(a, b) for a, b in self.model.cell_pairs.tolist()]

    @torch.no_grad()
    def by_pair(self, batch: Batch) -> Tensor:
        """Give each pair's sum: (B, pairs)."""
        model = self.model
        sums = model.cell_weights.new_zeros(batch.ids.shape[0], len(model.cell_pairs))
        if not len(model.cell_keys):
            return sums
        left, right, pair = self._places
        weights = self._cells(batch.ids[:, left].long(), batch.ids[:, right].long(), pair)  # (B, slots of pairs)
        if batch.weights is not None:
            weights = weights * batch.weights[:, left] * batch.weights[:, right]
        return sums.index_add_(1, pair, weights)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Say which two slots of a row meet in a pair, and in which one."""
        fields = self.model.layout.fields
        slots = [range(field.first_slot, field.first_slot + field.slots) for field in fields]
        met = [(s, t, n) for n, (a, b) in enumerate(self._pairs) for s, t in product(slots[a], slots[b])]
        left, right, pair = torch.tensor(met, device=self.model.table.device).T.contiguous()
        return left, right, pair

    def _cells(self, left: Tensor, right: Tensor, pair: Tensor) -> Tensor:
        """Look up the cells of features `left` and `right`: (B, slots of pairs)."""
        if self._laid_out is not None:
            return self._laid_out[self._place(left, right, pair)]
        keys = left * self.model.layout.vocabulary + right
        place = torch.searchsorted(self.model.cell_keys, keys).clamp_max_(len(self.model.cell_keys) - 1)
        return torch.where(self.model.cell_keys[place] == keys, self.model.cell_weights[place], 0.0)

    @cached_property
    def _laid_out(self) -> Tensor | None:
        """All cells of all pairs, where they take little memory: looking up is then several times as fast."""
        model = self.model
        cells = int(self._blocks[0, -1])
        if cells > _LAID_OUT:
            return None
        left, right = model.cell_keys // model.layout.vocabulary, model.cell_keys % model.layout.vocabulary
        number = torch.zeros(2 * [len(model.layout.fields)], dtype=torch.long, device=left.device)
        number[model.cell_pairs[:, 0], model.cell_pairs[:, 1]] = torch.arange(len(model.cell_pairs), device=left.device)
        pair = number[model.field_of_feature[left], model.field_of_feature[right]]
        laid_out: Tensor = model.cell_weights.new_zeros(cells)
        laid_out[self._place(left, right, pair)] = model.cell_weights
        return laid_out

    def _place(self, left: Tensor, right: Tensor, pair: Tensor) -> Tensor:
        """Say where the cell of two features is among all cells of all pairs."""
        first, width, of_a, of_b = self._blocks
        place: Tensor = (left - of_a[pair]) * width[pair] + (right - of_b[pair] + first[pair])
        return place

    @cached_property
    def _blocks(self) -> Tensor:
        """Where the cells of each pair begin, and how many there are to a feature of the first field; the offsets of
        both fields: (4, pairs + 1), in the last column the number of all cells."""
        fields = self.model.layout.fields
        blocks, first = [], 0
        for a, b in self._pairs:
            blocks.append([first, fields[b].size, fields[a].offset, fields[b].offset])
            first += fields[a].size * fields[b].size
        return torch.tensor([*blocks, [first, 0, 0, 0]], device=self.model.table.device).T.contiguous()

    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add the sum of each row's pairs."""
        logit += self._sums[piece.rows]

    def begin(self, batch: Pass) -> None:
        """Compute the whole batch."""
        self._sums = self.by_pair(batch.batch).sum(1)

    def backward(self, delta: Tensor, piece: Piece) -> None:
        """Nothing learns."""
