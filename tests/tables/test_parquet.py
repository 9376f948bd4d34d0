"""Parquet in, whatever its types, and the store's own tables."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.parquet import read_parquet_table, write_parquet
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table


def texts_of(tmp_path, values: pa.Array, **settings) -> list[str]:
    path = tmp_path / "typed"
    pq.write_table(pa.table({"x": values, "click": pa.array([0] * len(values))}), path, **settings)
    table = read_table(path)
    assert table.report.format == "parquet"
    assert not table.frame["x"].isna().any()
    return table.frame["x"].astype(object).tolist()


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array(["a", None, "", "a"]), ["a", "", "", "a"]),
        (pa.array(["007", "1e5"], pa.large_string()), ["007", "1e5"]),
        (pa.array([True, False, None]), ["true", "false", ""]),
        (pa.array([2**63 - 1, -(2**63), None]), ["9223372036854775807", "-9223372036854775808", ""]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([0.1, 1.0, 1e-7, 2**53 + 0.0, None, float("nan"), float("inf")]), None),
        (pa.array([0.1, 16777216], pa.float32()), ["0.1", "1.6777216e+07"]),
        (pa.array([Decimal("1.50"), None]), ["1.50", ""]),
        (pa.array([date(2024, 2, 29)]), ["2024-02-29"]),
        (pa.array([time(1, 2, 3)]), ["01:02:03.000000"]),
        (pa.array([datetime(2024, 1, 2, 3, 4, 5), None]), ["2024-01-02T03:04:05", ""]),
        (pa.array([datetime(2024, 1, 2, 3, 4, 5, 120000)]), ["2024-01-02T03:04:05.120"]),
        (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
        (pa.array([datetime(2024, 1, 2, tzinfo=UTC)]), ["2024-01-02T00:00:00Z"]),
        (pa.array([["a", "b"], [], None, ["c", None]]), ["a|b", "", "", "c|"]),
        (pa.array([[1, 2], [0]]), ["1|2", "0"]),
        (pa.array([[0.5, 1.0]]), ["0.5|1.0"]),
        (pa.array([{"k": 1, "t": True}]), ['{"k": 1, "t": true}']),
        (pa.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", "", "a"]),
        (pa.array([3, 4, None, 3]).dictionary_encode(), ["3", "4", "", "3"]),
        (pa.array([b"abc", b"\xff\x00", None]), ["abc", "ff00", ""]),
        (pa.nulls(2), ["", ""]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_typed_values_become_the_text_that_gives_them_back(tmp_path, values, texts):
    if texts is None:
        texts = ["" if value is None or value != value else repr(value) for value in values.to_pylist()]
    assert texts_of(tmp_path, values) == texts


def test_every_row_group_is_read_in_order(tmp_path):
    values = pa.array([f"v{i % 501}" for i in range(5000)])
    assert texts_of(tmp_path, values, row_group_size=700) == values.to_pylist()


def test_the_categories_of_a_typed_column_are_distinct(tmp_path):
    path = tmp_path / "typed"
    pq.write_table(pa.table({"x": ["", None, "a"], "y": [0.0, float("nan"), None]}), path)
    frame = read_table(path).frame
    for column in frame:
        categories = frame[column].cat.categories
        assert len(set(categories)) == len(categories)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"a": [1]}), "the table has only one column"),
        (pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.int64())}), "the table has no rows"),
        (pa.table([[1], [2]], names=["a", "a"]), "the column name appears more than once"),
    ],
)
def test_a_parquet_table_without_use_is_refused(tmp_path, table, message):
    pq.write_table(table, tmp_path / "t")
    with pytest.raises(TableError, match=message):
        read_table(tmp_path / "t")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.99])
def test_a_parquet_file_cut_short_is_refused(tmp_path, part):
    path = tmp_path / "t"
    pq.write_table(pa.table({"a": np.arange(1000), "b": np.arange(1000)}), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(TableError, match="damaged"):
        read_table(path)


def test_a_parquet_file_with_spoilt_pages_is_refused(tmp_path):
    path = tmp_path / "t"
    pq.write_table(pa.table({"a": np.arange(1000), "b": np.arange(1000)}), path)
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(bytes(content))
    with pytest.raises(TableError, match="damaged"):
        read_table(path)


def test_the_stores_parquet_gives_the_table_back(tmp_path):
    source = tmp_path / "t.csv"
    rows = [f"{i:06d},{'' if i % 3 else 'x|y'},{i % 2}" for i in range(3000)]
    source.write_text("id,tags,click\n" + "\n".join(rows) + "\n")
    table = read_table(source)
    write_parquet(table, tmp_path / "table.parquet")
    again = read_parquet_table(tmp_path / "table.parquet", table.name, table.report)
    assert again.name == table.name
    assert again.report == table.report
    for column in table.frame:
        assert isinstance(again.frame[column].dtype, pd.CategoricalDtype)
        assert again.frame[column].astype(object).tolist() == table.frame[column].astype(object).tolist()


def test_a_subset_of_rows_is_stored_right(tmp_path):
    frame = pd.DataFrame({"a": pd.Categorical(["x", "", "z", "x"]), "b": pd.Categorical(["1", "0", "1", "0"])})
    table = Table("t", frame.iloc[[3, 1]].reset_index(drop=True), read_table(_csv(tmp_path)).report)
    write_parquet(table, tmp_path / "p")
    assert read_parquet_table(tmp_path / "p", "t", table.report).frame["a"].astype(object).tolist() == ["x", ""]


def _csv(tmp_path):
    path = tmp_path / "any.csv"
    path.write_text("a,b\n1,2\n")
    return path


def test_a_small_file_that_unpacks_to_a_large_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "packed.parquet"
    pq.write_table(pa.table({"a": np.zeros(2_000_000, np.int8), "y": np.zeros(2_000_000, np.int8)}), path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(TableError, match="larger than the limit"):
        read_table(path, max_bytes=1_000_000)
