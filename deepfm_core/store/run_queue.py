"""The queue of a store: its lanes, the workers that each may have, and what a worker may do with a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from deepfm_core._words import whole_number
from deepfm_core.errors import RunError
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Failed, Finished, Ready, Scored
from deepfm_core.store.database import Connection, Database, Row
from deepfm_core.store.process import Process
from deepfm_core.store.records import STALE_SECONDS, RunRow

RUNS, LABELS, MODELS = "runs", "labels", "models"
"""The lanes of the queue. A run may train for hours, so questions have lanes of their own. Those about a table's labels
need no torch; the others are answered by a trained model."""

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
    number = whole_number(text)
    if not number:
        raise RunError(f"$DEEPFM_WORKERS is `{text}`. Use a whole number of at least 1.")
    return number


class WorkerRegister:
    """The workers of a store. Every change is one transaction, so a limit holds however many processes ask at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._home = database.path.parent

    def ensure(self, lane: str = RUNS) -> bool:
        """Start a worker if a lane needs one and its limit allows it. Return whether one was started.

        Cheap enough to call at every turn of a page. With an empty queue this starts a worker in advance, so that the
        next run begins at once. The worker has a session of its own and outlives this process.

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
        """Register a worker. Return False if its lane has enough others; one that its launcher registered may stay."""
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
        """Unregister a worker. Return False if it must stay: something waits in its lane, or it is kept warm.

        The oldest worker of the labels' lane is kept warm as long as a worker of runs lives.
        """
        with self._database.write() as connection:
            if not even_if_wanted and (self._waiting(lane) or self._kept_warm(worker, lane)):
                return False
            connection.execute("DELETE FROM workers WHERE worker = ?", (str(worker),))
        return True

    def states(self, lane: str = RUNS) -> list[str]:
        """Return the state of each live worker of a lane."""
        return [row["state"] for row in self._database.rows(_WORKERS, {"lane": lane}) if alive(row)]

    def lives(self, worker: str) -> bool:
        """Say whether a worker, given as text, is registered and alive."""
        row = self._database.row("SELECT * FROM workers WHERE worker = ?", (worker,))
        return row is not None and alive(row)

    def _enough(self, lane: str, workers: list[Row]) -> bool:
        live = [row["state"] for row in workers if alive(row)]
        free = len(live) - live.count("busy")
        return len(live) >= worker_limit(lane) or free >= max(self._waiting(lane), not live)

    def _waiting(self, lane: str) -> int:
        runs, questions = "status = 'queued' AND deleted IS NULL", "worker IS NULL AND problem IS NULL AND lane = ?"
        if lane == RUNS:
            return len(self._database.rows(f"SELECT 1 FROM runs WHERE {runs}"))
        return len(self._database.rows(f"SELECT 1 FROM questions WHERE {questions}", (lane,)))

    def _kept_warm(self, worker: Process, lane: str) -> bool:
        rows = self._database.rows(f"{_WORKERS} ORDER BY started", {"lane": lane})
        oldest = next((row["worker"] for row in rows if alive(row)), None)
        return lane == LABELS and oldest == str(worker) and bool(self.states(RUNS))


def _enter(connection: Connection, worker: Process, lane: str, state: str) -> None:
    connection.execute(
        "INSERT INTO workers (worker, lane, started, heartbeat, state) VALUES (:worker, :lane, :now, :now, :state)"
        " ON CONFLICT (worker) DO UPDATE SET heartbeat = excluded.heartbeat, state = excluded.state",
        {"worker": str(worker), "lane": lane, "now": time.time(), "state": state},
    )


def alive(row: Row) -> bool:
    """Say whether a worker lives, from its row; one on another machine does as long as it gives signs."""
    process = Process.parse(row["worker"])
    return process.alive() if process.here else time.time() - row["heartbeat"] < STALE_SECONDS


def _drop_dead(connection: Connection) -> None:
    for row in connection.execute("SELECT * FROM workers").fetchall():
        if not alive(row):
            connection.execute("DELETE FROM workers WHERE worker = ?", (row["worker"],))


def _crashed(workers: list[Row]) -> bool:
    starting = [row for row in workers if row["state"] == "starting"]
    return any(not alive(row) and time.time() - row["started"] < _START_UP_SECONDS for row in starting)


def _start(home: Path, lane: str) -> Process:
    module = ["deepfm_core", "worker", "--home"] if lane == RUNS else ["deepfm_core.workers.query_worker", lane]
    # One BLAS thread: a training beside it needs the other processors.
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


# What a worker may do: claim the next run, and write to it as long as it is its own.


TURNS = """
WITH served AS (SELECT owner, MAX(started) AS last FROM runs GROUP BY owner),
    waiting AS (
        SELECT id, queued, rowid AS entered, comparison IS NOT NULL AS grouped, COALESCE(last, 0) AS last,
            ROW_NUMBER() OVER (PARTITION BY owner ORDER BY comparison IS NOT NULL, queued, runs.rowid) AS turn
        FROM runs LEFT JOIN served USING (owner)
        WHERE status = 'queued' AND deleted IS NULL AND (:comparison IS NULL OR comparison = :comparison)
            AND (:owner IS NULL OR owner = :owner))
