"""What the terms of a model read of a batch: with an autograd graph, or by hand in pieces (docs/training-step.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from deepfm_core.models.batch import Batch
from deepfm_core.models.lookup import Lookup, Slots

if TYPE_CHECKING:
    from deepfm_core.models.deepfm import DeepFM


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

    def __init__(self, model: DeepFM, columns: Sequence[slice]) -> None:
        """Prepare for terms that leave gradients for the fields' `columns` of the table; terms may share them."""
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
        self.rows = len(batch)
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
        return self._slots.mean(self.lookup, columns, self.rows)

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
