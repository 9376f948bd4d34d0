"""A dataset that does not fit into memory: its encoded rows on the disk, and the three passes that put them there.

A part's rows stand in the order of their table, each array in a file of its own without a header: row r begins at byte
r · width · 4. So any stretch of rows is a shard, as long as the reader wants it. Files are read, not mapped: what a
process has mapped counts as its memory.

Start with `Sharding`: `divide` reads labels and divides the rows as any run does, `summarise` sums up the columns of
the training rows and fits the encoder, `write` encodes all rows. Each is a generator of the share done.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from deepfm_core._files import atomic_folder, write_json
from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import require_validation, split_rows
from deepfm_core.encoding.summaries import ColumnSummary, within
from deepfm_core.errors import FILE, Problem, RunError, SchemaError, TableError
from deepfm_core.schema.column import Cells, number_problems
from deepfm_core.schema.labels import labelled_rows
from deepfm_core.spec.run import RunSpec
from deepfm_core.tables.csv_parser import Coded, categorical
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.datasets.shelf import Shelf
from deepfm_core.tables.table import Choices, PartFile

PARTS = ("train", "valid", "test")
"""Training, validation and test part, as numbers 0, 1 and 2 name them."""
TYPES: dict[str, Any] = {"ids": np.int32, "weights": np.float32, "dense": np.float32, "labels": np.float32}
"""How the numbers of each array are written: four bytes each."""
_META = "parts.json"
_IN_ORDER = 1 << 17
"""Rows that are read at a time where their order is kept, which needs no large window."""

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

    @property
    def window_bytes(self) -> int:
        """Bytes of a window."""
        return 4 * self.window * sum(self.widths.values())

    def within(self, window_bytes: int) -> Self:
        """Give the same rows, of which so many bytes are read at a time: one row at least."""
        return replace(self, window=max(window_bytes // (4 * sum(self.widths.values())), 1))

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
        """Read all rows in their order, a few at a time: the reader may still hold those before."""
        size = min(self.window, _IN_ORDER)
        for start in range(0, self.rows, size):
            yield self.read([(start, min(start + size, self.rows))])

    def _array(self, name: str, ranges: Ranges) -> NDArray[Any]:
        width, kind = self.widths[name], np.dtype(TYPES[name])
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
                        raise lost("they are cut short")
        except OSError as error:
            raise lost(error.strerror or "they cannot be read") from error
        return out


def lost(reason: str) -> RunError:
    """Say why encoded rows cannot be read, and what helps."""
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
            file.write(np.ascontiguousarray(array, TYPES[name]).data.cast("B") if array.size else b"")
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
        parts = {
            part: Shards(folder, part, layout, values["rows"][part], values["positives"][part], widths, weighted, 1)
            for part in PARTS
        }
        for part, shards in parts.items():
            for name, width in widths.items():
                if shards.rows and (folder / f"{part}.{name}").stat().st_size != 4 * width * shards.rows:
                    raise lost("they are cut short")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise lost(type(error).__name__) from error
    return {name: part.within(window_bytes) for name, part in parts.items()}, values


SAMPLE_ROWS = 200_000
"""Rows of the sample that roles, evidence and examples come from. The guide asks a sample of its own."""
_BASE = 700_000_000
"""Bytes that the program, its libraries and the sample take by themselves."""
_A_ROW = 32
"""Bytes that each row of the dataset takes while the rows are divided: its label and its part, a few times over."""
_A_ROW_LATER = 12
"""Bytes that each row takes after that: its label, its part, and the scores of those that are held out."""
_A_CELL = 64
"""Bytes that a cell takes at most while a piece is encoded."""
_A_WEIGHT = 32
"""Bytes that a weight takes while it is trained: itself, its gradient, Adam's moments, its average and its best."""
_LEAST = 150_000_000
"""Bytes besides that are needed in any case."""
DATASET = "dataset.json"
"""A file of a run's folder: where its rows are, until it is finished."""
_SHARE = 4
"""Piece, window and features may take this part of what is left, each."""


def least_memory(rows: int) -> int:
    """Give the fewest bytes of memory with which a run takes so many rows."""
    return _BASE + _LEAST + _A_ROW * rows


