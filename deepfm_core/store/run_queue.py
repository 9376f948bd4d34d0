"""What a worker may do: claim the next run, and write to the run it has claimed as long as it is its own."""

from __future__ import annotations

import json
import time
from typing import Any

from deepfm_core.spec.events import Cancelled, EpochDone, Event, Failed, Finished, Ready, Scored
from deepfm_core.store.database import Database
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow

_OLDEST = (
    "SELECT id FROM runs WHERE status = 'queued' AND deleted IS NULL"
    " AND (:comparison IS NULL OR comparison = :comparison)"
    " ORDER BY comparison IS NOT NULL, queued, rowid LIMIT 1"  # who asks for one run does not wait for a whole study
)


class Claims:
    """The workers' side of the queue. Every write asks whether the run is still the worker's, in the same statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next(self, worker: Process, comparison: str | None = None) -> RunRow | None:
        """Give the oldest queued run, or a comparison's, to `worker`, to nobody else; None where none waits."""
        values = {"comparison": comparison, "worker": str(worker), "now": time.time()}
        if not self._database.rows(_OLDEST, {"comparison": comparison}):
            return None
        with self._database.write() as connection:
            rows = connection.execute(
                "UPDATE runs SET status = 'running', worker = :worker, started = :now, heartbeat = :now,"
                f" cancel_requested = 0 WHERE id = ({_OLDEST}) RETURNING *",
                values,
            ).fetchall()
        return RunRow.of(rows[0]) if rows else None

    def beat(self, run_id: str, worker: Process) -> bool:
        """Stamp the heartbeat of a run and its worker; say no where the run is not this worker's any more."""
        now = time.time()
        with self._database.write() as connection:
            connection.execute("UPDATE workers SET heartbeat = ? WHERE worker = ?", (now, str(worker)))
            cursor = connection.execute(
                "UPDATE runs SET heartbeat = ? WHERE id = ? AND status = 'running' AND worker = ?",
                (now, run_id, str(worker)),
            )
        return bool(cursor.rowcount)

    def must_stop(self, run_id: str, worker: Process) -> bool:
        """Say whether `worker` should stop its run: on request, or because the run is not its own any more."""
        row = self._database.row("SELECT status, worker, cancel_requested FROM runs WHERE id = ?", (run_id,))
        return row is None or row["status"] != "running" or row["worker"] != str(worker) or row["cancel_requested"] == 1

    def append(self, run_id: str, event: Event, worker: Process | None = None) -> bool:
        """Append an event, stamp the heartbeat and let the status follow, in one transaction.

        Say no, and change nothing, where the run is not running or runs in another worker than `worker`: whoever was
        taken for lost can then do no harm.
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
        """Put back what a worker that must end has claimed; the run keeps its place in the queue and its checkpoint."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE runs SET status = IIF(cancel_requested, 'cancelled', 'queued'), worker = NULL,"
                " ended = IIF(cancel_requested, ?, NULL) WHERE status = 'running' AND worker = ?",
                (time.time(), str(worker)),
            )


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
