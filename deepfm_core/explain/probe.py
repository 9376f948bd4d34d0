"""The output of a DNN, and of a cross network beside it, with one or two fields replaced, as a mean over common rows.

Start with `network_probe`. In shapes: B background rows, C replacements, F fields, D dense fields, K embedding size,
H units of the first hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM

Change = tuple[int, Tensor]
"""A field's number, and the embeddings (C, K) that replace its own."""

BLOCK = 16_384
"""Rows whose embeddings are gathered at a time."""
NETWORK_BLOCK = 4_096
"""Background rows × replacements that pass through the DNN at a time."""


@torch.no_grad()
def network_probe(model: DeepFM, table: EncodedTable, background: int, seed: int) -> NetworkProbe:
    """Make the probe of a model that has a DNN.

    Args:
        model: trained, with a DNN.
        table: N rows to draw the background from.
        background: how many rows to draw.
        seed: of the draw.
    """
    rows = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:background]
    drawn = table.take(np.asarray(rows.numpy()))
    products = model.spec.switches.inner or model.spec.switches.outer
    return (ProductProbe if products else NetworkProbe)(
        model, network_fields_of(model, drawn), torch.from_numpy(drawn.dense)
    )


@torch.no_grad()
def network_fields_of(model: DeepFM, table: EncodedTable) -> Tensor:
    """Return the DNN's input for each row and field: (N, F, K)."""
    return torch.cat([model.network_fields(batch) for batch in Batch.held(table).split(BLOCK)])


