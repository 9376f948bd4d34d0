"""What the data itself says about pairs: computed in a process of its own beside the training, since it needs no model.

A thread would not do: training makes many short calls, and each would wait for the other thread's turn. Only the rows
are read and encoded in one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from deepfm_core.data.encoded import EncodedTable, Layout
from deepfm_core.data.schema import Schema
from deepfm_core.data.table import Table
from deepfm_core.explain.observed import COLUMNS, observed_interactions
from deepfm_core.explain.of_table import rows_asked
from deepfm_core.runs.files import whole
from deepfm_core.runs.folder import RunFolder
from deepfm_core.runs.questions import Question
from deepfm_core.training.spec import RunSpec

ROOT = Path(__file__).resolve().parents[2]
FRAME = "observed"
_INPUT = "observation.npz"
_LOOK_SECONDS = 0.2
_POLL_SECONDS = 0.02
_STOP_SECONDS = 1.0
_NICE = 5
"""How far the process steps back for the training and the pages."""
_spare: list[subprocess.Popen[bytes]] = []
"""A process that has loaded everything and waits for a run; none but in a worker."""
_latest: dict[str, pd.DataFrame] = {}
"""The frame made last by this process, under what it was made from: runs of a comparison share their rows."""


class Observation:
    """The `observed` frame of a run, being made from the moment this object exists.

    Where the same was asked of the same table before, on the page Data or by another run, that answer is taken at once;
    one that is just being found is waited for, and computed here if nobody finds it after all; and one found here is
    kept for whoever asks next.
    """

    def __init__(
        self, folder: RunFolder, table: Callable[[], Table], schema: Schema, asked: Question | None = None
    ) -> None:
        """Begin, unless an earlier attempt at the run left the frame.

        Args:
            folder: where the frame goes.
            table: gives the run's own, asked only where the frame has to be computed here, and in a thread. All its
                rows with a label take part, since no model is judged by this; a table given apart does not.
            schema: its roles.
            asked: the question of which the frame is the answer, where answers are kept.
        """
        self._folder, self._table, self._schema, self._question = folder, table, schema, asked
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._make, daemon=True, name="observation")
        self._begun = not (folder.frame_path(FRAME).exists() or self._taken())
        if self._begun:
            self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether `result` would answer at once."""
        return not self._thread.is_alive()

    def result(self) -> pd.DataFrame | None:
        """Wait for the frame, None where it could not be made; columns as `explain.observed.observed_interactions`."""
        if self._begun:
            self._thread.join()
        return self._folder.frame(FRAME)

    def stop(self) -> None:
        """End the computation, if it is still going on; one that reads its table leaves off by itself after that."""
        self._over.set()
        if self._begun:
            self._thread.join(_STOP_SECONDS)

    def _make(self) -> None:
        """Take the answer that somebody is about to find, or compute it; what goes wrong stands in the run's log."""
        try:
            if not self._awaited():
                self._compute()
        except Exception:  # the run goes on, and says that it does without
            with self._folder.log.open("a", encoding="utf-8") as log:
                traceback.print_exc(file=log)

    def _awaited(self) -> bool:
        """Look for the answer while another process is at work on it; False where it ends without one."""
        asked = self._question
        while asked is not None and asked.under_way and not asked.answered and not self._over.is_set():
            asked.look()
            self._over.wait(_LOOK_SECONDS)
        return self._taken()

    def _taken(self) -> bool:
        """Write down the answer to the question, if it has one."""
        answer = self._question.answer() if self._question else None
        if answer is not None:
            self._folder.write_frame(FRAME, answer[list(COLUMNS)])
        return answer is not None

    def _compute(self) -> None:
        """Make the frame from the table's rows, and keep it for others."""
        if self._over.is_set():
            return
        source = self._laid_out()
        if source in _latest:
            self._folder.write_frame(FRAME, _latest[source])
        else:
            self._run()
        frame = self._folder.frame(FRAME)
        if frame is not None:
            _latest.clear()
            _latest[source] = frame
            if self._question is not None:
                self._question.keep(frame)

    def _laid_out(self) -> str:
        """Encode the rows that are asked, leave them for the process unless it made their frame last; give their name.

        They are not held here while the process works.
        """
        rows = rows_asked(self._table(), self._schema)
        source = _fingerprint(rows)
        if source not in _latest and not self._over.is_set():
            save_encoded(rows, self._folder.path / _INPUT)
        return source

    def _run(self) -> None:
        """Have the process make the frame, and end it where the run is over before."""
        try:
            if self._over.is_set():
                return
            process = _begin(self._folder)
            while process.poll() is None and not self._over.wait(_POLL_SECONDS):
                pass
            process.kill()  # nothing where it has ended
            process.wait()
        finally:
            (self._folder.path / _INPUT).unlink(missing_ok=True)


