"""The worker of a store that has a cluster do the runs: it claims as many as have room, and follows each in a thread.

It alone writes to the store. Whoever starts another one after it was killed loses nothing: runs that a dispatcher has
left behind go back into the queue, and on from their last checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from deepfm_core._files import write_json
from deepfm_core.experiments.study import choosing, may_choose
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow
from deepfm_core.store.run_queue import RUNS
from deepfm_core.store.store import CLUSTER_FILE, Store
from deepfm_core.workers.cluster.ray_engine import RayEngine, placed
from deepfm_core.workers.lane import Lane, perform

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
        """Claim the first run that may begin; a search's wait where their setting needs results that are not there."""
        held: set[str | None] = set()
        for run in self._store.claims.waiting():
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
