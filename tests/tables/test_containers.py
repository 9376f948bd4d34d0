"""Tables within other files: zip archives, Excel workbooks, JSON Lines; and how wide any file may be."""

import gzip
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.containers import Form, outline
from deepfm_core.tables.decoding import MOST_COLUMNS, MOST_LETTERS, refuse_columns
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices

TEXT = "a,b\nx,1\ny,2\n"
CELLS = [["x", "1"], ["y", "2"]]


def cells(table) -> list[list[str]]:
    return table.frame.astype(object).to_numpy().tolist()


def archive(**members: bytes | str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def workbook(**sheets: list[list[object]]) -> bytes:
    """Write the smallest file that is a workbook; numbers are cells of numbers, other cells are texts."""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    entries = "".join(f'<sheet name="{name}" sheetId="{i}" r:id="r{i}"/>' for i, name in enumerate(sheets, 1))
    links = "".join(
        f'<Relationship Id="r{i}" Type="{rel}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in range(1, len(sheets) + 1)
    )
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": f'{head}<Types xmlns="{package}/content-types">'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/></Types>',
        "_rels/.rels": f'{head}<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{rel}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{head}<workbook xmlns="{main}" xmlns:r="{rel}"><sheets>{entries}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'{head}<Relationships xmlns="{package}/relationships">{links}</Relationships>',
    }
    for i, rows in enumerate(sheets.values(), 1):
        lines = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
        sheet = f'{head}<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
        parts[f"xl/worksheets/sheet{i}.xml"] = sheet
    return archive(**parts)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>' if value is not None else "<c/>"


@pytest.mark.parametrize("name", ["table.csv", "folder/table.csv"])
def test_a_zip_archive_with_one_table_is_unpacked(write, name):
    table = read_table(write(archive(**{name: TEXT, "__MACOSX/._table.csv": "\0"})))
    assert cells(table) == CELLS
    assert table.report.compression == "zip"
    assert table.report.notes == (f"`{name}` was unpacked from the archive.",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(a=TEXT, b="k;v\n1;2\n3;4\n"), r"the archive holds 2 files \(found `a`, `b`\)"),
        (archive(), "the archive holds 0 files"),
        (archive(a=TEXT)[:-30], "the zip archive is damaged"),
        (archive(a=archive(b=TEXT)), "the archive holds another archive"),
        (archive(a=b"\0\1\2"), "the file is binary"),
    ],
    # An archive holds the time at which it was made: as a name it would differ between two processes.
    ids=["two files", "no file", "cut", "archive in archive", "binary"],
)
def test_an_archive_without_its_one_table_is_refused(write, content, message):
    with pytest.raises(TableError, match=message):
        read_table(write(content))


def test_files_of_the_same_columns_in_an_archive_are_one_table(write):
    files = {"log/day=1/b.csv": TEXT, "log/day=1/a.csv": TEXT, "log/day=2/c.csv": TEXT, "__MACOSX/._a": "\0"}
    table = read_table(write(archive(**files)))
    assert table.report.compression == "zip"
    assert table.report.files == ()
    assert table.report.notes[0].startswith("Read 3 files of ")
    assert list(table.frame["day"]) == ["1"] * 2 * len(CELLS) + ["2"] * len(CELLS)
    assert table.frame[["a", "b"]].astype(object).to_numpy().tolist() == CELLS * 3


def test_files_that_are_no_one_table_are_refused_with_the_reason_and_without_choices(write):
    content = archive(**{"a.csv": TEXT, "readme.txt": "Read me.\n"})
    with pytest.raises(TableError) as refused:
        read_table(write(content))
    said = str(refused.value)
    assert "the archive holds 2 files" in said
    assert "files of the same columns, which are read as one table" in said
    assert "they cannot be read as one table" in said
    assert outline(io.BytesIO(content)).form.choices == ()
    assert outline(io.BytesIO(archive(a=TEXT))).form.choices


@pytest.mark.parametrize("name", ["../b", "/tmp/b", "c:\\b", "a/../../b"])
def test_no_file_of_an_archive_is_written_elsewhere(write, name):
    with pytest.raises(TableError, match="the archive holds 2 files"):
        read_table(write(archive(**{"a": TEXT, name: TEXT})))


