"""Numbers whose effect is smooth but for a pattern: sentinels, a few values apart, round ones, weeks and dozens.

Such a number looks like codes to `number_order`, since a random walk follows no spike. Each pattern here becomes fixed
effects of the models that are compared there, so that what it explains no longer speaks for codes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from deepfm_core.data.number_order import VARIANCES, Values, response

FEWEST_SPIKES, MOST_SPIKES = 3, 6
"""Values apart from all others that a number may have besides its sentinels: one in eight within these bounds."""
PERIODS = range(2, 13)
ROUND = ((15,), (20,), (24,), (25,), (50,), (100,), (5, 7, 10, 12), (7, 30), (12, 30), (15, 30, 60), (10, 25, 50, 100))
"""Sets of numbers whose multiples may differ from other values, each set by one effect a number."""
_LEAST_LEFT = 4
"""Values beyond the fixed effects below which nothing is said."""


def evidence_beyond_patterns(values: Values, rows: Values, clicks: Values) -> float:
    """Give the log-likelihood by which effects of their own improve on the order and the pattern that explains most.

    Args:
        values: (K,) the distinct whole numbers of a column, in ascending order.
        rows: (K,) rows of each, above 0.
        clicks: (K,) those of them that are positive.

    Returns:
        0 where so few values are left beside a pattern's effects that nothing can be said.
    """
    effects, noise, walk = response(rows, clicks)
    ends = _sentinels(values)
    designs = [_basis(columns) for columns in _patterns(values, ends)]
    designs.append(_basis(_with_spikes(ends, effects, noise, walk)))
    if any(len(values) - design.shape[1] < _LEAST_LEFT for design in designs):
        return 0.0
    both, by_order = np.full((2, len(designs)), -np.inf)
    for own in VARIANCES:
        for order in VARIANCES:
            found = _restricted(effects, designs, order * walk + np.diag(own + noise))
            both = np.maximum(both, found)
            by_order = np.maximum(by_order, found) if own == 0 else by_order
    return float((both - by_order).min())


def _sentinels(values: Values) -> Values:
    """Give a constant, and an indicator each of the lowest and the highest value, -1 and 0."""
    marks = [values == special for special in (values[0], values[-1], -1, 0)]
    return np.stack([np.ones(len(values)), *(mark.astype(np.float64) for mark in marks)], axis=1)


def _patterns(values: Values, ends: Values) -> Iterator[Values]:
    """Yield the fixed effects of periods and of round numbers: all residues where values are many, else multiples."""
    for period in PERIODS:
        residues = range(period) if len(values) >= 4 * period else (0,)
        yield _marked(ends, [values % period == residue for residue in residues])
    for numbers in ROUND:
        yield _marked(ends, [values % number == 0 for number in numbers])


def _marked(columns: Values, marks: list[NDArray[np.bool_]]) -> Values:
    return np.column_stack([columns, *(mark.astype(np.float64) for mark in marks)])


def _with_spikes(columns: Values, effects: Values, noise: Values, walk: Values) -> Values:
    """Add indicators of the values that deviate most from what follows the order, one after another."""
    for _ in range(min(max(FEWEST_SPIKES, len(effects) // 8), MOST_SPIKES)):
        basis = _basis(columns)
        if len(effects) - basis.shape[1] < _LEAST_LEFT:
            break
        covariances = [order * walk + np.diag(noise) for order in VARIANCES]
        best = max(covariances, key=lambda covariance: float(_restricted(effects, [basis], covariance)[0]))
        inverse = cho_solve(cho_factor(best, lower=True), np.eye(len(effects)))
        weighted = inverse @ basis
        projection = inverse - weighted @ np.linalg.solve(basis.T @ weighted, weighted.T)
        spread = np.diag(projection)
        free = spread > 1e-9 * np.diag(inverse)
        deviation = np.where(free, np.abs(projection @ effects) / np.sqrt(np.where(free, spread, 1.0)), 0.0)
        columns = np.column_stack([columns, np.arange(len(effects)) == deviation.argmax()])
    return columns


def _basis(columns: Values) -> Values:
    """Give orthonormal columns that span the same effects."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > 1e-9 * singular[0]])


def _restricted(effects: Values, designs: list[Values], covariance: Values) -> Values:
    """Give the restricted log-likelihood of (K,) effects under each design."""
    factor, lower = cho_factor(covariance, lower=True)
    whitened = solve_triangular(factor, np.column_stack([effects, *designs]), lower=lower)
    start, target, found = 1, whitened[:, 0], []
    for design in designs:
        part = whitened[:, start : (start := start + design.shape[1])]
        upper = np.linalg.qr(part, mode="r")
        explained = solve_triangular(upper, part.T @ target, trans="T")
        fit = float(target @ target - explained @ explained)
        found.append(-float(np.log(np.abs(np.diag(upper))).sum()) - 0.5 * fit)
    return np.array(found) - float(np.log(np.diag(factor)).sum())
