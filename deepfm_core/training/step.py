"""The training step: forward pass, gradients by hand, Adam. Its derivation: docs/training-step.md.

`AutogradStep` is the step as one writes it with autograd. `predict` gives logits by the parts of the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from deepfm_core.models.batch import Batch, Lookup, Pass
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.network import Dropout
from deepfm_core.models.terms import terms_of
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.adam import BETA1, BETA2, EPSILON, Adam, Slot, decay, learning_rate
from deepfm_core.training.embedding_table import DenseTable, Distinct, RowTable, worth_rows
from deepfm_core.training.replicas.exchange import Replicas, SharedDistinct

Table = DenseTable | RowTable

PIECE = 1024
"""Rows at most that go through the network at a time."""


class Step:
    """Trains a model on a batch at a time, without an autograd graph."""

    loss: Tensor | None = None
    """The summed logloss of the last batch, all workers' rows of it, where workers share it."""

    def __init__(self, model: DeepFM, spec: FitSpec, replicas: Replicas | None = None) -> None:
        """Train `model`, whose parameters must keep their memory, from now on; with `replicas`, on a share of each
        batch, whose gradients are summed over the workers."""
        self.steps = 0
        self._replicas = replicas
        weights = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
        self._terms = [term for term in terms_of(model) if not term.fixed]
        layout = model.layout
        self._table = self._made(weights.pop("table"), layout.slots, spec, fixed=model.spec.has_guide)
        self._own = {
            name: self._made(weights.pop(name), term.lookups, spec)
            for term in self._terms
            if (name := term.own_table) is not None
        }
        self._adam = Adam(weights, spec)
        self._averaged = False
        for term in self._terms:
            term.prepare(self.gradients, spec.precision)
        self._back = self._terms[::-1]
        columns = [columns for term in self._terms if (columns := term.columns) is not None]
        self._pass = Pass(model, columns, None if replicas is None else replicas.total)
        self._adds_weights = any(term.adds_weights for term in self._terms)
        self._whole = any(term.whole for term in self._terms)

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
        labels = batch.labels
        assert labels is not None
        rows = labels.shape[0]
        self._begin(batch, kept)
        logits, delta, counted = [], torch.empty_like(labels), batch.counted
        for piece in self._pass.pieces(rows if self._whole else PIECE):
            y = labels.new_zeros(piece.count) if batch.offset is None else batch.offset[piece.rows].clone()
            for term in self._terms:
                term.add(y, piece)
            logits.append(y)
            d = torch.sub(torch.sigmoid(y), labels[piece.rows], out=delta[piece.rows]).div_(counted)  # ∂ loss / ∂ logit
            for term in self._back:
                term.backward(d, piece)
        logit = logits[0] if len(logits) == 1 else torch.cat(logits)
        if self._replicas is not None:
            self._sum(self._replicas, logit, batch)
        self._end(delta)
        return logit

    def _sum(self, replicas: Replicas, logit: Tensor, batch: Batch) -> None:
        """Sum the network's gradients, and the loss of logits (B,), over the workers."""
        assert batch.labels is not None
        assert batch.share is not None
        gradients = [slot.gradient for slot in self._adam.slots.values()]
        loss = functional.binary_cross_entropy_with_logits(logit, batch.labels, reduction="sum")
        total = replicas.total(torch.cat([*(gradient.flatten() for gradient in gradients), loss.view(1)]))
        parts = torch.split(total, [*(one.numel() for one in gradients), 1])
        for gradient, part in zip(gradients, parts[:-1], strict=True):
            gradient.copy_(part.view_as(gradient))
        self.loss = total[-1] / batch.share.copies

    def _begin(self, batch: Batch, kept: Sequence[Tensor]) -> None:
        """Look up what a batch reads of the tables, and begin it with every term."""
        weights = batch.weights
        lookup = self._table.read(batch.ids.view(-1), None if weights is None else weights.view(-1))
        lookups: dict[str, Lookup] = {}
        for term in self._terms:
            if (name := term.own_table) is not None:
                lookups[name] = self._own[name].read(term.ids(batch).view(-1), None)
        self._pass.begin(batch, lookup, kept, lookups)
        for term in self._terms:
            term.begin(self._pass)

    def _end(self, delta: Tensor) -> None:
        """Bring what was found for fields and logits (B,) back to the tables."""
        for term in self._terms:
            term.end_fields(self._pass)
        gradient = self._pass.table_gradient(delta if self._adds_weights else None, self._table.gradient_buffer)
        for term in self._terms:
            term.end_table(delta, gradient)
        self._table.differentiate(gradient)
        for term in self._terms:
            if (name := term.own_table) is not None:
                table = self._own[name]
                table.differentiate(term.own_gradient(delta, table.gradient_buffer))

    @property
    def gradients(self) -> dict[str, Tensor]:
        """What `differentiate` fills, by the parameters' names."""
        return {name: slot.gradient for name, slot in self._all().items()}

    def average(self, count: int) -> None:
        """Take the weights into their running averages, `count` being how often, from 1, that has been done."""
        for slot in self._adam.slots.values():
            slot.take_average(count)
        for table in self._tables:
            table.average(count)

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
        self.steps, self._averaged = steps, steps > 0
        for table in self._tables:
            table.load(steps)
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    def _made(self, weights: Tensor, lookups: int, spec: FitSpec, *, fixed: bool = False) -> Table:
        """Train a table of which a row of a batch looks up so many rows, in the way that is faster; its first column
        stays as it is where it is `fixed`."""
        size, device = len(weights), weights.device
        distinct = Distinct(size, device) if self._replicas is None else SharedDistinct(size, device, self._replicas)
        return (RowTable if worth_rows(size, lookups, spec) else DenseTable)(weights, spec, distinct, fixed=fixed)

    @property
    def _tables(self) -> list[Table]:
        return [self._table, *self._own.values()]

    def _flush(self) -> None:
        for table in self._tables:
            table.flush()

    def _all(self) -> dict[str, Slot]:
        return {
            "table": self._table.slot,
            **{name: table.slot for name, table in self._own.items()},
            **self._adam.slots,
        }


