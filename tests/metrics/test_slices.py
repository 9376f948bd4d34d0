"""Slices of judged rows, and two models on the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfm_core.metrics.bootstrap import logloss_difference
from deepfm_core.metrics.scores import auc, evaluate, level_rates, level_rows, logloss, not_better, slice_metrics
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole


def test_numbers_are_cut_into_slices_of_like_size_and_a_missing_one_is_a_slice_of_its_own() -> None:
    cells = pd.Series([str(number) for number in range(100)] + ["", "?"])
    levels = level_rows(cells, FieldRole("price", Kind.NUMERIC))
    assert levels.groupby("level")["position"].count().to_dict() == {
        "below 19.8": 20,
        "19.8 to 39.6": 20,
        "39.6 to 59.4": 20,
        "59.4 to 79.2": 20,
        "79.2 or more": 20,
        "missing": 2,
    }


def test_a_row_of_a_multi_valued_field_stands_in_the_slice_of_each_of_its_values() -> None:
    cells = pd.Series(["a|b", "b", "", "b|b"])
    levels = level_rows(cells, FieldRole("interests", Kind.MULTI_VALUED, "|"))
    assert set(zip(levels["position"], levels["level"], strict=True)) == {
        (0, "a"),
        (0, "b"),
        (1, "b"),
        (2, "missing"),
        (3, "b"),
    }


def test_rare_levels_are_pooled_and_counted() -> None:
    cells = pd.Series([f"common {i % 12}" for i in range(120)] + [f"rare {i}" for i in range(7)])
    levels = level_rows(cells, FieldRole("site", Kind.CATEGORICAL))
    assert levels.groupby("level")["position"].count()["other (7 levels)"] == 7


def test_points_in_time_are_slices_of_the_day() -> None:
    cells = pd.Series(["2024-03-01 01:30:00", "2024-03-02 23:59:00", "2024-03-02 00:00:00"])
    levels = level_rows(cells, FieldRole("time", Kind.TIMESTAMP))
    assert levels["level"].tolist() == ["00:00 to 02:59", "21:00 to 23:59", "00:00 to 02:59"]


def test_the_metrics_of_a_slice_are_those_of_its_rows_alone() -> None:
    rng = np.random.default_rng(0)
    labels, logits = (rng.random(300) < 0.3).astype(float), rng.normal(size=300)
    cells: pd.Series = pd.Series(np.where(np.arange(300) < 200, "phone", "tablet"))
    sliced = slice_metrics(labels, logits, level_rows(cells, FieldRole("device", Kind.CATEGORICAL)))
    assert sliced["level"].tolist() == ["phone", "tablet"]
    assert sliced["auc"].tolist() == pytest.approx([auc(labels[:200], logits[:200]), auc(labels[200:], logits[200:])])
    assert sliced["rows"].tolist() == [200, 100]


def test_a_difference_of_two_models_is_far_surer_than_their_loglosses() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(-1, 1.5, 4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-truth))).astype(float)
    worse = truth + rng.normal(0, 0.3, 4000)
    apart = logloss_difference(labels, truth, worse)
    assert apart.value == pytest.approx(logloss(labels, truth) - logloss(labels, worse))
    assert apart.significant
    assert apart.value < 0
    assert not logloss_difference(labels, truth, truth + 1e-9 * rng.normal(size=4000)).value > 1e-6


def test_every_level_has_its_rows_and_its_share_of_positives_with_an_interval() -> None:
    levels = level_rows(pd.Series(["a", "a", "b", ""]), FieldRole("x", Kind.CATEGORICAL))
    found = level_rates(np.array([1.0, 0.0, 1.0, 0.0]), levels).set_index("level")
    assert dict(found["rows"]) == {"a": 2, "b": 1, "missing": 1}
    assert dict(found["rate"]) == {"a": 0.5, "b": 1.0, "missing": 0.0}
    assert found["share"].sum() == 1.0
    assert ((found["low"] <= found["rate"]) & (found["rate"] <= found["high"])).all()


def test_a_model_that_is_no_better_than_the_share_of_positives_is_said_to_be_so() -> None:
    labels = np.tile([1.0, 0.0, 0.0, 0.0], 200)
    right, wrong = (evaluate(labels, sign * (2 * labels - 1), 0.25) for sign in (2.0, -2.0))
    assert not_better(right) == ""
    assert "The model is worse than always predicting" in not_better(wrong)
    assert "that of the share 0.5623." in not_better(wrong)
    noise = evaluate(labels, np.full(800, np.log(1 / 3)) + 1e-3, 0.25)
    assert "no better than" in not_better(noise)
