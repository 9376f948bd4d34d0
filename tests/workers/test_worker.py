"""The worker as a real process: it takes runs, stays warm, is cancelled, killed, resumed, and ends by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfm_core.errors import RunError
from deepfm_core.runs.job import Context, Job
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Failed, Finished, Progress
from deepfm_core.store.process import Process
from deepfm_core.store.run_queue import LABELS, RUNS
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import perform
from tests.small_engine import BEFORE_GATE, STEPS, open_gate, spec
from tests.waiting import HANGS, wait

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("DEEPFM_ENGINE", "tests.small_engine:execute")
    monkeypatch.delenv("DEEPFM_WORKERS", raising=False)
    store = Store(tmp_path / "home")
    yield store
    for lane in (RUNS, LABELS):
        for pid in worker_pids(store, lane):
            os.kill(pid, signal.SIGKILL)


def worker_pids(store: Store, lane: str = RUNS) -> list[int]:
    rows = store.database.rows("SELECT worker FROM workers WHERE lane = ?", (lane,))
    workers = [Process.parse(row["worker"]) for row in rows]
    return [worker.pid for worker in workers if worker.alive()]


def epochs(store: Store, run_id: str) -> int:
    return sum(isinstance(stored.event, EpochDone) for stored in store.events(run_id))


def test_a_run_is_done_by_a_process_of_its_own_session(store: Store) -> None:
    run_id = store.enqueue(spec(epochs=2))
    assert store.workers.ensure()
    wait(lambda: store.run(run_id).state == "running")
    (pid,) = worker_pids(store)
    assert os.getsid(pid) == pid
    wait(lambda: store.run(run_id).state == "finished")
    kinds = [stored.event.kind for stored in store.events(run_id)]
    assert kinds == ["stage", *(["progress"] * STEPS + ["epoch"]) * 2, "finished"]
    assert store.run(run_id).summary["epochs"] == 2


def test_a_worker_stays_warm_and_takes_the_next_run(store: Store) -> None:
    store.workers.ensure()
    wait(lambda: store.worker_state().warm)
    (pid,) = worker_pids(store)
    run_id = store.enqueue(spec(epochs=1))
    wait(lambda: store.run(run_id).state == "finished")
    assert worker_pids(store) == [pid]
    second = store.enqueue(spec(epochs=1))
    assert not store.workers.ensure()
    wait(lambda: bool(store.events(second)))
    assert worker_pids(store) == [pid]


def test_cancel_takes_effect_before_the_end_and_resume_ends_as_if_never_stopped(store: Store) -> None:
    straight, stopped = store.enqueue(spec(epochs=12)), store.enqueue(spec("gated", epochs=12))
    store.workers.ensure()
    wait(lambda: epochs(store, stopped) == BEFORE_GATE)
    store.request_cancel(stopped)
    wait(lambda: store.run(stopped).state != "running")
    assert store.run(stopped).state == "cancelled"
    assert isinstance(store.events(stopped)[-1].event, Cancelled)
    before = len(store.events(stopped))
    open_gate(store.folder(stopped))
    store.resume(stopped)
    wait(lambda: store.run(stopped).state == "finished")
    again = [stored.event for stored in store.events(stopped, after_seq=before)]
    assert sum(isinstance(event, EpochDone) for event in again) == 12 - BEFORE_GATE
    assert store.run(stopped).summary == store.run(straight).summary


def test_an_engine_that_does_not_listen_is_cancelled_all_the_same_and_the_worker_goes_on(store: Store) -> None:
    run_id = store.enqueue(spec("deaf"))
    store.workers.ensure()
    wait(lambda: bool(store.events(run_id)))
    store.request_cancel(run_id)
    wait(lambda: store.run(run_id).state == "cancelled")
    following = store.enqueue(spec(epochs=1))
    wait(lambda: store.run(following).state == "finished")


def test_a_killed_worker_shows_lost_and_resume_ends_as_if_never_killed(store: Store) -> None:
    straight, killed = store.enqueue(spec(epochs=10)), store.enqueue(spec("gated", epochs=10))
    store.workers.ensure()
    wait(lambda: epochs(store, killed) == BEFORE_GATE)
    (pid,) = worker_pids(store)
    os.kill(pid, signal.SIGKILL)
    wait(lambda: store.run(killed).state == "lost")
    assert store.worker_state().live == 0
    assert store.run(killed).status == "running"
    before = len(store.events(killed))
    open_gate(store.folder(killed))
    store.resume(killed)
    assert store.workers.ensure()
    wait(lambda: store.run(killed).state == "finished")
    first = next(s.event for s in store.events(killed, after_seq=before) if isinstance(s.event, Progress))
    assert first.epoch >= 3
    assert store.run(killed).summary == store.run(straight).summary


def test_a_worker_told_to_end_puts_its_run_back_for_the_next_one(store: Store) -> None:
    run_id = store.enqueue(spec("gated", epochs=10))
    store.workers.ensure()
    wait(lambda: epochs(store, run_id) == BEFORE_GATE)
    (pid,) = worker_pids(store)
    os.kill(pid, signal.SIGTERM)
    wait(lambda: store.run(run_id).state == "queued")
    wait(lambda: not worker_pids(store))
    open_gate(store.folder(run_id))
    assert store.workers.ensure()
    wait(lambda: store.run(run_id).state == "finished")


def test_an_error_of_the_user_is_the_message_and_any_other_is_a_plain_sentence(store: Store) -> None:
    refused, broken, silent = (store.enqueue(spec(name)) for name in ("refused", "broken", "silent"))
    store.workers.ensure()
    wait(lambda: store.run(silent).state == "failed")
    assert store.run(refused).message == "The loss is not a number. Use a lower learning rate."
    message = store.run(broken).message or ""
    assert "worker.log" in message
    assert "secret" not in message
    assert "Traceback" not in message
    assert "a secret of the machine room" in store.folder(broken).log.read_text()
    assert "ended without a result" in (store.run(silent).message or "")
    assert store.events(refused)[-1].event == Failed("The loss is not a number. Use a lower learning rate.")


def test_a_run_that_kills_its_worker_is_lost_and_the_others_go_on(store: Store) -> None:
    fatal, following = store.enqueue(spec("fatal")), store.enqueue(spec(epochs=1))
    store.workers.ensure()
    wait(lambda: store.run(fatal).state == "lost")
    assert store.workers.ensure()
    wait(lambda: store.run(following).state == "finished")


def test_never_more_workers_than_allowed_however_often_one_asks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_WORKERS", "2")
    for _ in range(4):
        store.enqueue(spec("gated", epochs=20))
    assert [store.workers.ensure() for _ in range(5)] == [True, True, False, False, False]
    wait(lambda: store.worker_state().running == 2)
    wait(lambda: store.worker_state().busy == 2)  # a run is claimed before its worker says that it is busy
    assert len(worker_pids(store)) == 2
    state = store.worker_state()
    assert (state.queued, state.busy, state.idle, state.limit) == (2, 2, 0, 2)


def test_one_queued_run_starts_one_worker_even_if_more_are_allowed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_WORKERS", "3")
    store.enqueue(spec())
    assert [store.workers.ensure() for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("text", ["none", "0", "9" * 5000])
def test_a_number_of_workers_that_makes_no_sense_is_refused(
    text: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_WORKERS", text)
    with pytest.raises(RunError, match=rf"DEEPFM_WORKERS is `{text}`\. Use a whole number"):
        store.workers.ensure()


def test_a_worker_that_cannot_start_is_reported_with_its_log(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_ENGINE", "no_such_module:execute")
    store.enqueue(spec())
    store.workers.ensure()
    (pid,) = worker_pids(store)
    wait(lambda: not worker_pids(store))
    with pytest.raises(RunError, match=r"ended before it was ready\. Read worker\.log"):
        store.workers.ensure()
    assert "Engine `no_such_module:execute` cannot be loaded" in (store.home / "worker.log").read_text()
    wait(lambda: not numbered(pid))


def numbered(pid: int) -> bool:
    """Whether the system still keeps the number: it does for a process that ended and that nobody has collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_ends_when_nothing_came_for_a_while(tmp_path: Path, store: Store) -> None:
    import subprocess
    import sys

    run_id = store.enqueue(spec(epochs=1))
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "deepfm_core", "worker", "--home", str(store.home), "--idle", "0.3"]
    assert subprocess.run(command, cwd=root, timeout=HANGS, check=False).returncode == 0
    assert isinstance(store.events(run_id)[-1].event, Finished)
    assert store.worker_state().live == 0


def test_a_worker_does_not_leave_while_a_run_waits(store: Store) -> None:
    me = Process.current()
    assert store.workers.join(me)
    store.enqueue(spec())
    assert not store.workers.leave(me)
    assert store.claims.next(me) is not None
    assert store.workers.leave(me)
    assert store.workers.states() == []


def test_a_run_whose_row_is_damaged_fails_and_the_next_one_goes_on(store: Store) -> None:
    damaged, run = store.enqueue(spec()), store.claims.next
    store.database.change("UPDATE runs SET spec = '{' WHERE id = ?", (damaged,))
    claimed = run(Process.current())
    assert claimed is not None
    (ending,) = perform(store, claimed, lambda *_: iter(()), Process.current())
    assert isinstance(ending, Failed)


def test_an_engine_may_use_idle_processors_and_require_a_table_that_it_need_not_read(store: Store) -> None:
    given = list[Context]()

    def engine(_job: Job, context: Context) -> Iterator[Event]:
        given.append(context)
        yield Finished({})

    worker = Process.current()
    list(perform(store, store.begin(spec(), worker), engine, worker))
    assert given[0].helped is True
    assert given[0].require is not None
    with pytest.raises(RunError, match="is not in the store"):
        given[0].require("a" * 64)
