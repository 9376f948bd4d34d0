"""Encoded rows as tensors: what a model reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable


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
    """

    ids: Tensor
    weights: Tensor | None
    dense: Tensor
    labels: Tensor | None = None
    crosses: Tensor | None = None
    offset: Tensor | None = None
    weighted: Tensor | None = None

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
