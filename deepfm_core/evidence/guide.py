"""What a guided model starts from: main effects and the cells of the pairs that the labels support, solved together.

Start with `fit_guides`. It asks the labels of the training part which pairs interact and how strongly, and then solves
one convex problem: the posterior mode of all main effects and of every cell of the supported pairs, where a pair's
cells have the spread that its evidence says. docs/interactions.md ("A model guided by its evidence") has the formulas
and what they are worth. In shapes: N rows, V features, D dense fields, P pairs, C cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable
from deepfm_core.encoding.vocabulary import MISSING
from deepfm_core.evidence.designs import (
    Crossing,
    FieldDesign,
    Slots,
    cross,
    dense_designs,
    field_designs,
    full_slots,
    wave_heights,
)
from deepfm_core.evidence.first_look import first_look
from deepfm_core.evidence.joint import likelihoods
from deepfm_core.evidence.main_effects import MainEffects, fit_main_effects, log_odds
from deepfm_core.evidence.posterior import expected_square, posterior
from deepfm_core.evidence.ranking import Known, ObservedFit, fit_observed, labels_of
from deepfm_core.evidence.score_test import benjamini_hochberg, upper_tail
from deepfm_core.evidence.verdicts import PROBABLE
from deepfm_core.spec.events import Report, unheard, within

Values = NDArray[np.float64]

SWEEPS = 30
"""Sweeps that take main effects out of cells."""
LIKELY = 0.03
"""Pairs that interact with a smaller probability, alone, are not looked at beside the others: that takes time."""
CLICKS = 1000
"""Rows of the rarer label from which a likelihood is trusted by itself. With a tenth of them, a pair's q-value must not
exceed a tenth, either: with few clicks, single rows convince a likelihood."""
FEWEST_EXPECTED = 5.0
"""Rows of the rarer label that a pair must expect where neither field has its usual value, in a table of fewer than
`CLICKS`. Interaction shows in these rows. Five is the usual rule for tables of counts (Cochran 1954)."""
_ROWS_AT_ONCE = 1 << 16
"""Rows that are counted at a time, so that a wide, long table takes no more memory than its bits."""
MOST_ASKED = 600
"""Pairs that are asked at most; of more, a first look chooses."""
MOST_LOOKED_AT = 20_000
"""Rows of a first look."""
MOST_PAIRS = 48
"""Most pairs with cells, the strongest by evidence."""
DENSE = 0.5
"""Share of a pair's variance that its cells must be able to find; the embeddings of sparser ones may do better."""
MOST_CELLS = 1_000_000
"""Most cells of a pair."""
DRAWS = 16
"""Label vectors drawn for the null. They steady the likelihoods; of p-values only those of few clicks are asked."""
ASKED = 0.8
"""Share of the time that asking the labels takes; solving is the rest."""


@dataclass(frozen=True)
class GuidedPair:
    """A pair that the labels of the training part support.

    Attributes:
        fields: the numbers (a, b) of its fields, a < b.
        strength: the standard deviation over rows that it has in the prior, in log-odds.
        by_cells: whether it has a weight for each cell; otherwise the embeddings of its features are to learn it.
    """

    fields: tuple[int, int]
    strength: float
    by_cells: bool = True


@dataclass(frozen=True)
class Guide:
    """Main effects and cells of pairs, in log-odds.

    Attributes:
        base: the constant.
        first_order: (V,) a weight for each feature.
        dense: (D,) a weight for each dense field.
        pairs: those that the labels support, strongest first.
        keys: (C,) ascending; the cell of features i of field a and j of field b, a < b, has the key i · V + j.
        weights: (C,) of the cells; all others are 0.
        main: main effects alone, beside which the pairs were looked for; None where none were.
    """

    base: float
    first_order: NDArray[np.float32]
    dense: NDArray[np.float32]
    pairs: tuple[GuidedPair, ...]
    keys: NDArray[np.int64]
    weights: NDArray[np.float32]
    main: MainEffects | None = None


