"""Labels and schema inference: what a column is taken to be, and what is said of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import SchemaError
from deepfm_core.schema.infer import infer_schema, verdict
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.labels import label_role, labelled_rows, labels_of, suggest_label
from deepfm_core.schema.schema import LabelRole
from deepfm_core.tables.table import ReadReport, Table

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
N = 2000
rng = np.random.default_rng(0)
CLICK = rng.permutation([str(int(i < 0.2 * N)) for i in range(N)]).tolist()


def table_of(**columns: list[str]) -> Table:
    frame = pd.DataFrame(columns).astype("str").astype("category")
    return Table("table.csv", frame, ReadReport(rows=len(frame)))


def role_of(values: list[str], name: str = "column", click: list[str] = CLICK):
    return infer_schema(table_of(**{name: values, "click": click})).roles[0]


def real_table(name: str) -> Table:
    if not (DATA / name).exists():
        pytest.skip("the real tables are not on this machine")
    frame = pd.read_csv(DATA / name, dtype=str, keep_default_na=False, index_col=False).astype("category")
    return Table(name, frame, ReadReport(rows=len(frame)))


def test_a_schema_is_printed_as_a_table_of_its_fields() -> None:
    tags = ["<a>|b", "b|c|<a>", "c|b", "d"] * (N // 4)
    schema = infer_schema(table_of(shop=[f"s{i % 7}" for i in range(N)], tags=tags, click=CLICK))
    head, *lines = str(schema).splitlines()
    assert head.split() == ["field", "kind", "separator", "why"]
    assert [line.split()[0] for line in lines] == ["click", "shop", "tags"]
    assert lines[1].split(maxsplit=2) == ["shop", "categorical", "7 distinct values"]
    shown = schema._repr_html_()
    assert "<td>7 distinct values</td>" in shown
    assert "<a>" not in shown  # cells of a table are no markup
    assert "notation=" in repr(schema)  # which caches go by


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        (["0", "1", "0"], "1"),
        (["0.0", "1.0", "1.0"], "1.0"),
        (["TRUE", "FALSE", "TRUE"], "TRUE"),
        (["yes", "no", "yes"], "yes"),
        (["t", "f", "t"], "t"),
        (["Y", "N", "Y"], "Y"),
        (["clicked", "not clicked", "clicked"], "clicked"),
        (["<=50K", ">50K", ">50K"], ">50K"),
        (["<=50K.", ">50K.", ">50K."], ">50K."),
        (["-1", "1", "1"], "1"),
        (["1", "2", "2"], "2"),
        (["red", "blue", "red"], "blue"),
        (["good", "bad", "good", "bad"], "good"),
    ],
)
def test_the_positive_value_is_found(values, positive):
    role = label_role(table_of(label=values), "label")
    assert role.positive == positive
    assert role.reason


def test_the_user_may_choose_the_positive_value():
    role = label_role(table_of(label=["yes", "no", "no"]), "label", positive="NO")
    assert (role.positive, role.negative) == ("no", "yes")
    with pytest.raises(
        SchemaError, match=r"positive value does not occur \(asked for `maybe`\)\. Choose one of its two"
    ):
        label_role(table_of(label=["yes", "no"]), "label", positive="maybe")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["", "?", "NA"], "all 3 cells are missing"),
        (["1", "1", "1.0"], "only one class, in 3 rows"),
        (["a", "b", "c", "a"], r"3 classes: `a` \(2 rows\), `b` \(1 row\), `c` \(1 row\)"),
        (["1", "0", "", "1", "0"], r"1 of 5 rows \(20.0%\) have no label \(row 2\)"),
    ],
)
def test_a_column_that_cannot_be_a_label_is_refused(values, message):
    with pytest.raises(SchemaError, match=message):
        label_role(table_of(label=values), "label")


def test_a_label_that_does_not_exist_brings_up_close_names():
    with pytest.raises(SchemaError, match=r"no such column\. Did you mean `Revenue`\? Columns are `Revenue`, `Month`"):
        label_role(table_of(Revenue=["1", "0"], Month=["a", "b"]), "revenu")


def test_missing_cells_are_counted_and_said():
    role = role_of(["?"] * 30 + ["", "na"] + rng.choice(list("abc"), N - 32).tolist())
    assert (role.missing, role.reason) == (32, "3 distinct values; 32 cells missing (1.6%)")
    assert role_of(["", *rng.choice(list("abc"), N - 1)]).reason.endswith("; 1 cell missing (under 0.1%)")
    whole = role_of(rng.choice(list("abc"), N).tolist())
    assert (whole.missing, whole.reason) == (0, "3 distinct values")


def test_a_few_rows_without_a_label_are_left_out():
    table = table_of(label=["1", "0"] * 50 + [""])
    role = label_role(table, "label")
    assert "1 row without a label will be left out" in role.reason
    rows, labels = labelled_rows(table.frame, role, "table.csv")
    assert rows.tolist() == list(range(100))
    assert labels.tolist() == [1.0, 0.0] * 50
    with pytest.raises(SchemaError, match="row 100 without a label"):
        labels_of(table.frame, role, "table.csv")


def test_labels_are_compared_in_their_normal_form():
    role = LabelRole("income", ">50K", "<=50K")
    frame = table_of(income=[" >50k", ">50K.", "<=50K."]).frame
    assert labels_of(frame, role, "T").tolist() == [1.0, 1.0, 0.0]
    frame = table_of(income=["1.0", "0", "1"]).frame
    assert labels_of(frame, LabelRole("income", "1", "0"), "T").tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(SchemaError, match=r"row 1: not a label \(found `50K`\). Labels of this schema are `>50K`"):
        labels_of(table_of(income=[">50K", "50K"]).frame, role, "T")


def test_the_label_is_suggested_by_name_then_by_place():
    two, many = ["a", "b", "a"], ["1", "2", "3"]
    assert suggest_label(table_of(sex=two, Clicked=["0", "1", "0"], x=many)).column == "Clicked"
    assert suggest_label(table_of(sex=two, x=many, y2=two)).column == "y2"
    assert suggest_label(table_of(sex=two, x=many)).column == "sex"
    assert suggest_label(table_of(x=many, y=many)) is None
    with pytest.raises(SchemaError, match="no column looks like a label"):
        infer_schema(table_of(x=many, z=many))
    with pytest.raises(SchemaError, match=r"`y`.* there are 3 classes: .*Say which of them are positive"):
        infer_schema(table_of(x=many, y=many))


def test_a_table_with_nothing_but_the_label_is_refused():
    with pytest.raises(SchemaError, match="no column besides the label"):
        infer_schema(table_of(label=["1", "0"]))
    with pytest.raises(SchemaError, match="no rows"):
        infer_schema(table_of(label=[], x=[]))


def test_texts_are_categorical():
    role = role_of(rng.choice(["Married-civ-spouse", "Never-married", "New York", "?"], N).tolist())
    assert role.kind is Kind.CATEGORICAL


def test_continuous_numbers_are_piecewise():
    role = role_of([f"{x:.3f}" for x in rng.lognormal(size=N)])
    assert role.kind is Kind.PIECEWISE
    spiky = role_of([f"{x:.2f}" if x > 0 else "0" for x in rng.normal(size=N)])
    assert spiky.kind is Kind.PIECEWISE
    assert "0 in " in spiky.reason


def test_counts_are_numbers_and_jumping_whole_numbers_are_codes():
    assert role_of(rng.geometric(0.3, N).astype(str).tolist()).kind is Kind.PIECEWISE
    shares = np.array([0.3, 0.02, 0.2, 0.05, 0.2, 0.03, 0.2])
    assert role_of(rng.choice(7, N, p=shares).astype(str).tolist()).kind is Kind.CATEGORICAL
    assert role_of(rng.integers(0, 400, N).astype(str).tolist(), "item_id").kind is Kind.CATEGORICAL
    assert role_of([f"{x:05d}" for x in rng.integers(0, 400, N)], "place").kind is Kind.CATEGORICAL


@pytest.mark.parametrize("mark", ["|", ";", ",", " "])
def test_cells_with_several_shared_values_are_multi_valued(mark):
    interests = ["sport", "music", "cars", "food", "travel", "film", "games"]
    cells = [mark.join(rng.permutation(interests)[: rng.integers(0, 5)]) for _ in range(N)]
    role = role_of(cells)
    assert (role.kind, role.separator) == (Kind.MULTI_VALUED, mark)


def test_names_of_two_words_and_decimal_commas_are_not_multi_valued():
    first, last = [f"first{i}" for i in range(40)], [f"last{i}" for i in range(40)]
    names = [f"{rng.choice(last)}, {rng.choice(first)}" for _ in range(N)]
    assert role_of(names).kind is Kind.CATEGORICAL
    assert role_of(rng.choice(["New York", "New Delhi", "San Jose", "Oslo"], N).tolist()).kind is Kind.CATEGORICAL


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("when", lambda i: str(np.datetime64("2024-01-01T00:00:00") + np.timedelta64(1000 * i, "s"))),
        ("when", lambda i: f"{1 + i % 28}.{1 + i % 12}.2024 {i % 24}:30"),
        ("when", lambda i: f"{1 + i % 12}/{1 + i % 28}/2024"),
        ("timestamp", lambda i: str(1_700_000_000 + 1000 * i)),
        ("ts", lambda i: str((1_700_000_000 + 1000 * i) * 1000)),
        ("hour", lambda i: f"1410{1 + i % 28:02d}{i % 24:02d}"),
    ],
)
def test_points_in_time_are_timestamps(name, make):
    assert role_of([make(i) for i in range(N)], name).kind is Kind.TIMESTAMP


def test_large_numbers_are_not_taken_for_times_without_a_name_that_says_so():
    values = (1_700_000_000 + 7919 * rng.integers(0, 10**5, N)).astype(str).tolist()
    assert role_of(values, "balance").kind is Kind.PIECEWISE


@pytest.mark.parametrize("how", ["${:,}.00", "EUR {}", "{:,}", "{}%"])
def test_amounts_of_money_are_no_row_numbers(how):
    cells = [how.format(1_000 + (i * 7_919) % 90_000) for i in range(N)]
    assert role_of(cells, "column 4").kind.is_number
    assert role_of(cells, "column 1").kind.is_number


def test_columns_after_the_first_are_no_row_numbers_for_want_of_a_header():
    hours = [f"20190{4 + i // 700}{1 + i // 24 % 28:02}{i % 24:02}" for i in range(N)]
    assert role_of(hours, "column 3").kind is Kind.TIMESTAMP


def test_identifiers_row_numbers_and_constants_are_ignored_with_a_reason():
    assert role_of([str(i) for i in range(N)], "Unnamed: 0").reason == "row numbers, 100% unique"
    assert role_of([f"u{i % 1950}" for i in range(N)], "user").reason == "98% unique"
    assert role_of(["x"] * N).reason == "`x` in every row"
    assert role_of([""] * N).reason == "empty in every row"
    nearly = role_of(["0"] * (N - 3) + ["1"] * 3)
    assert (nearly.kind, nearly.reason) == (Kind.IGNORE, "`0` in all but 3 rows, too few to learn from")


def test_a_field_that_gives_the_label_away_is_found_but_a_unique_one_is_not_taken_for_one():
    copy = role_of(["bought" if click == "1" else "left" for click in CLICK])
    assert copy.kind is Kind.IGNORE
    assert "AUC 1.000" in copy.reason
    noisy = ["1" if (click == "1") != (rng.random() < 0.02) else "0" for click in CLICK]
    assert "alone it predicts the label with AUC 0.9" in role_of(noisy).warning
    high = [f"{float(click) + rng.normal() / 3:.4f}" for click in CLICK]
    assert "alone it predicts" in role_of(high).warning
    assert role_of([f"n{i % 1500}" for i in rng.permutation(N)]).warning == "75% unique: most values are seen once"


def test_a_hundred_thousand_values_get_advice():
    values = [f"v{i}" for i in rng.integers(0, 150_000, 200_000)]
    role = role_of(values, click=["0", "1"] * 100_000)
    assert role.kind is Kind.CATEGORICAL
    assert "set a minimum count of 5" in role.warning


def test_a_number_column_with_a_stray_text_says_where():
    values = [f"{x:.3f}" for x in rng.normal(size=N)]
    values[13] = "12,50"
    role = role_of(values, "price")
    assert role.kind is Kind.PIECEWISE
    assert "`12,50` in row 13" in role.warning


def test_columns_of_a_family_are_all_numbers():
    columns = {f"affinity_{i}": rng.choice(["0.0", "1.0"] + ["2.0"] * (i == 1), N).tolist() for i in range(4)}
    schema = infer_schema(table_of(**columns, click=CLICK))
    assert {role.kind for role in schema.roles} == {Kind.PIECEWISE}


def test_the_verdict_sums_up_and_then_remarks():
    table = table_of(
        user_id=[f"u{i}" for i in range(N)], ad=rng.choice(list("abc"), N).tolist(),
        price=[f"{x:.3f}" for x in rng.normal(size=N)], click=CLICK,
    )  # fmt: skip
    assert verdict(table, infer_schema(table)) == [
        "2,000 rows, label `click` 20.0% positive, 1 categorical, 1 piecewise, 1 ignored",
        "`user_id` 100% unique: left out (you can change this)",
    ]


def test_the_verdict_says_how_many_rows_have_no_label():
    table = table_of(ad=rng.choice(list("abc"), N).tolist(), click=["", "", *CLICK[2:]])
    assert verdict(table, infer_schema(table))[1:] == ["2 rows have no label and are left out"]
    table = table_of(ad=rng.choice(list("abc"), N).tolist(), click=["", *CLICK[1:]])
    assert verdict(table, infer_schema(table))[1:] == ["1 row has no label and is left out"]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (
            ["mobile", "Mobile", "desktop"],
            "`Mobile` and `mobile` differ only in case or blanks, but are values of their own",
        ),
        (["new  york", "new york", "rome"], "`new  york` and `new york` differ only"),
        (["a b", "A B", "c", "C", "d"], "`A B` and `a b` differ only in case or blanks (1 more like these)"),
    ],
)
def test_values_that_differ_in_case_or_blanks_are_remarked(values, named):
    role = role_of(rng.choice(values, N).tolist())
    assert role.kind is Kind.CATEGORICAL
    assert role.warning.startswith(named)
    assert role.warning.endswith("write them alike if they mean the same")


@pytest.mark.parametrize("values", [["mobile", "desktop"], ["aB3", "Ab3", "AB3x"], ["C-001", "C-002"]])
def test_values_of_their_own_are_not_remarked(values):
    assert role_of(rng.choice(values, N).tolist()).warning == ""


def test_a_remark_of_several_parts_stays_one():
    table = table_of(ad=rng.choice(list("abc"), N).tolist(), click=CLICK)
    schema = infer_schema(table)
    roles = tuple(replace(role, warning="one thing; another") for role in schema.roles)
    assert verdict(table, replace(schema, roles=roles))[1:] == ["`ad`: one thing; another"]


def kinds(table: Table) -> dict[str, Kind]:
    return {role.column: role.kind for role in infer_schema(table).roles}


def test_online_shoppers_is_understood():
    table = real_table("online_shoppers_intention.csv")
    found = kinds(table)
    categorical = {column for column, kind in found.items() if kind is Kind.CATEGORICAL}
    codes = {"OperatingSystems", "Browser", "Region", "TrafficType"}
    assert categorical == codes | {"Month", "VisitorType", "Weekend"}
    assert set(found.values()) == {Kind.CATEGORICAL, Kind.PIECEWISE}
    assert verdict(table, infer_schema(table)) == [
        "12,330 rows, label `Revenue` 15.5% positive, 7 categorical, 10 piecewise"
    ]


def test_adult_is_understood_and_its_test_labels_too():
    train, test = real_table("adult_train.csv"), real_table("adult_test.csv")
    schema = infer_schema(train)
    assert (schema.label.column, schema.label.positive) == ("income", ">50K")
    assert schema.role("fnlwgt").kind is Kind.PIECEWISE
    assert schema.role("marital-status").kind is Kind.CATEGORICAL
    encoder = Encoder.fit(train.frame, schema)
    encoded = encoder.encode_with_labels(test.frame, subject=test.name)
    assert encoded.labels.mean() == pytest.approx(0.236, abs=1e-3)
    workclass = next(field for field in encoder.layout.fields if field.name == "workclass")
    assert "?" not in workclass.features
    assert (encoded.ids[:, workclass.first_slot] == workclass.offset).sum() == 963


def test_open_bandit_is_understood():
    schema = infer_schema(real_table("open_bandit_random_men.csv"))
    assert schema.label.column == "click"
    assert schema.roles[0].reason == "row numbers, 100% unique"
    assert schema.role("timestamp").kind is Kind.TIMESTAMP
    assert schema.role("item_id").kind is Kind.CATEGORICAL
    assert schema.role("propensity_score").kind is Kind.IGNORE
    assert schema.role("user_feature_2").kind is Kind.CATEGORICAL
    affinities = [role for role in schema.roles if "affinity" in role.column]
    assert {role.kind for role in affinities} == {Kind.PIECEWISE, Kind.IGNORE}
    assert all(role.reason for role in schema.roles)


def clicks_of(effects: np.ndarray, codes: np.ndarray, seed: int) -> list[str]:
    """Draw labels whose log-odds are -1 plus the effect of each row's code."""
    draw = np.random.default_rng(seed + 1000).random(len(codes))
    return (draw < 1 / (1 + np.exp(1 - effects[codes]))).astype(int).astype(str).tolist()


