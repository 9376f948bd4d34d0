"""The engine of this machine: it does a run, from its tables to its frames, and yields events on the way.

Start with `execute`, which does the stages one after the other. Each stage is a generator of events; `_Work` is what
they hand on.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from deepfm_core.encoding.encoded_table import EncodedTable, together
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.memory import encoded_on_disk, parts_of_sample, said_of_sample
from deepfm_core.encoding.sharding import PARTS, Dataset, Sharded, Shards
from deepfm_core.encoding.splits import Part, RunParts, load_parts
from deepfm_core.encoding.unseen import unseen_notes
from deepfm_core.errors import RunError
from deepfm_core.explain import frames
from deepfm_core.metrics.scores import Metrics
from deepfm_core.runs.cross_fit_stage import hold_out
from deepfm_core.runs.evaluate import boost, evaluate_parts, scores
from deepfm_core.runs.evidence_task import Observation, own_parts
from deepfm_core.runs.explain_stage import Evidence, explain
from deepfm_core.runs.findings import find_pair_again
from deepfm_core.runs.job import Context, Job
from deepfm_core.runs.warmup import warmup_run
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
from deepfm_core.spec.run import BASELINE, RunSpec
from deepfm_core.store.encoding_cache import Prepared
from deepfm_core.tables.table import Table
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.hardware import set_threads, training_device
from deepfm_core.training.rows import Source
from deepfm_core.training.state import FitState

Events = Generator[Event, None, None]


@cache
def warm_up() -> None:
    """Load and compile ahead of time what the first run of this process would wait for."""
    warmup_run(execute)


@dataclass
class _Work:
    """The state of one run, which its stages hand on to each other."""

    job: Job
    context: Context
    seconds: dict[str, float] = field(default_factory=dict)
    dataset: Dataset | None = None
    """The whole of which the run's table is a sample; None where the table is the whole."""
    whole: Sharded | None = None
    """All rows of the dataset, encoded, on the disk. `parts`, `train`, `valid` and `test` are those of the sample."""
    parts: RunParts = field(init=False)
    encoder: Encoder = field(init=False)
    train: EncodedTable = field(init=False)
    valid: EncodedTable = field(init=False)
    test: EncodedTable = field(init=False)
    kept: Prepared | None = None
    """Tables that an earlier run encoded, if there are any."""
    keeping: threading.Thread | None = None
    """Stores this run's encoded tables for later runs, while it trains."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when the run has ended, well or not; storing encoded tables then stops."""
    observation: Observation | None = None
    state: FitState = field(init=False)
    fitted: Fitted = field(init=False)
    metrics: dict[str, Metrics] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences about the parts, for the user."""

    @property
    def spec(self) -> RunSpec:
        return self.job.spec

    @property
    def workers(self) -> int:
        """Processes that share the fit."""
        return 1 if self.context.trainer is None else self.context.trainer.count


class _Stopped(Exception):  # noqa: N818 (not an error)
    """The job was cancelled."""


def execute(job: Job, context: Context) -> Iterator[Event]:
    """Do a run: read, encode, fit, evaluate, explain, hold out.

    When `Ready` comes, everything that pages show is in the job's folder. When `Finished` comes, the evidence on
    held-out rows is there, too. If an earlier attempt left a checkpoint in the folder, the run goes on from there, and
    ends with the same weights as a run that was never interrupted.

    Raises:
        DeepFMError: the tables, the schema or the settings cannot be used.
    """
    if job.spec.model.name == BASELINE:
        yield from boost(job, context)
        return
    torch.set_flush_denormal(True)  # denormal numbers (below 1e-38) would make products many times slower
    work = _Work(job, context)
    job.folder.create().write_spec(job.spec)
    try:
        for name, stage in (
            ("read", _read),
            ("encode", _encode),
            ("fit", _fit),
            ("evaluate", _evaluate),
            *([("explain", _explain)] if job.spec.explained else []),
        ):
            if not (name == "fit" and job.spec.model.has_guide):  # that begins with its guide, and says so itself
                yield Stage(name)
            yield from _timed(work, name, stage)
        if _folds(work):
            # People look at the results from here on; holding out only adds columns to `pairs`.
            yield Ready(_summary(work))
            yield from _timed(work, HOLD_OUT, _hold_out)
            find_pair_again(job.folder)  # the strongest pair is one that holds, if any does
        if work.keeping is not None:
            work.keeping.join()  # a run that ends well leaves its encoded tables for the next one
    except _Stopped:
        yield Cancelled(work.state.epoch if hasattr(work, "state") else 0)
        return
    finally:
        torch.set_flush_denormal(False)  # the process may be a user's notebook
        if work.observation is not None:
            work.observation.stop()
        work.ended.set()
    summary = _summary(work)
    schema = work.spec.schema
    job.folder.write_summary({**summary, "warnings": schema.warnings, "roles": schema.role_rows()})
    job.folder.remove_checkpoint()
    yield Finished(summary)


def _timed(work: _Work, name: str, stage: Callable[[_Work], Events]) -> Events:
    """Do a stage and measure its time; stop at the first event after the job was cancelled."""
    began = time.perf_counter()
    for event in stage(work):
        yield event
        _stop_if_cancelled(work)
    _stop_if_cancelled(work)
    work.seconds[name] = time.perf_counter() - began


def _stop_if_cancelled(work: _Work) -> None:
    if work.context.cancelled():
        raise _Stopped


def _read(work: _Work) -> Events:
    work.dataset = Dataset.of(work.job.folder)
    if work.dataset is not None:
        yield from _shard(work, work.dataset)
        return
    encoding_cache, table = work.context.encoded, work.context.table
    work.kept = encoding_cache.find(work.spec, table) if encoding_cache else None
    if work.kept and work.context.require:
        for sha in filter(None, (work.spec.table, work.spec.valid_table, work.spec.test_table)):
            work.context.require(sha)
    work.parts = work.kept.parts if work.kept else load_parts(work.spec, table)
    yield from _noted(work, "read", work.parts.notes)


def _shard(work: _Work, dataset: Dataset) -> Events:
    """Encode the rows of a dataset on the disk, or find them there, and take the run's table for their sample."""
    folder, table = work.job.folder.shards, work.context.table(work.spec.table)
    work.whole = Sharded.found(folder, partial(dataset.window_bytes, work.spec))
    if work.whole is None:
        yield from _encode_rows(work, dataset, table, folder)
        work.whole = Sharded.open(folder, partial(dataset.window_bytes, work.spec))
    work.encoder = work.whole.encoder
    work.parts = parts_of_sample(work.whole, table, work.spec.schema)
    rows, copies = sum(map(len, (work.parts.train, work.parts.valid, work.parts.test))), work.parts.copies
    copied = [copies.said_of_sample] if copies else []
    yield from _noted(work, "read", [*copied, *work.parts.notes, said_of_sample(rows, len(work.whole))])


