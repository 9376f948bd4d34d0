"""Answer queries: one, `python -m deepfm_core.workers.query_worker FOLDER`, or, `--wait HOME`, many."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from deepfm_core._files import write_bytes, write_frame
from deepfm_core._parallel import use_system_memory
from deepfm_core.errors import DeepFMError
from deepfm_core.spec.events import Report
from deepfm_core.store.process import Process
from deepfm_core.store.query import ABANDONED, BROKEN, SHARE, given_up, is_open, load_question
from deepfm_core.store.query_pipe import Door
from deepfm_core.store.store import Store

Answer = Callable[[Path, dict[str, Any], Report], pd.DataFrame]
_LOOK_SECONDS = 1.0
_REPORT_SECONDS = 0.25


def other_split(home: Path, asked: dict[str, Any], _report: Report) -> pd.DataFrame:
    """Split the rows that one run shows as another run's model would."""
    from deepfm_core.runs.seed_stability import split_by_other
    from deepfm_core.store.run_folder import RunFolder

    with closing(Store(home)) as store:
        return split_by_other(RunFolder(Path(asked["run"])), RunFolder(Path(asked["other"])), store.table)


def observed(home: Path, asked: dict[str, Any], report: Report) -> pd.DataFrame:
    """Rank a table's pairs by what its labels say about them; see `explain.of_table`."""
    from deepfm_core.evidence.ranking import observed_of_table
    from deepfm_core.schema.schema import Schema

    with closing(Store(home)) as store:
        table = store.table(asked["table"])
    return observed_of_table(table, Schema.from_dict(asked["schema"]), report=report)


def of_rows(_home: Path, asked: dict[str, Any], report: Report) -> pd.DataFrame:
    """Rank the pairs of rows that a run has left encoded."""
    from deepfm_core.evidence.ranking import observed_interactions
    from deepfm_core.runs.evidence_task import load_encoded

    return observed_interactions(load_encoded(Path(asked["rows"])), report=report)


KINDS: dict[str, Answer] = {"other split": other_split, "observed": observed, "rows": of_rows}


def main(arguments: list[str]) -> None:
    """Answer one question, or those that come."""
    use_system_memory()
    if arguments[0] == "--wait":
        wait(Path(arguments[1]))
    else:
        os.nice(5)
        answer_unless_given_up(Path(arguments[0]))


def wait(home: Path) -> None:
    """Load what the questions `questions.AT_HAND` need, and answer one after the other until standard input ends."""
    importlib.import_module("deepfm_core.runs.evidence_task")
    importlib.import_module("deepfm_core.runs.warmup").trial_answer()
    door = Door(home)
    while (folder := door.next()) is not None:
        if is_open(folder):
            taken = folder / "process"
            write_bytes(taken, str(Process.current()).encode())
            with _words_to(folder / "log"):
                answer_unless_given_up(folder)
            taken.unlink(missing_ok=True)  # this process lives on, and is no longer at work on it


def answer_unless_given_up(folder: Path) -> None:
    """Answer a question; the whole process ends where nobody waits for it any more."""
    done = threading.Event()
    threading.Thread(target=_end_when_given_up, args=(folder, done), daemon=True).start()
    try:
        answer(folder)
    finally:
        done.set()


def answer(folder: Path) -> None:
    """Answer the question in a folder, or leave there why it cannot be."""
    question = load_question(folder)
    try:
        frame = KINDS[question["kind"]](Path(question["home"]), question["asked"], _reporting(folder))
    except DeepFMError as error:
        write_bytes(folder / "problem.txt", str(error).encode())
    except Exception:
        traceback.print_exc()
        write_bytes(folder / "problem.txt", BROKEN.encode())
    else:
        if not given_up(folder):  # its folder may be gone
            write_frame(folder / "answer.parquet", frame)


def _reporting(folder: Path) -> Report:
    """Give a report that is left in a question's folder, now and then."""
    written = time.monotonic()

    def report(share: float) -> None:
        nonlocal written
        if time.monotonic() - written > _REPORT_SECONDS:
            written = time.monotonic()
            if folder.is_dir():  # where it is gone nobody waits, and it must not be made again
                write_bytes(folder / SHARE, f"{share:.4f}".encode())

    return report


@contextmanager
def _words_to(log: Path) -> Iterator[None]:
    """Let what is said on standard error go to a file for a while."""
    before = os.dup(sys.stderr.fileno())
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), sys.stderr.fileno())
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, sys.stderr.fileno())
        os.close(before)


def _end_when_given_up(folder: Path, done: threading.Event) -> None:
    while not done.wait(_LOOK_SECONDS):
        if given_up(folder):
            os._exit(ABANDONED)


if __name__ == "__main__":
    main(sys.argv[1:])
