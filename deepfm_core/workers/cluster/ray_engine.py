"""The engine of a Ray cluster: it has a node do a run, writes what comes back into the run's folder, yields the events.

Start with `RayEngine.__call__`. The only module, with `node`, that imports Ray.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deepfm_core._files import write_json
from deepfm_core.encoding.sharding import Dataset
from deepfm_core.errors import RunError, first_line
from deepfm_core.experiments.study import choosing, may_choose
from deepfm_core.runs.job import Context, Job
from deepfm_core.spec.events import PLACE, Cancelled, EpochDone, Event, Placed, Stage, event_from_dict
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow
from deepfm_core.store.run_queue import RUNS
from deepfm_core.store.store import CLUSTER_FILE, LOCAL, Store
from deepfm_core.workers.cluster import node
from deepfm_core.workers.cluster.node import whole_folder
from deepfm_core.workers.lane import Lane, perform

MOST_LOSSES = 3
"""Nodes that a run may lose without an epoch in between: it may be what ends them."""
_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 0.8
"""How long a node may take to leave off before its process is ended."""
_KNOCK_SECONDS = 5.0
_MOST_SENT = 8
"""Tables that stay in the cluster's memory for the next run, besides those that runs at work hold there."""


@dataclass(frozen=True)
class Size:
    """A cluster at one moment."""

    nodes: int
    """Nodes that can do runs."""
    processors: int
    places: int
    """Runs that have room at a time."""


class _Lost(Exception):  # noqa: N818 (says what happened)
    """The node that did a run is gone, or its process."""


