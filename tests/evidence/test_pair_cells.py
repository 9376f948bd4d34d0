from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfm_core.encoding.vocabulary import MISSING
from deepfm_core.evidence import designs as evidence_designs
from deepfm_core.evidence import pair_cells
from deepfm_core.evidence.cross_fit import contributions
from deepfm_core.evidence.designs import WAVES, FieldDesign, Slots, cross, field_designs, gather
from deepfm_core.evidence.first_look import first_look
from deepfm_core.evidence.joint import shrunken_effects
from deepfm_core.evidence.score_test import Residuals, score_pair
from deepfm_core.schema.kinds import Kind
from tests.worlds import MIXED, encoded, layout

ROWS = 300


def one_hot(codes: np.ndarray, name: str = "f") -> FieldDesign:
    slots = Slots(codes[:, None].astype(np.int64), None, int(codes.max()) + 1)
    return FieldDesign(name, slots, slots)


def several(present: np.ndarray, name: str = "f") -> FieldDesign:
    ids = np.tile(np.arange(present.shape[1]), (len(present), 1))
    slots = Slots(ids, present.astype(np.float64), present.shape[1])
    return FieldDesign(name, slots, slots)


def drawn_designs(seed: int) -> list[FieldDesign]:
    rng = np.random.default_rng(seed)
    single = [one_hot(rng.integers(rng.integers(1, 12), size=ROWS)) for _ in range(2)]
    many = [several(rng.random((ROWS, 5)) < 0.4) for _ in range(2)]
    return [*single, *many, *field_designs(encoded(MIXED, ROWS, seed))]


