"""Each model of the paper's comparison against an independent construction with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deepctr_torch import models as deepctr_models
from deepctr_torch.inputs import SparseFeat
from numpy.typing import NDArray
from torch import Tensor, nn
from torchfm.layer import FactorizationMachine
from torchfm.model.dfm import DeepFactorizationMachineModel
from torchfm.model.fm import FactorizationMachineModel
from torchfm.model.fnn import FactorizationSupportedNeuralNetworkModel
from torchfm.model.lr import LogisticRegressionModel
from torchfm.model.pnn import ProductNeuralNetworkModel
from torchfm.model.wd import WideAndDeepModel

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import MODEL_NAMES, ModelSpec
from deepfm_core.training.step import Predictor
from tests.models.test_deepfm import make
from tests.worlds import MIXED, crossed, encoded, layout

pytestmark = pytest.mark.slow

SIZES, K, LAYERS = [4, 6, 3, 5], 3, (7, 5)
CATEGORICAL = layout([(Kind.CATEGORICAL, 1, size) for size in SIZES])
TABLE = encoded(CATEGORICAL, 40, seed=1)
OFFSETS = np.array([field.offset for field in CATEGORICAL.fields])

Values = NDArray[np.float64]


def ours(name: str, **settings: object) -> tuple[DeepFM, Values]:
    """Make a model with random weights and running statistics, and give the logits of the table."""
    model = make(CATEGORICAL, 3, name=name, embedding_size=K, layers=LAYERS, **settings)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model, model(Batch.from_table(TABLE).double()).detach().numpy()


def logits_of(peer: nn.Module) -> Values:
    """Give a peer's logits: it returns probabilities."""
    inputs = torch.from_numpy(TABLE.ids - OFFSETS)
    return torch.logit(peer.double().eval()(inputs)).flatten().detach().numpy()


