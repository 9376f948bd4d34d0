"""Read a dataset that does not fit into memory: a sample of its rows, and all of its rows a piece at a time.

Start with `Pieces`. Its files are Parquet files of this machine, or text files whose rows a shelf has: of others the
rows cannot be counted without reading them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt
from numpy.typing import NDArray

from deepfm_core._files import sha256
from deepfm_core._parallel import in_parallel
from deepfm_core.errors import FILE, Problem, TableError, first_line
from deepfm_core.tables.csv_parser import Coded, categorical
from deepfm_core.tables.datasets.dataset import (
    First,
    Found,
    here,
    joined,
    list_files,
    name_of,
    require_columns,
    require_types,
    with_folders,
)
from deepfm_core.tables.datasets.shelf import Shelf
from deepfm_core.tables.parquet import MAGIC, read_parquet, text_column, with_dictionary
from deepfm_core.tables.table import FOUND, PartFile, Places, ReadReport, Table

Heard = Callable[[float], None]
"""Takes the share done, 0 … 1."""

_DECODED = 1 << 16
"""Rows that Arrow decodes at a time."""
_SEED = 0
_DRAWN = 0.9
"""Share of the time that drawing a sample takes; the rest is for the files' SHA-256."""


def _unheard(_share: float) -> None:
    """Say nothing."""


