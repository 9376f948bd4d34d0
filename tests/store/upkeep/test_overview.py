"""What an operator sees of a store: its queue, owners, workers and disk, what is not well, and the log."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from deepfm_core import _log
from deepfm_core._log import short
from deepfm_core.spec.events import Finished
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.store.upkeep import overview as looks
from deepfm_core.store.upkeep.overview import overview, problems
from tests.small_engine import spec

ME = Process.current()
CSV = b"click,hour\n1,08\n0,09\n1,?\n"
ANN, BOB = "a" * 32, "b" * 32


@pytest.fixture
def store(tmp_path: Path, database: str) -> Iterator[Store]:
    with closing(Store(tmp_path / "home")) as store:
        yield store


def test_the_overview_counts_what_each_owner_has_and_names_nobody(store: Store) -> None:
    store.import_table(CSV, "secret name", ANN)
    mine, theirs = store.enqueue(spec(), owner=ANN), store.enqueue(spec(), owner=BOB)
    waiting = store.enqueue(spec(), owner=ANN)
    claimed = store.claims.next(ME)
    assert claimed is not None
    store.workers.beat(ME, "busy")
    state = overview(store)
    files = {run: sum(path.stat().st_size for path in store.folder(run).path.rglob("*")) for run in (mine, waiting)}
    ann = next(owner for owner in state.owners if owner.owner == short(ANN))
    assert (ann.tables, ann.runs, ann.run_bytes) == (1, 2, sum(files.values()))
    assert ann.table_bytes + ann.run_bytes == store.use(ANN).bytes
    assert sum(owner.waiting for owner in state.owners) == 2
    assert [(line.place, line.run) for line in state.queue] == [
        (0, short(claimed.id)),
        *((store.position(run), short(run)) for run in (theirs, waiting)),
    ]
    [worker] = state.workers
    assert (worker.pid, worker.state, worker.alive) == (os.getpid(), "busy", True)
    assert worker.memory > 10**6
    assert state.folders["runs"] >= sum(files.values())
    assert not any(secret in repr(state) for secret in (ANN, BOB, mine, theirs, "secret name"))


def test_a_store_that_is_well_has_no_problems_and_each_fault_is_a_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(problems(store)) == []
    store.enqueue(spec())
    assert list(problems(store)) == [
        "1 run is waiting, but no worker is running. Open a page of the app, which starts one, or read worker.log."
    ]
    store.workers.beat(ME, "busy")
    assert list(problems(store)) == []
    store.database.change("UPDATE workers SET heartbeat = ?", (time.time() - 100,))
    assert "has said nothing for 100 seconds" in "".join(problems(store))
    monkeypatch.setattr(looks, "LEAST_FREE", 1 << 60)
    assert "of disk are free. Free some" in "".join(problems(store))


def test_an_operator_hears_of_a_store_that_has_nearly_all_it_may_take(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_STORE_MB", "2")
    (store.home / "tables").mkdir()
    (store.home / "tables" / "large").write_bytes(b"x" * 1_900_000)
    assert overview(store).notes == []  # a personal store takes what it needs
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    state = overview(store)
    assert (state.room.most, state.problems) == (2_000_000, [])
    [note] = state.notes
    assert note.startswith("The store takes 2 MB of 2 MB. At the limit, visitors can add nothing.")


def test_health_of_a_store_that_is_nearly_full_is_a_note_and_no_reason_to_start_the_server_again(
    command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setenv("DEEPFM_STORE_MB", "1")
    with closing(Store(home)) as store:
        store.import_table(CSV, "t.csv")
    (home / "tables" / "large").write_bytes(b"x" * 2_000_000)
    done = command("health")
    assert done.returncode == 0
    said = re.match(r"note: The store takes (\d+) MB of 1 MB\. At the limit, visitors can add nothing\.", done.stdout)
    assert said is not None
    assert int(said[1]) >= 2  # other tests of this process may have left something there, too
    assert done.stdout.endswith(f"Store `{home}` is well.\n")


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/_stcore/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_health_ends_with_0_where_all_is_well_and_with_1_and_a_line_otherwise(command, home: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        done = command("health", "--server", url)
        assert (done.returncode, done.stdout) == (0, f"Store `{home}` is well.\n")
        server.shutdown()
    done = command("health", "--server", url)
    assert done.returncode == 1
    assert done.stdout.startswith(f"problem: The server does not answer at {url}/_stcore/health (")
    for address in ("nonsense", "http://a b", "http://127.0.0.1:port"):
        done = command("health", "--server", address)
        assert (done.returncode, done.stderr) == (1, "")
        assert f"The server does not answer at {address}/_stcore/health (" in done.stdout


def test_health_of_a_damaged_store_is_a_line(command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfm_core.cli.store.default_home", lambda: home / "damaged")
    (home / "damaged" / "runs" / "x").mkdir(parents=True)
    done = command("health")
    assert (done.returncode, done.stderr) == (1, "")
    assert "the file is gone, but tables or runs stand beside it" in done.stdout


SCRIPT = """
import sys
from pathlib import Path
from deepfm_core import _log
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import perform
from tests.small_engine import spec
def broken(job, context):
    raise ValueError("the cell 4711 of ann")
    yield
store, me = Store(Path(sys.argv[1])), Process.current()
store.import_table(b"click,hour\\n1,4711\\n0,09\\n1,?\\n", "secret name", "a" * 32)
print(store.enqueue(spec(), "another name", "a" * 32))
list(perform(store, store.claims.next(me), broken, me))
"""


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["json", ""])
def test_the_log_says_what_happens_and_no_secret_name_or_cell(tmp_path: Path, setting: str) -> None:
    environment = {**os.environ, "DEEPFM_LOG": setting}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    if not setting:
        assert done.stderr == ""
        return
    run, lines = done.stdout.strip(), [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["table kept", "run queued", "run started", "run broke", "run ended"]
    assert {line["owner"] for line in lines if "owner" in line} == {short(ANN)}
    assert {line["run"] for line in lines if "run" in line} == {short(run)}
    assert (lines[0]["rows"], lines[3]["error"], lines[4]["how"]) == (3, "ValueError", "failed")
    assert lines[3]["at"][-1].endswith("broken")
    for secret in (ANN, run, "secret name", "another name", "4711"):
        assert secret not in done.stderr


def test_the_log_has_one_handler_however_often_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("deepfm")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setenv("DEEPFM_LOG", "json")
    _log.note("one")
    _log.note("two", rows=3)
    assert len(logger.handlers) == 1


def test_an_ended_run_leaves_the_queue_of_the_overview(store: Store) -> None:
    run = store.enqueue(spec())
    store.claims.next(ME)
    store.append_event(run, Finished({}), ME)
    assert overview(store).queue == []


def test_a_file_that_goes_while_it_is_looked_at_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"1234")
    assert [looks._size(tmp_path / name) for name in ("log", "gone", ".")] == [4, 0, 0]
