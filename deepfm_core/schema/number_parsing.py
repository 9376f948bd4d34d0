"""Numbers as people write them in tables, read once per distinct text.

Start with `notation_of`, which finds how a column writes its numbers, and `parse_numbers`, which reads them so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_GROUPED = r"^[+-]?[1-9]\d{0,2}(,\d{2,3})*,\d{3}(\.\d*)?$"  # 1,234,567 and, in India, 12,34,567
_INFINITE = r"^(?i)[+-]?inf(inity)?$"
_DECIMAL_COMMA = r"^[+-]?\d+,\d+$"

# fmt: off
MISSING_WORDS = frozenset((
    "-", "--", "---", "–", "—", ".", "..", "...", "*", "(blank)", "blank", "(empty)", "empty", "unknown", "(unknown)",
    "unk", "n.a.", "n.a", "n/a.", "na.", "n. a.", "n/d", "n.d.", "nd", "n/v", "not available", "not applicable",
    "not set", "(not set)", "not provided", "(not provided)", "(none)", "(null)", "(missing)", "missing", "undefined",
    "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!", "-nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
    "tbd", "tba", "k.a.", "k. a.", "keine angabe", "unbekannt", "inconnu", "s/d", "desconocido", "x", "xx", "xxx",
    "not found", "no data", "not reported", "not specified", "unspecified", "none given", "no value", "null value",
    "[null]", "nat", "n/k", "error", "err", "#error", "keine", "無", "无", "なし", "不明", "未知", "없음",
))
"""Texts that mean "no value" among numbers, in lower case; elsewhere they are values."""

_CURRENCIES = (
    "USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "CNY", "RMB", "INR", "BRL", "RUB", "KRW", "SEK", "NOK",
    "DKK", "PLN", "CZK", "HUF", "TRY", "MXN", "ZAR", "SGD", "HKD", "THB", "ILS", "UAH", "US$", "A$", "C$", "R$", "kr",
    "zł", "Kč", "Rs", "元", "円", "원", "€", "£", "¥", "￥", "₹", "₽", "₩", "₺", "$",
)
# fmt: on

_MARK = "|".join(re.escape(mark) for mark in _CURRENCIES)
# fmt: off
_MEASURES = (
    "ms", "s", "sec", "secs", "seconds", "min", "mins", "minutes", "hrs", "hours", "days", "years", "kg", "km", "cm",
    "mm", "KB", "MB", "GB", "TB", "Kbps", "Mbps", "bps", "px", "pts", "views", "clicks", "°C", "°F", "°",
)
# fmt: on
"""Units that stand behind numbers."""
_BEHIND = "|".join([_MARK, *_MEASURES])
_BEFORE, _AFTER = rf"^([+-]?)\s*({_MARK})\.?\s*([+-]?)", rf"\s*({_BEHIND})\.?$"
_SPACES = r"[\x{A0}\x{202F}\x{2007}\x{2009}]"
_UNLIKE_A_KEYBOARD = rf"{_SPACES}|[’ʼ`´−‒]|^\(|-$"
"""What `_signed` may change."""
_THOUSANDS = {"k": 1e3, "m": 1e6, "b": 1e9}

_MOST = 1e38
"""Size from which a number is the largest one of some program, written for no value."""


@dataclass(frozen=True)
class Notation:
    """How a column writes numbers. The first one of all is `12.5` with commas between thousands.

    Attributes:
        decimal: the mark before decimals.
        group: the mark between thousands; empty where there is none.
        unit: the currency or percent sign that is written with each number and left out of its value.
        shorthand: whether `1.2K` is 1200.
        signs: whether `(12)` or `12-` is -12, or blanks and minus signs are not those of a keyboard.
        blanks: further texts, in lower case, that mean no value.
        holes: numbers that mean no value.
    """

    decimal: str = "."
    group: str = ","
    unit: str = ""
    shorthand: bool = False
    signs: bool = False
    blanks: tuple[str, ...] = ()
    holes: tuple[float, ...] = ()

    def measured(self, text: str) -> str:
        """Write a number with its unit: a sign of money stands before it, other units behind it."""
        if not self.unit:
            return text
        if self.unit in "$€£¥₹₩₽₺₫₴":
            sign = text[:1] if text[:1] in ("-", "−") else ""
            return f"{sign}{self.unit}{text[len(sign) :]}"
        return text + ("" if self.unit == "%" else " ") + self.unit

    @property
    def in_words(self) -> str:
        """What is unusual about it, for a reason; empty where nothing is."""
        marks = []
        if self.decimal == ",":
            marks.append("a comma before decimals")
        if self.group not in (",", "") and (self.group != "." or self.decimal == ","):
            marks.append({".": "points", "'": "apostrophes", " ": "blanks"}[self.group] + " between thousands")
        if self.shorthand:
            marks.append("K, M and B for thousands, millions and billions")
        if self.unit:
            marks.append(f"`{self.unit}` left out")
        if self.signs:
            marks.append("brackets or a minus behind as a minus before")
        said = [f"read with {' and '.join(marks)}"] if marks else []
        gone = [f"`{text}`" for text in self.blanks] + [f"`{number:.10g}`" for number in self.holes]
        if gone:
            said.append(f"{', '.join(gone[:5])}{' …' if len(gone) > 5 else ''} taken as missing")
        return "; ".join(said)

    @property
    def patterns(self) -> dict[str, str]:
        """The patterns of a unit `before` and `after` a number, and of the bare `number`, for other programs."""
        before, after = ("^()()()", r"\s*[%％]$") if self.unit == "%" else (_BEFORE, _AFTER)
        return {"before": before, "after": after, "number": _pattern(self.decimal, self.group)}

    def to_dict(self) -> dict[str, Any]:
        """Give the notation as plain values for JSON."""
        return {**vars(self), "blanks": list(self.blanks), "holes": list(self.holes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Self:
        """Rebuild a notation from `to_dict`; None is the first one of all."""
        if not values:
            return cls()
        return cls(**{**values, "blanks": tuple(values["blanks"]), "holes": tuple(values["holes"])})


PLAIN = Notation()


@dataclass(frozen=True)
class Numbers:
    """D distinct texts read as numbers.

    Attributes:
        values: (D,) float64; NaN where the text is missing, foreign or infinite.
        foreign: (D,) whether the text is neither a number nor missing.
        infinite: (D,) whether the text is a number without bound or too large to hold, such as `inf` or `1e999`.
    """

    values: NDArray[np.float64]
    foreign: NDArray[np.bool_]
    infinite: NDArray[np.bool_]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """(D,) whether the text cannot stand in a field of numbers."""
        return self.foreign | self.infinite


def parse_numbers(texts: pa.Array, missing: NDArray[np.bool_], notation: Notation = PLAIN) -> Numbers:
    """Read D stripped texts as numbers, written as `notation` says.

    By default these are `12`, `-0.5`, `1e-3` and, with commas between thousands, `1,234.5`. A comma as decimal point
    (`12,50`) is foreign then: what it means is decided for a whole column, by `notation_of`.
    """
    if notation.decimal == "," or notation.group != "," or notation.unit or notation.shorthand or notation.signs:
        return _parsed_so(texts, missing, notation)
    plain = pc.match_substring_regex(texts, _PLAIN)
    rest = ~np.asarray(plain) & ~missing
    values = np.array(pc.if_else(plain, texts, None).cast(pa.float64()).fill_null(np.nan))
    infinite = np.isinf(values)
    if rest.any():
        places = np.flatnonzero(rest)
        odd = texts.take(pa.array(places))
        grouped = np.asarray(pc.match_substring_regex(odd, _GROUPED))
        ungrouped = pc.replace_substring(odd.filter(pa.array(grouped)), ",", "")
        values[places[grouped]] = np.asarray(ungrouped.cast(pa.float64()))
        rest[places[grouped]] = False
        endless = np.asarray(pc.match_substring_regex(odd, _INFINITE))
        infinite[places[endless]] = True
        rest[places[endless]] = False
    values[infinite | missing] = np.nan
    return Numbers(_without_holes(values, notation), rest, infinite)


def _without_holes(values: NDArray[np.float64], notation: Notation) -> NDArray[np.float64]:
    for hole in notation.holes:
        values[np.isclose(values, hole, rtol=1e-6, atol=0.0)] = np.nan
    return values


def _parsed_so(texts: pa.Array, missing: NDArray[np.bool_], notation: Notation) -> Numbers:
    bare, factors = _bare(texts, notation)
    fits = np.asarray(pc.match_substring_regex(bare, _pattern(notation.decimal, notation.group)))
    plain = pc.replace_substring(bare, notation.group, "") if notation.group else bare
    plain = pc.replace_substring(plain, ",", ".") if notation.decimal == "," else plain
    values = np.array(pc.if_else(pa.array(fits & ~missing), plain, None).cast(pa.float64()).fill_null(np.nan)) * factors
    infinite = np.isinf(values)
    values[infinite] = np.nan
    return Numbers(_without_holes(values, notation), ~fits & ~missing, infinite)


def _pattern(decimal: str, group: str) -> str:
    """Return the pattern of a number without unit: digits in groups of three or in one piece."""
    mark = re.escape(group)
    groups = rf"({mark}\d{{2,3}})*{mark}\d{{3}}" if group == "," else rf"({mark}\d{{3}})+"
    whole = rf"(\d+|[1-9]\d{{0,2}}{groups})" if group else r"\d+"
    point = re.escape(decimal)
    return rf"^[+-]?({whole}({point}\d*)?|{point}\d+)([eE][+-]?\d+)?$"


def _bare(texts: pa.Array, notation: Notation) -> tuple[pa.Array, NDArray[np.float64]]:
    """Take signs and units off D texts; returns them and (D,) the factors by which shorthand multiplies."""
    texts = _signed(texts)
    if notation.unit == "%":
        texts = pc.replace_substring_regex(texts, r"\s*[%％]$", "")
    elif notation.unit:
        texts = pc.replace_substring_regex(pc.replace_substring_regex(texts, _BEFORE, r"\1\3"), _AFTER, "")
    factors = np.ones(len(texts))
    if notation.shorthand:
        last = pc.ascii_lower(pc.utf8_slice_codeunits(texts, -1))
        for letter, factor in _THOUSANDS.items():
            factors[np.asarray(pc.equal(last, letter))] = factor
        texts = pc.replace_substring_regex(texts, r"(\d)\s*[kKmMbB]$", r"\1")
    return texts, factors


def _signed(texts: pa.Array) -> pa.Array:
    """Write `(12)` and `12-` as `-12`, every sort of blank as one, and every sort of apostrophe and minus as one."""
    if not pc.any(pc.match_substring_regex(texts, _UNLIKE_A_KEYBOARD)).as_py():
        return texts
    for pattern, put in ((_SPACES, " "), ("[’ʼ`´]", "'"), ("[−‒]", "-")):
        texts = pc.replace_substring_regex(texts, pattern, put)
    texts = pc.replace_substring_regex(texts, r"^\((.*\d.*)\)$", r"-\1")
    return pc.replace_substring_regex(texts, r"^([\d.,' ]*\d)-$", r"-\1")


def has_decimal_comma(text: str) -> bool:
    """Say whether `text` looks like a number written with a decimal comma, such as `12,50`."""
    return bool(pc.match_substring_regex(pa.scalar(text), _DECIMAL_COMMA).as_py())


# Which notation a column has.

_NEARLY_ALL = 0.95
"""Share of a column's cells with a value that must be numbers in a notation for it to be the column's."""

_MOST_BLANK = 0.7
"""Share of the cells that words for no value may hold."""

_SAMPLE = 200

_LIKE_A_NUMBER = r"^\D{0,6}\d[\d.,' _]*([eE][+-]?\d+)?\D{0,6}$"

_FEWEST_GROUPED, _FEWEST_SMALL = 3, 0.02
"""Texts such as `1.234`, and the share of small whole numbers such as `998` beside them, that make the point one
between thousands: among decimals hardly any is whole, and one in ten has fewer than three."""


_FEWEST_NUMBERS, _MOST_STRAYS = 50, 3
"""Distinct numbers from which up to so many other texts without a digit, of whatever words, mean no value."""


def notation_of(
    texts: pa.Array, counts: NDArray[np.int64], decimal: str = "", *, quantity: bool = False
) -> Notation | None:
    """Find how the D distinct texts of a column, none of them missing, write numbers.

    The marks of decimals and thousands are decided together, over the whole column.

    Args:
        texts: stripped, none of them empty.
        counts: (D,) rows that hold each.
        decimal: the mark before decimals where it is known.
        quantity: whether a few texts without a digit among many numbers mean no value, whatever they say.

    Returns:
        None where they are no numbers. `PLAIN` where they are such as `12.5` and `1,234.5`.
    """
    if not len(texts) or not _may_be_numbers(texts):
        return None
    lower = pc.utf8_lower(texts)
    words = np.asarray(pc.is_in(lower, value_set=pa.array(sorted(MISSING_WORDS)).cast(lower.type)))
    words |= ~_with(lower, "[0-9a-z]", r"[\p{L}\p{N}]")
    if quantity:
        words |= _few_words(lower, words)
    if counts[words].sum() > _MOST_BLANK * counts.sum():
        return None
    blanks = tuple(sorted(set(lower.filter(pa.array(words)).to_pylist())))
    texts, counts = texts.filter(pa.array(~words)), counts[~words]
    found = _marks_of(texts, counts, decimal)
    return None if found is None else replace(found, blanks=blanks)


def _few_words(lower: pa.Array, words: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which texts without a digit stand beside many numbers, if they are few and none known means no value."""
    others = ~_with(lower, "[0-9]", r"\p{N}") & ~words
    few = 0 < int(others.sum()) <= _MOST_STRAYS and len(lower) - int((others | words).sum()) >= _FEWEST_NUMBERS
    infinite = np.asarray(pc.match_substring_regex(lower, _INFINITE))
    return others & ~infinite if few else np.zeros(len(lower), dtype=bool)


