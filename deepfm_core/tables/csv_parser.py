"""Parse the rows of a CSV into columns, each a dictionary of its distinct texts and a code per row.

Start with `parse`. pyarrow's threaded parser does the work, in segments that bound the memory; then the dictionaries of
the segments are joined. In shapes: N rows, D distinct texts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from io import RawIOBase
from itertools import count
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from deepfm_core._parallel import processors
from deepfm_core._private import distinct_categories
from deepfm_core.tables.decoding import Content
from deepfm_core.tables.dialect import Dialect

# Columns whose texts all have eight bytes, such as hashes and dates. Compared as 64-bit numbers, they are read faster.

WIDTH = 8

KEYS = pa.binary(WIDTH)
"""The Arrow type that such a column is parsed as; an empty cell is null."""

FEWEST = 16
"""Distinct texts of eight bytes from which a column counts as one. Fewer may be words of equal length by chance."""


def has_eight_bytes(texts: pa.Array) -> bool:
    """Return whether each distinct text of a column's first rows has eight bytes or is empty."""
    widths = np.asarray(pc.binary_length(texts))
    return bool(np.isin(widths, (0, WIDTH)).all() and np.count_nonzero(widths) >= FEWEST)


def coded_keys(column: pa.ChunkedArray) -> tuple[list[pa.Array], pa.Array]:
    """Return the codes of a column of `KEYS`, chunk by chunk, and its D distinct texts; it has at least one chunk."""
    # Nothing is copied: the same eight bytes are read as uint64, encoded, and read as text again.
    chunks = [
        pa.Array.from_buffers(pa.uint64(), len(chunk), chunk.buffers(), chunk.null_count, chunk.offset)
        for chunk in column.chunks
    ]
    encoded = pa.chunked_array(chunks).dictionary_encode().chunks
    keys = encoded[0].dictionary
    ends = pa.py_buffer(np.arange(0, WIDTH * len(keys) + 1, WIDTH, dtype=np.int64))  # text i ends at byte 8 (i + 1)
    data = keys.buffers()[1].slice(WIDTH * keys.offset, WIDTH * len(keys))
    texts = pa.Array.from_buffers(pa.large_string(), len(keys), [None, ends, data])
    if column.null_count:
        texts = pa.concat_arrays([texts, pa.array([""], pa.large_string())])
    return [chunk.indices.fill_null(len(keys)) for chunk in encoded], texts


def keys_of(texts: pa.Array) -> NDArray[np.uint64] | None:
    """Return numbers (D,) that sort like D texts of type large_string; None unless all of them have eight bytes."""
    _, ends, data = texts.buffers()
    places = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if not len(texts) or texts.null_count or not (np.diff(places) == WIDTH).all():
        return None
    return np.frombuffer(data, ">u8", len(texts), offset=int(places[0])).astype(np.uint64)  # big-endian sorts as text


# The parser.

BLOCK = 4 << 20
"""Bytes that a thread parses at a time. A row must fit into a block, so a longer row raises it."""

SEGMENT = 64 << 20
"""Bytes that are parsed before their dictionaries are joined, which bounds the memory of long tables."""

T = TypeVar("T")

_END = "\0"
"""A line that is added after the text. Text holds no NUL, so if it is read as a row, every quote is closed."""

_TAIL = f"\n{_END}\n".encode()


@dataclass(frozen=True)
class Parsed:
    """The columns of a text, and the number of rows that did not fit them."""

    columns: list[pd.Categorical]
    ragged: int
    """Rows left out because their number of values differs from the number of columns."""
    closed: bool
    """Whether the last quote of the text is closed."""
    rows: int
    """N, the number of rows."""


@dataclass(frozen=True)
class Coded:
    """A part of a column: its distinct texts, and the number of each row's text."""

    codes: NDArray[np.signedinteger[Any]]
    texts: pa.Array


def parse(content: Content, dialect: Dialect, *, block: int = BLOCK, segment: int = SEGMENT) -> Parsed:
    """Parse all rows of a text into one Categorical per column.

    Raises:
        pyarrow.ArrowException: the parser cannot separate the rows.
    """
    keyed = True
    while True:
        try:
            parsed = _parse(content, dialect, block, segment, keyed)
            break
        except pa.ArrowInvalid as error:
            if keyed and str(KEYS) in str(error):
                keyed = False  # a later text has another length: parse again, as text
            elif "straddling" in str(error) and block <= 2 * content.size:
                block *= 8
            else:
                raise
    pa.default_memory_pool().release_unused()  # once the last segment is freed
    return parsed


