"""The store: what is kept for whom, the queue, and what many processes at once may not break."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from deepfm_core.errors import RunError, TableError
from deepfm_core.runs.job import Context, Job
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Failed, Finished, Progress, Stage
from deepfm_core.store.database import SCHEMA, VERSION, Database
from deepfm_core.store.process import Process
from deepfm_core.store.records import STALE_SECONDS, NewRun, RunRow
from deepfm_core.store.store import Store
from deepfm_core.tables.table import FOUND, Choices
from deepfm_core.workers.lane import perform
from tests.small_engine import spec

ME = Process.current()
ELSEWHERE = Process("elsewhere", 1, 1)


@pytest.fixture
def store(tmp_path: Path, database: str) -> Store:
    return Store(tmp_path / "home")


def claimed(store: Store) -> RunRow:
    run = store.claims.next(ME)
    assert run is not None
    return run


def ended_process() -> Process:
    child = subprocess.Popen(["sleep", "60"])
    process = Process.of(child.pid)
    child.kill()
    child.wait()
    return process


def test_a_table_opens_for_its_owner_until_no_run_needs_it_and_for_nobody_else(store: Store) -> None:
    sha = store.import_table(b"a,b\n1,2\n", "two.csv", "ann").sha256
    assert store.has_table(sha, "ann")
    assert not store.has_table(sha, "bob", removed=True)
    store.delete_table(sha, "ann")
    assert not store.has_table(sha, "ann")
    assert store.has_table(sha, "ann", removed=True)
    assert len(store.table_for(sha, "ann")) == 1
    with pytest.raises(RunError, match="is not in the store"):
        store.table_for(sha, "bob")


def test_a_table_of_no_visitor_opens_for_all(store: Store) -> None:
    sha = store.import_table(b"a,b\n1,2\n", "two.csv").sha256
    assert len(store.table_for(sha, "bob")) == 1


def test_a_run_reads_no_table_of_another_owner(store: Store) -> None:
    sha = store.import_table(b"a,b\n1,2\n", "two.csv", "ann").sha256

    def read(job: Job, context: Context) -> Iterator[Event]:
        yield Finished({"rows": len(context.table(job.spec.table))})

    endings = {}
    for owner in ("ann", "bob"):
        store.enqueue(replace(spec(), table=sha), owner=owner)
        (endings[owner],) = perform(store, claimed(store), read, ME)
    assert endings["ann"] == Finished({"rows": 1})
    assert isinstance(endings["bob"], Failed)
    assert "is not in the store" in endings["bob"].message


def test_a_run_comes_back_as_it_was_asked_for(store: Store) -> None:
    run_id = store.enqueue(spec(epochs=9), name="Nine epochs", owner="ann", comparison="c1")
    run = store.run(run_id)
    assert (run.name, run.owner, run.status, run.state, run.comparison) == (
        "Nine epochs",
        "ann",
        "queued",
        "queued",
        "c1",
    )
    assert run.spec == spec(epochs=9) == store.folder(run_id).spec()
    assert store.run(store.enqueue(spec())).name == "DeepFM on steady"


def test_ids_are_unguessable_and_safe_in_links_and_shells(store: Store) -> None:
    ids = {store.enqueue(spec()) for _ in range(50)}
    assert len(ids) == 50
    assert all(len(run_id) == 16 and run_id.isalnum() and run_id.isascii() for run_id in ids)


@pytest.mark.parametrize("run_id", ["", "..", "../../etc", "nosuchrunnosuchr", "a" * 16 + "/x"])
def test_an_id_that_is_no_runs_is_refused(store: Store, run_id: str) -> None:
    with pytest.raises(RunError, match=r"is not in the store\. Open the list of runs"):
        store.run(run_id)
    if len(run_id) != 16 or not run_id.isalnum():
        with pytest.raises(RunError):
            store.folder(run_id)


def test_two_owners_do_not_see_each_others_runs_but_a_link_opens(store: Store) -> None:
    anns, bobs = store.enqueue(spec(), owner="ann"), store.enqueue(spec(), owner="bob")
    assert [run.id for run in store.runs("ann")] == [anns]
    assert [run.id for run in store.runs("bob")] == [bobs]
    assert [run.id for run in store.runs()] == [bobs, anns]
    assert store.run(bobs).owner == "bob"


def test_the_oldest_queued_run_is_claimed_first_and_positions_say_so(store: Store) -> None:
    first, second, third = (store.enqueue(spec()) for _ in range(3))
    assert [store.position(run_id) for run_id in (first, second, third)] == [1, 2, 3]
    run = claimed(store)
    assert (run.id, run.status, run.worker) == (first, "running", str(ME))
    assert [store.position(run_id) for run_id in (first, second, third)] == [None, 1, 2]
    assert [claimed(store).id, claimed(store).id, store.claims.next(ME)] == [second, third, None]


def test_events_come_back_in_order_and_only_the_new_ones(store: Store) -> None:
    run_id = store.enqueue(spec())
    claimed(store)
    sent = [
        Stage("fitting"),
        Progress(1, 1, 2, 0.5, 10.0),
        EpochDone(1, 0.5, 0.4, None, 1.0, best=True),
        Finished({"a": {"b": 1}}),
    ]
    assert all(store.append_event(run_id, event, ME) for event in sent)
    events = store.events(run_id)
    assert [stored.event for stored in events] == sent
    assert [stored.seq for stored in events] == [1, 2, 3, 4]
    assert sorted(stored.time for stored in events) == [stored.time for stored in events]
    assert store.events(run_id, after_seq=2) == events[2:]
    assert store.events(run_id, kinds=["epoch", "stage"]) == [events[0], events[2]]


def test_the_row_follows_the_events(store: Store) -> None:
    run_id = store.enqueue(spec())
    claimed(store)
    store.append_event(run_id, EpochDone(1, 0.5, 0.4, 0.8, 1.0, best=True))
    store.append_event(run_id, EpochDone(2, 0.5, 0.6, 0.7, 1.0, best=False))
    assert store.run(run_id).summary == {"epochs": 1, "valid": {"auc": 0.8, "logloss": 0.4}}
    store.append_event(run_id, Finished({"test": {"auc": 0.9}}))
    run = store.run(run_id)
    assert (run.status, run.summary, run.ended is not None) == ("finished", {"test": {"auc": 0.9}}, True)


def test_an_ended_run_takes_no_further_event(store: Store) -> None:
    run_id = store.enqueue(spec())
    claimed(store)
    assert store.append_event(run_id, Finished({}))
    assert not store.append_event(run_id, Failed("too late"))
    assert store.run(run_id).status == "finished"
    assert len(store.events(run_id)) == 1


def test_a_worker_that_was_taken_for_lost_can_no_longer_write(store: Store) -> None:
    run_id = store.enqueue(spec())
    gone = ended_process()
    assert store.claims.next(gone) is not None
    store.resume(run_id)
    claimed(store)
    assert not store.append_event(run_id, Failed("from the dead"), gone)
    assert not store.claims.beat(run_id, gone)
    assert store.claims.must_stop(run_id, gone)
    assert not store.claims.must_stop(run_id, ME)
    assert store.run(run_id).state == "running"


def test_a_run_is_lost_when_its_process_ended_or_its_heartbeat_is_old(store: Store) -> None:
    store.enqueue(spec())
    run = claimed(store)
    assert run.state == "running"
    assert replace(run, worker=str(ended_process())).state == "lost"
    assert replace(run, worker=str(ELSEWHERE)).state == "running"
    assert replace(run, heartbeat=time.time() - STALE_SECONDS - 1).state == "lost"
    assert replace(run, worker=str(replace(ME, born=ME.born - 1))).state == "lost"
    assert store.run(run.id).status == "running"


def test_a_process_that_waits_to_be_collected_is_not_alive() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = Process.of(child.pid)
    assert process.alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not collected
    alive = process.alive()
    child.wait()
    assert not alive
    assert Process.parse(str(process)) == process


def test_a_queued_run_is_cancelled_at_once_and_a_running_one_is_asked_to_stop(store: Store) -> None:
    running, queued = store.enqueue(spec()), store.enqueue(spec())
    claimed(store)
    store.request_cancel(queued)
    store.request_cancel(running)
    assert store.run(queued).state == "cancelled"
    assert store.run(running).state == "running"
    assert store.claims.must_stop(running, ME)
    assert store.claims.next(ME) is None
    store.append_event(running, Cancelled(0), ME)
    store.request_cancel(running)
    assert store.run(running).state == "cancelled"


def test_a_lost_run_is_cancelled_at_once(store: Store) -> None:
    run_id = store.enqueue(spec())
    store.claims.next(ended_process())
    store.request_cancel(run_id)
    assert store.run(run_id).status == "cancelled"


@pytest.mark.parametrize("ending", [Failed("The loss is not a number."), Cancelled(2)])
def test_what_ended_badly_can_be_resumed_and_keeps_its_events(store: Store, ending: Failed | Cancelled) -> None:
    run_id = store.enqueue(spec())
    claimed(store)
    store.request_cancel(run_id)
    store.append_event(run_id, ending)
    store.resume(run_id)
    run = store.run(run_id)
    assert (run.status, run.message, run.ended) == ("queued", None, None)
    assert not claimed(store).cancel_requested
    assert [stored.event for stored in store.events(run_id)] == [ending]


def test_a_run_that_is_queued_running_or_finished_cannot_be_resumed(store: Store) -> None:
    run_id = store.enqueue(spec(), name="First")
    with pytest.raises(RunError, match=r"Run `First` is queued\. Only a lost, failed or cancelled run"):
        store.resume(run_id)
    claimed(store)
    with pytest.raises(RunError, match="is running"):
        store.resume(run_id)
    store.append_event(run_id, Finished({}))
    with pytest.raises(RunError, match="is finished"):
        store.resume(run_id)


def test_a_run_left_by_its_worker_goes_back_to_its_place_in_the_queue(store: Store) -> None:
    first, second = store.enqueue(spec()), store.enqueue(spec())
    claimed(store)
    store.claims.give_back(ME)
    assert [store.position(first), store.position(second)] == [1, 2]


def test_names_and_notes_are_kept(store: Store) -> None:
    run_id = store.enqueue(spec())
    store.rename(run_id, "Best so far")
    store.set_notes(run_id, "higher dropout 'helps'")
    assert (store.run(run_id).name, store.run(run_id).notes) == ("Best so far", "higher dropout 'helps'")
    with pytest.raises(RunError):
        store.rename("nosuchrunnosuchr", "x")


def test_a_deleted_run_can_be_restored_with_all_it_had(store: Store) -> None:
    run_id = store.enqueue(spec(), owner="ann")
    claimed(store)
    store.append_event(run_id, Finished({"test": {}}))
    store.folder(run_id).write_summary({"test": {}})
    store.delete(run_id)
    assert store.runs("ann") == []
    with pytest.raises(RunError, match="restore it if you deleted it"):
        store.run(run_id)
    store.purge()
    restored = store.restore(run_id)
    assert restored.state == "finished"
    assert store.runs("ann") == [restored]
    assert store.folder(run_id).summary() == {"test": {}}
    assert len(store.events(run_id)) == 1


def test_purge_removes_row_events_and_folder_for_good(store: Store) -> None:
    run_id = store.enqueue(spec())
    claimed(store)
    store.append_event(run_id, Finished({}))
    store.delete(run_id)
    store.purge(older_than=-1)
    assert not store.folder(run_id).path.exists()
    assert store.events(run_id) == []
    with pytest.raises(RunError):
        store.restore(run_id)


def test_a_running_run_is_not_deleted_a_lost_one_is_and_a_queued_one_is_cancelled(store: Store) -> None:
    running, lost, queued = (store.enqueue(spec()) for _ in range(3))
    claimed(store)
    store.claims.next(ended_process())
    with pytest.raises(RunError, match=r"is running\. Cancel it first"):
        store.delete(running)
    store.delete(lost)
    store.delete(queued)
    assert store.claims.next(ME) is None
    assert store.restore(queued).state == store.restore(lost).state == "cancelled"


def test_who_changes_a_run_that_changed_meanwhile_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = store.enqueue(spec())
    seen_queued = store.run(run_id)
    claimed(store)
    monkeypatch.setattr(store, "run", lambda _: seen_queued)
    with pytest.raises(RunError, match="has changed in this moment"):
        store.request_cancel(run_id)


_CLAIMS = """
import sys
from pathlib import Path
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.tables.table import FOUND, Choices
store, me = Store(Path(sys.argv[1])), Process.current()
print("ready", flush=True)
sys.stdin.readline()
while run := store.claims.next(me):
    print(run.id, flush=True)
