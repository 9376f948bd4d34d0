"""Questions that are asked beside the runs: answered once by another process, and kept in the store.

A page asks, looks again every moment, and goes on without torch. While it looks it says so; the process ends by itself
when nobody has looked for a while, so leaving the page is enough to cancel. A worker's waiting process answers where it
is free and has loaded what the question needs (see `standby`), otherwise one that is started for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deepfm_core._files import write_bytes, write_frame, write_json
from deepfm_core.store.encoding_cache import digest_of
from deepfm_core.store.process import Process
from deepfm_core.store.query_pipe import ROOT, answering_environment, hand_over

if TYPE_CHECKING:
    import pandas as pd

    from deepfm_core.schema.schema import Schema

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
ABANDONED = 3
"""Exit status of a process that nobody waited for."""
PATIENCE = 15.0
"""Seconds without anybody looking after which an answer is given up."""
AT_HAND = ("observed", "rows")
"""Kinds for which a waiting process has loaded everything."""
SHARE = "share"
"""Name of the file that says how much is done."""
TAKEN_SECONDS = 0.5
"""How long a waiting process is given to take a question."""
BROKEN = "The computation ended without an answer. Ask again; perhaps there was too little memory."


class Question:
    """One question, known by what is asked; files of its own under `answers/` in the store."""

    def __init__(self, home: Path, kind: str, **asked: Any) -> None:
        """Name a question.

        Args:
            home: of the store.
            kind: one of `answering.KINDS`.
            asked: all that the answer depends on, as plain values for JSON.
        """
        self._home, self._kind = home, kind
        self._asked = {"kind": kind, "home": str(home), "asked": asked}
        text = json.dumps([_PROGRAM, kind, asked], sort_keys=True)
        self.folder = home / "answers" / hashlib.sha256(text.encode()).hexdigest()[:32]

    @classmethod
    def apart(cls, folder: Path, home: Path, kind: str, **asked: Any) -> Self:
        """Name a question of nobody else, with its files in a folder apart from the store's answers."""
        question = cls(home, kind, **asked)
        question.folder = folder
        return question

    @property
    def answered(self) -> bool:
        """Whether `answer` gives the frame."""
        return (self.folder / "answer.parquet").exists()

    @property
    def problem(self) -> str | None:
        """Why it could not be answered, as a sentence; None where it was not tried or went well."""
        with suppress(FileNotFoundError):
            return (self.folder / "problem.txt").read_text(encoding="utf-8")
        return None

    @property
    def under_way(self) -> bool:
        """Whether a process is at work on it."""
        return _under_way(self.folder)

    @property
    def seconds(self) -> float:
        """How long the process that was started last has been at work."""
        with suppress(FileNotFoundError):
            return max(time.time() - (self.folder / "process").stat().st_mtime, 0.0)
        return 0.0

    @property
    def share(self) -> float:
        """How much of the work the process at work on it has done, 0 … 1, as it said last."""
        with suppress(FileNotFoundError, ValueError):
            return float((self.folder / SHARE).read_text(encoding="utf-8"))
        return 0.0

    def answer(self) -> pd.DataFrame | None:
        """Read the answer, which is then kept for another day; None where there is none yet, or no more."""
        if not self.answered:
            return None
        import pandas as pd

        with suppress(FileNotFoundError):  # removed in this moment
            os.utime(self.folder)
            return pd.read_parquet(self.folder / "answer.parquet")
        return None

    def look(self) -> None:
        """Say that somebody still waits for the answer, and see that a process is at work on it."""
        if self.answered or self.problem:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "looked").touch()
        if not self.under_way and not self.answered:  # it may have ended well in this moment
            (self.folder / SHARE).unlink(missing_ok=True)  # of an earlier process
            write_json(self.folder / "question.json", self._asked)
            if not (self._kind in AT_HAND and hand_over(self._home, self.folder) and self._is_taken()):
                self._start()

    def leave(self) -> None:
        """Say that nobody waits any more: the process ends, and need not wait to see that nobody looks."""
        (self.folder / "looked").unlink(missing_ok=True)

    def keep(self, answer: pd.DataFrame) -> None:
        """Keep an answer that was found elsewhere, where there is none yet; what was in its way no longer is."""
        if not self.answered:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_frame(self.folder / "answer.parquet", answer)
        self.forget_problem()

    def forget_problem(self) -> None:
        """Let the question be asked again."""
        (self.folder / "problem.txt").unlink(missing_ok=True)

    def _is_taken(self) -> bool:
        """Say whether the process that the question was handed to begins with it, or has ended already."""
        until = time.monotonic() + TAKEN_SECONDS
        while not (taken := self.under_way or self.answered or self.problem is not None):
            if time.monotonic() > until:
                break
            time.sleep(0.005)
        return taken

    def _start(self) -> None:
        command = [sys.executable, "-m", "deepfm_core.workers.query_worker", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=answering_environment(),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        write_bytes(self.folder / "process", str(Process.of(process.pid)).encode())
        # Somebody has to collect the process when it ends, or it stays behind as a zombie of the web server.
        threading.Thread(target=self._collect, args=(process,), daemon=True, name=f"answer {process.pid}").start()

    def _collect(self, process: subprocess.Popen[bytes]) -> None:
        if process.wait() not in (0, ABANDONED) and not self.answered and self.folder.exists():
            write_bytes(self.folder / "problem.txt", BROKEN.encode())


def about_pairs(home: Path, table: str, schema: Schema) -> Question:
    """Ask what a table's labels say about its pairs: the page Data does, and so does every run of the same roles."""
    return Question(home, "observed", table=table, schema=asdict(schema))


def is_open(folder: Path) -> bool:
    """Say whether somebody waits for the answer to the question in a folder, and nobody is at work on it."""
    ended = any((folder / name).exists() for name in ("answer.parquet", "problem.txt"))
    return (folder / "question.json").exists() and not (ended or given_up(folder) or _under_way(folder))


def given_up(folder: Path) -> bool:
    """Say whether nobody has looked for a while."""
    try:
        return time.time() - (folder / "looked").stat().st_mtime > PATIENCE
    except FileNotFoundError:
        return True


def remove_old(home: Path, before: float) -> None:
    """Remove what was asked before a time; whoever asks again gets the same answer anew."""
    for folder in (home / "answers").glob("*"):
        with suppress(FileNotFoundError):
            if folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def load_question(folder: Path) -> Mapping[str, Any]:
    """Read what is asked: `kind`, `home` and `asked`."""
    values: Mapping[str, Any] = json.loads((folder / "question.json").read_text(encoding="utf-8"))
    return values


def _under_way(folder: Path) -> bool:
    with suppress(FileNotFoundError, ValueError):
        return Process.parse((folder / "process").read_text(encoding="utf-8")).alive()
    return False
