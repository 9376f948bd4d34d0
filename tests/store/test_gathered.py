"""Tables of files that are not uploads: folders and patterns, kept as one file, below the places that are allowed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from deepfm_core.errors import RunError, TableError
from deepfm_core.store.records import Whole
from deepfm_core.store.store import Store
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices
from tests.conftest import clicks
from tests.small_engine import spec


@pytest.fixture
def store(tmp_path: Path, database: str) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def days(tmp_path: Path) -> Path:
    for day in (1, 2):
        folder = tmp_path / "clicks" / f"day={day}"
        folder.mkdir(parents=True)
        rows = pd.DataFrame({"ad": ["a", "b", "c"], "clicked": [0, 1, day % 2]})
        rows.to_csv(folder / "rows.csv", index=False)
    return tmp_path / "clicks"


def test_the_rows_of_many_files_are_kept_as_one_table(store: Store, days: Path) -> None:
    entry = store.gather_table(str(days / "day=*" / "*.csv"))
    table = store.table(entry.sha256)
    expected = read_table(days)
    assert (entry.rows, entry.name) == (6, str(days / "day=*" / "*.csv"))
    pd.testing.assert_frame_equal(table.frame.astype(str), expected.frame.astype(str))
    assert list(table.frame["day"].astype(str)) == ["1"] * 3 + ["2"] * 3
    assert [file.name for file in table.report.files] == ["day=1/rows.csv", "day=2/rows.csv"]


def test_the_same_files_are_the_same_table_and_changed_ones_another(store: Store, days: Path) -> None:
    first = store.gather_table(str(days))
    assert store.gather_table(str(days)).sha256 == first.sha256
    (days / "day=2" / "rows.csv").write_text("ad,clicked\na,1\nb,0\n")
    second = store.gather_table(str(days))
    assert second.sha256 != first.sha256
    assert (len(store.table(first.sha256)), len(store.table(second.sha256))) == (6, 5)
    assert sorted(path.name for path in (store.home / "tables").iterdir()) == sorted([first.sha256, second.sha256])


def test_one_file_is_kept_as_it_came(store: Store, days: Path) -> None:
    file = days / "day=1" / "rows.csv"
    entry = store.gather_table(str(file))
    assert entry.name == "rows.csv"
    assert entry.sha256 == store.import_table(file, "rows.csv").sha256
    assert store.original(entry.sha256).read_bytes() == file.read_bytes()


def test_a_table_made_anew_still_names_its_files(store: Store, days: Path) -> None:
    entry = store.gather_table(str(days))
    before = store.table(entry.sha256).report
    (store.home / "tables" / entry.sha256 / "table.parquet").write_bytes(b"cut")
    after = store.table(entry.sha256).report
    assert len(after.files) == 2
    assert after == before


def test_what_lies_elsewhere_or_cannot_be_read_leaves_nothing(store: Store, days: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, allowed, said in (
        (str(days), [str(tmp_path / "empty")], "this server does not read it"),
        (str(tmp_path / "empty"), None, "the folder has no files"),
        (str(tmp_path / "nowhere" / "*.csv"), None, "there is no such file or folder"),
        (str(tmp_path / "nowhere.csv"), None, "nowhere.csv"),
    ):
        with pytest.raises(TableError, match=said):
            store.gather_table(source, allowed=allowed)
    with pytest.raises(TableError, match="bytes are allowed"):
        store.gather_table(str(days), max_bytes=20)
    assert store.tables("local") == []
    assert list((store.home / "tables").iterdir()) == []


def test_it_counts_toward_what_an_owner_may_have(store: Store, days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_OWNER_TABLES", "1")
    store.gather_table(str(days), "somebody")
    with pytest.raises(RunError, match="The limit is 1"):
        store.gather_table(str(days / "day=1"), "somebody")
    assert len(list((store.home / "tables").iterdir())) == 1


def test_paths_are_those_of_whoever_names_them(store: Store, days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store.gather_table(str(days)).sha256
    monkeypatch.chdir(days.parent)
    monkeypatch.setenv("HOME", str(days.parent))
    for source in ("clicks", "clicks/day=*/*.csv", "~/clicks", "~/clicks/*/*.csv"):
        assert store.gather_table(source).sha256 == whole
    assert store.gather_table("clicks/day=1/rows.csv").name == "rows.csv"


def test_what_is_said_of_files_is_part_of_their_table(store: Store, days: Path) -> None:
    found = store.gather_table(str(days)).sha256
    said = Choices(encoding="cp850")
    sha = store.gather_table(str(days), choices=said).sha256
    assert sha != found
    assert store.gather_table(str(days), choices=said).sha256 == sha
    before = store.table(sha).report
    assert before.choices == said
    (store.home / "tables" / sha / "table.parquet").write_bytes(b"cut")
    assert store.table(sha).report == before


def test_files_that_are_read_again_mend_their_damaged_table(store: Store, days: Path) -> None:
    entry = store.gather_table(str(days))
    folder = store.home / "tables" / entry.sha256
    for name in ("original", "table.parquet"):
        (folder / name).write_bytes(b"cut")
    store.gather_table(str(days))
    assert len(store.table(entry.sha256)) == 6


@pytest.mark.parametrize("source", ["x" * 400, "a\0b", "~nobody-of-this-name/*.csv"])
def test_a_path_that_cannot_be_one_gets_a_sentence(store: Store, source: str) -> None:
    with pytest.raises(TableError, match="Check the path"):
        store.gather_table(source)


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of more rows than a sample has, which take more memory than a server with this limit reads them with."""
    monkeypatch.setenv("DEEPFM_READ_MEMORY_MB", "700")
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3):
        clicks(80_000, seed=number).to_parquet(folder / f"{number}.parquet", index=False)
    return folder


