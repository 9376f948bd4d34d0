from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable, Layout
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import TableError
from deepfm_core.evidence import cross_fit
from deepfm_core.evidence import posterior as posterior_module
from deepfm_core.evidence.cross_fit import HeldOut, out_of_fold_evidence
from deepfm_core.evidence.main_effects import LONGEST_STEP
from deepfm_core.evidence.posterior import STRENGTHS, over_rows, posterior
from deepfm_core.evidence.ranking import ALONE, fit_observed, observed_interactions
from deepfm_core.evidence.score_test import MOST_PER_STRENGTH
from deepfm_core.evidence.verdicts import DETERMINED, data_verdicts, verdicts
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.synthetic.worlds import CATEGORICAL, MIXED, MULTI_VALUED, World, WorldSpec, make_world

pytestmark = pytest.mark.slow

SPECS = {"categorical": CATEGORICAL, "mixed": MIXED, "multi-valued": MULTI_VALUED}


def encode(world: World) -> EncodedTable:
    kinds = {name: Kind.PIECEWISE if kind is Kind.NUMERIC else kind for name, kind in world.kinds.items()}
    roles = tuple(FieldRole(n, k, "|" if k is Kind.MULTI_VALUED else None) for n, k in kinds.items())
    frame = world.frame.astype(str).astype("category")
    return Encoder.fit(frame, Schema(LabelRole("click", "1", "0"), roles)).encode_with_labels(frame, subject="world")


def table_of(codes: list[np.ndarray], labels: np.ndarray, names: list[str]) -> EncodedTable:
    fields, ids, offset = [], [], 0
    for slot, (code, name) in enumerate(zip(codes, names, strict=True)):
        size = int(code.max()) + 1
        features = tuple(f"{name}={i}" for i in range(size))
        fields.append(EncodedField(name, name, Kind.CATEGORICAL, slot, 1, offset, size, features, None))
        ids.append(code + offset)
        offset += size
    dense = np.zeros((len(labels), 0), np.float32)
    return EncodedTable(
        Layout(tuple(fields)), np.stack(ids, 1).astype(np.int32), None, dense, labels.astype(np.float32)
    )


