"""The null: what evidence looks like when no pair interacts.

`null_residuals` draws labels from the main effects and refits them, a parametric bootstrap (Efron & Tibshirani 1993).
`upper_tail` turns a score into a p-value, `benjamini_hochberg` p-values into q-values. In shapes: N rows, P columns
of all fields, B draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.special import gammaincc

from deepfm_core.evidence.designs import FieldDesign
from deepfm_core.evidence.main_effects import MainEffects

Values = NDArray[np.float64]

DIRECT_COLUMNS = 3000
"""Columns up to which X'VX is kept dense and factorised: 3,000 columns take 72 MB."""
CG_STEPS = 25
CG_TOLERANCE = 1e-3
"""Residual norm, relative to the first, at which conjugate gradients stop. Draws have far more noise than that."""
GRAM_WORK = 100_000_000
"""Entries of X'VX summed at most; of longer tables a sample of rows gives it."""
LEAST_PENALTY = 1e-8
"""Penalty of every column, relative to the largest entry of X'VX. Each field's columns sum to the constant, so that
X'VX alone is singular."""
DRAWN_TOGETHER = 16
"""Draws made at a time; it bounds the memory of the float64 random numbers."""
LEAST_SKEW = 0.05
"""Skewness below which the gamma distribution is computed at this one: its shape 4/skew² must stay finite."""


def null_residuals(
    designs: Sequence[FieldDesign], fit: MainEffects, draws: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw labels from a main-effects model and refit the model to each draw, all draws at once.

    The refit is one Newton step of the penalised likelihood, from the model the labels were drawn from:
    residual = g − v X (X'VX + Λ)⁻¹ (X'g − Λθ) with g = y* − p, v = p(1−p), and Λ the precisions of the effects θ.

    Args:
        designs: the designs the model was fitted to, N rows.
        fit: the model.
        draws: B, how many label vectors to draw.
        rng: the random numbers.

    Returns:
        (N, B) residuals of the refitted draws.
    """
    p = fit.probability
    v = p * (1 - p)
    noise = np.empty((len(p), draws), dtype=np.float32)  # (N, B) g = y* − p
    for b in range(0, draws, DRAWN_TOGETHER):
        some = noise[:, b : b + DRAWN_TOGETHER]
        some[:] = ((rng.random((some.shape[1], len(p))) < p) - p).T
    ones = sparse.csr_array(np.ones((len(p), 1)))
    columns = sparse.csr_array(sparse.hstack([ones, *(design.main.matrix for design in designs)]))  # (N, P)
    single = columns.astype(np.float32)
    penalty = np.concatenate(  # (P,) diagonal of Λ; the intercept is free
        [np.zeros(1), *(np.full(len(e), 1 / s) for e, s in zip(fit.effects, fit.variances, strict=True))]
    )
    theta = np.concatenate([np.zeros(1), *fit.effects])
    right = np.asarray(single.T @ noise, dtype=np.float64) - (penalty * theta)[:, None]  # (P, B)
    rows, scale = _rows_of_gram(columns, rng)
    solve = _solve_directly if len(penalty) <= DIRECT_COLUMNS else _conjugate_gradients
    steps = solve(columns[rows], v[rows] * scale, penalty, right).astype(np.float32)  # (P, B)
    noise -= v.astype(np.float32)[:, None] * np.asarray(single @ steps)
    return noise


def _rows_of_gram(columns: sparse.csr_array, rng: np.random.Generator) -> tuple[NDArray[np.int64] | slice, float]:
    """Choose the rows that X'VX is summed over, and the factor that scales a sample up to all rows."""
    rows = columns.shape[0]
    # With e entries a row X'VX costs rows · e², and e = nnz / rows.
    most = max(1, int(GRAM_WORK * rows**2 // max(columns.nnz**2, 1)))
    if most >= rows:
        return slice(None), 1.0
    return np.sort(rng.choice(rows, size=most, replace=False)), rows / most


def _solve_directly(columns: sparse.csr_array, weights: Values, penalty: Values, right: Values) -> Values:
    """Solve (X'VX + Λ) δ = right for (P, B) right-hand sides."""
    gram = (columns.T @ (columns * weights[:, None])).toarray()
    gram[np.diag_indices_from(gram)] += penalty + LEAST_PENALTY * float(gram.diagonal().max())
    return np.asarray(cho_solve(cho_factor(gram), right))


def _conjugate_gradients(columns: sparse.csr_array, weights: Values, penalty: Values, right: Values) -> Values:
    """Solve the same with products by X alone, nearly: X'VX has several times as many entries as X."""
    # Preconditioned by the diagonal (Jacobi); all B right-hand sides take their steps together.
    gram_diagonal = (columns * columns).T @ weights
    penalty = (penalty + LEAST_PENALTY * float(gram_diagonal.max()))[:, None]
    diagonal = gram_diagonal[:, None] + penalty
    single, v = columns.astype(np.float32), weights.astype(np.float32)[:, None]
    solution, residual = np.zeros_like(right), right.copy()
    direction = residual / diagonal
    size = (residual * direction).sum(axis=0)
    goal = CG_TOLERANCE**2 * size.max()  # `size` holds r' M⁻¹ r, squared norms
    for _ in range(CG_STEPS):
        image = single.T @ (v * (single @ direction.astype(np.float32))) + penalty * direction  # (P, B)
        length = size / np.maximum((direction * image).sum(axis=0), 1e-300)
        solution += length * direction
        residual -= length * image
        scaled = residual / diagonal
        new = (residual * scaled).sum(axis=0)
        if new.max() <= goal:
            break
        direction = scaled + (new / np.maximum(size, 1e-300)) * direction
        size = new
    return solution


def upper_tail(z: Values, skew: Values) -> Values:
    """Return the probability of a value of `z` or more, under a null of mean 0, variance 1 and the given skewness.

    The score is a sum of squares. A shifted gamma distribution (Pearson's type III) has its first three moments.
    """
    skew = np.maximum(skew, LEAST_SKEW)
    # A gamma of shape a has skewness 2/√a, and (gamma − a)/√a has mean 0 and variance 1.
    shape = 4 / skew**2
    return np.asarray(gammaincc(shape, np.maximum(shape + z * np.sqrt(shape), 0.0)))


def benjamini_hochberg(p_values: Values) -> Values:
    """Turn (P,) p-values into q-values, the least false discovery rate at which each pair is called significant.

    The step-up procedure of Benjamini & Hochberg (1995). `scipy.stats.false_discovery_control` gives the same; to load
    it takes 0.9 s and 32 MB.
    """
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * count / np.arange(1, count + 1)
    q_values = np.empty(count)
    # From the largest p-value down, so that a smaller p-value never has a larger q-value.
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values
