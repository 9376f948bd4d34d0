"""What a worker does ahead of a run: a small run of its own, and a process that waits for the next observation."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfm_core.runs import engine, observing
from deepfm_core.runs.job import Job
from deepfm_core.runs.trial import trial_run
from deepfm_core.training.events import Event, Finished, Stage
from tests.test_engine import run, small, spec_for  # noqa: F401 (small is a fixture)


@pytest.fixture
def no_spare() -> Iterator[None]:
    observing._latest.clear()
    yield
    while observing._spare:
        process = observing._spare.pop()
        process.kill()
        process.communicate()


def test_the_trial_goes_through_every_stage_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[Event] = []

    def watched(job: Job) -> Iterator[Event]:
        for event in engine.execute(job):
            seen.append(event)
            yield event

    trial_run(watched)
    assert [event.name for event in seen if isinstance(event, Stage) and not event.fraction] == [
        "read",
        "encode",
        "fit",
        "evaluate",
    ]
    assert isinstance(seen[-1], Finished)
    assert not list(tmp_path.iterdir())


def test_a_trial_that_cannot_write_is_no_failure_of_the_worker(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    trial_run(engine.execute)


@pytest.mark.usefixtures("no_spare")
def test_the_waiting_process_serves_one_run_and_is_then_replaced(small, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    observing.prepare()
    (waiting,) = observing._spare
    observing.prepare()
    assert observing._spare == [waiting]
    events = run(spec_for(small, folds=0), small, tmp_path)
    assert isinstance(events[-1], Finished)
    assert (waiting.returncode, observing._spare) == (0, [])
    assert (tmp_path / "frames" / "observed.parquet").exists()
    observing.prepare()
    assert observing._spare != [waiting]


@pytest.mark.usefixtures("no_spare")
def test_a_waiting_process_that_was_killed_is_done_without(small, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    observing.prepare()
    (waiting,) = observing._spare
    waiting.kill()
    os.waitid(os.P_PID, waiting.pid, os.WEXITED | os.WNOWAIT)
    events = run(spec_for(small, folds=0), small, tmp_path)
    assert not [event for event in events if isinstance(event, Stage) and "could not" in event.note]
    assert (tmp_path / "frames" / "observed.parquet").exists()


@pytest.mark.usefixtures("no_spare")
def test_a_waiting_process_ends_with_the_one_that_it_waits_for() -> None:
    observing.prepare()
    (waiting,) = observing._spare
    assert waiting.stdin is not None
    waiting.stdin.close()
    assert waiting.wait(60) == 0
