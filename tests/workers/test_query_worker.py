"""The process that waits for questions beside a worker: it answers at once, one at a time, and ends with the worker."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from deepfm_core.runs import evidence_task
from deepfm_core.runs.engine import execute
from deepfm_core.store import query
from deepfm_core.store.process import Process
from deepfm_core.store.query import Question
from deepfm_core.store.query_pipe import Door, Standby, hand_over
from deepfm_core.store.store import Store
from deepfm_core.workers import query_worker
from deepfm_core.workers.worker import serve
from tests.store.test_query import asked_run, done, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Standby]:
    evidence_task._latest.clear()
    one = Standby(tmp_path)
    one.prepare()
    wait_until_free(tmp_path)
    yield one
    end(one)


def end(one: Standby) -> None:
    assert one.process is not None
    one.process.kill()
    one.process.communicate()


def wait_until_free(home: Path) -> None:
    until = time.monotonic() + 60
    while not free(home):
        assert time.monotonic() < until
        time.sleep(0.02)


def free(home: Path) -> bool:
    """Whether somebody is at the other end of the pipe; nothing is written."""
    try:
        os.close(os.open(home / "asked", os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def pid(one: Standby) -> int:
    assert one.process is not None
    return one.process.pid


@pytest.fixture
def no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for a question."""
    monkeypatch.setattr(Question, "_start", None)


@pytest.mark.usefixtures("no_other")
def test_it_answers_one_question_after_the_other(tmp_path: Path, waiting: Standby) -> None:
    store = Store(tmp_path)
    _, first = asked_run(store, seed=0)
    wait_for(first)
    wait_until_free(tmp_path)
    schema = asked_run(store, seed=1)[0].schema
    fewer = replace(schema, roles=schema.roles[:4])
    second = query.about_pairs(tmp_path, next(iter(store.tables())).sha256, fewer)
    wait_for(second)
    assert second.problem is None
    answers = [question.answer() for question in (first, second)]
    assert [len(answer) for answer in answers if answer is not None] == [66, 6]
    assert waiting.process is not None
    assert waiting.process.poll() is None
    assert not (second.folder / "process").exists()


def test_it_says_the_same_as_a_process_of_its_own(tmp_path: Path, waiting: Standby) -> None:
    store = Store(tmp_path)
    _, question = asked_run(store, seed=0)
    wait_for(question)
    by_it = question.answer()
    end(waiting)
    (question.folder / "answer.parquet").unlink()
    wait_for(question)
    own = question.answer()
    assert own is not None
    assert by_it is not None
    pd.testing.assert_frame_equal(own, by_it)


@pytest.mark.usefixtures("no_other")
def test_a_run_has_it_rank_its_pairs(tmp_path: Path, waiting: Standby) -> None:
    store = Store(tmp_path)
    spec, question = asked_run(store, seed=0)
    folder = done(store, spec)
    assert folder.frame("observed") is not None
    assert question.answered
    assert not (folder.path / "observation").exists()
    assert not list(folder.path.glob("*.npz"))
    wait_until_free(tmp_path)


@pytest.mark.usefixtures("no_other")
def test_what_goes_wrong_there_is_said_and_it_goes_on(tmp_path: Path, waiting: Standby) -> None:
    store = Store(tmp_path)
    broken = Question(tmp_path, "observed")
    wait_for(broken)
    assert broken.problem == query.BROKEN
    assert "KeyError" in (broken.folder / "log").read_text()
    wait_until_free(tmp_path)
    _, question = asked_run(store, seed=0)
    wait_for(question)
    assert question.answered


def test_while_it_is_at_work_another_question_gets_a_process_of_its_own(tmp_path: Path, waiting: Standby) -> None:
    other = Question(tmp_path, "no such kind")
    other.look()
    assert other.under_way
    assert Process.current() != Process.parse((other.folder / "process").read_text())
    store = Store(tmp_path)
    _, question = asked_run(store, seed=0)
    question.look()
    assert (question.folder / "process").read_text().split("/")[1] == str(pid(waiting))
    assert not hand_over(tmp_path, other.folder)
    wait_for(question)
    wait_for(other)


