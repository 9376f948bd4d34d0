"""Tables of many files: a folder, a pattern or a URI of either, read as one table, file after file.

Start with `read_dataset`. `source` names a table; files are found and then read in the order of their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt
from pyarrow import fs

from deepfm_core._files import sha256
from deepfm_core.errors import ASKED_FOR, FILE, LOOKED_FOR, REASON, Problem, TableError, first_line
from deepfm_core.tables.csv_parser import Coded, categorical
from deepfm_core.tables.parquet import MAGIC
from deepfm_core.tables.table import DATE, DAYS, MONTHS, NO_ROWS, YEARS, PartFile, ReadReport, Table

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
    tables, parts, first, empty = list[Table](), list[PartFile](), First(found[0].name), list[str]()
    for file in found:
        with here(system, file, called, max_bytes) as path:
            own = f"{called}: {file.name}"
            require_types(path, file.name, own, first)
            if (read_part := _unless_empty(read, path, own)) is None:
                empty.append(file.name)
                continue
            table = with_folders(read_part, file)
            parts.append(PartFile(file.name, path.stat().st_size, sha256(path), len(table)))
        first_table = tables[0] if tables else table
        require_columns(list(table.frame.columns), list(first_table.frame.columns), own, parts[0].name)
        tables.append(table)
    if not tables:
        problem = Problem("none of its files has rows", "Name files with rows.", value=empty[0], how=FILE)
        raise TableError(f"Dataset `{called}`", [problem])
    return joined(called, tables, parts, empty)


@dataclass
class First:
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
def here(system: Any, file: Found, called: str, max_bytes: int | None = None) -> Iterator[Path]:
    """Give a file on this machine; one elsewhere is fetched for the time it is read, unless it has too many bytes."""
    subject = f"Dataset `{called}`"
    try:
        with TemporaryDirectory() as folder:
            path = Path(file.path)
            if system.type_name != "local":
                path = Path(folder) / Path(file.name).name
                _fetch(system, file, path, max_bytes, subject)
            yield path
            now = system.get_file_info(file.path)
    except FileNotFoundError as error:
        raise _gone(subject, file) from error
    except OSError as error:
        damaged = error.errno is None or isinstance(error, IsADirectoryError)  # Arrow's own, of what is in the file
        remedy = f"{'Write it again' if damaged else 'Ask for permission'}, or leave it out by a pattern."
        reason = without_secrets(error.strerror or str(error).partition("\n")[0])
        raise TableError(
            subject, [Problem(f"a file cannot be read: {reason}", remedy, value=file.name, how=FILE)]
        ) from error
    if file.size and (now.size or 0, now.mtime_ns or 0) != (file.size, file.changed):  # not every server tells
        problem = Problem(
            "a file changed while it was read", "Wait until the files are complete.", value=file.name, how=FILE
        )
        raise TableError(subject, [problem])


def _gone(subject: str, file: Found) -> TableError:
    remedy = "Wait until nobody moves the files, then read it again."
    return TableError(
        subject, [Problem("a file vanished while the dataset was read", remedy, value=file.name, how=FILE)]
    )


def _fetch(system: Any, file: Found, path: Path, max_bytes: int | None, subject: str) -> None:
    size = 0  # counted here: not every server tells it
    with system.open_input_stream(file.path) as there, path.open("wb") as here:
        while piece := there.read(1 << 20):
            size += len(piece)
            if max_bytes is not None and size > max_bytes:
                problem = Problem(
                    f"it has more than {max_bytes:,} bytes", "Use a smaller file.", value=file.name, how=FILE
                )
                raise TableError(subject, [problem])
            here.write(piece)


def require_types(path: Path, called: str, own: str, first: First) -> None:
    """Remember the types of a Parquet file's columns, and refuse another type under the same name.

    Raises:
        TableError: 1 in one file would be 1.0 in another.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
        kind = "Parquet" if start == MAGIC else "text"
    if kind == "text" and own.endswith(".parquet") and (first.form == "Parquet" or not start):
        what = "it is no Parquet file, but has its ending" if start else "it is empty"
        raise TableError(f"Table `{own}`", [Problem(what, "Write it again, or leave it out by a pattern.")])
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
        Problem(
            f"its type is {column.type}, and in `{name}` it is {kind}",
            "Write the files with one type for each column, or name those of one type by a pattern.",
            column=column.name,
        )
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


