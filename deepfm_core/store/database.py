"""The store's database: its schema, its migrations, and transactions that many processes may open at once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfm_core.errors import DamagedStore, RunError

VERSION = 4

SCHEMA = """
CREATE TABLE tables (
    sha256   TEXT NOT NULL,           -- of the file as it came; its content stands once in tables/<sha256>/
    owner    TEXT NOT NULL,
    name     TEXT NOT NULL,
    rows     INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,        -- of the file as it came
    created  REAL NOT NULL,           -- all times are seconds since 1970
    deleted  REAL,                    -- in the bin since; removed for good by purge
    PRIMARY KEY (sha256, owner)
);
CREATE TABLE runs (
    id               TEXT PRIMARY KEY,    -- unguessable; on a shared server it opens for its owner alone
    name             TEXT NOT NULL,
    owner            TEXT NOT NULL,
    status           TEXT NOT NULL CHECK (status IN ('queued', 'running', 'finished', 'failed', 'cancelled')),
    spec             TEXT NOT NULL,       -- RunSpec as JSON
    summary          TEXT,                -- JSON: the best epoch so far; when finished, what `train` prints
    notes            TEXT NOT NULL DEFAULT '',
    message          TEXT,                -- why it failed
    comparison       TEXT,                -- runs of one comparison or study share this
    trial            INTEGER,             -- of a study: the number of its setting; runs of one setting differ by seed
    to_choose        INTEGER NOT NULL DEFAULT 0,  -- its setting is chosen by the worker that takes it up
    created          REAL NOT NULL,
    queued           REAL NOT NULL,       -- the queue's order
    started          REAL,
    ended            REAL,
    heartbeat        REAL,
    worker           TEXT,                -- host/pid/born of the only process that may write to a running run
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    deleted          REAL
);
CREATE INDEX runs_by_status ON runs (status, queued);
CREATE INDEX runs_by_owner ON runs (owner, created);
CREATE INDEX runs_by_comparison ON runs (comparison);
CREATE TABLE comparisons (
    id      TEXT PRIMARY KEY,             -- unguessable, as that of a run
    name    TEXT NOT NULL,
    owner   TEXT NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('models', 'settings')),
    plan    TEXT NOT NULL,                -- JSON: what was asked for
    created REAL NOT NULL,
    deleted REAL
);
CREATE TABLE shares (
    token   TEXT PRIMARY KEY,             -- unguessable: whoever has it may look at the subject
    owner   TEXT NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('run', 'comparison')),
    subject TEXT NOT NULL,                -- id of the run or comparison
    created REAL NOT NULL
);
CREATE INDEX shares_by_subject ON shares (kind, subject);
CREATE TABLE events (
    run_id  TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,         -- counts from 1 in each run
    time    REAL NOT NULL,
    kind    TEXT NOT NULL,
    content TEXT NOT NULL,            -- the event's values as JSON
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
CREATE TABLE questions (             -- those that wait, are at work, or have failed; an answer is a file
    key      TEXT PRIMARY KEY,        -- digest of all that decides the answer, answers/<key>.parquet
    lane     TEXT NOT NULL,           -- whose workers answer it: 'labels' or 'models'
    kind     TEXT NOT NULL,
    asked    TEXT NOT NULL,           -- JSON
    created  REAL NOT NULL,           -- the order within a lane
    looked   REAL NOT NULL,           -- when somebody last waited for it; given up a while after
    attempts INTEGER NOT NULL DEFAULT 0,  -- how many workers have taken it up
    started  REAL,                    -- when the last of them did
    share    REAL NOT NULL DEFAULT 0, -- of its work, 0 to 1
    worker   TEXT,                    -- which one is at work on it
    problem  TEXT                     -- why it could not be answered, as a sentence
);
CREATE TABLE workers (
    worker    TEXT PRIMARY KEY,       -- host/pid/born
    started   REAL NOT NULL,
    heartbeat REAL NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('starting', 'idle', 'busy')),
    lane      TEXT NOT NULL DEFAULT 'runs'  -- what it does: 'runs', or questions of the lane 'labels' or 'models'
);
"""

MIGRATIONS: Mapping[int, str] = {
    1: """
ALTER TABLE runs ADD COLUMN trial INTEGER;
ALTER TABLE runs ADD COLUMN to_choose INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_by_comparison ON runs (comparison);
CREATE TABLE comparisons (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('models', 'settings')),
    plan TEXT NOT NULL, created REAL NOT NULL, deleted REAL
);
""",
    2: """
ALTER TABLE workers ADD COLUMN lane TEXT NOT NULL DEFAULT 'runs';
CREATE TABLE questions (
    key TEXT PRIMARY KEY, lane TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL,
    created REAL NOT NULL, looked REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    started REAL, share REAL NOT NULL DEFAULT 0, worker TEXT, problem TEXT
);
""",
    3: """
