"""Which files a shared server reads for its visitors."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.datasets.roots import require_below


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "day=1").mkdir(parents=True)
    (folder / "day=1" / "a.csv").write_text("x,clicked\n1,0\n2,1\n")
    (tmp_path / "data of others").mkdir()
    (tmp_path / "data of others" / "secret.csv").write_text("x,clicked\n1,0\n2,1\n")
    return folder


def test_files_folders_and_patterns_below_a_place_are_read(data: Path) -> None:
    for source in (data, data / "day=1", data / "day=1/a.csv", data / "day=*/*.csv", data / "**", f"file://{data}"):
        require_below(str(source), [str(data)])


def test_what_lies_elsewhere_is_refused_whether_it_is_there_or_not(data: Path) -> None:
    other = data.parent / "data of others"
    sources = (
        other / "secret.csv",
        other / "not there.csv",
        other / "*.csv",
        data / ".." / "data of others" / "secret.csv",
        data.parent / "*" / "secret.csv",
        data.parent,
        f"file://{other}/secret.csv",
        f"file://{data}/%2e%2e/data%20of%20others",
        "/etc/passwd",
    )
    said = set()
    for source in sources:
        with pytest.raises(TableError, match="this server does not read it") as refused:
            require_below(str(source), [str(data)])
        said.add(refused.value.problems[0].remedy)
    assert said == {f"Name files below `{data}`."}


def test_a_link_that_leads_out_is_followed_before_it_is_judged(data: Path) -> None:
    other = data.parent / "data of others"
    (data / "linked.csv").symlink_to(other / "secret.csv")
    (data / "folder").symlink_to(other)
    for source in (data / "linked.csv", data / "folder", data / "folder/*.csv", data / "*.csv", data):
        with pytest.raises(TableError, match="this server does not read it"):
            require_below(str(source), [str(data)])


@pytest.mark.parametrize(
    ("source", "fits"),
    [
        ("s3://bucket/clicks/day=1/*.parquet", True),
        ("s3://bucket/clicks", False),
        ("s3://bucket/clicks2/a.parquet", False),
        ("s3://bucket/clicks/../private/a.parquet", False),
        ("s3://bucket/clicks/%2e%2e/private/a.parquet", False),
        ("s3://other/clicks/a.parquet", False),
        ("https://data.example/open/a.csv", True),
        ("https://data.example@evil.example/open/a.csv", False),
        ("https://data.example.evil.example/open/a.csv", False),
        ("http://data.example/open/a.csv", False),
        ("memory://clicks/a.csv", False),
        ("https://data.example%2Fopen%2F@evil.example/a.csv", False),
        ("s3://bucket%2Fclicks%2Fx:y@other/private/a.csv", False),
        ("s3://bucket/clicks/a.parquet?endpoint_override=evil.example&scheme=http", False),
        ("https://data.example/open/a.csv?to=https://evil.example", False),
        ("https://data.example/open/%252e%252e/private/a.csv", False),
        ("https://user:password@data.example/open/a.csv", False),
        ("https://data.example/open/a%20b.csv", True),
    ],
)
def test_addresses_below_a_place_are_read(source: str, fits: bool) -> None:
    allowed = ["s3://bucket/clicks/", "https://data.example/open"]
    if fits:
        require_below(source, allowed)
        return
    with pytest.raises(TableError, match="this server does not read it"):
        require_below(source, allowed)


def test_a_place_may_be_written_as_an_address_of_this_machine(data: Path) -> None:
    require_below(str(data / "day=1"), [f"file://{data}"])


def test_a_name_with_brackets_does_not_hide_the_way_out(data: Path) -> None:
    (data / "[x]").mkdir()
    for name in ("there", "not there"):
        with pytest.raises(TableError, match="this server does not read it"):
            require_below(f"{data}/[x]/../../{name}", [str(data)])


def test_without_places_nothing_is_read(data: Path) -> None:
    with pytest.raises(TableError, match="Upload the file") as refused:
        require_below(str(data), [])
    assert str(data) in str(refused.value)
