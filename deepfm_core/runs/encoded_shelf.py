"""Encoded rows of large tables, kept beside them: the next run that divides and encodes them alike only maps files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.data.encoder import Encoder
from deepfm_core.data.table import Table
from deepfm_core.runs.files import whole_folder, write_json
from deepfm_core.runs.parts import Part, Parts
from deepfm_core.training.spec import RunSpec

FEWEST_ROWS = 50_000
"""Rows from which on keeping them is worth its files; fewer are encoded in a few hundredths of a second."""
MOST_BYTES = 4_000_000_000
"""What all kept rows of a store may take together; those not used for longest go first."""
_DAY = 24 * 3600.0
_PARTS = ("train", "valid", "test")
_ARRAYS = ("ids", "weights", "dense", "labels", "crosses")
_SMALL = 4096
"""Bytes of a file up to which mapping it gains nothing (and an array without values cannot be mapped)."""


@dataclass(frozen=True)
class Prepared:
    """A run's parts, the encoder fitted on the training part, and the encoded parts by name."""

    parts: Parts
    encoder: Encoder
    tables: dict[str, EncodedTable]

    @property
    def rows(self) -> int:
        """The number of rows of all parts."""
        return sum(len(table) for table in self.tables.values())

    @property
    def bytes(self) -> int:
        """What the encoded rows take."""
        return sum(array.nbytes for table in self.tables.values() for _, array in _arrays(table))


class EncodedShelf:
    """What is kept of a store's tables, at `tables/<sha256>/encoded/<key>/`.

    Entries appear whole or not at all, and never change; a process that still reads one that is removed is not
    disturbed. What a process left unfinished is removed after a day.
    """

    def __init__(self, tables: Path, most_bytes: int = MOST_BYTES) -> None:
        self._tables = tables
        self._most_bytes = most_bytes

    def find(self, spec: RunSpec, table: Callable[[str], Table]) -> Prepared | None:
        """Return what an earlier run with the same rows, division and fields has kept, its arrays mapped from files.

        The tables themselves are read, by `table`, only when somebody asks for their cells.
        """
        entry = self._entry(spec)
        try:
            values = json.loads((entry / "parts.json").read_text(encoding="utf-8"))
            encoder = Encoder.load(entry / "encoder.json")
            tables = {name: _encoded(entry, name, encoder, values) for name in _PARTS}
            rows = {name: _array(entry / f"{name}.rows.npy") for name in _PARTS}
            os.utime(entry)
        except (OSError, EOFError, ValueError, KeyError):
            return None
        read = cache(table)
        shas = {"train": spec.table, "valid": spec.valid_table or spec.table, "test": spec.test_table or spec.table}
        train, valid, test = (Part(partial(read, shas[name]), rows[name], _labels(tables[name])) for name in _PARTS)
        return Prepared(Parts(train, valid, test, tuple(values["notes"])), encoder, tables)

    def keep(self, spec: RunSpec, prepared: Prepared) -> None:
        """Keep what was prepared for a run, if it is large enough to be worth it and small enough to have room."""
        entry, size = self._entry(spec), prepared.bytes
        with suppress(OSError):  # a disk that is full or cannot be written to: the run goes on without
            if prepared.rows < FEWEST_ROWS or entry.exists() or not entry.parents[1].is_dir():
                return
            if 2 * size > self._most_bytes or 4 * size > shutil.disk_usage(entry.parents[1]).free:
                return
            with whole_folder(entry) as folder:
                _write(folder, spec, prepared)
            self._make_room()

    def forget(self, sha: str) -> None:
        """Remove all that was kept of a table, that of runs that it is a validation or test table of included."""
        shutil.rmtree(self._tables / sha / "encoded", ignore_errors=True)
        for entry in list(self._entries()):
            with suppress(OSError, ValueError, KeyError):
                if sha in json.loads((entry / "parts.json").read_text(encoding="utf-8"))["tables"]:
                    shutil.rmtree(entry, ignore_errors=True)

    def _make_room(self) -> None:
        """Remove the entries used least recently until all that is kept has room, and what was left unfinished."""
        with suppress(FileNotFoundError):  # another worker makes room as well
            left = self._most_bytes
            for entry in sorted(self._entries(), key=lambda path: -path.stat().st_mtime):
                left -= sum(file.stat().st_size for file in entry.iterdir())
                if left < 0:
                    shutil.rmtree(entry, ignore_errors=True)
            for unfinished in self._tables.glob("*/encoded/.*"):
                if unfinished.stat().st_mtime < time.time() - _DAY:
                    shutil.rmtree(unfinished, ignore_errors=True)

    def _entries(self) -> Iterator[Path]:
        return self._tables.glob("*/encoded/[!.]*")

    def _entry(self, spec: RunSpec) -> Path:
        return self._tables / spec.table / "encoded" / _key(spec)


def _key(spec: RunSpec) -> str:
    """Tell apart all that the parts and their ids depend on, this program's own text included."""
    label = spec.schema.label
    values = [
        _program(),
        _shas(spec),
        [spec.table_name, spec.valid_table_name, spec.test_table_name],
        [label.column, label.positive, label.negative],
        [[role.column, role.kind, role.separator] for role in spec.schema.used],
        asdict(spec.split),
        spec.rows_seed,
        spec.min_count,
        spec.model.crosses,
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


@cache
def _program() -> str:
    """Give a digest of the modules that decide what a cell's ids are."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parents[1]
    for module in [*sorted((package / "data").glob("*.py")), Path(__file__), Path(__file__).with_name("parts.py")]:
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _shas(spec: RunSpec) -> list[str | None]:
    return [spec.table, spec.valid_table, spec.test_table]


def _write(folder: Path, spec: RunSpec, prepared: Prepared) -> None:
    for name, table in prepared.tables.items():
        np.save(folder / f"{name}.rows.npy", getattr(prepared.parts, name).rows)
        for array, values in _arrays(table):
            np.save(folder / f"{name}.{array}.npy", values)
    prepared.encoder.save(folder / "encoder.json")
    train = prepared.tables["train"]
    held = {"arrays": [array for array, _ in _arrays(train)], "weighted": train.weighted}
    write_json(folder / "parts.json", {"tables": _shas(spec), "notes": prepared.parts.notes, **held})


def _arrays(table: EncodedTable) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in _ARRAYS:
        if (values := getattr(table, name)) is not None:
            yield name, values


def _encoded(entry: Path, part: str, encoder: Encoder, values: Mapping[str, Any]) -> EncodedTable:
    arrays: dict[str, Any] = {"weights": None}
    arrays |= {name: _array(entry / f"{part}.{name}.npy") for name in values["arrays"]}
    weighted = values["weighted"]
    return EncodedTable(encoder.layout, weighted=None if weighted is None else tuple(weighted), **arrays)


def _array(path: Path) -> NDArray[Any]:
    """Read an array; a large one is mapped, and what is written to it stays in this process."""
    if path.stat().st_size <= _SMALL:
        return np.asarray(np.load(path, allow_pickle=False))
    array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    return array.view(np.ndarray)


def _labels(table: EncodedTable) -> NDArray[np.float32]:
    if table.labels is None:
        raise ValueError("labels are missing")
    return table.labels
