"""Questions in the queue: known by what is asked, answered once, shared by pages and runs, given up and tried again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.errors import RunError
from deepfm_core.runs import evidence_task
from deepfm_core.runs.engine import execute
from deepfm_core.runs.explain_stage import COLUMNS, split_by_other
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.schema import LabelRole, Schema
from deepfm_core.spec.events import EpochDone, Event, Finished, Stage
from deepfm_core.spec.run import FitSpec, RunSpec
from deepfm_core.store import encoding_cache, limits, query, run_queue
from deepfm_core.store.encoding_cache import digest_of
from deepfm_core.store.process import Process
from deepfm_core.store.query import OBSERVED, OTHER_SPLIT, Question, Standing
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.run_queue import LABELS, MODELS, RUNS, WorkerRegister
from deepfm_core.store.store import Store
from deepfm_core.tables.table import Table
from tests.conftest import answer_next
from tests.waiting import wait

pytestmark = pytest.mark.slow

Reader = Callable[[str], Table]
ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "sample_data" / "run"
ME, PARENT = Process.current(), Process.of(os.getppid())
"""Processes that live, and that no test may end."""


@pytest.fixture
def store(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(limits, "PATIENCE", 600.0)  # nobody looks while `answer_next` works
    store = Store(tmp_path)
    yield store
    kill_workers(store)


def kill_workers(store: Store) -> None:
    for row in store.database.rows("SELECT worker FROM workers"):
        worker = Process.parse(row["worker"])
        if worker.alive() and worker not in (ME, PARENT):
            os.kill(worker.pid, 9)


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started."""
    monkeypatch.setattr(run_queue, "_start", lambda _home, lane: ME if lane == RUNS else PARENT)


def wait_for(question: Question) -> Standing:
    wait(lambda: question.look().ended)
    return question.standing()


def some(store: Store, name: str = "t") -> Question:
    return store.questions.of(OBSERVED, table=name)


def taken_up(store: Store, question: Question, worker: Process = ME) -> None:
    """Have a worker take up a question."""
    question.look()
    store.workers.join(worker, LABELS)
    claimed = store.questions.next(worker, LABELS)
    assert claimed is not None
    assert claimed.key == question.key


def ended_process() -> Process:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    child.communicate()
    return process


# Asking


def test_a_run_asked_about_its_own_rows_splits_them_as_it_shows_them(store: Store) -> None:
    store.import_table(ROOT / "sample_data" / "clicks.csv", "clicks.csv")
    question = store.questions.of(OTHER_SPLIT, run=str(BUNDLED), other=str(BUNDLED))
    assert question.answer() is None
    assert wait_for(question).problem is None
    frame = question.answer()
    assert frame is not None
    assert tuple(frame.columns) == COLUMNS
    shown = RunFolder(BUNDLED).frame("examples")
    assert shown is not None
    np.testing.assert_array_equal(frame["row"], shown["row"])
    np.testing.assert_allclose(frame[["logit", "fm_logit"]], shown[["logit", "fm_logit"]], atol=1e-5)
    purified = frame[["base", "main", "pair", "higher"]].sum(axis=1)
    np.testing.assert_allclose(purified, frame["logit"], atol=1e-4)


@pytest.mark.usefixtures("no_worker")
def test_what_cannot_be_answered_gets_a_sentence_and_may_be_asked_again(store: Store) -> None:
    question = store.questions.of(OTHER_SPLIT, run=str(BUNDLED), other=str(BUNDLED))  # the store lacks the table
    question.look()
    answer_next(store)
    problem = question.look().problem
    assert problem is not None
    assert "is not in the store. Upload it again." in problem
    question.forget_problem()
    assert question.standing() == Standing()


