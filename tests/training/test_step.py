"""The step by hand: the gradients and the trained weights of plain autograd."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.encoding.encoded_table import Layout
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.network import DropoutMasks
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec
from deepfm_core.spec.settings import ACTIVATIONS
from deepfm_core.training import embedding_table as crossed_module
from deepfm_core.training import embedding_table as table_module
from deepfm_core.training import step as step_module
from deepfm_core.training.embedding_table import Distinct
from deepfm_core.training.step import AutogradStep, Step
from tests.worlds import MIXED, crossed, encoded, layout

pytestmark = pytest.mark.slow

CATEGORICAL = layout([(Kind.CATEGORICAL, 1, 7), (Kind.BUCKETISED, 1, 5), (Kind.CATEGORICAL, 1, 11)])
MULTI_VALUED = layout([(Kind.MULTI_VALUED, 4, 6), (Kind.CATEGORICAL, 1, 5)])
DENSE_BESIDE = layout([(Kind.NUMERIC, 1, 2), (Kind.CATEGORICAL, 1, 3)], dense=3)
SHAPES = {
    "mixed": MIXED,
    "categorical": CATEGORICAL,
    "multi-valued": MULTI_VALUED,
    "dense beside": DENSE_BESIDE,
    "dense alone": layout([], dense=3),
    "crossed": crossed(CATEGORICAL, 9, 4),
}
FIT = FitSpec(learning_rate=0.01, l2=0.01)


def batch_of(shape: Layout, rows: int, seed: int, weights: bool = True) -> Batch:
    batch = Batch.from_table(encoded(shape, rows, seed))
    return batch if weights else replace(batch, weights=None)


def model_of(shape: Layout, spec: ModelSpec) -> DeepFM:
    torch.manual_seed(1)
    model = DeepFM(shape, spec).train()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def masks(spec: ModelSpec, rows: int, seed: int = 5) -> list[torch.Tensor]:
    source = DropoutMasks(spec.layers if spec.deep else (), spec.dropout, torch.device("cpu"))
    source.seed(seed)
    return source.draw(rows)


def differences(model: DeepFM, batch: Batch, kept: list[torch.Tensor]) -> dict[str, float]:
    """Give the largest difference of each gradient, relative to its size, and that of the logits."""
    other = copy.deepcopy(model)
    by_hand, reference = Step(model, FIT), AutogradStep(other, FIT)
    logits = by_hand.differentiate(batch, kept), reference.differentiate(batch, kept)
    found = {"logit": float((logits[0] - logits[1]).abs().max())}
    for name, parameter in other.named_parameters():
        if parameter.requires_grad:
            expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            scale = max(float(expected.norm()), 0.05)  # a bias before batch normalisation has none but rounding
            found[name] = float((by_hand.gradients[name] - expected).norm()) / scale
    return found


NETWORKS = [
    {"activation": activation, "dropout": dropout, "batch_norm": batch_norm}
    for activation in ACTIVATIONS
    for dropout in (0.0, 0.4)
    for batch_norm in (False, True)
]
MODELS: list[dict[str, Any]] = [
    {"name": "lr"},
    *({"name": "fm", "centred": centred} for centred in (False, True)),
    *({"name": "dnn", **network} for network in NETWORKS),
    *({"name": "deepfm", "centred": centred, **network} for centred in (False, True) for network in NETWORKS),
    *({"name": name, **network} for name in ("dcn", "dcn-v2") for network in (NETWORKS[0], NETWORKS[-1])),
    *(
        {"name": name, "centred": centred, **network}
        for name in ("fnn", "ipnn", "opnn", "pnn", "wide-deep", "fm-dnn")
        for centred in ((False, True) if name == "fm-dnn" else (False,))
        for network in (NETWORKS[0], {"activation": "tanh", "dropout": 0.4, "batch_norm": True})
    ),
]


@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: "-".join(map(str, settings.values())))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradients_by_hand_are_those_of_autograd(shape: str, settings: dict[str, Any]) -> None:
    spec = ModelSpec(embedding_size=3, layers=(5, 4), **settings)
    kept = masks(spec, 24)
    single = differences(model_of(SHAPES[shape], spec), batch_of(SHAPES[shape], 24, 2), kept)
    assert max(single.values()) < 1e-5, single
    model = model_of(SHAPES[shape], spec).double()
    double = differences(model, batch_of(SHAPES[shape], 24, 2).double(), [mask.double() for mask in kept])
    assert max(double.values()) < 1e-10, double


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_in_pieces_has_the_gradients_of_the_whole(
    shape: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "PIECE", 7)
    spec = ModelSpec(name, 3, (5, 4), dropout=0.4, centred=name in ("fm", "fm-dnn", "deepfm"))
    model = model_of(SHAPES[shape], spec).double()
    found = differences(model, batch_of(SHAPES[shape], 24, 2).double(), [mask.double() for mask in masks(spec, 24)])
    assert max(found.values()) < 1e-10, found


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("shape", SHAPES)
def test_batches_that_read_few_or_most_rows_of_the_table_have_the_gradients_of_autograd(shape: str, rows: int) -> None:
    model = model_of(SHAPES[shape], ModelSpec(layers=(6,))).double()
    found = differences(model, batch_of(SHAPES[shape], rows, 3).double(), [])
    assert max(found.values()) < 1e-10, found


@pytest.mark.parametrize("layers", [(), (6,), (6, 5, 4)])
@pytest.mark.parametrize("shape", ["categorical", "multi-valued"])
@pytest.mark.parametrize("name", ["deepfm", "fnn", "pnn"])
def test_networks_of_any_depth_and_rows_without_weights(shape: str, layers: tuple[int, ...], name: str) -> None:
    model = model_of(SHAPES[shape], ModelSpec(name, layers=layers, embedding_size=1)).double()
    found = differences(model, batch_of(SHAPES[shape], 9, 3, weights=False).double(), [])
    assert max(found.values()) < 1e-10, found


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_many_steps_end_with_the_weights_of_plain_autograd(name: str) -> None:
    spec = ModelSpec(name, 4, (6,), dropout=0.3, batch_norm=True, centred=True)
    shape = crossed(MIXED, 12, 7)
    model = model_of(shape, spec).double()
    other = copy.deepcopy(model)
    by_hand, reference = Step(model, FIT), AutogradStep(other, FIT)
    for number in range(60):
        rows = 33 - number % 3
        batch = batch_of(shape, rows, number).double()
        kept = [mask.double() for mask in masks(spec, rows, number)]
        by_hand(batch, kept)
        reference(batch, kept)
    expected = other.state_dict()
    for key, value in model.state_dict().items():
        assert torch.allclose(value, expected[key], atol=1e-8), (key, (value - expected[key]).abs().max())


LARGE = crossed(layout([(Kind.CATEGORICAL, 1, 900), (Kind.MULTI_VALUED, 2, 700), (Kind.NUMERIC, 1, 2)]), 800, 50)


@pytest.fixture
def rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Touch the batch's rows alone whatever the vocabulary."""
    for module in (step_module, crossed_module):
        monkeypatch.setattr(module, "worth_rows", lambda *_: True)