@dataclass(frozen=True)
class Guides:
    """Two guides for the same rows: a model starts from one, and must do better than the other.

    Attributes:
        start: without the cells of sparse pairs, which embeddings are to learn.
        alone: with all cells; the same as `start` where no pair is sparse.
    """

    start: Guide
    alone: Guide


def fit_guides(table: EncodedTable, *, seed: int = 0, report: Report = unheard) -> Guides:
    """Ask the labels of training rows which pairs interact, and solve main effects and the cells of these pairs.

    Args:
        table: N labelled training rows.
        seed: of the draws of the evidence.
        report: called with the share done, 0 … 1.

    Returns:
        The guides; without pairs and main effects where all labels are equal.
    """
    if len(np.unique(table.labels if table.labels is not None else ())) < 2:
        return Guides(*[_constant(table)] * 2)
    problem = _Problem(table)
    with threadpool_limits(1, user_api="blas"):  # the products are many and small: more threads wait for each other
        pairs, main = _supported(table, seed, within(report, 0.0, ASKED))
        alone = replace(problem.solve(pairs), main=main)
        report((1 + ASKED) / 2)
        dense = [replace(pair, by_cells=problem.is_dense(pair)) for pair in alone.pairs]
        return Guides(alone if all(pair.by_cells for pair in dense) else problem.solve(dense), alone)


def _constant(table: EncodedTable) -> Guide:
    """Give the guide of rows whose labels say nothing."""
    labels = np.zeros(0) if table.labels is None else table.labels
    first_order = np.zeros(table.layout.vocabulary, np.float32)
    dense = np.zeros(len(table.layout.dense), np.float32)
    return Guide(log_odds(labels), first_order, dense, (), np.zeros(0, np.int64), np.zeros(0, np.float32))


def supported_pairs(table: EncodedTable, *, seed: int = 0, report: Report = unheard) -> tuple[GuidedPair, ...]:
    """Name the pairs that the labels support, strongest first, each with the spread of its cells.

    The spread is the root of the expected square of the pair's strength: a normal prior with the variance of the
    posterior, that of pairs which may be none included.
    """
    return _supported(table, seed, report)[0]


def _supported(table: EncodedTable, seed: int, report: Report) -> tuple[tuple[GuidedPair, ...], MainEffects | None]:
    """Name the pairs, as `supported_pairs` does, and give the main effects beside which they were looked for."""
    if len(table.layout.fields) < 2:
        return (), None
    every = len(table.layout.fields) * (len(table.layout.fields) - 1) // 2
    looked_at: list[tuple[int, int]] | None = None
    known: Known | None = None
    if every > MOST_ASKED:
        looked_at, known = _looked_at(table, seed)
    asked = _asked(table, looked_at)
    if asked is not None and not asked:
        return (), None
    fit = fit_observed(table, draws=DRAWS, seed=seed, report=report, least=LIKELY, pairs=asked, known=known)
    return _chosen(fit, every), fit.main


def _chosen(fit: ObservedFit, every: int) -> tuple[GuidedPair, ...]:
    """Choose the pairs that the labels support, of which `every` counts all, those that were not asked included."""
    joint, others = likelihoods(fit.joint.scores), every - len(fit.pairs)
    found = posterior(joint, others=others)
    strengths = np.sqrt(expected_square(joint, found))
    chosen = np.flatnonzero((found.probability >= PROBABLE) & (_q_values(fit, others) <= _rarer(fit.labels) / CLICKS))
    strongest = chosen[np.argsort(-strengths[chosen], kind="stable")][:MOST_PAIRS]
    return tuple(GuidedPair(fit.pairs[k], float(strengths[k])) for k in strongest)


def _rarer(labels: Values) -> float:
    """Count the rows of the rarer label."""
    return float(min(labels.sum(), len(labels) - labels.sum()))


