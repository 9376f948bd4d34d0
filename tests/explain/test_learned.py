"""Purified strengths: what they remove, and what does not change them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepfm_core._words import in_sequence
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.designs import Levels, field_levels
from deepfm_core.evidence.guide import GuidedPair, solve
from deepfm_core.evidence.ranking import observed_interactions
from deepfm_core.evidence.verdicts import PAIR_COLUMNS
from deepfm_core.explain import learned
from deepfm_core.explain import purify as purify_module
from deepfm_core.explain.frames import SHOWN_LEVELS, fields_frame, pairs_frame, pool, seriate
from deepfm_core.explain.learned import (
    learned_pairs,
    level_contributions,
    measured,
    network_contributions,
    network_screen,
    standing_out,
)
from deepfm_core.explain.purify import AdditiveFit, purify, purify_table
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import MODEL_NAMES, ModelSpec
from tests.models.test_deepfm import make
from tests.worlds import MIXED, crossed, encoded, layout

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


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(4, 60), first=st.sampled_from([1, 3, 20]))
def test_the_additive_fit_is_that_of_least_squares_by_brute_force(seed: int, rows: int, first: int) -> None:
    """Levels without rows, and cells that no chain of rows connects, are drawn here too."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(0, size, (rows, 1)) for size in (first, 6)]
    sides = [
        Levels(name, tuple("abcdefghijklmnopqrst"[:size]), code, False)
        for name, size, code in zip("ab", (first, 6), codes, strict=True)
    ]
    values = rng.normal(size=(rows, 2))
    design = np.concatenate([np.eye(size)[code[:, 0]] for size, code in zip((first, 6), codes, strict=True)], 1)
    expected = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    np.testing.assert_allclose(AdditiveFit(sides).residual(values), expected, atol=1e-6)
    constant, effects = AdditiveFit(sides).effects(values[:, 0])
    np.testing.assert_allclose(values[:, 0] - constant - design @ np.concatenate(effects), expected[:, 0], atol=1e-6)


def test_a_purely_additive_table_purifies_to_nothing() -> None:
    values = np.arange(4.0)[:, None] + np.array([0.0, 5.0, -1.0])
    assert np.abs(purify_table(values, np.ones((4, 3)))).max() < 1e-9


@pytest.mark.parametrize("centred", [False, True])
def test_moving_constants_between_weights_and_embeddings_changes_no_strength(centred: bool) -> None:
    """⟨v_i + c, v_j⟩ = ⟨v_i, v_j⟩ + ⟨c, v_j⟩: adding c to a field's embeddings can be undone in the weights."""
    table = encoded(CATEGORICAL, 300, seed=1)
    model = settled(CATEGORICAL, table, name="fm", centred=centred)
    before = learned_pairs(model, table).whole
    with torch.no_grad():
        model.table[:4, 1:] += torch.randn(model.spec.embedding_size)
        model.settle()
    np.testing.assert_allclose(learned_pairs(model, table).whole, before, rtol=1e-4)


def test_the_fms_strength_is_that_of_its_own_table() -> None:
    table = encoded(CATEGORICAL, 500, seed=2)
    model = settled(CATEGORICAL, table, name="fm")
    v = model.table.detach().double().numpy()[:, 1:]
    ids = table.ids
    weights = np.zeros((4, 3))
    np.add.at(weights, (ids[:, 0], ids[:, 1] - 4), 1)
    pure = purify_table(v[:4] @ v[4:7].T, weights)
    expected = np.sqrt((weights * pure**2).sum() / weights.sum())
    assert learned_pairs(model, table).whole[0] == pytest.approx(expected, rel=1e-4)


def by_brute_force(model: DeepFM, table: EncodedTable, row: int, f: int, g: int) -> float:
    """Average the network's output over all rows of the table, with the slots of the two fields taken from one row."""

    def mean_output(*taken: int) -> float:
        ids, weights = table.ids.copy(), np.copy(table.weights)
        for number in taken:
            field = table.layout.fields[number]
            slots = slice(field.first_slot, field.first_slot + field.slots)
            ids[:, slots], weights[:, slots] = table.ids[row, slots], table.weights[row, slots]
        changed = EncodedTable(table.layout, ids, weights, table.dense, table.labels, table.crosses)
        terms = model.terms(Batch.from_table(changed))
        networks = torch.stack([terms.of(kind)[:, 0] for kind in terms.kinds if kind in ("dnn", "cross")]).sum(0)
        return float(networks.double().mean().detach())

    return mean_output(f, g) - mean_output(f) - mean_output(g) + mean_output()


