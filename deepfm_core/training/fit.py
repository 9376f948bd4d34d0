"""Training as a generator of events: whoever iterates decides what to do with them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.errors import TrainingError
from deepfm_core.metrics.scores import auc, base_logloss, logloss
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.network import DropoutMasks
from deepfm_core.spec.events import EpochDone, Event, Fitted, Progress, Stage, Started
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.guided import begin_from_guide, fixed_logits, keep_if_earned, solve_first_order
from deepfm_core.training.hardware import Sharing
from deepfm_core.training.replicas.rows import SharedRows
from deepfm_core.training.rows import Source, TrainingRows, windows
from deepfm_core.training.state import FitState
from deepfm_core.training.step import Predictor

if TYPE_CHECKING:
    from deepfm_core.training.replicas.team import Team

PRETRAINED = "The first of two phases, training an FM, ended with epoch"
PROGRESS_SECONDS = 0.1
EVALUATION_ROWS = 8192
AVERAGES_AN_EPOCH = 8


def fit(spec: FitSpec, train: Source, valid: Source, state: FitState, team: Team | None = None) -> Iterator[Event]:
    """Train `state.model`, stopping early on the validation logloss, and leave the best epoch's weights in it.

    After each `EpochDone` the state is complete: a copy of its `tensors()` and `numbers()` lets another process go on
    from there and end with the same weights. Closing the generator stops training between two batches.

    Args:
        spec: the fit's settings.
        train: rows to train on, in memory or on the disk.
        valid: rows to stop by, as well.
        state: where the fit stands.
        team: other processes that take their share of each batch and of the validation rows, if any.

    LR that is guided has one epoch, in which it is solved.

    A model that starts from an FM has two phases, each with as many epochs and as much patience; epochs count on.

    Yields:
        `Started`, then `Progress` and `EpochDone`, and `Fitted` at the end; a `Stage` between two phases.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    labels = _labels(train), _labels(valid)
    yield from _guide(state, train)
    rows = _rows(state, train) if team is None else team.rows(state)
    steps = math.ceil(len(rows) / spec.batch_size)
    rate = float(labels[0].mean())
    yield Started(
        rows_train=len(train),
        rows_valid=len(valid),
        parameters=state.final.parameter_count,
        epochs=spec.epochs * state.phases,
        steps_per_epoch=steps,
        base_logloss=base_logloss(labels[1], rate),
        threads=torch.get_num_threads(),
    )
    began = time.perf_counter() - state.seconds
    score = partial(predict_logits, table=valid) if team is None else team.valid_logits
    with Sharing(state.final.spec, steady=team is not None) as sharing:
        while True:
            _begin(state, rows, rate)
            while _goes_on(spec, state, team):
                state.epoch += 1
                if team is not None:
                    team.begin_epoch(state)
                if _is_solved(state, team):
                    yield from solve_first_order(state.model, train)
                    loss = logloss(labels[0], predict_logits(state.model, train))
                else:
                    loss = yield from train_epoch(spec, rows, state, steps, sharing)
                yield _evaluate_epoch(spec, state, score, labels[1], loss, began)
            state.restore_best()
            if state.guide is not None:
                logits = predict_logits(state.model, valid)
                if not keep_if_earned(state.model, state.guide, valid, logits):
                    state.best_epoch, state.reduced, state.full = state.began, 0, 0
            if not state.pretraining:
                break
            state.begin_last_phase()
            yield Stage("fit", 0.5, f"{PRETRAINED} {state.epoch}; the network goes on from its weights and embeddings.")
    state.model.cpu().eval()
    yield Fitted(
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        seconds=state.seconds,
        rows_per_second=state.epoch * len(rows) / max(state.seconds, 1e-9),
        stopped_early=state.epoch - state.began < spec.epochs,
        best_epochs=state.best_epochs,
    )


