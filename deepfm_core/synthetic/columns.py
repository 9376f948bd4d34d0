"""Columns of generated worlds: correlated, with Zipf-like vocabularies, numbers, and several values in a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr

from deepfm_core.schema.schema import Kind

NUMERIC_GROUPS = 40
"""Quantile groups over which the additive part of a numeric field is removed from a planted pair."""


@dataclass(frozen=True)
class Column:
    """One drawn field.

    Attributes:
        name: the field's name.
        kind: categorical, numeric or multi-valued.
        cells: (N,) cells as they stand in the table.
        codes: (N,) a level per row; for a number its quantile group, for a multi-valued field -1.
        features: (N, d) what effects are linear in: one-hot levels, curves of a number, mean of a cell's values.
    """

    name: str
    kind: Kind
    cells: NDArray[Any]
    codes: NDArray[np.int64]
    features: csr_array

    @property
    def groups(self) -> csr_array:
        """(N, d) design of any main effect the field can have."""
        return self.features if self.kind is Kind.MULTI_VALUED else one_hot(self.codes)


def one_hot(codes: NDArray[np.int64]) -> csr_array:
    """Give the (N, levels) indicator of (N,) codes."""
    rows = len(codes)
    return csr_array((np.ones(rows), codes, np.arange(rows + 1)), shape=(rows, int(codes.max()) + 1))


def zipf_shares(levels: int, exponent: float) -> NDArray[np.float64]:
    """Give (levels,) shares falling with rank as rank^-exponent."""
    shares = np.arange(1, levels + 1, dtype=np.float64) ** -exponent
    return np.asarray(shares / shares.sum())


def categorical(name: str, latent: NDArray[np.float64], exponent: float, levels: int, prefix: str = "v") -> Column:
    """Cut (N,) standard normal `latent` into levels with Zipf shares; correlated latents give related fields."""
    edges = np.cumsum(zipf_shares(levels, exponent))[:-1]
    codes = np.searchsorted(edges, ndtr(latent)).astype(np.int64)
    cells = np.array([f"{prefix}{code}" for code in range(levels)], dtype=object)[codes]
    return Column(name, Kind.CATEGORICAL, cells, codes, one_hot(codes))


def numeric(name: str, latent: NDArray[np.float64], skew: float) -> Column:
    """Give a number per row that grows with (N,) `latent`, long-tailed by `skew`; effects are curves of its rank."""
    cells = np.round(np.exp(skew * latent) * 20 if skew > 0 else 50 + 12 * latent, 2)
    share = np.argsort(np.argsort(cells, kind="stable"), kind="stable") / len(cells)
    codes = np.minimum((share * NUMERIC_GROUPS).astype(np.int64), NUMERIC_GROUPS - 1)
    middle = (codes + 0.5) / NUMERIC_GROUPS
    curves = np.stack([np.cos(np.pi * k * middle) for k in range(1, 5)], axis=1)
    return Column(name, Kind.NUMERIC, cells, codes, csr_array(curves / np.arange(1, 5)))


def multi_valued(
    name: str, latent: NDArray[np.float64], exponent: float, levels: int, most: int, rng: np.random.Generator
) -> Column:
    """Put one to `most` distinct values in each cell, the first one following (N,) `latent`; effects are their mean."""
    first = categorical(name, latent, exponent, levels, "t").codes
    others = rng.choice(levels, size=(len(latent), most - 1), p=zipf_shares(levels, exponent))
    count = rng.integers(1, most + 1, size=len(latent))
    drawn = np.concatenate([first[:, None], others], axis=1)
    present = np.zeros((len(latent), levels), dtype=bool)
    for slot in range(most):
        rows = np.flatnonzero(count > slot)
        present[rows, drawn[rows, slot]] = True
    names = np.array([f"t{code}" for code in range(levels)], dtype=object)
    cells = np.array(["|".join(names[row]) for row in present], dtype=object)
    features = csr_array(present / present.sum(axis=1, keepdims=True))
    return Column(name, Kind.MULTI_VALUED, cells, np.full(len(latent), -1, dtype=np.int64), features)