def falling_codes(levels: int, rows: int, seed: int) -> np.ndarray:
    """Draw codes whose counts fall steadily, so that nothing but the labels tells them from a quantity."""
    share = 1 / np.arange(1, levels + 1) ** 0.5
    return np.random.default_rng(seed).choice(levels, size=rows, p=share / share.sum())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whole_numbers_whose_order_says_nothing_of_the_label_are_codes_and_it_is_said(seed):
    codes = falling_codes(40, 10_000, seed)
    effects = np.random.default_rng(seed).normal(size=40) * 0.8
    values = [str(code + 1) for code in codes]
    role = role_of(values, name="c3", click=clicks_of(effects, codes, seed))
    assert role.kind is Kind.CATEGORICAL
    assert role.reason == "40 whole numbers whose order says nothing of the label: codes"
    assert "taken for codes" in role.warning
    assert role_of(values, name="c3_count", click=clicks_of(effects, codes, seed)).kind is Kind.PIECEWISE
    spaced = [str(code * 50 + 1) for code in codes]
    far_apart = role_of(spaced, name="c3", click=clicks_of(effects, codes, seed))
    assert far_apart.kind is Kind.PIECEWISE
    assert "might be codes, since their order says nothing of the label" in far_apart.warning


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", ["rising", "hump", "step", "heaped"])
def test_whole_numbers_whose_order_matters_stay_numbers(shape, seed):
    codes = falling_codes(60, 10_000, seed)
    at = np.arange(60) / 60
    effects = {
        "rising": 0.8 * at,
        "hump": -4 * (at - 0.4) ** 2,
        "step": 0.5 * (at > 0.2),
        "heaped": 0.8 * at + 0.2 * (np.arange(60) % 10 == 0),
    }[shape]
    role = role_of([str(code) for code in codes], name="c3", click=clicks_of(effects, codes, seed))
    assert (role.kind, role.warning) == (Kind.PIECEWISE, "")


