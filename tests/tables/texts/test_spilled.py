"""A text that is read onto the disk a piece at a time is the table, with the report, that is read into memory."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepfm_core.errors import TableError
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import FOUND, Choices
from deepfm_core.tables.texts import spilled
from tests.tables.faults import FAULTS, Fault

BLOCK = 100
"""Bytes that are parsed at a time; a longer row is parsed in larger blocks."""


def in_memory(path: Path, choices: Choices = FOUND) -> Any:
    try:
        table = read_table(path, name="t", choices=choices)
    except TableError as error:
        return str(error)
    columns = [table.frame[name].astype(object).tolist() for name in table.frame]
    return list(table.frame.columns), columns, {**table.report.to_dict(), "choices": {}}


def on_disk(path: Path, choices: Choices = FOUND, block: int = BLOCK) -> Any:
    with TemporaryDirectory() as folder:
        to = Path(folder) / "rows.parquet"
        try:
            report = spilled.spill(spilled.look(path, "t", choices), "t", choices, to, block=block)
        except TableError as error:
            assert not list(Path(folder).iterdir())
            return str(error)
        rows = pq.read_table(to)
        assert list(Path(folder).iterdir()) == [to]
        return rows.column_names, [column.to_pylist() for column in rows.columns], report.to_dict()


def is_taken(path: Path) -> bool:
    """Whether a file is of a form that can be read a piece at a time."""
    try:
        spilled.look(path, "t")
    except TableError as error:
        return "cannot be read a piece at a time" not in str(error)
    return path.read_bytes()[:4] != b"PAR1"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_a_faulty_file_is_read_as_in_memory(fault: Fault, write: Any) -> None:
    path = write(fault.content)
    if fault.content[:4] != b"PAR1" and is_taken(path):
        assert on_disk(path) == in_memory(path)


MESSY = st.text(alphabet="ab01 ,;\"'\\\n\r\t-éNT", max_size=300)


@st.composite
def texts(draw: Any) -> bytes:
    """Draw a text: mere letters, or lines of cells, some of them quoted, too many or too few, in any encoding."""
    if draw(st.booleans()):
        text = "a,b,c\n" + draw(MESSY)
    else:
        mark, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
        width = draw(st.integers(2, 4))
        cell = st.sampled_from(
            ["a", "bb", "1", "20", "", "NA", " x", '"q, ""r"""', '"x\ny"', "é", "total", "--", "n a"]
        )
        even = st.lists(cell, min_size=width, max_size=width)
        rows = draw(st.lists(st.one_of(even, even, even, st.lists(cell, max_size=5)), max_size=40))
        names = [f"name {place}" for place in range(width)]
        again = [names] if draw(st.booleans()) else []
        text = end.join(mark.join(row) for row in [names, *rows, *again])
    content = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])))
    return gzip.compress(content) if draw(st.booleans()) else content


SAID = [FOUND, FOUND, Choices(rows="all"), Choices(quoting="none"), Choices(encoding="cp1252")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    texts(), st.sampled_from([FOUND, FOUND, Choices(rows="all"), Choices(quoting="none"), Choices(encoding="cp1252")])
)
def test_any_text_is_read_as_in_memory(content: bytes, choices: Choices) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(content)
        assert on_disk(path, choices) == in_memory(path, choices)


def test_what_is_decided_of_a_whole_text_is_decided_over_its_pieces(write: Any) -> None:
    rows = "".join(f"{number % 7},{number % 5},x{number % 3}\n" for number in range(400))
    seen = f"name,amount,kind\nkg,(m),[kind]\n{rows},,\nname,amount,kind\n{rows}Total,1600,\nSource: the office,,\n"
    assert on_disk(write(seen.encode())) == in_memory(write(seen.encode()))
    assert any("Total" not in column for column in on_disk(write(seen.encode()))[1])
    units = f"name,amount,kind\n[x],(m),[kind]\n{rows}"
    assert on_disk(write(units.encode())) == in_memory(write(units.encode()))
    empty_end = "a,b,\n" + "1,2,\n" * 200
    assert on_disk(write(empty_end.encode())) == in_memory(write(empty_end.encode()))
    spaced = "a, b, c\n" + "1, 2, 3\n" * 200
    assert on_disk(write(spaced.encode()))[0] == ["a", "b", "c"]


def test_one_row_that_is_too_long_for_the_parser_is_read_by_itself(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled, "MOST_OF_A_ROW", 200)
    text = "a,b\n" + "1,2\n" * 30 + f'3,"{"long, " * 100}"\n' + "4,5\n" * 30
    assert on_disk(write(text.encode())) == in_memory(write(text.encode()))


def test_a_quote_that_is_never_closed_is_mended_as_in_memory(write: Any) -> None:
    text = 'a,b,c\n"1,2,3\n' + '4,"5",6\n' * 200
    found = on_disk(write(text.encode()))
    assert found == in_memory(write(text.encode()))
    assert found[2]["repaired_count"] == 1


def test_lines_of_json_are_read_as_in_memory(write: Any) -> None:
    lines = "\n".join(
        json.dumps({"a": number, "b": [1, 2], **({"c": "x"} if number > 3 else {})}) for number in range(9)
    )
    assert on_disk(write(lines.encode())) == in_memory(write(lines.encode()))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps([{"a": 1, "b": 2}] * 3).encode(), "JSON, and not an object a line"),
        (b'{"a": [1, 2, 3], "b": [4, 5, 6]}', "JSON, and not an object a line"),
        (b"ARROW1", "an Arrow file"),
    ],
)
def test_what_must_be_read_as_a_whole_is_refused_with_a_remedy(write: Any, content: bytes, said: str) -> None:
    with pytest.raises(TableError, match=f"{said}, which cannot be read a piece at a time.*Write its rows as Parquet"):
        spilled.look(write(content), "t")


def test_a_zip_archive_is_refused_with_a_remedy(write: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    with pytest.raises(TableError, match=r"zip archive or a workbook.*Unpack it"):
        spilled.look(write(packed.getvalue()), "t")


def test_a_gzip_that_is_cut_short_later_is_named(write: Any, tmp_path: Path) -> None:
    path = write(gzip.compress(("a,b\n" + "".join(f"{n},{n * n}\n" for n in range(9_999))).encode()))
    content = spilled.look(path, "t")
    path.write_bytes(path.read_bytes()[:-2_000])
    with pytest.raises(TableError, match="the file changed while it was read"):
        spilled.spill(content, "t", FOUND, tmp_path / "rows.parquet")
    assert not (tmp_path / "rows.parquet").exists()


def test_a_full_disk_is_said(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = spilled.look(write(b"a,b\n1,2\n"), "t")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "ParquetWriter", full)
    with pytest.raises(TableError, match=r"is full.*Free some space"):
        spilled.spill(content, "t", FOUND, tmp_path / "rows.parquet")
