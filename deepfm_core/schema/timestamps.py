"""Points in time as tables write them, read once per distinct text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_ZONE = (
    r"(?:(?P<zone>Z|[+-]\d{2}:?\d{2}|[+-]\d{2}|(?:UTC|GMT)[+-]\d{1,2}(?::?\d{2})?|[A-Z]{3,5}|"
    r"\[?[A-Z][A-Za-z]+/[A-Z][A-Za-z_]+(?:/[A-Z][A-Za-z_]+)?\]?)(?:\[[A-Za-z/_]+\])?)"
)
_TIME = (
    r"(?P<hour>\d{1,2})[时時点]?(?:[:.h]?(?P<minute>\d{2})分?(?:[:.]?(?P<second>\d{2})秒?(?:[.,:]\d+)?)?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?|\s*(?:h|hrs?|Uhr))?"
)
_CLOCK = rf"(?:(?:[T,:_]| +|- ?| - | at | um )+{_TIME}\s*\(?{_ZONE}?\)?(?: \([^)]*\))?|Z|[+-]\d{{2}}:\d{{2}})?$"
_DIGITS = r"^(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})"
_SHORT = r"(?P<short>\d{2})"
_DAY, _MONTH, _YEAR = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})", r"(?P<year>\d{4})"
_NAME = r"(?P<name>[A-Za-zäû]{3,9})\.?"
_WEEKDAY = r"(?:[A-Za-z]{2,9}\.?,? )?"
_MONTHS = pa.array(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
_OTHER_MONTHS = {"mär": "mar", "mrz": "mar", "mai": "may", "okt": "oct", "dez": "dec", "ene": "jan", "ago": "aug"}
_SPREADSHEET = "days of a spreadsheet"

FORMS: dict[str, str] = {
    "year-month-day": rf"^{_YEAR}[-/.:年]{_MONTH}[-/.:月]{_DAY}日?" + _CLOCK,
    "month/day/year": rf"^{_MONTH}[-/.]{_DAY}[-/.]{_YEAR}" + _CLOCK,
    "day/month/year": rf"^{_DAY}[-/.]{_MONTH}[-/.]{_YEAR}" + _CLOCK,
    "day month-name year": rf"^{_WEEKDAY}{_DAY}\.?[ /-]{_NAME}[ /,-]+{_YEAR}" + _CLOCK,
    "month-name day year": rf"^{_WEEKDAY}{_NAME}[ /-]{_DAY}(?:st|nd|rd|th)?(?:,? |[/-]){_YEAR}" + _CLOCK,
    "month/day/yy": rf"^{_MONTH}[-/.]{_DAY}[-/.]{_SHORT}" + _CLOCK,
    "day/month/yy": rf"^{_DAY}[-/.]{_MONTH}[-/.]{_SHORT}" + _CLOCK,
    "yy-month-day": rf"^{_SHORT}[-/.]{_MONTH}[-/.]{_DAY}" + _CLOCK,
    "day month-name yy": rf"^{_WEEKDAY}{_DAY}\.?[ /-]{_NAME}[ /,-]+{_SHORT}" + _CLOCK,
    "weekday month-name day hour:minute:second year": (
        rf"^[A-Za-z]{{3}} {_NAME} +{_DAY} (?P<hour>\d{{1,2}}):(?P<minute>\d{{2}}):(?P<second>\d{{2}})"
        rf"(?: {_ZONE})? {_YEAR}$"
    ),
    "year-month-day-hour": rf"^{_YEAR}[-/.]{_MONTH}[-/.]{_DAY}[-/. _](?P<hour>\d{{2}})"
    r"(?:[-/._](?P<minute>\d{2})(?:[-/._](?P<second>\d{2}))?)?$",
    "yyyymmdd": _DIGITS + "$",
    "yyyymmddhh": _DIGITS + r"(?P<hour>\d{2})$",
    "yyyymmddhhmm": _DIGITS + r"(?P<hour>\d{2})(?P<minute>\d{2})$",
    "yyyymmddhhmmss": _DIGITS + r"(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})(?:[.,]\d+)?$",
    "yyyymmddhhmmss and fractions": _DIGITS + r"(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})(?:\d{3}|\d{6})$",
    "yyyymmddThhmmss": _DIGITS
    + r"[T _-](?P<hour>\d{2}):?(?P<minute>\d{2})?:?(?P<second>\d{2})?(?:[.,]\d+)?\s*"
    + _ZONE
    + "?$",
    "yymmddhh": r"^(?P<short>[0-4]\d)(?P<month>\d{2})(?P<day>\d{2})(?P<hour>\d{2})$",
    "hour:minute": r"^(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?$",
    "hour:minute AM/PM": (r"^(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?\s*(?P<half>[AaPp])\.?[Mm]\.?$"),
    _SPREADSHEET: r"^(?P<days>3[6-9]\d{3}|4\d{4}|5[0-4]\d{3})(?:\.(?P<share>\d+))?$",  # from 1998 to 2050
    "epoch seconds": r"^(?P<epoch>[1-9]\d{8}|[1-3]\d{9})(?:\.\d*)?$",
    "epoch milliseconds": r"^(?P<epoch>[1-9]\d{8}|[1-3]\d{9})\d{3}(?:\.\d*)?$",
    "epoch microseconds": r"^(?P<epoch>[1-9]\d{8}|[1-3]\d{9})\d{6}(?:\.\d*)?$",
    "epoch nanoseconds": r"^(?P<epoch>[1-9]\d{8}|[1-3]\d{9})\d{9}(?:\.\d*)?$",
}
"""The forms known, each with its pattern. Fractions of a second are dropped."""

_ANY_FORM = "|".join(f"(?:{re.sub(r'[?]P<[a-z]+>', '', pattern)})" for pattern in FORMS.values())
"""One pattern for all forms, which is looked for once; it names no parts, since forms share them."""

_DAY_FIRST = {"month/day/year": "day/month/year", "month/day/yy": "day/month/yy"}
"""The forms that begin with the month, each with the one that begins with the day."""

ORDERS = ("day first", "month first")
"""What may be said of a column whose days and months could change places."""

_NEEDS_NAME = frozenset(
    {
        "yymmddhh",
        "hour:minute",
        "hour:minute AM/PM",
        _SPREADSHEET,
        "epoch seconds",
        "epoch milliseconds",
        "epoch microseconds",
        "epoch nanoseconds",
    }
)
_TIME_NAME = re.compile(
    r"(^|[^a-z])(time|timestamp|ts|date|datetime|day|hour|epoch|at|dt|when|created|updated)($|[^a-z])|time|date",
    re.IGNORECASE,
)

_DATE_NAME = re.compile(
    r"(?<!candi)(?<!man)(?<!up)(?<!vali)(?<!accommo)(?i:date(time|s)?)([^a-z]|$)|[a-z]Date([^a-z]|$)|(^|[^a-z])(?i:day|dt)($|[^a-z])"
)
_SHARE_NAME = re.compile(r"(^|[^a-z])(of|s|secs?|seconds?|millis|ms|mins?|minutes?|steps?)($|[^a-z])", re.IGNORECASE)
"""What says that numbers are a share of a day, as `sec_of_day` does, or a count."""

STRAYS = 0.05
"""Share of the distinct texts that may be no points in time; they count as missing."""

_SAMPLE = 100


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


_DAYS_TO_1970 = 25_569
"""Days that spreadsheets count from 30 December 1899 on."""


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
    if "days" in names:
        share = pc.replace_substring_regex(pc.fill_null(parts.field("share"), ""), "^", "0.")
        of_day = np.rint(np.asarray(share.cast(pa.float64())) * 86400).astype(np.int64)
        seconds = ((number("days") - _DAYS_TO_1970) * 86400 + of_day) * valid
        return Moments(seconds, seconds, valid)
    year = _full_year(number("short")) if "short" in names else number("year", 1970)
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
    offset = _zone_seconds(parts.field("zone"), local) if "zone" in names else np.zeros(len(texts), dtype=np.int64)
    return Moments(local, np.where(valid, local - offset, 0), valid)


_DATED = r"^(?P<year>(?:19|20)\d{2})(?:-?[WwQq]|[-_/.])(?P<part>\d{1,2})$"


def dated_order(texts: pa.Array) -> NDArray[np.float64] | None:
    """Return (D,) numbers that order years with a month, a quarter or a week, such as `2024-03` and `2024-W09`.

    These are spans of time, not points in it. None where a text is something else; NaN where one is empty.
    """
    parts = pc.extract_regex(texts, _DATED)
    empty = np.asarray(pc.equal(texts, ""))
    if empty.all() or not np.all(np.asarray(parts.is_valid()) | empty):
        return None
    year, part = (
        np.asarray(pc.cast(parts.field(name).filter(parts.is_valid()), pa.float64())) for name in ("year", "part")
    )
    if pc.any(pc.match_substring(texts, ".")).as_py() and not np.all((part >= 1) & (part <= 12)):
        return None  # years with decimals, as `2013.25` and `2013.5`
    order = np.full(len(texts), np.nan)
    order[~empty] = 100 * year + part
    return order


def form_of(texts: pa.Array, name: str, *, sure: bool = False, order: str = "") -> tuple[str, bool] | None:
    """Return the form in which the D stripped texts of column `name` are points in time, all but a few, or None.

    Numbers are taken for points in time only where the column's name says so, or `sure` is set. The order of day and
    month is decided over the whole column: of the forms that fit the most texts, the one that spans less time is taken.

    Args:
        texts: none of them missing.
        name: of the column.
        sure: whether they are known to be points in time.
        order: one of `ORDERS` where it is known which comes first.

    Returns:
        the form, and whether it could as well have been the other order of day and month.
    """
    if not len(texts) or not _may_be_time(texts):
        return None
    named = sure or bool(_TIME_NAME.search(name))
    dates = sure or bool(_DATE_NAME.search(name) and not _SHARE_NAME.search(name))
    fitting = {
        form: moments
        for form in FORMS
        if _in_order(form, order)
        and (moments := _nearly_all(texts, form, dates if form == _SPREADSHEET else named)) is not None
    }
    if not fitting:
        return None
    most = max(int(moments.valid.sum()) for moments in fitting.values())
    best = [form for form, moments in fitting.items() if int(moments.valid.sum()) == most]
    dated = [form for form in best if form in _BY_PLACE]
    if dated and not named and _are_versions(texts):
        return None
    if pc.all(pc.match_substring_regex(texts, _WITH_POINTS)).as_py():
        dated = [form for form in dated if _DAY_FIRST.get(form) not in dated]
    if not dated or best[0] not in _BY_PLACE:
        return best[0], False
    chosen = min(dated, key=lambda form: _span(fitting[form]))
    return chosen, not order and _other_order(chosen) in dated


_BY_PLACE = frozenset({*_DAY_FIRST, *_DAY_FIRST.values(), "yy-month-day"})
"""The forms in which places alone tell day, month and year of two digits."""


_LIKE_VERSIONS = r"^\d{1,2}\.\d{1,2}\.\d{2}$"
"""Versions of programs look like dates with points and a year of two digits."""


def _are_versions(texts: pa.Array) -> bool:
    """Say whether all texts look like versions; hardly any of these has its first two numbers written as `03`."""
    if not pc.all(pc.match_substring_regex(texts, _LIKE_VERSIONS)).as_py():
        return False
    padded = pc.all(pc.match_substring_regex(texts, r"^\d{2}\.\d{2}\.")).as_py()
    return not (padded and pc.any(pc.match_substring_regex(texts, r"^0|\.0\d\.")).as_py())


_WITH_POINTS = r"^\d{1,2}\.\d{1,2}\."
"""With points the day comes first, wherever people write dates so."""


def _in_order(form: str, order: str) -> bool:
    unwanted = {"day first": [*_DAY_FIRST], "month first": [*_DAY_FIRST.values()]}
    return form not in unwanted.get(order, [])


def _other_order(form: str) -> str:
    return _DAY_FIRST.get(form) or next((first for first, other in _DAY_FIRST.items() if other == form), "")


def _span(moments: Moments) -> int:
    return int(np.ptp(moments.instant[moments.valid]))


def looks_like_times(texts: pa.Array) -> bool:
    """Say whether nearly all of D texts look like points in time, of whatever form."""
    pattern = r"\d{1,4}[-/.:]\d{1,2}[-/.:]\d{1,4}|^\d{1,2}[ -][A-Za-z]{3,9}[ ,-]+\d{2,4}|\d{1,2}:\d{2}"
    like = np.asarray(pc.match_substring_regex(texts, pattern))
    addresses = np.asarray(pc.match_substring_regex(texts, r"^(?i)[0-9a-f]{1,3}([.:][0-9a-f]{1,3}){3,}$"))
    return bool(len(texts)) and float((like & ~addresses).mean()) >= 1 - STRAYS


def _some(texts: pa.Array, count: int) -> pa.Array:
    """Take some texts, spread over all."""
    return texts.take(pa.array(np.unique(np.linspace(0, len(texts) - 1, count).astype(np.int64))))


def _may_be_time(texts: pa.Array) -> bool:
    """Look at a few texts before all of them are tried."""
    few = _some(texts, 8)
    if all(map(_is_no_time, few.to_pylist())):
        return False  # a tenth of the time of making Arrow's pattern, which wide tables would pay for every column
    return bool(pc.any(pc.match_substring_regex(few, _ANY_FORM)).as_py())


def _is_no_time(text: str) -> bool:
    """Say whether a text has fewer than three digits, or is a number that is too short for any form."""
    return sum(map(str.isdecimal, text)) < _FEWEST_DIGITS or _SHORT_NUMBER.fullmatch(text) is not None


_FEWEST_DIGITS = 3
_SHORT_NUMBER = re.compile(r"(?!(3[6-9]|4[0-9]|5[0-4])[0-9]{3}(\.|$))[-+]?[0-9]{0,7}([.,][0-9]*)?")
"""Forms without marks between their parts have eight digits or more, but for the days of a spreadsheet."""


def _nearly_all(texts: pa.Array, form: str, named: bool) -> Moments | None:
    if form in _NEEDS_NAME and not named:
        return None
    if parse_moments(_some(texts, _SAMPLE), form).valid.mean() < 0.5:
        return None
    moments = parse_moments(texts, form)
    return moments if int((~moments.valid).sum()) <= STRAYS * len(texts) else None


def _full_year(short: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give years of two digits their century, as POSIX does: 69 … 99 are of the last one."""
    return np.where(short >= 69, short + 1900, short + 2000)


