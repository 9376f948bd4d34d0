"""What one owner may have on a shared server, and for how long; and what an owner lets others look at."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepfm_core._files import whole
from deepfm_core._words import whole_number
from deepfm_core.errors import RunError
from deepfm_core.store.database import Connection, Database, Row
from deepfm_core.store.records import RunRow

LOCAL = "local"
"""The owner of what is made from the command line, and of everything where the server is not shared: without limits."""

_DAY = 24 * 3600.0

_WITH_BIN = 2
"""An owner may have so many times the bytes with what is in the bin: it stays on the disk, and can be restored."""

PATIENCE = 15.0
"""A question of a page is dropped if nobody has looked for its answer for this many seconds."""


@dataclass(frozen=True)
class Limits:
    """What one owner may have; None where there is no limit."""

    megabytes: int | None = None
    """Of tables, as they were uploaded, and of the files of runs."""
    tables: int | None = None
    queued: int | None = None
    """Runs that wait at a time."""
    questions: int | None = None
    """Questions of pages that wait, or are worked on, at a time."""
    days: int | None = None
    """How long a table or an ended run is kept."""

    @classmethod
    def of_environment(cls) -> Limits:
        """Read the settings: none for a personal store; on a shared server those of `SHARED`, unless said otherwise.

        Raises:
            RunError: a variable is not a whole number.
        """
        return cls(**{name: _setting(name, getattr(SHARED, name) if shared() else None) for name in SETTINGS})


SHARED = Limits(megabytes=2000, tables=50, queued=200, questions=20, days=90)
"""The limits of a shared server. A study may ask for many runs, and turns in the queue are by owner anyhow."""
SETTINGS = {
    "megabytes": "DEEPFM_OWNER_MB",
    "tables": "DEEPFM_OWNER_TABLES",
    "queued": "DEEPFM_OWNER_QUEUED",
    "questions": "DEEPFM_OWNER_QUESTIONS",
    "days": "DEEPFM_KEEP_DAYS",
}
"""The environment variable of each limit; 0 is no limit."""


def shared() -> bool:
    """Say whether many visitors share this server: $DEEPFM_PRIVATE is 1, as in the Procfile."""
    return os.environ.get("DEEPFM_PRIVATE", "") not in ("", "0")


def _setting(name: str, default: int | None) -> int | None:
    text = os.environ.get(SETTINGS[name])
    if text is None:
        return default
    number = whole_number(text)
    if number is None or not text.isascii():
        raise RunError(f"${SETTINGS[name]} is `{text}`. Use a whole number; 0 is no limit.")
    return number or None


DATA_ROOTS = "DEEPFM_DATA_ROOTS"
"""The environment variable with the places whose files a server reads: folders and URIs, with commas between."""


def data_roots() -> tuple[str, ...]:
    """Give the places whose files visitors may open as tables; none where none are named."""
    return tuple(root for part in os.environ.get(DATA_ROOTS, "").split(",") if (root := part.strip()))


@dataclass(frozen=True)
class Use:
    """What an owner has."""

    bytes: int
    tables: int
    queued: int
    questions: int = 0


def use_of(owner: str, connection: Connection, home: Path) -> Use:
    """Count what an owner has; what is in the bin does not count."""
    tables, size, runs = _kept(owner, connection, home, "deleted IS NULL")
    waiting = sum(row["status"] == "queued" for row in runs)
    return Use(size, tables, waiting, _questions_of(owner, connection))


def _kept(owner: str, connection: Connection, home: Path, which: str) -> tuple[int, int, list[Row]]:
    """Give the number of an owner's tables, the bytes of tables and runs, and the runs' rows; of those `which` says."""
    mine = f"owner = ? AND {which}"
    one = connection.execute(f"SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM tables WHERE {mine}", (owner,)).fetchone()
    runs = connection.execute(f"SELECT id, status FROM runs WHERE {mine}", (owner,)).fetchall()
    return one[0], one[1] + sum(bytes_of(home / "runs" / row["id"]) for row in runs), runs


def _questions_of(owner: str, connection: Connection) -> int:
    """Count an owner's questions that are open and that somebody still waits for."""
    open_ones = "SELECT COUNT(*) FROM questions WHERE owner = ? AND problem IS NULL AND looked >= ?"
    return int(connection.execute(open_ones, (owner, time.time() - PATIENCE)).fetchone()[0])


