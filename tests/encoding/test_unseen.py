"""Tables whose cells training did not prepare for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.unseen import unseen_notes
from deepfm_core.schema.infer import infer_schema
from deepfm_core.tables.dataframe import table_from_frame

N = 2000
rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "zip": [f"{code:05d}" for code in rng.integers(500, 900, N)],
        "tags": ["|".join(rng.choice(list("abcdef"), rng.integers(1, 4), replace=False)) for _ in range(N)],
        "price": rng.lognormal(3, 1, N),
        "city": rng.choice(["", "Oslo", "Rome"], N, p=[0.8, 0.1, 0.1]),
        "clicked": rng.integers(0, 2, N),
    }
)
TABLE = table_from_frame(FRAME)
ENCODER = Encoder.fit(TABLE.frame, infer_schema(TABLE, "clicked"))


def notes(**changed: Any) -> list[str]:
    return unseen_notes(ENCODER, table_from_frame(FRAME.assign(**changed)).frame, "new.csv")


def test_rows_like_those_of_training_are_passed_over() -> None:
    assert notes() == []
    few_new = FRAME["zip"].where(rng.random(N) > 0.01, "99999")
    assert notes(zip=few_new) == []


def test_codes_of_another_form_are_named_with_examples() -> None:
    (said,) = notes(zip="1" + FRAME["zip"])
    assert said.startswith("new.csv, field `zip`: 100% of the cells (2,000 of 2,000) hold values that training did not")
    assert f"`1{FRAME['zip'][0]}`" in said


@pytest.mark.parametrize(
    "changed",
    [
        {"zip": FRAME["zip"].str.lstrip("0")},
        {"zip": FRAME["zip"].str.lstrip("0") + ".0"},
        {"tags": FRAME["tags"].str.upper()},
    ],
    ids=["zeros lost", "as floats", "capitals"],
)
def test_values_that_are_written_otherwise_are_known(changed: dict[str, object]) -> None:
    assert notes(**changed) == []


def test_a_single_new_code_is_named() -> None:
    (said,) = notes(zip="other")
    assert "100% of the cells" in said
    assert "such as `other`." in said


def test_new_values_within_cells_are_named() -> None:
    (said,) = notes(tags=FRAME["tags"].str.replace(r"(\w)", r"\1\1", regex=True))
    assert "field `tags`: 100% of the cells" in said


@pytest.mark.parametrize("column", ["zip", "price", "tags"])
def test_a_column_that_lost_its_values_is_named(column: str) -> None:
    (said,) = notes(**{column: ""})
    assert said == (
        f"new.csv, field `{column}`: 100% of the cells (2,000 of 2,000) have no value, in training 0.0% had none. "
        "Check that the column was filled in."
    )


def test_a_column_mostly_empty_in_training_may_be_so_again() -> None:
    assert notes(city=FRAME["city"]) == []


def test_one_row_alone_surprises_nobody() -> None:
    assert unseen_notes(ENCODER, table_from_frame(FRAME[:1].assign(zip="other")).frame, "row") == []


def test_numbers_outside_the_range_of_training_are_named_with_examples() -> None:
    (said,) = notes(price=FRAME["price"] * 100)
    assert "lie outside" in said
    assert "the range of the training rows, such as" in said
    low, high = FRAME["price"].min(), FRAME["price"].max()
    few = FRAME["price"].mask(np.arange(N) < 15, high * 1000)
    (said,) = notes(price=few)
    assert said.startswith("new.csv, field `price`: under 1% of the cells (15 of 2,000) lie far outside")
    assert notes(price=FRAME["price"].mask(np.arange(N) < 3, high + 1).mask(np.arange(N) == 9, low / 2)) == []


def test_the_ranges_are_kept_with_the_encoder(tmp_path: Path) -> None:
    ENCODER.save(tmp_path / "encoder.json")
    assert (
        Encoder.load(tmp_path / "encoder.json").ranges
        == ENCODER.ranges
        == {"price": (FRAME["price"].min(), FRAME["price"].max())}
    )
