"""Files that are written whole."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from deepfm_core._files import beside, sweep, write_json


def test_json_knows_no_number_that_is_none(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"auc": math.nan, "parts": [1.5, math.inf, {"z": -math.inf}], "name": "NaN"})
    written = json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda word: f"not JSON: {word}")
    assert written == {"auc": None, "parts": [1.5, None, {"z": None}], "name": "NaN"}


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run" / "frames"
    run.mkdir(parents=True)
    old, young = beside(run / "pairs.parquet"), beside(run.parent / "model.safetensors")
    folder = beside(run.parent / "folds")
    folder.mkdir()
    others = [run / "pairs.parquet", run / ".hidden", run.parent / "spec.json"]
    for path in (old, young, folder / "0.parquet", *others):
        path.write_text("x")
    for path in (old, folder, *others):
        os.utime(path, (1000.0, 1000.0))
    sweep(tmp_path, before=2000.0)
    assert not old.exists()
    assert not folder.exists()
    assert young.exists()
    assert all(path.exists() for path in others)
