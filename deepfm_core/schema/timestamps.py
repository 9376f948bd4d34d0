"""Points in time as tables write them, read once per distinct text."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_CLOCK = (
    r"(?:[T ,:]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?$"
)
_DIGITS = r"^(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})"
_MONTHS = pa.array(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])

FORMS: dict[str, str] = {
    "year-month-day": r"^(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})" + _CLOCK,
    "month/day/year": r"^(?P<month>\d{1,2})[-/.](?P<day>\d{1,2})[-/.](?P<year>\d{4})" + _CLOCK,
    "day/month/year": r"^(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4})" + _CLOCK,
    "day month-name year": r"^(?:[A-Za-z]{3,9},? )?(?P<day>\d{1,2})[ /-](?P<name>[A-Za-z]{3,9})[ /,-]+(?P<year>\d{4})"
    + _CLOCK,
    "month-name day year": r"^(?P<name>[A-Za-z]{3,9}) (?P<day>\d{1,2}),? (?P<year>\d{4})" + _CLOCK,
    "yyyymmdd": _DIGITS + "$",
    "yyyymmddhh": _DIGITS + r"(?P<hour>\d{2})$",
    "yyyymmddhhmmss": _DIGITS + r"(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})$",
    "yymmddhh": r"^(?P<short>\d{2})(?P<month>\d{2})(?P<day>\d{2})(?P<hour>\d{2})$",
    "hour:minute": r"^(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?$",
    "epoch seconds": r"^(?P<epoch>[12]\d{9})(?:\.\d*)?$",
    "epoch milliseconds": r"^(?P<epoch>[12]\d{9})\d{3}(?:\.\d*)?$",
    "epoch microseconds": r"^(?P<epoch>[12]\d{9})\d{6}$",
}
"""The forms known, each with its pattern. Fractions of a second are dropped."""

_NEEDS_NAME = frozenset({"yymmddhh", "hour:minute", "epoch seconds", "epoch milliseconds", "epoch microseconds"})
_TIME_NAME = re.compile(
    r"(^|[^a-z])(time|timestamp|ts|date|datetime|day|hour|epoch|at|dt|when|created|updated)($|[^a-z])|time|date",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Moments:
    """D distinct texts read as points in time.

    Attributes:
        local: (D,) seconds since 1970 as the clock in the text shows it (time zone not taken off).
        instant: (D,) seconds since 1970 in UTC.
        valid: (D,) whether the text is a point in time; where not, the other two are 0.
    """

    local: NDArray[np.int64]
    instant: NDArray[np.int64]
    valid: NDArray[np.bool_]

    @property
    def hours(self) -> NDArray[np.int64]:
        """(D,) hour of day, 0 … 23."""
        return self.local // 3600 % 24

    @property
    def weekdays(self) -> NDArray[np.int64]:
        """(D,) day of week, 0 (Monday) … 6."""
        return (self.local // 86400 + 3) % 7


def parse_moments(texts: pa.Array, form: str) -> Moments:
    """Read D stripped texts in one of the `FORMS`."""
    parts = pc.extract_regex(texts, FORMS[form])
    names = {field.name for field in parts.type}
    valid = np.asarray(parts.is_valid())

    def number(name: str, empty: int = 0) -> NDArray[np.int64]:
        if name not in names:
            return np.full(len(texts), empty, dtype=np.int64)
        part = parts.field(name)
        digits = pc.if_else(pc.fill_null(pc.equal(part, ""), True), str(empty), part)
        return np.asarray(digits.cast(pa.int64()))

    if "epoch" in names:
        seconds = number("epoch") * valid
        return Moments(seconds, seconds, valid)
    year = number("short") + 2000 if "short" in names else number("year", 1970)
    month = _named_months(parts.field("name")) if "name" in names else number("month", 1)
    hour = number("hour")
    if "half" in names:
        hour = _of_24(hour, parts.field("half"))
    day, minute, second = number("day", 1), number("minute"), number("second")
    valid &= (month >= 1) & (month <= 12) & (day >= 1) & (hour <= 23) & (minute <= 59) & (second <= 60)
    months = np.where(valid, (year - 1970) * 12 + month - 1, 0)
    start = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - start
    valid &= day <= length
    local = np.where(valid, (start + day - 1) * 86400 + hour * 3600 + minute * 60 + second, 0)
    offset = _zone_seconds(parts.field("zone")) if "zone" in names else np.zeros(len(texts), dtype=np.int64)
    return Moments(local, np.where(valid, local - offset, 0), valid)


def form_of(texts: pa.Array, name: str, *, sure: bool = False) -> tuple[str, bool] | None:
    """Return the form in which all D stripped texts of column `name` are points in time, or None.

    Numbers are taken for points in time only where the column's name says so, or `sure` is set. Where
    day and month cannot be told apart, the reading that spans less time is taken.

    Returns:
        the form, and whether it could as well have been the other order of day and month.
    """
    if not len(texts) or not _may_be_time(texts):
        return None
    fitting = {
        form: moments
        for form in FORMS
        if (moments := _all_moments(texts, form, sure or bool(_TIME_NAME.search(name)))) is not None
    }
    if not fitting:
        return None
    forms = [form for form in ("month/day/year", "day/month/year") if form in fitting]
    if len(forms) == 2:
        return min(forms, key=lambda form: int(np.ptp(fitting[form].instant))), True
    return next(iter(fitting)), False


def _may_be_time(texts: pa.Array) -> bool:
    """Look at one text before all of them are tried."""
    first = texts.slice(0, 1)
    return any(pc.match_substring_regex(first, pattern)[0].as_py() for pattern in FORMS.values())


def _all_moments(texts: pa.Array, form: str, named: bool) -> Moments | None:
    if form in _NEEDS_NAME and not named:
        return None
    few = parse_moments(texts.slice(0, 100), form)
    if not few.valid.all():
        return None
    moments = parse_moments(texts, form)
    return moments if moments.valid.all() else None


def _named_months(names: pa.Array) -> NDArray[np.int64]:
    short = pc.utf8_slice_codeunits(pc.ascii_lower(names), 0, 3)
    places: NDArray[np.int32] = np.asarray(pc.index_in(short, value_set=_MONTHS.cast(short.type)).fill_null(-1))
    return places.astype(np.int64) + 1


def _of_24(hour: NDArray[np.int64], half: pa.Array) -> NDArray[np.int64]:
    """Turn hours of a clock with AM and PM into hours of the day; 24 marks what such a clock does not show."""
    letter = pc.fill_null(pc.ascii_lower(half), "")
    am, pm = np.asarray(pc.equal(letter, "a")), np.asarray(pc.equal(letter, "p"))
    halved = np.where((hour < 1) | (hour > 12), 24, hour % 12 + 12 * pm)
    return np.where(am | pm, halved, hour)


def _zone_seconds(zone: pa.Array) -> NDArray[np.int64]:
    """Return the offset of each zone from UTC in seconds."""
    parts = pc.extract_regex(zone, r"^(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?$")

    def number(name: str) -> NDArray[np.int64]:
        part = parts.field(name)
        digits = pc.if_else(pc.fill_null(pc.equal(part, ""), True), "0", part)
        return np.asarray(digits.cast(pa.int64())).astype(np.int64)

    sign = np.where(np.asarray(pc.fill_null(pc.equal(parts.field("sign"), "-"), False)), -1, 1)
    return sign.astype(np.int64) * (number("hours") * 3600 + number("minutes") * 60)
