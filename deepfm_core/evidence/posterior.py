"""The prior of a pair's strength, its likelihood, and the posterior: an expected strength per pair.

Each pair either does not interact, or has a strength with an exponential prior. `Moments` gives the likelihood.
`posterior` weighs the two for all pairs together; `over_rows` turns strengths into standard deviations over rows with
intervals. In shapes: P pairs, T strengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from deepfm_core.evidence.pair_cells import PairCells

Values = NDArray[np.float64]

# A likelihood of a pair's strength, from independent components of its sums over cells.
#
# The model is logit = additive part + u_cell with u ~ N(0, τ²). `Moments` splits the pair's sums W into components,
# `Moments.null` gives the moments of the score without interaction, and `Moments.likelihood` the likelihood of τ. In
# shapes: N rows, C cells or components, T strengths, B draws.


STRENGTHS = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5])
"""Standard deviations τ of cell effects, in log-odds, at which likelihoods are computed."""
EXACT_CELLS = 120
"""Cells up to which components are eigenvectors, which cost C³. Of many cells, each is nearly independent."""
FREEDOM_WORK = 2_000_000
"""Numbers up to which φ is computed; where it would take more, the draws estimate it."""
DRAWN_TO_ASSUMED = 1.25
"""Ratio of drawn to assumed variance that chance explains. Above it, the likelihood is discounted."""
ANALYTIC_WEIGHT = 32
"""The analytic null variance counts as much as this many draws."""


@dataclass(frozen=True)
class Moments:
    """The independent components of a pair's sums W, and their moments.

    A component is a cell or, with few cells, an eigenvector of the covariance of W. The square of a component has mean
    φV + g²τ² and, without interaction, variance 2φ²g².

    Attributes:
        rotation: (C, C) eigenvectors, or None where components are cells.
        V: (C,) variances of the components.
        freedom: (C,) φ, the share of V that removing the additive part leaves.
        root: (C,) g, the information of a component.
        variance: Σ x² v over all rows and cells, before the additive part is removed.
        info: Σ_{i≠j} k_ij² v_i v_j, with k as in `PairScore`.
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
    def of(cls, cells: PairCells, drawn: Values | None = None) -> Moments:
        """Find the components of a pair's sums.

        Args:
            cells: the pair's cells.
            drawn: (C, B) sums W of draws without interaction. They estimate φ where computing it is expensive.
        """
        one_hot = cells.crossing.slots.one_hot
        total = float(cells.V.sum())
        if cells.size <= EXACT_CELLS:
            eigenvalues, vectors = np.linalg.eigh(cells.covariance)
            # Rotated, W has the eigenvalues as variances and no covariance: φ is 1 and g equals V.
            values: Values = np.maximum(eigenvalues, 0.0).astype(np.float64)
            return cls(vectors, values, np.ones(len(values)), values, total, float((values**2).sum()), True)
        freedom = _freedom(cells, drawn)
        # Leaving out each row's own square leaves V² − Σ v² of a cell's V²: nothing for a cell of one row.
        root = np.sqrt(np.maximum(cells.V**2 - cells.V2, 0.0)) if one_hot else cells.V
        if one_hot:
            info = float((freedom**2 * root**2).sum())
        else:
            info = max(float((cells.gram.data**2).sum() - cells.V2.sum()), 1e-12)
        return cls(None, cells.V, freedom, root, total, info, one_hot)

    @property
    def leaves_own_out(self) -> bool:
        """Whether the score S leaves out each row's own square, Σ k_ii r_i²."""
        return self.rotation is None

    @property
    def null(self) -> tuple[float, float, float]:
        """Mean, standard deviation and skewness of S without interaction, were the main effects known."""
        mean = float((self.freedom * self.V).sum()) - (self.variance if self.leaves_own_out else 0.0)
        variance = max(2 * self.info, 1e-12)
        # Cumulants of a weighted sum of χ²: κ₂ = 2 Σ (φg)², κ₃ = 8 Σ (φg)³.
        third = 8 * float(((self.freedom * self.root) ** 3).sum())
        return mean, float(np.sqrt(variance)), third / variance**1.5

    def components(self, pure: Values) -> Values:
        """Rotate sums W (C, …) into components (C, …)."""
        return pure if self.rotation is None else np.asarray(self.rotation.T @ pure)

    def likelihood(self, parts: Values, drawn: Values | None, spread: float) -> Values:
        """Return (T,) log-likelihoods of the strengths, from the squares of components and those of the draws.

        Each component adds −½ φ log(1 + gτ²) + ½ (q + φg) τ² / (1 + gτ²), the restricted likelihood of a normal sum of
        variance φg(1 + gτ²). A component without information, such as a cell of one row, adds nothing.

        q is the square minus its mean without interaction. The draws give that mean: fitted main effects change the
        squares, and no strength should gain by it. If Σ q τ² / (1 + gτ²) varies more over the draws than assumed, the
        log-likelihood of that strength is scaled down by the ratio of the variances. That happens when sums are not
        normal (few clicks) or not independent (rows in several cells).

        Args:
            parts: (C,) squares of the components, minus each row's own where `leaves_own_out`.
            drawn: (C, B) the same for draws, or None.
            spread: standard deviation over rows of cell effects of unit variance.
        """
        tau2 = (STRENGTHS[:, None] / max(spread, 1e-9)) ** 2  # (T, 1) τ² of cell effects that give rows the strength
        growth = 1 + self.root * tau2  # (T, C)
        weights = np.where(self.root > 0, 0.5 * tau2 / growth, 0.0)  # (T, C)
        expected = (self.freedom * (weights * self.root - 0.5 * np.log(growth))).sum(axis=1)  # (T,)
        assumed = 2 * ((weights * self.freedom * self.root) ** 2).sum(axis=1)  # (T,) for independent components
        variance = assumed * self.info / max(float(((self.freedom * self.root) ** 2).sum()), 1e-300)
        if drawn is None:
            mean = np.zeros(len(parts)) if self.leaves_own_out else self.freedom * self.V
            centre = weights @ mean
        else:
            scores = weights.astype(drawn.dtype) @ drawn  # (T, B)
            centre, variance = scores.mean(axis=1), steadied(scores.var(axis=1), variance, drawn.shape[1])
        usual = DRAWN_TO_ASSUMED if self.one_hot else 1.0
        discount = np.minimum(1.0, usual * assumed / np.maximum(variance, 1e-300))
        return np.asarray((expected + weights @ parts - centre) * discount)

    def row_sds(self, pure: Values, spread: float, weights: Values) -> Values:
        """Return (2, T) standard deviations over rows of the estimated pure effects, and their errors, per strength.

        Rows are weighted by v. Over components of variance λ the pure part has mean square Σ λ E[u²] / Σ v. Given W, u
        has mean t / (λ + 1/τ²) and variance φ / (λ + 1/τ²). This is the spread of these rows' own effects, which more
        clicks determine better, and not the spread of other effects drawn with the same τ. For rows in several cells
        the components are not known, and the prior spread is used.

        The error includes what a first-order step on the logistic curve misses: it takes normal effects of spread σ
        for σ (1 + σ² (1.5 − 8v) / 2).

        Args:
            pure: W (C,).
            spread: standard deviation over rows of cell effects of unit variance.
            weights: (N,) v of all rows.
        """
        tau2 = (STRENGTHS[1:, None] / max(spread, 1e-9)) ** 2  # (T - 1, 1)
        variance = self.V / weights.sum()  # (C,) share of each component in the mean over rows
        if self.one_hot:
            parts = pure if self.rotation is None else self.rotation.T @ pure
            precision = self.V + 1 / tau2  # (T - 1, C)
            mean2 = (parts / precision) ** 2
            rest = self.freedom / precision
            squares = ((mean2 + rest) * variance).sum(axis=1)
            # For normal u of mean m and variance s, u² has variance 2 s² + 4 m² s.
            noise = ((2 * rest + 4 * mean2) * rest * variance**2).sum(axis=1)
        else:
            squares = tau2[:, 0] * (self.freedom * variance).sum()
            noise = np.zeros(len(squares))
        sds = np.sqrt(squares)
        bend = sds**3 * (1.5 - 8 * weights.mean()) / 2
        # The error of a square root is that of its square divided by twice the root.
        errors = np.hypot(np.sqrt(noise) / np.maximum(2 * sds, 1e-300), bend)
        return np.insert(np.stack([sds, errors]), 0, 0.0, axis=1)