"""


@pytest.mark.slow
def test_four_processes_that_create_the_store_at_once_claim_every_run_exactly_once(
    tmp_path: Path, database: str
) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-c", _CLAIMS, str(home)]
    claimers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for claimer in claimers:
        assert claimer.stdout is not None
        assert claimer.stdout.readline() == "ready\n"
    store = Store(home)
    ids = [store.enqueue(spec()) for _ in range(60)]
    for claimer in claimers:
        assert claimer.stdin is not None
        claimer.stdin.write("go\n")
        claimer.stdin.flush()
    claims = [run_id for claimer in claimers for run_id in claimer.communicate(timeout=60)[0].split()]
    assert all(claimer.returncode == 0 for claimer in claimers)
    assert sorted(claims) == sorted(ids)


def test_a_database_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    old = "CREATE TABLE runs (id TEXT PRIMARY KEY);"
    steps = {
        1: "ALTER TABLE runs ADD COLUMN name TEXT NOT NULL DEFAULT 'unnamed';",
        2: "ALTER TABLE runs ADD COLUMN notes TEXT;\nUPDATE runs SET notes = 'a; b';",
    }
    first = Database(path, schema=old, version=1, migrations={})
    with first.write() as connection:
        connection.execute("INSERT INTO runs VALUES ('r1')")
    first.close()
    newest = "CREATE TABLE runs (id TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT 'unnamed', notes TEXT);"
    row = Database(path, schema=newest, version=3, migrations=steps).row("SELECT * FROM runs")
    assert row is not None
    assert tuple(row) == ("r1", "unnamed", "a; b")
    with pytest.raises(RunError, match=r"has version 3, this program knows 2. Update the program"):
        Database(path, schema=newest, version=2, migrations=steps)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    Database(path, schema="CREATE TABLE runs (id TEXT);", version=1, migrations={}).close()
    broken = {1: "ALTER TABLE runs ADD COLUMN name TEXT;\nALTER TABLE no_such_table ADD COLUMN name TEXT;"}
    with pytest.raises(RunError):
        Database(path, schema="", version=2, migrations=broken)
    columns = Database(path, schema="", version=1, migrations={}).rows("PRAGMA table_info(runs)")
    assert [column["name"] for column in columns] == ["id"]


def test_every_earlier_version_has_its_migration() -> None:
    from deepfm_core.store.database import MIGRATIONS

    assert sorted(MIGRATIONS) == list(range(1, VERSION))
    assert SCHEMA.count("CREATE TABLE") == 8


def test_a_store_of_the_first_version_gets_what_later_ones_need(tmp_path: Path) -> None:
    first = """CREATE TABLE runs (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL, status TEXT NOT NULL, spec TEXT NOT NULL,
        summary TEXT, notes TEXT NOT NULL DEFAULT '', message TEXT, comparison TEXT, created REAL NOT NULL,
        queued REAL NOT NULL, started REAL, ended REAL, heartbeat REAL, worker TEXT,
        cancel_requested INTEGER NOT NULL DEFAULT 0, deleted REAL);
    CREATE TABLE workers (
        worker TEXT PRIMARY KEY, started REAL NOT NULL, heartbeat REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('starting', 'idle', 'busy')));"""
    Database(tmp_path / "old.db", schema=first, version=1, migrations={}).close()

    def columns(path: Path, table: str) -> set[tuple[str, str, int]]:
        rows = Database(path).rows(f"PRAGMA table_info({table})")
        return {(row["name"], row["type"], row["notnull"]) for row in rows}

    for table in ("runs", "comparisons", "workers", "questions", "question_turns"):
        assert columns(tmp_path / "old.db", table) == columns(tmp_path / "new.db", table)


def test_a_file_that_is_no_database_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"not a database at all, but long enough to look" * 100)
    with pytest.raises(RunError, match=r"not a database\. Nothing was changed\."):
        Store(tmp_path)


def test_a_home_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"file/home.*Check free space and permissions"):
        Store(tmp_path / "file" / "home")


def test_the_store_stands_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_HOME", str(tmp_path / "elsewhere"))
    assert Store.default().home == tmp_path / "elsewhere"
    monkeypatch.delenv("DEEPFM_HOME")
    from deepfm_core.store.store import default_home

    assert default_home() == Path(__file__).resolve().parents[2] / ".deepfm"


def test_a_write_that_was_cut_off_by_a_signal_is_undone_and_the_next_one_goes_through(store: Store) -> None:
    run_id = store.enqueue(spec())
    cut_off = store.database.write()
    cut_off.__enter__().execute("UPDATE runs SET name = 'half done'")
    store.set_notes(run_id, "kept")
    assert (store.run(run_id).name, store.run(run_id).notes) == ("DeepFM on steady", "kept")


def test_a_reader_is_not_held_up_by_a_writer(store: Store, other_writer: Database) -> None:
    run_id = store.enqueue(spec())
    with other_writer.write() as connection:
        connection.execute("UPDATE runs SET name = 'being written'")
        assert store.run(run_id).name == "DeepFM on steady"
    assert store.run(run_id).name == "being written"


def test_runs_that_could_not_be_entered_leave_no_folder(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    end = store.database._engine.end

    def full(word: str) -> None:
        if word == "COMMIT":
            raise RunError("the disk is full")
        end(word)

    monkeypatch.setattr(store.database._engine, "end", full)
    for attempt in (
        lambda: store.enqueue(spec()),
        lambda: store.comparisons.begin("two", "ann", "models", {}, [NewRun(spec(), "", "ann")] * 2),
    ):
        with pytest.raises(RunError, match="the disk is full"):
            attempt()
    assert list((store.home / "runs").iterdir()) == []


CSV = b"click,hour\n1,08\n0,09\n1,?\n"


def test_a_table_comes_back_as_it_was_read(store: Store) -> None:
    entry = store.import_table(CSV, "clicks.csv", owner="ann")
    assert (entry.name, entry.rows, entry.bytes, entry.sha256) == ("clicks.csv", 3, len(CSV), sha256(CSV).hexdigest())
    table = store.table(entry.sha256, owner="ann")
    assert table.name == "clicks.csv"
    assert table.frame.astype(str).to_numpy().tolist() == [["1", "08"], ["0", "09"], ["1", "?"]]
    assert (table.report.rows, table.report.delimiter) == (3, ",")
    assert (store.home / "tables" / entry.sha256 / "original").read_bytes() == CSV


def test_a_file_and_its_bytes_are_the_same_table(store: Store, tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_bytes(CSV)
    assert store.import_table(tmp_path / "clicks.csv", "a").sha256 == store.import_table(CSV, "b").sha256
    assert [entry.name for entry in store.tables()] == ["b"]


def test_the_same_bytes_read_otherwise_are_another_table(store: Store) -> None:
    found = store.import_table(CSV, "clicks.csv")
    assert store.import_table(CSV, "clicks.csv", choices=FOUND).sha256 == found.sha256 == sha256(CSV).hexdigest()
    headless = Choices(header=False)
    entry = store.import_table(store.original(found.sha256), "clicks.csv", choices=headless)
    assert (entry.rows, entry.sha256 == found.sha256) == (found.rows + 1, False)
    table = Store(store.home).table(entry.sha256)
    assert (len(table), table.report.choices) == (found.rows + 1, headless)
    assert store.table(found.sha256).report.choices == FOUND
    with pytest.raises(RunError, match="not in the store"):
        store.original("0" * 64)


def test_two_owners_of_the_same_content_have_one_file_and_names_of_their_own(store: Store) -> None:
    sha = store.import_table(CSV, "anns secret.csv", owner="ann").sha256
    store.import_table(CSV, "bobs.csv", owner="bob")
    assert os.listdir(store.home / "tables") == [sha]
    assert [entry.name for entry in store.tables("ann")] == ["anns secret.csv"]
    assert store.table(sha, owner="bob").name == "bobs.csv"
    assert store.table(sha, owner="carl").name == f"table {sha[:8]}"
    store.delete_table(sha, owner="ann")
    assert store.tables("ann") == []
    assert len(store.tables("bob")) == 1
    with pytest.raises(RunError, match=r"is not in the store\. Upload it again"):
        store.table_entry(sha, owner="ann")
    assert store.restore_table(sha, owner="ann").name == "anns secret.csv"


def test_a_file_that_cannot_be_read_leaves_nothing_behind(store: Store) -> None:
    with pytest.raises(TableError, match=r"broken\.csv"):
        store.import_table(b"only\nA\n", "broken.csv")
    assert store.tables() == []
    assert os.listdir(store.home / "tables") == []


def test_a_tables_content_goes_when_no_entry_and_no_run_needs_it(store: Store) -> None:
    sha = store.import_table(CSV, "clicks.csv").sha256
    run_id = store.enqueue(replace(spec(), test_table=sha))
    store.delete_table(sha)
    store.purge(older_than=-1)
    assert len(store.table(sha)) == 3
    store.delete(run_id)
    store.purge(older_than=-1)
    assert os.listdir(store.home / "tables") == []
    with pytest.raises(RunError, match="is not in the store"):
        store.table(sha)


def test_a_name_that_is_no_sha256_reaches_no_file(store: Store) -> None:
    with pytest.raises(RunError, match="is not in the store"):
        store.table("../../../etc/passwd")


_IMPORTS = """
import sys
from pathlib import Path
from deepfm_core.store.store import Store
from deepfm_core.tables.table import FOUND, Choices
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(store.import_table(Path(sys.argv[2]), "clicks.csv", owner=sys.argv[3]).rows)
"""


@pytest.mark.slow
def test_four_processes_that_bring_the_same_file_at_once_keep_it_once(tmp_path: Path, database: str) -> None:
    (tmp_path / "clicks.csv").write_bytes(CSV)
    home = tmp_path / "home"
    importers = [
        subprocess.Popen(
            [sys.executable, "-c", _IMPORTS, str(home), str(tmp_path / "clicks.csv"), f"owner {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for importer in importers:
        assert importer.stdout is not None
        assert importer.stdout.readline() == "ready\n"
    assert [importer.communicate("go\n", timeout=60)[0] for importer in importers] == ["3\n"] * 4
    assert os.listdir(home / "tables") == [sha256(CSV).hexdigest()]
    assert len(Store(home).tables()) == 4
