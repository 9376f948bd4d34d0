"""Taking the additive part out of a pair's contribution (docs/interactions.md, "Purified strength")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import lsqr

from deepfm_core.explain.levels import Levels

SWEEPS = 100
TOLERANCE = 1e-6
RIDGE = 1e-9
DIRECT_LEVELS = 1500


def purify(
    values: NDArray[np.floating], pairs: Sequence[tuple[int, int]], levels: Sequence[Levels]
) -> NDArray[np.float64]:
    """Remove from each pair's row values their least-squares additive part over the levels of its two fields.

    What remains has mean zero within every level of either field, under the rows' own joint distribution: the
    functional-ANOVA interaction (Lengerich et al. 2020 call it purified).

    Args:
        values: (N, P), a column per pair.
        pairs: P pairs of field numbers.
        levels: one per field, over the same N rows.

    Returns:
        (N, P), the pure contributions.
    """
    members = {number: _members(levels[number]) for number in {number for pair in pairs for number in pair}}
    pure = np.empty((len(values), len(pairs)))
    for column, (f, g) in enumerate(pairs):
        pure[:, column] = _residual(members[f], members[g], np.asarray(values[:, column], dtype=np.float64))
    return pure


def _members(levels: Levels) -> sparse.csr_array:
    """Give which levels each row stands at: (N, L) of 0 and 1."""
    rows, columns = np.nonzero(levels.codes >= 0)
    shape = (len(levels.codes), len(levels))
    return sparse.csr_array((np.ones(len(rows)), (rows, levels.codes[rows, columns])), shape=shape)


def _residual(a: sparse.csr_array, b: sparse.csr_array, values: NDArray[np.float64]) -> NDArray[np.float64]:
    design = _beside_constant([a, b])
    return np.asarray(values - design @ _effects(design, values))


def _beside_constant(sides: Sequence[sparse.csr_array]) -> sparse.csr_array:
    """Give the design of an additive part: a constant, which rows of several levels do not hold yet, then each side."""
    constant = sparse.csr_array(np.ones((sides[0].shape[0], 1)))
    return sparse.csr_array(sparse.hstack([constant, *sides], format="csr"))


def _effects(design: sparse.csr_array, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit values (N,) by one effect a column of an (N, L) design: (L,)."""
    if design.shape[1] > DIRECT_LEVELS:
        return np.asarray(lsqr(design, values, atol=TOLERANCE, btol=TOLERANCE)[0])
    gram = (design.T @ design).toarray()
    # Constants too many, and levels without rows: a ridge picks one of the equal fits.
    gram[np.diag_indices_from(gram)] += RIDGE * max(len(values), 1)
    return np.asarray(linalg.solve(gram, design.T @ values, assume_a="pos"))


@dataclass(frozen=True)
class AdditiveParts:
    """The additive parts of P pairs' contributions, fitted to some rows and given at N others, in log-odds.

    Attributes:
        of_a: (N, P), the part that is the pair's first field's own, with mean zero over the rows fitted to.
        of_b: (N, P), the second field's.
        constant: (P,), the mean over the rows fitted to.
    """

    of_a: NDArray[np.float64]
    of_b: NDArray[np.float64]
    constant: NDArray[np.float64]


def additive_parts(
    values: NDArray[np.floating], pairs: Sequence[tuple[int, int]], levels: Sequence[Levels]
) -> AdditiveParts:
    """Fit what `purify` removes to the first M rows, field by field, and give it for the rows after them.

    Args:
        values: (M, P), a column per pair.
        pairs: P pairs of field numbers; of a field with itself only `of_a` is not zero.
        levels: one per field, over M + N rows.
    """
    fitted, rows = len(values), len(levels[0].codes)
    members = {number: _members(levels[number]) for number in {number for pair in pairs for number in pair}}
    of_a, of_b = np.zeros((rows - fitted, len(pairs))), np.zeros((rows - fitted, len(pairs)))
    constant = np.zeros(len(pairs))
    for column, (f, g) in enumerate(pairs):
        sides = [members[f]] if f == g else [members[f], members[g]]
        design = _beside_constant([side[:fitted] for side in sides])
        first, *rest = _effects(design, np.asarray(values[:, column], dtype=np.float64))
        constant[column], effects = first, np.array(rest)
        for side, of_side in zip(sides, (of_a, of_b), strict=False):
            own, effects = effects[: side.shape[1]], effects[side.shape[1] :]
            mean = float(np.mean(side[:fitted] @ own))
            known = side[fitted:] @ (side[:fitted].sum(0) > 0) > 0  # a level without rows has no part of its own
            of_side[:, column] = side[fitted:] @ own - mean * known
            constant[column] += mean
    return AdditiveParts(of_a, of_b, constant)


def purify_table(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Remove from a table its weighted least-squares additive part: every weighted row and column mean becomes zero.

    Args:
        values: (A, B) contributions by level pair.
        weights: (A, B) rows of each level pair; a pair without rows has no say in the fit, and is given what remains.
    """
    pure = np.array(values, dtype=np.float64)
    by_a, by_b = np.maximum(weights.sum(1), 1e-12), np.maximum(weights.sum(0), 1e-12)
    scale = max(float(np.abs(pure).max(initial=0.0)), 1e-12)
    for _ in range(SWEEPS):
        a = (weights * pure).sum(1) / by_a
        pure -= a[:, None]
        b = (weights * pure).sum(0) / by_b
        pure -= b
        if max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0)) <= TOLERANCE * scale:
            break
    return pure
