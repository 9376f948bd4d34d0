"""Adam (Kingma & Ba 2014) on named tensors, in fused passes; with running averages where asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepfm_core._private import AdamState, move_by_adam
from deepfm_core.models.terms import TERMS
from deepfm_core.spec.run import FitSpec

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
WEIGHTS = frozenset(name for term in TERMS for name in term.weights)
CONSTANTS = frozenset(name for term in TERMS for name in term.constants)
"""Parameters that learn as fast as first-order weights; constants do not decay."""
TAIL = 8
"""The running average weighs about the last 1/9 of what it has taken in (η of Shamir & Zhang 2013)."""


@dataclass(frozen=True)
class Slot:
    """A trained tensor with its gradient, its two moments and, with averaging, its running average."""

    weight: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    average: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, averaging: bool, gradient: bool = True) -> Slot:
        """Start from zeros; without `gradient` that of some rows at a time is kept elsewhere."""
        mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
        average = torch.zeros_like(weight) if averaging else None
        return cls(weight, torch.zeros_like(weight if gradient else weight[:0]), mean, square, average)

    def take_average(self, count: int) -> None:
        """Take the weight into its running average, `count` being how often, from 1, that has been done."""
        if self.average is not None:
            self.average.lerp_(self.weight, share_of_average(count))

    def swap(self) -> None:
        """Exchange weight and average, where there is one."""
        if self.average is not None:
            weight = self.weight.clone()
            self.weight.copy_(self.average)
            self.average.copy_(weight)

    def kept(self) -> dict[str, Tensor]:
        """Give what a checkpoint needs beside the weight."""
        average = {} if self.average is None else {"average": self.average}
        return {"mean": self.mean, "square": self.square, **average}


def share_of_average(count: int) -> float:
    """Give the share that a weight has in its running average when it is taken in the `count`-th time, from 1."""
    return (1 + TAIL) / (count + TAIL)


class Adam:
    """Adam over named tensors; equal to `torch.optim.Adam`."""

    def __init__(self, weights: Mapping[str, Tensor], spec: FitSpec) -> None:
        """Train `weights`, which must keep their memory, from now on."""
        self.slots = {name: Slot.of(weight, spec.averaging) for name, weight in weights.items()}
        settings = {name: (learning_rate(name, spec), decay(name, spec)) for name in weights if weights[name].numel()}
        self._groups = [
            (Group([self.slots[name] for name in settings if settings[name] == setting]), *setting)
            for setting in sorted(set(settings.values()))
        ]

    def step(self, steps: int) -> None:
        """Move every weight by its gradient; `steps` counts from 1."""
        for group, rate, l2 in self._groups:
            group.move(steps, rate, l2)


class Group:
    """Tensors with the same settings, moved by one call."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._count = torch.zeros((), device=slots[0].weight.device)
        self._state = AdamState(
            [slot.weight for slot in slots],
            [slot.gradient for slot in slots],
            [slot.mean for slot in slots],
            [slot.square for slot in slots],
            [self._count] * len(slots),
        )

    def move(self, steps: int, rate: float, l2: float) -> None:
        """Do Adam's step number `steps`; λ of `l2` adds λ·w to the gradient, the gradient of λ/2 · Σ w²."""
        self._count.fill_(steps)
        move_by_adam(self._state, rate=rate, betas=(BETA1, BETA2), l2=l2, epsilon=EPSILON)


def learning_rate(name: str, spec: FitSpec) -> float:
    """Give a parameter's learning rate; for the table that of the embeddings."""
    return spec.learning_rate * (spec.first_order_rate if name in WEIGHTS | CONSTANTS else 1.0)


def decay(name: str, spec: FitSpec) -> float:
    """Give a parameter's L2; for the table that of the embeddings."""
    return spec.l2_embeddings if name == "table" else spec.l2 if name in WEIGHTS else 0.0
