"""What one owner of a shared server may have: turns in the queue, limits, and an age at which things go."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfm_core.errors import RunError, TableError
from deepfm_core.spec.events import Finished
from deepfm_core.store import limits, records
from deepfm_core.store.groups import MODELS
from deepfm_core.store.limits import SETTINGS, SHARED, Limits, Use, data_roots
from deepfm_core.store.process import Process
from deepfm_core.store.query import OBSERVED, Question
from deepfm_core.store.records import MOST_NAME, NewRun
from deepfm_core.store.run_queue import LABELS, WorkerRegister
from deepfm_core.store.store import LOCAL, Store
from deepfm_core.tables.table import Choices
from deepfm_core.workers import lane, worker
from tests.small_engine import spec

ME = Process.current()
CSV = b"click,hour\n1,08\n0,09\n1,?\n"


@pytest.fixture
def shared(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    with closing(Store(tmp_path)) as store:
        yield store


def served(store: Store) -> str:
    run = store.claims.next(ME)
    assert run is not None
    store.append_event(run.id, Finished({}), ME)
    return run.owner


def test_a_visitor_with_one_run_waits_for_at_most_one_run_of_a_visitor_with_many(tmp_path: Path, database: str) -> None:
    with closing(Store(tmp_path)) as store:
        for _ in range(50):
            store.enqueue(spec(), owner="ann")
        assert [served(store) for _ in range(3)] == ["ann"] * 3
        store.claims.next(ME)  # ann's run is at work when bob comes
        bobs = store.enqueue(spec(), owner="bob")
        assert store.position(bobs) == 1
        assert [served(store) for _ in range(3)] == ["bob", "ann", "ann"]
        store.enqueue(spec(), owner="bob")
        assert served(store) == "bob"


def test_owners_take_turns_also_with_studies_and_places_say_so(tmp_path: Path, database: str) -> None:
    with closing(Store(tmp_path)) as store:
        store.comparisons.begin("study", "ann", MODELS, {}, [NewRun(spec(), "", "ann") for _ in range(3)])
        for _ in range(3):
            store.enqueue(spec(), owner="bob")
        places = {store.position(run.id): run.owner for run in store.runs()}
        order = [places[place] for place in range(1, 7)]
        assert order == ["bob", "ann", "bob", "ann", "bob", "ann"]
        assert [served(store) for _ in range(6)] == order


def test_a_personal_store_has_no_limits_and_a_shared_one_has_those_of_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Limits.of_environment() == Limits()
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    assert Limits.of_environment() == SHARED
    monkeypatch.setenv("DEEPFM_OWNER_TABLES", "0")
    monkeypatch.setenv("DEEPFM_KEEP_DAYS", "7")
    assert Limits.of_environment() == replace(SHARED, tables=None, days=7)
    for name in SETTINGS.values():
        monkeypatch.setenv(name, "many")
        with pytest.raises(RunError, match=r"is `many`\. Use a whole number"):
            Limits.of_environment()
        monkeypatch.delenv(name)


def test_a_refusal_names_limit_value_and_remedy(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_QUEUED", "2")
    monkeypatch.setenv("DEEPFM_OWNER_TABLES", "1")
    shared.enqueue(spec(), owner="ann")
    with pytest.raises(RunError, match=r"You have 1 run waiting\. With these 2 .* limit of 2\. Wait until"):
        shared.comparisons.begin("two", "ann", MODELS, {}, [NewRun(spec(), "", "ann")] * 2)
    assert len(shared.runs()) == 1
    assert len(list((shared.home / "runs").iterdir())) == 1
    last = shared.enqueue(spec(), owner="ann")
    with pytest.raises(RunError, match="With this one"):
        shared.enqueue(spec(), owner="ann")
    shared.request_cancel(last)
    shared.enqueue(spec(), owner="ann")
    with pytest.raises(RunError, match="With this one"):
        shared.resume(last)
    shared.enqueue(spec(), owner="bob")
    for _ in range(3):
        shared.enqueue(spec(), owner=LOCAL)

    shared.import_table(CSV, "a.csv", "ann")
    with pytest.raises(RunError, match=r"You have 1 table\. The limit is 1\. Remove one on Data"):
        shared.import_table(CSV + b"0,10\n", "b.csv", "ann")
    assert shared.import_table(CSV, "again.csv", "ann").name == "again.csv"


@pytest.mark.parametrize("text", ["many", "-1", "²", "9" * 5000])
def test_a_limit_that_is_no_number_is_refused(text: str, shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_TABLES", text)
    with pytest.raises(RunError, match=rf"DEEPFM_OWNER_TABLES is `{text}`\. Use a whole number; 0 is no limit"):
        shared.import_table(CSV, "a.csv", "ann")


def test_what_was_deleted_counts_towards_twice_the_bytes(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_MB", "1")

    def bring(letter: str) -> str:
        return shared.import_table(b"click,text\n1," + letter.encode() * 600_000 + b"\n0,b\n", "t.csv", "ann").sha256

    for letter in "xyz":
        shared.delete_table(bring(letter), "ann")
    with pytest.raises(RunError, match=r"With what you deleted you use 1\.8 MB of 2 MB\. What is deleted is kept for"):
        bring("w")
    assert shared.use("ann").bytes == 0
    shared.delete_all("ann")
    bring("w")


def test_bytes_of_tables_and_runs_are_limited(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_MB", "1")
    big = CSV + b"1,12\n" * 150_000
    entry = shared.import_table(big, "a.csv", "ann")
    assert len(big) < shared.use("ann").bytes < len(big) + 5_000
    with pytest.raises(RunError, match=r"The table takes 0\.8 MB, and you use 0\.8 MB of 1 MB\. Remove a table"):
        shared.import_table(big + b"0,1\n", "b.csv", "ann")
    run = shared.enqueue(spec(), owner="ann")
    (shared.folder(run).path / "model.safetensors").write_bytes(b"x" * 600_000)
    with pytest.raises(RunError, match=r"You use 1\.4 MB, and the limit is 1 MB\. Delete runs"):
        shared.enqueue(spec(), owner="ann")
    shared.delete_table(entry.sha256, "ann")
    shared.enqueue(spec(), owner="ann")


def swelling(rows: int = 20) -> bytes:
    """Give a small Parquet file whose cells take megabytes wherever each is written for itself."""
    text = random.Random(rows).randbytes(60_000).hex()
    cells = [text[place:] + text[:place] for place in range(rows)]
    stream = io.BytesIO()
    table = pa.table({"text": cells, "click": ["0", "1"] * (rows // 2)})
    pq.write_table(table, stream, compression="zstd", compression_level=19, use_dictionary=False)
    return stream.getvalue()


def test_a_table_counts_by_what_is_kept_of_it_and_not_by_what_came(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_MB", "3")
    small = swelling()
    assert len(small) < 200_000
    sha = shared.import_table(small, "a.parquet", "ann").sha256
    assert 2_400_000 < shared.use("ann").bytes < 3_000_000
    with pytest.raises(RunError, match=r"The table takes 2\.\d MB, and you use \d\.\d MB of 3 MB"):
        shared.import_table(swelling(22), "b.parquet", "ann")
    assert [path.name for path in (shared.home / "tables").iterdir()] == [sha]  # nothing is left of the refused one
    shared.import_table(small, "b.parquet", "bob")
    assert shared.use("bob").bytes == shared.use("ann").bytes
    for rows in (18, 16):
        shared.delete_table(shared.tables("ann")[0].sha256, "ann")
        with nullcontext() if rows == 18 else pytest.raises(RunError, match="With what you deleted you use"):
            shared.import_table(swelling(rows), "c.parquet", "ann")


def test_a_table_read_anew_many_times_counts_with_what_it_replaced(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_MB", "1")
    big = CSV + b"1,12\n" * 80_000
    key = shared.import_table(big, "a.csv", "ann").sha256
    for header in (1, 2, 3):
        again = shared.import_table(big, "a.csv", "ann", choices=Choices(header=header), replacing=key).sha256
        shared.delete_table(key, "ann")
        key = again
    with pytest.raises(RunError, match="With what you deleted you use"):
        shared.import_table(big, "a.csv", "ann", choices=Choices(header=4), replacing=key)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a store is measured each time."""
    monkeypatch.setattr(limits, "_AGAIN", 0.0)


