"""Check on held-out rows what was learned of each pair: out-of-fold evidence, and knock-out.

Start with `out_of_fold_evidence`. A `Learner` learns from the rows of all folds but one, and gives each pair's
contribution to the logit of the fold that is held out. `held_out_frame` judges these contributions. In shapes: N rows,
M held-out rows, P pairs, K folds, C cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.designs import (
    Crossing,
    FieldDesign,
    Slots,
    dense_designs,
    field_designs,
    take_rows,
)
from deepfm_core.evidence.joint import Related, cell_penalty, joint_scores, likelihoods, shrunken_effects, without_own
from deepfm_core.evidence.main_effects import MainEffects, fit_main_effects
from deepfm_core.evidence.posterior import posterior
from deepfm_core.evidence.ranking import MOST_ROWS, labels_of
from deepfm_core.evidence.score_test import Residuals, score_pair
from deepfm_core.metrics.scores import sigmoid

Values = NDArray[np.float64]
Rows = NDArray[np.int64]

FOLDS = 5
MOST_VALUES = 4_000_000
"""Contributions (held-out rows × pairs) kept per fold, 32 MB of them."""
RIDGE = 1.0
"""Prior precision of the joint slopes, which are shrunk towards 0."""
Z95 = 1.959964


@dataclass(frozen=True)
class HeldOut:
    """What a model trained on other rows says of M held-out rows.

    Attributes:
        parts: (M, P) pure contribution of each pair in log-odds: of all pairs in the order of `combinations` of fields,
            or of those that a learner was asked for.
        logit: (M,) the logit of the model, or None if it is main effects plus the parts.
        chosen: which of the held-out rows these are, in ascending order; None for all of them.
        base: (M,) the logit of main effects alone, where the learner has fitted them to all rows that it trained on.
    """

    parts: Values
    logit: Values | None = None
    chosen: Rows | None = None
    base: Values | None = None


Learner = Callable[[Rows, Rows], HeldOut]
"""A function of two arrays of row numbers: it trains on the first, and returns what it says of the second."""


@dataclass(frozen=True)
class FoldEvidence:
    """One fold: its held-out rows, their main-effects logit, and what the learner says of them."""

    rows: Rows
    base: Values
    held_out: HeldOut


def out_of_fold_evidence(
    table: EncodedTable, *, learner: Learner | None = None, folds: int = FOLDS, seed: int = 0
) -> pd.DataFrame:
    """Judge every pair on rows that neither its contributions nor the main effects were learned from.

    With p0 the held-out main-effects probability, v = p0 (1 − p0) and t a pair's held-out contribution:
    z = Σ (y − p0) t / √(Σ v t²), slope β = Σ (y − p0) t / Σ v t². A pair that is not there has z near 0. If its
    contributions have the right size, β is near 1. Cost with the default learner: K times that of the observed scores
    without draws; 12 fields × 20,000 rows about 2 s.

    Args:
        table: N labelled rows.
        learner: what is judged; cell effects shrunk by empirical Bayes (`CellLearner`) by default.
        folds: K.
        seed: of the folds, which are stratified by the label.

    Returns:
        The frame of `held_out_frame`.

    Raises:
        TableError: the table has no labels, or all of them are equal.
    """
    return held_out_frame(list(fold_evidence(table, learner=learner, folds=folds, seed=seed)), table)


def fold_evidence(
    table: EncodedTable, *, learner: Learner | None = None, folds: int = FOLDS, seed: int = 0
) -> Iterator[FoldEvidence]:
    """Yield the evidence fold by fold, so that the caller can show progress, or stop."""
    learn = learner or CellLearner(table)
    for fold in range(folds):
        train, held = rows_of_fold(table, folds, seed, fold)
        yield fold_judged(table, train, held, learn(train, held), (seed, fold))


def rows_of_fold(table: EncodedTable, folds: int, seed: int, fold: int) -> tuple[Rows, Rows]:
    """Give the rows to train on and the held-out rows of a fold, counted from 0; the seed and the labels choose."""
    fold_of = stratified_folds(labels_of(table), folds, seed)
    return np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


def fold_judged(table: EncodedTable, train: Rows, held: Rows, held_out: HeldOut, seed: tuple[int, int]) -> FoldEvidence:
    """Put the logit of main effects alone beside what was learned from the rows `train` of the rows `held`.

    Args:
        table: N labelled rows.
        train: the fold's training rows.
        held: its held-out rows.
        held_out: what was learned.
        seed: of the rows that main effects are fitted to, where there are more than `MOST_ROWS`.
    """
    rows = held if held_out.chosen is None else held[held_out.chosen]
    base = held_out.base
    if base is None:
        fitted = train  # rows that main effects are fitted to
        if len(train) > MOST_ROWS:
            fitted = np.sort(np.random.default_rng(seed).choice(train, MOST_ROWS, replace=False))
        base = _base_logit(table, fitted, rows)
    return FoldEvidence(rows, base, held_out)


def _base_logit(table: EncodedTable, train: Rows, held: Rows) -> Values:
    """Fit main effects to rows `train`, and return their logit at rows `held`: (M,)."""
    part = table.take(np.concatenate([train, held]))
    designs = (*field_designs(part), *dense_designs(part))
    train_rows, held_rows = np.arange(len(train)), np.arange(len(train), len(part))
    main = fit_main_effects(take_rows(designs, train_rows), labels_of(table)[train])
    return main.predict(take_rows(designs, held_rows))


def stratified_folds(labels: Values, folds: int, seed: int) -> NDArray[np.int64]:
    """Assign each of N rows to a fold: (N,), with the same share of positive labels in every fold."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # shuffled within each label
    fold_of = np.empty(len(labels), dtype=np.int64)
    fold_of[order] = np.arange(len(labels)) % folds  # then dealt like cards
    return fold_of


