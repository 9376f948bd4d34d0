"""The first-order weights of crossed fields while they train."""

from __future__ import annotations

from torch import Tensor

from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.lookup import Slots
from deepfm_core.training.rows import RowTable, worth_rows
from deepfm_core.training.spec import FitSpec
from deepfm_core.training.table import DenseTable


class Crossed:
    """A table of one column: each crossed field reads one weight a row, and the weights add up."""

    def __init__(self, model: DeepFM, weights: Tensor, spec: FitSpec) -> None:
        """Train `weights` (combinations, 1), which must keep their memory, from now on."""
        self._slots = Slots([1] * len(model.layout.crosses), weights.device)
        alone = worth_rows(model.layout.crossed, self._slots.count, spec)
        self.table = RowTable(weights, spec) if alone else DenseTable(weights, spec)

    def forward(self, batch: Batch) -> Tensor:
        """Give the sum of each row's weights: (B,)."""
        assert batch.crosses is not None
        self._lookup = self.table.read(batch.crosses.view(-1), None)
        return self._slots.sums(self._lookup, slice(0, len(batch))).squeeze(1)

    def backward(self, delta: Tensor) -> None:
        """Fill the weights' gradient from ∂loss/∂logit (B,)."""
        self.table.differentiate(self._slots.gradient(self._lookup, [], delta, self.table.gradient_buffer))
