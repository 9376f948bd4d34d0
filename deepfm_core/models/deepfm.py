"""The one module whose parts can be switched off; `terms` gives the addends of `forward`.

The equations are those of Guo et al. 2017 (arXiv 1703.04247), written out in docs/model.md.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from deepfm_core.encoding.encoded_table import CrossedField, EncodedField, Layout
from deepfm_core.models.batch import Batch
from deepfm_core.models.network import Network
from deepfm_core.models.products import network_inputs, products
from deepfm_core.models.terms import Terms
from deepfm_core.spec.run import ModelSpec

_OBSERVED_AT_ONCE = 1 << 16


class DeepFM(nn.Module):
    """Bias, first-order, second-order (FM) and deep terms over one embedding table.

    The table has V rows: the first-order weight w, then the embedding v of K numbers, then, where the network has
    embeddings of its own, those. A row's field f has the embedding e_f = Σ x_i v_i over its features; the logit is

        bias + Σ_i x_i w_i + Σ_{f<g} ⟨e_f − m_f, e_g − m_g⟩ + within + network([e_1 … e_F, products, dense])

    with m = 0 in the paper's form and m_f the mean of e_f over the training rows in the centred form, and `within` the
    pairs of features inside multi-valued fields. Crossed fields have first-order weights in a table of their own.
    """

    feature_means: Tensor
    feature_seen: Tensor
    crossed_means: Tensor
    crossed_seen: Tensor
    field_of_feature: Tensor
    field_of_slot: Tensor
    within_fields: Tensor
    field_means: Tensor

    def __init__(self, layout: Layout, spec: ModelSpec) -> None:
        """Build the model with random weights from torch's current random state."""
        super().__init__()
        self.layout = layout
        self.spec = spec
        self._place_columns()
        embeddings = torch.empty(layout.vocabulary, self.columns - 1).normal_(std=spec.embedding_sd)
        self.table = nn.Parameter(torch.cat([embeddings.new_zeros(layout.vocabulary, 1), embeddings], 1))
        self.bias = nn.Parameter(torch.zeros(()), requires_grad=spec.first_order)
        self.dense_weights = nn.Parameter(torch.zeros(len(layout.dense)), requires_grad=spec.first_order)
        crossed = bool(layout.crosses) and spec.first_order
        self.crossed_weights = nn.Parameter(torch.zeros(layout.crossed, 1)) if crossed else None
        self.network = (
            Network(
                network_inputs(spec, len(layout.fields), len(layout.dense)),
                spec.layers,
                spec.activation,
                spec.dropout,
                spec.batch_norm,
            )
            if spec.deep
            else None
        )
        self._register_positions()
        self._register_observed()

    def _place_columns(self) -> None:
        """Say which columns of the table the FM and the network read."""
        switches, size = self.spec.switches, self.spec.embedding_size
        self.columns = 1 + switches.embedding_sets * size
        self.fm_columns = slice(1, 1 + size * min(switches.embedding_sets, 1))
        start = 0 if switches.weights_read else self.columns - size
        self.deep_columns = slice(start if switches.deep else self.columns, self.columns)

    def _register_positions(self) -> None:
        fields = self.layout.fields
        slot_counts = torch.tensor([field.slots for field in fields], dtype=torch.long)
        sizes = torch.tensor([field.size for field in fields], dtype=torch.long)
        order = torch.arange(len(fields))
        within = [number for number, field in enumerate(fields) if field.pairs_within]
        self.register_buffer(
            "field_of_slot",
            torch.repeat_interleave(order, slot_counts, output_size=self.layout.slots),
            persistent=False,
        )
        self.register_buffer(
            "field_of_feature",
            torch.repeat_interleave(order, sizes, output_size=self.layout.vocabulary),
            persistent=False,
        )
        self.register_buffer("within_fields", torch.tensor(within, dtype=torch.long), persistent=False)
        self.one_slot_a_field = self.layout.slots == len(fields)
        self.pairs = tuple(combinations(range(len(fields)), 2)) + tuple((number, number) for number in within)

    def _register_observed(self) -> None:
        means = torch.zeros(len(self.layout.fields), self.fm_columns.stop - 1)
        self.register_buffer("field_means", means)
        self.register_buffer("feature_means", torch.zeros(self.layout.vocabulary))
        self.register_buffer("feature_seen", torch.ones(self.layout.vocabulary, dtype=torch.bool))
        if self.crossed_weights is not None:
            self.register_buffer("crossed_means", torch.zeros(self.layout.crossed))
            self.register_buffer("crossed_seen", torch.ones(self.layout.crossed, dtype=torch.bool))

    def forward(self, batch: Batch) -> Tensor:
        """Give the logit: (B,)."""
        weights, features, embeddings = self.look_up(batch)
        logit = self.table.new_zeros(len(batch))
        if self.spec.first_order:
            logit = logit + self.bias + weights.sum(1) + batch.dense @ self.dense_weights
        if self.crossed_weights is not None:
            logit = logit + self.crossed_terms(batch).sum(1)
        if self.spec.second_order:
            logit = logit + self._second_order(features, embeddings)
        if self.network is not None:
            logit = logit + self.network(self.network_input(self.network_fields(batch), batch.dense))
        return logit

    def terms(self, batch: Batch) -> Terms:
        """Give the addends of the logit, one by one; they sum to `forward`."""
        weights, features, embeddings = self.look_up(batch)
        spec, network = self.spec, self.network
        return Terms(
            bias=self.bias if spec.first_order else None,
            first_order=self._first_order_terms(batch, weights) if spec.first_order else None,
            second_order=self._pair_terms(features, embeddings) if spec.second_order else None,
            dnn=network(self.network_input(self.network_fields(batch), batch.dense)) if network is not None else None,
            pairs=self.pairs,
        )

    def look_up(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Gather a batch's weights and embeddings.

        Returns:
            x·w of each slot (B, S), x·v of each slot (B, S, K), and e of each field (B, F, K). K is 0 where the model
            has no embeddings.
        """
        rows = self._rows(batch)
        weights, features = rows[..., 0], rows[..., self.fm_columns]
        return weights, features, self._sum_slots(features)

    def network_fields(self, batch: Batch) -> Tensor:
        """Give what the network reads of each field: (B, F, K), or (B, F, 1 + K) where it reads weights, too."""
        return self._sum_slots(self._rows(batch)[..., self.deep_columns])

    def network_input(self, fields: Tensor, dense: Tensor) -> Tensor:
        """Give all that the network reads, from `network_fields` (B, F, ·) and the dense fields (B, D)."""
        return torch.cat([fields.flatten(1), *products(self.spec, fields), dense], 1)

    def crossed_terms(self, batch: Batch) -> Tensor:
        """Give the weight of each crossed field's combination: (B, C)."""
        assert self.crossed_weights is not None
        assert batch.crosses is not None
        return self.crossed_weights[batch.crosses.long(), 0]

    def _rows(self, batch: Batch) -> Tensor:
        rows = self.table[batch.ids.long()]  # (B, S, 1 + K …)
        return rows if batch.weights is None else rows * batch.weights.unsqueeze(2)

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
        crossed = [] if self.crossed_weights is None else [self.crossed_terms(batch)]
        return torch.cat([fields, batch.dense * self.dense_weights, *crossed], 1)

    @torch.no_grad()
    def observe(self, train: Batch) -> None:
        """Take from the training part what centring and unseen values need: the mean x of each feature."""
        means, seen = _mean_x(train, self.layout.vocabulary)
        self.feature_means.copy_(means)
        self.feature_seen.copy_(seen)
        if train.crosses is not None and self.crossed_weights is not None:
            combinations = Batch(train.crosses, None, train.dense)
            means, seen = _mean_x(combinations, self.layout.crossed)
            self.crossed_means.copy_(means)
            self.crossed_seen.copy_(seen)

    @torch.no_grad()
    def settle(self) -> None:
        """Bring what is derived from the weights up to date, before the model is evaluated or saved.

        That is the mean embedding of each field under training frequencies, and with it the row of every feature that
        no training row has (such as "unseen"): a value never trained counts as an average one.
        """
        means = _settle(self.table, self.feature_means, self.feature_seen, self.layout.fields)
        self.field_means.copy_(means[:, self.fm_columns])
        if self.crossed_weights is not None:
            _settle(self.crossed_weights, self.crossed_means, self.crossed_seen, self.layout.crosses)

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained: the first-order column of the table counts where something reads it."""
        numbers = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        read = self.spec.first_order or self.spec.switches.weights_read
        return numbers if read else numbers - len(self.table)


def _mean_x(train: Batch, size: int) -> tuple[Tensor, Tensor]:
    """Give each feature's mean x over the rows, and whether any row has it: (size,) each."""
    sums = torch.zeros(size, dtype=torch.float64, device=train.ids.device)
    sizes = torch.zeros_like(sums)
    for part in train.split(_OBSERVED_AT_ONCE):
        ids, x = part.ids.flatten(), None if part.weights is None else part.weights.flatten().double()
        sums += torch.bincount(ids, x, size)
        sizes += torch.bincount(ids, None if x is None else x.abs(), size)
    return sums / max(len(train), 1), sizes > 0


def _settle(table: Tensor, means: Tensor, seen: Tensor, fields: tuple[EncodedField | CrossedField, ...]) -> Tensor:
    """Give each field's mean row of the table, and put it in the place of every row that was not seen."""
    x = means.to(table)
    rows = table.new_empty(len(fields), table.shape[1])
    for number, field in enumerate(fields):
        block = slice(field.offset, field.offset + field.size)
        torch.mv(table[block].t(), x[block], out=rows[number])
        table[block][~seen[block]] = rows[number]
    return rows
