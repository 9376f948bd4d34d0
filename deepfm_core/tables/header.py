"""Tell a header from a row, and give every column a name of its own: start with `is_header` and `column_names`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from deepfm_core.errors import Problem
from deepfm_core.tables.records import Record
from deepfm_core.tables.table import Table, is_missing

_MOSTLY = 0.9
_FEWEST_BELOW = 3
"""Records below a header of several lines, from which these are told from rows."""
_MANY_ROWS = 20
"""Rows from which a first line whose every text stands below it again is taken for one of them."""


def is_value(text: str) -> bool:
    """Return whether a text is a number, a date or a time, which names of columns are not."""
    return re.fullmatch(r"\s*[-+]?[.\d][\d.,eE+:/TZ -]*\s*", text) is not None


def is_header(first: Record, below: Sequence[Record]) -> bool:
    """Return whether a record names the columns of the records below, rather than being one of them."""
    cells = [cell for cell in first.cells if cell.strip()]
    if not below or not cells or stands_out(first, below) or _is_heading(first, below):
        return True
    numbers, pairs = [cell for cell in cells if is_value(cell)], _over_columns(first, below)
    if _counts_up(numbers):
        return True
    if any(is_value(cell) and _of_values(column) for cell, column in pairs):
        return False
    return not numbers and not (len(below) >= _MANY_ROWS and all(cell in column for cell, column in pairs))


def stands_out(first: Record, below: Sequence[Record]) -> bool:
    """Return whether a record has a text above a column of numbers, dates or times."""
    return any(
        not is_value(cell) and not is_missing(cell) and _of_values(column)
        for cell, column in _over_columns(first, below)
    )


def could_be_names(record: Record, width: int) -> bool:
    """Return whether a record may name `width` columns although it has not as many cells."""
    names = [cell for cell in record.cells if cell.strip()]
    if len(names) < 2 or any(map(is_value, names)):
        return False
    beside_row_names = len(names) == width - 1  # as R writes them; only there may a name stand twice
    return beside_row_names or (len(set(names)) == len(names) and width <= 2 * len(names) <= 2.5 * width + 2)


def is_title(record: Record, below: Sequence[Record]) -> bool:
    """Return whether a record is a title above the table, as spreadsheets export it: `Clicks in May,,`."""
    if len(record.cells) < 2:
        return True
    under = next((i for i, one in enumerate(below) if _held(one) > 1), None)
    labelled = _held(record) == 2 and record.cells[0].rstrip().endswith(":") and len(record.cells) > 3
    if (_held(record) > 1 and not labelled) or under is None:
        return False
    if _is_heading(below[under], below[under + 1 :]):
        under += 1
    elif any(map(is_value, below[under].cells)):
        return False
    names, rows = below[under], _rows_below(below[under], below[under + 1 :])
    if any(cell in column for cell, column in _over_columns(names, rows)):
        return False  # that is a row: its texts stand below again
    return len(record.cells) > 2 or stands_out(names, rows)


def _rows_below(names: Record, below: Sequence[Record]) -> list[Record]:
    """Return the records that are not these names once more, nor stand right below a title of their own."""
    above = [names, *below]
    return [
        record
        for record, before in zip(below, above, strict=False)
        if record.cells != names.cells and not is_alone(before.cells)
    ]


def is_alone(cells: Sequence[str]) -> bool:
    """Return whether the first of several cells is the only one that is not blank."""
    return len(cells) > 1 and bool(cells[0].strip()) and not any(cell.strip() for cell in cells[1:])


def _is_heading(record: Record, below: Sequence[Record]) -> bool:
    """Return whether a record heads some of the names below it, such as years: `,,2019,2020` above `a,b,c,c`."""
    if record.cells[0].strip() or 2 * _held(record) > len(record.cells) or not below:
        return False
    names = below[0].cells
    full = len(names) == len(record.cells) and all(map(str.strip, names)) and not any(map(is_value, names))
    return full and stands_out(below[0], below[1:])


def _held(record: Record) -> int:
    """Return how many cells of a record are not blank."""
    return sum(bool(cell.strip()) for cell in record.cells)


def over_several_lines(first: Record, below: Sequence[Record], most: int = 3) -> Record | None:
    """Join a header to the lines below it, `most` in all, where these name what the first spans; None where not.

    Spreadsheets write `date,travel,,total` above `,air,rail,`. Joined it is `date,travel air,travel rail,total`.
    """
    if len(below) < _FEWEST_BELOW or len(below[0].cells) != len(first.cells):
        return None
    if _is_heading(first, below):
        return _completed(_joined(first.cells, first, below[0]), below[1:])
    lower = over_several_lines(below[0], below[1:], most - 1) if most > 2 else None
    if lower is not None and (joined := _over_two(first, [lower, *_after(lower, below)])) is not None:
        return joined
    return _over_two(first, below)


def _after(header: Record, below: Sequence[Record]) -> list[Record]:
    return [record for record in below if record.line > header.last_line]


def _over_two(first: Record, below: Sequence[Record]) -> Record | None:
    if len(below) < _FEWEST_BELOW or any(map(is_value, first.cells + below[0].cells)):
        return None
    upper, lower, spanned = first.cells, below[0].cells, list[str]()
    for cell, under in zip(upper, lower, strict=True):
        spanned.append(spanned[-1] if not cell.strip() and under.strip() and spanned else cell)
    alone = zip(upper, [*upper[1:], "end"], lower, strict=True)
    if _repeats(upper) and all(map(str.strip, lower)) and len(set(lower)) == len(lower):
        return _joined(upper, first, below[0]) if _names_more(below[0], below[1:], filled="" in upper) else None
    if spanned == upper or any(cell.strip() and after.strip() and under.strip() for cell, after, under in alone):
        return None  # a name that spans nothing has nothing below it, so that is a row
    if not (stands_out(below[0], below[1:]) or _completes(first, below)):
        return None
    return _joined(spanned, first, below[0])


def _repeats(names: Sequence[str]) -> bool:
    """Return whether a name stands above each of the columns next to each other that it spans, as pandas writes it."""
    return any(name.strip() and name == after for name, after in pairwise(names))


def _names_more(lower: Record, below: Sequence[Record], *, filled: bool) -> bool:
    """Return whether a full line below names that repeat has names, too: a row may have texts above numbers as well.

    None of them stands below again. Half of them stand above values, unless the upper line has gaps as groups have.
    """
    columns = _over_columns(lower, below)
    if not stands_out(lower, below) or any(is_missing(cell) or cell in column for cell, column in columns):
        return False
    return filled or 2 * sum(_of_values(column) for _, column in columns) >= len(columns)


def _joined(upper: Sequence[str], first: Record, last: Record) -> Record:
    cells = [f"{cell.strip()} {under.strip()}".strip() for cell, under in zip(upper, last.cells, strict=True)]
    return Record(first.line, last.last_line, cells)


def _completed(names: Record, below: Sequence[Record]) -> Record:
    """Add a line that says more of some names, such as `,,,restated`: texts above numbers, and no first cell."""
    if not below or below[0].cells[0].strip() or 2 * _held(below[0]) > len(names.cells):
        return names
    held = _over_columns(below[0], below[1:])
    more = all(not is_value(cell) and not is_missing(cell) and _of_values(column) for cell, column in held)
    return _joined(names.cells, names, below[0]) if more else names


def _completes(first: Record, below: Sequence[Record]) -> bool:
    """Return whether the record below `first` is blank where rows begin, and has several names in gaps of `first`."""
    gaps = [
        under for cell, under in zip(first.cells, below[0].cells, strict=True) if not cell.strip() and under.strip()
    ]
    begun = sum(bool(record.cells[0].strip()) for record in below[1:])
    return len(gaps) > 1 and not below[0].cells[0].strip() and 2 * begun > len(below[1:])


def _over_columns(first: Record, below: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Pair the cells of a record that are not blank with the columns below them."""
    columns = [[record.cells[i] for record in below if i < len(record.cells)] for i in range(len(first.cells))]
    return [(cell, column) for cell, column in zip(first.cells, columns, strict=True) if cell.strip()]


