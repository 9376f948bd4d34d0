"""Text files of a dataset on a shelf: their rows are those that are read into memory, and nothing is left behind."""

from __future__ import annotations

import gc
import gzip
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.datasets import shelf as shelves
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.datasets.shelf import Shelf, are_texts
from deepfm_core.tables.parquet import write_parquet
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices
from deepfm_core.tables.texts import spilled


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Three files of a hundred rows in folders of days, one packed, and one without rows."""
    for number, name in enumerate(("a.csv", "b.csv.gz", "c.csv", "d.csv")):
        folder = tmp_path / "data" / f"day={number}"
        folder.mkdir(parents=True)
        ragged = "1,2\n" if name == "a.csv" else ""
        rows = [f'{number},"s{row % 9}",{row},{row % 2}\n' for row in range(0 if name == "d.csv" else 100)]
        text = f"part,site,price,click\n{ragged}{''.join(rows)}".encode()
        (folder / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    return tmp_path / "data"


def filled(source: Path, folder: Path, choices: Choices | None = None) -> Pieces:
    shelf = Shelf(folder / "shelf", choices or Choices())
    list(shelf.fill(source))
    return Pieces(source, shelf=shelf)


def test_the_pieces_are_the_table(days: Path, tmp_path: Path) -> None:
    whole, pieces = read_table(days), filled(days, tmp_path)
    assert len(pieces) == len(whole) == 300
    assert pieces.columns == list(whole.frame.columns)
    found = [table.frame for _, table in pieces.tables(pieces.columns, 30)]
    assert len(found) >= 10
    for name in pieces.columns:
        assert pd.concat([frame[name].astype(str) for frame in found]).tolist() == whole.frame[name].tolist()


def test_the_sample_is_of_those_rows_and_its_report_says_how_they_were_read(days: Path, tmp_path: Path) -> None:
    whole, pieces = read_table(days), filled(days, tmp_path)
    sample = pieces.sample(60)
    assert sample.frame["price"].tolist() == whole.frame["price"].iloc[pieces.drawn(60)].tolist()
    assert sample.report.files == whole.report.files
    assert sample.report.skipped == whole.report.skipped
    assert sample.report.sentences() == whole.report.sentences()
    assert (sample.report.format, sample.report.folders) == ("csv", whole.report.folders)


def test_a_row_has_the_number_and_the_line_that_it_has_in_its_file(days: Path, tmp_path: Path) -> None:
    pieces = filled(days, tmp_path)
    alone = read_table(days / "day=0" / "a.csv")
    places = np.concatenate([table.records for _, table in pieces.tables(["price"], 30)][:4])
    assert places.tolist() == alone.records.tolist()


def test_what_is_said_of_text_files_holds(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("a;b;ü\n1;2;3\n4;5;6\n".encode("cp850"))
    pieces = filled(path, tmp_path, Choices(encoding="cp850", header=False))
    assert pieces.columns == ["column 1", "column 2", "column 3"]
    table = pieces.sample(9)
    assert table.frame["column 3"].tolist() == ["ü", "3", "6"]
    assert table.report.choices == Choices(encoding="cp850", header=False)


def test_a_shelf_that_is_filled_is_not_filled_again(days: Path, tmp_path: Path) -> None:
    filled(days, tmp_path)
    assert list(Shelf(tmp_path / "shelf").fill(days)) == []
    (days / "day=0" / "a.csv").write_text("part,site,price,click\n1,2,3,4\n")
    assert len(filled(days, tmp_path)) == 201


def test_files_of_other_columns_or_forms_are_named(days: Path, tmp_path: Path) -> None:
    (days / "day=2" / "c.csv").write_text("part,place,price,click\n1,2,3,4\n")
    with pytest.raises(TableError, match=r"(?s)day=2/c\.csv.*column `site`: it has no such column.*column `place`"):
        filled(days, tmp_path)
    write_parquet(read_table(days / "day=0" / "a.csv"), days / "day=2" / "c.csv")
    with pytest.raises(TableError, match=r"it is Parquet, and `day=0/a.csv` is text"):
        filled(days, tmp_path)


def test_a_file_that_vanishes_after_it_was_counted_is_named(days: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    shelf.look(days)
    (days / "day=1" / "b.csv.gz").unlink()
    with pytest.raises(TableError, match=r"a file vanished.*day=1/b\.csv\.gz.*Wait until nobody moves the files"):
        list(shelf.fill(days))


def test_a_file_that_comes_later_is_named(days: Path, tmp_path: Path) -> None:
    filled(days, tmp_path)
    shutil.copy(days / "day=0" / "a.csv", days / "day=0" / "z.csv")
    with pytest.raises(TableError, match=r"a file came or changed.*day=0/z\.csv.*begin anew"):
        Pieces(days, shelf=Shelf(tmp_path / "shelf"))


def test_a_file_that_changes_while_it_is_read_is_named(days: Path, tmp_path: Path, monkeypatch) -> None:
    path, spill = days / "day=2" / "c.csv", spilled.spill

    def changing(*given: object) -> object:
        report = spill(*given)  # type: ignore[arg-type]
        path.write_text(path.read_text() + "1,2,3,4\n")
        return report

    monkeypatch.setattr(shelves, "spill", changing)
    with pytest.raises(TableError, match=r"a file changed while it was read.*Wait until the files are complete"):
        filled(days, tmp_path)


def test_who_stops_waiting_stops_the_work_and_nothing_half_written_stays(tmp_path: Path, monkeypatch) -> None:
    path, spill, ended = tmp_path / "table.csv", spilled.spill, []
    path.write_text("a,b\n" + "1,2\n" * 1_000)

    def slow(content, own, choices, to, heard):
        def heard_slowly(share: float) -> None:
            for _ in range(1_000):  # until nobody waits any more
                heard(share)
                time.sleep(0.02)

        try:
            return spill(content, own, choices, to, heard_slowly, 100)
        finally:
            ended.append(to.exists())

    monkeypatch.setattr(shelves, "spill", slow)
    shelf = Shelf.temporary(tmp_path)
    shares = shelf.fill(path)
    assert 0 <= next(shares) < 1
    shares.close()
    assert ended == [False]
    assert not list(shelf.folder.glob("*.parquet"))
    folder = shelf.folder
    del shelf, shares
    gc.collect()
    assert not folder.exists()


def test_the_disk_is_asked_for_room_first(days: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(TableError, match=r"take up to .* MB on the disk.*Free some space"):
        filled(days, tmp_path)


def test_text_files_are_told_from_parquet(days: Path, tmp_path: Path) -> None:
    assert are_texts(days)
    write_parquet(read_table(days / "day=0" / "a.csv"), tmp_path / "a.parquet")
    assert not are_texts(tmp_path / "a.parquet")
