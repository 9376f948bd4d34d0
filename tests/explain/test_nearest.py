"""How alike two rows are."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.explain.example_rows import by_weight, derived_values, differing, distances, unfamiliar
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.number_parsing import Notation
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema


def schema(*roles: FieldRole) -> Schema:
    return Schema(LabelRole("clicked", "1", "0"), roles)


MIXED = schema(
    FieldRole("device", Kind.CATEGORICAL),
    FieldRole("interests", Kind.MULTI_VALUED, "|"),
    FieldRole("price", Kind.NUMERIC),
    FieldRole("id", Kind.IGNORE),
)


def cells() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "device": ["phone", "phone", "tablet", "phone"],
            "interests": ["a|b", "a|b", "c", "b"],
            "price": ["0", "50", "100", ""],
            "id": ["1", "2", "3", "4"],
        }
    )


def test_the_distance_of_rows_is_the_mean_over_the_used_fields() -> None:
    apart = distances(cells(), 0, MIXED)
    spread = 0.98 * 50 + 0.02 * 0 + (0.98 * 50 - 0.02 * 0)  # between the 1% and the 99% quantile of 0, 50, 100
    assert apart[0] == 0
    assert apart[1] == pytest.approx((50 / spread) / 3)
    assert apart[2] == pytest.approx((1 + 1 + 1) / 3)
    assert apart[3] == pytest.approx((0 + 0.5 + 1) / 3)


def test_rows_differ_in_the_fields_that_count() -> None:
    assert differing(cells(), 0, 1, MIXED) == ["price"]


def test_words_for_no_value_in_a_column_of_numbers_are_missing() -> None:
    price = schema(FieldRole("price", Kind.NUMERIC, notation=Notation(unit="$", blanks=("tbd",), holes=(-999.0,))))
    frame = pd.DataFrame({"price": ["TBD", "$1.50", "", "-999"]})
    assert distances(frame, 0, price).tolist() == [0, 1, 0, 0]


@given(st.integers(0, 3), st.integers(0, 3))
def test_a_distance_is_between_0_and_1_and_the_same_from_both_ends(one: int, other: int) -> None:
    there, back = distances(cells(), one, MIXED)[other], distances(cells(), other, MIXED)[one]
    assert 0 <= there <= 1
    assert there == pytest.approx(back)


def test_fields_made_from_a_timestamp_have_the_values_of_a_row() -> None:
    table = pd.DataFrame({"at": ["2024-05-06 13:05", "2024-05-07 09:30"] * 4, "clicked": ["1", "0"] * 4})
    roles = Schema(LabelRole("clicked", "1", "0"), (FieldRole("at", Kind.TIMESTAMP),))
    encoder = Encoder.fit(table.astype("category"), roles)
    assert derived_values(encoder, {"at": "2024-05-06 13:05"}) == {"at hour": "13:00", "at weekday": "Monday"}
    assert derived_values(encoder, {"at": ""})["at hour"] == "missing"


def test_columns_that_move_the_logit_most_come_first_and_a_pair_counts_for_both_of_its_fields() -> None:
    terms = pd.DataFrame(
        {
            "field_a": pd.Categorical([None, "device", "price", "price", "seen hour"]),
            "field_b": pd.Categorical([None, None, None, "site", None]),
            "value": [-9.0, 0.5, 0.25, -1.0, -0.75],
        }
    )
    columns = ["age", "device", "seen", "site", "price"]
    assert by_weight(columns, terms) == ["price", "site", "seen", "device", "age"]
    assert by_weight([], terms) == []


def test_a_long_unseen_value_is_compared_with_few_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    monkeypatch.setattr(
        "deepfm_core.explain.example_rows.get_close_matches", lambda _, known, **__: compared.append(len(known)) or []
    )
    site = pd.DataFrame({"site": [f"{number:05d}" for number in range(3_000)]}).astype("category")
    encoder = Encoder.fit(site, Schema(LabelRole("clicked", "1", "0"), (FieldRole("site", Kind.CATEGORICAL),)))
    found = unfamiliar(encoder, "site", ["x" * letters for letters in (5, 64, 1_000, 100_000)])
    assert [one.nearest for one in found] == [None] * 4
    assert compared == [3_000, 488, 2, 0]
