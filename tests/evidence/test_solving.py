import numpy as np
import pytest

from deepfm_core.evidence.solving import factored, inverse_diagonal, inverse_of, solved


@pytest.mark.parametrize("n", [1, 2, 17, 60])
def test_solutions_and_inverses_are_those_of_the_matrix(n: int) -> None:
    rng = np.random.default_rng(n)
    root = rng.normal(size=(n, 2 * n))
    matrix, one, several = root @ root.T, rng.normal(size=n), rng.normal(size=(n, 3))
    before, factor = matrix.copy(), factored(matrix)
    np.testing.assert_array_equal(matrix, before)  # nothing is written over
    for right in (one, several):
        found = solved(factor, right)
        assert found.shape == right.shape
        np.testing.assert_allclose(matrix @ found, right, atol=1e-8)
    np.testing.assert_allclose(inverse_of(factor) @ matrix, np.eye(n), atol=1e-8)
    np.testing.assert_allclose(inverse_diagonal(factor), np.linalg.inv(matrix).diagonal(), rtol=1e-8)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_what_is_not_positive_definite_is_refused(wrong: float) -> None:
    with pytest.raises(np.linalg.LinAlgError):
        factored(np.diag([1.0, wrong]))