def train_epochs(spec: FitSpec, train: EncodedTable, state: FitState, epochs: Sequence[int]) -> Iterator[Event]:
    """Train each phase of `state` for so many `epochs`, with no validation part, and leave the last weights in it.

    `epochs` are those of `FitState.best_epochs`: of a fit that reduces its learning rate, two numbers for each phase.

    Yields:
        `Progress`.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    rate = float(_labels(train).mean())
    yield from _guide(state, train)
    rows = _rows(state, train)
    steps = math.ceil(len(rows) / spec.batch_size)
    with Sharing(state.final.spec) as sharing:
        for number, count in enumerate(epochs):
            if spec.reduces and number % 2:
                state.reduce_rate()
            else:
                if state.epoch:
                    state.begin_last_phase()
                _begin(state, rows, rate)
            start = state.epoch
            while state.epoch - start < count:
                state.epoch += 1
                if _is_solved(state):
                    yield from solve_first_order(state.model, train)
                else:
                    yield from train_epoch(spec, rows, state, steps, sharing)
            state.model.settle()
    if state.guide is not None and not state.epoch:
        state.model.start_from(state.guide)
        state.model.keep_guide_alone()
    state.model.cpu().eval()


def _is_solved(state: FitState, team: Team | None = None) -> bool:
    """Say whether the one epoch of a fit solves its model. Workers who share the rows train it in epochs."""
    return state.model.spec.solved and team is None


def _goes_on(spec: FitSpec, state: FitState, team: Team | None) -> bool:
    """Say whether to train another epoch; on the first plateau of a phase, reduce the learning rate if asked."""
    if state.epoch - state.began >= (1 if _is_solved(state, team) else spec.epochs):
        return False
    if state.stalled < spec.patience:
        return True
    if state.reduced or not spec.reduces:
        return False
    state.restore_best()
    state.reduce_rate()
    return True


def _guide(state: FitState, train: Source) -> Iterator[Event]:
    """Put its guide into a guided model. One that goes on from a checkpoint has it, and is only told what to beat."""
    if state.model.spec.has_guide and state.guide is None:
        state.guide = yield from begin_from_guide(state.model, train, state.seed, anew=not state.epoch)
        yield Stage("fit", 0.0)


def _rows(state: FitState, train: Source) -> TrainingRows:
    """Give the rows to take batches from; of rows in memory, what does not learn is computed once."""
    fixed = None if state.guide is None else partial(fixed_logits, state.model)
    return TrainingRows(train, state.model.table.device, fixed)


def _begin(state: FitState, rows: TrainingRows | SharedRows, rate: float) -> None:
    """Begin or go on with a phase."""
    state.model.observe(rows)
    if state.epoch == state.began and state.guide is None:
        start_from_click_rate(state.model, rate)


def predict_logits(model: DeepFM, table: Source) -> NDArray[np.float64]:
    """Give the logit of each row: (N,), in float64."""
    logits = Predictor(model)
    held = windows(table, model.table.device)
    parts = [logits(batch) for window in held for batch in window.split(EVALUATION_ROWS)]
    return torch.cat(parts).cpu().double().numpy() if parts else np.zeros(0)


def start_from_click_rate(model: DeepFM, rate: float) -> None:
    """Set the constant of the logit so that training starts from the click rate instead of one half."""
    rate = min(max(rate, 1e-4), 1 - 1e-4)
    constant = math.log(rate / (1 - rate))
    with torch.no_grad():
        if model.spec.first_order:
            model.bias.fill_(constant)
        elif model.network is not None:
            model.network.output_bias.fill_(constant)


def train_epoch(
    spec: FitSpec, rows: TrainingRows | SharedRows, state: FitState, steps: int, sharing: Sharing
) -> Generator[Event, None, float]:
    """Train one epoch in an order that depends on (seed, epoch) alone; return the mean logloss.

    Yields:
        `Progress`.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    state.model.train()
    state.step.begin_epoch()
    batches = rows.batches(_mix(state.seed, state.epoch), spec.batch_size)
    masks, tally = _masks(state), _Tally(state.epoch)
    total, reported = 0.0, time.perf_counter()
    for done, batch in enumerate(batches, 1):
        started = time.perf_counter()
        tally.add(state.step(batch, _drawn(masks, batch)), batch, state.step.loss)
        sharing.took(time.perf_counter() - started)
        _average(state, done, steps)
        elapsed = time.perf_counter() - reported
        if elapsed >= PROGRESS_SECONDS or done == 1:
            loss, counted = tally.take()
            total += loss
            yield Progress(state.epoch, done, steps, loss / counted, counted / max(elapsed, 1e-9))
            reported = time.perf_counter()
    state.step.end_epoch()
    return (total + tally.take()[0]) / len(rows)


