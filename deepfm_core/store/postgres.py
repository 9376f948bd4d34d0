"""PostgreSQL as the store's database, where several servers share one. Loaded only where a URL names it.

Statements are written for SQLite. What is said otherwise here is translated in this module alone: placeholders, types,
the number `rowid` that gives rows their order, and two functions on JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from deepfm_core.errors import RunError, first_line
from deepfm_core.store.database import Connection, Cursor, Values, damaged, statements

try:
    import psycopg
    from psycopg.pq import TransactionStatus
except ImportError as error:
    raise RunError(
        "$DEEPFM_DATABASE names a PostgreSQL server, which needs the package psycopg."
        ' Install it with `pip install "psycopg[binary]"`.'
    ) from error

_SETTINGS = {
    "lock_timeout": "10s",  # as SQLite waits
    "idle_in_transaction_session_timeout": "10min",  # of a machine that went away in the middle of one
    "client_min_messages": "warning",
}
_FUNCTIONS = """
CREATE FUNCTION json_valid(value TEXT) RETURNS BOOLEAN LANGUAGE plpgsql IMMUTABLE STRICT AS
'BEGIN PERFORM value::json; RETURN TRUE; EXCEPTION WHEN OTHERS THEN RETURN FALSE; END';
CREATE FUNCTION json_extract(value TEXT, path TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE STRICT AS
'SELECT value::json ->> substr(path, 3)';
CREATE TABLE store_version (version INTEGER NOT NULL);
INSERT INTO store_version VALUES (0);
"""
_TYPES = {"INTEGER": "BIGINT", "REAL": "DOUBLE PRECISION"}
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('deepfm ' || current_schema(), 0))"
"""Taken by whoever writes, until its transaction ends: one writes at a time, as in SQLite."""

_IS_MADE = "SELECT 1 FROM pg_tables WHERE tablename = 'store_version' AND schemaname = current_schema()"
"""Not `to_regclass`: that may remember, within a transaction, that there was no such table."""


class Postgres:
    """A connection to a PostgreSQL server's database, in the schema that comes first on its search path.

    Raises:
        psycopg.Error: it cannot be opened; `readable_errors` says so in a sentence.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = _name(url)
        with self.readable_errors():
            self._raw = self._open()

    def _open(self) -> psycopg.Connection[Row]:
        options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        given = psycopg.conninfo.conninfo_to_dict(self._url).get("options") or ""
        return psycopg.connect(
            self._url,
            options=f"{options} {given}",
            autocommit=True,
            connect_timeout=10,
            keepalives_idle=10,
            cursor_factory=psycopg.ClientCursor[Row],  # values are written into the statement, so NULL needs no type
            row_factory=_rows,
        )

    @property
    def connection(self) -> Connection:
        """See `Engine`."""
        if self._raw.closed:
            self._raw = self._open()
        return _Translating(self._raw)

    def close(self) -> None:
        """See `Engine`."""
        self._raw.close()

    def begin(self) -> None:
        """See `Engine`."""
        try:
            self._begin()
        except psycopg.OperationalError:
            if not self._raw.closed:  # it waits for a lock, or the disk is full
                raise
            self._begin()  # the server was started again since

    def _begin(self) -> None:
        self.connection.execute("BEGIN")
        self.connection.execute(_LOCK)

    def end(self, word: str) -> None:
        """See `Engine`."""
        if not self._raw.closed and self._raw.info.transaction_status != TransactionStatus.IDLE:
            if word == "COMMIT":
                self._raw.execute("COMMIT")
            else:
                with suppress(psycopg.OperationalError):  # a connection that is lost has undone it
                    self._raw.execute("ROLLBACK")
        elif word == "COMMIT":
            raise psycopg.OperationalError("the connection was lost before the change was kept")

    def version(self) -> int:
        """See `Engine`."""
        there = self.connection.execute(_IS_MADE).fetchone()
        return int(self.connection.execute("SELECT version FROM store_version").fetchone()[0]) if there else 0

    def create(self, scripts: Sequence[str], version: int) -> None:
        """See `Engine`."""
        made = [] if self.version() else [_FUNCTIONS]
        for script in [*made, *(_in_types(script) for script in scripts)]:
            for statement in statements(script):
                self._raw.execute(statement)
        self.connection.execute("UPDATE store_version SET version = ?", (version,))

    def integrity(self) -> str:
        """See `Engine`: the server checks its pages itself, as they are read."""
        return "ok"

    @contextmanager
    def readable_errors(self) -> Iterator[None]:
        """See `Engine`."""
        try:
            yield
        except psycopg.IntegrityError:
            raise
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise damaged(self.name, first_line(error).rstrip(".")) from error
        except psycopg.Error as error:
            raise RunError(
                f"Store `{self.name}`: {first_line(error).rstrip('.')}. Check that the database's server runs, has free"
                " space, and lets this user in, then try again."
            ) from error


class Row(tuple[Any, ...]):
    """A row, by name and by place, as SQLite's."""

    names: Mapping[str, int]

    def __getitem__(self, key: Any, /) -> Any:
        return super().__getitem__(self.names[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        """Return the names."""
        return list(self.names)


def _rows(cursor: psycopg.Cursor[Any]) -> Any:
    columns = cursor.description or ()
    return type("Row", (Row,), {"names": {column.name: place for place, column in enumerate(columns)}})


class _Translating:
    """A connection that takes statements as they are written for SQLite."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Values = (), /) -> Cursor:
        if not values:
            return self._connection.execute(statement.encode())
        text = _with_placeholders(statement).encode()
        if isinstance(values, Mapping):
            return self._connection.execute(text, {name: _plain(value) for name, value in values.items()})
        return self._connection.execute(text, [_plain(value) for value in values])


def _plain(value: Any) -> Any:
    """Give a value as PostgreSQL takes it: whole numbers for flags, and no NUL in a text."""
    if isinstance(value, bool):
        return int(value)
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


@lru_cache(maxsize=512)
def _with_placeholders(statement: str) -> str:
    """Write `?` as `%s` and `:name` as `%(name)s`, outside of texts."""
    parts = re.split(r"('(?:[^']|'')*')", statement.replace("%", "%%"))
    for place in range(0, len(parts), 2):
        parts[place] = re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", parts[place]).replace("?", "%s")
    return "".join(parts)


def _in_types(script: str) -> str:
    """Write a schema with PostgreSQL's types, and give tables the number that SQLite gives them by itself."""
    script = re.sub(r"--[^\n]*", "", script)
    for ours, theirs in _TYPES.items():
        script = re.sub(rf"\b{ours}\b", theirs, script)
    return "".join(_with_number(part) for part in re.split(r"(?<=;)", script))


def _with_number(statement: str) -> str:
    if "WITHOUT ROWID" in statement:
        return statement.replace("WITHOUT ROWID", "")
    number = r"\1 rowid BIGINT GENERATED BY DEFAULT AS IDENTITY,"
    return re.sub(r"(CREATE TABLE \w+ \()", number, statement)


def _name(url: str) -> str:
    """Return a URL as messages show it: without password and options."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    except ValueError:
        return "postgresql://"
