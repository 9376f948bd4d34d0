"""How numbers and names are said in sentences, and which names have an order of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from unicodedata import bidirectional

_WHOLE = 1 - 1e-9
"""Shares above it are whole: a sum of shares may fall short of 1 by the rounding of its addends."""


def percent(share: float, digits: int = 0) -> str:
    """Write a share in percent so that none but 0 is said as 0%, and none below 1 as 100%: `under 1%`, `over 99.9%`.

    What is under the least that is written is not rounded up to it: 0.7% is `under 1%`, as 99.3% is `over 99%`.

    Args:
        share: from 0 to 1.
        digits: behind the point.
    """
    least = 10.0**-digits  # in percent
    edge = _WHOLE * least / 100
    if 0 < share < edge:
        return f"under {least:.{digits}f}%"
    if 1 - edge < share < _WHOLE:
        return f"over {100 - least:.{digits}f}%"
    return f"{share:.{digits}%}"


def training_rows(asked: int | None, rows: int) -> str:
    """Name the training rows that were asked, of all `rows`: `200,000 of 1,800,000 training rows`.

    Runs of earlier versions do not say how many were asked, so no number is named.
    """
    if asked is None:
        return "training rows"
    return f"{rows:,} training rows" if asked == rows else f"{asked:,} of {rows:,} training rows"


def signed(value: float, digits: int = 2) -> str:
    """Write a number with its sign and a true minus; a number that rounds to zero is not negative."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def whole_number(text: str) -> int | None:
    """Read a whole number from 0, of at most 18 digits; None if the text is none.

    `int` raises an error of its own where there are thousands of digits.
    """
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def isolated(name: str) -> str:
    """Keep a name with letters that run from right to left, such as Arabic, from turning the sentence around it."""
    return f"\u2068{name}\u2069" if any(bidirectional(letter) in ("R", "AL") for letter in name) else name


def named(field: str, value: str) -> str:
    """Write a value with its field, such as `device = phone`: the field comes first whatever way its letters run."""
    return f"{isolated(field)} = {isolated(value)}"


_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_CALENDARS = [
    {name: place for place, full in enumerate(names) for name in (full, full[:3])} for names in (_DAYS, _MONTHS)
]
_NO_VALUES = ("missing", "unseen", "rare")
"""Levels that stand for no value of their own."""
_MOST_RECURRING = 31
_WHOLE_NUMBER = re.compile(r"[-−]?\d{1,18}", re.ASCII)
_MOMENT = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?|(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)


def is_no_value(level: str) -> bool:
    """Say whether a level stands for no single value: `missing`, `unseen`, `rare`, or all others pooled."""
    return level in _NO_VALUES or level.startswith("other (")


def in_sequence(levels: Sequence[str]) -> list[str] | None:
    """Order levels by value if all are whole numbers, times of day, months, dates or weekdays; None if not.

    Levels that stand for no single value, such as `missing`, come last. One value alone has no order.
    """
    values = [level for level in levels if not is_no_value(level)]
    readings: tuple[Callable[[str], Any], ...] = (_as_number, _as_moment, *(one.get for one in _CALENDARS))
    for read in readings:
        keys = [read(level.lower()) for level in values]
        if len(keys) > 1 and None not in keys:
            ranked = sorted(range(len(keys)), key=keys.__getitem__)
            return [*(values[n] for n in ranked), *filter(is_no_value, levels)]
    return None


def is_recurring(levels: Sequence[str]) -> bool:
    """Say whether levels are hours, weekdays, days of a month or months, of which there are 31 at most.

    Whole numbers from 0 to 31 count as such.
    """
    values = [level for level in levels if not is_no_value(level)]
    if len(values) > _MOST_RECURRING or in_sequence(levels) is None:
        return False
    numbers = [_as_number(level) for level in values]
    return all(number is None or 0 <= number <= _MOST_RECURRING for number in numbers)


def _as_number(text: str) -> int | None:
    return int(text.replace("−", "-")) if _WHOLE_NUMBER.fullmatch(text) else None


def _as_moment(text: str) -> tuple[int, ...] | None:
    found = _MOMENT.fullmatch(text)
    return None if found is None else tuple(int(part or 0) for part in found.groups())
