"""The training step: forward pass, gradients by hand, Adam. Its derivation: docs/training-step.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.adam import Adam, Slot
from deepfm_core.training.embedding_table import DenseTable
from deepfm_core.training.fm_gradients import Factorisation, Fields
from deepfm_core.training.lazy_adam import Crossed, RowTable, worth_rows
from deepfm_core.training.lookup import Lookup, Slots, Within
from deepfm_core.training.network_gradients import Layers

PIECE = 1024
"""Rows at most that go through the network at a time."""


class Step:
    """Trains a model on a batch at a time, without an autograd graph."""

    def __init__(self, model: DeepFM, spec: FitSpec) -> None:
        """Train `model`, whose parameters must keep their memory, from now on."""
        self.steps = 0
        weights = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
        self._slots = Slots.of(model)
        alone = worth_rows(model.layout.vocabulary, model.layout.slots, spec)
        table = weights.pop("table")
        self._table = RowTable(table, spec) if alone else DenseTable(table, spec)
        crossed = weights.pop("crossed_weights", None)
        self._crossed = None if crossed is None else Crossed(model, crossed, spec)
        self._adam = Adam(weights, spec)
        self._averaging, self._averaged = spec.averaging, False
        self._fm = Factorisation(model, self.gradients) if model.spec.first_order else None
        self._within = Within(model) if model.spec.second_order and len(model.within_fields) else None
        self._layers = Layers(model, self.gradients, spec.precision) if model.network is not None else None
        self._fields = Fields(model, self._slots)

    def __call__(self, batch: Batch, kept: Sequence[Tensor] = ()) -> Tensor:
        """Train on B rows, with dropout's masks; return their logits (B,) from before the weights moved."""
        logit = self.differentiate(batch, kept)
        self.steps += 1
        self._adam.step(self.steps)
        for table in self._tables:
            table.move(self.steps)
        return logit

    def differentiate(self, batch: Batch, kept: Sequence[Tensor] = ()) -> Tensor:
        """Fill `gradients` with those of the batch's mean logloss; return the logits (B,)."""
        labels, weights = batch.labels, batch.weights
        assert labels is not None
        rows = labels.shape[0]
        lookup = self._table.read(batch.ids.view(-1), None if weights is None else weights.view(-1))
        logit = self._begin(batch, lookup, rows)
        delta = torch.empty_like(logit)
        for piece in self._pieces(rows):
            y, dense = logit[piece], batch.dense[piece]
            e, u = self._fields.read(lookup, piece)  # (n, F·K) of the FM, (n, F·width) of the network
            if self._fm is not None:
                y += self._fm.forward(e, self._slots.sums(lookup, piece), dense)
            if self._layers is not None:
                y += self._layers.forward(u, dense, [mask[piece] for mask in kept])

            d = torch.sub(torch.sigmoid(y), labels[piece], out=delta[piece]).div_(rows)  # ∂ loss / ∂ logit

            de, du = self._fields.gradients(piece)
            if self._layers is not None:
                self._layers.backward(d, du)
            if self._fm is not None:
                self._fm.backward(d, de, filled=de is du)
        self._end(lookup, delta)
        return logit

    def _begin(self, batch: Batch, lookup: Lookup, rows: int) -> Tensor:
        """Begin a batch; give what adds to its logits (B,) beside FM and network."""
        fm = self._fm
        logit = lookup.rows.new_zeros(rows)
        self._fields.begin(rows)
        if self._layers is not None:
            self._layers.begin()
        if fm is not None:
            fm.begin(self._slots.mean(lookup, fm.columns, rows) if fm.needs_mean else None)
        if self._within is not None:
            logit += self._within.forward(lookup, rows)
        if self._crossed is not None:
            logit += self._crossed.forward(batch)
        return logit

    def _end(self, lookup: Lookup, delta: Tensor) -> None:
        """Bring what was found for fields and logits (B,) back to the tables."""
        if self._fm is not None:
            self._fm.end(self._fields.of_fm)
        into = self._table.gradient_buffer
        gradient = self._slots.gradient(lookup, self._fields.parts, None if self._fm is None else delta, into)
        if self._within is not None:
            self._within.backward(delta, gradient)
        self._table.differentiate(gradient)
        if self._crossed is not None:
            self._crossed.backward(delta)

    def _pieces(self, rows: int) -> Iterator[slice]:
        """Cut a batch so that what the network holds of a piece stays in the processor's cache."""
        count = 1 if self._layers is not None and self._layers.whole else -(-rows // PIECE)
        return (slice(rows * n // count, rows * (n + 1) // count) for n in range(count))

    @property
    def gradients(self) -> dict[str, Tensor]:
        """What `differentiate` fills, by the parameters' names."""
        return {name: slot.gradient for name, slot in self._all().items()}

    def average(self, count: int) -> None:
        """Take the weights into their running averages, `count` being how often, from 1, that has been done."""
        if self._averaging:
            self._flush()
        for slot in self._all().values():
            slot.take_average(count)

    def begin_epoch(self) -> None:
        """Put the weights to train back into the model, where it holds their averages."""
        if self._averaged:
            for slot in self._all().values():
                slot.swap()
        self._averaged = False

    def end_epoch(self) -> None:
        """Do what was put off, and put the averages into the model where the fit has averages."""
        self._flush()
        for slot in self._all().values():
            slot.swap()
        self._averaged = True

    def tensors(self) -> dict[str, Tensor]:
        """Give moments and averages (between epochs: the weights to go on from) by name, for a checkpoint."""
        return {f"{name}.{part}": value for name, slot in self._all().items() for part, value in slot.kept().items()}

    def load(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Take over a checkpoint made between two epochs."""
        self.steps, self._averaged = steps, True
        for table in self._tables:
            table.load(steps)
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    @property
    def _tables(self) -> list[DenseTable | RowTable]:
        return [self._table] if self._crossed is None else [self._table, self._crossed.table]

    def _flush(self) -> None:
        for table in self._tables:
            table.flush()

    def _all(self) -> dict[str, Slot]:
        names = ("table", "crossed_weights")
        return {name: table.slot for name, table in zip(names, self._tables, strict=False)} | self._adam.slots
