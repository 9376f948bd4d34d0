"""How far a long computation is: a function that is told the share done."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[float], None]
"""Takes the share done, 0 … 1."""


def unheard(_share: float) -> None:
    """Take a share that nobody asked for."""


def within(report: Report, low: float, high: float) -> Report:
    """Give the report of a part of a computation that takes it from one share to another."""
    return lambda share: report(low + share * (high - low))
