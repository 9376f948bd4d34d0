"""Datasets a piece at a time: the cells are those of the whole, and what does not fit together is named at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.reader import read_table
from tests.conftest import clicks


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files of 100 to 400 rows in folders that name the day, one without rows."""
    folder = tmp_path_factory.mktemp("pieces") / "data"
    frame = clicks(1_000)
    frame["when"] = pd.date_range("2024-01-01", periods=1_000, freq="h")
    frame.loc[::7, "site"] = None
    for day, (start, stop) in enumerate(((0, 100), (100, 300), (300, 600), (600, 1_000), (0, 0))):
        (folder / f"day={day}").mkdir(parents=True)
        frame.iloc[start:stop].to_parquet(folder / f"day={day}" / "a.parquet", index=False, row_group_size=64)
    return folder


def test_the_pieces_are_the_table(days: Path) -> None:
    whole, pieces = read_table(days).frame, Pieces(days)
    assert len(pieces) == 1_000
    assert pieces.columns == list(whole.columns)
    asked = ["day", "when", "site", "price"]
    shares: list[float] = []
    found = list(pieces.tables(asked, 70, shares.append))
    assert [start for start, _ in found] == sorted({start for start, _ in found})
    assert all(len(table) <= 100 for _, table in found)
    joined = pd.concat([table.frame.astype(str) for _, table in found], ignore_index=True)
    pd.testing.assert_frame_equal(joined, whole[asked].astype(str).reset_index(drop=True))
    assert shares[-1] == 1.0


def test_a_sample_has_its_share_of_each_file_and_is_the_same_each_time(days: Path) -> None:
    whole, pieces = read_table(days), Pieces(days)
    rows = pieces.drawn(100)
    assert np.bincount(np.searchsorted([100, 300, 600, 1_000], rows, side="right")).tolist() == [10, 20, 30, 40]
    table = pieces.sample(100)
    expected = whole.frame.astype(str).take(rows).reset_index(drop=True)
    pd.testing.assert_frame_equal(table.frame.astype(str), expected)
    assert np.array_equal(Pieces(days).drawn(100), rows)
    assert table.report.files == whole.report.files
    assert len(pieces.sample(5_000)) == 1_000


def test_a_piece_has_nearly_as_many_rows_as_it_may(tmp_path: Path) -> None:
    values = np.arange(200_000)
    pq.write_table(pa.table({"x": values % 7, "y": values}), tmp_path / "a.parquet")
    found = [len(table) for _, table in Pieces(tmp_path).tables(["x"], 124_609)]
    assert found == [124_608, 75_392]


def test_a_piece_holds_the_texts_of_its_own_rows_alone(tmp_path: Path) -> None:
    values = [f"v{number // 10}" for number in range(1_000)]
    values[5] = values[700] = None
    pq.write_table(pa.table({"x": values, "y": range(1_000)}), tmp_path / "a.parquet", row_group_size=400)
    pieces = [table.frame["x"] for _, table in Pieces(tmp_path).tables(["x"], 100)]
    assert all(len(column.cat.categories) <= 11 for column in pieces)
    assert pd.concat([column.astype(str) for column in pieces]).tolist() == [value or "" for value in values]


def test_one_file_is_a_dataset_too(days: Path) -> None:
    assert len(Pieces(days / "day=1" / "a.parquet")) == 200


def said(source: Path | str) -> str:
    with pytest.raises(TableError) as error:
        Pieces(source)
    return str(error.value)


def test_files_that_do_not_fit_together_are_named_before_rows_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    pq.write_table(pa.table({"x": [1, 2], "y": ["a", "b"]}), folder / "a.parquet")
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": ["a", "b"]}), folder / "b.parquet")
    assert "its type is double, and in `a.parquet` it is int64" in said(folder)
    pq.write_table(pa.table({"x": [1, 2], "z": ["a", "b"]}), folder / "b.parquet")
    assert "column `y`: it has no such column, and `a.parquet` has" in said(folder)
    (folder / "b.parquet").write_bytes(b"PAR1 and no more")
    assert "damaged or cut short" in said(folder)
    assert "file `b.parquet`" in said(folder)
    (folder / "b.parquet").write_text("x,y\n1,2\n")
    assert "only Parquet files can be read a piece at a time (file `b.parquet`)" in said(folder)
    (folder / "b.parquet").unlink()
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), folder / "a.parquet")
    assert "none of its files has rows" in said(folder)


def test_a_file_that_may_not_be_read_or_changes_is_named(days: Path, tmp_path: Path, monkeypatch) -> None:
    copy = tmp_path / "d"
    copy.mkdir()
    for day in range(2):
        (copy / f"{day}.parquet").write_bytes((days / f"day={day}" / "a.parquet").read_bytes())
    pieces = Pieces(copy)
    read = pieces.tables(["site"], 50)
    next(read)
    pq.write_table(pq.read_table(copy / "1.parquet"), copy / "0.parquet")
    with pytest.raises(TableError, match=r"(changed while it was read|damaged).*0\.parquet"):
        list(read)
    opened = Path.open

    def refused(path: Path, *arguments: object, **named: object) -> object:
        if path.name == "1.parquet":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refused)
    assert "a file cannot be read: Permission denied (file `1.parquet`). Ask for permission" in said(copy)
