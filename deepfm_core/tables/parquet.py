"""Read Parquet and Arrow files, any typed table as text, and write the store's own tables of text.

`read_parquet` and `read_arrow` read a user's file. `write_parquet` and `read_parquet_table` are for the store, which
keeps text only.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from deepfm_core.errors import REASON, Problem, TableError
from deepfm_core.tables.columnar.budget import CELL, TEXTS, Budget, parts_of, weight
from deepfm_core.tables.csv_parser import Coded, categorical, coded
from deepfm_core.tables.decoding import refuse_columns, refuse_size
from deepfm_core.tables.no_rows import LeftOut, without_no_rows
from deepfm_core.tables.table import NO_ROWS, ReadReport, Table, runs_of

MAGIC = b"PAR1"
ARROW_MAGIC = b"ARROW1"
LIST_SEPARATOR = "|"

_BY_PYTHON = (
    pt.is_nested,
    pt.is_interval,
    pt.is_binary,
    pt.is_large_binary,
    pt.is_fixed_size_binary,
    pt.is_binary_view,
)
"""Types that Arrow does not turn into text as it should be."""
_WITHOUT_DICTIONARY = (pt.is_nested, pt.is_interval, pt.is_string_view, pt.is_binary_view)
"""Types that Arrow finds no distinct values of."""
_READ_AT_ONCE = 1 << 25
"""Bytes of columns of a stored table that are read at once: together, columns of distinct texts take several times the
memory of the table that is made of them."""
_DICTIONARY_BYTES = 1 << 30
"""Size of a dictionary page. Above it (1 MB by default) Parquet drops the dictionary, which a column of ids needs."""


def read_parquet(
    path: Path, name: str, max_bytes: int | None = None, *, fewest_columns: int = 2, all_rows: bool = False
) -> Table:
    """Read any Parquet file; each value becomes the shortest text that represents it exactly (see docs/tables.md).

    A column whose type no text is known for is left out, with a note. So are the row numbers that pandas wrote and, but
    for `all_rows`, records without a value.

    Raises:
        TableError: the file is damaged or larger than `max_bytes` when decompressed, or has fewer columns than
            `fewest_columns`, a column name twice, or no rows.
    """
    subject = f"Table `{name}`"
    budget = Budget(max_bytes, subject)
    with _readable(name, "Parquet"):
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
        refuse_columns(schema.names, subject)
        refuse_size(_unpacked(metadata), max_bytes, subject)
        budget.refuse_announced(metadata)
        with pq.ParquetFile(path, read_dictionary=with_dictionary(schema, metadata)) as file:
            columns = partial(_column, file, schema, budget)
            return _table(schema, metadata.num_rows, columns, name, "parquet", fewest_columns, all_rows)


def _column(file: pq.ParquetFile, schema: pa.Schema, budget: Budget, column: str) -> pa.ChunkedArray:
    return budget.column(file, column, schema.field(column).type)


def with_dictionary(schema: pa.Schema, metadata: pq.FileMetaData) -> list[str]:
    """Return the columns of texts stored as a dictionary: one text of a million letters may stand in all rows."""
    texts = {field.name for field in schema if any(is_text(field.type) for is_text in TEXTS)}
    packed: dict[str, bool] = {}
    for part in parts_of(metadata):
        with_dictionary = any("DICTIONARY" in name for name in part.encodings)
        packed[part.path_in_schema] = packed.get(part.path_in_schema, True) and with_dictionary
    return sorted(name for name in texts if packed.get(name))


def read_arrow(
    path: Path, name: str, max_bytes: int | None = None, *, fewest_columns: int = 2, all_rows: bool = False
) -> Table:
    """Read an Arrow IPC file, which Feather files are, too, as `read_parquet` reads Parquet.

    Raises:
        TableError: as `read_parquet` does.
    """
    with _readable(name, "Arrow"), pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        refuse_columns(file.schema.names, f"Table `{name}`")
        budget = Budget(max_bytes, f"Table `{name}`")
        batches = list[pa.RecordBatch]()
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            for column in batch.columns:
                _validate(column)
            budget.charge(sum(max(weight(column), CELL * len(batch)) for column in batch.columns))
            batches.append(batch)
        whole = pa.Table.from_batches(batches, file.schema)
        refuse_size(whole.nbytes, max_bytes, f"Table `{name}`")
        return _table(whole.schema, len(whole), whole.column, name, "arrow", fewest_columns, all_rows)


def _validate(column: pa.Array) -> None:
    """Check that a column points into its own buffers alone: Arrow trusts a file, and the process would end."""
    bare = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}  # texts that are no UTF-8 are read, too
    (column.view(bare[column.type]) if column.type in bare else column).validate(full=True)


@contextmanager
def _readable(name: str, kind: str) -> Iterator[None]:
    importlib.import_module("pandas.core.arrays.arrow.extension_types")  # tells Arrow of periods and intervals
    try:
        yield
    except (MemoryError, TableError):
        raise  # Arrow's lack of memory is an ArrowException, too
    except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        # the latter are those of metadata that is damaged
        problem = Problem(
            f"the {kind} file is damaged or cut short", "Write or download it again.", value=str(error), how=REASON
        )
        raise TableError(f"Table `{name}`", [problem]) from error


def _table(
    schema: pa.Schema,
    rows: int,
    column_of: Callable[[str], pa.ChunkedArray],
    name: str,
    kind: str,
    fewest_columns: int,
    all_rows: bool,
) -> Table:
    if problems := _problems(schema.names, rows, fewest_columns):
        raise TableError(f"Table `{name}`", problems)
    texts, notes = dict[str, pd.Categorical](), list[str]()
    index = _row_numbers(schema)
    for field in schema:
        if field.name in index and len(schema) - len(index) >= fewest_columns:
            notes.append(f"`{field.name}`, the row numbers that pandas wrote, was left out.")
            continue
        values = column_of(field.name)
        try:
            texts[field.name], valid = text_column(values)
            if not valid:
                notes.append(f"Column `{field.name}` holds bytes that are not valid UTF-8; they read as `\ufffd`.")
        except MemoryError:
            raise
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            notes.append(f"Column `{field.name}` is of type {field.type}, which has no text; it was left out.")
    if len(texts) < fewest_columns:
        remedy = "Write its columns as numbers, texts, times or lists of these."
        raise TableError(
            f"Table `{name}`", [Problem("too few columns can be read", remedy, value="; ".join(notes), how=REASON)]
        )
    frame, no_rows = pd.DataFrame(texts, copy=False), LeftOut()
    if fewest_columns > 1 and not all_rows:
        frame, no_rows = without_no_rows(frame)
    if not len(frame):
        raise TableError(f"Table `{name}`", [Problem(NO_ROWS, "Give at least one row with a value.")])
    report = ReadReport(
        kind,
        delimiter=None,
        header_line=None,
        rows=len(frame),
        skipped=no_rows.problems,
        skipped_count=no_rows.count,
        notes=tuple(notes),
        left_out=runs_of(no_rows.records),
        folders=_noted(schema, "folders"),
        declared=tuple(name for name in (*_declared(schema), *_noted(schema, "declared")) if name in texts),
    )
    return Table(name, frame, report)


def _declared(schema: pa.Schema) -> Iterator[str]:
    """Yield the columns of numbers that were declared to be categories, as pandas notes of its `category`."""
    columns = (schema.pandas_metadata or {}).get("columns", [])
    noted = {column.get("name") for column in columns if column.get("pandas_type") == "categorical"}
    for field in schema:
        in_kind = pt.is_dictionary(field.type)
        kind = field.type.value_type if in_kind else field.type
        if (in_kind or field.name in noted) and (pt.is_integer(kind) or pt.is_floating(kind)):
            yield field.name


_NOTED = b"deepfm_noted"
"""The lists of a report that say what a table of text does not show of its columns."""


def _noted(schema: pa.Schema, what: str) -> tuple[str, ...]:
    """Return the columns of one such list, as `write_parquet` wrote it."""
    named = json.loads((schema.metadata or {}).get(_NOTED, b"{}")).get(what, ())
    return tuple(name for name in schema.names if name in named)


def text_column(values: pa.ChunkedArray) -> tuple[pd.Categorical, bool]:
    """Turn a column of any type into a Categorical of text, and say whether all its texts were valid UTF-8.

    Raises:
        ValueError, TypeError, OverflowError, pyarrow.ArrowException: no text is known for its type.
    """
    part, valid = _valid(coded(as_texts(values)))
    return categorical([part]), valid


def _valid(part: Coded) -> tuple[Coded, bool]:
    """Return a column whose texts are all UTF-8, as its type promises, and whether they were."""
    try:
        part.texts.validate(full=True)
    except pa.ArrowInvalid:
        replaced = [text.decode("utf-8", "replace") for text in part.texts.cast(pa.large_binary()).to_pylist()]
        joined = pa.array(replaced, pa.large_string()).dictionary_encode()
        return Coded(np.asarray(joined.indices)[part.codes], joined.dictionary), False
    return part, True


def _row_numbers(schema: pa.Schema) -> set[str]:
    """Return the columns that pandas wrote for an index of whole numbers without a name."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    names = {name for name in index if isinstance(name, str) and re.fullmatch(r"__index_level_\d+__", name)}
    return {name for name in names if name in schema.names and pt.is_integer(schema.field(name).type)}