def test_all_visitors_together_have_a_limit_and_nobody_loses_what_is_there(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_STORE_MB", "6")
    for number in (18, 20):  # a visitor who drops the cookie is a new owner
        shared.import_table(swelling(number), "a.parquet", f"visitor {number}")
    run = shared.enqueue(spec(), owner="ann")
    full = (
        r"^The table takes [12]\.\d MB\. All visitors together have [45]\.\d MB here, and the limit is 6\.0 MB\."
        r" Nothing that you have is lost\. .* Delete everything of mine, on Runs, does so at once\."
    )
    with pytest.raises(RunError, match=full):
        shared.import_table(swelling(16), "a.parquet", "yet another")
    monkeypatch.setenv("DEEPFM_STORE_MB", "2")
    shared.request_cancel(run)
    for add in (
        lambda: shared.enqueue(spec(), owner="ann"),
        lambda: shared.resume(run),
        lambda: shared.comparisons.begin("two", "ann", MODELS, {}, [NewRun(spec(), "", "ann")] * 2),
    ):
        with pytest.raises(RunError, match=r"^All visitors together have .* MB here, and the limit is 2\.0 MB"):
            add()
    assert [row.id for row in shared.runs()] == [run]
    assert len(shared.tables()) == 2
    assert len(shared.table(shared.tables()[0].sha256)) == 20
    shared.enqueue(spec(), owner=LOCAL)
    monkeypatch.setenv("DEEPFM_STORE_MB", "0")
    shared.resume(run)


@pytest.mark.usefixtures("unmeasured")
def test_a_shared_store_may_take_half_of_its_disk_and_leaves_some_of_it_free(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = shutil.disk_usage(shared.home)
    assert limits.room_of(shared.home).most == disk.total // 2
    monkeypatch.setattr(limits, "LEAST_FREE", disk.total)
    for setting in ("1000", "0"):  # 0 is no limit, but the disk has an end
        monkeypatch.setenv("DEEPFM_STORE_MB", setting)
        with pytest.raises(RunError, match=r"^The table takes 0\.0 MB\. The server's disk has no room for more\. Noth"):
            shared.import_table(CSV, "a.csv", "ann")
    monkeypatch.delenv("DEEPFM_PRIVATE")
    monkeypatch.setenv("DEEPFM_STORE_MB", "1")
    assert limits.room_of(shared.home).most is None
    shared.import_table(CSV, "a.csv", "ann")
    monkeypatch.setenv("DEEPFM_STORE_MB", "much")
    with pytest.raises(RunError, match=r"DEEPFM_STORE_MB is `much`"):
        limits.room_of(shared.home)


def test_a_table_is_counted_at_once_and_once_and_a_refused_one_is_not(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = limits.room_of(shared.home).used
    with pytest.raises(TableError):
        shared.import_table(b"\0" * 5_000_000, "a.csv", "ann")
    assert limits.room_of(shared.home).used == before
    for _ in range(3):
        shared.import_table(swelling(), "a.parquet", "ann")
        assert limits.room_of(shared.home).used == before + shared.use("ann").bytes
    path = shared.home.parent / "gathered.parquet"
    path.write_bytes(swelling(18))
    for _ in range(2):
        shared.gather_table(str(path), "ann")
        assert limits.room_of(shared.home).used == before + shared.use("ann").bytes


def test_processes_measure_a_store_once_a_minute_together_and_none_that_has_no_limit(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[Path] = []
    monkeypatch.setattr(limits, "bytes_of", lambda folder, besides=(): walked.append(folder) or 7)
    monkeypatch.setenv("DEEPFM_STORE_MB", "0")
    assert limits.room_of(shared.home).used is None
    monkeypatch.setenv("DEEPFM_STORE_MB", "9")
    ask = "import sys; from pathlib import Path; from deepfm_core.store.limits import *;"
    ask += "print(room_of(Path(sys.argv[1])).used); count_in(Path(sys.argv[1]), 5)"
    assert (limits.room_of(shared.home).used, len(walked)) == (7, 1)
    for used in (7, 12):
        asked = subprocess.run([sys.executable, "-c", ask, shared.home], capture_output=True, text=True, check=True)
        assert asked.stdout == f"{used}\n"
    assert (limits.room_of(shared.home).used, len(walked)) == (17, 1)
    for damaged in (
        "",
        "x",
        f"{time.time()}",
        "nan 7",
        f"{time.time() + 99} 7",
        f"{time.time() - 61} 7",
        f"{time.time()} 7\n?",
    ):
        (shared.home / "size").write_text(damaged, encoding="utf-8")
        walked.clear()
        assert (limits.room_of(shared.home).used, len(walked)) == (7, 1)


def test_what_is_removed_for_good_makes_room_at_once(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_STORE_MB", "3")
    shared.import_table(swelling(20), "a.parquet", "ann")
    with pytest.raises(RunError, match="Delete everything of mine"):
        shared.import_table(swelling(18), "b.parquet", "bob")
    shared.delete_all("ann")
    shared.import_table(swelling(18), "b.parquet", "bob")


def test_a_visitors_run_waits_while_the_store_is_full_and_begins_once_there_is_room(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes: list[lane.Lane] = []
    monkeypatch.setattr(lane, "work", lambda _store, _name, prepare: lanes.append(prepare(ME)))
    worker.work(shared.home, "tests.small_engine:execute", 0.0)
    visitors, local = shared.enqueue(spec(), owner="ann"), shared.enqueue(spec(), owner=LOCAL)
    monkeypatch.setenv("DEEPFM_STORE_MB", "1")
    (shared.folder(visitors).path / "log").write_bytes(b"x" * 1_100_000)
    shared.purge()
    assert lanes[0].claim() is not None
    assert lanes[0].claim() is None
    assert [shared.run(run).state for run in (visitors, local)] == ["queued", "running"]
    monkeypatch.setenv("DEEPFM_STORE_MB", "2")
    assert lanes[0].claim() is not None
    assert shared.run(visitors).state == "running"


def test_a_run_whose_owner_has_no_room_left_fails_in_a_sentence_and_can_be_resumed(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_MB", "1")
    first, second = (shared.enqueue(spec(), owner="ann") for _ in range(2))
    (shared.folder(first).path / "model.safetensors").write_bytes(b"x" * 1_400_000)  # as the first one leaves it
    shared.database.change("UPDATE runs SET status = 'finished' WHERE id = ?", (first,))
    claimed = shared.claims.next(ME)
    assert claimed is not None
    [ending] = list(lane.perform(shared, claimed, lambda _job, _context: iter([Finished({})]), ME))
    assert "You use 1.4 MB, and the limit is 1 MB." in str(ending)
    assert shared.run(second).state == "failed"
    shared.delete(first)
    shared.resume(second)
    claimed = shared.claims.next(ME)
    assert claimed is not None
    assert list(lane.perform(shared, claimed, lambda _job, _context: iter([Finished({})]), ME)) == [Finished({})]


def test_what_is_older_than_it_is_kept_goes_but_not_what_waits_or_is_local(shared: Store) -> None:
    runs = [shared.enqueue(spec(), owner=owner) for owner in ("ann", "ann", "bob", LOCAL)]
    shared.import_table(CSV, "a.csv", "ann")
    shared.database.change("UPDATE runs SET status = 'finished', ended = 1 WHERE id IN (?, ?)", (runs[0], runs[3]))
    shared.database.change("UPDATE runs SET created = 1, queued = 1")
    shared.database.change("UPDATE tables SET created = 1")
    shared.purge()
    assert {run.id for run in shared.runs()} == set(runs[1:])
    assert shared.tables() == []
    shared.import_table(CSV, "a.csv", "ann")
    shared.purge()
    assert len(shared.tables()) == 1  # uploaded again, it is new
    assert shared.restore(runs[0]).state == "finished"  # for a day, as all that is deleted


def test_all_of_an_owner_is_deleted_and_nothing_of_another(shared: Store) -> None:
    anns = [shared.enqueue(spec(), owner="ann") for _ in range(2)]
    bobs = shared.enqueue(spec(), owner="bob")
    for owner in ("ann", "bob"):
        shared.import_table(CSV, "a.csv", owner)
    anns_own = shared.import_table(CSV + b"0,10\n", "b.csv", "ann").sha256
    shared.comparisons.begin("study", "ann", MODELS, {}, [])
    running = shared.claims.next(ME)
    assert running is not None
    assert running.id == anns[0]
    assert shared.use("ann").tables == 2
    shared.delete_all("ann")
    assert shared.use("ann") == Use(0, 0, 0)
    assert shared.comparisons.all("ann", MODELS) == []
    assert shared.claims.must_stop(running.id, ME)
    assert not shared.folder(anns[1]).path.exists()
    assert not (shared.home / "tables" / anns_own).exists()
    assert [run.id for run in shared.runs()] == [bobs]
    assert [entry.owner for entry in shared.tables()] == ["bob"]
    with pytest.raises(RunError):
        shared.restore(anns[1])
    shared.purge(older_than=24 * 3600 - 120)
    assert not shared.folder(running.id).path.exists()  # once its worker has let go of it


def test_a_table_that_is_read_anew_counts_once(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTINGS["tables"], "1")
    before = shared.import_table(CSV, "a.csv", "ann").sha256
    again = Choices(delimiter=",")
    with pytest.raises(RunError, match="The limit is 1"):
        shared.import_table(CSV, "a.csv", "ann", choices=again)
    assert shared.import_table(CSV, "a.csv", "ann", choices=again, replacing=before).sha256 != before


def test_what_was_deleted_goes_once_every_run_can_be_read(shared: Store) -> None:
    sha, other = shared.import_table(CSV, "a.csv", "ann").sha256, shared.enqueue(spec(), owner="bob")
    shared.database.change("UPDATE runs SET spec = '{' WHERE id = ?", (other,))
    shared.delete_all("ann")
    assert (shared.home / "tables" / sha).exists()  # bob's run may need it
    shared.delete_all("bob")
    shared.purge()
    assert not (shared.home / "tables" / sha).exists()


def hours_later(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600.0)


@pytest.mark.parametrize("hours", [-100 * 24, -48, 12, 48, 100 * 24])
def test_a_clock_that_jumps_takes_nothing_out_of_the_lists_or_the_bin(
    shared: Store, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.tidy()
    sha = shared.import_table(CSV, "clicks.csv", "ann").sha256
    kept, ended, binned = (shared.enqueue(spec(), owner="ann") for _ in range(3))
    shared.delete(binned)
    for run in (kept, ended):
        shared.request_cancel(run)
    with monkeypatch.context() as jumped:
        hours_later(jumped, hours)
        shared.resume(ended)
        shared.request_cancel(ended)
        shared.tidy()
    shared.tidy()
    assert {run.id for run in shared.runs("ann")} == {kept, ended}
    assert [entry.sha256 for entry in shared.tables("ann")] == [sha]
    assert shared.restore(binned).id == binned


def test_a_clock_that_goes_on_empties_the_bin(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.tidy()
    run = shared.enqueue(spec(), owner="ann")
    shared.delete(run)
    for _ in range(25):
        hours_later(monkeypatch, 1)
        shared.tidy()
    assert not shared.database.rows("SELECT 1 FROM runs")


def test_after_a_long_pause_the_second_look_empties_the_bin(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.tidy()
    shared.delete(shared.enqueue(spec(), owner="ann"))
    hours_later(monkeypatch, 24 * 7)
    shared.tidy()
    assert shared.database.rows("SELECT 1 FROM runs")
    for _ in range(2):
        hours_later(monkeypatch, 0.3)
        shared.tidy()
    assert not shared.database.rows("SELECT 1 FROM runs")


def test_short_daily_sessions_empty_the_bin(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker ends after fifteen idle minutes, and each day begins after a pause."""
    clock = [time.time()]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    monkeypatch.setattr(worker, "_now", lambda: clock[0])
    monkeypatch.setattr(worker, "keep_answering", lambda _: None)
    shared.delete(shared.enqueue(spec(), owner="ann"))
    for day in range(1, 4):
        upkeep = worker.Upkeep(shared)
        for _ in range(15):
            upkeep()
            clock[0] += 60.0
        clock[0] += (24 * 60 - 15) * 60.0
        assert len(shared.database.rows("SELECT 1 FROM runs")) == (day == 1)


def asked(store: Store, owner: str, number: int, lane: str = OBSERVED) -> Question:
    return replace(store.questions.of(lane, number=number), owner=owner)


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for questions."""
    monkeypatch.setattr(WorkerRegister, "ensure", lambda _register, _lane: False)


@pytest.mark.usefixtures("no_worker")
def test_a_visitor_may_have_so_many_questions_waiting(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_QUESTIONS", "2")
    first, second, third = (asked(shared, "ann", number) for number in range(3))
    assert not any([first.look().ended, second.look().ended])
    assert shared.use("ann").questions == 2
    assert third.look().problem == ("Your pages wait for 2 answers. The limit is 2. Close some tabs, then try again.")
    assert not first.look().ended  # what was asked before goes on
    for owner in ("bob", LOCAL):
        for number in range(10, 10 + (1 if owner == "bob" else 5)):
            assert not asked(shared, owner, number).look().ended
    assert not replace(first, owner="bob").look().ended  # the same question is one
    shared.questions.fail(first.key, "It broke.")
    assert not third.look().ended  # one that has failed waits no more
    monkeypatch.setattr(limits, "PATIENCE", -1.0)
    assert shared.use("ann").questions == 0  # nor one that nobody looks for


@pytest.mark.usefixtures("no_worker")
def test_owners_take_turns_with_questions(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6, 2 * 10**6))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(limits, "PATIENCE", 1e9)
    for number in range(6):
        asked(shared, "ann", number).look()

    def taken() -> str:
        claimed = shared.questions.next(ME, LABELS)
        assert claimed is not None
        row = shared.database.row("SELECT owner FROM questions WHERE key = ?", (claimed.key,))
        shared.questions.close(claimed.key)
        return str(row and row["owner"])

    assert [taken() for _ in range(3)] == ["ann"] * 3
    for number in range(10, 12):
        asked(shared, "bob", number).look()
    assert [taken() for _ in range(5)] == ["bob", "ann", "bob", "ann", "ann"]
    shared.delete_all("ann")
    assert {row["owner"] for row in shared.database.rows("SELECT owner FROM question_turns")} == {"bob"}


def test_names_and_notes_have_a_length(shared: Store) -> None:
    run = shared.enqueue(spec(), owner="ann")
    with pytest.raises(RunError, match=r"The name has 201 characters\. The most is 200"):
        shared.rename(run, "n" * 201)
    with pytest.raises(RunError, match=r"The note has 10,001 characters"):
        shared.set_notes(run, "n" * 10_001)
    shared.rename(run, "n" * 200)
    assert shared.run(run).name == "n" * 200
    assert len(shared.import_table(CSV, "n" * 999, "ann").name) == 255


def test_names_that_the_program_makes_have_a_length_too(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    long = replace(spec(), table_name="t" * 10_000)
    run = shared.enqueue(long, owner="ann")
    named = shared.enqueue(spec(), "n" * 201, "ann")
    study = shared.comparisons.begin("s" * 10_000, "ann", MODELS, {}, [NewRun(long, "", "ann")])
    for name in (shared.run(run).name, shared.run(named).name, shared.comparisons.of(study).name):
        assert len(name) == MOST_NAME
        assert name.endswith("…")
    assert len(shared.comparisons.runs(study)[0].name) == MOST_NAME


def test_what_is_asked_for_has_a_length(shared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_SPEC", 10_000)
    with pytest.raises(RunError, match=r"The settings take 0\.1 MB\. The most is 0 MB"):
        shared.enqueue(replace(spec(), table_name="t" * 100_000), owner="ann")
    with pytest.raises(RunError, match="The settings take"):
        shared.comparisons.begin("s", "ann", MODELS, {"values": ["1"] * 100_000}, [])
    assert not list((shared.home / "runs").glob("*"))


def test_all_of_one_visitor_goes_and_nothing_else_whatever_the_clock_says(
    shared: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    binned = shared.enqueue(spec(), owner="bob")
    shared.delete(binned)
    shared.enqueue(spec(), owner="ann")
    with monkeypatch.context() as jumped:
        hours_later(jumped, 24 * 200)
        shared.delete_all("ann")
    assert [row["id"] for row in shared.database.rows("SELECT id FROM runs")] == [binned]


def test_the_operator_names_places_with_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_DATA_ROOTS", " /srv/data, s3://bucket/clicks ,")
    assert data_roots() == ("/srv/data", "s3://bucket/clicks")
    monkeypatch.delenv("DEEPFM_DATA_ROOTS")
    assert data_roots() == ()