def _parse(content: Content, dialect: Dialect, block: int, size: int, keyed: bool) -> Parsed:
    ragged = _Ragged()
    columns: list[list[Coded]] = [[] for _ in dialect.columns]
    segments, types = 0, dict[str, pa.DataType]()
    quoted = content.quoted_until > dialect.offset
    with closing(content.open()) as stream, ThreadPoolExecutor(processors()) as threads:
        stream.read(dialect.offset)
        # A quoted cell may contain a line end. Then no line is a safe place to cut, and the text is one segment.
        for segment in _segments(stream, *([sys.maxsize] if quoted else [min(block, size), size])):
            chunks = _read_csv(segment, dialect, block, quoted, ragged, types).columns
            for parts, part in zip(columns, threads.map(coded, _emptied(chunks)), strict=True):
                parts.append(part)
            if keyed and segments == 0:  # the first segment is short, and shows the types
                types = {str(i): KEYS for i, parts in enumerate(columns) if has_eight_bytes(parts[0].texts)}
            segments += 1
        joined = list(threads.map(categorical, _emptied(columns)))
    return Parsed(joined, ragged.count, ragged.ends == segments, len(joined[0]))


class _Ragged:
    """Skips and counts the rows that do not fit, those that end a segment apart."""

    def __init__(self) -> None:
        self.count = 0
        self.ends = 0

    def __call__(self, row: Any) -> str:
        if row.text == _END:
            self.ends += 1
        elif row.text.strip():
            self.count += 1
        return "skip"


class LongRowError(Exception):
    """A row does not fit into the memory that a stream may take for one."""


MOST_OF_A_ROW = 8 * BLOCK
"""Bytes of a row up to which it is parsed a piece at a time."""


class Stream:
    """The rows of a text, a piece at a time, as `parse` parses them all; a row may have `MOST_OF_A_ROW` bytes."""

    def __init__(self, content: Content, dialect: Dialect, block: int = BLOCK) -> None:
        """Begin to read; no more than a few pieces of `block` bytes are in memory."""
        self._content, self._dialect, self._block = content, dialect, block
        self._ragged = _Ragged()

    @property
    def ragged(self) -> int:
        """Rows left out so far because their number of values differs from the number of columns."""
        return self._ragged.count

    @property
    def closed(self) -> bool:
        """Whether the last quote of the text is closed; known at its end."""
        return self._ragged.ends == 1

    def __iter__(self) -> Iterator[list[Coded]]:
        """Yield the columns of each piece.

        Raises:
            pyarrow.ArrowException: the parser cannot separate the rows.
            LongRowError: one is too long.
        """
        quoted = self._content.quoted_until > self._dialect.offset
        with closing(self._content.open()) as stream:
            stream.read(self._dialect.offset)
            text = _Segment(stream, pa.py_buffer(b""), sys.maxsize)
            try:
                reader = pa_csv.open_csv(
                    text, **_options(self._dialect, self._block, quoted, self._ragged, pa.string())
                )
                for batch in reader:
                    yield [_coded_piece(column) for column in batch.columns]
            except pa.ArrowInvalid as error:
                if "straddling" in str(error):
                    raise LongRowError from error
                raise


def _coded_piece(column: pa.Array) -> Coded:
    encoded = column.dictionary_encode()
    texts = encoded.dictionary.cast(pa.large_string())
    return Coded(encoded.indices.to_numpy().astype(_code_dtype(len(texts))), texts)


def _read_csv(
    segment: _Segment,
    dialect: Dialect,
    block: int,
    quoted: bool,
    on_ragged_row: Callable[[Any], str],
    types: Mapping[str, pa.DataType],
) -> pa.Table:
    kind = pa.dictionary(pa.int32(), pa.string())
    return pa_csv.read_csv(segment, **_options(dialect, block, quoted, on_ragged_row, kind, types))


def _options(
    dialect: Dialect,
    block: int,
    quoted: bool,
    on_ragged_row: Callable[[Any], str],
    kind: pa.DataType,
    types: Mapping[str, pa.DataType] | None = None,
) -> dict[str, Any]:
    """Say to Arrow how the rows of a text are cut; each column is of a `kind` of text, but for those of `types`."""
    return {
        "read_options": pa_csv.ReadOptions(
            column_names=[str(i) for i in range(len(dialect.columns))], block_size=block
        ),
        "parse_options": pa_csv.ParseOptions(
            delimiter=dialect.cut.delimiter,
            quote_char=dialect.cut.quote if quoted and dialect.cut.quote else False,
            newlines_in_values=quoted,
            invalid_row_handler=on_ragged_row,
        ),
        "convert_options": pa_csv.ConvertOptions(
            default_column_type=kind,
            column_types=types or {},
            null_values=[""],  # for the columns of `types`; texts are never null
            check_utf8=False,  # `decoding.survey` has decoded every byte
        ),
    }