def write_parquet(table: Table, path: Path) -> None:
    """Write a table so that `read_parquet_table` reads the same cells, quickly.

    All rows are one group: each group would have the whole dictionary of a column once more.
    """
    arrays = [_dictionary(table.frame[column].array) for column in table.frame.columns]
    whole = pa.table(arrays, names=list(table.frame.columns))
    noted = {"folders": table.report.folders, "declared": table.report.declared}
    if any(noted.values()):
        whole = whole.replace_schema_metadata({_NOTED: json.dumps(noted).encode()})
    pq.write_table(
        whole,
        path,
        row_group_size=max(len(whole), 1),
        compression="lz4",
        use_dictionary=True,
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        write_statistics=False,
        write_page_checksum=True,
    )


def read_parquet_table(path: Path, name: str, report: ReadReport) -> Table:
    """Read a table that `write_parquet` wrote.

    Raises:
        pyarrow.ArrowException, OSError: the file is damaged; every page has a checksum.
    """
    names = pq.read_schema(path).names
    columns: dict[str, pd.Categorical] = {}
    with pq.ParquetFile(path, memory_map=True, read_dictionary=names, page_checksum_verification=True) as file:
        for some in _portions(file.metadata):
            arrow = file.read(columns=[names[number] for number in some])
            columns |= {names[number]: categorical([coded(arrow.column(names[number]))]) for number in some}
            del arrow
            if len(some) < len(names):
                pa.default_memory_pool().release_unused()
    return Table(name, pd.DataFrame(columns, copy=False), report)


