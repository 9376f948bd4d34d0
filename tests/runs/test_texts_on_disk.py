"""Runs on text files that do not fit into memory: the command, the classifier, and a run that goes on later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deepfm_core.classifier import DeepFMClassifier
from deepfm_core.encoding import memory
from deepfm_core.encoding.sharding import Dataset
from deepfm_core.errors import TableError
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.spec.events import Cancelled, Finished, Stage
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.datasets.shelf import Shelf
from tests.conftest import Command, clicks

ROWS = 3_000


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of CSV files that are said to take more memory than there is."""
    folder = tmp_path / "data"
    folder.mkdir()
    frame = clicks(ROWS)
    for number, rows in enumerate(np.array_split(np.arange(ROWS), 3)):
        frame.iloc[rows].to_csv(folder / f"{number}.csv", index=False)
    monkeypatch.setattr(memory, "_OF_TEXT", 10**9)
    monkeypatch.setattr(memory, "bytes_of", lambda *_: 10**15)
    return folder


def test_the_command_trains_on_text_files_as_in_memory(command: Command, data: Path, tmp_path: Path) -> None:
    given = ("train", data, "--label", "clicked", "--epochs", 2, "--copies", "keep")
    disk = command(*given, "--memory", "2GB", "--out", tmp_path / "disk")
    assert disk.returncode == 0, disk.stderr
    assert "3,003 lines take about" in disk.stderr
    assert "they stay on the disk, and the model trains from there" in disk.stderr
    memory._OF_TEXT = 0
    inside = command(*given, "--memory", "2GB", "--out", tmp_path / "inside")
    assert inside.returncode == 0, inside.stderr
    one, other = RunFolder(tmp_path / "inside"), RunFolder(tmp_path / "disk")
    weights = one.load_model()[0], other.load_model()[0]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert one.summary()["test"] == other.summary()["test"]
    assert one.summary()["files"] == other.summary()["files"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "disk", "inside"]
    assert not other.texts.exists()


def test_a_single_file_of_the_store_is_trained_on(command: Command, data: Path) -> None:
    done = command("train", data / "0.csv", "--label", "clicked", "--epochs", 1, "--memory", "2GB")
    assert done.returncode == 0, done.stderr
    assert "they stay on the disk" in done.stderr


def test_too_little_memory_is_said_before_the_rows_are_read(command: Command, data: Path) -> None:
    done = command("train", data, "--label", "clicked", "--memory", "500MB")
    assert done.returncode != 0
    assert "Memory is 500MB, too little for 3,003 rows. Use `--memory" in done.stderr


def test_the_classifier_takes_text_files(data: Path) -> None:
    model = DeepFMClassifier(memory="2GB", epochs=1, random_state=0).fit(str(data), "clicked")
    assert any("stay on the disk" in note for note in model.notes_)
    assert model.predict_proba(str(data)).shape == (ROWS, 2)


def test_a_run_reads_its_text_files_itself_where_nobody_else_has(data: Path, tmp_path: Path) -> None:
    spec, sample = _spec_and_sample(data, tmp_path)
    folder = RunFolder(tmp_path / "run").create()
    Dataset(str(data), 2_000_000_000, shelf=str(tmp_path / "gone")).write(folder)
    cancelled = iter([False, False, True])
    events = list(execute(Job(spec, str(folder.path)), Context(lambda _: sample, lambda: next(cancelled, True))))
    assert isinstance(events[-1], Cancelled)
    assert not folder.texts.exists()
    events = list(execute(Job(spec, str(folder.path)), Context(lambda _: sample)))
    assert isinstance(events[-1], Finished)
    shares = [event.fraction for event in events if isinstance(event, Stage) and event.name == "read"]
    assert shares == sorted(shares)
    assert not folder.texts.exists()


def test_a_file_that_changed_since_the_sample_is_named(data: Path, tmp_path: Path) -> None:
    spec, sample = _spec_and_sample(data, tmp_path)
    folder = RunFolder(tmp_path / "run").create()
    Dataset(str(data), 2_000_000_000).write(folder)
    path = data / "1.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(TableError, match=r"files have changed.*1\.csv.*Put back the files"):
        list(execute(Job(spec, str(folder.path)), Context(lambda _: sample)))
    assert not folder.texts.exists()


def _spec_and_sample(data: Path, tmp_path: Path):
    from deepfm_core.schema.infer import infer_schema
    from deepfm_core.spec.run import FitSpec, RunSpec

    shelf = Shelf(tmp_path / "shelf")
    list(shelf.fill(data))
    sample = Pieces(data, shelf=shelf).sample(ROWS)
    shelf.remove()
    schema = infer_schema(sample, "clicked", copies="keep")
    return RunSpec("whole", "clicks", schema, fit=FitSpec(epochs=1), folds=0, explained=False), sample
