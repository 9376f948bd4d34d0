"""Find the records of a table that are no rows of it: empty ones, the header once more, and totals at the end.

Start with `without_no_rows`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

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


def without_no_rows(frame: pd.DataFrame, names: Sequence[str] | None = None) -> tuple[pd.DataFrame, LeftOut]:
    """Leave out the records of a frame of text that are no rows of its table.

    Args:
        frame: N records, each column a Categorical of text.
        names: the cells of the header, if a record that repeats them is none.

    Returns:
        The rows, numbered from 0, and what was left out.
    """
    empty = _all_among(frame, [_missing_or_rule] * frame.shape[1])
    header = _all_among(frame, [partial(_equal, name) for name in names]) if names else np.empty(0, np.int64)
    titles = _titles_above(frame, header, empty)
    units = _units(frame) if names and not len(empty) + len(header) else np.empty(0, np.int64)
    gone = np.concatenate([empty, header, titles, units])
    kept = np.delete(np.arange(len(frame)), gone) if len(gone) else None
    totals = _totals(frame, kept)
    problems = [
        *_said("an empty record", "empty records", empty),
        *_said("the header once more", "times the header once more", header),
        *_said("a title above the header once more", "titles above the header once more", titles),
        *_said("a line below the names that says more of them, such as units", "", units, _KEEP),
        *(_total(frame, row) for row in totals),
    ]
    if not problems:
        return frame, LeftOut()
    out = np.concatenate([gone, np.array(totals, np.int64)])
    rows = np.delete(np.arange(len(frame)), out)
    return _rows(frame, rows), LeftOut(tuple(problems), np.sort(out))


def _columns(frame: pd.DataFrame) -> list[pd.Categorical]:
    return [frame.iloc[:, place].array for place in range(frame.shape[1])]


def _all_among(frame: pd.DataFrame, wanted: list[Callable[[pd.Index], NDArray[np.bool_]]]) -> NDArray[np.int64]:
    """Return the rows each cell of which is wanted; `wanted` says for each column which of its texts are."""
    rows: NDArray[np.int64] | None = None
    pairs = zip(_columns(frame), wanted, strict=True)
    for column, asked in sorted(pairs, key=lambda pair: len(pair[0].categories)):
        among = asked(column.categories)
        if not among.any():
            return np.empty(0, np.int64)
        rows = np.flatnonzero(among[column.codes]) if rows is None else rows[among[column.codes[rows]]]
        if not len(rows):
            break
    return np.empty(0, np.int64) if rows is None else rows


def _units(frame: pd.DataFrame) -> NDArray[np.int64]:
    """Return the first record, if it says what the columns hold: none of its texts stands below, one is a unit.

    It has texts above two columns of numbers, or nothing but units.
    """
    above = units = others = 0
    for column in _columns(frame) if len(frame) > _FEWEST_BELOW_UNITS else []:
        code = int(column.codes[0])
        text = str(column.categories[code])
        if is_missing(text):
            continue
        if _AMOUNT.match(text) or np.count_nonzero(column.codes == code) > 1:
            return np.empty(0, np.int64)
        below = column.categories.delete(code)[:_LOOKED_AT]
        held = [other for other in map(str, below) if not is_missing(other)]
        over_numbers = bool(held) and all(map(is_value, held))
        above += over_numbers
        units += over_numbers and _is_unit(text)
        others += not (over_numbers and _is_unit(text))
    return np.zeros(1 if units and (above >= _LEAST_ABOVE_NUMBERS or not others) else 0, np.int64)


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


def _titles_above(frame: pd.DataFrame, header: NDArray[np.int64], empty: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the records with a first cell alone that stand right above a header, empty records apart."""
    if not len(header) or frame.shape[1] < 2:
        return np.empty(0, np.int64)
    filled = np.setdiff1d(np.arange(header.max() + 1), empty, assume_unique=True)
    above = filled[np.searchsorted(filled, header[header > filled[0]]) - 1]
    first, *others = _columns(frame)
    alone = ~_blank(first.categories)[first.codes[above]]
    for column in others:
        alone &= _blank(column.categories)[column.codes[above]]
    return np.unique(above[alone])


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


def _total(frame: pd.DataFrame, row: int) -> Problem:
    held = [text for column in _columns(frame) if (text := str(column[row]).strip())]
    what = "is a note" if len(held) == 1 and _TOTALS.fullmatch(held[0]) is None else "holds totals"
    return Problem(f"the last line {what}; it was left out", _KEEP, value=", ".join(held)[:80])


def _totals(frame: pd.DataFrame, kept: NDArray[np.int64] | None) -> list[int]:
    """Return the last rows that are named as totals, where they add up or lack what the other rows have."""
    rows = np.arange(len(frame) - _MOST_TOTALS - 1, len(frame)) if kept is None else kept[-_MOST_TOTALS - 1 :]
    found: list[int] = []
    for row in rows[rows >= 0][:0:-1].tolist():
        count = len(frame) if kept is None else len(kept)
        if not (_is_total(frame, row, count) or _is_note(frame, row, count)):
            break
        found.append(row)
    return found


