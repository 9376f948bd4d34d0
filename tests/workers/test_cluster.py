"""Runs on a real Ray cluster: a head and two nodes, each with processes of its own, on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepfm_core.errors import RunError
from deepfm_core.experiments import study
from deepfm_core.experiments.study import SEARCH, StudyPlan
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.events import PLACE, Cancelled, EpochDone, Event, Placed, Stage
from deepfm_core.spec.run import FitSpec, RunSpec, SplitSpec
from deepfm_core.store import limits
from deepfm_core.store.process import Process
from deepfm_core.store.store import LOCAL, Store
from deepfm_core.workers.cluster import ray_engine
from deepfm_core.workers.cluster.node import Packer, Parcel
from deepfm_core.workers.cluster.ray_engine import Dispatcher, RayEngine, Size, _Lost
from deepfm_core.workers.lane import perform
from tests.conftest import ROOT, clicks
from tests.waiting import wait
from tests.workers.cluster_engine import BEFORE_GATE, GATE

MISSING = "Ray is not installed: run `pip install --requirement requirements-cluster.txt`."
NODE_PROCESSORS = 1


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def cluster(gate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a head that does no run, and two nodes that do."""
    pytest.importorskip("ray", reason=MISSING)
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(GATE, str(gate))
        patch.setenv("DEEPFM_NODE_HOME", str(tmp_path_factory.mktemp("nodes")))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path[1:]]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            cluster.add_node(num_cpus=NODE_PROCESSORS)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Path) -> Iterator[Store]:
    monkeypatch.setenv("DEEPFM_THREADS", "1")
    gate.unlink(missing_ok=True)
    store = Store(tmp_path / "home")
    yield store
    for row in store.database.rows("SELECT worker FROM workers"):
        if (worker := Process.parse(row["worker"])).alive():
            os.kill(worker.pid, signal.SIGKILL)


def dispatch(store: Store, cluster: Any, engine: str = "ray") -> subprocess.Popen[bytes]:
    """Start a dispatcher, as a user does."""
    command = [sys.executable, "-m", "deepfm_core", "worker", "--home", str(store.home), "--engine", engine]
    with (store.home / "dispatcher.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--address", cluster.address], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )


def spec(store: Store, rows: int = 600, epochs: int = 4) -> RunSpec:
    entry = store.import_table(clicks(rows).to_csv(index=False).encode(), "clicks.csv")
    schema = infer_schema(store.table(entry.sha256), "clicked")
    return RunSpec(entry.sha256, entry.name, schema, fit=FitSpec(epochs=epochs, batch_size=128), explained=False)


def here(store: Store, asked: RunSpec) -> str:
    """Do a run in this process, and give its id."""
    run = store.begin(asked, Process.current())
    list(perform(store, run, execute, Process.current()))
    return run.id


def figures(store: Store, run_id: str) -> dict[str, Any]:
    """Give all that a run found, without what depends on the hour and the place."""
    summary, folder = store.run(run_id).summary, store.folder(run_id)
    told = {key: value for key, value in summary.items() if key not in ("run", "seconds", "rows_per_second")}
    told.pop("hold_out_seconds", None)
    files = {name: folder.frame_path(name).read_bytes() for name in folder.frames() if name != "epochs"}
    return {**told, "weights": folder.model.read_bytes(), "frames": files}


def state(store: Store, run_id: str) -> str:
    return store.run(run_id).state


def nodes_of(store: Store, run_id: str) -> list[str]:
    return [stored.event.node for stored in store.events(run_id, kinds=["placed"]) if isinstance(stored.event, Placed)]


def epochs(store: Store, run_id: str) -> list[int]:
    return [stored.event.epoch for stored in store.events(run_id) if isinstance(stored.event, EpochDone)]


