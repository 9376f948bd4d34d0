"""The cells of a pair: where a row stands in the level × level table, and sums over cells without the additive part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from deepfm_core.explain.designs import Columns, FieldDesign, Slots, full_slots

Values = NDArray[np.float64]

DIRECT_CODES = 4_000_000
RIDGE = 1e-5
"""Relative ridge of the additive fit: it picks one of the equal fits (there is one constant too many)."""


@dataclass(frozen=True)
class Crossing:
    """The occupied cells of two fields' crossed columns.

    Attributes:
        slots: (N, s) cells of a row with their values, the products of the two fields' values.
        cell_a, cell_b: (C,) the crossed column of either field a cell belongs to.
    """

    slots: Slots
    cell_a: NDArray[np.int64]
    cell_b: NDArray[np.int64]

    @cached_property
    def squares(self) -> Values:
        """(N,) Σ x² of each row's cells: the variance a unit variance of cell effects gives the row's logit."""
        return np.asarray((self.slots.values**2).sum(axis=1))


def cross(a: Slots, b: Slots) -> Crossing:
    """Cross two fields' columns, keeping the cells some row stands in."""
    if a.full and b.full:
        products = (a.values[:, :, None] * b.values[:, None, :]).reshape(len(a.ids), -1)
        return Crossing(full_slots(products), *np.divmod(np.arange(a.size * b.size), b.size))
    codes = (a.ids[:, :, None] * b.size + b.ids[:, None, :]).reshape(len(a.ids), -1)
    single = a.one_hot and b.one_hot
    x = None if single else (a.values[:, :, None] * b.values[:, None, :]).reshape(codes.shape)
    if a.size * b.size <= DIRECT_CODES:
        held = np.zeros(a.size * b.size, dtype=bool)
        held[codes if x is None else codes[x != 0]] = True
        cells = np.flatnonzero(held)
        place = np.zeros(len(held), dtype=np.int64)
        place[cells] = np.arange(len(cells))
        ids = place[codes]
    else:
        cells, inverse = np.unique(codes, return_inverse=True)
        ids = inverse.reshape(codes.shape).astype(np.int64)
    size = max(len(cells), 1)
    cell_a, cell_b = np.divmod(cells if len(cells) else np.zeros(1, dtype=np.int64), b.size)
    return Crossing(Slots(ids, x, size), cell_a, cell_b)


class FieldWeights:
    """One field's main design under row weights v: its Gram matrix, ready to be solved with."""

    def __init__(self, design: FieldDesign, weights: Values) -> None:
        self.design = design
        self.columns = design.main.matrix
        self.one_hot = design.main.one_hot
        self.size = design.main.size
        if self.one_hot:
            self.gram = np.asarray(self.columns.T @ weights)
            self._floor = self.gram + max(float(self.gram.max()), 1e-9) * 1e-9
        else:
            self.gram = (self.columns.T @ design.main.weighted(weights)).toarray()
            diagonal = np.diag(self.gram)
            self._factor = cho_factor(self.gram + np.diag(RIDGE * diagonal + max(float(diagonal.max()), 1e-9) * 1e-9))

    def full_gram(self) -> Values:
        """(size, size) Gram matrix."""
        return np.diag(self.gram) if self.one_hot else self.gram

    def solve(self, right: Values) -> Values:
        """Solve the Gram matrix for (size, …) right-hand sides."""
        if self.one_hot:
            return np.asarray(right / (self._floor if right.ndim == 1 else self._floor[:, None]))
        return np.asarray(cho_solve(self._factor, right))


def _weighted_table(a: Slots, b: Slots, weights: Values) -> Columns:
    """Sum (N,) weights over the level × level table of two fields, rows with several values in several cells."""
    if a.one_hot and b.one_hot and a.size * b.size <= DIRECT_CODES:
        codes = a.ids[:, 0] * b.size + b.ids[:, 0]
        return np.bincount(codes, weights=weights, minlength=a.size * b.size).reshape(a.size, b.size)
    return a.matrix.T @ b.weighted(weights)


