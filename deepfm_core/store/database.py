"""The store's database: its schema, its migrations, and transactions that many processes may open at once.

SQLite is the default, and is all here. What another engine says otherwise is in `postgres.py`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from deepfm_core.errors import DamagedStore, RunError

Values = Sequence[Any] | Mapping[str, Any]
"""Of a statement."""

VERSION = 5

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
    owner    TEXT NOT NULL,           -- who asked first: owners take turns, and may have so many waiting
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
CREATE TABLE question_turns (        -- when a question of an owner was last taken up: the order of turns
    owner    TEXT NOT NULL,
    lane     TEXT NOT NULL,
    served   REAL NOT NULL,
    PRIMARY KEY (owner, lane)
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
    4: """
ALTER TABLE questions ADD COLUMN owner TEXT NOT NULL DEFAULT 'local';
CREATE TABLE question_turns (
    owner TEXT NOT NULL, lane TEXT NOT NULL, served REAL NOT NULL, PRIMARY KEY (owner, lane)
);
""",
}
"""What brings a database of version n to n + 1."""


class Row(Protocol):
    """A row of a query: its values by name and by place."""

    def keys(self) -> Any:
        """Return the names."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class Cursor(Protocol):
    """What a statement gives."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What a transaction is written through: one text of a statement for every engine."""

    def execute(self, statement: str, values: Values = ..., /) -> Cursor:
        """Do a statement, whose values stand as `?` or `:name`."""


class Engine(Protocol):
    """A kind of database. It holds one connection, and all that SQL does not say in one way everywhere."""

    name: str
    """As messages say it, without a password."""

    @property
    def connection(self) -> Connection:
        """The connection; one that was lost is opened anew."""

    def close(self) -> None:
        """Close the connection."""

    def begin(self) -> None:
        """Begin a transaction beside which no other process writes."""

    def end(self, word: str) -> None:
        """End the transaction, if there is one, by COMMIT or ROLLBACK."""

    def version(self) -> int:
        """Return the version of the schema; 0 where there is none yet."""

    def create(self, scripts: Sequence[str], version: int) -> None:
        """Do the statements of scripts, within a transaction, and set the version."""

    def integrity(self) -> str:
        """Say what is wrong with the database's own pages; `ok` where nothing is."""

    def readable_errors(self) -> AbstractContextManager[None]:
        """Turn what the engine raises within the block into a `RunError`; a constraint's error stays."""


