"""The training step as one writes it with autograd: slower than `Step`, and what its tests compare it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.network import Dropout
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.adam import BETA1, BETA2, EPSILON, Slot, decay, learning_rate


class AutogradStep:
    """Trains a model on a batch at a time through autograd and Adam's equations on whole tensors."""

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
