"""Purified strengths: what they remove, and what does not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfm_core.data.encoded import EncodedTable
from deepfm_core.data.schema import Kind
from deepfm_core.explain.learned import learned_pairs, level_contributions, strength
from deepfm_core.explain.levels import field_levels
from deepfm_core.explain.observed import observed_interactions
from deepfm_core.explain.order import seriate
from deepfm_core.explain.pair_columns import PAIR_COLUMNS
from deepfm_core.explain.purify import purify, purify_table
from deepfm_core.explain.tables import pairs_frame
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from tests.test_model import make
from tests.worlds import MIXED, encoded, layout

CATEGORICAL = layout([(Kind.CATEGORICAL, 1, 4), (Kind.CATEGORICAL, 1, 3), (Kind.CATEGORICAL, 1, 5)])


def settled(shape: object, table: EncodedTable, seed: int = 0, **settings: object) -> DeepFM:
    model = make(table.layout, seed, **settings).float()
    model.observe(Batch.from_table(table))
    model.settle()
    return model


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(30, 120))
def test_a_purified_contribution_has_mean_zero_in_every_level(seed: int, rows: int) -> None:
    table = encoded(MIXED, rows, seed)
    levels = field_levels(table)
    values = np.random.default_rng(seed).normal(size=(rows, 2))
    pairs = [(0, 2), (1, 3)]
    pure = purify(values, pairs, levels)
    for column, pair in enumerate(pairs):
        for number in pair:
            assert np.abs(levels[number].sums(pure[:, column])).max() < 1e-4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_purified_table_has_weighted_margins_of_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 9, (5, 7)).astype(float)
    pure = purify_table(rng.normal(size=(5, 7)), weights)
    assert np.abs((weights * pure).sum(0)).max() < 1e-3
    assert np.abs((weights * pure).sum(1)).max() < 1e-3


def test_a_purely_additive_table_purifies_to_nothing() -> None:
    values = np.arange(4.0)[:, None] + np.array([0.0, 5.0, -1.0])
    assert np.abs(purify_table(values, np.ones((4, 3)))).max() < 1e-9


@pytest.mark.parametrize("centred", [False, True])
def test_moving_constants_between_weights_and_embeddings_changes_no_strength(centred: bool) -> None:
    """⟨v_i + c, v_j⟩ = ⟨v_i, v_j⟩ + ⟨c, v_j⟩: adding c to a field's embeddings can be undone in the weights."""
    table = encoded(CATEGORICAL, 300, seed=1)
    model = settled(CATEGORICAL, table, name="fm", centred=centred)
    before = strength(learned_pairs(model, table).whole)
    with torch.no_grad():
        model.table[:4, 1:] += torch.randn(model.spec.embedding_size)
        model.settle()
    np.testing.assert_allclose(strength(learned_pairs(model, table).whole), before, rtol=1e-4)


def test_the_fms_strength_is_that_of_its_own_table() -> None:
    table = encoded(CATEGORICAL, 500, seed=2)
    model = settled(CATEGORICAL, table, name="fm")
    v = model.table.detach().double().numpy()[:, 1:]
    ids = table.ids
    weights = np.zeros((4, 3))
    np.add.at(weights, (ids[:, 0], ids[:, 1] - 4), 1)
    pure = purify_table(v[:4] @ v[4:7].T, weights)
    expected = np.sqrt((weights * pure**2).sum() / weights.sum())
    assert strength(learned_pairs(model, table).whole)[0] == pytest.approx(expected, rel=1e-4)


def test_the_networks_contribution_is_partial_dependence_by_brute_force() -> None:
    table = encoded(CATEGORICAL, 24, seed=3)
    model = settled(CATEGORICAL, table, name="dnn", layers=(6, 4), activation="tanh")

    def mean_output(**fixed: int) -> float:
        ids = table.ids.copy()
        for name, value in fixed.items():
            ids[:, int(name[1])] = value
        changed = EncodedTable(table.layout, ids, table.weights, table.dense, table.labels)
        return float(model(Batch.from_table(changed)).double().mean().detach())

    row = table.ids[5]
    expected = mean_output(f0=row[0], f1=row[1]) - mean_output(f0=row[0]) - mean_output(f1=row[1]) + mean_output()
    from deepfm_core.explain.learned import network_contributions

    assert network_contributions(model, table, [(0, 1)], 24, 0)[5, 0] == pytest.approx(expected, abs=1e-5)
    fm, by_level = next(
        iter(level_contributions(model, table, [one.codes for one in field_levels(table)], [(0, 1)], 24, 0))
    )
    assert fm is None
    assert by_level is not None
    assert by_level[row[0], row[1] - 4] == pytest.approx(expected, abs=1e-5)


def test_permuting_the_fields_permutes_the_strengths() -> None:
    table = encoded(CATEGORICAL, 400, seed=4)
    model = settled(CATEGORICAL, table, layers=(5,))
    swapped_layout = layout([(Kind.CATEGORICAL, 1, 3), (Kind.CATEGORICAL, 1, 4), (Kind.CATEGORICAL, 1, 5)])
    place = np.concatenate([np.arange(4) + 3, np.arange(3), np.arange(5) + 7])  # old id -> new id
    ids = place[table.ids][:, [1, 0, 2]].astype(np.int32)
    swapped = EncodedTable(swapped_layout, ids, table.weights, table.dense, table.labels)
    other = settled(swapped_layout, swapped, layers=(5,))
    with torch.no_grad():
        other.table[torch.from_numpy(place)] = model.table
        k = model.spec.embedding_size
        order = torch.cat([torch.arange(k) + k, torch.arange(k), torch.arange(k) + 2 * k])
        other.load_state_dict({**model.state_dict(), "table": other.table, "field_means": other.field_means})
        other.network.stack[0].weight.copy_(model.network.stack[0].weight[:, order])
        other.settle()
    before = strength(learned_pairs(model, table, background=400).whole)
    after = strength(learned_pairs(other, swapped, background=400).whole)
    np.testing.assert_allclose(after, before[[0, 2, 1]], rtol=1e-3)


def test_the_pairs_frame_ranks_by_what_the_data_supports() -> None:
    table = encoded(CATEGORICAL, 3000, seed=5)
    logit = np.where((table.ids[:, 1] + table.ids[:, 2]) % 2 == 0, 0.8, -0.8)
    labels = (np.random.default_rng(5).random(3000) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    table = EncodedTable(table.layout, table.ids, table.weights, table.dense, labels)
    model = settled(CATEGORICAL, table, name="fm")
    frame = pairs_frame(CATEGORICAL.names, learned_pairs(model, table), observed_interactions(table))
    assert tuple(frame.columns) == PAIR_COLUMNS
    assert tuple(frame.loc[0, ["field_a", "field_b"]]) == ("f1", "f2")
    assert list(frame["solid"]) == [True, False, False]
    assert frame["learned_dnn"].isna().all()


def test_seriation_puts_strong_pairs_next_to_each_other() -> None:
    import pandas as pd

    names = ["a", "b", "c", "d"]
    frame = pd.DataFrame(
        [("a", "b", 0.1), ("a", "c", 0.9), ("a", "d", 0.0), ("b", "c", 0.1), ("b", "d", 0.9), ("c", "d", 0.1)],
        columns=["field_a", "field_b", "strength"],
    )
    order = seriate(names, frame)
    assert abs(order.index("a") - order.index("c")) == 1
    assert abs(order.index("b") - order.index("d")) == 1
