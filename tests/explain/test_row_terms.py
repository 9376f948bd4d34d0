"""The ledger of a row, and what its networks' part comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfm_core.evidence.designs import field_levels
from deepfm_core.explain.learned import learned_pairs, strength
from deepfm_core.explain.row_terms import (
    PurifiedTerms,
    dnn_attribution_frame,
    integrated_gradients,
    purified_terms,
    purified_terms_frame,
)
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.network import Network
from deepfm_core.training.fit import predict_logits
from tests.explain.test_learned import CATEGORICAL, settled
from tests.worlds import MIXED, crossed, encoded

pytestmark = pytest.mark.slow

KINDS = [
    {"name": "lr"},
    {"name": "fm"},
    {"name": "fm", "centred": True},
    {"name": "dnn", "layers": (5,)},
    {"name": "deepfm", "layers": (6, 4), "activation": "tanh"},
    {"name": "deepfm", "layers": (5,), "centred": True},
    {"name": "pnn", "layers": (5,)},
    {"name": "dcn", "layers": (5,)},
    {"name": "dcn-v2", "layers": (5,)},
    {"name": "fnn", "layers": (5,)},
    {"name": "fm-dnn", "layers": (5,)},
    {"name": "wide-deep", "layers": (5,)},
]


def terms_of(model: DeepFM, table: object, rows: object, **settings: int) -> PurifiedTerms:
    return purified_terms(model, table, learned_pairs(model, table, **settings), rows, **settings)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(KINDS))
def test_the_purified_terms_sum_to_the_logit(seed: int, kind: dict[str, Any]) -> None:
    shape = crossed(MIXED, 6) if kind["name"] == "wide-deep" else MIXED
    table, rows = encoded(shape, 80, seed), encoded(shape, 12, seed + 1)
    model = settled(shape, table, **kind)
    terms = terms_of(model, table, rows, background=6)
    frame = purified_terms_frame(terms, rows, np.arange(12) * 3)
    logit = predict_logits(model, rows)
    scale = 1 + np.abs(logit).max()
    np.testing.assert_allclose(frame.groupby("row")["value"].sum() / scale, logit / scale, atol=1e-4)
    assert ("higher-order" in set(frame["term"])) == model.spec.deep


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(KINDS[1:6]), field=st.integers(0, 2))
def test_constants_moved_between_weights_and_embeddings_change_no_purified_term(
    seed: int, kind: dict[str, Any], field: int
) -> None:
    """⟨v_i + c, v_j⟩ = ⟨v_i, v_j⟩ + ⟨c, v_j⟩: taken from w_j, and from the first layer's bias, no logit changes."""
    table, rows = encoded(CATEGORICAL, 120, seed), encoded(CATEGORICAL, 10, seed + 1)
    model = settled(CATEGORICAL, table, **kind)
    before, logit = terms_of(model, table, rows, background=16), predict_logits(model, rows)
    block, k = CATEGORICAL.fields[field], model.spec.embedding_size
    with torch.no_grad():
        shift = torch.randn(k)
        if model.spec.second_order and not model.spec.centred:
            others = torch.ones(len(model.table), dtype=torch.bool)
            others[block.offset : block.offset + block.size] = False
            model.table[others, 0] -= model.table[others, 1:] @ shift
        if model.network is not None:
            first: Any = model.network.first
            first.bias -= first.weight[:, field * k : (field + 1) * k] @ shift
        model.table[block.offset : block.offset + block.size, 1:] += shift
        model.settle()
    after = terms_of(model, table, rows, background=16)
    np.testing.assert_allclose(predict_logits(model, rows), logit, atol=1e-3)
    assert after.base == pytest.approx(before.base, abs=1e-3)
    np.testing.assert_allclose(after.main, before.main, atol=2e-3)
    np.testing.assert_allclose(after.pair, before.pair, atol=2e-3)


def test_at_the_training_rows_a_pair_is_what_its_strength_is_the_spread_of() -> None:
    table = encoded(CATEGORICAL, 200, seed=4)
    model = settled(CATEGORICAL, table, layers=(5,))
    learned = learned_pairs(model, table, background=16)
    terms = purified_terms(model, table, learned, table, background=16)
    np.testing.assert_allclose(strength(terms.pair[learned.rows]), learned.whole, rtol=1e-4)
    assert np.abs(terms.pair.mean(0)).max() < 1e-4


def test_main_effects_of_a_model_without_pairs_are_its_weights_and_the_base_its_mean_logit() -> None:
    table = encoded(CATEGORICAL, 150, seed=5)
    model = settled(CATEGORICAL, table, name="lr")
    terms = terms_of(model, table, table)
    weights = model.table.detach().double().numpy()[table.ids, 0]
    np.testing.assert_allclose(terms.main, weights - weights.mean(0), atol=1e-6)
    assert terms.pairs == ()
    assert terms.base == pytest.approx(predict_logits(model, table).mean())