# The training step as one writes it with autograd: slower than `Step`, and what its tests compare it with.


class AutogradStep:
    """Trains a model on a batch at a time through autograd and Adam's equations on whole tensors."""

    loss: Tensor | None = None
    """None: workers share no batch of this step."""

    def __init__(self, model: DeepFM, spec: FitSpec) -> None:
        """Train `model` from now on."""
        self.steps = 0
        self._model = model
        self._parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._slots = {name: Slot.of(value.detach(), spec.averaging) for name, value in self._parameters.items()}
        ones = model.table.detach().new_ones(model.table.shape[1])
        self._rates = {name: learning_rate(name, spec) * ones[0] for name in self._slots}
        self._decays = {name: decay(name, spec) * ones[0] for name in self._slots}
        self._rates["table"], self._decays["table"] = spec.learning_rate * ones, spec.l2_embeddings * ones
        self._rates["table"][0], self._decays["table"][0] = spec.learning_rate * spec.first_order_rate, spec.l2
        if model.spec.has_guide:  # the main effects are solved, and stay
            self._rates["table"][0], self._decays["table"][0] = 0.0, 0.0
        self._averaged = False

    def __call__(self, batch: Batch, kept: Sequence[Tensor] = ()) -> Tensor:
        """Train on B rows, with dropout's masks; return their logits (B,) from before the weights moved."""
        logit = self.differentiate(batch, kept)
        self.steps += 1
        for name, slot in self._slots.items():
            self._move(slot, self._rates[name], self._decays[name])
        return logit

    def differentiate(self, batch: Batch, kept: Sequence[Tensor] = ()) -> Tensor:
        """Fill `gradients` with those of the batch's mean logloss; return the logits (B,)."""
        assert batch.labels is not None
        for name, parameter in self._parameters.items():
            parameter.grad = self._slots[name].gradient.zero_()
        layers = [module for module in self._model.modules() if isinstance(module, Dropout)]
        for layer, mask in zip(layers, kept, strict=True):
            layer.kept = mask
        logit: Tensor = self._model(batch)
        torch.autograd.backward(functional.binary_cross_entropy_with_logits(logit, batch.labels))
        return logit.detach()

    @property
    def gradients(self) -> dict[str, Tensor]:
        """What `differentiate` fills, by the parameters' names."""
        return {name: slot.gradient for name, slot in self._slots.items()}

    def average(self, count: int) -> None:
        """Take the weights into their running averages, `count` being how often, from 1, that has been done."""
        for slot in self._slots.values():
            slot.take_average(count)

    def begin_epoch(self) -> None:
        """Put the weights to train back into the model, where it holds their averages."""
        if self._averaged:
            for slot in self._slots.values():
                slot.swap()
        self._averaged = False

    def end_epoch(self) -> None:
        """Put the averages into the model, where the fit has averages."""
        for slot in self._slots.values():
            slot.swap()
        self._averaged = True

    def tensors(self) -> dict[str, Tensor]:
        """Give moments and averages by name, for a checkpoint."""
        return {f"{name}.{part}": value for name, slot in self._slots.items() for part, value in slot.kept().items()}

    def load(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Take over a checkpoint made between two epochs."""
        self.steps, self._averaged = steps, True
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    def _move(self, slot: Slot, rate: Tensor, l2: Tensor) -> None:
        """Move a tensor as Algorithm 1 of Kingma & Ba 2014 says."""
        gradient = slot.gradient.add_(slot.weight * l2)
        slot.mean.lerp_(gradient, 1 - BETA1)
        slot.square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        scale = (slot.square / (1 - BETA2**self.steps)).sqrt_().add_(EPSILON)
        slot.weight.sub_(slot.mean.div(scale).mul_(rate / (1 - BETA1**self.steps)))


# A model's logits without a graph, by the parts of the training step.


class Predictor:
    """Evaluates a model as it is now: the same logits as its `forward`, in two thirds of the time."""

    def __init__(self, model: DeepFM) -> None:
        self._table = model.eval().table.detach().contiguous()
        self._terms = terms_of(model)
        self._pass = Pass(model, [])

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Give the logits of B rows: (B,)."""
        weights = None if batch.weights is None else batch.weights.reshape(-1)
        self._pass.begin(batch, Lookup(self._table, batch.ids.reshape(-1), weights))
        logit, piece = self._table.new_zeros(len(batch)), self._pass.whole
        for term in self._terms:
            term.begin(self._pass)
            term.add(logit, piece)
        return logit
