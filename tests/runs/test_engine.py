"""The engine of this machine: what a run leaves, and that an interrupted one ends like any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.errors import SpecError
from deepfm_core.evidence.ranking import observed_of_table
from deepfm_core.runs import evidence_task
from deepfm_core.runs.engine import execute
from deepfm_core.runs.evidence_task import Observation
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Finished, Ready, Scored, Stage
from deepfm_core.spec.run import FOLDS, MOST_FOLDED_ROWS, FitSpec, ModelSpec, RunSpec, SplitSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table
from tests.conftest import ROOT, clicks
from tests.waiting import wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Table:
    path = tmp_path_factory.mktemp("engine") / "clicks.csv"
    clicks().to_csv(path, index=False)
    return read_table(path)


def spec_for(table: Table, sha: str = "small", **settings: object) -> RunSpec:
    spec = RunSpec(
        sha,
        table.name,
        infer_schema(table, "clicked"),
        model=ModelSpec(dropout=0.2, centred=True),
        fit=FitSpec(epochs=5, patience=5, batch_size=128, learning_rate=3e-3),
    )
    return replace(spec, **settings)  # type: ignore[arg-type]


def run(spec: RunSpec, table: Table, folder: Path) -> list[Event]:
    return list(execute(Job(spec, str(folder)), Context(lambda _: table)))


def test_a_job_can_be_sent_as_text(small: Table, tmp_path: Path) -> None:
    job = Job(spec_for(small, folds=0), str(tmp_path), "an id")
    received = Job.from_dict(json.loads(json.dumps(job.to_dict())))
    assert received == job
    assert received.folder.path == tmp_path


def test_a_run_in_no_store_leaves_nothing_of_what_it_computed_beside(small: Table, tmp_path: Path) -> None:
    run(spec_for(small, folds=0), small, tmp_path)
    assert not list(tmp_path.glob("observation*"))
    assert not (tmp_path / "worker.log").exists()


def test_a_run_in_no_store_that_is_stopped_ends_what_it_computes_beside(
    small: Table, tmp_path: Path, monkeypatch
) -> None:
    begun = threading.Event()

    def laid_out(table: EncodedTable, path: Path) -> None:
        os.mkfifo(path)  # read as long as nobody writes to it
        begun.set()

    monkeypatch.setattr(evidence_task, "save_encoded", laid_out)
    observation = Observation(RunFolder(tmp_path), lambda: small, spec_for(small).schema)
    assert begun.wait(60)
    assert not observation.ended
    observation.stop()
    assert observation.ended
    assert observation.result() is None
    assert not list(tmp_path.iterdir())


def test_a_run_in_no_store_says_in_its_log_why_the_data_could_not_be_asked(
    small: Table, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(evidence_task, "save_encoded", lambda _table, path: path.write_bytes(b"no arrays"))
    events = run(spec_for(small, folds=0), small, tmp_path)
    assert isinstance(events[-1], Finished)
    assert [event.note for event in events if isinstance(event, Stage) and "could not be computed" in event.note]
    assert "Traceback" in (tmp_path / "worker.log").read_text()


def test_a_run_leaves_its_files_and_no_checkpoint(small: Table, tmp_path: Path) -> None:
    events = run(spec_for(small), small, tmp_path)
    assert isinstance(events[-1], Finished)
    folder = RunFolder(tmp_path)
    assert folder.spec() == spec_for(small)
    summary = folder.summary()
    assert summary is not None
    assert {name: summary[name] for name in events[-1].summary} == events[-1].summary
    assert [role["field"] for role in summary["roles"]] == [
        "clicked",
        *(r.column for r in spec_for(small).schema.roles),
    ]
    assert not folder.checkpoint.exists()
    examples = folder.frame("examples")
    terms = folder.frame("example_terms")
    assert examples is not None
    assert terms is not None
    sums = terms.groupby("row")["value"].sum()
    np.testing.assert_allclose(sums[examples["row"]], examples["logit"], atol=1e-4)
    curves = folder.frame("epochs")
    assert curves is not None
    assert curves.to_dict("records") == [asdict(event) for event in events if isinstance(event, EpochDone)]


def test_a_run_says_of_the_data_what_the_table_says_whatever_part_it_trains_on(small: Table, tmp_path: Path) -> None:
    asked = observed_of_table(small, spec_for(small).schema)
    for seed in (0, 3):
        spec = spec_for(small, seed=seed, split=SplitSpec(valid=0.3, test=0.2))
        run(spec, small, tmp_path / str(seed))
        frame = RunFolder(tmp_path / str(seed)).frame("observed")
        assert frame is not None
        pd.testing.assert_frame_equal(frame, asked[list(frame.columns)])


@pytest.mark.parametrize(("model", "after"), [("deepfm", 2), ("fnn", 2), ("fnn", 6)])
def test_a_cancelled_run_resumes_to_the_same_scores(small: Table, tmp_path: Path, model: str, after: int) -> None:
    spec = spec_for(small, model=ModelSpec(model, dropout=0.2, centred=True), folds=0)
    whole = run(spec, small, tmp_path / "whole")[-1]
    stop: list[bool] = []
    context = Context(lambda _: small, lambda: bool(stop))
    for event in execute(Job(spec, str(tmp_path / "part")), context):
        if isinstance(event, EpochDone) and event.epoch == after:
            stop.append(True)
    assert isinstance(event, Cancelled)
    assert event.epoch == after
    resumed = run(spec, small, tmp_path / "part")[-1]
    assert isinstance(whole, Finished)
    assert isinstance(resumed, Finished)
    assert resumed.summary["test"] == pytest.approx(whole.summary["test"], abs=1e-5)
    curves, once = (RunFolder(tmp_path / name).frame("epochs").drop(columns="seconds") for name in ("part", "whole"))
    pd.testing.assert_frame_equal(curves, once, atol=1e-5)


def test_a_validation_part_with_a_single_class_gets_a_sentence(small: Table, tmp_path: Path) -> None:
    frame = small.frame.head(400).copy()
    ordered = frame.assign(day=[str(1000 + i) for i in range(400)]).astype({"day": "category"})
    ordered["clicked"] = ["0", "1"] * 160 + ["0"] * 80  # the latest rows hold no clicks
    table = Table("late", ordered.astype("category"), small.report)
    schema = infer_schema(table, "clicked")
    spec = replace(spec_for(table), schema=schema, split=SplitSpec("time", "day"))
    finished = run(spec, table, tmp_path)[-1]
    assert isinstance(finished, Finished)
    assert finished.summary["test"]["auc"] is None
    metrics = RunFolder(tmp_path).read_json("metrics.json")
    assert metrics is not None
    assert "no clicks" in metrics["test"]["note"]


@contextmanager
def worker(store: Store) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "deepfm_core", "worker", "--home", str(store.home), "--idle", "1"], cwd=ROOT
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def test_a_killed_worker_shows_lost_and_resume_ends_as_if_never_interrupted(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    path = tmp_path / "clicks.csv"
    clicks(6000).to_csv(path, index=False)
    entry = store.import_table(path, "clicks.csv")
    table = store.table(entry.sha256)
    spec = spec_for(table, entry.sha256, fit=FitSpec(epochs=8, patience=8, batch_size=32, learning_rate=1e-3))
    run_id = store.enqueue(spec)
    with worker(store) as process:
        wait(lambda: process.poll() is not None or store.events(run_id, kinds=["epoch"]))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert store.run(run_id).state == "lost"
    store.resume(run_id)
    with worker(store):
        wait(lambda: store.run(run_id).state in ("finished", "failed"))
    whole = run(spec, table, tmp_path / "whole")[-1]
    assert isinstance(whole, Finished)
    assert store.run(run_id).summary["test"] == pytest.approx(whole.summary["test"], abs=1e-5)


def held_out(folder: Path) -> pd.DataFrame:
    pairs = RunFolder(folder).frame("pairs")
    assert pairs is not None
    return pairs.set_index(["field_a", "field_b"])[["held_out_z", "held_out_strength", "knock_out_logloss"]]


def test_pages_can_be_read_before_the_pairs_are_asked_on_unseen_rows(small: Table, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for event in execute(Job(spec_for(small, folds=2), str(tmp_path)), Context(lambda _: small)):
        if isinstance(event, Ready):
            assert held_out(tmp_path).isna().all(axis=None)
            assert {"pairs", "fields", "levels", "level_pairs", "examples"} <= set(folder.frames())
            assert event.summary["test"]["auc"] > 0
    assert isinstance(event, Finished)
    assert event.summary["hold_out_seconds"] > 0
    assert np.isfinite(held_out(tmp_path).to_numpy()).all()
    assert not (tmp_path / "folds").exists()


def test_a_run_stopped_between_folds_resumes_there_and_finds_the_same(small: Table, tmp_path: Path) -> None:
    spec = spec_for(small, folds=3)
    stop: list[bool] = []
    run(spec, small, tmp_path / "whole")
    for event in execute(Job(spec, str(tmp_path / "part")), Context(lambda _: small, lambda: bool(stop))):
        if event == Stage("hold out", 1 / 3):
            stop.append(True)
    assert isinstance(event, Cancelled)
    (tmp_path / "part" / "folds" / ".01.npz.4711-0a1b2c3d").write_bytes(b"half")  # as a killed process leaves it
    events = run(spec, small, tmp_path / "part")
    assert not (tmp_path / "part" / "folds").exists()
    shares = [event.fraction for event in events if isinstance(event, Stage) and event.name == "hold out"]
    assert shares[0] == 1 / 3
    assert {2 / 3, 1.0} < {*shares}
    assert shares == sorted(shares)
    pd.testing.assert_frame_equal(held_out(tmp_path / "part"), held_out(tmp_path / "whole"), rtol=1e-3, atol=1e-4)


def test_no_folds_and_no_pairs_ask_nothing(small: Table, tmp_path: Path) -> None:
    for number, spec in enumerate([spec_for(small, folds=0), spec_for(small, model=ModelSpec("lr"))]):
        events = run(spec, small, tmp_path / str(number))
        assert not any(isinstance(event, Ready) for event in events)
    assert spec_for(small).folds_for(MOST_FOLDED_ROWS) == FOLDS
    assert spec_for(small).folds_for(MOST_FOLDED_ROWS + 1) == 0


@pytest.mark.parametrize("folds", [1, -1, 21])
def test_folds_that_make_no_sense_are_refused(small: Table, folds: int) -> None:
    with pytest.raises(SpecError, match="Use 2 to 20, or 0"):
        spec_for(small, folds=folds)


def test_what_needs_no_evidence_is_explained_before_it_is_waited_for(small: Table, tmp_path: Path, monkeypatch) -> None:
    asked: list[set[str]] = []

    def waited_for(work: object) -> None:
        asked.append({path.stem for path in (tmp_path / "frames").iterdir()} - {"observed"})

    monkeypatch.setattr("deepfm_core.runs.engine._pause", waited_for)
    monkeypatch.setattr(Observation, "ended", property(lambda observation: bool(asked)))
    monkeypatch.setattr(Observation, "result", lambda observation: None)
    events = run(spec_for(small, folds=0), small, tmp_path)
    assert isinstance(events[-1], Finished)
    assert {"levels", "level_pairs", "purified_terms", "dnn_attribution"} <= asked[0]
    assert not {"pairs", "fields"} & asked[0]
    assert [event.note for event in events if isinstance(event, Stage) and "could not be computed" in event.note]


def test_what_is_found_first_is_there_before_the_slow_explanations(small: Table, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Observation, "ended", True)
    frames: list[set[str]] = []
    scored = None
    for event in execute(Job(spec_for(small, folds=0), str(tmp_path)), Context(lambda _: small)):
        if isinstance(event, Scored):
            scored = event.summary
            assert not (tmp_path / "findings.json").exists()
        if isinstance(event, Stage) and event.name == "explain":
            frames.append(set(RunFolder(tmp_path).frames()) if (tmp_path / "findings.json").exists() else set())
    assert isinstance(event, Finished)
    assert scored is not None
    assert event.summary | scored == event.summary
    first = next(there for there in frames if there)
    assert {"pairs", "fields", "observed", "predictions"} <= first
    assert not {"purified_terms", "dnn_attribution", "levels", "level_pairs"} & first
    assert {"purified_terms", "dnn_attribution", "levels", "level_pairs"} <= frames[-1]
