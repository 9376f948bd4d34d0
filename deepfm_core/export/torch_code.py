"""A trained model as plain PyTorch, to read and to copy: the code of this very model, without the library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from textwrap import indent

import torch
from torch import nn

from deepfm_core.errors import RunError
from deepfm_core.export.scoring import DNN, part_of
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.terms import terms_of

Lines = Iterable[str]


def plain_torch(model: DeepFM, name: str) -> str:
    """Write the model as Python that needs torch and safetensors alone.

    Raises:
        RunError: a term of the model has no code here.
    """
    size = model.columns - 1
    head = f'''"""{_comment(name)}, in plain PyTorch.

Shapes: B rows, S = {model.layout.slots} slots, F = {len(model.layout.fields)} fields, {size} numbers of embeddings.
"""

import torch
from safetensors.torch import load_file
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
'''
    call = f"""
    def forward(self, ids, x, dense, crosses=None):
        # ids (B, S) features and x (B, S) their values; dense (B, {len(model.layout.dense)}); crosses (B, \
{len(model.layout.crosses)})
        rows = self.table[ids] * x.unsqueeze(2)  # (B, S, {model.columns})
"""
    foot = """        return fm, dnn  # they add up to the logit


model = Model()
model.load_state_dict(load_file("model.safetensors"), strict=False)
model.eval()
"""
    return head + _code(_parameters(model)) + call + _code(_fields(model)) + _code(_terms(model)) + foot


def _comment(text: str) -> str:
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def _code(lines: Lines) -> str:
    return indent("".join(f"{line}\n" for line in lines), " " * 8)


def _parameters(model: DeepFM) -> Iterator[str]:
    yield f"self.table = {_empty(model.table)}  # of each feature its weight, then its embedding"
    for term in terms_of(model):
        for name in (*term.constants, *term.weights):
            yield f"self.{name} = {_empty(getattr(model, name))}"
    if model.spec.centred and model.spec.second_order:
        yield f'self.register_buffer("field_means", torch.empty({_shape(model.field_means)}))'
    if model.spec.has_guide:
        yield f'self.register_buffer("pair_weights", torch.empty({_shape(model.pair_weights)}))'
        yield f'self.register_buffer("cell_keys", torch.empty({len(model.cell_keys)}, dtype=torch.long))'
        yield f'self.register_buffer("cell_weights", torch.empty({len(model.cell_keys)}))'
    if not model.one_slot_a_field:
        yield f'self.register_buffer("field_of_slot", torch.tensor({model.field_of_slot.tolist()}), persistent=False)'
    if model.cross is not None:
        yield "self.cross = nn.ParameterDict({"
        yield from (f'    "{name}": {_empty(part)},' for name, part in model.cross.named_parameters())
        yield "})"
    if model.network is not None:
        yield 'self.network = nn.ModuleDict({"stack": nn.Sequential('
        yield from (f"    {_layer(layer)}," for layer in model.network.stack)
        yield ")})"


def _empty(parameter: torch.Tensor) -> str:
    return f"nn.Parameter(torch.empty({_shape(parameter)}))"


def _shape(tensor: torch.Tensor) -> str:
    return str(tuple(tensor.shape))


def _layer(layer: nn.Module) -> str:
    if isinstance(layer, nn.Linear):
        return f"nn.Linear({layer.in_features}, {layer.out_features})"
    if isinstance(layer, nn.BatchNorm1d):
        return f"nn.BatchNorm1d({layer.num_features})"
    rate = getattr(layer, "rate", None)
    return f"nn.{type(layer).__name__}({'' if rate is None else rate})"


def _fields(model: DeepFM) -> Iterator[str]:
    if model.one_slot_a_field:
        yield f"fields = rows  # (B, F, {model.columns})"
    else:
        shape = f"len(ids), {len(model.layout.fields)}, {model.columns}"
        yield f"fields = rows.new_zeros({shape}).index_add(1, self.field_of_slot, rows)  # (B, F, {model.columns})"
    yield "fm = dnn = rows.new_zeros(len(ids))"


def _terms(model: DeepFM) -> Iterator[str]:
    for term in terms_of(model):
        name = type(term).__name__
        if name not in TERM_CODE:
            raise RunError(
                f"The model's term `{name}` has no code in deepfm_core/export/torch_code.py. Add it to TERM_CODE "
                "there, or export the run as a bundle."
            )
        *lines, value = TERM_CODE[name](model)
        target = "dnn" if part_of(term) == DNN else "fm"
        yield ""
        yield from lines
        yield f"{target} = {target} + {value}"


# The code of each term: lines that prepare, then what it adds to the logit, (B,).


def _first_order(model: DeepFM) -> Lines:
    return ["self.bias + rows[:, :, 0].sum(1)  # bias and first order"]


def _dense(model: DeepFM) -> Lines:
    return ["dense @ self.dense_weights"]


def _fm_pairs(model: DeepFM) -> Lines:
    centre = " - self.field_means" if model.spec.centred else ""
    if model.spec.has_guide:
        return [
            f"c = fields[:, :, {_columns(model.fm_columns)}]{centre}  # (B, F, K)",
            "# Σ over pairs of r_fg ⟨c_f, c_g⟩, r_fg being what the labels say of the pair",
            'others = torch.einsum("fg,bgk->bfk", self.pair_weights, c)',
            "0.5 * (c * others).sum((1, 2))",
        ]
    return [
        f"c = fields[:, :, {_columns(model.fm_columns)}]{centre}  # (B, F, K)",
        "# Σ over pairs of ⟨c_f, c_g⟩, without a double loop (Rendle 2010)",
        "0.5 * (c.sum(1).square().sum(1) - c.square().sum((1, 2)))",
    ]


def _within_pairs(model: DeepFM) -> Lines:
    columns, numbers = _columns(model.fm_columns), model.within_fields.tolist()
    return [
        "# pairs of values inside one cell",
        f"squares = torch.zeros_like(fields[:, :, 0]).index_add(1, self.field_of_slot, rows[:, :, {columns}].square()"
        ".sum(2))",
        f"within = 0.5 * (fields[:, :, {columns}].square().sum(2) - squares)",
        f"within[:, {numbers}].sum(1)",
    ]


def _cells(model: DeepFM) -> Lines:
    if not len(model.cell_keys):
        return ["0.0  # no pair has cells"]
    slots = [range(field.first_slot, field.first_slot + field.slots) for field in model.layout.fields]
    met = [(s, t) for a, b in model.cell_pairs.tolist() for s in slots[a] for t in slots[b]]
    return [
        "# the pairs that the labels support: a weight for each cell",
        f"left, right = {[s for s, _ in met]}, {[t for _, t in met]}",
        f"key = ids[:, left] * {model.layout.vocabulary} + ids[:, right]",
        f"place = torch.searchsorted(self.cell_keys, key).clamp(max={len(model.cell_keys) - 1})",
        "cells = torch.where(self.cell_keys[place] == key, self.cell_weights[place], 0.0)",
        "(cells * x[:, left] * x[:, right]).sum(1)",
    ]


def _crossed(model: DeepFM) -> Lines:
    return ["self.crossed_weights[crosses, 0].sum(1)  # combinations of two fields"]


def _cross_network(model: DeepFM) -> Lines:
    by_form = {"vector": "x0 * (h @ w).unsqueeze(1) + b + h", "matrix": "x0 * (h @ w.T + b) + h"}
    return [
        f"x0 = h = torch.cat([fields[:, :, {_columns(model.deep_columns)}].flatten(1), dense], 1)",
        'for w, b in zip(self.cross["weights"], self.cross["biases"]):',
        f"    h = {by_form[model.spec.switches.cross]}  # a cross layer",
        'h @ self.cross["output"]',
    ]


def _deep(model: DeepFM) -> Lines:
    switches, read = model.spec.switches, ["e.flatten(1)"]
    yield f"e = fields[:, :, {_columns(model.deep_columns)}]  # (B, F, ·)"
    if switches.inner:
        yield f"a, b = torch.triu_indices({len(model.layout.fields)}, {len(model.layout.fields)}, 1)"
        yield "inner = (e @ e.transpose(1, 2))[:, a, b]  # ⟨e_f, e_g⟩ of each pair"
        read.append("inner")
    if switches.outer:
        yield "s = e.sum(1)"
        yield "outer = (s.unsqueeze(2) * s.unsqueeze(1)).flatten(1)  # s sᵀ"
        read.append("outer")
    yield f"hidden = torch.cat([{', '.join([*read, 'dense'])}], 1)"
    yield 'self.network["stack"](hidden).squeeze(1)'


def _columns(columns: slice) -> str:
    return f"{columns.start}:{columns.stop}"


TERM_CODE: dict[str, Callable[[DeepFM], Lines]] = {
    "FirstOrder": _first_order,
    "Dense": _dense,
    "FMPairs": _fm_pairs,
    "WithinPairs": _within_pairs,
    "Cells": _cells,
    "Crossed": _crossed,
    "CrossNetwork": _cross_network,
    "Deep": _deep,
}
"""By the name of a term's class."""
