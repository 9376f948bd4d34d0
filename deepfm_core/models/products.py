"""What a network reads beside the embeddings: products of them (Qu et al. 2016, arXiv 1611.00144)."""

from __future__ import annotations

import torch
from torch import Tensor

from deepfm_core.spec.run import ModelSpec


def inner_products(fields: Tensor) -> Tensor:
    """Give ⟨e_f, e_g⟩ of all pairs f < g: (B, F, K) to (B, F(F−1)/2), in the order (0, 1), (0, 2) …."""
    a, b = torch.triu_indices(fields.shape[1], fields.shape[1], 1, device=fields.device)
    return torch.bmm(fields, fields.transpose(1, 2))[:, a, b]


def outer_product(fields: Tensor) -> Tensor:
    """Give s sᵀ with s = Σ e_f, the sum over all pairs of fields of their outer products: (B, F, K) to (B, K·K)."""
    total = fields.sum(1)  # (B, K)
    return (total.unsqueeze(2) * total.unsqueeze(1)).flatten(1)


def products(spec: ModelSpec, fields: Tensor) -> list[Tensor]:
    """Give what the model's network reads beside the embeddings (B, F, K): inner, then outer products."""
    inner = [inner_products(fields)] if spec.switches.inner else []
    return [*inner, outer_product(fields)] if spec.switches.outer else inner
