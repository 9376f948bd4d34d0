"""What names say: identifiers under bare nouns, typed headers, long digits, and row numbers left in a file."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from deepfm_core.schema.column import name_words, names_codes
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole
from deepfm_core.tables.dataframe import table_from_frame

N = 3000
rng = np.random.default_rng(11)
CLICK = (rng.random(N) < 0.3).astype(int)


def role_of(values: object, name: str = "column", *, first: bool = False, click: object = CLICK) -> FieldRole:
    columns = {"device": rng.choice(list("abc"), N), name: values} if not first else {name: values}
    frame = pd.DataFrame({**columns, "other": rng.choice(list("pq"), N), "click": click})
    return infer_schema(table_from_frame(frame), "click").role(name)


@pytest.mark.parametrize(
    "name",
    ["user", "item", "ip", "movie", "product", "advertiser", "creative", "keyword", "session", "userid", "MovieID",
     "Customer Number", "C14", "adId", "seller", "cid", "pid", "geo", "player", "listing"],
)  # fmt: skip
def test_numbers_of_things_are_codes_under_any_name(name: str) -> None:
    assert role_of(rng.integers(1, 400, N), name).kind is Kind.CATEGORICAL


@pytest.mark.parametrize(
    "name", ["user_age", "item_price", "sessions", "items", "product_weight", "num_users", "bid", "mid"]
)
def test_quantities_of_things_stay_numbers(name: str) -> None:
    assert role_of(rng.geometric(0.01, N), name).kind is Kind.PIECEWISE


def test_a_joined_name_is_split_only_where_it_begins_with_a_thing() -> None:
    assert name_words("userid") == ["user", "id"]
    assert [names_codes(name_words(name)) for name in ("paid", "bid", "grid", "humid")] == [False] * 4


def test_typed_headers_are_read_for_what_they_say() -> None:
    lists = [" ".join(rng.permutation(list("abcdef"))[:2]) for _ in range(N)]
    assert role_of(rng.integers(1, 400, N), "who:token").kind is Kind.CATEGORICAL
    assert role_of(rng.integers(1, 400, N), "which:TOKEN").kind is Kind.CATEGORICAL
    assert role_of(rng.integers(1, 9, N), "rank:token").kind is Kind.CATEGORICAL
    assert role_of(rng.integers(1, 400, N), "item:float").kind is Kind.PIECEWISE
    assert role_of(rng.integers(1, 9, N), "level:float").kind is Kind.PIECEWISE
    tags = role_of(lists, "tags:token_seq")
    assert (tags.kind, tags.separator) == (Kind.MULTI_VALUED, " ")
    assert role_of(["0.1 0.2"] * (N // 2) + ["0.3 0.4"] * (N // 2), "vec:float_seq").kind is Kind.IGNORE


def test_long_digits_are_judged_by_their_texts() -> None:
    ids = np.array([f"1234567890123456{i:03d}" for i in range(200)])
    role = role_of(rng.choice(ids, N), "whom")
    assert (role.kind, role.reason) == (Kind.CATEGORICAL, "200 distinct values")
    unique = role_of([f"1234567890123{i:06d}" for i in rng.permutation(N)], "whom")
    assert (unique.kind, unique.reason) == (Kind.IGNORE, "100% unique")


LOG = np.arange(40_000)
LEFT_OVER = {
    "sampled": rng.choice(LOG, N, replace=False),
    "sorted": np.sort(rng.choice(LOG, N, replace=False)),
    "bootstrapped": rng.choice(N, N),
    "joined": np.repeat(rng.permutation(LOG)[: N // 3], 3),
}


@pytest.mark.parametrize("name", ["Unnamed: 0", "column 1", "row_number", "__index_level_0__", "index", "rownum"])
@pytest.mark.parametrize("how", LEFT_OVER)
def test_row_numbers_left_over_are_left_out(how: str, name: str) -> None:
    role = role_of(LEFT_OVER[how], name)
    assert role.kind is Kind.IGNORE
    assert role.reason.startswith("row numbers, ")


def test_the_first_column_needs_no_name_of_row_numbers() -> None:
    assert role_of(LEFT_OVER["sampled"], "X", first=True).reason == "row numbers, 100% unique"
    assert role_of(LEFT_OVER["sampled"], "n", first=True).reason == "row numbers or identifiers, 100% unique"
    assert role_of(np.arange(N) * 7 + 90_000, "n", first=True).reason == "row numbers or identifiers, 100% unique"
    assert role_of(rng.lognormal(10, 1, N).round().astype(int), "n", first=True).kind is Kind.PIECEWISE
    assert role_of(rng.integers(0, 40_000, N), "price", first=True).kind is Kind.PIECEWISE
    assert role_of(rng.integers(1, 30, N), "index", first=True).kind is Kind.CATEGORICAL


def test_random_identifiers_are_not_called_row_numbers() -> None:
    ids = rng.choice(1_000_000, N, replace=False)
    for name, said in (("customer_id", "identifiers, 100% unique"), ("n", "row numbers or identifiers, 100% unique")):
        role = role_of(ids, name, first=True)
        assert (role.kind, role.reason) == (Kind.IGNORE, said)
    assert role_of(rng.permutation(N), "customer_id").reason == "identifiers, 100% unique"


@pytest.mark.parametrize("name", ["satisfaction", "Rating", "nps", "service_quality", "satisfaction_score"])
def test_a_score_from_1_to_5_is_a_number_whatever_its_shares(name: str) -> None:
    role = role_of(rng.integers(1, 6, N), name)
    assert role.kind is Kind.PIECEWISE
    assert (
        role_of(rng.integers(1, 6, N), "thing").reason == "5 distinct whole numbers in even shares, so taken for codes"
    )


def test_an_order_of_the_log_that_the_labels_follow_is_warned_of() -> None:
    places = np.sort(rng.choice(LOG, N, replace=False))
    click = (rng.random(N) < np.where((places > 25_000) & (places < 33_000), 0.7, 0.1)).astype(int)
    left_out = role_of(places, "Unnamed: 0", click=click)
    assert re.match("the labels follow the order of the log: row numbers alone reach AUC 0.[78]", left_out.warning)
    kept = role_of(places + 50_000, "counter", click=click)
    assert kept.kind is Kind.PIECEWISE
    assert re.search(r"its numbers rise with the rows, and the labels follow \(AUC 0\.[78]", kept.warning)


@pytest.mark.parametrize("name", ["Unnamed: 0_x", "index_y", "index.1", "row_id_left", "No.", "序号", "observation"])
def test_row_numbers_of_joined_and_other_tables_are_known_by_name(name: str) -> None:
    role = role_of(rng.choice(40_000, N, replace=False), name)
    assert (role.kind, role.reason) == (Kind.IGNORE, "row numbers, 100% unique")


def test_a_rate_per_thing_is_a_quantity() -> None:
    assert role_of(rng.geometric(0.05, N), "pages_per_session").kind is Kind.PIECEWISE
