"""Splits: every row in one part, the same again from the seed, time and groups kept together."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfm_core.encoding.splits import part_notes_of, split_rows
from deepfm_core.errors import SchemaError
from deepfm_core.metrics.scores import auc
from deepfm_core.spec.run import SplitSpec


def labels_with(positive: int, negative: int) -> np.ndarray:
    labels = np.zeros(positive + negative, dtype=np.float32)
    labels[:: max((positive + negative) // max(positive, 1), 1)][:positive] = 1
    return labels


def column(values: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"key": values}).astype("str").astype("category")


@settings(max_examples=60, deadline=None)
@given(
    by=st.sampled_from(["random", "time", "group"]),
    keys=st.lists(st.integers(0, 30), min_size=40, max_size=120),
    seed=st.integers(0, 1000),
    valid=st.sampled_from([0.0, 0.1, 0.2]),
    test=st.sampled_from([0.0, 0.1, 0.2]),
)
def test_parts_are_disjoint_ascending_and_cover_all_rows(by, keys, seed, valid, test):
    labels = (np.arange(len(keys)) % 2).astype(np.float32)
    spec = SplitSpec(by, None if by == "random" else "key", valid, test)
    try:
        parts = split_rows(labels, spec, column([str(key) for key in keys]), seed)
    except SchemaError:
        return
    rows = np.concatenate([parts.train, parts.valid, parts.test])
    assert sorted(rows.tolist()) == list(range(len(keys)))
    for part in (parts.train, parts.valid, parts.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    if by != "random":
        owners = [{keys[row] for row in part} for part in (parts.train, parts.valid, parts.test)]
        assert not owners[0] & owners[1]
        assert not (owners[0] | owners[1]) & owners[2]
    if by == "time" and len(parts.test) and len(parts.valid):
        assert max(owners[0]) < min(owners[1])
        assert max(owners[1]) < min(owners[2])


def test_the_same_seed_gives_the_same_parts_and_another_seed_others():
    labels = labels_with(100, 900)
    one, two, other = (split_rows(labels, SplitSpec(), column(["x"] * 1000), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.test, two.test)
    assert one.test.tolist() != other.test.tolist()


def test_a_random_split_keeps_the_share_of_positive_rows():
    labels = labels_with(460, 9540)
    parts = split_rows(labels, SplitSpec(), column(["x"] * 10_000), 0)
    assert [int(labels[part].sum()) for part in (parts.train, parts.valid, parts.test)] == [368, 46, 46]
    assert [len(part) for part in (parts.train, parts.valid, parts.test)] == [8000, 1000, 1000]
    assert parts.notes == ()


def test_the_latest_rows_are_the_test_part():
    times = [f"2024-01-{day:02d}" for day in range(1, 31)]
    order = np.random.default_rng(0).permutation(30)
    labels = (np.arange(30) % 2).astype(np.float32)
    parts = split_rows(labels, SplitSpec("time", "key", 0.1, 0.2), column([times[i] for i in order]), 0)
    assert sorted(order[parts.test]) == list(range(24, 30))
    assert sorted(order[parts.valid]) == list(range(21, 24))


def test_rows_of_one_time_stay_together():
    labels = (np.arange(100) % 2).astype(np.float32)
    parts = split_rows(labels, SplitSpec("time", "key"), column([str(i // 25) for i in range(100)]), 0)
    assert parts.test.tolist() == [] or len(parts.test) == 25
    assert len(parts.valid) == 25
    assert any("part" in note for note in parts.notes)


def test_rows_without_a_time_are_for_training_and_are_told():
    values = [str(i) for i in range(40)] + ["", "?"]
    parts = split_rows((np.arange(42) % 2).astype(np.float32), SplitSpec("time", "key"), column(values), 0)
    assert {40, 41} <= set(parts.train.tolist())
    assert parts.notes[0] == "2 rows without a time are in the training part."


def test_a_column_without_times_is_refused():
    with pytest.raises(SchemaError, match=r"row 1 is not a time \(found `soon`\)"):
        split_rows(np.array([0, 1, 0], dtype=np.float32), SplitSpec("time", "key"), column(["1", "soon", "3"]), 0)


def test_groups_do_not_depend_on_the_order_of_categories():
    frame = column([f"user {i % 37}" for i in range(400)])
    other = frame.assign(key=frame["key"].cat.reorder_categories(frame["key"].cat.categories[::-1]))
    labels = labels_with(80, 320)
    one, two = (split_rows(labels, SplitSpec("group", "key"), f, 5) for f in (frame, other))
    np.testing.assert_array_equal(one.valid, two.valid)
    assert 20 <= len(one.valid) <= 60


def test_rows_without_a_group_are_groups_of_their_own():
    parts = split_rows(labels_with(100, 300), SplitSpec("group", "key"), column([""] * 400), 0)
    assert 35 <= len(parts.test) <= 45


def test_a_part_with_one_class_gets_a_sentence():
    labels = np.zeros(40, dtype=np.float32)
    labels[:10] = 1
    parts = split_rows(labels, SplitSpec("time", "key"), column([str(i) for i in range(40)]), 0)
    assert "All 4 rows of the validation part are negative: AUC cannot be computed there." in parts.notes


def test_a_training_part_with_one_class_is_refused():
    labels = np.zeros(40, dtype=np.float32)
    labels[-4:] = 1
    with pytest.raises(SchemaError, match="all 32 rows of the training part are negative"):
        split_rows(labels, SplitSpec("time", "key"), column([str(i) for i in range(40)]), 0)


def test_a_validation_part_without_rows_is_refused_unless_none_was_asked_for():
    labels = np.array([0, 1, 0, 1], dtype=np.float32)
    with pytest.raises(SchemaError, match="the validation part has no rows"):
        split_rows(labels, SplitSpec(), column(["x"] * 4), 0)
    parts = split_rows(labels, SplitSpec(valid=0.0, test=0.0), column(["x"] * 4), 0)
    assert len(parts.train) == 4


def test_a_missing_split_column_is_named():
    with pytest.raises(SchemaError, match=r"Split by time of `day`: there is no such column\. Columns are `key`"):
        split_rows(np.array([0, 1], dtype=np.float32), SplitSpec("time", "day"), column(["1", "2"]), 0)


def test_a_part_whose_auc_guessing_reaches_by_luck_is_said_to_be_too_small():
    parts = split_rows(labels_with(4, 4), SplitSpec(), column(["x"] * 8), seed=0)
    assert [len(rows) for rows in (parts.train, parts.valid, parts.test)] == [4, 2, 2]
    assert any(note.startswith("The test part has only 2 rows, 1 of them positive") for note in parts.notes)
    assert sum("next to nothing" in note for note in parts.notes) == 2
    assert part_notes_of("test", labels_with(50, 450)) == []


@pytest.mark.parametrize(("positive", "negative"), [(14, 400), (8, 60), (28, 28)])
def test_the_luck_of_guessing_is_that_of_drawn_scores(positive, negative):
    labels, rng = labels_with(positive, negative), np.random.default_rng(0)
    aucs = [auc(labels, rng.random(len(labels))) for _ in range(2000)]
    (note,) = part_notes_of("test", labels)
    assert float(re.search(r"AUC of ([0-9.]+)", note)[1]) == pytest.approx(np.quantile(aucs, 0.975), abs=0.02)
