"""Cut lines of text into records of cells, well-formed ones and those whose quotes are not.

Start with `records`, which defines how well-formed text is cut. `mended_records` is for text whose quotes were not
doubled or not closed: it takes each line for a row again wherever that gives the right number of cells.
"""

from __future__ import annotations

import csv
import re
import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, takewhile
from typing import Any, NamedTuple

_LONGEST_CELL = 1000
"""Lines that a quoted cell may run over where quotes are in doubt."""
_MOST_LOOKED = 300_000
"""Lines that are looked at in vain for the end of quoted cells, in all; afterwards a cell may run over `_FEW` lines."""
_FEW = 3
_MOST_TRIED, _TRIED_IN_ALL, _TRIED_A_LINE = 20_000, 500_000, 20
"""Ways to end a cell that are tried: of one line whose quotes are in doubt; of all, and as many more for each line."""
_LONGEST_LINE = 1 << 16
"""Characters of a line up to which its quotes are mended; a longer one is cut at its delimiters."""
_FEWEST_OF_TABLE = 5
"""Records, a header among them, from which lines of equal width are a table beside the one that is read."""
_LITERAL_BACKSLASH = r"\\(?![\\{quote}{delimiter}])"
"""A backslash that escapes nothing: `\\N` is a null and `C:\\new` a path."""


@dataclass(frozen=True)
class Cut:
    """How a line is cut into cells."""

    delimiter: str = ","
    quote: str | None = '"'
    """The mark around a cell that may hold delimiters, quotes and line ends; None for no such mark."""
    escape: bool = False
    """Whether a quote within a quoted cell has a backslash before it. It may be doubled in any case."""
    spaced: bool = False
    """Whether spaces after a delimiter belong to it."""

    @property
    def is_usual(self) -> bool:
        """Whether cells are quoted with `"`, which is doubled within them, and nothing else needs care."""
        return self == Cut(self.delimiter) and self.delimiter.isascii()  # the fast parser knows no other delimiter

    def __str__(self) -> str:
        if self.quote is None:
            return "no quotes"
        return f"`{self.quote}`, " + (f"`\\{self.quote}` within a cell" if self.escape else "doubled within a cell")


@dataclass(frozen=True)
class Record:
    """One record of a text table; a quoted cell may run over several lines."""

    line: int
    """The number of its first line, from 1."""
    last_line: int
    cells: list[str]
    repaired: bool = False
    """Whether its quotes are not well-formed, so that it was cut by the number of its cells."""


def records(lines: Iterable[str], cut: Cut, first_line: int = 1) -> Iterator[Record]:
    """Cut lines, with their line ends, into records; skip blank lines.

    This defines how the project reads CSV: as Python's csv module does.
    """
    reader = _reader(lines, cut)
    start = first_line
    for cells in reader:
        end = first_line + reader.line_num - 1
        if not is_blank(cells):
            yield Record(start, end, cells)
        start = end + 1


def is_blank(cells: list[str]) -> bool:
    """Return whether the cells are those of a blank line, which holds no record."""
    return not cells or (len(cells) == 1 and not cells[0].strip())


def is_sound(lines: Iterable[str], cut: Cut) -> bool:
    """Return whether every quoted cell is closed, and followed by a delimiter or the end of its line."""
    return first_unsound(lines, cut) is None


def first_unsound(lines: Iterable[str], cut: Cut, first_line: int = 1) -> int | None:
    """Return the line on which the first record begins whose quotes are not well-formed; None if all are."""
    reader, line = _reader(lines, cut, strict=True), 0
    try:
        for _ in reader:
            line = reader.line_num
    except csv.Error:
        return first_line + line
    return None


def _reader(lines: Iterable[str], cut: Cut, *, strict: bool = False) -> Any:
    csv.field_size_limit(sys.maxsize)  # the default refuses cells of more than 128 KiB
    if cut.quote is None:
        return csv.reader(
            lines, delimiter=cut.delimiter, quoting=csv.QUOTE_NONE, skipinitialspace=cut.spaced, strict=strict
        )
    if cut.escape:
        literal = _LITERAL_BACKSLASH.format(quote=cut.quote, delimiter=re.escape(cut.delimiter))
        lines = map(partial(re.compile(literal).sub, r"\\\\"), lines)
    return csv.reader(
        lines,
        delimiter=cut.delimiter,
        quotechar=cut.quote,
        escapechar="\\" if cut.escape else None,
        skipinitialspace=cut.spaced,
        strict=strict,
    )


_RULE = re.compile("[-=+|:*_~─━┼┬┴├┤╞╪╡│ ]{3,}")
"""A line drawn between rows, without the blanks around it."""


