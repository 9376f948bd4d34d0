"""A text of one column: rows to be answered by a run that has one field. No delimiter tells its lines apart."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import closing
from io import TextIOWrapper

import pandas as pd

from deepfm_core.data.decoding import Content
from deepfm_core.data.ragged import SHOWN, excerpt
from deepfm_core.data.table import ReadReport, Table
from deepfm_core.errors import Problem, TableError

_COMMENT = ("#", "//")


def read_one_column(content: Content, column: str, name: str) -> Table | None:
    """Read a text whose header line is the one name `column`; an empty cell is written `""`, as elsewhere.

    Blank lines are left out, and comment lines above the header.

    Returns:
        None where the header holds anything else or cannot be read, or where the first row holds several values: a
        table like others.

    Raises:
        TableError: there are no rows, a row holds a second value, or a quoted cell is not closed or goes on.
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
                remedy = 'Quote a cell that holds a comma with `"`, or remove what is too much.'
                message = f"{len(cells)} values where the header has 1"
                problems.append(Problem(message, remedy, line=line, value=excerpt(",".join(cells))))
            texts.append(cells[0])
    except csv.Error as error:
        problems.append(_malformed(error, column, last + 1 if last else None))
    if not texts and not problems:
        problems.append(Problem("the table has no rows", "Add rows below the header."))
    if problems:
        raise TableError(f"Table `{name}`", problems)
    frame = pd.DataFrame({column: pd.Categorical(texts)})
    report = ReadReport(encoding=content.encoding, compression=content.compression, rows=len(frame))
    return Table(name, frame, report)


def _malformed(error: csv.Error, column: str, line: int | None) -> Problem:
    """Say what is wrong with the quotes of the cell that begins on `line`."""
    if "unexpected end" in str(error):
        return Problem("a quoted cell is never closed", 'Close it with `"`.', line=line, column=column)
    remedy = 'Write a quote within a quoted cell twice, `""`, or leave the quotes around it out.'
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
