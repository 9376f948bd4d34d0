"""Verify a store, file by file, and repair what can be: its list of tables and runs, and tables from their uploads."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from deepfm_core._files import beside
from deepfm_core.errors import DamagedStore, DeepFMError, RunError, TableError
from deepfm_core.spec.presets import run_name
from deepfm_core.spec.run import BASELINE
from deepfm_core.store.database import Connection, Database, holds_data, insert
from deepfm_core.store.records import RunRow, is_id, is_sha256
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import DATABASE, LOCAL, Store, database_url

KEPT = {
    "tables": ("rowid",),
    "runs": ("rowid",),
    "comparisons": ("rowid",),
    "shares": ("rowid",),
    "events": ("run_id", "seq"),
}
"""What a damaged database is read for, with the keys that give its rows their order. Runs stand before their events.
Questions and workers are of the moment."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a store: what, why, and what was or can be done."""

    subject: str
    problem: str
    remedy: str
    repaired: bool = False

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}. {self.remedy}"


@dataclass
class Report:
    """What a check has looked at, and what it found."""

    tables: int = 0
    runs: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def left(self) -> list[Finding]:
        """What is still wrong."""
        return [finding for finding in self.findings if not finding.repaired]


def is_there(home: Path, url: str) -> bool:
    """Say whether there is a store: a database, or tables or runs. One with a URL is there once that is given."""
    return bool(url) or (home / DATABASE).exists() or holds_data(home / DATABASE)


def check(home: Path, *, repair: bool = False, url: str | None = None) -> Report:
    """Read every file of a store, and say what is damaged, missing or in no list; with `repair`, put right what can be.

    Nothing is ever removed: a damaged database is kept under another name. `url` is that of the database, as `Store`
    takes it.

    Raises:
        RunError: there is no store at `home`, or it cannot be opened for another reason than damage.
    """
    report, home = Report(), Path(home).absolute()
    url = database_url() if url is None else url
    if not is_there(home, url):
        raise RunError(f"Store `{home}`: there is none. Name its folder in $DEEPFM_HOME.")
    try:
        _require_sound(home / DATABASE, url)
    except DamagedStore as error:
        if not repair:
            problem, _, remedy = str(error).partition(". ")
            report.findings.append(Finding(problem, "the database cannot be used", remedy))
            return report
        report.findings.append(_begun_anew(home, url) if url else _rebuild(home))
    with closing(Store(home, url)) as store:
        report.findings += [*_unlisted(store, repair), *_damaged_rows(store, repair)]
        report.findings += [*_tables(store, report, repair), *_runs(store, report)]
    return report


def _require_sound(path: Path, url: str) -> None:
    with closing(Database(path, url=url)) as database:
        found = database.integrity()
        for table in KEPT:
            database.rows(f"SELECT * FROM {table} LIMIT 0")
    if found != "ok":
        raise DamagedStore(f"Store `{path}`: {found}. Run the check with --repair, or restore a backup.")


# The database.


def _begun_anew(home: Path, url: str) -> Finding:
    """Make the tables of an empty database on a server, whose list is then made from the folders.

    Raises:
        DamagedStore: the database holds something, which the server's own tools must restore.
    """
    with closing(Database(home / DATABASE, url=url, anew=True)):
        pass
    _require_sound(home / DATABASE, url)
    remedy = "Its list was made anew, from the folders."
    return Finding(f"Store `{home}`", "the database on the server was empty", remedy, repaired=True)


