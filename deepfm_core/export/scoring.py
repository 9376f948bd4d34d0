"""A stand-alone `score.py` beside weights and vocabulary, which needs numpy alone: start with `score_bytes`."""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import deepfm_core
from deepfm_core.encoding.categorical import TimeCode
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import RunError
from deepfm_core.export import standalone
from deepfm_core.export.bundle import zipped
from deepfm_core.export.model_card import Facts
from deepfm_core.models.batch import Batch, Reading
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.term import Term
from deepfm_core.models.terms import terms_of
from deepfm_core.runs.predictor import Trained
from deepfm_core.schema.column import MARKS, WRAPPING
from deepfm_core.schema.timestamps import FORMS
from deepfm_core.spec.models import ADDENDS
from deepfm_core.tables.table import MISSING_TEXTS, Texts

FM, DNN = "fm", "dnn"
"""The two parts that a logit is shown as: the networks', and all else."""


def score_bytes(facts: Facts) -> bytes:
    """Give the content of a .zip with `score.py`, `weights.npz`, `vocabulary.json` and a word on how to use them.

    Raises:
        RunError: the run's model has a term that `score.py` cannot add up.
    """
    trained = Trained.load(facts.folder)
    source = Path(standalone.__file__).read_text(encoding="utf-8")
    text = json.dumps(vocabulary(trained), ensure_ascii=False, default=_plain)
    files = {"README.md": _how(facts), "score.py": source, "vocabulary.json": text}
    return zipped({**{name: each.encode() for name, each in files.items()}, "weights.npz": _weights(trained.model)})


def vocabulary(trained: Trained) -> dict[str, Any]:
    """Give all that scoring needs beside the weights, as plain values for JSON."""
    encoder, label = trained.encoder, trained.spec.schema.label
    return {
        "label": {"column": label.column, "positive": label.positive},
        "missing": sorted(MISSING_TEXTS),
        "wrapping": WRAPPING,
        "marks": list(MARKS),
        **_fields(encoder),
        "terms": [(_named(term), part_of(term)) for term in terms_of(trained.model)],
        "model": _reading(trained.model),
    }


def _fields(encoder: Encoder) -> dict[str, Any]:
    layout = encoder.layout
    placed = [
        {**_coded(field), "offset": place.offset, "size": place.size, "slots": place.slots}
        for field, place in zip(encoder.fields, layout.fields, strict=True)
    ]
    crosses = [
        {"parts": [_coded(part) for part in cross.parts], "combinations": cross.combinations, "offset": place.offset}
        for cross, place in zip(encoder.crosses, layout.crosses, strict=True)
    ]
    dense = [field.to_dict() for field in encoder.dense_fields]
    return {"fields": placed, "dense": dense, "crosses": crosses, "notations": _notations(encoder)}


def _notations(encoder: Encoder) -> dict[str, Any]:
    """Give how columns write numbers, where that is unusual, with the patterns to read them by."""
    numbers = {field.column for field in (*encoder.fields, *encoder.dense_fields) if field.kind.is_number}
    return {
        column: {**notation.to_dict(), **notation.patterns, "is_number": column in numbers}
        for column, notation in encoder.notations.items()
    }


def _coded(field: Any) -> dict[str, Any]:
    """Give a field's code; a point in time with the pattern of its form."""
    values: dict[str, Any] = field.to_dict()
    return {**values, "pattern": FORMS[field.form]} if isinstance(field, TimeCode) else values


def _named(term: Term) -> str:
    name = type(term).__name__
    if name not in standalone.TERMS:
        raise RunError(
            f"The model's term `{name}` has no function in score.py (deepfm_core/export/standalone.py). Add it to "
            "TERMS there, or export the run as a bundle."
        )
    return name


def part_of(term: Term) -> str:
    """Say whether a term adds to the networks' part of the logit or to the other one, by the kind of its addends."""
    model = term.model
    kinds = {addends.kind for addends in term.addends(Reading(model, one_row(model)))}
    return DNN if {ADDENDS[kind].column for kind in kinds} == {ADDENDS["dnn"].column} else FM


def one_row(model: DeepFM) -> Batch:
    """Give a batch of one row, of each field's first feature: for what depends on the model's form alone."""
    layout, table = model.layout, model.table
    ids = torch.tensor([[field.offset for field in layout.fields for _ in range(field.slots)]], dtype=torch.int32)
    crosses = table.new_zeros(1, len(layout.crosses)).int() if layout.crosses else None
    return Batch(ids.to(table.device), None, table.new_zeros(1, len(layout.dense)), None, crosses)


def _reading(model: DeepFM) -> dict[str, Any]:
    """Say which columns of the table the terms read, and what the network does."""
    switches = model.spec.switches
    stack = [] if model.network is None else list(model.network.stack)
    return {
        "fm_columns": [model.fm_columns.start, model.fm_columns.stop],
        "deep_columns": [model.deep_columns.start, model.deep_columns.stop],
        "centred": model.spec.centred,
        "within": model.within_fields.tolist(),
        "inner": switches.inner,
        "outer": switches.outer,
        "cross": switches.cross,
        "layers": [(type(layer).__name__, f"network.stack.{number}.") for number, layer in enumerate(stack)],
    }


def _weights(model: DeepFM) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, tensor in model.state_dict().items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, tensor.detach().cpu().numpy(), allow_pickle=False)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, Texts):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no value for JSON")


def _how(facts: Facts) -> str:
    label = facts.spec.schema.label
    needed = "".join(f"- `{role.column}`\n" for role in facts.spec.schema.used)
    return f"""# Score rows without the library: {facts.name}

    python score.py rows.csv > probabilities.csv

`score.py` needs Python 3.10 or newer and numpy. It prints `row,probability` for each row: the probability that
`{label.column}` is `{label.positive}`. `--parts` adds `logit`, `fm_logit` and `dnn_logit`.

Columns that `rows.csv` must have:

{needed}
Cells may be empty. Others do not matter. `vocabulary.json` holds values of the table that the model was trained on.
"""


# A trained model as an ONNX graph, traced from its own terms: start with `onnx_bytes`.
#
# Inputs: `ids` (B, S) int64, `x` (B, S) float32, `dense` (B, D) float32 where the model has dense fields, `crosses`
# (B, C) int64 where it has crossed fields. Outputs: `logit`, `fm_logit` and `dnn_logit`, (B,) float32 each; the last
# two add up to the first. Texts become ids and x by the run's encoder, which is in its bundle.


OPSET = 18
"""Version of the operators that the graph is written in."""
OUTPUTS = ("logit", "fm_logit", "dnn_logit")


class Graph(nn.Module):
    """A model as a function of tensors: the logit and its two parts."""

    def __init__(self, model: DeepFM) -> None:
        super().__init__()
        self.model = model
        self.terms = terms_of(model)
        self.parts = [part_of(term) for term in self.terms]

    def forward(
        self, ids: Tensor, x: Tensor, dense: Tensor | None = None, crosses: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give logit, FM logit and DNN logit: (B,) each."""
        fm = dnn = x.new_zeros(x.shape[0])
        numbers = x.new_zeros(x.shape[0], 0) if dense is None else dense
        read = Reading(self.model, Batch(ids, x, numbers, None, crosses))
        for term, part in zip(self.terms, self.parts, strict=True):
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
        graph(**inputs)  # terms find out once where their weights are, which no graph can express
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
