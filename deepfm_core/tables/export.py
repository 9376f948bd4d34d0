"""The one door by which tables leave as CSV, from the command line and the app alike, and what the files are called."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deepfm_core.tables.table import Table

_WRITTEN_ROWS = 20_000
"""Rows that `write_table` writes at a time."""
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f/\\:*?"<>|]+')
"""What some system does not allow in the name of a file."""


def write_csv(frame: pd.DataFrame, stream: TextIO, *, line_end: str = "\n") -> None:
    """Write a frame's columns as CSV: a header line, then a line per row; missing values are empty cells."""
    frame.to_csv(stream, index=False, lineterminator=line_end)


def write_rows(rows: Iterable[list[str]], stream: TextIO) -> None:
    """Write rows of text as CSV, with quotes around every cell, so that what is read again is the same."""
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Give a frame as the content of a CSV file in UTF-8, as `write_csv` writes it."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


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


def file_name(*parts: object, ending: str = ".csv") -> str:
    """Name a file by what it holds, such as `row-3-ledger.csv`; what no file may be called becomes `_`."""
    return _NOT_IN_NAMES.sub("_", "-".join(map(str, parts))) + ending


def _quoted(texts: pa.Array) -> pa.Array:
    quote, nothing = pa.scalar('"', texts.type), pa.scalar("", texts.type)
    quoted = pc.binary_join_element_wise(quote, pc.replace_substring(texts, '"', '""'), quote, nothing)
    return pc.if_else(pc.match_substring_regex(texts, '[,"\n\r]'), quoted, texts)
