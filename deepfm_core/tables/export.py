"""The one door by which tables leave as CSV, from the command line and the app alike, and what the files are called."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable
from typing import Any, Literal, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import is_numeric_dtype

from deepfm_core.tables.table import Table

_WRITTEN_ROWS = 20_000
"""Rows that `write_table` writes at a time."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "\ufeff")
"""How a text begins that a spreadsheet takes for a formula; the byte order mark is dropped at the start of a file."""
_WITHIN = re.compile(r"""(?<=[;\r\n])([ '"]*)([=+\-@＝＋－＠][^;\r\n"]*)""")
"""A formula after a semicolon or line end. Where numbers have decimal commas, spreadsheets cut any file at these,
although a cell that holds them has quotes."""
_NUMBER = re.compile(r"[+-]?(\d[\d.,]*|\.\d+)(e[+-]?\d+)? ?%?", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f/\\:*?"<>|]+')
"""What some system does not allow in the name of a file."""
_ENDINGS = re.compile(
    r"(?<=\w)(\.(csv|tsv|tab|psv|txt|data|jsonl?|ndjson|parquet|feather|arrow|xlsx?|xlsm|zip|t?gz|bz2|xz|zst))+"
    r"(?=[-, ]|$)",
    re.IGNORECASE,
)
"""The endings of a table's name within a name that is made of it."""


def write_csv(frame: pd.DataFrame, stream: TextIO, *, line_end: str = "\n") -> None:
    """Write a frame's columns as CSV: a header line, then a line per row; missing values are empty cells.

    Numbers have all the digits that a reader needs to get the very number back.
    """
    frame.to_csv(stream, index=False, lineterminator=line_end, quoting=_quoting(frame))


def _quoting(frame: pd.DataFrame) -> Literal[0, 2]:
    """Say which cells need quotes: pandas does not quote a carriage return, which many readers take for a line end."""
    texts = [frame.iloc[:, place] for place, kind in enumerate(frame.dtypes) if not is_numeric_dtype(kind)]
    returns = any(isinstance(value, str) and "\r" in value for column in texts for value in column)
    return csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL


def write_rows(rows: Iterable[list[str]], stream: TextIO) -> None:
    """Write rows of text as CSV, with quotes around every cell, so that what is read again is the same."""
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Give a frame as the content of a CSV file in UTF-8 for a spreadsheet, as `write_csv` writes it.

    A text that a spreadsheet would take for a formula gets an apostrophe before it: the names of columns and the cells
    may be a stranger's. Numbers stay as they are, also those that are kept as text.
    """
    safe = frame.set_axis([_no_formula(column) for column in frame.columns], axis="columns")
    for place in range(safe.shape[1]):
        if not is_numeric_dtype(safe.dtypes.iloc[place]):
            safe.isetitem(place, safe.iloc[:, place].astype(object).map(_no_formula).to_numpy())
    return safe.to_csv(index=False, lineterminator="\n", quoting=_quoting(safe)).encode()


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    value = _WITHIN.sub(_marked, value)
    return f"'{value}" if value.startswith(_FORMULA) else value


def _marked(found: re.Match[str]) -> str:
    return found[0] if _NUMBER.fullmatch(found[2].strip()) else f"{found[1]}'{found[2]}"


def write_table(table: Table, stream: TextIO) -> None:
    """Write an uploaded table as CSV: comma, quotes only where needed, a header line, `\\n` after each line."""
    stream.write(",".join(_quoted(pa.array(table.frame.columns, pa.large_string())).to_pylist()) + "\n")
    comma = pa.scalar(",", pa.large_string())
    columns = [table.frame[column].array for column in table.frame.columns]
    texts = [_quoted(pa.array(column.categories, pa.large_string())) for column in columns]
    for start in range(0, len(table), _WRITTEN_ROWS):
        part = slice(start, start + _WRITTEN_ROWS)
        cells = [pc.take(text, pa.array(column.codes[part])) for text, column in zip(texts, columns, strict=True)]
        stream.writelines(f"{line}\n" for line in pc.binary_join_element_wise(*cells, comma).to_pylist())


def beside(frame: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    """Return a table's columns under names that differ from `names`: one of such a name ends in ` (cell)`."""
    taken, renamed = {*names, *map(str, frame.columns)}, {}
    for column in set(names) & set(frame.columns):
        renamed[column] = f"{column} (cell)"
        while renamed[column] in taken:  # the table may have a column of that name, too
            renamed[column] += " (cell)"
        taken.add(renamed[column])
    return frame.rename(columns=renamed)


def file_name(*parts: object, ending: str = ".csv") -> str:
    """Name a file by what it holds, such as `row-3-ledger.csv`; what no file may be called becomes `_`.

    A name has one ending: what is made of `clicks.csv` and `scores` is `clicks-scores.csv`.
    """
    return _NOT_IN_NAMES.sub("_", _ENDINGS.sub("", "-".join(map(str, parts)))) + ending


def _quoted(texts: pa.Array) -> pa.Array:
    quote, nothing = pa.scalar('"', texts.type), pa.scalar("", texts.type)
    quoted = pc.binary_join_element_wise(quote, pc.replace_substring(texts, '"', '""'), quote, nothing)
    return pc.if_else(pc.match_substring_regex(texts, '[,"\n\r]'), quoted, texts)