def _asked(table: EncodedTable, chosen: list[tuple[int, int]] | None) -> list[tuple[int, int]] | None:
    """Leave out the pairs of which few clicks say nothing, such as those of a column that is nearly always 0.

    A single click in a rare cell is more than a null leads to expect, and convinces a likelihood.

    Returns:
        Pairs of field numbers, or None for all pairs.
    """
    rarer = _rarer(labels_of(table))
    if rarer >= CLICKS:
        return chosen
    unusual = np.stack([_unusual(table, field) for field in table.layout.fields])  # (F, N)
    together = np.zeros((len(unusual), len(unusual)))
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = unusual[:, start : start + _ROWS_AT_ONCE].astype(np.float32)
        together += part @ part.T
    expected = together * (rarer / len(table))  # (F, F)
    every = list(combinations(range(len(unusual)), 2)) if chosen is None else chosen
    kept = [(a, b) for a, b in every if expected[a, b] >= FEWEST_EXPECTED]
    return chosen if len(kept) == len(every) else kept


def _unusual(table: EncodedTable, field: EncodedField) -> NDArray[np.bool_]:
    """Say which rows have another value of a field than the one that most rows have: (N,)."""
    ids, x = table.ids[:, field.first_slot : field.first_slot + field.slots], table.x(field)
    if x is None and field.slots == 1:
        rows = np.bincount(ids[:, 0] - field.offset)
        usual = field.offset + np.flatnonzero(rows == rows.max())
        return np.asarray(ids[:, 0] != usual[_keys(usual[:, None]).argmin()])
    numbers = ids
    if x is not None:
        numbers = np.concatenate([ids, np.ascontiguousarray(x, np.float32).view(np.int32)], axis=1)
    value, counts = np.unique(_keys(numbers), return_inverse=True, return_counts=True)[1:]
    return np.asarray(value != counts.argmax())