@pytest.mark.slow
def test_a_search_and_an_explained_run_come_to_the_figures_of_the_worker_here(store: Store, cluster: Any) -> None:
    base = spec(store, epochs=1)
    plan = StudyPlan({"keep": (0.3, 1.0), "neurons": (8, 32)}, design=SEARCH, trials=4, seeds=2)
    apart = study.begin(store, base, 600, plan)
    explained = store.enqueue(replace(base, explained=True, folds=2))
    dispatcher = dispatch(store, cluster)
    runs = [run.id for run in store.comparisons.runs(apart)]
    wait(lambda: {state(store, run) for run in [*runs, explained]} == {"finished"})
    shown = store.worker_state().cluster
    assert shown is not None
    assert (shown.nodes, shown.places) == (2, 2 * NODE_PROCESSORS)
    assert len({nodes_of(store, run)[0] for run in runs}) == 2
    dispatcher.terminate()
    assert dispatcher.wait() == 0
    assert store.worker_state().cluster is None

    alone = study.begin(store, base, 600, plan)
    me = Process.current()
    from deepfm_core.experiments.study import choosing

    while (run := store.claims.next(me, alone)) is not None:
        list(perform(store, run, choosing(store, run, execute), me))
    assert [figures(store, run) for run in runs] == [figures(store, run.id) for run in store.comparisons.runs(alone)]
    assert store.run(explained).summary["run"] == str(store.folder(explained).path)
    assert figures(store, explained) == figures(store, here(store, store.run(explained).spec))


@pytest.mark.slow
def test_a_node_that_ends_costs_an_epoch_at_most(store: Store, cluster: Any, gate: Path) -> None:
    asked = spec(store)
    run = store.enqueue(asked)
    dispatch(store, cluster, "ray:tests.workers.cluster_engine:execute")
    wait(lambda: len(epochs(store, run)) == BEFORE_GATE)
    (first,) = nodes_of(store, run)
    (lost,) = [node for node in cluster.worker_nodes if node.node_id[:8] in first]
    cluster.remove_node(lost, allow_graceful=False)
    cluster.add_node(num_cpus=NODE_PROCESSORS)
    wait(lambda: len(nodes_of(store, run)) == 2)
    gate.touch()
    wait(lambda: state(store, run) == "finished")
    assert first not in nodes_of(store, run)[1:]
    assert epochs(store, run) == [1, 2, 3, 4]
    assert figures(store, run) == figures(store, here(store, asked))


@pytest.mark.slow
def test_a_dispatcher_that_is_killed_leaves_its_runs_to_the_next(store: Store, cluster: Any, gate: Path) -> None:
    asked = spec(store)
    runs = [store.enqueue(replace(asked, seed=seed)) for seed in range(2)]
    first = dispatch(store, cluster, "ray:tests.workers.cluster_engine:execute")
    wait(lambda: all(len(epochs(store, run)) == BEFORE_GATE for run in runs))
    first.kill()
    first.wait()
    assert {state(store, run) for run in runs} == {"lost"}
    gate.touch()
    dispatch(store, cluster)
    wait(lambda: {state(store, run) for run in runs} == {"finished"})
    assert [epochs(store, run) for run in runs] == [[1, 2, 3, 4]] * 2
    for seed, run in enumerate(runs):
        assert figures(store, run) == figures(store, here(store, replace(asked, seed=seed)))


@pytest.mark.slow
def test_a_cancel_reaches_a_run_on_its_node_and_a_resume_goes_on(store: Store, cluster: Any, gate: Path) -> None:
    asked = spec(store)
    run = store.enqueue(asked)
    dispatch(store, cluster, "ray:tests.workers.cluster_engine:execute")
    wait(lambda: len(epochs(store, run)) == BEFORE_GATE)
    store.request_cancel(run)
    wait(lambda: state(store, run) == "cancelled")
    assert store.events(run)[-1].event == Cancelled(BEFORE_GATE)
    gate.touch()
    store.resume(run)
    wait(lambda: state(store, run) == "finished")
    assert figures(store, run) == figures(store, here(store, asked))


@pytest.mark.slow
def test_what_a_user_can_put_right_comes_back_as_a_sentence(store: Store, cluster: Any) -> None:
    asked = spec(store)
    absent, unusable = (replace(asked, table="0" * 64), replace(asked, split=SplitSpec("time", "none")))
    runs = [store.enqueue(each) for each in (absent, unusable)]
    dispatch(store, cluster)
    wait(lambda: {state(store, run) for run in runs} == {"failed"})
    said = [str(store.run(run).message) for run in runs]
    assert "is not in the store" in said[0]
    assert "`none`" in said[1]
    assert nodes_of(store, runs[1])


