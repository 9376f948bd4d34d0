"""Reading the embedding table for a batch: one gather forward, one scatter of gradients back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.distinct import Distinct


class Lookup(NamedTuple):
    """What B rows of S slots read of the table.

    Attributes:
        rows: (R, columns), rows [w | v …] of the table.
        positions: (B·S,) int32, the row that each slot reads.
        weights: (B·S,), the x of each slot, or None where every x is 1.
    """

    rows: Tensor
    positions: Tensor
    weights: Tensor | None


class Slots:
    """Which slots of a row make up its fields."""

    def __init__(self, slots: Sequence[int], columns: int, device: torch.device) -> None:
        """Describe F fields of so many slots each, of a table with so many columns."""
        counts = torch.tensor(slots, dtype=torch.long, device=device)
        self._shape = len(slots), columns
        self._slots = sum(slots)
        one_each = self._slots == len(slots)
        self._field_of_slot = None if one_each else torch.arange(len(slots), device=device).repeat_interleave(counts)
        self._first = counts.cumsum(0) - counts
        self._rows = 0
        self._lay_out(1)

    @classmethod
    def of(cls, model: DeepFM) -> Slots:
        """Describe a model's embedded fields."""
        return cls([field.slots for field in model.layout.fields], model.columns, model.table.device)

    def fields(self, lookup: Lookup, rows: int) -> Tensor:
        """Gather, and sum x · [w | v] over the slots of each field: (B, F·columns)."""
        fields, columns = self._shape
        if rows > self._rows:
            self._lay_out(rows)
        bags = self._starts[: rows * fields]
        summed = torch.embedding_bag(lookup.rows, lookup.positions, bags, False, 0, False, lookup.weights)[0]
        return summed.view(rows, fields * columns)

    def by_slot(self, lookup: Lookup, gradient: Tensor) -> Tensor:
        """Give ∂loss/∂(row read) of each slot, (B·S, columns), from ∂loss/∂fields (B, F·columns)."""
        fields, columns = self._shape
        if self._field_of_slot is not None:
            gradient = gradient.view(-1, fields, columns).index_select(1, self._field_of_slot)
        gradient = gradient.view(-1, columns)
        return gradient if lookup.weights is None else gradient * lookup.weights.unsqueeze(1)

    def by_id(self, lookup: Lookup, gradient: Tensor, found: Distinct) -> Tensor:
        """Give ∂loss/∂row of each distinct id read, (U, columns), from ∂loss/∂fields (B, F·columns)."""
        fields = found.places if self._field_of_slot is None else self._field_of_place.index_select(0, found.places)
        weights = None if lookup.weights is None else lookup.weights.index_select(0, found.places)
        gradient = gradient.view(-1, self._shape[1])
        return torch.embedding_bag(gradient, fields, found.starts, False, 0, False, weights)[0]

    def _lay_out(self, rows: int) -> None:
        """Number the places of B rows: the first slot of each field (B·F,), and the field of each slot (B·S,)."""
        row = torch.arange(rows, device=self._first.device).unsqueeze(1)
        self._rows, self._starts = rows, (row * self._slots + self._first).view(-1).int()
        if self._field_of_slot is not None:
            self._field_of_place = (row * self._shape[0] + self._field_of_slot).view(-1)


class Within:
    """The pairs inside multi-valued fields: ½ Σ over fields of (|e|² − Σ over slots of |x v|²)."""

    def __init__(self, model: DeepFM) -> None:
        fields = [field for field in model.layout.fields if field.pairs_within]
        slots = [field.first_slot + slot for field in fields for slot in range(field.slots)]
        self._shape = len(model.layout.fields), model.table.shape[1]
        self._fields = model.within_fields
        self._embedded = torch.zeros_like(model.table[0].detach())
        self._embedded[model.fm_columns] = 1.0
        self._slots = torch.tensor(slots, device=model.table.device)

    def forward(self, lookup: Lookup, fields: Tensor) -> Tensor:
        """Give the sum of the pairs of each row: (B,)."""
        rows = len(fields)
        self._e = fields.view(rows, *self._shape).index_select(1, self._fields).mul_(self._embedded)
        self._positions = lookup.positions.view(rows, -1).index_select(1, self._slots).view(-1)
        self._v = lookup.rows.index_select(0, self._positions).mul_(self._embedded)  # (B · slots within, columns)
        if lookup.weights is None:
            self._x = self._v.new_ones(len(self._v), 1)
        else:
            self._x = lookup.weights.view(rows, -1).index_select(1, self._slots).view(-1, 1)
        squares = (self._x * self._v).square().view(rows, -1).sum(1)
        return self._e.square().sum((1, 2)).sub_(squares).mul_(0.5)

    def backward(self, delta: Tensor, gradient: Tensor) -> None:
        """Add ∂loss/∂fields to (B, F·columns)."""
        self._delta = delta
        shape = (len(delta), *self._shape)
        gradient.view(shape).index_add_(1, self._fields, delta.view(-1, 1, 1) * self._e)

    def backward_rows(self, gradient: Tensor) -> None:
        """Add ∂loss/∂rows through |x v|² to (R, columns)."""
        pull = (self._x.square().view(len(self._delta), -1) * self._delta.unsqueeze(1)).view(-1, 1)
        gradient.index_add_(0, self._positions.long(), self._v.mul_(pull), alpha=-1)
