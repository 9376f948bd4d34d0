"""Use all processors for work that releases Python's lock, such as that of NumPy and Arrow."""

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
"""The number of the setting M_ARENA_MAX in glibc's malloc.h."""
WORTH_ROWS = 20_000
"""Rows from which threads save more time than they cost."""


def use_system_memory() -> None:
    """Make Arrow use the system's allocator, in the whole process. Call it only in processes of this program.

    Arrow's own allocators keep the memory that parsing and fitting use for a moment: half as much again as a table
    needs. glibc keeps some of it too if each thread has an arena of its own, so all threads share one arena.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(AttributeError, OSError, TypeError):  # not glibc: there is no such setting
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def release_memory() -> None:
    """Give memory that was freed back to the system, which Arrow and glibc else keep for later; for long processes.

    It takes some milliseconds, and touches nothing that is in use.
    """
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError, TypeError):  # not glibc: it has its own ways
        ctypes.CDLL(None).malloc_trim(0)


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one(_: object) -> int:
    return 1


def in_parallel(work: Callable[[S], T], values: Sequence[S], rows: int, size: Callable[[S], int] = _one) -> list[T]:
    """Do the work for each value and return the results in order, in threads if `rows` is at least `WORTH_ROWS`.

    The largest values by `size` are started first, so that no thread is left alone with one at the end.
    """
    if rows < WORTH_ROWS or processors() == 1:
        return [work(value) for value in values]
    with ThreadPoolExecutor(processors()) as threads:
        largest_first = sorted(range(len(values)), key=lambda place: -size(values[place]))
        begun = {place: threads.submit(work, values[place]) for place in largest_first}
        done = [begun[place].result() for place in range(len(values))]
    pa.default_memory_pool().release_unused()  # the threads' memory
    return done
