"""Parquet in, whatever its types, and the store's own tables."""

import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.dataframe import table_from_frame
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
        (pa.array([time(1, 2, 3)]), ["01:02:03"]),
        (pa.array([1_500_000, 36_000_000_000], pa.time64("us")), ["00:00:01.5", "10:00:00"]),
        (pa.array([1500, 3_600_000, None], pa.duration("ms")), ["1.5", "3600", ""]),
        (pa.array([1, -1], pa.duration("ns")), ["0.000000001", "-0.000000001"]),
        (pa.array([b"\0" * 16, None], pa.binary(16)).cast(pa.uuid()), ["00000000-0000-0000-0000-000000000000", ""]),
        (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', None])), ['{"a": 1}', ""]),
        (pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())), ['{"k": 1}', "{}", ""]),
        (pa.array([{"s": {"v": 0.5}, "t": [1, 2]}, None]), ['{"s": {"v": 0.5}, "t": [1, 2]}', ""]),
        (pa.array([[2**40], [], None], pa.list_(pa.timestamp("s"))), [str(np.datetime64(2**40, "s")), "", ""]),
        (pa.array([2**40, None], pa.timestamp("s")), [str(np.datetime64(2**40, "s")), ""]),
        (pa.array([[datetime(2024, 1, 2)]]), ["2024-01-02T00:00:00"]),
        (pa.array([[[1, 0], [3]], [[]]]), ["1|0|3", ""]),
        (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), ["1|2", ""]),
        (pa.array([1.5, None], pa.float16()), ["1.5", ""]),
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


def frame_of(tmp_path: Path, column: object) -> Table:
    pd.DataFrame({"x": column, "click": 0}).to_parquet(tmp_path / "t")
    return read_table(tmp_path / "t")


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pd.period_range("2020-01", periods=2, freq="M"), ["2020-01", "2020-02"]),
        (pd.Series(pd.arrays.IntervalArray.from_breaks([0, 10, 20])), ["(0, 10]", "(10, 20]"]),
        (pd.to_timedelta([1, 2], unit="h"), ["3600", "7200"]),
        (pd.array(["a", None], "string"), ["a", ""]),
    ],
)
def test_a_file_that_pandas_wrote_gives_what_its_frame_gives(tmp_path, column, texts):
    table = frame_of(tmp_path, column)
    assert table.frame["x"].astype(object).tolist() == texts
    assert table_from_frame(pd.DataFrame({"x": column})).frame["x"].astype(object).tolist() == texts


def test_periods_are_known_before_pandas_has_used_them(tmp_path):
    frame_of(tmp_path, pd.period_range("2020-01", periods=2, freq="M"))
    code = "import sys; from deepfm_core.tables.reader import read_table"
    code += "; print(*read_table(sys.argv[1]).frame['x'].astype(object))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "t"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["2020-01", "2020-02"]


def test_the_row_numbers_that_pandas_wrote_are_left_out_and_said(tmp_path):
    pd.DataFrame({"a": list("xyz"), "b": [1, 0, 1]}, index=[5, 3, 9]).to_parquet(tmp_path / "t")
    table = read_table(tmp_path / "t")
    assert list(table.frame.columns) == ["a", "b"]
    assert table.report.notes == ("`__index_level_0__`, the row numbers that pandas wrote, was left out.",)


def test_an_index_with_a_name_is_a_column(tmp_path):
    frame = pd.DataFrame({"a": list("xyz"), "b": [1, 0, 1]}, index=pd.Index([5, 3, 9], name="user"))
    frame.to_parquet(tmp_path / "t")
    assert set(read_table(tmp_path / "t").frame.columns) == {"a", "b", "user"}


@pytest.mark.parametrize("compression", ["uncompressed", "lz4"])
def test_feather_is_read_like_parquet(tmp_path, compression):
    values = pa.table(
        {
            "a": pa.array(["x", None, "y"]),
            "b": pa.array([1.5, 2.0, None]),
            "views": pa.array(["u", "v", "w"], pa.string_view()),
            "runs": pa.array([7, 7, 8]).dictionary_encode(),
            "ended": pc.run_end_encode(pa.array([7, 7, 8])),
        }
    )
    feather.write_feather(values, tmp_path / "t", compression=compression)
    table = read_table(tmp_path / "t")
    assert table.report.format == "arrow"
    assert table.frame.astype(object).to_numpy().tolist() == [
        ["x", "1.5", "u", "7", "7"],
        ["", "2.0", "v", "7", "7"],
        ["y", "", "w", "8", "8"],
    ]