@pytest.mark.slow
def test_a_node_without_the_packages_or_with_others_is_named(store: Store, cluster: Any) -> None:
    code = """
import sys
from pathlib import Path
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.workers.cluster import node
from deepfm_core.workers.cluster.ray_engine import RayEngine
from deepfm_core.workers.cluster.ray_engine import RayEngine, Size, _Lost
from deepfm_core.workers.lane import perform
store = Store(Path(sys.argv[1]))
engine = RayEngine(store, sys.argv[2], "nowhere_to_be_found:execute", 1)
for program in (node.program(), {"torch": "1.0"}):
    node.program = lambda program=program: program
    run = store.claims.next(Process.current())
    list(perform(store, run, engine, Process.current()))
    print(store.run(run.id).message)
"""
    for _ in range(2):
        store.enqueue(spec(store))
    arguments = [sys.executable, "-c", code, str(store.home), cluster.address]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    first, second = done.stdout.splitlines()[-2:]
    assert "nowhere_to_be_found" in first
    assert "instead of 1.0. Install the same versions on every node" in second


def test_a_node_that_lacks_this_program_is_said_to() -> None:
    from deepfm_core.workers.cluster.ray_engine import _not_done

    text = "The remote function failed to import on the worker.\nModuleNotFoundError: No module named 'deepfm_core'\n"
    assert "lacks the package `deepfm_core`" in str(_not_done(RuntimeError(text)))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "said"),
    [("", "Give HOST:PORT"), ("ray://here:10001", "Give HOST:PORT"), ("nowhere", "Give HOST:PORT")],
)
def test_an_address_that_is_none_is_said_to_be(address: str, said: str) -> None:
    from deepfm_core.workers.cluster.ray_engine import connect

    with pytest.raises(RunError, match=said):
        connect(address)


def test_an_address_that_nobody_answers_at_is_named_or_what_to_install(store: Store) -> None:
    from deepfm_core.workers.cluster.ray_engine import connect

    with pytest.raises(RunError, match=r"Nobody answers at|pip install ray"):
        connect(f"127.0.0.1:{free_port()}")


def test_other_versions_are_named() -> None:
    from deepfm_core.workers.cluster.ray_engine import _refused

    text = "Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.11.7\n"
    text += "This process on 192.0.2.1 was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n"
    assert str(_refused("192.0.2.1:6379", RuntimeError(text))) == (
        "The cluster at `192.0.2.1:6379` has Ray 2.50.0 and Python 3.11.7, this machine Ray 2.60.0 and Python 3.12.1."
        " Install the same versions on both."
    )


