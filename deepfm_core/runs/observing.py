"""What the data itself says about pairs: computed in a process of its own beside the training, since it needs no model.

A thread would not do: training makes many short calls, and each would wait for the other thread's turn.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepfm_core.data.encoded import EncodedTable, Layout, together
from deepfm_core.explain.observed import observed_interactions
from deepfm_core.runs.files import whole
from deepfm_core.runs.folder import RunFolder
from deepfm_core.training.spec import RunSpec

ROOT = Path(__file__).resolve().parents[2]
FRAME = "observed"
_INPUT = "observation.npz"
_latest: dict[str, pd.DataFrame] = {}
"""The frame made last by this process, under what it was made from: runs of a comparison share their rows."""


class Observation:
    """The `observed` frame of a run, being made from the moment this object exists."""

    def __init__(self, folder: RunFolder, parts: Sequence[EncodedTable], spec: RunSpec) -> None:
        """Begin, unless an earlier attempt at the run left the frame.

        Args:
            folder: where the frame goes.
            parts: the run's parts. All rows of the run's own table take part, since no model is judged by this; a
                table given apart does not.
            spec: of the run.
        """
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._source = ""
        if folder.frame_path(FRAME).exists():
            return
        table = together(own_parts(parts, spec))
        self._source = _fingerprint(table, spec.rows_seed)
        if self._source in _latest:
            folder.write_frame(FRAME, _latest[self._source])
            return
        save_encoded(table, folder.path / _INPUT)
        command = [sys.executable, "-m", __name__, str(folder.path.resolve()), str(spec.rows_seed)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # the training has the other processor
        with folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def ended(self) -> bool:
        """Whether `result` would answer at once."""
        return self._process is None or self._process.poll() is not None

    def result(self) -> pd.DataFrame | None:
        """Wait for the frame, None where it could not be made; columns as `explain.observed.observed_interactions`."""
        if self._process is not None:
            self._process.wait()
        frame = self._folder.frame(FRAME)
        if frame is not None and self._source and self._source not in _latest:
            _latest.clear()
            _latest[self._source] = frame
        return frame

    def stop(self) -> None:
        """End the computation, if it is still going on, and tidy up."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with suppress(FileNotFoundError):
            (self._folder.path / _INPUT).unlink()


def own_parts(parts: Sequence[EncodedTable], spec: RunSpec) -> list[EncodedTable]:
    """Keep, of training, validation and test part, those from the run's own table."""
    apart = (None, spec.valid_table, spec.test_table)
    return [part for part, elsewhere in zip(parts, apart, strict=True) if elsewhere is None]


def _fingerprint(table: EncodedTable, seed: int) -> str:
    """Tell apart everything the frame depends on."""
    arrays = [table.ids, table.weights, table.dense, table.labels]
    fields = Layout(table.layout.fields, table.layout.dense)
    digest = hashlib.blake2b(json.dumps([fields.to_dict(), seed]).encode())
    for array in arrays:
        digest.update(b"none" if array is None else np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def save_encoded(table: EncodedTable, path: Path) -> None:
    """Write a labelled encoded table as plain arrays and JSON."""
    arrays: dict[str, Any] = {"ids": table.ids, "dense": table.dense, "labels": table.labels}
    if table.weights is not None:
        arrays["weights"] = table.weights
    arrays["layout"] = np.frombuffer(json.dumps(table.layout.to_dict()).encode(), dtype=np.uint8)
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_encoded(path: Path) -> EncodedTable:
    """Read what `save_encoded` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        layout = Layout.from_dict(json.loads(arrays["layout"].tobytes()))
        return EncodedTable(layout, arrays["ids"], arrays.get("weights"), arrays["dense"], arrays["labels"])


def main(folder: Path, seed: int) -> None:
    """Make the frame of the run in `folder` from what `Observation` left there."""
    os.nice(5)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    table = load_encoded(folder / _INPUT)
    RunFolder(folder).write_frame(FRAME, observed_interactions(table, seed=seed))


def _end_with(parent: int) -> None:
    """End this process soon after the worker that asked for it is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
