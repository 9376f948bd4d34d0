"""Runs that another version has left behind, or that were damaged: a sentence, never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepfm_core.errors import RunError
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.runs.predictor import Trained
from deepfm_core.store.run_folder import RunFolder
from tests.conftest import Command

pytestmark = pytest.mark.slow

Change = Callable[[dict[str, Any]], Any]


def changed(run: Path, to: Path, file: str, change: Change) -> Path:
    """Copy a run with one of its JSON files changed."""
    shutil.copytree(run, to)
    values = json.loads((to / file).read_text())
    change(values)
    (to / file).write_text(json.dumps(values))
    return to


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("spec.json", lambda spec: spec["model"].update(name="lr"), "model.safetensors is damaged or from an earlier"),
        (
            "spec.json",
            lambda spec: spec["model"].update(embedding_size=3),
            "model.safetensors is damaged or from an earlier",
        ),
        ("spec.json", lambda spec: spec["model"].pop("layers"), "spec.json is not a run's"),
        ("encoder.json", lambda encoder: encoder.pop("fields"), "encoder.json is damaged or from an earlier"),
        ("encoder.json", lambda encoder: encoder["fields"][0].update(kind="odd"), "encoder.json is damaged or from an"),
    ],
)
def test_a_run_of_another_shape_is_said_to_be_one(
    trained: Path, tmp_path: Path, file: str, change: Change, says: str
) -> None:
    with pytest.raises(RunError, match=says):
        Trained.load(RunFolder(changed(trained, tmp_path / "run", file, change)))


def test_the_command_line_says_it_in_one_sentence(command: Command, trained: Path, table: Path, tmp_path: Path) -> None:
    older = changed(trained, tmp_path / "run", "spec.json", lambda spec: spec["model"].update(name="lr"))
    done = command("predict", older, table)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Run ")
    assert done.stderr.endswith("Train it again.\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_encoder_is_named(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "encoder.json").write_text("{")
    with pytest.raises(RunError, match=r"encoder.json is damaged"):
        Trained.load(RunFolder(tmp_path / "run"))


def test_what_a_later_version_says_of_a_role_is_left_out(trained: Path, tmp_path: Path) -> None:
    later = changed(
        trained, tmp_path / "run", "spec.json", lambda spec: spec["schema"]["roles"][0].update(colour="blue")
    )
    assert RunFolder(later).spec() == RunFolder(trained).spec()


def test_a_checkpoint_of_another_shape_cannot_be_gone_on_with(trained: Path, table: Path, tmp_path: Path) -> None:
    from deepfm_core.tables.reader import read_table

    folder = RunFolder(tmp_path / "run").create()
    tensors, _ = RunFolder(trained).load_model()
    older = {f"model.{name}": tensor.reshape(-1)[:1] for name, tensor in tensors.items()}
    folder.save_checkpoint(older, {"epoch": 1, "steps": 1, "best_epoch": 1, "best_logloss": 1.0, "seconds": 1.0})
    job, context = Job(RunFolder(trained).spec(), str(folder.path)), Context(lambda _: read_table(table))
    with pytest.raises(RunError, match="Train the run again"):
        list(execute(job, context))