def _encode_rows(work: _Work, dataset: Dataset, table: Table, folder: Path) -> Events:
    """Read text files onto the disk where that is to be done, and encode the rows."""
    own, start = work.job.folder.texts, 0.0
    shelf = dataset.shelved(own)
    try:
        for share in shelf.fill(dataset.source):
            start = _OF_TEXTS
            yield Stage("read", start * share)
        pieces = dataset.pieces(table.report.files, shelf)
        for share in encoded_on_disk(pieces, work.spec, dataset.memory, len(table), folder):
            yield Stage("read", start + (1 - start) * share)
    finally:
        shutil.rmtree(own, ignore_errors=True)


_OF_TEXTS = 0.5
"""Share of the time of reading and encoding that text files take."""


def _noted(work: _Work, stage: str, notes: Iterable[str]) -> Events:
    for note in notes:
        work.notes.append(note)
        yield Stage(stage, 1.0, note)


def _encode(work: _Work) -> Events:
    if work.whole is not None:
        for name in PARTS:
            part: Part = getattr(work.parts, name)
            setattr(work, name, part.encode(work.encoder))
    elif work.kept:
        work.encoder = work.kept.encoder
        work.train, work.valid, work.test = (work.kept.tables[name] for name in ("train", "valid", "test"))
    else:
        yield from _encode_anew(work)
    work.encoder.save(work.job.folder.encoder)
    for sha in dict.fromkeys([work.spec.valid_table, work.spec.test_table]):
        if sha is not None and sha != work.spec.table:
            apart = work.context.table(sha)
            yield from _noted(work, "encode", unseen_notes(work.encoder, apart.frame, apart.name))


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
    if encoding_cache := work.context.encoded:
        tables = {"train": work.train, "valid": work.valid, "test": work.test}
        prepared = Prepared(parts, work.encoder, tables)
        keep = partial(encoding_cache.keep, spec, prepared, lambda: work.ended.is_set() or work.context.cancelled())
        work.keeping = threading.Thread(target=keep, daemon=True)
        work.keeping.start()


