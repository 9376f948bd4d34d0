"""The components of a pair's sums over cells: their moments without interaction, and a likelihood of its strength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from deepfm_core.evidence.pair_cells import PairCells

Values = NDArray[np.float64]

STRENGTHS = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5])
"""Standard deviations τ of cell effects, in log-odds, at which likelihoods are computed."""
EXACT_CELLS = 120
FREEDOM_WORK = 2_000_000
DRAWN_TO_ASSUMED = 1.25
"""How much larger than assumed a drawn variance may be by chance, before the likelihood is discounted."""
ANALYTIC_WEIGHT = 32
"""Draws that the analytic null variance counts for beside the drawn ones."""


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
    def of(cls, cells: PairCells, drawn: Values | None = None) -> Moments:
        """Find the components of a pair's sums.

        Args:
            cells: the pair's cells.
            drawn: (C, B) sums W of draws without interaction: what φ is taken from where it is dear to compute.
        """
        one_hot = cells.crossing.slots.one_hot
        total = float(cells.V.sum())
        if cells.size <= EXACT_CELLS:
            found, vectors = eigh(cells.covariance)
            values: Values = np.maximum(found, 0.0).astype(np.float64)
            return cls(vectors, values, np.ones(len(values)), values, total, float((values**2).sum()), True)
        freedom = _freedom(cells, drawn)
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

    def components(self, pure: Values) -> Values:
        """Give (C, …) components of W (C, …)."""
        return pure if self.rotation is None else np.asarray(self.rotation.T @ pure)

    def likelihood(self, parts: Values, drawn: Values | None, spread: float) -> Values:
        """Give (T,) log-likelihoods of the strengths, from the squares of components and those of the draws.

        Each component adds −½ φ log(1 + gτ²) + ½ (q + φg) τ² / (1 + gτ²), the restricted likelihood of a normal sum of
        variance φg(1 + gτ²); one without information, such as a cell of one row, adds nothing. q is its square less
        its mean without interaction: at each strength Σ q τ² / (1 + gτ²) less what it is over the draws, so that no
        strength gains by what fitted main effects do to the squares. Where it varies more over the draws than assumed,
        the sums being not normal (few clicks) or dependent (rows in several cells), the likelihood of that strength
        is discounted by the ratio of the variances.

        Args:
            parts: (C,) squares, less each row's own where `leaves_own_out`.
            drawn: (C, B) the same of draws, or None.
            spread: standard deviation over rows of cell effects of unit variance.
        """
        tau2 = (STRENGTHS[:, None] / max(spread, 1e-9)) ** 2
        growth = 1 + self.root * tau2
        weights = np.where(self.root > 0, 0.5 * tau2 / growth, 0.0)
        expected = (self.freedom * (weights * self.root - 0.5 * np.log(growth))).sum(axis=1)
        assumed = 2 * ((weights * self.freedom * self.root) ** 2).sum(axis=1)
        variance = assumed * self.info / max(float(((self.freedom * self.root) ** 2).sum()), 1e-300)
        if drawn is None:
            mean = np.zeros(len(parts)) if self.leaves_own_out else self.freedom * self.V
            centre = weights @ mean
        else:
            scores = weights.astype(drawn.dtype) @ drawn
            centre, variance = scores.mean(axis=1), steadied(scores.var(axis=1), variance, drawn.shape[1])
        usual = DRAWN_TO_ASSUMED if self.one_hot else 1.0
        discount = np.minimum(1.0, usual * assumed / np.maximum(variance, 1e-300))
        return np.asarray((expected + weights @ parts - centre) * discount)

    def row_sds(self, pure: Values, spread: float, weights: Values) -> Values:
        """Give (2, T) standard deviations over rows of the pure effects found, and their errors, at each strength.

        Rows count by their v. Over components of variance λ the pure part has mean square Σ λ E[u²] / Σ v, where u has
        mean t / (λ + 1/τ²) and variance φ / (λ + 1/τ²) given W: what these rows' effects are, which many clicks tell
        ever better, and not what others drawn with the same τ might have been. For rows in several cells, where
        components are not known, it is the prior one. To the error belongs what the first order of the logistic
        curve leaves out: normal effects of spread σ seem to be σ (1 + σ² (1.5 − 8v) / 2) to it.

        Args:
            pure: W (C,).
            spread: standard deviation over rows of cell effects of unit variance.
            weights: (N,) v of all rows.
        """
        tau2 = (STRENGTHS[1:, None] / max(spread, 1e-9)) ** 2
        variance = self.V / weights.sum()
        if self.one_hot:
            parts = pure if self.rotation is None else self.rotation.T @ pure
            precision = self.V + 1 / tau2
            mean2 = (parts / precision) ** 2
            rest = self.freedom / precision
            squares = ((mean2 + rest) * variance).sum(axis=1)
            noise = ((2 * rest + 4 * mean2) * rest * variance**2).sum(axis=1)
        else:
            squares = tau2[:, 0] * (self.freedom * variance).sum()
            noise = np.zeros(len(squares))
        sds = np.sqrt(squares)
        bend = sds**3 * (1.5 - 8 * weights.mean()) / 2
        errors = np.hypot(np.sqrt(noise) / np.maximum(2 * sds, 1e-300), bend)
        return np.insert(np.stack([sds, errors]), 0, 0.0, axis=1)


def _freedom(cells: PairCells, drawn: Values | None) -> Values:
    """Give (C,) φ: computed, or where that is dear estimated from draws; 1 without any."""
    if cells.freedom_work <= FREEDOM_WORK:
        return cells.freedom
    if drawn is None:
        return np.ones(cells.size)
    return np.asarray(np.clip((drawn**2).mean(axis=1) / np.maximum(cells.V, 1e-12), 0.0, 1.0))


def steadied(drawn: NDArray[np.floating], analytic: NDArray[np.floating] | float, draws: int) -> NDArray[np.floating]:
    """Give variances over so many draws, steadied by their analytic values."""
    return (draws * drawn + ANALYTIC_WEIGHT * analytic) / (draws + ANALYTIC_WEIGHT)
