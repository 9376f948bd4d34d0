"""The terms of the logit, a class each: forward, gradients by hand, addends, what it gives to a pair of fields.

`TERMS` lists them in the order in which they add up. Everything that sums, splits or trains a logit iterates over it:
`DeepFM.forward` and `DeepFM.terms`, the training step, the predictor, ledgers and frames. docs/model.md says how to
add one ("Adding a term"), docs/training-step.md derives the gradients.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from deepfm_core.encoding.encoded_table import CrossedField, EncodedField, EncodedTable
from deepfm_core.models.batch import Batch, Pass, Piece, Reading, Rows, Slots
from deepfm_core.models.cells import Cells
from deepfm_core.models.cross_network import CrossNetwork
from deepfm_core.models.network import Gradients, Layers, Network, add_sum
from deepfm_core.models.term import ROWS_AT_ONCE, Addends, Fields, NetworkTerm, Pairs, Term, Values
from deepfm_core.spec.run import network_inputs

if TYPE_CHECKING:
    from deepfm_core.models.deepfm import DeepFM


class FirstOrder(Term):
    """Bias and first-order weights: b + Σ_i x_i w_i."""

    switch = "first_order"
    constants = ("bias",)
    adds_weights = True

    def __init__(self, model: DeepFM) -> None:
        """Read the bias, which keeps its memory while it trains."""
        super().__init__(model)
        self._bias = model.bias.detach()
        self.fixed = model.spec.has_guide

    @classmethod
    def build(cls, model: DeepFM) -> None:
        """Add the bias; a stored model has one even where nothing reads it."""
        model.bias = nn.Parameter(torch.zeros(()), requires_grad=cls.of(model) and not model.spec.has_guide)

    def forward(self, read: Reading) -> Tensor:
        """Give bias + Σ x w: (B,)."""
        weights = read.weights.detach() if self.fixed else read.weights
        return self.model.bias + weights.sum(1)

    def addends(self, read: Reading) -> Iterator[Addends]:
        """Yield the bias, and each field's weight."""
        yield Addends("bias", [(None, None)], self.model.bias.expand(len(read.batch), 1))
        fields = self.model.sum_slots(read.weights.unsqueeze(2)).squeeze(2)  # (B, F)
        yield Addends("first-order", [(name, None) for name in self.model.layout.names], fields)

    def prepare(self, gradients: Gradients, precision: str) -> None:
        """Train the bias; the table brings its gradients back itself."""
        self._gradient = gradients["bias"]

    def begin(self, batch: Pass) -> None:
        """Begin a batch."""
        self._begun = False

    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add bias and weights."""
        logit.add_(piece.sums[:, 0]).add_(self._bias)

    def backward(self, delta: Tensor, piece: Piece) -> None:
        """∂b = Σ δ; ∂w_f = δ is brought back with the rows of the table."""
        add_sum(delta, self._gradient, self._begun)
        self._begun = True


class Dense(Term):
    """First-order terms of the dense fields: d·u."""

    switch = "first_order"
    weights = ("dense_weights",)

    def __init__(self, model: DeepFM) -> None:
        """Read the weights, which keep their memory while they train."""
        super().__init__(model)
        self._weights = model.dense_weights.detach()
        self.fixed = model.spec.has_guide

    @classmethod
    def build(cls, model: DeepFM) -> None:
        """Add a weight per dense field; a stored model has them even where nothing reads them."""
        on = bool(model.spec.switches.first_order) and not model.spec.has_guide
        model.dense_weights = nn.Parameter(torch.zeros(len(model.layout.dense)), requires_grad=on)

    @classmethod
    def of(cls, model: DeepFM) -> bool:
        """Say whether there are dense fields to read."""
        return super().of(model) and bool(model.layout.dense)

    def forward(self, read: Reading) -> Tensor:
        """Give Σ_d x_d u_d: (B,)."""
        return read.batch.dense @ self.model.dense_weights

    def addends(self, read: Reading) -> Iterator[Addends]:
        """Yield each dense field's term."""
        names: list[Fields] = [(name, None) for name in self.model.layout.dense]
        yield Addends("first-order", names, read.batch.dense * self.model.dense_weights)

    def prepare(self, gradients: Gradients, precision: str) -> None:
        """Train the weights."""
        self._gradient = gradients["dense_weights"]

    def begin(self, batch: Pass) -> None:
        """Begin a batch."""
        self._begun = False

    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add d·u."""
        logit.addmv_(piece.dense, self._weights)

    def backward(self, delta: Tensor, piece: Piece) -> None:
        """∂u = dᵀ δ."""
        self._gradient.addmv_(piece.dense.t(), delta, beta=float(self._begun))
        self._begun = True


STRENGTH_ROWS = 64
"""Rows whose products of all pairs are held at a time: 23 MB for 300 fields."""


class FMPairs(Term):
    """The pairs of different fields: Σ_{f<g} r_fg ⟨c_f, c_g⟩ with c_f = e_f, or e_f − m_f in the centred form.

    r_fg is 1, but in a guided model: there it is how strong the labels say that the pair is (`DeepFM.start_from`).
    """

    switch = "second_order"
    gives_pairs = True
    columns: slice

    def __init__(self, model: DeepFM) -> None:
        """Read the FM's embeddings."""
        super().__init__(model)
        self.columns, self._centred, self._trains = model.fm_columns, model.spec.centred, False
        self._laid_out = self._silent = False
        self._mean: Tensor | None = None
        self._pull: Tensor | None = None
        self._weights: Tensor | None = model.pair_weights if model.spec.has_guide else None  # (F, F)

    @classmethod
    def build(cls, model: DeepFM) -> None:
        """Add the weights of the pairs where a guide gives them."""
        if model.spec.has_guide:
            model.register_buffer("pair_weights", torch.zeros(2 * [len(model.layout.fields)]))

    def forward(self, read: Reading) -> Tensor:
        """Sum all pairs without a double loop: ½ (|Σ c|² − Σ |c|²), (Rendle 2010, Lemma 3.1): (B,)."""
        centred = self._centre(read.embeddings)  # (B, F, K)
        if self._weights is not None:
            return 0.5 * (centred * torch.einsum("fg,bgk->bfk", self._weights, centred)).sum((1, 2))
        return 0.5 * (centred.sum(1).square().sum(1) - centred.square().sum((1, 2)))

    def addends(self, read: Reading) -> Iterator[Addends]:
        """Yield each pair's product, in the order (0, 1), (0, 2) …."""
        centred, names = self._centre(read.embeddings), self.model.layout.names
        a, b = torch.triu_indices(centred.shape[1], centred.shape[1], 1, device=centred.device)
        between = torch.bmm(centred, centred.transpose(1, 2))[:, a, b]  # (B, F, F) -> (B, F(F-1)/2)
        if self._weights is not None:
            between = between * self._weights[a, b]
        yield Addends("second-order", list(combinations(names, 2)), between)

    def _centre(self, embeddings: Tensor) -> Tensor:
        if not self.model.spec.centred:
            return embeddings
        return embeddings - (embeddings.mean(0) if self.model.training else self.model.field_means)

    @torch.no_grad()
    def of_pairs(self, table: EncodedTable, pairs: Pairs, means: Tensor | None = None) -> Iterator[Values]:
        """Yield ⟨e_f − m_f, e_g − m_g⟩ of each row, m being `means` or those over the given rows: (N,) a pair."""
        embeddings = self.model.embeddings_of(table)
        about = embeddings.mean(0) if means is None else means
        centred = (embeddings - about).transpose(0, 1).contiguous()  # (F, N, K)
        r = None if self._weights is None else self._weights.double().numpy()
        for f, g in pairs:
            product = (centred[f] * centred[g]).sum(1, dtype=torch.float64).numpy()
            yield product if r is None else product * r[f, g]

    @torch.no_grad()
    def strengths(self, table: EncodedTable) -> Values:
        """Return the root mean square over rows of what `of_pairs` yields, for all pairs at once: (F, F).

        The products of a block of rows are one product of matrices, in float32. `of_pairs` has more digits. Pairs
        without weight, which a guided model has many of, are 0.
        """
        if self._weights is not None and not self._weights.any():
            return np.zeros(self._weights.shape)
        embeddings = self.model.embeddings_of(table)
        centred = embeddings - embeddings.mean(0)  # (N, F, K)
        squares = centred.new_zeros(centred.shape[1], centred.shape[1], dtype=torch.float64)
        for rows in torch.split(centred, STRENGTH_ROWS):
            squares += torch.bmm(rows, rows.transpose(1, 2)).square_().sum(0)
        sizes = (squares / len(table)).sqrt()
        strengths: Values = (sizes if self._weights is None else sizes * self._weights.abs()).numpy()
        return strengths

    def prepare(self, gradients: Gradients, precision: str) -> None:
        """Train: the centred form then takes the mean over the batch."""
        self._trains = True

    def begin(self, batch: Pass) -> None:
        """Begin a batch; in the centred form with the mean of its embeddings, or the model's own."""
        if not self._laid_out:
            self._lay_out()
        self._mean = self._pull = None
        if self._centred:
            self._mean = batch.mean(self.columns) if self._trains else self.model.field_means.flatten()

    def _lay_out(self) -> None:
        """Make the constants of a batch's products."""
        fields, size = len(self.model.layout.fields), self.columns.stop - self.columns.start
        table = self.model.table.detach()
        self._spread = torch.eye(size).to(table).repeat(1, fields)  # (K, F·K): spreads a sum over the fields
        self._ones_of_one, self._ones = table.new_ones(size), table.new_ones(fields * size)
        # A guide gives its weights before the first batch; where all its pairs have cells, embeddings have no pair.
        self._silent = self._weights is not None and not bool(self._weights.any())
        self._laid_out = True

    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add ½ (|Σ c|² − Σ |c|²), or ½ Σ_f ⟨c_f, Σ_g r_fg c_g⟩."""
        if self._silent:
            return
        if self._weights is not None:
            self._add_weighted(logit, piece)
            return
        self._c, self._sum = piece.fields(self.columns), piece.sums[:, self.columns]
        if self._mean is not None:
            self._c, self._sum = self._c - self._mean, self._sum - self._spread @ self._mean
        logit.addmv_(self._sum.square(), self._ones_of_one, alpha=0.5)
        logit.addmv_(self._c.square(), self._ones, alpha=-0.5)

    def _add_weighted(self, logit: Tensor, piece: Piece) -> None:
        assert self._weights is not None
        c = piece.fields(self.columns)
        c = c if self._mean is None else c - self._mean
        by_field = c.view(piece.count, len(self._weights), -1)
        self._others = torch.matmul(self._weights, by_field).view_as(c)  # (n, F·K), Σ_g r_fg c_g
        logit.addmv_(c * self._others, self._ones, alpha=0.5)

    def _back_weighted(self, delta: Tensor, piece: Piece) -> None:
        gradient, filled = piece.gradient(self.columns)
        if self._silent:
            if not filled:
                gradient.zero_()
            return
        pull = self._others * delta.unsqueeze(1)
        gradient.copy_(pull) if not filled else gradient.add_(pull)
        if self._centred:
            total = pull.sum(0)
            self._pull = total if self._pull is None else self._pull + total

    def backward(self, delta: Tensor, piece: Piece) -> None:
        """∂c_f = δ (s − c_f) with s = Σ c_f, or δ Σ_g r_fg c_g; in the centred form its sum is kept for the end."""
        if self._weights is not None:
            self._back_weighted(delta, piece)
            return
        gradient, filled = piece.gradient(self.columns)
        column = delta.unsqueeze(1)
        gradient.addmm_(self._sum * column, self._spread, beta=float(filled)).addcmul_(self._c, column, value=-1)
        if self._centred:
            pull = (self._sum.t() @ delta) @ self._spread - self._c.t() @ delta  # (F·K,)
            self._pull = pull if self._pull is None else self._pull + pull

    def end_fields(self, batch: Pass) -> None:
        """Take from ∂loss/∂e of the batch what goes through its mean."""
        if self._pull is not None:
            batch.gradient(self.columns).sub_(batch.total(self._pull) / batch.counted)


class WithinPairs(Term):
    """The pairs inside multi-valued fields: ½ Σ over fields of (|e|² − Σ over slots of |x v|²)."""

    switch = "second_order"

    @classmethod
    def of(cls, model: DeepFM) -> bool:
        """Say whether there are such fields."""
        return super().of(model) and len(model.within_fields) > 0

    def forward(self, read: Reading) -> Tensor:
        """Give the sum over fields: (B,)."""
        return self.by_field(read).sum(1)

    def by_field(self, read: Reading) -> Tensor:
        """Give the sum of each field's pairs: (B, fields with pairs within)."""
        squares = self.model.sum_slots(read.features.square().sum(2, keepdim=True)).squeeze(2)  # (B, F)
        return 0.5 * (read.embeddings.square().sum(2) - squares)[:, self.model.within_fields]

    def addends(self, read: Reading) -> Iterator[Addends]:
        """Yield each field's sum."""
        names = self.model.layout.names
        yield Addends("second-order", [(names[f], names[f]) for f in self._numbers], self.by_field(read))

    @property
    def _numbers(self) -> list[int]:
        return [number for number, field in enumerate(self.model.layout.fields) if field.pairs_within]

    def _lay_out(self) -> None:
        """Say which slots belong to which of these fields."""
        fields = [described for described in self.model.layout.fields if described.pairs_within]
        slots = [described.first_slot + slot for described in fields for slot in range(described.slots)]
        owners = [number for number, described in enumerate(fields) for _ in range(described.slots)]
        self._fields, device = len(fields), self.model.table.device
        self._slots, self._owners = (torch.tensor(part, device=device) for part in (slots, owners))

    def begin(self, batch: Pass) -> None:
        """Compute the whole batch, whose slots are few, by what each reads of the table."""
        if not hasattr(self, "_slots"):
            self._lay_out()
        lookup, rows = batch.lookup, batch.rows
        self._positions = lookup.positions.view(rows, -1).index_select(1, self._slots)
        v = lookup.rows[:, self.model.fm_columns].index_select(0, self._positions.flatten())
        self._x = None
        if lookup.weights is not None:
            self._x = lookup.weights.view(rows, -1).index_select(1, self._slots).unsqueeze(2)
        u = v.view(*self._positions.shape, -1)  # (B, slots within, K)
        if self._x is not None:
            u.mul_(self._x)
        e = v.new_zeros(rows, self._fields, v.shape[1]).index_add_(1, self._owners, u)
        self._others = e.index_select(1, self._owners).sub_(u)  # of each slot, the rest of its field
        self._sums = (self._others * u).sum((1, 2)).mul_(0.5)

    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add the sum of each row's pairs."""
        logit += self._sums[piece.rows]

    def backward(self, delta: Tensor, piece: Piece) -> None:
        """Nothing goes through the fields."""

    def end_table(self, delta: Tensor, gradient: Tensor) -> None:
        """∂v = δ x (e − u) with u = x v."""
        pull = self._others.mul_(delta.view(-1, 1, 1) if self._x is None else delta.view(-1, 1, 1) * self._x)
        columns = gradient[:, self.model.fm_columns]
        columns.index_add_(0, self._positions.flatten().long(), pull.flatten(0, 1))


