"""Solve positive definite systems by Cholesky factors, with nothing between numpy and LAPACK.

The evidence solves thousands of small systems. SciPy's own functions look at their arguments for longer than such a
solution takes. In shapes: n columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

Values = NDArray[np.float64]


def factored(matrix: Values) -> Values:
    """Return the upper Cholesky factor (n, n) of a symmetric matrix; what is below the diagonal has no meaning.

    Raises:
        LinAlgError: the matrix is not positive definite, or holds what is no number.
    """
    factor, info = dpotrf(matrix, lower=0, clean=0)
    if info or not np.isfinite(np.add.reduce(factor.diagonal())):
        raise np.linalg.LinAlgError("The matrix is not positive definite.")
    return np.asarray(factor)


def solved(factor: Values, right: Values) -> Values:
    """Return the (n, …) solution for a right-hand side (n, …), given the factor of a matrix."""
    return np.asarray(dpotrs(factor, right, lower=0)[0])


def inverse_of(factor: Values) -> Values:
    """Return the inverse (n, n) of a matrix, given its factor."""
    upper = np.triu(dpotri(factor, lower=0)[0])
    return np.asarray(upper + np.triu(upper, 1).T)


def inverse_diagonal(factor: Values) -> Values:
    """Return the diagonal (n,) of the inverse, which takes a part of the time of the whole."""
    return np.asarray(dpotri(factor, lower=0)[0].diagonal())
