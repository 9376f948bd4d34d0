"""Read a text whose quotes are in doubt: find how they are meant, and put each row into its own record.

Start with `doubts`, which looks at what the fast parser made of the text, and `repair`, which reads it line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deepfm_core.errors import Problem, TableError
from deepfm_core.tables.csv_parser import Coded, Parsed, categorical
from deepfm_core.tables.decoding import Content
from deepfm_core.tables.dialect import Dialect
from deepfm_core.tables.records import Cut, Misfits, Record, first_unsound, is_sound, mended_records, records

_PIECE = 1 << 20
"""Bytes that are looked at for quotes at a time."""
_BATCH = 50_000
"""Records that are turned into columns at a time."""
MOST_DOUBTED = 3_000_000
"""Lines of a text that are read one by one, since its quotes are not well-formed: in half a minute or so."""
_WEIGHED = 200_000
KEPT = 1000
"""Records that are kept for messages."""


def doubts(content: Content, dialect: Dialect, parsed: Parsed) -> bool:
    """Return whether quotes that are not well-formed may have cut a text in the wrong places.

    They are looked at where there are signs of it: a quote that is never closed, ragged rows beside quotes, a backslash
    before a quote, a quote in a cell, or a cell whose line ends may be those of rows.
    """
    if content.quoted_until <= dialect.offset:
        return False
    signs = not parsed.closed or parsed.ragged > 0 or content.escapes or _quotes_in_cells(parsed.columns)
    if not signs and (are_lines(content, dialect, parsed.rows) or not swallowing(parsed.columns, dialect)):
        return False
    return not is_sound_below(content, dialect)


def are_lines(content: Content, dialect: Dialect, count: int) -> bool:
    """Return whether each of `count` records is a line of its own, so that no cell holds a line end."""
    return count == content.lines - dialect.first_line + 1


def _quotes_in_cells(columns: Sequence[pd.Categorical]) -> bool:
    return any(
        pc.any(pc.match_substring(pa.array(column.categories, pa.large_string()), '"')).as_py() for column in columns
    )


def all_escaped(columns: Sequence[pd.Categorical]) -> bool:
    """Return whether there are quotes in cells, and a backslash stands before each of them: `say \\"hi\\"`."""
    found = False
    for column in columns:
        texts = pa.array(column.categories, pa.large_string())
        held = texts.filter(pc.match_substring(texts, '"'))
        if pc.any(pc.match_substring_regex(held, r'(^|[^\\])"')).as_py():
            return False
        found = found or len(held) > 0
    return found


def swallowing(columns: Sequence[pd.Categorical], dialect: Dialect) -> list[str]:
    """Return the cells whose line ends may be those of rows, since each line has a row's number of delimiters."""
    return [text for place, column in enumerate(columns) for text in swallowing_of(column, place, dialect)]


def swallowing_of(column: pd.Categorical, place: int, dialect: Dialect) -> list[str]:
    """Return those of the column that stands in a place."""
    width = len(dialect.columns)
    found = _with_line_ends(column)
    return [text for text in found if _is_rows(text.splitlines(), dialect.cut.delimiter, place, width)]


def _with_line_ends(column: pd.Categorical) -> list[str]:
    texts = pa.array(column.categories, pa.large_string())
    found: list[str] = texts.filter(pc.match_substring_regex(texts, "[\n\r]")).to_pylist()
    return found


def _is_rows(lines: Sequence[str], delimiter: str, place: int, width: int) -> bool:
    """Return whether a cell in column `place` begins in one row of `width` cells and ends in another."""
    if len(lines) < 2:
        return False
    first, *between, last = (line.count(delimiter) for line in lines)
    ends = first == width - 1 - place and last == place
    return ends and all(count == width - 1 for count in between if count)


@dataclass
class Repaired:
    """A text as rows of its own width, and what was done to its lines."""

    cut: Cut
    columns: list[pd.Categorical]
    misfits: Misfits
    mended_count: int = 0
    mended: list[Record] = field(default_factory=list)
    """The first records whose quotes are not well-formed."""
    rows: int = 0
    """How many rows there are."""


Gather = Callable[[Iterator[list[Coded]], int], tuple[list[pd.Categorical], int]]
"""Takes the pieces of so many columns; returns the columns, and the number of their rows."""


def in_memory(pieces: Iterator[list[Coded]], width: int) -> tuple[list[pd.Categorical], int]:
    """Join the pieces of the columns."""
    parts: list[list[Coded]] = [[] for _ in range(width)]
    for piece in pieces:
        for part, own in zip(parts, piece, strict=True):
            part.append(own)
    columns = [categorical(part or [_coded(())]) for part in parts]
    return columns, len(columns[0])


def repair(
    content: Content, dialect: Dialect, *, sound: bool, every: bool = False, gather: Gather = in_memory
) -> Repaired:
    """Read a text record by record; unless its quotes are `sound`, by the quoting that cuts it most evenly.

    Rows that are too short are filled up with empty cells where they are many, and these are what they seem to lack;
    all that are too short with `every`.
    """
    cut = dialect.cut if sound or dialect.settled else _most_even(content, dialect)
    if every:
        return _read(content, dialect, cut, gather, sound=sound, padded=True, every=True)
    first = _read(content, dialect, cut, gather, sound=sound, padded=False)
    many = too_many(first.misfits.ragged_count, first.rows)
    return _read(content, dialect, cut, gather, sound=sound, padded=True) if many and first.misfits.pads else first


