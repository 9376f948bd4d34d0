"""What the data itself says about pairs: computed in a process of its own beside the training, since it needs no model.

A thread would not do: training makes many short calls, and each would wait for the other thread's turn. Only the rows
are read and encoded in one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepfm_core._files import whole
from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.errors import RunError
from deepfm_core.evidence.ranking import COLUMNS, rows_asked
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.query import Question
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.table import Table

FRAME = "observed"
_INPUT = "observation.npz"
_PLACE = "observation"
_LOOK_SECONDS = 0.2
_POLL_SECONDS = 0.05
_STOP_SECONDS = 1.0
_latest: dict[str, pd.DataFrame] = {}
"""The frame made last by this process, under what it was made from: runs of a comparison share their rows."""


class Observation:
    """The `observed` frame of a run, being made from the moment this object exists.

    Where the same was asked of the same table before, on the page Data or by another run, that answer is taken at once;
    one that is just being found is waited for, and computed here if nobody finds it after all; and one found here is
    kept for whoever asks next.
    """

    def __init__(
        self,
        folder: RunFolder,
        table: Callable[[], Table],
        schema: Schema,
        asked: Question | None = None,
        home: Path | None = None,
    ) -> None:
        """Begin, unless an earlier attempt at the run left the frame.

        Args:
            folder: where the frame goes.
            table: gives the run's own, asked only where the frame has to be computed here, and in a thread. All its
                rows with a label take part, since no model is judged by this; a table given apart does not.
            schema: its roles.
            asked: the question of which the frame is the answer, where answers are kept.
            home: of the store in which a process may wait for questions.
        """
        self._folder, self._table, self._schema, self._question, self._home = folder, table, schema, asked, home
        self._at_work = asked
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._make, daemon=True, name="observation")
        self._begun = not (folder.frame_path(FRAME).exists() or self._taken())
        if self._begun:
            self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether `result` would answer at once."""
        return not self._thread.is_alive()

    @property
    def share(self) -> float:
        """How much of the work is done, 0 … 1, as far as the process at work on it says."""
        return 1.0 if self.ended else self._at_work.share if self._at_work else 0.0

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
        """Have another process make the frame, and end that where the run is over before."""
        rows = self._folder.path / _INPUT
        place = (self._folder.path / _PLACE).resolve()  # the other process works in another directory
        asked = Question.apart(place, self._home or place, "rows", rows=str(rows.resolve()))
        self._at_work = asked
        try:
            while not (asked.answered or asked.problem or self._over.is_set()):
                asked.look()
                self._over.wait(_POLL_SECONDS)
            answer = asked.answer()
            if answer is not None:
                self._folder.write_frame(FRAME, answer)
            elif asked.problem:
                raise RunError("\n".join([asked.problem, (place / "log").read_text(errors="replace")]))
        finally:
            asked.leave()
            rows.unlink(missing_ok=True)
            shutil.rmtree(place, ignore_errors=True)


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
