"""Processes that train folds beside a run, each on a processor that the run leaves idle.

A fold is trained from the same rows, settings and seed wherever it is trained, so what it says is the same. The run
trains folds itself, too, and starts the processes only once a fold takes longer than a process takes to begin.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from deepfm_core._parallel import processors
from deepfm_core.training.hardware import wanted_threads

WORTH_SECONDS = 2.0
"""A fold that takes longer is worth other processes; one takes about as long to load torch."""
_NICE = 5
_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 5.0


class FoldProcesses:
    """Processes that take fold after fold from a queue, as long as there are any.

    A process that ends without having trained its fold puts that back into the queue: the run then trains it itself.
    """

    def __init__(self, command: Sequence[str], left: deque[int]) -> None:
        """Begin with none.

        Args:
            command: the arguments of Python. The process reads the numbers of folds from its input, a line each, and
                prints one when that fold's file is written. It ends with its input.
            left: the folds that nobody has taken.
        """
        self._command, self._left = command, left
        self._begun: list[tuple[subprocess.Popen[str], threading.Thread]] = []
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = True
        for process, _ in self._begun:
            process.kill()
        for _, thread in self._begun:
            thread.join(_STOP_SECONDS)

    @property
    def begun(self) -> bool:
        """Whether there are any."""
        return bool(self._begun)

    @property
    def busy(self) -> bool:
        """Whether one of them trains a fold."""
        return any(thread.is_alive() for _, thread in self._begun)

    def begin(self, threads: int) -> None:
        """Start as many as there is room for beside a run that trains with so many threads: perhaps none.

        A system that starts no process has the run train alone.
        """
        with suppress(OSError):
            for _ in range(room_for(len(self._left), threads)):
                process = subprocess.Popen(
                    [sys.executable, *self._command],
                    cwd=_ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                thread = threading.Thread(target=self._feed, args=(process,), daemon=True, name="folds")
                self._begun.append((process, thread))
                thread.start()

    def _feed(self, process: subprocess.Popen[str]) -> None:
        """Give a process one fold after the other."""
        assert process.stdin is not None
        assert process.stdout is not None
        with process:  # which closes its input, and waits for its end
            while not self._stopped:
                try:
                    fold = self._left.popleft()
                except IndexError:
                    return
                if not self._trained(process, fold):
                    self._left.append(fold)
                    process.kill()
                    return

    @staticmethod
    def _trained(process: subprocess.Popen[str], fold: int) -> bool:
        """Have a process train a fold, and say whether it did."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{fold}\n")
            process.stdin.flush()
            return process.stdout.readline().strip() == str(fold)
        except OSError:  # it has ended
            return False


def room_for(folds: int, threads: int) -> int:
    """Count the processes that find an idle processor and enough memory beside a run with so many threads."""
    allowed = wanted_threads() or processors()
    memory = psutil.Process().memory_info().rss
    fitting = psutil.virtual_memory().available // 2 // max(memory, 1)
    return max(0, min(folds, allowed // max(threads, 1) - 1, fitting))


class Asked:
    """The folds that a process is asked for on its input, seen from within that process."""

    def __init__(self) -> None:
        """Begin to read, in a thread: the end of the input says that nobody waits any more."""
        self.over = threading.Event()
        self._folds: deque[int] = deque()
        self._come = threading.Semaphore(0)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self._folds.append(int(line))
            self._come.release()
        self.over.set()
        self._come.release()

    def next(self) -> int | None:
        """Wait for a fold; None at the end."""
        self._come.acquire()
        return None if self.over.is_set() else self._folds.popleft()


def be_nice() -> None:
    """Leave the processor to whatever else wants it."""
    os.nice(_NICE)
