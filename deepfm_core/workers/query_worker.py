"""A worker of one lane of questions: `python -m deepfm_core.workers.query_worker LANE HOME`.

It answers one question after the other, and leaves a moment after the last, unless it is the one that is kept warm.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from deepfm_core._parallel import use_system_memory
from deepfm_core._processor import step_back, wait_passively
from deepfm_core.errors import DeepFMError
from deepfm_core.spec.events import Report
from deepfm_core.store.process import Process
from deepfm_core.store.query import BROKEN, LANES, OBSERVED, OPENED_PAIR, OTHER_SPLIT, Claimed
from deepfm_core.store.run_queue import LABELS
from deepfm_core.store.store import LOCAL, Store
from deepfm_core.workers.lane import Interrupted, Lane, Watch, nothing, work

Answer = Callable[[Store, dict[str, Any], Report], pd.DataFrame]
SPARE_SECONDS = 2.0
"""Seconds that it stays with nothing to do. A page looks every second, and may ask again then."""
_POLL_SECONDS = 0.05
"""Seconds between two looks into the queue: longer than for runs, since a page looks only once a second."""
_REPORT_SECONDS = 0.25


def other_split(store: Store, asked: dict[str, Any], _report: Report) -> pd.DataFrame:
    """Split the rows that one run shows as another run's model would; the tables must be those of whoever asks."""
    from deepfm_core.runs.explain_stage import split_by_other
    from deepfm_core.store.run_folder import RunFolder

    tables = partial(store.table_for, owner=asked.get("owner", LOCAL))
    return split_by_other(RunFolder(Path(asked["run"])), RunFolder(Path(asked["other"])), tables)


def opened_pair(store: Store, asked: dict[str, Any], _report: Report) -> pd.DataFrame:
    """Explain a pair of a run on a wide table; the tables must be those of whoever asks."""
    from deepfm_core.runs import explain_stage
    from deepfm_core.store.run_folder import RunFolder

    tables = partial(store.table_for, owner=asked.get("owner", LOCAL))
    return explain_stage.opened_pair(RunFolder(Path(asked["run"])), (asked["field_a"], asked["field_b"]), tables)


def observed(store: Store, asked: dict[str, Any], report: Report) -> pd.DataFrame:
    """Rank a table's pairs by what its labels say about them; see `evidence.ranking.observed_of_table`."""
    from deepfm_core.evidence.ranking import observed_of_table
    from deepfm_core.schema.schema import Schema

    return observed_of_table(store.table(asked["table"]), Schema.from_dict(asked["schema"]), report=report)


KINDS: dict[str, Answer] = {OTHER_SPLIT: other_split, OPENED_PAIR: opened_pair, OBSERVED: observed}


def answer(store: Store, question: Claimed, worker: Process) -> None:
    """Answer a question that `worker` has claimed, or fail it with a sentence, or stop if nobody waits any more."""
    beat = partial(store.workers.beat, worker, "busy", LANES[question.kind])
    watch = Watch(partial(store.questions.given_up, question.key, worker), beat)
    try:
        with watch:
            frame = KINDS[question.kind](store, question.asked, _reporting(store, question.key))
    except Interrupted:
        store.questions.give_up(question.key, worker)
    except DeepFMError as error:
        store.questions.fail(question.key, str(error))
    except Exception:
        traceback.print_exc()
        store.questions.fail(question.key, BROKEN)
    else:
        store.questions.answer(question.key, frame)


def _reporting(store: Store, key: str) -> Report:
    """Return a report of progress that writes to the store now and then."""
    written = time.monotonic()

    def report(share: float) -> None:
        nonlocal written
        if time.monotonic() - written > _REPORT_SECONDS:
            written = time.monotonic()
            store.questions.report(key, share)

    return report


@cache
def _warm_up() -> None:
    importlib.import_module("deepfm_core.runs.warmup").warmup_answer()


def main(name: str, home: Path) -> None:
    """Answer the questions of a lane."""
    use_system_memory()
    wait_passively()
    step_back()
    store = Store(home)

    def prepare(worker: Process) -> Lane:
        def claim() -> Callable[[], None] | None:
            question = store.questions.next(worker, name)
            return partial(answer, store, question, worker) if question else None

        return Lane(name, claim, SPARE_SECONDS, _POLL_SECONDS, _warm_up if name == LABELS else nothing)

    work(store, name, prepare)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