def _freedom(cells: PairCells, drawn: Values | None) -> Values:
    """Return (C,) φ: computed, or estimated from draws where that is expensive, or 1 where there are no draws."""
    if cells.freedom_work <= FREEDOM_WORK:
        return cells.freedom
    if drawn is None:
        return np.ones(cells.size)
    return np.asarray(np.clip((drawn**2).mean(axis=1) / np.maximum(cells.V, 1e-12), 0.0, 1.0))


def steadied(drawn: NDArray[np.floating], analytic: NDArray[np.floating] | float, draws: int) -> NDArray[np.floating]:
    """Average variances over `draws` draws with their analytic values, which count as `ANALYTIC_WEIGHT` draws."""
    return (draws * drawn + ANALYTIC_WEIGHT * analytic) / (draws + ANALYTIC_WEIGHT)


SCALE = 0.3
"""Prior mean strength of a pair that interacts, in log-odds; the prior is exponential."""
FIRST_SHARE = 0.1
"""Prior mean of the share of pairs that interact."""
PRIOR_PAIRS = 10.0
"""Pairs that this prior counts as: it is Beta(1, 9)."""
ROUNDS = 60
"""Fixed-point rounds in which the shares are learned."""
GRID = 400
"""Points at which the distribution of a pair's spread over rows is computed."""
# STRENGTHS are not evenly spaced, so each takes its stretch of the exponential density.
_DENSITY = np.exp(-STRENGTHS[1:] / SCALE) * np.gradient(STRENGTHS)[1:]
_SLAB = _DENSITY / _DENSITY.sum()
"""(T - 1,) prior probabilities of the strengths above 0, for a pair that interacts."""
LEVEL = 0.9
"""Probability that a credible interval holds."""


