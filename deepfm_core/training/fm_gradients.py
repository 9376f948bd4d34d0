"""Bias, first-order and second-order terms with their gradients by hand (docs/training-step.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.lookup import Lookup, Slots
from deepfm_core.training.network_gradients import Gradients, add_sum


class Factorisation:
    """The FM of a model over pieces of a batch: looked-up embeddings (n, F·K), and their sums (n, columns)."""

    def __init__(self, model: DeepFM, gradients: Gradients | None) -> None:
        """Train into `gradients`; without them evaluate, with the model's own field means."""
        fields, size = len(model.layout.fields), model.fm_columns.stop - model.fm_columns.start
        self.columns = model.fm_columns
        self._spread = torch.eye(size).to(model.table).repeat(1, fields)  # (K, F·K)
        self._ones_of_one = model.table.new_ones(size)
        self._ones = model.table.new_ones(fields * size)
        self._second_order, self._centred = model.spec.second_order, model.spec.centred and model.spec.second_order
        self._has_dense = bool(model.layout.dense)
        self._bias, self._dense_weights = model.bias.detach(), model.dense_weights.detach()
        self._own_mean = model.field_means.flatten() if gradients is None else None
        if gradients is not None:
            self._bias_gradient, self._dense_gradient = gradients["bias"], gradients["dense_weights"]

    @property
    def needs_mean(self) -> bool:
        """Whether the pairs are centred on the mean of the batch."""
        return self._centred and self._own_mean is None

    def begin(self, mean: Tensor | None) -> None:
        """Begin a batch, with the mean of its embeddings (F·K,) where the pairs are centred on it."""
        self._mean = mean if self._own_mean is None else self._own_mean
        self._pull: Tensor | None = None
        self._begun = False

    def forward(self, e: Tensor, sums: Tensor, dense: Tensor) -> Tensor:
        """Give bias + first-order + pairs of different fields of n rows: (n,)."""
        logit = sums[:, 0] + self._bias
        if self._has_dense:
            logit.addmv_(dense, self._dense_weights)
        self._dense = dense
        return self._add_pairs(logit, e, sums[:, self.columns]) if self._second_order else logit

    def _add_pairs(self, logit: Tensor, e: Tensor, sums: Tensor) -> Tensor:
        """Add ½ (|Σ c|² − Σ |c|²) to the logit (n,), with c = e, or e less its mean over the batch where centred."""
        self._c, self._sum = e, sums
        if self._centred:
            assert self._mean is not None
            self._c, self._sum = e - self._mean, sums - self._spread @ self._mean
        logit.addmv_(self._sum.square(), self._ones_of_one, alpha=0.5)
        return logit.addmv_(self._c.square(), self._ones, alpha=-0.5)

    def backward(self, delta: Tensor, gradient: Tensor, filled: bool) -> None:
        """Add the piece's part to the gradients from ∂loss/∂logit (n,).

        Args:
            delta: ∂loss/∂logit.
            gradient: ∂loss/∂e (n, F·K), to which the pairs' is added.
            filled: whether `gradient` holds anything yet.
        """
        add_sum(delta, self._bias_gradient, self._begun)
        if self._has_dense:
            self._dense_gradient.addmv_(self._dense.t(), delta, beta=float(self._begun))
        if self._second_order:
            column = delta.unsqueeze(1)
            gradient.addmm_(self._sum * column, self._spread, beta=float(filled)).addcmul_(self._c, column, value=-1)
            if self._centred:
                self._add_pull(delta)
        self._begun = True

    def _add_pull(self, delta: Tensor) -> None:
        """Add Σ over the piece of the pairs' ∂loss/∂c: (F·K,)."""
        pull = (self._sum.t() @ delta) @ self._spread - self._c.t() @ delta
        self._pull = pull if self._pull is None else self._pull + pull

    def end(self, gradient: Tensor) -> None:
        """Take from ∂loss/∂e (B, F·K) of the batch what goes through its mean."""
        if self._pull is not None:
            gradient.sub_(self._pull / len(gradient))


# What FM and network read of the looked-up fields, and the gradients of it.


class Fields:
    """The embeddings that FM and network read: the same ones, or different columns of the table."""

    def __init__(self, model: DeepFM, slots: Slots) -> None:
        self._slots = slots
        self._fm = model.fm_columns if model.spec.second_order else None
        self._deep = model.deep_columns if model.network is not None else None
        count = len(model.layout.fields)
        self._columns = tuple({(c.start, c.stop): c for c in (self._fm, self._deep) if c is not None}.values())
        self._buffers = [model.table.detach().new_empty(0, count * (c.stop - c.start)) for c in self._columns]
        self._rows, self._nothing = 0, model.table.detach().new_empty(0, 0)

    def begin(self, rows: int) -> None:
        """Begin a batch of B rows."""
        self._rows = rows
        if self._buffers and self._buffers[0].shape[0] < rows:
            self._buffers = [buffer.new_empty(rows, buffer.shape[1]) for buffer in self._buffers]

    def read(self, lookup: Lookup, piece: slice) -> tuple[Tensor, Tensor]:
        """Give what the FM reads of n rows, (n, F·K), and the network, (n, F·width); empty for none."""
        read = [self._slots.fields(lookup, columns, piece) for columns in self._columns]
        return self._of(self._fm, read), self._of(self._deep, read)

    def gradients(self, piece: slice) -> tuple[Tensor, Tensor]:
        """Give where ∂loss/∂(what was read) of n rows is to be written."""
        parts = [buffer[piece] for buffer in self._buffers]
        return self._of(self._fm, parts), self._of(self._deep, parts)

    @property
    def of_fm(self) -> Tensor:
        """∂loss/∂(what the FM read) of the batch: (B, F·K)."""
        return self._of(self._fm, [buffer[: self._rows] for buffer in self._buffers])

    @property
    def parts(self) -> list[tuple[slice, Tensor]]:
        """Columns of the table, and ∂loss/∂(what was read of them) of the batch: (B, F·width)."""
        return [(columns, buffer[: self._rows]) for columns, buffer in zip(self._columns, self._buffers, strict=True)]

    def _of(self, columns: slice | None, parts: list[Tensor]) -> Tensor:
        return self._nothing if columns is None else parts[self._columns.index(columns)]
