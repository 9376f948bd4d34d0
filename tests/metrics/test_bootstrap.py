"""Models judged on the same rows: intervals of their differences."""

from __future__ import annotations

import numpy as np
import pytest

from deepfm_core.metrics.bootstrap import compare_paired, draws_for
from deepfm_core.metrics.scores import auc, auc_by_row, auc_interval, logloss


def rows(count: int = 1500, noise: float = 1.0, seed: int = 0):
    """Draw labels, the true logits, and logits with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.5, count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    return labels, truth, truth + rng.normal(0, noise, count)


def test_placements_of_each_class_average_to_the_auc() -> None:
    labels, truth, _ = rows()
    logits = np.round(truth, 1)  # with ties
    placements = auc_by_row(labels, logits)
    assert placements[labels > 0.5].mean() == pytest.approx(auc(labels, logits), abs=1e-12)
    assert placements[labels < 0.5].mean() == pytest.approx(auc(labels, logits), abs=1e-12)


def test_values_are_the_metrics_themselves_and_the_best_has_no_difference() -> None:
    labels, truth, noisy = rows()
    evaluated = compare_paired(labels, {"noisy": [noisy], "truth": [truth]})
    assert evaluated["auc"]["truth"].difference is None
    assert evaluated["logloss"]["truth"].difference is None
    assert evaluated["auc"]["noisy"].mean == auc(labels, noisy)
    assert evaluated["logloss"]["noisy"].mean == pytest.approx(logloss(labels, noisy), abs=1e-12)
    difference = evaluated["auc"]["noisy"].difference
    assert difference is not None
    assert difference.value == pytest.approx(float(auc(labels, noisy) or 0) - float(auc(labels, truth) or 0))
    assert difference.high < 0


def test_intervals_of_the_auc_are_those_of_the_exact_bootstrap() -> None:
    labels, truth, noisy = rows(600)
    found = compare_paired(labels, {"truth": [truth], "noisy": [noisy]})["auc"]["noisy"].difference
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(800):
        chosen = rng.integers(0, 600, 600)
        drawn.append(float(auc(labels[chosen], noisy[chosen]) or 0) - float(auc(labels[chosen], truth[chosen]) or 0))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found is not None
    assert found.low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.high == pytest.approx(high, abs=0.15 * (high - low))


def test_a_paired_interval_is_far_narrower_than_the_metrics_own() -> None:
    labels, truth, nearly = rows(noise=0.1)
    difference = compare_paired(labels, {"truth": [truth], "nearly": [nearly]})["auc"]
    worse = next(evaluated.difference for evaluated in difference.values() if evaluated.difference)
    own = auc_interval(labels, truth)
    assert own is not None
    assert worse.high - worse.low < 0.3 * (own[1] - own[0])


@pytest.mark.slow
def test_the_interval_of_equally_good_models_holds_zero_in_about_95_of_100_cases() -> None:
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels, truth, _ = rows(400, seed=seed)
        models = {name: [truth + rng.normal(0, 0.7, 400) for _ in range(2)] for name in ("a", "b")}
        evaluated = compare_paired(labels, models, draws=400)["logloss"]
        difference = next(one.difference for one in evaluated.values() if one.difference)
        held.append(not difference.significant)
    assert np.mean(held) > 0.85


def test_noise_between_seeds_widens_the_interval() -> None:
    labels, truth, _ = rows()
    steady = {"a": [truth], "b": [truth * 0.9]}
    swinging = {"a": [truth], "b": [truth * factor for factor in (0.3, 0.9, 1.5)]}

    def width(models) -> float:
        evaluated = compare_paired(labels, models)["logloss"]
        difference = next(one.difference for one in evaluated.values() if one.difference)
        return difference.high - difference.low

    assert width(swinging) > 1.5 * width(steady)


def test_only_candidates_can_be_the_best() -> None:
    labels, truth, noisy = rows()
    evaluated = compare_paired(labels, {"truth": [truth], "noisy": [noisy]}, candidates=["noisy"])
    assert evaluated["auc"]["noisy"].difference is None
    assert evaluated["auc"]["truth"].difference is not None
    assert evaluated["auc"]["truth"].difference.low > 0


def test_a_single_class_has_no_auc() -> None:
    evaluated = compare_paired(np.ones(20), {"a": [np.zeros(20)], "b": [np.ones(20)]})
    assert list(evaluated) == ["logloss"]


def test_many_rows_are_drawn_less_often() -> None:
    assert draws_for(2_000) == 2000
    assert draws_for(500_000) == 400
    assert draws_for(50_000_000) == 200
