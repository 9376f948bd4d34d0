"""A small engine for the worker's tests: gradient descent on six weights, with checkpoints, at a steady pace.

What the run's table is called says how it behaves: `steady`, `deaf` (never asks whether to stop), `broken` (raises what
no user can put right), `refused` (raises what a user can), `silent` (ends without a result), `fatal` (kills its
worker), `gated` (waits after three epochs until `open_gate` is called).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import torch

from deepfm_core.errors import TrainingError
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.spec.events import Cancelled, EpochDone, Event, Finished, Progress, Stage
from deepfm_core.spec.run import FitSpec, RunSpec
from deepfm_core.store.run_folder import RunFolder

STEPS = 4
SECONDS_A_STEP = 0.02
BEFORE_GATE = 3
"""Epochs that a gated run does before it waits."""
_OPEN = "open"


def spec(table_name: str = "steady", epochs: int = 3, seed: int = 0) -> RunSpec:
    schema = Schema(LabelRole("click", "1", "0"), (FieldRole("hour", Kind.CATEGORICAL),))
    return RunSpec("a" * 64, table_name, schema, fit=FitSpec(epochs=epochs), seed=seed)


def open_gate(folder: RunFolder) -> None:
    """Let a gated run go on."""
    folder.write_json(_OPEN, {})


def execute(job: Job, context: Context) -> Iterator[Event]:
    yield Stage("fitting")
    if job.spec.table_name == "broken":
        raise ZeroDivisionError("a secret of the machine room")
    if job.spec.table_name == "refused":
        raise TrainingError("The loss is not a number. Use a lower learning rate.")
    if job.spec.table_name == "deaf":
        threading.Event().wait()
    if job.spec.table_name == "silent":
        return
    if job.spec.table_name == "fatal":
        os.kill(os.getpid(), signal.SIGKILL)
    yield from _fit(job, context)


def _fit(job: Job, context: Context) -> Iterator[Event]:
    weights, aim = torch.zeros(6), torch.linspace(0.1, 0.6, 6) * (1 + job.spec.seed)
    checkpoint = job.folder.load_checkpoint()
    done = 0
    if checkpoint is not None:
        weights, done = checkpoint[0]["weights"], checkpoint[1]["epoch"]
    for epoch in range(done + 1, job.spec.fit.epochs + 1):
        gated = job.spec.table_name == "gated" and epoch > BEFORE_GATE
        while gated and not job.folder.has(_OPEN) and not context.cancelled():
            time.sleep(SECONDS_A_STEP)
        for step in range(1, STEPS + 1):
            if context.cancelled():
                yield Cancelled(epoch - 1)
                return
            time.sleep(SECONDS_A_STEP)
            weights = weights - 0.1 * (weights - aim)
            yield Progress(epoch, step, STEPS, _loss(weights, aim), 100.0)
        yield EpochDone(epoch, _loss(weights, aim), _loss(weights, aim), 0.7, 0.1 * epoch, best=True)
        job.folder.save_checkpoint({"weights": weights}, {"epoch": epoch})
    job.folder.remove_checkpoint()
    yield Finished({"epochs": job.spec.fit.epochs, "test": {"logloss": _loss(weights, aim)}})


def _loss(weights: torch.Tensor, aim: torch.Tensor) -> float:
    return float(((weights - aim) ** 2).sum())
