"""Find the records of a table that are no rows of it: empty ones, the header once more, and totals at the end.

Start with `without_no_rows`. `NoRows` does the same for records that come a stretch at a time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core.errors import NOTHING_TO_DO, Problem
from deepfm_core.tables.header import is_value
from deepfm_core.tables.table import MISSING_TEXTS, is_missing

_TOTALS = re.compile(
    r"((grand |sub[- ]?)?totals?|(total )?(rows|records|count)|sum|overall|all rows|averages?|mean"
    r"|gesamt(summe|ergebnis)?|summe|mittelwert|totale?|total g[ée]n[ée]ral|somme|moyenne|suma|soma"
    r"|итого|всего|合计|总计|總計|合計|総計|합계|toplam|totaal|razem)"
    r"( \(\d+\)| \d+ rows)?\s*([:：.]\s*[\d,. ]*)?|\(?[\d,.]+ (rows|records)( \w+)?\)?",
    re.IGNORECASE,
)
"""What the line of totals is called, in usual languages."""
_MOST_TOTALS = 3
"""Lines of totals or of notes that are looked for at the end."""
_NOTE = re.compile(r".*\w[^\W\d_]*\W+\w.*|\W+\w.*", re.DOTALL)
"""A text alone in a line below the rows that says something of them: several words, or a mark before them."""
_BEGINNING = 200
"""Characters of a text by which it is told whether it is a note."""
_LEAST_OF_NOTE = 3
"""Columns from which a text alone in a line may be a note."""
_RULE = r"^(:?[-=_*—–]{2,}:?|:-+:?|-:)$"
"""A line drawn below the header or above the totals; Markdown marks with colons how its columns are aligned."""
_USUALLY_FILLED = 0.95


@dataclass(frozen=True)
class LeftOut:
    """What was left out of a table: as sentences, and by the numbers of its records, ascending from 0."""

    problems: tuple[Problem, ...] = ()
    records: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def count(self) -> int:
        """How many records were left out."""
        return len(self.records)


class Records(Protocol):
    """All records of a text, whose columns come a stretch of records at a time; one stretch in memory."""

    @property
    def count(self) -> int:
        """How many records there are."""

    @property
    def width(self) -> int:
        """How many columns they have."""

    def column(self, place: int) -> Iterator[tuple[int, pd.Categorical]]:
        """Yield a column's stretches, each with the number of its first record."""

    def stretches(self) -> Iterator[tuple[int, list[pd.Categorical]]]:
        """Yield the stretches of all columns, each with the number of its first record."""

    def texts(self, record: int) -> list[str]:
        """Return the cells of a record."""