@pytest.mark.usefixtures("no_worker")
def test_what_goes_wrong_is_said_in_a_sentence(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    question = store.questions.of(OBSERVED)
    question.look()
    answer_next(store)
    assert question.standing().problem == query.BROKEN
    assert "KeyError" in capsys.readouterr().err


def test_a_worker_that_cannot_start_is_a_problem_of_the_question(store: Store, monkeypatch) -> None:
    def broken(_register: WorkerRegister, _lane: str) -> bool:
        raise RunError("The last worker ended before it was ready.")

    monkeypatch.setattr(WorkerRegister, "ensure", broken)
    question = some(store)
    question.look()
    assert question.standing().problem == "The last worker ended before it was ready."


@pytest.mark.usefixtures("no_worker")
def test_a_question_is_asked_once_and_taken_up_by_one_worker_of_its_lane(store: Store) -> None:
    first, second = some(store, "a"), some(store, "b")
    for question in (first, second, first):
        question.look()
    assert store.questions.next(ME, MODELS) is None
    claimed = [store.questions.next(ME, LABELS) for _ in range(3)]
    assert [one and one.key for one in claimed] == [first.key, second.key, None]
    assert claimed[0] is not None
    assert claimed[0].asked == {"table": "a"}


@pytest.mark.usefixtures("no_worker")
def test_what_nobody_looks_for_is_given_up(store: Store) -> None:
    at_work, waiting = some(store, "a"), some(store, "b")
    taken_up(store, at_work)
    waiting.look()
    assert not store.questions.given_up(at_work.key, ME)
    store.database.change("UPDATE questions SET looked = looked - ?", (2 * limits.PATIENCE,))
    assert store.questions.given_up(at_work.key, ME)
    assert store.questions.next(ME, LABELS) is None
    store.questions.give_up(at_work.key, ME)
    assert not store.database.rows("SELECT * FROM questions")


@pytest.mark.usefixtures("no_worker")
def test_a_question_of_another_worker_is_left_alone(store: Store) -> None:
    question = some(store)
    taken_up(store, question)
    assert store.questions.given_up(question.key, PARENT)
    store.questions.give_up(question.key, PARENT)
    assert question.standing().under_way


@pytest.mark.usefixtures("no_worker")
def test_a_question_whose_worker_is_lost_is_tried_once_more(store: Store) -> None:
    question = some(store)
    for attempt in range(query.MOST_ATTEMPTS):
        assert question.standing().problem is None, attempt
        taken_up(store, question, ended_process())
        assert not question.standing().under_way
        question.look()
    assert question.standing().problem == query.BROKEN
    question.forget_problem()
    taken_up(store, question)
    assert question.standing().under_way


@pytest.mark.usefixtures("no_worker")
def test_what_a_worker_gives_back_is_no_attempt(store: Store) -> None:
    question = some(store)
    for _ in range(query.MOST_ATTEMPTS + 1):
        taken_up(store, question)
        store.questions.give_back(ME)
    assert question.look().problem is None


@pytest.mark.usefixtures("no_worker")
def test_a_worker_says_how_far_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfm_core.workers.query_worker._REPORT_SECONDS", 0.0)
    shares = []
    report = query.Questions.report

    def reported(questions: query.Questions, key: str, share: float) -> None:
        report(questions, key, share)
        shares.append(question.standing().share)

    monkeypatch.setattr(query.Questions, "report", reported)
    _, question = asked_run(store, seed=0)
    assert question.look().share == 0.0
    answer_next(store)
    assert shares == sorted(shares)
    assert 0.9 < shares[-1] <= 1.0


# What a question is known by, and how long an answer is kept


def test_questions_differ_by_all_that_is_asked(store: Store) -> None:
    first, second = (store.questions.of(OTHER_SPLIT, run=name, other="o") for name in "ab")
    assert first.key != second.key
    assert first.key == store.questions.of(OTHER_SPLIT, other="o", run="a").key


def test_old_answers_are_removed_and_those_that_are_used_kept(store: Store) -> None:
    old, used = some(store, "a"), some(store, "b")
    earlier = store.questions.folder / "of an earlier version"
    earlier.mkdir(parents=True)
    for question in (old, used):
        store.questions.answer(question.key, pd.DataFrame({"strength": [0.5]}))
    for path in (old.path, used.path, earlier):
        os.utime(path, (1e9, 1e9))
    assert used.answer() is not None
    store.questions.purge(time.time() - 60)
    assert used.standing().answered
    assert not old.standing().answered
    assert not earlier.exists()


def test_a_question_is_another_one_where_the_program_would_answer_otherwise(store: Store, monkeypatch) -> None:
    before = some(store)
    monkeypatch.setattr(query, "_PROGRAM", "another")
    assert some(store).key != before.key


@pytest.mark.parametrize("changed", ["data/a.py", "data/deeper/c.py", "spec.py"])
def test_a_program_is_known_by_the_text_of_its_modules(tmp_path: Path, changed: str) -> None:
    for module in ("data/a.py", "data/deeper/c.py", "spec.py", "other.py"):
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / module).write_text("x = 1\n")
    before = digest_of("data", "spec.py", package=tmp_path)
    (tmp_path / "other.py").write_text("x = 2\n")
    assert digest_of("data", "spec.py", package=tmp_path) == before
    (tmp_path / changed).write_text("x = 2\n")
    changed_digest = digest_of("data", "spec.py", package=tmp_path)
    assert changed_digest != before
    (tmp_path / changed).rename(tmp_path / changed.replace(".py", "2.py"))
    if changed != "spec.py":
        assert digest_of("data", "spec.py", package=tmp_path) not in (before, changed_digest)


