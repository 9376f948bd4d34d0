"""Tables with more pairs than are tested: a first look chooses, and what it leaves out is said."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from deepfm_core.evidence import first_look as looking
from deepfm_core.evidence import ranking
from deepfm_core.evidence.designs import FieldDesign, Slots, cross, full_slots
from deepfm_core.evidence.first_look import first_look
from deepfm_core.evidence.ranking import ALONE, MOST_TESTED, observed_interactions, progress_said
from deepfm_core.evidence.score_test import benjamini_hochberg
from deepfm_core.evidence.verdicts import NOT_TESTED, data_verdicts, not_tested, spread_of, untested_said
from tests.evidence.test_ranking import table_of

NAMES = [f"f{number:03d}" for number in range(300)]


def wide(fields: int, seed: int, rows: int = 1500, spread: float = 0.9) -> tuple[list[np.ndarray], np.ndarray]:
    """Fields of 2 to 12 levels; the third and the sixth interact, and the fourth has a main effect."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(size, size=rows) for size in rng.integers(2, 13, size=fields)]
    codes[2], codes[5] = rng.integers(3, size=(2, rows))
    effects = rng.normal(size=(3, 3))
    effects -= effects.mean(0) + effects.mean(1)[:, None] - effects.mean()
    logit = -0.7 + 0.4 * (codes[3] == 1) + spread * effects[codes[2], codes[5]] / effects.std()
    return codes, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float64)


@pytest.mark.parametrize("dense", [0.0, 2.0])
@pytest.mark.parametrize("at_once", [1, 1000, 10**6])
@pytest.mark.parametrize("least", [2, 5, 12, 100])
def test_a_first_look_scores_every_pair_by_its_formula(
    dense: float, at_once: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "DENSE_FILL", dense)  # always dense products, or never
    monkeypatch.setattr(looking, "COUNTED_AT_ONCE", at_once)
    monkeypatch.setattr(looking, "COUNTED_LEVELS", least)
    monkeypatch.setattr(looking, "LOOKED_AT_ONCE", 3)
    rng = np.random.default_rng(0)
    slots = [Slots(rng.integers(size, size=(200, 1)), None, size) for size in (2, 40, 5, 13, 3, 14, 12)]
    slots.append(full_slots(rng.normal(size=(200, 2))))
    distinct = rng.permuted(np.tile(np.arange(4), (200, 1)), axis=1)[:, :2]
    slots.append(Slots(distinct, rng.integers(2, size=(200, 2)).astype(float), 4))
    designs = [FieldDesign(str(number), one, one) for number, one in enumerate(slots)]
    residual, weights = rng.normal(size=200), rng.uniform(0.05, 0.25, size=200)
    pairs = list(combinations(range(len(designs)), 2))
    scores = np.zeros((2, len(pairs)))
    for k, (a, b) in enumerate(pairs):
        x = cross(slots[a], slots[b]).slots.matrix
        x = x if isinstance(x, np.ndarray) else x.toarray()
        excess = ((x.T @ residual) ** 2).sum() - (x**2 * residual[:, None] ** 2).sum()
        V2 = ((x**2).T @ weights) ** 2
        own = (x**4 * weights[:, None] ** 2).sum()
        scores[:, k] = excess / np.sqrt([2 * V2.sum(), 2 * (V2.sum() - own)])
    steady, sparse = (-scores).argsort(axis=1)
    for most in (1, 2, 3, 7, 20):
        expected = list(dict.fromkeys(np.stack([steady, sparse], 1).ravel().tolist()))[:most]
        assert first_look(designs, residual, weights, most) == sorted(pairs[k] for k in expected)


def test_false_discoveries_are_counted_among_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "MOST_TESTED", 6)
    codes, labels = wide(9, seed=1)
    pairs = observed_interactions(table_of(codes, labels, NAMES[:9]), draws=32)
    assert len(pairs) == 36
    tested, left = pairs[~not_tested(pairs)], pairs[not_tested(pairs)]
    assert len(tested) == 6
    everyone = np.concatenate([tested["p_value"], np.ones(len(left))])
    assert tested["q_value"].to_numpy() == pytest.approx(benjamini_hochberg(everyone)[:6])
    assert list(pairs.index[pairs["significant"]]) == [0]
    assert tuple(pairs.loc[0, ["field_a", "field_b"]]) == ("f002", "f005")


def test_a_pair_that_was_not_tested_says_so_and_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "MOST_TESTED", 6)
    codes, labels = wide(9, seed=1)
    pairs = observed_interactions(table_of(codes, labels, NAMES[:9]), draws=32)
    left = pairs[not_tested(pairs)]
    assert not left["significant"].any()
    assert left.drop(columns=["field_a", "field_b", "significant", "proxy_of"]).isna().all(axis=None)
    assert set(data_verdicts(pairs)[left.index]) == {NOT_TESTED}
    assert spread_of(pairs, *left.iloc[0][["field_a", "field_b"]]) == 0
    assert untested_said(pairs).startswith("The labels were tested for 6 of 36 pairs")


def test_tables_of_few_pairs_are_tested_in_full() -> None:
    codes, labels = wide(6, seed=2, rows=300)
    pairs = observed_interactions(table_of(codes, labels, NAMES[:6]), draws=16)
    assert not not_tested(pairs).any()
    assert untested_said(pairs) == ""
    assert untested_said(pd.DataFrame({"learned": [0.1]})) == ""


def test_progress_names_the_pairs_that_are_done() -> None:
    assert progress_said(0.05, 44_850) == "a first look at 44,850 pairs"
    assert progress_said(0.05, 66) == "main effects"
    assert progress_said(sum(ALONE) / 2, 44_850) == f"testing pairs, {MOST_TESTED // 2:,} of {MOST_TESTED:,}"
    assert progress_said(1.0, 66) == "testing pairs beside the clear ones, 66 of 66"


@pytest.mark.slow
def test_a_planted_pair_is_found_among_thousands_and_no_other() -> None:
    codes, labels = wide(150, seed=2024, spread=0.6)
    pairs = observed_interactions(table_of(codes, labels, NAMES[:150]))
    assert len(pairs) == 150 * 149 // 2
    assert tuple(pairs.loc[0, ["field_a", "field_b"]]) == ("f002", "f005")
    assert pairs["significant"].sum() == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [31, 32])
def test_a_wide_table_without_interactions_has_no_clear_pair(seed: int) -> None:
    codes, labels = wide(100, seed, spread=0.0)
    assert not observed_interactions(table_of(codes, labels, NAMES[:100]))["significant"].any()
