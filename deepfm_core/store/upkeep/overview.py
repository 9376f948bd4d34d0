"""How a store does: its queue, workers, owners and disk, and what an operator should look at."""

from __future__ import annotations

import shutil
import stat
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deepfm_core._log import short
from deepfm_core.store.limits import LEAST_FREE, STORE, Room, bytes_of, bytes_of_table, room_of
from deepfm_core.store.process import Process, memory_of
from deepfm_core.store.records import STALE_SECONDS, RunRow, TableEntry
from deepfm_core.store.run_queue import RUNS, alive
from deepfm_core.store.store import Store

_NEARLY = 0.9
"""The part of what a store may take from which its operator hears of it."""


@dataclass(frozen=True)
class WorkerLine:
    """A worker that is registered."""

    lane: str
    state: str
    host: str
    pid: int
    seconds: float
    """Since it started."""
    silent: float
    """Seconds since its last heartbeat."""
    alive: bool
    memory: int | None
    """Bytes that it has to itself; None for a worker of another machine."""


@dataclass
class OwnerState:
    """What one owner has; what is in the bin does not count. The owner's name is a secret, so it is a digest."""

    owner: str
    tables: int = 0
    table_bytes: int = 0
    runs: int = 0
    run_bytes: int = 0
    waiting: int = 0
    last: float = 0.0
    """When the newest of it was made, in seconds since 1970."""


@dataclass(frozen=True)
class Waiting:
    """A run in the queue or at work, by digests."""

    place: int
    """In the queue, from 1; 0 at work."""
    run: str
    owner: str
    state: str
    since: float
    """When it was queued, or began."""


@dataclass(frozen=True)
class Overview:
    """A store at one moment."""

    queue: list[Waiting]
    workers: list[WorkerLine]
    owners: list[OwnerState]
    """Largest first."""
    folders: dict[str, int]
    """Bytes by what they hold."""
    disk_free: int
    disk_total: int
    room: Room
    """What the store takes of what it may take."""
    memory_available: int
    memory_total: int
    problems: list[str] = field(default_factory=list)
    """What an operator should look at, as sentences."""
    notes: list[str] = field(default_factory=list)
    """What an operator should know while all is well, as sentences."""


def overview(store: Store) -> Overview:
    """Look at a store. It reads the sizes of all its files, so it is for an operator and not for each visitor.

    Raises:
        RunError: the store cannot be read.
    """
    runs, tables, workers = store.runs(), store.tables(), worker_lines(store)
    disk, memory, room = shutil.disk_usage(store.home), psutil.virtual_memory(), room_of(store.home)
    return Overview(
        _queue(store, runs),
        workers,
        _owners(store, runs, tables),
        _folders(store.home),
        disk.free,
        disk.total,
        room,
        memory.available,
        memory.total,
        list(problems(store, workers)),
        list(notes(room)),
    )


def problems(store: Store, workers: list[WorkerLine] | None = None) -> Iterator[str]:
    """Say what is not well with a store, a sentence each; nothing where all is.

    Args:
        store: to look at.
        workers: its `worker_lines`, where they are known already.

    Raises:
        RunError: the store cannot be read or written.
    """
    with store.database.write():  # refused on a disk that cannot be written, or behind a lock that nobody gives back
        pass
    free = shutil.disk_usage(store.home).free
    if free < LEAST_FREE:
        least = f"{LEAST_FREE / 10**6:,.0f} MB"
        yield f"Only {free / 10**6:,.0f} MB of disk are free. Free some, to {least} or more, or uploads and runs fail."
    workers = worker_lines(store) if workers is None else workers
    waiting = store.queued()
    if waiting and not any(worker.alive for worker in workers if worker.lane == RUNS):
        runs = "1 run is waiting" if waiting == 1 else f"{waiting:,} runs are waiting"
        yield f"{runs}, but no worker is running. Open a page of the app, which starts one, or read worker.log."
    for worker in workers:
        if worker.alive and worker.silent > STALE_SECONDS:
            yield (
                f"The worker {worker.pid} on {worker.host} has said nothing for {worker.silent:,.0f} seconds."
                " End it if that goes on: its run can be resumed."
            )


def notes(room: Room) -> Iterator[str]:
    """Say what an operator should know of a store that is well: that it has nearly all that it may take.

    That is no problem: a server that is started again for it has no more room.
    """
    if room.used is not None and room.most is not None and room.used > _NEARLY * room.most:
        takes = f"The store takes {room.used / 10**6:,.0f} MB of {room.most / 10**6:,.0f} MB."
        yield f"{takes} At the limit, visitors can add nothing. Raise {STORE}, or keep things for fewer days."


def worker_lines(store: Store) -> list[WorkerLine]:
    """List the registered workers, the oldest first."""
    now, lines = time.time(), []
    for row in store.database.rows("SELECT * FROM workers ORDER BY started"):
        process, silent = Process.parse(row["worker"]), max(now - row["heartbeat"], 0.0)
        lives = alive(row)
        memory = memory_of(process.pid) if process.here and lives else None
        values = (row["lane"], row["state"], process.host, process.pid, max(now - row["started"], 0.0))
        lines.append(WorkerLine(*values, silent, lives, memory))
    return lines


def _queue(store: Store, runs: list[RunRow]) -> list[Waiting]:
    places = {run.id: place for place, run in enumerate(store.claims.waiting(), start=1)}
    lines = []
    for run in runs:
        if run.state in ("queued", "running", "lost"):
            since = (run.queued if run.state == "queued" else run.started) or run.created
            lines.append(Waiting(places.get(run.id, 0), short(run.id), short(run.owner), run.state, since))
    return sorted(lines, key=lambda line: (line.place, line.since))


def _owners(store: Store, runs: list[RunRow], tables: list[TableEntry]) -> list[OwnerState]:
    owners: dict[str, OwnerState] = defaultdict(lambda: OwnerState(""))
    for table in tables:
        owner = owners[table.owner]
        owner.tables += 1
        owner.table_bytes += bytes_of_table(store.home / "tables" / table.sha256)
        owner.last = max(owner.last, table.created)
    for run in runs:
        owner = owners[run.owner]
        owner.runs += 1
        owner.run_bytes += bytes_of(store.home / "runs" / run.id)
        owner.waiting += run.state == "queued"
        owner.last = max(owner.last, run.created)
    for name, owner in owners.items():
        owner.owner = short(name)
    return sorted(owners.values(), key=lambda owner: -(owner.table_bytes + owner.run_bytes))


def _folders(home: Path) -> dict[str, int]:
    encoded = sum(bytes_of(folder) for folder in home.glob("tables/*/encoded"))
    return {
        "tables": bytes_of(home / "tables") - encoded,
        "encoded rows": encoded,
        "runs": bytes_of(home / "runs"),
        "answers": bytes_of(home / "answers"),
        "database and logs": sum(map(_size, home.glob("*"))),
    }


def _size(path: Path) -> int:
    """Return the bytes of a file; 0 for a folder, and for a file that goes meanwhile."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