def bytes_of(folder: Path) -> int:
    """Return the bytes of all files in a folder; 0 where there is none."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except OSError:  # a file of a moment
                continue
    return total


def require_room_for_table(owner: str, size: int, connection: Connection, home: Path) -> None:
    """Refuse a table of `size` bytes that would exceed its owner's limits.

    Raises:
        RunError: it would.
    """
    limits = Limits.of_environment()
    if owner == LOCAL or (limits.megabytes is None and limits.tables is None):
        return
    use = use_of(owner, connection, home)
    if limits.tables is not None and use.tables >= limits.tables:
        raise RunError(f"You have {_counted(use.tables, 'table')}. The limit is {limits.tables:,}. Remove one on Data.")
    if limits.megabytes is not None and use.bytes + size > limits.megabytes * 10**6:
        raise RunError(
            f"The table takes {_megabytes(size)}, and you use {_megabytes(use.bytes)} of {limits.megabytes:,} MB."
            " Remove a table on Data, or delete runs on Runs."
        )
    if limits.megabytes is not None:
        binned = _kept(owner, connection, home, "deleted IS NOT NULL")[1]
        most = _WITH_BIN * limits.megabytes
        if use.bytes + binned + size > most * 10**6:
            raise RunError(
                f"The table takes {_megabytes(size)}. With what you deleted you use {_megabytes(use.bytes + binned)} of"
                f" {most:,} MB. What is deleted is kept for a day, or as long as a run needs it. Try again tomorrow, or"
                " delete everything of yours on Runs."
            )


def require_room_in_queue(owner: str, count: int, connection: Connection, home: Path) -> None:
    """Refuse `count` new runs that would exceed what their owner may have waiting, or have in all.

    Raises:
        RunError: they would.
    """
    limits = Limits.of_environment()
    if owner == LOCAL or (limits.queued is None and limits.megabytes is None):
        return
    use = use_of(owner, connection, home)
    if limits.queued is not None and use.queued + count > limits.queued:
        asked = "this one" if count == 1 else f"these {count:,}"
        raise RunError(
            f"You have {_counted(use.queued, 'run')} waiting. With {asked} it would be more than the limit of"
            f" {limits.queued:,}. Wait until some have ended, or cancel some on Runs."
        )
    if limits.megabytes is not None and use.bytes > limits.megabytes * 10**6:
        raise RunError(
            f"You use {_megabytes(use.bytes)}, and the limit is {limits.megabytes:,} MB."
            " Delete runs on Runs, or remove a table on Data."
        )


class TooMany(RunError):  # noqa: N818 (says what was found)
    """An owner has as many questions waiting as are allowed."""


def require_room_for_question(owner: str, connection: Connection) -> None:
    """Refuse a question of a page beyond what its owner may have waiting.

    Raises:
        TooMany: the owner has as many.
    """
    most = Limits.of_environment().questions
    if owner == LOCAL or most is None:
        return
    asked = _questions_of(owner, connection)
    if asked >= most:
        raise TooMany(
            f"Your pages wait for {_counted(asked, 'answer')}. The limit is {most:,}. Close some tabs, then try again."
        )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _megabytes(size: int) -> str:
    return f"{size / 10**6:,.1f} MB"


_LOOKED = "tidied"
"""The file of a store that says when it was last tidied, by the clock of then."""
_SOON, _LATE = 5 * 60.0, 6 * 3600.0


def clock_is_steady(home: Path) -> bool:
    """Say whether the clock can be trusted with what is old: it was looked at five minutes to six hours ago.

    After a jump, or a long pause, what seems old may be new. So nothing is removed then, and the time is noted; a clock
    that was wrong is usually put right before the next look.
    """
    path, now = home / _LOOKED, time.time()
    try:
        since = now - float(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        since = -1.0
    if 0 <= since < _SOON:
        return False
    try:
        with whole(path) as temporary:
            temporary.write_text(f"{now}\n", encoding="utf-8")
    except OSError:
        return False
    return _SOON <= since <= _LATE


def retire(connection: Connection) -> None:
    """Put into the bin what owners of a shared server have had for longer than it is kept."""
    days = Limits.of_environment().days
    if days is None:
        return
    values: dict[str, Any] = {"now": time.time(), "before": time.time() - days * _DAY, "local": LOCAL}
    old = "deleted IS NULL AND owner != :local"
    connection.execute(
        f"UPDATE runs SET deleted = :now WHERE {old} AND status NOT IN ('queued', 'running')"
        " AND created < :before AND COALESCE(ended, created) < :before",  # a run may end by a clock that is wrong
        values,
    )
    connection.execute(f"UPDATE tables SET deleted = :now WHERE {old} AND created < :before", values)
    connection.execute(
        f"UPDATE comparisons SET deleted = :now WHERE {old} AND created < :before"
        " AND NOT EXISTS (SELECT 1 FROM runs WHERE comparison = comparisons.id AND deleted IS NULL)",
        values,
    )


# Links by which an owner lets others look at a run or a comparison: unguessable, read-only, and withdrawn at will.


ShareKind = Literal["run", "comparison"]
_PREFIX = "share-"
_TOKEN = re.compile(f"{_PREFIX}[A-Za-z0-9_-]{{22}}")
GONE = "This link was withdrawn, or a part of it is missing. Ask whoever sent it for another one."


@dataclass(frozen=True)
class Share:
    """A link that an owner gave out."""

    token: str
    """128 random bits: whoever has it may look."""
    kind: ShareKind
    subject: str
    """Id of the run or comparison."""
    name: str
    """What the owner calls the subject."""
    created: float


def is_token(text: str) -> bool:
    """Say whether a text has the form of a link's token."""
    return _TOKEN.fullmatch(text) is not None


