"""Uploaded tables: the file as it came, its typed parquet and how it was understood, once for each content."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from deepfm_core._files import DAMAGE, atomic_folder, sha256, whole, write_json
from deepfm_core._log import note, short
from deepfm_core.errors import DeepFMError, RunError
from deepfm_core.store.database import Connection, Database, Row
from deepfm_core.store.limits import bytes_of_table, count_in, require_room_for_table, require_room_in_store, shared
from deepfm_core.store.records import DATASET, TableEntry, Whole, is_sha256

if TYPE_CHECKING:
    from deepfm_core.tables.table import Choices, ReadReport, Table

_NEEDED = "SELECT sha256 FROM tables" + "".join(
    f" UNION SELECT CASE WHEN json_valid(spec) THEN json_extract(spec, '$.{name}') END FROM runs"
    for name in ("table", "valid_table", "test_table")
)
_FORGOTTEN = (
    "DELETE FROM tables WHERE deleted < ? AND sha256 NOT IN ("
    + " UNION ".join(
        f"SELECT COALESCE(json_extract(spec, '$.{name}'), '') FROM runs WHERE runs.owner = tables.owner"
        for name in ("table", "valid_table", "test_table")
    )
    + ") RETURNING sha256"
)
"""An entry stays as long as a run of its owner needs the table: it says that the run may read it."""
_MOST_NAME = 255
"""Characters of a table's name: no file system has longer ones."""
_FEW_COLUMNS, _FEW_BYTES = 100, 4_000_000
"""A table of so many columns, whose distinct texts are packed into so many bytes, is looked at within a second."""
MUCH = 40_000_000
"""Packed bytes from which a table takes much memory: some ten times as much."""
_UNREADABLE = "SELECT 1 FROM runs WHERE NOT json_valid(spec)"


