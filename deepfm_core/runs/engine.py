"""The engine of this machine: does a run from its tables to its frames, and says what happens as events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from typing import Any

import pandas as pd
import torch

from deepfm_core.encoding.encoded_table import EncodedTable, together
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import Part, RunParts, load_parts
from deepfm_core.errors import RunError
from deepfm_core.explain import frames
from deepfm_core.metrics.scores import Metrics
from deepfm_core.runs.baseline import boost
from deepfm_core.runs.cross_fit_stage import hold_out
from deepfm_core.runs.evaluate import judge, scores
from deepfm_core.runs.evidence_task import Observation, own_parts
from deepfm_core.runs.explain_stage import Evidence, explain
from deepfm_core.runs.job import Job
from deepfm_core.runs.warmup import trial_run
from deepfm_core.spec.events import (
    HOLD_OUT,
    Cancelled,
    EpochDone,
    Event,
    Finished,
    Fitted,
    Ready,
    Scored,
    Stage,
    Started,
)
from deepfm_core.spec.run import YARDSTICK, RunSpec
from deepfm_core.store.encoding_cache import EncodedShelf, Prepared
from deepfm_core.store.query import about_pairs
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.hardware import set_threads, training_device
from deepfm_core.training.state import FitState

Events = Generator[Event, None, None]


@cache
def warm_up() -> None:
    """Do ahead, once, what the first run of this process would otherwise wait for."""
    trial_run(execute)


@dataclass
class _Work:
    """What the stages of one run hand on to each other."""

    job: Job
    seconds: dict[str, float] = field(default_factory=dict)
    parts: RunParts = field(init=False)
    encoder: Encoder = field(init=False)
    train: EncodedTable = field(init=False)
    valid: EncodedTable = field(init=False)
    test: EncodedTable = field(init=False)
    kept: Prepared | None = None
    """What an earlier run has prepared."""
    keeping: threading.Thread | None = None
    """Keeps for later runs what this one has prepared, while it trains."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when the run has ended, well or not: what is still being kept then is given up."""
    observation: Observation | None = None
    state: FitState = field(init=False)
    fitted: Fitted = field(init=False)
    metrics: dict[str, Metrics] = field(default_factory=dict)

    @property
    def spec(self) -> RunSpec:
        return self.job.spec

    @property
    def shelf(self) -> EncodedShelf | None:
        return EncodedShelf(self.job.home / "tables") if self.job.home else None


class _Stopped(Exception):  # noqa: N818 (not an error)
    """The job was cancelled."""


def execute(job: Job) -> Iterator[Event]:
    """Do a run: read, encode, fit, evaluate, explain, hold out.

    Everything that pages show is in the job's folder when `Ready` comes, and the evidence on unseen rows as well when
    `Finished` does.

    A checkpoint left in the folder by an earlier attempt is taken up, and the run ends with the same weights as one
    never interrupted.

    Raises:
        DeepFMError: the tables, the schema or the settings cannot be used.
    """
    if job.spec.model.name == YARDSTICK:
        yield from boost(job)
        return
    torch.set_flush_denormal(True)
    work = _Work(job)
    job.folder.create().write_spec(job.spec)
    try:
        for name, stage in (
            ("read", _read),
            ("encode", _encode),
            ("fit", _fit),
            ("evaluate", _evaluate),
            *([("explain", _explain)] if job.spec.explained else []),
        ):
            yield Stage(name)
            yield from _timed(work, name, stage)
        if _folds(work):
            yield Ready(_summary(work))
            yield from _timed(work, HOLD_OUT, _hold_out)
        if work.keeping is not None:
            work.keeping.join()
    except _Stopped:
        yield Cancelled(work.state.epoch if hasattr(work, "state") else 0)
        return
    finally:
        torch.set_flush_denormal(False)  # the process may be somebody's notebook
        if work.observation is not None:
            work.observation.stop()
        work.ended.set()
    summary = _summary(work)
    job.folder.write_summary(summary)
    job.folder.remove_checkpoint()
    yield Finished(summary)


def _timed(work: _Work, name: str, stage: Callable[[_Work], Events]) -> Events:
    """Do a stage, stopping at the first event after a cancel, and remember how long it took."""
    began = time.perf_counter()
    for event in stage(work):
        yield event
        _stop_if_cancelled(work.job)
    _stop_if_cancelled(work.job)
    work.seconds[name] = time.perf_counter() - began


def _stop_if_cancelled(job: Job) -> None:
    if job.cancelled():
        raise _Stopped


def _read(work: _Work) -> Events:
    work.kept = work.shelf.find(work.spec, work.job.table) if work.shelf else None
    work.parts = work.kept.parts if work.kept else load_parts(work.spec, work.job.table)
    for note in work.parts.notes:
        yield Stage("read", 1.0, note)


def _encode(work: _Work) -> Events:
    if work.kept:
        work.encoder = work.kept.encoder
        work.train, work.valid, work.test = (work.kept.tables[name] for name in ("train", "valid", "test"))
    else:
        yield from _encode_anew(work)
    work.encoder.save(work.job.folder.encoder)


