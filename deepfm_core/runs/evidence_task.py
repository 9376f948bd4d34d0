"""What the data itself says about pairs, found by another process beside the training, since it needs no model.

A thread would not do: training makes many short calls, and each would wait for the other thread's turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd

from deepfm_core._files import whole, write_frame
from deepfm_core._processor import step_back
from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.errors import RunError
from deepfm_core.evidence.ranking import COLUMNS, observed_interactions, rows_asked
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.query import BROKEN, Question
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.table import Table

FRAME = "observed"
_ROWS = "observation.npz"
_ROOT = Path(__file__).resolve().parents[2]
_LOOK_SECONDS, _GLANCE_SECONDS = 1.0, 0.05
"""How often a run says that it waits for an answer, and how often it sees whether that is there."""
_STOP_SECONDS = 1.0


class Observation:
    """The `observed` frame of a run, being made from the moment this object exists.

    A run in a store asks the question of the page Data, and shares the answer with it and with other runs. A run in
    none has a process of its own make the frame.
    """

    def __init__(
        self, folder: RunFolder, table: Callable[[], Table], schema: Schema, question: Question | None = None
    ) -> None:
        """Begin, unless an earlier attempt at the run left the frame.

        Args:
            folder: where the frame goes.
            table: gives the run's own, asked in a thread, and only without a question. All its rows with a label take
                part, since no model is judged by this; a table given apart does not.
            schema: its roles.
            question: of which the frame is the answer; None for a run in no store.
        """
        self._folder, self._table, self._schema, self._question = folder, table, schema, question
        self.share = 0.0
        """How much of the work is done, 0 … 1, as far as whoever does it says."""
        self._over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._make, daemon=True, name="observation")
        self._begun = not folder.frame_path(FRAME).exists()
        if self._begun:
            self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether `result` would answer at once."""
        return not self._thread.is_alive()

    def result(self) -> pd.DataFrame | None:
        """Wait for the frame; None if it could not be made. Columns: `evidence.ranking.observed_interactions`."""
        if self._begun:
            self._thread.join()
        return self._folder.frame(FRAME)

    def stop(self) -> None:
        """End what is still going on; what reads its table leaves off by itself after that."""
        self._over.set()
        if self._process is not None:
            self._process.kill()
        if self._begun:
            self._thread.join(_STOP_SECONDS)

    def _make(self) -> None:
        """Make the frame; what goes wrong stands in the run's log."""
        try:
            if self._question is None:
                self._compute()
            else:
                self._wait_for(self._question)
        except Exception:  # the run goes on, and says that it does without
            with self._folder.log.open("a", encoding="utf-8") as log:
                traceback.print_exc(file=log)

    def _wait_for(self, question: Question) -> None:
        """Ask, and write down the answer when it is there; what has failed before is tried again."""
        if question.standing().problem:
            question.forget_problem()
        looked = -_LOOK_SECONDS
        while not self._over.is_set():
            if time.monotonic() - looked >= _LOOK_SECONDS:
                standing, looked = question.look(), time.monotonic()
            else:
                standing = question.standing()
            self.share = standing.share
            if standing.problem:
                raise RunError(f"{standing.problem} The store's worker.log may have the details.")
            answer = question.answer() if standing.answered else None
            if answer is not None:
                self._folder.write_frame(FRAME, answer[list(COLUMNS)])
                return
            self._over.wait(_GLANCE_SECONDS)

    def _compute(self) -> None:
        """Have a process of its own make the frame; the rows are not held here while it works."""
        rows, frame = self._folder.path / _ROWS, self._folder.frame_path(FRAME)
        save_encoded(rows_asked(self._table(), self._schema), rows)
        command = [sys.executable, "-m", "deepfm_core.runs.evidence_task", str(rows.resolve()), str(frame.resolve())]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # one thread: the training needs the other processors
        try:
            with (
                TemporaryFile("w+") as said,
                subprocess.Popen(
                    command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, stderr=said, text=True
                ) as process,
            ):
                self._process = process
                if self._over.is_set():
                    process.kill()
                for line in process.stdout or ():
                    self.share = float(line)
                if process.wait() and not self._over.is_set():
                    said.seek(0)
                    raise RunError(f"{BROKEN}\n{said.read()}")
        finally:
            rows.unlink(missing_ok=True)


def own_parts(parts: Sequence[EncodedTable], spec: RunSpec) -> list[EncodedTable]:
    """Keep, of training, validation and test part, those from the run's own table."""
    apart = (None, spec.valid_table, spec.test_table)
    return [part for part, elsewhere in zip(parts, apart, strict=True) if elsewhere is None]


def save_encoded(table: EncodedTable, path: Path) -> None:
    """Write a labelled encoded table as plain arrays and JSON."""
    arrays: dict[str, Any] = {"ids": table.ids, "dense": table.dense, "labels": table.labels}
    if table.weights is not None:
        arrays["weights"] = table.weights
    if table.weighted is not None:
        arrays["weighted"] = np.array(table.weighted)
    if table.crosses is not None:
        arrays["crosses"] = table.crosses
    arrays["layout"] = np.frombuffer(json.dumps(table.layout.to_dict()).encode(), dtype=np.uint8)
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_encoded(path: Path) -> EncodedTable:
    """Read what `save_encoded` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        layout = Layout.from_dict(json.loads(arrays["layout"].tobytes()))
        weighted = tuple(arrays["weighted"].tolist()) if "weighted" in arrays else None
        ids, weights = arrays["ids"], arrays.get("weights")
        crosses = arrays.get("crosses")
        return EncodedTable(layout, ids, weights, arrays["dense"], arrays["labels"], crosses, weighted)


def main(rows: Path, frame: Path) -> None:
    """Make the frame from the rows in a file, and print how much is done."""
    step_back()
    write_frame(frame, observed_interactions(load_encoded(rows), report=lambda share: print(share, flush=True)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
