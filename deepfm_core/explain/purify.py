"""Remove the additive part of a pair's contribution (docs/interactions.md, "Purified strength").

`purify` works on rows, `purify_table` on a level × level table, and `additive_parts` returns what is removed. In
shapes: N rows, P pairs, M slots of a row, L levels of a field, A × B levels of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import lsqr
from threadpoolctl import threadpool_limits

from deepfm_core.evidence.designs import Levels

Values = NDArray[np.float64]

SWEEPS = 100
TOLERANCE = 1e-6
RIDGE = 1e-9
"""Relative ridge of the fit. The constant is in every field, so many fits are equal; the ridge picks one."""
DIRECT_LEVELS = 1500
"""Levels up to which normal equations are factorised; beyond them LSQR is faster."""
DENSE_CELLS = 50_000
"""Cells up to which a level × level table is kept dense: setting up a sparse one would cost more."""


def purify(values: NDArray[np.floating], pairs: Sequence[tuple[int, int]], levels: Sequence[Levels]) -> Values:
    """Remove from each pair's contributions their least-squares additive part over the levels of its two fields.

    What remains has mean zero within every level of either field, under the rows' own joint distribution. It is the
    functional-ANOVA interaction; Lengerich et al. (2020) call it purified.

    Args:
        values: (N, P), a column per pair.
        pairs: P pairs of field numbers.
        levels: one per field, over the same N rows.

    Returns:
        (N, P), the pure contributions.
    """
    pure = np.empty((len(values), len(pairs)))
    with threadpool_limits(1, user_api="blas"):  # many small products: one thread is fastest
        for column, (f, g) in enumerate(pairs):
            fit = AdditiveFit([levels[f], levels[g]])
            pure[:, column] = fit.residual(np.asarray(values[:, column, None], dtype=np.float64))[:, 0]
    return pure


class AdditiveFit:
    """The least-squares additive fit over the levels of one or two fields, factorised once for any values of the rows.

    With one level per row, the larger of two fields is eliminated: with n and m the rows of the larger and the smaller
    field's levels and T their level × level table, diag(m) − Tᵀ diag(1/n) T is left to solve (a Schur complement).
    Other fields are solved by the normal equations, or by LSQR (Paige & Saunders 1982) if they have very many levels.
    """

    def __init__(self, sides: Sequence[Levels], rows: int | None = None) -> None:
        """Prepare the fit to the first `rows` rows (all if None), for the levels of one or two fields."""
        codes = [side.codes[:rows] for side in sides]
        self._sizes = [len(side) for side in sides]
        self._schur: _Schur | None = None
        if len(sides) == 2 and all(code.shape[1] == 1 and code.min(initial=0) >= 0 for code in codes):
            schur = _Schur([code[:, 0] for code in codes], self._sizes)
            self._schur = schur if schur.small else None
        if self._schur is None:
            # With several levels per row, the levels' columns do not sum to the constant, so it gets its own.
            constant = sparse.csr_array(np.ones((len(codes[0]), 1)))
            parts = [members(code, size) for code, size in zip(codes, self._sizes, strict=True)]
            self._design = sparse.csr_array(sparse.hstack([constant, *parts], format="csr"))

    def residual(self, values: Values) -> Values:
        """Return values (N, C) minus their additive part."""
        if self._schur is not None:
            return self._schur.residual(values)
        return np.asarray(values - self._design @ self._solved(values))

    def effects(self, values: Values) -> tuple[float, list[Values]]:
        """Return the constant and, for each field, the effects (L,) of its levels that fit values (N,) best."""
        if self._schur is not None:
            return 0.0, self._schur.effects(values[:, None], self._sizes)
        solved = self._solved(values[:, None])[:, 0]
        return float(solved[0]), np.split(solved[1:], np.cumsum(self._sizes)[:-1])

    def _solved(self, values: Values) -> Values:
        design = self._design
        if design.shape[1] > DIRECT_LEVELS:
            return np.stack([lsqr(design, column, atol=TOLERANCE, btol=TOLERANCE)[0] for column in values.T], 1)
        gram = (design.T @ design).toarray()
        # There are constants too many and levels without rows: the ridge picks one of the equal fits.
        gram[np.diag_indices_from(gram)] += RIDGE * max(len(values), 1)
        return np.asarray(cho_solve(cho_factor(gram), design.T @ values))


class _Schur:
    """The fit for rows at one level of each field, over the levels that have rows; the *outer* field is eliminated."""

    def __init__(self, codes: Sequence[NDArray[np.int64]], sizes: Sequence[int]) -> None:
        sides = [_held(own, size) for own, size in zip(codes, sizes, strict=True)]
        self._swap = len(sides[0][0]) < len(sides[1][0])
        (self._outer_levels, self._outer), (self._inner_levels, self._inner) = sides[::-1] if self._swap else sides
        self.small = len(self._inner_levels) <= DIRECT_LEVELS
        if not self.small:
            return
        shape = len(self._outer_levels), len(self._inner_levels)
        self._rows, of_inner = np.bincount(self._outer, minlength=shape[0]), np.bincount(self._inner)
        self._table = _counts(self._outer, self._inner, shape)  # (outer, inner) rows of each cell
        schur = np.diag(of_inner * (1 + RIDGE) + RIDGE)  # one constant too many
        taken = self._table.T @ (self._table / self._rows[:, None])
        self._factor = cho_factor(schur - (taken.toarray() if sparse.issparse(taken) else taken))

    def residual(self, values: Values) -> Values:
        """Return values (N, C) minus their additive part."""
        outer, inner = self._fit(values)
        return np.asarray(values - outer[self._outer] - inner[self._inner])

    def effects(self, values: Values, sizes: Sequence[int]) -> list[Values]:
        """Return the effects of all levels of both fields; levels without rows have 0."""
        fitted = list(zip((self._outer_levels, self._inner_levels), self._fit(values), strict=True))
        full = [np.zeros(size) for size in sizes]
        for effects, (levels, own) in zip(full, fitted[::-1] if self._swap else fitted, strict=True):
            effects[levels] = own[:, 0]
        return full

    def _fit(self, values: Values) -> tuple[Values, Values]:
        by_outer, by_inner = (
            np.stack([np.bincount(codes, column, len(levels)) for column in values.T], 1)
            for codes, levels in ((self._outer, self._outer_levels), (self._inner, self._inner_levels))
        )
        means = by_outer / self._rows[:, None]  # (outer, C)
        inner = cho_solve(self._factor, by_inner - self._table.T @ means)
        return means - (self._table @ inner) / self._rows[:, None], inner


def _held(codes: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the levels that have rows, and which of these each row is at (N,)."""
    held = np.bincount(codes, minlength=size) > 0
    return np.flatnonzero(held), (np.cumsum(held) - 1)[codes]