def test_a_feather_file_cut_short_is_refused(tmp_path):
    feather.write_feather(pa.table({"a": np.arange(1000), "b": np.arange(1000)}), tmp_path / "t")
    content = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(content[: len(content) // 2])
    with pytest.raises(TableError, match="the Arrow file is damaged"):
        read_table(tmp_path / "t")


def test_a_column_without_a_text_is_left_out_and_named(tmp_path):
    union = pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    with pa.OSFile(str(tmp_path / "t"), "wb") as file:
        odd = pa.table({"a": [1, 2], "b": ["x", "y"], "odd": union})
        with pa.ipc.new_file(file, odd.schema) as writer:
            writer.write_table(odd)
    table = read_table(tmp_path / "t")
    if "odd" in table.frame:
        assert table.frame["odd"].astype(object).tolist() == ["1", "2"]
    else:
        assert "Column `odd` is of type" in table.report.notes[0]


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


def test_a_long_table_of_distinct_texts_is_stored_once(tmp_path):
    """Each group of rows had the dictionary of the whole column: 520 MB of a file of 171 MB."""
    texts = pd.array([f"{number:07d}" for number in range(1_100_000)], dtype="str")
    frame = pd.DataFrame({"id": pd.Categorical(texts), "click": pd.Categorical(["0", "1"] * (len(texts) // 2))})
    write_parquet(Table("t", frame, read_table(_csv(tmp_path)).report), tmp_path / "p")
    metadata = pq.read_metadata(tmp_path / "p")
    assert metadata.num_row_groups == 1
    assert metadata.row_group(0).column(0).total_uncompressed_size < 16 * len(texts)


def test_a_stored_table_is_read_a_few_columns_at_a_time(tmp_path, monkeypatch):
    columns = {"a": ["x", "y"], "a.b": ["1", "2"], "a.b.c": ["é", ""], "click": ["0", "1"]}
    frame = pd.DataFrame({name: pd.Categorical(cells) for name, cells in columns.items()})
    table = Table("t", frame, read_table(_csv(tmp_path)).report)
    write_parquet(table, tmp_path / "p")
    monkeypatch.setattr("deepfm_core.tables.parquet._READ_AT_ONCE", 1)
    asked: list[list[str]] = []
    read = pq.ParquetFile.read

    def noted(file: pq.ParquetFile, columns: list[str]) -> pa.Table:
        asked.append(columns)
        return read(file, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read", noted)
    again = read_parquet_table(tmp_path / "p", "t", table.report).frame
    assert {name: again[name].astype(object).tolist() for name in again} == columns
    assert asked == [[name] for name in columns]


def test_a_table_stored_in_several_groups_of_rows_is_read(tmp_path):
    """Tables stored earlier have one for each million rows."""
    whole = pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode(), "click": pa.array(["0", "1", "1"])})
    pq.write_table(whole, tmp_path / "p", row_group_size=1, write_page_checksum=True)
    again = read_parquet_table(tmp_path / "p", "t", read_table(_csv(tmp_path)).report).frame
    assert [again[name].astype(object).tolist() for name in again] == [["x", "y", "x"], ["0", "1", "1"]]


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


def test_texts_that_are_no_utf8_are_replaced_and_said(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(np.array([0, 1, 2, 3, 4], np.int32)), pa.py_buffer(b"\xffa\xfea")
    odd = pa.Array.from_buffers(pa.string(), 4, [None, offsets, data])
    pq.write_table(pa.table({"odd": odd, "b": [1, 2, 3, 4]}), tmp_path / "t")
    table = read_table(tmp_path / "t")
    assert table.frame["odd"].tolist() == ["\ufffd", "a", "\ufffd", "a"]
    assert table.report.notes == ("Column `odd` holds bytes that are not valid UTF-8; they read as `\ufffd`.",)


def test_what_is_said_of_columns_stays_where_many_files_are_written_as_one(tmp_path):
    for day in (1, 2):
        (tmp_path / "d" / f"day={day}").mkdir(parents=True)
        frame = pd.DataFrame({"lev": pd.Categorical([day, 7, 9]), "line\nbreak": pd.Categorical([1, 2, 2])})
        frame.assign(click=[0, 1, 0]).to_parquet(tmp_path / "d" / f"day={day}" / "part.parquet")
    gathered = read_table(tmp_path / "d")
    write_parquet(gathered, tmp_path / "one")
    for report in (gathered.report, read_table(tmp_path / "one").report):
        assert (report.declared, report.folders) == (("lev", "line\nbreak"), ("day",))
