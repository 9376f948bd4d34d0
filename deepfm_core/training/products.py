"""A product-based network's products with their gradients by hand (docs/training-step.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.products import product_count


class Products:
    """Inner and outer products of the looked-up fields, laid out as the network reads them."""

    def __init__(self, model: DeepFM) -> None:
        """Multiply what the network of `model`, which has products, reads."""
        fields, switches = len(model.layout.fields), model.spec.switches
        self._shape = fields, model.deep_columns.stop - model.deep_columns.start
        self._inner = fields * (fields - 1) // 2 if switches.inner else 0
        self._outer = switches.outer
        self.count = product_count(model.spec, fields)
        a, b = torch.triu_indices(fields, fields, 1, device=model.table.device)
        self._upper, self._lower = a * fields + b, b * fields + a

    def forward(self, fields: Tensor) -> Tensor:
        """Give the inner products, then the outer ones, of fields (B, F·K): (B, count)."""
        self._e = fields.view(len(fields), *self._shape)  # (B, F, K)
        parts = []
        if self._inner:
            gram = torch.bmm(self._e, self._e.transpose(1, 2))  # (B, F, F)
            parts.append(gram.flatten(1).index_select(1, self._upper))
        if self._outer:
            self._sum = self._e.sum(1)  # (B, K)
            parts.append((self._sum.unsqueeze(2) * self._sum.unsqueeze(1)).flatten(1))
        return torch.cat(parts, 1) if parts else fields.new_zeros(len(fields), 0)

    def backward(self, dp: Tensor, gradient: Tensor) -> None:
        """Add ∂loss/∂fields to (B, F·K) from ∂loss/∂products (B, count)."""
        into = gradient.view(len(gradient), *self._shape)
        if self._inner:
            into += torch.bmm(self._symmetric(dp[:, : self._inner]), self._e)  # dG e with dG = dGᵀ
        if self._outer:
            rows, size = self._sum.shape
            outer = dp[:, self._inner :].view(rows, size, size)
            into += torch.bmm(outer + outer.transpose(1, 2), self._sum.unsqueeze(2)).transpose(1, 2)

    def _symmetric(self, dp: Tensor) -> Tensor:
        """Lay out a number for each pair (B, F(F−1)/2) as a symmetric matrix with zeros on its diagonal: (B, F, F)."""
        fields = self._shape[0]
        matrix = dp.new_zeros(len(dp), fields * fields)
        matrix.index_copy_(1, self._upper, dp)
        matrix.index_copy_(1, self._lower, dp)
        return matrix.view(-1, fields, fields)
