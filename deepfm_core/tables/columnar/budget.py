"""A budget of decoded bytes: a file of some hundred bytes may decode to gigabytes, whatever it says of its sizes."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from deepfm_core.errors import Problem, TableError

DECODED = 5
"""Decoded columns may take so many times the largest size of a file."""
VALUE = 32
"""Bytes that a value within a list, map or struct counts at least: each becomes an object of Python, then a text."""
CELL = 2
"""Bytes that any cell counts at least: its text, and what stands between it and the next."""
_ROWS = 512
"""Rows decoded at a time where a cell may be of any length."""
_ROWS_OF_NUMBERS = 1 << 16
TEXTS = (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)
"""Types of texts and bytes as Parquet gives them."""
_OF_ANY_LENGTH = (pt.is_nested, *TEXTS)
_VIEWS = (pt.is_string_view, pt.is_binary_view)
_LETTERS = (*TEXTS, *_VIEWS)
_LIST_VIEWS = (pt.is_list_view, pt.is_large_list_view)


APART = False
"""Whether this process reads files of strangers alone, and may end by one of them."""


def parts_of(metadata: pq.FileMetaData) -> list[pq.ColumnChunkMetaData]:
    """Return what a Parquet file says of its columns; nothing where this process must not end.

    Arrow ends the process (C++'s `terminate`) if what is said is damaged.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups if APART else 0)]
    return [group.column(place) for group in groups for place in range(group.num_columns)]


class Budget:
    """The decoded bytes that are left to one file; each column is charged as it is decoded.

    Args:
        max_bytes: the largest size allowed of a file. Half of the machine's memory is the limit in any case.
        subject: what messages call the table.
    """

    def __init__(self, max_bytes: int | None, subject: str) -> None:
        most = half_of_memory()
        self.limit = most if max_bytes is None else min(most, DECODED * max_bytes)
        self._subject = subject
        self._spent = 0

    def charge(self, size: int) -> None:
        """Take bytes from what is left.

        Raises:
            TableError: they are more.
        """
        self._spent += size
        self.refuse(self._spent)

    def refuse(self, size: int) -> None:
        """Raise a TableError if `size` bytes are more than the whole budget."""
        if size > self.limit:
            message = f"its cells take more than the limit of {self.limit / 1e6:,.0f} MB once they are decoded"
            remedy = "Use fewer rows, fewer columns, shorter cells or shorter lists, or save the table as CSV."
            raise TableError(self._subject, [Problem(message, remedy)])

    def refuse_announced(self, metadata: pq.FileMetaData) -> None:
        """Refuse a Parquet file by what it says of itself, before anything is decoded; it may say less than is true."""
        parts = parts_of(metadata)
        nested = sum(VALUE * int(part.num_values) for part in parts if "." in part.path_in_schema)
        flat = sum(CELL * int(part.num_values) for part in parts if "." not in part.path_in_schema)
        self.refuse(nested + flat)

    def column(self, file: pq.ParquetFile, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        """Decode a column of a Parquet file by pieces, and stop where the budget ends."""
        rows = _ROWS if any(is_kind(kind) for is_kind in _OF_ANY_LENGTH) else _ROWS_OF_NUMBERS
        if file.schema_arrow.field(name).type != kind:  # it is read as a dictionary, whose texts are there once
            rows = max(file.metadata.num_rows, 1)
        batches = file.iter_batches(rows, columns=[name], use_threads=False)
        return self.charged(batch.column(0) for batch in batches)

    def charged(self, chunks: Iterable[pa.Array]) -> pa.ChunkedArray:
        """Join the pieces of a column, each charged before the next one is decoded."""
        kept = list[pa.Array]()
        for chunk in chunks:
            self.charge(max(weight(chunk), CELL * len(chunk)))
            kept.append(chunk)
        joined = pa.table([pa.chunked_array(kept, None if kept else pa.string())], names=["column"])
        return joined.combine_chunks().column(0)  # pieces of a dictionary would each hold all of it


def half_of_memory() -> int:
    """Return half of the bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def weight(values: pa.Array) -> int:
    """Return the bytes that a decoded array counts: its own or, of what becomes text by Python, those of its values."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return weight(values.storage)
    if pt.is_dictionary(kind):
        return int(values.indices.nbytes)
    if pt.is_run_end_encoded(kind):
        return len(values) * max(1, weight(values.values) // max(len(values.values), 1))
    if any(is_view(kind) for is_view in _VIEWS):
        return _letters(values)
    return _nested(values) if pt.is_nested(kind) else int(values.nbytes)


def _letters(values: pa.Array) -> int:
    if any(is_view(values.type) for is_view in _VIEWS):  # of 16 bytes each, which begin with the length of the text
        lengths = np.frombuffer(values.buffers()[1], np.int32)[::4]
        return int(lengths[values.offset : values.offset + len(values)].sum(dtype=np.int64))
    return int(pc.sum(pc.binary_length(values)).as_py() or 0)


def _nested(values: pa.Array) -> int:
    """Count what the values within cells become, each as an object of its own."""
    kind = values.type
    if pt.is_struct(kind):
        return VALUE * len(values) + sum(_nested(values.field(place)) for place in range(kind.num_fields))
    if pt.is_map(kind):
        return VALUE * len(values) + _nested(values.keys) + _nested(values.items)
    if pt.is_nested(kind) and not pt.is_union(kind):
        items = int(pc.sum(pc.list_value_length(values)).as_py() or 0)
        inner = _nested(values.values)
        if any(is_view(kind) for is_view in _LIST_VIEWS):  # many cells may show the same items
            inner = inner * items if pt.is_nested(kind.value_type) else max(inner, VALUE * items)
        return VALUE * len(values) + max(inner, VALUE * items)
    if pt.is_dictionary(kind) and any(is_text(kind.value_type) for is_text in _LETTERS):
        lengths = pc.binary_length(values.dictionary.cast(pa.large_binary())).take(values.indices)
        return VALUE * len(values) + int(pc.sum(lengths).as_py() or 0)
    letters = _letters(values) if any(is_text(kind) for is_text in _LETTERS) else 0
    return VALUE * len(values) + letters