class Pieces:
    """The rows of the files of a dataset, in the order of the files' names, numbered from 0.

    Parquet files are read where they are; of text files a shelf has the rows as Parquet.

    A row is a record of a file; none is left out. All files must have the same columns, and be as they were listed.
    """

    def __init__(self, source: Path | str, name: str | None = None, shelf: Shelf | None = None) -> None:
        """List the files, and read of each what it says of itself.

        Args:
            source: a file, a folder, a pattern or a URI of this machine.
            name: the dataset's name in messages; what the source is called by default.
            shelf: has the rows of text files, which it was filled with.

        Raises:
            TableError: there are no such files, they are not Parquet files of this machine, one may not be read or is
                damaged, or they differ in their columns or types.
        """
        self.name = name or name_of(source)
        self._system, self._found = list_files(source)
        if self._system.type_name != "local":
            self._refuse("it lies on another machine", "Copy its files to this one, or use fewer of them.")
        first, self.counts, self.weight = First(self._found[0].name), list[int](), 0
        self.columns: list[str] = []
        self._shelf = shelf  # its folder may go with it
        found = {} if shelf is None else {file.path: shelf.find(file) for file in self._found}
        self._made = {path: made for path, made in found.items() if made is not None}
        for file in self._found:
            made = self._made.get(file.path)
            if made is not None and made.report is None:
                self.counts.append(0)
                continue
            with self._reading(file) as path:
                if made is None:
                    self._require_parquet(path, file)
                    require_types(path, file.name, f"{self.name}: {file.name}", first)
                with pq.ParquetFile(path) as read:
                    names, metadata = list(read.schema_arrow.names), read.metadata
            of_folders = [column for column, _ in file.parts if column not in names]
            own = [*names, *of_folders]
            self.columns = self.columns or own
            require_columns(own, self.columns, f"{self.name}: {file.name}", self._found[0].name)
            self.counts.append(int(metadata.num_rows))
            sizes = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
            self.weight += max(int(sum(sizes)), 2 * int(metadata.num_rows) * len(names))
        if not len(self):
            self._refuse("none of its files has rows", "Name files with rows.")

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self._found)

    @cached_property
    def files(self) -> tuple[PartFile, ...]:
        """Each file that has rows, with its size, rows and SHA-256; all files are read for that."""
        listed = list[PartFile]()
        for file, rows in zip(self._found, self.counts, strict=True):
            if rows and (made := self._made.get(file.path)) is not None:
                listed.append(made.file)
            elif rows:
                with self._reading(file) as path:
                    listed.append(PartFile(file.name, path.stat().st_size, sha256(path), rows))
        return tuple(listed)

    def drawn(self, rows: int) -> NDArray[np.int64]:
        """Return the numbers of the rows of a sample of at most `rows`, ascending: the same for the same files.

        Each file has its share of them, drawn at random without replacement.
        """
        counts = np.array(self.counts, np.int64)
        starts = np.cumsum(counts) - counts
        if rows >= len(self):
            return np.arange(len(self))
        shares = counts * rows / counts.sum()
        sizes = np.floor(shares).astype(np.int64)
        sizes[np.argsort(sizes - shares, kind="stable")[: rows - int(sizes.sum())]] += 1
        chosen = [
            start + np.sort(np.random.default_rng((_SEED, number)).choice(count, size, replace=False))
            for number, (start, count, size) in enumerate(zip(starts, counts, sizes, strict=True))
        ]
        return np.concatenate(chosen).astype(np.int64)

    def sample(self, rows: int, heard: Heard = _unheard) -> Table:
        """Read the sample of `drawn` as a table. Its report names all files.

        Raises:
            TableError: a file changed or vanished, or cannot be read.
        """
        numbers, tables, start = self.drawn(rows), list[Table](), 0
        with TemporaryDirectory() as folder:
            for file, count in zip(self._found, self.counts, strict=True):
                own = numbers[(numbers >= start) & (numbers < start + count)] - start
                if len(own):
                    heard_of_file = partial(self._heard_within, heard, start)
                    tables.append(self._sampled(file, own, Path(folder) / "sample.parquet", heard_of_file))
                start += count
        empty = [file.name for file, count in zip(self._found, self.counts, strict=True) if not count]
        table = joined(self.name, [with_all(table, self.columns) for table in tables], self._parts(numbers), empty)
        heard(1.0)
        choices = FOUND if self._shelf is None else self._shelf.choices
        return replace(table, report=replace(table.report, files=self.files, choices=choices))

    def _heard_within(self, heard: Heard, start: int, rows: int) -> None:
        """Tell how far the drawing is; what is left then is to read all files for their SHA-256."""
        heard(_DRAWN * (start + rows) / len(self))

    def _parts(self, numbers: NDArray[np.int64]) -> list[PartFile]:
        ends = np.cumsum(self.counts)
        drawn = np.diff(np.searchsorted(numbers, ends), prepend=0)
        by_name = {file.name: file for file in self.files}
        return [by_name[file.name] for file, size in zip(self._found, drawn, strict=True) if size]

    def _sampled(self, file: Found, rows: NDArray[np.int64], beside: Path, heard: Callable[[int], None]) -> Table:
        """Read the given rows of a file, as the file would be read by itself."""
        with self._reading(file) as path, pq.ParquetFile(path) as read:
            kept, start = list[pa.RecordBatch](), 0
            for batch in read.iter_batches(_DECODED):
                own = rows[(rows >= start) & (rows < start + len(batch))] - start
                kept.append(batch.take(pa.array(own)))
                start += len(batch)
                heard(start)
            pq.write_table(pa.Table.from_batches(kept, read.schema_arrow), beside)
            table = read_parquet(beside, f"{self.name}: {file.name}", fewest_columns=1, all_rows=True)
        if (made := self._made.get(file.path)) is not None and made.report is not None:
            table = replace(table, report=replace(made.report, rows=len(table), left_out=(), first_line=None))
        return with_folders(table, file)

    def tables(self, columns: Sequence[str], rows: int, heard: Heard = _unheard) -> Iterator[tuple[int, Table]]:
        """Yield the given columns of all rows, at most `rows` at a time, and the number of the first row of each piece.

        Raises:
            TableError: a file changed or vanished, or cannot be read.
        """
        start = 0
        for file, count in zip(self._found, self.counts, strict=True):
            with self._reading(file) as path:
                for table in self._of_file(path, file, columns, rows) if count else ():
                    yield start, table
                    start += len(table)
                    heard(start / len(self))

    def _of_file(self, path: Path, file: Found, columns: Sequence[str], rows: int) -> Iterator[Table]:
        with pq.ParquetFile(path) as said:
            schema, packed = said.schema_arrow, with_dictionary(said.schema_arrow, said.metadata)
        own = [name for name in columns if name in schema.names]
        with pq.ParquetFile(path, read_dictionary=[name for name in packed if name in own]) as read:
            pieces, size, before = list[pa.RecordBatch](), 0, 0
            decoded = max(rows // -(-rows // _DECODED), 1)  # so that whole batches make a piece of all its rows
            for batch in read.iter_batches(decoded, columns=own):
                pieces.append(batch)
                size += len(batch)
                if size + decoded > rows:
                    yield self._table(pieces, file, columns, before)
                    pieces, size, before = [], 0, before + size
            if pieces:
                yield self._table(pieces, file, columns, before)

    def _table(self, pieces: Sequence[pa.RecordBatch], file: Found, columns: Sequence[str], before: int) -> Table:
        whole, of_folders = pa.Table.from_batches(pieces), dict(file.parts)
        count = len(whole)

        def text(name: str) -> pd.Categorical:
            if name in whole.column_names:
                return text_column(_of_these_rows(whole.column(name)))[0]
            return categorical([Coded(np.zeros(count, np.int8), pa.array([of_folders[name]], pa.large_string()))])

        found = in_parallel(text, list(columns), count)
        frame = pd.DataFrame(dict(zip(columns, found, strict=True)), copy=False)
        line: int | None = None
        out: tuple[tuple[int, int], ...] = (
            ((0, before),) if before else ()
        )  # so that messages name a row by its number in the file
        if (made := self._made.get(file.path)) is not None and made.report is not None:
            out, line = _left_out(made.report, before, count), made.report.first_line
        report = ReadReport("parquet", delimiter=None, rows=count, left_out=out, first_line=line)
        return Table(f"{self.name}: {file.name}", frame, report)

    @contextmanager
    def _reading(self, file: Found) -> Iterator[Path]:
        """Give a file, or what was made of it, and say in a sentence what is wrong with it."""
        if (made := self._made.get(file.path)) is not None:
            yield made.path
            return
        try:
            with here(self._system, file, self.name) as path:
                yield path
        except pa.ArrowException as error:
            message = f"the Parquet file is damaged or cut short: {first_line(error)}"
            raise TableError(
                f"Dataset `{self.name}`", [Problem(message, "Write or download it again.", value=file.name, how=FILE)]
            ) from error

    def _require_parquet(self, path: Path, file: Found) -> None:
        with path.open("rb") as read:
            if read.read(len(MAGIC)) != MAGIC:
                if self._shelf is not None:
                    remedy = "Wait until the files are complete, then begin anew."
                    self._refuse("a file came or changed while the others were read", remedy, file.name)
                remedy = "Write its rows as Parquet, for example with `read`, or give as much memory as they need."
                self._refuse("only Parquet files can be read a piece at a time", remedy, file.name)

    def _refuse(self, message: str, remedy: str, value: str | None = None) -> None:
        raise TableError(f"Dataset `{self.name}`", [Problem(message, remedy, value=value, how=FILE)])


def _left_out(report: ReadReport, before: int, count: int) -> tuple[tuple[int, int], ...]:
    """Return what is left out of a text's records up to the last of `count` rows, and the rows `before` them."""
    records = Places.of(report.rows, report.left_out).records(np.arange(before, before + count))
    gaps = np.diff(records, prepend=-1) - 1
    here = np.flatnonzero(gaps)
    return tuple(zip((records - gaps)[here].tolist(), gaps[here].tolist(), strict=True))


def _of_these_rows(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Keep, of a dictionary, the values of these rows: that of a file holds those of all its rows."""
    if not pt.is_dictionary(values.type):
        return values
    return pa.chunked_array([_used(chunk) for chunk in values.chunks])


def _used(chunk: pa.DictionaryArray) -> pa.DictionaryArray:
    size = len(chunk.dictionary)
    used = np.flatnonzero(np.bincount(np.asarray(chunk.indices.drop_null()), minlength=size))
    places = np.zeros(size, np.int32)
    places[used] = np.arange(len(used))
    return pa.DictionaryArray.from_arrays(pa.array(places).take(chunk.indices), chunk.dictionary.take(pa.array(used)))


def with_all(table: Table, columns: Sequence[str]) -> Table:
    """Return a table with its columns in a given order; those that it lacks, since no text is known for them, go."""
    return replace(table, frame=table.frame[[name for name in columns if name in table.frame.columns]])
