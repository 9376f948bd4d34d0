"""One fit by workers on the nodes of a Ray cluster, by Ray Train. `RayWorkers` is a trainer, as `LocalWorkers` is.

The first worker leads, and gives its events and checkpoints to a desk on this machine, from which the run takes them.
A worker that ends makes Ray Train begin all of them anew; they go on from the last checkpoint at the desk. Rows are
read where this machine has them, if a node sees that folder; otherwise each worker fetches its own stretch from the
desk, and the first one all of them, which it asks for the guide.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepfm_core.encoding.encoded_table import Layout
from deepfm_core.encoding.sharding import PARTS, TYPES, Shards, open_shards
from deepfm_core.errors import DeepFMError, RunError, first_line
from deepfm_core.spec.events import EpochDone, Event, event_from_dict
from deepfm_core.spec.run import FitSpec, fit_from, model_from
from deepfm_core.training.fit import fit
from deepfm_core.training.hardware import wanted_threads
from deepfm_core.training.replicas.exchange import Replicas
from deepfm_core.training.replicas.local import LOSSES, Fitting, on_the_disk, unnamed
from deepfm_core.training.replicas.rows import stretch
from deepfm_core.training.replicas.team import Team, follow, step_with
from deepfm_core.training.state import FitState
from deepfm_core.workers.cluster import node
from deepfm_core.workers.cluster.ray_engine import connect

SEEN = True
"""Whether nodes may read rows where this machine has them, if they see the folder."""
_PIECE = 1 << 26
"""Bytes of rows that are fetched at a time."""
_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 2 * 86_400
_END_SECONDS = 20.0

Kept = tuple[dict[str, Tensor], dict[str, Any]]
Message = tuple[str, dict[str, Any], Any]
"""A word or an event's kind, its values, and what came with it."""
ENDED, FAILED = "ended", "failed"


class Desk:
    """What the workers and the run exchange: an actor on the machine of the run."""

    def __init__(self, folder: str, layout: dict[str, Any], kept: Kept | None) -> None:
        """Keep a checkpoint, if there is one, and have rows of a layout in a folder."""
        self._folder, self._layout, self._kept, self._messages = Path(folder), layout, kept, list[Message]()

    def put(self, message: Message, kept: Kept | None = None) -> None:
        """Lay down a message for the run; with an epoch's end, its checkpoint."""
        self._kept = kept or self._kept
        self._messages.append(message if kept is None else (*message[:2], kept))

    def take(self) -> list[Message]:
        """Take all messages."""
        taken, self._messages = self._messages, []
        return taken

    def begin(self) -> tuple[dict[str, Any], Kept | None]:
        """Give the leader the layout with the features' names, which its guide asks for, and the last checkpoint."""
        return self._layout, self._kept

    def read(self, name: str, start: int, count: int) -> bytes:
        """Read bytes of a file of rows."""
        with (self._folder / name).open("rb") as file:
            file.seek(start)
            return file.read(count)


@dataclass(frozen=True)
class RayWorkers:
    """A trainer of `count` workers on the Ray cluster at an address, HOST:PORT."""

    count: int
    address: str

    def __call__(self, fitting: Fitting) -> Iterator[Event]:
        """Do a fit.

        Raises:
            RunError: the cluster cannot be joined, has no room, or loses workers again and again.
            TrainingError: the loss is no longer a number.
        """
        ray = connect(self.address)
        try:
            _require_train()
            with on_the_disk(fitting) as shards, tempfile.TemporaryDirectory() as storage:
                self._require_room(ray)
                yield from self._fitted(ray, fitting, shards["train"], storage)
        finally:
            ray.shutdown()  # whatever still works there for this run ends with it

    def _require_room(self, ray: Any) -> None:
        there = int(ray.cluster_resources().get("CPU", 0))
        if there < self.count:
            raise RunError(
                f"The Ray cluster at `{self.address}` has {there} processors for {self.count} workers. Add nodes, or "
                "use fewer --workers."
            )

    def _fitted(self, ray: Any, fitting: Fitting, shards: Shards, storage: str) -> Iterator[Event]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        kept = fitting.checkpoint()
        desk = ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote(
            str(shards.folder), fitting.train.layout.to_dict(), kept
        )
        trainer = _Trainer(partial(self._train, ray, desk, _told(fitting, shards), storage))
        ended = False
        while not ended:
            over = not trainer.thread.is_alive()  # before the last messages are taken
            for kind, values, brought in ray.get(desk.take.remote()):
                if kind == FAILED:
                    raise RunError(values["message"])
                if kind == EpochDone.kind or kind == ENDED:
                    fitting.state.load(*brought)
                if kind == ENDED:
                    fitting.state.guide, ended = values["guide"], True
                    fitting.state.model.eval()
                else:
                    yield event_from_dict(kind, values)
            if over and not ended:
                raise RunError(f"The workers of the cluster ended before their time ({trainer.said()}).")
            trainer.thread.join(_LOOK_SECONDS)
        trainer.thread.join(_END_SECONDS)

    def _train(self, ray: Any, desk: Any, told: dict[str, Any], storage: str) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpu = told["device"].startswith("cuda")
        TorchTrainer(
            partial(_work, desk=desk),
            train_loop_config=told,
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpu else "gloo", timeout_s=_PATIENCE_SECONDS),
            scaling_config=ScalingConfig(num_workers=self.count, use_gpu=gpu, placement_strategy="SPREAD"),
            run_config=RunConfig(storage_path=storage, failure_config=FailureConfig(max_failures=LOSSES)),
        ).fit()


