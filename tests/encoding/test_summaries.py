"""Summaries of columns: parts make the same whole in any order, and what is lost beyond a limit has a bound."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.summaries import ColumnSummary, NumberCounts, TextCounts
from deepfm_core.errors import SchemaError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.knots import piecewise_knots
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.schema.timestamps import form_of

ROOMY = 1_000
texts = st.lists(st.sampled_from("abcdefghijklmnop"), max_size=40)
numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(0, 20), max_size=60)


def of_texts(values: Sequence[str], limit: int) -> TextCounts:
    counts = Counter(values)
    return TextCounts.of(
        pa.array(list(counts), pa.large_string()), np.array(list(counts.values()), dtype=np.int64), limit
    )


def of_numbers(values: Sequence[float], limit: int) -> NumberCounts:
    array = np.array(values, dtype=np.float64)
    return NumberCounts.of(array, np.ones(len(array), dtype=np.int64), limit)


def as_counts(summary: TextCounts) -> dict[str, int]:
    return dict(zip(summary.texts.to_pylist(), summary.counts.tolist(), strict=True))


def same(one: NumberCounts, other: NumberCounts) -> bool:
    arrays = np.array_equal(one.values, other.values) and np.array_equal(one.counts, other.counts)
    ends = np.array_equal([one.low, one.high], [other.low, other.high], equal_nan=True)
    return arrays and ends and (one.lost, one.missing) == (other.lost, other.missing)


@given(texts, texts, texts)
def test_texts_are_counted_exactly_in_any_order_up_to_the_limit(a, b, c):
    one, two, three = (of_texts(part, ROOMY) for part in (a, b, c))
    whole = as_counts(of_texts(a + b + c, ROOMY))
    assert as_counts(one.plus(two).plus(three)) == as_counts(one.plus(two.plus(three))) == whole
    assert as_counts(three.plus(one, two)) == whole == dict(Counter(a + b + c))


@given(st.lists(texts, min_size=1, max_size=6), st.integers(1, 6))
def test_beyond_the_limit_a_count_is_too_small_by_no_more_than_is_said(parts, limit):
    summaries = [of_texts(part, limit) for part in parts]
    whole, rows = Counter(text for part in parts for text in part), sum(map(len, parts))
    backwards = summaries[-1]
    for one in summaries[-2::-1]:
        backwards = one.plus(backwards)
    for summary in (summaries[0].plus(*summaries[1:]), backwards):
        kept = as_counts(summary)
        assert len(kept) <= limit
        assert summary.error * (limit + 1) <= rows
        assert all(whole[text] - summary.error <= kept.get(text, 0) <= whole[text] for text in whole)


@given(numbers, numbers, numbers, st.integers(1, 30))
def test_numbers_are_summed_up_alike_in_any_order_also_beyond_the_limit(a, b, c, limit):
    one, two, three = (of_numbers(part, limit) for part in (a, b, c))
    whole = of_numbers(a + b + c, limit)
    assert same(one.plus(two).plus(three), whole)
    assert same(one.plus(two.plus(three)), whole)
    assert same(three.plus(two, one), whole)
    assert whole.counts.sum() == len(a + b + c)


@given(numbers.filter(len), st.integers(8, 30))
def test_a_number_is_moved_by_no_more_than_is_said(values, limit):
    summary = of_numbers(values, limit)
    placed = np.repeat(summary.values, summary.counts)
    moved = np.abs(np.sort(np.array(values, dtype=np.float64)) - np.sort(placed))
    assert (moved <= np.abs(np.sort(np.array(values, dtype=np.float64))) * 2.0 ** (summary.lost - 52)).all()
    assert (summary.held[0], summary.held[-1]) in ((min(values), max(values)), (max(values), max(values)))


def test_quantiles_of_a_million_distinct_numbers_are_within_what_was_lost():
    values = np.random.default_rng(0).lognormal(size=1_000_000)
    summary = NumberCounts(1 << 16)
    for part in np.split(values, 20):
        summary = summary.plus(NumberCounts.of(part, np.ones(len(part), dtype=np.int64), 1 << 16))
    assert len(summary.values) <= 1 << 16
    error = 2.0 ** (summary.lost - 52)
    assert error < 1e-3
    exact = piecewise_knots(values, np.ones(len(values), dtype=np.int64), 32)
    np.testing.assert_allclose(piecewise_knots(summary.held, summary.counts, 32), exact, rtol=error)


cells = st.sampled_from(["", "?", "a", "b", " b", "c", "a|b", "b|a", "c|c|a", "1", "1.0", "NA"])
some_numbers = st.sampled_from(["", "?", "0", "0.0", "1", "2.5", "-3", "1e3", "1,000", "7", "8", "9"])
times = st.sampled_from(["", "2024-01-01 00:10", "2024-01-01 13:00", "2024-01-02 13:30", "2024-05-05 23:59"])
rows = st.lists(
    st.tuples(cells, cells, some_numbers, some_numbers, some_numbers, some_numbers, times), min_size=1, max_size=40
)
KINDS = {
    "c": Kind.CATEGORICAL,
    "m": Kind.MULTI_VALUED,
    "n": Kind.NUMERIC,
    "p": Kind.PIECEWISE,
    "b": Kind.BUCKETISED,
    "d": Kind.DENSE,
    "t": Kind.TIMESTAMP,
}
FORM = str((form_of(pa.array(["2024-01-01 00:10", "2024-01-02 13:30"], pa.large_string()), "t") or ("",))[0])
SCHEMA = Schema(
    LabelRole("click", "1", "0"),
    tuple(
        FieldRole(name, kind, "|" if kind.is_several else None, form=FORM if kind.is_time else "")
        for name, kind in KINDS.items()
    ),
)


def frame_of(lines: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    columns = dict(zip(KINDS, map(list, zip(*lines, strict=True)), strict=True))
    return pd.DataFrame(columns).astype("str").astype("category")


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(rows, st.integers(1, 5), st.integers(1, 3))
def test_an_encoder_of_summaries_is_the_encoder_of_the_table(lines, parts, min_count):
    whole = Encoder.fit(frame_of(lines), SCHEMA, min_count=min_count)
    summaries = {role.column: ColumnSummary(role, ROOMY, "Table") for role in SCHEMA.used}
    for start in range(0, len(lines), -(-len(lines) // parts)):
        part = frame_of(lines[start : start + -(-len(lines) // parts)])
        for column, summary in summaries.items():
            summary.add(Cells.of(part, column))
    found = Encoder.of_summaries(SCHEMA, summaries, len(lines), min_count=min_count, subject="Table")
    assert as_json(found.counted(whole.counts, whole.mass)) == as_json(whole)


def as_json(encoder: Encoder) -> str:
    return json.dumps(encoder.to_dict(), default=lambda many: np.array(many).tolist())


def test_times_of_no_form_are_refused_with_a_remedy():
    summary = ColumnSummary(FieldRole("t", Kind.TIMESTAMP), ROOMY, "Table `log`")
    with pytest.raises(SchemaError, match=r"Table `log`: column `t`: the cells are not points in time.*ignore"):
        summary.add(Cells.of(frame_of([("", "", "", "", "", "", "soon"), ("", "", "", "", "", "", "later")]), "t"))


def test_a_field_beyond_the_limit_is_named_with_the_remedy():
    summary = ColumnSummary(FieldRole("c", Kind.CATEGORICAL), 3, "Table")
    for text in "aabbcdefg":
        summary.add(Cells.of(pd.DataFrame({"c": pd.Categorical([text])}), "c"))
    assert "Field `c` has more than 3 values" in summary.note
    assert "`--memory`" in summary.note


def test_kinds_are_those_that_encoders_know():
    assert {kind for kind in Kind if kind.is_used} == set(KINDS.values())
