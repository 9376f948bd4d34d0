"""Processes that train folds beside a run, on processors that its own fit does not use.

A fold is trained from the same rows, settings and seed wherever it is trained, so what it says is the same. The run
trains folds itself, too, and starts the processes only once a fold takes longer than a process takes to begin.
"""

from __future__ import annotations

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
DONE = "done"
"""What a process prints when a fold's file is written; before that it prints shares."""
_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 5.0
_CONTAINER = Path("/sys/fs/cgroup")


class FoldProcesses:
    """Processes that take fold after fold from a queue, as long as there are any.

    A process that ends without having trained its fold puts that back into the queue: the run then trains it itself.
    """

    def __init__(self, command: Sequence[str], left: deque[int], log: Path) -> None:
        """Begin with none.

        Args:
            command: the arguments of Python. The process reads the numbers of folds from its input, a line each, and
                prints how much of one is done, then `DONE` when that fold's file is written. It ends with its input.
            left: the folds that nobody has taken.
            log: the file that has what goes wrong in a process.
        """
        self._command, self._left, self._log = command, left, log
        self._begun: list[tuple[subprocess.Popen[str], threading.Thread]] = []
        self._shares: dict[int, float] = {}
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
    def busy(self) -> bool:
        """Whether one of them trains a fold."""
        return any(thread.is_alive() for _, thread in self._begun)

    @property
    def shares(self) -> dict[int, float]:
        """How much is done of each fold that one of them is at."""
        return dict(self._shares)

    def begin(self, count: int) -> None:
        """Start so many; where the system starts none, the run trains alone."""
        with suppress(OSError, RuntimeError):
            for _ in range(count):
                self._begin()

    def _begin(self) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        thread = threading.Thread(target=self._feed, args=(process,), daemon=True, name="folds")
        try:
            thread.start()
        except RuntimeError:  # the system has no room for a thread
            process.kill()
            raise
        self._begun.append((process, thread))

    def _feed(self, process: subprocess.Popen[str]) -> None:
        """Give a process one fold after the other."""
        with suppress(OSError), process:  # which closes its input, and waits for its end; it may have ended before
            while not self._stopped:
                try:
                    fold = self._left.popleft()
                except IndexError:
                    return
                if not self._trained(process, fold):
                    self._left.append(fold)
                    process.kill()
                    return

    def _trained(self, process: subprocess.Popen[str], fold: int) -> bool:
        """Have a process train a fold, and say whether it did."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{fold}\n")
            process.stdin.flush()
            while (line := process.stdout.readline().strip()) not in ("", DONE):
                self._shares[fold] = float(line)
            return line == DONE
        except (OSError, ValueError):  # it has ended
            return False
        finally:
            self._shares.pop(fold, None)


def room_for(folds: int, threads: int) -> int:
    """Count the processes that find a processor and enough memory beside a run whose fit has so many threads."""
    allowed = wanted_threads() or processors()
    memory = psutil.Process().memory_info().rss
    return max(0, min(folds, allowed // max(threads, 1) - 1, memory_left() // 2 // max(memory, 1)))


def memory_left() -> int:
    """Give the bytes that may still be taken: of the system, and of the container, if that has a limit."""
    left = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no container, or one without a limit
        most, taken = ((_CONTAINER / name).read_text() for name in ("memory.max", "memory.current"))
        left = min(left, int(most) - int(taken))
    return left


class Asked:
    """The folds that a run wants from this process, which reads their numbers from its standard input."""

    def __init__(self) -> None:
        """Begin to read in a thread. The input ends when the run does; then `over` is set, and no more is wanted."""
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
        """Wait for the next fold's number; None once the input has ended."""
        self._come.acquire()
        return None if self.over.is_set() else self._folds.popleft()