def require_columns(there: Sequence[str], expected: Sequence[str], own: str, first_name: str) -> None:
    """Check that a file has the columns of the first one, in whatever order.

    Raises:
        TableError: it lacks some, or has others.
    """
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


def with_folders(table: Table, file: Found) -> Table:
    """Add the columns that a file's folders name; one that the file has itself stays as it is there."""
    frame, folders = table.frame, list[str]()
    for column, value in file.parts:
        if column not in frame.columns:
            folders.append(column)
            codes = np.zeros(len(frame), np.int8)
            frame = frame.copy(deep=False)
            frame[column] = categorical([Coded(codes, pa.array([value], pa.large_string()))])
    return replace(table, frame=frame, report=replace(table.report, folders=tuple(folders)))


def joined(called: str, tables: Sequence[Table], parts: Sequence[PartFile], empty: Sequence[str]) -> Table:
    """Put the tables of files below each other, and what was noted of them together; `empty` files have no rows."""
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
        declared=tuple(column for column in columns if any(column in one.declared for one in reports)),
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


# What names a table: one file of this machine, or a dataset of many files, here or elsewhere.


PATTERN = re.compile(r"[*?\[]")
URI = re.compile(r"^([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
WEB = re.compile(r"https?://", re.IGNORECASE)
QUERY = re.compile(r"\?[\w.-]+=.*$")
"""What a URI says of its file system, such as a region."""
_USER = re.compile(r"(?<=://)(?:[^/@:]*:[^?#]*@|[^/?#]*@|[^/@:]*:(?!\d*[/?#]).*?@)")
"""Who reads it, and the password, in which there may be any letter."""
_ASKED = re.compile(r"(?<=://)([^?#]*)[?#].*$", re.DOTALL)


def is_uri(source: str) -> bool:
    """Say whether a text names something by a scheme, as `s3://bucket/folder` does."""
    return URI.match(source) is not None


def as_uri(source: Path | str) -> str:
    """Write a source as text; a URI that was taken for a path has its second slash again."""
    text = str(source)
    match = URI.match(text)
    return f"{match[1]}:{'///' if match[1] == 'file' else '//'}{text[match.end() :]}" if match else text


def is_dataset(source: Path | str) -> bool:
    """Say whether a source is a table of many files, rather than one file of this machine."""
    text = str(source)
    return is_uri(text) or Path(text).is_dir() or (PATTERN.search(text) is not None and not Path(text).exists())


def is_web(source: str) -> bool:
    """Say whether a text is the address of one file on a web server, in which `?` begins what is asked of it."""
    return WEB.match(source) is not None


def without_secrets(text: str) -> str:
    """Leave out of a text what an address in it may hold of secrets: user, password, and what is asked with it."""
    named = _USER.sub("", text)
    return _ASKED.sub(r"\1", named) if WEB.search(named) else QUERY.sub("", named)


def name_of(source: Path | str) -> str:
    """Name a dataset in messages, without what a URI may hold of secrets."""
    text = as_uri(source)
    return without_secrets(text).rstrip("/") if is_uri(text) else text.rstrip("/") or text


# Find the files of a dataset: those of a folder, of a pattern such as `day=*/*.parquet`, or of a URI of either.


MOST_FILES = 100_000
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Found:
    """A file of a dataset."""

    path: str
    """As its file system has it."""
    name: str
    """Its path below the dataset's folder."""
    size: int
    changed: int
    """When it was last changed, in nanoseconds since 1970; 0 where that is not told."""
    parts: tuple[tuple[str, str], ...]
    """The columns that its folders name, as `day=3`, with their value."""


def list_files(source: Path | str) -> tuple[Any, list[Found]]:
    """List the files of a dataset in the order of their names; hidden ones and those that begin with `_` are left out.

    Returns:
        The file system they are on, and the files.

    Raises:
        TableError: there is no such folder or bucket, it may not be read, or it has no files.
    """
    name, text = f"Dataset `{name_of(source)}`", as_uri(source)
    system, base, pattern = _system(text, name)
    try:
        infos = _infos(system, base, whole=pattern is None)
    except FileNotFoundError as error:
        remedy = "Check the address; a signed one may have ended." if is_web(text) else "Check the path."
        raise _problem(name, "there is no such file or folder", remedy, base, LOOKED_FOR) from error
    except PermissionError as error:
        raise _problem(
            name, "the folder may not be read", "Ask for permission, or choose another.", base, "folder"
        ) from error
    except ValueError as error:
        raise _no_address(name, text) from error
    except (OSError, pa.ArrowException) as error:
        raise _problem(
            name, "it cannot be listed", "Check the address and your credentials.", first_line(error), REASON
        ) from error
    alone = [info.path.strip("/") for info in infos] == [base.strip("/")]
    typed = [] if is_web(text) else _typed(text, base.rpartition("/")[0] if alone else base)
    found = _dated(sorted(_chosen(infos, base, pattern, typed), key=lambda file: file.name))
    if system.type_name == "local":
        _refuse_no_files(base, pattern, name)
    if not found:
        said = "no file has a name of this pattern" if pattern else "the folder has no files"
        raise _problem(name, said, "Check the path; names that begin with `.` or `_` are left out.", text, LOOKED_FOR)
    if len(found) > MOST_FILES:
        raise _problem(name, f"it has {len(found):,} files", f"Join them: {MOST_FILES:,} are allowed.", text, ASKED_FOR)
    return system, found


def _system(text: str, name: str) -> tuple[Any, str, list[str] | None]:
    """Give the file system of a source, its path there, and the segments of a pattern below it; None where none is."""
    if not is_uri(text):
        return fs.LocalFileSystem(), *_split("", str(Path(text).expanduser().absolute()), Path.exists)
    scheme = text.partition(":")[0].lower()
    if is_web(text):  # `?` begins what is asked of the server, and it lists nothing
        return _by_fsspec(scheme, name), text, None
    query = match[0] if (match := QUERY.search(text)) else ""
    text = text.removesuffix(query)
    pattern = PATTERN.search(text)
    stem = text[: pattern.start()].rpartition("/")[0] if pattern else text  # a URI has no room for a pattern
    rest = text[len(stem) :]
    try:
        system, path = fs.FileSystem.from_uri(stem + query)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, NotImplementedError):
        system = _by_fsspec(scheme, name)
        if query:
            remedy = "Leave out what stands after `?`."
            raise _problem(name, f"no settings can be given in an address of `{scheme}`", remedy, text) from None
        path = stem.partition("://")[2]
    except ValueError as error:
        raise _no_address(name, text) from error
    except (OSError, pa.ArrowException) as error:
        raise _problem(name, "it cannot be reached", "Check the address.", first_line(error), REASON) from error
    return system, *_split(path, rest, Path.exists if system.type_name == "local" else _unknown)


