"""A run's folder: files whole or not there, frames read in part, checkpoints that agree with themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from deepfm_core._files import atomic_folder, sha256, whole, write_bytes
from deepfm_core.errors import RunError
from deepfm_core.store.run_folder import RunFolder
from tests.small_engine import spec


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_bytes(path, b"old")

    def fail() -> None:
        with whole(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["summary.json"]


def test_of_two_who_write_the_same_folder_the_first_wins_and_nothing_else_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "content") as second:
        with atomic_folder(tmp_path / "content") as first:
            (first / "file").write_text("first")
        (second / "file").write_text("second")
    assert (tmp_path / "content" / "file").read_text() == "first"
    assert os.listdir(tmp_path) == ["content"]


def test_the_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_spec_and_summary_come_back_as_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run").create()
    assert folder.summary() is None
    folder.write_spec(spec(epochs=7))
    folder.write_summary({"test": {"auc": 0.75}})
    assert folder.spec() == spec(epochs=7)
    assert folder.summary() == {"test": {"auc": 0.75}}


def test_a_folder_that_is_no_run_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no spec\.json\. Name the folder of a run"):
        RunFolder(tmp_path).spec()


def test_a_damaged_json_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(RunError, match=r"summary\.json` is not JSON"):
        RunFolder(tmp_path).summary()


def test_a_frame_comes_back_whole_or_only_the_pair_asked_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    names = [f"field {n}" for n in range(20)]
    pairs = [(a, b, level) for a in names for b in names for level in range(30)]
    frame = pd.DataFrame(pairs, columns=["field_a", "field_b", "level"])
    frame["learned"] = np.where(frame["level"] == 3, np.nan, frame["level"] / 7)
    folder.write_frame("level_pairs", frame)

    assert folder.frames() == ("level_pairs",)
    whole_frame = folder.frame("level_pairs")
    assert whole_frame is not None
    pd.testing.assert_frame_equal(whole_frame, frame)
    one = folder.frame(
        "level_pairs",
        filters=[("field_a", "=", "field 3"), ("field_b", "=", "field 7")],
        columns=["field_a", "field_b", "learned"],
    )
    wanted = frame[(frame["field_a"] == "field 3") & (frame["field_b"] == "field 7")].drop(columns="level")
    assert one is not None
    pd.testing.assert_frame_equal(one, wanted.reset_index(drop=True))


def test_a_frame_that_is_not_there_is_none_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.frame("pairs") is None
    write_bytes(folder.frame_path("pairs"), b"PAR1 but not really")
    with pytest.raises(RunError, match=r"pairs\.parquet` cannot be read"):
        folder.frame("pairs")


def test_a_checkpoint_keeps_tensors_of_any_layout_and_numbers_exactly(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.load_checkpoint() is None
    transposed = torch.arange(6, dtype=torch.float64).reshape(2, 3).T
    random_state = torch.random.get_rng_state()
    metadata = {"epoch": 3, "best": 0.1 + 0.2, "history": [1, None, "ü"]}
    folder.save_checkpoint({"weights": transposed, "random": random_state}, metadata)

    loaded = folder.load_checkpoint()
    assert loaded is not None
    assert torch.equal(loaded[0]["weights"], transposed)
    assert torch.equal(loaded[0]["random"], random_state)
    assert loaded[1] == metadata
    folder.remove_checkpoint()
    assert folder.load_checkpoint() is None


def test_weights_that_are_missing_or_damaged_say_what_to_do(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match=r"has no weights\. Wait until it is finished"):
        folder.load_model()
    folder.model.write_bytes(b"\x80\x04 a pickle, perhaps")
    with pytest.raises(RunError, match="cannot be read"):
        folder.load_model()


_WRITES_CHECKPOINTS = """
import sys, torch
from pathlib import Path
from deepfm_core.store.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
for epoch in range(100_000):
    folder.save_checkpoint({"weights": torch.full((50_000,), float(epoch))}, {"epoch": epoch})
    print(epoch, flush=True)
"""


@pytest.mark.slow
def test_a_kill_while_checkpoints_are_written_never_leaves_a_mismatched_one(tmp_path: Path) -> None:
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITES_CHECKPOINTS, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = max(int(writer.stdout.readline()) for _ in range(5))
        writer.send_signal(signal.SIGKILL)
        said = max([said, *(int(line) for line in writer.stdout.read().split())])
        writer.wait()
        loaded = RunFolder(tmp_path).load_checkpoint()
        assert loaded is not None
        tensors, metadata = loaded
        assert metadata["epoch"] >= said
        assert torch.equal(tensors["weights"], torch.full((50_000,), float(metadata["epoch"])))


def test_reading_what_a_page_needs_imports_no_torch(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_spec(spec())
    folder.write_frame("pairs", pd.DataFrame({"field_a": ["hour"], "strength": [0.5]}))
    program = f"""
import sys, json
from pathlib import Path
from deepfm_core.store.run_queue import WorkerRegister
from deepfm_core.store.store import Store
from deepfm_core.store.run_folder import RunFolder
Store(Path({str(tmp_path)!r})).runs()
RunFolder(Path({str(tmp_path)!r})).spec()
frame = RunFolder(Path({str(tmp_path)!r})).frame("pairs")
print(json.dumps([len(frame), "torch" in sys.modules, "streamlit" in sys.modules]))
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == [1, False, False]
