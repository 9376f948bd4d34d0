"""The worker process: takes runs from the queue one after the other, and stays ready for a while.

    python -m deepfm_core worker [--home DIR] [--idle SECONDS] [--engine MODULE:FUNCTION]
    python -m deepfm_core worker --engine ray --address HOST:PORT [--processors N]

It is the only writer of the run it has claimed. Its engine is `deepfm_core.runs.engine:execute` unless `--engine` or
$DEEPFM_ENGINE names another one. With `ray`, the nodes of a cluster do the runs, as many at a time as have room.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path

from deepfm_core._arguments import Parser, number
from deepfm_core._parallel import use_system_memory
from deepfm_core._words import whole_number
from deepfm_core.errors import DeepFMError
from deepfm_core.experiments.study import choosing
from deepfm_core.runs.job import Engine
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow
from deepfm_core.store.run_queue import LABELS, RUNS
from deepfm_core.store.store import Store, default_home
from deepfm_core.workers import lane
from deepfm_core.workers.lane import Lane, perform

DEFAULT_ENGINE = "deepfm_core.runs.engine:execute"
CLUSTER = "ray"
"""The engine that is a cluster; `ray:MODULE:FUNCTION` says what its nodes do the runs with."""
IDLE_SECONDS = 15 * 60.0
_POLL_SECONDS = 0.025
_PURGE_SECONDS = 3600.0
_AGAIN_SECONDS = 6 * 60.0
"""Seconds after which a store that was not tidied is looked at again: a worker may end after fifteen minutes."""

_now = time.monotonic
WarmUp = Callable[[], None]


def load_engine(name: str) -> tuple[Engine, WarmUp]:
    """Import an engine by `module:function`, with its module's `warm_up()` or, where there is none, nothing to do.

    Raises:
        DeepFMError: there is no such engine.
    """
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
        engine: Engine = getattr(module, function)
    except (ImportError, AttributeError, ValueError) as error:
        raise DeepFMError(f"Engine `{name}` cannot be loaded ({error}). Write it as module:function.") from error
    warm_up: WarmUp = getattr(module, "warm_up", lane.nothing)
    return engine, warm_up


def work(home: Path, engine_name: str, idle: float, address: str = "", processors: int = 1) -> None:
    """Work for the store at `home`. Told to end, put the run back into the queue.

    Args:
        home: the store.
        engine_name: MODULE:FUNCTION, or `ray`.
        idle: seconds to stay ready with an empty queue.
        address: HOST:PORT of a Ray cluster.
        processors: of a run, on a cluster.

    Raises:
        DeepFMError: the store or the engine cannot be opened.
    """
    store = Store(home)

    def dispatch(worker: Process) -> Lane:
        from deepfm_core.workers.cluster.ray_engine import (
            Dispatcher,  # alone knows of Ray
            RayEngine,
        )

        engine = RayEngine(store, address, engine_name.partition(":")[2] or DEFAULT_ENGINE, processors)
        return Dispatcher(store, worker, engine, Upkeep(store)).lane(idle)

    def prepare(worker: Process) -> Lane:
        engine, warm_up = load_engine(engine_name)

        def claim() -> Callable[[], None] | None:
            run = store.next_run(worker)
            return partial(_do, store, run, engine, worker) if run else None

        return Lane(RUNS, claim, idle, _POLL_SECONDS, warm_up, Upkeep(store))

    lane.work(store, RUNS, dispatch if engine_name.partition(":")[0] == CLUSTER else prepare)


def keep_answering(store: Store) -> None:
    """Keep a worker ready for questions about labels, so that nobody waits for one to start."""
    with suppress(DeepFMError):  # without one, questions are still answered, only later
        store.workers.ensure(LABELS)


class Upkeep:
    """What a worker does between two runs: keep another one answering, and empty the store's bin once an hour.

    After a pause the first look only notes the time, and another one follows soon.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due = 0.0

    def __call__(self) -> None:
        """Do what is due."""
        keep_answering(self._store)
        if _now() >= self._due:
            self._due = _now() + _AGAIN_SECONDS
            with suppress(DeepFMError):  # a store that cannot be written for a moment
                if self._store.tidy():
                    self._due = _now() + _PURGE_SECONDS


def _do(store: Store, run: RunRow, engine: Engine, worker: Process) -> None:
    log = store.folder(run.id).create().log.open("a", encoding="utf-8")
    with log, redirect_stdout(log), redirect_stderr(log):
        for _ in perform(store, run, choosing(store, run, engine), worker):
            pass


def parser(program: str = "python -m deepfm_core") -> Parser:
    """Make the parser of the command `worker`; `program` is what was typed before it."""
    whole = Parser(prog=f"{program} worker", description="Train the queued runs, oldest first.")
    whole.add_argument("--home", type=Path, default=default_home(), help="the store (default: $DEEPFM_HOME)")
    whole.add_argument("--idle", type=number, default=IDLE_SECONDS, help="seconds to stay ready with an empty queue")
    engine = os.environ.get("DEEPFM_ENGINE", DEFAULT_ENGINE)
    whole.add_argument("--engine", default=engine, help="MODULE:FUNCTION that does the runs, or ray")
    address = os.environ.get("RAY_ADDRESS", "")
    whole.add_argument("--address", default=address, help="with ray: HOST:PORT of the cluster (default: $RAY_ADDRESS)")
    whole.add_argument("--processors", type=_count, default=1, help="with ray: processors of a run (default: 1)")
    return whole


def _count(text: str) -> int:
    count = whole_number(text)
    if not count:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number of 1 or more")
    return count


def main(arguments: Sequence[str], program: str) -> int:
    """Run the command `worker` and return its exit status."""
    try:
        whole = parser(program)
        options, unknown = whole.parse_known_args(arguments)
        if unknown:
            whole.refuse(unknown[0])
        use_system_memory()
        work(options.home, options.engine, options.idle, options.address, options.processors)
    except DeepFMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