def _portions(metadata: pq.FileMetaData) -> Iterator[list[int]]:
    """Yield the numbers of a stored table's columns, in order, as many at a time as are read at once."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    some: list[int] = []
    bytes_ = 0
    for column in range(metadata.num_columns):
        some.append(column)
        bytes_ += sum(group.column(column).total_uncompressed_size for group in groups)
        if bytes_ > _READ_AT_ONCE:
            yield some
            some, bytes_ = [], 0
    if some:
        yield some


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
        problems.append(Problem(NO_ROWS, "Give at least one row."))
    return problems


def _unpacked(metadata: Any) -> int:
    """Return the bytes of a file without compression; at least two bytes per cell, which its text would take."""
    sizes = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return max(int(sum(sizes)), 2 * int(metadata.num_rows) * int(metadata.num_columns))


def as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn a column of any type into chunks of dictionary-encoded text, without nulls.

    Raises:
        ValueError, TypeError, OverflowError, pyarrow.ArrowException: no text is known for its type.
    """
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([_extension_texts(chunk) for chunk in column.chunks], pa.string())
    elif pt.is_run_end_encoded(column.type):
        column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks])
    if any(is_kind(column.type) for is_kind in _WITHOUT_DICTIONARY):
        column = pa.chunked_array([_texts(chunk) for chunk in column.chunks], pa.string())
    if not pt.is_dictionary(column.type):
        column = column.dictionary_encode()
    return pa.chunked_array([_text_chunk(chunk) for chunk in column.unify_dictionaries().chunks])


def _text_chunk(chunk: pa.DictionaryArray) -> pa.DictionaryArray:
    texts = pa.concat_arrays([pc.fill_null(_texts(chunk.dictionary), ""), pa.array([""])])
    distinct = texts.dictionary_encode()  # a null and an empty text are one text now
    indices = pc.fill_null(chunk.indices.cast(pa.int32()), len(texts) - 1)
    return pa.DictionaryArray.from_arrays(distinct.indices.take(indices), distinct.dictionary)


def _texts(values: pa.Array) -> pa.Array:
    """Convert each value to the shortest text that represents it exactly."""
    kind = values.type
    if pt.is_floating(kind):
        numbers = values.to_numpy(zero_copy_only=False)
        return pa.array((cell_text(number) for number in numbers), pa.string())
    if pt.is_timestamp(kind):
        return _moments(values)
    if pt.is_time(kind):
        whole = pc.replace_substring_regex(values.cast(pa.string()), r"\.0+$", "")
        return pc.replace_substring_regex(whole, r"(\.\d*[1-9])0+$", r"\1")
    if pt.is_duration(kind):
        return _seconds(values)
    if isinstance(kind, pa.BaseExtensionType):
        return _extension_texts(values)
    if any(is_kind(kind) for is_kind in _BY_PYTHON):
        return pa.array((cell_text(value) for value in _python(values)), pa.string())
    return values.cast(pa.string())


