"""Frames of any types as tables of text."""

from __future__ import annotations

import datetime
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather

from deepfm_core.errors import TableError
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import ReadReport

TIMES = pd.to_datetime(pd.Series(["2024-01-02", None, "2024-01-02 03:04:05"]), format="ISO8601")


def texts(values: object) -> list[str]:
    frame = table_from_frame(pd.DataFrame({"x": values})).frame
    assert isinstance(frame["x"].dtype, pd.CategoricalDtype)
    return frame["x"].astype(object).tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", None, "", " b "], ["a", "", "", " b "]),
        ([1, 2**62], ["1", str(2**62)]),
        ([1.0, 2.5, np.nan, -0.0, 1e20, np.inf], ["1", "2.5", "", "0", "1e+20", "inf"]),
        (np.array([0.1, 3], np.float32), ["0.1", "3"]),
        ([True, False], ["true", "false"]),
        (pd.array([True, None], "boolean"), ["true", ""]),
        (pd.array([1, None], "Int64"), ["1", ""]),
        (pd.array([1, None], "int64[pyarrow]"), ["1", ""]),
        (pd.array(["a", None], "string"), ["a", ""]),
        (pd.Categorical(["b", None, "a"]), ["b", "", "a"]),
        (pd.Categorical([1.0, None, 2.0]), ["1", "", "2"]),
        (TIMES, ["2024-01-02T00:00:00", "", "2024-01-02T03:04:05"]),
        pytest.param([["a", 2.0], [], None, ("b",), {"d", "c"}], ["a|2", "", "", "b", "c|d"], id="several"),
        ([1, "1", 1.5, None], ["1", "1", "1.5", ""]),
        (pd.arrays.SparseArray([0, 0, 3]), ["0", "0", "3"]),
        ([{"os": "a", "v": np.int64(1)}, {}, None], ['{"os": "a", "v": 1}', "{}", ""]),
        ([bytearray(b"ab"), b"\xff"], ["ab", "ff"]),
        ([1, True, "true", False], ["1", "true", "true", "false"]),
        ([[[1, 2], [3]], [{"a": 1}]], ["1|2|3", '{"a": 1}']),
        (pd.to_timedelta(["1h", None, "1.5s"]), ["3600", "", "1.5"]),
        (pd.array([["a"], ["b", "a"], None], pd.ArrowDtype(pa.list_(pa.string()))), ["a", "b|a", ""]),
        (pd.array([{"k": 1}], pd.ArrowDtype(pa.struct({"k": pa.int64()}))), ['{"k": 1}']),
        ([datetime.date(2024, 1, 2), datetime.time(1, 2)], ["2024-01-02", "01:02:00"]),
    ],
    ids=str,
)
def test_a_value_becomes_the_text_a_file_would_hold(values, expected):
    assert texts(values) == expected


def test_whole_numbers_read_the_same_once_a_missing_value_has_made_them_floats():
    assert texts([7, 123456789012]) == texts([7.0, 123456789012.0, np.nan])[:2]


def test_a_frame_gives_the_same_cells_as_the_file_it_was_read_from(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,x,0.5\n,y,2\n3,,\n")
    from_frame, from_file = table_from_frame(pd.read_csv(path)).frame, read_table(path).frame
    assert from_frame.astype(object).to_numpy().tolist() == from_file.astype(object).to_numpy().tolist()


def cyclic() -> list[object]:
    """Make a list that holds itself."""
    cell: list[object] = []
    cell.append(cell)
    return cell


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "an object of the type `object`, which has no text"),
        ((i for i in "ab"), "an object of the type `generator`, which has no text"),
        (cyclic(), "maximum recursion depth"),
    ],
    ids=["object", "generator", "cyclic"],
)
def test_a_value_without_a_text_is_refused_by_its_column(value: object, said: str) -> None:
    with pytest.raises(TableError, match=f"column `odd`: the column holds values that cannot be read.*{said}"):
        table_from_frame(pd.DataFrame({"odd": [value, value]}, dtype=object))
    assert texts(["<a at 0x7f>", "b"]) == ["<a at 0x7f>", "b"]


def test_a_column_name_that_stands_twice_is_named():
    with pytest.raises(TableError, match="column `a`: the column name appears more than once"):
        table_from_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["a", None, "b"], pa.string_view()), ["a", "", "b"]),
        (pa.array(np.array([0.5, 2.0], np.float16)), ["0.5", "2"]),
        (pa.array([(1, 2, 500_000_000), None], pa.month_day_nano_interval()), ["P1M2DT0.5S", ""]),
        (pa.array([b"\0" * 16, None], pa.binary(16)).cast(pa.uuid()), ["00000000-0000-0000-0000-000000000000", ""]),
    ],
    ids=["views", "half floats", "intervals", "identifiers"],
)
def test_types_of_arrow_that_pandas_knows_little_of_are_read_as_from_a_file(values, expected, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([values])))
        assert texts(column) == expected
    feather.write_feather(pa.table({"x": values, "y": [1] * len(values)}), tmp_path / "t")
    in_file = ["2.0" if text == "2" else text for text in expected]  # a float of a file was never an integer
    assert read_table(tmp_path / "t").frame["x"].tolist() == in_file


@pytest.mark.parametrize("form", ["frame", "parquet", "feather"])
def test_numbers_declared_as_categories_are_categories(form: str, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 40, 400)
    declared = pd.Categorical(drawn * 7)
    frame = pd.DataFrame({"level": declared, "number": drawn * 7.5, "row": pd.Categorical(range(400))})
    frame["text"], frame["clicked"] = pd.Categorical(drawn.astype(str)), np.arange(400) % 2
    table = table_from_frame(frame)
    if form == "parquet":
        frame.to_parquet(tmp_path / "t")
    if form == "feather":
        feather.write_feather(frame, tmp_path / "t")
    if form != "frame":
        table = read_table(tmp_path / "t")
    assert table.report.declared == ("level", "row")
    assert ReadReport.from_dict(json.loads(json.dumps(table.report.to_dict()))) == table.report
    schema = infer_schema(table, "clicked")
    level = schema.role("level")
    assert (level.kind, level.reason) == (Kind.CATEGORICAL, "40 distinct values, declared as categories")
    assert schema.role("number").kind is Kind.PIECEWISE
    assert schema.role("row").kind is Kind.IGNORE


def test_numbers_longer_than_arrow_has_are_read() -> None:
    assert texts(np.array([1.5, 2.0, np.nan], np.longdouble)) == ["1.5", "2", ""]
