"""Who works for a store: the lanes of its queue, how many workers each may have, and how one is started."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

from deepfm_core.errors import RunError
from deepfm_core.store.database import Database
from deepfm_core.store.process import Process
from deepfm_core.store.records import STALE_SECONDS

RUNS, LABELS, MODELS = "runs", "labels", "models"
"""The lanes of the queue. Runs train. Questions wait elsewhere, so that no long training is before them: those about a
table's labels, which need no torch, and those that a trained model answers."""

_WORKERS = "SELECT * FROM workers WHERE lane = :lane"
_ROOT = Path(__file__).resolve().parents[2]
_LOG_BYTES = 1_000_000
_START_UP_SECONDS = 20.0


def worker_limit(lane: str = RUNS) -> int:
    """Return how many workers a lane may have at a time.

    For runs that is $DEEPFM_WORKERS, otherwise 1. Questions are short and hardly wait for each other: one for each
    processor, and four at least.

    Raises:
        RunError: the variable is not a whole number of at least 1.
    """
    if lane != RUNS:
        return max(4, os.cpu_count() or 1)
    text = os.environ.get("DEEPFM_WORKERS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise RunError(f"$DEEPFM_WORKERS is `{text}`. Use a whole number of at least 1.")
    return int(text)


class WorkerRegister:
    """The workers of a store. Every change is one transaction, so a limit holds however many processes ask at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._home = database.path.parent

    def ensure(self, lane: str = RUNS) -> bool:
        """Start a worker where a lane wants one and its limit allows it; say whether one was started.

        Cheap enough to call at every turn of a page. With an empty queue this warms one up, so that what is asked next
        begins at once. The worker has a session of its own and outlives this process.

        Raises:
            RunError: the worker started last ended before it was ready.
        """
        if self._enough(lane, self._database.rows(_WORKERS, {"lane": lane})):
            return False
        with self._database.write() as connection:
            crashed = _crashed(connection.execute(_WORKERS, {"lane": lane}).fetchall())
            _drop_dead(connection)
            enough = self._enough(lane, connection.execute(_WORKERS, {"lane": lane}).fetchall())
            if not crashed and not enough:
                _enter(connection, _start(self._home, lane), lane, "starting")
        if crashed:
            raise RunError(
                f"The last worker of `{self._home}` ended before it was ready."
                " Read worker.log there; reloading tries again."
            )
        return not enough

    def join(self, worker: Process, lane: str = RUNS) -> bool:
        """Enter a worker, or say no where enough others live; one that its launcher entered already may stay."""
        with self._database.write() as connection:
            _drop_dead(connection)
            workers = connection.execute(_WORKERS, {"lane": lane}).fetchall()
            if sum(row["worker"] != str(worker) for row in workers) >= worker_limit(lane):
                return False
            _enter(connection, worker, lane, "starting")
        return True

    def beat(self, worker: Process, state: str, lane: str = RUNS) -> None:
        """Stamp a worker's heartbeat and say whether it is `starting`, `idle` or `busy`."""
        with self._database.write() as connection:
            _enter(connection, worker, lane, state)

    def leave(self, worker: Process, lane: str = RUNS, even_if_wanted: bool = False) -> bool:
        """Take a worker out, or say no where it must go on: something came into its lane, or it is kept warm.

        The oldest worker of the labels' lane is kept warm as long as a worker of runs lives.
        """
        with self._database.write() as connection:
            if not even_if_wanted and (self._waiting(lane) or self._kept_warm(worker, lane)):
                return False
            connection.execute("DELETE FROM workers WHERE worker = ?", (str(worker),))
        return True

    def states(self, lane: str = RUNS) -> list[str]:
        """Return the state of each live worker of a lane."""
        return [row["state"] for row in self._database.rows(_WORKERS, {"lane": lane}) if _alive(row)]

    def lives(self, worker: str) -> bool:
        """Say whether a worker is entered and alive, by its text."""
        row = self._database.row("SELECT * FROM workers WHERE worker = ?", (worker,))
        return row is not None and _alive(row)

    def _enough(self, lane: str, workers: list[sqlite3.Row]) -> bool:
        live = [row["state"] for row in workers if _alive(row)]
        free = len(live) - live.count("busy")
        return len(live) >= worker_limit(lane) or free >= max(self._waiting(lane), not live)

    def _waiting(self, lane: str) -> int:
        runs, questions = "status = 'queued' AND deleted IS NULL", "worker IS NULL AND problem IS NULL AND lane = ?"
        if lane == RUNS:
            return len(self._database.rows(f"SELECT 1 FROM runs WHERE {runs}"))
        return len(self._database.rows(f"SELECT 1 FROM questions WHERE {questions}", (lane,)))

    def _kept_warm(self, worker: Process, lane: str) -> bool:
        rows = self._database.rows(f"{_WORKERS} ORDER BY started", {"lane": lane})
        oldest = next((row["worker"] for row in rows if _alive(row)), None)
        return lane == LABELS and oldest == str(worker) and bool(self.states(RUNS))


def _enter(connection: sqlite3.Connection, worker: Process, lane: str, state: str) -> None:
    connection.execute(
        "INSERT INTO workers (worker, lane, started, heartbeat, state) VALUES (:worker, :lane, :now, :now, :state)"
        " ON CONFLICT (worker) DO UPDATE SET heartbeat = excluded.heartbeat, state = excluded.state",
        {"worker": str(worker), "lane": lane, "now": time.time(), "state": state},
    )


def _alive(row: sqlite3.Row) -> bool:
    process = Process.parse(row["worker"])
    return process.alive() if process.here else time.time() - row["heartbeat"] < STALE_SECONDS


def _drop_dead(connection: sqlite3.Connection) -> None:
    for row in connection.execute("SELECT * FROM workers").fetchall():
        if not _alive(row):
            connection.execute("DELETE FROM workers WHERE worker = ?", (row["worker"],))


def _crashed(workers: list[sqlite3.Row]) -> bool:
    starting = [row for row in workers if row["state"] == "starting"]
    return any(not _alive(row) and time.time() - row["started"] < _START_UP_SECONDS for row in starting)


def _start(home: Path, lane: str) -> Process:
    module = ["deepfm_core", "worker", "--home"] if lane == RUNS else ["deepfm_core.workers.query_worker", lane]
    # Questions leave the other processor to a training: one thread for the products of matrices.
    environment = os.environ if lane == RUNS else {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with _log(home).open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", *module, str(home)],
            cwd=_ROOT,
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    # Somebody has to collect the process when it ends, or it stays behind as a zombie of the web server.
    threading.Thread(target=worker.wait, daemon=True, name=f"worker {worker.pid}").start()
    return Process.of(worker.pid)


def _log(home: Path) -> Path:
    log = home / "worker.log"
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log