CREATE TABLE shares (
    token TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('run', 'comparison')),
    subject TEXT NOT NULL, created REAL NOT NULL
);
CREATE INDEX shares_by_subject ON shares (kind, subject);
""",
}
"""What brings a database of version n to n + 1."""


class Database:
    """A connection any thread of this process may use, one at a time; other processes wait for up to ten seconds.

    Args:
        path: of the file; it is made where it is not there, unless tables or runs stand beside it.
        schema: the text of a new database.
        version: of the schema.
        migrations: what brings a database of version n to n + 1.
        anew: make the file although tables or runs stand beside it, because their list is about to be rebuilt.

    Raises:
        DamagedStore: the file is no database, or is empty or gone while tables or runs stand beside it.
        RunError: the file cannot be opened, or was made by a later version of this program.
    """

    def __init__(
        self,
        path: Path,
        schema: str = SCHEMA,
        version: int = VERSION,
        migrations: Mapping[int, str] = MIGRATIONS,
        *,
        anew: bool = False,
    ) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._anew = anew
        self._refuse_lost()
        with self.readable_errors():
            _make_folder(path.parent)
            self._connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._set_up()
        self._migrate(schema, version, migrations)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def rows(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._lock, self.readable_errors():
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        rows = self.rows(query, values)
        return rows[0] if rows else None

    def change(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Do one statement in a transaction of its own, and return how many rows it changed."""
        with self.write() as connection:
            return connection.execute(statement, values).rowcount

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction beside which no other process writes; it is kept if the block ends well, or undone."""
        with self._lock, self.readable_errors():
            self._undo()  # what a signal has cut off between two bytecodes
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def readable_errors(self) -> Iterator[None]:
        """Turn what a full or read-only disk, a lock or damage raises within the block into a `RunError`."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if str(error).startswith(_INCOMPLETE):
                raise damaged(self.path, str(error)) from error
            raise RunError(
                f"Store `{self.path}`: {error}. Check free space and permissions there, then try again."
            ) from error
        except OSError as error:
            where = error.filename or self.path.parent
            raise RunError(
                f"Store `{where}`: {error.strerror or error}. Check free space and permissions there, then try again."
            ) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise damaged(self.path, str(error)) from error

    def _refuse_lost(self) -> None:
        """Refuse to begin a new database beside tables or runs, which the new one would not know."""
        try:
            lost = not self._anew and not (self.path.exists() and self.path.stat().st_size) and holds_data(self.path)
        except OSError as error:
            raise RunError(f"Store `{self.path}`: {error}. Check free space and permissions there.") from error
        if lost:
            what = "is empty" if self.path.exists() else "is gone"
            raise damaged(self.path, f"the file {what}, but tables or runs stand beside it")

    def _set_up(self) -> None:
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        for attempt in range(50):
            # Two processes that create the store at once may meet here, and SQLite does not wait by itself.
            try:
                if self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                    return
            except sqlite3.OperationalError:
                if attempt == 49:
                    raise
            time.sleep(0.02)

    def _migrate(self, schema: str, version: int, migrations: Mapping[int, str]) -> None:
        if self._version() == version:
            return
        with self.write() as connection:
            found = self._version()
            if not (found or self._anew) and holds_data(self.path):
                raise damaged(self.path, "the file lists nothing, but tables or runs stand beside it")
            if found > version:
                raise RunError(
                    f"Store `{self.path}` has version {found}, this program knows {version}. Update the program."
                )
            scripts = [migrations[step] for step in range(found, version)] if found else [schema]
            for script in scripts:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")

    def _version(self) -> int:
        row = self.row("PRAGMA user_version")
        return int(row[0]) if row else 0


_INCOMPLETE = ("no such table", "no such column")
"""How SQLite begins to say that a database is not a store's."""

CHECK = "python -m deepfm_core check --repair"
"""The command that repairs a store."""


def damaged(path: Path, what: str) -> DamagedStore:
    """Give the error of a database that cannot be used, with what to do about it."""
    return DamagedStore(
        f"Store `{path}`: {what}. Nothing was changed. Stop the server and its workers, then restore a backup, or run"
        f" `{CHECK}`: it keeps the file, and makes the list anew from what can still be read and from the folders."
    )


def holds_data(path: Path) -> bool:
    """Say whether tables or runs stand beside a database."""
    folders = (path.parent / "tables", path.parent / "runs")
    return any(not entry.name.startswith(".") for folder in folders if folder.is_dir() for entry in folder.iterdir())


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise RunError(f"Store `{path}`: {error}. Check free space and permissions there, then try again.") from error


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
