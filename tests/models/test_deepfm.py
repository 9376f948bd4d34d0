"""The model against the paper's equations, written out as loops, and against independent code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deepctr_torch import layers as deepctr_layers
from hypothesis import given, settings
from hypothesis import strategies as st
from torchfm.layer import FactorizationMachine as TorchFMFactorizationMachine

from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import MODEL_NAMES, ModelSpec
from tests.worlds import MIXED, crossed, encoded, layout

CATEGORICAL = layout([(Kind.CATEGORICAL, 1, 4)] * 5)


def make(shape: Layout, seed: int = 0, **settings: object) -> DeepFM:
    torch.manual_seed(seed)
    model = DeepFM(shape, ModelSpec(**settings))  # type: ignore[arg-type]
    torch.nn.init.normal_(model.table)
    torch.nn.init.normal_(model.dense_weights)
    torch.nn.init.normal_(model.bias)
    if model.crossed_weights is not None:
        torch.nn.init.normal_(model.crossed_weights)
    if model.cross is not None:
        for part in model.cross.parameters():
            torch.nn.init.normal_(part, std=0.3)
    return model.double().eval()


def second_order_by_double_loop(model: DeepFM, table: EncodedTable, row: int) -> float:
    """Σ_{i<j} ⟨v_i, v_j⟩ x_i x_j over all features of a row, as the paper has it (equation 2).

    Two knots of one piecewise field are one field's code, not two of its values: that pair is left out.
    """
    v = model.table.detach().numpy()[:, 1:]
    total = 0.0
    slots = [
        (field, slot)
        for field in table.layout.fields
        for slot in range(field.first_slot, field.first_slot + field.slots)
    ]
    for first, (field_a, i) in enumerate(slots):
        for field_b, j in slots[first + 1 :]:
            if field_a is field_b and field_a.kind is Kind.PIECEWISE:
                continue
            x = float(table.weights[row, i]) * float(table.weights[row, j])
            total += float(v[table.ids[row, i]] @ v[table.ids[row, j]]) * x
    return total


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("centred", [False, True])
def test_the_terms_sum_to_the_logit(name: str, centred: bool) -> None:
    shape = crossed(MIXED, 8, 5)
    model = make(shape, name=name, centred=centred, layers=(7, 3))
    table = encoded(shape, 50, seed=1)
    batch = Batch.from_table(table)
    model.observe(batch)
    model.settle()
    assert torch.allclose(model.terms(batch.double()).logit(), model(batch.double()), atol=1e-12)
    single = model.float()
    assert torch.allclose(single.terms(batch).logit(), single(batch), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    kinds=st.lists(
        st.sampled_from(
            [(Kind.CATEGORICAL, 1, 3), (Kind.NUMERIC, 1, 2), (Kind.MULTI_VALUED, 3, 5), (Kind.PIECEWISE, 2, 4)]
        ),
        min_size=1,
        max_size=5,
    ),
    dense=st.integers(0, 2),
    crosses=st.lists(st.integers(1, 9), max_size=2),
    seed=st.integers(0, 1000),
    name=st.sampled_from(MODEL_NAMES),
    centred=st.booleans(),
)
def test_the_terms_sum_to_the_logit_for_any_layout(
    kinds: list[tuple[Kind, int, int]], dense: int, crosses: list[int], seed: int, name: str, centred: bool
) -> None:
    shape = crossed(layout(kinds, dense), *crosses)
    model = make(shape, seed, name=name, centred=centred, layers=(4,), embedding_size=3)
    batch = Batch.from_table(encoded(shape, 6, seed))
    model.observe(batch)
    model.settle()
    assert torch.allclose(model.terms(batch.double()).logit(), model(batch.double()), atol=1e-10)


def test_the_second_order_term_is_the_papers_double_loop() -> None:
    model = make(MIXED, name="fm")
    table = encoded(MIXED, 20, seed=2)
    terms = model.terms(Batch.from_table(table).double())
    expected = [second_order_by_double_loop(model, table, row) for row in range(20)]
    np.testing.assert_allclose(terms.second_order.detach().sum(1).numpy(), expected, atol=1e-10)


def test_the_centred_form_multiplies_embeddings_less_their_training_mean() -> None:
    model = make(MIXED, name="fm", centred=True)
    table = encoded(MIXED, 30, seed=3)
    batch = Batch.from_table(table).double()
    model.observe(Batch.from_table(table))
    model.settle()
    _, _, e = model.look_up(batch)
    e = e.detach() - e.detach().mean(0)
    first = (e[:, 0] * e[:, 2]).sum(1)
    np.testing.assert_allclose(model.terms(batch).second_order[:, 1].detach(), first, atol=1e-6)


def test_the_first_order_term_is_the_sum_of_weights() -> None:
    model = make(MIXED, name="lr")
    table = encoded(MIXED, 10, seed=4)
    w = model.table.detach().numpy()[:, 0]
    expected = (w[table.ids] * table.weights).sum(1) + table.dense @ model.dense_weights.detach().numpy()
    terms = model.terms(Batch.from_table(table).double())
    np.testing.assert_allclose(terms.first_order.detach().sum(1).numpy(), expected, atol=1e-6)


def test_the_second_order_term_equals_torchfm_and_deepctr_torch() -> None:
    model = make(CATEGORICAL, name="fm")
    batch = Batch.from_table(encoded(CATEGORICAL, 64, seed=5)).double()
    _, _, embeddings = model.look_up(batch)
    ours = model.terms(batch).second_order.sum(1)
    assert torch.allclose(ours, TorchFMFactorizationMachine(reduce_sum=True)(embeddings).squeeze(1), atol=1e-10)
    assert torch.allclose(ours, deepctr_layers.FM()(embeddings).squeeze(1), atol=1e-10)


def test_a_numeric_field_is_its_value_times_its_embedding_as_in_fuxictr() -> None:
    shape = layout([(Kind.NUMERIC, 1, 2), (Kind.CATEGORICAL, 1, 3)])
    model = make(shape, name="deepfm")
    table = encoded(shape, 8, seed=6)
    value_feature = np.full(8, shape.fields[0].offset, np.int32)
    table.ids[:, 0] = value_feature
    _, _, embeddings = model.look_up(Batch.from_table(table).double())
    linear = torch.nn.Linear(1, model.spec.embedding_size, bias=False).double()  # FuxiCTR: V · x
    linear.weight.data = model.table.data[value_feature[0], 1:].unsqueeze(1)
    assert torch.allclose(embeddings[:, 0], linear(torch.from_numpy(table.weights[:, :1]).double()), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_gradients_are_right(name: str) -> None:
    shape = crossed(MIXED, 5)
    model = make(shape, name=name, layers=(3,), activation="tanh", centred=True, embedding_size=3).train()
    batch = Batch.from_table(encoded(shape, 4, seed=7)).double()
    names = [key for key, value in model.named_parameters() if value.requires_grad]

    def logit(*weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (batch,))

    weights = tuple(model.get_parameter(key).detach().clone().requires_grad_() for key in names)
    assert torch.autograd.gradcheck(logit, weights)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_what_a_model_lacks_is_absent_from_its_terms(name: str) -> None:
    model = make(MIXED, name=name)
    terms = model.terms(Batch.from_table(encoded(MIXED, 3, seed=9)).double())
    assert ("cross" in terms.kinds) == (name in ("dcn", "dcn-v2"))
    parts = {"bias": terms.bias, "first_order": terms.first_order, "second_order": terms.second_order, "dnn": terms.dnn}
    expected = {
        "lr": {"bias", "first_order"},
        "fm": {"bias", "first_order", "second_order"},
        "wide-deep": {"bias", "first_order", "dnn"},
        "fm-dnn": {"bias", "first_order", "second_order", "dnn"},
        "deepfm": {"bias", "first_order", "second_order", "dnn"},
    }
    assert {part for part, value in parts.items() if value is not None} == expected.get(name, {"dnn"})


def test_a_value_never_trained_counts_as_an_average_one() -> None:
    shape = layout([(Kind.CATEGORICAL, 1, 4), (Kind.CATEGORICAL, 1, 3)])
    model = make(shape, name="deepfm", centred=True)
    table = encoded(shape, 40, seed=8)
    table.ids[:, 0] %= 3
    model.observe(Batch.from_table(table))
    model.settle()
    counts = np.bincount(table.ids[:, 0], minlength=4)[:3] / 40
    rows = model.table.detach().numpy()
    np.testing.assert_allclose(rows[3], counts @ rows[:3], atol=1e-6)


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
