"""Read a text file that does not fit into memory: its rows become a Parquet file of texts, a piece at a time.

Start with `spill`. Every cell is the text that `reader.read_table` reads, and the report says the same.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deepfm_core.errors import FILE, Problem, TableError
from deepfm_core.tables.containers import Form, from_json, is_json, is_json_lines, is_zip
from deepfm_core.tables.csv_parser import BLOCK, MOST_OF_A_ROW, Coded, LongRowError, Parsed, Stream, categorical
from deepfm_core.tables.decoding import Content, survey
from deepfm_core.tables.no_rows import LeftOut, NoRows
from deepfm_core.tables.parquet import ARROW_MAGIC, text_column
from deepfm_core.tables.reader import choices_of_json, encoding_doubt, first_bytes, noted, report_of_json
from deepfm_core.tables.repair import swallowing_of
from deepfm_core.tables.table import FOUND, Choices, ReadReport
from deepfm_core.tables.texts.text import Framing, Looks, SeenLooks, TextFile, separable

Heard = Callable[[float], None]
"""Takes the share done, 0 … 1. What it raises ends the work."""

_UNPACKED = 5
"""Bytes that a byte of a gzip file becomes, about: for the share that is said."""
_SURVEYED = 0.3
"""Share of the time that looking through a text takes; cutting it takes the rest."""
_REMEDY = "Write its rows as Parquet or CSV, or give as much memory as they need."


def look(path: Path, name: str, choices: Choices = FOUND, heard: Heard = lambda _: None) -> Content:
    """Look through a file once; a text of rows can then be read a piece at a time.

    Raises:
        TableError: it cannot be read so, or not at all.
    """
    subject = f"Table `{name}`"
    head = first_bytes(path, subject)
    if head == ARROW_MAGIC:
        raise _whole_only(subject, "an Arrow file")
    if is_zip(path):
        raise _whole_only(subject, "a zip archive or a workbook", "Unpack it, or give as much memory as it needs.")
    most = path.stat().st_size * (_UNPACKED if head.startswith(b"\x1f\x8b") else 1)
    with _doubted(choices):
        content = survey(path, subject, None, choices.encoding, lambda size: heard(min(size / max(most, 1), 1.0)))
    if is_json(content) and not is_json_lines(content):
        raise _whole_only(subject, "JSON, and not an object a line")
    return content


def _whole_only(subject: str, what: str, remedy: str = _REMEDY) -> TableError:
    return TableError(subject, [Problem(f"it is {what}, which cannot be read a piece at a time", remedy)])


@contextmanager
def _doubted(choices: Choices) -> Iterator[None]:
    """Say which encoding was said, where something is wrong."""
    try:
        yield
    except TableError as error:
        if choices.encoding is None:
            raise
        raise TableError(error.subject, [*error.problems, encoding_doubt(choices.encoding, said=True)]) from None


def spill(
    content: Content, name: str, choices: Choices, to: Path, heard: Heard = lambda _: None, block: int = BLOCK
) -> ReadReport:
    """Write the rows of a text as Parquet.

    Args:
        content: the text, as `look` gives it.
        name: the table's name in messages.
        choices: what is said of the file.
        to: the path of the Parquet file.
        heard: takes the share done.
        block: bytes that are parsed at a time.

    Raises:
        TableError: as `read_table` does; or the disk is full, or the file changed while it was read.
    """
    with _doubted(choices), _written(to, f"Table `{name}`"):
        if is_json(content):
            with TemporaryDirectory(dir=to.parent) as folder:
                inner, note = from_json(content, Path(folder), f"Table `{name}`")
                text = survey(inner, f"Table `{name}`")
                report = _Spill(text, name, choices_of_json(choices), to, heard, block).report()
            return noted(report_of_json(report, content, note), choices, Form.JSON)
        return noted(_Spill(content, name, choices, to, heard, block).report(), choices, Form.TEXT)


@contextmanager
def _written(to: Path, subject: str) -> Iterator[None]:
    """Remove what is half-written, and say in a sentence what was in the way."""
    try:
        yield
    except BaseException as error:
        to.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "Free some space, then try again."
            raise TableError(subject, [Problem(f"the disk of `{to.parent}` is full", remedy)]) from error
        if isinstance(error, EOFError | zlib.error | UnicodeDecodeError):  # it was whole when it was looked through
            remedy = "Wait until the files are complete."
            raise TableError(subject, [Problem("the file changed while it was read", remedy, how=FILE)]) from error
        raise


class _Spill:
    """One reading of a text onto the disk."""

    def __init__(self, content: Content, name: str, choices: Choices, to: Path, heard: Heard, block: int) -> None:
        self._text = TextFile.of(content, f"Table `{name}`", choices)
        self._to, self._heard, self._block = to, heard, block
        self._names = list(self._text.dialect.columns)
        self._no_rows = NoRows()
        self._looks: list[SeenLooks] = []

    def report(self) -> ReadReport:
        """Write the rows, and say how they were read."""
        text = self._text
        rows = text.rows(self._parsed, self._gather)
        text.refuse(rows)
        records = _OnDisk(self._to)
        no_rows = LeftOut() if text.every_row else self._no_rows.left_out(records)
        out = np.unique(no_rows.records)
        text.require_rows(rows.fitting - len(out))
        framing = text.framing(self._looks_without(records, out) if len(out) else self._looks)
        if len(out) or framing.trim or framing.columns != dict(enumerate(self._names)):
            self._write_again(records, out, framing)
        return text.report(rows, no_rows, framing)

    def _parsed(self) -> Parsed | None:
        """Have the fast parser cut the text; None if a row is too long for it."""
        with separable(self._text.subject):
            for block in dict.fromkeys((self._block, MOST_OF_A_ROW)):
                stream = Stream(self._text.content, self._text.dialect, block)
                try:
                    columns, rows = self._gather(iter(stream), len(self._names))
                except LongRowError:
                    continue
                return Parsed(columns, stream.ragged, stream.closed, rows)
        return None

    def _gather(self, pieces: Iterator[list[Coded]], width: int) -> tuple[list[pd.Categorical], int]:
        """Write the pieces, and look at them as they pass; return the texts that are looked at in the end."""
        text, rows = self._text, 0
        self._no_rows = NoRows(text.header)
        self._looks = [SeenLooks() for _ in range(width)]
        doubtful = [_Doubtful(text, place) for place in range(width)]
        with _writer(self._to, self._names) as write:
            for piece in pieces:
                columns = [categorical([part]) for part in piece]
                if not text.every_row:
                    self._no_rows.add(columns)
                for column, looks, held in zip(columns, self._looks, doubtful, strict=True):
                    looks.add(column.categories)
                    held.add(column)
                write(columns)
                rows += len(columns[0])
                self._heard(min(rows / max(text.content.lines, 1), 1.0))
        return [held.column for held in doubtful], rows

    def _looks_without(self, records: _OnDisk, out: NDArray[np.int64]) -> Sequence[Looks]:
        looks = [SeenLooks() for _ in range(records.width)]
        for columns in records.without(out):
            for column, own in zip(columns, looks, strict=True):
                own.add(column.categories)
        return looks

    def _write_again(self, records: _OnDisk, out: NDArray[np.int64], framing: Framing) -> None:
        """Write the rows without the records that are none, and only the columns of the table."""
        again = self._to.with_name(f"{self._to.name}.again")
        try:
            with _writer(again, list(framing.columns.values())) as write:
                for columns in records.without(out):
                    write([framing.trimmed(columns[place], place) for place in framing.columns])
            again.replace(self._to)
        finally:
            again.unlink(missing_ok=True)


class _Doubtful:
    """The texts of a column by which quotes are doubted: as few as tell the same as all of them."""

    def __init__(self, text: TextFile, place: int) -> None:
        self._dialect, self._place = text.dialect, place
        self._is_quoted = text.content.quoted_until > text.dialect.offset
        self._held: dict[str, None] = {}
        self._quote = self._bare = False

    def add(self, column: pd.Categorical) -> None:
        """Look at a piece of the column."""
        if not self._is_quoted:
            return
        if not self._bare:
            texts = pa.array(column.categories, pa.large_string())
            quotes = texts.filter(pc.match_substring(texts, '"'))
            bare = quotes.filter(pc.match_substring_regex(quotes, r'(^|[^\\])"'))
            self._keep(bare[:1] if len(bare) else quotes[: int(not self._quote)])
            self._quote, self._bare = self._quote or len(quotes) > 0, len(bare) > 0
        self._held.update(dict.fromkeys(swallowing_of(column, self._place, self._dialect)))

    def _keep(self, texts: pa.Array) -> None:
        self._held.update(dict.fromkeys(texts.to_pylist()))

    @property
    def column(self) -> pd.Categorical:
        """What was kept."""
        return categorical([Coded(np.empty(0, np.int8), pa.array(list(self._held), pa.large_string()))])


@contextmanager
def _writer(path: Path, names: Sequence[str]) -> Iterator[Callable[[list[pd.Categorical]], None]]:
    """Give what writes some rows as a group of a Parquet file; it is read as plain texts."""
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([(name, kind) for name in names])
    with pq.ParquetWriter(path, schema, compression="lz4", store_schema=False, write_statistics=False) as writer:

        def write(columns: list[pd.Categorical]) -> None:
            if len(columns[0]):
                arrays = [_dictionary(column) for column in columns]
                writer.write_table(pa.table(arrays, schema), row_group_size=len(columns[0]))

        yield write


def _dictionary(column: pd.Categorical) -> pa.DictionaryArray:
    codes, texts = pa.array(column.codes, pa.int32()), pa.array(column.categories, pa.string())
    return pa.DictionaryArray.from_arrays(codes, texts)


@dataclass(frozen=True)
class _OnDisk:
    """The records of a Parquet file that `_writer` wrote, a group of rows at a time."""

    path: Path

    @cached_property
    def _starts(self) -> list[int]:
        """The number of the first record of each group, and of all."""
        with pq.ParquetFile(self.path) as file:
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        return [0, *np.cumsum(sizes, dtype=np.int64).tolist()]

    @property
    def count(self) -> int:
        return self._starts[-1]

    @cached_property
    def width(self) -> int:
        return len(pq.read_schema(self.path).names)

    def column(self, place: int) -> Iterator[tuple[int, pd.Categorical]]:
        for start, (column,) in self._groups([place]):
            yield start, column

    def stretches(self) -> Iterator[tuple[int, list[pd.Categorical]]]:
        return self._groups(range(self.width))

    def without(self, out: NDArray[np.int64]) -> Iterator[list[pd.Categorical]]:
        """Yield the stretches of all columns without some records, and without texts that stand in those alone."""
        for start, columns in self.stretches():
            here = out[(out >= start) & (out < start + len(columns[0]))] - start
            kept = np.delete(np.arange(len(columns[0])), here)
            yield [column.take(kept).remove_unused_categories() for column in columns]

    def texts(self, record: int) -> list[str]:
        group = int(np.searchsorted(self._starts, record, side="right")) - 1
        with pq.ParquetFile(self.path) as file:
            row = file.read_row_group(group).slice(record - self._starts[group], 1)
        return [str(column[0].as_py()) for column in row.columns]

    def _groups(self, places: Sequence[int]) -> Iterator[tuple[int, list[pd.Categorical]]]:
        with pq.ParquetFile(self.path) as plain:
            names = [plain.schema_arrow.names[place] for place in places]
        with pq.ParquetFile(self.path, read_dictionary=names) as file:
            for number, start in enumerate(self._starts[:-1]):
                group = file.read_row_group(number, columns=names)
                yield start, [text_column(group.column(name))[0] for name in names]


def shares(heard: Heard, start: float, end: float) -> Heard:
    """Give what takes the share done of one of several things."""
    return partial(_share, heard, start, end)


def _share(heard: Heard, start: float, end: float, share: float) -> None:
    heard(start + (end - start) * share)
