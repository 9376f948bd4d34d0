"""Whether the cells of a column hold several values each, and what stands between them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfm_core.schema.column import Cells

WRAPPING = "[](){}'\" \t\r\n"
"""What may stand around the values of a list."""

_STRONG, _WEAK = ("|", ";", ","), (" ",)

_LEAST_SEPARATED = {"|": 0.1, ";": 0.2, ",": 0.3, " ": 0.5}
"""Share of the distinct cells that must hold the separator."""

_LEAST_USES = {"|": 1.5, ";": 1.5, ",": 2.0, " ": 5.0}
"""Distinct cells that a value must stand in, on average: a blank is in all text, a bar in hardly any."""

_LEAST_FREE = 0.3

_MAX_VALUES = 5_000

_MAX_LENGTH = 40.0


def find_separator(cells: Cells) -> tuple[str, int] | None:
    """Return the separator within the cells of a column and the number of distinct values, or None.

    The values must come from a vocabulary that the cells share and stand now first and now further back: this tells
    `Action|Comedy` from `Smith, John`, `New York` and sentences.
    """
    texts = cells.held_texts
    for mark in (*_STRONG, *_WEAK):
        separated = int(pc.sum(pc.match_substring(texts, mark)).as_py() or 0)
        if separated >= max(_LEAST_SEPARATED[mark] * len(texts), 1):
            values = _shared_values(texts, mark)
            if values is not None:
                return mark, values
    return None


def _shared_values(texts: pa.Array, mark: str) -> int | None:
    """Return the number of distinct values if the cells, split at `mark`, draw on a shared vocabulary."""
    parts = pc.split_pattern(texts, mark)
    lengths = np.asarray(pc.list_value_length(parts))
    flat = pc.utf8_trim(pc.list_flatten(parts), WRAPPING)
    encoded = flat.dictionary_encode()
    codes, size = np.asarray(encoded.indices), len(encoded.dictionary)
    if size > _MAX_VALUES or len(codes) < _LEAST_USES[mark] * size:
        return None
    if float(np.mean(np.asarray(pc.utf8_length(encoded.dictionary)))) > _MAX_LENGTH:
        return None
    first = np.zeros(len(codes), dtype=bool)
    first[np.cumsum(lengths) - lengths] = True
    uses, leading = np.bincount(codes, minlength=size), np.bincount(codes[first], minlength=size)
    free = uses[(leading > 0) & (leading < uses)].sum() / len(codes)
    return size if free >= _LEAST_FREE else None
