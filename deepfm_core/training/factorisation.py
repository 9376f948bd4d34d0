"""Bias, first-order and second-order terms with their gradients by hand (docs/training-step.md)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.layers import Gradients


class Factorisation:
    """The FM of a model, over looked-up fields [w | e] of F·columns numbers.

    What follows e in a field, the network's own embedding where it has one, is passed over.

    Sums over fields or columns are products with constant matrices of ones: on so few columns that is several times
    as fast as a sum over one of three dimensions.
    """

    def __init__(self, model: DeepFM, gradients: Gradients | None) -> None:
        """Train into `gradients`; without them evaluate, with the model's own field means."""
        fields, columns = len(model.layout.fields), model.table.shape[1]
        identity = torch.eye(columns).to(model.table)
        self._sum = identity.repeat(fields, 1)  # (F·columns, columns)
        self._spread = self._sum.t()
        self._first, self._others = identity[0], torch.zeros_like(identity[0])  # which column is w, which are v
        self._others[model.fm_columns] = 1.0
        self._alone = not model.spec.switches.own_embeddings
        self._embedded = self._others.repeat(fields)  # (F·columns,)
        self._every = torch.ones_like(self._embedded)
        self._second_order, self._centred = model.spec.second_order, model.spec.centred
        self._dense_fields = bool(model.layout.dense)
        self._bias, self._dense_weights = model.bias.detach(), model.dense_weights.detach()
        around = 1, columns - model.fm_columns.stop
        self._mean = functional.pad(model.field_means, around).flatten() if gradients is None else None
        if gradients is not None:
            self._bias_gradient, self._dense_gradient = gradients["bias"], gradients["dense_weights"]

    def forward(self, fields: Tensor, dense: Tensor) -> Tensor:
        """Give bias + first-order + pairs of different fields, (B,); each w in `fields` may be 0 after it."""
        sums = torch.mm(fields, self._sum)  # (B, columns): Σ w | Σ e
        logit = torch.addmv(self._bias, sums, self._first)
        if self._dense_fields:
            logit.addmv_(dense, self._dense_weights)
        self._dense = dense
        return self._add_pairs(logit, fields, sums) if self._second_order else logit

    def _add_pairs(self, logit: Tensor, fields: Tensor, sums: Tensor) -> Tensor:
        """Add ½ (|Σ c|² − Σ |c|²) to the logit (B,), with c = e, or e less its mean over the batch where centred."""
        self._c = fields.mul_(self._embedded) if self._alone else fields * self._embedded
        if self._centred:
            mean = self._c.mean(0) if self._mean is None else self._mean
            self._c = self._c - mean
            sums.sub_(mean @ self._sum)
        self._sums = torch.addcmul(self._first, sums, self._others)  # (B, columns): 1 | Σ c
        logit.addmv_(self._sums.square(), self._others, alpha=0.5)
        return logit.addmv_(self._c.square(), self._every, alpha=-0.5)

    def backward(self, delta: Tensor, gradient: Tensor | None) -> Tensor:
        """Fill the gradients from ∂loss/∂logit (B,), and add ∂loss/∂fields to the network's (B, F·columns)."""
        torch.sum(delta, 0, out=self._bias_gradient)
        if self._dense_fields:
            torch.mv(self._dense.t(), delta, out=self._dense_gradient)
        column = delta.unsqueeze(1)
        common = column * (self._sums if self._second_order else self._first)  # (B, columns): δ | δ Σ c
        gradient = torch.mm(common, self._spread) if gradient is None else gradient.addmm_(common, self._spread)
        if not self._second_order:
            return gradient
        gradient.addcmul_(self._c, column, value=-1)
        return gradient.sub_(self._mean_gradient(delta, common)) if self._centred else gradient

    def _mean_gradient(self, delta: Tensor, common: Tensor) -> Tensor:
        """Give the mean over the batch of the pairs' ∂loss/∂c: (F·columns), 0 at each w."""
        total = common.sum(0).mul_(self._others)
        return (self._sum @ total).sub_(self._c.t() @ delta).div_(len(delta))
