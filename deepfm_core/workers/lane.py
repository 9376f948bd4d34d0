"""A worker of one lane of the queue. It does what waits there, one after the other, and stays ready for a while."""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from deepfm_core._log import fault, note, short
from deepfm_core.errors import DeepFMError
from deepfm_core.runs.job import Context, Engine, Job
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Failed, Finished, never
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.run_queue import worker_limit
from deepfm_core.store.store import Store

if TYPE_CHECKING:
    from deepfm_core.tables.table import Table


_BEAT_SECONDS = 2.0
_LOOK_SECONDS = 0.1
_GRACE_SECONDS = 0.6
"""How long an engine may take to notice a cancel by itself before it is interrupted."""


class Interrupted(BaseException):
    """Raised inside work that did not notice a cancel; no `except Exception` may stop it."""


class Terminated(BaseException):
    """The process was told to end."""


class Watch:
    """Watches a piece of work from a thread beside it: beats its heart and notices a cancel.

    An engine that asks `cancelled` only reads a flag. One that has not noticed after a moment is interrupted, where it
    runs in the main thread, so that a cancel takes effect within a second in any stage written in Python.
    """

    def __init__(self, must_stop: Callable[[], bool], beat: Callable[[], object]) -> None:
        self.armed = False
        """Whether an interrupt may be raised now."""
        self._must_stop = must_stop
        self._beat = beat
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="watch")
        self._in_main_thread = threading.current_thread() is threading.main_thread()

    def cancelled(self) -> bool:
        """Say whether the work should stop."""
        return self._stop.is_set()

    def __enter__(self) -> Watch:
        if self._in_main_thread:
            # The handler stays: without it, a late signal would end the process. Disarmed, it does nothing.
            signal.signal(signal.SIGUSR1, self._interrupt)
        self._thread.start()
        self.armed = True
        return self

    def __exit__(self, *_: object) -> None:
        self.armed = False
        self._ended.set()
        self._thread.join()

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise Interrupted

    def _look(self) -> None:
        beaten = time.monotonic()
        while not self._ended.wait(_LOOK_SECONDS):
            # A store that cannot be read for a moment is no reason to stop.
            with suppress(DeepFMError):
                if self._must_stop():
                    break
                if time.monotonic() - beaten > _BEAT_SECONDS:
                    self._beat()
                    beaten = time.monotonic()
        self._stop.set()
        while not self._ended.wait(_GRACE_SECONDS) and self._in_main_thread:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Lane:
    """What a worker does.

    Attributes:
        name: of the lane.
        claim: takes what has waited longest, and gives what does it; None where nothing waits.
        idle: seconds to stay ready with nothing to do.
        poll: seconds between two looks into the queue.
        warm_up: called before each wait.
        look_around: called now and then between two pieces of work, and before each.
        state: what the worker is while it waits: `idle`, or `busy` where it does work beside this and has no room.
        beside: says whether it does work beside this, for which it stays.
    """

    name: str
    claim: Callable[[], Callable[[], object] | None]
    idle: float
    poll: float
    warm_up: Callable[[], object] = nothing
    look_around: Callable[[], object] = nothing
    state: Callable[[], str] = lambda: "idle"
    beside: Callable[[], bool] = never


def work(store: Store, name: str, prepare: Callable[[Process], Lane]) -> None:
    """Join a lane's workers, prepare and serve; told to end, put back what was claimed."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    worker = Process.current()
    if not store.workers.join(worker, name):
        print("Enough workers live already.", file=sys.stderr)
        return
    note("worker began", lane=name)
    try:
        serve(store, worker, prepare(worker))
    except Terminated:
        store.claims.give_back(worker)
        store.questions.give_back(worker)
        store.workers.leave(worker, name, even_if_wanted=True)
    finally:
        note("worker ended", lane=name)


def serve(store: Store, worker: Process, lane: Lane) -> None:
    """Do what waits, oldest first, until nothing has come for `idle` seconds and the worker may leave."""
    until, beaten = None, 0.0
    while True:
        job = lane.claim()
        now = time.monotonic()
        if job is not None:
            store.workers.beat(worker, "busy", lane.name)
            lane.look_around()
            job()
            until = None
        elif until is None:
            lane.warm_up()
            store.workers.beat(worker, lane.state(), lane.name)
            until = time.monotonic() + lane.idle
        elif now > until:
            if not lane.beside() and store.workers.leave(worker, lane.name):
                return
            until = now + _BEAT_SECONDS
        else:
            time.sleep(lane.poll)
        if now - beaten > _BEAT_SECONDS:
            lane.look_around()
            store.workers.beat(worker, lane.state(), lane.name)
            beaten = now


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    raise Terminated


# Do one claimed run: store its engine's events, beat its heart, obey a cancel, and end it with a plain sentence.


def perform(
    store: Store, run: RunRow, engine: Engine, worker: Process, table: Callable[[str], Table] | None = None
) -> Iterator[Event]:
    """Do a run that `worker` has claimed or begun, yielding each event once it is stored.

    The last event is Finished, Failed or Cancelled, except where the run was taken away from the worker: whatever goes
    wrong in the engine becomes a Failed event, its traceback going to the run's worker.log alone. Iterated in the main
    thread, a cancel takes effect within a second even where the engine does not ask. A consumer that stops early
    (Ctrl-C) leaves a cancelled run, which can be resumed. `table` gives the tables if the store's need not be read.
    """
    began, folder = time.monotonic(), store.folder(run.id).create()
    note("run started", run=short(run.id), owner=short(run.owner))
    claims = store.claims
    watch = Watch(partial(claims.must_stop, run.id, worker), partial(claims.beat, run.id, worker))
    tables = table or partial(store.table_for, owner=run.owner)
    require = None if table else partial(store.require_table, owner=run.owner)
    context = Context(
        tables, watch.cancelled, store.questions, store.encoded, store.choices, require, helped=worker_limit() == 1
    )
    ending: Event | None = None
    ended = "stopped"
    try:
        store.require_room(run.owner)
        with watch:
            for event in engine(Job(run.spec, str(folder.path), run.id), context):
                if not store.append_event(run.id, event, worker):
                    return
                watch.armed = False  # only the engine may be interrupted, not whoever consumes its events
                yield event
                watch.armed = True
                if isinstance(event, (Finished, Failed, Cancelled)):
                    ended = event.kind
                    return
        ending = Failed("The run ended without a result. Resume it; if that happens again, train it anew.")
    except Interrupted:
        ending = Cancelled(_last_epoch(store, run.id))
    except (KeyboardInterrupt, GeneratorExit):
        store.append_event(run.id, Cancelled(_last_epoch(store, run.id)), worker)
        raise
    except Exception as error:
        if not isinstance(error, DeepFMError):
            fault("run broke", error)
        ending = Failed(sentence(error, folder))
    finally:
        ended = ending.kind if ending else ended
        note("run ended", run=short(run.id), how=ended, seconds=round(time.monotonic() - began, 3))
    if store.append_event(run.id, ending, worker):
        yield ending


def sentence(error: Exception, folder: RunFolder) -> str:
    """Say what went wrong in a run; its traceback goes to the run's worker.log, unless the user can put it right."""
    if isinstance(error, DeepFMError):
        return str(error)
    with folder.log.open("a", encoding="utf-8") as log:
        traceback.print_exception(error, file=log)
    if "No space left" in str(error):
        return "The disk is full. Free some space, then resume the run."
    if isinstance(error, MemoryError):
        return "Memory ran out. Use a smaller embedding size, a higher minimum count, or fewer fields."
    return (
        f"Something unexpected happened ({type(error).__name__}). The run's worker.log has the details; resume the run."
    )


def _last_epoch(store: Store, run_id: str) -> int:
    done = [stored.event for stored in store.events(run_id, kinds=["epoch"])]
    return max((event.epoch for event in done if isinstance(event, EpochDone)), default=0)
