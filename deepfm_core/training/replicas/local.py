"""The workers of a fit as processes of this machine. This process is the first of them, and leads.

A worker that ends before its time is replaced: all others end, too, new ones begin, and the fit goes on from its last
checkpoint, as a run does that was interrupted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, distributed
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.encoding.sharding import Shards, ShardWriter, open_shards, require_room
from deepfm_core.errors import RunError
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.spec.events import EpochDone, Event, Stage
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.fit import fit
from deepfm_core.training.replicas.exchange import Replicas
from deepfm_core.training.replicas.team import Team, step_with
from deepfm_core.training.rows import Source
from deepfm_core.training.state import FitState

HOST = "127.0.0.1"
FOLLOWER = "deepfm_core.training.replicas.follower"
LOSSES = 4
"""Workers that may be lost with no epoch in between."""
_PATIENCE = timedelta(days=2)
"""How long a worker waits for another, which may be held up as long as it lives; one that ends is noticed at once."""
_BEGIN_SECONDS = 120.0
_LOOK_SECONDS = 0.05
_END_SECONDS = 5.0

Checkpoint = tuple[dict[str, Tensor], dict[str, Any]]


@dataclass(frozen=True)
class Fitting:
    """A fit that workers share.

    Attributes:
        spec: the fit's settings.
        train, valid: the rows, all of them in memory or on the disk.
        state: where it stands; it takes its steps alone, until workers are given to it.
        folder: where files may be put meanwhile.
        checkpoint: reads what was kept after the last epoch, if anything.
    """

    spec: FitSpec
    train: Source
    valid: Source
    state: FitState
    folder: Path
    checkpoint: Callable[[], Checkpoint | None]


class Trainer(Protocol):
    """Does a fit by several workers, as `fit` does it by itself."""

    @property
    def count(self) -> int:
        """How many workers there are."""

    def __call__(self, fitting: Fitting) -> Iterator[Event]:
        """Do a fit, and yield its events."""


class LostWorkerError(RunError):
    """A worker has ended before its time."""


@dataclass(frozen=True)
class LocalWorkers:
    """A trainer of `count` processes of this machine."""

    count: int

    def __call__(self, fitting: Fitting) -> Iterator[Event]:
        """Do a fit.

        Raises:
            RunError: workers end again and again.
            TrainingError: the loss is no longer a number.
        """
        lost, model = 0, fitting.state.model
        first = {name: value.clone() for name, value in model.state_dict().items()}
        with on_the_disk(fitting) as shards:
            while True:
                try:
                    for event in self._fitted(fitting, shards):
                        yield event
                        if isinstance(event, EpochDone):  # and it was kept
                            lost, first = 0, {}
                    return
                except LostWorkerError as error:
                    lost += 1
                    if lost > LOSSES:
                        raise RunError(
                            f"{error} That is {lost} times with no epoch in between. They may need more memory: use "
                            "fewer `--workers`."
                        ) from error
                    said = f"{error} A new one takes its place."
                _restore(fitting, model, first)
                yield Stage("fit", 0.0, f"{said} Training goes on after epoch {fitting.state.epoch}.")

    def _fitted(self, fitting: Fitting, shards: Mapping[str, Shards]) -> Iterator[Event]:
        """Do a fit with new workers, as far as they come."""
        replicas = Replicas(0, self.count)
        fitting.state.step_by(step_with(replicas), fitting.spec)
        with _Processes(fitting, shards["train"], self.count) as processes:
            processes.join()
            team = Team(replicas, fitting.train, fitting.valid)
            events = fit(fitting.spec, fitting.train, fitting.valid, fitting.state, team)
            try:
                yield from events
                team.end()
            except RuntimeError as error:
                ended = processes.who_ended()
                if ended is None:
                    raise
                raise LostWorkerError(f"{ended} ended before its time.") from error
            processes.ended = True


def _restore(fitting: Fitting, model: DeepFM, first: Mapping[str, Tensor]) -> None:
    """Put a fit back to where its last checkpoint was, or to its beginning with the `first` weights of its model."""
    state, kept = fitting.state, fitting.checkpoint()
    guide = state.guide
    state.begin_anew(model, first)
    if kept is not None:
        state.load(*kept)
        state.guide = guide


@contextmanager
def on_the_disk(fitting: Fitting) -> Iterator[Mapping[str, Shards]]:
    """Give the rows on the disk, where each worker reads its own; those in memory are put there meanwhile."""
    parts = {"train": fitting.train, "valid": fitting.valid}
    if all(isinstance(part, Shards) for part in parts.values()):
        yield {name: part for name, part in parts.items() if isinstance(part, Shards)}
        return
    tables = {name: part for name, part in parts.items() if isinstance(part, EncodedTable)}
    require_room(fitting.folder, sum(_size(table) for table in tables.values()))
    with tempfile.TemporaryDirectory(prefix=".workers.", dir=fitting.folder) as folder:
        with ShardWriter(Path(folder)) as writer:
            for name, table in tables.items():
                writer.write(name, table)
            writer.finish({})
        rows = 4 * sum(len(table) for table in tables.values()) * (_width(tables["train"]) + 1)
        yield open_shards(Path(folder), fitting.train.layout, rows)[0]


def _width(table: EncodedTable) -> int:
    weights = 0 if table.weights is None else table.weights.shape[1]
    return int(table.ids.shape[1] + table.dense.shape[1] + weights + 1)


def _size(table: EncodedTable) -> int:
    return 4 * len(table) * _width(table)


class _Processes:
    """The other workers' processes, and the group that they and this one are in."""

    def __init__(self, fitting: Fitting, shards: Shards, count: int) -> None:
        if distributed.is_initialized():
            raise RunError("This process is in a group of torch.distributed already. Leave that first.")
        self._count, self.ended = count, False
        self._store = TCPStore(HOST, 0, None, is_master=True, wait_for_workers=False, timeout=_PATIENCE)
        self._errors = [tempfile.TemporaryFile() for _ in range(1, count)]  # noqa: SIM115 (closed in __exit__)
        self._told = {
            "size": count,
            "port": self._store.port,
            "layout": unnamed(fitting.train.layout).to_dict(),
            "shards": str(shards.folder),
            "window": shards.window_bytes,
            "model": asdict(fitting.state.final.spec),
            "fit": asdict(fitting.spec),
            "seed": fitting.state.seed,
            "device": str(fitting.state.final.table.device),
            "threads": torch.get_num_threads(),
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def _start(self, told: dict[str, Any]) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parents[3])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        process = subprocess.Popen(
            [sys.executable, "-m", FOLLOWER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors[told["rank"] - 1],
            env=environment,
        )
        assert process.stdin is not None
        with suppress(OSError), process.stdin as stdin:  # one that has ended already is noticed later
            stdin.write(json.dumps(told).encode())
        return process

    def join(self) -> None:
        """Wait for the others, and make a group with them.

        Raises:
            LostWorkerError: one has ended, or does not begin.
        """
        keys, began = [f"ready-{rank}" for rank in range(1, self._count)], time.monotonic()
        while not self._store.check(keys):
            if any(process.poll() is not None for process in self._processes):
                raise LostWorkerError(f"{self.who_ended()} ended before its time.")
            if time.monotonic() - began > _BEGIN_SECONDS:
                raise LostWorkerError(f"A worker did not begin within {_BEGIN_SECONDS:.0f} seconds.")
            time.sleep(_LOOK_SECONDS)
        join_group(self._store, 0, self._count)

    def who_ended(self) -> str | None:
        """Say which worker has ended, and what it said last; None where all others live."""
        until = time.monotonic() + _END_SECONDS
        while time.monotonic() < until:
            for number, (process, errors) in enumerate(zip(self._processes, self._errors, strict=True), 2):
                if process.poll() is not None:
                    return f"Worker {number} of {self._count}{_last_words(process.returncode, errors)}"
            time.sleep(_LOOK_SECONDS)
        return None

    def __enter__(self) -> _Processes:
        try:
            for rank in range(1, self._count):
                self._processes.append(self._start({**self._told, "rank": rank}))
        except BaseException:  # also an interrupt: those that have begun would wait for a leader
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if distributed.is_initialized():
            if not self.ended:  # they may wait for this one, or this one's group for them
                self._kill()
            distributed.destroy_process_group()
        until = time.monotonic() + _END_SECONDS
        while self.ended and time.monotonic() < until and any(one.poll() is None for one in self._processes):
            time.sleep(_LOOK_SECONDS)
        self._kill()
        for errors in self._errors:
            errors.close()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def unnamed(layout: Layout) -> Layout:
    """Give a layout without the names of its features, of which there may be millions: none is read in training."""
    fields = tuple(replace(field, features=()) for field in layout.fields)
    return replace(layout, fields=fields, crosses=tuple(replace(field, features=()) for field in layout.crosses))


def _last_words(code: int, errors: Any) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    if code < 0:
        return f" (ended by signal {-code})"
    return f" ({lines[-1]})" if lines else ""


def join_group(store: Store, rank: int, size: int) -> None:
    """Make a group of processes of this machine: gloo between processors, NCCL between GPUs where torch has it."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
