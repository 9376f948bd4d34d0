"""Tables of many files: what is found, how it is joined, and what is said where files do not fit together."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfm_core.encoding.splits import split_rows
from deepfm_core.errors import TableError
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import SplitSpec
from deepfm_core.tables.datasets import dataset
from deepfm_core.tables.datasets.dataset import as_uri, is_dataset, list_files, matches, name_of
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import ReadReport, Table
from tests.conftest import Command, clicks

ROWS = 400


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """A folder of Parquet files, two a day, in folders that name the day."""
    frame = clicks(ROWS)
    for day in range(4):
        folder = tmp_path / "data" / f"day={day}"
        folder.mkdir(parents=True)
        part = frame.iloc[day * 100 : (day + 1) * 100]
        part.iloc[:50].to_parquet(folder / "a.parquet", index=False)
        part.iloc[50:].to_parquet(folder / "b.parquet", index=False)
    (tmp_path / "data" / "_SUCCESS").touch()
    (tmp_path / "data" / ".hidden").touch()
    return tmp_path / "data"


@pytest.mark.parametrize("written", ["{}", "{}/", "{}/day=*/*.parquet", "{}/**/*.parquet", "file://{}", "file:{}"])
def test_a_folder_a_pattern_and_a_uri_are_one_table(days: Path, written: str) -> None:
    table = read_table(written.format(days))
    whole = clicks(ROWS).astype(str)
    assert list(table.frame.columns) == [*whole.columns, "day"]
    assert table.frame["site"].tolist() == whole["site"].tolist()
    assert table.frame["price"].tolist() == whole["price"].tolist()
    assert table.frame["day"].tolist() == [str(row // 100) for row in range(ROWS)]
    assert [file.rows for file in table.report.files] == [50] * 8
    assert ReadReport.from_dict(json.loads(json.dumps(table.report.to_dict()))) == table.report


def test_a_part_of_the_days_is_asked_for_by_a_pattern(days: Path) -> None:
    assert len(read_table(days / "day=[01]" / "?.parquet")) == 200
    assert set(read_table(f"{days}/day=2/*.parquet").frame["day"]) == {"2"}
    assert set(read_table(days / "day=2").frame["day"]) == {"2"}


def test_one_file_stays_one_table(days: Path, tmp_path: Path) -> None:
    assert not read_table(days / "day=0" / "a.parquet").report.files
    odd = tmp_path / "click[1].csv"
    clicks(20).to_csv(odd, index=False)
    assert not is_dataset(odd)
    assert len(read_table(odd)) == 20


def kept(tmp_path: Path, *folders: str) -> Table:
    """Read a dataset of 40 rows in each of the folders."""
    for seed, folder in enumerate(folders):
        (tmp_path / "kept" / folder).mkdir(parents=True)
        clicks(40, seed=seed).to_csv(tmp_path / "kept" / folder / "part.csv", index=False)
    return read_table(tmp_path / "kept")


@pytest.mark.parametrize(
    ("folders", "form"),
    [
        ([f"day=2024-01-{day:02}" for day in range(1, 9)], "year-month-day"),
        ([f"dt=2024010{day}" for day in range(1, 9)], "yyyymmdd"),
        ([f"month=2024-{month:02}" for month in range(1, 9)], ""),
        ([f"cohort=2024W{week}" for week in (1, 2, 10)], None),
        ([f"week=2024W{week}" for week in (1, 2, 10)], ""),
        ([f"day={day}" for day in range(1, 12)], ""),
        ([f"batch={batch:03}" for batch in range(3)], ""),
        ([f"batch_id={batch}" for batch in range(3)], ""),
        ([f"run_id={run}" for run in range(3)], ""),
        ([f"event_day={day}" for day in range(1, 12)], ""),
        ([f"click_month=2024-{month:02}" for month in range(1, 9)], ""),
        ([f"m=2024-{month:02}" for month in range(1, 9)], ""),
        ([f"time_slot={slot}" for slot in range(3)], None),
        *(
            ([f"{name}={number}" for number in range(1, 9)], None)
            for name in ("p", "d", "m", "y", "mm", "dd", "file", "round", "age_year", "model_year", "exp_month", "time")
        ),
        *(
            ([f"{name}={number}" for number in range(1, 8)], None)
            for name in ("load", "part_no", "period", "epoch", "seq", "export", "day_of_week")
        ),
        ([f"hour={hour:02}" for hour in range(8)], None),
        ([f"country={country}" for country in ("de", "fr", "it")], None),
        ([f"store={store}" for store in range(1, 9)], None),
        ([f"day={day}" for day in ("monday", "tuesday", "friday")], None),
        ([f"floor={floor}" for floor in (1, 2, 5)], None),
    ],
)
def test_what_folders_are_named_by_one_after_another_is_no_field(
    tmp_path: Path, folders: list[str], form: str | None
) -> None:
    table = kept(tmp_path, *folders)
    name = folders[0].partition("=")[0]
    role = infer_schema(table, "clicked").role(name)
    assert role.orders_rows == (form is not None), role
    assert role.kind.is_used == (form is None)
    if form is not None:
        assert role.form == form
        assert f"time:{name}" in role.warning
        labels = np.arange(len(table), dtype=np.float32) % 2
        parts = split_rows(labels, SplitSpec("time", name, 0.34, 0.34), table.frame, 0, form=role.form)
        latest = max(folders, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder)])
        tested, trained = (
            set(name + "=" + table.frame[name].astype(str).iloc[part]) for part in (parts.test, parts.train)
        )
        assert latest in tested
        assert not tested & trained
    of_one_file = Table("t.csv", table.frame, replace(table.report, folders=()))
    assert not infer_schema(of_one_file, "clicked").role(name).orders_rows


def test_folders_of_years_months_and_days_are_a_date(tmp_path: Path) -> None:
    dated = [f"year={year}/month={month}/day={day}" for year in (2023, 2024) for month in (1, 12) for day in (3, 28)]
    table = kept(tmp_path, *dated)
    assert {"2023-01-03", "2024-12-28"} < set(table.frame["date"])
    schema = infer_schema(table, "clicked")
    assert schema.role("date").orders_rows
    for part in ("year", "month", "day"):
        assert schema.role(part).reason == "a part of `date`, by which the folders are named"


@pytest.mark.parametrize(
    ("folder", "date"),
    [
        ("y=2024/m=3", "2024-03"),
        ("year=2024/month=03/day=7/hour=5", "2024-03-07 05:00"),
        ("year=2024/month=03/day=__HIVE_DEFAULT_PARTITION__", None),
        ("year=2024/month=Jan", None),
        ("year=2024/month=02/day=30", None),
        ("y=1/m=0", None),
        ("month=03/day=7", None),
        ("year=2024/day=7", None),
        ("year=2024/month=03/date=7", "7"),
    ],
)
def test_a_date_is_made_of_a_year_and_a_month_at_least(tmp_path: Path, folder: str, date: str | None) -> None:
    frame = kept(tmp_path, folder).frame
    assert (frame["date"].iloc[0] if "date" in frame.columns else None) == date


@pytest.mark.parametrize(
    ("last", "dates"),
    [
        ("year=2024/month=4", {"2024-02", "2024-03", "2024-04"}),
        ("year=2024/month=__HIVE_DEFAULT_PARTITION__", {"2024-02", "2024-03", ""}),
        ("year=2024/month=Apr", None),
    ],
)
def test_dates_are_made_for_all_files_or_for_none(tmp_path: Path, last: str, dates: set[str] | None) -> None:
    table = kept(tmp_path, "year=2024/month=2", "year=2024/month=3", last)
    assert (set(table.frame["date"]) if "date" in table.frame.columns else None) == dates
    assert ("date" in table.report.folders) == (dates is not None)


def test_months_that_make_no_date_are_a_field(tmp_path: Path) -> None:
    table = kept(tmp_path, *(f"year=2024/month={month}" for month in ("Jan", "Feb", "Mar")))
    assert infer_schema(table, "clicked").role("month").kind is Kind.CATEGORICAL


def test_texts_of_folders_are_decoded_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    for folder in ("city=S%C3%A3o%20Paulo", "city=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / "d" / folder).mkdir(parents=True)
        clicks(10).to_csv(tmp_path / "d" / folder / "part.csv", index=False)
    assert sorted(set(read_table(tmp_path / "d").frame["city"])) == ["", "São Paulo"]


def test_a_folder_may_name_a_column_as_an_argument_is_named(tmp_path: Path) -> None:
    (tmp_path / "d" / "self=1").mkdir(parents=True)
    clicks(10).to_csv(tmp_path / "d" / "self=1" / "part.csv", index=False)
    assert set(read_table(tmp_path / "d").frame["self"]) == {"1"}


def test_rows_keep_the_numbers_of_their_records_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.csv").write_text("x,y\n1,a\n,\n2,b\n")
    (tmp_path / "d" / "b.csv").write_text("y,x\nc,3\n,\nd,4\n")
    table = read_table(tmp_path / "d")
    assert table.records.tolist() == [0, 2, 3, 5]
    assert table.frame["x"].tolist() == ["1", "2", "3", "4"]
    assert [str(problem).partition(":")[0] for problem in table.report.skipped]
    assert table.report.skipped_count == 2


def test_the_same_cells_come_of_files_as_of_one(tmp_path: Path) -> None:
    frame = clicks(300)
    (tmp_path / "d").mkdir()
    for place in range(3):
        frame.iloc[place * 100 : (place + 1) * 100].to_csv(tmp_path / "d" / f"{place}.csv", index=False)
    frame.to_csv(tmp_path / "whole.csv", index=False)
    joined, whole = read_table(tmp_path / "d"), read_table(tmp_path / "whole.csv")
    pd.testing.assert_frame_equal(joined.frame.astype(str), whole.frame.astype(str))


def said(source: Path | str) -> str:
    with pytest.raises(TableError) as error:
        read_table(source)
    return str(error.value)


def test_files_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    pq.write_table(pa.table({"x": [1, 2], "y": ["a", "b"]}), folder / "a.parquet")
    pq.write_table(pa.table({"x": pa.array([1, 2], pa.int8()), "y": ["a", "b"]}), folder / "b.parquet")
    assert len(read_table(folder)) == 4
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": ["a", "b"]}), folder / "b.parquet")
    assert "its type is double, and in `a.parquet` it is int64. Write the files with one type" in said(folder)
    pq.write_table(pa.table({"x": [1, 2], "z": ["a", "b"]}), folder / "b.parquet")
    assert "column `y`: it has no such column, and `a.parquet` has" in said(folder)
    assert "column `z`: `a.parquet` has no such column" in said(folder)
    (folder / "b.parquet").unlink()
    (folder / "c.csv").write_text("x,y\n1,a\n2,b\n")
    assert "it is text, and `a.parquet` is Parquet" in said(folder)
    assert len(read_table(folder / "*.parquet")) == 2
    (folder / "c.csv").unlink()
    (folder / "b.parquet").write_bytes(b"")
    assert "b.parquet`: it is empty. Write it again, or leave it out by a pattern" in said(folder)
    (folder / "b.parquet").write_bytes(b"nothing of the kind")
    assert "b.parquet`: it is no Parquet file, but has its ending. Write it again" in said(folder)


def test_links_that_lead_nowhere_and_pipes_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    (folder / "day=1").mkdir(parents=True)
    (folder / "day=1" / "a.csv").write_text("x,y\n1,a\n2,b\n")
    link = folder / "day=1" / "b.csv"
    link.symlink_to(tmp_path / "moved.csv")
    assert f"a link leads nowhere (file `{link}`). Put the file in its place, or remove it." in said(folder)
    assert "a link leads nowhere" in said(folder / "day=*" / "*.csv")
    (tmp_path / "moved.csv").write_text("x,y\n3,c\n")
    assert len(read_table(folder)) == 3
    link.unlink()
    os.mkfifo(folder / "c.csv")
    assert "it is no file, but a pipe or a device" in said(folder)
    assert len(read_table(folder / "day=1" / "*.csv")) == 2  # the pipe is none of these
    os.mkfifo(folder / "_ready")  # hidden
    (folder / "c.csv").unlink()
    assert len(read_table(folder)) == 2
    day = folder / "day=2"
    day.symlink_to(tmp_path / "moved")
    for source in (folder, folder / "day=*" / "*.csv", folder / "**" / "*.csv"):
        assert f"a link leads nowhere (file `{day}`)" in said(source)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "again").symlink_to(folder)  # a loop
    (tmp_path / "moved" / "b.csv").symlink_to(tmp_path / "nowhere")
    assert f"a link leads nowhere (file `{day / 'b.csv'}`)" in said(folder / "day=*" / "*.csv")


def test_what_is_not_there_or_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    assert "the folder has no files" in said(tmp_path / "empty")
    assert "no file has a name of this pattern" in said(tmp_path / "empty" / "*.csv")
    assert "there is no such file or folder" in said(tmp_path / "nowhere" / "*.csv")
    assert "nothing here reads `nonsense`" in said("nonsense://bucket/folder")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("deepfm_core.tables.datasets.dataset._infos", refused)
    assert "the folder may not be read" in said(tmp_path / "empty")


def changing(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]) -> None:
    """Let a file change between the listing and its reading."""
    real = list_files

    def listed(source: Path | str):
        system, found = real(source)
        change(Path(found[-1].path))
        return system, found

    monkeypatch.setattr(dataset, "list_files", listed)


def test_a_file_that_vanishes_or_changes_meanwhile_is_named(days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changing(monkeypatch, lambda path: pd.concat([clicks(60)] * 2).to_parquet(path))
    assert "a file changed while it was read" in said(days)
    changing(monkeypatch, lambda path: path.unlink())
    assert "a file vanished while the dataset was read (file `day=3/b.parquet`)" in said(days)


def test_a_pattern_of_many_folders_is_matched_segment_by_segment() -> None:
    assert matches(("a", "b", "c.csv"), ("**", "*.csv"))
    assert matches(("c.csv",), ("**", "*.csv"))
    assert not matches(("a", "c.csv"), ("*.csv",))
    assert not matches(("a",), ("a", "*"))


def test_a_uri_taken_for_a_path_is_one_again_and_its_secrets_are_not_shown() -> None:
    assert as_uri(Path("s3://bucket/day=*")) == "s3://bucket/day=*"
    assert name_of("s3://key:secret@bucket/day=1/?region=x") == "s3://bucket/day=1"
    assert name_of("s3://bucket/?.csv") == "s3://bucket/?.csv"
    assert is_dataset(Path("https://host/a.csv"))


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://host/a.csv?X-Amz-Signature=ab/cd&x=1", "https://host/a.csv"),
        ("https://host:8080/a.csv?mail=me@SECRET", "https://host:8080/a.csv"),
        ("https://host/a.csv#SECRET", "https://host/a.csv"),
        ("https://user:pa/ss@host/a.csv", "https://host/a.csv"),
        ("https://user:pa@ss/w@host/a.csv", "https://host/a.csv"),
        ("https://user:pa?ss@host/a.csv?x=1", "https://host/a.csv"),
        ("s3://bucket/a?secret_key=ab/cd", "s3://bucket/a"),
        ("s3://bucket/?X-Amz-Signature=ab", "s3://bucket"),
        ("s3://bucket/me@home/day=?", "s3://bucket/me@home/day=?"),
    ],
)
def test_no_secret_of_an_address_is_shown(source: str, shown: str) -> None:
    assert name_of(source) == shown


@pytest.mark.parametrize("source", ["http://me:pa/ss@host/a.csv", "http://[x/a.csv", "http://host:port/a.csv"])
def test_an_address_that_cannot_be_understood_is_said_to_be(source: str) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http by aiohttp, which is not installed.")
    message = said(source)
    assert "the address cannot be understood" in message
    assert "ss@" not in message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.string(), pa.dictionary(pa.int32(), pa.string())),
        (pa.null(), pa.string()),
        (pa.binary(), pa.string()),
        (pa.int8(), pa.int64()),
        (pa.null(), pa.float64()),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_types_that_are_written_alike_fit_in_any_order(
    tmp_path: Path, one: pa.DataType, other: pa.DataType, turned: bool
) -> None:
    kinds = (other, one) if turned else (one, other)
    for name, kind in zip("ab", kinds, strict=True):
        values = {"y": ["p", "q"], "x": pa.nulls(2, kind), "n": [1, 2]}
        pq.write_table(pa.table(values), tmp_path / f"{name}.parquet")
    assert len(read_table(tmp_path)) == 4


def test_the_first_type_that_is_not_null_counts(tmp_path: Path) -> None:
    for name, kind in (("a", pa.null()), ("b", pa.int64()), ("c", pa.float64())):
        pq.write_table(pa.table({"y": ["p", "q"], "x": pa.nulls(2, kind), "n": [1, 2]}), tmp_path / f"{name}.parquet")
    assert "its type is double, and in `b.parquet` it is int64" in said(tmp_path)


def test_a_column_without_a_name_is_compared_with_its_like(tmp_path: Path) -> None:
    for name in "ab":
        pq.write_table(pa.table({"": [1, 2], "y": ["p", "q"], "z": ["r", "s"]}), tmp_path / f"{name}.parquet")
    assert len(read_table(tmp_path)) == 4


def test_files_without_rows_are_left_out_and_said(tmp_path: Path) -> None:
    frame = clicks(40)
    for name in "ac":
        frame.iloc[:0].to_parquet(tmp_path / f"{name}.parquet", index=False)
    assert "none of its files has rows" in said(tmp_path)
    frame.to_parquet(tmp_path / "b.parquet", index=False)
    table = read_table(tmp_path)
    assert (len(table), [file.name for file in table.report.files]) == (40, ["b.parquet"])
    assert "2 files have no rows and were left out: `a.parquet` … `c.parquet`." in table.report.notes
    assert any(note.endswith("names: `b.parquet`.") for note in table.report.notes)
    (tmp_path / "t").mkdir()
    frame.to_csv(tmp_path / "t" / "a.csv", index=False)
    frame.iloc[:0].to_csv(tmp_path / "t" / "b.csv", index=False)
    assert "File `b.csv` has no rows; it was left out." in read_table(tmp_path / "t").report.notes


@pytest.mark.parametrize("folder", ["click[1]", "what?", "all*"])
def test_a_folder_whose_name_looks_like_a_pattern_is_read(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder / "day=1"
    place.mkdir(parents=True)
    clicks(20).to_csv(place / "a.csv", index=False)
    for source in (tmp_path / folder, place, place / "*.csv", tmp_path / folder / "day=*" / "?.csv"):
        assert set(read_table(source).frame["day"]) == {"1"}, source
    for below in ("", "/day=*/*.csv"):
        assert len(read_table(f"file://{quote(str(tmp_path / folder))}{below}")) == 20


@pytest.mark.parametrize("declaring", ["a.parquet", "b.parquet"])
def test_numbers_that_one_file_declares_to_be_categories_are_so_in_all(declaring: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"level": np.random.default_rng(0).integers(0, 40, 400) * 7, "click": np.arange(400) % 2})
    for name in ("a.parquet", "b.parquet"):
        kind = "category" if name == declaring else "int64"
        frame.astype({"level": kind}).to_parquet(tmp_path / name, index=False)
    table = read_table(tmp_path)
    assert table.report.declared == ("level",)
    assert infer_schema(table, "click").role("level").kind is Kind.CATEGORICAL


def test_files_elsewhere_are_fetched_one_by_one() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for day in (1, 2):
        memory.pipe(f"/bucket/day={day}/part.csv", clicks(50, seed=day).to_csv(index=False).encode())
    try:
        for source in ("memory://bucket", "memory://bucket/day=*/*.csv"):
            table = read_table(source)
            assert table.frame["day"].tolist() == ["1"] * 50 + ["2"] * 50
            assert table.report.files[0].name.endswith("day=1/part.csv")
        assert len(read_table("memory://bucket/day=2/part.csv")) == 50
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_server_of_files_is_read_by_its_address(tmp_path: Path) -> None:
    clicks(50).to_csv(tmp_path / "a.csv", index=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=tmp_path))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        pytest.importorskip("aiohttp", reason="fsspec reads http by aiohttp, which is not installed.")
        address = f"http://127.0.0.1:{server.server_port}"
        assert len(read_table(f"{address}/a.csv")) == 50
        signed = read_table(f"{address}/a.csv?X-Amz-Signature=a/b*c&day=3")
        assert (len(signed), signed.name) == (50, f"{address}/a.csv")
        assert "day" not in signed.frame
        assert [file.name for file in signed.report.files] == ["a.csv"]
        assert "there is no such file or folder" in said(f"{address}/b.csv")
        refused = said(f"{address}/b.csv?X-Amz-Signature=secret")
        assert "there is no such file or folder" in refused
        assert "secret" not in refused
    finally:
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_a_dataset_goes_through_the_commands_and_a_changed_one_is_another_table(
    days: Path, command: Command, tmp_path: Path
) -> None:
    pattern, fit = f"{days}/day=*/*.parquet", ("--label", "clicked", "--epochs", 2, "--batch-size", 128)
    whole = tmp_path / "whole.csv"
    read_table(pattern).frame.drop(columns="day").to_csv(whole, index=False)  # which is no field
    many, one = (
        command("train", source, *fit, "--out", tmp_path / name) for source, name in ((days, "m"), (whole, "o"))
    )
    assert many.returncode == 0, many.stderr
    summary, alone = json.loads(many.stdout), json.loads(one.stdout)
    assert summary["test"] == alone["test"]
    (files,) = summary["files"].values()
    assert [file["name"] for file in files] == [f"day={day}/{name}.parquet" for day in range(4) for name in "ab"]
    assert {"sha256", "bytes", "rows"} <= files[0].keys()

    scored = command("predict", tmp_path / "m", days)
    assert len(scored.stdout.splitlines()) == ROWS + 1
    asked = command("interactions", days, "--observed-only", "--label", "clicked")
    assert asked.returncode == 0, asked.stderr

    stored = command("train", pattern, *fit, "--quiet")
    assert stored.returncode == 0, stored.stderr
    first = json.loads((Path(json.loads(stored.stdout)["run"]) / "spec.json").read_text())["table"]
    clicks(50, seed=9).to_parquet(days / "day=3" / "b.parquet", index=False)
    again = command("train", pattern, *fit, "--quiet")
    assert json.loads((Path(json.loads(again.stdout)["run"]) / "spec.json").read_text())["table"] != first
