"""Read and write Parquet: any typed table as text, and the store's own tables of text.

`read_parquet` reads a user's file. `write_parquet` and `read_parquet_table` are for the store, which keeps text only.
"""

from __future__ import annotations

import json
import math
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from deepfm_core.errors import Problem, TableError
from deepfm_core.tables.csv_parser import categorical, coded
from deepfm_core.tables.decoding import refuse_size
from deepfm_core.tables.no_rows import LeftOut, without_no_rows
from deepfm_core.tables.table import ReadReport, Table

MAGIC = b"PAR1"
LIST_SEPARATOR = "|"

_ROWS_PER_GROUP = 1 << 20
_DICTIONARY_BYTES = 1 << 30
"""Size of a dictionary page. Above it (1 MB by default) Parquet drops the dictionary, which a column of ids needs."""


def read_parquet(path: Path, name: str, max_bytes: int | None = None, *, fewest_columns: int = 2) -> Table:
    """Read any Parquet file; each value becomes the shortest text that represents it exactly.

    Nulls and NaN become empty cells, truth values `true` and `false`, timestamps ISO 8601, and lists are joined with
    `|`.

    Raises:
        TableError: the file is damaged or larger than `max_bytes` when decompressed, or has fewer columns than
            `fewest_columns`, a column name twice, or no rows.
    """
    subject = f"Table `{name}`"
    try:
        with pq.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            problems = _problems(columns, file.metadata.num_rows, fewest_columns)
            if problems:
                raise TableError(subject, problems)
            refuse_size(_unpacked(file.metadata), max_bytes, subject)
            texts = {column: categorical([coded(_as_texts(file.read([column]).column(0)))]) for column in columns}
    except (pa.ArrowException, OSError) as error:
        problem = Problem("the Parquet file is damaged or cut short", "Write or download it again.", value=str(error))
        raise TableError(subject, [problem]) from error
    frame, no_rows = pd.DataFrame(texts, copy=False), LeftOut()
    if fewest_columns > 1:
        frame, no_rows = without_no_rows(frame)
    report = ReadReport(
        "parquet",
        delimiter=None,
        header_line=None,
        rows=len(frame),
        skipped=no_rows.problems,
        skipped_count=no_rows.count,
    )
    return Table(name, frame, report)


def write_parquet(table: Table, path: Path) -> None:
    """Write a table so that `read_parquet_table` reads the same cells, quickly."""
    arrays = [_dictionary(table.frame[column].array) for column in table.frame.columns]
    pq.write_table(
        pa.table(arrays, names=list(table.frame.columns)),
        path,
        row_group_size=_ROWS_PER_GROUP,
        compression="lz4",
        use_dictionary=True,
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        write_statistics=False,
    )


def read_parquet_table(path: Path, name: str, report: ReadReport) -> Table:
    """Read a table that `write_parquet` wrote."""
    with pq.ParquetFile(path, memory_map=True, read_dictionary=pq.read_schema(path).names) as file:
        arrow = file.read()
    columns = {column: categorical([coded(arrow.column(i))]) for i, column in enumerate(arrow.column_names)}
    return Table(name, pd.DataFrame(columns, copy=False), report)


def _dictionary(column: Any) -> pa.DictionaryArray:
    codes, categories = column.codes, column.categories
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(categories, pa.string()))


def _problems(columns: list[str], rows: int, fewest_columns: int) -> list[Problem]:
    remedy = "Give every column a name of its own."
    twice = sorted({column for column in columns if columns.count(column) > 1})
    problems = [Problem("the column name appears more than once", remedy, column=column) for column in twice]
    if len(columns) < fewest_columns:
        problems.append(Problem("the table has only one column", "Give a label and at least one field."))
    if rows == 0:
        problems.append(Problem("the table has no rows", "Give at least one row."))
    return problems


def _unpacked(metadata: Any) -> int:
    """Return the bytes of a file without compression; at least two bytes per cell, which its text would take."""
    sizes = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return max(int(sum(sizes)), 2 * int(metadata.num_rows) * int(metadata.num_columns))


def _as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn a column of any type into chunks of dictionary-encoded text, without nulls."""
    if pt.is_nested(column.type):
        column = pa.chunked_array([pa.array((cell_text(value) for value in column.to_pylist()), pa.string())])
    if not pt.is_dictionary(column.type):
        column = column.dictionary_encode()
    return pa.chunked_array([_text_chunk(chunk) for chunk in column.unify_dictionaries().chunks])


def _text_chunk(chunk: pa.DictionaryArray) -> pa.DictionaryArray:
    texts = pa.concat_arrays([pc.fill_null(_texts(chunk.dictionary), ""), pa.array([""])])
    distinct = texts.dictionary_encode()  # a null and an empty text are one text now
    indices = pc.fill_null(chunk.indices.cast(pa.int32()), len(texts) - 1)
    return pa.DictionaryArray.from_arrays(distinct.indices.take(indices), distinct.dictionary)


def _texts(values: pa.Array) -> pa.Array:
    """Convert each distinct value to the shortest text that represents it exactly."""
    kind = values.type
    if pt.is_floating(kind):
        numbers = values.to_numpy(zero_copy_only=False)
        return pa.array((cell_text(number) for number in numbers), pa.string())
    if pt.is_timestamp(kind):
        return pc.replace_substring(_coarsest(values).cast(pa.string()), " ", "T")
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return pa.array((cell_text(value) for value in values.to_pylist()), pa.string())
    return values.cast(pa.string())


def _coarsest(times: pa.Array) -> pa.Array:
    """Cast timestamps to the coarsest unit that loses nothing, so that whole seconds have no fraction."""
    for unit in ("s", "ms", "us"):
        try:
            return times.cast(pa.timestamp(unit, times.type.tz))
        except pa.ArrowInvalid:
            continue
    return times


def cell_text(value: Any) -> str:
    """Convert one value to text: a missing one to an empty text, a list to its values joined with `|`."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() | np.floating():
            return "" if math.isnan(value) else str(value)
        case bytes():
            return value.decode() if _is_utf8(value) else value.hex()
        case dict():
            return json.dumps(value, default=cell_text, ensure_ascii=False)
        case list():
            return LIST_SEPARATOR.join(cell_text(item) for item in value)
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