def _extension_texts(values: pa.Array) -> pa.Array:
    """Convert values of a logical type that stands upon another one: UUID, JSON, pandas' periods and intervals."""
    name = getattr(values.type, "extension_name", "")
    if name == "arrow.uuid":
        return pa.array(None if value is None else str(UUID(bytes=value)) for value in values.storage.to_pylist())
    if name.startswith("pandas."):
        return pa.array(None if value is pd.NaT or value != value else str(value) for value in values.to_pandas())
    return _texts(values.storage).cast(pa.string())


def _moments(values: pa.Array) -> pa.Array:
    values = _coarsest(values)
    texts = pc.replace_substring(values.cast(pa.string()), " ", "T")
    if not pc.any(pc.starts_with(texts, "<")).as_py():
        return texts
    # Beyond the years that Arrow writes, NumPy writes the time without its zone, which is UTC.
    written = np.datetime_as_string(np.asarray(values.cast(pa.timestamp(values.type.unit))))
    return pa.array((None if text == "NaT" else text for text in written.tolist()), pa.string())


def _seconds(values: pa.Array) -> pa.Array:
    """Write durations as seconds, with as many decimals as needed."""
    unit = Decimal(1).scaleb(-{"s": 0, "ms": 3, "us": 6, "ns": 9}[values.type.unit])
    counts = values.cast(pa.int64()).to_pylist()
    return pa.array((None if count is None else seconds_text(count * unit) for count in counts), pa.string())


def seconds_text(seconds: Decimal) -> str:
    """Write a number of seconds without needless zeros."""
    text = f"{seconds:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _python(values: pa.Array) -> list[Any]:
    """Convert values to what `cell_text` knows: lists, dicts, numbers, truth values, bytes and texts of times."""
    kind = values.type
    if pt.is_map(kind):
        keys, items = _python(values.keys), _python(values.items)
        pairs = [(cell_text(key), item) for key, item in zip(keys, items, strict=True)]
        return [None if span is None else dict(pairs[span]) for span in _spans(values)]
    if pt.is_struct(kind):
        parts = {field.name: _python(values.field(i)) for i, field in enumerate(kind)}
        known = values.is_valid().to_pylist()
        return [{n: part[i] for n, part in parts.items()} if known[i] else None for i in range(len(values))]
    if pt.is_fixed_size_list(kind):
        values = values.cast(pa.list_(kind.value_type))
    if pt.is_list(values.type) or pt.is_large_list(values.type):
        items = _python(values.values)
        return [None if span is None else items[span] for span in _spans(values)]
    if pt.is_interval(kind):
        return [None if value is None else _interval(value) for value in values.to_pylist()]
    if pt.is_temporal(kind) or isinstance(kind, pa.BaseExtensionType):
        return list(_texts(values).to_pylist())
    return list(values.to_pylist())


def _interval(value: pa.MonthDayNano) -> str:
    """Write months, days and nanoseconds as ISO 8601 does: `P1M2DT0.5S`."""
    return f"P{value.months}M{value.days}DT{seconds_text(Decimal(value.nanoseconds).scaleb(-9))}S"


def _spans(values: pa.Array) -> list[slice | None]:
    """Return which of the items below belong to each list; None for a null."""
    ends = values.offsets.to_pylist()
    known = values.is_valid().to_pylist()
    return [slice(ends[i], ends[i + 1]) if known[i] else None for i in range(len(values))]


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
        case bool() | np.bool_():
            return "true" if value else "false"
        case float() | np.floating():
            return "" if math.isnan(value) else str(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value).decode() if _is_utf8(bytes(value)) else bytes(value).hex()
        case Mapping():
            return json.dumps(_json(value), ensure_ascii=False)
        case list() | tuple():
            return LIST_SEPARATOR.join(cell_text(item) for item in value)
        case timedelta():
            return seconds_text(Decimal(value // timedelta(microseconds=1)).scaleb(-6))
        case date() | time():
            return value.isoformat()
        case _:
            return _own_text(value)


def _own_text(value: Any) -> str:
    text = str(value)
    if not isinstance(value, str) and _ADDRESS.search(text):
        raise TypeError(f"an object of the type `{type(value).__name__}`, which has no text")
    return text


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")
"""In what Python prints of a thing without a text of its own, another one for each."""


def _json(value: Any) -> Any:
    """Convert a value within a cell to what JSON knows; what it does not know becomes its text."""
    match value:
        case Mapping():
            return {cell_text(key): _json(item) for key, item in value.items()}
        case list() | tuple() | np.ndarray():
            return [_json(item) for item in value]
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case np.generic():
            return _json(value.item())
        case None | bool() | int() | str():
            return value
        case _:
            return cell_text(value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
