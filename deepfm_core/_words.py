"""How numbers and names are said in sentences."""

from __future__ import annotations

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
