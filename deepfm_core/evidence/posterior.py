"""From likelihoods over strengths to an expected strength per pair.

Each pair either does not interact, or has a strength with an exponential prior. `posterior` weighs the two for all
pairs together; `over_rows` turns strengths into standard deviations over rows with intervals. In shapes: P pairs,
T strengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from deepfm_core.evidence.likelihood import STRENGTHS

Values = NDArray[np.float64]

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


def posterior(likelihoods: Values, share: float | None = None, others: int = 0) -> Posterior:
    """Weigh "no interaction" against an exponential prior on strengths, and learn the share of pairs that interact.

    This is a spike-and-slab model with empirical Bayes for the share (Efron 2008). A pair of many sparse cells, about
    which the labels say little, falls back on "probably none"; a pair of few well supported cells keeps its estimate.
    Each pair is judged by the share among the *other* pairs under a Beta(1, 9) prior, so no pair speaks for itself. The
    only pair of a table has prior probability 0.1.

    Args:
        likelihoods: (P, T) log-likelihoods at `STRENGTHS`, relative to strength 0.
        share: the share of pairs that interact, if it is known.
        others: how many pairs there are beside these, which a first look has found to say nothing.
    """
    highest = likelihoods.max(axis=1, keepdims=True)  # taken out before exp, which would overflow
    alternatives = np.exp(likelihoods[:, 1:] - highest) * _SLAB
    evidence, none = alternatives.sum(axis=1), np.exp(likelihoods[:, 0] - highest[:, 0])  # (P,) slab, (P,) spike
    shares = np.full(len(none), FIRST_SHARE if share is None else share)
    for _ in range(ROUNDS if share is None else 0):
        probability = shares * evidence / (shares * evidence + (1 - shares) * none)
        of_others = probability.sum() - probability
        # The posterior mean of the Beta.
        shares = (of_others + FIRST_SHARE * PRIOR_PAIRS) / (len(none) + others - 1 + PRIOR_PAIRS)
    probability = shares * evidence / (shares * evidence + (1 - shares) * none)
    return Posterior(float(shares.mean()), probability, (alternatives @ STRENGTHS[1:]) / evidence)


def expected_square(likelihoods: Values, evaluated: Posterior) -> Values:
    """Return the (P,) expected squares of the strengths: what a normal prior of the same variance has."""
    weights = np.exp(likelihoods[:, 1:] - likelihoods[:, 1:].max(axis=1, keepdims=True)) * _SLAB
    return np.asarray(evaluated.probability * (weights @ STRENGTHS[1:] ** 2) / weights.sum(axis=1))


def over_rows(
    likelihoods: Values, evaluated: Posterior, row_sds: Values, level: float = 0.9
) -> tuple[Values, Values, Values]:
    """Return (P,) expected standard deviations over rows, and both ends of their central credible intervals.

    A pair has no effect with probability 1 − `judged.probability`. Otherwise its strength is one of `STRENGTHS`, and
    the spread of its effects over rows is normal around the estimate for that strength. If a pair most probably does
    not interact, its interval reaches at least from 0 to the expected value.

    Args:
        likelihoods: (P, T) log-likelihoods at `STRENGTHS`.
        judged: what they say together.
        row_sds: (P, 2, T) standard deviations over rows and their errors at `STRENGTHS`.
        level: the probability that the interval holds.
    """
    weights = np.exp(likelihoods[:, 1:] - likelihoods[:, 1:].max(axis=1, keepdims=True)) * _SLAB
    weights *= (evaluated.probability / weights.sum(axis=1))[:, None]
    sds, errors = row_sds[:, 0, 1:], np.maximum(row_sds[:, 1, 1:], 1e-6)  # (P, T - 1) each
    expected = (weights * sds).sum(axis=1)
    ends = ((1 - level) / 2, (1 + level) / 2)
    pairs = zip(weights, sds, errors, 1 - evaluated.probability, strict=True)
    low, high = np.array([_quantiles(*pair, ends) for pair in pairs]).reshape(-1, 2).T
    return expected, np.minimum(low, expected), np.maximum(high, expected)


def _quantiles(weights: Values, sds: Values, errors: Values, none: float, ends: tuple[float, float]) -> Values:
    """Find two quantiles of a mixture: probability `none` at 0, and normal distributions cut off at 0."""
    grid = np.linspace(0.0, float((sds + 4 * errors).max()), GRID)  # four errors out, nothing is left
    below = none + weights @ ndtr((grid - sds[:, None]) / errors[:, None])  # (GRID,) distribution function
    return np.asarray(np.interp(ends, below, grid))