@pytest.mark.parametrize("layers", [(6, 4), ()])
@pytest.mark.parametrize("name", [name for name in MODEL_NAMES if ModelSpec(name).deep])
def test_the_networks_contribution_is_partial_dependence_by_brute_force(name: str, layers: tuple[int, ...]) -> None:
    table = encoded(MIXED, 24, seed=3)
    model = settled(MIXED, table, name=name, layers=layers, activation="tanh", embedding_size=3)
    pairs = list(combinations(range(len(MIXED.fields)), 2))
    found = network_contributions(model, table, pairs, 24, 0)
    for column, (f, g) in enumerate(pairs):
        assert found[5, column] == pytest.approx(by_brute_force(model, table, 5, f, g), abs=2e-5)


@pytest.mark.parametrize("name", ["dnn", "fnn", "pnn", "dcn", "dcn-v2"])
def test_level_by_level_the_network_contributes_what_its_rows_do(name: str) -> None:
    table = encoded(CATEGORICAL, 24, seed=3)
    model = settled(CATEGORICAL, table, name=name, layers=(6, 4), activation="tanh")
    members = [one.codes for one in field_levels(table)]
    levels = next(iter(level_contributions(model, table, members, [(0, 1)], 24, 0)))
    assert levels.fm is None
    assert levels.weights is None
    assert levels.dnn is not None
    row = table.ids[5]
    assert levels.dnn[row[0], row[1] - 4] == pytest.approx(by_brute_force(model, table, 5, 0, 1), abs=2e-5)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_says_what_it_learned(name: str) -> None:
    shape = crossed(CATEGORICAL, 12) if name == "wide-deep" else CATEGORICAL
    table = encoded(shape, 200, seed=6)
    model = settled(shape, table, name=name, layers=(5,))
    found = learned_pairs(model, table, background=16)
    assert (found.fm is not None, found.dnn is not None) == (model.spec.second_order, model.spec.deep)
    frame = pairs_frame(shape.names, found, None)
    assert np.isfinite(frame["learned"]).all()
    fields = fields_frame(model, table, frame)
    assert list(fields["field"]) == list(shape.first_order_names)
    assert fields["main_effect"].notna().any() == model.spec.first_order


def test_a_crossed_field_is_part_of_what_was_learned_of_its_pair() -> None:
    table = encoded(CATEGORICAL, 400, seed=7)
    shape = crossed(CATEGORICAL, 12)
    cells = (table.ids[:, 0] * 3 + table.ids[:, 1] - 4).astype(np.int32)
    table = EncodedTable(shape, table.ids, table.weights, table.dense, table.labels, cells[:, None])
    model = settled(shape, table, name="wide-deep", layers=(5,))
    with torch.no_grad():
        for parameter in (*model.network.parameters(), model.crossed_weights):
            parameter.zero_()
        model.crossed_weights.normal_()
    pure = purify_table(
        model.crossed_weights.detach().double().numpy().reshape(4, 3),
        np.bincount(cells, minlength=12).reshape(4, 3).astype(float),
    )
    found = learned_pairs(model, table)
    assert found.whole[0] == pytest.approx(pure.ravel()[cells].std(), rel=1e-6)
    assert found.whole[1:].max() < 1e-6
    members = [one.codes for one in field_levels(table)]
    by_level = next(iter(level_contributions(model, table, members, [(0, 1)], 8, 0))).weights
    np.testing.assert_allclose(by_level.ravel(), model.crossed_weights.detach().numpy().ravel(), atol=1e-6)


