"""Waiting for what other processes do, which only their store shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

HANGS = 300.0
"""Seconds after which a test counts as hanging. They say nothing of speed: a busy machine may take long."""


def wait(what: Callable[[], T], seconds: float = HANGS) -> T:
    """Ask again and again until the answer is true, and return it."""
    until = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)
    return answer
