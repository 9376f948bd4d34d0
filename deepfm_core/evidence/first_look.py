"""A first look at all pairs of a wide table: it chooses those that are worth a test of their own.

`first_look` scores many pairs at once. Sums over the cells of two fields of a level a row are counted; those of any
other two are products of matrices, dense or sparse. In shapes: N rows, F fields, C columns of all fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, hstack

from deepfm_core.evidence.designs import FieldDesign, Slots
from deepfm_core.spec.events import Report, unheard, within

Values = NDArray[np.float64]

LOOKED_AT_ONCE = 16
"""Fields whose products with all others are made together."""
COUNTED_AT_ONCE = 1 << 18
"""Rows × fields that are counted together: their cells stay in the processor's cache."""
COUNTED_LEVELS = 10
"""Levels from which counting takes less time than a dense product. A sparse one always takes more."""
DENSE_LOOK = 20_000_000
"""Rows × columns up to which products are dense, in float32: 80 MB."""
DENSE_FILL = 0.05
"""Share of a table's numbers that must not be 0 for dense products: they are some hundred times as fast each."""
NO_SPREAD = 1e-12
"""Spread below which a pair says nothing, relative to that with all rows."""


def first_look(
    designs: Sequence[FieldDesign], residual: Values, weights: Values, most: int, report: Report = unheard
) -> list[tuple[int, int]]:
    """Choose the `most` pairs with the largest scores.

    The score is that of a variance at zero, Σ (U² − own squares) ÷ spread, with U the sums of residuals over a pair's
    cells. Unlike the scores that follow, it leaves in what is additive, and draws no null. Rows that are alone in their
    cells say nothing. With √(2 Σ V²) as the spread they damp a pair, and with √(2 Σ_{i≠j} v_i v_j) they do not: the
    first protects from chance in a few cells, the second keeps sparse pairs. The best by either are chosen in turn.

    Args:
        designs: F designs over N rows.
        residual: (N,) y − p.
        weights: (N,) v = p(1−p).
        most: how many pairs are chosen.
        report: called with the share done, 0 … 1.

    Returns:
        Pairs of field numbers, in ascending order.
    """
    slots = [design.crossed for design in designs]
    by_row = np.stack([_row_sums(one, 2) for one in slots])  # (F, N) Σ x²
    by_row4 = np.stack([_row_sums(one, 4) for one in slots])  # (F, N) Σ x⁴
    sums, total = _squares_of_sums(slots, residual, weights, report)
    excess = sums - (by_row * residual**2) @ by_row.T  # (F, F) less own squares
    shared = total - (by_row4 * weights**2) @ by_row4.T  # Σ_{i≠j} v_i v_j
    upper = np.triu_indices(len(designs), 1)
    spreads = total, np.maximum(shared, NO_SPREAD * np.maximum(total, NO_SPREAD))
    scores = [excess[upper] / np.sqrt(2 * np.maximum(spread[upper], 1e-12)) for spread in spreads]
    orders = [np.argsort(-score, kind="stable") for score in scores]
    in_turn = np.stack(orders, axis=1).ravel()
    _, seen = np.unique(in_turn, return_index=True)
    best = in_turn[np.sort(seen)[:most]]
    return sorted((int(upper[0][k]), int(upper[1][k])) for k in best)


def _row_sums(slots: Slots, power: int) -> Values:
    """Sum a power of x over each row's slots: (N,)."""
    if slots.one_hot:
        return np.ones(len(slots.ids))
    return np.asarray((slots.values**power).sum(axis=1))


def _squares_of_sums(
    slots: Sequence[Slots], residual: Values, weights: Values, report: Report
) -> tuple[Values, Values]:
    """Add up by pair the squares of sums over its cells: of x times the residuals, and of x² times the weights.

    Returns:
        (F, F) each; the diagonals have no meaning.
    """
    rows, size = len(residual), len(residual) * sum(one.size for one in slots)
    filled = sum(one.ids.size if one.one_hot else np.count_nonzero(one.values) for one in slots)
    dense = bool(size <= DENSE_LOOK and filled >= DENSE_FILL * size)
    counted = np.array([_is_counted(one, rows, dense) for one in slots])
    order = np.argsort(counted, kind="stable")  # those that are counted come last
    slots, products = [slots[f] for f in order], int((~counted).sum())
    found, done = np.zeros((2, len(slots), len(slots))), products / max(len(slots), 1)
    for number, squares in enumerate(_multiplied(slots, products, residual, weights, dense, within(report, 0.0, done))):
        found[number] = squares
    found[:, products:, products:] = _counted(slots[products:], residual, weights, within(report, done, 1.0))
    found = np.triu(found, 1)  # each pair once
    found += found.transpose(0, 2, 1)
    places = np.argsort(order)
    sums, total = found[:, places[:, None], places]
    return sums, total