def put(weight: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        weight.copy_(values)


def torchfm_model(model: DeepFM) -> nn.Module:
    """Make torchfm's model of the same name and copy the weights in."""
    deep = (SIZES, K, LAYERS, 0.1)
    makers: dict[str, Callable[[], nn.Module]] = {
        "lr": lambda: LogisticRegressionModel(SIZES),
        "fm": lambda: FactorizationMachineModel(SIZES, K),
        "fnn": lambda: FactorizationSupportedNeuralNetworkModel(SIZES, 1 + K, LAYERS, 0.1),
        "dnn": lambda: FactorizationSupportedNeuralNetworkModel(*deep),
        "ipnn": lambda: ProductNeuralNetworkModel(*deep, method="inner"),
        "wide-deep": lambda: WideAndDeepModel(*deep),
        "deepfm": lambda: DeepFactorizationMachineModel(*deep),
    }
    peer: Any = makers[model.spec.name]().double()
    if hasattr(peer, "linear") and model.spec.first_order:
        put(peer.linear.fc.weight, model.table[:, :1])
        put(peer.linear.bias, model.bias)
    if hasattr(peer, "embedding"):
        put(peer.embedding.embedding.weight, model.table[:, 0 if model.spec.name == "fnn" else 1 :])
    if model.network is not None:
        peer.mlp.mlp.load_state_dict(model.network.stack.state_dict())
    return peer


@pytest.mark.parametrize("name", ["lr", "fm", "dnn", "fnn", "ipnn", "wide-deep", "deepfm"])
def test_a_model_is_torchfms_with_the_same_weights(name: str) -> None:
    model, logits = ours(name, batch_norm=True, dropout=0.1)
    np.testing.assert_allclose(logits_of(torchfm_model(model)), logits, atol=1e-9)


def test_fm_and_dnn_is_torchfms_fm_and_a_network_over_embeddings_of_its_own() -> None:
    model, logits = ours("fm-dnn", batch_norm=True, dropout=0.1)
    fm = FactorizationMachineModel(SIZES, K).double()
    put(fm.linear.fc.weight, model.table[:, :1])
    put(fm.linear.bias, model.bias)
    put(fm.embedding.embedding.weight, model.table[:, 1 : 1 + K])
    network = FactorizationSupportedNeuralNetworkModel(SIZES, K, LAYERS, 0.1).double()
    put(network.embedding.embedding.weight, model.table[:, 1 + K :])
    network.mlp.mlp.load_state_dict(model.network.stack.state_dict())
    np.testing.assert_allclose(logits_of(fm) + logits_of(network), logits, atol=1e-9)
    assert isinstance(fm.fm, FactorizationMachine)


DCN_FORMS = {"dcn": "vector", "dcn-v2": "matrix"}


@pytest.mark.parametrize("name", DCN_FORMS)
def test_dcn_is_deepctr_torchs_with_the_same_weights(name: str) -> None:
    model, logits = ours(name)
    columns = [SparseFeat(field.name, field.size, embedding_dim=K) for field in CATEGORICAL.fields]
    form = DCN_FORMS[name]
    peer = deepctr_models.DCN(
        columns, columns, cross_num=3, cross_parameterization=form, dnn_hidden_units=LAYERS
    ).double()
    for field in CATEGORICAL.fields:
        put(peer.embedding_dict[field.name].weight, model.table[field.offset : field.offset + field.size, 1:])
        nn.init.zeros_(peer.linear_model.embedding_dict[field.name].weight)  # their model adds LR
    put(peer.crossnet.kernels, model.cross.weights.unsqueeze(2) if form == "vector" else model.cross.weights)
    put(peer.crossnet.bias, model.cross.biases.unsqueeze(2))
    linears = [module for module in model.network.stack if isinstance(module, nn.Linear)]
    for theirs, own in zip(peer.dnn.linears, linears, strict=False):
        theirs.load_state_dict(own.state_dict())
    put(peer.dnn_linear.weight, torch.cat([model.cross.output.unsqueeze(0), linears[-1].weight], 1))
    put(peer.out.bias, linears[-1].bias)
    found = torch.logit(peer.eval()(torch.from_numpy(TABLE.ids - OFFSETS).double())).flatten().detach().numpy()
    np.testing.assert_allclose(found, logits, atol=1e-9)


DEEPCTR = {"ipnn": deepctr_models.PNN, "wide-deep": deepctr_models.WDL, "deepfm": deepctr_models.DeepFM}


@pytest.mark.parametrize("name", DEEPCTR)
def test_a_model_is_deepctr_torchs_with_the_same_weights(name: str) -> None:
    model, logits = ours(name)
    columns = [SparseFeat(field.name, field.size, embedding_dim=K) for field in CATEGORICAL.fields]
    arguments = (columns,) if name == "ipnn" else (columns, columns)
    peer = DEEPCTR[name](*arguments, dnn_hidden_units=LAYERS).double()
    for field in CATEGORICAL.fields:
        rows = model.table[field.offset : field.offset + field.size]
        put(peer.embedding_dict[field.name].weight, rows[:, 1:])
        if model.spec.first_order:
            put(peer.linear_model.embedding_dict[field.name].weight, rows[:, :1])
    linears = [module for module in model.network.stack if isinstance(module, nn.Linear)]
    for theirs, own in zip(peer.dnn.linears, linears, strict=False):
        theirs.load_state_dict(own.state_dict())
    put(peer.dnn_linear.weight, linears[-1].weight)
    put(peer.out.bias, linears[-1].bias + (model.bias if model.spec.first_order else 0.0))
    inputs = torch.from_numpy(TABLE.ids - OFFSETS).double()
    found = torch.logit(peer.eval()(inputs)).flatten().detach().numpy()
    np.testing.assert_allclose(found, logits, atol=1e-9)


def logit_by_loops(model: DeepFM, table: EncodedTable, row: int) -> float:
    """Write out docs/model.md for one row as loops over features, fields and units."""
    spec, columns = model.spec, model.table.detach().numpy()
    slots = [
        [
            (columns[table.ids[row, s]], float(table.weights[row, s]))
            for s in range(f.first_slot, f.first_slot + f.slots)
        ]
        for f in table.layout.fields
    ]
    k = spec.embedding_size
    logit = 0.0
    if spec.first_order:
        logit += float(model.bias.detach()) + sum(x * v[0] for field in slots for v, x in field)
        logit += float(model.dense_weights.detach().numpy() @ table.dense[row])
        logit += sum(float(model.crossed_weights[i, 0].detach()) for i in table.crosses[row])
    if spec.second_order:
        features = [(number, v[1 : 1 + k] * x) for number, field in enumerate(slots) for v, x in field]
        for first, (f, a) in enumerate(features):
            for g, b in features[first + 1 :]:
                if f != g or table.layout.fields[f].pairs_within:
                    logit += float(a @ b)
    if model.network is None:
        return logit
    inputs = inputs_by_loops(model, slots, table, row)
    return logit + cross_by_loops(model, inputs) + network_by_loops(model, inputs)


def cross_by_loops(model: DeepFM, x: Values) -> float:
    """Write out the cross layers of both papers, input by input."""
    if model.cross is None:
        return 0.0
    weights, biases, output = (part.detach().numpy() for part in model.cross.parameters())
    crossed, inputs = x, range(len(x))
    for weight, bias in zip(weights, biases, strict=True):
        if model.spec.name == "dcn":
            crossed = np.array([x[i] * sum(weight * crossed) + bias[i] + crossed[i] for i in inputs])
        else:
            crossed = np.array([x[i] * (sum(weight[i] * crossed) + bias[i]) + crossed[i] for i in inputs])
    return float(sum(output * crossed))


def inputs_by_loops(model: DeepFM, slots: list[list[tuple[Values, float]]], table: EncodedTable, row: int) -> Values:
    name, k = model.spec.name, model.spec.embedding_size
    rows: list[Any] = [sum(v * x for v, x in field) for field in slots]
    read = {"fnn": slice(0, 1 + k), "fm-dnn": slice(1 + k, 1 + 2 * k)}.get(name, slice(1, 1 + k))
    fields = [whole[read] for whole in rows]
    inputs = list(fields)
    if name in ("ipnn", "pnn"):
        inner = [float(fields[f] @ fields[g]) for f in range(len(fields)) for g in range(f + 1, len(fields))]
        inputs.append(np.array(inner))
    if name in ("opnn", "pnn"):
        inputs.append(np.ravel(sum(np.outer(a, b) for a in fields for b in fields)))
    return np.concatenate([*inputs, table.dense[row]])


def network_by_loops(model: DeepFM, inputs: Values) -> float:
    for module in model.network.stack:
        if isinstance(module, nn.Linear):
            weight, bias = (part.detach().numpy() for part in (module.weight, module.bias))
            inputs = np.array([sum(w * x for w, x in zip(unit, inputs, strict=True)) for unit in weight]) + bias
        else:
            inputs = np.tanh(inputs)
    return float(inputs[0])


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_is_its_equation_written_as_loops(name: str) -> None:
    shape = crossed(MIXED, 6, 4)
    model = make(shape, 2, name=name, embedding_size=K, layers=LAYERS, activation="tanh")
    table = encoded(shape, 12, seed=2)
    expected = [logit_by_loops(model, table, row) for row in range(len(table))]
    batch = Batch.from_table(table).double()
    np.testing.assert_allclose(model(batch).detach().numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(Predictor(model)(batch).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_table_of_dense_fields_alone_is_predicted_as_forward_has_it(name: str) -> None:
    shape = layout([], dense=3)
    torch.manual_seed(0)
    model = DeepFM(shape, ModelSpec(name, 4, (6,))).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    batch = Batch.from_table(encoded(shape, 5, seed=1))
    torch.testing.assert_close(Predictor(model)(batch), model(batch).detach())
