"""What a person says of a file is heeded and part of a table's key; texts read like a tuple; tables leave as CSV."""

import copy
import csv
import gzip
import io
import json
import pickle
import zipfile

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.errors import SpecError, TableError
from deepfm_core.tables.export import beside, csv_bytes, file_name, write_csv
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import FOUND, Choices, ReadReport, Texts
from tests.tables.conftest import lines

SHA = "0" * 64


def names(table) -> list[str]:
    return [str(name) for name in table.frame.columns]


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("gb18030", "gb18030"),
        ("big5", "big5"),
        ("cp1250", "cp1250"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16", "utf_16"),
        ("utf-8-sig", "utf8"),
        ("iso8859-15", "latin9"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_encoding_can_be_said(write, codec, said, packed):
    text = "中文,b\n中,1\n" if codec in ("gb18030", "big5") else "größe,b\nä,1\n"
    content = text.encode(codec)
    table = read_table(write(gzip.compress(content) if packed else content), choices=Choices(encoding=said))
    assert (names(table)[0], table.frame.iat[0, 0]) == (text.split(",")[0], text.split("\n")[1].split(",")[0])
    assert table.report.notes == ()


@pytest.mark.parametrize("said", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_no_byte_order_mark_is_needed_where_the_encoding_is_said(write, said, order):
    expected = ["ä,1", "x,2"] if (said, order) != ("utf-32", "be") else None
    path = write("a,b\nä,1\nx,2\n".encode(f"{said}-{order}"))
    if expected is None:  # nothing in it tells the order, and the usual one gives no text
        with pytest.raises(TableError):
            read_table(path, choices=Choices(encoding=said))
        expected, said = ["ä,1", "x,2"], "utf-32-be"
    assert lines(read_table(path, choices=Choices(encoding=said))) == expected


def test_bytes_that_the_said_encoding_lacks_are_counted(write):
    table = read_table(write(b"a,b\n\x81,1\nx,2\n"), choices=Choices(encoding="cp1252"))
    assert lines(table) == ["\ufffd,1", "x,2"]
    assert table.report.notes == ("1 bytes are not valid cp1252; they read as `\ufffd`.",)
    table = read_table(write('a,b\n"\xff",1\n"\xff",2\n'.encode("latin-1")), choices=Choices(encoding="utf-8"))
    assert lines(table) == ["\ufffd,1", "\ufffd,2"]


@pytest.mark.parametrize("delimiter", [";", " ", ":", "§"])
def test_any_character_can_be_the_delimiter(read, delimiter):
    text = '"a,1"?"b;2"\n"x, y"?"1"\n"z"?"2"\n'.replace("?", delimiter)
    table = read(text, choices=Choices(delimiter=delimiter))
    assert (names(table), table.frame.iloc[0].tolist()) == (["a,1", "b;2"], ["x, y", "1"])
    assert table.report.delimiter == delimiter


def test_a_delimiter_that_is_not_there_is_named(read):
    with pytest.raises(TableError, match=r"semicolon does not stand in this line\. Choose another one\."):
        read("a,b\n1,2\n", choices=Choices(delimiter=";"))


def test_quotes_are_as_they_are_said_to_be(read):
    text = 'a,b\n"x ""y""",1\n"z",2\n'
    assert lines(read(text, choices=Choices(quoting="doubled"))) == ['x "y",1', "z,2"]
    assert lines(read(text, choices=Choices(quoting="none"))) == ['"x ""y""",1', '"z",2']
    assert lines(read('a,b\n"x \\"y\\"",1\n', choices=Choices(quoting="backslash"))) == ['x "y",1']
    table = read("a,b\n'x, y',1\n'it''s',2\n", choices=Choices(quoting="single"))
    assert (table.frame["a"].tolist(), table.report.quoting) == (["x, y", "it's"], "`'`, doubled within a cell")


def test_without_quotes_every_line_is_a_row(read):
    rows = "".join(f'"{i}" inch,{i % 2}\n' for i in range(20)) + '"open,1\nnext,0\n'
    table = read("a,b\n" + rows, choices=Choices(quoting="none"))
    assert lines(table)[-2:] == ['"open,1', "next,0"]
    assert (len(table), table.report.repaired_count) == (22, 0)


def test_the_line_of_the_header_can_be_said(read):
    text = "x,y\nu,v\na,b\n1,2\n3,4\n"
    table = read(text, choices=Choices(header=3))
    assert (names(table), lines(table), table.report.header_line) == (["a", "b"], ["1,2", "3,4"], 3)
    assert [problem.line for problem in table.report.skipped] == [1, 2]
    assert names(read(text, choices=Choices(header=1))) == ["x", "y"]


@pytest.mark.parametrize(("line", "said"), [(2, "is blank"), (9, "does not exist")])
def test_a_header_where_there_is_no_line_is_an_error(read, line, said):
    with pytest.raises(TableError, match=rf"line {line}: the header's line {said}"):
        read("a,b\n\n1,2\n", choices=Choices(header=line))


def test_a_comment_is_no_header_where_there_is_said_to_be_none(read):
    table = read("#a,b\n1,2\n3,4\n", choices=Choices(header=False))
    assert (names(table), lines(table)) == (["column 1", "column 2"], ["1,2", "3,4"])


def test_a_choice_that_says_nothing_about_a_file_is_named(write, tmp_path):
    note = "The file is text, so the choice of sheet (`--sheet`) says nothing about it."
    assert note in read_table(write(b"a,b\n1,2\n"), choices=Choices(sheet="x")).report.notes
    table = read_table(write(b'{"a": 1, "b": 2}\n'), choices=Choices(delimiter=";", encoding="utf-8"))
    assert table.report.notes == (
        "The file is JSON, so the choice of delimiter (`--delimiter`) says nothing about it.",
    )


def test_choices_reach_the_file_within_an_archive(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t.csv", "größe;b\n1;2\n".encode("cp1252"))
    assert names(read_table(path, choices=Choices(encoding="cp1252", header=False))) == ["column 1", "column 2"]


@pytest.mark.parametrize(
    "values",
    [
        {"encoding": "klingon"},
        {"encoding": "base64"},
        {"encoding": "idna"},
        {"delimiter": ""},
        {"delimiter": ";;"},
        {"delimiter": "\n"},
        {"quoting": "some"},
        {"header": 0},
        {"header": "perhaps"},
    ],
)
def test_what_cannot_be_said_is_an_error(values):
    (name, value) = next(iter(values.items()))
    with pytest.raises(SpecError, match=rf"{name.title()} is {value!r}\. Use".replace("|", r"\|").replace("\\n", ".*")):
        Choices(**values)


def test_choices_come_back_from_json_and_from_a_report(read):
    choices = Choices("cp1252", ";", "none", 2, "May")
    assert Choices.from_dict(json.loads(json.dumps(choices.to_dict()))) == choices
    assert FOUND.to_dict() == {}
    table = read("a;b\n1;2\n", choices=Choices(delimiter=";"))
    assert ReadReport.from_dict(json.loads(json.dumps(table.report.to_dict()))) == table.report
    assert table.report.choices == Choices(delimiter=";")


def test_a_key_is_that_of_the_bytes_where_nothing_is_said():
    assert FOUND.key(SHA) == SHA
    keys = {Choices(header=said).key(SHA) for said in (None, True, False, 1, 2)}
    assert len(keys) == 5
    assert Choices(encoding="latin1").key(SHA) == Choices(encoding="ISO-8859-1").key(SHA)


# Texts in one piece of memory.


@given(st.lists(st.text(max_size=4), max_size=8), st.slices(8))
def test_texts_read_like_the_tuple_they_stand_for(strings, part):
    texts = Texts(strings)
    assert tuple(texts) == tuple(strings)
    assert len(texts) == len(strings)
    assert texts[part] == tuple(strings)[part]
    assert [texts[place] for place in range(-len(strings), len(strings))] == strings * 2
    assert texts == tuple(strings)
    assert hash(texts) == hash(tuple(strings))
    assert copy.deepcopy(texts) == pickle.loads(pickle.dumps(texts)) == texts
    assert texts != Texts([*strings, "more"])


# Tables that leave as CSV: the same text for the command line and the app, and names that every system takes.

FRAME = pd.DataFrame({"row": [0, 1], "name": ["é, ü", None], "value": [0.1, 1e-9]})


def test_the_app_and_the_command_line_write_the_same() -> None:
    stream = io.StringIO()
    write_csv(FRAME, stream)
    assert stream.getvalue() == 'row,name,value\n0,"é, ü",0.1\n1,,1e-09\n'
    assert csv_bytes(FRAME).decode() == stream.getvalue()


def test_lines_can_end_as_spreadsheets_end_them() -> None:
    stream = io.StringIO(newline="")
    write_csv(FRAME[["row"]], stream, line_end="\r\n")
    assert stream.getvalue() == "row\r\n0\r\n1\r\n"


def test_no_text_of_a_download_is_a_formula_and_numbers_stay() -> None:
    formulas = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\ra", "-"]
    others = ["a=1", "-5", "+1.5e3", "-12,5 %", "a\rb"]
    texts = [*formulas, *others]
    frame = pd.DataFrame({"=evil()": texts, "text": pd.Categorical(texts), "number": -1.5})
    there = pd.read_csv(io.BytesIO(csv_bytes(frame)), dtype=str, keep_default_na=False)
    written = [*(f"'{text}" for text in formulas), *others]
    assert list(there.columns) == ["'=evil()", "text", "number"]
    assert [list(there["'=evil()"]), list(there["text"])] == [written, written]
    assert set(there["number"]) == {"-1.5"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("x;=1+1", "x;'=1+1"),
        ("x\n=1+1", "x\n'=1+1"),
        ('x;"=1+1";y', """x;"'=1+1";y"""),
        ("x; @SUM(A1);+cmd", "x; '@SUM(A1);'+cmd"),
        ("=1;=2", "'=1;'=2"),
        ("1;-2;+3,5", "1;-2;+3,5"),
        ("a;b=c", "a;b=c"),
        ("\ufeff=1+1", "'\ufeff=1+1"),
    ],
)
def test_a_formula_is_none_either_where_a_spreadsheet_cuts_at_semicolons(text: str, written: str) -> None:
    content = csv_bytes(pd.DataFrame({text: [text]}))
    assert not content.startswith(b"\xef\xbb\xbf")
    assert next(csv.reader(io.StringIO(content.decode(), newline=""))) == [written]


def test_columns_of_any_name_leave_as_they_are() -> None:
    names = ["self", "self", "data"]
    frame = pd.DataFrame([["a", "b", "=c"]], columns=names)
    assert csv_bytes(frame).decode() == "self,self,data\na,b,'=c\n"


def test_a_file_is_named_by_what_it_holds() -> None:
    assert file_name("row", 3, "ledger") == "row-3-ledger.csv"
    assert file_name("pairs") == "pairs.csv"
    assert file_name("../a/b:c", "levels") == ".._a_b_c-levels.csv"


@pytest.mark.parametrize(
    ("named_by", "name"),
    [
        ("clicks.csv-scores", "clicks-scores.csv"),
        ("clicks.csv.gz-scores", "clicks-scores.csv"),
        ("Clicks.CSV-scores", "Clicks-scores.csv"),
        ("clicks.v2.csv-scores", "clicks.v2-scores.csv"),
        ("slices-.csv", "slices-.csv.csv"),
        ("slices-user.city", "slices-user.city.csv"),
    ],
)
def test_a_files_name_has_one_ending(named_by: str, name: str) -> None:
    assert file_name(named_by) == name


def test_an_export_is_named_by_the_run_without_its_tables_ending() -> None:
    assert file_name("DeepFM on clicks.csv", ending=".html") == "DeepFM on clicks.html"
    assert file_name("DeepFM on clicks.parquet, seed 1", ending="-score.zip") == "DeepFM on clicks, seed 1-score.zip"


def test_columns_beside_others_have_names_of_their_own() -> None:
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["row", "row (cell)", "a", "probability"])
    own = beside(frame, ["row", "probability"])
    assert own.columns.to_list() == ["row (cell) (cell)", "row (cell)", "a", "probability (cell)"]
    assert own.iloc[0].to_list() == [1, 2, 3, 4]