def _encode_anew(work: _Work) -> Events:
    parts, spec = work.parts, work.spec
    train = parts.train
    name, frame = train.table.name, train.table.frame
    options: dict[str, Any] = {"min_count": spec.min_count, "crosses": spec.model.crosses}
    work.encoder = Encoder.fit(frame, spec.schema, rows=train.rows, subject=name, **options)
    for number, name in enumerate(("train", "valid", "test")):
        part: Part = getattr(parts, name)
        setattr(work, name, part.encode(work.encoder))
        yield Stage("encode", (number + 1) / 3)
    if work.shelf:
        tables = {"train": work.train, "valid": work.valid, "test": work.test}
        prepared = Prepared(parts, work.encoder, tables)
        keep = partial(work.shelf.keep, spec, prepared, lambda: work.ended.is_set() or work.job.cancelled())
        work.keeping = threading.Thread(target=keep, daemon=True)
        work.keeping.start()


def _fit(work: _Work) -> Events:
    spec, folder = work.spec, work.job.folder
    set_threads(work.train.layout, spec.model, spec.fit)
    work.state = FitState.new(work.train.layout, spec.model, spec.fit, spec.seed, device=training_device())
    checkpoint = folder.load_checkpoint()
    if checkpoint is not None:
        try:
            work.state.load(*checkpoint)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError("The run's checkpoint is an earlier version's and cannot go on. Train it anew.") from error
    sample = frames.sample_rows(work.train, spec.seed)
    for event in fit(spec.fit, work.train, work.valid, work.state):
        if isinstance(event, EpochDone):
            _after_epoch(work, sample, event.epoch)
        if isinstance(event, Fitted):
            work.fitted = event
        yield event
        if spec.explained and work.observation is None and not isinstance(event, Started):  # the first loss comes first
            home = work.job.home
            asked = None if home is None else about_pairs(home, spec.table, spec.schema)
            work.observation = Observation(folder, lambda: work.parts.train.table, spec.schema, asked, home)
    folder.save_model(work.state.model.state_dict(), {"model": asdict(spec.model), "epoch": work.fitted.best_epoch})


def _after_epoch(work: _Work, sample: EncodedTable, epoch: int) -> None:
    """Keep what a resumed run needs and what the page shows while training."""
    folder, model = work.job.folder, work.state.model
    if work.spec.model.second_order and work.spec.explained:  # an FM that only starts another model has none to show
        earlier = folder.frame("pairs_by_epoch")
        now = frames.pairs_after_epoch(model, sample, epoch)
        whole = now if earlier is None else pd.concat([earlier[earlier["epoch"] < epoch], now], ignore_index=True)
        folder.write_frame("pairs_by_epoch", whole)
    folder.save_checkpoint(work.state.tensors(), work.state.numbers())


def _evaluate(work: _Work) -> Events:
    tables = {"valid": (work.parts.valid, work.valid), "test": (work.parts.test, work.test)}
    judged = {}
    for name, (part, table) in tables.items():
        if len(part):
            judged[name] = part, predict_logits(work.state.model, table)
            yield Stage("evaluate", 0.5 if name == "valid" else 1.0)
    work.metrics = judge(work.job.folder, judged, float(work.parts.train.labels.mean()))
    yield Scored(
        {
            "epochs": work.fitted.epochs,
            "best_epoch": work.fitted.best_epoch,
            **{name: scores(work.metrics.get(name)) for name in ("valid", "test")},
        }
    )


def _explain(work: _Work) -> Events:
    shown = ("test", work.parts.test, work.test) if len(work.test) else ("valid", work.parts.valid, work.valid)
    assert work.observation is not None
    seen = work.observation
    evidence = Evidence(lambda: seen.ended, seen.result, lambda: seen.share, partial(_pause, work))
    yield from explain(work.job.folder, work.state.model, work.train, shown, evidence, work.spec.seed)


def _pause(work: _Work) -> None:
    _stop_if_cancelled(work.job)
    time.sleep(0.02)


def _folds(work: _Work) -> int:
    parts = [work.train, work.valid, work.test]
    rows = sum(len(part) for part in own_parts(parts, work.spec))
    return work.spec.folds_for(rows) if len(work.train.layout.fields) > 1 else 0


def _hold_out(work: _Work) -> Events:
    spec, table = work.spec, together(own_parts([work.train, work.valid, work.test], work.spec))
    folds, epochs = _folds(work), work.fitted.best_epochs
    yield from hold_out(work.job.folder, table, spec.model, spec.fit, folds=folds, epochs=epochs, seed=spec.seed)


def _summary(work: _Work) -> dict[str, Any]:
    rows = {name: len(getattr(work, name)) for name in ("train", "valid", "test")}
    seconds = {name: round(value, 4) for name, value in work.seconds.items()}
    held_out = {"hold_out_seconds": seconds.pop(HOLD_OUT)} if HOLD_OUT in seconds else {}
    return {
        "run": str(work.job.folder.path),
        "model": work.spec.model.name,
        "rows": rows,
        "parameters": work.state.model.parameter_count,
        "epochs": work.fitted.epochs,
        "best_epoch": work.fitted.best_epoch,
        **{name: scores(work.metrics.get(name)) for name in ("valid", "test")},
        "seconds": seconds,
        **held_out,
        "rows_per_second": round(work.fitted.rows_per_second, 1),
    }