def _drawn(masks: DropoutMasks, batch: Batch) -> list[Tensor]:
    """Draw the masks of a batch, or of the share of one that is here."""
    share = batch.share
    if share is None:
        return masks.draw(len(batch))
    return masks.draw(share.rows, slice(share.first, share.first + len(batch)))


def _average(state: FitState, done: int, steps: int) -> None:
    """Take the weights into the running average a few times an epoch: as good as after every step, and cheap."""
    times = min(steps, AVERAGES_AN_EPOCH)
    count = done * times // steps
    if count > (done - 1) * times // steps:
        state.step.average((state.epoch - max(state.began, state.reduced) - 1) * times + count)


@dataclass
class _Tally:
    """The logits since the last report: their loss is computed together, and only when it is asked for."""

    epoch: int
    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    rows: int = 0

    def add(self, logits: Tensor, batch: Batch, loss: Tensor | None) -> None:
        """Remember a batch; of one that workers share, its summed `loss`."""
        if loss is not None and batch.share is not None:
            self.losses.append(loss)
            self.rows += batch.share.rows
            return
        assert batch.labels is not None
        self.logits.append(logits)
        self.labels.append(batch.labels)
        self.rows += len(batch)

    def take(self) -> tuple[float, int]:
        """Give the sum of the rows' loglosses and their number, and forget them.

        Raises:
            TrainingError: the sum is not a number.
        """
        if not self.rows:
            return 0.0, 0
        if self.losses:
            loss = float(torch.stack(self.losses).sum(dtype=torch.float64))
        else:
            logits, labels = torch.cat(self.logits), torch.cat(self.labels)
            loss = float(functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum"))
        _require_number(loss, self.epoch)
        rows, self.rows = self.rows, 0
        self.logits, self.labels, self.losses = [], [], []
        return loss, rows


def _masks(state: FitState) -> DropoutMasks:
    spec = state.model.spec
    masks = DropoutMasks(spec.layers if spec.deep else (), spec.dropout, state.model.table.device)
    masks.seed(state.seed, state.epoch)
    return masks


def _evaluate_epoch(
    spec: FitSpec,
    state: FitState,
    score: Callable[[DeepFM], NDArray[np.float64]],
    labels: NDArray[np.float32],
    train_logloss: float,
    began: float,
) -> EpochDone:
    state.model.settle()
    logits = score(state.model)
    value = logloss(labels, logits)
    _require_number(value, state.epoch)
    area = auc(labels, logits)
    best = state.take(_loss_by(spec, value, area), spec.least_gain)
    state.seconds = time.perf_counter() - began
    return EpochDone(state.epoch, train_logloss, value, area, state.seconds, best)


def _loss_by(spec: FitSpec, logloss_: float, area: float | None) -> float:
    """Give what the best epoch has least of: the logloss, or 1 − AUC."""
    if spec.reduce_on_plateau != "auc":
        return logloss_
    if area is None:
        raise TrainingError(
            "Reduce on plateau is 'auc', but the validation part has labels of one kind alone, and so no AUC. Use "
            "logloss, or give that part a larger share."
        )
    return 1.0 - area


def _require_number(value: float, epoch: int) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"Training in epoch {epoch}: the loss is {value}, no longer a number. Use a lower learning rate."
        )


def _labels(table: Source) -> NDArray[np.float32]:
    if table.labels is None or not len(table.labels):
        raise TrainingError("A part to train or validate on has no labelled rows. Give it a larger share.")
    return table.labels


def _mix(seed: int, number: int) -> int:
    """Give a seed for one of many independent random streams."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))
