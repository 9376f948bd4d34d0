"""How strongly the labels speak for an interaction of two fields: the score test of its variance, and a likelihood.

Start with `score_pair`. `Residuals` holds what it is computed from. In shapes: N rows, F fields, C cells of a pair, T
strengths, B draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import gammaincc

from deepfm_core.evidence.designs import FieldDesign, Slots
from deepfm_core.evidence.main_effects import MainEffects
from deepfm_core.evidence.pair_cells import FieldWeights, PairCells
from deepfm_core.evidence.posterior import STRENGTHS, Moments, steadied
from deepfm_core.evidence.solving import factored, solved

Values = NDArray[np.float64]

NO_INFO = 1e-12
"""Relative information below which a pair counts as purely additive: its score is 0."""
MOST_PER_STRENGTH = 1.5
"""Limit of a pair's spread over rows per unit of its strength. With few clicks, few rows make up the spread, and its
estimate can be far too large."""

_BY_ITSELF = np.stack([STRENGTHS, np.zeros(len(STRENGTHS))])
"""(2, T) spreads over rows for a pair without information: its strength, without error."""


class Residuals:
    """Residuals of a fitted model over N rows with their variances, and residuals of B draws without interaction.

    Attributes:
        designs: F designs.
        residual: (N,) y − p.
        weights: (N,) v = p(1−p).
        draws: (N, B) residuals of refitted draws, or None.
    """

    def __init__(
        self,
        designs: Sequence[FieldDesign],
        residual: Values,
        weights: Values,
        draws: NDArray[np.float32] | None,
    ) -> None:
        self.designs = designs
        self.residual = residual
        self.weights = weights
        self.draws = draws
        self._field_weights: dict[int, FieldWeights] = {}
        self._by_field: dict[int, tuple[Values, Values | None]] = {}

    def with_residuals(self, residual: Values, draws: NDArray[np.float32] | None) -> Residuals:
        """Replace the residuals and draws, and keep the row weights with what was computed from them."""
        other = Residuals(self.designs, residual, self.weights, draws)
        other._field_weights = self._field_weights  # factorised Gram matrices, the expensive part
        return other

    @cached_property
    def squared_draws(self) -> NDArray[np.float32]:
        """(N, B) squares."""
        assert self.draws is not None
        return self.draws**2

    def _weights_of(self, field: int) -> FieldWeights:
        if field not in self._field_weights:
            self._field_weights[field] = FieldWeights(self.designs[field], self.weights)
        return self._field_weights[field]

    def _sums_of(self, field: int) -> tuple[Values, Values | None]:
        """Return sums over a field's levels: of the residual (levels,), and of the draws (levels, B)."""
        if field not in self._by_field:
            levels = self.designs[field].main
            drawn = None if self.draws is None else levels.sums(self.draws).astype(np.float64)
            self._by_field[field] = np.asarray(levels.sums(self.residual)), drawn
        return self._by_field[field]

    def cells(self, a: int, b: int) -> PairCells:
        """Cross two fields under the row weights."""
        fields = (self._weights_of(a), self._weights_of(b))
        return PairCells(self.designs[a], self.designs[b], self.weights, fields)

    def pure_sums(self, a: int, b: int, cells: PairCells) -> Values:
        """Return W (C,) of the residual: its sums over cells without the additive part."""
        return cells.project(cells.sums(self.residual), self._sums_of(a)[0], self._sums_of(b)[0])

    def pure_sums_of_draws(self, a: int, b: int, cells: PairCells) -> Values:
        """Return W (C, B) of the draws."""
        assert self.draws is not None
        sums = cells.sums(self.draws).astype(np.float64)
        by_a, by_b = self._sums_of(a)[1], self._sums_of(b)[1]
        assert by_a is not None
        assert by_b is not None
        return cells.project(sums, by_a, by_b)


