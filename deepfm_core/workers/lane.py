"""A worker of one lane of the queue. It does what waits there, one after the other, and stays ready for a while."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

from deepfm_core._log import note
from deepfm_core.errors import DeepFMError
from deepfm_core.spec.events import never
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store

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