def _of_values(column: Sequence[str]) -> bool:
    held = [cell for cell in column if not is_missing(cell)]
    return bool(held) and sum(map(is_value, held)) >= _MOSTLY * len(held)


def _counts_up(numbers: Sequence[str]) -> bool:
    """Return whether names are numbers that count, such as 0, 1, 2 or 2019, 2020."""
    if len(numbers) < 2 or not all(re.fullmatch(r"\s*\d{1,4}\s*", number) for number in numbers):
        return False
    values = [int(number) for number in numbers]
    return values == list(range(values[0], values[0] + len(values))) and (values[0] < 2 or values[0] > 1000)


@dataclass(frozen=True)
class Names:
    """A name for each column, and what is to be said of them."""

    columns: tuple[str, ...]
    unnamed_end: int = 0
    """How many columns at the end have no name of their own."""
    notes: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    """The header's cells, one for each column."""


def header_doubt(table: Table) -> list[Problem]:
    """Say why a table lacks a column by name, if it was read without a header line; nothing else."""
    names, line = [str(name) for name in table.frame.columns], table.report.header_line
    if line is not None or names != [f"column {number}" for number in range(1, len(names) + 1)]:
        return []
    remedy = "If its first line is the header, say so (`--header yes`). Else write a line with names above it."
    return [Problem("the file was read without a header line, so its columns are called `column 1` and so on", remedy)]