class Misfits:
    """The records that do not have the header's number of cells, sorted out while the others pass by."""

    def __init__(self, width: int, kept: int, *, padded: bool = False, every: bool = False) -> None:
        """Keep the first `kept` of each kind for messages; take shorter records with empty cells if `padded`.

        With `every`, those of a single cell and empty ones are taken, too.
        """
        self._every = every
        self._width = width
        self._kept = kept
        self._padded = padded
        self._passed = 0
        self.ragged_count = 0
        self.restored_count = 0
        """Records that passed after empty cells at their end were left out or added."""
        self.shorter_count = 0
        self.ends_empty = False
        """Whether any record that passed ends with an empty cell, so that such cells are written."""
        self.empty_count = 0
        """Records of empty cells alone, whose number is not the header's."""
        self.rule_count = 0
        """Lines drawn between rows, as `+-----+-----+`."""
        self.ragged: list[Record] = []
        """The first ragged records, footers apart."""
        self.footer: list[Record] = []
        """Sentences below the last row, such as a source or a number of rows."""
        self.others: list[tuple[Record, int]] = []
        """Tables beside this one: the first record of each, and the number of its records."""
        self.places: list[int] = []
        """The numbers of the records that did not pass, from 0."""

    @property
    def pads(self) -> bool:
        """Whether the shorter records lack but empty cells: no record ends with one, or they are less than half."""
        shorter = self.shorter_count - (self.restored_count if self._padded else 0)
        return shorter > 0 and (not self.ends_empty or shorter <= self._passed)

    def apart(self, found: Iterable[Record]) -> Iterator[Record]:
        """Yield the records that fit; the others are complete once this has ended."""
        last: list[Record] = []
        for number, record in enumerate(found):
            cells = self._fitted(record.cells)
            if cells is not None:
                self._take(last)
                last = []
                self._passed += 1
                self.ends_empty = self.ends_empty or not cells[-1].strip()
                yield record if cells is record.cells else replace(record, cells=cells)
                continue
            self.places.append(number)
            if not any(cell.strip() for cell in record.cells):
                self.empty_count += 1
            elif not self._every and all(_RULE.fullmatch(cell.strip()) for cell in record.cells):
                self.rule_count += 1
            else:
                last.append(record)
        self._end(last)

    def _fitted(self, cells: list[str]) -> list[str] | None:
        """Return a record's cells if they can be as many as the header has."""
        if len(cells) == self._width:
            return cells
        if self._every and len(cells) < self._width:
            self.restored_count += 1
            return cells + [""] * (self._width - len(cells))
        if not any(cell.strip() for cell in cells) and not self._every:
            return None
        if len(cells) > self._width and not any(cell.strip() for cell in cells[self._width :]):
            self.restored_count += 1
            return cells[: self._width]
        if self._padded and 1 < len(cells) < self._width:
            self.restored_count += 1
            return cells + [""] * (self._width - len(cells))
        return None

    def _take(self, found: list[Record]) -> None:
        """Count misfits between two rows: a table of its own if they are even and stand apart, or ragged rows."""
        if _is_table(found):
            self.others.append((found[0], len(found)))
            return
        self.ragged_count += len(found)
        self.shorter_count += sum(1 < len(record.cells) < self._width for record in found)
        self.ragged += found[: self._kept - len(self.ragged)]

    def _end(self, last: list[Record]) -> None:
        """Take what stands below the last row: footers, perhaps below another table."""
        below = list(takewhile(_is_sentence, reversed(last)))[::-1]
        self.footer = below
        rest = last[: len(last) - len(below)]
        above = list(takewhile(_is_sentence, rest))
        if above and _is_table(rest[len(above) :]):
            self.footer, rest = above + below, rest[len(above) :]
        self._take(rest)


def _is_table(found: list[Record]) -> bool:
    """Return whether records that fit no header are a table of their own: several, all of the same width."""
    width = len(found[0].cells) if found else 0
    return width > 1 and len(found) >= _FEWEST_OF_TABLE and all(len(record.cells) == width for record in found)


def _is_sentence(record: Record) -> bool:
    """Return whether a record is a line of text rather than the beginning of a row."""
    first, *others = record.cells
    words = re.search(r"\w[^\W\d_]*\W+\w", first) or re.match(r"\s*[-#*=(]", first)
    return words is not None and any(map(str.isalpha, first)) and not any(cell.strip() for cell in others)


# Text whose quotes are in doubt.


def mended_records(lines: Iterable[str], cut: Cut, width: int, first_line: int = 1) -> Iterator[Record]:
    """Cut lines into records of `width` cells wherever the quotes allow it; skip blank lines.

    A record is, in this order: a line whose quotes are well-formed; lines that a quoted cell joins, if it is
    well-formed, they give `width` cells, and they are not as many rows; a line whose quotes end a cell only before a
    delimiter; a line cut at each delimiter.
    """
    source = _Source(lines)
    number = first_line
    for line in source:
        used, cells, repaired = _next_record(line, source, cut, width)
        if not is_blank(cells):
            yield Record(number, number + used - 1, cells, repaired)
        number += used


