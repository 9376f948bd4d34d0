"""The parts of a run: training, validation and test rows, encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepfm_core.data.apart import require_fit
from deepfm_core.data.encoded import EncodedTable
from deepfm_core.data.encoder import Encoder
from deepfm_core.data.labels import labelled_rows
from deepfm_core.data.splits import judging_notes, split_rows
from deepfm_core.data.table import Table
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.training.spec import RunSpec, SplitSpec


@dataclass(frozen=True)
class Part:
    """Rows of one table that serve one purpose.

    Attributes:
        read: gives the table they come from.
        rows: (N,) int64, their numbers in the table, ascending.
        labels: (N,) float32.
    """

    read: Callable[[], Table]
    rows: NDArray[np.int64]
    labels: NDArray[np.float32]

    @property
    def table(self) -> Table:
        """Where they come from."""
        return self.read()

    def __len__(self) -> int:
        return len(self.rows)

    def encode(self, encoder: Encoder) -> EncodedTable:
        """Encode the part's rows with their labels."""
        encoded = encoder.encode(self.table.frame, rows=self.rows, subject=self.table.name)
        return replace(encoded, labels=self.labels)


@dataclass(frozen=True)
class Parts:
    """What a run trains on, stops by, and is judged by; `notes` are sentences for the user."""

    train: Part
    valid: Part
    test: Part
    notes: tuple[str, ...] = ()


def load_parts(spec: RunSpec, table: Callable[[str], Table]) -> Parts:
    """Read a run's tables and divide their rows.

    Raises:
        TableError, SchemaError: a table does not fit the schema, or a part cannot be made.
    """
    main = _labelled(spec, table(spec.table))
    own_valid = None if spec.valid_table is None else _apart(spec, table(spec.valid_table))
    own_test = None if spec.test_table is None else _apart(spec, table(spec.test_table))
    split = SplitSpec(
        spec.split.by,
        spec.split.column,
        valid=0.0 if own_valid else spec.split.valid,
        test=0.0 if own_test else spec.split.test,
    )
    frame = main.table.frame.take(main.rows) if len(main) < len(main.table) else main.table.frame
    division = split_rows(main.labels, split, frame, spec.rows_seed)
    train, valid, test = (
        Part(main.read, main.rows[rows], main.labels[rows]) for rows in (division.train, division.valid, division.test)
    )
    apart = (("validation", spec.valid_table, own_valid), ("test", spec.test_table, own_test))
    said = [note for name, sha, part in apart if part is not None for note in _notes(name, part, sha == spec.table)]
    notes = (*division.notes, *said)
    parts = Parts(train, own_valid or valid, own_test or test, notes)
    if not len(parts.valid):
        remedy = "Training stops by it: use a share such as 0.1, or give a validation table."
        raise SchemaError(main.table.name, [Problem("the validation part has no rows", remedy)])
    return parts


def _labelled(spec: RunSpec, table: Table) -> Part:
    return Part(lambda: table, *labelled_rows(table.frame, spec.schema.label, table.name))


def _apart(spec: RunSpec, table: Table) -> Part:
    try:
        return _labelled(spec, table)
    except SchemaError:
        require_fit(table, spec.schema)  # names everything that does not fit, not the label alone
        raise


def _notes(name: str, part: Part, trained_on: bool) -> list[str]:
    """Say what of a part that is a whole table is not as one would wish."""
    rows = len(part.table) - len(part)
    left = f"{part.table.name}: {rows:,} " + ("row without a label is" if rows == 1 else "rows without a label are")
    notes = [f"{left} left out."] if rows else []
    if trained_on:
        notes.append(f"The {name} table is the one trained on: its figures say nothing of unseen rows.")
    return notes + judging_notes(name, part.labels)
