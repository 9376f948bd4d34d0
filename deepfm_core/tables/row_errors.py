"""Describe rows that do not fit their header, and rows whose quotes were mended, with lines as an editor shows them.

The fast parser only counts ragged rows. If there are any, these functions read the text again, row by row.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from deepfm_core.errors import NOTHING_TO_DO, Problem
from deepfm_core.tables.decoding import Content
from deepfm_core.tables.dialect import Dialect
from deepfm_core.tables.records import Misfits, Record, records
from deepfm_core.tables.repair import lines_below

SHOWN = 1000
"""Problems that are kept of a table; the others are only counted."""

LISTED = 5
"""Rows that are listed even if they are most rows of a table; of a text that is no table, more differ."""


def misfits(content: Content, dialect: Dialect) -> Misfits:
    """Find the records of a text whose quotes are well-formed that differ from the header in their number of cells."""
    found = Misfits(len(dialect.columns), SHOWN)
    with lines_below(content, dialect) as lines:
        deque(found.apart(records(lines, dialect.cut, dialect.first_line)), maxlen=0)
    return found


def lines_left_out(found: Misfits) -> list[Problem]:
    """Describe the misfits that are no rows: empty records, and lines of text below the last row."""
    rules = "1 line drawn between rows was" if found.rule_count == 1 else f"{found.rule_count:,} drawn lines were"
    empty = f"{found.empty_count:,} empty records of another number of cells were left out"
    return [
        *([Problem(empty, NOTHING_TO_DO)] if found.empty_count else []),
        *([Problem(f"{rules} left out", NOTHING_TO_DO)] if found.rule_count else []),
        *(_other_table(first, count) for first, count in found.others),
        *(
            Problem("the line stands below the table", NOTHING_TO_DO, line=record.line, value=excerpt(record.cells[0]))
            for record in found.footer
        ),
    ]


def _other_table(first: Record, count: int) -> Problem:
    message = f"another table of {count:,} lines and {len(first.cells)} columns begins here; the larger one was read"
    return Problem(message, "Put it into a file of its own to read it.", line=first.line, value=first.cells[0])


def ragged_rows(found: Iterable[Record], dialect: Dialect, rows: int) -> list[Problem]:
    """Describe the first `SHOWN` rows whose number of values differs from the number of columns.

    Where all rows have the same other number of values (`rows` is 0), the header is wrong: that is one problem. So it
    is where most rows differ, each in its own way, as in a text that is no table.
    """
    ragged = [record for record, _ in zip(found, range(SHOWN), strict=False)]
    widths = Counter(len(record.cells) for record in ragged)
    if rows == 0 and len(ragged) > 1 and len(widths) == 1:
        return [_wrong_header(dialect, ragged)]
    if len(ragged) > max(rows, LISTED) and len(widths) > 1:
        return [_no_table(dialect, ragged, rows)]
    return [_ragged(record, dialect) for record in ragged]


def mended_rows(found: Iterable[Record], dialect: Dialect) -> list[Problem]:
    """Describe the first `SHOWN` rows whose quotes are not well-formed, and which were read all the same."""
    remedy = 'Nothing to do if its cells look right. Double a quote inside a quoted cell (`""`) to be sure.'
    message = "a quote is not closed or not doubled; the row was cut by the number of its values"
    return [
        Problem(message, remedy, line=record.line, value=_shown(record, dialect))
        for record, _ in zip(found, range(SHOWN), strict=False)
    ]


def _ragged(record: Record, dialect: Dialect) -> Problem:
    values, width = len(record.cells), len(dialect.columns)
    if record.last_line > record.line:
        remedy = (
            f"The row continues to line {record.last_line}: close the quote that was left open, or add missing values."
        )
    elif values < width:
        remedy = "Add the missing values. An empty cell needs its delimiter, too."
    else:
        remedy = (
            f'Put `"` around a cell with the delimiter `{dialect.cut.delimiter}` in it, or remove the extra values.'
        )
    message = f"{values} value{'s' if values > 1 else ''} where {_expected(dialect)} {width}"
    return Problem(message, remedy, line=record.line, value=_shown(record, dialect))


def _shown(record: Record, dialect: Dialect) -> str:
    return excerpt(dialect.cut.delimiter.join(record.cells))


def _wrong_header(dialect: Dialect, rows: list[Record]) -> Problem:
    values, width = len(rows[0].cells), len(dialect.columns)
    remedy = "Add the missing names to the header line."
    if values < width:
        remedy = "Remove the surplus names from the header line."
    elif values == width + 1 and not any(row.cells[-1] for row in rows):
        remedy = f"Remove the `{dialect.cut.delimiter}` at the end of every row, or add one to the header line."
    message = f"every row has {values} values where {_expected(dialect)} {width}"
    return Problem(message, remedy, line=dialect.header_line)


def _no_table(dialect: Dialect, ragged: list[Record], rows: int) -> Problem:
    lines = rows + len(ragged)
    fitting = f"only {rows:,} of {lines:,}" if rows else f"none of {lines:,}"
    first = "a line of the Criteo layout" if dialect.layout else "the line that is taken for the header"
    message = f"it does not look like a table: {fitting} lines have {len(dialect.columns)} cells, like {first}"
    remedy = "Give each row a line, with as many cells as there are columns. If this is a table, say how its cells are "
    return Problem(message, remedy + "separated (`--delimiter`) and which line holds the names (`--header`).")


def _expected(dialect: Dialect) -> str:
    return "the Criteo layout has" if dialect.layout else "the header has"


def excerpt(text: str) -> str:
    """Shorten a row to 80 characters, for a message."""
    return text if len(text) <= 80 else text[:79] + "…"
