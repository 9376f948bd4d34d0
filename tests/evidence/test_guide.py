"""What a guided model starts from: supported pairs, and the mode of their cells beside main effects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from threadpoolctl import threadpool_info, threadpool_limits

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.evidence import guide, ranking
from deepfm_core.evidence.designs import FieldDesign, field_designs
from deepfm_core.evidence.first_look import first_look
from deepfm_core.evidence.guide import FEWEST_EXPECTED, GuidedPair, _asked, fit_guides, solve, supported_pairs
from deepfm_core.evidence.main_effects import MainEffects, fit_main_effects
from deepfm_core.metrics.scores import logloss, sigmoid
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import ModelSpec
from deepfm_core.synthetic.worlds import CATEGORICAL, MIXED, MULTI_VALUED, World, WorldSpec, make_world
from deepfm_core.tables.table import ReadReport, Table
from deepfm_core.training.guided import fixed_logits
from tests.worlds import encoded, layout


def encoded_world(spec: WorldSpec, rows: int = 6000, seed: int = 1) -> tuple[World, EncodedTable]:
    world = make_world(rows, seed, spec)
    table = Table("world", world.frame.astype(str).astype("category"), ReadReport())
    schema = infer_schema(table, "click")
    encoder = Encoder.fit(table.frame, schema)
    labels = world.frame["click"].to_numpy(np.float32)
    return world, replace(encoder.encode(table.frame, subject="world"), labels=labels)


def named(pairs: tuple[GuidedPair, ...], table: EncodedTable) -> set[frozenset[str]]:
    return {frozenset(table.layout.names[f] for f in pair.fields) for pair in pairs}


def test_strong_pairs_are_supported_and_others_are_not() -> None:
    world, table = encoded_world(replace(CATEGORICAL, fields=6, pairs=2, strengths=(0.6, 0.6), levels=(3, 20)))
    planted = world.truth.pairs[world.truth.pairs["strength"] > 0]
    expected = {frozenset(pair) for pair in planted[["field_a", "field_b"]].itertuples(index=False, name=None)}
    found = named(supported_pairs(table), table)
    assert expected <= found
    assert len(found) <= len(expected) + 1


def test_a_first_look_and_the_evidence_share_their_designs_and_main_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    _, table = encoded_world(replace(CATEGORICAL, fields=6, pairs=2, strengths=(0.6, 0.6), levels=(3, 20)), rows=1500)
    monkeypatch.setattr(guide, "MOST_ASKED", 5)  # of 15
    fits: list[MainEffects] = []
    made: list[EncodedTable] = []

    def watched(table: EncodedTable) -> list[FieldDesign]:
        made.append(table)
        return field_designs(table)

    def counted(designs: Sequence[FieldDesign], labels: np.ndarray) -> MainEffects:
        fits.append(fit_main_effects(designs, labels))
        return fits[-1]

    monkeypatch.setattr(ranking, "fit_main_effects", counted)
    monkeypatch.setattr(ranking, "field_designs", watched)
    shared = supported_pairs(table)
    assert shared
    assert not fits
    assert not made
    chosen, _ = guide._looked_at(table, 0)
    monkeypatch.setattr(guide, "_looked_at", lambda *_: (chosen, None))
    assert supported_pairs(table) == shared
    assert len(fits) == 1


def test_a_guide_takes_one_thread_for_its_products(monkeypatch: pytest.MonkeyPatch) -> None:
    _, table = encoded_world(replace(CATEGORICAL, fields=6, pairs=2, strengths=(0.6, 0.6), levels=(3, 20)), rows=1500)
    monkeypatch.setattr(guide, "MOST_ASKED", 5)  # of 15, so that there is a first look
    threads: set[int] = set()
    look = first_look

    def watched(*arguments: Any) -> list[tuple[int, int]]:
        threads.update(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return look(*arguments)

    monkeypatch.setattr(guide, "first_look", watched)
    with threadpool_limits(2, user_api="blas"):
        fit_guides(table)
    assert threads == {1}


@pytest.mark.parametrize("seed", range(3))
def test_a_table_without_interactions_supports_hardly_any_pair(seed: int) -> None:
    _, table = encoded_world(replace(CATEGORICAL, fields=8).without_interactions(), seed=seed)
    assert sum(pair.strength for pair in supported_pairs(table, seed=seed)) < 0.15


@pytest.mark.parametrize("spec", [CATEGORICAL, MULTI_VALUED, MIXED])
def test_few_clicks_ask_the_pairs_that_are_counted_row_by_row(spec: WorldSpec) -> None:
    _, table = encoded_world(replace(spec, click_rate=0.03))
    others = []
    for field in table.layout.fields:
        x = table.x(field)
        slots = table.ids[:, field.first_slot : field.first_slot + field.slots]
        rows = [(*ids, *([] if x is None else x[row])) for row, ids in enumerate(slots.tolist())]
        usual = Counter(rows).most_common(1)[0][0]
        others.append([row != usual for row in rows])
    unusual = np.array(others).astype(int)
    assert table.labels is not None
    expected = unusual @ unusual.T * table.labels.mean()
    every = list(combinations(range(len(unusual)), 2))
    wanted = [(a, b) for a, b in every if expected[a, b] >= FEWEST_EXPECTED]
    assert (_asked(table, None) or every) == wanted


@pytest.mark.parametrize("seed", range(5))
def test_the_usual_value_is_the_same_by_counts_as_by_keys(seed: int) -> None:
    shape = layout([(Kind.CATEGORICAL, 1, 3), (Kind.CATEGORICAL, 1, 9)])
    table = replace(encoded(shape, 20, seed), weights=None)  # of few rows, so that several values are as usual
    keys = guide._keys(table.ids[:, 1:])
    value, counts = np.unique(keys, return_inverse=True, return_counts=True)[1:]
    assert guide._unusual(table, shape.fields[1]).tolist() == (value != counts.argmax()).tolist()


def test_few_clicks_support_no_pair() -> None:
    _, table = encoded_world(replace(CATEGORICAL, fields=10, click_rate=0.005))
    assert len(supported_pairs(table)) <= 1


@pytest.mark.parametrize("seed", range(2))
def test_a_few_clicks_in_rare_rows_support_no_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, rare, clicked = 4000, 20, 3
    cells = {f"f{k}": rng.integers(0, 6, rows) for k in range(3)} | {"rare": np.arange(rows) < rare}
    cells["f0"][:rare] = np.where(np.arange(rare) < clicked, 0, rng.integers(1, 6, rare))
    clicks = (rng.random(rows) < 0.01) & (np.arange(rows) >= rare) | (np.arange(rows) < clicked)
    frame = pd.DataFrame(cells).map(lambda cell: f"v{cell}").assign(click=clicks.astype(int))
    table = Table("rare", frame.astype(str).astype("category"), ReadReport())
    encoder = Encoder.fit(table.frame, infer_schema(table, "click"))
    asked = replace(encoder.encode(table.frame, subject="rare"), labels=clicks.astype(np.float32))
    assert named(supported_pairs(asked), asked) == set()


def test_the_solution_is_the_mode_of_an_independent_optimiser() -> None:
    table = encoded(layout([(Kind.CATEGORICAL, 1, 4), (Kind.CATEGORICAL, 1, 3)]), 400, 3)
    guide = solve(table, [GuidedPair((0, 1), 0.5)])
    a, b = table.ids[:, 0], table.ids[:, 1] - 4
    y, cell = np.asarray(table.labels, float), a * 3 + b
    effects = np.split(guide.first_order.astype(float), [4])
    variances = [_variance_of(guide, table, f) for f in range(2)]

    def loss(w: np.ndarray, known: bool = False) -> float:
        base, of_a, of_b, u = w[0], w[1:5], w[5:8], w[8:]
        z = base + of_a[a] + of_b[b] + u[cell]
        penalty = (of_a**2).sum() / variances[0] + (of_b**2).sum() / variances[1] + (u**2).sum() / 0.25
        return logloss(y, z) * len(y) + 0.5 * penalty

    found = minimize(loss, np.zeros(20), method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-14})
    ours = np.zeros(20)
    ours[0], ours[1:5], ours[5:8] = guide.base, effects[0], effects[1]
    ours[8 + (guide.keys // 7) * 3 + (guide.keys % 7 - 4)] = guide.weights
    assert loss(ours) <= found.fun + 0.02


def _variance_of(guide: object, table: EncodedTable, field: int) -> float:
    """Give the learned variance: that of a fit with the same arguments."""
    from deepfm_core.evidence.designs import FieldDesign, Slots, cross
    from deepfm_core.evidence.main_effects import fit_main_effects

    slots = [Slots(table.ids[:, [f]].astype(np.int64) - table.layout.fields[f].offset, None, 4 - f) for f in (0, 1)]
    designs = [FieldDesign("f", slot, slot) for slot in slots]
    cells = cross(*slots).slots
    fit = fit_main_effects(
        [*designs, FieldDesign("cells", cells, cells)], np.asarray(table.labels, float), known=[0.25]
    )
    return fit.variances[field]


@pytest.mark.parametrize("spec", [MIXED, MULTI_VALUED], ids=["numbers", "several values"])
def test_the_model_gives_rows_what_was_solved(spec: WorldSpec) -> None:
    _, table = encoded_world(replace(spec, fields=6, pairs=3, strengths=(0.5, 0.7), levels=(3, 12)), rows=4000)
    guide = fit_guides(table).alone
    assert guide.pairs
    model = DeepFM(table.layout, ModelSpec("deepfm", guided=True))
    model.start_from(guide)
    logits = fixed_logits(model, Batch.held(table)).double().numpy()
    probability = sigmoid(logits)
    # The constant is not penalised: at the mode the residuals sum to 0, which they do for the very logits alone.
    assert abs(float((table.labels - probability).sum())) < 0.01 * len(table) ** 0.5
    assert logloss(np.asarray(table.labels), logits) < logloss(
        np.asarray(table.labels), np.full(len(table), logits.mean())
    )


def test_sparse_pairs_are_left_to_the_embeddings() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(150, 2)), rng.normal(size=(150, 2))
    u, i = rng.integers(0, 150, (2, 6000))
    y = rng.random(6000) < sigmoid(1.2 * (users[u] * items[i]).sum(1))
    shape = layout([(Kind.CATEGORICAL, 1, 150), (Kind.CATEGORICAL, 1, 150)])
    ids = np.stack([u, i + 150], 1).astype(np.int32)
    table = EncodedTable(shape, ids, None, np.zeros((6000, 0), np.float32), y.astype(np.float32))
    guides = fit_guides(table)
    assert [pair.by_cells for pair in guides.alone.pairs] == [True]
    assert [pair.by_cells for pair in guides.start.pairs] == [False]
    assert not len(guides.start.keys)


def test_equal_labels_give_a_guide_that_says_the_rate() -> None:
    table = encoded(layout([(Kind.CATEGORICAL, 1, 4), (Kind.CATEGORICAL, 1, 3)]), 50, 3)
    guide = fit_guides(replace(table, labels=np.ones(50, np.float32))).start
    assert guide.pairs == ()
    assert guide.base == pytest.approx(np.log(50.5 / 0.5))