def _counts(outer: NDArray[np.int64], inner: NDArray[np.int64], shape: tuple[int, int]) -> Any:
    """Count the rows of each cell of a level × level table, which is sparse if it is large: (outer, inner)."""
    if shape[0] * shape[1] <= DENSE_CELLS:
        return np.bincount(outer * shape[1] + inner, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    return sparse.csr_array(sparse.coo_array((np.ones(len(outer)), (outer, inner)), shape=shape))


def members(codes: NDArray[np.int64], size: int) -> sparse.csr_array:
    """Turn codes (N, M) into an indicator matrix: (N, size), 1 if a row is at a level."""
    rows, columns = np.nonzero(codes >= 0)
    return sparse.csr_array((np.ones(len(rows)), (rows, codes[rows, columns])), shape=(len(codes), size))


@dataclass(frozen=True)
class AdditiveParts:
    """The additive parts of P pairs' contributions, fitted to some rows and evaluated at N others, in log-odds.

    Attributes:
        of_a: (N, P), the part of the pair's first field, with mean zero over the rows fitted to.
        of_b: (N, P), the part of the second field.
        constant: (P,), the mean over the rows fitted to.
    """

    of_a: Values
    of_b: Values
    constant: Values


def additive_parts(
    values: NDArray[np.floating], pairs: Sequence[tuple[int, int]], levels: Sequence[Levels]
) -> AdditiveParts:
    """Fit what `purify` removes to the first M rows, field by field, and evaluate it at the rows after them.

    Args:
        values: (M, P), a column per pair.
        pairs: P pairs of field numbers. For a field with itself, only `of_a` is not zero.
        levels: one per field, over M + N rows.
    """
    fitted, rows = len(values), len(levels[0].codes)
    sides = {f: _Side.of(levels[f], fitted) for f in {number for pair in pairs for number in pair}}
    of_a, of_b = np.zeros((rows - fitted, len(pairs))), np.zeros((rows - fitted, len(pairs)))
    constant = np.zeros(len(pairs))
    with threadpool_limits(1, user_api="blas"):
        for column, (f, g) in enumerate(pairs):
            numbers = [f] if f == g else [f, g]
            fit = AdditiveFit([levels[number] for number in numbers], fitted)
            constant[column], effects = fit.effects(np.asarray(values[:, column], dtype=np.float64))
            for number, own, of_side in zip(numbers, effects, (of_a, of_b), strict=False):
                side = sides[number]
                mean = float(side.share @ own)
                of_side[:, column] = side.after @ own - mean * side.known
                constant[column] += mean
    return AdditiveParts(of_a, of_b, constant)


@dataclass(frozen=True)
class _Side:
    """A field's levels at the rows fitted to, and at the rows after them.

    Attributes:
        share: (L,) rows of each level ÷ rows fitted to.
        after: (N, L), 1 if a row after them is at a level.
        known: (N,) whether a row is at a level that was fitted. A level without fitted rows has no effect.
    """

    share: Values
    after: sparse.csr_array
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, levels: Levels, fitted: int) -> _Side:
        rows = np.asarray(members(levels.codes[:fitted], len(levels)).sum(0))
        after = members(levels.codes[fitted:], len(levels))
        return cls(rows / max(fitted, 1), after, after @ (rows > 0) > 0)


def purify_table(values: Values, weights: Values) -> Values:
    """Remove from a table its weighted least-squares additive part, so that every weighted row and column mean is zero.

    Args:
        values: (A, B) contributions by level pair.
        weights: (A, B) rows of each level pair. A pair without rows does not influence the fit.
    """
    pure = np.array(values, dtype=np.float64)
    by_a, by_b = np.maximum(weights.sum(1), 1e-12), np.maximum(weights.sum(0), 1e-12)  # (A,), (B,)
    scale = max(float(np.abs(pure).max(initial=0.0)), 1e-12)
    # Backfitting: subtract row means and column means in turn, until both are zero.
    for _ in range(SWEEPS):
        a = (weights * pure).sum(1) / by_a
        pure -= a[:, None]
        b = (weights * pure).sum(0) / by_b
        pure -= b
        if max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0)) <= TOLERANCE * scale:
            break
    return pure
