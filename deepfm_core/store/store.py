"""The store: tables, runs, their events and the queue, in one folder that many processes may use at once."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_path

from deepfm_core._files import DAMAGE, sweep
from deepfm_core._log import note, short
from deepfm_core.errors import RunError
from deepfm_core.spec.events import Event, event_from_dict
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.database import Database
from deepfm_core.store.encoding_cache import EncodingCache
from deepfm_core.store.groups import StoredComparisons
from deepfm_core.store.limits import LOCAL as LOCAL
from deepfm_core.store.limits import (
    Use,
    clock_is_steady,
    is_full,
    measure_again,
    require_room_for_files,
    require_room_in_queue,
    require_room_in_store,
    retire,
    use_of,
)
from deepfm_core.store.process import Process
from deepfm_core.store.query import Questions
from deepfm_core.store.records import MOST_NAME as MOST_NAME
from deepfm_core.store.records import (
    ClusterState,
    NewRun,
    RunRow,
    StoredEvent,
    TableEntry,
    Whole,
    WorkerState,
    entering,
    is_id,
)
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.run_queue import TURNS, Claims, WorkerRegister, worker_limit
from deepfm_core.store.shares import Shares, forget
from deepfm_core.store.tables import MUCH, StoredTables

if TYPE_CHECKING:
    from deepfm_core.tables.table import Choices, Table

DATABASE = "runs.db"
"""SQLite's file in the folder."""
BIN_SECONDS = 24 * 3600.0
"""How long a deleted run or table can be restored."""


CLUSTER_FILE = "cluster.json"
"""Where a dispatcher says how its cluster stands."""

MOST_NOTES = 10_000
"""Characters of a run's notes."""

_LETTING_GO = 60.0
"""Seconds after which the worker of a run that was stopped no longer writes its files."""

_FOR_GOOD = 2.0
"""A time before which nothing is put into the bin but what is to be removed at once."""

_PURGED = "DELETE FROM runs WHERE deleted < ? RETURNING *"


