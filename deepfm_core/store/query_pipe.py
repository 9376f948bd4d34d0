"""A loaded process that waits for questions, so that nobody who asks waits for its start.

Every worker has one. It reads from a named pipe in the store as long as it is free: whoever writes there and finds
nobody at the other end starts a process of its own (see `questions`).
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_MOST_BYTES = 4096
"""At most so many are written to a pipe in one piece, whoever else writes."""
_NICE = 5
"""How far the process steps back for the training and the pages."""


def answering_environment() -> dict[str, str]:
    """Give the environment of a process that answers: one thread, since a training may have the other processor."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def hand_over(home: Path, folder: Path) -> bool:
    """Offer the question in a folder to a process that waits in the store at `home`; False where none does."""
    message = os.fsencode(folder.resolve()) + b"\n"
    if len(message) > _MOST_BYTES or not _pipe(home).is_fifo():
        return False
    try:
        pipe = os.open(_pipe(home), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # there is no pipe, or nobody at its other end
        return False
    try:
        return os.write(pipe, message) == len(message)
    except OSError:  # nobody is there any more
        return False
    finally:
        os.close(pipe)


class Standby:
    """The waiting process of one worker, replaced where it has ended; it ends with the worker, as its input does."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """See that the process lives; it loads by itself, which takes about a second."""
        if self.process is not None and self.process.poll() is None:
            return
        command = [sys.executable, "-m", "deepfm_core.workers.query_worker", "--wait", str(self._home.resolve())]
        with suppress(OSError):  # without it questions are answered, too, only later
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=answering_environment(),
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C on a worker's terminal is the worker's; this ends as its input does
            )
            os.setpriority(os.PRIO_PROCESS, self.process.pid, _NICE)


class Door:
    """The end of the pipe at which the waiting process reads; closed, and so nobody there, while it is at work."""

    def __init__(self, home: Path) -> None:
        """Make the pipe where there is none, and where the file system has any."""
        self._path = _pipe(home)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            os.mkfifo(self._path, 0o600)

    def next(self) -> Path | None:
        """Wait for a question and give its folder; None when standard input ends, as it does with the worker."""
        while True:
            if not self._path.is_fifo():  # no pipe, no question; it stays, so that it is not started again and again
                select.select([sys.stdin], [], [])
                return None
            pipe = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)  # as a writer too it is not woken by every close
            try:
                ready, _, _ = select.select([sys.stdin, pipe], [], [])
                if sys.stdin in ready:
                    return None
                text = os.read(pipe, _MOST_BYTES)
            except BlockingIOError:  # that of another worker was quicker
                continue
            finally:
                os.close(pipe)
            if b"\n" in text:  # whoever else asked in this moment finds that his question is not taken
                return Path(os.fsdecode(text.partition(b"\n")[0]))


def _pipe(home: Path) -> Path:
    return home / "asked"
