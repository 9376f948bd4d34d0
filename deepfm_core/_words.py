"""How numbers are said in sentences."""

from __future__ import annotations

_WHOLE = 1 - 1e-9
"""Shares above it are whole: a sum of shares may fall short of 1 by the rounding of its addends."""


def percent(share: float, digits: int = 0) -> str:
    """Write a share in percent so that none but 0 is said as 0%, and none below 1 as 100%: `under 1%`, `over 99.9%`.

    Args:
        share: from 0 to 1.
        digits: behind the point.
    """
    written, least = f"{share:.{digits}%}", 10.0**-digits
    if share > 0 and written == f"{0:.{digits}%}":
        return f"under {least:.{digits}f}%"
    if share < _WHOLE and written == f"{1:.{digits}%}":
        return f"over {100 - least:.{digits}f}%"
    return written


def signed(value: float, digits: int = 2) -> str:
    """Write a number with its sign and a true minus; a number that rounds to zero is not negative."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")
