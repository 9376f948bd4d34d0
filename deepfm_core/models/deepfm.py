"""DeepFM as one module whose parts can be switched off; `terms` gives the addends of `forward`.

The equations are those of Guo et al. 2017 (arXiv 1703.04247), written out in docs/model.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from deepfm_core.data.encoded import Layout
from deepfm_core.models.batch import Batch
from deepfm_core.models.network import Network
from deepfm_core.training.spec import ModelSpec

_OBSERVED_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Terms:
    """The addends of the logit for B rows, F embedded fields, D dense fields and P pairs.

    Attributes:
        bias: () or None.
        first_order: (B, F + D), a column per field, dense fields last; None where the model has no such term.
        second_order: (B, P), a column per entry of `pairs`; None where the model has no such term.
        dnn: (B,), the network's output; None where the model has no network.
        pairs: the field numbers (a, b) of each second-order column, a < b, and (a, a) for the pairs within a
            multi-valued field.
    """

    bias: Tensor | None
    first_order: Tensor | None
    second_order: Tensor | None
    dnn: Tensor | None
    pairs: tuple[tuple[int, int], ...]

    def logit(self) -> Tensor:
        """Sum all terms: (B,), equal to `DeepFM.forward`."""
        parts: list[Tensor] = []
        if self.first_order is not None and self.bias is not None:
            parts.append(self.bias + self.first_order.sum(1))
        if self.second_order is not None:
            parts.append(self.second_order.sum(1))
        if self.dnn is not None:
            parts.append(self.dnn)
        return torch.stack(parts).sum(0)


class DeepFM(nn.Module):
    """Bias, first-order, second-order (FM) and deep terms over one shared embedding table.

    The table has V rows of 1 + K columns: the first-order weight w, then the embedding v. A row's field f has the
    embedding e_f = Σ x_i v_i over its features; the logit is

        bias + Σ_i x_i w_i + Σ_{f<g} ⟨e_f − m_f, e_g − m_g⟩ + within + network([e_1 … e_F, dense])

    with m = 0 in the paper's form and m_f the mean of e_f over the training rows in the centred form, and `within` the
    pairs of features inside multi-valued fields.
    """

    feature_means: Tensor
    feature_seen: Tensor
    field_of_feature: Tensor
    field_of_slot: Tensor
    within_fields: Tensor
    field_means: Tensor

    def __init__(self, layout: Layout, spec: ModelSpec) -> None:
        """Build the model with random weights from torch's current random state."""
        super().__init__()
        self.layout = layout
        self.spec = spec
        fields, k = layout.fields, spec.embedding_size
        self.table = nn.Parameter(torch.zeros(layout.vocabulary, 1 + k))
        nn.init.normal_(self.table.data[:, 1:], std=spec.embedding_sd)
        self.bias = nn.Parameter(torch.zeros(()), requires_grad=spec.first_order)
        self.dense_weights = nn.Parameter(torch.zeros(len(layout.dense)), requires_grad=spec.first_order)
        self.network = (
            Network(len(fields) * k + len(layout.dense), spec.layers, spec.activation, spec.dropout, spec.batch_norm)
            if spec.deep
            else None
        )
        self.register_buffer("feature_means", torch.zeros(layout.vocabulary))
        self.register_buffer("feature_seen", torch.ones(layout.vocabulary, dtype=torch.bool))
        self._register_positions()

    def _register_positions(self) -> None:
        fields = self.layout.fields
        slot_counts = torch.tensor([field.slots for field in fields], dtype=torch.long)
        sizes = torch.tensor([field.size for field in fields], dtype=torch.long)
        order = torch.arange(len(fields))
        within = torch.tensor([number for number, field in enumerate(fields) if field.pairs_within], dtype=torch.long)
        self.register_buffer("field_of_slot", torch.repeat_interleave(order, slot_counts), persistent=False)
        self.register_buffer("field_of_feature", torch.repeat_interleave(order, sizes), persistent=False)
        self.register_buffer("within_fields", within, persistent=False)
        means = torch.zeros(len(fields), self.spec.embedding_size)
        self.register_buffer("field_means", means)
        self.one_slot_a_field = self.layout.slots == len(fields)
        self.pairs = tuple(combinations(range(len(fields)), 2)) + tuple((int(f), int(f)) for f in within)

    def forward(self, batch: Batch) -> Tensor:
        """Give the logit: (B,)."""
        weights, features, embeddings = self.look_up(batch)
        logit = self.table.new_zeros(len(batch))
        if self.spec.first_order:
            logit = logit + self.bias + weights.sum(1) + batch.dense @ self.dense_weights
        if self.spec.second_order:
            logit = logit + self._second_order(features, embeddings)
        if self.network is not None:
            logit = logit + self.network(self._network_input(batch, embeddings))
        return logit

    def terms(self, batch: Batch) -> Terms:
        """Give the addends of the logit, one by one; they sum to `forward`."""
        weights, features, embeddings = self.look_up(batch)
        spec = self.spec
        return Terms(
            bias=self.bias if spec.first_order else None,
            first_order=self._first_order_terms(batch, weights) if spec.first_order else None,
            second_order=self._pair_terms(features, embeddings) if spec.second_order else None,
            dnn=self.network(self._network_input(batch, embeddings)) if self.network is not None else None,
            pairs=self.pairs,
        )

    def look_up(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Gather a batch's rows of the table once.

        Returns:
            x·w of each slot (B, S), x·v of each slot (B, S, K), and e of each field (B, F, K).
        """
        rows = self.table[batch.ids.long()]  # (B, S, 1 + K)
        if batch.weights is not None:
            rows = rows * batch.weights.unsqueeze(2)
        weights, features = rows[..., 0], rows[..., 1:]
        return weights, features, self._sum_slots(features)

    def _sum_slots(self, features: Tensor) -> Tensor:
        """Sum slots to fields: (B, S, ·) to (B, F, ·)."""
        if self.one_slot_a_field:
            return features
        shape = (features.shape[0], len(self.layout.fields), *features.shape[2:])
        return features.new_zeros(shape).index_add(1, self.field_of_slot, features)

    def _centre(self, embeddings: Tensor) -> Tensor:
        if not self.spec.centred:
            return embeddings
        means = embeddings.mean(0) if self.training else self.field_means
        return embeddings - means

    def _second_order(self, features: Tensor, embeddings: Tensor) -> Tensor:
        """Sum all pairs without a double loop: ½ (|Σ e|² − Σ |e|²), (Rendle 2010, Lemma 3.1): (B,)."""
        centred = self._centre(embeddings)  # (B, F, K)
        between = 0.5 * (centred.sum(1).square().sum(1) - centred.square().sum((1, 2)))
        return between + self._within_terms(features, embeddings).sum(1)

    def _within_terms(self, features: Tensor, embeddings: Tensor) -> Tensor:
        """Sum the pairs inside each multi-valued field: (B, fields with pairs within)."""
        if not len(self.within_fields):
            return embeddings.new_zeros(len(embeddings), 0)
        squares = self._sum_slots(features.square().sum(2, keepdim=True)).squeeze(2)  # (B, F)
        return 0.5 * (embeddings.square().sum(2) - squares)[:, self.within_fields]

    def _pair_terms(self, features: Tensor, embeddings: Tensor) -> Tensor:
        centred = self._centre(embeddings)
        a, b = torch.triu_indices(centred.shape[1], centred.shape[1], 1, device=centred.device)
        between = torch.bmm(centred, centred.transpose(1, 2))[:, a, b]  # (B, F, F) -> (B, F(F-1)/2)
        return torch.cat([between, self._within_terms(features, embeddings)], 1)

    def _first_order_terms(self, batch: Batch, weights: Tensor) -> Tensor:
        fields = self._sum_slots(weights.unsqueeze(2)).squeeze(2)  # (B, F)
        return torch.cat([fields, batch.dense * self.dense_weights], 1)

    def _network_input(self, batch: Batch, embeddings: Tensor) -> Tensor:
        return torch.cat([embeddings.flatten(1), batch.dense], 1)  # (B, F·K + D)

    @torch.no_grad()
    def observe(self, train: Batch) -> None:
        """Take from the training part what centring and unseen values need: the mean x of each feature."""
        sums = torch.zeros(self.layout.vocabulary, dtype=torch.float64, device=self.table.device)
        sizes = torch.zeros_like(sums)
        for part in train.split(_OBSERVED_AT_ONCE):
            ids, x = part.ids.flatten(), None if part.weights is None else part.weights.flatten().double()
            sums += torch.bincount(ids, x, len(sums))
            sizes += torch.bincount(ids, None if x is None else x.abs(), len(sums))
        self.feature_means.copy_(sums / max(len(train), 1))
        self.feature_seen.copy_(sizes > 0)

    @torch.no_grad()
    def settle(self) -> None:
        """Bring what is derived from the weights up to date, before the model is evaluated or saved.

        That is the mean embedding of each field under training frequencies, and with it the row of every feature that
        no training row has (such as "unseen"): a value never trained counts as an average one.
        """
        x = self.feature_means.to(self.table)
        means = self.table.new_empty(len(self.layout.fields), self.table.shape[1])
        for number, field in enumerate(self.layout.fields):
            block = slice(field.offset, field.offset + field.size)
            torch.mv(self.table[block].t(), x[block], out=means[number])
        self.field_means.copy_(means[:, 1:])
        unseen = (~self.feature_seen).nonzero().squeeze(1)
        self.table[unseen] = means[self.field_of_feature[unseen]]
