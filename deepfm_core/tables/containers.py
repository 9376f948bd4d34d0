"""Tables within other files: JSON Lines, a zip archive with one table, an Excel workbook. Start with `unpacked`.

Each is written as a file that the reader knows, into a temporary folder. `outline` looks at the start of any file.
"""

from __future__ import annotations

import gzip
import importlib
import json
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, time
from enum import StrEnum
from functools import reduce
from html import unescape
from itertools import chain, count
from operator import getitem
from pathlib import Path
from typing import Any, BinaryIO, cast

from deepfm_core.errors import ASKED_FOR, REASON, Problem, TableError
from deepfm_core.tables.decoding import CHUNK, Content, guessed, refuse_binary, refuse_columns, refuse_size
from deepfm_core.tables.export import write_rows
from deepfm_core.tables.parquet import cell_text

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
"""The first bytes of a zip archive, and of an empty one."""
MOST_UNPACKED = 4 << 30
"""Bytes that a zip archive may unpack to where no other limit is given: 4 GiB."""
_WORKBOOK = "xl/workbook.xml"
_DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,  # a way to compress that Python does not know
    RuntimeError,  # a password
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ValueError,
    KeyError,
)
"""What Python's zipfile raises of an archive that is damaged, locked or odd."""


class Form(StrEnum):
    """What a file is, as far as its reading can be chosen."""

    TEXT = "text"
    ARCHIVE = "archive"
    FILES = "files"
    """An archive of several files, or of none: what is chosen for one text cannot help to read it."""
    JSON = "json"
    WORKBOOK = "workbook"
    COLUMNS = "columns"
    """Parquet, Feather and other files that say themselves how they are read."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The choices of `Choices` that it heeds."""
        return _HEEDED[self]


_OF_TEXT = ("encoding", "delimiter", "quoting", "header", "rows")
_HEEDED = {
    Form.TEXT: _OF_TEXT,
    Form.ARCHIVE: _OF_TEXT,
    Form.FILES: (),
    Form.JSON: ("encoding", "rows"),
    Form.WORKBOOK: ("header", "sheet", "rows"),
    Form.COLUMNS: ("rows",),
}


@dataclass(frozen=True)
class Outline:
    """What the start of a file shows."""

    form: Form
    lines: tuple[str, ...] = ()
    """The first lines of a text, which may be cut short."""
    sheets: tuple[str, ...] = ()
    """The names of a workbook's sheets."""


def outline(file: BinaryIO, encoding: str | None = None) -> Outline:
    """Look at the start of a file, whether or not it can be read as a table: its form, its first lines, its sheets.

    Args:
        file: the bytes, from their start.
        encoding: of its text, as far as it is known.
    """
    head = file.read(_HEAD)
    file.seek(0)
    if head[:4] in _ZIPS:
        return _outline_of_zip(file)
    if head.startswith(_GZIP):
        head = _start_of_gzip(file)
    if head.startswith(_COLUMNS):
        return Outline(Form.COLUMNS)
    lines = _lines(head, encoding or guessed(head))
    start = lines[0].lstrip("\ufeff \t[")[:1] if lines else ""
    return Outline(Form.JSON if start == "{" else Form.TEXT, lines)


_HEAD = 8192
_SHOWN_LINES, _SHOWN_LETTERS = 8, 200
_GZIP = b"\x1f\x8b"
_COLUMNS = (b"PAR1", b"ARROW1")
_OF_A_BUNDLE = "bundle.json"
"""In every model bundle (`export/bundle.py`), which is an archive of many files, too."""
_MOST_OF_WORKBOOK = 1 << 20
"""Bytes of the list of sheets that are looked at."""


def _outline_of_zip(file: BinaryIO) -> Outline:
    try:
        with zipfile.ZipFile(file) as archive:
            if _WORKBOOK not in archive.namelist():
                return Outline(Form.ARCHIVE if len(_members(archive)) == 1 else Form.FILES)
            with archive.open(_WORKBOOK) as member:
                text = member.read(_MOST_OF_WORKBOOK).decode("utf-8", "replace")
    except _DAMAGED:
        return Outline(Form.COLUMNS)  # damaged: nothing to choose
    names = re.findall(r"<(?:\w+:)?sheet\s[^>]*?\bname=(?:\"([^\"]*)\"|'([^']*)')", text)
    return Outline(Form.WORKBOOK, sheets=tuple(unescape(double or single) for double, single in names))


