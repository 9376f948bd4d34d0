"""Training as a generator of events: whoever iterates decides what to do with them."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepfm_core.data.encoded import EncodedTable, Layout
from deepfm_core.errors import TrainingError
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.dropout import DropoutMasks
from deepfm_core.training.events import EpochDone, Event, Fitted, Progress, Started
from deepfm_core.training.inference import Inference
from deepfm_core.training.metrics import auc, base_logloss, logloss
from deepfm_core.training.precision import require_precision
from deepfm_core.training.reference import AutogradStep
from deepfm_core.training.spec import FitSpec, ModelSpec
from deepfm_core.training.step import Step

PROGRESS_SECONDS = 0.1
CHUNK_BATCHES = 16
EVALUATION_ROWS = 8192
AVERAGES_AN_EPOCH = 8


@dataclass
class FitState:
    """Where a fit stands: everything a checkpoint needs to go on as if never interrupted.

    Between epochs, with averaging, the model holds the averages and `step` the weights to go on from. Random numbers
    are drawn from streams that (seed, epoch) begin, so no random state is kept.
    """

    model: DeepFM
    step: Step | AutogradStep
    seed: int
    epoch: int = 0
    best_epoch: int = 0
    best_logloss: float = math.inf
    seconds: float = 0.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def new(
        cls,
        layout: Layout,
        model_spec: ModelSpec,
        fit_spec: FitSpec,
        seed: int,
        step: type[Step] | type[AutogradStep] = Step,
    ) -> FitState:
        """Start from random weights that depend on `seed` alone; `step` is how a batch is trained on.

        Raises:
            SpecError: the fit's precision cannot be used on this processor.
        """
        require_precision(fit_spec.precision)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = DeepFM(layout, model_spec)
        return cls(model, step(model, fit_spec), seed)

    def tensors(self) -> dict[str, Tensor]:
        """Give weights, best weights, moments and averages by name, for a checkpoint."""
        weights = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        best = {f"best.{name}": value for name, value in self.best_weights.items()}
        moments = {f"adam.{name}": value for name, value in self.step.tensors().items()}
        return weights | best | moments

    def numbers(self) -> dict[str, Any]:
        """Give what is not a tensor, for a checkpoint's JSON."""
        return {
            "epoch": self.epoch,
            "steps": self.step.steps,
            "best_epoch": self.best_epoch,
            "best_logloss": self.best_logloss,
            "seconds": self.seconds,
        }

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Take over a checkpoint made by `tensors` and `numbers`."""
        self.model.load_state_dict(_with_prefix(tensors, "model."))
        self.best_weights = _with_prefix(tensors, "best.")
        self.step.load(_with_prefix(tensors, "adam."), int(numbers["steps"]))
        self.epoch, self.best_epoch = int(numbers["epoch"]), int(numbers["best_epoch"])
        self.best_logloss, self.seconds = float(numbers["best_logloss"]), float(numbers["seconds"])

    def keep_best(self) -> None:
        """Remember the weights as they are now."""
        self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}

    def restore_best(self) -> None:
        """Put the remembered weights back into the model."""
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)


def fit(spec: FitSpec, train: EncodedTable, valid: EncodedTable, state: FitState) -> Iterator[Event]:
    """Train `state.model`, stopping early on the validation logloss, and leave the best epoch's weights in it.

    After each `EpochDone` the state is complete: a copy of its `tensors()` and `numbers()` lets another process go on
    from there and end with the same weights. Closing the generator stops training between two batches.

    Yields:
        `Started`, then `Progress` and `EpochDone`, and `Fitted` at the end.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    labels = _labels(train), _labels(valid)
    rows = Batch.from_table(train)
    model = state.model
    model.observe(rows)
    steps = math.ceil(len(rows) / spec.batch_size)
    rate = float(labels[0].mean())
    yield Started(
        rows_train=len(train),
        rows_valid=len(valid),
        parameters=model.parameter_count,
        epochs=spec.epochs,
        steps_per_epoch=steps,
        base_logloss=base_logloss(labels[1], rate),
        threads=torch.get_num_threads(),
    )
    if state.epoch == 0:
        start_from_click_rate(model, rate)
    began = time.perf_counter() - state.seconds
    while state.epoch < spec.epochs and state.epoch - state.best_epoch < spec.patience:
        state.epoch += 1
        loss = yield from _train_epoch(spec, rows, state, steps)
        yield _evaluate_epoch(state, valid, labels[1], loss, began)
    state.restore_best()
    model.eval()
    yield Fitted(
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        seconds=state.seconds,
        rows_per_second=state.epoch * len(rows) / max(state.seconds, 1e-9),
        stopped_early=state.epoch < spec.epochs,
    )