def test_a_level_that_no_training_row_has_takes_nothing_from_its_pairs() -> None:
    table, rows = encoded(CATEGORICAL, 150, seed=6), encoded(CATEGORICAL, 40, seed=7)
    there = table.take(np.flatnonzero(table.ids[:, 0] != 2))
    model = settled(CATEGORICAL, there, name="fm")
    terms = terms_of(model, there, rows)
    unseen = rows.ids[:, 0] == 2
    assert unseen.any()
    assert np.isfinite(terms.pair[unseen]).all()
    assert np.abs(terms.main[unseen, 0]).max() < 1e-3  # counts as an average one
    assert field_levels(there)[0].rows()[2] == 0


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(KINDS[1:]))
def test_the_purified_terms_sum_to_the_logit_where_pairs_are_left_out(seed: int, kind: dict[str, Any]) -> None:
    shape = crossed(MIXED, 6) if kind["name"] == "wide-deep" else MIXED
    table, rows = encoded(shape, 80, seed), encoded(shape, 12, seed + 1)
    model = settled(shape, table, **kind)
    asked = [(0, 1), (1, 3)]
    every = terms_of(model, table, rows, background=6)
    terms = purified_terms(model, table, learned_pairs(model, table, background=6, pairs=asked), rows, background=6)
    frame = purified_terms_frame(terms, rows, np.arange(12))
    logit = predict_logits(model, rows)
    scale = 1 + np.abs(logit).max()
    np.testing.assert_allclose(frame.groupby("row")["value"].sum() / scale, logit / scale, atol=1e-4)
    for number, pair in enumerate(asked):
        np.testing.assert_allclose(terms.pair[:, number], every.pair[:, every.pairs.index(pair)], atol=1e-9)
    assert ("rest" in set(frame["term"])) == model.spec.deep
    assert ("other-pairs" in set(frame["term"])) != model.spec.deep


@pytest.mark.parametrize("name", ["dnn", "deepfm", "fnn", "pnn", "fm-dnn", "dcn", "dcn-v2"])
def test_attributions_sum_to_the_networks_output_less_the_baselines(name: str) -> None:
    table, rows = encoded(MIXED, 60, 1), encoded(MIXED, 7, 2)
    model = settled(MIXED, table, name=name, layers=(6,), activation="tanh")
    frame = dnn_attribution_frame(model, table, rows, np.arange(7) + 3, steps=128)
    assert list(frame["row"].unique()) == list(range(3, 10))
    assert list(frame["field"][: len(MIXED.fields) + 2]) == [*MIXED.names, *MIXED.dense]
    terms = model.terms(Batch.from_table(rows))
    output = torch.stack([terms.of(kind)[:, 0] for kind in terms.kinds if kind in ("dnn", "cross")]).sum(0).detach()
    of_row = frame.groupby("row")[["value"]].sum()["value"].to_numpy()
    first = frame.groupby("row")[["baseline", "error"]].first()
    np.testing.assert_allclose(of_row - first["error"] + first["baseline"], output, atol=1e-4)
    assert first["error"].abs().max() < 0.05 * max(1.0, float(output.abs().max()))


def test_more_steps_leave_a_smaller_error() -> None:
    table, rows = encoded(CATEGORICAL, 200, 3), encoded(CATEGORICAL, 40, 4)
    model = settled(CATEGORICAL, table, name="dnn", layers=(8, 4))
    few, many = (
        dnn_attribution_frame(model, table, rows, np.arange(40), steps=steps)["error"].abs().mean() for steps in (4, 64)
    )
    assert many < few / 2


def test_a_network_that_is_linear_gives_each_field_what_its_weights_do() -> None:
    table = encoded(CATEGORICAL, 50, 5)
    model = settled(CATEGORICAL, table, name="dnn", layers=(4,), activation="linear")
    frame = dnn_attribution_frame(model, table, table, np.arange(50), steps=2)
    by_field = frame.pivot_table(index="row", columns="field", values="value", observed=True)
    np.testing.assert_allclose(by_field.mean(), 0, atol=1e-5)  # the baseline is the mean row
    assert frame["error"].abs().max() < 1e-4
    for number, field in enumerate(CATEGORICAL.fields):  # one value, one attribution
        spread = by_field[field.name].groupby(table.ids[:, number]).agg(np.ptp)
        assert spread.max() < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 32])
def test_a_polynomial_is_shared_out_exactly(steps: int) -> None:
    x, y = torch.tensor([[1.0, 2.0], [0.0, 3.0]]).double(), torch.tensor([[0.5], [-1.0]]).double()
    origin = torch.zeros(2).double(), torch.zeros(1).double()
    of_x, of_y = integrated_gradients(lambda x, y: x[:, 0] * x[:, 1] + 3 * y[:, 0], (x, y), origin, steps)
    torch.testing.assert_close(of_x, (x.prod(1) / 2).unsqueeze(1).expand(2, 2))  # a product is shared evenly
    torch.testing.assert_close(of_y, 3 * y)


def test_attributions_are_those_of_a_fine_quadrature_along_each_row() -> None:
    torch.manual_seed(0)
    network = Network(6, (9, 5), "tanh", 0.0, batch_norm=False).double().eval()
    fields, start = torch.randn(4, 6).double(), torch.randn(6).double()
    (found,) = integrated_gradients(network, (fields,), (start,), 32)
    fine = 2000
    for row, attributions in zip(fields, found, strict=True):
        places = (torch.arange(fine).double().unsqueeze(1) + 0.5) / fine
        points = (start + places * (row - start)).requires_grad_()
        (slopes,) = torch.autograd.grad(network(points).sum(), points)
        torch.testing.assert_close(attributions, (row - start) * slopes.mean(0), rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        torch.testing.assert_close(found.sum(1), network(fields) - network(start.unsqueeze(0)), rtol=0, atol=1e-10)
