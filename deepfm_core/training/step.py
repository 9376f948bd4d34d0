"""The training step: forward pass, gradients by hand, Adam. Its derivation: docs/training-step.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.adam import Adam, Slot
from deepfm_core.training.crossed import Crossed
from deepfm_core.training.factorisation import Factorisation
from deepfm_core.training.layers import Layers
from deepfm_core.training.lookup import Lookup, Slots, Within
from deepfm_core.training.rows import RowTable, worth_rows
from deepfm_core.training.spec import FitSpec
from deepfm_core.training.table import DenseTable


class Step:
    """Trains a model on a batch at a time, without an autograd graph."""

    def __init__(self, model: DeepFM, spec: FitSpec) -> None:
        """Train `model`, whose parameters must keep their memory, from now on."""
        self.steps = 0
        weights = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
        self._slots = Slots.of(model)
        table = RowTable if worth_rows(model.layout.vocabulary, model.layout.slots, spec) else DenseTable
        self._table = table(weights.pop("table"), self._slots, spec)
        crossed = weights.pop("crossed_weights", None)
        self._crossed = None if crossed is None else Crossed(model, crossed, spec)
        self._adam = Adam(weights, spec)
        self._averaging, self._averaged = spec.averaging, False
        self._fm = Factorisation(model, self.gradients) if model.spec.first_order else None
        self._within = Within(model) if model.spec.second_order and len(model.within_fields) else None
        self._layers = Layers(model, self.gradients, spec.precision) if model.network is not None else None

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
        fm, within, layers, rows, labels = self._fm, self._within, self._layers, len(batch), batch.labels
        assert labels is not None
        lookup = Lookup(
            *self._table.read(batch.ids.view(-1)), None if batch.weights is None else batch.weights.view(-1)
        )
        fields = self._slots.fields(lookup, rows)  # (B, F·columns): [w | e …] of each field

        logit = fm.forward(fields, batch.dense) if fm is not None else fields.new_zeros(rows)
        if within is not None:
            logit += within.forward(lookup, fields)
        if self._crossed is not None:
            logit += self._crossed.forward(batch)
        if layers is not None:
            logit += layers.forward(fields, batch.dense, kept)

        delta = torch.sigmoid(logit).sub_(labels).div_(rows)  # ∂ loss / ∂ logit

        gradient = layers.backward(delta) if layers is not None else None  # ∂ loss / ∂ fields
        if fm is not None:
            gradient = fm.backward(delta, gradient)
        assert gradient is not None
        if within is not None:
            within.backward(delta, gradient)
        self._table.differentiate(lookup, gradient)
        if within is not None:
            within.backward_rows(self._table.gradient)
        if self._crossed is not None:
            self._crossed.backward(delta)
        return logit

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
