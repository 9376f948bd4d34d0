"""Whether the order of whole numbers says anything about the label, or whether they are codes that happen to be digits.

The rates of a column's values are compared under three models: values that each have an effect of their own (codes),
effects that follow the order (a number), and both. All are Gaussian in the working response of a logistic model,
e = (clicks − n p) / (n p (1 − p)) with variance 1 / (n p (1 − p)): effects of codes are independent, N(0, τ²), those
of numbers a random walk along the ranks, N(0, σ² min(t, t')), and their marginal likelihoods are maximised over the
two variances (restricted likelihood; Laird & Ware 1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Values = NDArray[np.float64]

FEWEST_LEVELS, MOST_LEVELS = 6, 300
"""Distinct numbers below which codes and numbers enter much alike, and above which they are not compared."""
FEWEST_PER_LEVEL = 10
VARIANCES = np.array([0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
"""Variances of effects, in log-odds², that are tried for σ² and τ²."""
CODES_SURE, CODES_LIKELY = 5.0, 2.0
"""Log-likelihood that effects of their own must add to effects that follow the order, to be sure, and to be likely: by
chance in one of 1,000 and in one of 40 columns that are numbers."""
ORDER_NOTHING, ORDER_LITTLE = 1.0, 2.0
"""Log-likelihood that the order may add to effects of their own, where it says nothing, and where it says little."""


@dataclass(frozen=True)
class OrderEvidence:
    """What labels say of whole numbers.

    Attributes:
        own: log-likelihood by which effects of their own improve on effects that follow the order.
        order: log-likelihood by which effects that follow the order improve on effects of their own.
    """

    own: float
    order: float

    @property
    def codes(self) -> bool:
        """Whether they are surely codes: values differ, and the order says nothing of how."""
        return self.own >= CODES_SURE and self.order <= ORDER_NOTHING

    @property
    def doubtful(self) -> bool:
        """Whether they might be codes."""
        return not self.codes and self.own >= CODES_LIKELY and self.order <= ORDER_LITTLE

    @property
    def unknown(self) -> bool:
        """Whether nothing speaks for a number, or too little is known."""
        return self.order <= ORDER_NOTHING


NOTHING_KNOWN = OrderEvidence(0.0, 0.0)


def order_evidence(rows: Values, clicks: Values) -> OrderEvidence:
    """Compare the models on the values of a column.

    Args:
        rows: (K,) rows of each distinct number, in ascending order of the numbers.
        clicks: (K,) those of them that are positive.

    Returns:
        `NOTHING_KNOWN` where values are too few, too many or too rare to tell.
    """
    there = rows > 0
    rows, clicks = rows[there], clicks[there]
    levels, total = len(rows), float(rows.sum())
    rate = float(clicks.sum()) / max(total, 1.0)
    if not FEWEST_LEVELS <= levels <= MOST_LEVELS or total < FEWEST_PER_LEVEL * levels or not 0 < rate < 1:
        return NOTHING_KNOWN
    effects, noise, walk = response(rows, clicks)
    found = {
        (own, order): _restricted(effects, order * walk + np.diag(own + noise))
        for own in VARIANCES
        for order in VARIANCES
    }
    both = max(found.values())
    by_order = max(value for (own, _), value in found.items() if own == 0)
    by_own = max(value for (_, order), value in found.items() if order == 0)
    return OrderEvidence(both - by_order, both - by_own)


def response(rows: Values, clicks: Values) -> tuple[Values, Values, Values]:
    """Give (K,) working responses of K values in order, (K,) their variances, and (K, K) the walk's covariance."""
    total = float(rows.sum())
    rate = float(clicks.sum()) / total
    information = rows * rate * (1 - rate)
    rank = (np.cumsum(rows) - rows / 2) / total
    return (clicks - rows * rate) / information, 1 / information, np.minimum(rank[:, None], rank[None, :])


def _restricted(effects: Values, covariance: Values) -> float:
    """Give the restricted log-likelihood of (K,) effects with an unknown common mean."""
    factor = cho_factor(covariance, lower=True)
    solved = cho_solve(factor, np.stack([effects, np.ones(len(effects))], axis=1))
    precision = float(solved[:, 1].sum())
    mean = float(solved[:, 0].sum()) / precision
    fit = float(effects @ solved[:, 0]) - mean**2 * precision
    return -float(np.log(np.diag(factor[0])).sum()) - 0.5 * (float(np.log(precision)) + fit)