def _named_months(names: pa.Array) -> NDArray[np.int64]:
    short = pc.utf8_slice_codeunits(pc.utf8_lower(names), 0, 3)
    for other, english in _OTHER_MONTHS.items():
        short = pc.if_else(pc.equal(short, other), english, short)
    places: NDArray[np.int32] = np.asarray(pc.index_in(short, value_set=_MONTHS.cast(short.type)).fill_null(-1))
    return places.astype(np.int64) + 1


def _of_24(hour: NDArray[np.int64], half: pa.Array) -> NDArray[np.int64]:
    """Turn hours of a clock with AM and PM into hours of the day; 24 marks what such a clock does not show."""
    letter = pc.fill_null(pc.ascii_lower(half), "")
    am, pm = np.asarray(pc.equal(letter, "a")), np.asarray(pc.equal(letter, "p"))
    halved = np.where((hour < 1) | (hour > 12), 24, hour % 12 + 12 * pm)
    return np.where(am | pm, halved, hour)


_ABBREVIATIONS = {
    "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2, "EET": 2, "EEST": 3, "MSK": 3, "IST": 5.5,
    "PKT": 5, "SGT": 8, "HKT": 8, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "EST": -5,
    "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "AKST": -9, "HST": -10, "BRT": -3,
}  # fmt: skip
"""Hours from UTC of the zones that logs abbreviate."""


