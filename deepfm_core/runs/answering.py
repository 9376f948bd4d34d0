"""Answer one question of a page: `python -m deepfm_core.runs.answering FOLDER` (see `questions`)."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from deepfm_core.data.side_by_side import use_system_memory
from deepfm_core.errors import DeepFMError
from deepfm_core.runs.files import write_bytes, write_frame
from deepfm_core.runs.questions import ABANDONED, given_up, load_question
from deepfm_core.runs.store import Store

Answer = Callable[[Store, dict[str, Any]], pd.DataFrame]


def other_split(store: Store, asked: dict[str, Any]) -> pd.DataFrame:
    """Split the rows that one run shows as another run's model would."""
    from deepfm_core.runs.folder import RunFolder
    from deepfm_core.runs.other_split import split_by_other

    return split_by_other(RunFolder(Path(asked["run"])), RunFolder(Path(asked["other"])), store.table)


def observed(store: Store, asked: dict[str, Any]) -> pd.DataFrame:
    """Rank a table's pairs by what its labels say about them; see `explain.of_table`."""
    from deepfm_core.data.schema import Schema
    from deepfm_core.explain.of_table import observed_of_table

    return observed_of_table(store.table(asked["table"]), Schema.from_dict(asked["schema"]))


KINDS: dict[str, Answer] = {"other split": other_split, "observed": observed}


def main(folder: Path) -> None:
    """Answer a question unless it is given up."""
    os.nice(5)
    use_system_memory()
    threading.Thread(target=_end_when_given_up, args=(folder,), daemon=True).start()
    answer(folder)


def answer(folder: Path) -> None:
    """Answer the question in a folder, or leave there why it cannot be."""
    question = load_question(folder)
    store = Store(Path(question["home"]))
    try:
        frame = KINDS[question["kind"]](store, question["asked"])
    except DeepFMError as error:
        write_bytes(folder / "problem.txt", str(error).encode())
        return
    write_frame(folder / "answer.parquet", frame)


def _end_when_given_up(folder: Path) -> None:
    while not given_up(folder):
        time.sleep(1.0)
    os._exit(ABANDONED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