def numbered_names(width: int, line: int, *, said: bool = False) -> Names:
    """Name the columns of a table without a header; a note says so unless a person has `said` it."""
    note = (
        f"Line {line} reads like a row, not like a header, so the columns are called `column 1`, `column 2` and so on. "
        "If it is the header, say so (`--header yes`)."
    )
    return Names(tuple(f"column {i}" for i in range(1, width + 1)), width, () if said else (note,))


def column_names(header: Record, below: Sequence[Record], width: int) -> Names:
    """Name `width` columns by a header that may have a name too many or too few, or a name twice."""
    cells, notes = _fitted(header, below, width)
    end = next((i for i, cell in enumerate(reversed(cells)) if cell.strip()), len(cells))
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = cell if cell.strip() else f"column {number}"
        while name in names or (not cell.strip() and name in cells):
            name = _numbered(cell, [*names, *cells]) if cell.strip() else name + "'"
        if not cell.strip():
            notes.append(f"Column {number} has no name in line {header.line}; it is called `{name}`.")
        elif name != cell:
            said = f"The name `{cell}` stands in line {header.line} again; column {number} is called `{name}`."
            notes.append(f"{said} Only their order tells them apart, so keep it in tables to score.")
        names.append(name)
    if all(is_value(cell) for cell in cells if cell.strip()):
        notes.append(
            f"Line {header.line} was taken as the header, but it holds numbers. If it is a row, say so (`--header no`)."
        )
    return Names(tuple(names), end, tuple(notes), tuple(cells))


def _numbered(name: str, taken: Sequence[str]) -> str:
    number = 2
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"


def _fitted(header: Record, below: Sequence[Record], width: int) -> tuple[list[str], list[str]]:
    """Return `width` cells of a header, and what was done to them."""
    cells = header.cells
    surplus = cells[width:]
    if len(cells) >= width:
        if not any(cell.strip() for cell in surplus):
            return cells[:width], []
        said = ", ".join(f"`{cell}`" for cell in surplus)
        note = f"Line {header.line} has {len(cells)} names where rows have {width} values; {said} was left out."
        return cells[:width], [note]
    note = f"Line {header.line} has {len(cells)} names where rows have {width} values; "
    first = [record.cells[0] for record in below if len(record.cells) == width]
    ends_empty = not any(record.cells[-1].strip() for record in below if len(record.cells) == width)
    if len(cells) == width - 1 and not ends_empty and len(first) > 1 and len(set(first)) == len(first):
        return ["", *cells], [note + "the first column, whose values all differ, was taken for row names."]
    blank = [""] * (width - len(cells))
    return [*cells, *blank], [] if ends_empty else [note + "the columns at the end have none."]
