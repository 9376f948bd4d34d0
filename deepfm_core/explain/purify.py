"""Taking the additive part out of a pair's contribution (docs/interactions.md, "Purified strength")."""

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

from deepfm_core.evidence.levels import Levels

Values = NDArray[np.float64]

SWEEPS = 100
TOLERANCE = 1e-6
RIDGE = 1e-9
DIRECT_LEVELS = 1500
DENSE_CELLS = 50_000
"""Cells of a level × level table up to which it is kept dense, which costs less than to set up a sparse one."""


def purify(values: NDArray[np.floating], pairs: Sequence[tuple[int, int]], levels: Sequence[Levels]) -> Values:
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
    pure = np.empty((len(values), len(pairs)))
    with threadpool_limits(1, user_api="blas"):  # many small products: threads would wait for each other
        for column, (f, g) in enumerate(pairs):
            fit = AdditiveFit([levels[f], levels[g]])
            pure[:, column] = fit.residual(np.asarray(values[:, column, None], dtype=np.float64))[:, 0]
    return pure


class AdditiveFit:
    """The least-squares additive fit over the levels of one or two fields, made ready once for any values of the rows.

    Of two fields that each row stands at one level of, the larger is eliminated: with n the rows of its levels and T
    the level × level table of rows, what is left of the smaller is diag(m) − Tᵀ diag(1/n) T (a Schur complement). Other
    fields go by the normal equations, and those of very many levels by conjugate gradients (LSQR).
    """

    def __init__(self, sides: Sequence[Levels], rows: int | None = None) -> None:
        """Prepare the fit to the first `rows` rows (all if None) of one or two fields' levels."""
        codes = [side.codes[:rows] for side in sides]
        self._sizes = [len(side) for side in sides]
        self._schur: _Schur | None = None
        if len(sides) == 2 and all(code.shape[1] == 1 and code.min(initial=0) >= 0 for code in codes):
            found = _Schur([code[:, 0] for code in codes], self._sizes)
            self._schur = found if found.small else None
        if self._schur is None:
            constant = sparse.csr_array(np.ones((len(codes[0]), 1)))  # which rows of several levels do not hold yet
            parts = [members(code, size) for code, size in zip(codes, self._sizes, strict=True)]
            self._design = sparse.csr_array(sparse.hstack([constant, *parts], format="csr"))

    def residual(self, values: Values) -> Values:
        """Give what the additive part leaves of (N, C) values."""
        if self._schur is not None:
            return self._schur.residual(values)
        return np.asarray(values - self._design @ self._solved(values))

    def effects(self, values: Values) -> tuple[float, list[Values]]:
        """Give the constant, and the effect of each level of each field, that fit (N,) values best."""
        if self._schur is not None:
            return 0.0, self._schur.effects(values[:, None], self._sizes)
        solved = self._solved(values[:, None])[:, 0]
        return float(solved[0]), np.split(solved[1:], np.cumsum(self._sizes)[:-1])

    def _solved(self, values: Values) -> Values:
        design = self._design
        if design.shape[1] > DIRECT_LEVELS:
            found = [lsqr(design, column, atol=TOLERANCE, btol=TOLERANCE)[0] for column in values.T]
            return np.stack(found, 1)
        gram = (design.T @ design).toarray()
        # Constants too many, and levels without rows: a ridge picks one of the equal fits.
        gram[np.diag_indices_from(gram)] += RIDGE * max(len(values), 1)
        return np.asarray(cho_solve(cho_factor(gram), design.T @ values))


class _Schur:
    """The fit where every row stands at one level of either field, over the levels that have rows."""

    def __init__(self, codes: Sequence[NDArray[np.int64]], sizes: Sequence[int]) -> None:
        sides = [_held(own, size) for own, size in zip(codes, sizes, strict=True)]
        self._swap = len(sides[0][0]) < len(sides[1][0])
        (self._outer_levels, self._outer), (self._inner_levels, self._inner) = sides[::-1] if self._swap else sides
        self.small = len(self._inner_levels) <= DIRECT_LEVELS
        if not self.small:
            return
        shape = len(self._outer_levels), len(self._inner_levels)
        self._rows, of_inner = np.bincount(self._outer, minlength=shape[0]), np.bincount(self._inner)
        self._table = _counts(self._outer, self._inner, shape)
        schur = np.diag(of_inner * (1 + RIDGE) + RIDGE)  # one constant too many
        taken = self._table.T @ (self._table / self._rows[:, None])
        self._factor = cho_factor(schur - (taken.toarray() if sparse.issparse(taken) else taken))

    def residual(self, values: Values) -> Values:
        """Give what is left of (N, C) values."""
        outer, inner = self._fit(values)
        return np.asarray(values - outer[self._outer] - inner[self._inner])

    def effects(self, values: Values, sizes: Sequence[int]) -> list[Values]:
        """Give the effects of all levels of both fields, those without rows 0."""
        found = list(zip((self._outer_levels, self._inner_levels), self._fit(values), strict=True))
        full = [np.zeros(size) for size in sizes]
        for effects, (levels, own) in zip(full, found[::-1] if self._swap else found, strict=True):
            effects[levels] = own[:, 0]
        return full

    def _fit(self, values: Values) -> tuple[Values, Values]:
        by_outer, by_inner = (
            np.stack([np.bincount(codes, column, len(levels)) for column in values.T], 1)
            for codes, levels in ((self._outer, self._outer_levels), (self._inner, self._inner_levels))
        )
        means = by_outer / self._rows[:, None]
        inner = cho_solve(self._factor, by_inner - self._table.T @ means)
        return means - (self._table @ inner) / self._rows[:, None], inner


def _held(codes: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the levels that have rows, and (N,) which of these each row stands at."""
    held = np.bincount(codes, minlength=size) > 0
    return np.flatnonzero(held), (np.cumsum(held) - 1)[codes]


def _counts(outer: NDArray[np.int64], inner: NDArray[np.int64], shape: tuple[int, int]) -> Any:
    """Count the rows of each cell of a level × level table; a sparse one where it would be large."""
    if shape[0] * shape[1] <= DENSE_CELLS:
        return np.bincount(outer * shape[1] + inner, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    return sparse.csr_array(sparse.coo_array((np.ones(len(outer)), (outer, inner)), shape=shape))


def members(codes: NDArray[np.int64], size: int) -> sparse.csr_array:
    """Give which of `size` levels each row stands at, from its (N, M) codes: (N, size) of 0 and 1."""
    rows, columns = np.nonzero(codes >= 0)
    return sparse.csr_array((np.ones(len(rows)), (rows, codes[rows, columns])), shape=(len(codes), size))


@dataclass(frozen=True)
class AdditiveParts:
    """The additive parts of P pairs' contributions, fitted to some rows and given at N others, in log-odds.

    Attributes:
        of_a: (N, P), the part that is the pair's first field's own, with mean zero over the rows fitted to.
        of_b: (N, P), the second field's.
        constant: (P,), the mean over the rows fitted to.
    """

    of_a: Values
    of_b: Values
    constant: Values


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
    """A field's levels at the rows fitted to and at those after them.

    Attributes:
        share: (L,) rows of each level by row fitted to.
        after: (N, L), at which levels the rows after them stand.
        known: (N,) whether one of these has rows fitted to; a level without any has no part of its own.
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
