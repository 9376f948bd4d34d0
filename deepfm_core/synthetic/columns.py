"""Columns of generated worlds: categorical with Zipf-like shares, numeric, and multi-valued.

Each is made from a latent standard normal value per row. Correlated latents give related columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr

from deepfm_core.schema.kinds import Kind

NUMERIC_GROUPS = 40
"""Quantile groups of a number. Within them its main effect is removed from a planted pair."""


@dataclass(frozen=True)
class Column:
    """One drawn field.

    Attributes:
        name: the field's name.
        kind: categorical, numeric or multi-valued.
        cells: (N,) cells as they stand in the table.
        codes: (N,) the level of each row; the quantile group of a number; -1 for a multi-valued field.
        features: (N, d) columns that effects are linear in: one-hot levels, curves of a number, or the mean of the
            one-hot values of a cell.
    """

    name: str
    kind: Kind
    cells: NDArray[Any]
    codes: NDArray[np.int64]
    features: csr_array

    @property
    def groups(self) -> csr_array:
        """(N, d) columns that span every main effect the field can have."""
        return self.features if self.kind.is_several else one_hot(self.codes)


def one_hot(codes: NDArray[np.int64]) -> csr_array:
    """Return the (N, levels) indicator of (N,) codes."""
    rows = len(codes)
    return csr_array((np.ones(rows), codes, np.arange(rows + 1)), shape=(rows, int(codes.max()) + 1))


def zipf_shares(levels: int, exponent: float) -> NDArray[np.float64]:
    """Return (levels,) shares that fall with rank as rank^−exponent: Zipf's law."""
    shares = np.arange(1, levels + 1, dtype=np.float64) ** -exponent
    return np.asarray(shares / shares.sum())


def categorical(name: str, latent: NDArray[np.float64], exponent: float, levels: int, prefix: str = "v") -> Column:
    """Cut (N,) standard normal `latent` into levels with Zipf shares."""
    edges = np.cumsum(zipf_shares(levels, exponent))[:-1]
    codes = np.searchsorted(edges, ndtr(latent)).astype(np.int64)  # ndtr makes the latent uniform on 0 … 1
    cells = np.array([f"{prefix}{code}" for code in range(levels)], dtype=object)[codes]
    return Column(name, Kind.CATEGORICAL, cells, codes, one_hot(codes))


def numeric(name: str, latent: NDArray[np.float64], skew: float) -> Column:
    """Return a number per row that grows with (N,) `latent`, log-normal for a `skew` above 0."""
    cells = np.round(np.exp(skew * latent) * 20 if skew > 0 else 50 + 12 * latent, 2)
    share = np.argsort(np.argsort(cells, kind="stable"), kind="stable") / len(cells)  # rank of each row, 0 … 1
    codes = np.minimum((share * NUMERIC_GROUPS).astype(np.int64), NUMERIC_GROUPS - 1)
    middle = (codes + 0.5) / NUMERIC_GROUPS
    curves = np.stack([np.cos(np.pi * k * middle) for k in range(1, 5)], axis=1)  # (N, 4)
    return Column(name, Kind.NUMERIC, cells, codes, csr_array(curves / np.arange(1, 5)))


def multi_valued(
    name: str, latent: NDArray[np.float64], exponent: float, levels: int, most: int, rng: np.random.Generator
) -> Column:
    """Put one to `most` distinct values into each cell; the first follows (N,) `latent`."""
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