def test_files_that_together_unpack_to_too_much_are_refused(write):
    with pytest.raises(TableError, match="larger than the limit of 1 MB"):
        read_table(write(archive(a=b"1,2\n" * 200_000, b=b"1,2\n" * 200_000)), max_bytes=1_000_000)


def test_an_archive_that_unpacks_to_too_much_is_refused(write):
    path = write(archive(a=b"1,2\n" * 1_000_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(TableError, match="larger than the limit of 1 MB"):
        read_table(path, max_bytes=1_000_000)


def test_an_archive_that_says_less_than_it_unpacks_to_is_refused(write):
    content = archive(a=b"1,2\n" * 1_000_000).replace((4_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    with pytest.raises(TableError):
        read_table(write(content), max_bytes=1_000_000)


ROWS: list[list[object]] = [
    ["place", "share", "seen", "click"],
    ["home", 0.5, True, 1],
    ["list", 2, False, 0],
    ["a & b", None, True, 1],
]
AS_TEXT = [["home", "0.5", "true", "1"], ["list", "2", "false", "0"], ["a & b", "", "true", "1"]]


def test_the_first_sheet_of_a_workbook_is_read(write):
    table = read_table(write(workbook(Clicks=[["Clicks of May"], *ROWS], Other=[["k", "v"], [1, 2]])))
    assert list(table.frame.columns) == ROWS[0]
    assert cells(table) == AS_TEXT
    assert table.report.format == "xlsx"
    assert table.report.notes[0] == "The sheet `Clicks` was read. Choose another one by its name (`--sheet`): `Other`."


def test_another_sheet_can_be_chosen(write):
    path = write(workbook(Clicks=ROWS, Other=[["k", "v"], [1, 2], [3, 4]]))
    assert cells(read_table(path, choices=Choices(sheet="Other"))) == [["1", "2"], ["3", "4"]]
    with pytest.raises(TableError, match=r"no such sheet \(asked for `Third`\)\. Its sheets are `Clicks`, `Other`"):
        read_table(path, choices=Choices(sheet="Third"))


def test_a_damaged_workbook_is_refused(write):
    with pytest.raises(TableError, match="the workbook is damaged"):
        read_table(write(archive(**{"xl/workbook.xml": "<nothing/>", "[Content_Types].xml": "<a/>"})))


def test_without_its_library_a_workbook_is_named_with_the_remedy(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(TableError, match=r"an Excel workbook\. .*pip install python-calamine"):
        read_table(write(workbook(Clicks=ROWS)))


OBJECTS = [
    {"place": "home", "price": 2.5, "tags": ["a", "b"], "click": True},
    {"place": "list, long", "user": {"age": 3}, "click": False},
    {"place": None, "price": 10, "click": True},
]
FROM_JSON = [
    ["home", "2.5", "a|b", "true", ""],
    ["list, long", "", "", "false", '{"age": 3}'],
    ["", "10", "", "true", ""],
]


@pytest.mark.parametrize(
    "text", ["\n".join(map(json.dumps, OBJECTS)) + "\n\n", json.dumps(OBJECTS), json.dumps(OBJECTS, indent=1)]
)
@pytest.mark.parametrize("packed", [False, True])
def test_objects_of_json_are_rows(write, text, packed):
    table = read_table(write(gzip.compress(text.encode(), mtime=0) if packed else text.encode()))
    assert list(table.frame.columns) == ["place", "price", "tags", "click", "user"]
    assert cells(table) == FROM_JSON
    assert table.report.format == "json"


FRAME = pd.DataFrame({"place": ["a", "b", "a"], "price": [1.5, 2.25, None], "click": [0, 1, 1]})
RECORDS = FRAME.to_dict(orient="records")


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("value", "note"),
    [
        ({"meta": {"rows": 3}, "data": RECORDS}, "The rows stand under `data`. The rest was left out: `meta`."),
        ({"took": 5, "hits": {"total": 3, "hits": RECORDS}}, "under `hits.hits`. The rest was left out: `took`."),
        ({"rows": RECORDS}, "The rows stand under `rows`."),
        ({"clicks": RECORDS}, "The rows stand under `clicks`."),
        ({"status": "ok", "results": RECORDS, "next": None}, "The rest was left out: `status`, `next`."),
        ({"count": 3, "items": RECORDS, "has_more": False}, "The rest was left out: `count`, `has_more`."),
        ({"@odata.context": "here", "value": RECORDS}, "The rows stand under `value`."),
        ({"response": {"numFound": 3, "start": 0, "docs": RECORDS}}, "The rows stand under `response.docs`."),
        (json.loads(FRAME.to_json(orient="split")), "names of the columns stand under `columns`"),
        (json.loads(FRAME.to_json(orient="table")), "The rows stand under `data`."),
        (json.loads(FRAME.to_json(orient="columns")), "The file holds the cells of each column by the names of the"),
        (json.loads(FRAME.to_json(orient="index")), "The file holds an object for each row, by its name."),
        (FRAME.astype(object).where(FRAME.notna(), None).to_dict(orient="list"), "a list of cells for each column"),
    ],
)
def test_one_object_of_json_that_holds_a_table_is_that_table(write, value, note, indent):
    text = json.dumps(value, indent=indent).replace("NaN", "null")
    table = read_table(write(text.encode()))
    frame = table.frame[["place", "price", "click"]]
    assert frame.astype(object).to_numpy().tolist() == [["a", "1.5", "0"], ["b", "2.25", "1"], ["a", "", "1"]]
    assert any(note in said for said in table.report.notes), table.report.notes


def test_names_of_columns_that_recur_in_json_keep_their_columns(write):
    value = {"columns": ["a", "a", ["b", "c"], "a"], "index": ["u", "v"], "data": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    table = read_table(write(json.dumps(value).encode()))
    assert list(table.frame.columns) == ["a", "a (2)", "b c", "a (3)"]
    assert cells(table) == [["1", "2", "3", "4"], ["5", "6", "7", "8"]]
    assert table.report.notes[0].endswith("The rest was left out: `index`.")


def test_names_of_rows_in_json_that_are_left_out_are_said(write):
    value = {f"user {number}": {"a": number, "b": number % 2} for number in range(5)}
    assert "These names were left out." in read_table(write(json.dumps(value).encode())).report.notes[0]


def test_columns_of_json_that_are_called_by_numbers_stay_columns(write):
    value = {str(column): {str(row): f"c{column}" for row in range(20)} for column in range(3)}
    assert cells(read_table(write(json.dumps(value).encode()))) == [["c0", "c1", "c2"]] * 20


@pytest.mark.parametrize(
    "value",
    [
        {"place": "a", "click": 1},
        {"a": RECORDS, "b": RECORDS},
        {"tags": ["a", "b"], "click": 1},
        {"user": {"id": 1}, "item": {"id": 2}, "click": 1},
        {"user": {"a": RECORDS}, "item": {"b": RECORDS}},
        {"user": "u1", "items": RECORDS},
        {"user": "u1", "items": [{"id": 1}, {"id": 2}]},
        {"user": {"id": 1}, "items": RECORDS, "click": 1},
        {"page": "home", "items": RECORDS},
        {"status": "gold", "items": RECORDS},
        {"total": 59.9, "items": RECORDS},
        {"count": 2, "history": RECORDS},
        {"user": {"id": 1, "history": RECORDS}, "click": 1},
        {"user": {"id": 1, "age": 30}, "item": {"id": 2, "age": 1}},
    ],
)
def test_an_object_that_holds_no_table_or_several_is_one_row(write, value):
    table = read_table(write(json.dumps(value).encode()))
    assert len(table) == 1
    assert list(table.frame.columns)[: len(value)] == list(value)


@pytest.mark.parametrize("value", [{"data": [{"id": 1}, {"id": 2}]}, [{"id": 1}, {"id": 2}], {"id": 1}])
def test_objects_with_one_name_are_refused_as_objects(write, value):
    with pytest.raises(TableError, match="the objects of the file have only one name") as refused:
        read_table(write(json.dumps(value).encode()))
    assert "The only name is `id`." in str(refused.value)
    assert "delimiter" not in str(refused.value)
    assert ("The rows stand under `data`." in str(refused.value)) == ("data" in value)
    assert len(read_table(write(json.dumps(value).encode()), only="id")) == (1 if value == {"id": 1} else 2)


def test_numbers_of_json_stay_as_they_are_written(write):
    table = read_table(write(b'{"a": 2.50, "b": 1e5}\n{"a": 12345678901234567890, "b": 0.1}\n'))
    assert cells(table) == [["2.50", "1e5"], ["12345678901234567890", "0.1"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2}\n{"a": 1,\n', "line 2: the file is JSON but no table"),
        ('{"a": 1, "b": 2}\n[1, 2]\n', r"line 2: the line is no object \(found `\[1, 2\]`\)"),
        ("{}\n", "the file holds no objects"),
        ('{"a": "\\ud800", "b": "' + "x" * 10 + '"', "the file is JSON but no table"),
    ],
)
def test_json_that_is_no_table_is_refused_with_its_line(write, text, message):
    with pytest.raises(TableError, match=message):
        read_table(write(text.encode()))


def test_half_a_letter_in_json_is_no_traceback(write):
    assert cells(read_table(write(b'{"a": "\\ud800", "b": 1}\n{"a": "x", "b": 2}\n'))) == [["?", "1"], ["x", "2"]]


# What the start of a file shows.


@pytest.mark.parametrize(
    ("content", "form", "lines", "sheets"),
    [
        (b"a;b\n1;2\n", Form.TEXT, ("a;b", "1;2"), ()),
        (gzip.compress("größe\n1\n".encode(), mtime=0), Form.TEXT, ("größe", "1"), ()),
        ("a,b\n1,2\n".encode("utf-16"), Form.TEXT, ("a,b", "1,2"), ()),
        (b'{"a": 1}\n', Form.JSON, ('{"a": 1}',), ()),
        (b'[{"a": 1}]', Form.JSON, ('[{"a": 1}]',), ()),
        (archive(**{"t.csv": TEXT}), Form.ARCHIVE, (), ()),
        (workbook(**{"May & June": ROWS, "Other": ROWS}), Form.WORKBOOK, (), ("May & June", "Other")),
        (b"PAR1 damaged", Form.COLUMNS, (), ()),
        (b"PK\x03\x04 damaged", Form.COLUMNS, (), ()),
        (b"\x1f\x8b damaged", Form.TEXT, (), ()),
        (bytes(range(256)), Form.TEXT, (), ()),
        (b"", Form.TEXT, (), ()),
    ],
)
def test_an_outline_shows_the_start_of_any_file(content, form, lines, sheets):
    seen = outline(io.BytesIO(content))
    assert (seen.form, tuple(line.lstrip("\ufeff") for line in seen.lines), seen.sheets) == (form, lines, sheets)


def test_an_outline_is_in_the_encoding_that_is_known():
    assert outline(io.BytesIO("größe\n".encode("cp1252")), "cp1252").lines == ("größe",)


def test_a_sheet_that_cannot_be_read_is_named_with_the_others(write):
    path = write(workbook(Cover=[["by hand"]], May=ROWS))
    said = r"only one column .found `.+`.\.\n- the sheet `Cover` was read\. Choose another one by its name .*`May`"
    with pytest.raises(TableError, match=said):
        read_table(path)


# The limit of columns, told before the costly work, for every form of file.


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
    names = [str(number) for number in range(MOST_COLUMNS + 1)]
    refuse_columns(names[1:], "Table")
    with pytest.raises(TableError):
        refuse_columns(names, "Table")


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "feather"])
def test_a_columns_name_has_a_limit_and_an_error_shows_its_beginning(tmp_path: Path, form: str) -> None:
    def write(letters: int) -> Path:
        frame = pd.DataFrame({"n" * letters: ["a", "b"] * 9, "y": ["0", "1"] * 9})
        path = tmp_path / f"{letters}.{form}"
        if form == "json":
            frame.to_json(path, orient="records", lines=True)
        else:
            getattr(frame, f"to_{form}")(path, **({"index": False} if form == "csv" else {}))
        return path

    assert len(read_table(write(MOST_LETTERS)).frame.columns[0]) == MOST_LETTERS
    with pytest.raises(TableError, match=r"the name of a column has 50,000 characters, more than .* 1,000") as refused:
        read_table(write(50_000))
    assert len(str(refused.value)) < 500


def test_an_archive_of_what_is_no_text_is_refused_before_it_is_unpacked(write):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.csv", bytes(50_000_000))
    with pytest.raises(TableError, match=r"file `zeros.csv` of the archive: the file is binary, not text"):
        read_table(write(stream.getvalue()), max_bytes=60_000_000)