@dataclass(frozen=True)
class MemoryPlan:
    """What the bytes of the setting are spent on.

    Attributes:
        piece_rows: rows that are read and encoded at a time.
        window_bytes: encoded rows that are in memory at a time while the model trains.
        features: the most features that values become, over all fields.
    """

    piece_rows: int
    window_bytes: int
    features: int

    @classmethod
    def of(cls, memory: int, rows: int, columns: int, embedding_size: int) -> MemoryPlan:
        """Divide `memory` bytes.

        Raises:
            RunError: they are not enough for so many rows.
        """
        least = least_memory(rows)
        if memory < least:
            raise RunError(
                f"Memory is {said_bytes(memory)}, too little for {rows:,} rows. "
                f"Use `--memory {said_bytes(least, up=True)}` or more, or fewer files."
            )
        share = (memory - _BASE - _A_ROW_LATER * rows) // _SHARE
        piece = int(np.clip(share // (_A_CELL * columns), 1_000, 1_000_000))
        return cls(piece, share, max(share // (_A_WEIGHT * (embedding_size + 1)), 1_000))


def said_bytes(size: int, *, up: bool = False) -> str:
    """Write bytes as `--memory` takes them, in whole megabytes or gigabytes with a digit."""
    if size < 1_000_000_000:
        return f"{-(-size // 1_000_000) if up else size // 1_000_000}MB"
    tenths = -(-size // 100_000_000) if up else size // 100_000_000
    return f"{tenths / 10:g}GB"


ROOM = "Free some space, then resume the run"
"""What helps where the disk is full."""


def require_room(folder: Path, need: int) -> None:
    """Check that the disk of a folder has room for so many bytes of encoded rows.

    Raises:
        RunError: it has not.
    """
    if need > (free := shutil.disk_usage(folder).free):
        raise RunError(
            f"The encoded rows take up to {said_bytes(need, up=True)} on the disk of `{folder}`, and "
            f"{said_bytes(free)} are free. {ROOM}."
        )


def name_of_sample(name: str, rows: int) -> str:
    """Name the sample of a dataset that has so many rows."""
    return f"{name} (sample of {rows:,} rows)"


def name_of_whole(name: str) -> str:
    """Name what the sample of `name_of_sample` is of; another name stays."""
    return re.sub(r" \(sample of [\d,]+ rows\)$", "", name)


def bytes_in_memory(pieces: Pieces) -> int:
    """Say about how many bytes a run takes that holds all rows of a dataset in memory: cells, and them encoded."""
    return bytes_of(len(pieces), len(pieces.columns), pieces.weight)


def bytes_of(rows: int, columns: int, weight: int) -> int:
    """Say the same of so many rows and columns, whose values have so many bytes."""
    return _BASE + rows * (20 * columns + _A_ROW) + weight // 4


class RunFiles(Protocol):
    """The JSON files of a run's folder."""

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a file; None where there is none."""

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a file."""


class Sharding:
    """The passes over a dataset, and what they find."""

    def __init__(self, pieces: Pieces, spec: RunSpec, memory: int, sample: int = SAMPLE_ROWS) -> None:
        """Plan the passes.

        Args:
            pieces: the dataset.
            spec: of the run.
            memory: bytes that the run may take.
            sample: rows of its sample.

        Raises:
            RunError: the memory is not enough.
        """
        self._pieces, self._spec, self._sample = pieces, spec, sample
        self._columns = [role.column for role in spec.schema.used]
        self.plan = MemoryPlan.of(memory, len(pieces), len(self._columns) + 1, spec.model.embedding_size)
        self.part = np.full(len(pieces), -1, np.int8)
        """(N,) the number of each row's part, -1 where it has no label."""
        self._labels = np.zeros(len(pieces), np.int8)
        self.notes: list[str] = []
        self.encoder: Encoder

    def divide(self) -> Iterator[float]:
        """Read the labels, and the column that the rows are divided by, and give each row its part.

        Raises:
            SchemaError: a cell is no label, or a part cannot be made.
        """
        label, split = self._spec.schema.label, self._spec.split
        asked = list(dict.fromkeys([label.column, *([split.column] if split.column is not None else [])]))
        by: list[Coded] = []
        for start, table in self._pieces.tables(asked, 4 * self.plan.piece_rows):
            rows, labels = labelled_rows(table.frame, label, table.name)
            self._labels[start + rows] = labels
            self.part[start + rows] = 0
            if split.column is not None:
                column: pd.Categorical = table.frame[split.column].array
                by.append(Coded(column.codes[rows], pa.array(column.categories, pa.large_string())))
            yield (start + len(table)) / len(self._pieces)
        known = np.flatnonzero(self.part == 0)
        frame = pd.DataFrame({split.column: categorical(by)} if by else {}, index=range(len(known) if by else 0))
        form = next((role.form for role in self._spec.schema.roles if role.column == split.column), "")
        labels = self._labels[known].astype(np.float32)
        parts = split_rows(labels, split, frame, self._spec.rows_seed, form=form)
        require_validation(len(parts.valid), self._pieces.name)
        self.part[known[parts.valid]] = 1
        self.part[known[parts.test]] = 2
        left = len(self._pieces) - len(known)
        if left:
            which = "1 row without a label is" if left == 1 else f"{left:,} rows without a label are"
            self.notes.append(f"{which} left out.")
        self.notes += parts.notes

    def summarise(self) -> Iterator[float]:
        """Sum up the columns of the training rows, and fit the encoder to that.

        Raises:
            SchemaError: cells are not what their kind asks for.
        """
        used = self._spec.schema.used
        limit = max(self.plan.features // 8, 1_000)
        summaries = {role.column: ColumnSummary(role, limit, self._pieces.name) for role in used}
        for start, table in self._pieces.tables(self._columns, self.plan.piece_rows):
            train = np.flatnonzero(self.part[start : start + len(table)] == 0)
            problems = list[Problem]()
            for role in used:
                cells = Cells.of(table.frame, role.column).noted(role.notation)
                problems += number_problems(cells) if role.kind.is_number else []
                if not problems:
                    summaries[role.column].add(cells.take(train))
                    summaries[role.column].judge(cells, table.name)
            if problems:
                raise SchemaError(table.name, problems)
            yield (start + len(table)) / len(self._pieces)
        for summary in summaries.values():
            summary.require_few_strays()
        within(list(summaries.values()), self.plan.features)
        self.notes += [summary.note for summary in summaries.values() if summary.note]
        rows, min_count = int(np.count_nonzero(self.part == 0)), self._spec.min_count
        name = self._pieces.name
        self.encoder = Encoder.of_summaries(self._spec.schema, summaries, rows, min_count=min_count, subject=name)

    def write(self, folder: Path) -> Iterator[float]:
        """Encode all rows into `folder`, which appears as a whole, and count the features of the training rows.

        Raises:
            RunError: the disk has no room.
            SchemaError: cells are not what their kind asks for.
        """
        layout, rows = self.encoder.layout, int(np.count_nonzero(self.part >= 0))
        folder.parent.mkdir(parents=True, exist_ok=True)
        require_room(folder.parent, rows * 4 * (2 * layout.slots + len(layout.dense) + 1))
        counts, mass = np.zeros(layout.vocabulary, np.int64), np.zeros(layout.vocabulary)
        with atomic_folder(folder) as unfinished, ShardWriter(unfinished) as writer:
            for start, table in self._pieces.tables(self._columns, self.plan.piece_rows):
                part = self.part[start : start + len(table)]
                known = np.flatnonzero(part >= 0)
                encoded = self.encoder.encode(table.frame, subject=table.name, rows=known, judged=True)
                labelled = replace(encoded, labels=self._labels[start + known].astype(np.float32))
                for number, name in enumerate(PARTS):
                    own = labelled.take(np.flatnonzero(part[known] == number))
                    writer.write(name, own)
                    if number == 0:
                        _count(own, counts, mass)
                yield (start + len(table)) / len(self._pieces)
            self.encoder = self.encoder.counted(counts, mass)
            self.encoder.save(unfinished / "encoder.json")
            drawn = self._pieces.drawn(self._sample)
            writer.finish({"notes": self.notes, "sample": self.part[drawn].tolist()})


def _count(table: EncodedTable, counts: NDArray[np.int64], mass: NDArray[np.float64]) -> None:
    """Add the rows in which each feature has x ≠ 0, and its x, to `counts` and `mass` (V,)."""
    size, slots = len(counts), table.ids.shape[1]
    weighted = list(range(slots) if table.weighted is None else table.weighted) if table.weights is not None else []
    others = np.setdiff1d(np.arange(slots), weighted)
    plain = np.bincount(table.ids[:, others].ravel(), minlength=size)
    counts += plain
    mass += plain
    if weighted and table.weights is not None:
        ids, x = table.ids[:, weighted].ravel(), table.weights.ravel()
        counts += np.bincount(ids[x != 0], minlength=size)
        mass += np.bincount(ids, x, size)


@dataclass(frozen=True)
class Sharded:
    """A dataset's encoded rows, and the encoder.

    Attributes:
        parts: by name.
        sample: (M,) the part of each row of the sample, -1 where it has none.
        notes: sentences for the user.
    """

    encoder: Encoder
    parts: dict[str, Shards]
    sample: NDArray[np.int8]
    notes: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path, window_bytes: Callable[[int], int]) -> Self:
        """Open what `Sharding.write` has written; `window_bytes` gives the bytes of a window for so many rows in all.

        Raises:
            RunError: it is damaged.
        """
        encoder = Encoder.load(folder / "encoder.json")
        parts, said = open_shards(folder, encoder.layout, 0)
        window = window_bytes(sum(map(len, parts.values())))
        parts = {name: part.within(window) for name, part in parts.items()}
        return cls(encoder, parts, np.array(said["sample"], np.int8), tuple(said["notes"]))

    @classmethod
    def found(cls, folder: Path, window_bytes: Callable[[int], int]) -> Self | None:
        """Open what an earlier attempt has written; None where there is nothing, or it is damaged and goes."""
        for unfinished in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.exists():
            return None
        try:
            return cls.open(folder, window_bytes)
        except Exception:  # a damaged file may raise anything; the rows are then encoded anew
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.values())


@dataclass(frozen=True)
class Dataset:
    """What a run on a dataset needs besides its spec, whose table is a sample of it.

    Attributes:
        source: the files, as `Pieces` takes them; a path is absolute.
        memory: bytes that the run may take.
        choices: what is said of how text files are read, as plain values.
        shelf: a folder that may have the rows of text files already.
    """

    source: str
    memory: int
    choices: dict[str, Any] = field(default_factory=dict)
    shelf: str = ""

    @classmethod
    def of(cls, folder: RunFiles) -> Dataset | None:
        """Read what `write` wrote into a run's folder; None where the run's table is the whole."""
        values = folder.read_json(DATASET)
        if values is None:
            return None
        choices, shelf = values.get("choices") or {}, values.get("shelf") or ""
        return cls(str(values["source"]), int(values["memory"]), dict(choices), str(shelf))

    def write(self, folder: RunFiles) -> None:
        """Write this into a run's folder."""
        folder.write_json(DATASET, vars(self))

    def shelved(self, otherwise: Path) -> Shelf:
        """Give the folder with the rows of text files; one that is gone is made again in the place of `otherwise`."""
        there = Path(self.shelf) if self.shelf and Path(self.shelf).is_dir() else otherwise
        return Shelf(there, Choices.from_dict(self.choices))

    def pieces(self, files: Sequence[PartFile], shelf: Shelf) -> Pieces:
        """List the files, which must be those that the sample was drawn from; a shelf has the rows of text files.

        Raises:
            TableError: some are gone, new or changed, or cannot be read.
        """
        pieces = Pieces(self.source, shelf=shelf)
        if pieces.files != tuple(files):
            changed = sorted({file.name for file in {*pieces.files} ^ {*files}})
            remedy = "Put back the files as they were, or train anew on those that are there now."
            problem = Problem(
                "files have changed, come or gone since the run began", remedy, value=changed[0], how=FILE
            )
            raise TableError(f"Dataset `{pieces.name}`", [problem])
        return pieces

    def window_bytes(self, spec: RunSpec, rows: int) -> int:
        """Give the bytes of encoded rows that are in memory at a time while the model trains, of so many in all."""
        return MemoryPlan.of(self.memory, rows, 1, spec.model.embedding_size).window_bytes
