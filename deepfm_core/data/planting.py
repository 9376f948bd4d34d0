"""Effects of known strength on the logit: pure pairs, a pure three-way part, and the base rate that goes with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr

Values = NDArray[np.float64]
Codes = NDArray[np.int64]


def standardise(values: Values, sd: float) -> Values:
    """Return the (N,) values with mean zero and standard deviation `sd` over the rows; constants become zero."""
    centred = values - values.mean()
    spread = centred.std()
    return np.asarray(centred * (sd / spread) if spread > 1e-12 else np.zeros_like(centred))


def joint_codes(parts: Sequence[Codes]) -> Codes:
    """Number the distinct combinations of several (N,) codes by one (N,) code from 0."""
    joint = np.zeros(len(parts[0]), dtype=np.int64)
    for codes in parts:
        joint = joint * (int(codes.max()) + 1) + codes
    return np.unique(joint, return_inverse=True)[1].astype(np.int64)


def without_group_means(values: Values, groups: Sequence[Codes], sweeps: int = 200) -> Values:
    """Remove from (N,) values their least-squares sum of functions of each (N,) grouping, by alternating centring."""
    pure = values - values.mean()
    counts = [np.bincount(codes) for codes in groups]
    for _ in range(sweeps):
        largest = 0.0
        for codes, rows in zip(groups, counts, strict=True):
            means = np.bincount(codes, weights=pure) / np.maximum(rows, 1)
            pure -= means[codes]
            largest = max(largest, float(np.abs(means).max()))
        if largest < 1e-9:
            break
    return np.asarray(pure)


def without_additive(values: Values, designs: Sequence[csr_array]) -> Values:
    """Remove from (N,) values their least-squares projection on the columns of the (N, d) designs and a constant.

    This is `without_group_means` for fields that are not one level a row: multi-valued ones.
    """
    rows = len(values)
    blocks = [csr_array(np.ones((rows, 1))), *designs]
    design = csr_array(np.hstack([block.toarray() for block in blocks]))
    coefficients: Values = lsqr(design, values, atol=1e-10, btol=1e-10)[0]
    return np.asarray(values - design @ coefficients)


def base_for_click_rate(logits: Values, click_rate: float) -> float:
    """Find the base logit that gives (N,) logits the mean probability `click_rate`, by bisection."""
    low, high = -30.0, 30.0
    for _ in range(80):
        middle = (low + high) / 2
        if (1 / (1 + np.exp(-(logits + middle)))).mean() < click_rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