@pytest.mark.parametrize("sums", [0, 4, 1 << 22])
@pytest.mark.parametrize("counted", [0, 1 << 22])
def test_a_level_is_the_mean_of_its_rows_embeddings(counted: int, sums: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MOST_COUNTED", counted)
    monkeypatch.setattr(learned, "MOST_SUMS", sums)
    table = encoded(MIXED, 50, seed=8)
    model = settled(MIXED, table, layers=(5,), centred=True)
    members, pairs = [one.codes for one in field_levels(table)], [(0, 2), (1, 3), (2, 5)]
    embeddings = model.embeddings_of(table).double().numpy()  # (N, F, K)

    def levels(f: int) -> NDArray[np.float64]:
        at = [(members[f] == level).any(1) for level in range(members[f].max() + 1)]
        means = [embeddings[rows, f].mean(0) if rows.any() else np.zeros(embeddings.shape[2]) for rows in at]
        return np.stack(means) - embeddings[:, f].mean(0)

    for (f, g), found in zip(pairs, level_contributions(model, table, members, pairs, 8, 0), strict=True):
        np.testing.assert_allclose(found.fm, levels(f) @ levels(g).T, atol=1e-6)


def test_where_pairs_are_many_fewer_rows_are_asked_and_the_strengths_are_those_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = encoded(CATEGORICAL, 900, seed=9)
    model = settled(CATEGORICAL, table, layers=(5,))
    monkeypatch.setattr(learned, "MOST_VALUES", 3 * 300)
    few = learned_pairs(model, table, background=400)
    assert len(few.rows) == 300
    assert few.raw.size <= 900
    own = learned_pairs(model, table.take(few.rows), background=400)
    np.testing.assert_allclose(few.dnn, own.dnn, rtol=1e-3)
    monkeypatch.undo()
    np.testing.assert_allclose(few.fm, learned_pairs(model, table, background=400).fm, rtol=1e-9)


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
        other.network.first.weight.copy_(model.network.first.weight[:, order])
        other.settle()
    before = learned_pairs(model, table, background=400).whole
    after = learned_pairs(other, swapped, background=400).whole
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
    assert list(frame["significant"]) == [True, False, False]
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


@pytest.mark.parametrize("dense_cells", [0, 10**6])
def test_the_additive_fit_is_the_same_from_a_dense_and_a_sparse_table(
    dense_cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purify_module, "DENSE_CELLS", dense_cells)
    rng = np.random.default_rng(5)
    codes = [np.append(rng.integers(0, size, 200), size)[:, None] for size in (9, 30)]  # the last level but one is rare
    sides = [Levels(name, tuple(map(str, range(40))), code, False) for name, code in zip("ab", codes, strict=True)]
    values = rng.normal(size=(201, 3))
    design = np.concatenate([np.eye(40)[code[:, 0]] for code in codes], 1)
    expected = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    np.testing.assert_allclose(AdditiveFit(sides).residual(values), expected, atol=1e-6)


@pytest.mark.parametrize("centred", [False, True])
def test_strengths_measured_together_are_those_of_each_pair(centred: bool) -> None:
    table = encoded(MIXED, 150, 4)
    model = settled(MIXED, table, centred=centred)
    assert_measured_together(model, table)


def test_strengths_measured_together_hold_the_cells_of_a_guided_model() -> None:
    table = encoded(CATEGORICAL, 200, 5)
    model = settled(CATEGORICAL, table, guided=True)
    model.start_from(solve(table, [GuidedPair((0, 2), 0.5), GuidedPair((0, 1), 0.3, by_cells=False)]))
    assert model.cells_of == {(0, 2)}
    assert_measured_together(model, table)


def assert_measured_together(model: DeepFM, table: EncodedTable) -> None:
    pairs = list(combinations(range(len(table.layout.fields)), 2))
    each = [learned.strength(column[:, None])[0] for column in learned.fm_columns(model, table, pairs)]
    together = learned.fm_strengths(model, table, pairs)
    assert max(each) > 0
    np.testing.assert_allclose(together, each, rtol=1e-4, atol=1e-7)


def test_pairs_that_are_asked_for_are_measured_as_all_are() -> None:
    table = encoded(MIXED, 90, 3)
    model = settled(MIXED, table, name="deepfm", layers=(5,))
    every = learned_pairs(model, table, background=8)
    asked = list(every.pairs)[1::2]
    some = learned_pairs(model, table, background=8, pairs=asked)
    assert list(some.pairs) == asked
    for name in ("fm", "dnn", "whole"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[1::2])
    frame = pairs_frame(MIXED.names, some, None)
    assert len(frame) == len(every.pairs)
    assert measured(frame, MIXED.names) == asked
    assert frame["learned"].isna().sum() == len(every.pairs) - len(asked)


def test_a_screen_finds_the_fields_that_a_network_joins() -> None:
    shape = layout([(Kind.CATEGORICAL, 1, 6)] * 6)
    table = encoded(shape, 200, 0)
    model = settled(shape, table, name="dnn", layers=(12,))
    assert model.network is not None
    first = model.network.first.weight
    with torch.no_grad():  # each unit reads one field, but for two, which read fields 1 and 4 together
        of_field = first.view(12, 6, -1)
        mask = torch.zeros(12, 6, 1)
        mask[torch.arange(12), torch.arange(12) % 6] = 1.0
        mask[10:] = 0.0
        mask[10:, [1, 4]] = 1.0
        of_field.mul_(mask)
        model.network.output.weight.fill_(1.0)
    screen = network_screen(model, table, seed=0)
    assert screen.shape == (6, 6)
    np.testing.assert_array_equal(screen, screen.T)
    screen[[1, 4], [4, 1]] *= -1
    assert screen[1, 4] < -1e-3
    np.fill_diagonal(screen, 0.0)
    screen[[1, 4], [4, 1]] = 0.0
    assert np.abs(screen).max() < 1e-6


def test_the_pairs_that_stand_out_are_the_strongest_by_every_measure_and_all_clear_ones() -> None:
    shape = layout([(Kind.CATEGORICAL, 1, 4)] * 8)
    table = encoded(shape, 300, 1)
    model = settled(shape, table, name="deepfm", layers=(6,))
    names = shape.names
    pairs = list(combinations(range(8), 2))
    strengths = np.linspace(1.0, 0.1, len(pairs))
    observed = pd.DataFrame(
        {
            "field_a": [names[a] for a, _ in pairs],
            "field_b": [names[b] for _, b in pairs],
            "strength": np.where(np.arange(len(pairs)) < 20, strengths, np.nan),
            "significant": [number in (0, 17, 18, 19) for number in range(len(pairs))],
        }
    )
    chosen = standing_out(model, table, observed, 9)
    found = learned_pairs(model, table)
    assert found.fm is not None
    assert chosen == sorted(chosen)
    assert len(chosen) == 9
    assert {pairs[k] for k in (0, 17, 18, 19)} <= set(chosen)  # clear
    assert pairs[1] in chosen  # the next by the labels
    assert pairs[int(found.fm.argmax())] in chosen
    assert len(standing_out(model, table, observed, 2)) == 4  # no clear pair is left out
    assert len(standing_out(model, table, None, 5)) == 5


HOURS = tuple(f"{hour:02d}:00" for hour in range(24))


def levels_of(names: Sequence[str]) -> Levels:
    """Give each level a row for its place counted from the end, so that later ones have fewer; the first has none."""
    codes = np.repeat(np.arange(len(names)), [0, *range(len(names) - 1, 0, -1)])
    return Levels("ts hour", ("missing", *names), np.roll(codes, 5)[:, None] + 1, ordered=False)


@pytest.mark.parametrize(
    "names",
    [
        HOURS,
        tuple(map(str, range(1, 32))),
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
        tuple(f"2024-{month:02d}" for month in range(1, 13)),
    ],
)
def test_times_are_all_shown_and_in_order(names: tuple[str, ...]) -> None:
    shuffled = tuple(np.random.default_rng(1).permutation(names).tolist())
    shown = pool(levels_of(shuffled))
    assert shown.names == tuple(name for name in names if name != shuffled[0])  # the first has no rows


def test_many_whole_numbers_are_pooled_by_rows_and_stand_by_value() -> None:
    numbers = tuple(str(1000 - n) for n in range(40))
    shown = pool(levels_of(numbers))
    assert shown.names == (*sorted(numbers[1 : 1 + SHOWN_LEVELS]), "other (27 levels)")


def test_what_is_no_number_stands_by_rows_and_what_is_no_value_comes_last() -> None:
    assert pool(levels_of(("z", "b", "a", "c"))).names == ("b", "a", "c")
    assert in_sequence(["missing", "10", "rare", "9"]) == ["9", "10", "missing", "rare"]
    assert in_sequence(["10", "9", "x"]) is None
    assert in_sequence(["10"]) is None