class PairCells:
    """Sums over the cells of a pair under row weights v, with the least-squares additive part removed.

    For a row residual r with variance v, U_c = Σ x_c r and V_c = Σ x_c² v over the rows of cell c; `project` gives W,
    the sums U of the residual that remains when its weighted least-squares additive part over the levels of both fields
    has been removed. W has mean zero for labels without interaction and is uncorrelated with every additive function.

    Cost: O(N s) and one factorisation over the levels of the smaller field.
    """

    def __init__(self, a: FieldDesign, b: FieldDesign, weights: Values, of: Sequence[FieldWeights]) -> None:
        self.crossing = cross(a.crossed, b.crossed)
        self.columns = self.crossing.slots.matrix
        first, second = of
        self._swap = (not first.one_hot and second.one_hot) or (
            first.one_hot == second.one_hot and first.size < second.size
        )
        outer, inner = (second, first) if self._swap else (first, second)
        self._outer, self._inner = outer, inner
        self._weighted = self.crossing.slots.weighted(weights)
        if self.crossing.slots.one_hot and a.crossed is a.main and b.crossed is b.main:
            self._sum_over_one_hot_cells(weights)
        else:
            self._sum_over_cells(weights)
        schur = inner.full_gram() - self._table.T @ outer.solve(self._table.toarray())
        diagonal = np.diag(inner.full_gram())
        self._schur = cho_factor(schur + np.diag(RIDGE * diagonal + max(float(diagonal.max()), 1e-9) * 1e-9))

    def _sum_over_one_hot_cells(self, weights: Values) -> None:
        """Fill in what is known of cells that are each within one level of either field."""
        cells = self.crossing.slots.ids[:, 0]
        self.V: Values = np.bincount(cells, weights=weights, minlength=self.size).astype(np.float64)
        self.V2: Values = np.bincount(cells, weights=weights**2, minlength=self.size).astype(np.float64)
        by_outer, by_inner = self.crossing.cell_a, self.crossing.cell_b
        if self._swap:
            by_outer, by_inner = by_inner, by_outer
        at = np.arange(self.size)
        self._cells_outer = csr_array((self.V, (at, by_outer)), shape=(self.size, self._outer.size))
        self._cells_inner = csr_array((self.V, (at, by_inner)), shape=(self.size, self._inner.size))
        self._table = csr_array((self.V, (by_outer, by_inner)), shape=(self._outer.size, self._inner.size))

    def _sum_over_cells(self, weights: Values) -> None:
        """Compute the same for rows that stand in several cells, or cells made of smooth columns."""
        slots = self.crossing.slots
        ones = np.ones(len(weights))
        self.V = np.asarray(slots.weighted(weights, 2).T @ ones)
        self.V2 = np.asarray(slots.weighted(weights**2 * self.crossing.squares, 2).T @ ones)
        self._cells_outer = csr_array(self._weighted.T @ self._outer.columns)
        self._cells_inner = csr_array(self._weighted.T @ self._inner.columns)
        self._table = csr_array(_weighted_table(self._outer.design.main, self._inner.design.main, weights))

    @property
    def size(self) -> int:
        """How many cells there are."""
        return self.crossing.slots.size

    @cached_property
    def gram(self) -> csr_array:
        """(C, C) covariance of U: diagonal where cells share no rows."""
        return csr_array(self.columns.T @ self._weighted)

    def sums(self, residual: NDArray[np.floating]) -> NDArray[np.floating]:
        """Sum (N,) or (N, B) residuals over the cells."""
        return np.asarray((self.columns if residual.dtype == np.float64 else self._single).T @ residual)

    @cached_property
    def _single(self) -> Columns:
        return self.columns.astype(np.float32)

    def project(self, sums: NDArray[np.floating], by_a: Values, by_b: Values) -> Values:
        """Remove the additive part from (C, …) sums over cells, given the sums over the levels of either field."""
        outer, inner = self._additive(by_a, by_b)
        return np.asarray(sums - self._cells_outer @ outer - self._cells_inner @ inner)

    def pure_rows(self, effects: Values) -> Values:
        """Give what (C, …) effects of cells add to each row's logit (N, …), less its weighted additive part."""
        by_outer, by_inner = self._cells_outer.T @ effects, self._cells_inner.T @ effects
        by_a, by_b = (by_inner, by_outer) if self._swap else (by_outer, by_inner)
        outer, inner = self._additive(by_a, by_b)
        return np.asarray(
            self.columns @ effects - self._outer.columns @ outer - self._inner.columns @ inner, dtype=effects.dtype
        )

    def _additive(self, by_a: Values, by_b: Values) -> tuple[Values, Values]:
        """Fit level effects to sums over the levels of either field: of the outer and of the inner field."""
        by_outer, by_inner = (by_b, by_a) if self._swap else (by_a, by_b)
        inner = cho_solve(self._schur, by_inner - self._table.T @ self._outer.solve(by_outer))
        return self._outer.solve(by_outer - self._table @ inner), inner

    @cached_property
    def _left(self) -> tuple[Values, Values]:
        """Give K (C, outer) solved by the outer Gram matrix, (outer, C), and what is left of K for the inner field."""
        cells_outer = self._cells_outer.toarray()
        solved = self._outer.solve(cells_outer.T)
        left = self._cells_inner.toarray().T - (self._table.T @ solved)
        return np.einsum("co,oc->c", cells_outer, solved), left

    @property
    def freedom_work(self) -> int:
        """How many numbers `freedom` holds at a time."""
        return self.size * (self._outer.size + self._inner.size)

    @cached_property
    def freedom(self) -> Values:
        """(C,) share φ of each cell's variance that is left when the additive part has been removed."""
        by_outer, left = self._left
        lost = by_outer + np.einsum("ic,ic->c", left, cho_solve(self._schur, left))
        return np.asarray(np.clip(1 - lost / np.maximum(self.V, 1e-12), 0.0, 1.0))

    @cached_property
    def covariance(self) -> Values:
        """(C, C) covariance of W for labels without interaction and known main effects of other fields."""
        cells_outer = self._cells_outer.toarray()
        left = self._left[1]
        one_hot = self.crossing.slots.one_hot
        whole = np.diag(self.V) if one_hot else self.gram.toarray()
        return np.asarray(
            whole - cells_outer @ self._outer.solve(cells_outer.T) - left.T @ cho_solve(self._schur, left)
        )