def _require_short(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise RunError(f"The {what} has {len(text):,} characters. The most is {most:,}: shorten it.")


def default_home() -> Path:
    """Return where the store stands: $DEEPFM_HOME, else `.deepfm/` in a checkout, else the user's folder for data."""
    if named := os.environ.get("DEEPFM_HOME"):
        return Path(named).expanduser()
    root = Path(__file__).resolve().parents[2]
    return root / ".deepfm" if _is_checkout(root) else user_data_path("deepfm-explorer", appauthor=False)


def database_url() -> str:
    """Return the URL of the database, $DEEPFM_DATABASE; empty where it is a file in the store's folder.

    Raises:
        RunError: it is no URL of a PostgreSQL server.
    """
    url = os.environ.get("DEEPFM_DATABASE", "")
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise RunError("$DEEPFM_DATABASE is no URL that begins with postgresql://. Leave it out for SQLite.")
    return url


def _is_checkout(root: Path) -> bool:
    """Say whether this is the project's folder. A pyproject.toml alone proves nothing: site-packages may have one."""
    project = root / "pyproject.toml"
    return project.is_file() and 'name = "deepfm-explorer"' in project.read_text(encoding="utf-8")


class Store:
    """Everything under `home`. One object may be shared by all threads of a process.

    `runs` and `tables` list what one owner has, or everything if no owner is given; the app always gives one. Methods
    that take an id do not check the owner: the app does that first, or finds a link (`shares`).

    Args:
        home: the folder.
        url: of a PostgreSQL server's database; empty for SQLite in the folder; None for what $DEEPFM_DATABASE says.

    Raises:
        RunError: the store cannot be opened.
    """

    def __init__(self, home: Path, url: str | None = None) -> None:
        self.home = Path(home).absolute()
        self.database = Database(self.home / DATABASE, url=database_url() if url is None else url)

    @classmethod
    def default(cls) -> Store:
        """Open the store at `default_home()`."""
        return cls(default_home())

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    # Its parts, each made when it is first asked for. They hold no state but the database and a path.

    @cached_property
    def claims(self) -> Claims:
        """What a worker may do: claim a run and write to it."""
        return Claims(self.database)

    @cached_property
    def workers(self) -> WorkerRegister:
        """The workers of the store, by lane."""
        return WorkerRegister(self.database)

    @cached_property
    def questions(self) -> Questions:
        """The questions of pages and runs, and their answers."""
        return Questions(self.database, self.workers)

    @cached_property
    def comparisons(self) -> StoredComparisons:
        """The comparisons and studies."""
        return StoredComparisons(self.database, self.folder)

    @cached_property
    def shares(self) -> Shares:
        """The links by which owners show runs and comparisons to others."""
        return Shares(self.database)

    @cached_property
    def encoded(self) -> EncodingCache:
        """The encoded rows that runs with the same rows and fields share."""
        return EncodingCache(self.home / "tables")

    @cached_property
    def _tables(self) -> StoredTables:
        return StoredTables(self.database, self.home / "tables")

    # Tables

    def import_table(
        self,
        source: Path | bytes,
        name: str,
        owner: str = LOCAL,
        table: Table | None = None,
        max_bytes: int | None = None,
        choices: Choices | None = None,
        replacing: str | None = None,
    ) -> TableEntry:
        """Read an uploaded file and keep it under its SHA-256, once for all owners; the same content is read once.

        The same bytes read by other choices are another table, with a key of its own in the place of the SHA-256.

        Args:
            source: the file, or its bytes.
            name: what the owner calls it.
            owner: whose list it goes to.
            table: the file as `read_table` gave it, where the caller has read it already.
            max_bytes: the largest size allowed, before and after decompression.
            choices: what is said of the file instead of having it found.
            replacing: the key of a table of the owner's that this one will replace, so that it counts no further.

        Raises:
            TableError: the file cannot be read as a table; nothing is kept.
            RunError: the owner has as much as is allowed.
        """
        return self._tables.add(source, name, owner, table, max_bytes, choices, replacing)

    def gather_table(
        self,
        source: str,
        owner: str = LOCAL,
        max_bytes: int | None = None,
        allowed: Sequence[str] | None = None,
        choices: Choices | None = None,
        heard: Callable[[float], object] | None = None,
    ) -> TableEntry:
        """Read a table of files that are here or elsewhere, as `read_table` does, and keep its rows.

        Rows of many files become one file, whose SHA-256 is the table's. So files that have changed are another table.
        Of Parquet files of this machine whose rows do not fit, a sample is kept, and `whole_of_table` says of what.

        Args:
            source: a file, a folder, a pattern or a URI. The table is named by it, without secrets.
            owner: whose list it goes to.
            max_bytes: the most bytes that all files may have.
            allowed: the places that all files must lie below; None for any.
            choices: what is said of each file instead of having it found, such as its encoding.
            heard: called now and then with the share of a sample that is drawn, 0 … 1; what it raises stops that.

        Raises:
            TableError: they cannot be read as a table, or lie elsewhere; nothing is kept.
            RunError: the owner has as much as is allowed.
        """
        from deepfm_core.tables.table import FOUND

        return self._tables.gather(source, owner, max_bytes, allowed, choices or FOUND, heard)

    def whole_of_table(self, sha: str) -> Whole | None:
        """Say which dataset a table is a sample of; None where it is the whole."""
        return self._tables.whole(sha)

    def note_whole(self, sha: str, whole: Whole) -> None:
        """Note that a table that is here is a sample of a dataset."""
        self._tables.note_whole(sha, whole)

    def original(self, sha: str) -> Path:
        """Return the path of a table's file as it came; RunError where the store does not have it."""
        return self._tables.original(sha)

    def is_large_table(self, sha: str) -> bool:
        """Say whether a table may take more than a few hundred megabytes of memory; False where it is not there."""
        return self._tables.bytes_of_cells(sha) > MUCH

    def look_at_table(self, sha: str, table: Table, question: str, **given: Any) -> Any:
        """Ask about a table as a whole, in another process where others would wait long.

        Args:
            sha: key of the table.
            table: what `table` gave for it.
            question: one of `schema.looks.QUESTIONS`.
            given: what the answer depends on besides, as plain values.

        Raises:
            TableError: the table or its roles cannot be used, or looking at it takes more than a limit.
        """
        return self._tables.look_at(sha, table, question, given)

    def choices(self, sha: str) -> Choices:
        """Give what a person said of how a table is read, without reading it; RunError where it is not there."""
        return self._tables.choices(sha)

    def table(self, sha: str, owner: str | None = None) -> Table:
        """Load a table, under the name its owner gave it; RunError where the store does not have it."""
        return self._tables.read(sha, owner)

    def table_for(self, sha: str, owner: str) -> Table:
        """Load a table on behalf of an owner, as runs and answers do: theirs, or one that belongs to no visitor.

        Raises:
            RunError: it is neither in their list, nor needed by a run of theirs, nor the server's own.
        """
        if not (self.has_table(sha, owner, removed=True) or self.has_table(sha, LOCAL)):
            raise self._tables.absent(sha)
        return self.table(sha, owner)

    def require_table(self, sha: str, owner: str) -> None:
        """Have a table's files there for a run of an owner whose encoded rows are kept, as `table_for` would.

        Raises:
            RunError: the owner may not read it, or its files are gone, or damaged beyond mending.
        """
        if not (self.has_table(sha, owner, removed=True) or self.has_table(sha, LOCAL)):
            raise self._tables.absent(sha)
        self._tables.require(sha)

    def table_entry(self, sha: str, owner: str = LOCAL) -> TableEntry:
        """Return an owner's entry of a table; RunError where there is none."""
        return self._tables.entry(sha, owner)

    def tables(self, owner: str | None = None) -> list[TableEntry]:
        """Return an owner's tables, newest first; those of all owners for None."""
        return self._tables.entries(owner)

    def has_table(self, sha: str, owner: str, *, removed: bool = False) -> bool:
        """Say whether a table is in an owner's list; with `removed`, also one taken out that a run of theirs needs."""
        return self._tables.has(sha, owner, removed=removed)

    def delete_table(self, sha: str, owner: str = LOCAL) -> None:
        """Take a table out of an owner's list; runs made from it keep it, what was encoded of it goes."""
        self._tables.delete(sha, owner)
        self.encoded.forget(sha)

    def restore_table(self, sha: str, owner: str = LOCAL) -> TableEntry:
        """Undo `delete_table`."""
        return self._tables.restore(sha, owner)

    def tables_needed(self) -> set[str]:
        """Return the SHA-256 of all tables that an owner or a run has, deleted ones included."""
        return self._tables.needed()

    def table_damage(self, sha: str) -> str | None:
        """Say what of a table's files is missing or damaged; None where all are as they were written."""
        return self._tables.damage(sha)

    def rebuild_table(self, sha: str) -> None:
        """Read a table's upload again, and write what was made of it anew; RunError where the upload is damaged too."""
        self._tables.rebuild(sha)

    def list_table(self, sha: str, name: str, owner: str = LOCAL) -> bool:
        """Put a table whose files are here into an owner's list; False where they are not, or cannot be read."""
        return self._tables.enter(sha, name, owner)

    # Runs

    def enqueue(
        self,
        spec: RunSpec,
        name: str = "",
        owner: str = LOCAL,
        comparison: str | None = None,
        dataset: Mapping[str, Any] | None = None,
    ) -> str:
        """Ask for a run and return its id; a worker takes it up in its turn. `dataset` is as `NewRun` has it."""
        return self._enter(NewRun(spec, name, owner, comparison, dataset=dataset))

    def begin(self, spec: RunSpec, worker: Process, name: str = "", owner: str = LOCAL) -> RunRow:
        """Add a run that `worker` does at once, without the queue."""
        return self.run(self._enter(NewRun(spec, name, owner, worker=worker)))

    def run(self, run_id: str) -> RunRow:
        """Return a run.

        Raises:
            RunError: there is none of this id, or it was deleted.
        """
        row = self.database.row("SELECT * FROM runs WHERE id = ? AND deleted IS NULL", (run_id,))
        if row is None:
            raise RunError(
                f"Run `{run_id}` is not in the store. Open the list of runs, or restore it if you deleted it."
            )
        return RunRow.of(row)

    def runs(self, owner: str | None = None, comparison: str | None = None) -> list[RunRow]:
        """Return an owner's runs, newest first, those of all owners for None; `damaged` are those it cannot read."""
        rows = self.database.rows(
            "SELECT * FROM runs WHERE deleted IS NULL AND (:owner IS NULL OR owner = :owner)"
            " AND (:comparison IS NULL OR comparison = :comparison) ORDER BY created DESC, rowid DESC",
            {"owner": owner, "comparison": comparison},
        )
        return [RunRow.of(row).readable() for row in rows]

    def folder(self, run_id: str) -> RunFolder:
        """Return a run's folder; RunError where the id is not one that the store gives out."""
        if not is_id(run_id):
            raise RunError(f"Run `{run_id}` is not in the store. Open the list of runs.")
        return RunFolder(self.home / "runs" / run_id)

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name; RunError where it is longer than `MOST_NAME`."""
        _require_short("name", name, MOST_NAME)
        self._set(run_id, "name", name)

    def set_notes(self, run_id: str, notes: str) -> None:
        """Replace a run's notes; RunError where they are longer than `MOST_NOTES`."""
        _require_short("note", notes, MOST_NOTES)
        self._set(run_id, "notes", notes)

    def delete(self, run_id: str) -> None:
        """Put a run into the bin, from where `restore` takes it for a day; a queued one is cancelled.

        Raises:
            RunError: the run is at work.
        """
        run = self.run(run_id)
        if run.state == "running":
            raise RunError(f"Run `{run.name}` is running. Cancel it first, then delete it.")
        self._change(
            run,
            "deleted = :now, status = CASE WHEN status IN ('queued', 'running') THEN 'cancelled' ELSE status END,"
            " ended = COALESCE(ended, :now)",
        )

    def restore(self, run_id: str) -> RunRow:
        """Take a run out of the bin.

        Raises:
            RunError: it was purged, or never was there.
        """
        with self.database.write() as connection:
            connection.execute("UPDATE runs SET deleted = NULL WHERE id = ?", (run_id,))
        return self.run(run_id)

    def delete_all(self, owner: str) -> None:
        """Delete all that an owner has, for good: tables, runs, comparisons and studies.

        A running run is stopped, and its files go a minute later, when its worker no longer writes them. A table that
        another owner has, too, stays for that one.
        """
        now, forgotten = time.time(), {entry.sha256 for entry in self.tables(owner)}
        values = {"owner": owner, "now": now, "soon": now - BIN_SECONDS + _LETTING_GO}
        with self.database.write() as connection:
            connection.execute(
                "UPDATE runs SET deleted = CASE WHEN status = 'running' THEN :soon ELSE 1 END,"
                " ended = COALESCE(ended, :now),"
                " status = CASE WHEN status IN ('queued', 'running') THEN 'cancelled' ELSE status END, worker = NULL"
                " WHERE owner = :owner",
                values,
            )
            for table in ("tables", "comparisons"):
                connection.execute(f"UPDATE {table} SET deleted = 1 WHERE owner = :owner", values)
            for table in ("shares", "questions", "question_turns"):
                connection.execute(f"DELETE FROM {table} WHERE owner = :owner", values)
        for sha in forgotten:
            self.encoded.forget(sha)
        note("all of an owner deleted", owner=short(owner), tables=len(forgotten))
        self._remove(_FOR_GOOD)

    def purge(self, older_than: float = BIN_SECONDS) -> None:
        """Remove for good what has been in the bin, and answers to questions, for more than `older_than` seconds.

        On a shared server, what is older than it is kept goes into the bin before.
        """
        with self.database.write() as connection:
            retire(connection)
        self._remove(time.time() - older_than)

    def tidy(self) -> bool:
        """Purge, unless the clock may have jumped, and say whether it did: see `limits.clock_is_steady`."""
        steady = clock_is_steady(self.home)
        if steady:
            self.purge()
        return steady

    def _remove(self, before: float) -> None:
        """Remove for good what has been in the bin since before a time."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM comparisons WHERE deleted < ?", (before,))
            gone = [RunRow.of(row) for row in connection.execute(_PURGED, (before,)).fetchall()]
            for run in gone:  # within the transaction: if this process ends here, the next purge goes on
                shutil.rmtree(self.folder(run.id).path, ignore_errors=True)
            self._tables.purge(connection, before, {sha for run in gone for sha in run.tables})
            forget(connection)
        sweep(self.home / "runs", before)
        self.encoded.remove_unfinished(before)
        self.questions.purge(before)
        measure_again(self.home)

    # Events

    def append_event(self, run_id: str, event: Event, worker: Process | None = None) -> bool:
        """Append an event to a running run; see `Claims.append`."""
        return self.claims.append(run_id, event, worker)

    def events(self, run_id: str, after_seq: int = 0, kinds: Collection[str] = ()) -> list[StoredEvent]:
        """Return a run's events after `after_seq` in order, or only those of some kinds (`epoch`, `progress`, …).

        A resumed run repeats what came after its checkpoint: of two events for one epoch the later counts.
        """
        among = f" AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        rows = self.database.rows(
            f"SELECT seq, time, kind, content FROM events WHERE run_id = ? AND seq > ?{among} ORDER BY seq",
            (run_id, after_seq, *kinds),
        )
        events = []
        for seq, at, kind, content in rows:
            with suppress(*DAMAGE):  # one that cannot be read is left out, as if it had not been written
                events.append(StoredEvent(seq, at, event_from_dict(kind, json.loads(content))))
        return events

    # The queue: the reader's side (the worker's is `claims`)

    def request_cancel(self, run_id: str) -> None:
        """Cancel a queued or lost run at once; ask the worker of a running one to stop. Ended runs stay as they are."""
        run = self.run(run_id)
        if run.state in ("queued", "lost"):
            self._change(run, "status = 'cancelled', ended = :now")
        elif run.state == "running":
            self._change(run, "cancel_requested = 1")

    def resume(self, run_id: str) -> None:
        """Queue a lost, failed or cancelled run again; it goes on from its last checkpoint.

        Raises:
            RunError: the run is queued, running or finished, or changed in this moment.
        """
        run = self.run(run_id)
        if run.state not in ("lost", "failed", "cancelled"):
            raise RunError(f"Run `{run.name}` is {run.state}. Only a lost, failed or cancelled run can be resumed.")
        require_room_in_store(run.owner, 0, self.home)
        with self.database.write():
            require_room_in_queue(run.owner, 1, self.database, self.home)
        self._change(
            run,
            "status = 'queued', queued = :now, worker = NULL, ended = NULL, message = NULL, cancel_requested = 0",
        )

    def use(self, owner: str) -> Use:
        """Count what an owner has, as `limits.Limits` limits it."""
        return use_of(owner, self.database, self.home)

    def require_room(self, owner: str) -> None:
        """Look whether a run of an owner may begin to write its files; RunError where the owner has too many."""
        require_room_for_files(owner, self.database, self.home)

    def is_full(self) -> bool:
        """Say whether there is no room for what visitors add; their runs wait then."""
        return is_full(self.home)

    def next_run(self, worker: Process) -> RunRow | None:
        """Claim the run whose turn it is; of a full store, one of the owner `local`, whom nothing limits."""
        if not self.queued():
            return None
        return self.claims.next(worker, owner=LOCAL if self.is_full() else None)

    def queued(self) -> int:
        """Return how many runs wait."""
        row = self.database.row("SELECT COUNT(*) FROM runs WHERE status = 'queued' AND deleted IS NULL")
        return int(row[0]) if row else 0

    def position(self, run_id: str) -> int | None:
        """Return a run's place in the queue, from 1; None if it does not wait."""
        query = f"SELECT place FROM ({TURNS}) AS turns WHERE id = :id"
        row = self.database.row(query, {"comparison": None, "owner": None, "id": run_id})
        return int(row[0]) if row else None

    def worker_state(self) -> WorkerState:
        """Say how long the queue is and who works on it."""
        states = self.workers.states()
        running = self.database.rows("SELECT * FROM runs WHERE status = 'running' AND deleted IS NULL")
        return WorkerState(
            queued=self.queued(),
            running=sum(RunRow.of(row).state == "running" for row in running),
            starting=states.count("starting"),
            idle=states.count("idle"),
            busy=states.count("busy"),
            limit=worker_limit(),
            cluster=self._cluster(),
        )

    def _cluster(self) -> ClusterState | None:
        """Read how a cluster stands that does the runs; None where there is none, or nobody follows it any more."""
        try:
            state = ClusterState(**json.loads((self.home / CLUSTER_FILE).read_bytes()))
        except (OSError, *DAMAGE):
            return None
        return state if self.workers.lives(state.worker) else None

    def _enter(self, run: NewRun) -> str:
        require_room_in_store(run.owner, 0, self.home)
        with entering(self.database, self.folder) as (connection, made):
            require_room_in_queue(run.owner, 1, self.database, self.home)
            made.append(run.enter(connection, self.folder))
        note("run queued", run=short(made[0]), owner=short(run.owner), model=run.spec.model.name)
        return made[0]

    def _set(self, run_id: str, column: str, text: str) -> None:
        self.run(run_id)
        with self.database.write() as connection:
            connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (text, run_id))

    def _change(self, run: RunRow, changes: str) -> None:
        """Change a run's status if it is still that of `run`, so that two changes at once do not undo each other."""
        with self.database.write() as connection:
            cursor = connection.execute(
                f"UPDATE runs SET {changes} WHERE id = :id AND status = :status"
                " AND COALESCE(worker, '') = COALESCE(:worker, '')",
                {"now": time.time(), "id": run.id, "status": run.status, "worker": run.worker},
            )
        if not cursor.rowcount:
            raise RunError(f"Run `{run.name}` has changed in this moment. Look again, then repeat what you wanted.")