def prepare() -> None:
    """Have a process ready for the next observation, so that loading it takes nothing from a run's first second."""
    if not any(process.poll() is None for process in _spare):
        _spare[:] = [_start(None)]


def _begin(folder: RunFolder) -> subprocess.Popen[bytes]:
    """Have the spare process, or a new one where there is none, make the frame of the run in `folder`."""
    request = str(folder.path.resolve()).encode()
    while _spare:
        process = _spare.pop()
        with suppress(BrokenPipeError):
            _ask(process, request)
            return process
        process.wait()
    with folder.log.open("ab") as log:
        process = _start(log)
    with suppress(BrokenPipeError):  # whoever waits for it finds that it has ended
        _ask(process, request)
    return process


def _start(log: BinaryIO | None) -> subprocess.Popen[bytes]:
    """Start a process that waits for a request; what it says goes to `log`, otherwise where this process's words go."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # the training has the other processor
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    return process


def _ask(process: subprocess.Popen[bytes], request: bytes) -> None:
    """Send a waiting process its one request; BrokenPipeError where it is gone."""
    assert process.stdin is not None
    try:
        process.stdin.write(request)
        process.stdin.flush()
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()


def own_parts(parts: Sequence[EncodedTable], spec: RunSpec) -> list[EncodedTable]:
    """Keep, of training, validation and test part, those from the run's own table."""
    apart = (None, spec.valid_table, spec.test_table)
    return [part for part, elsewhere in zip(parts, apart, strict=True) if elsewhere is None]


def _fingerprint(table: EncodedTable) -> str:
    """Tell apart everything the frame depends on."""
    arrays = [table.ids, table.weights, table.dense, table.labels]
    digest = hashlib.blake2b(json.dumps([table.layout.to_dict(), table.weighted]).encode())
    for array in arrays:
        digest.update(b"none" if array is None else np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def save_encoded(table: EncodedTable, path: Path) -> None:
    """Write a labelled encoded table as plain arrays and JSON."""
    arrays: dict[str, Any] = {"ids": table.ids, "dense": table.dense, "labels": table.labels}
    if table.weights is not None:
        arrays["weights"] = table.weights
    if table.weighted is not None:
        arrays["weighted"] = np.array(table.weighted)
    arrays["layout"] = np.frombuffer(json.dumps(table.layout.to_dict()).encode(), dtype=np.uint8)
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_encoded(path: Path) -> EncodedTable:
    """Read what `save_encoded` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        layout = Layout.from_dict(json.loads(arrays["layout"].tobytes()))
        weighted = tuple(arrays["weighted"].tolist()) if "weighted" in arrays else None
        ids, weights = arrays["ids"], arrays.get("weights")
        return EncodedTable(layout, ids, weights, arrays["dense"], arrays["labels"], weighted=weighted)


def main() -> None:
    """Wait for a request, and make the frame of its run from what `Observation` left there.

    A process whose worker ends before it asks for anything reads nothing, and ends.
    """
    request = sys.stdin.read()
    if not request:
        return
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    folder = RunFolder(Path(request))
    with folder.log.open("ab") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    table = load_encoded(folder.path / _INPUT)
    folder.write_frame(FRAME, observed_interactions(table))


def _end_with(parent: int) -> None:
    """End this process soon after the worker that asked for it is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main()