def held_out_frame(
    folds: Sequence[FoldEvidence], table: EncodedTable, pairs: Sequence[tuple[int, int]] | None = None
) -> pd.DataFrame:
    """Judge pairs by the held-out rows of all folds.

    Args:
        folds: each with the contributions of P pairs.
        table: N rows.
        pairs: the P pairs of field numbers; None for all pairs of fields.

    Returns:
        One row per pair, in the order of `pairs`:

        - `field_a`, `field_b`;
        - `held_out_z` and `held_out_slope` (β), as `out_of_fold_evidence` defines them;
        - `held_out_strength` = max(0, β) · sd(t), in log-odds;
        - `joint_slope`, β beside all other pairs: one ridge-Newton step from p0;
        - `knock_out_logloss`, the rise of the held-out logloss per row, in nats, when the pair's contribution is taken
          out of the logit, and its 95% interval `knock_out_low` to `knock_out_high`.
    """
    labels = labels_of(table)[np.concatenate([fold.rows for fold in folds])]
    base = np.concatenate([fold.base for fold in folds])
    parts = np.concatenate([fold.held_out.parts for fold in folds])  # (M, P) over all folds
    logit = np.concatenate(
        [
            fold.base + fold.held_out.parts.sum(axis=1) if fold.held_out.logit is None else fold.held_out.logit
            for fold in folds
        ]
    )
    p = sigmoid(base)
    v = p * (1 - p)
    gradient, information = parts.T @ (labels - p), parts.T @ (parts * v[:, None])  # (P,), (P, P)
    own = np.maximum(np.diag(information), 1e-300)
    slope = np.where(np.diag(information) > 1e-12, gradient / own, 0.0)
    # All slopes together: a pair whose contributions repeat another pair's gets no credit for them twice.
    joint = np.linalg.solve(information + RIDGE * np.eye(len(own)), gradient)
    rise, error = knock_out(labels, logit, parts)
    fields = table.layout.names
    chosen = combinations(range(len(fields)), 2) if pairs is None else pairs
    names = [(fields[a], fields[b]) for a, b in chosen]
    return pd.DataFrame(
        {
            "field_a": [a for a, _ in names],
            "field_b": [b for _, b in names],
            "held_out_z": slope * np.sqrt(own),
            "held_out_slope": slope,
            "held_out_strength": np.maximum(slope, 0.0) * parts.std(axis=0),
            "joint_slope": joint,
            "knock_out_logloss": rise,
            "knock_out_low": rise - Z95 * error,
            "knock_out_high": rise + Z95 * error,
        }
    )