def _by_fsspec(scheme: str, name: str) -> Any:
    try:
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (ImportError, ValueError) as error:
        remedy = f"Install what fsspec needs for `{scheme}`, or copy the files to this machine."
        raise _problem(name, f"nothing here reads `{scheme}`", remedy, first_line(error), REASON) from error


def _unknown(_path: Path) -> bool:
    """Say that nothing is known of a path that stands elsewhere."""
    return False


def _split(base: str, rest: str, exists: Callable[[Path], bool]) -> tuple[str, list[str] | None]:
    """Split what follows a path before its first segment with a pattern; None where there is none.

    A name that is there is no pattern, whatever letters it has.
    """
    path, segments = base, rest.split("/") if rest else []
    for place, segment in enumerate(segments):
        here = f"{path}/{segment}" if place or not rest.startswith("/") else path
        if PATTERN.search(segment) and not exists(Path(here)):
            return path or "/", segments[place:]
        path = here
    return path.rstrip("/") or "/", None


def _infos(system: Any, base: str, *, whole: bool) -> list[Any]:
    if whole and (info := system.get_file_info(base)).type == fs.FileType.File:
        return [info]
    found: list[Any] = system.get_file_info(fs.FileSelector(base, recursive=True))
    return [info for info in found if info.type == fs.FileType.File]


