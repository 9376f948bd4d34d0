"""A limit of columns, told before the costly work, for every form of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.decoding import MOST_COLUMNS, refuse_columns
from deepfm_core.tables.reader import read_table


def _csv(path: Path, columns: int) -> None:
    path.write_text("\n".join(",".join(f"{row}{i}" for i in range(columns)) for row in "cab") + "\n")


def _arrow(columns: int) -> pa.Table:
    return pa.table({f"c{i}": ["a", "b"] for i in range(columns)})


def _parquet(path: Path, columns: int) -> None:
    pq.write_table(_arrow(columns), path)


def _feather(path: Path, columns: int) -> None:
    feather.write_feather(_arrow(columns), str(path))


def _json(path: Path, columns: int) -> None:
    """Write lines that each have a name of their own: all together are the columns."""
    path.write_text("\n".join(json.dumps({f"c{i}": 1}) for i in range(columns)))


@pytest.mark.parametrize("write", [_csv, _parquet, _feather, _json])
def test_a_table_of_too_many_columns_is_refused(write: Callable[[Path, int], None], tmp_path: Path) -> None:
    write(tmp_path / "wide", 2_100)
    with pytest.raises(TableError, match=r"more columns than the limit of 2,000 \(found `2,\d+ columns`\)\. Leave out"):
        read_table(tmp_path / "wide")


def test_a_table_may_have_as_many_columns_as_the_limit() -> None:
    refuse_columns(MOST_COLUMNS, "Table")
    with pytest.raises(TableError):
        refuse_columns(MOST_COLUMNS + 1, "Table")
