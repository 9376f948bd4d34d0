"""How the workers of a fit go together: the first one leads, the others follow.

The leader does what `fit` does: it solves the guide, decides when to stop, keeps the best weights and writes
checkpoints. Before an epoch it says so. All workers then train, each on its share of every batch, and score their
stretch of the validation rows. A worker that begins, or weights that were put back, are brought up to date before the
next epoch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.models.deepfm import DeepFM
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.fit import EVALUATION_ROWS, train_epoch
from deepfm_core.training.guided import fixed_logits
from deepfm_core.training.hardware import Sharing
from deepfm_core.training.replicas.exchange import Replicas
from deepfm_core.training.replicas.rows import SharedRows, own_windows
from deepfm_core.training.rows import Source
from deepfm_core.training.state import FitState
from deepfm_core.training.step import Predictor, Step

END, UPDATE, TRAIN, SCORE = range(4)
"""What the leader says, with a number: the epoch to train, if any."""


class Team:
    """The workers of a fit, as their leader has them."""

    def __init__(self, replicas: Replicas, train: Source, valid: Source) -> None:
        """Lead: `train` and `valid` are all rows, of which each worker reads a stretch."""
        self.replicas, self._train, self._valid = replicas, train, valid
        self._known: object = None

    def rows(self, state: FitState) -> SharedRows:
        """Give the leader's rows to take its part of batches from."""
        return _rows(state, self._train, self.replicas)

    def begin_epoch(self, state: FitState) -> None:
        """Have the others train the epoch that begins, from these weights."""
        if self._known is not state.step:
            self.replicas.tell([UPDATE, 0])
            self._update(state)
            self._known = state.step
        self.replicas.tell([TRAIN, state.epoch])

    def valid_logits(self, model: DeepFM) -> NDArray[np.float64]:
        """Give the logit of each validation row: (M,), each scored by the worker that reads it."""
        self.replicas.tell([SCORE, 0])
        return _score(model, self._valid, self.replicas).cpu().double().numpy()

    def end(self) -> None:
        """Let the others go."""
        self.replicas.tell([END, 0])

    def _update(self, state: FitState) -> None:
        numbers = {name: float(value) for name, value in state.numbers().items() if not isinstance(value, list)}
        self.replicas.send({"numbers": torch.tensor(list(numbers.values()), dtype=torch.float64)})
        tensors = {name: value.cpu() for name, value in state.tensors().items() if not name.startswith("best.")}
        self.replicas.send(tensors)


def follow(spec: FitSpec, train: Source, valid: Source, state: FitState, replicas: Replicas) -> None:
    """Do what the leader says until it lets this worker go.

    Args:
        spec: the fit's settings.
        train: all training rows, of which this worker's stretch is there.
        valid: all validation rows, likewise.
        state: a new one, made by `shared_state`.
        replicas: the workers.
    """
    rows = _rows(state, train, replicas)
    steps = -(-len(rows) // spec.batch_size)
    with Sharing(state.final.spec, steady=True) as sharing:
        while (said := replicas.listen(2))[0] != END:
            verb, epoch = said
            if verb == UPDATE:
                values = replicas.receive()["numbers"].tolist()
                _take_over(state, dict(zip(_names(state), values, strict=True)), replicas.receive())
            elif verb == TRAIN:
                state.epoch = epoch
                for _ in train_epoch(spec, rows, state, steps, sharing):
                    pass
            else:
                state.model.settle()
                _score(state.model, valid, replicas)


def step_with(replicas: Replicas) -> Any:
    """Give what makes a step whose batches the workers share, as `FitState.new` takes it."""
    return partial(Step, replicas=replicas)


def _names(state: FitState) -> list[str]:
    return [name for name, value in state.numbers().items() if not isinstance(value, list)]


def _take_over(state: FitState, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    device = state.final.table.device
    state.load({name: value.to(device) for name, value in tensors.items()}, numbers)


def _rows(state: FitState, train: Source, replicas: Replicas) -> SharedRows:
    guided = state.final.spec.has_guide
    return SharedRows(train, state.final.table.device, replicas, partial(fixed_logits, state.final) if guided else None)


def _score(model: DeepFM, valid: Source, replicas: Replicas) -> Tensor:
    logits = Predictor(model)
    held = own_windows(valid, replicas, model.table.device)
    parts = [logits(batch) for window in held for batch in window.split(EVALUATION_ROWS)]
    return torch.cat(replicas.gather(torch.cat([*parts, model.table.detach().new_zeros(0)]), "scores"))
