"""Find rows that do not fit their header, and quotes that are never closed, with line numbers as an editor shows them.

The fast parser only counts ragged rows. If there are any, these functions read the text again, row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from io import TextIOWrapper

from deepfm_core.errors import Problem
from deepfm_core.tables.decoding import Content
from deepfm_core.tables.dialect import Dialect, Record, records

SHOWN = 1000
"""Problems that are kept of a table; the others are only counted."""


def too_many(ragged: int, rows: int) -> bool:
    """Return whether so many rows are ragged that leaving them out would change the table.

    Up to 5% of the rows may be ragged. In small tables up to ten rows may be, if they are fewer than half.
    """
    return ragged * 20 > ragged + rows and (ragged > 10 or ragged >= rows)


def ragged_rows(content: Content, dialect: Dialect, rows: int) -> list[Problem]:
    """Find the first `SHOWN` rows whose number of values differs from the number of columns.

    If no row fits (`rows` is 0) and all have the same number of values, the header is wrong: that is one problem.
    """
    width = len(dialect.columns)
    misfits = (record for record in _rows(content, dialect) if len(record.cells) != width)
    ragged = [record for record, _ in zip(misfits, range(SHOWN), strict=False)]
    widths = Counter(len(record.cells) for record in ragged)
    if rows == 0 and len(ragged) > 1 and len(widths) == 1:
        return [_wrong_header(dialect, ragged)]
    return [_ragged(record, dialect) for record in ragged]


def unclosed_quote(content: Content, dialect: Dialect) -> Problem:
    """Find the quote that is still open at the end of the text."""
    last = Record(dialect.first_line, dialect.first_line, [""])
    for record in _rows(content, dialect):
        last = record
    # The open cell is the last of the last record; cells before it may contain line ends of their own.
    line = last.line + sum(cell.count("\n") or cell.count("\r") for cell in last.cells[:-1])
    place = min(len(last.cells), len(dialect.columns)) - 1
    return Problem(
        "a quoted cell begins here and is never closed",
        'Close it with `"`. If the `"` belongs to the text, double it and quote the cell.',
        line=line,
        column=dialect.columns[place],
        value=excerpt(last.cells[-1]),
    )


def _rows(content: Content, dialect: Dialect) -> Iterator[Record]:
    with closing(content.open()) as stream:
        stream.read(dialect.offset)
        lines = TextIOWrapper(stream, encoding="utf-8", newline="")
        yield from records(lines, dialect.delimiter, dialect.first_line)


def _ragged(record: Record, dialect: Dialect) -> Problem:
    values, width = len(record.cells), len(dialect.columns)
    if record.last_line > record.line:
        remedy = (
            f"The row continues to line {record.last_line}: close the quote that was left open, or add missing values."
        )
    elif values < width:
        remedy = "Add the missing values. An empty cell needs its delimiter, too."
    else:
        remedy = f'Put `"` around a cell with the delimiter `{dialect.delimiter}` in it, or remove the extra values.'
    message = f"{values} value{'s' if values > 1 else ''} where {_expected(dialect)} {width}"
    return Problem(message, remedy, line=record.line, value=excerpt(dialect.delimiter.join(record.cells)))


def _wrong_header(dialect: Dialect, rows: list[Record]) -> Problem:
    values, width = len(rows[0].cells), len(dialect.columns)
    remedy = "Add the missing names to the header line."
    if values < width:
        remedy = "Remove the surplus names from the header line."
    elif values == width + 1 and not any(row.cells[-1] for row in rows):
        remedy = f"Remove the `{dialect.delimiter}` at the end of every row, or add one to the header line."
    message = f"every row has {values} values where {_expected(dialect)} {width}"
    return Problem(message, remedy, line=dialect.header_line)


def _expected(dialect: Dialect) -> str:
    return "the Criteo layout has" if dialect.layout else "the header has"


def excerpt(text: str) -> str:
    """Shorten a row to 80 characters, for a message."""
    return text if len(text) <= 80 else text[:79] + "…"
