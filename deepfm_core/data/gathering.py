"""Rows from tables over distinct texts: the last step of encoding, and the one that touches every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfm_core.data.side_by_side import side_by_side

_BLOCK = 4096
_STRETCH = 32 * _BLOCK
_APART = 16
"""Numbers between one column of a block and the next: a power of two would put all at one place of the cache."""


def gather(
    tables: Sequence[tuple[NDArray[Any], NDArray[Any]]], rows: int, dtype: type[np.int32] | type[np.float32]
) -> NDArray[Any]:
    """Return (rows, len(tables)): in column j, table j at each row's code.

    A block of rows is gathered column by column, each in one piece of memory, and then turned: twice as fast as writing
    to the columns of a row-major array. Codes are in range, so "clip" only saves the check.
    """
    out = np.empty((rows, len(tables)), dtype=dtype)

    def fill(first: int) -> None:
        columns = np.empty((len(tables), min(_BLOCK, rows) + _APART), dtype=dtype)
        for start in range(first, min(first + _STRETCH, rows), _BLOCK):
            size = min(_BLOCK, rows - start)
            for column, (codes, table) in zip(columns, tables, strict=True):
                np.take(table, codes[start : start + size], out=column[:size], mode="clip")
            out[start : start + size] = columns[:, :size].T

    side_by_side(fill, range(0, rows, _STRETCH), rows)
    return out