def _keys(numbers: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Turn rows of numbers (N, S) into a key each (N,), modulo 2^64; to sort rows takes ten times as long."""
    factors = np.random.default_rng(0).integers(1 << 63, size=numbers.shape[1], dtype=np.uint64) * 2 + 1
    return np.asarray((numbers.astype(np.uint32) * factors).sum(1, dtype=np.uint64))


def _q_values(fit: ObservedFit, others: int) -> Values:
    """Return the pairs' q-values (P,) against the drawn null, among as many `others` that say nothing."""
    z, skew = (np.array([getattr(score, name) for score in fit.joint.scores]) for name in ("z", "skew"))
    return benjamini_hochberg(np.concatenate([upper_tail(z, skew), np.ones(others)]))[: len(z)]


def _looked_at(table: EncodedTable, seed: int) -> tuple[list[tuple[int, int]], Known | None]:
    """Choose the pairs of a wide table that are worth asking, from a sample of its rows.

    Returns:
        The pairs, and the designs and main effects that they were chosen beside, if those are of all rows.
    """
    sampled = len(table) > MOST_LOOKED_AT
    if sampled:
        rows = np.random.default_rng(seed).choice(len(table), MOST_LOOKED_AT, replace=False)
        table = table.take(np.sort(rows))
    designs = (*field_designs(table), *dense_designs(table))
    main = fit_main_effects(designs, labels_of(table))
    p, fields = main.probability, len(table.layout.fields)
    chosen = first_look(designs[:fields], labels_of(table) - p, p * (1 - p), MOST_ASKED)
    return chosen, None if sampled else (designs, main)


def solve(table: EncodedTable, pairs: Sequence[GuidedPair]) -> Guide:
    """Find the posterior mode of all main effects and of the cells of those `pairs` that have any.

    Main effects of a field are normal with a variance learned from the labels; the cells of a pair with the variance
    that gives rows its strength. A pair of too many cells loses them.
    """
    with threadpool_limits(1, user_api="blas"):
        return _Problem(table).solve(pairs)


class _Problem:
    """Main effects and cells over the same rows, to be solved for one choice of pairs after the other."""

    def __init__(self, table: EncodedTable) -> None:
        self._table, self._labels = table, labels_of(table)
        self._bases: dict[int, _Basis] = {}
        self._crossings: dict[tuple[int, int], Crossing] = {}

    def solve(self, pairs: Sequence[GuidedPair]) -> Guide:
        """Solve the problem, as `solve` says."""
        crossings = [(pair, self._crossing(pair.fields)) for pair in pairs if pair.by_cells]
        crossings = [(pair, cells) for pair, cells in crossings if cells.slots.size <= MOST_CELLS]
        cells = [FieldDesign("cells", *[crossing.slots] * 2) for _, crossing in crossings]
        variances = [_variance(pair, crossing) for pair, crossing in crossings]
        solved = fit_main_effects([*self._designs, *cells], self._labels, known=variances)
        holding = {pair.fields for pair, _ in crossings}
        kept = tuple(replace(pair, by_cells=pair.fields in holding) for pair in pairs)
        return _guide(self._table, kept, self._bases, crossings, solved)

    def is_dense(self, pair: GuidedPair) -> bool:
        """Say whether the table of a pair is dense enough for cells of its own.

        Of the variance that its cells give to rows, they can find the share V / (V + 1/τ²), where V is a cell's
        information. Where that is small, embeddings may do better: they share what they know of a feature over all its
        cells.
        """
        if not pair.by_cells:
            return False
        cells, rate = self._crossing(pair.fields), float(self._labels.mean())
        V = cells.slots.square_sums(np.full(len(self._labels), rate * (1 - rate)))
        found = V / (V + 1 / _variance(pair, cells))
        return float(V @ found) >= DENSE * float(V.sum())

    @cached_property
    def _designs(self) -> list[FieldDesign]:
        """What main effects are linear in: the features of each field, then each dense value."""
        layout, dense = self._table.layout, self._table.dense.T.astype(np.float64)
        of_dense = [(name, full_slots(x[:, None])) for name, x in zip(layout.dense, dense, strict=True)]
        of_fields = [(field.name, _slots(self._table, field)) for field in layout.fields]
        return [FieldDesign(name, slots, slots) for name, slots in (*of_fields, *of_dense)]

    def _crossing(self, fields: tuple[int, int]) -> Crossing:
        for number in fields:
            if number not in self._bases:
                self._bases[number] = _Basis.of(self._table, number)
        if fields not in self._crossings:
            self._crossings[fields] = cross(*(self._bases[number].slots for number in fields))
        return self._crossings[fields]


def _variance(pair: GuidedPair, cells: Crossing) -> float:
    """Give the variance of cells that gives rows the pair's strength."""
    return pair.strength**2 / max(float(cells.squares.mean()), 1e-12)


@dataclass(frozen=True)
class _Basis:
    """What the cells of a field's pairs are products of.

    Attributes:
        slots: the columns over N rows.
        heights: (size, columns) of each feature, where columns are smooth waves of numbers; None where each feature is
            a column.
        field: the field.
    """

    slots: Slots
    heights: Values | None
    field: EncodedField

    @classmethod
    def of(cls, table: EncodedTable, number: int) -> _Basis:
        field = table.layout.fields[number]
        slots = _slots(table, field)
        if not field.kind.is_number or field.size <= 3:
            return cls(slots, None, field)
        rows = np.asarray(np.bincount(slots.ids.ravel(), slots.values.ravel(), field.size), dtype=np.float64)
        heights = wave_heights(rows, [name == MISSING for name in field.features])
        return cls(full_slots(np.asarray(slots.matrix @ heights)), heights, field)

    def features(self, columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], Values]:
        """Give the features that each of (C,) columns stands for, and their heights: (C, n) each."""
        if self.heights is None:
            return columns[:, None] + self.field.offset, np.ones((len(columns), 1))
        ids = np.broadcast_to(np.arange(self.field.size), (len(columns), self.field.size))
        return ids + self.field.offset, self.heights.T[columns]


def _slots(table: EncodedTable, field: EncodedField) -> Slots:
    """Give a field's features as columns: (N, slots) with the x of each."""
    ids = table.ids[:, field.first_slot : field.first_slot + field.slots].astype(np.int64) - field.offset
    x = table.x(field)
    if x is None and field.slots > 1:
        return Slots(ids, np.ones(ids.shape), field.size)
    return Slots(ids, None if x is None else x.astype(np.float64), field.size)


