"""How much the labels speak for an interaction of two fields: the score of its variance, and a likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from deepfm_core.explain.designs import FieldDesign
from deepfm_core.explain.pair_cells import FieldWeights, PairCells

Values = NDArray[np.float64]

STRENGTHS = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5])
"""Standard deviations τ of cell effects, in log-odds, at which likelihoods are computed."""
EXACT_CELLS = 120
FREEDOM_WORK = 2_000_000
NO_INFO = 1e-12
"""Information, relative to the square of Σ V, below which a pair is taken to leave nothing beside its additive part."""
DRAWN_TO_ASSUMED = 1.25
"""How much larger than assumed the drawn variance of S may be by chance, before the likelihood is discounted."""
MOST_PER_STRENGTH = 1.5
"""A pair's spread over rows, per unit of the strength found for it, is not believed to be larger: with few clicks the
rows that make it up are few."""
ANALYTIC_WEIGHT = 32
"""Draws that the analytic null variance counts for beside the drawn ones."""


class Residuals:
    """Residuals of a fitted model over N rows with their variances, and the same of B draws without interaction.

    Attributes:
        designs: F designs.
        residual: (N,) y − p.
        weights: (N,) v = p(1−p).
        draws: (N, B), or None.
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
        """Give other residuals under the same row weights."""
        other = Residuals(self.designs, residual, self.weights, draws)
        other._field_weights = self._field_weights
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
        """Give the sums over a field's levels, of the residual and of the draws."""
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
        """Give W (C,) of the residual: its sums over cells without the additive part."""
        return cells.project(cells.sums(self.residual), self._sums_of(a)[0], self._sums_of(b)[0])

    def pure_sums_of_draws(self, a: int, b: int, cells: PairCells) -> Values:
        """Give W (C, B) of the draws."""
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
        excess: S = Σ_c W_c² − Σ_i k_ii r_i² less its mean without interaction; its mean is `info` · τ².
        info: Σ_{i≠j} k_ij² v_i v_j, k the rows' kernel Σ_c x_ic x_jc without its additive part.
        sd, skew: of S without interaction.
        likelihood: (T,) log-likelihood at `STRENGTHS` relative to none.
        per_strength: standard deviation over rows of the pure effects found, per unit of the strength of highest
            likelihood. Below 1 where the additive part takes much of a small table, or heavy cells have small effects.
        cells: how many cells have rows.
    """

    excess: float
    info: float
    sd: float
    skew: float
    likelihood: Values
    per_strength: float
    cells: int

    @property
    def z(self) -> float:
        """Return S in standard deviations of its null."""
        return self.excess / self.sd


def score_pair(rows: Residuals, a: int, b: int) -> PairScore:
    """Score the interaction of fields a and b.

    The score of τ² at zero in the mixed model logit = additive + u_cell, u ~ N(0, τ²), is Σ W² less its mean
    (Lin 1997): the locally most powerful test whatever the table's shape. Where cells are many, a row's own square is
    left out, so that cells of a single row add nothing.

    Args:
        rows: residuals and draws.
        a, b: numbers of the fields.
    """
    cells = rows.cells(a, b)
    pure = rows.pure_sums(a, b, cells)
    squares = cells.squares
    moments = Moments.of(cells)
    if moments.info <= NO_INFO * float(cells.V.sum()) ** 2:
        return PairScore(0.0, 0.0, 1.0, 0.0, np.zeros(len(STRENGTHS)), 1.0, cells.size)
    mean, sd, skew = moments.null
    if rows.draws is not None:
        drawn = rows.pure_sums_of_draws(a, b, cells)
        scores = (drawn**2).sum(axis=0)
        if moments.leaves_own_out:
            scores = scores - squares.astype(np.float32) @ rows.squared_draws
        mean, sd = _blend(scores, sd)
        skew = max(skew, _skewness(scores))
    own = float(squares @ rows.residual**2) if moments.leaves_own_out else 0.0
    excess = float((pure**2).sum()) - own - mean
    spread = float(np.sqrt(squares.mean()))
    likelihood = moments.likelihood(pure, excess, sd, spread)
    best = float(STRENGTHS[likelihood.argmax()]) / max(spread, 1e-9)
    per_strength = min(moments.row_sd(pure, best, float(rows.weights.sum())) / spread, MOST_PER_STRENGTH)
    return PairScore(excess, moments.info, sd, skew, likelihood, per_strength, cells.size)


def _blend(scores: Values, analytic_sd: float) -> tuple[float, float]:
    """Give mean and standard deviation of drawn scores, the latter steadied by its analytic value."""
    count = len(scores)
    variance = (count * float(scores.var()) + ANALYTIC_WEIGHT * analytic_sd**2) / (count + ANALYTIC_WEIGHT)
    return float(scores.mean()), float(np.sqrt(variance * (1 + 1 / count)))


def _skewness(scores: Values) -> float:
    centred = scores - scores.mean()
    return float((centred**3).mean() / max(float((centred**2).mean()) ** 1.5, 1e-300))


@dataclass(frozen=True)
class Moments:
    """What the null moments and the likelihood of a pair are made of: independent components of its sums.

    A component is a cell, or for few cells an eigenvector of the covariance of W. A component's square has mean
    φV + g²τ² and, without interaction, variance 2φ²g².

    Attributes:
        rotation: (C, C) eigenvectors, or None where components are cells.
        V: (C,) variances; freedom: (C,) φ; root: (C,) g.
        variance: Σ x² v over all rows and cells, before the additive part is taken out.
        info: Σ_{i≠j} k_ij² v_i v_j.
        one_hot: whether cells share no rows.
    """

    rotation: Values | None
    V: Values
    freedom: Values
    root: Values
    variance: float
    info: float
    one_hot: bool

    @classmethod
    def of(cls, cells: PairCells) -> Moments:
        """Find the components of a pair's sums."""
        one_hot = cells.crossing.slots.one_hot
        total = float(cells.V.sum())
        if cells.size <= EXACT_CELLS:
            found, vectors = eigh(cells.covariance)
            values: Values = np.maximum(found, 0.0).astype(np.float64)
            return cls(vectors, values, np.ones(len(values)), values, total, float((values**2).sum()), True)
        freedom = cells.freedom if cells.freedom_work <= FREEDOM_WORK else np.ones(cells.size)
        root = np.sqrt(np.maximum(cells.V**2 - cells.V2, 0.0)) if one_hot else cells.V
        if one_hot:
            info = float((freedom**2 * root**2).sum())
        else:
            info = max(float((cells.gram.data**2).sum() - cells.V2.sum()), 1e-12)
        return cls(None, cells.V, freedom, root, total, info, one_hot)

    @property
    def leaves_own_out(self) -> bool:
        """Whether S leaves out Σ k_ii r_i²."""
        return self.rotation is None

    @property
    def null(self) -> tuple[float, float, float]:
        """Mean, standard deviation and skewness of S without interaction, for known main effects."""
        mean = float((self.freedom * self.V).sum()) - (self.variance if self.leaves_own_out else 0.0)
        variance = max(2 * self.info, 1e-12)
        third = 8 * float(((self.freedom * self.root) ** 3).sum())
        return mean, float(np.sqrt(variance)), third / variance**1.5

    def likelihood(self, pure: Values, excess: float, sd: float, spread: float) -> Values:
        """Give (T,) log-likelihoods of the strengths, from W (C,) and S less its null mean.

        Each component adds −½ φ log(1 + gτ²) + ½ (q + φg) τ² / (1 + gτ²), the restricted likelihood of a normal sum of
        variance φV(1 + gτ²); q is its square less its null mean, so that together they make the excess. Where the sums
        are not normal (few clicks) or depend on each other (rows in several cells), the likelihood is discounted by the
        ratio of the assumed to the drawn variance of S.
        """
        squares = pure**2 if self.rotation is None else (self.rotation.T @ pure) ** 2
        variance = self.freedom * self.V
        q = squares - variance
        q += (excess - float(q.sum())) * variance / max(float(variance.sum()), 1e-12)
        tau2 = (STRENGTHS[:, None] / max(spread, 1e-9)) ** 2
        growth = 1 + self.root * tau2
        per_part = -0.5 * self.freedom * np.log(growth) + 0.5 * (q + self.freedom * self.root) * tau2 / growth
        assumed = 2 * float(((self.freedom * self.root) ** 2).sum())
        usual = DRAWN_TO_ASSUMED if self.one_hot else 1.0
        discount = min(1.0, usual * assumed / sd**2)
        return np.asarray(per_part.sum(axis=1) * discount)

    def row_sd(self, pure: Values, tau: float, weight: float) -> float:
        """Give the standard deviation over rows, per unit of τ, of pure effects given W (C,); rows count by their v.

        Over components of variance λ the pure part has mean square Σ λ E[u²] / Σ v, E[u²] being the posterior mean
        square (t / (λ + 1/τ²))² + 1 / (λ + 1/τ²); without evidence, or for rows in several cells, the prior one.
        """
        variance = self.freedom * self.V
        if tau <= 0 or not self.one_hot:
            return float(np.sqrt(variance.sum() / weight))
        parts = pure if self.rotation is None else self.rotation.T @ pure
        precision = self.V + 1 / tau**2
        squares = (parts / precision) ** 2 + 1 / precision
        return float(np.sqrt((variance * squares).sum() / weight)) / tau