def _is_total(frame: pd.DataFrame, row: int, rows: int) -> bool:
    columns = _columns(frame)
    named = [place for place, column in enumerate(columns) if _TOTALS.fullmatch(str(column[row]).strip())]
    if not named:
        return _unnamed_total(columns, row, rows)
    if np.count_nonzero(columns[named[0]].codes == columns[named[0]].codes[row]) > 1:
        return False
    others = [column for place, column in enumerate(columns) if place not in named]
    return any(_adds_up(column, row) or _lacks(column, row, rows) for column in others)


def _unnamed_total(columns: list[pd.Categorical], row: int, rows: int) -> bool:
    """Return whether a row's first cell is empty where others are filled, and at least two of its numbers add up."""
    return _lacks(columns[0], row, rows) and sum(_adds_up(column, row) for column in columns[1:]) > 1


def _is_note(frame: pd.DataFrame, row: int, rows: int) -> bool:
    """Return whether a row is a sentence in its first cell, where all the other columns are nearly always filled."""
    first, *others = _columns(frame)
    blank = not any(str(column[row]).strip() for column in others)  # `NA` is what a row lacks
    if len(others) + 1 < _LEAST_OF_NOTE or not blank or not all(_lacks(column, row, rows) for column in others):
        return False
    alone = np.count_nonzero(first.codes == first.codes[row]) == 1
    counted = row > 0 and _shape(str(first[row])) == _shape(str(first[row - 1]))  # `Step 21` below `Step 20`
    return alone and not counted and _NOTE.fullmatch(str(first[row]).strip()[:_BEGINNING]) is not None


def _shape(text: str) -> str:
    return re.sub(r"\d+", "0", text[:_BEGINNING].strip())


def _lacks(column: pd.Categorical, row: int, rows: int) -> bool:
    """Return whether a row's cell is empty in a column that is nearly always filled."""
    empty = _missing(column.categories)
    filled = int(np.count_nonzero(~empty[column.codes]))
    return bool(empty[column.codes[row]]) and filled >= _USUALLY_FILLED * (rows - 1)


def _adds_up(column: pd.Categorical, row: int) -> bool:
    """Return whether a row's number is the sum of those above it, as they stand or with their units and marks."""
    texts = pd.Series(column.categories, dtype="str")
    plain = pd.to_numeric(texts, errors="coerce").to_numpy(float)
    if not np.isnan(plain[column.codes[row]]):
        return _is_sum(plain, column.codes, row)
    bare = _without_unit(texts)
    point = pd.to_numeric(bare.str.replace(_GROUPED_BY_COMMA, "", regex=True), errors="coerce").to_numpy(float)
    swapped = bare.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    comma = pd.to_numeric(swapped, errors="coerce").to_numpy(float)
    return _is_sum(point, column.codes, row) or _is_sum(comma, column.codes, row)


_UNIT = r"\s*(?:[A-Za-z]{0,3}\p{Sc}|[A-Z]{2,3}|[A-Za-z]{1,5}|%|‰)\s*"
_GROUPED_BY_COMMA = r"(?<=\d),(?=\d{3}(?:\D|$))"


def _without_unit(texts: pd.Series[str]) -> pd.Series[str]:
    """Take currencies, units and blanks from numbers: `$1,234`, `12 %`, `1.234,56 EUR`, `(5.20)`, `1'234`."""
    held = pa.array(texts, pa.large_string())
    held = pc.replace_substring_regex(held, rf"^([-+(]?){_UNIT}([-+]?[\d.])", r"\1\2")
    held = pc.replace_substring_regex(held, rf"(\d){_UNIT}(\)?)$", r"\1\2")
    held = pc.replace_substring_regex(held, r"(\d)[\s'’\x{a0}\x{202f}](\d)", r"\1\2")
    held = pc.replace_substring_regex(pc.utf8_trim_whitespace(held), r"^\((.*)\)$", r"-\1")
    return pd.Series(pd.array(held, dtype="str"))


def _is_sum(numbers: NDArray[np.float64], codes: NDArray[np.signedinteger[Any]], row: int) -> bool:
    held = numbers[codes[:row]]
    total, here = float(np.nansum(held)), float(numbers[codes[row]])
    return bool(np.count_nonzero(~np.isnan(held)) > 1 and np.isclose(total, here, rtol=1e-6) and here != 0)


def _rows(frame: pd.DataFrame, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return some rows of a frame, without the texts that no longer stand in it."""
    columns = [pd.Series(column.take(rows).remove_unused_categories(), copy=False) for column in _columns(frame)]
    return pd.concat(columns, axis=1, keys=list(frame.columns)) if columns else frame