def _zone_seconds(zone: pa.Array, local: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the offset of each zone from UTC in seconds; 0 where a zone is not known.

    Args:
        zone: (D,) as written.
        local: (D,) seconds since 1970 by the zone's clock.
    """
    parts = pc.extract_regex(zone, r"^(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d{1,2}):?(?P<minutes>\d{2})?$")

    def number(name: str) -> NDArray[np.int64]:
        part = parts.field(name)
        digits = pc.if_else(pc.fill_null(pc.equal(part, ""), True), "0", part)
        return np.asarray(digits.cast(pa.int64())).astype(np.int64)

    sign = np.where(np.asarray(pc.fill_null(pc.equal(parts.field("sign"), "-"), False)), -1, 1)
    seconds = sign.astype(np.int64) * (number("hours") * 3600 + number("minutes") * 60)
    for name in pc.unique(zone).to_pylist():
        bare = (name or "").strip("[]")
        if bare in _ABBREVIATIONS or "/" in bare:
            chosen = np.asarray(pc.fill_null(pc.equal(zone, name), False))
            seconds[chosen] = _named_seconds(bare, local[chosen])
    return seconds


def _named_seconds(name: str, local: NDArray[np.int64]) -> NDArray[np.int64]:
    if name in _ABBREVIATIONS:
        return np.full(len(local), int(_ABBREVIATIONS[name] * 3600), dtype=np.int64)
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return np.zeros(len(local), dtype=np.int64)
    days, place = np.unique(local // 86400, return_inverse=True)  # summer time changes at night
    noons = [datetime(1970, 1, 1, 12, tzinfo=zone) + timedelta(days=int(day)) for day in days]
    return np.array([int((noon.utcoffset() or timedelta()).total_seconds()) for noon in noons], dtype=np.int64)[place]