def knock_out(labels: Values, logit: Values, parts: Values) -> tuple[Values, Values]:
    """Return (P,) mean rises of the logloss per row when each part (M, P) is taken out, and their standard errors."""
    sign = 2 * labels - 1
    whole = np.logaddexp(0.0, -sign * logit)  # (M,) logloss by row, log(1 + exp(−±z)) without overflow
    rises, errors = np.zeros(parts.shape[1]), np.zeros(parts.shape[1])
    for k, part in enumerate(parts.T):
        rise = np.logaddexp(0.0, -sign * (logit - part)) - whole
        rises[k], errors[k] = rise.mean(), rise.std() / np.sqrt(len(rise))
    return rises, errors


class CellLearner:
    """Learns each pair's cell effects from the training rows, shrunk by their support and by the pair's probability.

    A pair's effects are u = W / (V + 1/τ²) times the probability that it interacts, where τ is its expected strength
    beside the strong pairs (docs/interactions.md). That is the posterior mean of the model behind the observed
    strengths. It learns from at most `MOST_ROWS` rows, and returns as many held-out rows as `MOST_VALUES` allows.
    """

    def __init__(self, table: EncodedTable) -> None:
        self.table = table
        self.pairs = list(combinations(range(len(table.layout.fields)), 2))

    def __call__(self, train: Rows, held: Rows) -> HeldOut:
        """Train on rows `train`, and return the contributions for rows `held`, or for a sample of them."""
        rng = np.random.default_rng(0)
        chosen = np.arange(len(held))
        if len(train) > MOST_ROWS:
            train = np.sort(rng.choice(train, MOST_ROWS, replace=False))
        most = MOST_VALUES // max(len(self.pairs), 1)
        if len(held) > most:
            chosen = np.sort(rng.choice(len(held), most, replace=False))
        with threadpool_limits(1, user_api="blas"):
            return HeldOut(self._learn(train, held[chosen]), None, chosen)

    def _learn(self, train: Rows, held: Rows) -> Values:
        part = self.table.take(np.concatenate([train, held]))
        both = (*field_designs(part), *dense_designs(part))  # one set of columns for training and held-out rows
        designs = take_rows(both, np.arange(len(train)))
        held_designs = take_rows(both, np.arange(len(train), len(part)))
        labels = labels_of(part)[: len(train)]
        main = fit_main_effects(designs, labels)
        alone = residuals_of(designs, labels, main)
        scores = [score_pair(alone, a, b) for a, b in self.pairs]
        kin = Related.of(designs, self.pairs).kin
        joint = joint_scores(designs, labels, (main, alone), self.pairs, scores, kin, np.random.default_rng(0))
        beside = residuals_of(designs, labels, joint.fit)
        own = {h.pair: h for h in joint.held}
        evaluated = posterior(likelihoods(joint.scores))
        parts = np.empty((len(held), len(self.pairs)))
        for k, (a, b) in enumerate(self.pairs):
            rows = without_own(beside, own[k]) if k in own else beside  # a held pair is fitted to what others leave
            cells = rows.cells(a, b)
            penalty = cell_penalty(cells, float(evaluated.strength_if[k]))
            effects = shrunken_effects(cells, rows.pure_sums(a, b, cells), penalty) * evaluated.probability[k]
            parts[:, k] = contributions(cells.crossing, effects, held_designs[a].crossed, held_designs[b].crossed)
        return parts


def residuals_of(designs: Sequence[FieldDesign], labels: Values, fit: MainEffects) -> Residuals:
    """Return a fit's residuals, without draws."""
    p = fit.probability
    return Residuals(designs, labels - p, p * (1 - p), None)


def contributions(crossing: Crossing, effects: Values, a: Slots, b: Slots) -> Values:
    """Return what (C,) cell effects add to the logit of M other rows: (M,). Cells without training rows add nothing."""
    table = np.zeros((a.size, b.size))
    table[crossing.cell_a, crossing.cell_b] = effects
    values = table[a.ids[:, :, None], b.ids[:, None, :]]  # (M, s_a, s_b)
    if a.one_hot and b.one_hot:
        return np.asarray(values[:, 0, 0])
    return np.asarray(np.einsum("isr,is,ir->i", values, a.values, b.values))
