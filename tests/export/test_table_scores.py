"""A new table scored: what `explain` gives, what is unseen, and what the labels say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.splits import load_parts, said_of_copies
from deepfm_core.errors import SchemaError
from deepfm_core.export.table_scores import score_table
from deepfm_core.metrics.scores import auc
from deepfm_core.runs.predictor import Trained
from tests.export.runs import rows, table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(run_of) -> Trained:
    return Trained.load(run_of("deepfm"))


def test_scores_are_those_of_explain_beside_the_cells(trained, tmp_path) -> None:
    frame = rows(60, seed=2).assign(probability="mine")
    data = table(frame, tmp_path / "new.csv")
    scores = score_table(trained, data).rows
    expected = trained.explain(data)
    for name in ("probability", "logit", "fm_logit", "dnn_logit"):
        np.testing.assert_array_equal(scores[name], expected[name])
    assert list(scores["probability (cell)"]) == ["mine"] * 60
    assert list(scores["device"]) == list(data.frame["device"])


def test_unseen_and_missing_values_are_counted(trained, tmp_path) -> None:
    frame = rows(100, seed=3)
    frame.loc[:24, "device"] = "new one"
    frame.loc[:9, "interests"] = "a|unheard"
    frame.loc[:39, "age"] = ""
    frame.loc[40:, "age"] = "30"
    scores = score_table(trained, table(frame, tmp_path / "new.csv"))
    fields = scores.fields.set_index("field")
    assert fields.loc["device", "unseen"] == pytest.approx(0.25)
    assert fields.loc["interests", "unseen"] == pytest.approx(0.10)
    assert fields["unseen"].isna()["price"]
    assert fields["outside"].isna()["device"]
    assert fields.loc["age", "missing"] == pytest.approx(0.40)
    assert scores.any_unseen == pytest.approx(0.25)
    assert scores.fields["field"].iloc[0] == "device"


def test_numbers_outside_the_training_range_are_counted(trained, tmp_path) -> None:
    frame = rows(100, seed=3)
    frame["price"] = "5.00"
    frame.loc[:29, "price"] = "1e9"
    fields = score_table(trained, table(frame, tmp_path / "new.csv")).fields
    assert fields["field"].iloc[0] == "price"
    assert fields["outside"].iloc[0] == pytest.approx(0.30)
    assert fields["unseen"].isna().iloc[0]


def test_labels_judge_the_scores_where_there_are_any(trained, tmp_path) -> None:
    frame = rows(200, seed=4)
    frame.loc[:49, "clicked"] = ""
    data = table(frame, tmp_path / "new.csv")
    scores = score_table(trained, data)
    labels = np.where(frame["clicked"][50:] == "yes", 1.0, 0.0)
    assert (scores.metrics.rows, scores.metrics.clicks) == (150, int(labels.sum()))
    assert scores.metrics.auc == auc(labels, scores.rows["logit"].to_numpy()[50:])
    bare = score_table(trained, table(frame.drop(columns="clicked"), tmp_path / "bare.csv"))
    assert (bare.metrics, bare.note) == (None, "")
    other = score_table(trained, table(frame.assign(clicked="maybe"), tmp_path / "other.csv"))
    assert other.metrics is None
    assert "not a label (found `maybe`)" in other.note


def test_a_table_without_the_fields_is_refused(trained, tmp_path) -> None:
    with pytest.raises(SchemaError, match="column is missing: `price`"):
        score_table(trained, table(rows(20).drop(columns="price"), tmp_path / "new.csv"))


def test_labelled_rows_that_the_run_was_trained_on_are_counted(trained, tmp_path) -> None:
    spec, own = trained.spec, table(rows(), tmp_path / "own.csv")
    fresh = table(rows(60, seed=2), tmp_path / "fresh.csv")
    assert said_of_copies(spec, lambda _: own, fresh) == ()
    train = load_parts(spec, lambda _: own).train.rows
    some = pd.concat([rows().iloc[train[:50]], rows(60, seed=2)])
    (said,) = said_of_copies(spec, lambda _: own, table(some, tmp_path / "some.csv"))
    assert said.startswith("50 of 110 rows are copies of rows trained on")
