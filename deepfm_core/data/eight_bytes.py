"""Columns whose texts have eight bytes each, such as hashes and dates: told apart as numbers, faster than as texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

WIDTH = 8
KEYS = pa.binary(WIDTH)
"""What such a column is parsed as; an empty cell is null."""
FEWEST = 16
"""Distinct texts of eight bytes from which a column is taken for one of these; names and words end sooner or later."""


def has_eight_bytes(texts: pa.Array) -> bool:
    """Say whether the distinct texts of a column's first rows all have eight bytes, or none."""
    widths = np.asarray(pc.binary_length(texts))
    return bool(np.isin(widths, (0, WIDTH)).all() and np.count_nonzero(widths) >= FEWEST)


def coded_keys(column: pa.ChunkedArray) -> tuple[list[pa.Array], pa.Array]:
    """Give the codes of a column of `KEYS`, chunk by chunk, and its D distinct texts; there is a chunk at least."""
    chunks = [
        pa.Array.from_buffers(pa.uint64(), len(chunk), chunk.buffers(), chunk.null_count, chunk.offset)
        for chunk in column.chunks
    ]
    encoded = pa.chunked_array(chunks).dictionary_encode().chunks
    keys = encoded[0].dictionary
    ends = pa.py_buffer(np.arange(0, WIDTH * len(keys) + 1, WIDTH, dtype=np.int64))
    data = keys.buffers()[1].slice(WIDTH * keys.offset, WIDTH * len(keys))
    texts = pa.Array.from_buffers(pa.large_string(), len(keys), [None, ends, data])
    if column.null_count:
        texts = pa.concat_arrays([texts, pa.array([""], pa.large_string())])
    return [chunk.indices.fill_null(len(keys)) for chunk in encoded], texts


def keys_of(texts: pa.Array) -> NDArray[np.uint64] | None:
    """Give numbers (D,) in the order of D texts of the type large_string; None where not all have eight bytes."""
    _, ends, data = texts.buffers()
    places = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if not len(texts) or texts.null_count or not (np.diff(places) == WIDTH).all():
        return None
    return np.frombuffer(data, ">u8", len(texts), offset=int(places[0])).astype(np.uint64)