class NetworkProbe:
    """A DNN over B background rows, whose first layer is additive over fields.

    The first layer's sums over the background are kept. A replaced field changes only its own part of them, so that
    part is exchanged, and the layers after it are evaluated.
    """

    def __init__(self, model: DeepFM, fields: Tensor, dense: Tensor) -> None:
        """Prepare the first layer of background rows with `fields` (B, F, K) and `dense` (B, D)."""
        linear, self._rest = _first_and_rest(model)
        count, k = fields.shape[1:]
        self._weight = linear.weight[:, : count * k].reshape(-1, count, k).transpose(0, 1)  # (F, H, K)
        self._fields = fields
        self._at = torch.einsum("bfk,fhk->fbh", fields, self._weight)  # (F, B, H)
        self._base: Tensor = linear(model.network_input(fields, dense))  # (B, H)
        self.constant = self._mean(self._base.unsqueeze(0))
        """The mean output over the background rows: (1,)."""
        self._dense, self._dense_weight = dense, linear.weight[:, linear.in_features - dense.shape[1] :].T  # (D, H)

    def alone(self, f: int, fields: Tensor) -> Tensor:
        """Return the mean output with field f at each of C embeddings (C, K): (C,)."""
        return self._means([(f, fields)])

    def alone_dense(self, d: int, values: Tensor) -> Tensor:
        """Return the mean output with dense field d at each of C values (C,): (C,)."""
        weight = self._dense_weight[d]
        base = self._base - torch.outer(self._dense[:, d], weight)
        parts = torch.split(values, max(1, NETWORK_BLOCK // max(1, len(base))))
        return torch.cat([self._mean(base + torch.outer(part, weight).unsqueeze(1)) for part in parts])

    def pairs(self, f: int, g: int, of_f: Tensor, of_g: Tensor, alone: tuple[Tensor, Tensor]) -> Tensor:
        """Return the pair's contribution with fields f and g at each of C embeddings (C, K): (C,).

        `alone` holds the results of the method `alone` for these embeddings, (C,) each.
        """
        # Partial dependence of both − of f − of g + constant (Friedman & Popescu 2008, H statistic).
        return self._means([(f, of_f), (g, of_g)]) - alone[0] - alone[1] + self.constant

    def _hidden(self, changes: Sequence[Change]) -> Tensor:
        """Return the first layer's sums with fields replaced: (C, B, H)."""
        base = self._base - torch.stack([self._at[f] for f, _ in changes]).sum(0)
        shift = torch.stack([x @ self._weight[f].T for f, x in changes]).sum(0)
        return base.unsqueeze(0) + shift.unsqueeze(1)

    def _means(self, changes: Sequence[Change]) -> Tensor:
        """Average the output over the background rows, a block of the C replacements at a time: (C,)."""
        size = max(1, NETWORK_BLOCK // max(1, len(self._base)))
        blocks = zip(*(torch.split(x, size) for _, x in changes), strict=True)
        numbers = [f for f, _ in changes]
        return torch.cat([self._mean(self._hidden(list(zip(numbers, block, strict=True)))) for block in blocks])

    def _mean(self, hidden: Tensor) -> Tensor:
        output: Tensor = self._rest(hidden.flatten(0, 1)).reshape(hidden.shape[:2])
        return output.double().mean(1)


def _first_and_rest(model: DeepFM) -> tuple[nn.Linear, Callable[[Tensor], Tensor]]:
    """Give a DNN's first layer, and the function of its sums that is the output.

    A cross network beside it has a first layer, too: both stand in one, the cross network's behind that of the DNN.
    """
    assert model.network is not None
    first, rest, cross = model.network.first, model.network.stack[1:], model.cross
    if cross is None:
        return first, rest
    units, inputs = first.weight.shape
    both = nn.Linear(inputs, units + len(cross.first)).to(first.weight)
    both.weight.copy_(torch.cat([first.weight, cross.first]))
    both.bias.zero_()[:units].copy_(first.bias)
    return both, lambda sums: rest(sums[..., :units]).squeeze(-1) + cross.after(sums[..., units:])


class ProductProbe(NetworkProbe):
    """A DNN that reads products of fields: its first layer's sums are a polynomial of degree two in the fields.

    Let d_f = x_f − b_f be the move of field f from the background row's own b_f. Then the sums change by

        Σ_f slope_f(b) d_f + Σ_{f<g} w_fg ⟨d_f, d_g⟩ + (Σ d_f)ᵀ O (Σ d_f)

    where w_fg are the weights of the inner products, O those of the outer product, and slope_f(b) is the derivative
    with respect to field f at b (product-based networks: Qu et al. 2016).
    """

    def __init__(self, model: DeepFM, fields: Tensor, dense: Tensor) -> None:
        super().__init__(model, fields, dense)
        assert model.network is not None
        switches, (count, k) = model.spec.switches, fields.shape[1:]
        weight = model.network.first.weight[:, count * k :]
        inner = count * (count - 1) // 2 if switches.inner else 0
        a, b = torch.triu_indices(count, count, 1)[:, :inner]
        self._inner = weight.new_zeros(count, count, len(weight))  # (F, F, H), symmetric, 0 on the diagonal
        self._inner[a, b] = self._inner[b, a] = weight[:, :inner].T
        outer = weight[:, inner : inner + k * k] if switches.outer else weight.new_zeros(len(weight), k * k)
        self._outer = outer.T  # (K·K, H)
        both = outer.view(-1, k, k) + outer.view(-1, k, k).transpose(1, 2)  # (H, K, K), derivative of a quadratic form
        slopes = torch.einsum("fgh,bgk->fbkh", self._inner, fields) + torch.einsum("hkl,bl->bkh", both, fields.sum(1))
        self._slopes = slopes + self._weight.transpose(1, 2).unsqueeze(1)  # (F, B, K, H)
        self._has_outer = switches.outer

    def _hidden(self, changes: Sequence[Change]) -> Tensor:
        moves = [x.unsqueeze(1) - self._fields[:, f] for f, x in changes]  # (C, B, K) each
        hidden = self._base.unsqueeze(0)
        for (f, _), move in zip(changes, moves, strict=True):
            hidden = hidden + torch.bmm(move.transpose(0, 1), self._slopes[f]).transpose(0, 1)
        if len(changes) == 2:  # both fields move, so their product moves beyond the two slopes
            hidden = hidden + (moves[0] * moves[1]).sum(2, keepdim=True) * self._inner[changes[0][0], changes[1][0]]
        if self._has_outer:
            total = torch.stack(moves).sum(0)
            hidden = hidden + (total.unsqueeze(3) * total.unsqueeze(2)).flatten(2) @ self._outer
        return hidden