def _with(texts: pa.Array, ascii_only: str, pattern: str) -> NDArray[np.bool_]:
    """Return which of D texts match a pattern of Unicode classes, which are slow; `ascii_only` is its ASCII part."""
    found = np.array(pc.match_substring_regex(texts, ascii_only))
    if not found.all():
        places = np.flatnonzero(~found)
        found[places] = np.asarray(pc.match_substring_regex(texts.take(pa.array(places)), pattern))
    return found


def _may_be_numbers(texts: pa.Array) -> bool:
    """Look at some texts, spread over all, before all of them are tried."""
    places = np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(np.int64))
    some = _signed(texts.take(pa.array(places)))
    like = np.asarray(pc.match_substring_regex(some, _LIKE_A_NUMBER)) | np.asarray(
        pc.is_in(pc.utf8_lower(some), value_set=pa.array(sorted(MISSING_WORDS)).cast(some.type))
    )
    return bool(like.mean() >= 0.5)


def _marks_of(texts: pa.Array, counts: NDArray[np.int64], decimal: str) -> Notation | None:
    signed = _signed(texts)
    unit = _unit_of(signed, counts)
    if unit is None:
        return None
    signs = signed is not texts and not signed.equals(pc.replace_substring_regex(texts, _SPACES, " "))
    short = bool(pc.any(pc.match_substring_regex(signed, r"\d\s*[kKmMbB]$")).as_py())
    best, most = None, 0
    bare = _bare(texts, Notation(unit=unit, shorthand=short))[0]
    for mark, group in _candidates(bare, counts, decimal):
        fits = np.asarray(pc.match_substring_regex(bare, _pattern(mark, group)))
        rows = int(counts[fits].sum())
        if rows > most:
            best, most = Notation(mark, group, unit, short, signs), rows
    if best is None or most < _NEARLY_ALL * counts.sum():
        return None
    return best


