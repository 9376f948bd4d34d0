"""From likelihoods over strengths to one number per pair: how strong its interaction is expected to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from deepfm_core.evidence.likelihood import STRENGTHS

Values = NDArray[np.float64]

SCALE = 0.3
"""Mean strength of an interacting pair beforehand, in log-odds: strengths are exponential with this mean."""
FIRST_SHARE = 0.1
PRIOR_PAIRS = 10.0
"""Pairs that the first guess of the share of interacting pairs counts for: a Beta(1, 9) prior."""
ROUNDS = 60
GRID = 400
"""Places at which the distribution of a pair's spread over rows is computed."""
_DENSITY = np.exp(-STRENGTHS[1:] / SCALE) * np.gradient(STRENGTHS)[1:]
_SLAB = _DENSITY / _DENSITY.sum()
"""Prior probabilities of `STRENGTHS` but 0, of a pair that interacts."""


@dataclass(frozen=True)
class Posterior:
    """What P pairs' likelihoods say together.

    Attributes:
        share: the share of pairs that interact, estimated from all of them; the mean of what each pair is judged by.
        probability: (P,) that a pair interacts.
        strength_if: (P,) expected strength of a pair if it interacts, in log-odds.
    """

    share: float
    probability: Values
    strength_if: Values

    @property
    def strength(self) -> Values:
        """(P,) expected strength: probability times strength if it interacts."""
        return self.probability * self.strength_if


def posterior(likelihoods: Values, share: float | None = None) -> Posterior:
    """Weigh "no interaction" against an exponential prior on strengths, the share of interacting pairs being learned.

    A spike-and-slab model over all pairs with empirical Bayes for the share (Efron 2008): a pair of many sparse cells,
    of which the labels say little, falls back on "probably none", and one of few well supported cells on its estimate.
    A pair is judged by the share among the other pairs under a Beta(1, 9) prior, so that none speaks for itself: the
    only pair of a table interacts with probability 0.1 beforehand.

    Args:
        likelihoods: (P, T) log-likelihoods at `STRENGTHS`, relative to strength 0.
        share: the share of interacting pairs, where it is known already.
    """
    highest = likelihoods.max(axis=1, keepdims=True)
    alternatives = np.exp(likelihoods[:, 1:] - highest) * _SLAB
    evidence, none = alternatives.sum(axis=1), np.exp(likelihoods[:, 0] - highest[:, 0])
    shares = np.full(len(none), FIRST_SHARE if share is None else share)
    for _ in range(ROUNDS if share is None else 0):
        probability = shares * evidence / (shares * evidence + (1 - shares) * none)
        others = probability.sum() - probability
        shares = (others + FIRST_SHARE * PRIOR_PAIRS) / (len(none) - 1 + PRIOR_PAIRS)
    probability = shares * evidence / (shares * evidence + (1 - shares) * none)
    return Posterior(float(shares.mean()), probability, (alternatives @ STRENGTHS[1:]) / evidence)


def over_rows(
    likelihoods: Values, found: Posterior, row_sds: Values, level: float = 0.9
) -> tuple[Values, Values, Values]:
    """Give (P,) expected standard deviations over rows, and both ends of their central credible intervals.

    A pair has no effect with probability 1 − `found.probability`; otherwise its strength is one of `STRENGTHS`, and its
    effects have a spread over these rows about what was found for that strength. Where a pair most probably does not
    interact the interval reaches from 0 to the expected value at least.

    Args:
        likelihoods: (P, T) log-likelihoods at `STRENGTHS`.
        found: what they say together.
        row_sds: (P, 2, T) standard deviations over rows and their errors at `STRENGTHS`.
        level: what the interval holds.
    """
    weights = np.exp(likelihoods[:, 1:] - likelihoods[:, 1:].max(axis=1, keepdims=True)) * _SLAB
    weights *= (found.probability / weights.sum(axis=1))[:, None]
    sds, errors = row_sds[:, 0, 1:], np.maximum(row_sds[:, 1, 1:], 1e-6)
    expected = (weights * sds).sum(axis=1)
    ends = ((1 - level) / 2, (1 + level) / 2)
    pairs = zip(weights, sds, errors, 1 - found.probability, strict=True)
    low, high = np.array([_quantiles(*pair, ends) for pair in pairs]).reshape(-1, 2).T
    return expected, np.minimum(low, expected), np.maximum(high, expected)


def _quantiles(weights: Values, sds: Values, errors: Values, none: float, ends: tuple[float, float]) -> Values:
    """Find where a mixture of normal distributions, cut off at 0 where `none` stands besides, reaches the two ends."""
    grid = np.linspace(0.0, float((sds + 4 * errors).max()), GRID)
    below = none + weights @ ndtr((grid - sds[:, None]) / errors[:, None])
    return np.asarray(np.interp(ends, below, grid))
