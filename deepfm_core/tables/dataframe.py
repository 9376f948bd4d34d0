"""Turn a pandas frame of any types into a table of text: start with `table_from_frame`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

from deepfm_core.errors import Problem, TableError
from deepfm_core.tables.csv_parser import Coded, categorical, coded
from deepfm_core.tables.parquet import LIST_SEPARATOR, as_texts, cell_text
from deepfm_core.tables.table import ReadReport, Table

_SETS = (set, frozenset)
_AS_TEXT = (Mapping, bytearray, memoryview, bool, np.bool_)
_NESTED = (list, tuple, np.ndarray, *_SETS)
_EXACT = 2.0**53
"""From this size on, float64 does not represent every whole number."""


def table_from_frame(frame: pd.DataFrame, name: str = "DataFrame") -> Table:
    """Turn a frame of any types into a table of text, as if it were read from a file with the same values.

    - Missing values (None, NaN, NaT, NA) become empty cells.
    - A whole number becomes `3` from an integer and from a float column, because a single missing value turns integers
      into floats.
    - Truth values become `true` and `false`, points in time ISO 8601.
    - The values of lists, tuples and sets are joined with `|`.

    Raises:
        TableError: a column name appears twice.
    """
    names = [str(column) for column in frame.columns]
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        remedy = "Give every column a name of its own."
        problems = [Problem("the column name appears more than once", remedy, column=column) for column in twice]
        raise TableError(name, problems)
    columns = {column: _texts(frame.iloc[:, place]) for place, column in enumerate(names)}
    texts = pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))
    declared = tuple(name for place, name in enumerate(names) if _is_declared(frame.dtypes.iloc[place]))
    report = ReadReport("DataFrame", delimiter=None, header_line=None, rows=len(frame), declared=declared)
    return Table(name, texts, report)


def _is_declared(kind: Any) -> bool:
    """Say whether a column's numbers were declared to be categories."""
    return isinstance(kind, pd.CategoricalDtype) and is_numeric_dtype(kind.categories.dtype)


def _texts(column: pd.Series) -> pd.Categorical:
    """Convert a column to text; each distinct value is converted once.

    Raises:
        TableError: it holds values that no text is known for.
    """
    try:
        if isinstance(column.dtype, pd.ArrowDtype) and _as_in_files(column.dtype.pyarrow_dtype):
            return categorical([coded(as_texts(pa.chunked_array(column.array.__arrow_array__())))])
        if column.dtype == object:
            column = column.map(_hashable)
        codes, distinct = pd.factorize(column)
        texts = pa.concat_arrays([_written(distinct), pa.array([""], pa.string())]).dictionary_encode()
    except (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError, pa.ArrowException) as error:
        remedy = "Convert it to numbers, texts, times or lists of these."
        problem = Problem(
            "the column holds values that cannot be read", remedy, column=str(column.name), value=str(error)
        )
        raise TableError("DataFrame", [problem]) from error
    places = texts.indices.to_numpy()[codes]  # a missing value has code -1: the last text, ""
    return categorical([Coded(places, texts.dictionary)])


def _as_in_files(kind: pa.DataType) -> bool:
    """Return whether a type of Arrow is one that pandas knows little of, so that it is read as from a file."""
    unknown = isinstance(kind, pa.BaseExtensionType) or pt.is_interval(kind) or pt.is_run_end_encoded(kind)
    return unknown or pt.is_nested(kind) or pt.is_string_view(kind) or pt.is_binary_view(kind)


def _hashable(value: Any) -> Any:
    """Give what can be told from other values: lists and the like as their text, and `True` as another than 1."""
    if isinstance(value, _NESTED):
        items = sorted(value, key=str) if isinstance(value, _SETS) else value
        return LIST_SEPARATOR.join(_text(item) for item in items)
    return cell_text(value) if isinstance(value, _AS_TEXT) else value


def _written(distinct: pd.Index) -> pa.Array:
    """Convert distinct values to an array of text."""
    if not is_numeric_dtype(distinct.dtype) or is_bool_dtype(distinct.dtype) or is_complex_dtype(distinct.dtype):
        return pa.array([_text(value) for value in distinct.tolist()], pa.string())
    numbers = distinct.to_numpy()
    if numbers.dtype.itemsize > np.dtype(np.float64).itemsize:
        numbers = numbers.astype(np.float64)  # Arrow has no longer ones
    texts = pa.array(numbers).cast(pa.string())
    if numbers.dtype.kind != "f":
        return texts
    # A whole number that float64 holds exactly is written without its `.0`.
    whole = (np.floor(numbers) == numbers) & (np.abs(numbers.astype(np.float64)) < _EXACT)
    integers = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.string())
    return pc.if_else(whole, integers, texts)


def _text(value: Any) -> str:
    return cell_text(int(value) if isinstance(value, float) and value.is_integer() else value)