def _candidates(bare: pa.Array, counts: NDArray[np.int64], decimal: str) -> list[tuple[str, str]]:
    """Return marks of decimals and thousands, the likelier ones first: of equally good ones the first is taken."""
    marks = [(".", ","), (",", "."), (".", "'"), (",", "'"), (".", " "), (",", " ")]
    if decimal:
        return [(mark, group) for mark, group in marks if mark == decimal]
    return [marks[1], marks[0], *marks[2:]] if _points_between_thousands(bare, counts) else marks


def _points_between_thousands(bare: pa.Array, counts: NDArray[np.int64]) -> bool:
    """Say whether all that has a point has it before three digits, and the rest are whole numbers below 1,000."""
    pointed = np.asarray(pc.match_substring(bare, "."))
    grouped = np.asarray(pc.match_substring_regex(bare, r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"))
    small = np.asarray(pc.match_substring_regex(bare, r"^[+-]?(0|[1-9]\d{0,2})$"))
    if (pointed & ~grouped).any() or grouped.sum() < _FEWEST_GROUPED:
        return False
    return bool(counts[small | grouped].sum() == counts.sum() and small.sum() >= _FEWEST_SMALL * len(counts))


def _unit_of(texts: pa.Array, counts: NDArray[np.int64]) -> str | None:
    """Return the one unit that nearly all signed texts have, empty where there is none; None where units differ."""
    percent = np.asarray(pc.match_substring_regex(texts, r"\d\s*[%％]$"))
    if percent.any():
        return "%" if counts[percent].sum() >= _NEARLY_ALL * counts.sum() else None
    found = sorted({*_marks(texts, _BEFORE.replace("([+-]?)", "[+-]?")), *_marks(texts, _AFTER)})
    if not found:
        return ""
    return found[0] if len(found) == 1 else None


def _marks(texts: pa.Array, pattern: str) -> list[str]:
    for marks in (_BEHIND, _MARK):
        pattern = pattern.replace(f"({marks})", f"(?P<mark>{marks})")
    parts = pc.extract_regex(texts, pattern)
    return [mark for mark in pc.unique(parts.field("mark")).to_pylist() if mark]


_NINES = (-9.0, -99.0, -999.0, -9999.0, -99999.0, -999999.0, 999.0, 9999.0, 99999.0, 999999.0)
_LIMITS = (2.0**31 - 1, -(2.0**31), 2.0**32 - 1, 2.0**63 - 1, -(2.0**63))
"""The largest and smallest whole numbers that programs hold."""
_LEAST_HOLES = 0.01
_FAR_BELOW, _FAR_ABOVE = 1.0, 5.0
"""Times the range of all other numbers by which a number of nines must lie apart, below or above them."""


def holes_of(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Return the numbers of a quantity that stand for no value: the largest of a program, or nines far from all others.

    Args:
        values: (D,) distinct numbers, NaN where there is none.
        counts: (D,) rows that hold each.
    """
    known = np.isfinite(values) & (counts > 0)
    values, counts = values[known], counts[known]
    holes = set(values[np.abs(values) >= _MOST].tolist())
    rest = values[np.abs(values) < _MOST]
    for nines in (*_NINES, *_LIMITS):
        others = rest[rest != nines]
        if len(others) < 3 or not np.any(rest == nines) or (nines in (-9.0,) and others.min() < 0):
            continue
        share = counts[values == nines].sum() / counts.sum()
        if share >= _LEAST_HOLES and _lies_apart(nines, others):
            holes.add(nines)
    return tuple(sorted(holes))


def _lies_apart(nines: float, others: NDArray[np.float64]) -> bool:
    low, high = float(others.min()), float(others.max())
    if nines < 0:
        return nines < low and ((low >= 0 and abs(nines) >= 99) or low - nines > _FAR_BELOW * (high - low))
    return nines > high and nines - high > _FAR_ABOVE * (high - low)


# Numbers as people read them.


def write_number(value: float, notation: Notation = PLAIN) -> str:
    """Write a number as a cell of a column in this notation may have it, without unit: `1234,5` for 1234.5."""
    return f"{value:.12g}".replace(".", notation.decimal)


def number_names(values: Sequence[float] | NDArray[np.float64]) -> tuple[str, ...]:
    """Write distinct finite numbers for people, with as few digits as keep them apart."""
    for digits in (4, 6, 9, 17):
        names = tuple(_number_name(float(value), digits) for value in values)
        if len(set(names)) == len(names):
            break
    return names


def _number_name(value: float, digits: int) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value)}"
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e15 else text  # nobody reads 6.397e+04