class OwnWeights(Term):
    """A weight looked up by each of C ids of a row, in a table of one column of the term's own: Σ_c w_{i(c)}.

    What is the same for every term of this form; one names table, ids and fields.
    """

    gives_pairs = True
    table: ClassVar[str]
    """The parameter: (ids, 1)."""

    @abstractmethod
    def ids(self, batch: Batch) -> Tensor:
        """Give the ids to look up: (B, C)."""

    @abstractmethod
    def names(self) -> list[Fields]:
        """Give the fields that each of the C weights belongs to."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Give the kind of the addends."""

    @property
    @abstractmethod
    def own_pairs(self) -> list[tuple[int, int]]:
        """The pair of field numbers (a, b), a < b, that each of the C weights gives to."""

    @property
    def own_table(self) -> str:
        """The table of weights."""
        return self.table

    @property
    def lookups(self) -> int:
        """How many weights a row has, C."""
        return len(self.own_pairs)

    def each(self, batch: Batch) -> Tensor:
        """Give the weights of a batch: (B, C)."""
        weights: Tensor = getattr(self.model, self.table)
        return weights[self.ids(batch).long(), 0]

    def forward(self, read: Reading) -> Tensor:
        """Give their sum: (B,)."""
        return self.each(read.batch).sum(1)

    def addends(self, read: Reading) -> Iterator[Addends]:
        """Yield each weight."""
        yield Addends(self.kind, self.names(), self.each(read.batch))

    def of_pairs(self, table: EncodedTable, pairs: Pairs, means: Tensor | None = None) -> Iterator[Values]:
        """Yield the sum of the weights that give to each pair, 0 where none does: (N,) a pair."""
        each, own = self.each(Batch.from_table(table)).detach().double().numpy(), self.own_pairs
        for pair in pairs:
            yield each[:, [fields == pair for fields in own]].sum(1)

    def prepare(self, gradients: Gradients, precision: str) -> None:
        """Train: rows come looked up."""
        self._slots = Slots([1] * self.lookups, self.model.table.device)

    _slots: Slots | None = None

    def begin(self, batch: Pass) -> None:
        """Compute the whole batch."""
        if self._slots is None:
            self._sums = self.each(batch.batch).sum(1)
            return
        self._lookup = batch.lookups[self.table]
        self._sums = self._slots.sums(self._lookup, slice(0, batch.rows)).squeeze(1)

    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add the weights."""
        logit += self._sums[piece.rows]

    def backward(self, delta: Tensor, piece: Piece) -> None:
        """The gradient of each lookup is δ, brought back at the end."""

    def own_gradient(self, delta: Tensor, into: Tensor | None) -> Tensor:
        """Sum δ over the lookups of each weight."""
        assert self._slots is not None
        return self._slots.gradient(self._lookup, [], delta, into)


class Crossed(OwnWeights):
    """A first-order weight for each combination of two crossed fields' values."""

    switch = "first_order"
    table = "crossed_weights"
    weights = ("crossed_weights",)
    kind = "first-order"

    @classmethod
    def build(cls, model: DeepFM) -> None:
        """Add the weights where fields are crossed, with what is known of each combination."""
        count = model.layout.crossed
        crossed = bool(model.layout.crosses) and model.spec.first_order
        model.crossed_weights = nn.Parameter(torch.zeros(count, 1)) if crossed else None
        if crossed:
            model.register_buffer("crossed_means", torch.zeros(count))
            model.register_buffer("crossed_seen", torch.ones(count, dtype=torch.bool))

    @classmethod
    def of(cls, model: DeepFM) -> bool:
        """Say whether fields are crossed."""
        return model.crossed_weights is not None

    def observe(self, train: Rows) -> None:
        """Take each combination's frequency."""
        if self.model.layout.crosses:
            parts = (Batch(_crosses(part), None, part.dense) for part in train.split(ROWS_AT_ONCE))
            means, seen = mean_x(parts, len(train), self.model.layout.crossed, self.model.table.device)
            self.model.crossed_means.copy_(means)
            self.model.crossed_seen.copy_(seen)

    def settle(self) -> None:
        """Let a combination that was not seen count as an average one."""
        model = self.model
        assert model.crossed_weights is not None
        settle_rows(model.crossed_weights, model.crossed_means, model.crossed_seen, model.layout.crosses)

    def ids(self, batch: Batch) -> Tensor:
        """Give the id of each crossed field's combination: (B, C)."""
        assert batch.crosses is not None
        return batch.crosses

    def names(self) -> list[Fields]:
        """Give the crossed fields' own names."""
        return [(field.name, None) for field in self.model.layout.crosses]

    @property
    def own_pairs(self) -> list[tuple[int, int]]:
        """The two fields of each."""
        return [(min(field.fields), max(field.fields)) for field in self.model.layout.crosses]


