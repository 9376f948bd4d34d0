"""From likelihoods over strengths to one number per pair: how strong its interaction is expected to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfm_core.explain.moments import STRENGTHS

Values = NDArray[np.float64]

SCALE = 0.3
"""Mean strength of an interacting pair beforehand, in log-odds: strengths are exponential with this mean."""
FIRST_SHARE = 0.1
PRIOR_PAIRS = 10.0
"""Pairs that the first guess of the share of interacting pairs counts for: a Beta(1, 9) prior."""
ROUNDS = 60


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
    slab = np.exp(-STRENGTHS[1:] / SCALE) * np.gradient(STRENGTHS)[1:]
    slab /= slab.sum()
    highest = likelihoods.max(axis=1, keepdims=True)
    alternatives = np.exp(likelihoods[:, 1:] - highest) * slab
    evidence, none = alternatives.sum(axis=1), np.exp(likelihoods[:, 0] - highest[:, 0])
    shares = np.full(len(none), FIRST_SHARE if share is None else share)
    for _ in range(ROUNDS if share is None else 0):
        probability = shares * evidence / (shares * evidence + (1 - shares) * none)
        others = probability.sum() - probability
        shares = (others + FIRST_SHARE * PRIOR_PAIRS) / (len(none) - 1 + PRIOR_PAIRS)
    probability = shares * evidence / (shares * evidence + (1 - shares) * none)
    return Posterior(float(shares.mean()), probability, (alternatives @ STRENGTHS[1:]) / evidence)


def interval(likelihoods: Values, found: Posterior, level: float = 0.9) -> tuple[Values, Values]:
    """Give (P,) lower and upper ends of the strengths' central credible interval, 0 being one of the values.

    Where a pair most probably does not interact the interval reaches from 0 to its expected strength at least.
    """
    slab = np.exp(-STRENGTHS[1:] / SCALE) * np.gradient(STRENGTHS)[1:]
    weights = np.exp(likelihoods[:, 1:] - likelihoods[:, 1:].max(axis=1, keepdims=True)) * slab
    weights *= (found.probability / weights.sum(axis=1))[:, None]
    below = np.concatenate([(1 - found.probability)[:, None], weights], axis=1).cumsum(axis=1)
    ends = ((1 - level) / 2, (1 + level) / 2)
    low, high = (np.array([np.interp(end, row, STRENGTHS) for row in below]) for end in ends)
    return np.minimum(low, found.strength), np.maximum(high, found.strength)