class Database:
    """A connection any thread of this process may use, one at a time; other processes wait for up to ten seconds.

    Args:
        path: of SQLite's file; it is made where it is not there, unless tables or runs stand beside it. With another
            engine there is no such file, but the tables and runs stand beside it all the same.
        schema: the text of a new database.
        version: of the schema.
        migrations: what brings a database of version n to n + 1.
        anew: make the database although tables or runs stand beside it, because their list is about to be rebuilt.
        url: of a PostgreSQL server's database; empty for SQLite.

    Raises:
        DamagedStore: the file is no database, or is empty or gone while tables or runs stand beside it.
        RunError: the database cannot be opened, or was made by a later version of this program.
    """

    def __init__(
        self,
        path: Path,
        schema: str = SCHEMA,
        version: int = VERSION,
        migrations: Mapping[int, str] = MIGRATIONS,
        *,
        anew: bool = False,
        url: str = "",
    ) -> None:
        self.path, self.url = path, url
        self._lock = threading.RLock()
        self._anew = anew
        if not url:
            self._refuse_lost()
        with self.readable_errors():
            _make_folder(path.parent)
            self._engine: Engine = _postgres(url) if url else _Sqlite(path)
        self._migrate(schema, version, migrations)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._engine.close()

    def rows(self, query: str, values: Values = ()) -> list[Row]:
        """Return all rows of a query."""
        with self._lock, self.readable_errors():
            return self._engine.connection.execute(query, values).fetchall()

    def row(self, query: str, values: Values = ()) -> Row | None:
        """Return the first row of a query, or None."""
        rows = self.rows(query, values)
        return rows[0] if rows else None

    def change(self, statement: str, values: Values = ()) -> int:
        """Do one statement in a transaction of its own, and return how many rows it changed."""
        with self.write() as connection:
            return connection.execute(statement, values).rowcount

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction beside which no other process writes; it is kept if the block ends well, or undone."""
        with self._lock, self.readable_errors():
            self._engine.end("ROLLBACK")  # what a signal has cut off between two bytecodes
            try:
                self._engine.begin()
                yield self._engine.connection
                self._engine.end("COMMIT")
            except BaseException:
                self._engine.end("ROLLBACK")
                raise

    def integrity(self) -> str:
        """Say what is wrong with the database's own pages; `ok` where nothing is."""
        with self._lock, self.readable_errors():
            return self._engine.integrity()

    @contextmanager
    def readable_errors(self) -> Iterator[None]:
        """Turn what a full or read-only disk, a lock or damage raises within the block into a `RunError`."""
        engine = getattr(self, "_engine", None)
        try:
            with engine.readable_errors() if engine else _sqlite_errors(self.path):
                yield
        except OSError as error:
            where = error.filename or self.path.parent
            raise RunError(
                f"Store `{where}`: {error.strerror or error}. Check free space and permissions there, then try again."
            ) from error

    def _refuse_lost(self) -> None:
        """Refuse to begin a new database beside tables or runs, which the new one would not know."""
        try:
            lost = not self._anew and not (self.path.exists() and self.path.stat().st_size) and holds_data(self.path)
        except OSError as error:
            raise RunError(f"Store `{self.path}`: {error}. Check free space and permissions there.") from error
        if lost:
            what = "is empty" if self.path.exists() else "is gone"
            raise damaged(str(self.path), f"the file {what}, but tables or runs stand beside it")

    def _migrate(self, schema: str, version: int, migrations: Mapping[int, str]) -> None:
        name = self._engine.name
        if self._version() == version:
            return
        with self.write():
            found = self._engine.version()
            if not (found or self._anew) and holds_data(self.path):
                raise damaged(name, f"it lists nothing, but tables or runs stand in `{self.path.parent}`")
            if found > version:
                raise RunError(f"Store `{name}` has version {found}, this program knows {version}. Update the program.")
            self._engine.create([migrations[step] for step in range(found, version)] if found else [schema], version)

    def _version(self) -> int:
        with self._lock, self.readable_errors():
            return self._engine.version()


def _postgres(url: str) -> Engine:
    """Open another engine; its library is loaded here alone."""
    from deepfm_core.store.postgres import Postgres

    return Postgres(url)


class _Sqlite:
    """SQLite in WAL mode, in one file."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self.connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        self.connection.row_factory = sqlite3.Row
        self._set_up()

    def close(self) -> None:
        self.connection.close()

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def end(self, word: str) -> None:
        if self.connection.in_transaction:
            self.connection.execute(word)

    def version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def create(self, scripts: Sequence[str], version: int) -> None:
        for script in scripts:
            for statement in statements(script):
                self.connection.execute(statement)
        self.connection.execute(f"PRAGMA user_version = {version}")

    def integrity(self) -> str:
        return "; ".join(row[0] for row in self.connection.execute("PRAGMA quick_check(3)"))

    def readable_errors(self) -> AbstractContextManager[None]:
        return _sqlite_errors(self._path)

    def _set_up(self) -> None:
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        for attempt in range(50):
            # Two processes that create the store at once may meet here, and SQLite does not wait by itself.
            try:
                if self.connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                    return
            except sqlite3.OperationalError:
                if attempt == 49:
                    raise
            time.sleep(0.02)


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error).startswith(_INCOMPLETE):
            raise damaged(str(path), str(error)) from error
        raise RunError(f"Store `{path}`: {error}. Check free space and permissions there, then try again.") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError):
            raise
        raise damaged(str(path), str(error)) from error


_INCOMPLETE = ("no such table", "no such column")
"""How SQLite begins to say that a database is not a store's."""

CHECK = "python -m deepfm_core check --repair"
"""The command that repairs a store."""


def damaged(name: str, what: str) -> DamagedStore:
    """Give the error of a database that cannot be used, with what to do about it."""
    return DamagedStore(
        f"Store `{name}`: {what}. Nothing was changed. Stop the server and its workers, then restore a backup, or run"
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


def insert(connection: Connection, table: str, values: Mapping[str, Any], more: str = "") -> int:
    """Insert a row by its values of columns, and return how many rows came in; `more` ends the statement."""
    places = ", ".join(f":{column}" for column in values)
    return connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}){more}", values).rowcount


def statements(script: str) -> Iterator[str]:
    """Cut a script into its statements."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
