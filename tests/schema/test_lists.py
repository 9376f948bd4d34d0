"""Cells of several values: which separator stands between them, found by a shared vocabulary or named by the user."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import SchemaError
from deepfm_core.schema.column import MARKS
from deepfm_core.schema.infer import infer_schema, with_separators
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.table import Table

N = 3000
rng = np.random.default_rng(6)
CLICK = (rng.random(N) < 0.3).astype(int)
CODES = [str(1000 + i) for i in range(60)]
LISTS = [list(rng.choice(CODES, size=rng.integers(0, 7), replace=False)) for _ in range(N)]


def table_of(cells: list[str], name: str = "seq") -> Table:
    return table_from_frame(pd.DataFrame({"place": rng.choice(list("abc"), N), name: cells, "click": CLICK}))


def role_of(cells: list[str], name: str = "seq") -> FieldRole:
    return infer_schema(table_of(cells, name), "click").role(name)


@pytest.mark.parametrize("mark", MARKS)
def test_every_separator_is_found_by_the_vocabulary(mark: str) -> None:
    role = role_of([mark.join(cell) for cell in LISTS])
    assert (role.kind, role.separator) == (Kind.MULTI_VALUED, mark)
    assert role.reason.startswith("several of 60 values in a cell")


@pytest.mark.parametrize("write", [json.dumps, str, lambda cell: json.dumps(cell, separators=(",", ":"))])
def test_lists_as_programs_print_them_are_read(write: Callable[[list[str]], str]) -> None:
    words = [[f"tag{code}" for code in cell] for cell in LISTS]
    role = role_of([write(cell) for cell in words])
    assert (role.kind, role.separator) == (Kind.MULTI_VALUED, ",")
    assert role.reason.startswith("several of 61 values") or role.reason.startswith("several of 60 values")


def test_paths_of_categories_are_several_values() -> None:
    top, below = ["Home", "Garden", "Toys"], ["Pans", "Pots", "Rakes", "Dolls"]
    cells = [" > ".join([rng.choice(top), rng.choice(below)][: rng.integers(1, 3)]) for _ in range(N)]
    assert role_of(cells).separator == " > "


@pytest.mark.parametrize(
    "cells",
    [
        [f"{a}/{b}" for a, b in rng.integers(60, 140, (N, 2))],
        [f"{a:02d}:{b:02d}" for a, b in rng.integers(0, 24, (N, 2))],
        [f"http://site{a}.example/{b}" for a, b in rng.integers(0, 30, (N, 2))],
        [f"{a} & Sons" for a in rng.choice(["Smith", "Jones", "Brown"], N)],
        [f"C# {a}" for a in rng.integers(1, 9, N)],
        [f"rock^{a}" for a in rng.integers(1, 5, N)],
    ],
    ids=["fractions", "hours", "addresses", "firms", "languages", "powers"],
)
def test_marks_within_single_values_are_no_separators(cells: list[str]) -> None:
    assert role_of(cells).kind is not Kind.MULTI_VALUED


def test_lists_of_codes_of_three_digits_are_no_numbers_with_thousands() -> None:
    cells = [",".join(str(int(code) - 800) for code in cell) for cell in LISTS]
    assert role_of(cells).separator == ","
    assert role_of([f"{x:,}" for x in rng.lognormal(9, 1, N).astype(int)], "price").kind is Kind.PIECEWISE


def test_a_separator_that_the_user_names_is_taken() -> None:
    table = table_of(["=".join(cell) for cell in LISTS])
    schema = infer_schema(table, "click")
    named = schema.with_kinds({"seq": Kind.MULTI_VALUED}, {"seq": "="})
    assert with_separators(named, table).role("seq").separator == "="
    with pytest.raises(SchemaError, match=r"`seq`: several values .* no separator was found\. Say what"):
        with_separators(schema.with_kinds({"seq": Kind.MULTI_VALUED}), table)


def test_a_rare_separator_is_found_where_the_user_says_there_are_several() -> None:
    cells = [f"v{i}" for i in range(N - 30)] + [f"v{i}^v{i + 1}" for i in range(30)]
    table = table_of(cells)
    schema = infer_schema(table, "click").with_kinds({"seq": Kind.MULTI_VALUED})
    assert with_separators(schema, table).role("seq").separator == "^"


@pytest.mark.parametrize("mark", ["#", "&", "|"])
def test_lists_of_equal_length_are_lists(mark: str) -> None:
    cells = [mark.join(rng.choice(CODES, size=8)) for _ in range(N)]
    assert role_of(cells).separator == mark


def test_codes_of_three_digits_with_blanks_between_are_no_numbers_with_thousands() -> None:
    cells = [" ".join(str(int(code) - 800) for code in cell) for cell in LISTS]
    assert role_of(cells).separator == " "


@pytest.mark.parametrize(
    "cells",
    [
        [f"{a:02x}:{b:02x}:{c:02x}:{a:02x}:{b:02x}:{c:02x}" for a, b, c in rng.integers(0, 99, (N, 3))],
        [f"2019-{a:02d}-{b:02d}" for a, b in zip(rng.integers(1, 13, N), rng.integers(1, 29, N), strict=True)],
        [f"{a}_{b}" for a, b in rng.integers(0, 9, (N, 2))],
        list(rng.choice(["new_york", "los_angeles", "san_jose", "paris", "new_orleans_east"], N)),
        list(rng.choice(["18-24", "25-34", "35+"], N)),
    ],
    ids=["addresses of machines", "dates", "pairs", "cities", "ages"],
)
def test_marks_within_names_are_no_separators(cells: list[str]) -> None:
    assert role_of(cells).kind is not Kind.MULTI_VALUED


@pytest.mark.parametrize(
    "write",
    [
        lambda cell: str([np.str_(code) for code in cell]),
        lambda cell: str([np.int64(code) for code in cell]),
        lambda cell: str(tuple(np.uint16(code) for code in cell)),
    ],
)
def test_values_that_numpy_wrote_are_those_of_other_lists(write: Callable[[list[str]], str]) -> None:
    table = table_of([write(cell) for cell in LISTS])
    schema = infer_schema(table, "click")
    role = schema.role("seq")
    assert (role.kind, role.separator) == (Kind.MULTI_VALUED, ",")
    assert "np." not in role.reason
    (field,) = (field for field in Encoder.fit(table.frame, schema).fields if field.name == "seq")
    assert set(CODES) <= set(field.vocabulary.values)


def test_scalars_that_numpy_wrote_are_plain_ones() -> None:
    assert role_of([f"np.float64({place / 4})" for place in range(N)]).kind is Kind.PIECEWISE
    assert role_of([f"np.{bool(place % 2)}_" for place in range(N)]).reason == "2 distinct values"
    assert role_of(["np.str_ing", "snp.x", "np.str_(a"] * (N // 3)).reason == "3 distinct values"
