"""Numbers as people write them: each column's marks, units, words and numbers for no value, and the switches."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import SchemaError
from deepfm_core.schema.column import Cells, numbers_in
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.labels import label_role, labelled_rows
from deepfm_core.schema.number_parsing import Notation, number_names, write_number
from deepfm_core.schema.schema import FieldRole, Schema
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.table import Table

N = 2000
rng = np.random.default_rng(13)
AMOUNTS = rng.lognormal(7, 1.5, N).round(2)
WHOLE = AMOUNTS.astype(int)
CLICK = (rng.random(N) < 0.3).astype(int)


def table_of(cells: list[str], name: str = "column") -> Table:
    return table_from_frame(pd.DataFrame({"place": rng.choice(list("abc"), N), name: cells, "click": CLICK}))


def role_of(cells: list[str], name: str = "column", **said: str) -> FieldRole:
    return infer_schema(table_of(cells, name), "click", said=said).role(name)  # type: ignore[arg-type]


def german(text: str) -> str:
    return text.translate(str.maketrans(",.", ".,"))


WRITTEN: dict[str, tuple[Callable[[float], str], str]] = {
    "thousands": (lambda x: f"{x:,.2f}", ""),
    "german": (lambda x: german(f"{x:,.2f}"), "read with a comma before decimals and points between thousands"),
    "decimal comma": (lambda x: f"{x:.2f}".replace(".", ","), "read with a comma before decimals"),
    "swiss": (lambda x: f"{x:,.2f}".replace(",", "'"), "read with apostrophes between thousands"),
    "french": (lambda x: f"{x:,.2f}".replace(",", "\u202f").replace(".", ","), "and blanks between thousands"),
    "percent": (lambda x: f"{x:.2f}%", "read with `%` left out"),
    "dollars": (lambda x: f"${x:,.2f}", "read with `$` left out"),
    "euros": (lambda x: f"EUR {x:.2f}", "read with `EUR` left out"),
    "euros behind": (lambda x: german(f"{x:,.2f}") + "\u00a0€", "and `€` left out"),
    "accountants": (lambda x: f"({x:,.2f})" if x < 500 else f"{x:,.2f}", "brackets or a minus behind as a minus"),
    "behind": (lambda x: f"{x:.2f}-" if x < 500 else f"{x:.2f}", "brackets or a minus behind as a minus"),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_numbers_are_read_as_they_are_written_and_it_is_said(how: str) -> None:
    write, said = WRITTEN[how]
    cells = [write(x) for x in AMOUNTS]
    role = role_of(cells, "price")
    assert (role.kind, role.stray) == (Kind.PIECEWISE, "")
    assert said in role.reason
    expected = np.where(AMOUNTS < 500, -AMOUNTS, AMOUNTS) if how in ("accountants", "behind") else AMOUNTS
    read = Cells.of(table_of(cells, "price").frame, "price").noted(role.notation)
    assert read.numbers.values[read.codes] == pytest.approx(expected)


def test_shorthand_for_thousands_is_read() -> None:
    role = role_of([f"{x / 1000:.1f}K" if x > 1000 else f"{x:.0f}" for x in AMOUNTS], "views")
    assert role.kind is Kind.PIECEWISE
    assert "K, M and B for thousands" in role.reason


def test_a_point_between_thousands_is_decided_over_the_whole_column() -> None:
    role = role_of([german(f"{x:,}") for x in WHOLE], "umsatz")
    assert "points between thousands" in role.reason
    assert f"to {WHOLE.max()}" in role.reason
    assert "between thousands" not in role_of([f"{x:.3f}" for x in AMOUNTS]).reason
    assert "between thousands" not in role_of([f"{x:g}" for x in AMOUNTS.round(3)]).reason
    plain = role_of([german(f"{x:,}") for x in WHOLE], "umsatz", umsatz="decimal point")
    assert "between thousands" not in plain.reason


@pytest.mark.parametrize(
    "word", ["--", "-", "—", "(blank)", "unknown", "n.a.", "(not set)", "#DIV/0!", "-nan", "Unknown", "k.A."]
)
def test_words_for_no_value_do_not_make_texts_of_numbers(word: str) -> None:
    cells = np.where(rng.random(N) < 0.08, word, AMOUNTS.astype(str)).tolist()
    role = role_of(cells, "price")
    assert (role.kind, role.missing) == (Kind.PIECEWISE, cells.count(word))
    assert role.reason.endswith(f"; `{word.lower()}` taken as missing")
    assert role_of(cells, "price", price="literal").kind is not Kind.PIECEWISE


@pytest.mark.parametrize("hole", ["-999", "1.7976931348623157e308", "3.4028235e38", "99999999"])
def test_numbers_for_no_value_count_as_missing(hole: str) -> None:
    values = rng.normal(50, 10, N).round(2)
    hole = "999999" if hole == "99999999" else hole
    cells = np.where(rng.random(N) < 0.1, hole, values.astype(str)).tolist()
    role = role_of(cells, "score")
    assert (role.kind, role.missing) == (Kind.PIECEWISE, cells.count(hole))
    assert role.reason.endswith("taken as missing")
    literal = role_of(cells, "score", score="literal")
    assert literal.missing == 0


def test_a_number_that_belongs_to_the_others_is_kept() -> None:
    assert role_of(rng.integers(-2000, 2000, N).astype(str).tolist(), "score").missing == 0
    assert role_of(rng.integers(0, 1200, N).astype(str).tolist(), "score").missing == 0


def test_name_and_shape_count_before_strays() -> None:
    zips = [f"{x}" for x in rng.integers(10_000, 10_900, N)]
    zips[3] = "12345-6789"
    for name in ("zip", "area code", "where"):
        role = role_of(zips, name)
        assert (role.kind, role.stray) == (Kind.CATEGORICAL, "")
    zips[3] = "Total"
    assert role_of(zips, "zip").kind is Kind.CATEGORICAL
    role = role_of([*map(str, AMOUNTS[:-1]), "Total"], "amount")
    assert (role.kind, role.stray, role.notation.blanks) == (Kind.PIECEWISE, "", ("total",))
    assert role.warning == "1 cell is no number, such as `Total`: taken as missing (--literal changes that)"
    role = role_of([*map(str, AMOUNTS[:-1]), "12 or 13"], "amount")
    assert role.stray == "`12 or 13` in row 1,999"


def test_amounts_in_several_currencies_stay_texts_with_advice() -> None:
    role = role_of([f"{mark}{x:.0f}" for mark, x in zip(rng.choice(["$", "€"], N), WHOLE, strict=True)], "price")
    assert role.kind is Kind.CATEGORICAL
    assert "differ in their unit" in role.warning


@pytest.mark.parametrize(("value", "shown"), [("1", "1"), ("Y", "Y"), ("4.5", "4.5")])
def test_a_value_or_none_is_kept_with_a_sentence(value: str, shown: str) -> None:
    cells = np.where(rng.random(N) < 0.4, value, "").tolist()
    role = role_of(cells, "flag")
    assert role.kind is Kind.CATEGORICAL
    assert role.reason.startswith(f"one value, `{shown}`, or none; ")


def test_a_schema_and_an_encoder_keep_the_notation() -> None:
    cells = np.where(rng.random(N) < 0.1, "--", [german(f"{x:,.2f} €") for x in AMOUNTS]).tolist()
    table = table_of(cells, "price")
    schema = infer_schema(table, "click")
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    encoder = Encoder.fit(table.frame, schema)
    again = Encoder.from_dict(encoder.to_dict())
    encoded, read = (each.encode(table.frame, subject="t") for each in (encoder, again))
    assert (encoded.ids == read.ids).all()
    price = encoder.layout.fields[-1]
    absent = np.array([cell == "--" for cell in cells])
    assert ((encoded.ids[:, price.first_slot] == price.offset) == absent).all()


def test_a_label_of_one_value_and_blanks_is_asked_about() -> None:
    table = table_from_frame(pd.DataFrame({"x": rng.choice(list("ab"), N), "y": np.where(CLICK, "1", "")}))
    with pytest.raises(SchemaError, match=r"only one class, .* are blank .*If blank means no, say so"):
        label_role(table, "y")
    role = label_role(table, "y", blank_negative=True)
    assert (role.positive, role.negative) == ("1", "")
    rows, labels = labelled_rows(table.frame, role, "t")
    assert (len(rows), labels.sum()) == (N, CLICK.sum())


@pytest.mark.parametrize("unit", ["ms", " kg", "GB", "°C", " views", "元", "円", " bps", "s"])
def test_one_unit_behind_all_numbers_is_left_out_and_said(unit: str) -> None:
    role = role_of([f"{x}{unit}" for x in AMOUNTS], "amount")
    assert role.kind is Kind.PIECEWISE
    assert f"`{unit.strip()}` left out" in role.reason
    assert read_so([f"{x}{unit}" for x in AMOUNTS], role) == pytest.approx(AMOUNTS)


@pytest.mark.parametrize(
    ("write", "said"),
    [(lambda x: f"${x:,.2f}", r"from \$\S+ to \$\S+"), (lambda x: f"{x:.2f} kg", r"from \S+ kg to \S+ kg")],
)
def test_the_range_of_numbers_is_said_with_their_unit(write, said: str) -> None:
    assert re.search(said, role_of([write(x) for x in AMOUNTS], "amount").reason)


def test_thousands_as_india_writes_them_are_numbers() -> None:
    cells = [indian(x * 100) for x in WHOLE]
    role = role_of(cells, "amount")
    assert role.kind is Kind.PIECEWISE
    assert read_so(cells, role) == pytest.approx(WHOLE * 100)


def indian(number: int) -> str:
    head, tail = divmod(number, 1000)
    if not head:
        return str(tail)
    text = f"{tail:03d}"
    while head >= 100:
        head, part = divmod(head, 100)
        text = f"{part:02d},{text}"
    return f"{head},{text}"


def read_so(cells: list[str], role: FieldRole) -> np.ndarray:
    frame = table_of(cells, role.column).frame
    column = Cells.of(frame, role.column).noted(role.notation)
    return column.numbers.values[column.codes]


@pytest.mark.parametrize("word", ["Not Found", "no data", "無", "---.--", "****", "nobody knows"])
def test_any_few_words_among_many_numbers_are_missing_and_said(word: str) -> None:
    cells = [word if i % 12 == 0 else str(x) for i, x in enumerate(AMOUNTS)]
    role = role_of(cells, "amount")
    assert role.kind is Kind.PIECEWISE
    assert f"`{word.lower()}` taken as missing" in role.reason
    assert ("no numbers, such as `nobody knows`" in role.warning) == (word == "nobody knows")
    assert role_of(cells, "amount", amount="literal").kind is not Kind.PIECEWISE


def test_a_word_among_codes_is_a_value() -> None:
    cells = ["other" if i % 12 == 0 else str(x) for i, x in enumerate(rng.integers(100, 300, N))]
    role = role_of(cells, "shop_id")
    assert (role.kind, role.notation.blanks) == (Kind.CATEGORICAL, ())


@pytest.mark.parametrize("limit", ["2147483647", "-2147483648", "4294967295"])
def test_the_largest_whole_number_of_a_program_is_missing(limit: str) -> None:
    role = role_of([limit if i % 12 == 0 else str(x) for i, x in enumerate(WHOLE)], "amount")
    assert f"`{limit}` taken as missing" in role.reason


def test_addresses_of_machines_are_no_amounts() -> None:
    assert role_of([f"10.0.{a}.{b}" for a, b in rng.integers(0, 9, (N, 2))]).warning == ""


@given(
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15),
    st.sampled_from(
        [
            Notation(),
            Notation(",", "."),
            Notation(",", " ", unit="€", signs=True),
            Notation(".", "'", shorthand=True),
            Notation(unit="%"),
        ]
    ),
)
def test_a_number_written_in_a_notation_is_read_in_it(value: float, notation: Notation) -> None:
    text = write_number(value, notation)
    assert numbers_in([f" {text} "], notation)[0] == pytest.approx(value, rel=1e-11)


def test_texts_without_a_number_are_read_as_missing() -> None:
    texts = pd.Series(["$85,210.50", "?", "", None, "-999"])
    np.testing.assert_array_equal(
        numbers_in(texts, Notation(unit="$", holes=(-999.0,))), [85210.5, np.nan, np.nan, np.nan, np.nan]
    )


def test_a_number_is_shown_with_the_unit_that_its_column_writes() -> None:
    shown = {unit: Notation(unit=unit).measured("-1,250.5") for unit in ("", "$", "%", "kg", "EUR")}
    assert shown == {"": "-1,250.5", "$": "-$1,250.5", "%": "-1,250.5%", "kg": "-1,250.5 kg", "EUR": "-1,250.5 EUR"}
    money = role_of([f"${amount:,.2f}" for amount in AMOUNTS], "price")
    assert money.measured_in == "price ($)"
    assert role_of([str(amount) for amount in AMOUNTS], "price").measured_in == "price"


def test_large_numbers_are_written_without_an_exponent() -> None:
    assert number_names([0.0, 63973.5222, -123456.75]) == ("0", "63970", "-123500")
    assert number_names([63973.5, 63973.25]) == ("63973.5", "63973.2")
    assert number_names([1.5e300, 2.5e-7]) == ("1.5e+300", "2.5e-07")
