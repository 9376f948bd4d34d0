"""Values that a file to be scored writes otherwise than the file of training."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.vocabulary import Spellings, places_in
from deepfm_core.schema.infer import infer_schema
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.reader import read_table


def found(known: list[str], text: str) -> str | None:
    (place,) = Spellings(pa.array(known, pa.large_string())).places(pa.array([text], pa.large_string()))
    return known[place] if place >= 0 else None


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("true", "True"),
        ("FALSE", "false"),
        ("2.5", "2.50"),
        ("2.50", "2.5"),
        ("7", "7.0"),
        ("7.0", "7"),
        ("0.5", ".5"),
        ("-0.5", "-.50"),
        ("5", "+5"),
        ("1234", "1,234"),
        ("1,234,567", "1234567.0"),
        ("é", "e\u0301"),
        ("New York", "New  York"),
        ("New York", "New\u00a0York"),
        ("US", "us"),
        ("00501", "501"),
        ("00501", "501.0"),
        ("7", "07"),
    ],
)
def test_a_known_value_is_found_however_it_is_written(known, text):
    assert found(["other", known], text) == known


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (["US", "us"], "Us"),
        (["07", "7"], "007"),
        (["2.50", "2.5"], "2.500"),
        (["a"], "b"),
        (["1.234"], "1234"),
        (["1,5"], "15"),
        (["12,34"], "1234"),
        (["x07"], "x7"),
        (["0"], ""),
        (["1"], "true"),
    ],
)
def test_what_may_be_another_value_is_not_taken_for_a_known_one(known, text):
    assert found(known, text) is None


@pytest.mark.parametrize("write", [str, lambda cell: str(tuple(cell)), lambda cell: f"{{{','.join(cell)}}}", "; ".join])
def test_lists_are_known_however_a_program_prints_them(write):
    lists = [[*"abcde"][i % 5 : i % 5 + 1 + i % 3] for i in range(300)]
    cells = {"tags": ["|".join(cell) for cell in lists], "click": [i % 2 for i in range(300)]}
    table = table_from_frame(pd.DataFrame(cells))
    encoder = Encoder.fit(table.frame, infer_schema(table, "click"))
    other = table_from_frame(pd.DataFrame({**cells, "tags": [write(cell) for cell in lists]}))
    own = encoder.encode(table.frame, subject="own")
    np.testing.assert_array_equal(encoder.encode(other.frame, subject="other").ids, own.ids)


N = 600
rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "mobile": rng.random(N) < 0.5,
        "slot": rng.choice([1.0, 2.0, 3.0, np.nan], N),
        "likes": [rng.permutation(["news", "sport", "cars"])[: rng.integers(1, 4)].tolist() for _ in range(N)],
        "seen": pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 400_000, N), unit="s"),
        "band": rng.choice([1.5, 2.0, 2.5], N),
        "click": rng.integers(0, 2, N).astype(bool),
    }
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Write one table in four ways, and read them."""
    folder = tmp_path_factory.mktemp("tables")
    FRAME.to_csv(folder / "csv", index=False)
    FRAME.astype({"slot": "Int64"}).to_parquet(folder / "parquet", index=False)
    rows = json.loads(FRAME.to_json(orient="records", date_format="iso", date_unit="s"))
    (folder / "json").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    read = {path.name: read_table(path) for path in folder.iterdir()}
    return {**read, "frame": table_from_frame(FRAME)}


@pytest.mark.parametrize("trained", ["csv", "parquet", "json", "frame"])
def test_a_table_is_encoded_alike_from_every_format(tables, trained):
    encoder = Encoder.fit(tables[trained].frame, infer_schema(tables[trained], "click"))
    own = encoder.encode(tables[trained].frame, subject="own")
    for name, table in tables.items():
        other = encoder.encode(table.frame, subject=name)
        np.testing.assert_array_equal(other.ids, own.ids, err_msg=name)
        np.testing.assert_array_equal(other.weights, own.weights, err_msg=name)


@pytest.mark.parametrize("asked", [1, 3, 40, 200])
def test_texts_have_the_first_place_of_a_known_one_however_many_are_asked_for(asked: int) -> None:
    known = [f"v{number}" for number in range(90)] + ["v7", "v0"]
    texts = [f"v{number}" for number in np.random.default_rng(asked).integers(0, 120, asked)]
    places = places_in(pa.array(known, pa.large_string()), pa.array(texts, pa.large_string()))
    assert places.tolist() == [known.index(text) if text in known else -1 for text in texts]