def _fit(work: _Work) -> Events:
    spec, folder = work.spec, work.job.folder
    set_threads(work.train.layout, spec.model, spec.fit, work.workers)
    work.state = FitState.new(work.train.layout, spec.model, spec.fit, spec.seed, device=training_device())
    checkpoint = folder.load_checkpoint()
    if checkpoint is not None:
        try:
            work.state.load(*checkpoint)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError("The run's checkpoint is from an earlier version. Train the run again.") from error
    sample = frames.sample_rows(work.train, spec.seed)
    for event in _fitting(work):
        if isinstance(event, EpochDone):
            _after_epoch(work, sample, event)
        if isinstance(event, Fitted):
            work.fitted = event
        yield event
        if spec.explained and work.observation is None and not isinstance(event, Started):  # the first loss comes first
            questions = work.context.questions
            question = questions.about_pairs(spec.table, spec.schema) if questions else None
            work.observation = Observation(folder, lambda: work.parts.train.table, spec.schema, question)
    folder.save_model(work.state.model.state_dict(), {"model": asdict(spec.model), "epoch": work.fitted.best_epoch})


def _fitting(work: _Work) -> Iterator[Event]:
    train: Source = work.train if work.whole is None else work.whole.parts["train"]
    valid: Source = work.valid if work.whole is None else work.whole.parts["valid"]
    if work.context.trainer is None:
        return fit(work.spec.fit, train, valid, work.state)
    from deepfm_core.training.replicas.local import Fitting

    folder = work.job.folder
    fitting = Fitting(work.spec.fit, train, valid, work.state, folder.path, folder.load_checkpoint)
    return work.context.trainer(fitting)


def _after_epoch(work: _Work, sample: EncodedTable, event: EpochDone) -> None:
    """Write the checkpoint for resuming, the curves, and the pairs that the page shows during training."""
    folder, model = work.job.folder, work.state.model
    if work.spec.model.second_order and work.spec.explained:  # not while an FM only pretrains another model
        _add_epoch(work, event.epoch, "pairs_by_epoch", frames.pairs_after_epoch(model, sample, event.epoch))
    _add_epoch(work, event.epoch, "epochs", pd.DataFrame([asdict(event)]).astype({"valid_auc": float}))
    folder.save_checkpoint(work.state.tensors(), work.state.numbers())


def _add_epoch(work: _Work, epoch: int, name: str, now: pd.DataFrame) -> None:
    """Add an epoch's rows to a frame."""
    earlier, folder = work.job.folder.frame(name), work.job.folder
    if earlier is not None:
        # A resumed run repeats the epoch after its checkpoint: drop what the earlier attempt wrote of it.
        now = pd.concat([earlier[earlier["epoch"] < epoch], now], ignore_index=True)
    folder.write_frame(name, now)