@dataclass(frozen=True)
class PairScore:
    """The evidence of one pair.

    Attributes:
        excess: S = Σ_c W_c² − Σ_i k_ii r_i², minus its mean without interaction. The mean of `excess` is `info` · τ².
        info: Σ_{i≠j} k_ij² v_i v_j, where k is the kernel Σ_c x_ic x_jc of two rows without its additive part.
        sd, skew: of S without interaction.
        likelihood: (T,) log-likelihood at `STRENGTHS`, relative to strength 0.
        row_sds: (2, T) standard deviation over rows of the estimated pure effects, and its error, at each strength. It
            is smaller than the strength if the additive part takes much of a small table, or heavy cells have small
            effects.
        cells: C, the number of cells that have rows.
    """

    excess: float
    info: float
    sd: float
    skew: float
    likelihood: Values
    row_sds: Values
    cells: int

    @property
    def z(self) -> float:
        """`excess` in standard deviations of its null."""
        return self.excess / self.sd


def score_pair(rows: Residuals, a: int, b: int) -> PairScore:
    """Score the interaction of fields a and b.

    The score of τ² at zero in the mixed model logit = additive + u_cell, u ~ N(0, τ²), is Σ W² less its mean
    (Lin 1997). For small τ no test has more power, whatever the shape of the table. With many cells each row's own
    square is left out, so that a cell of a single row adds nothing.

    Args:
        rows: residuals and draws.
        a, b: numbers of the fields.
    """
    cells = rows.cells(a, b)
    pure = rows.pure_sums(a, b, cells)  # (C,) W
    drawn = None if rows.draws is None else rows.pure_sums_of_draws(a, b, cells)
    moments = Moments.of(cells, drawn)
    if moments.info <= NO_INFO * float(cells.V.sum()) ** 2:
        return PairScore(0.0, 0.0, 1.0, 0.0, np.zeros(len(STRENGTHS)), _BY_ITSELF, cells.size)
    score, parts = _squares(moments, pure, cells, rows.residual**2)
    mean, sd, skew = moments.null
    drawn_parts = None
    if drawn is not None:
        scores, drawn_parts = _squares(moments, drawn, cells, rows.squared_draws)
        # The analytic moments take main effects as known, and the draws were refitted. So take the mean of the draws,
        # average the variances, and use the larger skewness, which makes p-values larger.
        mean, skew = float(scores.mean()), max(skew, _skewness(scores))
        sd = float(np.sqrt(steadied(scores.var(), sd**2, len(scores)) * (1 + 1 / len(scores))))
    spread = float(np.sqrt(cells.squares.mean()))  # of a row's logit, if cell effects have variance 1
    likelihood = moments.likelihood(parts, drawn_parts, spread)
    row_sds = moments.row_sds(pure, spread, rows.weights)
    row_sds[0] = np.minimum(row_sds[0], MOST_PER_STRENGTH * STRENGTHS)
    return PairScore(float(score) - mean, moments.info, sd, skew, likelihood, row_sds, cells.size)


def _squares(moments: Moments, pure: Values, cells: PairCells, squared: NDArray[np.floating]) -> tuple[Values, Values]:
    """Return S (…) before its mean is subtracted, and the squares (C, …) of components for the likelihood.

    With many cells, each row's own square (from the (N, …) squared residuals) is left out of both.
    """
    parts = moments.components(pure) ** 2
    score = parts.sum(axis=0)
    if not moments.leaves_own_out:
        return score, parts
    own = cells.own_squares(squared).astype(np.float64)  # (C, …)
    score = score - own.sum(axis=0)
    own *= moments.freedom.reshape(-1, *[1] * (own.ndim - 1))
    parts -= own
    return score, parts


def _skewness(scores: Values) -> float:
    centred = scores - scores.mean()
    return float((centred**3).mean() / max(float((centred**2).mean()) ** 1.5, 1e-300))


