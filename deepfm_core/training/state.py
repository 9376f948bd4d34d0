"""Where a fit stands, and its phases: one, or two where the model starts from an FM."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from deepfm_core.encoding.encoded_table import Layout
from deepfm_core.evidence.guide import Guide
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.hardware import require_precision
from deepfm_core.training.step import AutogradStep, Step

AnyStep = Step | AutogradStep

REDUCED = 0.1
"""What the learning rate is multiplied by on a plateau."""


@dataclass
class FitState:
    """Where a fit stands: everything a checkpoint needs to go on as if never interrupted.

    Between epochs, with averaging, the model holds the averages and `step` the weights to go on from. Random numbers
    are drawn from streams that (seed, epoch) begin, so no random state is kept.

    Attributes:
        model: the one that trains now: the FM, in the first phase of a model that starts from one.
        final: the one that the fit is for.
        epoch: epochs done, those of an earlier phase included.
        began: epochs done when the present phase began.
        reduced: epochs done when the learning rate was reduced in the present phase; 0 where it was not.
        full: how many epochs the weights that it was reduced from had been trained for in the phase.
        earlier: how many epochs the kept weights of each earlier phase had been trained for.
        best_loss: the lowest so far of the validation part: the logloss, or 1 − AUC where the fit goes by that.
        gained: the last epoch that was better by the fit's least gain, which patience counts from.
        gained_loss: the loss of that epoch.
        guide: what a guided model must do better than; None until it is known.
    """

    model: DeepFM
    final: DeepFM
    make_step: Callable[[DeepFM, float], AnyStep]
    step: AnyStep
    seed: int
    epoch: int = 0
    began: int = 0
    reduced: int = 0
    full: int = 0
    earlier: tuple[int, ...] = ()
    guide: Guide | None = None
    best_epoch: int = 0
    best_loss: float = math.inf
    gained: int = 0
    gained_loss: float = math.inf
    seconds: float = 0.0
    reduces: bool = False
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def new(
        cls,
        layout: Layout,
        model_spec: ModelSpec,
        fit_spec: FitSpec,
        seed: int,
        step: Callable[[DeepFM, FitSpec], AnyStep] = Step,
        device: torch.device | str = "cpu",
    ) -> FitState:
        """Start from random weights that depend on `seed` alone, on `device`; `step` is how a batch is trained on.

        Raises:
            SpecError: the fit's precision cannot be used on this processor.
        """
        require_precision(fit_spec.precision)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            first = (
                DeepFM(layout, replace(model_spec, name="fm", guided=False)).to(device)
                if model_spec.switches.pretrained
                else None
            )
            final = DeepFM(layout, model_spec).to(device)
        model = final if first is None else first
        make_step = _steps(step, fit_spec)
        return cls(model, final, make_step, make_step(model, 1.0), seed, reduces=fit_spec.reduces)

    def step_by(self, step: Callable[[DeepFM, FitSpec], AnyStep], fit_spec: FitSpec) -> None:
        """Take steps of another kind from now on, from where those before have come."""
        before, self.make_step = self.step, _steps(step, fit_spec)
        self.step = self.make_step(self.model, REDUCED if self.reduced else 1.0)
        if before.steps:
            self.step.load(before.tensors(), before.steps)

    def begin_anew(self, model: DeepFM, weights: Mapping[str, Tensor]) -> None:
        """Go back to before the first epoch, in which `model` trained, and had such `weights`, if any are given."""
        self.model, self.guide = model, None
        if weights:
            model.load_state_dict(weights)
        self.epoch = self.began = self.reduced = self.full = self.best_epoch = self.gained = 0
        self.earlier, self.best_weights = (), {}
        self.best_loss = self.gained_loss = math.inf
        self.step = self.make_step(model, 1.0)

    @property
    def pretraining(self) -> bool:
        """Whether this is the first of two phases."""
        return self.model is not self.final

    @property
    def phases(self) -> int:
        """How many phases the fit has."""
        return 2 if self.final.spec.switches.pretrained else 1

    @property
    def best_epochs(self) -> tuple[int, ...]:
        """How many epochs the kept weights of each phase have been trained for; where the learning rate is reduced on a
        plateau, those before and after."""
        if self.reduced:
            return (*self.earlier, self.full, max(self.best_epoch - self.reduced, 0))
        since = self.best_epoch - self.began
        return (*self.earlier, since, 0) if self.reduces else (*self.earlier, since)

    @property
    def stalled(self) -> int:
        """How many epochs in a row have gained nothing, or have passed since the rate was reduced."""
        return self.epoch - max(self.gained, self.reduced)

    def take(self, loss: float, least_gain: float) -> bool:
        """Take in the loss of the epoch that has ended; return whether it is the best one, and keep its weights then.

        Args:
            loss: of the validation part.
            least_gain: share of the loss that an epoch must gain to begin the patience anew.
        """
        if loss < self.gained_loss * (1 - least_gain):
            self.gained, self.gained_loss = self.epoch, loss
        best = loss < self.best_loss
        if best:
            self.best_epoch, self.best_loss = self.epoch, loss
            self.keep_best()
        return best

    def reduce_rate(self) -> None:
        """Go on from the weights that the model has, with a tenth of the learning rate and moments of 0."""
        self.full, self.reduced = self.best_epoch - self.began, self.epoch
        self.step = self.make_step(self.model, REDUCED)

    def begin_last_phase(self) -> None:
        """Go from the FM to the model whose table starts from the FM's weights and embeddings."""
        with torch.no_grad():
            self.final.table.copy_(self.model.table)
        self.earlier, self.began = self.best_epochs, self.epoch
        self._change_model()
        self.best_epoch, self.best_loss, self.best_weights = self.epoch, math.inf, {}
        self.gained, self.gained_loss = self.epoch, math.inf

    def _change_model(self) -> None:
        self.model = self.final
        self.step, self.reduced, self.full = self.make_step(self.model, 1.0), 0, 0

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
            "began": self.began,
            "earlier": list(self.earlier),
            "steps": self.step.steps,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "gained": self.gained,
            "gained_loss": self.gained_loss,
            "reduced": self.reduced,
            "full": self.full,
            "seconds": self.seconds,
        }

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Take over a checkpoint made by `tensors` and `numbers`."""
        self.began, self.earlier = int(numbers.get("began", 0)), tuple(numbers.get("earlier", ()))
        if self.began:
            self._change_model()
        self.reduced, self.full = int(numbers.get("reduced", 0)), int(numbers.get("full", 0))
        if self.reduced:
            self.step = self.make_step(self.model, REDUCED)
        self.model.load_state_dict(_with_prefix(tensors, "model."))
        self.best_weights = _with_prefix(tensors, "best.")
        self.step.load(_with_prefix(tensors, "adam."), int(numbers["steps"]))
        self.epoch, self.best_epoch = int(numbers["epoch"]), int(numbers["best_epoch"])
        best = numbers["best_loss"] if "best_loss" in numbers else numbers["best_logloss"]  # as 0.1 called it
        self.best_loss, self.seconds = float(best), float(numbers["seconds"])
        self.gained = int(numbers.get("gained", self.best_epoch))  # before there was a least gain, any counted
        self.gained_loss = float(numbers.get("gained_loss", self.best_loss))

    def keep_best(self) -> None:
        """Remember the weights as they are now."""
        self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}

    def restore_best(self) -> None:
        """Put the remembered weights back into the model."""
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)


def _steps(step: Callable[[DeepFM, FitSpec], AnyStep], spec: FitSpec) -> Callable[[DeepFM, float], AnyStep]:
    """Give what makes a step of a model, at a share of the learning rate."""
    return lambda model, share: step(model, replace(spec, learning_rate=share * spec.learning_rate))


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
