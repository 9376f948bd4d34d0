"""Work that leaves Python's lock alone, such as that of NumPy and Arrow, done by all processors at once."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import pyarrow as pa

S = TypeVar("S")
T = TypeVar("T")

_M_ARENA_MAX = -8
"""The number of this setting in glibc's malloc.h."""
WORTH_ROWS = 20_000
"""Rows from which on threads gain more than they cost."""


def use_system_memory() -> None:
    """Let Arrow take memory from the system's allocator, in all of this process: for processes of this program alone.

    Arrow's own allocators would keep what parsing and fitting use for a moment, half as much again as a table needs.
    So would glibc's in part, where each thread takes memory from a place of its own: all take it from one.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(AttributeError, OSError, TypeError):  # another system's library has no such setting
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one(_: object) -> int:
    return 1


def side_by_side(work: Callable[[S], T], values: Sequence[S], rows: int, size: Callable[[S], int] = _one) -> list[T]:
    """Do the work for each value and return the results in order; in threads where there are `rows` enough.

    What is largest by `size` is begun first, so that no thread is left alone with it in the end.
    """
    if rows < WORTH_ROWS or processors() == 1:
        return [work(value) for value in values]
    with ThreadPoolExecutor(processors()) as threads:
        largest_first = sorted(range(len(values)), key=lambda place: -size(values[place]))
        begun = {place: threads.submit(work, values[place]) for place in largest_first}
        done = [begun[place].result() for place in range(len(values))]
    pa.default_memory_pool().release_unused()  # what the threads used for a moment goes back to the system
    return done