def test_of_rows_that_do_not_fit_a_sample_is_kept_which_says_of_what(store: Store, many: Path) -> None:
    told = list[float]()
    entry = store.gather_table(f"{many}/*.parquet", heard=told.append)
    assert entry.name == f"{many}/*.parquet (sample of 240,000 rows)"
    assert entry.rows == 200_000
    assert store.whole_of_table(entry.sha256) == Whole(f"{many}/*.parquet", 240_000)
    assert [file.rows for file in store.table(entry.sha256).report.files] == [80_000] * 3
    assert told == sorted(told)
    assert max(told) > 0
    assert store.gather_table(f"{many}/?.parquet").sha256 == entry.sha256
    assert store.whole_of_table(entry.sha256) == Whole(f"{many}/?.parquet", 240_000)


def test_drawing_a_sample_can_be_stopped_and_leaves_nothing(store: Store, many: Path) -> None:
    def stop(share: float) -> None:
        if share:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.gather_table(str(many), heard=stop)
    assert store.tables() == []
    assert not list((store.home / "tables").iterdir())


def test_of_text_files_that_do_not_fit_a_sample_is_kept_too(store: Store, many: Path, tmp_path: Path) -> None:
    table = pq.read_table(many)
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(2):
        pa_csv.write_csv(table.slice(number * 120_000, 120_000), folder / f"{number}.csv")
    told = list[float]()
    said = Choices(encoding="cp1252")
    entry = store.gather_table(str(folder), max_bytes=1_000_000, heard=told.append, choices=said)
    assert entry.rows == 200_000
    assert store.whole_of_table(entry.sha256) == Whole(str(folder), 240_000)
    report = store.table(entry.sha256).report
    assert [file.rows for file in report.files] == [120_000] * 2
    assert report.choices == said
    assert told == sorted(told)
    assert not list((store.home / "tables").rglob("texts"))


def test_a_shared_server_takes_a_sample_of_files_that_are_too_large_for_it(
    store: Store, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFM_READ_MEMORY_MB", "4000")
    assert store.gather_table(str(many), max_bytes=10**9).rows == 240_000
    entry = store.gather_table(str(many), max_bytes=100_000, allowed=[str(many)])
    assert store.whole_of_table(entry.sha256) == Whole(str(many), 240_000)
    with pytest.raises(TableError, match="this server does not read it"):
        store.gather_table(str(many), max_bytes=100_000, allowed=["/elsewhere"])


def test_a_run_on_a_dataset_finds_it_in_its_folder(store: Store) -> None:
    run = store.enqueue(spec(), dataset={"source": "/data", "memory": 2})
    assert store.folder(run).read_json("dataset.json") == {"source": "/data", "memory": 2}
    assert store.folder(store.enqueue(spec())).read_json("dataset.json") is None
