"""The one module, a sum of terms (`terms.py`) that can be switched off; `terms` gives the addends of `forward`.

The equations are those of Guo et al. 2017 (arXiv 1703.04247), written out in docs/model.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.evidence.guide import Guide, GuidedPair
from deepfm_core.models.batch import Batch, Reading, Rows
from deepfm_core.models.cross_network import CrossLayers
from deepfm_core.models.network import Network, products
from deepfm_core.models.term import ROWS_AT_ONCE, Terms
from deepfm_core.models.terms import TERMS, mean_x, settle_rows, terms_of
from deepfm_core.spec.models import GUIDED_EMBEDDING_SD
from deepfm_core.spec.run import ModelSpec

_READ_AT_ONCE = 16_384
"""Rows of a table whose embeddings are gathered at a time."""


class DeepFM(nn.Module):
    """Bias, first-order, second-order (FM) and deep terms over one embedding table.

    The table has V rows: the first-order weight w, then the embedding v of K numbers, then, where the network has
    embeddings of its own, those. A row's field f has the embedding e_f = Σ x_i v_i over its features; the logit is

        bias + Σ_i x_i w_i + Σ_{f<g} ⟨e_f − m_f, e_g − m_g⟩ + within + network([e_1 … e_F, products, dense])

    with m = 0 in the paper's form and m_f the mean of e_f over the training rows in the centred form, and `within` the
    pairs of features inside multi-valued fields. Crossed fields have first-order weights in a table of their own, and
    a cross network reads what the network reads.
    """

    feature_means: Tensor
    feature_seen: Tensor
    crossed_means: Tensor
    crossed_seen: Tensor
    field_of_feature: Tensor
    field_of_slot: Tensor
    within_fields: Tensor
    field_means: Tensor
    pair_weights: Tensor
    cell_pairs: Tensor
    cell_keys: Tensor
    cell_weights: Tensor
    bias: nn.Parameter
    dense_weights: nn.Parameter
    crossed_weights: nn.Parameter | None
    network: Network | None
    cross: CrossLayers | None

    def __init__(self, layout: Layout, spec: ModelSpec) -> None:
        """Build the model with random weights from torch's current random state."""
        super().__init__()
        self.layout = layout
        self.spec = spec
        self._place_columns()
        embeddings = torch.empty(layout.vocabulary, self.columns - 1).normal_(std=spec.embedding_sd)
        self.table = nn.Parameter(torch.cat([embeddings.new_zeros(layout.vocabulary, 1), embeddings], 1))
        self._register_positions()
        self._register_observed()
        for term in TERMS:
            term.build(self)
        if spec.has_guide:
            self._begin_with_nothing()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if "cross" not in self.__dict__ and "cross" not in self._modules:
            self.cross = None  # a pickle of before cross networks

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

    @torch.no_grad()
    def _begin_with_nothing(self) -> None:
        """Let the network begin at 0: it learns what the guide leaves."""
        if self.network is not None:
            self.network.output.weight.zero_()

    @torch.no_grad()
    def start_from(self, guide: Guide) -> None:
        """Take main effects and cells from a guide that was solved for this layout."""
        device = self.table.device
        self.take_first_order(guide)
        held = [pair.fields for pair in guide.pairs if pair.by_cells]
        self.cell_pairs = torch.tensor(held, dtype=torch.long, device=device).view(-1, 2)
        self.cell_keys = torch.from_numpy(guide.keys).to(device)
        self.cell_weights = torch.from_numpy(guide.weights).to(self.table)
        self._weigh_pairs([pair for pair in guide.pairs if not pair.by_cells])

    @torch.no_grad()
    def take_first_order(self, guide: Guide) -> None:
        """Take the constant and main effects from a guide that was solved for this layout."""
        self.bias.fill_(guide.base)
        self.table[:, 0] = torch.from_numpy(guide.first_order).to(self.table)
        self.dense_weights.copy_(torch.from_numpy(guide.dense))

    def _weigh_pairs(self, pairs: Sequence[GuidedPair]) -> None:
        """Weigh the FM's pairs so that embeddings of the spread that L2 expects give rows the pair's strength."""
        spread = GUIDED_EMBEDDING_SD**2 * self.spec.embedding_size**0.5
        self.pair_weights.zero_()
        for pair in pairs:
            a, b = pair.fields
            self.pair_weights[a, b] = self.pair_weights[b, a] = pair.strength / spread

    @torch.no_grad()
    def keep_guide_alone(self) -> None:
        """Take out what was learned beyond the guide."""
        self.table[:, 1:] = 0.0
        self.settle()
        if self.network is not None:
            self.network.output.weight.zero_()
            self.network.output_bias.zero_()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take over stored weights, with as many cells as they have."""
        for name in ("cell_pairs", "cell_keys", "cell_weights"):
            if name in state_dict and hasattr(self, name):
                setattr(self, name, getattr(self, name).new_zeros(state_dict[name].shape))
        return super().load_state_dict(state_dict, strict, assign)

    def forward(self, batch: Batch) -> Tensor:
        """Give the logit: (B,)."""
        read, logit = Reading(self, batch), self.table.new_zeros(len(batch))
        for term in terms_of(self):
            logit = logit + term.forward(read)
        return logit

    def terms(self, batch: Batch) -> Terms:
        """Give the addends of the logit, one by one; they sum to `forward`."""
        read = Reading(self, batch)
        return Terms(tuple(part for term in terms_of(self) for part in term.addends(read)))

    def look_up(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Gather a batch's weights and embeddings.

        Returns:
            x·w of each slot (B, S), x·v of each slot (B, S, K), and e of each field (B, F, K). K is 0 where the model
            has no embeddings.
        """
        read = Reading(self, batch)
        return read.weights, read.features, read.embeddings

    @torch.no_grad()
    def embeddings_of(self, table: EncodedTable) -> Tensor:
        """Give e of each row and field of a table, as the FM reads it: (N, F, K)."""
        return torch.cat([Reading(self, batch).embeddings for batch in Batch.held(table).split(_READ_AT_ONCE)])

    def network_fields(self, batch: Batch) -> Tensor:
        """Give what the network reads of each field: (B, F, K), or (B, F, 1 + K) where it reads weights, too."""
        return Reading(self, batch).fields(self.deep_columns)

    def network_input(self, fields: Tensor, dense: Tensor) -> Tensor:
        """Give all that the network reads, from `network_fields` (B, F, ·) and the dense fields (B, D)."""
        return torch.cat([fields.flatten(1), *products(self.spec, fields), dense], 1)

    def network_output(self, fields: Tensor, dense: Tensor) -> Tensor:
        """Give what network and cross network add to the logit, (B,), from what they read (`network_input`)."""
        assert self.network is not None
        inputs = self.network_input(fields, dense)
        output: Tensor = self.network(inputs)
        return output if self.cross is None else output + self.cross(inputs)

    def sum_slots(self, features: Tensor) -> Tensor:
        """Sum slots to fields: (B, S, ·) to (B, F, ·)."""
        if self.one_slot_a_field:
            return features
        shape = (features.shape[0], len(self.layout.fields), *features.shape[2:])
        return features.new_zeros(shape).index_add(1, self.field_of_slot, features)

    @torch.no_grad()
    def observe(self, train: Rows) -> None:
        """Take from the training part what centring and unseen values need: the mean x of each feature."""
        size, device = self.layout.vocabulary, self.table.device
        means, seen = mean_x(train.split(ROWS_AT_ONCE), len(train), size, device)
        self.feature_means.copy_(means)
        self.feature_seen.copy_(seen)
        for term in terms_of(self):
            term.observe(train)

    @torch.no_grad()
    def settle(self) -> None:
        """Bring what is derived from the weights up to date, before the model is evaluated or saved.

        That is the mean embedding of each field under training frequencies, and with it the row of every feature that
        no training row has (such as "unseen"): a value never trained counts as an average one.
        """
        means = settle_rows(self.table, self.feature_means, self.feature_seen, self.layout.fields)
        self.field_means.copy_(means[:, self.fm_columns])
        for term in terms_of(self):
            term.settle()

    @property
    def cells_of(self) -> set[tuple[int, int]]:
        """The pairs of fields (a, b) that have cells."""
        return {(a, b) for a, b in self.cell_pairs.tolist()} if self.spec.has_guide else set()

    @property
    def network_is_silent(self) -> bool:
        """Whether the networks give 0 to every row: that of a guided model in which it did not pay."""
        if self.cross is not None:
            return False
        output = None if self.network is None else self.network.output
        return output is None or not (bool(output.weight.any()) or bool(output.bias.any()))

    @property
    def parameter_count(self) -> int:
        """How many numbers are learned: the first-order column of the table counts where something reads it."""
        numbers = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        if self.spec.has_guide:
            numbers += self.bias.numel() + self.dense_weights.numel() + len(self.cell_weights)
        read = self.spec.first_order or self.spec.switches.weights_read
        return numbers if read else numbers - len(self.table)
