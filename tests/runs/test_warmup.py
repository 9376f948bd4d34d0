"""What a worker does ahead of a run: a small run of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfm_core.runs import engine
from deepfm_core.runs.job import Context, Job
from deepfm_core.runs.warmup import warmup_answer, warmup_run
from deepfm_core.spec.events import Event, Finished, Stage

pytestmark = pytest.mark.slow


def test_the_trial_goes_through_every_stage_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[Event] = []

    def watched(job: Job, context: Context) -> Iterator[Event]:
        for event in engine.execute(job, context):
            seen.append(event)
            yield event

    warmup_run(watched)
    assert [event.name for event in seen if isinstance(event, Stage) and not event.fraction] == [
        "read",
        "encode",
        "guide",
        "fit",
        "evaluate",
    ]
    assert isinstance(seen[-1], Finished)
    assert not list(tmp_path.iterdir())


def test_a_trial_that_cannot_write_is_no_failure_of_the_worker(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    warmup_run(engine.execute)


def test_a_trial_answer_leaves_nothing_and_needs_no_torch(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    warmup_answer()
    assert not list(tmp_path.iterdir())
    code = "import sys, deepfm_core.runs.warmup as t; t.warmup_answer(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