def _require_train() -> None:
    try:
        import ray.train.torch  # noqa: F401
    except ImportError as error:
        raise RunError(
            f"Workers of a cluster need Ray Train, which cannot be loaded ({first_line(error)}). Run `pip install "
            '"ray[train]"`, in the version of the cluster.'
        ) from error


class _Trainer:
    """Ray Train at work, in a thread beside the run."""

    def __init__(self, work: Any) -> None:
        self._work, self._error = work, list[BaseException]()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # told by the run; leaving the cluster raises SystemExit here
            self._error.append(error)

    def said(self) -> str:
        """Say why it ended."""
        return first_line(self._error[0]) if self._error else "without a word"


def _told(fitting: Fitting, shards: Shards) -> dict[str, Any]:
    return {
        "program": node.program(),
        "layout": unnamed(fitting.train.layout).to_dict(),
        "shards": str(shards.folder) if SEEN else "",
        "window": shards.window_bytes,
        "rows": {"train": len(shards), "valid": len(fitting.valid), "test": 0},
        "files": {path.name: path.stat().st_size for path in _of_fit(shards.folder)},
        "model": asdict(fitting.state.final.spec),
        "fit": asdict(fitting.spec),
        "seed": fitting.state.seed,
        "device": str(fitting.state.final.table.device),
        "threads": wanted_threads() or 1,
    }


def _of_fit(folder: Path) -> list[Path]:
    """List the files of encoded rows that a fit reads: not those of the test part."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != "encoder.json"]


# On a node.


def _work(told: dict[str, Any], desk: Any) -> None:
    """Be one worker of a fit."""
    import ray
    from ray import train

    context = train.get_context()
    replicas = Replicas(context.get_world_rank(), context.get_world_size())
    torch.set_num_threads(told["threads"])
    torch.set_flush_denormal(True)
    try:
        if difference := node.difference(told["program"]):
            raise RunError(difference)
        with tempfile.TemporaryDirectory() as folder:
            rows = _rows(told, replicas, partial(_read, ray, desk), Path(folder))
            if replicas.rank:
                _follow(told, replicas, rows)
            else:
                _lead(told, replicas, rows, partial(_put, ray, desk), *ray.get(desk.begin.remote()))
    except DeepFMError as error:  # trying again would not help
        if replicas.rank == 0:
            _put(ray, desk, (FAILED, {"message": str(error)}, None))
        else:
            raise


def _put(ray: Any, desk: Any, message: Message, kept: Kept | None = None) -> None:
    ray.get(desk.put.remote(message, kept))


def _read(ray: Any, desk: Any, name: str, start: int, count: int) -> bytes:
    content: bytes = ray.get(desk.read.remote(name, start, count))
    return content


def _rows(told: dict[str, Any], replicas: Replicas, read: Callable[[str, int, int], bytes], folder: Path) -> Path:
    """Give the folder with this worker's rows: the run's, where it is seen from here, or one with what is fetched."""
    seen = Path(told["shards"]) if told["shards"] else None
    if seen is not None and all(_size(seen / name) == size for name, size in told["files"].items()):
        return seen
    for name, size in told["files"].items():
        content = name.partition(".")[0] in PARTS and name.partition(".")[2] in TYPES
        with (folder / name).open("wb") as file:
            file.truncate(size)  # what is not fetched takes no room on the disk
            start, stop = (0, size) if not content or not replicas.rank else _bytes_of(told, name, replicas)
            for place in range(start, stop, _PIECE):
                file.seek(place)
                file.write(read(name, place, min(_PIECE, stop - place)))
    return folder


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _bytes_of(told: dict[str, Any], name: str, replicas: Replicas) -> tuple[int, int]:
    """Say which bytes of a file hold the rows that a worker reads."""
    rows = told["rows"][name.partition(".")[0]]
    a_row = told["files"][name] // max(rows, 1)
    first, stop = stretch(rows, replicas.rank, replicas.size)
    return first * a_row, stop * a_row


def _begun(
    told: dict[str, Any], layout: dict[str, Any], replicas: Replicas, rows: Path
) -> tuple[FitSpec, Shards, Shards, FitState]:
    """Give settings, training and validation rows, and a new state."""
    of, spec = Layout.from_dict(layout), fit_from(told["fit"])
    parts, _ = open_shards(rows, of, told["window"])
    state = FitState.new(of, model_from(told["model"]), spec, told["seed"], step_with(replicas), told["device"])
    return spec, parts["train"], parts["valid"], state


def _follow(told: dict[str, Any], replicas: Replicas, rows: Path) -> None:
    follow(*_begun(told, told["layout"], replicas, rows), replicas)


def _lead(
    told: dict[str, Any],
    replicas: Replicas,
    rows: Path,
    put: Callable[..., None],
    layout: dict[str, Any],
    kept: Kept | None,
) -> None:
    """Do the fit with the others, from a checkpoint if there is one."""
    spec, train, valid, state = _begun(told, layout, replicas, rows)
    if kept is not None:
        state.load(*kept)
    team = Team(replicas, train, valid)
    for event in fit(spec, train, valid, state, team):
        put((event.kind, event.to_dict(), None), _kept(state) if isinstance(event, EpochDone) else None)
    team.end()
    put((ENDED, {"guide": state.guide}, None), _kept(state))


def _kept(state: FitState) -> Kept:
    return {name: value.detach().cpu().clone() for name, value in state.tensors().items()}, state.numbers()