def _start_of_gzip(file: BinaryIO) -> bytes:
    try:
        with gzip.open(file) as packed:
            return packed.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return b""


def _lines(head: bytes, encoding: str) -> tuple[str, ...]:
    text = head.decode(encoding, "replace")
    if "\0" in text:
        return ()
    return tuple(line[:_SHOWN_LETTERS] for line in text.splitlines()[:_SHOWN_LINES])


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive, as Excel workbooks are, too."""
    with path.open("rb") as file:
        return starts_like_zip(file.read(4))


def starts_like_zip(head: bytes) -> bool:
    """Return whether four bytes are the first of a zip archive."""
    return head in _ZIPS


def unpacked(path: Path, folder: Path, subject: str, max_bytes: int | None, sheet: str | None) -> tuple[Path, str, str]:
    """Write the one table of a zip archive or a workbook into `folder`; return its path, its format and a note.

    Raises:
        TableError: the archive is damaged, holds no or several tables, or unpacks to more than `max_bytes`.
    """
    limit = MOST_UNPACKED if max_bytes is None else max_bytes
    try:
        with zipfile.ZipFile(path) as archive:
            names = _members(archive)
            refuse_size(sum(info.file_size for info in archive.infolist()), limit, subject)
            if _WORKBOOK in names:
                return _from_workbook(path, folder, subject, sheet)
            name = _only_member(names, subject)
            with archive.open(name) as member, (folder / "member").open("wb") as out:
                refuse_binary(
                    cast(zipfile.ZipExtFile, member).peek(_HEAD)[:_HEAD], f"{subject}, file `{name}` of the archive"
                )
                _copy(member, out, limit, subject)
    except TableError:
        raise
    except _DAMAGED as error:
        problem = Problem("the zip archive is damaged or locked", "Unpack it yourself.", value=str(error), how=REASON)
        raise TableError(subject, [problem]) from error
    return folder / "member", "zip", f"`{name}` was unpacked from the archive."


def members(path: Path, folder: Path, subject: str, max_bytes: int | None) -> list[str]:
    """Write the files of an archive of several tables into `folder`; return their names, none if it is none such.

    Folders such as `day=3` within the archive are kept, since they name columns.

    Raises:
        TableError: the archive is damaged, or unpacks to more than `max_bytes`.
    """
    limit = MOST_UNPACKED if max_bytes is None else max_bytes
    try:
        with zipfile.ZipFile(path) as archive:
            names = _members(archive)
            if len(names) < 2 or _WORKBOOK in names or _OF_A_BUNDLE in names or not all(map(_is_below, names)):
                return []
            refuse_size(sum(info.file_size for info in archive.infolist()), limit, subject)
            for name in names:
                there = folder / name
                there.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as member, there.open("xb") as out:
                    limit -= _copy(member, out, limit, subject)
    except TableError:
        raise
    except _DAMAGED:
        return []  # `unpacked` says why
    return sorted(names)


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [info.filename for info in archive.infolist() if not _is_hidden(info.filename)]


def _is_below(name: str) -> bool:
    """Say whether a file of an archive would be written below the folder it is unpacked to."""
    return not (name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"))


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return name.endswith("/") or parts[0] == "__MACOSX" or parts[-1].startswith(".")


def _only_member(names: list[str], subject: str) -> str:
    if len(names) == 1:
        return names[0]
    if _OF_A_BUNDLE in names:
        remedy = "Import it on *Runs*, or name it in the place of a run. A table has rows of its own."
        raise TableError(subject, [Problem("the file is a model bundle, and no table", remedy)])
    raise several_files(names, subject)


def several_files(names: Sequence[str], subject: str, reason: TableError | None = None) -> TableError:
    """Refuse an archive of these files; `reason` says why they cannot be read as one table."""
    shown = "`, `".join(names[:5]) + ("`, `…" if len(names) > 5 else "")
    refused = Problem(f"the archive holds {len(names)} files", "Give the one with the table.", value=shown or None)
    if reason is None:
        return TableError(subject, [refused])
    remedy = "Give the one with the table, or files of the same columns, which are read as one table."
    first = reason.problems[0]
    why = replace(first, message=f"they cannot be read as one table: {reason.subject}: {first.message}")
    return TableError(subject, [replace(refused, remedy=remedy), why])


def _copy(member: Any, out: BinaryIO, limit: int, subject: str) -> int:
    """Copy by pieces, stop at the limit, and return the bytes: an archive may say less than it unpacks to."""
    size = 0
    while chunk := member.read(CHUNK):
        size += len(chunk)
        refuse_size(size, limit, subject)
        out.write(chunk)
    return size


# Workbooks.


def _from_workbook(path: Path, folder: Path, subject: str, sheet: str | None) -> tuple[Path, str, str]:
    try:
        calamine = importlib.import_module("python_calamine")
    except ImportError:
        remedy = "Save the sheet as CSV, or install what reads it: `pip install python-calamine`."
        raise TableError(subject, [Problem("the file is an Excel workbook", remedy)]) from None
    try:
        with path.open("rb") as file, closing(calamine.CalamineWorkbook.from_filelike(file)) as book:
            names = list(book.sheet_names)
            name = _sheet(names, sheet, subject)
            rows = book.get_sheet_by_name(name).to_python(skip_empty_area=True)
    except (calamine.CalamineError, calamine.PasswordError, calamine.XmlError, calamine.ZipError) as error:
        problem = Problem("the workbook is damaged or locked", "Save it again, or save the sheet as CSV.")
        raise TableError(subject, [problem]) from error
    with (folder / "sheet").open("w", encoding="utf-8", newline="") as stream:
        write_rows(([_cell(value) for value in row] for row in rows), stream)
    others = ", ".join(f"`{other}`" for other in names if other != name)
    more = f" Choose another one by its name (`--sheet`): {others}." if others else ""
    return folder / "sheet", "xlsx", f"The sheet `{name}` was read.{more}"


def _sheet(names: list[str], sheet: str | None, subject: str) -> str:
    if not names:
        raise TableError(subject, [Problem("the workbook has no sheet", "Save the table as CSV.")])
    if sheet is None or sheet in names:
        return sheet or names[0]
    remedy = f"Its sheets are {', '.join(f'`{name}`' for name in names)}."
    raise TableError(subject, [Problem("there is no such sheet", remedy, value=sheet, how=ASKED_FOR)])


def _cell(value: Any) -> str:
    """Write a cell as text: whole numbers without `.0`, since a workbook knows no others; midnight as a date alone."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case _:
            return cell_text(value)