@pytest.mark.parametrize("name", ["lr", "deepfm", "wide-deep"])
def test_a_large_table_whose_first_order_weights_decay_apart_moves_as_by_autograd(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "ALWAYS_WHOLE", 0)
    fit = FitSpec(learning_rate=0.01, l2=0.02, embedding_l2=0.2, first_order_rate=3.0)
    model = model_of(LARGE, ModelSpec(name, 4, (6,), activation="tanh")).double()
    other = copy.deepcopy(model)
    by_hand, reference = Step(model, fit), AutogradStep(other, fit)
    for number in range(60):
        batch = batch_of(LARGE, 20, number).double()
        by_hand(batch)
        reference(batch)
    for key, value in other.state_dict().items():
        assert torch.allclose(model.state_dict()[key], value, atol=1e-8), key


@pytest.mark.usefixtures("rows_alone")
@pytest.mark.parametrize("averaging", [False, True])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_rows_caught_up_when_next_read_are_those_of_dense_adam(name: str, averaging: bool) -> None:
    fit = FitSpec(learning_rate=0.01, l2=0.0, first_order_rate=3.0, averaging=averaging)
    spec = ModelSpec(name, 4, (6,), activation="tanh")  # without kinks, at which next to nothing makes a difference
    model = model_of(LARGE, spec).double()
    other = copy.deepcopy(model)
    by_hand, reference = Step(model, fit), AutogradStep(other, fit)
    for number in range(400):
        batch = batch_of(LARGE, 20, number).double()
        logits = by_hand(batch), reference(batch)
        steep = 1e-3 if spec.switches.cross else 1e-5  # products of up to four embeddings
        assert torch.allclose(*logits, rtol=steep, atol=5e-4), (number, (logits[0] - logits[1]).abs().max())
        if number in (150, 300):
            by_hand.average(number // 150)
            reference.average(number // 150)
    by_hand.end_epoch()
    reference.end_epoch()
    for key, value in other.state_dict().items():
        # Where a gradient is next to nothing a weight may lag by a fraction of a step, which no logit shows.
        assert torch.allclose(model.state_dict()[key], value, atol=0.3 * fit.learning_rate), key


@pytest.mark.usefixtures("rows_alone")
@pytest.mark.parametrize(("l2", "first"), [(1e-4, 1e-4), (1e-3, 1e-5), (0.0, 1e-3), (1e-3, 0.0)])
def test_rows_with_an_l2_end_within_three_steps_of_those_of_dense_adam(l2: float, first: float) -> None:
    fit = FitSpec(learning_rate=3e-3, l2=first, embedding_l2=l2, first_order_rate=3.0, averaging=True)
    model = model_of(LARGE, ModelSpec("fm", 4)).double()
    other = copy.deepcopy(model)
    by_hand, reference = Step(model, fit), AutogradStep(other, fit)
    for epoch in (0, 1):
        by_hand.begin_epoch()
        reference.begin_epoch()
        for number in range(1, 201):
            batch = batch_of(LARGE, 20, 200 * epoch + number).double()
            by_hand(batch)
            reference(batch)
            if number % 25 == 0:
                by_hand.average(8 * epoch + number // 25)
                reference.average(8 * epoch + number // 25)
        by_hand.end_epoch()
        reference.end_epoch()
        weights = by_hand.tensors()["table.average"], reference.tensors()["table.average"]
        for steps, one, dense in ((3, *weights), (7, model.table, other.table)):  # the model holds the averages
            apart = (one - dense).detach().pow(2).mean(0).sqrt()
            assert (apart < steps * fit.learning_rate * torch.tensor([3.0, 1.0, 1.0, 1.0, 1.0])).all(), (epoch, apart)


@pytest.mark.usefixtures("rows_alone")
@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_a_table_of_rows_goes_on_from_a_checkpoint_as_if_never_interrupted(l2: float) -> None:
    fit = FitSpec(learning_rate=0.01, l2=l2, averaging=True)
    model = model_of(LARGE, ModelSpec("wide-deep", embedding_size=4))
    step = Step(model, fit)
    for number in range(30):
        step(batch_of(LARGE, 20, number))
    step.average(1)
    step.end_epoch()
    other = copy.deepcopy(model)
    resumed = Step(other, fit)
    resumed.load({name: value.clone() for name, value in step.tensors().items()}, step.steps)
    for one in (step, resumed):
        one.begin_epoch()
        for number in range(30):
            one(batch_of(LARGE, 20, 100 + number))
        one.end_epoch()
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.usefixtures("rows_alone")
def test_a_row_that_no_batch_reads_is_its_own_average() -> None:
    model = model_of(LARGE, ModelSpec("fm", 4))
    step = Step(model, FitSpec(l2=0.0, averaging=True))
    with torch.no_grad():
        model.table.add_(1.0)  # as a guide does, after the step was made
    before = model.table.detach().clone()
    batch = batch_of(LARGE, 20, 0)
    for number in range(3):
        step(batch)
        step.average(number + 1)
    step.end_epoch()
    never = torch.ones(len(before), dtype=torch.bool)
    never[batch.ids.long().view(-1)] = False
    assert torch.equal(model.table[never], before[never])


@given(st.lists(st.lists(st.integers(0, 50), max_size=60), min_size=1, max_size=3))
def test_distinct_ids_say_where_each_stands(lists: list[list[int]]) -> None:
    distinct = Distinct(51, torch.device("cpu"))
    for ids in lists:
        read = torch.tensor(ids, dtype=torch.int32)
        found, where = distinct(read)
        assert sorted(found.tolist()) == sorted(set(ids))
        assert torch.equal(found[where.long()], read)


def test_masks_keep_the_asked_share_and_the_mean() -> None:
    spec = ModelSpec(layers=(64, 32), dropout=0.3)
    drawn = masks(spec, 2000)
    assert [mask.shape for mask in drawn] == [(2000, 64), (2000, 32)]
    for mask in drawn:
        assert float((mask == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
        assert float(mask.mean()) == pytest.approx(1.0, abs=0.02)


def test_the_same_seed_draws_the_same_masks() -> None:
    spec = ModelSpec(dropout=0.5)
    one, two, other = masks(spec, 10, 1), masks(spec, 10, 1), masks(spec, 10, 2)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
