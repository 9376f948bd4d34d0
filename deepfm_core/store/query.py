"""Questions that wait in the queue beside the runs: answered once, and kept in the store for whoever asks the same.

A page or a run asks, and looks again every moment; that also says that somebody still waits. A question that nobody has
looked for in a while is given up, so leaving the page is enough to cancel it. The table `questions` holds those that
wait, are at work or have failed; an answer is a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfm_core._files import write_frame
from deepfm_core.errors import RunError
from deepfm_core.store.encoding_cache import digest_of
from deepfm_core.store.run_queue import LABELS, MODELS

if TYPE_CHECKING:
    import pandas as pd

    from deepfm_core.schema.schema import Schema
    from deepfm_core.store.database import Database
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
    "runs/seed_stability.py",
    "runs/explain_stage.py",
)
"""The modules that decide how a question is answered."""
OBSERVED, OTHER_SPLIT = "observed", "other split"
"""Kinds: what a table's labels say about its pairs, and how another run's model splits the rows of a run."""
LANES = {OBSERVED: LABELS, OTHER_SPLIT: MODELS}
PATIENCE = 15.0
"""Seconds without anybody looking after which a question is given up."""
MOST_ATTEMPTS = 2
"""How many workers may end over a question before it counts as one that cannot be answered."""
BROKEN = "The computation ended without an answer. Ask again; perhaps there was too little memory."


@dataclass(frozen=True)
class Claimed:
    """A question that a worker has taken up."""

    key: str
    kind: str
    asked: dict[str, Any]


class Questions:
    """The questions of a store: asking, and the workers' side."""

    def __init__(self, database: Database, workers: WorkerRegister) -> None:
        self.database = database
        self.workers = workers
        self.folder = database.path.parent / "answers"

    def of(self, kind: str, **asked: Any) -> Question:
        """Name a question of a kind by all that its answer depends on, as plain values for JSON."""
        text = json.dumps([_PROGRAM, kind, asked], sort_keys=True)
        return Question(self, hashlib.sha256(text.encode()).hexdigest()[:32], kind, json.dumps(asked))

    def about_pairs(self, table: str, schema: Schema) -> Question:
        """Ask what a table's labels say about its pairs: the page Data does, and so does every run of these roles."""
        return self.of(OBSERVED, table=table, schema=asdict(schema))

    def path(self, key: str) -> Path:
        """Say where the answer to a question stands, once there is one."""
        return self.folder / f"{key}.parquet"

    def next(self, worker: Process, lane: str) -> Claimed | None:
        """Give the oldest question of a lane that somebody waits for to `worker`, to nobody else."""
        waiting = "lane = :lane AND worker IS NULL AND problem IS NULL"
        if not self.database.rows(f"SELECT 1 FROM questions WHERE {waiting}", {"lane": lane}):
            return None
        now = time.time()
        values = {"lane": lane, "worker": str(worker), "now": now, "looked": now - PATIENCE}
        with self.database.write() as connection:
            connection.execute(f"DELETE FROM questions WHERE {waiting} AND looked < :looked", values)
            row = connection.execute(
                "UPDATE questions SET worker = :worker, started = :now, attempts = attempts + 1, share = 0 WHERE key ="
                f" (SELECT key FROM questions WHERE {waiting} ORDER BY created, rowid LIMIT 1) RETURNING *",
                values,
            ).fetchone()
        return Claimed(row["key"], row["kind"], json.loads(row["asked"])) if row else None

    def given_up(self, key: str, worker: Process) -> bool:
        """Say whether `worker` should leave off: nobody has looked for a while, or the question is not its own."""
        row = self.database.row("SELECT looked, worker FROM questions WHERE key = ?", (key,))
        return row is None or row["worker"] != str(worker) or time.time() - row["looked"] > PATIENCE

    def report(self, key: str, share: float) -> None:
        """Say how much of the work is done, 0 … 1."""
        with self.database.write() as connection:
            connection.execute("UPDATE questions SET share = ? WHERE key = ?", (share, key))

    def answer(self, key: str, frame: pd.DataFrame) -> None:
        """Keep an answer; the question is no longer open."""
        write_frame(self.path(key), frame)
        self.close(key)

    def fail(self, key: str, problem: str) -> None:
        """Say in a sentence why a question cannot be answered."""
        with self.database.write() as connection:
            connection.execute("UPDATE questions SET problem = ?, worker = NULL WHERE key = ?", (problem, key))

    def close(self, key: str) -> None:
        """Take a question out: it is answered, or is to be asked anew."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM questions WHERE key = ?", (key,))

    def give_up(self, key: str, worker: Process) -> None:
        """Take a question out that nobody waits for, if it still is the worker's."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM questions WHERE key = ? AND worker = ?", (key, str(worker)))

    def give_back(self, worker: Process) -> None:
        """Put back what a worker that must end has taken up."""
        with self.database.write() as connection:
            connection.execute(
                "UPDATE questions SET worker = NULL, attempts = attempts - 1 WHERE worker = ?", (str(worker),)
            )

    def purge(self, before: float) -> None:
        """Remove what was asked, and used last, before a time; whoever asks again gets the same answer anew."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM questions WHERE looked < ?", (before,))
        for path in self.folder.glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()  # earlier versions made folders


@dataclass(frozen=True)
class Standing:
    """How a question stands at one moment."""

    answered: bool = False
    """Whether `Question.answer` gives the frame."""
    problem: str | None = None
    """Why it could not be answered, as a sentence."""
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
    """One question, known by what is asked."""

    questions: Questions
    key: str
    kind: str
    asked_json: str

    @property
    def path(self) -> Path:
        """The file of the answer, once there is one."""
        return self.questions.path(self.key)

    def standing(self) -> Standing:
        """Say how it stands."""
        row = self.questions.database.row("SELECT * FROM questions WHERE key = ?", (self.key,))
        if self.path.exists():
            return Standing(answered=True, share=1.0)
        if row is None:
            return Standing()
        at_work = row["worker"] is not None and self.questions.workers.lives(row["worker"])
        seconds = max(time.time() - row["started"], 0.0) if at_work else 0.0
        return Standing(False, row["problem"], at_work, seconds, row["share"])

    def answer(self) -> pd.DataFrame | None:
        """Read the answer, which is then kept for another day; None where there is none yet, or no more."""
        import pandas as pd

        with suppress(FileNotFoundError):
            os.utime(self.path)
            return pd.read_parquet(self.path)
        return None

    def look(self) -> Standing:
        """Say that somebody waits for the answer, see that a worker comes to it, and say how it stands."""
        if not self.path.exists():
            self._enter()
        standing = self.standing()
        if not (standing.ended or standing.under_way):
            try:
                self.questions.workers.ensure(LANES[self.kind])
            except RunError as error:  # a worker that cannot start
                self.questions.fail(self.key, str(error))
        return standing

    def forget_problem(self) -> None:
        """Let the question be asked again."""
        self.questions.close(self.key)

    def _enter(self) -> None:
        """Enter the question where it is new; one whose worker is lost waits again, or counts as broken."""
        values = {"key": self.key, "lane": LANES[self.kind], "kind": self.kind, "asked": self.asked_json}
        with self.questions.database.write() as connection:
            if self.path.exists():  # the answer is written before the question is closed
                return
            row = connection.execute(
                "INSERT INTO questions (key, lane, kind, asked, created, looked)"
                " VALUES (:key, :lane, :kind, :asked, :now, :now)"
                " ON CONFLICT (key) DO UPDATE SET looked = excluded.looked RETURNING worker, attempts",
                {**values, "now": time.time()},
            ).fetchone()
            if row["worker"] is not None and not self.questions.workers.lives(row["worker"]):
                connection.execute(
                    "UPDATE questions SET worker = NULL, problem = IIF(attempts < ?, NULL, ?) WHERE key = ?",
                    (MOST_ATTEMPTS, BROKEN, self.key),
                )