class Shares:
    """The links of a store. A deleted subject opens for nobody, and its links go with it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give(self, kind: ShareKind, subject: str, owner: str) -> str:
        """Return the token of an owner's link to a run or comparison of theirs; made now if there is none.

        Raises:
            RunError: the owner has no such run or comparison.
        """
        with self._database.write() as connection:
            own = f"SELECT 1 FROM {kind}s WHERE id = ? AND owner = ? AND deleted IS NULL"
            if connection.execute(own, (subject, owner)).fetchone() is None:
                raise RunError(f"`{subject}` is not among yours, so you cannot share it. Open one of your own.")
            known = "SELECT token FROM shares WHERE kind = ? AND subject = ? AND owner = ?"
            row = connection.execute(known, (kind, subject, owner)).fetchone()
            if row is not None:
                return str(row["token"])
            token = _PREFIX + secrets.token_urlsafe(16)
            connection.execute(
                "INSERT INTO shares (token, owner, kind, subject, created) VALUES (?, ?, ?, ?, ?)",
                (token, owner, kind, subject, time.time()),
            )
        return token

    def withdraw(self, token: str, owner: str) -> None:
        """End a link of the owner's; whoever has it sees no more from then on. One that is gone stays gone."""
        self._database.change("DELETE FROM shares WHERE token = ? AND owner = ?", (token, owner))

    def of(self, owner: str) -> list[Share]:
        """Return an owner's links to what is not deleted, newest first."""
        query = " UNION ALL ".join(
            "SELECT s.token, s.kind, s.subject, t.name, s.created AS created"
            f" FROM shares s JOIN {kind}s t ON t.id = s.subject"
            f" WHERE s.kind = '{kind}' AND s.owner = :owner AND t.deleted IS NULL"
            for kind in ("run", "comparison")
        )
        rows = self._database.rows(f"{query} ORDER BY created DESC", {"owner": owner})
        return [Share(row["token"], row["kind"], row["subject"], row["name"], row["created"]) for row in rows]

    def subject(self, token: str, kind: ShareKind) -> str:
        """Return the id of what a link shows.

        Raises:
            RunError: there is no such link any more.
        """
        row = self._database.row("SELECT subject FROM shares WHERE token = ? AND kind = ?", (token, kind))
        if row is None:
            raise RunError(GONE)
        return str(row["subject"])

    def show_run(self, run: RunRow, tokens: Collection[str]) -> bool:
        """Say whether one of these links shows a run: by itself, or as one of a comparison."""
        return self._show(tokens, "run", run.id) or self._show(tokens, "comparison", run.comparison)

    def show_comparison(self, comparison: str, tokens: Collection[str]) -> bool:
        """Say whether one of these links shows a comparison."""
        return self._show(tokens, "comparison", comparison)

    def _show(self, tokens: Collection[str], kind: ShareKind, subject: str | None) -> bool:
        rows = self._database.rows("SELECT token FROM shares WHERE kind = ? AND subject = ?", (kind, subject))
        return any(row["token"] in tokens for row in rows)


def forget(connection: Connection) -> None:
    """Remove links to what is there no more, within the connection's transaction."""
    for kind in ("run", "comparison"):
        connection.execute(f"DELETE FROM shares WHERE kind = ? AND subject NOT IN (SELECT id FROM {kind}s)", (kind,))
