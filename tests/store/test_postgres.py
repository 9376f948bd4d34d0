"""PostgreSQL as the store's database: what happens with its server, and the ways from and to SQLite."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp

import pytest

from deepfm_core.errors import DamagedStore, RunError
from deepfm_core.spec.events import Failed
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.store.upkeep.backup import backup, restore
from deepfm_core.store.upkeep.check import check
from tests.conftest import ROOT
from tests.small_engine import spec
from tests.store.conftest import Cluster
from tests.waiting import wait

ME = Process.current()
CSV = b"click,hour\n1,08\n0,09\n1,?\n"


@pytest.fixture
def url(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> str:
    url = cluster.fresh_url()
    monkeypatch.setenv("DEEPFM_DATABASE", url)
    return url


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "home")) as store:
        yield store


def filled(store: Store) -> None:
    store.import_table(CSV, "clicks.csv", "ann")
    for name in ("first", "50% :off? 'quoted'"):
        store.enqueue(spec(), name, "ann")
    run = store.claims.next(ME)
    assert run is not None
    store.append_event(run.id, Failed("it broke"), ME)


def test_a_backup_from_a_server_is_a_store_of_sqlite_and_goes_back_to_a_server(
    store: Store, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store)
    assert backup(store.home, tmp_path / "copy").findings == []
    with closing(Store(tmp_path / "copy", url="")) as copy:
        assert (copy.runs(), copy.tables()) == (store.runs(), store.tables())
    monkeypatch.setenv("DEEPFM_DATABASE", cluster.fresh_url())
    assert restore(tmp_path / "copy", tmp_path / "new").findings == []
    assert not (tmp_path / "new" / "runs.db").exists()
    with closing(Store(tmp_path / "new")) as after:
        assert (after.runs(), after.tables()) == (store.runs(), store.tables())
        done = next(run for run in after.runs() if run.status == "failed")
        assert [stored.event for stored in after.events(done.id)] == [Failed("it broke")]
        assert after.table(after.tables()[0].sha256).frame.equals(store.table(store.tables()[0].sha256).frame)
    with pytest.raises(RunError, match="holds something already"):
        restore(tmp_path / "copy", tmp_path / "another")


def test_an_empty_database_beside_tables_and_runs_is_refused_and_can_be_filled_from_them(
    store: Store, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store)
    known = {run.id for run in store.runs()}
    monkeypatch.setenv("DEEPFM_DATABASE", cluster.fresh_url())
    with pytest.raises(DamagedStore, match=r"it lists nothing, but tables or runs stand in"):
        Store(store.home)
    report = check(store.home, repair=True)
    assert report.left == []
    with closing(Store(store.home)) as again:
        assert {run.id for run in again.runs()} == known
        assert [entry.owner for entry in again.tables()] == ["local"]


def test_a_server_that_was_started_again_is_found_again(cluster: Cluster, store: Store) -> None:
    run = store.enqueue(spec(), "kept")
    cluster.stop()
    try:
        with pytest.raises(RunError, match=r"Check that the database's server runs"):
            store.set_notes(run, "while it is away")
        with pytest.raises(RunError, match=r"Check that the database's server runs"):
            store.run(run)
    finally:
        cluster.start()
    assert store.run(run).name == "kept"
    store.set_notes(run, "back")
    assert store.run(run).notes == "back"


def test_a_connection_that_is_lost_within_a_change_undoes_all_of_it(store: Store) -> None:
    run = store.enqueue(spec(), "before")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state <> 'active'"
    with closing(Store(store.home)) as other:

        def change_and_lose() -> None:
            with store.database.write() as connection:
                connection.execute("UPDATE runs SET name = 'after'")
                other.database.rows(end)
                connection.execute("UPDATE runs SET notes = 'after'")

        with pytest.raises(RunError, match=r"Check that the database's server runs"):
            change_and_lose()
    assert (store.run(run).name, store.run(run).notes) == ("before", "")


def test_of_many_who_write_at_once_none_undoes_another(store: Store) -> None:
    store.enqueue(spec(), "0")

    def count_up() -> None:
        with closing(Store(store.home)) as mine:
            for _ in range(20):
                with mine.database.write() as connection:
                    [row] = connection.execute("SELECT name FROM runs").fetchall()
                    connection.execute("UPDATE runs SET name = ?", (str(int(row["name"]) + 1),))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.runs()[0].name == "80"


def test_a_name_comes_back_whatever_it_holds(store: Store) -> None:
    for name in ("50% off", "a:name ?", "it's", "ünïcode 🔷", "%(id)s %s", "back\\slash"):
        assert store.run(store.enqueue(spec(), name)).name == name
    assert store.run(store.enqueue(spec(), "no\0pe")).name == "no\ufffdpe"  # PostgreSQL keeps no such character


def test_a_message_names_the_server_and_no_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(RunError) as said:
        Store(tmp_path, url="postgresql://deepfm:geheim@127.0.0.1:1/deepfm?connect_timeout=2")
    assert "postgresql://127.0.0.1/deepfm" in str(said.value)
    assert "geheim" not in str(said.value)


def test_a_url_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_DATABASE", "mysql://host/name")
    with pytest.raises(RunError, match=r"is no URL that begins with postgresql://\. Leave it out for SQLite\."):
        Store(tmp_path)


def test_without_the_package_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "deepfm_core.store.postgres", raising=False)
    with pytest.raises(RunError, match=r"needs the package psycopg\. Install it with `pip install"):
        Store(tmp_path, url="postgresql://host/name")


def test_sqlite_imports_nothing_of_it(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from deepfm_core.store.store import Store; Store(Path(sys.argv[1]));"
    code += "sys.exit('psycopg' in sys.modules or 'deepfm_core.store.postgres' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


@pytest.mark.slow
def test_tests_that_are_killed_leave_no_server_and_no_folder(programs: Path) -> None:
    code = "import sys; from pathlib import Path; from tests.store.conftest import Cluster;"
    code += "Cluster(*map(Path, sys.argv[1:])); print(flush=True); input()"
    folder = Path(mkdtemp(prefix="pg-"))
    command = [sys.executable, "-c", code, str(programs), str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, start_new_session=True) as tests:
        assert tests.stdout.readline() == b"\n"
        server = Process.of(int((folder / "data" / "postmaster.pid").read_text().split()[0]))
        os.killpg(tests.pid, signal.SIGKILL)
    wait(lambda: not folder.exists())
    assert not server.alive()