def train_epochs(spec: FitSpec, train: EncodedTable, state: FitState) -> Iterator[Event]:
    """Train `state.model` for all of `spec.epochs`, with no validation part, and leave the last weights in it.

    Yields:
        `Progress`.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    rate = float(_labels(train).mean())
    rows = Batch.from_table(train)
    state.model.observe(rows)
    start_from_click_rate(state.model, rate)
    while state.epoch < spec.epochs:
        state.epoch += 1
        yield from _train_epoch(spec, rows, state, math.ceil(len(rows) / spec.batch_size))
    state.model.settle()
    state.model.eval()


def predict_logits(model: DeepFM, table: EncodedTable) -> NDArray[np.float64]:
    """Give the logit of each row: (N,), in float64."""
    logits = Inference(model)
    parts = [logits(batch) for batch in Batch.from_table(table).split(EVALUATION_ROWS)]
    return torch.cat(parts).double().numpy() if parts else np.zeros(0)


def start_from_click_rate(model: DeepFM, rate: float) -> None:
    """Set the constant of the logit so that training starts from the click rate instead of one half."""
    rate = min(max(rate, 1e-4), 1 - 1e-4)
    constant = math.log(rate / (1 - rate))
    with torch.no_grad():
        if model.spec.first_order:
            model.bias.fill_(constant)
        elif model.network is not None:
            model.network.output_bias.fill_(constant)


def _train_epoch(spec: FitSpec, rows: Batch, state: FitState, steps: int) -> Generator[Event, None, float]:
    """Train one epoch in an order that depends on (seed, epoch) alone; return the mean logloss."""
    state.model.train()
    state.step.begin_epoch()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(_mix(state.seed, state.epoch)))
    masks, tally = _masks(state), _Tally(state.epoch)
    total, reported = 0.0, time.perf_counter()
    for done, batch in enumerate(_batches(rows, order, spec.batch_size), 1):
        tally.add(state.step(batch, masks.draw(len(batch))), batch.labels)
        _average(state, done, steps)
        elapsed = time.perf_counter() - reported
        if elapsed >= PROGRESS_SECONDS or done == 1:
            loss, counted = tally.take()
            total += loss
            yield Progress(state.epoch, done, steps, loss / counted, counted / max(elapsed, 1e-9))
            reported = time.perf_counter()
    state.step.end_epoch()
    return (total + tally.take()[0]) / len(rows)


def _average(state: FitState, done: int, steps: int) -> None:
    """Take the weights into the running average a few times an epoch: as good as after every step, and cheap."""
    times = min(steps, AVERAGES_AN_EPOCH)
    count = done * times // steps
    if count > (done - 1) * times // steps:
        state.step.average((state.epoch - 1) * times + count)


@dataclass
class _Tally:
    """The logits since the last report: their loss is computed together, and only when it is asked for."""

    epoch: int
    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, labels: Tensor | None) -> None:
        """Remember a batch."""
        assert labels is not None
        self.logits.append(logits)
        self.labels.append(labels)

    def take(self) -> tuple[float, int]:
        """Give the sum of the rows' loglosses and their number, and forget them.

        Raises:
            TrainingError: the sum is not a number.
        """
        if not self.logits:
            return 0.0, 0
        logits, labels = torch.cat(self.logits), torch.cat(self.labels)
        loss = float(functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum"))
        _require_number(loss, self.epoch)
        self.logits, self.labels = [], []
        return loss, len(logits)


def _masks(state: FitState) -> DropoutMasks:
    spec = state.model.spec
    masks = DropoutMasks(spec.layers if spec.deep else (), spec.dropout, state.model.table.device)
    masks.seed(state.seed, state.epoch)
    return masks


def _batches(rows: Batch, order: Tensor, size: int) -> Iterator[Batch]:
    """Yield batches in the given order, reordering a chunk of batches at a time: one gather instead of many."""
    for start in range(0, len(order), size * CHUNK_BATCHES):
        yield from rows.take(order[start : start + size * CHUNK_BATCHES]).split(size)


def _evaluate_epoch(
    state: FitState, valid: EncodedTable, labels: NDArray[np.float32], train_logloss: float, began: float
) -> EpochDone:
    state.model.settle()
    logits = predict_logits(state.model, valid)
    value = logloss(labels, logits)
    _require_number(value, state.epoch)
    best = value < state.best_logloss
    if best:
        state.best_logloss, state.best_epoch = value, state.epoch
        state.keep_best()
    state.seconds = time.perf_counter() - began
    return EpochDone(state.epoch, train_logloss, value, auc(labels, logits), state.seconds, best)


def _require_number(value: float, epoch: int) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"Training in epoch {epoch}: the loss is {value}, no longer a number. Use a lower learning rate."
        )


def _labels(table: EncodedTable) -> NDArray[np.float32]:
    if table.labels is None or not len(table.labels):
        raise TrainingError("A part to train or validate on has no labelled rows. Give it a larger share.")
    return table.labels


def _mix(seed: int, number: int) -> int:
    """Give a seed for one of many independent random streams."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