def _rebuild(home: Path) -> Finding:
    """Make the database anew from what can be read of the damaged one, which is kept beside it."""
    path = home / DATABASE
    aside = path.with_name(f"{DATABASE}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    fresh = beside(path)
    with closing(Database(fresh, anew=True)) as database:
        rows = _salvage(path, database) if path.exists() else 0
        database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
        if end:
            fresh.with_name(fresh.name + end).unlink(missing_ok=True)
    fresh.rename(path)
    kept = f"The damaged file is kept as {aside.name}." if aside.exists() else "There was no file to keep."
    remedy = f"The list was made anew: {rows:,} rows could be read. {kept}"
    return Finding(f"Store `{path}`", "the database was damaged, empty or gone", remedy, repaired=True)


def _salvage(path: Path, database: Database) -> int:
    """Copy the rows that can still be read, from the first on and from the last back; return how many."""
    ways = [(table, keys, way) for table, keys in KEPT.items() for way in ("ASC", "DESC")]
    with closing(_opened(path)) as damaged, database.write() as connection:
        return sum(_copy(damaged, connection, table, keys, way) for table, keys, way in ways)


def _opened(path: Path) -> sqlite3.Connection:
    damaged = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    damaged.text_factory = lambda text: text.decode(errors="replace")
    return damaged


def _copy(damaged: sqlite3.Connection, whole: Connection, table: str, keys: Sequence[str], way: str) -> int:
    known = {row["name"] for row in whole.execute(f"PRAGMA table_info({table})")} | {"rowid"}
    every = "rowid, *" if keys == ("rowid",) else "*"
    count = 0
    with suppress(sqlite3.Error):  # what follows cannot be read from this side
        rows = damaged.execute(f"SELECT {every} FROM {table} ORDER BY {', '.join(f'{key} {way}' for key in keys)}")
        names = [column[0] for column in rows.description]
        for row in rows:
            values = {name: value for name, value in zip(names, row, strict=True) if name in known}
            count += _enter(whole, table, values)
    return count


def _enter(connection: Connection, table: str, values: Mapping[str, Any]) -> int:
    """Enter a row, if it is not there and could be one; return whether it was entered."""
    with suppress(sqlite3.IntegrityError):
        return insert(connection, table, values, " ON CONFLICT DO NOTHING")
    return 0


# The list, from the folders.


def _unlisted(store: Store, repair: bool) -> Iterator[Finding]:
    """Find folders of tables and runs that the database does not know, and list them under the owner `local`."""
    remedy = f"It was put into the list of `{LOCAL}`." if repair else "Use --repair to put it into the list."
    known = {row["id"] for row in store.database.rows("SELECT id FROM runs")}
    new = [store.folder(name) for name in _names(store.home / "runs") if is_id(name) and name not in known]
    entries = [values for folder in new if (values := _run_entry(folder))]
    needed, called = store.tables_needed(), {sha: name for values in entries for sha, name in _tables_of(values)}
    for sha in _names(store.home / "tables"):
        if is_sha256(sha) and sha not in needed:
            if repair:
                _list_table(store, sha, called.get(sha, f"table {sha[:8]}"))
            yield Finding(f"Table `{sha[:12]}`", "it is in no list", remedy, repair)
    for values in entries:
        if repair:
            with store.database.write() as connection:
                _enter(connection, "runs", values)
        yield Finding(f"Run `{values['id']}`", "it is in no list", remedy, repair)


def _list_table(store: Store, sha: str, name: str) -> None:
    """List a table; one that is damaged can be listed once it is read anew. What cannot be is found with the files."""
    with suppress(RunError, TableError):
        if store.table_damage(sha):
            store.rebuild_table(sha)
        store.list_table(sha, name)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _run_entry(folder: RunFolder) -> dict[str, Any] | None:
    """Make a run's row from its folder: finished, or cancelled, which can be resumed; None where it says nothing."""
    try:
        spec, summary = folder.spec(), folder.summary()
        at = (folder.path / "spec.json").stat().st_mtime
    except (DeepFMError, OSError):
        return None
    return {
        "id": folder.path.name,
        "name": run_name(spec),
        "owner": LOCAL,
        "status": "cancelled" if summary is None else "finished",
        "spec": json.dumps(spec.to_dict()),
        "summary": None if summary is None else json.dumps(summary),
        "created": at,
        "queued": at,
        "ended": at,
    }


def _tables_of(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    spec = json.loads(values["spec"])
    for name in ("table", "valid_table", "test_table"):
        if spec.get(name):
            yield spec[name], spec.get(f"{name}_name") or f"table {spec[name][:8]}"


def _damaged_rows(store: Store, repair: bool) -> Iterator[Finding]:
    """Find rows of runs whose spec or summary cannot be read, and take these from the run's folder."""
    for row in map(RunRow.of, store.database.rows("SELECT * FROM runs")):
        if row.damage is None:
            continue
        values = _run_entry(store.folder(row.id)) if is_id(row.id) else None
        if repair and values:
            store.database.change("UPDATE runs SET spec = :spec, summary = :summary WHERE id = :id", values)
        remedy = "It was read from the run's folder." if repair else "Use --repair to read it from the run's folder."
        remedy = remedy if values else "Its folder has no spec either. Delete the run."
        yield Finding(f"Run `{row.id}`", row.damage, remedy, repair and values is not None)


# The files.


def _tables(store: Store, report: Report, repair: bool) -> Iterator[Finding]:
    # An imported run names a table that never was here.
    listed = {row["sha256"] for row in store.database.rows("SELECT sha256 FROM tables")}
    for sha in sorted(listed | (store.tables_needed() & {*_names(store.home / "tables")})):
        report.tables += 1
        problem = store.table_damage(sha) if is_sha256(sha) else "its name is no SHA-256"
        if problem is None:
            continue
        subject = f"Table `{sha[:12]}`"
        try:
            if repair:
                store.rebuild_table(sha)
            remedy = (
                "It was read again from the upload." if repair else "Use --repair to read it again from the upload."
            )
            yield Finding(subject, problem, remedy, repair)
        except DeepFMError as error:
            yield Finding(subject, f"{problem}, and {error}", "Upload the same file again.")


def _runs(store: Store, report: Report) -> Iterator[Finding]:
    for row in map(RunRow.of, store.database.rows("SELECT * FROM runs WHERE deleted IS NULL")):
        report.runs += 1
        if row.status != "finished" or row.damage or not is_id(row.id):
            continue
        for problem in run_problems(store.folder(row.id), baseline=row.spec.model.name == BASELINE):
            yield Finding(f"Run `{row.id}`", problem, "Restore it from a backup, or train it again.")


def run_problems(folder: RunFolder, *, baseline: bool = False) -> Iterator[str]:
    """Read all that a finished run has left, and give a sentence for each file that cannot be read."""
    from safetensors import safe_open

    from deepfm_core.encoding.encoder import Encoder

    def weights() -> None:
        with safe_open(folder.model, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (not a dictionary)
                file.get_tensor(name)

    reads: dict[str, Callable[[], object]] = {"spec.json": folder.spec, "metrics.json": partial(_json, folder)}
    if not baseline:
        reads |= {"encoder.json": partial(Encoder.load, folder.encoder), "model.safetensors": weights}
    reads |= {f"frames/{name}.parquet": partial(folder.frame, name) for name in folder.frames()}
    for name, read in reads.items():
        try:
            read()
        except Exception as error:  # a damaged file may raise anything
            yield f"{name} cannot be read ({type(error).__name__})"


def _json(folder: RunFolder) -> None:
    if folder.read_json("metrics.json") is None:
        raise FileNotFoundError
