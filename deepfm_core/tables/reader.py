"""Read any table a user has as text: CSV in its many forms, or Parquet.

Start with `read_table`; export.py writes tables.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from deepfm_core.errors import FILE, LOOKED_FOR, Problem, TableError
from deepfm_core.tables.containers import Form, from_json, is_json, is_zip, members, several_files, unpacked
from deepfm_core.tables.datasets.dataset import is_dataset
from deepfm_core.tables.decoding import Content, refuse_size, survey
from deepfm_core.tables.parquet import ARROW_MAGIC, MAGIC, read_arrow, read_parquet
from deepfm_core.tables.row_errors import SHOWN, excerpt
from deepfm_core.tables.table import FOUND, NO_ROWS, Choices, ReadReport, Table
from deepfm_core.tables.texts.text import read_text

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
    head = first_bytes(path, subject)
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
    table = read_text(content, name, wanted.choices, strict=wanted.strict)
    return _noted(table, wanted.choices, Form.TEXT)


def _noted(table: Table, choices: Choices, form: Form) -> Table:
    """Note which choices say nothing about a file of this form."""
    return replace(table, report=noted(table.report, choices, form))


def noted(report: ReadReport, choices: Choices, form: Form) -> ReadReport:
    """Add to a report which choices say nothing about a file of this form."""
    idle = [f"{name} (`--{name}`)" for name in choices.to_dict() if name not in form.choices]
    if not idle:
        return report
    kind = {"csv": "text", "json": "JSON", "xlsx": "a workbook"}.get(report.format, report.format.title())
    note = f"The file is {kind}, so the choice of {' and '.join(idle)} says nothing about it."
    return replace(report, notes=(*report.notes, note))


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
        table = _read(inner, name, replace(wanted, max_bytes=None, choices=choices_of_json(wanted.choices)))
    return replace(table, report=report_of_json(table.report, content, note))


def choices_of_json(choices: Choices) -> Choices:
    """Say how the CSV is read that `from_json` writes."""
    return Choices(header=True, delimiter=",", quoting="doubled", rows=choices.rows)


def report_of_json(report: ReadReport, content: Content, note: str) -> ReadReport:
    """Make the report of a file of JSON from that of the CSV which `from_json` wrote."""
    notes = (note, *report.notes) if note else report.notes
    report = replace(report, format="json", encoding=content.encoding, compression=content.compression, delimiter=None)
    return replace(report, header_line=None, quoting=None, first_line=None, notes=notes)


def first_bytes(path: Path, subject: str) -> bytes:
    """Return the first bytes of a file, or say in a sentence why it cannot be read."""
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