@pytest.mark.parametrize(
    "differ",
    [
        lambda v: v % 7 == 0,
        lambda v: v % 5 == 0,
        lambda v: v == 17,
        lambda v: np.isin(v, [1, 9, 23]),
        lambda v: v == 40,
    ],
    ids=["weeks", "round", "one", "lowest and two", "highest"],
)
def test_numbers_flat_but_for_a_pattern_stay_numbers_with_advice_at_most(differ):
    codes = falling_codes(40, 10_000, 3) + 1
    clicks = np.random.default_rng(4).random(10_000) < np.where(differ(codes), 0.3, 0.1)
    role = role_of(codes.astype(str).tolist(), name="c3", click=clicks.astype(int).astype(str).tolist())
    assert role.kind is Kind.PIECEWISE
    assert "whole numbers that might be codes" in role.warning


def test_the_name_of_a_quantity_counts_more_than_the_labels_unless_it_ends_as_one_of_codes():
    codes = falling_codes(40, 10_000, 0)
    click = clicks_of(np.random.default_rng(0).normal(size=40) * 0.8, codes, 0)
    values = [str(code + 1) for code in codes]
    for name in ("lead_time", "nights", "tenure", "guests", "order_items", "Stay"):
        role = role_of(values, name=name, click=click)
        assert (role.kind, role.warning) == (Kind.PIECEWISE, "")
    assert role_of(values, name="lead_type", click=click).kind is Kind.CATEGORICAL


