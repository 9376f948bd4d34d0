"""What a guided model starts from: main effects and the cells of the pairs that the labels support, solved together.

Start with `fit_guides`. It asks the labels of the training part, or of a sample of it, which pairs interact and how
strongly. Then it solves one convex problem over all its rows: the posterior mode of all main effects and of every cell
of the supported pairs, where a pair's cells have the spread that its evidence says. Rows on the disk are solved as
those in memory are, a stretch at a time. docs/interactions.md ("A model guided by its evidence") has the formulas and
what they are worth. In shapes: N rows, V features, D dense fields, P pairs, C cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepfm_core._parallel import release_memory
from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable, Layout, together
from deepfm_core.encoding.sharding import Shards
from deepfm_core.encoding.turned import TurnedRows
from deepfm_core.encoding.vocabulary import MISSING
from deepfm_core.evidence.designs import dense_designs, field_designs, wave_heights
from deepfm_core.evidence.first_look import first_look
from deepfm_core.evidence.joint import likelihoods
from deepfm_core.evidence.main_effects import MainEffects, fit_columns, fit_main_effects, log_odds
from deepfm_core.evidence.posterior import expected_square, posterior
from deepfm_core.evidence.ranking import MOST_ROWS, Known, ObservedFit, fit_observed, labels_of
from deepfm_core.evidence.score_test import benjamini_hochberg, upper_tail
from deepfm_core.evidence.stretched import ByField, Cells, Held, Stretched
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
MOST_IN_ALL = MOST_PAIRS * MOST_CELLS
"""Most cells of all pairs, where rows are in memory."""
_A_CELL = 128
"""Bytes that a cell takes: while it is solved, and in the model, its best weights and the guide."""
_AN_ASKED_SLOT = 100
"""Bytes that a slot of a row takes while its labels are asked."""
_ASKED_WINDOWS = 2
"""Windows whose memory is free while the labels of rows on the disk are asked: that of training, and of reading."""
FEWEST_ASKED = 20_000
"""A sample has at least so many rows."""
DRAWS = 16
"""Label vectors drawn for the null. They steady the likelihoods; of p-values only those of few clicks are asked."""
DRAWN = 0.05
"""Share of the time by which the rows to ask are drawn, where they are on the disk."""
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
        rows: N, of which main effects and cells are.
        asked: how many of them were asked which pairs interact.
    """

    base: float
    first_order: NDArray[np.float32]
    dense: NDArray[np.float32]
    pairs: tuple[GuidedPair, ...]
    keys: NDArray[np.int64]
    weights: NDArray[np.float32]
    main: MainEffects | None = None
    rows: int = 0
    asked: int = 0


@dataclass(frozen=True)
class Guides:
    """Two guides for the same rows: a model starts from one, and must do better than the other.

    Attributes:
        start: without the cells of sparse pairs, which embeddings are to learn.
        alone: with all cells; the same as `start` where no pair is sparse.
    """

    start: Guide
    alone: Guide


