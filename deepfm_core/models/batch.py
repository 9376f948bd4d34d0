"""Encoded rows as tensors: what a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from deepfm_core.data.encoded import EncodedTable


@dataclass(frozen=True)
class Batch:
    """B encoded rows.

    Attributes:
        ids: (B, S) int32, feature ids.
        weights: (B, S) float, the x of each feature, or None where every x is 1.
        dense: (B, D) float, scaled values of the dense fields.
        labels: (B,) float, 0 or 1, or None.
        crosses: (B, C) int32, ids of the crossed fields' combinations, or None where there are none.
    """

    ids: Tensor
    weights: Tensor | None
    dense: Tensor
    labels: Tensor | None = None
    crosses: Tensor | None = None

    @classmethod
    def from_table(cls, table: EncodedTable, device: str | torch.device = "cpu") -> Batch:
        """Wrap the table's arrays as tensors, without copying on the CPU."""

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        return cls(
            tensor(table.ids),
            None if table.weights is None else tensor(table.weights),
            tensor(table.dense),
            None if table.labels is None else tensor(table.labels),
            None if table.crosses is None else tensor(table.crosses),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor) -> Batch:
        """Return the given rows, in the given order."""
        return Batch(*(None if part is None else part.index_select(0, rows) for part in self._parts()))  # type: ignore[arg-type]

    def slice(self, start: int, stop: int) -> Batch:
        """Return rows `start … stop-1` as views."""
        return Batch(*(None if part is None else part[start:stop] for part in self._parts()))  # type: ignore[arg-type]

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
        )

    def _parts(self) -> tuple[Tensor | None, ...]:
        return cast(tuple[Tensor | None, ...], (self.ids, self.weights, self.dense, self.labels, self.crosses))
