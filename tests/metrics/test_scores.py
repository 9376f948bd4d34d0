"""Metrics against scikit-learn, and what they say when they are not defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, precision_recall_curve, roc_auc_score, roc_curve

from deepfm_core.metrics import scores


def draw(seed: int, rows: int = 400, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1, rows)
    labels = (rng.random(rows) < scores.sigmoid(logits)).astype(np.float32)
    labels[:2] = [0, 1]
    return labels, np.round(logits, 1 if ties else 12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans())
def test_auc_and_logloss_equal_scikit_learn(seed: int, ties: bool) -> None:
    labels, logits = draw(seed, ties=ties)
    for either in (labels, 1 - labels):  # few clicks, and many
        assert scores.auc(either, logits) == pytest.approx(roc_auc_score(either, logits), abs=1e-15)
    assert scores.logloss(labels, logits) == pytest.approx(log_loss(labels, scores.sigmoid(logits)), abs=1e-9)


def test_the_curves_equal_scikit_learn() -> None:
    labels, logits = draw(3, ties=True)
    p = scores.sigmoid(logits)
    ours = scores.thresholds(labels, p)
    fpr, tpr, _ = roc_curve(labels, p, drop_intermediate=False)
    np.testing.assert_allclose(ours["false_positive_rate"], fpr[1:])
    np.testing.assert_allclose(ours["recall"], tpr[1:])
    precision, recall, _ = precision_recall_curve(labels, p)
    np.testing.assert_allclose(ours["precision"], precision[:-1][::-1])
    np.testing.assert_allclose(ours["recall"], recall[:-1][::-1])


def test_a_single_class_gives_a_sentence() -> None:
    result = scores.evaluate(np.zeros(10), np.zeros(10), 0.2)
    assert result.auc is None
    assert result.auc_low is None
    assert "no clicks" in result.note
    assert "only clicks" in scores.evaluate(np.ones(10), np.zeros(10), 0.2).note


def test_predicting_the_base_rate_has_normalised_entropy_one() -> None:
    labels, _ = draw(5)
    rate = float(labels.mean())
    result = scores.evaluate(labels, np.full(len(labels), np.log(rate / (1 - rate))), rate)
    assert result.normalised_entropy == pytest.approx(1.0)
    assert result.calibration_ratio == pytest.approx(1.0)
    assert result.auc == pytest.approx(0.5)


def test_the_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    truth = scores.auc(*draw(0, rows=200_000))
    covered = 0
    for seed in range(200):
        low, high = scores.auc_interval(*draw(seed + 1))
        covered += low <= truth <= high
    assert 180 <= covered <= 199


def test_calibration_buckets_hold_all_rows_and_their_rates() -> None:
    labels, logits = draw(9, rows=1000)
    frame = scores.calibration(labels, scores.sigmoid(logits), 10)
    assert frame["rows"].sum() == 1000
    assert (frame["low"] <= frame["observed"]).all()
    assert (frame["observed"] <= frame["high"]).all()
    assert frame["predicted"].is_monotonic_increasing
    one = scores.calibration(labels, np.full(1000, 0.2), 10)
    assert len(one) == 1