def _guide(
    table: EncodedTable,
    pairs: tuple[GuidedPair, ...],
    bases: Mapping[int, _Basis],
    crossings: Sequence[tuple[GuidedPair, Crossing]],
    solved: MainEffects,
) -> Guide:
    """Turn what was solved into weights by feature."""
    fields, dense = len(table.layout.fields), len(table.layout.dense)
    keys, weights = [np.zeros(0, np.int64)], [np.zeros(0)]
    first_order = [effects.copy() for effects in solved.effects[:fields]]
    for (pair, crossing), effects in zip(crossings, solved.effects[fields + dense :], strict=True):
        a, b = (bases[f] for f in pair.fields)
        pure, of_a, of_b = _main_effects_out(a, b, crossing, effects)
        first_order[pair.fields[0]] += of_a
        first_order[pair.fields[1]] += of_b
        found = _cells_of_features(a, b, crossing, pure, table.layout.vocabulary)
        keys.append(found[0])
        weights.append(found[1])
    key, weight = np.concatenate(keys), np.concatenate(weights)
    order = np.argsort(key)
    return Guide(
        solved.base,
        np.concatenate([np.zeros(0), *first_order]).astype(np.float32),
        np.concatenate([np.zeros(0), *solved.effects[fields : fields + dense]]).astype(np.float32),
        pairs,
        key[order],
        weight[order].astype(np.float32),
    )


def _main_effects_out(a: _Basis, b: _Basis, crossing: Crossing, effects: Values) -> tuple[Values, Values, Values]:
    """Take what cells hold of one field alone out of them: (C,) what is left, and (features,) of either field.

    The logit of a row stays the same. A combination that no training row has then counts with both main effects. Waves
    are centred, so of two numbers nothing is taken; nor is anything of fields with several values.
    """
    of_a, of_b = np.zeros(a.field.size), np.zeros(b.field.size)
    if a.heights is not None and b.heights is not None:
        return effects, of_a, of_b
    if a.heights is None and b.heights is None:
        if not (a.slots.one_hot and b.slots.one_hot):
            return effects, of_a, of_b
        rows, left = np.bincount(crossing.slots.ids[:, 0], minlength=len(effects)).astype(np.float64), effects.copy()
        for _ in range(SWEEPS):
            for total, cell in ((of_a, crossing.cell_a), (of_b, crossing.cell_b)):
                sums, counts = np.bincount(cell, rows * left, len(total)), np.bincount(cell, rows, len(total))
                mean = sums / np.maximum(counts, 1.0)
                total += mean
                left -= mean[cell]
        return left, of_a, of_b
    number, of_number, levels = (a, of_a, b) if a.heights is not None else (b, of_b, a)
    waves, level = (crossing.cell_a, crossing.cell_b) if number is a else (crossing.cell_b, crossing.cell_a)
    if number.heights is not None and levels.slots.one_hot:
        shares = np.bincount(levels.slots.ids[:, 0], minlength=levels.field.size) / len(levels.slots.ids)
        mean = np.asarray(np.bincount(waves, shares[level] * effects, number.heights.shape[1]), dtype=np.float64)
        of_number += number.heights @ mean
        return np.asarray(effects - mean[waves]), of_a, of_b
    return effects, of_a, of_b


def _cells_of_features(
    a: _Basis, b: _Basis, crossing: Crossing, effects: Values, vocabulary: int
) -> tuple[NDArray[np.int64], Values]:
    """Give the keys and weights of a pair's cells by feature, from the effects of products of columns."""
    (of_a, high_a), (of_b, high_b) = a.features(crossing.cell_a), b.features(crossing.cell_b)
    keys = of_a[:, :, None] * vocabulary + of_b[:, None, :]  # (C, n_a, n_b)
    weights = effects[:, None, None] * high_a[:, :, None] * high_b[:, None, :]
    if a.heights is None and b.heights is None:
        return keys.ravel(), weights.ravel()
    found, place = np.unique(keys.ravel(), return_inverse=True)
    return found, np.asarray(np.bincount(place.ravel(), weights.ravel(), len(found)), dtype=np.float64)
