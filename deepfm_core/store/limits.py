"""What one owner may have on a shared server, and all owners together, and for how long."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfm_core._files import whole
from deepfm_core._words import whole_number
from deepfm_core.errors import RunError
from deepfm_core.store.database import Connection, Database, Row

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
    """Of the files of tables, as they came and as they were read, and of those of runs."""
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
    number = _number(SETTINGS[name])
    return default if number is None else number or None


def _number(variable: str) -> int | None:
    """Read a limit; None where the environment says nothing."""
    text = os.environ.get(variable)
    if text is None:
        return None
    number = whole_number(text)
    if number is None or not text.isascii():
        raise RunError(f"${variable} is `{text}`. Use a whole number; 0 is no limit.")
    return number


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


def use_of(owner: str, database: Database, home: Path) -> Use:
    """Count what an owner has; what is in the bin does not count."""
    tables, size, runs = _kept(owner, database, home, "deleted IS NULL")
    waiting = sum(row["status"] == "queued" for row in runs)
    return Use(size, tables, waiting, _questions_of(owner, database))


def _kept(owner: str, database: Database, home: Path, which: str) -> tuple[int, int, list[Row]]:
    """Give the number of an owner's tables, the bytes of tables and runs, and the runs' rows; of those `which` says."""
    mine = f"owner = ? AND {which}"
    tables = database.rows(f"SELECT sha256 FROM tables WHERE {mine}", (owner,))
    runs = database.rows(f"SELECT id, status FROM runs WHERE {mine}", (owner,))
    size = sum(bytes_of_table(home / "tables" / row["sha256"]) for row in tables)
    return len(tables), size + sum(bytes_of(home / "runs" / row["id"]) for row in runs), runs


def _questions_of(owner: str, database: Database) -> int:
    """Count an owner's questions that are open and that somebody still waits for."""
    open_ones = "SELECT COUNT(*) FROM questions WHERE owner = ? AND problem IS NULL AND looked >= ?"
    return int(database.rows(open_ones, (owner, time.time() - PATIENCE))[0][0])


def bytes_of(folder: Path, besides: Collection[str] = ()) -> int:
    """Return the bytes of all files in a folder, but for those in folders named as `besides`; 0 where there is none."""
    total = 0
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in besides]
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except OSError:  # a file of a moment
                continue
    return total


def bytes_of_table(folder: Path) -> int:
    """Return the bytes of a table's files: as it came, and what was made of it, which may be many times more."""
    return bytes_of(folder, _ENCODED)


def require_room_for_table(owner: str, size: int, replacing: str | None, database: Database, home: Path) -> None:
    """Refuse a table that would exceed its owner's limits.

    Args:
        owner: who brings it.
        size: bytes of its files.
        replacing: the key of a table of the owner's that goes into the bin for it; None for none.
        database: the store's.
        home: the store's folder.

    Raises:
        RunError: it would.
    """
    limits = Limits.of_environment()
    if owner == LOCAL or (limits.megabytes is None and limits.tables is None):
        return
    use, replaced = use_of(owner, database, home), _replaced(owner, replacing, database, home)
    if limits.tables is not None and use.tables - (replaced is not None) >= limits.tables:
        raise RunError(f"You have {_counted(use.tables, 'table')}. The limit is {limits.tables:,}. Remove one on Data.")
    if limits.megabytes is None:
        return
    if use.bytes - (replaced or 0) + size > limits.megabytes * 10**6:
        raise RunError(
            f"The table takes {_megabytes(size)}, and you use {_megabytes(use.bytes)} of {limits.megabytes:,} MB."
            " Remove a table on Data, or delete runs on Runs."
        )
    binned = _kept(owner, database, home, "deleted IS NOT NULL")[1]
    most = _WITH_BIN * limits.megabytes
    if use.bytes + binned + size > most * 10**6:
        raise RunError(
            f"The table takes {_megabytes(size)}. With what you deleted you use {_megabytes(use.bytes + binned)} of"
            f" {most:,} MB. What is deleted is kept for a day, or as long as a run needs it. Try again tomorrow, or"
            " delete everything of yours on Runs."
        )


def _replaced(owner: str, key: str | None, database: Database, home: Path) -> int | None:
    """Return the bytes of the table that another one replaces; None where its owner has no such table."""
    mine = "SELECT 1 FROM tables WHERE sha256 = ? AND owner = ? AND deleted IS NULL"
    return bytes_of_table(home / "tables" / key) if key and database.rows(mine, (key, owner)) else None


def require_room_in_queue(owner: str, count: int, database: Database, home: Path) -> None:
    """Refuse `count` new runs that would exceed what their owner may have waiting, or have in all.

    Raises:
        RunError: they would.
    """
    limits = Limits.of_environment()
    if owner == LOCAL or (limits.queued is None and limits.megabytes is None):
        return
    use = use_of(owner, database, home)
    if limits.queued is not None and use.queued + count > limits.queued:
        asked = "this one" if count == 1 else f"these {count:,}"
        raise RunError(
            f"You have {_counted(use.queued, 'run')} waiting. With {asked} it would be more than the limit of"
            f" {limits.queued:,}. Wait until some have ended, or cancel some on Runs."
        )
    _refuse_bytes(use.bytes, limits)


def require_room_for_files(owner: str, database: Database, home: Path) -> None:
    """Refuse more files of runs to an owner who has more bytes than is allowed.

    Raises:
        RunError: the owner has.
    """
    limits = Limits.of_environment()
    if owner != LOCAL and limits.megabytes is not None:
        _refuse_bytes(use_of(owner, database, home).bytes, limits)


