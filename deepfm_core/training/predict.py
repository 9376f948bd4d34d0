"""A model's logits without a graph, by the parts of the training step."""

from __future__ import annotations

import torch
from torch import Tensor

from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.training.fm_gradients import Factorisation
from deepfm_core.training.lookup import Lookup, Slots, Within


class Inference:
    """Evaluates a model as it is now: the same logits as its `forward`, in two thirds of the time."""

    def __init__(self, model: DeepFM) -> None:
        self._model = model.eval()
        self._table = model.table.detach().contiguous()
        self._slots = Slots.of(model)
        self._fm = Factorisation(model, None) if model.spec.first_order else None
        self._within = Within(model) if model.spec.second_order and len(model.within_fields) else None

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Give the logits of B rows: (B,)."""
        rows, model = len(batch), self._model
        every = slice(0, rows)
        weights = None if batch.weights is None else batch.weights.reshape(-1)
        lookup = Lookup(self._table, batch.ids.reshape(-1), weights)
        e = self._slots.fields(lookup, model.fm_columns, every) if model.spec.second_order else self._table[:0]
        logit = self._table.new_zeros(rows)
        if self._fm is not None:
            self._fm.begin(None)
            logit += self._fm.forward(e, self._slots.sums(lookup, every), batch.dense)
        if self._within is not None:
            logit += self._within.forward(lookup, rows)
        if model.crossed_weights is not None:
            logit += model.crossed_terms(batch).sum(1)
        if model.network is not None:
            alike = model.spec.second_order and model.deep_columns == model.fm_columns
            read = e if alike else self._slots.fields(lookup, model.deep_columns, every)
            logit += model.network(model.network_input(read.view(rows, len(model.layout.fields), -1), batch.dense))
        return logit