def test_a_parcel_has_what_changed_and_stays_within_its_folder(tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    (there / "frames").mkdir(parents=True)
    (there / "spec.json").write_text("{}")
    packer = Packer(there)
    (there / "frames" / "pairs.parquet").write_bytes(b"1")
    (there / ".half.tmp").write_bytes(b"2")
    parcel = packer.pack()
    assert parcel == Parcel({"frames/pairs.parquet": b"1"})
    parcel.unpack(back)
    (there / "frames" / "pairs.parquet").unlink()
    packer.pack().unpack(back)
    assert not (back / "frames" / "pairs.parquet").exists()
    for name in ("../else", "/etc/else"):
        with pytest.raises(RunError, match="not one of a run"):
            Parcel({name: b""}).unpack(back)


def test_a_search_waits_for_the_results_that_a_choice_needs(store: Store) -> None:
    from deepfm_core.experiments.study import may_choose

    plan = StudyPlan({"keep": (0.3, 1.0)}, design=SEARCH, trials=7)
    runs = store.comparisons.runs(study.begin(store, spec(store), 600, plan))
    assert [may_choose(store, run) for run in runs] == [True, True, False, False, False, False, False]


def stale(store: Store, run: str) -> None:
    """Let a run's last sign of life be long ago."""
    with store.database.write() as connection:
        connection.execute("UPDATE runs SET heartbeat = 0 WHERE id = ?", (run,))


class Slow:
    """A cluster of two places, whose nodes do nothing until they are told to end."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def size(self) -> Size:
        return Size(1, 2, 2)

    def __call__(self, job: Job, context: Context) -> Iterator[Event]:
        yield Stage(PLACE)
        self.over.wait()
        raise RunError("It is over.")


def test_a_stale_run_takes_no_other_run_of_its_dispatcher_along(store: Store) -> None:
    me = Process.current()
    asked = spec(store)
    silent, lively = (store.enqueue(replace(asked, seed=seed)) for seed in range(2))
    for run in (silent, lively):
        assert store.claims.take(run, me)
        store.append_event(run, Stage(PLACE), me)
    stale(store, silent)
    Dispatcher(store, replace(me, born=me.born - 1), Slow(), lambda: None)  # type: ignore[arg-type]
    assert [state(store, run) for run in (silent, lively)] == ["queued", "running"]


def test_a_dispatcher_leaves_visitors_runs_in_the_queue_of_a_full_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = spec(store)
    visitors, local = (store.enqueue(asked, owner=owner) for owner in ("ann", LOCAL))
    dispatcher = Dispatcher(store, Process.current(), Slow(), lambda: None)  # type: ignore[arg-type]
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr(limits, "LEAST_FREE", 1 << 60)
    assert dispatcher.claim() is not None
    assert dispatcher.claim() is None
    assert [state(store, run) for run in (visitors, local)] == ["queued", "running"]
    monkeypatch.undo()
    assert dispatcher.claim() is not None


def test_a_dispatcher_keeps_a_run_that_it_still_follows(store: Store) -> None:
    run, engine = store.enqueue(spec(store)), Slow()
    dispatcher = Dispatcher(store, Process.current(), engine, lambda: None)  # type: ignore[arg-type]
    begin = dispatcher.claim()
    assert begin is not None
    begin()
    wait(lambda: bool(store.events(run, kinds=["stage"])))
    stale(store, run)
    dispatcher.look_around()
    assert store.run(run).status == "running"
    store.claims.give_back_run(run, Process.current())
    assert dispatcher.claim() is None
    engine.over.set()
    wait(lambda: dispatcher.claim() is not None)


def test_a_cancel_after_a_loss_says_the_last_epoch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def attempt(_self: RayEngine, _job: Job, _context: Context, epoch: int) -> Iterator[Event]:
        begun.append(epoch)
        if len(begun) == 1:
            yield done
            raise _Lost("gone")
        yield Cancelled(epoch)

    run = store.begin(spec(store), Process.current())
    list(perform(store, run, execute, Process.current()))
    done = next(stored.event for stored in store.events(run.id) if isinstance(stored.event, EpochDone))
    monkeypatch.setattr(RayEngine, "_attempt", attempt)
    monkeypatch.setattr("deepfm_core.workers.cluster.ray_engine._log", lambda *_: None)
    job = Job(run.spec, str(store.folder(run.id).path))
    events = list(RayEngine.__new__(RayEngine)(job, None))
    assert (begun, events[-1]) == ([0, done.epoch], Cancelled(done.epoch))


def test_an_attempt_that_is_cancelled_says_so_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):  # noqa: N818
        pass

    def messages(*_: Any) -> Iterator[Any]:
        raise Stopped
        yield

    started = SimpleNamespace(remote=lambda _: None)
    exceptions = SimpleNamespace(TaskCancelledError=Stopped)
    engine = RayEngine.__new__(RayEngine)
    engine._ray = SimpleNamespace(remote=lambda **_: lambda _: started, exceptions=exceptions)
    engine._processors, engine._gpus = 1, 0
    monkeypatch.setattr(RayEngine, "_messages", messages)
    monkeypatch.setattr(RayEngine, "_task", lambda *_: None)
    context = Context(store.table, cancelled=lambda: True)
    assert list(engine._attempt(None, context, 3)) == [Cancelled(3)]


def test_a_table_on_a_node_that_lacks_rows_is_damaged(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=MISSING)
    from deepfm_core.workers.cluster.node import TABLE_FILES, Task, _Tables

    sha = store.import_table(clicks(50).to_csv(index=False).encode(), "t.csv").sha256
    folder = tmp_path / "tables" / sha
    folder.mkdir(parents=True)
    for name in TABLE_FILES:
        (folder / name).write_bytes((store.home / "tables" / sha / name).read_bytes())
    tables = _Tables(Task({}, "", {}, {}, {}, {sha: ("t.csv", None)}), tmp_path)
    assert tables.read(sha).frame.equals(store.table(sha).frame)
    content = (folder / "table.json").read_text()
    (folder / "table.json").write_text(content.replace('"rows": 50', '"rows": 51'))
    with pytest.raises(ValueError, match="50 rows of 51"):
        tables.read(sha)


def test_the_last_tables_stay_in_the_clusters_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "_MOST_SENT", 2)
    tables = [store.import_table(clicks(50, seed=seed).to_csv(index=False).encode(), "t.csv") for seed in range(3)]
    engine = RayEngine.__new__(RayEngine)
    put = SimpleNamespace(put=lambda files: sorted(files))
    engine._ray, engine._store, engine._sent, engine._sending = put, store, OrderedDict(), threading.Lock()
    first, second, third = (table.sha256 for table in tables)
    for sha in (first, second, first, third):
        engine._reference(sha)
    assert list(engine._sent) == [first, third]
