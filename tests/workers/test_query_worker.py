"""The workers of questions as real processes: one is kept warm, it answers, is cancelled, killed and replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from deepfm_core.schema.infer import infer_schema
from deepfm_core.store import query, run_queue
from deepfm_core.store.process import Process
from deepfm_core.store.query import OBSERVED, Question
from deepfm_core.store.run_queue import LABELS, RUNS
from deepfm_core.store.store import Store
from deepfm_core.workers.worker import keep_answering
from tests.store.test_query import asked_run, done, kill_workers, wait_for
from tests.waiting import wait

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store whose runs have a worker that does nothing, beside which one for questions is warm."""
    trainer = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    store = Store(tmp_path)
    assert store.workers.join(Process.of(trainer.pid), RUNS)
    keep_answering(store)
    wait_until_idle(store)
    yield store
    trainer.communicate()
    kill_workers(store)


def wait_until_idle(store: Store) -> None:
    """Wait for the moment after a question in which its worker is free again; a busy one gets another beside it."""
    wait(lambda: store.workers.states(LABELS) == ["idle"])


def answering(store: Store) -> list[Process]:
    rows = store.database.rows("SELECT worker FROM workers WHERE lane = ?", (LABELS,))
    return [worker for worker in (Process.parse(row["worker"]) for row in rows) if worker.alive()]


@pytest.fixture
def no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No further process is started for a question."""
    monkeypatch.setattr(run_queue, "_start", None)


def slow(store: Store) -> Question:
    """Ask of a table that takes as long to read as nobody writes to its file."""
    spec, question = asked_run(store, seed=0)
    report = store.home / "tables" / spec.table / "table.json"
    report.unlink()
    os.mkfifo(report)
    return question


def of_another_table(store: Store) -> Question:
    path = store.home / "other.csv"
    path.write_text("x,y,clicked\n" + "a,c,1\nb,d,0\na,d,0\n" * 50)
    sha = store.import_table(path, "other.csv").sha256
    return store.questions.about_pairs(sha, infer_schema(store.table(sha), "clicked"))


@pytest.mark.usefixtures("no_other")
def test_it_answers_one_question_after_the_other(store: Store) -> None:
    before = answering(store)
    spec, first = asked_run(store, seed=0)
    assert wait_for(first).problem is None
    wait_until_idle(store)
    fewer = replace(spec.schema, roles=spec.schema.roles[:4])
    second = store.questions.about_pairs(spec.table, fewer)
    assert wait_for(second).problem is None
    answers = [question.answer() for question in (first, second)]
    assert [len(answer) for answer in answers if answer is not None] == [66, 6]
    assert answering(store) == before
    wait(lambda: not store.database.rows("SELECT * FROM questions"))  # an answer is written before its row goes


def test_it_says_the_same_as_one_that_is_started(store: Store) -> None:
    _, question = asked_run(store, seed=0)
    wait_for(question)
    by_it = question.answer()
    (warm,) = answering(store)
    os.kill(warm.pid, signal.SIGKILL)
    question.path.unlink()
    wait_for(question)
    own = question.answer()
    assert warm not in answering(store)
    assert own is not None
    assert by_it is not None
    pd.testing.assert_frame_equal(own, by_it)


@pytest.mark.usefixtures("no_other")
def test_a_run_has_it_rank_its_pairs(store: Store) -> None:
    spec, question = asked_run(store, seed=0)
    folder = done(store, spec)
    assert folder.frame("observed") is not None
    assert question.standing().answered
    assert not list(folder.path.glob("observation*"))


@pytest.mark.usefixtures("no_other")
def test_what_goes_wrong_there_is_said_and_it_goes_on(store: Store) -> None:
    broken = store.questions.of(OBSERVED)
    assert wait_for(broken).problem == query.BROKEN
    assert "KeyError" in (store.home / "worker.log").read_text()
    wait_until_idle(store)
    _, question = asked_run(store, seed=0)
    assert wait_for(question).answered


def test_while_it_is_at_work_another_question_gets_a_worker_of_its_own(store: Store) -> None:
    (warm,) = answering(store)
    first = slow(store)
    wait(lambda: first.look().under_way)
    assert wait_for(of_another_table(store)).answered
    assert first.standing().under_way
    wait(lambda: answering(store) == [warm])  # the other one leaves, as nothing waits


@pytest.mark.usefixtures("no_other")
def test_a_question_that_nobody_waits_for_is_left_off_and_the_worker_goes_on(store: Store) -> None:
    (warm,) = answering(store)
    question = slow(store)
    wait(lambda: question.look().under_way)
    store.database.change("UPDATE questions SET looked = 0")
    wait(lambda: not store.database.rows("SELECT * FROM questions"))
    wait_until_idle(store)
    assert wait_for(of_another_table(store)).answered
    assert answering(store) == [warm]


def test_one_that_was_killed_at_work_is_replaced_and_the_question_answered(store: Store) -> None:
    (warm,) = answering(store)
    os.kill(warm.pid, signal.SIGSTOP)  # so that it does not end before it is killed
    _, question = asked_run(store, seed=0)
    question.look()
    claimed = store.questions.next(warm, LABELS)
    assert claimed is not None
    os.kill(warm.pid, signal.SIGKILL)
    assert wait_for(question).answered
    keep_answering(store)
    assert warm not in answering(store)
    assert len(answering(store)) == 1


def test_told_to_end_it_puts_its_question_back(store: Store) -> None:
    (warm,) = answering(store)
    question = slow(store)
    wait(lambda: question.look().under_way)
    os.kill(warm.pid, signal.SIGTERM)
    wait(lambda: not warm.alive())
    row = store.database.row("SELECT worker, attempts, problem FROM questions")
    assert row is not None
    assert tuple(row) == (None, 0, None)


def test_it_ends_with_the_last_worker_of_runs(store: Store) -> None:
    (warm,) = answering(store)
    for row in store.database.rows("SELECT worker FROM workers WHERE lane = ?", (RUNS,)):
        store.workers.leave(Process.parse(row["worker"]), RUNS)
    wait(lambda: not warm.alive())
    assert not answering(store)


def test_it_has_loaded_no_torch(store: Store) -> None:
    _, question = asked_run(store, seed=0)
    assert wait_for(question).answered
    (warm,) = answering(store)
    maps = Path(f"/proc/{warm.pid}/maps").read_text()
    assert "numpy" in maps
    assert "libtorch" not in maps
