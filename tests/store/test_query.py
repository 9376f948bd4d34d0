"""Questions that a page asks: answered by a process of their own, kept, and given up when nobody waits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.runs import evidence_task
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Job
from deepfm_core.runs.seed_stability import COLUMNS, split_by_other
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.schema import LabelRole, Schema
from deepfm_core.spec.events import EpochDone, Event, Finished, Stage
from deepfm_core.spec.run import FitSpec, RunSpec
from deepfm_core.store import encoding_cache, query
from deepfm_core.store.encoding_cache import digest_of
from deepfm_core.store.process import Process
from deepfm_core.store.query import Question, about_pairs, given_up, remove_old
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from deepfm_core.tables.table import Table

pytestmark = pytest.mark.slow

Reader = Callable[[str], Table]
ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "sample_data" / "run"


def wait_for(question: Question, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not (question.answered or question.problem):
        question.look()
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_run_asked_about_its_own_rows_splits_them_as_it_shows_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.import_table(ROOT / "sample_data" / "clicks.csv", "clicks.csv")
    question = Question(tmp_path, "other split", run=str(BUNDLED), other=str(BUNDLED))
    assert question.answer() is None
    wait_for(question)
    assert question.problem is None
    frame = question.answer()
    assert frame is not None
    assert tuple(frame.columns) == COLUMNS
    shown = RunFolder(BUNDLED).frame("examples")
    assert shown is not None
    np.testing.assert_array_equal(frame["row"], shown["row"])
    np.testing.assert_allclose(frame[["logit", "fm_logit"]], shown[["logit", "fm_logit"]], atol=1e-5)
    purified = frame[["base", "main", "pair", "higher"]].sum(axis=1)
    np.testing.assert_allclose(purified, frame["logit"], atol=1e-4)


def test_what_cannot_be_answered_gets_a_sentence_and_may_be_asked_again(tmp_path: Path) -> None:
    question = Question(tmp_path, "other split", run=str(BUNDLED), other=str(BUNDLED))  # the store lacks the table
    Store(tmp_path).close()
    wait_for(question)
    assert question.problem is not None
    assert "is not in the store. Upload it again." in question.problem
    question.forget_problem()
    assert question.problem is None


def test_an_answer_that_nobody_waits_for_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question(tmp_path, "other split", run="r", other="o")
    assert given_up(question.folder)
    monkeypatch.setattr(Question, "_start", lambda self: None)
    question.look()
    assert not given_up(question.folder)
    past = time.time() - 2 * query.PATIENCE
    os.utime(question.folder / "looked", (past, past))
    assert given_up(question.folder)


def test_a_process_that_breaks_leaves_a_sentence(tmp_path: Path) -> None:
    question = Question(tmp_path, "no such kind")
    wait_for(question)
    assert question.problem is not None
    assert question.problem.startswith("The computation ended without an answer.")


def test_questions_are_told_apart_by_all_that_is_asked_and_old_ones_removed(tmp_path: Path) -> None:
    first, second = (Question(tmp_path, "other split", run=name, other="o") for name in "ab")
    assert first.folder != second.folder
    assert first.folder == Question(tmp_path, "other split", other="o", run="a").folder
    first.folder.mkdir(parents=True)
    remove_old(tmp_path, time.time() - 60)
    assert first.folder.exists()
    remove_old(tmp_path, time.time() + 60)
    assert not first.folder.exists()


def no_table(*_: object) -> Table:
    raise AssertionError("the table is read")


def test_a_question_is_another_one_where_the_program_would_answer_otherwise(tmp_path: Path, monkeypatch) -> None:
    question = Question(tmp_path, "observed", table="t")
    monkeypatch.setattr(query, "_PROGRAM", "another")
    assert Question(tmp_path, "observed", table="t").folder != question.folder


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


@pytest.mark.parametrize(
    "module", ["encoding/encoder.py", "evidence/ranking.py", "evidence/main_effects.py", "spec/run.py"]
)
def test_what_decides_an_answer_is_part_of_the_key(tmp_path: Path, module: str) -> None:
    package = tmp_path / "deepfm_core"
    shutil.copytree(ROOT / "deepfm_core", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "key.py").write_text(
        "from pathlib import Path\nfrom deepfm_core.store.query import Question\n"
        "print(Question(Path('home'), 'observed', table='t').folder)\n"
    )

    def key() -> str:
        return subprocess.check_output([sys.executable, "key.py"], cwd=tmp_path, text=True)

    before = key()
    assert key() == before
    with (package / module).open("a") as file:
        file.write("# changed\n")
    assert key() != before


def test_a_run_without_examples_is_named(tmp_path: Path) -> None:
    from deepfm_core.errors import RunError

    with pytest.raises(RunError, match="has no examples yet"):
        split_by_other(RunFolder(tmp_path), RunFolder(BUNDLED), no_table)


def asked_run(store: Store, seed: int) -> tuple[RunSpec, Question]:
    path = store.home / "small.csv"
    path.write_text("".join((ROOT / "sample_data" / "clicks.csv").read_text().splitlines(keepends=True)[:1500]))
    sha = store.import_table(path, "small.csv").sha256
    spec = RunSpec(
        sha, "small.csv", infer_schema(store.table(sha), "clicked"), fit=FitSpec(epochs=1), seed=seed, folds=0
    )
    return spec, about_pairs(store.home, sha, spec.schema)


def done(store: Store, spec: RunSpec) -> RunFolder:
    return going_on(store, spec, lambda _: None)


def going_on(store: Store, spec: RunSpec, seen: Callable[[Event], object], table: Reader | None = None) -> RunFolder:
    """Do a run, and show each of its events to `seen`."""
    folder = RunFolder(store.home / f"run {spec.seed}")
    for event in execute(Job(spec, folder, table or store.table, home=store.home)):
        seen(event)
    assert isinstance(event, Finished)
    return folder


def none_was_without(events: list[Event]) -> bool:
    return not any(isinstance(event, Stage) and "could not" in event.note for event in events)


def test_a_run_takes_what_was_asked_of_its_table_before_and_keeps_what_it_finds(tmp_path: Path, monkeypatch) -> None:
    store = Store(tmp_path)
    spec, question = asked_run(store, seed=0)
    found = done(store, spec).frame("observed")
    answer = question.answer()
    assert found is not None
    assert answer is not None
    pd.testing.assert_frame_equal(answer, found)
    monkeypatch.setattr(Question, "apart", None)  # nothing more is computed
    taken = done(store, replace(RunSpec.from_dict(spec.to_dict()), seed=1)).frame("observed")
    pd.testing.assert_frame_equal(taken, found)


def test_a_run_waits_for_an_answer_that_is_under_way_and_nobody_else_looks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Question, "apart", None)
    store = Store(tmp_path)
    spec, question = asked_run(store, seed=0)
    question.look()
    assert question.under_way
    found, answer = done(store, spec).frame("observed"), question.answer()
    assert found is not None
    assert answer is not None
    assert answer["held_out_z"].isna().all()
    pd.testing.assert_frame_equal(answer[list(found.columns)], found)


def test_an_answer_removed_while_a_run_trains_is_not_waited_for(tmp_path: Path, monkeypatch) -> None:
    store = Store(tmp_path)
    spec, question = asked_run(store, seed=0)
    found = done(store, spec).frame("observed")
    monkeypatch.setattr(Question, "apart", None)  # nothing more is computed
    monkeypatch.setattr(Question, "_start", None)

    def remove(event: Event) -> None:
        if isinstance(event, EpochDone):
            remove_old(tmp_path, time.time() + 60)
            assert not question.answered

    taken = going_on(store, replace(spec, seed=1), remove).frame("observed")
    assert found is not None
    pd.testing.assert_frame_equal(taken, found)


def test_an_answer_that_is_used_is_kept_for_another_day(tmp_path: Path) -> None:
    question = Question(tmp_path, "observed", table="t")
    question.keep(pd.DataFrame({"strength": [0.5]}))
    os.utime(question.folder, (1e9, 1e9))
    assert question.answer() is not None
    remove_old(tmp_path, time.time() - 60)
    assert question.answered


@pytest.mark.parametrize("problem", ["There was too little memory.", None])
def test_a_run_computes_what_the_process_of_a_page_fails_to_answer(
    tmp_path: Path, monkeypatch, problem: str | None
) -> None:
    store = Store(tmp_path)
    spec, question = asked_run(store, seed=0)
    looked: list[bool] = []

    def look(self: Question) -> None:
        looked.append(self.under_way)
        if problem:
            (self.folder / "problem.txt").write_text(problem)
        (self.folder / "process").unlink()

    monkeypatch.setattr(Question, "look", look)
    question.folder.mkdir(parents=True)
    (question.folder / "process").write_text(str(Process.current()))
    events: list[Event] = []
    found, answer = going_on(store, spec, events.append).frame("observed"), question.answer()
    assert looked == [True]
    assert none_was_without(events)
    assert found is not None
    pd.testing.assert_frame_equal(answer, found)
    assert question.problem is None


def test_a_question_is_looked_for_before_it_is_waited_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(evidence_task, "_LOOK_SECONDS", 600.0)
    question = Question(tmp_path, "observed", table="t")
    question.folder.mkdir(parents=True)
    (question.folder / "process").write_text(str(Process.current()))
    schema = Schema(LabelRole("y", "1", "0"), ())
    observation = evidence_task.Observation(RunFolder(tmp_path / "run").create(), no_table, schema, question)
    until = time.monotonic() + 60
    while not (question.folder / "looked").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not observation.ended
    observation.stop()
    assert observation.ended
    assert observation.result() is None


def test_what_cannot_be_computed_is_said_and_stands_in_the_log(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(evidence_task, "rows_asked", no_table)
    store = Store(tmp_path)
    spec, _ = asked_run(store, seed=0)
    events: list[Event] = []
    folder = going_on(store, spec, events.append)
    assert not none_was_without(events)
    assert "the table is read" in folder.log.read_text()
    assert folder.frame("pairs") is not None


def test_a_second_run_reads_the_table_only_for_the_rows_that_it_shows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(encoding_cache, "FEWEST_ROWS", 10)
    store = Store(tmp_path)
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


def test_a_process_at_work_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepfm_core.workers import query_worker

    store = Store(tmp_path)
    sha = store.import_table(ROOT / "sample_data" / "clicks.csv", "clicks.csv").sha256
    question = about_pairs(tmp_path, sha, infer_schema(store.table(sha), "clicked"))
    monkeypatch.setattr(query_worker, "_REPORT_SECONDS", 0.0)
    monkeypatch.setattr(Question, "_start", lambda _question: None)
    question.look()
    assert question.share == 0.0
    query_worker.answer(question.folder)
    assert 0.9 < question.share <= 1.0