def small_table(seed: int, rows: int = 3000) -> tuple[list[np.ndarray], np.ndarray]:
    """Four fields; the first two interact."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(levels, size=rows) for levels in (4, 5, 7, 3)]
    effects = rng.normal(size=(4, 5)) * 0.7
    logit = -1 + 0.4 * (codes[2] == 1) + effects[codes[0], codes[1]]
    return codes, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float64)


def by_pair(frame: pd.DataFrame, column: str) -> dict[frozenset[str], float]:
    return {frozenset((a, b)): value for a, b, value in frame[["field_a", "field_b", column]].itertuples(index=False)}


@pytest.mark.parametrize("name", SPECS)
def test_planted_pairs_rank_before_the_others(name: str) -> None:
    world = make_world(20_000, 77, SPECS[name])
    frame = observed_interactions(encode(world))
    truth = world.truth.pairs
    keys = pd.Series([frozenset(p) for p in zip(truth["field_a"], truth["field_b"], strict=True)], dtype=object)
    found = keys.map(by_pair(frame, "strength"))
    assert roc_auc_score(truth["strength"] > 0, found) > 0.9
    assert frame["strength"].is_monotonic_decreasing
    assert ((frame["strength_low"] <= frame["strength"]) & (frame["strength"] <= frame["strength_high"])).all()


def test_strengths_are_those_that_were_planted() -> None:
    world = make_world(60_000, 5, WorldSpec(fields=6, pairs=3, levels=(3, 20), strengths=(0.3, 0.5), three_way=0))
    frame = observed_interactions(encode(world), draws=32)
    strength = by_pair(frame, "strength")
    for a, b, planted in world.truth.pairs.itertuples(index=False):
        assert strength[frozenset((a, b))] == pytest.approx(planted, abs=0.08)


def test_nothing_is_significant_where_nothing_interacts() -> None:
    specs = [spec.without_interactions() for spec in SPECS.values()]
    frames = [observed_interactions(encode(make_world(5_000, seed, specs[seed % 3])), draws=64) for seed in range(10)]
    assert sum(int(frame["significant"].sum()) for frame in frames) <= 1


@pytest.mark.parametrize(
    ("rows", "sizes"), [(100_000, (100_000, 5)), (20_000, (20_000, 50)), (20_000, (30_000, 300, 5))]
)
def test_a_field_of_nearly_as_many_values_as_rows_interacts_with_nothing_where_nothing_does(
    rows: int, sizes: tuple[int, ...]
) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        codes = [np.unique(rng.integers(size, size=rows), return_inverse=True)[1] for size in sizes]
        labels = (rng.random(rows) < 0.2).astype(np.float64)
        frame = observed_interactions(table_of(codes, labels, list("abc")[: len(sizes)]), draws=64, seed=seed)
        assert frame["probability"].max() < 0.5
        assert frame["strength"].max() < 0.05
        assert not frame["significant"].any()


def test_a_planted_pair_is_found_beside_a_field_of_nearly_as_many_values_as_rows() -> None:
    codes, labels = small_table(3, rows=20_000)
    unique = np.random.default_rng(0).permutation(20_000)
    frame = observed_interactions(table_of([unique, *codes], labels, ["id", "a", "b", "c", "d"]), draws=64)
    assert list(frame[["field_a", "field_b"]].iloc[0]) == ["a", "b"]
    assert list(frame["significant"]) == [True] + [False] * 9
    assert frame["probability"][1:].max() < 0.5


def test_the_freedom_of_cells_is_taken_from_draws_where_it_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(3000, 3, MULTI_VALUED)
    fit = fit_observed(encode(world))
    monkeypatch.setattr(posterior_module, "FREEDOM_WORK", 0)
    drawn = fit_observed(encode(world))
    for exact, estimated in zip(fit.alone, drawn.alone, strict=True):
        assert estimated.z == pytest.approx(exact.z, abs=0.15)
        assert estimated.likelihood == pytest.approx(exact.likelihood, abs=0.5 + 0.2 * np.abs(exact.likelihood).max())


def test_p_values_are_uniform_where_nothing_interacts() -> None:
    worlds = [make_world(4_000, seed, CATEGORICAL.without_interactions()) for seed in range(8)]
    p_values = np.concatenate([observed_interactions(encode(world))["p_value"] for world in worlds])
    assert 0.02 < (p_values < 0.05).mean() < 0.1
    assert 0.35 < (p_values < 0.5).mean() < 0.65


@settings(max_examples=5, deadline=None)
@example(seed=255)
@given(seed=st.integers(0, 1000))
def test_a_permuted_field_order_permutes_the_result(seed: int) -> None:
    codes, labels = small_table(seed)
    order = np.random.default_rng(seed).permutation(4)
    names = ["a", "b", "c", "d"]
    straight = observed_interactions(table_of(codes, labels, names))
    permuted = observed_interactions(table_of([codes[i] for i in order], labels, [names[i] for i in order]))
    # The most likely strength is one of a grid: where the likelihood is flat, it may be the next one, .06 from 0.
    for column, tolerance in (("observed", 0.06), ("strength", 0.05)):
        first, second = by_pair(straight, column), by_pair(permuted, column)
        assert first.keys() == second.keys()
        for pair, value in first.items():
            assert value == pytest.approx(second[pair], abs=tolerance)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_relabelled_levels_change_nothing(seed: int) -> None:
    codes, labels = small_table(seed)
    rng = np.random.default_rng(seed)
    renamed = [rng.permutation(int(code.max()) + 1)[code] for code in codes]
    names = ["a", "b", "c", "d"]
    straight, relabelled = (observed_interactions(table_of(c, labels, names)) for c in (codes, renamed))
    for pair, value in by_pair(straight, "strength").items():
        assert value == pytest.approx(by_pair(relabelled, "strength")[pair], abs=0.01)


def test_of_two_fields_that_duplicate_each_other_one_pair_is_named_as_standing_in_for_the_other() -> None:
    codes, labels = small_table(1, rows=8000)
    table = table_of([codes[0], codes[0], codes[1], codes[2]], labels, ["a", "a again", "b", "c"])
    frame = observed_interactions(table)
    found: dict[frozenset[str], Any] = {
        frozenset(p): row
        for p, row in zip(zip(frame.field_a, frame.field_b, strict=True), frame.itertuples(), strict=True)
    }
    first, second = found[frozenset(("a", "b"))], found[frozenset(("a again", "b"))]
    leader, proxy = (first, second) if first.strength >= second.strength else (second, first)
    assert leader.significant
    assert not proxy.significant
    assert proxy.proxy_of == f"{leader.field_a} × {leader.field_b}"
    duplicate = found[frozenset(("a", "a again"))]
    assert not duplicate.significant
    assert duplicate.observed == 0


def test_a_pair_of_countries_is_not_lost_to_the_pairs_of_their_cities() -> None:
    """City × product holds all that country × kind holds, in more cells, and shares no field with it."""
    rng = np.random.default_rng(5)
    city, product, other = (rng.integers(levels, size=8000) for levels in (40, 30, 6))
    country, kind = rng.integers(5, size=40)[city], rng.integers(4, size=30)[product]
    effects = rng.normal(size=(5, 4)) * 0.5
    labels = (rng.random(8000) < 1 / (1 + np.exp(1 - effects[country, kind]))).astype(np.float64)
    names = ["city", "product", "other", "country", "kind"]
    ranked = observed_interactions(table_of([city, product, other, country, kind], labels, names))
    assert ranked.loc[ranked["significant"], ["field_a", "field_b"]].to_numpy().tolist() == [["country", "kind"]]
    faded = {
        (a, b): of for a, b, of in zip(ranked["field_a"], ranked["field_b"], ranked["proxy_of"], strict=True) if of
    }
    assert faded == dict.fromkeys([("city", "product"), ("city", "kind"), ("product", "country")], "country × kind")


def test_held_out_evidence_finds_the_pair_and_its_knock_out_costs_logloss() -> None:
    codes, labels = small_table(2, rows=6000)
    frame = out_of_fold_evidence(table_of(codes, labels, ["a", "b", "c", "d"]))
    best = frame.loc[frame["held_out_z"].idxmax()]
    assert (best.field_a, best.field_b) == ("a", "b")
    assert best.held_out_z > 5
    assert best.held_out_slope == pytest.approx(1, abs=0.25)
    assert best.knock_out_low > 0
    others = frame.drop(index=best.name)
    assert others["held_out_z"].abs().max() < 4
    assert others["knock_out_logloss"].abs().max() < 1e-3


def test_long_tables_are_sampled_for_the_held_out_evidence_and_say_nearly_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes, labels = small_table(2, rows=6000)
    table = table_of(codes, labels, ["a", "b", "c", "d"])
    whole = out_of_fold_evidence(table)
    monkeypatch.setattr(cross_fit, "MOST_ROWS", 3000)
    monkeypatch.setattr(cross_fit, "MOST_VALUES", 6 * 500)
    folds = list(cross_fit.fold_evidence(table))
    assert [len(fold.rows) for fold in folds] == [500] * 5
    few = cross_fit.held_out_frame(folds, table)
    best = whole["held_out_z"].idxmax()
    assert few["held_out_z"].idxmax() == best
    # 2,500 rows are asked instead of 6,000, and a z grows with the root of them.
    assert few["held_out_z"][best] == pytest.approx(whole["held_out_z"][best] * np.sqrt(2500 / 6000), rel=0.35)


def test_a_learner_that_imagines_pairs_gets_no_evidence() -> None:
    codes, labels = small_table(3, rows=6000)
    rng = np.random.default_rng(0)
    table = table_of(codes, labels, ["a", "b", "c", "d"])
    seen: list[tuple[int, int]] = []

    def imagine(train: np.ndarray, held: np.ndarray) -> HeldOut:
        assert not set(train) & set(held)
        seen.append((len(train), len(held)))
        return HeldOut(rng.normal(size=(len(held), 6)) * 0.3)

    frame = out_of_fold_evidence(table, learner=imagine)
    assert seen == [(4800, 1200)] * 5
    assert frame["held_out_z"].abs().max() < 4
    assert (frame["knock_out_logloss"] < 0).all()


def test_a_table_with_one_label_is_refused_with_a_remedy() -> None:
    codes, labels = small_table(1, rows=100)
    with pytest.raises(TableError, match="Choose a label column"):
        observed_interactions(table_of(codes, np.zeros_like(labels), ["a", "b", "c", "d"]))


def test_one_field_has_no_pairs_and_constant_fields_no_interaction() -> None:
    codes, labels = small_table(1, rows=400)
    assert observed_interactions(table_of(codes[:1], labels, ["a"])).empty
    constant = np.zeros(400, dtype=np.int64)
    frame = observed_interactions(table_of([constant, codes[1], constant], labels, ["a", "b", "c"]))
    assert not frame["significant"].any()
    assert np.isfinite(frame.select_dtypes("number").to_numpy()).all()


def test_pairs_that_count_share_a_strength_and_flat_likelihoods_fall_back_on_none() -> None:
    flat = np.zeros((30, len(STRENGTHS)))
    sure = -(((STRENGTHS - 0.4) / 0.05) ** 2) / 2 + 32
    found = posterior(np.vstack([flat, sure - sure[0]]))
    assert found.probability[-1] > 0.99
    assert found.strength[-1] == pytest.approx(0.4, abs=0.02)
    assert found.strength[:-1].max() < 0.07
    row_sds = np.broadcast_to(np.stack([STRENGTHS, np.zeros(len(STRENGTHS))]), (31, 2, len(STRENGTHS)))
    strength, low, high = over_rows(np.vstack([flat, sure - sure[0]]), found, row_sds)
    np.testing.assert_allclose(strength, found.strength)
    assert low[-1] > 0.25
    assert high[-1] < 0.55
    assert (low[:-1] == 0).all()


def test_no_pair_speaks_for_the_share_it_is_judged_by() -> None:
    nine_to_one = np.full((1, len(STRENGTHS)), np.log(9.0))
    nine_to_one[0, 0] = 0.0
    assert posterior(nine_to_one).probability[0] == pytest.approx(0.5)
    assert posterior(np.repeat(nine_to_one, 40, axis=0)).probability.min() > 0.95


def test_the_pairs_are_all_combinations_in_the_layouts_order() -> None:
    codes, labels = small_table(6)
    names = ["z", "y", "x", "w"]
    frame = observed_interactions(table_of(codes, labels, names))
    assert set(zip(frame.field_a, frame.field_b, strict=True)) == set(combinations(names, 2))


def test_a_pair_in_the_joint_model_moves_no_row_far_however_few_the_clicks() -> None:
    rng = np.random.default_rng(0)
    codes = [rng.integers(size, size=4000) for size in (12, 10, 8)]
    together = (codes[0] == 3) & (codes[1] == 4)
    labels = np.where(together, 1.0, rng.random(4000) < 0.02)
    fit = fit_observed(table_of(codes, labels.astype(np.float64), ["a", "b", "c"]))
    assert [fit.pairs[held.pair] for held in fit.joint.held] == [(0, 1)]
    assert all(np.abs(held.logit).max() <= LONGEST_STEP for held in fit.joint.held)
    assert all((score.row_sds[0] <= MOST_PER_STRENGTH * STRENGTHS).all() for score in (*fit.alone, *fit.joint.scores))
    assert np.abs(fit.joint.fit.logit).max() < 12


def test_a_field_is_kin_to_one_that_it_determines_and_not_to_one_each_pair_with_which_is_seen_once() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.permutation(100 * 80)[:4000]
    user, item = drawn // 80, drawn % 80
    labels = rng.integers(2, size=4000).astype(np.float64)
    fit = fit_observed(table_of([user, item, user // 10, rng.integers(3, size=4000)], labels, ["u", "i", "group", "x"]))
    assert fit.alone[fit.pairs.index((0, 1))].info == 0.0
    assert fit.related.kin.of_field == {0: frozenset({2}), 2: frozenset({0})}


@pytest.mark.parametrize(("levels", "spread"), [(2, 0.7), (2, 0.3), (6, 0.4)])
def test_the_interval_of_a_well_supported_pair_is_about_the_spread_of_its_effects_over_the_rows(
    levels: int, spread: float
) -> None:
    inside = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        codes = [rng.integers(levels, size=4000) for _ in range(3)]
        effects = rng.normal(size=(levels, levels))
        effects -= effects.mean(axis=0) + effects.mean(axis=1)[:, None] - effects.mean()
        logit = effects[codes[0], codes[1]] * (spread / effects[codes[0], codes[1]].std())
        labels = (rng.random(4000) < 1 / (1 + np.exp(-logit))).astype(np.float64)
        frame = observed_interactions(table_of(codes, labels, ["a", "b", "c"]))
        pair = frame[(frame.field_a == "a") & (frame.field_b == "b")].iloc[0]
        inside.append(pair.strength_low <= spread <= pair.strength_high)
        assert pair.strength == pytest.approx(spread, rel=0.3)
    assert sum(inside) >= 6


def test_the_share_done_is_reported_and_never_falls():
    shares: list[float] = []
    frame = observed_interactions(encode(make_world(5_000, 0, CATEGORICAL)), draws=16, report=shares.append)
    assert shares == sorted(shares)
    assert shares[0] == ALONE[0]
    assert len(shares) >= len(frame)
    assert shares[-1] <= 1.0


def test_a_pair_of_which_one_field_determines_the_other_has_no_strength() -> None:
    codes, labels = small_table(3)
    copy, nested = (codes[0] + 2) % 4, codes[1] // 2
    table = table_of([*codes, copy, nested], labels, ["a", "b", "c", "d", "copy", "nested"])
    frame = observed_interactions(table).set_index(["field_a", "field_b"])
    for pair in (("a", "copy"), ("b", "nested")):
        assert frame.loc[pair, ["strength", "strength_low", "strength_high", "probability", "observed"]].eq(0).all()
        assert not frame.loc[pair, "significant"]
    assert float(frame["strength"][("a", "b")]) > 0.3
    solid = frame["significant"]
    assert solid.loc[("a", "b")] != solid.loc[("b", "copy")]
    verdict = data_verdicts(frame)
    assert verdict.loc[("a", "copy")] == verdicts(frame).loc[("a", "copy")] == DETERMINED
    assert verdict.loc[("c", "d")] != DETERMINED


def test_with_few_rows_of_one_outcome_no_pair_is_called_clear() -> None:
    """46 clicks in 10,000 rows, nearly all in one cell: the score is large, but it rests on a few rows."""
    rng = np.random.default_rng(3)
    codes = [rng.integers(levels, size=10_000) for levels in (4, 5, 7)]
    cell = np.flatnonzero((codes[0] == 1) & (codes[1] == 2))
    for clicks, clear in ((46, False), (300, True)):
        labels = np.zeros(10_000)
        labels[rng.choice(cell, clicks * 3 // 4, replace=False)] = 1
        labels[rng.choice(10_000, clicks // 4, replace=False)] = 1
        found = observed_interactions(table_of(codes, labels, ["a", "b", "c"]))
        assert (found.iloc[0]["field_a"], found.iloc[0]["field_b"]) == ("a", "b")
        assert found["q_value"].iloc[0] < 0.05
        assert found["significant"].sum() == clear