def test_whole_numbers_of_which_neither_name_nor_label_says_anything_come_with_advice():
    codes = falling_codes(40, 10_000, 0)
    click = clicks_of(np.zeros(40), codes, 1)
    values = [str(code + 1) for code in codes]
    for name in ("c3", "feature_7", "V12"):
        role = role_of(values, name=name, click=click)
        assert (role.kind, role.warning) == (
            Kind.PIECEWISE,
            "whole numbers that might be codes: make it categorical if they are codes",
        )
    assert role_of(values, name="informational", click=click).warning == ""
    assert role_of([str(code * 1000) for code in codes], name="c3", click=click).warning == ""


def test_few_whole_numbers_far_apart_are_codes_but_round_amounts_are_not():
    assert role_of(rng.choice([375, 4687, 15699, 17753, 21789], N).astype(str).tolist(), "C14").kind is Kind.CATEGORICAL
    tens = (rng.geometric(0.2, N).clip(max=30) * 1000).astype(str).tolist()
    assert role_of(tens, "bid").kind is Kind.PIECEWISE


def test_a_time_of_day_enters_as_hour():
    times = [f"{i % 24:02d}:{i % 60:02d}" for i in range(N)]
    role = role_of(times, "time_of_day")
    assert role.kind is Kind.TIMESTAMP
    assert role.reason.endswith("(hour:minute): enters as hour of day")
    encoder = Encoder.fit(table_of(time_of_day=times).frame, infer_schema(table_of(time_of_day=times, click=CLICK)))
    assert encoder.layout.names == ("time_of_day hour",)