def _refuse_no_files(base: str, pattern: list[str] | None, name: str) -> None:
    """Refuse links that lead nowhere, and pipes: Arrow lists them as no file, so their rows would be missed unsaid."""
    for path in sorted(_below(Path(base))):
        parts = path.relative_to(base).parts
        dead = path.is_symlink() and not path.exists()
        if dead and _is_meant(parts, pattern and pattern[: len(parts)]):  # it may have been a folder of them
            raise _problem(name, "a link leads nowhere", "Put the file in its place, or remove it.", str(path), FILE)
        if not dead and path.exists() and not path.is_file() and _is_meant(parts, pattern):
            said = "it is no file, but a pipe or a device"
            raise _problem(name, said, "Put a file in its place, or remove it.", str(path), FILE)


def _below(base: Path) -> Iterator[Path]:
    """Yield what is below a folder and is no folder, in linked folders, too; a loop of links is entered once."""
    seen = set[tuple[int, int]]()
    for folder, folders, names in os.walk(base, followlinks=True):
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        yield from (Path(folder) / own for own in names)


def _is_meant(parts: Sequence[str], pattern: list[str] | None) -> bool:
    """Say whether a path below the base is of the dataset: not hidden, and of the pattern if there is one."""
    return not any(part.startswith((".", "_")) for part in parts) and (pattern is None or matches(parts, pattern))


def _chosen(infos: Sequence[Any], base: str, pattern: list[str] | None, typed: Sequence[str]) -> Iterator[Found]:
    for info in infos:
        below = PurePosixPath(info.path.lstrip("/").removeprefix(base.lstrip("/")).lstrip("/") or info.base_name)
        if pattern is None and is_web(base):
            yield Found(base, PurePosixPath(urlsplit(base).path).name or "file", info.size or 0, info.mtime_ns or 0, ())
            continue
        if _is_meant(below.parts, pattern):
            folders = [*typed, *below.parts[:-1]]
            yield Found(info.path, str(below), info.size or 0, info.mtime_ns or 0, _values(folders))


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Say whether the segments of a path fit those of a pattern, in which `**` stands for any number of them."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])


def _typed(text: str, base: str) -> list[str]:
    """Give the folders of the path that the user wrote himself, above what is searched."""
    written = set(re.sub(URI, "", text).split("/"))
    return [segment for segment in base.split("/") if segment in written]


def _values(folders: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the columns that folders name, with their values."""
    named = dict[str, str]()
    for folder in folders:
        key, sign, value = folder.partition("=")
        if key and sign:
            named[unquote(key)] = "" if value == _NO_VALUE else unquote(value)
    return tuple(named.items())


def _dated(found: list[Found]) -> list[Found]:
    """Add the dates that folders of years, of months and so on make together, if those of every file make one.

    It is empty for files of which a part is missing; if that is so of all, there is no column of dates.
    """
    dates = [_date(file.parts) for file in found]
    if None in dates or not any(dates):
        return found
    return [replace(file, parts=(*file.parts, (DATE, date or ""))) for file, date in zip(found, dates, strict=True)]


def _date(named: Sequence[tuple[str, str]]) -> str | None:
    """Write year, month and, where there are folders of them, day and hour as a point in time.

    Returns:
        An empty text where a part is missing; None where there are no such folders, or they make no date.
    """
    by_key = {key.lower(): value for key, value in named}
    given = [[by_key[key] for key in keys if key in by_key] for keys in (YEARS, MONTHS, DAYS, _HOURS)]
    there = [values[0] for values in takewhile(bool, given)]
    if len(there) < 2 or DATE in by_key:
        return None
    if "" in there:
        return ""
    if not all(re.fullmatch("[0-9]{1,2}|[0-9]{4}", part) for part in there) or len(there[0]) != 4:
        return None
    try:
        moment = datetime(*map(int, [*there, "1"][: max(len(there), 3)]))  # type: ignore[arg-type]
    except ValueError:
        return None
    return moment.strftime(("%Y-%m", "%Y-%m-%d", "%Y-%m-%d %H:00")[len(there) - 2])


_HOURS = ("hour", "hh", "h")


def _problem(subject: str, message: str, remedy: str, value: str, how: str = "found") -> TableError:
    return TableError(subject, [Problem(message, remedy, value=without_secrets(value), how=how)])


def _no_address(subject: str, text: str) -> TableError:
    return _problem(
        subject,
        "the address cannot be understood",
        "Write it as in `https://host/table.csv`; `/` in a password is `%2F`.",
        text,
    )