class RayEngine:
    """Has the nodes of a Ray cluster do runs; shared by the threads that follow them.

    Raises:
        RunError: Ray is not installed, nobody answers at the address, or the cluster is of another version.
    """

    def __init__(self, store: Store, address: str, engine: str, processors: int) -> None:
        """Join a cluster.

        Args:
            store: whose runs they are.
            address: HOST:PORT of the cluster's head.
            engine: MODULE:FUNCTION that a node does a run with.
            processors: processors, and so threads, of a run.
        """
        self._ray = connect(address)
        self._store, self._engine, self._processors = store, engine, processors
        device = os.environ.get("DEEPFM_DEVICE", "").strip()
        self._gpus = 1 if device.startswith("cuda") else 0
        self._settings = {"DEEPFM_THREADS": os.environ.get("DEEPFM_THREADS", "").strip() or str(processors)}
        self._settings |= {"DEEPFM_DEVICE": device} if device else {}
        self._sent: OrderedDict[str, Any] = OrderedDict()
        self._sending = threading.Lock()

    def size(self) -> Size:
        """Count the nodes that live and the runs that have room on them."""
        alive = [known["Resources"] for known in self._ray.nodes() if known["Alive"]]
        rooms = [self._room(resources) for resources in alive]
        useful = [resources for resources, room in zip(alive, rooms, strict=True) if room]
        return Size(len(useful), int(sum(resources["CPU"] for resources in useful)), sum(rooms))

    def _room(self, resources: dict[str, float]) -> int:
        room = int(resources.get("CPU", 0) // self._processors)
        return min(room, int(resources.get("GPU", 0) // self._gpus)) if self._gpus else room

    def __call__(self, job: Job, context: Context) -> Iterator[Event]:
        """Do a job on some node; see `Engine`. After a loss it goes on, elsewhere, from the last checkpoint.

        Raises:
            RunError: several nodes were lost in a row, or none has what the run needs.
        """
        if Dataset.of(job.folder) is not None:
            raise RunError(
                "The rows of this run stay on this machine's disk, where no node of the cluster sees them. Resume it "
                "with a worker of this machine: start that, or the app, without the engine `ray`."
            )
        losses, epoch = 0, 0
        while losses <= MOST_LOSSES:
            yield Stage(PLACE)
            try:
                for event in self._attempt(job, context, epoch):
                    if isinstance(event, EpochDone):
                        losses, epoch = 0, event.epoch
                    yield event
                return
            except _Lost as lost:
                losses += 1
                _log(job, f"{lost}\nThe run goes on from its last checkpoint.")
        raise RunError(
            f"{losses} nodes ended while they did this run, with no epoch in between. It may need more memory than they"
            " have: the run's worker.log has what the cluster says. Use larger nodes, then resume the run."
        )

    def _attempt(self, job: Job, context: Context, epoch: int) -> Iterator[Event]:
        task = self._ray.remote(num_cpus=self._processors, num_gpus=self._gpus, max_retries=0, num_returns="streaming")(
            node.attempt
        )
        stream = task.remote(self._task(job))
        ended = cancelled = False
        try:
            for message in self._messages(stream, context):
                kind, values, parcel = message
                parcel.unpack(Path(job.place))
                event = event_from_dict(kind, values)
                epoch = event.epoch if isinstance(event, EpochDone) else epoch
                yield event
            ended = True
        except self._ray.exceptions.TaskCancelledError:
            ended = cancelled = True
        finally:
            if not ended:
                self._end(stream)
        if cancelled or context.cancelled():
            yield Cancelled(epoch)

    def _messages(self, stream: Any, context: Context) -> Iterator[node.Message]:
        """Yield what a node says as it comes, until it ends or is told to leave off."""
        ray = self._ray
        while not context.cancelled():
            with self._losses_told():
                ready, _ = ray.wait([stream], timeout=_LOOK_SECONDS)
                said = [ray.get(reference) for reference in itertools.islice(stream, 1)] if ready else None
            if said == []:
                return
            yield from said or ()
        self._leave_off(stream)

    def _leave_off(self, stream: Any) -> None:
        """Have a node leave off, and end its process if it does not: an interrupt may come where it is not noticed.

        Nothing more is read. A stream that was cancelled says that it is at its end, and reading on would then wait for
        the task's, without a limit.
        """
        with suppress(self._ray.exceptions.RayError):
            self._ray.cancel(stream)
            done, _ = self._ray.wait([stream.completed()], timeout=_GRACE_SECONDS)
            if done:
                return
        self._end(stream)

    def _end(self, stream: Any) -> None:
        """End the process of a run."""
        with suppress(Exception):  # it may have ended by itself, or its node
            self._ray.cancel(stream, force=True)

    @contextmanager
    def _losses_told(self) -> Iterator[None]:
        """Tell a node that is gone, which another can stand in for, from what no node could do."""
        errors = self._ray.exceptions
        try:
            yield
        except errors.TaskCancelledError:
            raise
        except errors.OutOfMemoryError as error:
            raise RunError(
                "Memory ran out on a node of the cluster. Use a smaller embedding size, a higher minimum count, fewer"
                " fields, or larger nodes; then resume the run."
            ) from error
        except errors.RayTaskError as error:
            raise _not_done(error) from error
        except errors.RayError as error:
            raise _Lost(str(error)) from error
        except (ImportError, RuntimeError) as error:
            raise _not_done(error) from error

    def _task(self, job: Job) -> node.Task:
        spec = job.spec
        named = {
            sha: name or ""
            for sha, name in (
                (spec.test_table, spec.test_table_name),
                (spec.valid_table, spec.valid_table_name),
                (spec.table, spec.table_name),
            )
            if sha
        }
        tables = {sha: (name, self._reference(sha)) for sha, name in named.items()}
        left = whole_folder(Path(job.place)).files
        return node.Task(job.to_dict(), self._engine, node.program(), self._settings, left, tables)

    def _reference(self, sha: str) -> Any:
        """Return where a table is in the cluster's memory, put there if need be; RunError where the store lacks it."""
        with self._sending:
            if sha not in self._sent:
                folder = self._store.original(sha).parent
                if not all((folder / name).is_file() for name in node.TABLE_FILES):
                    self._store.rebuild_table(sha)
                self._sent[sha] = self._ray.put({name: (folder / name).read_bytes() for name in node.TABLE_FILES})
            self._sent.move_to_end(sha)
            reference = self._sent[sha]
            while len(self._sent) > _MOST_SENT:
                self._sent.popitem(last=False)
            return reference


def _not_done(error: BaseException) -> RunError:
    """Say what a node could not even begin."""
    text = str(error)
    if "No module named" in text:
        missing = text.split("No module named", 1)[1].strip().split()[0].strip("'\"`.,")
        return RunError(
            f"A node of the cluster lacks the package `{missing}`. Install the same packages on every node, then resume"
            " the run."
        )
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "no reason given")
    return RunError(f"A node of the cluster could not begin the run ({last.strip()}). Look at that node, then resume.")


def _log(job: Job, text: str) -> None:
    with job.folder.log.open("a", encoding="utf-8") as log:
        print(text, file=log)


# Joining a cluster, with a sentence for each thing that can be wrong.


def connect(address: str) -> Any:
    """Join the Ray cluster at an address and return the module `ray`.

    Raises:
        RunError: it cannot be joined; the sentence says what to do.
    """
    host, port = _parts(address)
    try:
        import ray
    except ImportError:
        raise RunError("Runs on a cluster need Ray, and it is not installed. Run `pip install ray`.") from None
    try:
        socket.create_connection((host, port), timeout=_KNOCK_SECONDS).close()
    except OSError as error:
        raise RunError(
            f"Nobody answers at `{address}` ({error.strerror or error}). Start the cluster with `ray start --head`, or"
            " give the address that it printed."
        ) from error
    try:
        with _signals_kept():
            ray.init(
                address=f"{host}:{port}", log_to_driver=False, logging_level=logging.ERROR, namespace="deepfm-explorer"
            )
    except RuntimeError as error:
        raise _refused(address, error) from error
    except (ConnectionError, ValueError, ray.exceptions.RayError) as error:
        raise RunError(
            f"The Ray cluster at `{address}` cannot be joined ({first_line(error)}). This machine must be one of its"
            f" nodes: run `ray start --address={address} --num-cpus=0` here, then start the worker again."
        ) from error
    return ray


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.strip().rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise RunError(
            f"The cluster's address is `{address}`. Give HOST:PORT as `ray start --head` prints it, by --address or"
            " RAY_ADDRESS."
        )
    return host, int(port)


def _refused(address: str, error: RuntimeError) -> RunError:
    found = [line.strip() for line in str(error).splitlines() if line.strip().startswith(("Ray: ", "Python: "))]
    if "Version mismatch" not in str(error) or len(found) < 4:
        return RunError(f"The Ray cluster at `{address}` cannot be joined ({first_line(error)}). Start it anew.")
    theirs, ours = (" and ".join(lines).replace(": ", " ") for lines in (found[:2], found[2:4]))
    return RunError(f"The cluster at `{address}` has {theirs}, this machine {ours}. Install the same versions on both.")


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what this process does when it is told to end: Ray puts its own way in the place."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, what in kept.items():
            signal.signal(number, what)


def placed(events: list[Event]) -> bool:
    """Say whether a cluster was to do a run, from its events."""
    return any(isinstance(event, Placed) or (isinstance(event, Stage) and event.name == PLACE) for event in events)


# The worker of a store that has a cluster do the runs: it claims as many as have room, and follows each in a thread.
#
# It alone writes to the store. Whoever starts another one after it was killed loses nothing: runs that a dispatcher
# has left behind go back into the queue, and on from their last checkpoint.


_POLL_SECONDS = 0.1
_COUNT_SECONDS = 1.0
_PLACES_SEEN = 8
"""Places that a run may have had without an epoch; one that was left behind after more stays where it is."""


class Dispatcher:
    """Claims runs for a cluster."""

    def __init__(self, store: Store, worker: Process, engine: RayEngine, upkeep: Callable[[], object]) -> None:
        self._store, self._worker, self._engine, self._upkeep = store, worker, engine, upkeep
        self._threads: dict[str, threading.Thread] = {}
        self._size, self._counted = engine.size(), time.monotonic()
        self.look_around()

    def lane(self, idle: float) -> Lane:
        """Say to `lane.serve` what this worker does."""
        return Lane(
            RUNS,
            self.claim,
            idle,
            _POLL_SECONDS,
            look_around=self.look_around,
            state=self._state,
            beside=lambda: bool(self._at_work()),
        )

    def claim(self) -> Callable[[], None] | None:
        """Take the next run that may begin, if the cluster has room for it."""
        if self._at_work() >= self._places():
            return None
        run = self._next()
        return partial(self._begin, run) if run else None

    def look_around(self) -> None:
        """Take back what a dispatcher that is gone has left, and say in the store how the cluster stands."""
        self._upkeep()
        at_work = self._at_work()
        for run in self._store.claims.lost():
            if run.worker == str(self._worker) and run.id in self._threads:
                continue  # it has only been silent for long
            events = [stored.event for stored in self._store.events(run.id, kinds=["stage", "placed", "epoch"])]
            since = _since_the_last_epoch([event.kind for event in events])
            if run.worker and placed(events) and since <= _PLACES_SEEN:
                self._store.claims.give_back_run(run.id, Process.parse(run.worker))
        write_json(
            self._store.home / CLUSTER_FILE, {"worker": str(self._worker), "taken": at_work, **asdict(self._size)}
        )

    def _next(self) -> RunRow | None:
        """Claim the first run that may begin; a search's wait where their setting needs results that are not there.

        While the store is full, visitors' runs wait.
        """
        held: set[str | None] = set()
        waiting = self._store.claims.waiting()
        full = bool(waiting) and self._store.is_full()
        for run in waiting:
            if full and run.owner != LOCAL:
                continue  # it waits until there is room
            if run.id in self._threads or (run.to_choose and run.comparison in held):
                continue  # a thread that still follows it must end first
            if not may_choose(self._store, run):
                held.add(run.comparison)
            elif (taken := self._store.claims.take(run.id, self._worker)) is not None:
                return taken
        return None

    def _begin(self, run: RunRow) -> None:
        thread = threading.Thread(target=self._follow, args=(run,), daemon=True, name=f"run {run.id}")
        self._threads[run.id] = thread
        thread.start()

    def _follow(self, run: RunRow) -> None:
        for _ in perform(self._store, run, choosing(self._store, run, self._engine), self._worker):
            pass

    def _at_work(self) -> int:
        self._threads = {run: thread for run, thread in self._threads.items() if thread.is_alive()}
        return len(self._threads)

    def _places(self) -> int:
        if time.monotonic() - self._counted > _COUNT_SECONDS:
            self._size, self._counted = self._engine.size(), time.monotonic()
        return self._size.places

    def _state(self) -> str:
        return "idle" if self._at_work() < self._places() else "busy"


def _since_the_last_epoch(kinds: list[str]) -> int:
    last = max((place for place, kind in enumerate(kinds) if kind == "epoch"), default=-1)
    return kinds[last + 1 :].count("placed")
