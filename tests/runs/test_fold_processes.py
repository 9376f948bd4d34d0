"""Folds that are trained by several processes at once are those of one, and a process that ends loses none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from deepfm_core._processor import NICE, step_back
from deepfm_core.evidence.verdicts import PAIR_COLUMNS
from deepfm_core.runs import cross_fit_stage, fold_processes
from deepfm_core.runs.cross_fit_stage import Fold, hold_out, kept_folds
from deepfm_core.runs.fold_processes import DONE, FoldProcesses
from deepfm_core.spec.events import Event, Stage
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.store.run_folder import RunFolder
from tests.evidence.test_ranking import small_table, table_of

NAMES = ["a", "b", "c", "d"]
FIT = FitSpec(epochs=2, batch_size=64)
MODEL = ModelSpec(embedding_size=4, layers=(4,), guided=True)


def begun(folder: RunFolder) -> RunFolder:
    """Give a run's folder the frame of pairs that its check adds to."""
    pairs = pd.DataFrame(list(combinations(NAMES, 2)), columns=["field_a", "field_b"])
    pairs = pairs.assign(strength=0.1, learned=0.1, significant=False)
    folder.create().write_frame("pairs", pairs.reindex(columns=list(PAIR_COLUMNS)))
    return folder


def events(folder: RunFolder, folds: int = 4, *, helped: bool = True) -> list[Event]:
    codes, labels = small_table(0, rows=2_000)
    table = table_of(codes, labels, NAMES)
    return list(hold_out(folder, table, MODEL, FIT, folds=folds, epochs=[2], seed=0, helped=helped))