def test_what_decides_an_answer_is_part_of_the_key(tmp_path: Path) -> None:
    package = tmp_path / "deepfm_core"
    shutil.copytree(ROOT / "deepfm_core", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "key.py").write_text(
        "from pathlib import Path\nfrom deepfm_core.store.store import Store\n"
        "print(Store(Path('home')).questions.of('observed', table='t').key)\n"
    )

    def key() -> str:
        return subprocess.check_output([sys.executable, "key.py"], cwd=tmp_path, text=True)

    keys = [key()]
    assert key() == keys[0]
    for module in ("encoding/encoder.py", "evidence/ranking.py", "evidence/main_effects.py", "spec/run.py"):
        with (package / module).open("a") as file:
            file.write("# changed\n")
        keys.append(key())
        assert len(set(keys)) == len(keys), module


def test_a_run_without_examples_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no examples yet"):
        split_by_other(RunFolder(tmp_path), RunFolder(BUNDLED), no_table)


# Runs ask, too


def no_table(*_: object) -> Table:
    raise AssertionError("the table is read")


def asked_run(store: Store, seed: int) -> tuple[RunSpec, Question]:
    path = store.home / "small.csv"
    path.write_text("".join((ROOT / "sample_data" / "clicks.csv").read_text().splitlines(keepends=True)[:1500]))
    sha = store.import_table(path, "small.csv").sha256
    spec = RunSpec(
        sha, "small.csv", infer_schema(store.table(sha), "clicked"), fit=FitSpec(epochs=1), seed=seed, folds=0
    )
    return spec, store.questions.about_pairs(sha, spec.schema)


def done(store: Store, spec: RunSpec) -> RunFolder:
    return going_on(store, spec, lambda _: None)


def going_on(store: Store, spec: RunSpec, seen: Callable[[Event], object], table: Reader | None = None) -> RunFolder:
    """Do a run, and show each of its events to `seen`."""
    job = Job(spec, str(store.home / f"run {spec.seed}"))
    for event in execute(job, Context(table or store.table, questions=store.questions, encoded=store.encoded)):
        seen(event)
    assert isinstance(event, Finished)
    return job.folder


def none_was_without(events: list[Event]) -> bool:
    return not any(isinstance(event, Stage) and "could not" in event.note for event in events)


def test_a_run_asks_what_a_page_asks_and_a_second_run_takes_the_answer(store: Store, monkeypatch) -> None:
    spec, question = asked_run(store, seed=0)
    found = done(store, spec).frame("observed")
    answer = question.answer()
    assert found is not None
    assert answer is not None
    pd.testing.assert_frame_equal(answer[list(found.columns)], found)
    monkeypatch.setattr(WorkerRegister, "ensure", None)  # nothing more is computed
    taken = done(store, replace(RunSpec.from_dict(spec.to_dict()), seed=1)).frame("observed")
    pd.testing.assert_frame_equal(taken, found)


@pytest.mark.usefixtures("no_worker")
def test_a_run_waits_for_an_answer_that_is_under_way_and_nobody_else_looks(store: Store) -> None:
    spec, question = asked_run(store, seed=0)
    taken_up(store, question)
    store.database.change("UPDATE questions SET looked = 0")
    answered: list[bool] = []

    def answer_in_the_end(event: Event) -> None:
        if isinstance(event, Stage) and event.name == "explain" and not answered:
            wait(lambda: not store.questions.given_up(question.key, ME))  # the run says that it waits
            store.questions.give_back(ME)
            answer_next(store)
            answered.append(True)

    found, answer = going_on(store, spec, answer_in_the_end).frame("observed"), question.answer()
    assert found is not None
    assert answer is not None
    pd.testing.assert_frame_equal(answer[list(found.columns)], found)


