"""Encoded rows on the disk, of which a part at a time is read into memory.

A part's rows stand in the order of their table, each array in a file of its own without a header: row r begins at byte
r · width · 4. So any stretch of rows is a shard, as long as the reader wants it. Files are read, not mapped: what a
process has mapped counts as its memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from deepfm_core._files import write_json
from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.errors import RunError

PARTS = ("train", "valid", "test")
"""Training, validation and test part, as numbers 0, 1 and 2 name them."""
_TYPES: dict[str, Any] = {"ids": np.int32, "weights": np.float32, "dense": np.float32, "labels": np.float32}
_META = "parts.json"

Ranges = Sequence[tuple[int, int]]
"""Stretches of rows, each from its first to before its last."""


@dataclass(frozen=True)
class Shards:
    """N encoded rows with labels on the disk.

    Attributes:
        folder: where they stand.
        part: one of `PARTS`.
        layout: which slot and feature belongs to which field.
        rows: N.
        positives: how many of the labels are 1.
        widths: numbers of a row, by array.
        weighted: as in an `EncodedTable`.
        window: the most rows that are read at a time.
    """

    folder: Path
    part: str
    layout: Layout
    rows: int
    positives: int
    widths: dict[str, int]
    weighted: tuple[int, ...] | None
    window: int

    def __len__(self) -> int:
        return self.rows

    @cached_property
    def labels(self) -> NDArray[np.float32]:
        """(N,) all labels, in memory from then on."""
        return self._array("labels", [(0, self.rows)])[:, 0]

    def read(self, ranges: Ranges) -> EncodedTable:
        """Read stretches of rows, one after the other.

        Raises:
            RunError: a file is gone, cut short or cannot be read.
        """
        arrays = {name: self._array(name, ranges) for name in self.widths}
        labels = arrays["labels"][:, 0]
        weights = arrays.get("weights")
        return EncodedTable(self.layout, arrays["ids"], weights, arrays["dense"], labels, None, self.weighted)

    def windows(self) -> Iterator[EncodedTable]:
        """Read all rows in their order, at most `window` at a time."""
        for start in range(0, self.rows, self.window):
            yield self.read([(start, min(start + self.window, self.rows))])

    def _array(self, name: str, ranges: Ranges) -> NDArray[Any]:
        width, kind = self.widths[name], np.dtype(_TYPES[name])
        out = np.empty((sum(stop - start for start, stop in ranges), width), kind)
        if not out.nbytes:
            return out
        view, size, place = out.data.cast("B"), width * kind.itemsize, 0
        try:
            with (self.folder / f"{self.part}.{name}").open("rb", buffering=0) as file:
                for start, stop in ranges:
                    file.seek(start * size)
                    end = place + (stop - start) * size
                    while place < end and (got := file.readinto(view[place:end])):
                        place += got
                    if place < end:
                        raise _lost("they are cut short")
        except OSError as error:
            raise _lost(error.strerror or "they cannot be read") from error
        return out


def _lost(reason: str) -> RunError:
    return RunError(f"The run's encoded rows on the disk are damaged ({reason}). Resume the run: it encodes them anew.")


class ShardWriter:
    """Writes the encoded rows of the parts into a folder, piece by piece."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._files: dict[tuple[str, str], IO[bytes]] = {}
        self._rows, self._positives = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
        self._widths: dict[str, int] = {}
        self._weighted: tuple[int, ...] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write(self, part: str, table: EncodedTable) -> None:
        """Append labelled rows to a part."""
        assert table.labels is not None
        arrays = {"ids": table.ids, "dense": table.dense, "labels": table.labels[:, None]}
        if table.weights is not None:
            arrays["weights"] = table.weights
        self._widths = {name: array.shape[1] for name, array in arrays.items()}
        self._weighted = table.weighted
        for name, array in arrays.items():
            file = self._files.get((part, name))
            if file is None:
                file = self._stack.enter_context((self._folder / f"{part}.{name}").open("wb"))
                self._files[part, name] = file
            file.write(np.ascontiguousarray(array, _TYPES[name]).data.cast("B") if array.size else b"")
        self._rows[part] += len(table)
        self._positives[part] += int(table.labels.sum())

    def finish(self, said: dict[str, Any]) -> None:
        """Write how the rows are to be read, and whatever else is `said` of them."""
        self._stack.close()
        own = {"rows": self._rows, "positives": self._positives, "widths": self._widths, "weighted": self._weighted}
        write_json(self._folder / _META, {**said, **own})


def open_shards(folder: Path, layout: Layout, window_bytes: int) -> tuple[dict[str, Shards], dict[str, Any]]:
    """Open what a `ShardWriter` has written: the parts by name, of which `window_bytes` are read at a time.

    Returns:
        The parts, and what else was said of them.

    Raises:
        RunError: the folder is damaged.
    """
    try:
        values = json.loads((folder / _META).read_text(encoding="utf-8"))
        widths = {str(name): int(width) for name, width in values["widths"].items()}
        weighted = None if values["weighted"] is None else tuple(values["weighted"])
        window = max(window_bytes // (4 * sum(widths.values())), 1)
        parts = {
            part: Shards(
                folder, part, layout, values["rows"][part], values["positives"][part], widths, weighted, window
            )
            for part in PARTS
        }
        for part, shards in parts.items():
            for name, width in widths.items():
                if shards.rows and (folder / f"{part}.{name}").stat().st_size != 4 * width * shards.rows:
                    raise _lost("they are cut short")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _lost(type(error).__name__) from error
    return parts, values
