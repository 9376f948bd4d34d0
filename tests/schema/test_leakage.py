"""Columns that give the label away: by their values, by having one, by their hour or order, by one of several."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole
from deepfm_core.tables.dataframe import table_from_frame

N = 3000
rng = np.random.default_rng(3)
CLICK = rng.random(N) < 0.1
TIMES = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 20 * 86400, N), unit="s")
SURE = np.where(rng.random(N) < 0.001, ~CLICK, CLICK)
"""The label, but for three rows."""


def role_of(values: object, *, leave_out_leaks: bool = True) -> FieldRole:
    frame = pd.DataFrame({"column": values, "device": rng.choice(list("abc"), N), "click": CLICK.astype(int)})
    return infer_schema(table_from_frame(frame), "click", leave_out_leaks=leave_out_leaks).roles[0]


PRESENT = {
    "times": pd.Series(TIMES.astype(str)).where(SURE, ""),
    "texts": pd.Series([f"n{i}" for i in rng.integers(0, 4 * N, N)]).where(SURE | (rng.random(N) < 0.001), ""),
    "categories": pd.Series(rng.choice(list("abcd"), N)).where(SURE, ""),
    "numbers": pd.Series(rng.normal(size=N).round(3)).where(SURE),
    "lists": pd.Series(["|".join(rng.permutation(list("abcdef"))[:3]) for _ in range(N)]).where(SURE, ""),
}


@pytest.mark.parametrize("kind", PRESENT)
def test_a_column_filled_in_only_where_the_outcome_happened_is_left_out(kind: str) -> None:
    role = role_of(PRESENT[kind])
    assert role.kind is Kind.IGNORE
    assert role.reason.startswith("alone whether it has a value predicts the label with AUC 0.99")
    kept = role_of(PRESENT[kind], leave_out_leaks=False)
    assert kept.kind is not Kind.IGNORE
    assert "alone whether it has a value predicts the label with AUC 0.99" in kept.warning
    assert "make sure it is known before the label is" in kept.warning


@pytest.mark.parametrize("nothing", ["1970-01-01 00:00:00", "9999-12-31 00:00:00"])
def test_a_time_that_stands_for_none_where_nothing_happened_is_left_out(nothing: str) -> None:
    role = role_of(pd.Series(TIMES.astype(str)).where(SURE, nothing))
    assert role.kind is Kind.IGNORE
    assert role.reason.startswith(f"alone whether it is `{nothing}` predicts the label with AUC 0.99")
    assert role_of(pd.Series(TIMES.astype(str)).where(rng.random(N) < 0.2, nothing)).kind is Kind.TIMESTAMP


def test_an_hour_that_gives_the_label_away_is_left_out() -> None:
    hours = np.where(CLICK, rng.integers(18, 24, N), rng.integers(0, 17, N))
    role = role_of(
        [f"2024-03-{day:02d} {hour:02d}:30" for day, hour in zip(rng.integers(1, 28, N), hours, strict=True)]
    )
    assert (role.kind, role.reason) == (Kind.IGNORE, "alone its hour of day predicts the label with AUC 1.000")


def test_a_log_in_the_order_of_its_labels_is_warned_of() -> None:
    role = role_of((pd.Timestamp("2024-01-01") + pd.to_timedelta(np.argsort(np.argsort(CLICK)), unit="h")).astype(str))
    assert role.kind is Kind.TIMESTAMP
    assert "alone its order in time predicts the label with AUC 1.000: rows may be sorted by the label" in role.warning


def test_one_of_several_values_that_gives_the_label_away_is_named() -> None:
    lists = ["|".join([*rng.permutation(list("abcdef"))[:3], *(["buy"] if sure else [])]) for sure in SURE]
    role = role_of(lists)
    assert role.kind is Kind.IGNORE
    assert role.reason.startswith("alone its value `buy` predicts the label with AUC 0.99")


def test_a_column_far_above_all_others_is_advised_on() -> None:
    high = (2.3 * CLICK + rng.normal(size=N)).round(4)
    assert role_of(high).warning.startswith("alone it predicts the label with AUC 0.9")
    assert ", far above every other column (at most 0.5" in role_of(high).warning
    assert role_of((1.2 * CLICK + rng.normal(size=N)).round(4)).warning == ""


def test_times_that_say_little_stay_without_a_word() -> None:
    role = role_of(TIMES.astype(str))
    assert (role.kind, role.warning) == (Kind.TIMESTAMP, "")


@pytest.mark.parametrize("rows", [1_000, 5_000])
@pytest.mark.parametrize("seed", range(3))
def test_row_numbers_say_nothing_of_labels_drawn_at_random(rows: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    columns = {"row_number": range(rows), "city": draw.choice(list("abc"), rows), "y": draw.integers(0, 2, rows)}
    assert infer_schema(table_from_frame(pd.DataFrame(columns)), "y").warnings == ()
