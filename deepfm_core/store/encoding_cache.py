"""Encoded rows of large tables, kept beside them: the next run that divides and encodes them alike only maps files."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
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

from deepfm_core._files import atomic_folder, sync, write_json
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import Part, RunParts
from deepfm_core.errors import RunError
from deepfm_core.schema.copies import Copies
from deepfm_core.schema.schema import DROP
from deepfm_core.spec.events import never
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.database import Database
from deepfm_core.tables.table import Table

# A digest of this program's text, as part of a key: what another version of it has stored does not count.

PACKAGE = Path(__file__).resolve().parents[1]


def digest_of(*parts: str, package: Path = PACKAGE) -> str:
    """Give a digest of the text of modules, to be taken as they are imported.

    A process that goes on while its files are replaced so keeps the name of the program that it runs.

    Args:
        parts: modules, or folders of modules, by their path in the package.
        package: where they stand.
    """
    digest = hashlib.sha256()
    for part in parts:
        path = package / part
        for module in [path] if path.suffix else sorted(path.rglob("*.py")):
            digest.update(f"{module.relative_to(package)}\n".encode())
            digest.update(hashlib.sha256(module.read_bytes()).digest())
    return digest.hexdigest()


FEWEST_ROWS = 50_000
"""Smaller tables are not kept: encoding them takes a few hundredths of a second."""

MOST_BYTES = 4_000_000_000
"""Bytes that the whole cache may take. Beyond it, the entries used least recently go first."""

_PROGRAM = digest_of("tables", "schema", "encoding", "store/encoding_cache.py", "spec/run.py")
"""The modules that decide what a cell's ids are."""

_DAY = 24 * 3600.0

_PARTS = ("train", "valid", "test")

_ARRAYS = ("ids", "weights", "dense", "labels", "crosses")

_SMALL = 4096
"""Smaller files are read, not mapped: mapping gains nothing, and an empty array cannot be mapped."""


@dataclass(frozen=True)
class Prepared:
    """A run's parts, the encoder fitted on the training part, and the encoded parts by name."""

    parts: RunParts
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


class EncodingCache:
    """The encoded rows of a store's tables, at `tables/<sha256>/encoded/<key>/`.

    Entries appear and disappear as a whole, and never change; a process that still reads one that is removed is not
    disturbed. What a process left unfinished is removed after a day.
    """

    def __init__(self, tables: Path, most_bytes: int = MOST_BYTES) -> None:
        self._tables = tables
        self._most_bytes = most_bytes

    def find(self, spec: RunSpec, table: Callable[[str], Table]) -> Prepared | None:
        """Return what an earlier run with the same rows, division and fields has kept, its arrays mapped from files.

        The tables themselves are read, by `table`, only when somebody asks for their cells. An entry that cannot be
        read is removed, so that the next one is kept.
        """
        entry = self._entry(spec)
        if not entry.exists():
            return None
        try:
            found = _read(entry, spec, cache(table))
        except Exception:  # a damaged file may raise anything; the rows are then encoded anew
            _remove(entry)
            return None
        with suppress(OSError):
            os.utime(entry)
        return found

    def keep(self, spec: RunSpec, prepared: Prepared, stopped: Callable[[], bool] = never) -> None:
        """Keep what was prepared for a run, if it is large enough to be worth it and small enough to have room.

        Nothing is kept of a table that is in nobody's list any more, nor where `stopped`, asked between arrays, says
        so.
        """
        entry, size = self._entry(spec), prepared.bytes
        with suppress(OSError, RunError, _Stopped):  # a full or read-only disk: go on without the cache
            if prepared.rows < FEWEST_ROWS or entry.exists() or not entry.parents[1].is_dir():
                return
            if 2 * size > self._most_bytes or 4 * size > shutil.disk_usage(entry.parents[1]).free:
                return
            if not self._listed(spec):
                return
            with atomic_folder(entry) as folder:
                _write(folder, spec, prepared, stopped)
            if not self._listed(spec):  # deleted meanwhile
                _remove(entry)
            self._make_room()

    def forget(self, sha: str) -> None:
        """Remove all that was kept of a table, that of runs that it is a validation or test table of included."""
        for entry in [*self._folders(), *self._folders(hidden=True)]:
            with suppress(OSError, ValueError, KeyError, TypeError):
                if entry.parents[1].name == sha or sha in json.loads((entry / "parts.json").read_bytes())["tables"]:
                    _remove(entry)

    def remove_unfinished(self, before: float) -> None:
        """Remove what processes that ended have left half written or half removed before a time."""
        for folder in self._folders(hidden=True):
            with suppress(OSError):
                if folder.stat().st_mtime < before:
                    _remove(folder)

    def _make_room(self) -> None:
        """Remove the entries used least recently until all that is kept has room, and what was left unfinished."""
        left = self._most_bytes
        for _, size, entry in sorted(map(_use, self._folders()), reverse=True):
            left -= size
            if left < 0:
                _remove(entry)
        self.remove_unfinished(time.time() - _DAY)

    def _folders(self, hidden: bool = False) -> list[Path]:
        """List all entries, or the `hidden` folders of what is being written or removed."""
        found: list[Path] = []
        for encoding_cache in self._tables.glob("*/encoded"):
            with suppress(OSError):
                found += [path for path in encoding_cache.iterdir() if path.name.startswith(".") == hidden]
        return found

    def _entry(self, spec: RunSpec) -> Path:
        return self._tables / spec.table / "encoded" / _key(spec)

    def _listed(self, spec: RunSpec) -> bool:
        """Ask the store, where there is one, whether all tables of a run are in somebody's list."""
        path = self._tables.parent / "runs.db"
        if not path.exists():
            return True
        database = Database(path)
        try:
            rows = database.rows("SELECT sha256 FROM tables WHERE deleted IS NULL")
        finally:
            database.close()
        return {sha for sha in _shas(spec) if sha} <= {row["sha256"] for row in rows}


