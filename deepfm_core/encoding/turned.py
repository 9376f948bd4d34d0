"""Encoded rows on the disk, turned: slot by slot, so that a field is read without the others.

What is solved field by field (`evidence.guide`) goes over all rows of a field many times. `Shards` keep a row's slots
together, since training reads whole rows.
"""

from __future__ import annotations

from contextlib import ExitStack
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedField
from deepfm_core.encoding.sharding import TYPES, Shards, lost, require_room
from deepfm_core.errors import RunError
from deepfm_core.spec.events import Report, unheard

AT_ONCE = 1 << 17
"""Rows of a stretch, at most."""


class TurnedRows:
    """N labelled encoded rows, slot by slot, in files that vanish when this is left or its process ends.

    Attributes:
        layout: which slot and feature belongs to which field.
        labels: (N,) float32.
        stretches: all rows, a stretch at a time.
    """

    def __init__(self, shards: Shards, report: Report = unheard) -> None:
        """Copy the rows of a part.

        Args:
            shards: N rows.
            report: called with the share done, 0 … 1.

        Raises:
            RunError: the disk has no room for the copy, or the rows cannot be read.
        """
        self.layout, self.labels, self._shards = shards.layout, shards.labels, shards
        size = min(shards.window, AT_ONCE)
        self.stretches = [slice(start, min(start + size, len(shards))) for start in range(0, len(shards), size)]
        names = [name for name in ("ids", "weights", "dense") if shards.widths.get(name)]
        require_room(shards.folder, 4 * len(shards) * sum(shards.widths[name] for name in names))
        try:
            with ExitStack() as stack:
                self._files = {name: stack.enter_context(TemporaryFile(dir=shards.folder)) for name in names}
                self._copy(report)
                self._stack = stack.pop_all()
        except OSError as error:  # also when a file is closed that could not be written to its end
            reason = error.strerror or "it cannot be written"
            raise RunError(
                f"The training rows cannot be copied on the disk of `{shards.folder}` ({reason}). Free some space, "
                "then resume the run."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return len(self._shards)

    def field(self, field: EncodedField, rows: slice) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """Read the ids (n, slots) of a stretch of rows, and their x, None where every one is 1."""
        ids = self._read("ids", field.first_slot, field.slots, rows)
        first, weighted = field.first_slot, self._shards.weighted
        if "weights" not in self._files or (weighted is not None and first not in weighted):
            return ids, None
        first = first if weighted is None else weighted.index(first)
        return ids, self._read("weights", first, field.slots, rows)

    def dense_values(self, number: int, rows: slice) -> NDArray[np.float32]:
        """Read the values (n,) of a dense field for a stretch of rows."""
        return self._read("dense", number, 1, rows)[:, 0]

    def _copy(self, report: Report) -> None:
        start = 0
        for window in self._shards.windows():
            report(start / len(self))
            for name, file in self._files.items():
                _write(file, np.ascontiguousarray(getattr(window, name).T), start, len(self))
            start += len(window)

    def _read(self, name: str, first: int, slots: int, rows: slice) -> NDArray[Any]:
        out = np.empty((slots, rows.stop - rows.start), TYPES[name])
        try:
            for place, column in enumerate(out):
                self._files[name].seek(4 * ((first + place) * len(self) + rows.start))
                if self._files[name].readinto(column.data.cast("B")) < column.nbytes:
                    raise lost("their copy by fields is cut short")
        except OSError as error:
            raise lost(error.strerror or "their copy by fields cannot be read") from error
        return out.T


def _write(file: IO[bytes], columns: NDArray[Any], start: int, rows: int) -> None:
    """Write a window of slots (slots, n) that begins at row `start`, at once, so that a full disk is noticed here."""
    for slot, column in enumerate(columns):
        file.seek(4 * (slot * rows + start))
        file.write(column.data.cast("B"))
    file.flush()