def _is_counted(slots: Slots, rows: int, dense: bool) -> bool:
    """Say whether sums over a field's cells with others like it are counted; not if cells were more than rows."""
    return slots.one_hot and slots.size**2 <= rows and (not dense or slots.size >= COUNTED_LEVELS)


def _multiplied(
    slots: Sequence[Slots], first: int, residual: Values, weights: Values, dense: bool, report: Report
) -> Iterator[Values]:
    """Yield (F, F) squares of sums of x times the residuals, then of x² times the weights: of the first fields with
    themselves and those after them, by products."""
    if not first:
        return
    columns = _dense_columns(slots) if dense else csr_array(hstack([csr_array(one.matrix) for one in slots]))
    starts = np.cumsum([0, *(one.size for one in slots)])
    for number, values in enumerate((residual, weights)):
        if number:  # x² in the place of x
            entries = columns if isinstance(columns, np.ndarray) else columns.data
            entries *= entries
        found = np.zeros((len(slots), len(slots)))
        for begin in range(0, first, LOOKED_AT_ONCE):
            report((number + begin / first) / 2)
            end = min(begin + LOOKED_AT_ONCE, first)
            # The fields before have been multiplied: each pair is in the upper half once.
            found[begin:end, begin:] = _products(columns, values, starts[begin:], end - begin)
        yield found


def _dense_columns(slots: Sequence[Slots]) -> NDArray[np.float32]:
    """Put the columns of all fields beside each other: (N, C)."""
    rows, starts = np.arange(len(slots[0].ids)), np.cumsum([0, *(one.size for one in slots)])
    columns = np.zeros((len(rows), starts[-1]), np.float32)
    for one, start in zip(slots, starts, strict=False):
        if one.one_hot:
            columns[rows, start + one.ids[:, 0]] = 1.0
        else:
            matrix = one.matrix
            columns[:, start : start + one.size] = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    return columns


def _products(
    columns: NDArray[np.float32] | csr_array, values: Values, starts: NDArray[np.int64], fields: int
) -> Values:
    """Give (fields, later fields) squares of sums of (N,) values over the cells of the first of some fields with all.

    Args:
        columns: (N, C).
        values: of each row.
        starts: where the columns of these fields start, and the last one's end.
        fields: how many of them are the first.
    """
    block, later = slice(starts[0], starts[fields]), slice(starts[0], starts[-1])
    places = starts[:-1] - starts[0]
    if isinstance(columns, np.ndarray):
        weighted = columns[:, block] * values.astype(np.float32)[:, None]
        squares = np.square(weighted.T @ columns[:, later], dtype=np.float64)
        by_field = np.add.reduceat(squares, places[:fields], axis=0)
        return np.asarray(np.add.reduceat(by_field, places, axis=1))
    sums = ((diags_array(values) @ columns[:, block]).T @ columns[:, later]).tocoo()
    of_field = np.repeat(np.arange(len(places)), np.diff(starts))
    pair = of_field[sums.row] * len(places) + of_field[sums.col]
    added = np.bincount(pair, sums.data**2, fields * len(places))
    return np.asarray(added, dtype=np.float64).reshape(fields, len(places))


def _counted(slots: Sequence[Slots], residual: Values, weights: Values, report: Report) -> Values:
    """Count (2, K, K) squares of sums of residuals and of weights over the cells of K fields of a level a row."""
    found, rows = np.zeros((2, len(slots), len(slots))), len(residual)
    at_once = max(1, COUNTED_AT_ONCE // max(rows, 1))
    for begin in range(0, len(slots), at_once):
        report(begin / len(slots))
        part = slots[begin : begin + at_once]
        starts = np.cumsum([0, *(one.size for one in part)])
        columns = np.stack([one.ids[:, 0] + start for one, start in zip(part, starts, strict=False)])  # (fields, N)
        repeated = [np.tile(values, len(part)) for values in (residual, weights)]
        for a, one in enumerate(slots[: begin + len(part) - 1]):
            after = max(a + 1 - begin, 0)  # those of the part that come after the field
            cells = (columns[after:] + one.ids[:, 0] * starts[-1]).ravel()
            for number, values in enumerate(repeated):
                sums = np.bincount(cells, values[: len(cells)], one.size * starts[-1])
                squares = np.square(sums, out=sums).reshape(one.size, starts[-1]).sum(axis=0)
                found[number, a, begin + after : begin + len(part)] = np.add.reduceat(squares, starts[:-1])[after:]
    return found
