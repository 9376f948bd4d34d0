"""Read a table of many files as one: file after file, each as `read_table` reads it, in the order of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from deepfm_core._files import sha256
from deepfm_core.errors import Problem, TableError
from deepfm_core.tables.csv_parser import Coded, categorical
from deepfm_core.tables.datasets.listing import Found, list_files
from deepfm_core.tables.datasets.source import name_of, without_secrets
from deepfm_core.tables.parquet import MAGIC
from deepfm_core.tables.table import NO_ROWS, PartFile, ReadReport, Table

Read = Callable[[Path, str], Table]
"""Reads one file under a name."""

_ALIKE = (pt.is_integer, pt.is_floating, pt.is_temporal, pt.is_decimal, pt.is_boolean, pt.is_nested)
"""Types whose values are written alike; of texts there are many, too."""
_LISTED = 20


def read_dataset(source: Path | str, name: str | None, read: Read, max_bytes: int | None = None) -> Table:
    """Read a dataset into memory. What its folders say, as `day=3`, becomes columns.

    Args:
        source: a folder, a pattern or a URI.
        name: the table's name in messages; what the source is called by default.
        read: reads one of its files.
        max_bytes: the most bytes that all files may have.

    Raises:
        TableError: a file cannot be read, differs from the others in its columns or their types, or is gone or changed
            since the dataset was listed.
    """
    called = name or name_of(source)
    system, found = list_files(source)
    size = sum(file.size for file in found)
    if max_bytes is not None and size > max_bytes:
        remedy = f"Name fewer files: at most {max_bytes:,} bytes are allowed."
        raise TableError(f"Dataset `{called}`", [Problem(f"its files have {size:,} bytes", remedy)])
    tables, parts, first, empty = list[Table](), list[PartFile](), _First(found[0].name), list[str]()
    for file in found:
        with _here(system, file, called) as path:
            own = f"{called}: {file.name}"
            _require_types(path, file.name, own, first)
            if (read_part := _unless_empty(read, path, own)) is None:
                empty.append(file.name)
                continue
            table = _with_folders(read_part, file)
            parts.append(PartFile(file.name, path.stat().st_size, sha256(path), len(table)))
        _require_columns(table, tables[0] if tables else table, own, parts[0].name)
        tables.append(table)
    if not tables:
        problem = Problem("none of its files has rows", "Name files with rows.", value=empty[0])
        raise TableError(f"Dataset `{called}`", [problem])
    return _joined(called, tables, parts, empty)


@dataclass
class _First:
    """What the first file is, and for each column the first type that says something, with the file that has it."""

    name: str
    form: str = ""
    kinds: dict[str, tuple[pa.DataType, str]] = field(default_factory=dict)


def _unless_empty(read: Read, path: Path, own: str) -> Table | None:
    """Read a file; None where it has a header or a schema, and no rows."""
    try:
        return read(path, own)
    except TableError as error:
        if all(problem.message == NO_ROWS for problem in error.problems):
            return None
        raise


@contextmanager
def _here(system: Any, file: Found, called: str) -> Iterator[Path]:
    """Give a file on this machine; one elsewhere is fetched for the time it is read."""
    subject = f"Dataset `{called}`"
    try:
        with TemporaryDirectory() as folder:
            path = Path(file.path)
            if system.type_name != "local":
                path = Path(folder) / Path(file.name).name
                _fetch(system, file, path)
            yield path
            now = system.get_file_info(file.path)
    except FileNotFoundError as error:
        raise _gone(subject, file) from error
    except OSError as error:
        remedy = "Ask for permission, or leave it out by a pattern."
        reason = without_secrets(error.strerror or str(error).partition("\n")[0])
        raise TableError(subject, [Problem(f"a file cannot be read: {reason}", remedy, value=file.name)]) from error
    if file.size and (now.size or 0, now.mtime_ns or 0) != (file.size, file.changed):  # not every server tells
        problem = Problem("a file changed while it was read", "Wait until the files are complete.", value=file.name)
        raise TableError(subject, [problem])


def _gone(subject: str, file: Found) -> TableError:
    remedy = "Wait until nobody moves the files, then read it again."
    return TableError(subject, [Problem("a file vanished while the dataset was read", remedy, value=file.name)])


def _fetch(system: Any, file: Found, path: Path) -> None:
    with system.open_input_stream(file.path) as there, path.open("wb") as here:
        while piece := there.read(1 << 20):
            here.write(piece)


def _require_types(path: Path, called: str, own: str, first: _First) -> None:
    """Remember the types of a Parquet file's columns, and refuse another type under the same name.

    Raises:
        TableError: 1 in one file would be 1.0 in another.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        kind = "Parquet" if file.read(len(MAGIC)) == MAGIC else "text"
    first.form = first.form or kind
    if first.form != kind:
        remedy = "Name files of one kind, by a pattern such as `*.parquet`."
        raise TableError(f"Table `{own}`", [Problem(f"it is {kind}, and `{first.name}` is {first.form}", remedy)])
    if kind == "text":
        return
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return  # reading it says what is wrong
    problems = [
        Problem(f"its type is {column.type}, and in `{name}` it is {kind}", column=column.name)
        for column in schema
        if not pt.is_null(column.type)
        for kind, name in [first.kinds.setdefault(column.name, (column.type, called))]
        if _family(column.type) != _family(kind)
    ]
    if problems:
        last = replace(problems[-1], remedy="Write all files with one schema.")
        raise TableError(f"Table `{own}`", [*problems[:_LISTED], last] if len(problems) > _LISTED else problems)


