"""A trained model as an ONNX graph, traced from its own terms: start with `onnx_bytes`.

Inputs: `ids` (B, S) int64, `x` (B, S) float32, `dense` (B, D) float32 where the model has dense fields, `crosses`
(B, C) int64 where it has crossed fields. Outputs: `logit`, `fm_logit` and `dnn_logit`, (B,) float32 each; the last two
add up to the first. Texts become ids and x by the run's encoder, which is in its bundle.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import deepfm_core
from deepfm_core.export.facts import Facts
from deepfm_core.export.scoring import DNN, one_row, part_of
from deepfm_core.models.batch import Batch, Reading
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.terms import terms_of
from deepfm_core.runs.predictor import Trained

OPSET = 18
"""Version of the operators that the graph is written in."""
OUTPUTS = ("logit", "fm_logit", "dnn_logit")


class Graph(nn.Module):
    """A model as a function of tensors: the logit and its two parts."""

    def __init__(self, model: DeepFM) -> None:
        super().__init__()
        self.model = model
        self.parts = [part_of(term) for term in terms_of(model)]

    def forward(
        self, ids: Tensor, x: Tensor, dense: Tensor | None = None, crosses: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give logit, FM logit and DNN logit: (B,) each."""
        fm = dnn = x.new_zeros(x.shape[0])
        numbers = x.new_zeros(x.shape[0], 0) if dense is None else dense
        read = Reading(self.model, Batch(ids, x, numbers, None, crosses))
        for term, part in zip(terms_of(self.model), self.parts, strict=True):
            if part == DNN:
                dnn = dnn + term.forward(read)
            else:
                fm = fm + term.forward(read)
        return fm + dnn, fm, dnn


def onnx_bytes(facts: Facts) -> bytes:
    """Give the content of an .onnx file; its metadata say which run it is of, and name the fields of the slots."""
    trained = Trained.load(facts.folder)
    graph, inputs = Graph(trained.model).eval(), inputs_of(trained.model)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={name: {0: torch.export.Dim.DYNAMIC} for name in inputs},
            verbose=False,
        )
    assert program is not None
    written = program.model_proto
    written.producer_name, written.producer_version = "deepfm", deepfm_core.__version__
    for part in (*written.graph.input, *written.graph.output):
        part.type.tensor_type.shape.dim[0].dim_param = "rows"
    for key, value in _described(trained, facts).items():
        written.metadata_props.add(key=key, value=value)
    return bytes(written.SerializeToString())


def inputs_of(model: DeepFM) -> dict[str, Tensor]:
    """Give two rows of every input that the model's graph has, by name."""
    one = one_row(model)
    parts = {"ids": one.ids.long(), "x": torch.ones(one.ids.shape), "dense": one.dense, "crosses": one.crosses}
    kept = {name: part for name, part in parts.items() if part is not None and part.shape[1]}
    return {name: (part.long() if name == "crosses" else part).repeat(2, 1) for name, part in kept.items()}


def _described(trained: Trained, facts: Facts) -> dict[str, str]:
    label, layout = facts.spec.schema.label, trained.encoder.layout
    slots = [field.name for field in layout.fields for _ in range(field.slots)]
    return {
        "run": facts.name,
        "label": label.column,
        "positive": label.positive,
        "slots": json.dumps(slots, ensure_ascii=False),
        "dense": json.dumps(layout.dense, ensure_ascii=False),
        "crosses": json.dumps([field.name for field in layout.crosses], ensure_ascii=False),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter says of its own insides from the user."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
