"""Distinct texts are encoded once for the parts of one table, and anew for another one's."""

from __future__ import annotations

import gc
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.encoding.categorical import CategoricalCode
from deepfm_core.encoding.encoder import Encoder, KnownCodes
from deepfm_core.encoding.vocabulary import Vocabulary
from deepfm_core.schema.column import Cells
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.tables.csv_parser import keys_of

SCHEMA = Schema(
    LabelRole("y", "1", "0"),
    (FieldRole("a", Kind.CATEGORICAL), FieldRole("b", Kind.PIECEWISE), FieldRole("c", Kind.MULTI_VALUED)),
)


def frame(shift: int = 0) -> pd.DataFrame:
    texts = [f"{(i + shift) % 7}" for i in range(40)]
    several = [f"x{i % 3}|x{(i + shift) % 5}" for i in range(40)]
    return pd.DataFrame({"a": pd.Categorical(texts), "b": pd.Categorical(texts), "c": pd.Categorical(several)})


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many distinct texts the categorical field encoded, each time."""
    seen: list[int] = []
    ids = Vocabulary.ids
    monkeypatch.setattr(
        Vocabulary, "ids", lambda self, texts, missing: seen.append(len(texts)) or ids(self, texts, missing)
    )
    return seen


def test_the_parts_of_one_table_are_encoded_as_if_each_were_alone(encoded: list[int]) -> None:
    table = frame()
    encoder = Encoder.fit(table, replace(SCHEMA, roles=SCHEMA.roles[:2]), rows=np.arange(20))
    parts = [encoder.encode(table, subject="t", rows=rows) for rows in (np.arange(20), np.arange(20, 40))]
    assert encoded == [7]
    alone = Encoder.from_dict(encoder.to_dict())
    for part, rows in zip(parts, (slice(0, 20), slice(20, 40)), strict=True):
        other = alone.encode(table.iloc[rows], subject="t")
        np.testing.assert_array_equal(part.ids, other.ids)
        np.testing.assert_array_equal(part.weights, other.weights)


def test_another_table_is_encoded_anew() -> None:
    encoder = Encoder.fit(frame(), SCHEMA)
    other = frame(3)
    expected = Encoder.from_dict(encoder.to_dict()).encode(other, subject="t")
    encoder.encode(frame(), subject="t")
    found = encoder.encode(other, subject="t")
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.weights, expected.weights)


def test_cells_that_are_null_are_not_taken_for_known_ones() -> None:
    column = pd.Categorical(["a", "b", None])
    assert Cells.of(pd.DataFrame({"a": column}), "a").source is None
    encoder = Encoder.fit(pd.DataFrame({"a": column[:2]}), replace(SCHEMA, roles=SCHEMA.roles[:1]))
    ids = encoder.encode(pd.DataFrame({"a": column}), subject="t").ids[:, 0]
    assert ids.tolist() == [3, 4, 0]


def test_codes_of_texts_that_are_gone_are_not_given() -> None:
    known, table = KnownCodes(), frame()
    cells = Cells.of(table, "a")
    field = CategoricalCode.fit(cells, 1)
    assert known.code(field, cells) is known.code(field, Cells.of(table.iloc[:3], "a"))
    assert known.code(field, cells) is not known.code(field, Cells.of(frame(), "a"))


@pytest.mark.slow
@given(
    st.dictionaries(
        st.one_of(st.from_regex(r"[0-9a-f]{8}", fullmatch=True), st.text("ab é", max_size=9)),
        st.integers(0, 3),
        max_size=30,
    ),
    st.integers(1, 3),
)
def test_a_vocabulary_of_distinct_texts_is_that_of_any(texts: dict[str, int], least: int) -> None:
    array, counts = pa.array(list(texts), pa.large_string()), np.array(list(texts.values()), np.int64)
    by_hand = sorted((text for text in texts if texts[text]), key=lambda text: (-texts[text], text.encode()))
    for distinct in (True, False):
        one = Vocabulary.of(array, counts, least, distinct=distinct)
        assert [*one.values, *one.rare] == by_hand
        assert len(one.values) == sum(count >= least for count in texts.values())


def test_keys_stand_in_the_order_of_their_texts() -> None:
    texts = pa.array(["00000001", "ffffffff", "0000000a", "été1234", "zzzzzzzz"], pa.large_string())
    keys = keys_of(texts)
    assert keys is None  # one has nine bytes
    some = texts.slice(1, 2)
    keys = keys_of(some)
    assert keys is not None
    assert (np.argsort(keys) == [1, 0]).all()
    assert keys_of(texts[:0]) is None


def test_a_copied_encoder_knows_nothing_and_encodes_alike() -> None:
    encoder = Encoder.fit(frame(), SCHEMA)
    copied = pickle.loads(pickle.dumps(encoder))
    assert not copied.known._known
    np.testing.assert_array_equal(copied.encode(frame(2), subject="t").ids, encoder.encode(frame(2), subject="t").ids)


def test_codes_of_a_table_that_is_gone_are_forgotten() -> None:
    table = frame()
    encoder = Encoder.fit(table, SCHEMA)
    assert encoder.known._known
    del table
    gc.collect()
    assert not encoder.known._known