class _Stopped(Exception):  # noqa: N818 (not an error)
    """The run for which rows were being kept has ended early."""


def _use(entry: Path) -> tuple[float, int, Path]:
    """Return when an entry was last used, and its bytes; zeros if another process has just removed it."""
    with suppress(OSError):
        return entry.stat().st_mtime, sum(file.stat().st_size for file in entry.iterdir()), entry
    return 0.0, 0, entry


def _remove(folder: Path) -> None:
    """Remove a folder; it is hidden first, so that nobody takes what is left for an entry if this process ends."""
    hidden = folder.with_name(f".{folder.name.lstrip('.')}.{secrets.token_hex(4)}")
    with suppress(OSError):
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _key(spec: RunSpec) -> str:
    """Return a key of all that the parts and their ids depend on, this program's own text included."""
    label = spec.schema.label
    values = [
        _PROGRAM,
        _shas(spec),
        [spec.table_name, spec.valid_table_name, spec.test_table_name],
        [label.column, label.positive, label.negative, *([label.rule] if label.rule else [])],
        [[role.column, role.kind, role.separator] for role in spec.schema.used],
        [spec.schema.copies, *([role.column for role in spec.schema.roles] if spec.schema.copies == DROP else [])],
        asdict(spec.split),
        spec.rows_seed,
        spec.min_count,
        spec.model.crosses,
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def _shas(spec: RunSpec) -> list[str | None]:
    return [spec.table, spec.valid_table, spec.test_table]


def _write(folder: Path, spec: RunSpec, prepared: Prepared, stopped: Callable[[], bool]) -> None:
    for name, table in prepared.tables.items():
        for array, values in [("rows", getattr(prepared.parts, name).rows), *_arrays(table)]:
            if stopped():
                raise _Stopped
            path = folder / f"{name}.{array}.npy"
            np.save(path, values)
            sync(path)
    prepared.encoder.save(folder / "encoder.json")
    train = prepared.tables["train"]
    held = {"arrays": [array for array, _ in _arrays(train)], "weighted": train.weighted}
    said = {"notes": prepared.parts.notes, "copies": asdict(prepared.parts.copies)}
    write_json(folder / "parts.json", {"tables": _shas(spec), **said, **held})


def _read(entry: Path, spec: RunSpec, table: Callable[[str], Table]) -> Prepared:
    values = json.loads((entry / "parts.json").read_text(encoding="utf-8"))
    encoder = Encoder.load(entry / "encoder.json")
    tables = {name: _encoded(entry, name, encoder, values) for name in _PARTS}
    rows = {name: _array(entry / f"{name}.rows.npy") for name in _PARTS}
    if any(len(array) != len(rows[name]) for name in _PARTS for _, array in _arrays(tables[name])):
        raise ValueError("the arrays differ in length")
    shas = {"train": spec.table, "valid": spec.valid_table or spec.table, "test": spec.test_table or spec.table}
    train, valid, test = (Part(partial(table, shas[name]), rows[name], _labels(tables[name])) for name in _PARTS)
    parts = RunParts(train, valid, test, tuple(values["notes"]), Copies(**values["copies"]))
    return Prepared(parts, encoder, tables)


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