@dataclass(frozen=True)
class Posterior:
    """What the likelihoods of P pairs say together.

    Attributes:
        share: the share of pairs that interact; the mean of the P shares that the pairs are judged by.
        probability: (P,) that a pair interacts.
        strength_if: (P,) expected strength of a pair, given that it interacts, in log-odds.
    """

    share: float
    probability: Values
    strength_if: Values

    @property
    def strength(self) -> Values:
        """(P,) expected strength: probability times `strength_if`."""
        return self.probability * self.strength_if


def posterior(likelihoods: Values, others: int = 0) -> Posterior:
    """Weigh "no interaction" against an exponential prior on strengths, and learn the share of pairs that interact.

    This is a spike-and-slab model with empirical Bayes for the share (Efron 2008). A pair of many sparse cells, about
    which the labels say little, falls back on "probably none"; a pair of few well supported cells keeps its estimate.
    Each pair is judged by the share among the *other* pairs under a Beta(1, 9) prior, so no pair speaks for itself. The
    only pair of a table has prior probability 0.1.

    Args:
        likelihoods: (P, T) log-likelihoods at `STRENGTHS`, relative to strength 0.
        others: how many pairs there are beside these, which a first look has found to say nothing.
    """
    highest = likelihoods.max(axis=1, keepdims=True)  # taken out before exp, which would overflow
    alternatives = np.exp(likelihoods[:, 1:] - highest) * _SLAB
    evidence, none = alternatives.sum(axis=1), np.exp(likelihoods[:, 0] - highest[:, 0])  # (P,) slab, (P,) spike
    shares = np.full(len(none), FIRST_SHARE)
    for _ in range(ROUNDS):
        probability = shares * evidence / (shares * evidence + (1 - shares) * none)
        of_others = probability.sum() - probability
        # The posterior mean of the Beta.
        shares = (of_others + FIRST_SHARE * PRIOR_PAIRS) / (len(none) + others - 1 + PRIOR_PAIRS)
    probability = shares * evidence / (shares * evidence + (1 - shares) * none)
    return Posterior(float(shares.mean()), probability, (alternatives @ STRENGTHS[1:]) / evidence)


def expected_square(likelihoods: Values, evaluated: Posterior) -> Values:
    """Return the (P,) expected squares of the strengths: what a normal prior of the same variance has."""
    return np.asarray(evaluated.probability * (_strengths_if(likelihoods) @ STRENGTHS[1:] ** 2))


def _strengths_if(likelihoods: Values) -> Values:
    """Return the probabilities of the strengths above 0 of P pairs, given that they interact: (P, T - 1)."""
    weights = np.exp(likelihoods[:, 1:] - likelihoods[:, 1:].max(axis=1, keepdims=True)) * _SLAB
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def over_rows(likelihoods: Values, evaluated: Posterior, row_sds: Values) -> tuple[Values, Values, Values]:
    """Return (P,) expected standard deviations over rows, and both ends of their central credible intervals.

    A pair has no effect with probability 1 − `evaluated.probability`. Otherwise its strength is one of `STRENGTHS`, and
    the spread of its effects over rows is normal around the estimate for that strength. If a pair most probably does
    not interact, its interval reaches at least from 0 to the expected value.

    Args:
        likelihoods: (P, T) log-likelihoods at `STRENGTHS`.
        evaluated: what they say together.
        row_sds: (P, 2, T) standard deviations over rows and their errors at `STRENGTHS`.
    """
    weights = evaluated.probability[:, None] * _strengths_if(likelihoods)
    sds, errors = row_sds[:, 0, 1:], np.maximum(row_sds[:, 1, 1:], 1e-6)  # (P, T - 1) each
    expected = (weights * sds).sum(axis=1)
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    pairs = zip(weights, sds, errors, 1 - evaluated.probability, strict=True)
    low, high = np.array([_quantiles(*pair, ends) for pair in pairs]).reshape(-1, 2).T
    return expected, np.minimum(low, expected), np.maximum(high, expected)


def _quantiles(weights: Values, sds: Values, errors: Values, none: float, ends: tuple[float, float]) -> Values:
    """Find two quantiles of a mixture: probability `none` at 0, and normal distributions cut off at 0."""
    grid = np.linspace(0.0, float((sds + 4 * errors).max()), GRID)  # four errors out, nothing is left
    below = none + weights @ ndtr((grid - sds[:, None]) / errors[:, None])  # (GRID,) distribution function
    return np.asarray(np.interp(ends, below, grid))
