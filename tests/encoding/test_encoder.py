"""The encoder: every kind of field, cells it has not seen, and that a saved one encodes the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfm_core.encoding.categorical import CategoricalCode
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.vocabulary import MOST_NAME, Vocabulary
from deepfm_core.errors import RunError, SchemaError
from deepfm_core.explain.example_rows import unfamiliar
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.knots import blend, bucket_names, piecewise_knots, quantile_knots
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema

LABEL = LabelRole("click", "1", "0")


def frame_of(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns).astype("str").astype("category")


def schema_of(**kinds: Kind) -> Schema:
    separators = {name: "|" if kind is Kind.MULTI_VALUED else None for name, kind in kinds.items()}
    return Schema(LABEL, tuple(FieldRole(name, kind, separators[name]) for name, kind in kinds.items()))


def as_json(encoder: Encoder) -> str:
    return json.dumps(encoder.to_dict(), default=lambda many: np.array(many).tolist())


def names_of(encoder: Encoder, frame: pd.DataFrame, field: int = 0) -> list[list[tuple[str, float]]]:
    """Return, for each row, the features of a field with x other than 0."""
    encoded = encoder.encode(frame, subject="Table")
    placed = encoder.layout.fields[field]
    slots = slice(placed.first_slot, placed.first_slot + placed.slots)
    weights = encoded.x(placed)
    weights = np.ones((len(encoded), placed.slots), np.float32) if weights is None else weights
    return [
        [(placed.features[i - placed.offset], round(float(x), 4)) for i, x in zip(ids, xs, strict=True) if x]
        for ids, xs in zip(encoded.ids[:, slots], weights, strict=True)
    ]


cells = st.sampled_from(["", "?", "a", "b", "c", "a|b", "b|a", "c|c|a", "1", "2.5", "-3", "NA"])
numbers = st.sampled_from(["", "?", "0", "0.0", "1", "2.5", "-3", "1e3", "1,000", "7", "8", "9"])
rows = st.lists(st.tuples(cells, cells, numbers, numbers, numbers, numbers), min_size=1, max_size=30)
KINDS = {
    "c": Kind.CATEGORICAL,
    "m": Kind.MULTI_VALUED,
    "n": Kind.NUMERIC,
    "p": Kind.PIECEWISE,
    "b": Kind.BUCKETISED,
    "d": Kind.DENSE,
}


def table_of(cells: list[tuple[str, ...]]) -> pd.DataFrame:
    columns = list(zip(*cells, strict=True))
    return frame_of(**{name: list(column) for name, column in zip(KINDS, columns, strict=True)})


def test_codes_in_digits_are_the_same_however_a_whole_number_is_written():
    schema = schema_of(c=Kind.CATEGORICAL)
    encoder = Encoder.fit(frame_of(c=["7", "7", "07", "12", "", "-1"]), schema, min_count=2)
    asked = frame_of(c=["7.0", "7.", "07.0", "12.00", "-1.0", "7.5", "007", "?"])
    found = [features[0][0] for features in names_of(encoder, asked)]
    assert found == ["7", "7", "rare", "rare", "rare", "unseen", "unseen", "missing"]


@pytest.mark.parametrize("written", [["7.0", "7.0", "12.0"], ["7", "7.0", "12"]])
def test_codes_learned_from_floats_are_whole_numbers(written):
    encoder = Encoder.fit(frame_of(c=written), schema_of(c=Kind.CATEGORICAL), min_count=2)
    assert list(encoder.layout.fields[0].features) == ["missing", "unseen", "rare", "7"]
    assert list(encoder.counts) == [0, 0, 1, 2]
    assert names_of(encoder, frame_of(c=["7", "12"])) == [[("7", 1.0)], [("rare", 1.0)]]


def test_codes_of_a_run_that_learned_them_as_floats_are_found_as_whole_numbers():
    encoder = Encoder.fit(frame_of(c=["a"]), schema_of(c=Kind.CATEGORICAL))
    older = replace(encoder, fields=(CategoricalCode("c", Vocabulary.holding(["7.0", "12.0"])),))
    assert names_of(older, frame_of(c=["7", "12.0", "13"])) == [[("7.0", 1.0)], [("12.0", 1.0)], [("unseen", 1.0)]]


def test_texts_that_are_not_all_whole_numbers_are_taken_as_they_stand():
    encoder = Encoder.fit(frame_of(c=["1.0", "1", "1.1"]), schema_of(c=Kind.CATEGORICAL))
    assert len(encoder.layout.fields[0].features) == 6
    assert names_of(encoder, frame_of(c=["1.00"])) == [[("unseen", 1.0)]]


def test_a_whole_number_written_otherwise_is_not_unfamiliar():
    encoder = Encoder.fit(frame_of(c=["7", "7", "12"]), schema_of(c=Kind.CATEGORICAL), min_count=2)
    found = unfamiliar(encoder, "c", ["7.0", "7", "12.0", "9", ""])
    assert [(value.value, value.feature) for value in found] == [("12.0", "rare"), ("9", "unseen")]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(train=rows, more=rows, min_count=st.integers(1, 3), knots=st.integers(1, 6))
def test_ids_lie_in_the_block_of_their_field(train, more, min_count, knots):
    encoder = Encoder.fit(table_of(train), schema_of(**KINDS), min_count=min_count, knots=knots, buckets=knots)
    encoded = encoder.encode(table_of(more), subject="Table")
    assert encoded.ids.shape == (len(more), encoder.layout.slots)
    assert encoded.weights is not None
    assert np.isfinite(encoded.weights).all()
    assert np.isfinite(encoded.dense).all()
    for field in encoder.layout.fields:
        block = encoded.ids[:, field.first_slot : field.first_slot + field.slots]
        assert (block >= field.offset).all()
        assert (block < field.offset + field.size).all()
        assert len(set(field.features)) == field.size == len(field.features)


@settings(max_examples=40, deadline=None)
@given(cells=rows, seed=st.integers(0, 99))
def test_permuted_rows_give_permuted_ids(cells, seed):
    frame = table_of(cells)
    encoder = Encoder.fit(frame, schema_of(**KINDS))
    order = np.random.default_rng(seed).permutation(len(cells))
    whole = encoder.encode(frame, subject="Table").take(order)
    permuted = encoder.encode(frame.iloc[order], subject="Table")
    np.testing.assert_array_equal(whole.ids, permuted.ids)
    np.testing.assert_array_equal(whole.weights, permuted.weights)
    np.testing.assert_array_equal(whole.dense, permuted.dense)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(cells=rows, seed=st.integers(0, 99))
def test_the_order_of_categories_does_not_matter(cells, seed):
    frame, rng = table_of(cells), np.random.default_rng(seed)
    other = frame.copy()
    for column in frame.columns:
        names = [*frame[column].cat.categories, "never seen", "7.75"]
        other[column] = frame[column].cat.set_categories(rng.permutation(names).tolist())
    encoders = [Encoder.fit(f, schema_of(**KINDS), knots=3, buckets=3, min_count=2) for f in (frame, other)]
    assert as_json(encoders[0]) == as_json(encoders[1])
    one, two = (encoder.encode(f, subject="T") for encoder, f in zip(encoders, (frame, other), strict=True))
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.weights, two.weights)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(cells=rows, more=rows)
def test_a_saved_encoder_encodes_the_same(tmp_path_factory, cells, more):
    encoder = Encoder.fit(table_of(cells), schema_of(**KINDS), min_count=2)
    path: Path = tmp_path_factory.mktemp("encoder") / "encoder.json"
    encoder.save(path)
    loaded = Encoder.load(path)
    assert loaded.layout == encoder.layout
    assert as_json(loaded) == as_json(encoder)
    one, two = (e.encode(table_of(more), subject="T") for e in (encoder, loaded))
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_array_equal(one.dense, two.dense)
    assert sorted(p.name for p in path.parent.iterdir()) == ["encoder.arrow", "encoder.json"]


@pytest.mark.parametrize("left", [["encoder.json"], ["encoder.arrow"]])
@pytest.mark.parametrize("fewer", [False, True])
def test_json_and_arrow_of_two_encoders_are_not_taken_for_one(tmp_path, left, fewer):
    path = tmp_path / "encoder.json"
    table = frame_of(a=list("xyzx"), b=list("uvuv"), click=list("0101"))
    roles = [FieldRole("a", Kind.CATEGORICAL), FieldRole("b", Kind.IGNORE if fewer else Kind.CATEGORICAL)]
    Encoder.fit(table, Schema(LABEL, tuple(roles))).save(path)
    old = {name: (tmp_path / name).read_bytes() for name in left}
    roles[1] = FieldRole("b", Kind.CATEGORICAL)
    Encoder.fit(table, Schema(LABEL, tuple(roles)), rows=np.arange(2)).save(path)
    Encoder.load(path)
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=r"encoder.arrow is not the file that encoder.json was written with"):
        Encoder.load(path)


@settings(max_examples=20, deadline=None)
@given(cells=rows)
def test_an_encoder_saved_as_json_alone_is_still_read(tmp_path_factory, cells):
    encoder = Encoder.fit(table_of(cells), schema_of(**KINDS), min_count=2)
    path: Path = tmp_path_factory.mktemp("encoder") / "encoder.json"
    path.write_text(as_json(encoder), encoding="utf-8")
    assert as_json(Encoder.load(path)) == as_json(encoder)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
    knots=st.lists(st.integers(-1000, 1000), min_size=1, max_size=9, unique=True),
)
def test_the_piecewise_blend_is_linear_interpolation(values, knots):
    places, heights = np.sort(np.array(knots, dtype=float)), np.sin(np.arange(len(knots)))
    left, t = blend(np.array(values), places)
    right = np.minimum(left + 1, len(knots) - 1)
    blended = (1 - t) * heights[left] + t * heights[right]
    np.testing.assert_allclose(blended, np.interp(values, places, heights), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 200)), min_size=1, max_size=60), st.integers(1, 12))
def test_knots_ascend_and_stand_on_training_values(pairs, knots):
    values, counts = (np.array(column) for column in zip(*pairs, strict=True))
    placed = quantile_knots(values.astype(float), counts, knots)
    assert 1 <= len(placed) <= max(knots, 1)
    assert (np.diff(placed) > 0).all()
    assert set(placed) <= set(values.astype(float))


def test_a_spike_becomes_one_knot_and_leaves_the_others_to_the_rest():
    values = np.concatenate([[0.0], np.arange(1.0, 1001.0)])
    counts = np.concatenate([[8000], np.ones(1000, dtype=int)])
    knots = quantile_knots(values, counts, 16)
    assert len(knots) == 16
    assert knots[0] == 0.0
    assert 20 < knots[1] < 60
    assert 940 < knots[-1] < 1000


def test_features_come_as_missing_unseen_rare_then_by_count_then_by_text():
    train = frame_of(ad=["b", "b", "c", "a", "", "d"])
    encoder = Encoder.fit(train, schema_of(ad=Kind.CATEGORICAL))
    assert encoder.layout.fields[0].features == ("missing", "unseen", "rare", "b", "a", "c", "d")
    assert encoder.counts.tolist() == [1, 0, 0, 2, 1, 1, 1]
    assert encoder.encode(train, subject="T").weights is None


def test_missing_unseen_and_rare_are_features_of_their_own():
    encoder = Encoder.fit(frame_of(ad=["b", "b", "c"]), schema_of(ad=Kind.CATEGORICAL), min_count=2)
    seen = names_of(encoder, frame_of(ad=["b", "c", "new", "?", ""]))
    assert [row[0][0] for row in seen] == ["b", "rare", "unseen", "missing", "missing"]


def test_a_value_named_like_a_special_feature_keeps_a_name_of_its_own():
    encoder = Encoder.fit(frame_of(ad=["rare", "unseen", "x"]), schema_of(ad=Kind.CATEGORICAL))
    assert encoder.layout.fields[0].features == ("missing", "unseen", "rare", '"rare"', '"unseen"', "x")
    assert names_of(encoder, frame_of(ad=["rare", "new"])) == [[('"rare"', 1.0)], [("unseen", 1.0)]]


def test_a_long_value_has_a_short_name_of_its_own_and_is_found_whole():
    long = ["x" * 100_000 + end for end in "ab"]
    frame = frame_of(site=[*long, "short", long[0]])
    encoder = Encoder.fit(frame, schema_of(site=Kind.CATEGORICAL), min_count=1)
    names = list(encoder.layout.fields[0].features)
    assert [len(name) for name in names[3:]] == [MOST_NAME, 5, MOST_NAME]
    assert len(set(names)) == len(names)
    ids = encoder.encode(frame, subject="Table").ids[:, 0].tolist()
    assert ids == [3, ids[1], ids[2], 3]
    assert len(set(ids)) == 3
    again = Encoder.from_dict(json.loads(as_json(encoder)))
    assert list(again.layout.fields[0].features) == names
    assert unfamiliar(encoder, "site", [long[0] + "c"])[0].nearest is None


def test_only_the_given_rows_are_looked_at():
    frame = frame_of(ad=["a", "b", "c"], price=["1", "2", "3"])
    schema = schema_of(ad=Kind.CATEGORICAL, price=Kind.PIECEWISE)
    encoder = Encoder.fit(frame, schema, rows=np.array([0, 1]))
    assert encoder.rows == 2
    assert "c" not in encoder.layout.fields[0].features
    assert encoder.layout.fields[1].features == ("missing", "price = 1", "price = 2")


def test_values_of_a_cell_are_a_set_whatever_their_order():
    encoder = Encoder.fit(frame_of(tags=["x|y", "x", "z|x|y", ""]), schema_of(tags=Kind.MULTI_VALUED))
    assert encoder.layout.fields[0].slots == 3
    one, two, new, none = names_of(encoder, frame_of(tags=["y|x|x", "x| y", "x|new", " "]))
    assert one == two == [("x", 1.0), ("y", 1.0)]
    assert new == [("x", 1.0), ("unseen", 1.0)]
    assert none == [("missing", 1.0)]


def test_averaged_values_of_a_cell_sum_to_one():
    encoder = Encoder.fit(frame_of(tags=["x|y", "x", ""]), schema_of(tags=Kind.MULTI_VALUED), average=True)
    encoded = encoder.encode(frame_of(tags=["x|y", "x", "", "n|x"]), subject="T")
    np.testing.assert_allclose(encoded.weights.sum(axis=1), 1.0)


def test_a_cell_with_more_values_than_slots_keeps_the_most_frequent():
    encoder = Encoder.fit(frame_of(tags=["x|y", "x|z", "x|y"]), schema_of(tags=Kind.MULTI_VALUED))
    assert names_of(encoder, frame_of(tags=["new|z|y|x"])) == [[("x", 1.0), ("y", 1.0)]]


def test_a_numeric_field_has_its_scaled_value_as_x():
    train = frame_of(price=["1", "2", "3", "?"])
    encoder = Encoder.fit(train, schema_of(price=Kind.NUMERIC))
    encoded = encoder.encode(train, subject="T")
    assert encoder.layout.fields[0].features == ("value", "missing")
    np.testing.assert_allclose(encoded.weights[:3, 0], [-1.2247, 0, 1.2247], atol=1e-4)
    assert encoded.ids[:, 0].tolist() == [0, 0, 0, 1]
    assert encoded.weights[3, 0] == 1.0


def test_a_piecewise_value_lies_between_its_two_knots():
    encoder = Encoder.fit(frame_of(price=["0", "10", "20", ""]), schema_of(price=Kind.PIECEWISE))
    seen = names_of(encoder, frame_of(price=["4", "10", "99", "-7", ""]))
    assert seen == [
        [("price = 0", 0.6), ("price = 10", 0.4)],
        [("price = 10", 1.0)],
        [("price = 20", 1.0)],
        [("price = 0", 1.0)],
        [("missing", 1.0)],
    ]
    np.testing.assert_allclose(encoder.mass, [1, 1, 1, 1])


def test_buckets_are_named_by_their_range():
    assert bucket_names([0, 3, 7]) == ("< 3", "[3, 7)", "≥ 7")
    values = [str(i) for i in range(100)]
    encoder = Encoder.fit(frame_of(age=values), schema_of(age=Kind.BUCKETISED), buckets=4)
    assert encoder.layout.fields[0].features == ("missing", "< 25", "[25, 50)", "[50, 75)", "≥ 75")
    seen = names_of(encoder, frame_of(age=["-5", "24", "25", "1000", ""]))
    assert [row[0][0] for row in seen] == ["< 25", "< 25", "[25, 50)", "≥ 75", "missing"]


def test_a_point_in_time_becomes_hour_and_weekday():
    times = ["2019-11-24 00:03:13.442536+00:00", "2019-11-25T13:59:00+00:00", ""]
    encoder = Encoder.fit(frame_of(seen=times), schema_of(seen=Kind.TIMESTAMP))
    assert encoder.layout.names == ("seen hour", "seen weekday")
    assert [row[0][0] for row in names_of(encoder, frame_of(seen=times), 0)] == ["00:00", "13:00", "missing"]
    assert [row[0][0] for row in names_of(encoder, frame_of(seen=times), 1)] == ["Sunday", "Monday", "missing"]


def test_dates_without_a_time_of_day_give_the_weekday_only():
    encoder = Encoder.fit(frame_of(day=["2019-11-24", "2019-11-25"]), schema_of(day=Kind.TIMESTAMP))
    assert encoder.layout.names == ("day weekday",)
    with pytest.raises(SchemaError, match=r"column `day`: row 1 is not a point in time \(found `soon`\)"):
        encoder.encode(frame_of(day=["2019-11-26", "soon"]), subject="T")


def test_a_dense_field_flags_missing_values_where_training_had_some():
    kinds = schema_of(age=Kind.DENSE, ad=Kind.CATEGORICAL)
    encoder = Encoder.fit(frame_of(age=["1", "3", ""], ad=["a", "b", "c"]), kinds)
    assert encoder.layout.dense == ("age", "age missing")
    encoded = encoder.encode(frame_of(age=["1", "3", "?"], ad=["a", "b", "c"]), subject="T")
    assert encoded.dense.tolist() == [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    assert encoded.ids.shape == (3, 1)


def test_every_cell_that_is_no_number_is_named_at_once():
    frame = frame_of(price=["1", "12,50", "inf", "12,50"], age=["x", "1e999", "3", "4"], size=["1,234.5", "2", "", "?"])
    kinds = {"price": Kind.PIECEWISE, "age": Kind.NUMERIC, "size": Kind.DENSE}
    with pytest.raises(SchemaError) as caught:
        Encoder.fit(frame, schema_of(**kinds))
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    assert "column `price`: row 1 and 1 more is not a number (found `12,50`). Use a decimal point" in text
    assert "column `price`: row 2 is infinite (found `inf`)" in text
    assert "column `age`: row 1 is infinite (found `1e999`)" in text
    encoder = Encoder.fit(frame_of(price=["1", "2"], age=["1", "2"], size=["1", "2"]), schema_of(**kinds))
    with pytest.raises(SchemaError, match="row 2 is infinite"):
        encoder.encode(frame, subject="T")


def test_missing_columns_are_all_named_and_further_columns_do_not_matter():
    frame = frame_of(a=["x"], b=["y"], c=["z"])
    encoder = Encoder.fit(frame, schema_of(a=Kind.CATEGORICAL, b=Kind.CATEGORICAL))
    with pytest.raises(SchemaError, match=r"new\.csv: 2 columns are missing: `a`, `b`"):
        encoder.encode(frame_of(c=["z"]), subject="new.csv")
    assert encoder.encode(frame_of(d=["q"], b=["y"], a=["x"]), subject="T").ids.tolist() == [[3, 7]]


def test_labels_come_with_the_rows():
    train = frame_of(ad=["a", "b"], click=["1", "0"])
    encoder = Encoder.fit(train, schema_of(ad=Kind.CATEGORICAL))
    assert encoder.encode_with_labels(train, subject="T").labels.tolist() == [1.0, 0.0]
    assert encoder.encode(train, subject="T").labels is None


def test_a_schema_without_fields_is_refused():
    with pytest.raises(SchemaError, match="no field to learn from"):
        Encoder.fit(frame_of(ad=["a"]), schema_of(ad=Kind.IGNORE))


def test_a_null_cell_counts_as_missing():
    frame = pd.DataFrame({"ad": pd.Categorical(["a", None, "b"])})
    encoder = Encoder.fit(frame, schema_of(ad=Kind.CATEGORICAL))
    assert [row[0][0] for row in names_of(encoder, frame)] == ["a", "missing", "b"]


def test_a_column_of_few_isolated_values_has_a_knot_at_each():
    amounts = np.array([0, 114, 594, 1055, 2174, 3103, 4386, 5178, 7298, 7688, 15024, 99999], dtype=float)
    rows = np.array([9000, 5, 9, 7, 40, 90, 60, 90, 240, 280, 340, 150])
    assert piecewise_knots(amounts, rows, 8).tolist() == amounts.tolist()
    ages = np.arange(17.0, 91.0)
    assert len(piecewise_knots(ages, np.full(74, 200), 8)) == 8


def test_problems_name_the_row_of_the_table_whatever_part_it_is_in():
    frame = frame_of(price=["1", "2", "oops", "4"], day=["2024-01-01", "2024-01-02", "2024-01-03", "soon"])
    with pytest.raises(SchemaError, match=r"column `price`: row 2 is not a number"):
        Encoder.fit(frame, schema_of(price=Kind.PIECEWISE), rows=np.array([0, 1]))
    encoder = Encoder.fit(frame, schema_of(day=Kind.TIMESTAMP), rows=np.array([0, 1]))
    with pytest.raises(SchemaError, match=r"column `day`: row 3 is not a point in time"):
        encoder.encode(frame, rows=np.array([2, 3]), subject="T")


@settings(max_examples=20, deadline=None)
@given(cells=rows, seed=st.integers(0, 99))
def test_rows_of_a_frame_are_encoded_like_a_frame_of_those_rows(cells, seed):
    frame = table_of(cells)
    encoder = Encoder.fit(frame, schema_of(**KINDS))
    chosen = np.random.default_rng(seed).integers(0, len(cells), 5)
    one, two = encoder.encode(frame, rows=chosen, subject="T"), encoder.encode(frame.iloc[chosen], subject="T")
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_array_equal(one.dense, two.dense)