@dataclass(frozen=True)
class _InMemory:
    """The records of a frame."""

    columns: list[pd.Categorical]

    @property
    def count(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    @property
    def width(self) -> int:
        return len(self.columns)

    def column(self, place: int) -> Iterator[tuple[int, pd.Categorical]]:
        yield 0, self.columns[place]

    def stretches(self) -> Iterator[tuple[int, list[pd.Categorical]]]:
        yield 0, self.columns

    def texts(self, record: int) -> list[str]:
        return [str(column[record]) for column in self.columns]


def without_no_rows(frame: pd.DataFrame, names: Sequence[str] | None = None) -> tuple[pd.DataFrame, LeftOut]:
    """Leave out the records of a frame of text that are no rows of its table.

    Args:
        frame: N records, each column a Categorical of text.
        names: the cells of the header, if a record that repeats them is none.

    Returns:
        The rows, numbered from 0, and what was left out.
    """
    found, columns = NoRows(names), _columns(frame)
    found.add(columns)
    left_out = found.left_out(_InMemory(columns))
    if not left_out.problems:
        return frame, LeftOut()
    return _rows(frame, np.delete(np.arange(len(frame)), left_out.records)), left_out


class NoRows:
    """Finds the records that are no rows while all records pass by, a stretch at a time."""

    def __init__(self, names: Sequence[str] | None = None) -> None:
        """Look for the header once more and for units only if there are `names`: the cells of the header."""
        self._names = names
        self._passed = 0
        self._empty: list[NDArray[np.int64]] = []
        self._header: list[NDArray[np.int64]] = []
        self._units = _Units()

    def add(self, columns: list[pd.Categorical]) -> None:
        """Look at the next stretch of records."""
        self._empty.append(self._passed + _all_among(columns, [_missing_or_rule] * len(columns)))
        if self._names:
            self._header.append(self._passed + _all_among(columns, [partial(_equal, name) for name in self._names]))
            self._units.add(columns)
        self._passed += len(columns[0]) if columns else 0

    def left_out(self, records: Records) -> LeftOut:
        """Say which records are no rows, after all have passed; `records` gives them again where one is in doubt."""
        empty, header = _together(self._empty), _together(self._header)
        titles = _titles_above(records, header, empty)
        said = self._names and not len(empty) + len(header) and self._units.are_said(self._passed)
        units = np.zeros(1 if said else 0, np.int64)
        gone = np.concatenate([empty, header, titles, units])
        totals = _totals(records, gone)
        problems = [
            *_said("an empty record", "empty records", empty),
            *_said("the header once more", "times the header once more", header),
            *_said("a title above the header once more", "titles above the header once more", titles),
            *_said("a line below the names that says more of them, such as units", "", units, _KEEP),
            *(_total(records, row) for row in totals),
        ]
        if not problems:
            return LeftOut()
        return LeftOut(tuple(problems), np.sort(np.concatenate([gone, np.array(totals, np.int64)])))


def _together(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _columns(frame: pd.DataFrame) -> list[pd.Categorical]:
    return [frame.iloc[:, place].array for place in range(frame.shape[1])]


def _all_among(
    columns: list[pd.Categorical], wanted: list[Callable[[pd.Index], NDArray[np.bool_]]]
) -> NDArray[np.int64]:
    """Return the rows each cell of which is wanted; `wanted` says for each column which of its texts are."""
    rows: NDArray[np.int64] | None = None
    pairs = zip(columns, wanted, strict=True)
    for column, asked in sorted(pairs, key=lambda pair: len(pair[0].categories)):
        among = asked(column.categories)
        if not among.any():
            return np.empty(0, np.int64)
        rows = np.flatnonzero(among[column.codes]) if rows is None else rows[among[column.codes[rows]]]
        if not len(rows):
            break
    return np.empty(0, np.int64) if rows is None else rows


class _Units:
    """Tells whether the first record says what the columns hold: none of its texts stands below, one is a unit.

    It has texts above two columns of numbers, or nothing but units.
    """

    def __init__(self) -> None:
        self._above: list[str] | None = None
        """The cells of the first record; empty once it is known to be a row."""
        self._below: list[dict[str, None]] = []
        """The first texts of each column that differ from the one above."""

    def add(self, columns: list[pd.Categorical]) -> None:
        """Look at the next stretch of records."""
        if not columns or not len(columns[0]) or self._above == []:
            return
        begins = self._above is None
        if self._above is None:
            self._above, self._below = [str(column[0]) for column in columns], [{} for _ in columns]
        for text, below, column in zip(self._above, self._below, columns, strict=True):
            if is_missing(text):
                continue
            if _AMOUNT.match(text) or _count(column, text) > int(begins):
                self._above = []
                return
            if len(below) < _LOOKED_AT:
                others = (str(other) for other in column.categories[: _LOOKED_AT + 1] if other != text)
                below.update(dict.fromkeys(islice(others, _LOOKED_AT)))

    def are_said(self, records: int) -> bool:
        """Say whether the first of so many records is no row."""
        if not self._above or records <= _FEWEST_BELOW_UNITS:
            return False
        above = units = others = 0
        for text, below in zip(self._above, self._below, strict=True):
            if is_missing(text):
                continue
            held = [other for other in islice(below, _LOOKED_AT) if not is_missing(other)]
            over_numbers = bool(held) and all(map(is_value, held))
            above += over_numbers
            units += over_numbers and _is_unit(text)
            others += not (over_numbers and _is_unit(text))
        return units > 0 and (above >= _LEAST_ABOVE_NUMBERS or not others)


def _count(column: pd.Categorical, text: str) -> int:
    """Count the records of a stretch with a text."""
    codes = np.flatnonzero(np.asarray(column.categories == text))
    return int(np.count_nonzero(column.codes == codes[0])) if len(codes) else 0


def _is_unit(text: str) -> bool:
    """Return whether a text is the symbol of a unit or a currency, or stands in brackets as a unit does."""
    bare = text.strip()
    inner = bare[1:-1].strip() if bare[:1] + bare[-1:] in ("()", "[]") else ""
    if inner:
        return not is_missing(inner) and _PLACEHOLDER.match(inner) is None
    return _SYMBOLS.fullmatch(bare) is not None or (len(bare) < _CURRENCY and any(map(_is_currency, bare)))


def _is_currency(letter: str) -> bool:
    return unicodedata.category(letter) == "Sc"


_CURRENCY = 4
"""Letters that are more than a currency's sign: `US$` has three."""
_PLACEHOLDER = re.compile(
    r"(unknown|undisclosed|redacted|hidden|withheld|private|deleted|removed|missing|empty|blank|other|not? )", re.I
)
"""What stands in brackets in the place of a value."""
_SYMBOL = (
    "[kcdmµμn]?m|[kKMGT]?i?[Bb]|[kmµμ]?g|[mµμn]?s|sec|min|hr?|[mcd]?[lL]|[kMG]?Hz|[kMG]?Wh?|k?V|mA|[kMhm]?Pa|k?J|kcal"
    "|°[CF]?|ºC|px|pt|pcs|dB|rpm|ppm|ppb|psi|mph|bps|kph|lbs?|oz|ft|yd|mi|ha|mol|lx|lm|%|‰"
)
_SYMBOLS = re.compile(
    rf"({_SYMBOL})([23²³]|\^[23])?([/*·]({_SYMBOL})([23²³]|\^[23])?)*"
    r"|(USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RUB|TRY|BRL|MXN|KRW|ZAR|SGD|HKD|THB|IDR)"
)
"""Symbols of units and of currencies as they stand alone in a cell."""


_AMOUNT = re.compile(r"\W*\d")
"""What begins like a value, such as `12`, `$5`, `<1` or `2024-01-15`, is no unit."""
_FEWEST_BELOW_UNITS, _LEAST_ABOVE_NUMBERS, _LOOKED_AT = 10, 2, 1_000
"""Records, columns of numbers and texts of a column by which a line of units is told."""


def _titles_above(records: Records, header: NDArray[np.int64], empty: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the records with a first cell alone that stand right above a header, empty records apart."""
    if not len(header) or records.width < 2:
        return np.empty(0, np.int64)
    filled = np.setdiff1d(np.arange(header.max() + 1), empty, assume_unique=True)
    above = np.unique(filled[np.searchsorted(filled, header[header > filled[0]]) - 1])
    found = [np.empty(0, np.int64)]
    for start, (first, *others) in records.stretches():
        here = above[(above >= start) & (above < start + len(first))] - start
        alone = ~_blank(first.categories)[first.codes[here]]
        for column in others:
            alone &= _blank(column.categories)[column.codes[here]]
        found.append(here[alone] + start)
    return np.concatenate(found)


def _blank(texts: pd.Index) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(pc.utf8_trim_whitespace(pa.array(texts, pa.large_string())), ""))


def _missing(texts: pd.Index) -> NDArray[np.bool_]:
    trimmed = pc.ascii_lower(pc.utf8_trim_whitespace(pa.array(texts, pa.large_string())))
    return np.asarray(pc.is_in(trimmed, value_set=pa.array(sorted(MISSING_TEXTS), pa.large_string())))


def _missing_or_rule(texts: pd.Index) -> NDArray[np.bool_]:
    rules = pc.match_substring_regex(pc.utf8_trim_whitespace(pa.array(texts, pa.large_string())), _RULE)
    return np.asarray(_missing(texts) | np.asarray(rules), dtype=bool)


def _equal(name: str, texts: pd.Index) -> NDArray[np.bool_]:
    """Compare as people do: without regard to capitals and the blanks around a name."""
    alike = pc.utf8_lower(pc.utf8_trim_whitespace(pa.array(texts, pa.large_string())))
    return np.asarray(pc.equal(alike, name.strip().lower()))


_KEEP = "Nothing to do; if it is a row, choose to keep every record (`--rows all` on the command line)."


def _said(one: str, many: str, rows: NDArray[np.int64], remedy: str = NOTHING_TO_DO) -> list[Problem]:
    """Say how many records of a kind were left out, and where the first one stood."""
    if not len(rows):
        return []
    place = f"record {rows.min():,} (from 0) below the header"
    if len(rows) == 1:
        return [Problem(f"{place} is {one}; it was left out", remedy)]
    return [Problem(f"{len(rows):,} {many} were left out, the first as {place}", remedy)]


def _total(records: Records, row: int) -> Problem:
    held = [text for cell in records.texts(row) if (text := cell.strip())]
    what = "is a note" if len(held) == 1 and _TOTALS.fullmatch(held[0]) is None else "holds totals"
    return Problem(f"the last line {what}; it was left out", _KEEP, value=", ".join(held)[:80])


def _totals(records: Records, gone: NDArray[np.int64]) -> list[int]:
    """Return the last rows that are named as totals, where they add up or lack what the other rows have."""
    out = np.unique(gone)
    last = np.setdiff1d(np.arange(max(records.count - len(out) - _MOST_TOTALS - 1, 0), records.count), out)
    found: list[int] = []
    for row in last[-_MOST_TOTALS - 1 :][:0:-1].tolist():
        cells, count = records.texts(row), records.count - len(out)
        if not (_is_total(records, row, cells, count) or _is_note(records, row, cells, count)):
            break
        found.append(row)
    return found


def _is_total(records: Records, row: int, cells: list[str], rows: int) -> bool:
    named = [place for place, cell in enumerate(cells) if _TOTALS.fullmatch(cell.strip())]
    if not named:
        return _unnamed_total(records, row, cells, rows)
    if _count_in_all(records, named[0], cells[named[0]]) > 1:
        return False
    others = [place for place in range(len(cells)) if place not in named]
    return any(
        _adds_up(records, place, row, cells[place]) or _lacks(records, place, cells[place], rows) for place in others
    )


def _unnamed_total(records: Records, row: int, cells: list[str], rows: int) -> bool:
    """Return whether a row's first cell is empty where others are filled, and at least two of its numbers add up."""
    if not _lacks(records, 0, cells[0], rows):
        return False
    return sum(_adds_up(records, place, row, cells[place]) for place in range(1, len(cells))) > 1


def _is_note(records: Records, row: int, cells: list[str], rows: int) -> bool:
    """Return whether a row is a sentence in its first cell, where all the other columns are nearly always filled."""
    first, *others = cells
    blank = not any(cell.strip() for cell in others)  # `NA` is what a row lacks
    if len(cells) < _LEAST_OF_NOTE or not blank:
        return False
    if not all(_lacks(records, place, cell, rows) for place, cell in enumerate(others, 1)):
        return False
    alone = _count_in_all(records, 0, first) == 1
    counted = row > 0 and _shape(first) == _shape(records.texts(row - 1)[0])  # `Step 21` below `Step 20`
    return alone and not counted and _NOTE.fullmatch(first.strip()[:_BEGINNING]) is not None


def _count_in_all(records: Records, place: int, text: str) -> int:
    return sum(_count(column, text) for _, column in records.column(place))


def _shape(text: str) -> str:
    return re.sub(r"\d+", "0", text[:_BEGINNING].strip())


def _lacks(records: Records, place: int, cell: str, rows: int) -> bool:
    """Return whether a row's cell is empty in a column that is nearly always filled."""
    if not _missing(pd.Index([cell], dtype="str"))[0]:
        return False
    filled = sum(
        int(np.count_nonzero(~_missing(column.categories)[column.codes])) for _, column in records.column(place)
    )
    return filled >= _USUALLY_FILLED * (rows - 1)


def _adds_up(records: Records, place: int, row: int, cell: str) -> bool:
    """Return whether a row's number is the sum of those above it, as they stand or with their units and marks."""
    if not np.isnan(_plain(pd.Index([cell], dtype="str"))[0]):
        return _is_sum(records, place, row, cell, _plain)
    return any(_is_sum(records, place, row, cell, numbers) for numbers in (_with_point, _with_comma))


def _plain(texts: pd.Index | pd.Series[str]) -> NDArray[np.float64]:
    return pd.to_numeric(pd.Series(texts, dtype="str"), errors="coerce").to_numpy(float)


def _with_point(texts: pd.Index) -> NDArray[np.float64]:
    return _plain(_without_unit(texts).str.replace(_GROUPED_BY_COMMA, "", regex=True))


def _with_comma(texts: pd.Index) -> NDArray[np.float64]:
    return _plain(_without_unit(texts).str.replace(".", "", regex=False).str.replace(",", ".", regex=False))


_UNIT = r"\s*(?:[A-Za-z]{0,3}\p{Sc}|[A-Z]{2,3}|[A-Za-z]{1,5}|%|‰)\s*"
_GROUPED_BY_COMMA = r"(?<=\d),(?=\d{3}(?:\D|$))"


def _without_unit(texts: pd.Index) -> pd.Series[str]:
    """Take currencies, units and blanks from numbers: `$1,234`, `12 %`, `1.234,56 EUR`, `(5.20)`, `1'234`."""
    held = pa.array(texts, pa.large_string())
    held = pc.replace_substring_regex(held, rf"^([-+(]?){_UNIT}([-+]?[\d.])", r"\1\2")
    held = pc.replace_substring_regex(held, rf"(\d){_UNIT}(\)?)$", r"\1\2")
    held = pc.replace_substring_regex(held, r"(\d)[\s'’\x{a0}\x{202f}](\d)", r"\1\2")
    held = pc.replace_substring_regex(pc.utf8_trim_whitespace(held), r"^\((.*)\)$", r"-\1")
    return pd.Series(pd.array(held, dtype="str"))


def _is_sum(
    records: Records, place: int, row: int, cell: str, numbers: Callable[[pd.Index], NDArray[np.float64]]
) -> bool:
    here = float(numbers(pd.Index([cell], dtype="str"))[0])
    if np.isnan(here) or here == 0:
        return False
    total, count = 0.0, 0
    for start, column in records.column(place):
        held = numbers(column.categories)[column.codes[: max(row - start, 0)]]
        total += float(np.nansum(held))
        count += int(np.count_nonzero(~np.isnan(held)))
    return count > 1 and bool(np.isclose(total, here, rtol=1e-6))


def _rows(frame: pd.DataFrame, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return some rows of a frame, without the texts that no longer stand in it."""
    columns = [pd.Series(column.take(rows).remove_unused_categories(), copy=False) for column in _columns(frame)]
    return pd.concat(columns, axis=1, keys=list(frame.columns)) if columns else frame