def too_many(ragged: int, rows: int) -> bool:
    """Return whether so many rows are ragged that leaving them out would change the table.

    Up to 5% of the rows may be ragged. In small tables up to ten rows may be, if they are fewer than half.
    """
    return ragged * 20 > ragged + rows and (ragged > 10 or ragged >= rows)


def _read(
    content: Content, dialect: Dialect, cut: Cut, gather: Gather, *, sound: bool, padded: bool, every: bool = False
) -> Repaired:
    width = len(dialect.columns)
    repaired = Repaired(cut, [], Misfits(width, KEPT, padded=padded, every=every))
    fitting = repaired.misfits.apart(read_lines(content, dialect, cut, sound=sound))
    repaired.columns, repaired.rows = gather(_pieces(_noting(fitting, repaired)), width)
    return repaired


def _most_even(content: Content, dialect: Dialect) -> Cut:
    doubled, bare = replace(dialect.cut, escape=False), replace(dialect.cut, quote=None)
    cuts = [doubled, replace(doubled, escape=True), bare] if content.escapes else [doubled, bare]
    costs = {cut: _cost(content, dialect, cut) for cut in cuts}
    return min(costs, key=lambda cut: costs[cut])


def is_sound_below(content: Content, dialect: Dialect) -> bool:
    """Return whether all quotes below the header are well-formed."""
    if dialect.cut.is_usual and _quotes_are_at_ends(content, dialect):
        return True  # most files, and in a tenth of the time
    with lines_below(content, dialect) as lines:
        return is_sound(lines, dialect.cut)


def refuse_doubts(content: Content, dialect: Dialect, subject: str) -> None:
    """Refuse a text whose quotes are not well-formed, and that is too long to read line by line.

    Raises:
        TableError: it has more lines than `MOST_DOUBTED`.
    """
    if content.lines <= MOST_DOUBTED:
        return
    with lines_below(content, dialect) as lines:
        line = first_unsound(lines, dialect.cut, dialect.first_line)
    message = "a quote is not closed or not doubled, and the file has too many lines to mend it"
    remedy = (
        'Close it, or double a quote inside a quoted cell (`""`).'
        " If quotes mean nothing in this file, choose no quotes (`--quoting none`)."
    )
    raise TableError(subject, [Problem(message, remedy, line=line, value=f"{content.lines:,} lines")])


def _quotes_are_at_ends(content: Content, dialect: Dialect) -> bool:
    """Return whether every other quote begins a cell and the next one ends it, but for quotes that are doubled.

    Then they are well-formed. If not, they may still be: a cell without quotes around it may hold some.
    """
    ends = np.zeros(256, bool)
    ends[[ord(mark) for mark in (dialect.cut.delimiter, '"', "\r", "\n")]] = True
    seen, rest, more = 0, b"\n", True
    with closing(content.open()) as stream:
        stream.read(dialect.offset)
        while more:
            piece = stream.read(_PIECE)
            more = bool(piece)
            text = np.frombuffer(rest + (piece or b"\n"), np.uint8)
            places = np.flatnonzero(text[1:-1] == ord('"')) + 1
            begins = seen % 2  # the first quote here that begins a cell
            if not (ends[text[places[begins::2] - 1]].all() and ends[text[places[1 - begins :: 2] + 1]].all()):
                return False
            seen += len(places)
            rest = text[-2:].tobytes()  # a quote is judged with the bytes on both of its sides
    return seen % 2 == 0


def read_lines(content: Content, dialect: Dialect, cut: Cut, *, sound: bool = False) -> Iterator[Record]:
    """Yield the records below the header; unless its quotes are sound, each line a row wherever that fits."""
    with lines_below(content, dialect) as lines:
        if sound:
            yield from records(lines, cut, dialect.first_line)
        else:
            yield from mended_records(lines, cut, len(dialect.columns), dialect.first_line)


@contextmanager
def lines_below(content: Content, dialect: Dialect) -> Iterator[TextIOWrapper]:
    """Open a text at its first row, to read it line by line with the line ends kept."""
    with closing(content.open()) as stream:
        stream.read(dialect.offset)
        yield TextIOWrapper(stream, encoding="utf-8", newline="")


def _cost(content: Content, dialect: Dialect, cut: Cut) -> float:
    """Weigh how badly a quoting fits: rows of another width count most, then repaired ones, then joined lines.

    Of a long text it looks at `_WEIGHED` records from the first one that has a cost.
    """
    width, quote = len(dialect.columns), dialect.cut.quote or '"'
    cost, left = 0.0, _WEIGHED
    for record in read_lines(content, dialect, cut):
        left -= cost > 0
        if not left:
            break
        if len(record.cells) != width:
            cost += 1
        elif record.repaired:
            cost += 0.5
        elif record.last_line > record.line:
            cost += 0.1
        if cut.quote is None and any(cell.startswith(quote) for cell in record.cells):
            cost += 0.75
    return cost


def _noting(found: Iterable[Record], repaired: Repaired) -> Iterator[list[str]]:
    for record in found:
        if record.repaired:
            repaired.mended_count += 1
            if len(repaired.mended) < KEPT:
                repaired.mended.append(record)
        yield record.cells


def _pieces(rows: Iterator[list[str]]) -> Iterator[list[Coded]]:
    while batch := list(islice(rows, _BATCH)):
        yield [_coded(texts) for texts in zip(*batch, strict=True)]


def _coded(texts: Sequence[str]) -> Coded:
    encoded = pa.array(texts, pa.large_string()).dictionary_encode()
    return Coded(np.asarray(encoded.indices), encoded.dictionary)
