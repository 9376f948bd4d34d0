"""Read any table a user has as text: CSV in its many forms, or Parquet.

Start with `read_table`; export.py writes tables.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa

from deepfm_core.errors import FILE, LOOKED_FOR, REASON, Problem, TableError
from deepfm_core.tables.containers import Form, from_json, is_json, is_zip, members, several_files, unpacked
from deepfm_core.tables.csv_parser import Parsed, parse
from deepfm_core.tables.datasets.dataset import is_dataset
from deepfm_core.tables.decoding import UNIT, Content, refuse_columns, refuse_size, survey
from deepfm_core.tables.dialect import Dialect, detect, twofold_delimiter
from deepfm_core.tables.header import is_value
from deepfm_core.tables.no_rows import LeftOut, without_no_rows
from deepfm_core.tables.parquet import ARROW_MAGIC, MAGIC, read_arrow, read_parquet
from deepfm_core.tables.records import Cut, Misfits
from deepfm_core.tables.repair import (
    Repaired,
    all_escaped,
    are_lines,
    doubts,
    is_sound_below,
    refuse_doubts,
    repair,
    swallowing,
    too_many,
)
from deepfm_core.tables.row_errors import SHOWN, excerpt, lines_left_out, mended_rows, misfits, ragged_rows
from deepfm_core.tables.table import FOUND, NO_ROWS, TWOFOLD, Choices, ReadReport, Table, runs_of

# A text of one column, for a model with one field. It has no delimiter to find, so it is read by itself.

_COMMENT = ("#", "//")


def read_one_column(content: Content, column: str, name: str) -> Table | None:
    """Read a text whose header is the single name `column`; blank lines are skipped, and an empty cell is `""`.

    Returns:
        None if the text is another table: its header differs or cannot be read, or its first row has several values.

    Raises:
        TableError: there are no rows, a later row has several values, or a quoted cell is not closed properly.
    """
    records = _records(content)
    try:
        header = next((cells for _, cells in records if cells and not cells[0].startswith(_COMMENT)), None)
    except csv.Error:
        return None
    if header is None or [cell.strip() for cell in header] != [column]:
        return None
    texts, problems, last = list[str](), list[Problem](), 0
    try:
        for line, cells in records:
            last = line
            if not cells:
                continue
            if len(cells) > 1 and not texts:
                return None
            if len(cells) > 1 and len(problems) < SHOWN:
                remedy = 'Put `"` around a cell that contains a comma, or remove the extra values.'
                message = f"{len(cells)} values where the header has 1"
                problems.append(Problem(message, remedy, line=line, value=excerpt(",".join(cells))))
            texts.append(cells[0])
    except csv.Error as error:
        problems.append(_malformed(error, column, last + 1 if last else None))
    if not texts and not problems:
        problems.append(Problem(NO_ROWS, "Add rows below the header."))
    if problems:
        raise TableError(f"Table `{name}`", problems)
    frame = pd.DataFrame({column: pd.Categorical(texts)})
    report = ReadReport(encoding=content.encoding, compression=content.compression, rows=len(frame))
    return Table(name, frame, report)


def _malformed(error: csv.Error, column: str, line: int | None) -> Problem:
    """Describe what is wrong with the quotes of the cell that begins on `line`."""
    if "unexpected end" in str(error):
        return Problem("a quoted cell is never closed", 'Close it with `"`.', line=line, column=column)
    remedy = 'Double a quote inside a quoted cell (`""`), or remove the quotes around it.'
    return Problem("a quoted cell goes on after its closing quote", remedy, line=line, column=column)


def _records(content: Content) -> Iterator[tuple[int, list[str]]]:
    """Yield records with the line each ends on; blank lines hold no cells.

    Raises:
        csv.Error: a quoted cell is not closed, or goes on after its closing quote.
    """
    csv.field_size_limit(sys.maxsize)
    with closing(content.open()) as stream:
        reader = csv.reader(TextIOWrapper(stream, encoding="utf-8", newline=""), strict=True)
        for cells in reader:
            yield reader.line_num, cells


# Tables of any form.


def encoding_doubt(encoding: str, *, said: bool) -> Problem:
    """Say which encoding a text was read in, where what is wrong with it may come of that."""
    who = ", as was said" if said else ""
    return Problem(
        f"the text was read as {encoding}{who}",
        "If letters look wrong, choose another encoding (`--encoding` on the command line).",
    )


_SPACE_REMOVED = "The space after every delimiter was removed."


def read_table(
    source: Path | str,
    *,
    name: str | None = None,
    strict: bool = False,
    max_bytes: int | None = None,
    only: str | None = None,
    choices: Choices = FOUND,
) -> Table:
    """Read a table from a file, or from many; each cell is exactly the text in the file, without its quotes.

    It reads text with delimiters (CSV, TSV and their kin, with or without a header line), Parquet, Feather, JSON,
    workbooks, and these in a zip or gzip (docs/tables.md). The bytes decide what a file is, never its name. White space
    is kept, except for a space that follows every delimiter. What is left out or repaired is listed in the report.

    Args:
        source: the path of the file; or of many, a folder, a pattern such as `data/day=*/*.parquet`, or a URI.
        name: the table's name in messages; the file's name by default.
        strict: whether a single ragged row is an error, for example if every row needs a prediction.
        max_bytes: the largest size allowed, before and after decompression.
        only: the single column that is needed, if a table of this column alone is enough.
        choices: what is said of the file instead of having it found, such as its encoding.

    Raises:
        TableError: the file cannot be read as a table; it holds every problem found.
    """
    path = Path(source)
    wanted = _Wanted(strict, max_bytes, only, choices)
    try:
        if is_dataset(source):
            from deepfm_core.tables.datasets.dataset import read_dataset

            table = read_dataset(source, name, lambda path, own: _read(path, own, wanted), max_bytes)
        else:
            table = _read(path, name or path.name, wanted)
    except TableError as error:
        if choices.encoding is None:
            raise
        raise TableError(error.subject, [*error.problems, encoding_doubt(choices.encoding, said=True)]) from None
    return replace(table, report=replace(table.report, choices=choices)) if choices.to_dict() else table


@dataclass(frozen=True)
class _Wanted:
    """What the caller of `read_table` wants: its arguments of the same names."""

    strict: bool
    max_bytes: int | None
    only: str | None
    choices: Choices

    @property
    def fewest_columns(self) -> int:
        """A table of one column is enough only if that column was asked for."""
        return 1 if self.only is not None else 2

    @property
    def every_row(self) -> bool:
        """Whether rows that look like none, such as totals, are kept."""
        return self.choices.rows is not None


def _read(path: Path, name: str, wanted: _Wanted) -> Table:
    """Read one file, by what its bytes are."""
    subject = f"Table `{name}`"
    head = _first_bytes(path, subject)
    refuse_size(path.stat().st_size, wanted.max_bytes, subject)
    if head == ARROW_MAGIC or head[: len(MAGIC)] == MAGIC:
        read = read_arrow if head == ARROW_MAGIC else read_parquet
        fewest, every = wanted.fewest_columns, wanted.every_row
        table = read(path, name, wanted.max_bytes, fewest_columns=fewest, all_rows=every)
        return _noted(table, wanted.choices, Form.COLUMNS)
    # Name the mistake: later checks could only say that the file is binary.
    if path.suffix == ".parquet" and b"\0" in path.open("rb").read(4096):
        remedy = "Write it again with a Parquet library, or use the CSV it was made from."
        raise TableError(
            subject, [Problem("the file is called Parquet but is not", remedy, value=repr(head[:4])[2:-1])]
        )
    if is_zip(path):
        return _unpacked(path, name, wanted)
    content = survey(path, subject, wanted.max_bytes, wanted.choices.encoding)
    if is_json(content):
        return _noted(_from_json(content, name, wanted), wanted.choices, Form.JSON)
    if wanted.only is not None and (one := read_one_column(content, wanted.only, name)) is not None:
        return one
    return _noted(_from_text(content, name, wanted), wanted.choices, Form.TEXT)


def _from_text(content: Content, name: str, wanted: _Wanted) -> Table:
    """Read lines of cells with a delimiter between them."""
    subject, choices = f"Table `{name}`", wanted.choices
    twofold = choices.delimiter if choices.delimiter in TWOFOLD else None
    if choices.delimiter is None:
        twofold = twofold_delimiter(content)
    if twofold:
        content, choices = replace(content, twofold=twofold), replace(choices, delimiter=UNIT)
    dialect = detect(content, subject, choices)
    refuse_columns(dialect.columns, subject)
    rows = _rows(content, dialect, subject, every=wanted.every_row)
    _refuse(rows, dialect, subject, wanted.strict)
    header = () if any(map(is_value, dialect.header)) else dialect.header  # a chosen one may look like its rows
    unnamed, no_rows = pd.DataFrame(dict(enumerate(rows.columns)), copy=False), LeftOut()
    if not wanted.every_row:
        unnamed, no_rows = without_no_rows(unnamed, header)
    if not len(unnamed):
        raise TableError(subject, [_no_rows(dialect)])
    frame, notes = _frame(dialect, [unnamed[place].array for place in unnamed])
    notes = [
        *(note for note in dialect.notes if _is_of(frame, note)),
        *notes,
        *rows.notes,
        *_doubtful_cells(content, dialect, rows),
        *_encoding_notes(content, said=choices.encoding is not None),
    ]
    report = ReadReport(
        encoding=content.encoding,
        compression=content.compression,
        delimiter=twofold or rows.cut.delimiter,
        header_line=dialect.header_line,
        layout=dialect.layout,
        rows=len(frame),
        skipped=(*dialect.preamble, *rows.ragged, *no_rows.problems, *rows.left_out),
        skipped_count=len(dialect.preamble) + rows.ragged_count + no_rows.count + rows.left_out_count,
        quoting=str(rows.cut) if content.quoted_until > dialect.offset or rows.cut.quote != '"' else None,
        repaired=tuple(rows.mended),
        repaired_count=rows.mended_count,
        notes=tuple(notes),
        left_out=_left_out(rows, no_rows),
        first_line=dialect.first_line if are_lines(content, dialect, rows.count) else None,
    )
    return Table(name, frame, report)


def _is_of(frame: pd.DataFrame, note: str) -> bool:
    """Whether a note says something of this table: not if it is on a nameless column that is gone."""
    nameless = _NAMELESS.match(note)
    return nameless is None or nameless[1] in frame.columns


def _left_out(rows: _Rows, no_rows: LeftOut) -> tuple[tuple[int, int], ...]:
    """Return the records below the header that are no rows, up to the last row."""
    if not rows.out and not no_rows.count:
        return ()
    kept = np.delete(np.arange(rows.count), rows.out)
    left = np.delete(kept, no_rows.records)
    return runs_of(np.setdiff1d(np.arange(left[-1]), left, assume_unique=True))


def _noted(table: Table, choices: Choices, form: Form) -> Table:
    """Note which choices say nothing about a file of this form."""
    idle = [f"{name} (`--{name}`)" for name in choices.to_dict() if name not in form.choices]
    if not idle:
        return table
    kind = {"csv": "text", "json": "JSON", "xlsx": "a workbook"}.get(table.report.format, table.report.format.title())
    note = f"The file is {kind}, so the choice of {' and '.join(idle)} says nothing about it."
    return replace(table, report=replace(table.report, notes=(*table.report.notes, note)))


def _unpacked(path: Path, name: str, wanted: _Wanted) -> Table:
    """Read the table of a zip archive or of a workbook."""
    choices = wanted.choices
    several = _of_several(path, name, wanted)
    if several is not None:
        return several
    with TemporaryDirectory() as folder:
        inner, kind, note = unpacked(path, Path(folder), f"Table `{name}`", wanted.max_bytes, choices.sheet)
        if is_zip(inner):
            remedy = "Unpack it once."
            raise TableError(f"Table `{name}`", [Problem("the archive holds another archive", remedy)])
        own = Choices(delimiter=",", quoting="doubled", header=choices.header, rows=choices.rows)
        chosen = own if kind == "xlsx" else choices
        try:
            table = _read(inner, name, replace(wanted, choices=chosen))
        except TableError as error:
            raise _of_sheet(error, note) if kind == "xlsx" else error from None
    report = replace(table.report, notes=(note, *table.report.notes))
    if kind == "xlsx":
        report = replace(report, format=kind, delimiter=None, quoting=None, first_line=None)
        return _noted(replace(table, report=report), choices, Form.WORKBOOK)
    return replace(table, report=replace(report, compression="zip"))


def _of_several(path: Path, name: str, wanted: _Wanted) -> Table | None:
    """Read the files of an archive as one table, if they are several and all of the same columns."""
    from deepfm_core.tables.datasets.dataset import read_dataset

    def read(part: Path, own: str) -> Table:
        if is_zip(part):
            raise TableError(f"Table `{own}`", [Problem("the archive holds another archive", "Unpack it once.")])
        return _read(part, own, wanted)

    with TemporaryDirectory() as folder:
        names = members(path, Path(folder), f"Table `{name}`", wanted.max_bytes)
        if not names:
            return None
        try:
            table = read_dataset(Path(folder), name, read, wanted.max_bytes)
        except TableError as error:
            raise several_files(names, f"Table `{name}`", error) from error
    return replace(table, report=replace(table.report, files=(), compression="zip"))


def _of_sheet(error: TableError, note: str) -> TableError:
    """Say which sheet it is that cannot be read, and which others there are."""
    sheet, _, others = note.partition(". ")
    plain = [replace(problem, remedy="") if "delimiter" in problem.remedy else problem for problem in error.problems]
    return TableError(error.subject, [*plain, Problem(sheet[:1].lower() + sheet[1:].removesuffix("."), others)])


def _from_json(content: Content, name: str, wanted: _Wanted) -> Table:
    """Read objects of JSON."""
    with TemporaryDirectory() as folder:
        inner, note = from_json(content, Path(folder), f"Table `{name}`", wanted.fewest_columns)
        own = Choices(header=True, delimiter=",", quoting="doubled", rows=wanted.choices.rows)
        table = _read(inner, name, replace(wanted, max_bytes=None, choices=own))
    report = replace(
        table.report, format="json", encoding=content.encoding, compression=content.compression, delimiter=None
    )
    notes = (note, *report.notes) if note else report.notes
    return replace(table, report=replace(report, header_line=None, quoting=None, first_line=None, notes=notes))


def _first_bytes(path: Path, subject: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(ARROW_MAGIC))
    except FileNotFoundError as error:
        remedy = "Check the name and the folder."
        raise TableError(
            subject, [Problem("there is no such file", remedy, value=str(path.absolute()), how=LOOKED_FOR)]
        ) from error
    except OSError as error:
        reason, remedy = error.strerror or "cannot be opened", "Choose a file that you may read."
        raise TableError(
            subject, [Problem(f"the file cannot be read: {reason}", remedy, value=str(path.absolute()), how=FILE)]
        ) from error


@dataclass(frozen=True)
class _Rows:
    """The columns of a text, how it was cut, and what is to be said of its lines."""

    columns: list[pd.Categorical]
    cut: Cut
    ragged: list[Problem] = field(default_factory=list)
    ragged_count: int = 0
    left_out: list[Problem] = field(default_factory=list)
    left_out_count: int = 0
    mended: list[Problem] = field(default_factory=list)
    mended_count: int = 0
    notes: list[str] = field(default_factory=list)
    out: list[int] = field(default_factory=list)
    """The numbers of the records that are none of these rows, from 0."""

    @property
    def count(self) -> int:
        """The number of all records."""
        return len(self.columns[0]) + len(self.out)


def _rows(content: Content, dialect: Dialect, subject: str, *, every: bool = False) -> _Rows:
    """Take what the fast parser finds or, where it may be wrong, read the text record by record.

    With `every`, a record with too few cells is a row, too: the others are empty.
    """
    if dialect.cut.is_usual:
        parsed = _parsed(content, dialect, subject)
        sound = not doubts(content, dialect, parsed)
        if sound and (escaped := _with_backslashes(content, dialect, parsed)) is not None:
            again = repair(content, escaped, sound=True)
            return _rows_and(again.misfits, again.columns, escaped, again)
        if sound and not parsed.ragged:
            return _Rows(parsed.columns, dialect.cut)
        if sound and not every:
            found = misfits(content, dialect)
            if not found.restored_count and not too_many(found.ragged_count, parsed.rows):
                return _rows_and(found, parsed.columns, dialect, Repaired(dialect.cut, [], found))
    else:
        sound = is_sound_below(content, dialect)
    if not sound:
        refuse_doubts(content, dialect, subject)
    again = repair(content, dialect, sound=sound, every=every)
    return _rows_and(again.misfits, again.columns, dialect, again)


def _with_backslashes(content: Content, dialect: Dialect, parsed: Parsed) -> Dialect | None:
    """Return the dialect in which a backslash escapes quotes, if that is how all quotes in cells are written."""
    if not content.escapes or dialect.settled:
        return None
    escaped = replace(dialect, cut=replace(dialect.cut, escape=True))
    return escaped if all_escaped(parsed.columns) and is_sound_below(content, escaped) else None


def _rows_and(found: Misfits, columns: list[pd.Categorical], dialect: Dialect, again: Repaired) -> _Rows:
    count = found.empty_count + found.rule_count + len(found.footer) + sum(lines for _, lines in found.others)
    notes = [f"{found.restored_count:,} rows had empty cells too many or too few at their end."]
    return _Rows(
        columns,
        again.cut,
        ragged_rows(found.ragged, dialect, len(columns[0])),
        found.ragged_count,
        lines_left_out(found),
        count,
        mended_rows(again.mended, dialect),
        again.mended_count,
        notes if found.restored_count else [],
        found.places,
    )


def _parsed(content: Content, dialect: Dialect, subject: str) -> Parsed:
    try:
        return parse(content, dialect)
    except MemoryError:
        raise  # Arrow's is an ArrowException, too
    except pa.ArrowException as error:
        remedy = "Save the table again as CSV, with quotes around cells that contain delimiters or line ends."
        raise TableError(
            subject, [Problem("the rows cannot be separated", remedy, value=str(error), how=REASON)]
        ) from error


def _refuse(rows: _Rows, dialect: Dialect, subject: str, strict: bool) -> None:
    """Raise a TableError if many rows are ragged, or there is another reason not to go on."""
    problems, count = list[Problem](), len(rows.columns[0])
    if rows.ragged_count and (strict or too_many(rows.ragged_count, count)):
        problems += rows.ragged
    if count == 0 and not problems:
        problems.append(_no_rows(dialect))
    if problems:
        raise TableError(subject, problems)


def _no_rows(dialect: Dialect) -> Problem:
    return Problem(NO_ROWS, "Add rows below the header.", line=dialect.header_line)


def _doubtful_cells(content: Content, dialect: Dialect, rows: _Rows) -> list[str]:
    if content.quoted_until <= dialect.offset or are_lines(content, dialect, rows.count):
        return []
    if not (cells := swallowing(rows.columns, dialect)):
        return []
    shown = excerpt(cells[0].splitlines()[0])
    return [
        f"{len(cells):,} distinct quoted cells hold line ends and what may be rows, such as the one that begins "
        f"`{shown}`. If rows are missing, check its quotes."
    ]


def _frame(dialect: Dialect, columns: list[pd.Categorical]) -> tuple[pd.DataFrame, list[str]]:
    names, notes = list(dialect.columns), list[str]()
    if dialect.cut.spaced and dialect.cut.delimiter != " ":
        notes.append(_SPACE_REMOVED)
    if dialect.header_line is not None and (end := _empty_end(columns, dialect.unnamed_end)):
        columns, names = columns[:-end], names[:-end]
        notes.append("Every row ends with a delimiter; the empty column at the end was left out.")
        if len(columns) > 2 and dialect.header[:1] == ("",) and not any(map(str.strip, columns[0].categories)):
            columns, names = columns[1:], names[1:]
            notes.append("Every row begins with one, too; the empty column there was left out.")
    if all(_spaced(column) for column in columns[1:]) and all(name.startswith(" ") for name in names[1:]):
        drawn = all(map(_filled_up, columns[:-1])) and all(name.endswith(" ") for name in names[:-1])
        columns = [columns[0], *(_unspaced(column) for column in columns[1:])]
        names = [name.lstrip(" ") for name in names]
        notes.append(_SPACE_REMOVED)
        if drawn:
            columns, names = [_stripped(column) for column in columns], [name.strip(" ") for name in names]
            notes[-1] = "The spaces around cells, with which columns are aligned, were removed."
    return pd.DataFrame(dict(zip(names, columns, strict=True)), copy=False), notes


_NAMELESS = re.compile(r"Column \d+ has no name in line \d+; it is called `(.*)`\.$")
"""What `header.column_names` says of a column, and nobody needs to know of one that is left out."""


def _empty_end(columns: list[pd.Categorical], unnamed: int) -> int:
    """Return how many of the unnamed columns at the end are empty, and not needed for a table of two columns."""
    empty = takewhile(lambda column: not any(text.strip(" \t") for text in column.categories), reversed(columns))
    return min(unnamed, sum(1 for _ in empty), len(columns) - 2)


def _spaced(column: pd.Categorical) -> bool:
    return all(text.startswith(" ") or not text for text in column.categories)


def _filled_up(column: pd.Categorical) -> bool:
    return all(text.endswith(" ") for text in column.categories)


def _stripped(column: pd.Categorical) -> pd.Categorical:
    codes, categories = pd.factorize(column.categories.str.strip(" "))
    return pd.Categorical.from_codes(codes[column.codes], categories)


def _unspaced(column: pd.Categorical) -> pd.Categorical:
    codes, categories = pd.factorize(column.categories.str.lstrip(" "))
    return pd.Categorical.from_codes(codes[column.codes], categories)


def _encoding_notes(content: Content, *, said: bool) -> list[str]:
    if content.replaced:
        name = "UTF-8" if content.encoding.startswith("utf-8") else content.encoding
        return [f"{content.replaced:,} bytes are not valid {name}; they read as `\ufffd`."]
    if content.controls:
        count = f"{content.controls:,} control character{'s' if content.controls > 1 else ''}"
        return [
            f"The file is UTF-8, but {count} in it must have been marks or letters of Windows-1252, such as `’`; they "
            "were read as these. To keep them, say that it is UTF-8 (`--encoding utf-8`)."
        ]
    if not said and not content.encoding.startswith("utf-"):
        return [
            f"The file is not UTF-8. It was read as {content.encoding}; if letters look wrong, choose its encoding "
            "(`--encoding` on the command line)."
        ]
    return []