class Deep(NetworkTerm):
    """The output of the network over embeddings, products and dense fields."""

    switch = "deep"
    addend = "dnn"

    @classmethod
    def build(cls, model: DeepFM) -> None:
        """Add the network, with random weights."""
        spec, layout = model.spec, model.layout
        inputs = network_inputs(spec, len(layout.fields), len(layout.dense))
        shape = spec.layers, spec.activation, spec.dropout, spec.batch_norm
        model.network = Network(inputs, *shape) if cls.of(model) else None

    @property
    def part(self) -> Network:
        """The model's network."""
        assert self.model.network is not None
        return self.model.network

    _layers: Layers | None = None

    def prepare(self, gradients: Gradients, precision: str) -> None:
        """Train the network."""
        self._layers = Layers(self.model, gradients, precision)
        self.whole = self._layers.whole

    def begin(self, batch: Pass) -> None:
        """Begin a batch."""
        if self._layers is not None:
            self._layers.begin(batch)

    def add(self, logit: Tensor, piece: Piece) -> None:
        """Add the output."""
        fields = piece.fields(self.columns)
        if self._layers is not None:
            logit += self._layers.forward(fields, piece.dense, piece.kept)
        else:
            shaped = fields.view(piece.count, len(self.model.layout.fields), self.columns.stop - self.columns.start)
            logit += self.part(self.model.network_input(shaped, piece.dense))

    def backward(self, delta: Tensor, piece: Piece) -> None:
        """Go back through the layers."""
        assert self._layers is not None
        gradient, filled = piece.gradient(self.columns)
        self._layers.backward(delta, gradient, filled)


