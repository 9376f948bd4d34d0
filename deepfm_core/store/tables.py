"""Uploaded tables: the file as it came, its typed parquet and how it was understood, once for each content."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfm_core._files import atomic_folder, sha256, write_json
from deepfm_core.errors import RunError
from deepfm_core.store.database import Database
from deepfm_core.store.records import TableEntry

if TYPE_CHECKING:
    from deepfm_core.tables.table import Choices, Table

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEEDED = """SELECT sha256 FROM tables UNION SELECT spec ->> 'table' FROM runs
    UNION SELECT spec ->> 'valid_table' FROM runs UNION SELECT spec ->> 'test_table' FROM runs"""


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
    ) -> TableEntry:
        """Read a file and keep it; content that is here already is not read again. See `Store.import_table`."""
        sha = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256(source)
        sha = sha if choices is None else choices.key(sha)
        while not self._enter(sha, name, owner):
            self._keep(source, name, sha, table, max_bytes, choices)
        return self.entry(sha, owner)

    def original(self, sha: str) -> Path:
        """Return the path of a table's file as it came.

        Raises:
            RunError: the store does not have it.
        """
        path = self._path(sha) / "original"
        if not path.exists():
            raise _absent(sha)
        return path

    def read(self, sha: str, owner: str | None = None) -> Table:
        """Load a table from its typed parquet, under the name its owner gave it.

        Raises:
            RunError: the store does not have it.
        """
        from deepfm_core.tables.parquet import read_parquet_table
        from deepfm_core.tables.table import ReadReport

        report = ReadReport.from_dict(self._content(sha)["report"])
        row = self._database.row("SELECT name FROM tables WHERE sha256 = ? AND owner = ?", (sha, owner))
        name = row["name"] if row else f"table {sha[:8]}"
        return read_parquet_table(self._path(sha) / "table.parquet", name, report)

    def entry(self, sha: str, owner: str) -> TableEntry:
        """Return an owner's entry.

        Raises:
            RunError: the owner has no such table.
        """
        row = self._database.row(
            "SELECT * FROM tables WHERE sha256 = ? AND owner = ? AND deleted IS NULL", (sha, owner)
        )
        if row is None:
            raise _absent(sha)
        return _entry(row)

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

    def purge(self, before: float) -> None:
        """Forget entries deleted before a time, and all content that belongs to no entry and no run."""
        if not self._folder.is_dir():
            return
        with self._database.write() as connection:
            connection.execute("DELETE FROM tables WHERE deleted < ?", (before,))
            needed = {row[0] for row in connection.execute(_NEEDED)}
            for path in self._folder.iterdir():
                unfinished = path.name.startswith(".")
                if path.stat().st_mtime < before if unfinished else path.name not in needed:
                    shutil.rmtree(path, ignore_errors=True)

    def _enter(self, sha: str, name: str, owner: str) -> bool:
        """Enter content that is here for an owner, in one transaction so that `purge` cannot come between."""
        with self._database.write() as connection:
            if not self._path(sha).is_dir():
                return False
            content = self._content(sha)
            connection.execute(
                "INSERT INTO tables (sha256, owner, name, rows, bytes, created) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (sha256, owner) DO UPDATE SET name = excluded.name, deleted = NULL",
                (sha, owner, name, content["rows"], content["bytes"], time.time()),
            )
        return True

    def _keep(
        self,
        source: Path | bytes,
        name: str,
        sha: str,
        table: Table | None,
        max_bytes: int | None,
        choices: Choices | None,
    ) -> None:
        from deepfm_core.tables.parquet import write_parquet
        from deepfm_core.tables.reader import read_table
        from deepfm_core.tables.table import FOUND

        with atomic_folder(self._path(sha)) as folder:
            original = folder / "original"
            if isinstance(source, bytes):
                original.write_bytes(source)
            else:
                shutil.copyfile(source, original)
            table = table or read_table(original, name=name, max_bytes=max_bytes, choices=choices or FOUND)
            write_parquet(table, folder / "table.parquet")
            content = {"rows": len(table), "bytes": original.stat().st_size}
            write_json(folder / "table.json", {**content, "report": table.report.to_dict()})

    def _path(self, sha: str) -> Path:
        if not _SHA256.fullmatch(sha):
            raise _absent(sha)
        return self._folder / sha

    def _content(self, sha: str) -> dict[str, Any]:
        try:
            text = (self._path(sha) / "table.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise _absent(sha) from None
        content: dict[str, Any] = json.loads(text)
        return content


def _absent(sha: str) -> RunError:
    return RunError(f"Table `{sha[:12]}` is not in the store. Upload it again.")


def _entry(row: sqlite3.Row) -> TableEntry:
    return TableEntry(row["sha256"], row["owner"], row["name"], row["rows"], row["bytes"], row["created"])