def dense_residual(a: FieldDesign, b: FieldDesign, residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Take the weighted additive fit out of a residual, by dense least squares."""
    columns = np.hstack([a.main.matrix.toarray(), b.main.matrix.toarray()])
    root = np.sqrt(weights)
    effects = np.linalg.lstsq(columns * root[:, None], residual / root, rcond=None)[0]
    return residual - weights * (columns @ effects)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), a=st.integers(0, 9), b=st.integers(0, 9))
def test_pure_sums_are_those_of_the_residual_of_a_weighted_least_squares_fit(seed: int, a: int, b: int) -> None:
    designs = drawn_designs(seed)
    rng = np.random.default_rng(seed)
    weights, residual = rng.uniform(0.05, 0.25, ROWS), rng.normal(size=ROWS)
    rows = Residuals(designs, residual, weights, None)
    cells = rows.cells(a, b)
    expected = cells.sums(dense_residual(designs[a], designs[b], residual, weights))
    scale = np.abs(cells.sums(residual)).max()
    np.testing.assert_allclose(rows.pure_sums(a, b, cells), expected, atol=1e-3 * scale)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_pure_sums_of_a_table_have_margins_of_zero(seed: int) -> None:
    designs = drawn_designs(seed)[:2]
    rng = np.random.default_rng(seed)
    rows = Residuals(designs, rng.normal(size=ROWS), rng.uniform(0.05, 0.25, ROWS), None)
    cells = rows.cells(0, 1)
    pure = rows.pure_sums(0, 1, cells)
    for side in (cells.crossing.cell_a, cells.crossing.cell_b):
        np.testing.assert_allclose(np.bincount(side, weights=pure), 0.0, atol=1e-2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), a=st.integers(0, 9), b=st.integers(0, 9))
def test_covariance_and_freedom_are_those_of_the_projected_sums(seed: int, a: int, b: int) -> None:
    designs = drawn_designs(seed)
    weights = np.random.default_rng(seed).uniform(0.05, 0.25, ROWS)
    cells = Residuals(designs, np.zeros(ROWS), weights, None).cells(a, b)
    root = np.sqrt(weights)
    additive = np.hstack([designs[a].main.matrix.toarray(), designs[b].main.matrix.toarray()]) * root[:, None]
    columns = cells.at_rows(np.eye(cells.size)) * root[:, None]
    left = columns - additive @ np.linalg.lstsq(additive, columns, rcond=None)[0]
    expected = left.T @ left
    np.testing.assert_allclose(cells.covariance, expected, atol=1e-3 * cells.V.max())
    np.testing.assert_allclose(cells.freedom * cells.V, np.diag(expected), atol=1e-3 * cells.V.max())


def test_crossing_keeps_only_cells_with_rows_and_multiplies_values() -> None:
    a = Slots(np.array([[0], [1], [1]]), None, 3)
    b = Slots(np.array([[0, 1], [1, 0], [2, 0]]), np.array([[1.0, 0.5], [2.0, 0.0], [1.0, 0.0]]), 4)
    crossing = cross(a, b)
    occupied = set(zip(crossing.cell_a.tolist(), crossing.cell_b.tolist(), strict=True))
    assert occupied == {(0, 0), (0, 1), (1, 1), (1, 2)}
    table = np.zeros((3, 3, 4))
    for row, (ids, values) in enumerate(zip(crossing.slots.ids, crossing.slots.values, strict=True)):
        for cell, value in zip(ids, values, strict=True):
            table[row, crossing.cell_a[cell], crossing.cell_b[cell]] += value
    np.testing.assert_allclose(table[0, 0], [1.0, 0.5, 0, 0])
    np.testing.assert_allclose(table[1, 1], [0, 2.0, 0, 0])
    np.testing.assert_allclose(table[2, 1], [0, 0, 1.0, 0])


@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 2), (2, 3), (1, 5), (5, 7)])
def test_effects_given_to_rows_by_table_are_those_given_by_cells(a: int, b: int) -> None:
    designs = drawn_designs(3)
    rows = Residuals(designs, np.zeros(ROWS), np.full(ROWS, 0.2), None)
    cells = rows.cells(a, b)
    effects = np.random.default_rng(0).normal(size=cells.size)
    by_table = contributions(cells.crossing, effects, designs[a].crossed, designs[b].crossed)
    np.testing.assert_allclose(by_table, cells.at_rows(effects), atol=1e-9)


def test_shrunken_effects_of_many_shared_cells_solve_their_equation() -> None:
    rng = np.random.default_rng(1)
    designs = [several(rng.random((2000, 15)) < 0.2), several(rng.random((2000, 12)) < 0.2)]
    rows = Residuals(designs, rng.normal(size=2000) * 0.4, np.full(2000, 0.16), None)
    cells = rows.cells(0, 1)
    pure = rows.pure_sums(0, 1, cells)
    effects = shrunken_effects(cells, pure, 10.0)
    exact = np.linalg.solve(cells.gram.toarray() + 10 * np.eye(cells.size), pure)
    assert cells.size > 120
    np.testing.assert_allclose(effects, exact, atol=2e-2 * np.abs(exact).max())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)), sort=st.booleans())
def test_rows_are_alike_where_both_levels_are_the_same(seed: int, sizes: tuple[int, int], sort: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = (one_hot(rng.integers(size, size=60)).main for size in sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence_designs, "DIRECT_CODES", 0 if sort else 10**6)
        kinds = gather(a, b)
    assert kinds is not None
    levels = {(int(i), int(j)) for i, j in zip(a.ids[:, 0], b.ids[:, 0], strict=True)}
    seen = {(int(i), int(j), int(k)) for i, j, k in zip(a.ids[:, 0], b.ids[:, 0], kinds.ids[:, 0], strict=True)}
    assert kinds.size == len(levels) == len(seen) == len({k for _, _, k in seen})


@pytest.mark.parametrize("missing", [False, True])
def test_numbers_have_a_column_for_missing_only_where_a_value_is_missing(missing: bool) -> None:
    buckets = layout([(Kind.BUCKETISED, 1, 8)])
    field = replace(buckets.fields[0], features=(*"1234567", MISSING))
    table = encoded(buckets, ROWS, 0)
    ids = table.ids if missing else table.ids % 7
    (design,) = field_designs(replace(table, layout=replace(buckets, fields=(field,)), ids=ids))
    assert design.crossed.size == WAVES + missing
    assert np.abs(design.crossed.values).max(axis=0).min() > 0.01


def test_numbers_that_are_all_alike_have_pairs_that_say_nothing() -> None:
    table = encoded(layout([(Kind.BUCKETISED, 1, 4), (Kind.CATEGORICAL, 1, 3)]), ROWS, 0)
    table.ids[:, 0] = 1
    designs = field_designs(table)
    assert designs[0].crossed.size == 1
    rows = Residuals(designs, np.random.default_rng(0).normal(size=ROWS), np.full(ROWS, 0.2), None)
    assert score_pair(rows, 0, 1).info == 0
    assert first_look(designs, rows.residual, rows.weights, 1) == [(0, 1)]


def test_rows_of_several_levels_are_not_gathered() -> None:
    designs = drawn_designs(0)
    assert gather(designs[0].main, designs[2].main) is None


@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 2), (2, 3), (1, 5), (4, 6), (5, 7)])
def test_dense_and_sparse_matrices_give_the_same_sums(a: int, b: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = Residuals(drawn_designs(7), rng.normal(size=ROWS), rng.uniform(0.05, 0.25, ROWS), None)
    dense = rows.cells(a, b)
    monkeypatch.setattr(pair_cells, "DENSE_WORK", 0)
    sparse = rows.cells(a, b)
    logits = rng.normal(size=(len(dense.at_kinds(np.zeros((dense.size, 3)))), 3))
    for one, other in (
        (dense.V, sparse.V),
        (dense.V2, sparse.V2),
        (dense.covariance, sparse.covariance),
        (dense.gram.toarray(), sparse.gram.toarray()),
        (rows.pure_sums(a, b, dense), rows.pure_sums(a, b, sparse)),
        (dense.pure_sums_of_logits(logits), sparse.pure_sums_of_logits(logits)),
    ):
        np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 2), (2, 3), (1, 5), (5, 7)])
def test_the_sums_of_logits_are_those_of_their_rows(a: int, b: int) -> None:
    rng = np.random.default_rng(4)
    rows = Residuals(drawn_designs(4), np.zeros(ROWS), rng.uniform(0.05, 0.25, ROWS), None)
    cells = rows.cells(a, b)
    logits = cells.without_additive(cells.at_kinds(rng.normal(size=(cells.size, 1))))
    residual = rows.weights * cells.spread(logits)[:, 0]
    by_rows = rows.with_residuals(residual, None).pure_sums(a, b, cells)
    np.testing.assert_allclose(cells.pure_sums_of_logits(logits)[:, 0], by_rows, atol=1e-9)
    for field in (a, b):
        np.testing.assert_allclose(rows.designs[field].main.sums(residual), 0.0, atol=1e-2)
