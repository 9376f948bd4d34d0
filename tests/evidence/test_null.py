import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from deepfm_core.evidence import designs as evidence_designs
from deepfm_core.evidence import score_test
from deepfm_core.evidence.designs import Slots, field_designs, full_slots
from deepfm_core.evidence.main_effects import fit_main_effects
from deepfm_core.evidence.score_test import benjamini_hochberg, gram_of, null_residuals, upper_tail
from deepfm_core.metrics.scores import sigmoid
from tests.worlds import MIXED, encoded


def test_drawn_residuals_have_mean_zero_and_are_free_of_main_effects() -> None:
    designs = field_designs(encoded(MIXED, 2000, 1))
    labels = (np.random.default_rng(0).random(2000) < 0.3).astype(np.float64)
    main = fit_main_effects(designs, labels)
    draws = null_residuals(designs, main, 64, np.random.default_rng(1))
    assert draws.shape == (2000, 64)
    np.testing.assert_allclose(draws.mean(axis=0), 0.0, atol=1e-5)
    p = main.probability
    for design in designs:
        columns = design.main.matrix
        before = np.asarray(columns.power(2).T @ (p * (1 - p)))
        spread = np.asarray(columns.T @ draws).var(axis=1)
        assert (spread < 1.3 * before).all()


def test_the_matrix_of_a_refit_is_that_of_its_columns() -> None:
    table = encoded(MIXED, 300, 4)
    blocks = [design.main for design in field_designs(table)]
    assert {block.one_hot for block in blocks} == {True, False}
    v = np.random.default_rng(0).uniform(0.05, 0.25, 300)
    X = np.hstack([np.asarray(block.matrix.toarray()) for block in blocks])
    np.testing.assert_allclose(gram_of(blocks, v), X.T @ (X * v[:, None]), atol=1e-12)


@pytest.mark.parametrize("counted", [0, 20_000])
def test_sums_of_columns_are_those_of_their_matrix(counted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("COUNTED", "COUNTED_SLOTS"):
        monkeypatch.setattr(evidence_designs, limit, counted)  # never, or here always
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 3)) * rng.integers(2, size=(50, 3))
    several = Slots(rng.integers(7, size=(50, 3)), x, 7)  # some rows have a column twice
    values = rng.normal(size=50)
    for slots in (several, Slots(rng.integers(7, size=(50, 1)), None, 7), full_slots(x)):
        X = np.asarray(slots.matrix if slots.full else slots.matrix.toarray())
        np.testing.assert_allclose(slots.sums(values), X.T @ values, atol=1e-12)
        np.testing.assert_allclose(slots.gram(values), X.T @ (X * values[:, None]), atol=1e-12)


def test_conjugate_gradients_agree_with_the_direct_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    designs = field_designs(encoded(MIXED, 500, 2))
    labels = (np.random.default_rng(0).random(500) < 0.3).astype(np.float64)
    main = fit_main_effects(designs, labels)
    direct = null_residuals(designs, main, 8, np.random.default_rng(5))
    monkeypatch.setattr(score_test, "DIRECT_COLUMNS", 0)
    np.testing.assert_allclose(null_residuals(designs, main, 8, np.random.default_rng(5)), direct, atol=2e-3)


def test_the_tail_is_that_of_the_chi_squared_distribution_it_matches() -> None:
    freedom = 5
    z = np.array([-0.5, 0.0, 1.0, 3.0, 5.0])
    skew = np.full(5, np.sqrt(8 / freedom))
    expected = stats.chi2.sf(freedom + z * np.sqrt(2 * freedom), freedom)
    np.testing.assert_allclose(upper_tail(z, skew), expected, rtol=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values_are_those_of_scipy(p_values: list[float]) -> None:
    np.testing.assert_allclose(
        benjamini_hochberg(np.array(p_values)), stats.false_discovery_control(p_values), atol=1e-12
    )


def test_main_effects_are_recovered_and_fields_without_any_are_shrunk_away() -> None:
    rng = np.random.default_rng(3)
    table = encoded(MIXED, 20_000, 3)
    designs = field_designs(table)
    truth = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[designs[0].main.ids[:, 0]]
    labels = (rng.random(20_000) < sigmoid(truth - 1)).astype(np.float64)
    main = fit_main_effects(designs, labels)
    assert np.corrcoef(main.logit, truth)[0, 1] > 0.99
    assert main.variances[0] > 0.2
    assert max(main.variances[1:]) < 0.02
    np.testing.assert_allclose(main.predict(designs), main.logit, atol=1e-9)
    assert abs(main.probability.mean() - labels.mean()) < 1e-3
