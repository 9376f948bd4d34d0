"""The worker processes of a store: which there are, what they do, and how many there may be."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable

from deepfm_core.errors import RunError
from deepfm_core.runs.database import Database
from deepfm_core.runs.process import Process
from deepfm_core.runs.rows import STALE_SECONDS

_START_UP_SECONDS = 20.0
_WORKERS = "SELECT * FROM workers"
_WAITING = "SELECT 1 FROM runs WHERE status = 'queued' AND deleted IS NULL"


def worker_limit() -> int:
    """Return how many workers may live at a time: $DEEPFM_WORKERS, otherwise 1.

    Raises:
        RunError: the variable is not a whole number of at least 1.
    """
    text = os.environ.get("DEEPFM_WORKERS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise RunError(f"$DEEPFM_WORKERS is `{text}`. Use a whole number of at least 1.")
    return int(text)


class WorkerRegister:
    """Who works for a store. Every change is one transaction, so the limit holds however many processes ask at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def join(self, worker: Process, limit: int) -> bool:
        """Enter a worker, or say no where `limit` others live; one that its launcher entered already may stay."""
        with self._database.write() as connection:
            _drop_dead(connection)
            others = connection.execute("SELECT 1 FROM workers WHERE worker != ?", (str(worker),)).fetchall()
            if len(others) >= limit:
                return False
            _enter(connection, worker)
        return True

    def launch(self, start: Callable[[], Process], limit: int) -> bool:
        """Start one worker where the waiting runs want one and the limit allows it; say whether it was started.

        Raises:
            RunError: the worker started last ended before it was ready.
        """
        if self._enough(self._database.rows(_WORKERS), self._database.rows(_WAITING), limit):
            return False
        with self._database.write() as connection:
            crashed = _crashed(connection.execute(_WORKERS).fetchall())
            _drop_dead(connection)
            workers = connection.execute(_WORKERS).fetchall()
            enough = self._enough(workers, connection.execute(_WAITING).fetchall(), limit)
            if not crashed and not enough:
                _enter(connection, start())
        if crashed:
            raise RunError(
                f"The last worker of `{self._database.path.parent}` ended before it was ready."
                " Read worker.log there; reloading tries again."
            )
        return not enough

    @staticmethod
    def _enough(workers: list[sqlite3.Row], waiting: list[sqlite3.Row], limit: int) -> bool:
        live = [row["state"] for row in workers if _alive(row)]
        return len(live) >= limit or len(live) - live.count("busy") >= max(len(waiting), not live)

    def beat(self, worker: Process, state: str) -> None:
        """Stamp a worker's heartbeat and say whether it is `starting`, `idle` or `busy`."""
        with self._database.write() as connection:
            _enter(connection, worker, state)

    def leave(self, worker: Process, even_if_queued: bool = False) -> bool:
        """Take a worker out, unless a run came into the queue meanwhile: then it must go on, and the answer is no."""
        with self._database.write() as connection:
            if not even_if_queued and connection.execute(_WAITING).fetchone():
                return False
            connection.execute("DELETE FROM workers WHERE worker = ?", (str(worker),))
        return True

    def states(self) -> list[str]:
        """Return the state of each live worker."""
        rows = self._database.rows(_WORKERS)
        return [row["state"] for row in rows if _alive(row)]


def _enter(connection: sqlite3.Connection, worker: Process, state: str = "starting") -> None:
    connection.execute(
        "INSERT INTO workers (worker, started, heartbeat, state) VALUES (:worker, :now, :now, :state)"
        " ON CONFLICT (worker) DO UPDATE SET heartbeat = excluded.heartbeat, state = excluded.state",
        {"worker": str(worker), "now": time.time(), "state": state},
    )


def _alive(row: sqlite3.Row) -> bool:
    process = Process.parse(row["worker"])
    return process.alive() if process.here else time.time() - row["heartbeat"] < STALE_SECONDS


def _drop_dead(connection: sqlite3.Connection) -> None:
    for row in connection.execute(_WORKERS).fetchall():
        if not _alive(row):
            connection.execute("DELETE FROM workers WHERE worker = ?", (row["worker"],))


def _crashed(workers: list[sqlite3.Row]) -> bool:
    starting = [row for row in workers if row["state"] == "starting"]
    return any(not _alive(row) and time.time() - row["started"] < _START_UP_SECONDS for row in starting)