class StoredTables:
    """The tables of a store: content by SHA-256, and an entry for each owner who brought it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    def add(
        self,
        source: Path | bytes,
        name: str,
        owner: str,
        table: Table | None,
        max_bytes: int | None,
        choices: Choices | None,
        replacing: str | None,
    ) -> TableEntry:
        """Read a file and keep it; content that is here already is not read again. See `Store.import_table`."""
        sha = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256(source)
        sha = sha if choices is None else choices.key(sha)
        size, began = len(source) if isinstance(source, bytes) else source.stat().st_size, time.monotonic()
        self._require_room(sha, owner, size, replacing)
        with self._database.readable_errors():
            self._mend(source, sha, choices)
            while not self.enter(sha, name, owner):
                with atomic_folder(self._path(sha)) as folder:
                    self._keep(source, name, folder, table, max_bytes, choices)
                    self._require_room(sha, owner, bytes_of_table(folder), replacing)  # it may take much more than came
                count_in(self._folder.parent, bytes_of_table(self._path(sha)))
        return self._noted(sha, owner, size, began)

    def gather(
        self,
        source: str,
        owner: str,
        max_bytes: int | None,
        allowed: Sequence[str] | None,
        choices: Choices,
        heard: Callable[[float], object] | None,
    ) -> TableEntry:
        """Read files that are not uploads and keep their rows. See `Store.gather_table`."""
        from deepfm_core.store.untrusted import gather_files

        name, place = _named(source)
        began = time.monotonic()
        with self._database.readable_errors(), self._scratch() as unfinished:
            folder = Path(unfinished)
            name = gather_files(place, folder, name, max_bytes, allowed, choices, heard)
            original = folder / "original"
            sha, size = choices.key(sha256(original)), original.stat().st_size
            self._require_room(sha, owner, bytes_of_table(folder), None)
            if self._path(sha).is_dir() and self.damage(sha):
                self._take(folder, self._path(sha))
            while not self.enter(sha, name, owner):
                with atomic_folder(self._path(sha)) as target:
                    self._take(folder, target)
                count_in(self._folder.parent, bytes_of_table(self._path(sha)))
            if (folder / DATASET).exists():  # the same rows may be a sample of files that stand elsewhere now
                write_json(self._path(sha) / DATASET, json.loads((folder / DATASET).read_bytes()))
        return self._noted(sha, owner, size, began)

    def whole(self, sha: str) -> Whole | None:
        """See `Store.whole_of_table`."""
        try:
            values = json.loads((self._path(sha) / DATASET).read_bytes())
            return Whole(str(values["source"]), int(values["rows"]))
        except (OSError, RunError, *DAMAGE):
            return None

    def note_whole(self, sha: str, whole: Whole) -> None:
        """See `Store.note_whole`."""
        write_json(self._path(sha) / DATASET, vars(whole))

    def _noted(self, sha: str, owner: str, size: int, began: float) -> TableEntry:
        """Log that an owner's table is kept, and return its entry."""
        entry, seconds = self.entry(sha, owner), round(time.monotonic() - began, 3)
        note("table kept", table=short(sha), owner=short(owner), rows=entry.rows, bytes=size, seconds=seconds)
        return entry

    @staticmethod
    def _take(folder: Path, target: Path) -> None:
        """Copy the files of a folder to another one, where each appears whole."""
        for file in folder.iterdir():
            with whole(target / file.name) as temporary:
                shutil.copyfile(file, temporary)

    def _scratch(self) -> TemporaryDirectory[str]:
        """Make a folder for what is not finished, which `purge` sweeps if this process ends before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix=".gathered ", dir=self._folder)

    def _mend(self, source: Path | bytes, sha: str, choices: Choices | None) -> None:
        """Put an upload in the place of a damaged one, unless all of that goes meanwhile."""
        try:
            if self._path(sha).is_dir() and self.damage(sha):
                self._replace(source, sha, choices)
        except (OSError, DeepFMError):
            if self._path(sha).is_dir():
                raise

    def _require_room(self, sha: str, owner: str, size: int, replacing: str | None) -> None:
        known = "SELECT 1 FROM tables WHERE sha256 = ? AND owner = ? AND deleted IS NULL"
        if self._database.rows(known, (sha, owner)):
            return
        here, home = bytes_of_table(self._path(sha)), self._folder.parent
        require_room_in_store(owner, 0 if here else size, home)
        require_room_for_table(owner, here or size, replacing, self._database, home)

    def original(self, sha: str) -> Path:
        """Return the path of a table's file as it came.

        Raises:
            RunError: the store does not have it.
        """
        path = self._path(sha) / "original"
        if not path.exists():
            raise self.absent(sha)
        return path

    def read(self, sha: str, owner: str | None = None) -> Table:
        """Load a table from its typed parquet, under the name its owner gave it; one that is damaged is read anew.

        Raises:
            RunError: the store does not have it, or the file that was uploaded is damaged, too.
        """
        row = self._database.row("SELECT name FROM tables WHERE sha256 = ? AND owner = ?", (sha, owner))
        name = row["name"] if row else f"table {sha[:8]}"
        if not self._path(sha).is_dir():
            raise self.absent(sha)
        try:
            return self._stored(sha, name)
        except MemoryError:
            raise
        except Exception:  # a damaged file may raise anything
            self.rebuild(sha)
            return self._stored(sha, name)

    def require(self, sha: str) -> None:
        """Look whether a table's files are there, by their ends alone; one that is damaged is made anew.

        Raises:
            RunError: they are not there, or the upload is damaged, too.
        """
        from deepfm_core.store.untrusted import stored_rows

        self.original(sha)
        try:
            if stored_rows(self._path(sha)) == self._content(sha)["rows"]:
                return
        except MemoryError:
            raise
        except Exception:  # a damaged file may raise anything
            pass
        self.rebuild(sha)

    def damage(self, sha: str) -> str | None:
        """Say what of a table's files is missing or damaged; None where all are as they were written."""
        original = self._path(sha) / "original"
        if not original.exists():
            return "the upload is missing"
        try:
            report = self._stored(sha, "").report
        except MemoryError:
            raise
        except Exception as error:  # a damaged file may raise anything
            return f"what was made of the upload cannot be read ({type(error).__name__})"
        try:
            sent = report.choices.key(sha256(original)) == sha
        except OSError as error:
            return f"the upload cannot be read ({type(error).__name__})"
        return None if sent else "the upload is not the file that was sent"

    def look_at(self, sha: str, table: Table, question: str, given: dict[str, Any]) -> Any:
        """See `Store.look_at_table`."""
        from deepfm_core.schema import looks
        from deepfm_core.store.untrusted import look_apart

        small = len(table.frame.columns) <= _FEW_COLUMNS and self.bytes_of_cells(sha) <= _FEW_BYTES
        if small or not shared():  # on a personal server nobody else waits, and reading it once more takes time
            return looks.answer(table, question, given)
        asked = {"folder": str(self._path(sha)), "name": table.name, "question": question, "given": given}
        with self._database.readable_errors():
            return look_apart(looks.TASK, asked, f"Table `{table.name}`")

    def bytes_of_cells(self, sha: str) -> int:
        """Return the bytes of a table's cells as they are packed; 0 where they are not there."""
        try:
            return (self._path(sha) / "table.parquet").stat().st_size
        except (OSError, RunError):
            return 0

    def choices(self, sha: str) -> Choices:
        """See `Store.choices`."""
        from deepfm_core.tables.table import ReadReport

        return ReadReport.from_dict(self._content(sha)["report"]).choices

    def rebuild(self, sha: str) -> None:
        """Read the upload again, as it was read before, and put what comes of it in the place of what is there.

        Raises:
            RunError: the upload is damaged or missing, or nobody knows any more how it was read.
            TableError: the upload can no longer be read as a table.
        """
        from deepfm_core.tables.table import ReadReport

        original = self.original(sha)
        try:
            before = ReadReport.from_dict(self._content(sha)["report"])
        except (RunError, *DAMAGE):
            before = ReadReport()
        with self._database.readable_errors():
            if before.choices.key(sha256(original)) != sha:
                raise RunError(f"Table `{sha[:12]}` is damaged, and so is the upload. Upload the same file again.")
            self._write(original.parent, original, f"table {sha[:8]}", None, None, before.choices)
            if before.files:
                self._note_files(sha, before)

    def _note_files(self, sha: str, report: ReadReport) -> None:
        """Say of a table whose rows came from many files how these were read: the one file kept of them does not."""
        write_json(self._path(sha) / "table.json", {**self._content(sha), "report": report.to_dict()})

    def needed(self) -> set[str]:
        """Return the SHA-256 of all tables that an owner or a run has, deleted ones included."""
        return {row[0] for row in self._database.rows(_NEEDED) if row[0]}

    def entry(self, sha: str, owner: str) -> TableEntry:
        """Return an owner's entry.

        Raises:
            RunError: the owner has no such table.
        """
        row = self._database.row(
            "SELECT * FROM tables WHERE sha256 = ? AND owner = ? AND deleted IS NULL", (sha, owner)
        )
        if row is None:
            raise self.absent(sha)
        return _entry(row)

    def has(self, sha: str, owner: str, *, removed: bool) -> bool:
        """See `Store.has_table`."""
        query = "SELECT 1 FROM tables WHERE sha256 = ? AND owner = ?" + ("" if removed else " AND deleted IS NULL")
        return self._database.row(query, (sha, owner)) is not None

    def entries(self, owner: str | None = None) -> list[TableEntry]:
        """Return an owner's tables, newest first; those of all owners for None."""
        rows = self._database.rows(
            "SELECT * FROM tables WHERE (:owner IS NULL OR owner = :owner) AND deleted IS NULL ORDER BY created DESC",
            {"owner": owner},
        )
        return [_entry(row) for row in rows]

    def delete(self, sha: str, owner: str) -> None:
        """Take a table out of an owner's list; its runs still find it, and `restore` brings it back until purged.

        Raises:
            RunError: the owner has no such table.
        """
        self.entry(sha, owner)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE tables SET deleted = ? WHERE sha256 = ? AND owner = ?", (time.time(), sha, owner)
            )

    def restore(self, sha: str, owner: str) -> TableEntry:
        """Put a deleted table back.

        Raises:
            RunError: it was purged, or never was there.
        """
        with self._database.write() as connection:
            connection.execute("UPDATE tables SET deleted = NULL WHERE sha256 = ? AND owner = ?", (sha, owner))
        return self.entry(sha, owner)

    def purge(self, connection: Connection, before: float, left: set[str]) -> None:
        """Forget entries deleted before a time, and the content that they, or runs that were removed, have `left`.

        What no entry and no run names is no reason to remove it: the database may be new, restored or damaged, and the
        folders all that is left. Of those, only what a process did not finish goes.
        """
        if connection.execute(_UNREADABLE).fetchone():  # a run that cannot be read may need any of them; later, then
            return
        forgotten = connection.execute(_FORGOTTEN, (before,)).fetchall()
        left = left | {row["sha256"] for row in forgotten}
        for sha in left - {row[0] for row in connection.execute(_NEEDED)} if left else ():
            shutil.rmtree(self._path(sha), ignore_errors=True)
        for path in self._folder.glob(".*"):
            if path.stat().st_mtime < before:
                shutil.rmtree(path, ignore_errors=True)

    def enter(self, sha: str, name: str, owner: str) -> bool:
        """Enter content that is here for an owner, in one transaction so that `purge` cannot come between."""
        with self._database.write() as connection:
            if not self._path(sha).is_dir():
                return False
            content = self._content(sha)
            connection.execute(
                "INSERT INTO tables (sha256, owner, name, rows, bytes, created) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (sha256, owner) DO UPDATE SET name = excluded.name, created = excluded.created,"
                " deleted = NULL",
                (sha, owner, name[:_MOST_NAME], content["rows"], content["bytes"], time.time()),
            )
        return True

    def _keep(
        self,
        source: Path | bytes,
        name: str,
        folder: Path,
        table: Table | None,
        max_bytes: int | None,
        choices: Choices | None,
    ) -> None:
        original = folder / "original"
        _copy(source, original)
        self._write(folder, original, name, table, max_bytes, choices)

    def _replace(self, source: Path | bytes, sha: str, choices: Choices | None) -> None:
        """Put an upload in the place of a damaged one of the same content, and read it."""
        folder = self._path(sha)
        with whole(folder / "original") as temporary:
            _copy(source, temporary)
        self._write(folder, folder / "original", f"table {sha[:8]}", None, None, choices)

    @staticmethod
    def _write(
        folder: Path, original: Path, name: str, table: Table | None, max_bytes: int | None, choices: Choices | None
    ) -> None:
        """Write what is made of an upload; each file appears whole or not at all."""
        from deepfm_core.store.untrusted import import_file, write_stored
        from deepfm_core.tables.table import FOUND

        if table is None:
            import_file(original, folder, name, max_bytes, choices or FOUND)
        else:
            write_stored(table, original, folder)

    def _stored(self, sha: str, name: str) -> Table:
        """Read what was made of an upload; damaged files raise anything."""
        from deepfm_core.store.untrusted import read_stored

        return read_stored(self._path(sha), name, self._content(sha))

    @staticmethod
    def absent(sha: str) -> RunError:
        """Give the error of a table that is not there, or not for whoever asks."""
        return RunError(f"Table `{sha[:12]}` is not in the store. Upload it again.")

    def _path(self, sha: str) -> Path:
        if not is_sha256(sha):
            raise self.absent(sha)
        return self._folder / sha

    def _content(self, sha: str) -> dict[str, Any]:
        from deepfm_core.store.untrusted import stored_content

        try:
            return stored_content(self._path(sha))
        except FileNotFoundError:
            raise self.absent(sha) from None


def _named(source: str) -> tuple[str, str]:
    """Give the name of a table of files, without secrets, and the files' place wherever a process works."""
    from deepfm_core.tables.datasets.dataset import PATTERN, is_uri, name_of

    if is_uri(source):
        return name_of(source), source
    path = Path(source)
    with suppress(RuntimeError):  # nobody of this name has a home
        path = path.expanduser()
    name = name_of(source) if PATTERN.search(source) or not path.name else path.name
    return name, str(path.absolute())


def _copy(source: Path | bytes, target: Path) -> None:
    if isinstance(source, bytes):
        target.write_bytes(source)
    else:
        shutil.copyfile(source, target)


def _entry(row: Row) -> TableEntry:
    return TableEntry(row["sha256"], row["owner"], row["name"], row["rows"], row["bytes"], row["created"])