SELECT id, ROW_NUMBER() OVER (ORDER BY turn, last, grouped, queued, entered) AS place FROM waiting ORDER BY place
"""
"""The queue: owners take turns, the one served longest ago first. Of one owner's runs, the single ones go before those
of comparisons and studies, and older ones before newer ones."""

_NEXT = f"SELECT id FROM ({TURNS}) AS turns LIMIT 1"
_ANY = {"comparison": None, "owner": None}
_GIVE_BACK = (
    "UPDATE runs SET worker = NULL, status = CASE cancel_requested WHEN 1 THEN 'cancelled' ELSE 'queued' END,"
    " ended = CASE cancel_requested WHEN 1 THEN ? END WHERE status = 'running' AND worker = ?"
)
_CLAIM = "UPDATE runs SET status = 'running', worker = :worker, started = :now, heartbeat = :now, cancel_requested = 0"


class Claims:
    """The workers' side of the queue. Every write checks in its statement that the run is still the worker's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self) -> list[RunRow]:
        """Give the runs that wait, in their turn."""
        rows = self._database.rows(f"SELECT runs.* FROM ({TURNS}) AS turns JOIN runs USING (id) ORDER BY place", _ANY)
        return [RunRow.of(row) for row in rows]

    def take(self, run_id: str, worker: Process) -> RunRow | None:
        """Claim a run for `worker`; None if it no longer waits."""
        with self._database.write() as connection:
            rows = connection.execute(
                f"{_CLAIM} WHERE id = :id AND status = 'queued' AND deleted IS NULL RETURNING *",
                {"id": run_id, "worker": str(worker), "now": time.time()},
            ).fetchall()
        return RunRow.of(rows[0]) if rows else None

    def lost(self) -> list[RunRow]:
        """Give the runs whose worker is gone."""
        rows = self._database.rows("SELECT * FROM runs WHERE status = 'running' AND deleted IS NULL")
        return [run for run in map(RunRow.of, rows) if run.state == "lost"]

    def next(self, worker: Process, comparison: str | None = None, owner: str | None = None) -> RunRow | None:
        """Claim the run whose turn it is, or that of a comparison or an owner, for `worker`; None if none waits."""
        among = {"comparison": comparison, "owner": owner}
        values = {**among, "worker": str(worker), "now": time.time()}
        if not self._database.rows(_NEXT, among):
            return None
        with self._database.write() as connection:
            rows = connection.execute(
                f"{_CLAIM} WHERE id = ({_NEXT}) RETURNING *",
                values,
            ).fetchall()
        return RunRow.of(rows[0]) if rows else None

    def beat(self, run_id: str, worker: Process) -> bool:
        """Stamp the heartbeat of a run and its worker. Return False if the run no longer belongs to this worker."""
        now = time.time()
        with self._database.write() as connection:
            connection.execute("UPDATE workers SET heartbeat = ? WHERE worker = ?", (now, str(worker)))
            cursor = connection.execute(
                "UPDATE runs SET heartbeat = ? WHERE id = ? AND status = 'running' AND worker = ?",
                (now, run_id, str(worker)),
            )
        return bool(cursor.rowcount)

    def must_stop(self, run_id: str, worker: Process) -> bool:
        """Say whether `worker` should stop its run: it was cancelled, or no longer belongs to this worker."""
        row = self._database.row("SELECT status, worker, cancel_requested FROM runs WHERE id = ?", (run_id,))
        return row is None or row["status"] != "running" or row["worker"] != str(worker) or row["cancel_requested"] == 1

    def append(self, run_id: str, event: Event, worker: Process | None = None) -> bool:
        """Append an event, stamp the heartbeat and let the status follow, in one transaction.

        Return False, and change nothing, if the run is not running or belongs to another worker. A worker that was
        taken for lost, but lives, can then do no harm.
        """
        now = time.time()
        changes, values = _consequences(event, now)
        with self._database.write() as connection:
            changed = connection.execute(
                f"UPDATE runs SET heartbeat = :now{changes} WHERE id = :id AND status = 'running'"
                " AND (:worker IS NULL OR worker = :worker)",
                {"now": now, "id": run_id, "worker": None if worker is None else str(worker), **values},
            ).rowcount
            if changed:
                connection.execute(
                    "INSERT INTO events SELECT :id, COALESCE(MAX(seq), 0) + 1, :now, :kind, :content"
                    " FROM events WHERE run_id = :id",
                    {"id": run_id, "now": now, "kind": event.kind, "content": json.dumps(event.to_dict())},
                )
        return bool(changed)

    def give_back(self, worker: Process) -> None:
        """Put a worker's runs back into the queue, because it must end. A run keeps its place and its checkpoint."""
        with self._database.write() as connection:
            connection.execute(_GIVE_BACK, (time.time(), str(worker)))

    def give_back_run(self, run_id: str, worker: Process) -> None:
        """Put one run of a worker back into the queue, as `give_back` does; its others stay with it."""
        with self._database.write() as connection:
            connection.execute(f"{_GIVE_BACK} AND id = ?", (time.time(), str(worker), run_id))


def _consequences(event: Event, now: float) -> tuple[str, dict[str, Any]]:
    """Say what an event changes in its run's row: columns as SQL, and their values."""
    match event:
        case EpochDone(best=True):
            valid = {"auc": event.valid_auc, "logloss": event.valid_logloss}
            return ", summary = :summary", {"summary": json.dumps({"epochs": event.epoch, "valid": valid})}
        case Scored() | Ready():
            return ", summary = :summary", {"summary": json.dumps(event.summary)}
        case Finished():
            ending = {"status": "finished", "summary": json.dumps(event.summary)}
            return ", status = :status, summary = :summary, ended = :now", ending
        case Failed():
            return ", status = :status, message = :message, ended = :now", {
                "status": "failed",
                "message": event.message,
            }
        case Cancelled():
            return ", status = :status, ended = :now", {"status": "cancelled"}
    return "", {}
