"""Two models judged on the same rows, in numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfm_core.training.metrics import Z95, logloss_by_row


@dataclass(frozen=True)
class Difference:
    """A difference with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def logloss_difference(
    labels: NDArray[np.floating], logits: NDArray[np.floating], other_logits: NDArray[np.floating]
) -> Difference:
    """Give one model's logloss less another's on the same N rows, in nats; below zero the first is better.

    The interval is that of the mean of the rows' differences: far narrower than the two loglosses' own, since both
    models find the same rows hard.

    Args:
        labels: (N,) of 0 and 1, N at least 2.
        logits: (N,) log-odds of the one model.
        other_logits: (N,) of the other.
    """
    apart = logloss_by_row(labels, logits) - logloss_by_row(labels, other_logits)
    value, half = float(apart.mean()), Z95 * float(apart.std(ddof=1)) / math.sqrt(len(apart))
    return Difference(value, value - half, value + half)
