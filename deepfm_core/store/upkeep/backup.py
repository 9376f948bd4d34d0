"""Copy a live store to a folder, and put such a copy back."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from deepfm_core._files import beside, sync
from deepfm_core.errors import DamagedStore, RunError
from deepfm_core.store.database import Connection, Database, insert
from deepfm_core.store.store import DATABASE, Store, database_url
from deepfm_core.store.tables import StoredTables
from deepfm_core.store.upkeep.check import KEPT, Report, check, is_there

_CACHES = {"encoded", "answers"}
"""What is computed again when it is missing."""


def backup(home: Path, target: Path) -> Report:
    """Copy a store while it is in use; `target` appears whole or not at all. Return a check of the copy.

    The database is copied first, as it is at one moment: by SQLite's backup, or, from a PostgreSQL server, row by row
    into a file of SQLite, while nobody else writes. The folders that it lists are copied
    after. They only grow meanwhile: an upload never changes, and what is deleted now stays for a day. A run that is at
    work is copied as its last epoch left it, and can be resumed.

    Raises:
        RunError: there is no store, `target` exists, or the disk is full.
        DamagedStore: the store's database is damaged.
    """
    home, target = Path(home).absolute(), Path(target).absolute()
    if not is_there(home, database_url()):
        raise RunError(f"Store `{home}`: there is none. Name its folder in $DEEPFM_HOME.")
    if home == target or home in target.parents:
        raise RunError(f"Backup `{target}` would stand in the store itself. Name a folder elsewhere.")
    with closing(Store(home)) as store, _appearing(target) as copy:
        _dump(store.database, copy / DATABASE)
        with closing(Database(copy / DATABASE)) as database:
            runs = [row["id"] for row in database.rows("SELECT id FROM runs")]
            tables = StoredTables(database, copy / "tables").needed()  # of the copy: what came later is not in its list
            database.change("DELETE FROM workers")
        _copy_folders(home / "tables", copy / "tables", tables)
        _copy_folders(home / "runs", copy / "runs", runs)
    return check(target, url="")


def restore(source: Path, home: Path) -> Report:
    """Put a backup in the place of a store that is empty or not there. Return a check of the result.

    With $DEEPFM_DATABASE the list goes there. So this is also the way from SQLite to a PostgreSQL server.

    Raises:
        RunError: `source` is no backup, `home` holds a store already, or the disk is full.
        DamagedStore: the backup's database is damaged.
    """
    source, home = Path(source).absolute(), Path(home).absolute()
    if not (source / DATABASE).exists():
        raise RunError(f"Backup `{source}` has no {DATABASE}. Name a folder that `backup` wrote.")
    url = database_url()
    if is_there(home, "") or (url and _lists_anything(home, url)):
        raise RunError(f"Store `{home}` holds something already. Stop the server, and move the folder away first.")
    if home.is_dir():
        _require_empty(home)
    with _appearing(home) as copy:
        left = source / f"{DATABASE}-wal"  # of a folder that was copied while a server ran
        written = left.exists() and left.stat().st_size > 0
        _copy_database(source / DATABASE, copy / DATABASE, "" if written else "?mode=ro&immutable=1")
        _copy_folders(source / "tables", copy / "tables", _names(source / "tables"))
        _copy_folders(source / "runs", copy / "runs", _names(source / "runs"))
        if url:
            _load(copy / DATABASE, url)
    return check(home)


def _lists_anything(home: Path, url: str) -> bool:
    with closing(Database(home / DATABASE, url=url, anew=True)) as database:
        return any(database.rows(f"SELECT 1 FROM {table} LIMIT 1") for table in KEPT)


def _dump(database: Database, target: Path) -> None:
    """Copy the database of a store to a file of SQLite."""
    if not database.url:
        _copy_database(database.path, target)
        return
    with closing(Database(target, anew=True)) as copy, database.write() as source:
        _copy_rows(source, copy)


def _load(path: Path, url: str) -> None:
    """Move the rows of a file of SQLite to a database on a server, which is empty."""
    with (
        closing(Database(path, anew=True)) as source,
        closing(Database(path, url=url, anew=True)) as target,
        source.write() as rows,
    ):
        _copy_rows(rows, target)
    path.unlink()
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _copy_rows(source: Connection, target: Database) -> None:
    """Copy all rows that last, in their order, in one transaction."""
    with target.write() as connection:
        for table, keys in KEPT.items():
            for row in source.execute(f"SELECT * FROM {table} ORDER BY {', '.join(keys)}"):
                values = {name: row[name] for name in row.keys() if name != "rowid"}  # noqa: SIM118 (iterates values)
                insert(connection, table, values)


def _require_empty(home: Path) -> None:
    """Remove an empty folder, which a service may have made."""
    try:
        home.rmdir()
    except OSError as error:
        raise RunError(f"Store `{home}` is not empty. Stop the server, and move the folder away first.") from error


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Yield a hidden folder that gets the name `target` if the block ends well, and goes if it does not."""
    if target.exists():
        raise RunError(f"`{target}` exists already. Name a folder that does not exist yet.")
    copy = beside(target)
    try:
        copy.mkdir(parents=True, mode=0o700)
        yield copy
        os.rename(copy, target)
        sync(target.parent)
    except OSError as error:
        raise RunError(f"`{target}`: {error.strerror or error}. Check free space and permissions there.") from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _copy_database(path: Path, target: Path, how: str = "") -> None:
    try:
        with (
            closing(sqlite3.connect(path.absolute().as_uri() + how, uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
    except sqlite3.DatabaseError as error:
        raise DamagedStore(f"Store `{path}`: {error}. Run `python -m deepfm_core check`.") from error


def _copy_folders(source: Path, target: Path, names: Iterable[str]) -> None:
    target.mkdir()
    for name in names:
        if (source / name).is_dir():
            _copy_folder(source / name, target / name)


def _copy_folder(source: Path, target: Path) -> None:
    """Copy the files of a folder; one that was removed meanwhile, as a checkpoint is at the end, is left out."""
    for root, folders, files in os.walk(source):
        folders[:] = [name for name in folders if name not in _CACHES and not name.startswith(".")]
        there = target / Path(root).relative_to(source)
        there.mkdir(exist_ok=True)
        for name in files:
            if not name.startswith("."):
                _copy_file(Path(root) / name, there / name)


def _copy_file(source: Path, target: Path) -> None:
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        return
    sync(target)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []
