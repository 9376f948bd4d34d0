"""Do one claimed run: its engine's events into the store, with a heartbeat, a cancel that works, and a plain ending."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from deepfm_core.errors import DeepFMError
from deepfm_core.runs.job import Engine, Job
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Failed, Finished
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.store.store import Store

if TYPE_CHECKING:
    from deepfm_core.tables.table import Table

_LOOK_SECONDS = 0.1
_BEAT_SECONDS = 2.0
_GRACE_SECONDS = 0.6
"""How long an engine may take to notice a cancel by itself before it is interrupted."""


class Interrupted(BaseException):
    """Raised inside an engine that did not notice a cancel; no `except Exception` may stop it."""


class Watch:
    """Looks after a run from a thread beside its engine: stamps the heartbeat and learns of a cancel.

    An engine that asks `cancelled` only reads a flag. One that has not noticed after a moment is interrupted, where it
    runs in the main thread, so that a cancel takes effect within a second in any stage written in Python.
    """

    def __init__(self, store: Store, run_id: str, worker: Process) -> None:
        self.armed = False
        """Whether an interrupt may be raised now."""
        self._store = store
        self._run_id = run_id
        self._worker = worker
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="watch")
        self._in_main_thread = threading.current_thread() is threading.main_thread()

    def cancelled(self) -> bool:
        """Say whether the run should stop."""
        return self._stop.is_set()

    def __enter__(self) -> Watch:
        if self._in_main_thread:
            # Never put back: a signal still on its way would then end the process. Disarmed, it does nothing.
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
            # A store that cannot be read for a moment is no reason to stop training.
            with suppress(DeepFMError):
                if self._store.claims.must_stop(self._run_id, self._worker):
                    break
                if time.monotonic() - beaten > _BEAT_SECONDS:
                    self._store.claims.beat(self._run_id, self._worker)
                    beaten = time.monotonic()
        self._stop.set()
        while not self._ended.wait(_GRACE_SECONDS) and self._in_main_thread:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


def perform(
    store: Store, run: RunRow, engine: Engine, worker: Process, table: Callable[[str], Table] | None = None
) -> Iterator[Event]:
    """Do a run that `worker` has claimed or begun, yielding each event once it is stored.

    The last event is Finished, Failed or Cancelled, except where the run was taken away from the worker: whatever goes
    wrong in the engine becomes a Failed event, its traceback going to the run's worker.log alone. Iterated in the main
    thread, a cancel takes effect within a second even where the engine does not ask. A consumer that stops early
    (Ctrl-C) leaves a cancelled run, which can be resumed. `table` gives the tables if the store's need not be read.
    """
    folder = store.folder(run.id).create()
    watch = Watch(store, run.id, worker)
    job = Job(run.spec, folder, table or partial(store.table, owner=run.owner), watch.cancelled, store.home)
    ending: Event | None = None
    try:
        with watch:
            for event in engine(job):
                if not store.append_event(run.id, event, worker):
                    return
                watch.armed = False  # what the consumer does is not the engine's, and must not be interrupted
                yield event
                watch.armed = True
                if isinstance(event, (Finished, Failed, Cancelled)):
                    return
        ending = Failed("The run ended without a result. Resume it; if that happens again, train it anew.")
    except Interrupted:
        ending = Cancelled(_last_epoch(store, run.id))
    except (KeyboardInterrupt, GeneratorExit):
        store.append_event(run.id, Cancelled(_last_epoch(store, run.id)), worker)
        raise
    except Exception as error:
        ending = Failed(_sentence(error, folder))
    if store.append_event(run.id, ending, worker):
        yield ending


def _sentence(error: Exception, folder: RunFolder) -> str:
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