TERMS: tuple[type[Term], ...] = (FirstOrder, Dense, FMPairs, WithinPairs, Cells, Crossed, CrossNetwork, Deep)
"""Every term, in the order in which they add up. Gradients go the other way: the network writes first."""


def terms_of(model: DeepFM) -> list[Term]:
    """Give the terms that a model has."""
    return [term(model) for term in TERMS if term.of(model)]


def gives_pairs(model: DeepFM) -> bool:
    """Say whether any of a model's terms gives something to pairs of different fields."""
    return any(term.gives_pairs for term in terms_of(model))


# What the rows of a table of weights count as where no training row has read them.


def mean_x(parts: Iterable[Batch], rows: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give each feature's mean x over N rows, which come in parts, and whether any row has it: (size,) each."""
    sums = torch.zeros(size, dtype=torch.float64, device=device)
    sizes = torch.zeros_like(sums)
    for part in parts:
        ids, x = part.ids.flatten(), None if part.weights is None else part.weights.flatten().double()
        sums += torch.bincount(ids, x, size)
        sizes += torch.bincount(ids, None if x is None else x.abs(), size)
    return sums / max(rows, 1), sizes > 0


def _crosses(part: Batch) -> Tensor:
    assert part.crosses is not None
    return part.crosses


def settle_rows(table: Tensor, means: Tensor, seen: Tensor, fields: Sequence[EncodedField | CrossedField]) -> Tensor:
    """Give each field's mean row of the table, and put it in the place of every row that was not seen."""
    x = means.to(table)
    rows = table.new_empty(len(fields), table.shape[1])
    for number, field in enumerate(fields):
        block = slice(field.offset, field.offset + field.size)
        torch.mv(table[block].t(), x[block], out=rows[number])
        table[block][~seen[block]] = rows[number]
    return rows