@pytest.mark.usefixtures("no_worker")
def test_a_run_that_has_taken_an_answer_does_not_miss_it_later(store: Store, monkeypatch) -> None:
    spec, question = asked_run(store, seed=0)
    question.look()
    found = pd.read_parquet(answer_next(store))
    monkeypatch.setattr(WorkerRegister, "ensure", None)

    def remove(event: Event) -> None:
        if isinstance(event, Stage) and event.name == "evaluate" and question.standing().answered:
            wait(RunFolder(store.home / "run 0").frame_path("observed").exists)
            store.questions.purge(time.time() + 60)

    taken = going_on(store, spec, remove).frame("observed")
    assert not question.standing().answered
    assert taken is not None
    pd.testing.assert_frame_equal(taken, found[list(taken.columns)])


def test_a_run_asks_anew_what_a_page_was_not_answered(store: Store) -> None:
    spec, question = asked_run(store, seed=0)
    question.look()
    store.questions.fail(question.key, "There was too little memory.")
    events: list[Event] = []
    found, answer = going_on(store, spec, events.append).frame("observed"), question.answer()
    assert none_was_without(events)
    assert found is not None
    assert answer is not None
    pd.testing.assert_frame_equal(answer[list(found.columns)], found)


@pytest.mark.usefixtures("no_worker")
def test_a_run_that_ends_does_not_wait_for_its_question(store: Store) -> None:
    _, question = asked_run(store, seed=0)
    taken_up(store, question)
    folder = RunFolder(store.home / "run").create()
    observation = evidence_task.Observation(folder, no_table, Schema(LabelRole("y", "1", "0"), ()), question)
    assert not observation.ended
    observation.stop()
    assert observation.ended
    assert observation.result() is None
    assert question.standing().under_way  # somebody else may wait for it


def test_what_cannot_be_computed_is_said_and_stands_in_the_log(store: Store) -> None:
    spec, question = asked_run(store, seed=0)
    events: list[Event] = []

    def refused() -> bool:
        store.questions.fail(question.key, "There was too little memory.")
        return question.standing().ended

    def refuse(event: Event) -> None:
        events.append(event)
        if isinstance(event, Stage) and event.name == "read" and not event.fraction:
            store.workers.join(ME, LABELS)  # the only worker there is does nothing
            store.workers.beat(ME, "idle", LABELS)
        if isinstance(event, EpochDone):
            wait(refused)

    folder = going_on(store, spec, refuse)
    assert not none_was_without(events)
    assert "There was too little memory." in folder.log.read_text()
    assert folder.frame("pairs") is not None


def test_a_second_run_reads_the_table_only_for_the_rows_that_it_shows(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(encoding_cache, "FEWEST_ROWS", 10)
    spec, _ = asked_run(store, seed=0)
    spec = replace(spec, split_seed=0)
    done(store, spec)
    seen: list[str] = []

    def table(sha: str) -> Table:
        seen.append("read")
        return store.table(sha)

    going_on(store, replace(spec, seed=1), lambda event: seen.append(type(event).__name__), table)
    assert seen.count("read") == 1
    assert seen.index("Scored") < seen.index("read")


# The lanes


@pytest.mark.usefixtures("no_worker")
def test_a_question_waits_beside_the_runs(store: Store) -> None:
    spec, question = asked_run(store, seed=0)
    store.enqueue(spec)
    assert store.workers.ensure(RUNS)
    store.claims.next(ME)
    question.look()
    assert [len(store.workers.states(lane)) for lane in (RUNS, LABELS, MODELS)] == [1, 1, 0]
    assert store.worker_state().limit == 1


def test_a_lane_gets_a_worker_for_each_question_that_waits_up_to_its_limit(store: Store, monkeypatch) -> None:
    waiting = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(5)]
    started = iter(waiting)
    monkeypatch.setattr(run_queue, "_start", lambda _home, _lane: Process.of(next(started).pid))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    for number in range(6):
        some(store, str(number)).look()
    assert len(store.workers.states(LABELS)) == 4
    for process in waiting:
        process.communicate()


def test_the_oldest_worker_of_the_labels_stays_while_one_of_runs_lives(store: Store) -> None:
    others = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
    trainer, second = (Process.of(other.pid) for other in others)
    assert store.workers.join(trainer, RUNS)
    assert store.workers.join(ME, LABELS)
    assert store.workers.join(second, LABELS)
    assert not store.workers.leave(ME, LABELS)
    assert store.workers.leave(second, LABELS)
    for other in others:
        other.communicate()
    assert store.workers.leave(ME, LABELS)