def test_one_that_was_killed_is_done_without_and_replaced(tmp_path: Path, waiting: Standby) -> None:
    killed = pid(waiting)
    assert waiting.process is not None
    waiting.process.kill()
    waiting.process.wait()
    assert not hand_over(tmp_path, tmp_path)
    spec, _ = asked_run(Store(tmp_path), seed=0)
    assert done(Store(tmp_path), spec).frame("observed") is not None
    waiting.prepare()
    assert pid(waiting) != killed
    wait_until_free(tmp_path)


def test_a_question_that_is_handed_over_and_not_taken_gets_a_process(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(query, "TAKEN_SECONDS", 0.05)
    os.mkfifo(tmp_path / "asked")
    deaf = os.open(tmp_path / "asked", os.O_RDONLY | os.O_NONBLOCK)
    started: list[Path] = []
    monkeypatch.setattr(Question, "_start", lambda self: started.append(self.folder))
    question = Question(tmp_path, "observed", table="t")
    question.look()
    assert os.read(deaf, 4096).decode().strip() == str(question.folder)
    os.close(deaf)
    assert started == [question.folder]


def test_a_question_that_nobody_waits_for_ends_it(tmp_path: Path, waiting: Standby) -> None:
    rows = tmp_path / "rows"
    os.mkfifo(rows)  # reading it takes as long as nobody writes
    question = Question(tmp_path, "rows", rows=str(rows))
    question.look()
    assert question.under_way
    question.leave()
    assert waiting.process is not None
    assert waiting.process.wait(60) == query.ABANDONED
    assert not question.problem


def test_a_question_answered_elsewhere_is_not_answered_again(tmp_path: Path) -> None:
    question = Question(tmp_path, "observed", table="t")
    assert not query.is_open(question.folder)
    question.folder.mkdir(parents=True)
    (question.folder / "question.json").write_text("{}")
    assert not query.is_open(question.folder)  # nobody looks
    (question.folder / "looked").touch()
    assert query.is_open(question.folder)
    (question.folder / "process").write_text(str(Process.current()))
    assert not query.is_open(question.folder)
    (question.folder / "process").unlink()
    question.keep(pd.DataFrame({"strength": [0.5]}))
    assert not query.is_open(question.folder)


def test_it_ends_with_the_worker(waiting: Standby) -> None:
    assert waiting.process is not None
    assert waiting.process.stdin is not None
    waiting.process.stdin.close()
    assert waiting.process.wait(60) == 0


def test_a_worker_sees_that_it_lives(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("deepfm_core.workers.worker._BEAT_SECONDS", 0.01)
    seen: list[float] = []
    store, worker = Store(tmp_path), Process.current()
    assert store.workers.join(worker, 1)
    serve(store, execute, worker, idle=0.2, standby=lambda: seen.append(time.monotonic()))
    assert len(seen) > 2


def test_where_no_pipe_can_be_it_waits_for_the_end_of_the_worker(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "asked").mkdir()  # as on a file system without named pipes, opening it fails
    reading, writing = os.pipe()
    with os.fdopen(reading) as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        assert not hand_over(tmp_path, tmp_path)
        os.close(writing)
        assert Door(tmp_path).next() is None


def test_a_file_in_the_place_of_the_pipe_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "asked").write_bytes(b"")  # a copy of a store may have one
    assert not hand_over(tmp_path, tmp_path)
    assert (tmp_path / "asked").read_bytes() == b""


def test_of_two_that_wait_one_takes_each_question(tmp_path: Path, monkeypatch) -> None:
    reading, writing = os.pipe()
    taken: list[Path] = []
    with os.fdopen(reading) as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)

        def take(door: Door) -> None:
            while (folder := door.next()) is not None:
                taken.append(folder)

        threads = [threading.Thread(target=take, args=(Door(tmp_path),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            until = time.monotonic() + 10
            before = len(taken)
            while not hand_over(tmp_path, tmp_path):
                assert time.monotonic() < until
            while len(taken) == before:
                assert time.monotonic() < until
                assert all(thread.is_alive() for thread in threads)
                time.sleep(0.001)
        os.close(writing)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def test_a_question_whose_folder_is_gone_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(query_worker, "_REPORT_SECONDS", -1.0)  # every report is left
    report = query_worker._reporting(tmp_path / "gone")
    report(0.5)
    assert not (tmp_path / "gone").exists()