def fit_guides(table: EncodedTable | Shards, *, seed: int = 0, report: Report = unheard) -> Guides:
    """Ask the labels of training rows which pairs interact, and solve main effects and the cells of these pairs.

    If there are more than `MOST_ROWS` rows, it asks a random sample of that size: the same rows in memory and on the
    disk.

    Args:
        table: N labelled training rows, in memory or on the disk.
        seed: of the sample, and of the draws of the evidence.
        report: called with the share done, 0 … 1.

    Returns:
        The guides; without pairs and main effects where all labels are equal.

    Raises:
        RunError: rows cannot be read from the disk, or it has no room for a copy of them.
    """
    if len(np.unique(table.labels if table.labels is not None else ())) < 2:
        return Guides(*[_constant(table)] * 2)
    with threadpool_limits(1, user_api="blas"):  # the products are many and small: more threads wait for each other
        asked = _sample(table, seed, within(report, 0.0, DRAWN))
        (pairs, main), count = _supported(asked, seed, within(report, DRAWN, ASKED)), len(asked)
        del asked
        report(ASKED)
        left = within(report, ASKED, 1.0)
        if isinstance(table, EncodedTable):
            guides = _guides(_Problem(Held(table, labels_of(table)), MOST_IN_ALL), pairs, left)
        else:
            with TurnedRows(table, left) as rows:
                guides = _guides(_Problem(rows, table.window_bytes // _A_CELL), pairs, left)
            release_memory()  # the windows of training are to have it
        start, alone = (replace(one, main=main, rows=len(table), asked=count) for one in (guides.start, guides.alone))
        return Guides(start, alone)


def fit_first_order(table: EncodedTable | Shards, *, report: Report = unheard) -> Guide:
    """Solve main effects alone: LR whose weights have a normal prior, as wide for each field as the labels say.

    Args:
        table: N labelled training rows, in memory or on the disk.
        report: called with the share done, 0 … 1.

    Returns:
        A guide without pairs; without main effects, too, where all labels are equal.

    Raises:
        RunError: rows cannot be read from the disk, or it has no room for a copy of them.
    """
    if len(np.unique(table.labels if table.labels is not None else ())) < 2:
        return _constant(table)
    with threadpool_limits(1, user_api="blas"):
        if isinstance(table, EncodedTable):
            return _Problem(Held(table, labels_of(table)), 0).solve((), report)
        with TurnedRows(table, report) as rows:
            solved = _Problem(rows, 0).solve((), report)
        release_memory()  # the windows that the model reads are to have it
        return solved


def _sample(table: EncodedTable | Shards, seed: int, report: Report = unheard) -> EncodedTable:
    """Give the rows whose labels are asked, in memory: all, or a sample of as many as there is room for.

    Rows on the disk are read a window at a time, and each is reported: whoever listens may stop there.
    """
    most = MOST_ROWS
    if isinstance(table, Shards):
        room = _ASKED_WINDOWS * table.window_bytes // (_AN_ASKED_SLOT * table.layout.slots)
        most = min(most, max(room, FEWEST_ASKED))
    if len(table) <= most:
        return table if isinstance(table, EncodedTable) else together(list(table.windows()))
    rows = np.sort(np.random.default_rng(seed).choice(len(table), most, replace=False))
    if isinstance(table, EncodedTable):
        return table.take(rows)
    parts, start = [], 0
    for window in table.windows():
        own = rows[(rows >= start) & (rows < start + len(window))] - start
        parts.append(window.take(own))
        start += len(window)
        report(start / len(table))
    return together(parts)


def _guides(problem: _Problem, pairs: Sequence[GuidedPair], report: Report) -> Guides:
    """Solve the problem with the cells of all pairs, and without those of sparse ones."""
    alone = problem.solve(pairs, within(report, 0.0, 0.5))
    dense = [replace(pair, by_cells=problem.is_dense(pair)) for pair in alone.pairs]
    if all(pair.by_cells for pair in dense):
        return Guides(alone, alone)
    return Guides(problem.solve(dense, within(report, 0.5, 1.0)), alone)


def _constant(table: EncodedTable | Shards) -> Guide:
    """Give the guide of rows whose labels say nothing."""
    labels = np.zeros(0) if table.labels is None else table.labels
    first_order = np.zeros(table.layout.vocabulary, np.float32)
    dense = np.zeros(len(table.layout.dense), np.float32)
    none = np.zeros(0, np.int64), np.zeros(0, np.float32)
    return Guide(log_odds(labels), first_order, dense, (), *none, rows=len(labels), asked=len(labels))


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
        return _Problem(Held(table, labels_of(table)), MOST_IN_ALL).solve(pairs)


class _Problem:
    """Main effects and cells over the same rows, to be solved for one choice of pairs after the other."""

    def __init__(self, rows: ByField, most_cells: int) -> None:
        """Take N labelled rows, and how many cells there may be in all."""
        self._rows, self._left = rows, most_cells
        self._bases: dict[int, _Basis] = {}
        self._cells: dict[tuple[int, int], Cells | None] = {}

    def solve(self, pairs: Sequence[GuidedPair], report: Report = unheard) -> Guide:
        """Solve the problem, as `solve` says."""
        layout = self._rows.layout
        crossings = [(pair, self._crossing(pair.fields)) for pair in pairs if pair.by_cells]
        held = [(pair, cells) for pair, cells in crossings if cells is not None]
        columns = [*self._columns, *(cells for _, cells in held)]
        names = [*layout.names, *layout.dense, *["cells"] * len(held)]
        variances = [_variance(pair, cells) for pair, cells in held]
        solved = fit_columns(names, columns, self._rows.labels, known=variances, report=report)
        holding = {pair.fields for pair, _ in held}
        kept = tuple(replace(pair, by_cells=pair.fields in holding) for pair in pairs)
        return _guide(layout, kept, self._bases, held, solved)

    def is_dense(self, pair: GuidedPair) -> bool:
        """Say whether the table of a pair is dense enough for cells of its own.

        Of the variance that its cells give to rows, they can find the share V / (V + 1/τ²), where V is a cell's
        information. Where that is small, embeddings may do better: they share what they know of a feature over all its
        cells.
        """
        cells = self._crossing(pair.fields) if pair.by_cells else None
        if cells is None:
            return False
        rate = float(self._rows.labels.mean(dtype=np.float64))
        V = cells.squares * (rate * (1 - rate))
        found = V / (V + 1 / _variance(pair, cells))
        return float(V @ found) >= DENSE * float(V.sum())

    @cached_property
    def _columns(self) -> list[Stretched]:
        """What main effects are linear in: the features of each field, then each dense value."""
        layout = self._rows.layout
        of_fields = [Stretched.of_field(self._rows, field) for field in layout.fields]
        return [*of_fields, *(Stretched.of_dense(self._rows, number) for number in range(len(layout.dense)))]

    def _crossing(self, fields: tuple[int, int]) -> Cells | None:
        """Give a pair's cells, None where there are too many."""
        for number in fields:
            if number not in self._bases:
                self._bases[number] = _Basis.of(self._columns[number], self._rows.layout.fields[number])
        if fields not in self._cells:
            a, b = (self._bases[number].columns for number in fields)
            found = Cells.crossing(a, b, min(MOST_CELLS, self._left))
            self._left -= 0 if found is None else found.size
            self._cells[fields] = found
        return self._cells[fields]


def _variance(pair: GuidedPair, cells: Cells) -> float:
    """Give the variance of cells that gives rows the pair's strength."""
    return pair.strength**2 / max(float(cells.squares.sum()) / max(cells.rows, 1), 1e-12)


@dataclass(frozen=True)
class _Basis:
    """What the cells of a field's pairs are products of.

    Attributes:
        columns: over N rows.
        heights: (size, columns) of each feature, where columns are smooth waves of numbers; None where each feature is
            a column.
        field: the field.
    """

    columns: Stretched
    heights: Values | None
    field: EncodedField

    @classmethod
    def of(cls, columns: Stretched, field: EncodedField) -> _Basis:
        """Make the basis of a field whose features are `columns`."""
        if not field.kind.is_number or field.size <= 3:
            return cls(columns, None, field)
        heights = wave_heights(columns.mass, [name == MISSING for name in field.features])
        return cls(columns.times(heights), heights, field)

    def features(self, columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], Values]:
        """Give the features that each of (C,) columns stands for, and their heights: (C, n) each."""
        if self.heights is None:
            return columns[:, None] + self.field.offset, np.ones((len(columns), 1))
        ids = np.broadcast_to(np.arange(self.field.size), (len(columns), self.field.size))
        return ids + self.field.offset, self.heights.T[columns]


def _guide(
    layout: Layout,
    pairs: tuple[GuidedPair, ...],
    bases: Mapping[int, _Basis],
    crossings: Sequence[tuple[GuidedPair, Cells]],
    solved: MainEffects,
) -> Guide:
    """Turn what was solved into weights by feature."""
    fields, dense = len(layout.fields), len(layout.dense)
    keys, weights = [np.zeros(0, np.int64)], [np.zeros(0)]
    first_order = [effects.copy() for effects in solved.effects[:fields]]
    for (pair, crossing), effects in zip(crossings, solved.effects[fields + dense :], strict=True):
        a, b = (bases[f] for f in pair.fields)
        pure, of_a, of_b = _main_effects_out(a, b, crossing, effects)
        first_order[pair.fields[0]] += of_a
        first_order[pair.fields[1]] += of_b
        found = _cells_of_features(a, b, crossing, pure, layout.vocabulary)
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


def _main_effects_out(a: _Basis, b: _Basis, crossing: Cells, effects: Values) -> tuple[Values, Values, Values]:
    """Take what cells hold of one field alone out of them: (C,) what is left, and (features,) of either field.

    The logit of a row stays the same. A combination that no training row has then counts with both main effects. Waves
    are centred, so of two numbers nothing is taken; nor is anything of fields with several values.
    """
    of_a, of_b = np.zeros(a.field.size), np.zeros(b.field.size)
    if a.heights is not None and b.heights is not None:
        return effects, of_a, of_b
    if a.heights is None and b.heights is None:
        if not (a.columns.one_hot and b.columns.one_hot):
            return effects, of_a, of_b
        rows, left = crossing.mass, effects.copy()
        for _ in range(SWEEPS):
            for total, cell in ((of_a, crossing.cell_a), (of_b, crossing.cell_b)):
                sums, counts = np.bincount(cell, rows * left, len(total)), np.bincount(cell, rows, len(total))
                mean = sums / np.maximum(counts, 1.0)
                total += mean
                left -= mean[cell]
        return left, of_a, of_b
    number, of_number, levels = (a, of_a, b) if a.heights is not None else (b, of_b, a)
    waves, level = (crossing.cell_a, crossing.cell_b) if number is a else (crossing.cell_b, crossing.cell_a)
    if number.heights is not None and levels.columns.one_hot:
        shares = levels.columns.mass / levels.columns.rows
        mean = np.asarray(np.bincount(waves, shares[level] * effects, number.heights.shape[1]), dtype=np.float64)
        of_number += number.heights @ mean
        return np.asarray(effects - mean[waves]), of_a, of_b
    return effects, of_a, of_b


def _cells_of_features(
    a: _Basis, b: _Basis, crossing: Cells, effects: Values, vocabulary: int
) -> tuple[NDArray[np.int64], Values]:
    """Give the keys and weights of a pair's cells by feature, from the effects of products of columns."""
    (of_a, high_a), (of_b, high_b) = a.features(crossing.cell_a), b.features(crossing.cell_b)
    keys = of_a[:, :, None] * vocabulary + of_b[:, None, :]  # (C, n_a, n_b)
    weights = effects[:, None, None] * high_a[:, :, None] * high_b[:, None, :]
    if a.heights is None and b.heights is None:
        return keys.ravel(), weights.ravel()
    found, place = np.unique(keys.ravel(), return_inverse=True)
    return found, np.asarray(np.bincount(place.ravel(), weights.ravel(), len(found)), dtype=np.float64)