def _next_record(line: str, source: _Source, cut: Cut, width: int) -> tuple[int, list[str], bool]:
    """Return how many lines the record that begins with `line` has, its cells, and whether it was repaired."""
    if cut.quote is None or cut.quote not in line:
        return 1, _unquoted(line, cut), False
    cells = _cells(line, cut)
    if cells is not None:
        return 1, cells, False
    joined, used = _joined(line, source, cut)
    if joined is not None and len(joined) == width and not _are_rows([line, source.last], cut, width):
        return used, joined, False
    source.looked += used - 1
    source.give_back(used - 1)
    return 1, _repaired(line, source, cut, width), True


def _are_rows(lines: list[str], cut: Cut, width: int) -> bool:
    return all(line.count(cut.delimiter) == width - 1 for line in lines)


def _unquoted(line: str, cut: Cut) -> list[str]:
    """Cut one line without quotes, as `_cells` does, in a tenth of the time."""
    if cut.escape and "\\" in line:
        return _cells(line, cut) or []
    cells = line.rstrip("\r\n").split(cut.delimiter)
    return [cell.lstrip(" ") for cell in cells] if cut.spaced else cells


def _cells(line: str, cut: Cut) -> list[str] | None:
    """Cut one line; None if its quotes are not well-formed."""
    try:
        return next(_reader([line], cut, strict=True), [])
    except csv.Error:
        return None


def _joined(line: str, source: _Source, cut: Cut) -> tuple[list[str] | None, int]:
    """Cut a line and those that a quoted cell joins to it; return the cells, None if malformed, and the lines read."""
    most = _LONGEST_CELL if source.looked < _MOST_LOOKED else _FEW
    reader = _reader(chain([line], islice(source, most)), cut, strict=True)
    try:
        return next(reader, None), reader.line_num
    except csv.Error:
        return None, reader.line_num


def _repaired(line: str, source: _Source, cut: Cut, width: int) -> list[str]:
    text = line.rstrip("\r\n")
    if len(text) <= _LONGEST_LINE and (cells := _lenient(text, source, cut, width)) is not None:
        return cells
    return text.split(cut.delimiter)


def _lenient(text: str, source: _Source, cut: Cut, width: int) -> list[str] | None:
    """Cut a line into exactly `width` cells, where a quote ends a cell only before a delimiter; None if that fails.

    It also fails after `_MOST_TRIED` ways, and where the lines before have taken too many.
    """
    assert cut.quote is not None
    ends = [m.start() for m in re.finditer(rf"{re.escape(cut.quote)}(?={re.escape(cut.delimiter)}|$)", text)]
    dead: set[tuple[int, int]] = set()
    most = min(source.tried + _MOST_TRIED, _TRIED_IN_ALL + _TRIED_A_LINE * source.count)

    def rest(start: int, left: int) -> list[_Place] | None:
        if start > len(text) or left == 0 or (start, left) in dead:
            return [] if left == 0 and start > len(text) else None
        for place in _choices(text, start, ends, cut):
            source.tried += 1
            if source.tried > most:
                return None
            if (places := rest(place.after, left - 1)) is not None:
                return [place, *places]
        dead.add((start, left))
        return None

    places = rest(0, width) if width < 500 else None
    return None if places is None else [place.cell(text, cut) for place in places]


class _Place(NamedTuple):
    """Where a cell stands in a line."""

    begin: int
    end: int
    after: int
    """Where the next cell begins."""
    quoted: bool

    def cell(self, text: str, cut: Cut) -> str:
        cell = text[self.begin : self.end]
        return _undoubled(cell, cut) if self.quoted else cell


def _choices(text: str, start: int, ends: list[int], cut: Cut) -> Iterator[_Place]:
    """Yield each way to end the cell that begins at `start`."""
    begin = start
    while cut.spaced and text.startswith(" ", begin):
        begin += 1
    assert cut.quote is not None
    if text.startswith(cut.quote, begin):
        for end in islice(ends, bisect_right(ends, begin), None):
            yield _Place(begin + 1, end, end + 1 + len(cut.delimiter), True)
    place = text.find(cut.delimiter, begin)
    end = len(text) if place < 0 else place
    yield _Place(begin, end, end + len(cut.delimiter), False)


def _undoubled(text: str, cut: Cut) -> str:
    assert cut.quote is not None
    if cut.escape:
        text = text.replace(f"\\{cut.quote}", cut.quote)
    return text.replace(cut.quote * 2, cut.quote)


class _Source:
    """Lines of which some that were read can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._read: deque[str] = deque(maxlen=_LONGEST_CELL + 1)
        self._back: deque[str] = deque()
        self.looked = 0
        """Lines that were read for the end of a quoted cell, and given back."""
        self.tried = 0
        """Ways to end a cell that were tried."""
        self.count = 0
        """Lines that were read and not given back."""

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self._read.append(line)
        self.count += 1
        return line

    @property
    def last(self) -> str:
        """The line that was read last."""
        return self._read[-1]

    def give_back(self, count: int) -> None:
        """Have the last `count` lines read again."""
        self.count -= count
        for _ in range(count):
            self._back.appendleft(self._read.pop())