def _evaluate(work: _Work) -> Events:
    tables = {"valid": (work.parts.valid, work.valid), "test": (work.parts.test, work.test)}
    evaluated = {}
    for name, (part, table) in tables.items():
        if len(part):
            evaluated[name] = part, predict_logits(work.state.model, table)
            yield Stage("evaluate", 0.5 if name == "valid" else 1.0)
    if work.whole is None:
        rate, logits = float(work.parts.train.labels.mean()), {}
    else:
        shards = work.whole.parts
        rate = shards["train"].positives / len(shards["train"])
        held_out = {name: part for name, part in shards.items() if name != "train" and len(part)}
        logits = {name: (part.labels, predict_logits(work.state.model, part)) for name, part in held_out.items()}
    work.metrics = evaluate_parts(work.job.folder, evaluated, rate, logits)
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
    find_pair_again(work.job.folder)  # the strongest pair now has its cell


def _pause(work: _Work) -> None:
    _stop_if_cancelled(work)
    time.sleep(0.02)


def _folds(work: _Work) -> int:
    parts = [work.train, work.valid, work.test]
    rows = sum(len(part) for part in own_parts(parts, work.spec)) if work.whole is None else len(work.whole)
    return work.spec.folds_for(rows) if len(work.train.layout.fields) > 1 else 0


def _hold_out(work: _Work) -> Events:
    spec, table = work.spec, together(own_parts([work.train, work.valid, work.test], work.spec))
    yield from hold_out(
        work.job.folder,
        table,
        spec.model,
        spec.fit,
        folds=_folds(work),
        epochs=work.fitted.best_epochs,
        seed=spec.seed,
        helped=work.context.helped,
        look=partial(_stop_if_cancelled, work),
    )


def guide_said(state: FitState) -> dict[str, Any]:
    """Say in a summary which pairs guided a model, and whether it learned anything beyond them; {} without a guide."""
    if state.guide is None:
        return {}
    names, alone = state.model.layout.names, state.best_epoch == state.began
    pairs = [
        {
            "field_a": names[pair.fields[0]],
            "field_b": names[pair.fields[1]],
            "prior_sd": round(pair.strength, 4),
            "learned_by": "cells" if alone or pair.fields in state.model.cells_of else "embeddings",
        }
        for pair in state.guide.pairs
    ]
    guide = state.guide
    return {"guide": {"pairs": pairs, "learned_beyond": not alone, "asked": guide.asked, "rows": guide.rows}}


def _positives(table: Source) -> int:
    if isinstance(table, Shards):
        return table.positives
    return 0 if table.labels is None else int(table.labels.sum())


def _summary(work: _Work) -> dict[str, Any]:
    tables: dict[str, Source] = {name: getattr(work, name) for name in PARTS}
    if work.whole is not None:
        tables = {**work.whole.parts}
    rows = {name: len(table) for name, table in tables.items()}
    seconds = {name: round(value, 4) for name, value in work.seconds.items()}
    held_out = {"hold_out_seconds": seconds.pop(HOLD_OUT)} if HOLD_OUT in seconds else {}
    told = work.context.choices  # of a table that need not be read: an earlier run may have encoded it
    choices = (told(work.spec.table) if told else work.parts.train.table.report.choices).to_dict()
    return {
        "run": str(work.job.folder.path),
        "model": work.spec.model.name,
        **({"workers": work.workers} if work.workers > 1 else {}),
        "rows": rows,
        **({"sample": len(work.parts.train.table), "memory": work.dataset.memory} if work.dataset is not None else {}),
        "positives": {name: _positives(table) for name, table in tables.items()},
        "parameters": work.state.model.parameter_count,
        "epochs": work.fitted.epochs,
        "best_epoch": work.fitted.best_epoch,
        **guide_said(work.state),
        **{name: scores(work.metrics.get(name)) for name in ("valid", "test")},
        "seconds": seconds,
        **held_out,
        "rows_per_second": round(work.fitted.rows_per_second, 1),
        "notes": work.notes,
        **({"reading": choices} if choices else {}),
        **({"copies": asdict(work.parts.copies)} if work.parts.copies else {}),
    }