# The null: what evidence looks like when no pair interacts.
#
# `null_residuals` draws labels from the main effects and refits them, a parametric bootstrap (Efron & Tibshirani
# 1993). `upper_tail` turns a score into a p-value, `benjamini_hochberg` p-values into q-values. In shapes: N rows, P
# columns of all fields, B draws.


DIRECT_COLUMNS = 3000
"""Columns up to which X'VX is kept dense and factorised: 3,000 columns take 72 MB."""
CG_STEPS = 25
CG_TOLERANCE = 1e-3
"""Residual norm, relative to the first, at which conjugate gradients stop. Draws have far more noise than that."""
GRAM_WORK = 100_000_000
"""Entries of X'VX summed at most; of longer tables a sample of rows gives it."""
LEAST_PENALTY = 1e-8
"""Penalty of every column, relative to the largest entry of X'VX. Each field's columns sum to the constant, so that
X'VX alone is singular."""
DRAWN_TOGETHER = 16
"""Draws made at a time; it bounds the memory of the float64 random numbers."""
LEAST_SKEW = 0.05
"""Skewness below which the gamma distribution is computed at this one: its shape 4/skew² must stay finite."""


def null_residuals(
    designs: Sequence[FieldDesign], fit: MainEffects, draws: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw labels from a main-effects model and refit the model to each draw, all draws at once.

    The refit is one Newton step of the penalised likelihood, from the model the labels were drawn from:
    residual = g − v X (X'VX + Λ)⁻¹ (X'g − Λθ) with g = y* − p, v = p(1−p), and Λ the precisions of the effects θ.

    Args:
        designs: the designs the model was fitted to, N rows.
        fit: the model.
        draws: B, how many label vectors to draw.
        rng: the random numbers.

    Returns:
        (N, B) residuals of the refitted draws.
    """
    p = fit.probability
    v = p * (1 - p)
    noise = np.empty((len(p), draws), dtype=np.float32)  # (N, B) g = y* − p
    for b in range(0, draws, DRAWN_TOGETHER):
        some = noise[:, b : b + DRAWN_TOGETHER]
        some[:] = ((rng.random((some.shape[1], len(p))) < p) - p).T
    ones = sparse.csr_array(np.ones((len(p), 1)))
    columns = sparse.csr_array(sparse.hstack([ones, *(design.main.matrix for design in designs)]))  # (N, P)
    single = columns.astype(np.float32)
    penalty = np.concatenate(  # (P,) diagonal of Λ; the intercept is free
        [np.zeros(1), *(np.full(len(e), 1 / s) for e, s in zip(fit.effects, fit.variances, strict=True))]
    )
    theta = np.concatenate([np.zeros(1), *fit.effects])
    right = np.asarray(single.T @ noise, dtype=np.float64) - (penalty * theta)[:, None]  # (P, B)
    rows, scale = _rows_of_gram(columns, rng)
    if len(penalty) <= DIRECT_COLUMNS:
        mains = [design.main if isinstance(rows, slice) else design.main.take(rows) for design in designs]
        solved = _solve_directly(gram_of([_constant(v[rows]), *mains], v[rows] * scale), penalty, right)
    else:
        solved = _conjugate_gradients(columns[rows], v[rows] * scale, penalty, right)
    steps = solved.astype(np.float32)  # (P, B)
    noise -= v.astype(np.float32)[:, None] * np.asarray(single @ steps)
    return noise


def _rows_of_gram(columns: sparse.csr_array, rng: np.random.Generator) -> tuple[NDArray[np.int64] | slice, float]:
    """Choose the rows that X'VX is summed over, and the factor that scales a sample up to all rows."""
    rows = columns.shape[0]
    # With e entries a row X'VX costs rows · e², and e = nnz / rows.
    most = max(1, int(GRAM_WORK * rows**2 // max(columns.nnz**2, 1)))
    if most >= rows:
        return slice(None), 1.0
    return np.sort(rng.choice(rows, size=most, replace=False)), rows / most


def _constant(rows: Values) -> Slots:
    return Slots(np.zeros((len(rows), 1), dtype=np.int64), None, 1)


def gram_of(blocks: Sequence[Slots], weights: Values) -> Values:
    """Return X'VX of columns that stand in blocks beside each other: (P, P).

    Two blocks of a level a row are a count of their level pairs, which takes a tenth of a sparse product's time.

    Args:
        blocks: the columns, over N rows.
        weights: (N,) v.
    """
    starts = np.cumsum([0, *(block.size for block in blocks)])
    places = [slice(*ends) for ends in pairwise(starts)]
    gram = np.empty((starts[-1], starts[-1]))
    for number, (a, of_a) in enumerate(zip(blocks, places, strict=True)):
        for b, of_b in zip(blocks[number:], places[number:], strict=True):
            if a.one_hot and b.one_hot:
                found = np.bincount(a.ids[:, 0] * b.size + b.ids[:, 0], weights, a.size * b.size)
                product = found.reshape(a.size, b.size)
            else:
                product = a.matrix.T @ b.weighted(weights)
                product = product.toarray() if sparse.issparse(product) else product
            gram[of_a, of_b] = product
            gram[of_b, of_a] = product.T
    return gram


def _solve_directly(gram: Values, penalty: Values, right: Values) -> Values:
    """Solve (X'VX + Λ) δ = right for (P, B) right-hand sides."""
    gram[np.diag_indices_from(gram)] += penalty + LEAST_PENALTY * float(gram.diagonal().max())
    return np.asarray(solved(factored(gram), right))


def _conjugate_gradients(columns: sparse.csr_array, weights: Values, penalty: Values, right: Values) -> Values:
    """Solve the same with products by X alone, nearly: X'VX has several times as many entries as X."""
    # Preconditioned by the diagonal (Jacobi); all B right-hand sides take their steps together.
    gram_diagonal = (columns * columns).T @ weights
    penalty = (penalty + LEAST_PENALTY * float(gram_diagonal.max()))[:, None]
    diagonal = gram_diagonal[:, None] + penalty
    single, v = columns.astype(np.float32), weights.astype(np.float32)[:, None]
    solution, residual = np.zeros_like(right), right.copy()
    direction = residual / diagonal
    size = (residual * direction).sum(axis=0)
    goal = CG_TOLERANCE**2 * size.max()  # `size` holds r' M⁻¹ r, squared norms
    for _ in range(CG_STEPS):
        image = single.T @ (v * (single @ direction.astype(np.float32))) + penalty * direction  # (P, B)
        length = size / np.maximum((direction * image).sum(axis=0), 1e-300)
        solution += length * direction
        residual -= length * image
        scaled = residual / diagonal
        new = (residual * scaled).sum(axis=0)
        if new.max() <= goal:
            break
        direction = scaled + (new / np.maximum(size, 1e-300)) * direction
        size = new
    return solution


def upper_tail(z: Values, skew: Values) -> Values:
    """Return the probability of a value of `z` or more, under a null of mean 0, variance 1 and the given skewness.

    The score is a sum of squares. A shifted gamma distribution (Pearson's type III) has its first three moments.
    """
    skew = np.maximum(skew, LEAST_SKEW)
    # A gamma of shape a has skewness 2/√a, and (gamma − a)/√a has mean 0 and variance 1.
    shape = 4 / skew**2
    return np.asarray(gammaincc(shape, np.maximum(shape + z * np.sqrt(shape), 0.0)))


def benjamini_hochberg(p_values: Values) -> Values:
    """Turn (P,) p-values into q-values, the least false discovery rate at which each pair is called significant.

    The step-up procedure of Benjamini & Hochberg (1995). `scipy.stats.false_discovery_control` gives the same; to load
    it takes 0.9 s and 32 MB.
    """
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * count / np.arange(1, count + 1)
    q_values = np.empty(count)
    # From the largest p-value down, so that a smaller p-value never has a larger q-value.
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values
