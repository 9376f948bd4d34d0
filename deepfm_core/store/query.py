"""Questions of pages and runs, which wait in the queue beside the runs.

A question is answered once. The answer is a file of the store, for everybody who asks the same. Whoever asks looks for
the answer every second or so, which also says that somebody still waits. A question that nobody looks for is dropped
after `PATIENCE`, so leaving the page cancels it. The table `questions` holds those that wait, are worked on, or failed.
Owners take turns, and one may have so many waiting; what a run asks belongs to the server and has no limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfm_core._files import read_object, write_frame
from deepfm_core.errors import RunError
from deepfm_core.store import limits
from deepfm_core.store.encoding_cache import digest_of
from deepfm_core.store.limits import LOCAL, TooMany
from deepfm_core.store.run_queue import LABELS, MODELS

if TYPE_CHECKING:
    import pandas as pd

    from deepfm_core.schema.schema import Schema
    from deepfm_core.store.database import Database, Row
    from deepfm_core.store.process import Process
    from deepfm_core.store.run_queue import WorkerRegister

_PROGRAM = digest_of(
    "schema",
    "spec",
    "encoding",
    "models",
    "training",
    "evidence",
    "explain",
    "workers/query_worker.py",
    "runs/explain_stage.py",
)
"""The modules that decide how a question is answered."""
OBSERVED, OTHER_SPLIT, OPENED_PAIR = "observed", "other split", "opened pair"
"""Kinds: what a table's labels say about its pairs, how another run's model splits the rows of a run, and the cells
of a pair that a run on a wide table did not explain."""
LANES = {OBSERVED: LABELS, OTHER_SPLIT: MODELS, OPENED_PAIR: MODELS}
MOST_ATTEMPTS = 2
"""A question fails if this many workers have died while they worked on it."""
BROKEN = "The computation ended without an answer. Try again. If it ends again, there may be too little memory."


@dataclass(frozen=True)
class Claimed:
    """A question that a worker has taken up."""

    key: str
    kind: str
    asked: dict[str, Any]


_TURN = (
    "SELECT key FROM questions LEFT JOIN question_turns AS turns USING (owner, lane) WHERE {waiting}"
    " ORDER BY COALESCE(served, 0), created, questions.rowid LIMIT 1"
)
_SERVED = (
    "INSERT INTO question_turns (owner, lane, served) VALUES (:owner, :lane, :now)"
    " ON CONFLICT (owner, lane) DO UPDATE SET served = excluded.served"
)


class Questions:
    """The questions of a store: asking, and the workers' side."""

    def __init__(self, database: Database, workers: WorkerRegister) -> None:
        self.database = database
        self.workers = workers
        self.folder = database.path.parent / "answers"

    def of(self, kind: str, **asked: Any) -> Question:
        """Make a question from all that its answer depends on, given as plain values for JSON."""
        text = json.dumps([_PROGRAM, kind, asked], sort_keys=True)
        key, owner = hashlib.sha256(text.encode()).hexdigest()[:32], asked.get("owner", LOCAL)
        return Question(self, key, kind, json.dumps(asked), owner)

    def about_pairs(self, table: str, schema: Schema, owner: str = LOCAL) -> Question:
        """Ask what a table's labels say about its pairs, as the page Data and every run of these roles do."""
        return replace(self.of(OBSERVED, table=table, schema=asdict(schema)), owner=owner)

    def path(self, key: str) -> Path:
        """Return the path of the answer to a question, whether there is one yet or not."""
        return self.folder / f"{key}.parquet"

    def next(self, worker: Process, lane: str) -> Claimed | None:
        """Claim a question of a lane for `worker`, or None. Drop those that nobody waits for.

        It is the oldest of the owner whose last question was taken up longest ago.
        """
        waiting = "lane = :lane AND worker IS NULL AND problem IS NULL"
        if not self.database.rows(f"SELECT 1 FROM questions WHERE {waiting}", {"lane": lane}):
            return None
        now = time.time()
        values = {"lane": lane, "worker": str(worker), "now": now, "looked": now - limits.PATIENCE}
        with self.database.write() as connection:
            connection.execute(f"DELETE FROM questions WHERE {waiting} AND looked < :looked", values)
            row = connection.execute(
                "UPDATE questions SET worker = :worker, started = :now, attempts = attempts + 1, share = 0 WHERE key ="
                f" ({_TURN.format(waiting=waiting)}) RETURNING *",
                values,
            ).fetchone()
            if row:
                connection.execute(_SERVED, {**values, "owner": row["owner"]})
        return self._claimed(row) if row else None

    def _claimed(self, row: Row) -> Claimed | None:
        """Read a question that was claimed; one that cannot be read fails with a sentence."""
        try:
            return Claimed(row["key"], row["kind"], read_object(row["asked"], "The question", "Ask it again."))
        except RunError as error:
            self.fail(row["key"], str(error))
            return None

    def given_up(self, key: str, worker: Process) -> bool:
        """Say whether `worker` should stop: nobody waits any more, or the question is no longer its own."""
        row = self.database.row("SELECT looked, worker FROM questions WHERE key = ?", (key,))
        return row is None or row["worker"] != str(worker) or time.time() - row["looked"] > limits.PATIENCE

    def report(self, key: str, share: float) -> None:
        """Say how much of the work is done, 0 … 1."""
        with self.database.write() as connection:
            connection.execute("UPDATE questions SET share = ? WHERE key = ?", (share, key))

    def answer(self, key: str, frame: pd.DataFrame) -> None:
        """Write an answer and remove the question."""
        write_frame(self.path(key), frame)
        self.close(key)

    def fail(self, key: str, problem: str) -> None:
        """Mark a question as failed, with a sentence that says why; what was asked is needed no more."""
        failed = "UPDATE questions SET problem = ?, worker = NULL, asked = '' WHERE key = ?"
        with self.database.write() as connection:
            connection.execute(failed, (problem, key))

    def close(self, key: str) -> None:
        """Remove a question, because it is answered or may be asked anew."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM questions WHERE key = ?", (key,))

    def give_up(self, key: str, worker: Process) -> None:
        """Remove a question that nobody waits for, if it still belongs to `worker`."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM questions WHERE key = ? AND worker = ?", (key, str(worker)))

    def give_back(self, worker: Process) -> None:
        """Put a worker's questions back into the queue, because it must end."""
        with self.database.write() as connection:
            connection.execute(
                "UPDATE questions SET worker = NULL, attempts = attempts - 1 WHERE worker = ?", (str(worker),)
            )

    def purge(self, before: float) -> None:
        """Remove questions and answers that nobody has used since a time. Asked again, they are computed again."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM questions WHERE looked < ?", (before,))
            connection.execute("DELETE FROM question_turns WHERE served < ?", (before,))
        for path in self.folder.glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()  # earlier versions made folders


@dataclass(frozen=True)
class Standing:
    """The state of a question at one moment."""

    answered: bool = False
    """Whether `Question.answer` returns a frame."""
    problem: str | None = None
    """Why it failed, as a sentence."""
    under_way: bool = False
    """Whether a worker is at work on it."""
    seconds: float = 0.0
    """How long that worker has been."""
    share: float = 0.0
    """How much of the work it has done, 0 … 1."""

    @property
    def ended(self) -> bool:
        """Whether it is answered, or cannot be."""
        return self.answered or self.problem is not None


@dataclass(frozen=True)
class Question:
    """One question, identified by what it asks."""

    questions: Questions
    key: str
    kind: str
    asked_json: str
    owner: str = LOCAL
    """In whose turn it is taken up, where it is new."""

    @property
    def path(self) -> Path:
        """The path of the answer."""
        return self.questions.path(self.key)

    def standing(self) -> Standing:
        """Return the question's state."""
        row = self.questions.database.row("SELECT * FROM questions WHERE key = ?", (self.key,))
        if self.path.exists():
            return Standing(answered=True, share=1.0)
        if row is None:
            return Standing()
        at_work = row["worker"] is not None and self.questions.workers.lives(row["worker"])
        seconds = max(time.time() - row["started"], 0.0) if at_work else 0.0
        return Standing(False, row["problem"], at_work, seconds, row["share"])

    def answer(self) -> pd.DataFrame | None:
        """Read the answer, which then stays for another day; None if there is none."""
        import pandas as pd

        with suppress(OSError):  # a store that may only be read
            os.utime(self.path)
        try:
            return pd.read_parquet(self.path)
        except FileNotFoundError:
            return None
        except Exception:  # a damaged answer may raise anything: the question is asked again
            with suppress(OSError):
                self.path.unlink()
            return None

    def look(self) -> Standing:
        """Note that somebody waits, start a worker if one is needed, and return the question's state.

        Where its owner has as many waiting as are allowed, the state is that problem, and the next look tries again.
        """
        if not self.path.exists():
            try:
                self._enter()
            except TooMany as error:
                return Standing(problem=str(error))
        standing = self.standing()
        if not (standing.ended or standing.under_way):
            try:
                self.questions.workers.ensure(LANES[self.kind])
            except RunError as error:  # a worker that cannot start
                self.questions.fail(self.key, str(error))
        return standing

    def forget_problem(self) -> None:
        """Let the question be asked again, if it has failed."""
        self.questions.database.change("DELETE FROM questions WHERE key = ? AND problem IS NOT NULL", (self.key,))

    def _enter(self) -> None:
        """Add the question if it is new. If its worker died, queue it again, or fail it after `MOST_ATTEMPTS`."""
        values = {"key": self.key, "lane": LANES[self.kind], "kind": self.kind, "asked": self.asked_json}
        values["owner"] = self.owner
        with self.questions.database.write() as connection:
            if self.path.exists():  # the answer is written before the question is closed
                return
            if connection.execute("SELECT 1 FROM questions WHERE key = ?", (self.key,)).fetchone() is None:
                limits.require_room_for_question(self.owner, self.questions.database)
            row = connection.execute(
                "INSERT INTO questions (key, lane, owner, kind, asked, created, looked)"
                " VALUES (:key, :lane, :owner, :kind, :asked, :now, :now)"
                " ON CONFLICT (key) DO UPDATE SET looked = excluded.looked RETURNING worker, attempts",
                {**values, "now": time.time()},
            ).fetchone()
            if row["worker"] is not None and not self.questions.workers.lives(row["worker"]):
                connection.execute(
                    "UPDATE questions SET worker = NULL, problem = CASE WHEN attempts >= ? THEN ? END WHERE key = ?",
                    (MOST_ATTEMPTS, BROKEN, self.key),
                )