def coded(column: pa.ChunkedArray) -> Coded:
    """Join the dictionaries of a column's chunks into one."""
    if not column.num_chunks:
        return Coded(np.empty(0, np.int8), pa.array([], pa.large_string()))
    if column.type == KEYS:
        codes, texts = coded_keys(column)
    else:
        chunks = column.unify_dictionaries().chunks
        codes, texts = [chunk.indices for chunk in chunks], chunks[-1].dictionary.cast(pa.large_string())
    joined = [code.to_numpy() for code in codes]
    return Coded(np.concatenate(joined, dtype=_code_dtype(len(texts)), casting="unsafe"), texts)


def categorical(parts: Sequence[Coded]) -> pd.Categorical:
    """Join the parts of a column into one Categorical."""
    parts = [part for part in parts if len(part.codes)] or parts[:1]
    codes, texts = parts[0].codes, parts[0].texts
    if len(parts) > 1:
        places = pa.chunked_array([part.texts for part in parts]).dictionary_encode().chunks  # code -> joined code
        texts = places[0].dictionary
        codes = np.empty(sum(len(part.codes) for part in parts), _code_dtype(len(texts)))
        start = 0
        for part, place in zip(parts, places, strict=True):
            end = start + len(part.codes)
            codes[start:end] = pc.take(place.indices, pa.array(part.codes), boundscheck=False).to_numpy()
            start = end
    categories = pd.Index(pd.array(texts, dtype="str"), copy=False)
    return pd.Categorical.from_codes(codes, dtype=distinct_categories(categories), validate=False)


def _code_dtype(size: int) -> type[np.signedinteger[Any]]:
    """Return the smallest type for codes below `size`, as pandas chooses it."""
    if size < 128:
        return np.int8
    return np.int16 if size < 32768 else np.int32


def _emptied(values: list[T]) -> Iterator[T]:
    """Yield the values in order and drop each one, so that its memory is freed once it has been used."""
    values.reverse()
    while values:
        yield values.pop()


class _Segment(RawIOBase):
    """Whole lines of a stream, followed by the end line, in memory that pyarrow owns and frees.

    The end line comes in one piece with the last text. pyarrow 26 would take a piece that is only the second half of a
    `\\r\\n` for the end of the stream.
    """

    def __init__(self, stream: BinaryIO, rest: pa.Buffer, size: int) -> None:
        self._stream = stream
        self._left = size
        self._complete = False
        self.rest = rest
        """Bytes that were read beyond the segment's last line; the next segment begins with them."""
        self.last = False
        """Whether the stream ended with this segment."""

    def readable(self) -> bool:
        return True

    def read_buffer(self, size: int) -> pa.Buffer:
        if self._complete:
            return pa.py_buffer(b"")
        # Leave room for the end line, which may be added to this piece.
        wanted = size - len(_TAIL)
        fresh = self.rest.size == 0
        piece = _read(self._stream, wanted) if fresh else self.rest
        self._left -= piece.size
        self.last = fresh and piece.size < wanted
        end = piece.size if self.last or self._left > 0 else _after_first_line(piece)
        self.rest = piece.slice(end)
        self._complete = self.last or end < piece.size
        return pa.py_buffer(piece.slice(0, end).to_pybytes() + _TAIL) if self._complete else piece


def _segments(stream: BinaryIO, *sizes: int) -> Iterator[_Segment]:
    """Cut a stream into segments of the given sizes; the last size holds for all further ones."""
    rest, last = pa.py_buffer(b""), False
    for number in count():
        if last:
            return
        segment = _Segment(stream, rest, sizes[min(number, len(sizes) - 1)])
        yield segment
        rest, last = segment.rest, segment.last


def _after_first_line(piece: pa.Buffer) -> int:
    text: bytes = piece.to_pybytes()
    return min((place + 1 for place in (text.find(b"\n"), text.find(b"\r")) if place >= 0), default=len(text))


def _read(stream: BinaryIO, size: int) -> pa.Buffer:
    """Read `size` bytes, or fewer if the stream ends."""
    buffer = pa.allocate_buffer(size, resizable=True)
    filled = 0
    while filled < size and (read := stream.readinto(memoryview(buffer)[filled:])):  # type: ignore[attr-defined]
        filled += read
    buffer.resize(filled)
    return buffer