def test_the_verdict_says_the_same_of_many_columns_once():
    columns = {f"x_{i}": ["0"] * (N - i - 2) + ["1"] * (i + 2) for i in range(3)}
    table = table_of(ad=rng.choice(list("abc"), N).tolist(), **columns, click=CLICK)
    said = verdict(table, infer_schema(table))
    assert said[0].endswith("3 ignored")
    assert said[1:] == [
        "`x_0` (`0` in all but 2 rows, too few to learn from) and 2 more like it: left out (you can change this)"
    ]


def test_a_column_that_says_the_same_as_another_is_named() -> None:
    codes = rng.integers(0, 5, N)
    names = np.array(["phone", "tablet", "desktop", "tv", "watch"])[codes]
    table = table_of(device=(codes + 11).astype(str).tolist(), place=rng.choice(list("abc"), N).tolist(),
                     device_name=names.tolist(), again=codes.astype(str).tolist(), click=CLICK)  # fmt: skip
    schema = infer_schema(table)
    said = "says the same as `device`: their pair carries no information, so ignore one of them"
    assert [role.warning for role in schema.roles] == ["", "", said, said]


def test_numbers_and_times_that_are_each_other_in_another_unit_are_named() -> None:
    price, seconds = rng.lognormal(3, 1, N), rng.integers(0, 10**7, N)
    lists = ["|".join(rng.permutation(list("abcd"))[:2]) for _ in range(N)]
    seen = pd.Timestamp("2024-01-20") + pd.to_timedelta(seconds, unit="s")
    table = table_of(
        euros=price.astype(str).tolist(), cents=(price * 100).astype(str).tolist(),
        rebate=(9 - price).astype(str).tolist(), other=rng.permutation(price).astype(str).tolist(),
        seen=seen.astype(str).tolist(),
        again=seen.strftime("%d/%m/%Y %H:%M:%S").tolist(), tags=lists, marks=[cell.replace("|", ";") for cell in lists],
        click=CLICK,
    )  # fmt: skip
    said = {role.column: role.warning.partition(":")[0] for role in infer_schema(table).roles if role.warning}
    euros, times = "says the same as `euros`", "says the same as `seen`"
    assert said == {"cents": euros, "rebate": euros, "again": times, "marks": "says the same as `tags`"}


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        (lambda i: f'{{"id": {i % 200}, "os": "x"}}', "cells hold objects, such as"),
        (lambda i: f"{i // 3600 + 20}:{i // 60 % 60:02}:{i % 60:02}", "cells hold lengths of time, such as"),
        (lambda i: f"{i // 60}h {i % 60}m", "write it as a number of seconds or minutes"),
        (lambda i: f"PT{i // 3600}H{i // 60 % 60}M{i % 60}S", "cells hold lengths of time, such as"),
        (lambda i: f"{48 + i / 7000:.4f},{2 - i / 9000:.4f}", "cells hold two numbers each, such as"),
        (lambda i: f"{i % 900}x{i % 700}", "write them as two columns to learn from that"),
    ],
)
def test_cells_of_parts_get_advice_how_to_write_them(cell, advice):
    numbers = np.random.default_rng(0).integers(0, 360_000, len(CLICK))
    role = infer_schema(table_of(what=[cell(int(i)) for i in numbers], click=CLICK), "click").role("what")
    assert advice in role.warning
    assert "points in time" not in role.reason
