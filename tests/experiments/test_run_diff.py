"""Run B less run A: settings, metrics and pairs."""

from __future__ import annotations

from dataclasses import replace

import altair as alt
import numpy as np
import pandas as pd
import pytest

from app.charts.comparison import logit_scatter, matrix_difference
from deepfm_core.experiments.run_diff import metric_differences, pair_differences, setting_differences, settings_beside
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.spec.run import ModelSpec, RunSpec

SCHEMA = Schema(LabelRole("click", "1", "0"), (FieldRole("hour", Kind.CATEGORICAL), FieldRole("price", Kind.NUMERIC)))
SPEC = RunSpec("a" * 64, "clicks.csv", SCHEMA)


def test_settings_that_differ_are_told_in_words() -> None:
    other = replace(
        SPEC,
        model=ModelSpec("fm", layers=(8, 4), batch_norm=True),
        seed=3,
        split_seed=0,
        schema=SCHEMA.with_kinds({"price": Kind.BUCKETISED}),
    )
    found = setting_differences(other, SPEC).set_index("setting")
    assert found.loc["model"].tolist() == ["fm", "deepfm"]
    assert found.loc["layers"].tolist() == ["8, 4", "64, 32"]
    assert found.loc["batch normalisation"].tolist() == ["yes", "no"]
    assert found.loc["seed"].tolist() == ["3", "0"]
    assert found.loc["field price"].tolist() == ["bucketised", "numeric"]
    assert "seed of the split" not in found.index, "both divide their rows by seed 0"
    assert "epochs" not in found.index


def test_equal_runs_differ_in_nothing() -> None:
    assert setting_differences(SPEC, SPEC).empty


def test_another_version_of_a_table_is_named() -> None:
    found = setting_differences(SPEC, replace(SPEC, table="b" * 64))
    assert found.values.tolist() == [["table", "version aaaaaaaa", "version bbbbbbbb"]]


def test_runs_beside_each_other_on_versions_of_a_table_differ_in_it_and_not_in_kinds() -> None:
    newer = replace(SPEC, table="b" * 64, schema=SCHEMA.with_kinds({"price": Kind.BUCKETISED}))
    found = settings_beside({"first": SPEC, "second": newer, "third": SPEC})
    assert found.columns.tolist() == ["setting", "first", "second", "third"]
    assert found.values.tolist() == [["table", "version aaaaaaaa", "version bbbbbbbb", "version aaaaaaaa"]]
    assert settings_beside({"first": SPEC, "second": SPEC}).empty
    assert len(settings_beside({"first": SPEC})) > 20, "of a single run, all settings are told"


def test_tables_apart_are_named_by_what_they_are_called_or_by_version() -> None:
    other = replace(SPEC, test_table="b" * 64, test_table_name="other.csv")
    assert setting_differences(other, SPEC).values.tolist() == [["test table", "other.csv", "–"]]
    newer = replace(other, test_table="c" * 64)
    assert setting_differences(newer, other).values.tolist() == [["test table", "version cccccccc", "version bbbbbbbb"]]
    unnamed = replace(SPEC, test_table="b" * 64)
    assert setting_differences(unnamed, SPEC).values.tolist() == [["test table", "version bbbbbbbb", "–"]]


def test_metric_differences_are_b_less_a_with_their_interval() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=900)
    labels = (rng.random(900) < 1 / (1 + np.exp(-truth))).astype(float)
    b, a = truth, truth + rng.normal(0, 1.0, 900)
    found = metric_differences(labels, b, a, base_logloss=0.7).set_index("metric")
    assert found.loc["auc", "difference"] == pytest.approx(float(auc(labels, b) or 0) - float(auc(labels, a) or 0))
    assert found.loc["logloss", "difference"] == pytest.approx(logloss(labels, b) - logloss(labels, a))
    entropy = found.loc["normalised entropy", "difference"]
    assert entropy == pytest.approx(found.loc["logloss", "difference"] / 0.7)
    assert (found["low"] < found["difference"]).all()
    assert (found["difference"] < found["high"]).all()
    assert found["low"]["auc"] > 0


def pairs(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["field_a", "field_b", "learned"])


def test_pairs_are_matched_whichever_field_comes_first() -> None:
    found = pair_differences(
        pairs(("x", "y", 0.5), ("x", "z", 0.2), ("u", "x", 1.0)), pairs(("y", "x", 0.1), ("x", "z", 0.9)), "learned"
    )
    assert found[["field_a", "field_b"]].values.tolist() == [["x", "z"], ["x", "y"]]
    assert found["difference"].tolist() == pytest.approx([-0.7, 0.4])


def test_the_matrix_of_differences_is_centred_at_zero() -> None:
    found = pair_differences(
        pairs(("x", "y", 0.5), ("x", "z", 0.2)), pairs(("x", "y", 0.1), ("x", "z", 0.9)), "learned"
    )
    spec = matrix_difference(found, ["x", "y", "z"], "B", "A").to_dict()
    alt.LayerChart.from_dict(spec)
    domain = spec["layer"][1]["encoding"]["color"]["scale"]["domain"]
    assert domain[0] == -domain[1] == pytest.approx(-0.7)
    assert "x × z with -0.70" in spec["description"]


def test_many_fields_are_those_of_the_largest_differences() -> None:
    names = [f"f{number}" for number in range(60)]
    rows = [(a, b, 0.0) for place, a in enumerate(names) for b in names[place + 1 :]]
    ours = pairs(*rows)
    ours.loc[ours.index[-1], "learned"] = 2.0
    found = pair_differences(ours, pairs(*rows), "learned")
    shown = matrix_difference(found, names, "B", "A").spec["datasets"]["rows_0"]["row"]
    assert len(shown) <= 40
    assert {"f58", "f59"} <= set(shown)


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_logits_of_two_runs_are_drawn_with_the_line_of_equality(rows: int) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"row": range(rows), "label": 0, "b": rng.normal(size=rows), "a": rng.normal(size=rows)})
    alt.LayerChart.from_dict(logit_scatter(frame, "B", "A").to_dict())