# JSON: an object a line, or a list of objects.


class _Number(float):
    """A number with the text it was written as."""

    text: str

    def __new__(cls, text: str) -> _Number:
        number = super().__new__(cls, text)
        number.text = text
        return number


def is_json(content: Content) -> bool:
    """Return whether a text begins like objects of JSON."""
    with closing(content.open()) as stream:
        start = stream.read(4096).lstrip()
    return (start.startswith(b"{") and start[1:].lstrip()[:1] in (b'"', b"}")) or (
        start.startswith(b"[") and start[1:].lstrip()[:1] == b"{"
    )


def is_json_lines(content: Content) -> bool:
    """Return whether a text of JSON has an object a line, so that it is read line by line."""
    with closing(content.open()) as stream:
        first = next((line for line in stream if line.strip()), b"")
        second = next((line for line in stream if line.strip()), b"")
    return bool(second) and not first.lstrip().startswith(b"[") and _only_object_of(first) is not None


def _only_object_of(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line, parse_float=_Number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def from_json(content: Content, folder: Path, subject: str, fewest_columns: int = 2) -> tuple[Path, str]:
    """Write objects of JSON as CSV into `folder`; their names are the columns. Return its path and a note.

    They stand one a line, in a list, or in a list within the only object of the file; or that object holds columns, as
    pandas writes them. A missing name is an empty cell, a list is joined with `|`, an object within an object is its
    JSON text.

    Raises:
        TableError: a line is no object of JSON, or there are fewer names than `fewest_columns`.
    """
    columns: dict[str, None] = {}
    notes = list[str]()
    count = 0
    for row in _objects(content, subject, notes):
        known = len(columns)
        columns.update(dict.fromkeys(row))
        if len(columns) > known:
            refuse_columns(columns, subject)
        count += 1
    if not count or not columns:
        raise TableError(subject, [Problem("the file holds no objects", "Give one object a line.")])
    if len(columns) < fewest_columns:
        said = " ".join([f"The only name is `{next(iter(columns))}`.", *notes])
        problem = Problem("the objects of the file have only one name", f"{_OF_TWO} {said}")
        raise TableError(subject, [problem])
    with (folder / "json").open("w", encoding="utf-8", errors="replace", newline="") as stream:
        write_rows([list(columns)], stream)
        again = _objects(content, subject, [])
        write_rows(([_json_cell(row.get(name)) for name in columns] for row in again), stream)
    return folder / "json", " ".join(notes)


_OF_TWO = "Give each row as an object with a label and at least one field, one a line or in a list."


def _objects(content: Content, subject: str, notes: list[str]) -> Iterator[dict[str, Any]]:
    if (whole := _only_object(content)) is not None:
        rows, note = _rows_within(whole)
        notes += [note] if note else []
        yield from rows
        return
    with closing(content.open()) as stream:
        first = True
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            if first and line.lstrip().startswith(b"["):
                yield from _listed(line + stream.read(), subject)
                return
            first = False
            yield _object(_parsed(line, subject, number), subject, number)


def _only_object(content: Content) -> dict[str, Any] | None:
    """Return the object that is all of a file, over one line or many; None where each line has one of its own.

    What follows the second line is read for that only where the first is no object by itself.
    """
    with closing(content.open()) as stream:
        first = next((line for line in stream if line.strip()), b"")
        second = next((line for line in stream if line.strip()), b"")
        if not first.lstrip().startswith(b"{"):
            return None
        try:
            value = json.loads(first, parse_float=_Number)
            return None if second or not isinstance(value, dict) else value
        except (ValueError, RecursionError):
            pass  # its first line may be its beginning alone
        try:
            value = json.loads(first + second + stream.read(), parse_float=_Number)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


_DEEP = 3
"""Objects within each other in which a list of rows is looked for."""


def _rows_within(whole: dict[str, Any]) -> tuple[Iterable[dict[str, Any]], str]:
    """Find the rows in an object: a list of objects somewhere within it, or columns; or it is the only row itself."""
    names, data = whole.get("columns"), whole.get("data")
    if (
        isinstance(names, list)
        and isinstance(data, list)
        and len(data)
        and all(isinstance(row, list) and len(row) == len(names) for row in data)
    ):
        note = f"The names of the columns stand under `columns`, the rows under `data`.{_rest(whole)}"
        return _split(names, data), note
    values = list(whole.values())
    if len(values) > 1 and all(_is_column(column) and len(column) == len(values[0]) > 1 for column in values):
        listed = (dict(zip(whole, row, strict=True)) for row in zip(*values, strict=True))
        return listed, "The file holds a list of cells for each column."
    if len(values) > 1 and all(isinstance(one, dict) and one.keys() == values[0].keys() for one in values):
        return _of_two_names(whole, values)
    if path := _path_to_rows(whole, _DEEP):
        rows: Any = reduce(getitem, path, cast(Any, whole))
        return rows, f"The rows stand under `{'.'.join(path)}`.{_rest(whole, path[0])}"
    return [whole], ""


_HOLDERS = frozenset((
    "data", "rows", "records", "results", "result", "items", "hits", "docs", "documents", "objects", "elements",
    "entries", "list", "values", "value", "response", "content", "payload", "features", "dataset", "table",
))  # fmt: skip
"""What the list of rows is called, or an object that it stands in, where something stands beside it."""
_COUNTS = frozenset((
    "count", "total", "totalcount", "totalresults", "numfound", "size", "length", "page", "pages", "perpage",
    "pagesize", "totalpages", "limit", "offset", "start", "skip", "took", "timedout",
))  # fmt: skip
_BESIDE = frozenset((
    "next", "previous", "prev", "cursor", "nextcursor", "nextpage", "nextpagetoken", "hasmore", "meta", "metadata",
    "pagination", "paging", "links", "schema", "fields", "shards", "maxscore", "scrollid", "pandasversion",
    "odatacontext", "odatacount", "odatanextlink",
))  # fmt: skip
"""What stands beside rows and says something of them, and not of what a single record is about."""
_ANSWERS = frozenset(("status", "success", "ok", "error", "errors", "message", "code", "type"))
_SAID = frozenset(("ok", "success", "true", "false", "none", "200", "0", "", "[]", "featurecollection"))
"""What such an answer says, in lower case, where all is well."""


def _path_to_rows(value: dict[str, Any], deep: int) -> tuple[str, ...]:
    """Return the names that lead to the only list of rows within an object; none where it is a row itself.

    A row may hold a list of objects, too, such as what is in a basket. So the list stands alone, or has one of the
    usual names and nothing but what is said of rows beside it.
    """
    names = [name for name, held in value.items() if len(value) == 1 or not _stands_beside(name, held)]
    if len(names) != 1 or (len(value) > 1 and names[0].lower() not in _HOLDERS):
        return ()
    name, held = names[0], value[names[0]]
    if _is_listed(held):
        return (name,)
    below = _path_to_rows(held, deep - 1) if isinstance(held, dict) and deep > 1 else ()
    return (name, *below) if below else ()


def _stands_beside(name: str, held: Any) -> bool:
    bare = re.sub("[^a-z]", "", name.lower())
    counts = bare in _COUNTS and isinstance(held, int | dict | None)  # `{"page": "home", "items": […]}` is a row
    return counts or bare in _BESIDE or (bare in _ANSWERS and str(held).lower() in _SAID)


def _split(names: list[Any], data: list[list[Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows under their names, which are texts, or lists of them as pandas writes names in groups."""
    unique = dict[str, None]()
    for name in (" ".join(map(str, name)) if isinstance(name, list) else str(name) for name in names):
        others = (f"{name} ({number})" for number in count(2))
        unique[next(own for own in chain([name], others) if own not in unique)] = None
    return (dict(zip(unique, row, strict=True)) for row in data)


def _rest(whole: dict[str, Any], *used: str) -> str:
    """Say what else an object holds; numbers of rows are nothing else."""
    index, used = whole.get("index"), used or ("columns", "data")
    numbered = isinstance(index, list) and index == list(range(len(index)))
    others = ", ".join(f"`{name}`" for name in whole if name not in used and not (name == "index" and numbered))
    return f" The rest was left out: {others}." if others else ""


_NAMES_LEFT = " These names were left out."
_FEWEST_NAMED = 5
"""Objects alike from which their names are those of rows; `{"user": {"id": 1}, "item": {"id": 2}}` is a row itself."""


def _of_two_names(whole: dict[str, Any], values: list[dict[str, Any]]) -> tuple[Iterable[dict[str, Any]], str]:
    """Tell columns of named rows from rows of named columns: rows are numbered, or there are more of them."""
    within, without = (all(map(str.isdecimal, names)) for names in (values[0], whole))
    more = len(values[0]) > len(values)
    if len(values[0]) > 1 and ((within and more) if without else (within or more)):
        rows = ({name: column[row] for name, column in whole.items()} for row in values[0])
        return rows, f"The file holds the cells of each column by the names of the rows.{'' if within else _NAMES_LEFT}"
    if values[0] and (without or len(values) >= _FEWEST_NAMED):
        return values, f"The file holds an object for each row, by its name.{'' if without else _NAMES_LEFT}"
    return [whole], ""


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(cell, dict) for cell in value)


def _is_listed(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(one, dict) for one in value)


def _listed(text: bytes, subject: str) -> Iterator[dict[str, Any]]:
    for number, value in enumerate(_parsed(text, subject, 1), 1):
        yield _object(value, subject, number)


def _parsed(text: bytes, subject: str, line: int) -> Any:
    try:
        return json.loads(text, parse_float=_Number)
    except (ValueError, RecursionError) as error:
        remedy = "Give one object a line, or a list of objects, or convert it to CSV."
        raise TableError(
            subject, [Problem("the file is JSON but no table", remedy, line=line, value=str(error))]
        ) from error


def _object(value: Any, subject: str, line: int) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    remedy = "Give one object a line."
    raise TableError(subject, [Problem("the line is no object", remedy, line=line, value=str(value)[:80])])


def _json_cell(value: Any) -> str:
    return value.text if isinstance(value, _Number) else cell_text(value)
