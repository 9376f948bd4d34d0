"""A process as the store names it, so that another process can ask whether it is alive."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of some machine. Its start, `born`, tells it from a later process with the same number."""

    host: str
    pid: int
    born: int = 0
    """Start by the system's clock; 0 if the system does not tell."""

    @classmethod
    def current(cls) -> Process:
        """Name this process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Process:
        """Name the process `pid` of this machine."""
        _, born = _state_and_birth(pid)
        return cls(socket.gethostname(), pid, born)

    @classmethod
    def parse(cls, text: str) -> Process:
        """Rebuild a process from its text."""
        host, pid, born = text.rsplit("/", 2)
        return cls(host, int(pid), int(born))

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.born}"

    @property
    def here(self) -> bool:
        """Whether it runs on this machine, so that `alive` can tell."""
        return self.host == socket.gethostname()

    def alive(self) -> bool:
        """Say whether the process still runs; one that ended and waits to be collected does not."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        state, born = _state_and_birth(self.pid)
        return state not in ("Z", "X") and (not self.born or not born or self.born == born)


def _state_and_birth(pid: int) -> tuple[str, int]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _state_and_birth_elsewhere(pid)
    # The second field is the program's name in brackets and may hold spaces; state is the 3rd field, start the 22nd.
    values = text.rpartition(")")[2].split()
    return values[0], int(values[19])


def _state_and_birth_elsewhere(pid: int) -> tuple[str, int]:
    """Tell the same on a system without /proc, such as macOS: the start in milliseconds since 1970."""
    import psutil  # takes 50 ms to load, and Linux needs it for no process that runs

    try:
        process = psutil.Process(pid)
        return "Z" if process.status() == psutil.STATUS_ZOMBIE else "", round(process.create_time() * 1000)
    except psutil.Error:
        return "", 0


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process of this machine has to itself; 0 if it has ended."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()
    except OSError:
        return 0 if Path("/proc/self").exists() else _memory_elsewhere(pid)
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _memory_elsewhere(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
