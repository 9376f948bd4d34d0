"""A model's logits without a graph, by the parts of the training step."""

from __future__ import annotations

import torch
from torch import Tensor

from deepfm_core.models.batch import Batch, Lookup, Pass
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.terms import terms_of


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