def pairs_of(folder: RunFolder) -> pd.DataFrame:
    frame = folder.frame("pairs")
    assert frame is not None
    assert not kept_folds(folder)
    return frame


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[FoldProcesses]:
    """Start two processes at the first chance, and give all that were started."""
    started: list[FoldProcesses] = []
    begin = FoldProcesses.begin

    def begin_and_wait(self: FoldProcesses, count: int) -> None:
        begin(self, count)
        started.append(self)
        await_empty(self)

    monkeypatch.setattr(cross_fit_stage, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(cross_fit_stage, "room_for", lambda folds, threads: min(folds, 2))
    monkeypatch.setattr(FoldProcesses, "begin", begin_and_wait)
    return started


def await_empty(processes: FoldProcesses) -> None:
    """Hold the run back until the others have taken every fold, or have ended."""
    deadline = time.monotonic() + 600
    while processes._left and processes.busy and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.slow
def test_folds_of_several_processes_are_those_of_one(tmp_path: Path, at_once: list[FoldProcesses]) -> None:
    alone, helped = begun(RunFolder(tmp_path / "alone")), begun(RunFolder(tmp_path / "helped"))
    events(alone, helped=False)
    assert not at_once
    shares = [event.fraction for event in events(helped) if isinstance(event, Stage)]
    assert len(at_once[0]._begun) == 2
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    pd.testing.assert_frame_equal(pairs_of(helped), pairs_of(alone), check_exact=True)
    assert all(process.poll() is not None for process, _ in at_once[0]._begun)


@pytest.mark.slow
def test_a_fold_whose_process_ends_is_trained_by_the_run(
    tmp_path: Path, at_once: list[FoldProcesses], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, left = begun(RunFolder(tmp_path / "alone")), begun(RunFolder(tmp_path / "left"))
    events(alone, helped=False)
    monkeypatch.setattr(Fold, "save", lambda self, folder: None)  # so each process ends as it begins
    events(left)
    assert len(at_once[0]._begun) == 2
    pd.testing.assert_frame_equal(pairs_of(left), pairs_of(alone), check_exact=True)


@pytest.mark.slow
def test_a_check_that_is_cancelled_leaves_no_process(tmp_path: Path, at_once: list[FoldProcesses]) -> None:
    folder = begun(RunFolder(tmp_path / "run"))
    codes, labels = small_table(0, rows=2_000)
    table = table_of(codes, labels, NAMES)
    check = hold_out(folder, table, MODEL, FIT, folds=4, epochs=[2], seed=0)
    while not at_once:
        next(check)
    numbers = [process.pid for process, _ in at_once[0]._begun]
    check.close()  # type: ignore[attr-defined]
    assert len(numbers) == 2
    assert not any(psutil.pid_exists(number) for number in numbers)


@pytest.mark.slow
def test_a_process_whose_run_is_killed_leaves_its_fold(tmp_path: Path) -> None:
    codes, labels = small_table(0, rows=2_000)
    endless = cross_fit_stage.ModelLearner(table_of(codes, labels, NAMES), MODEL, FIT, [1_000_000], 0, 50, [(0, 1)])
    Fold(endless, 4, tmp_path).save(tmp_path)
    command = [sys.executable, "-m", "deepfm_core.runs.cross_fit_stage", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("0\n")
        process.stdin.flush()
        assert 0 <= float(process.stdout.readline()) < 1  # it trains, and would for weeks
        assert psutil.Process(process.pid).nice() == min(psutil.Process().nice() + NICE, 19)
        process.stdin.close()  # as the system closes it when the run's process ends
        assert process.wait(600) == 0
        assert DONE not in process.stdout.read()
    assert not list(tmp_path.glob("[0-9]*.npz"))


def test_a_process_works_on_where_the_system_gives_it_no_other_niceness(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refused(niceness: int) -> int:
        asked.append(niceness)
        raise PermissionError

    monkeypatch.setattr(os, "nice", refused)
    step_back()
    assert asked == [NICE]


def test_a_process_that_has_ended_leaves_its_fold_in_the_queue(tmp_path: Path) -> None:
    left = deque([3])
    with FoldProcesses(("-c", "raise SystemExit('no room')"), left, tmp_path / "log") as processes:
        processes.begin(1)
        (process, thread), *_ = processes._begun
        process.wait(600)
        thread.join(600)
        assert not processes.busy
    assert list(left) == [3]
    assert not processes.shares
    assert "no room" in (tmp_path / "log").read_text()


def test_what_a_process_says_of_its_fold_counts_until_that_is_done(tmp_path: Path) -> None:
    left, seen = deque([1, 2]), list[float]()
    program = f"for fold in iter(input, 'x'): print(.25, flush=True); input if fold == '1' else exit(); print('{DONE}')"
    with FoldProcesses(("-u", "-c", program), left, tmp_path / "log") as processes:
        processes.begin(1)
        while processes.busy:
            seen.append(sum(processes.shares.values()))
    assert set(seen) <= {0, 0.25}
    assert list(left) == [2]  # the second one's process ended


def test_a_check_tells_its_progress_by_the_hundredth_and_stops_where_it_is_looked(tmp_path: Path) -> None:
    folder = begun(RunFolder(tmp_path / "run"))
    codes, labels = small_table(0, rows=2_000)
    table = table_of(codes, labels, NAMES)
    looks: list[None] = []

    def look() -> None:
        looks.append(None)
        if len(looks) == 40:
            raise InterruptedError

    told: list[Event] = []
    check = hold_out(folder, table, MODEL, FIT, folds=4, epochs=[500], seed=0, helped=False, look=look)
    with pytest.raises(InterruptedError):
        told.extend(check)
    shares = [event.fraction for event in told if isinstance(event, Stage)]
    assert shares[0] == 0
    assert all(later - earlier >= 0.00999 for earlier, later in pairwise(shares))  # no fold ends here
    assert len(shares) < len(looks)


def test_an_attempt_goes_on_with_the_folds_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes finish folds in any order, so a killed run may leave the second and not the first."""
    whole, cut = begun(RunFolder(tmp_path / "whole")), begun(RunFolder(tmp_path / "cut"))
    events(whole, helped=False)
    trained: list[int] = []
    finish = Fold.finish

    def told(self: Fold, fold: int):
        trained.append(fold)
        return finish(self, fold)

    monkeypatch.setattr(Fold, "finish", told)
    codes, labels = small_table(0, rows=2_000)
    attempt = hold_out(cut, table_of(codes, labels, NAMES), MODEL, FIT, folds=4, epochs=[2], seed=0, helped=False)
    while len(kept_folds(cut)) < 2:
        next(attempt)
    attempt.close()  # type: ignore[attr-defined]
    first, *_ = kept_folds(cut)
    first.unlink()
    trained.clear()
    events(cut, helped=False)
    assert trained == [0, 2, 3]
    pd.testing.assert_frame_equal(pairs_of(cut), pairs_of(whole), check_exact=True)


def test_a_run_starts_processes_only_where_processors_and_memory_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPFM_THREADS", raising=False)
    monkeypatch.setattr(fold_processes, "processors", lambda: 8)
    plenty = psutil.Process().memory_info().rss * 100
    available = deque([plenty])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": available[0]}))
    assert fold_processes.room_for(4, 1) == 4
    assert fold_processes.room_for(9, 2) == 3
    assert fold_processes.room_for(4, 8) == 0
    monkeypatch.setenv("DEEPFM_THREADS", "1")
    assert fold_processes.room_for(4, 1) == 0
    monkeypatch.delenv("DEEPFM_THREADS")
    available[0] = plenty // 25
    assert fold_processes.room_for(4, 1) in (1, 2)
    available[0] = 0
    assert fold_processes.room_for(4, 1) == 0


def test_the_limit_of_a_container_counts_as_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = fold_processes.memory_left()
    monkeypatch.setattr(fold_processes, "_CONTAINER", tmp_path)
    assert fold_processes.memory_left() > 0
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert fold_processes.memory_left() > 1000
    (tmp_path / "memory.max").write_text("1500\n")
    assert fold_processes.memory_left() == 500 < free


def test_the_rows_of_another_process_are_the_same(tmp_path: Path) -> None:
    codes, labels = small_table(0, rows=100)
    table = table_of(codes, labels, NAMES)
    learner = cross_fit_stage.ModelLearner(table, MODEL, FIT, [1, 2], 3, 50, [(0, 1)])
    Fold(learner, 4, tmp_path).save(tmp_path)
    loaded = Fold.load(tmp_path)
    assert (loaded.folds, loaded.place) == (4, tmp_path)
    for name in ("model", "fit", "epochs", "seed", "most_rows", "pairs"):
        assert getattr(loaded.learner, name) == getattr(learner, name)
    np.testing.assert_array_equal(loaded.learner.table.ids, table.ids)
    assert loaded.learner.table.layout == table.layout