def _refuse_bytes(used: int, limits: Limits) -> None:
    if limits.megabytes is not None and used > limits.megabytes * 10**6:
        raise RunError(
            f"You use {_megabytes(used)}, and the limit is {limits.megabytes:,} MB."
            " Delete runs on Runs, or remove a table on Data."
        )


# What all visitors together may have: whoever drops the cookie is a new owner, with limits of an owner's own.


STORE = "DEEPFM_STORE_MB"
"""The environment variable of the megabytes that all files of a shared store may take; 0 is no limit."""
LEAST_FREE = 500 * 10**6
"""Bytes of disk below which a store is not well: runs and uploads will soon fail."""
_PART = 2
"""Without that setting, a shared store may take one of so many parts of its disk."""
_ENCODED = ("encoded",)
"""The folders of encoded rows: they have a limit of their own, and go where there is no room."""
_AGAIN = 60.0
"""Seconds for which the size of a store is known: it is measured file by file."""
_SIZE = "size"
"""The file of a store with its size: the time and bytes of when it was measured, then the bytes of what was added."""
_measuring = threading.Lock()


@dataclass(frozen=True)
class Room:
    """How much a store keeps, and may keep."""

    used: int | None
    """Bytes of all files but encoded rows; None without a limit, as nobody measures them then."""
    most: int | None
    """Bytes; None without a limit."""
    free: int
    """Bytes of its disk."""


def room_of(home: Path) -> Room:
    """Measure a store that has a limit, file by file at most once a minute; what visitors add between is counted.

    Raises:
        RunError: the setting is not a whole number, or the disk cannot be read.
    """
    try:
        disk = shutil.disk_usage(home)
    except OSError as error:
        raise RunError(f"Store `{home}`: {error.strerror}. Check the disk and permissions there.") from error
    most = _most_of_store(disk.total)
    return Room(None if most is None else _used(home), most, disk.free)


def _most_of_store(disk: int) -> int | None:
    """Return the bytes that a store may take of a disk of so many; a personal one takes what it needs."""
    named = _number(STORE)
    if not shared():
        return None
    return disk // _PART if named is None else named * 10**6 or None


def _used(home: Path) -> int:
    """Return the bytes of a store, which all its processes measure once a minute together."""
    with _measuring:  # one thread measures, and the others find what it has noted
        known = _noted(home)
        if known is not None:
            return known
        at, used = time.time(), bytes_of(home, _ENCODED)
        with suppress(OSError), whole(home / _SIZE) as temporary:  # on a disk that is full, it is measured again
            temporary.write_text(f"{at} {used}\n", encoding="utf-8")
        return used


def _noted(home: Path) -> int | None:
    """Read the size of a store; None where it was not measured within a minute, or nobody can read it."""
    try:
        measured, *added = (home / _SIZE).read_text(encoding="utf-8").splitlines()
        at, used = measured.split(" ")
        return int(used) + sum(map(int, added)) if 0 <= time.time() - float(at) < _AGAIN else None
    except (OSError, ValueError):
        return None


def count_in(home: Path, size: int) -> None:
    """Count what was added to a store since it was measured, in bytes."""
    with suppress(OSError), open(home / _SIZE, "a", encoding="utf-8", opener=_existing) as file:
        file.write(f"{size}\n")


def _existing(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_CREAT)


def measure_again(home: Path) -> None:
    """Forget the size of a store from which files were removed, so that what they took is free at once."""
    with suppress(OSError):
        (home / _SIZE).unlink(missing_ok=True)


def require_room_in_store(owner: str, size: int, home: Path) -> None:
    """Refuse what a visitor adds to a store that has no room for it.

    Args:
        owner: who adds it.
        size: bytes that it takes, as far as they are known; 0 for a run.
        home: the store's folder.

    Raises:
        RunError: the store has as much as is allowed, or hardly any disk is left.
    """
    if owner != LOCAL and (why := _lacking(size, home)):
        takes = f"The table takes {_megabytes(size)}. " if size else ""
        raise RunError(f"{takes}{why} {_NO_ROOM}")


def is_full(home: Path) -> bool:
    """Say whether a store has no room for anything that a visitor adds.

    Raises:
        RunError: as `room_of`.
    """
    return bool(_lacking(0, home))


def _lacking(size: int, home: Path) -> str:
    """Say why so many bytes of visitors have no room; nothing where they have."""
    if not shared():
        return ""
    room = room_of(home)
    if room.free - size < LEAST_FREE:
        return "The server's disk has no room for more."
    if room.used is not None and room.most is not None and room.used + size > room.most:
        return f"All visitors together have {_megabytes(room.used)} here, and the limit is {_megabytes(room.most)}."
    return ""


_NO_ROOM = (
    "Nothing that you have is lost. What you delete makes room a day later; Delete everything of mine, on Runs, does so"
    " at once. Or ask whoever runs the server for room."
)


class TooMany(RunError):  # noqa: N818 (says what was found)
    """An owner has as many questions waiting as are allowed."""


def require_room_for_question(owner: str, database: Database) -> None:
    """Refuse a question of a page beyond what its owner may have waiting.

    Raises:
        TooMany: the owner has as many.
    """
    most = Limits.of_environment().questions
    if owner == LOCAL or most is None:
        return
    asked = _questions_of(owner, database)
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