def _family(kind: pa.DataType) -> str:
    kind = kind.value_type if pt.is_dictionary(kind) else kind
    return next((test.__name__ for test in _ALIKE if test(kind)), "text")


def _require_columns(table: Table, first: Table, own: str, first_name: str) -> None:
    there, expected = list(table.frame.columns), list(first.frame.columns)
    problems = [
        Problem(f"it has no such column, and `{first_name}` has", "Write all files with the same columns.", column=name)
        for name in expected
        if name not in there
    ] + [
        Problem(f"`{first_name}` has no such column", "Write all files with the same columns.", column=name)
        for name in there
        if name not in expected
    ]
    if problems:
        raise TableError(f"Table `{own}`", problems)


def _with_folders(table: Table, file: Found) -> Table:
    """Add the columns that a file's folders name; one that the file has itself stays as it is there."""
    frame = table.frame
    for column, value in file.parts:
        if column not in frame.columns:
            codes = np.zeros(len(frame), np.int8)
            frame = frame.copy(deep=False)
            frame[column] = categorical([Coded(codes, pa.array([value], pa.large_string()))])
    return replace(table, frame=frame)


def _joined(called: str, tables: Sequence[Table], parts: Sequence[PartFile], empty: Sequence[str]) -> Table:
    first = tables[0]
    columns = {}
    for column in first.frame.columns:
        pieces = [table.frame[column].array for table in tables]
        columns[column] = categorical(
            [Coded(piece.codes, pa.array(piece.categories, pa.large_string())) for piece in pieces]
        )
    reports = [table.report for table in tables]
    left_out, before = list[tuple[int, int]](), 0
    for report in reports:
        left_out += [(start + before, count) for start, count in report.left_out]
        before += report.rows + sum(count for _, count in report.left_out)
    frame = pd.DataFrame(columns, copy=False)
    named = list(zip(parts, reports, strict=True))
    report = replace(
        first.report,
        rows=len(frame),
        skipped=tuple(_at(part, problem) for part, one in named for problem in one.skipped),
        skipped_count=sum(one.skipped_count for one in reports),
        repaired=tuple(_at(part, problem) for part, one in named for problem in one.repaired),
        repaired_count=sum(one.repaired_count for one in reports),
        notes=(*_notes(parts, reports), *_without_rows(empty)),
        left_out=tuple(left_out),
        first_line=None,
        files=tuple(parts),
    )
    return Table(called, frame, report)


def _at(part: PartFile, problem: Problem) -> Problem:
    return replace(problem, message=f"{part.name}: {problem.message}")


def _notes(parts: Sequence[PartFile], reports: Sequence[ReadReport]) -> Iterator[str]:
    """Say what was noted of files, once for all that are alike."""
    size = sum(part.bytes for part in parts)
    files = "1 file" if len(parts) == 1 else f"{len(parts):,} files"
    span = " … ".join(dict.fromkeys(f"`{part.name}`" for part in (parts[0], parts[-1])))
    yield f"Read {files} of {size:,} bytes, in the order of their names: {span}."
    noted: dict[str, list[str]] = {}
    for part, report in zip(parts, reports, strict=True):
        for note in report.notes:
            noted.setdefault(note, []).append(part.name)
    for note, names in noted.items():
        more = "" if len(names) == 1 else f" and {len(names) - 1:,} more"
        yield note if len(names) == len(parts) else f"{names[0]}{more}: {note}"


def _without_rows(empty: Sequence[str]) -> Iterator[str]:
    """Say which files were left out because they have no rows."""
    if len(empty) == 1:
        yield f"File `{empty[0]}` has no rows; it was left out."
    elif empty:
        yield f"{len(empty):,} files have no rows and were left out: `{empty[0]}` … `{empty[-1]}`."
