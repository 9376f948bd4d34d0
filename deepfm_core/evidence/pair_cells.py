"""The cells of a pair: sums over them without the additive part, and the variance of these sums.

Start with `PairCells`: its `project` removes the additive part, `covariance` and `freedom` say what variance is left.
Of the two fields, the one whose Gram matrix is easier to solve is the *outer* one; the other, *inner* one is solved by
its Schur complement. In shapes: N rows, n kinds of rows, C cells, B draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, issparse

from deepfm_core.evidence.designs import Columns, Crossing, FieldDesign, Slots, cross, gather
from deepfm_core.evidence.solving import factored, inverse_of, solved

Values = NDArray[np.float64]

RIDGE = 1e-5
"""Relative ridge of the additive fit. The constant is in both fields, so many fits are equal; the ridge picks one."""
DENSE_WORK = 100_000
"""Entries up to which a matrix is kept dense: a sparse product would save less than it costs to set up."""


class FieldWeights:
    """One field's Gram matrix X'VX under row weights v, ready to be solved."""

    def __init__(self, design: FieldDesign, weights: Values) -> None:
        self.one_hot = design.main.one_hot
        self.size = design.main.size
        if self.one_hot:
            self.gram = np.asarray(design.main.sums(weights))  # (size,) the diagonal; the rest is 0
            # Columns without rows have a diagonal of 0: a floor lets them be divided by.
            self._floor = self.gram + max(float(self.gram.max()), 1e-9) * 1e-9
        else:
            self.gram = design.main.gram(weights)  # (size, size)
            diagonal = np.diag(self.gram)
            self._factor = factored(self.gram + np.diag(RIDGE * diagonal + max(float(diagonal.max()), 1e-9) * 1e-9))

    def full_gram(self) -> Values:
        """(size, size) Gram matrix."""
        return np.diag(self.gram) if self.one_hot else self.gram

    def solve(self, right: Values) -> Values:
        """Solve the Gram matrix for (size, …) right-hand sides."""
        if self.one_hot:
            return np.asarray(right / (self._floor if right.ndim == 1 else self._floor[:, None]))
        return np.asarray(solved(self._factor, right))


def _columns(slots: Slots) -> Columns:
    """Return (n, size) columns, dense where they have few entries."""
    rows, size = len(slots.ids), slots.size
    if slots.full or rows * size > DENSE_WORK:
        return slots.matrix
    places = np.arange(rows)[:, None] * size + slots.ids  # (n, s) positions in the flattened (n, size) matrix
    return np.bincount(places.ravel(), slots.values.ravel(), rows * size).reshape(rows, size)


def _dense(matrix: Columns) -> Values:
    return np.asarray(matrix.toarray() if issparse(matrix) else matrix)


def _table(outer: Slots, inner: Slots, weights: Values) -> Columns:
    """Sum (n,) weights over the level × level table of two fields: (outer, inner)."""
    if not (outer.one_hot and inner.one_hot):
        return outer.matrix.T @ inner.weighted(weights)
    shape = outer.size, inner.size
    if shape[0] * shape[1] > DENSE_WORK:
        return csr_array((weights, (outer.ids[:, 0], inner.ids[:, 0])), shape=shape)
    return np.bincount(outer.ids[:, 0] * inner.size + inner.ids[:, 0], weights, shape[0] * shape[1]).reshape(shape)


class PairCells:
    """Sums over the cells of a pair under row weights v, with the least-squares additive part removed.

    For a row residual r with variance v, U_c = Σ x_c r and V_c = Σ x_c² v over the rows of cell c. W, from `project`,
    are the same sums after the weighted least-squares additive part over the levels of both fields has been removed
    from r. Without interaction W has mean zero, and it is uncorrelated with every additive function.

    Rows at the same levels are summed first, and everything else uses these n kinds of rows: two fields of 16 levels
    have 256 kinds at most. Cost: O(N) for the sums, O(n s), and one factorisation over the levels of the smaller field.
    """

    def __init__(self, a: FieldDesign, b: FieldDesign, weights: Values, of: Sequence[FieldWeights]) -> None:
        first, second = of
        # The outer field is the one-hot one (its Gram matrix is diagonal), of two alike the one with more levels: the
        # Schur complement then is over as few levels as possible.
        self._swap = (not first.one_hot and second.one_hot) or (
            first.one_hot == second.one_hot and first.size < second.size
        )
        self._outer, self._inner = (second, first) if self._swap else (first, second)
        self.kinds = gather(a.main, b.main)
        squared = weights**2
        if self.kinds is not None:
            one_of_each = np.empty(self.kinds.size, dtype=np.int64)  # (n,) a row of each kind
            one_of_each[self.kinds.ids[:, 0]] = np.arange(len(weights))
            a, b = a.take(one_of_each), b.take(one_of_each)
            weights, squared = self.kinds.sums(weights), self.kinds.sums(squared)
        self._weights = weights
        self._levels = (b.main, a.main) if self._swap else (a.main, b.main)
        self.columns: Columns | None = None  # (n, C); None if each kind of row is a cell
        if self.kinds is not None and a.crossed is a.main and b.crossed is b.main:
            self._cells_are_kinds(a, b, squared)
        else:
            self._cells_of_rows(cross(a.crossed, b.crossed), squared)
        self._table = _table(*self._levels, weights)  # (outer, inner)
        # Block elimination: S = G_inner − T' G_outer⁻¹ T, (inner, inner).
        schur = self._inner.full_gram() - self._table.T @ self._outer.solve(_dense(self._table))
        diagonal = np.diag(self._inner.full_gram())
        self._schur = factored(schur + np.diag(RIDGE * diagonal + max(float(diagonal.max()), 1e-9) * 1e-9))

    def _cells_are_kinds(self, a: FieldDesign, b: FieldDesign, squared: Values) -> None:
        """Set up cells that are kinds of rows: each is one level of either field."""
        cells = Slots(np.arange(len(squared))[:, None], None, len(squared))
        self.crossing = Crossing(cells, a.main.ids[:, 0], b.main.ids[:, 0])
        self.V, self.V2 = self._weights, squared
        self._cells_outer, self._cells_inner = (
            _columns(Slots(levels.ids, self._weights[:, None], levels.size)) for levels in self._levels
        )

    def _cells_of_rows(self, crossing: Crossing, squared: Values) -> None:
        """Set up cells that share rows: rows with several values, or smooth columns of numbers."""
        self.crossing = crossing
        self.V = crossing.slots.square_sums(self._weights)
        self.V2 = crossing.slots.square_sums(squared * crossing.squares)
        self.columns = _columns(crossing.slots)
        self._cells_outer, self._cells_inner = (self._weighted.T @ _columns(levels) for levels in self._levels)

    @cached_property
    def _weighted(self) -> Columns:
        assert self.columns is not None
        sparse = issparse(self.columns)
        return self.crossing.slots.weighted(self._weights) if sparse else self.columns * self._weights[:, None]

    @property
    def size(self) -> int:
        """C, the number of cells."""
        return self.crossing.slots.size

    @cached_property
    def gram(self) -> csr_array:
        """(C, C) covariance of U, diagonal if cells share no rows."""
        return csr_array(diags_array(self.V) if self.columns is None else self.columns.T @ self._weighted)

    def sums(self, residual: NDArray[np.floating]) -> NDArray[Any]:
        """Sum (N,) or (N, B) residuals over the cells."""
        return self._sums_of_kinds(residual if self.kinds is None else self.kinds.sums(residual))

    def _sums_of_kinds(self, residual: NDArray[np.floating]) -> NDArray[Any]:
        if self.columns is None:
            return residual
        return np.asarray((self.columns if residual.dtype == np.float64 else self._single).T @ residual)

    def own_squares(self, squared: NDArray[np.floating]) -> NDArray[Any]:
        """Sum x² r² over the rows of each cell, from (N,) or (N, B) squared residuals."""
        by_kind = squared if self.kinds is None else self.kinds.sums(squared)
        if self.columns is None:
            return by_kind
        return np.asarray(((self.columns if by_kind.dtype == np.float64 else self._single) ** 2).T @ by_kind)

    @cached_property
    def _single(self) -> Columns:
        assert self.columns is not None
        return self.columns.astype(np.float32)

    @property
    def squares(self) -> Values:
        """(N,) Σ x² of each row's cells."""
        return self.spread(self.crossing.squares)

    def at_kinds(self, effects: NDArray[np.floating]) -> NDArray[Any]:
        """Return what (C, …) cell effects add to the logit of each kind of row: (n, …)."""
        return np.asarray(effects if self.columns is None else self.columns @ effects)

    def at_rows(self, effects: NDArray[np.floating]) -> NDArray[Any]:
        """Return what (C, …) cell effects add to each row's logit: (N, …)."""
        return self.spread(self.at_kinds(effects))

    def spread(self, values: NDArray[np.floating]) -> NDArray[Any]:
        """Repeat (n, …) values of kinds of rows for their rows: (N, …)."""
        return values if self.kinds is None else self.kinds.at_rows(values)

    def project(self, sums: NDArray[np.floating], by_a: Values, by_b: Values) -> Values:
        """Turn sums U (C, …) over cells into W, given the sums of the same residuals over either field's levels."""
        return self._project(sums, *((by_b, by_a) if self._swap else (by_a, by_b)))

    def _project(self, sums: NDArray[np.floating], by_outer: Values, by_inner: Values) -> Values:
        outer, inner = self._additive(by_outer, by_inner)
        return np.asarray(sums - self._cells_outer @ outer - self._cells_inner @ inner)

    def without_additive(self, logits: Values) -> Values:
        """Remove from (n, B) logits of kinds of rows their weighted least-squares additive part."""
        outer, inner = self._levels
        of_outer, of_inner = self._additive(*self._by_level(logits))
        return np.asarray(logits - outer.at_rows(of_outer) - inner.at_rows(of_inner))

    def pure_sums_of_logits(self, logits: Values) -> Values:
        """Return W (C, B) of the residuals v · logit, for (n, B) logits of kinds of rows."""
        return self._project(self._sums_of_kinds(self._weights[:, None] * logits), *self._by_level(logits))

    def _by_level(self, logits: Values) -> tuple[Values, Values]:
        outer, inner = self._levels
        weighted = self._weights[:, None] * logits
        return outer.sums(weighted), inner.sums(weighted)

    def _additive(self, by_outer: Values, by_inner: Values) -> tuple[Values, Values]:
        """Fit the effects of both fields' levels: (outer, …) and (inner, …), from sums over these levels."""
        # Solve [G_outer T; T' G_inner] [a; b] = [s_outer; s_inner] by elimination: b first, then a.
        inner = solved(self._schur, by_inner - self._table.T @ self._outer.solve(by_outer))
        return self._outer.solve(by_outer - self._table @ inner), inner

    @cached_property
    def _left(self) -> tuple[Values, Values]:
        """Return the variance (C,) of U that outer levels explain, and K (inner, C) after their removal."""
        cells_outer = _dense(self._cells_outer)
        solved = self._outer.solve(cells_outer.T)
        left = _dense(self._cells_inner).T - (self._table.T @ solved)
        return np.einsum("co,oc->c", cells_outer, solved), left

    @property
    def freedom_work(self) -> int:
        """The numbers that `freedom` keeps in memory."""
        outer, inner = self._outer.size, self._inner.size
        return outer * inner if self.columns is None else self.size * (outer + inner)

    @cached_property
    def freedom(self) -> Values:
        """(C,) share φ of each cell's variance that removing the additive part leaves, 0 … 1."""
        lost = self._lost_by_level if self.columns is None else self._lost_by_cell
        return np.asarray(np.clip(1 - lost / np.maximum(self.V, 1e-12), 0.0, 1.0))

    @property
    def _lost_by_cell(self) -> Values:
        """(C,) variance that the additive part takes from each cell."""
        by_outer, left = self._left
        return np.asarray(by_outer + np.einsum("ic,ic->c", left, solved(self._schur, left)))

    @property
    def _lost_by_level(self) -> Values:
        """(C,) the same for cells that are one level of either field: V²/G + V² (e − t)' S⁻¹ (e − t).

        G is the outer level's weight, e the inner level's unit vector, and t the shares of the inner levels among the
        rows of the outer level.
        """
        inverse = inverse_of(self._schur)
        shares = self._table * self._outer.solve(np.ones(self._outer.size))[:, None]  # sparse if the table is
        product = shares @ inverse  # (outer, inner) t' S⁻¹
        outer, inner = (levels.ids[:, 0] for levels in self._levels)
        within = np.diag(inverse)[inner] - 2 * product[outer, inner] + np.asarray((shares * product).sum(axis=1))[outer]
        return np.asarray(self.V**2 * (self._outer.solve(np.ones(self._outer.size))[outer] + within))

    @cached_property
    def covariance(self) -> Values:
        """(C, C) covariance of W without interaction, were the main effects of other fields known."""
        cells_outer = _dense(self._cells_outer)
        left = self._left[1]
        whole = np.diag(self.V) if self.columns is None else _dense(self.columns.T @ self._weighted)
        return np.asarray(whole - cells_outer @ self._outer.solve(cells_outer.T) - left.T @ solved(self._schur, left))
