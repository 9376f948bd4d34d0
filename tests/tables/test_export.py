"""Tables that leave as CSV: the same text for the command line and the app, and names that every system takes."""

from __future__ import annotations

import io

import pandas as pd

from deepfm_core.tables.export import csv_bytes, file_name, write_csv

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
    formulas = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-"]
    others = ["a=1", "-5", "+1.5e3", "-12,5 %", "a\rb"]
    texts = [*formulas, *others]
    frame = pd.DataFrame({"=evil()": texts, "text": pd.Categorical(texts), "number": -1.5})
    there = pd.read_csv(io.BytesIO(csv_bytes(frame)), dtype=str, keep_default_na=False)
    written = [*(f"'{text}" for text in formulas), *others]
    assert list(there.columns) == ["'=evil()", "text", "number"]
    assert [list(there["'=evil()"]), list(there["text"])] == [written, written]
    assert set(there["number"]) == {"-1.5"}


def test_columns_of_any_name_leave_as_they_are() -> None:
    names = ["self", "self", "data"]
    frame = pd.DataFrame([["a", "b", "=c"]], columns=names)
    assert csv_bytes(frame).decode() == "self,self,data\na,b,'=c\n"


def test_a_file_is_named_by_what_it_holds() -> None:
    assert file_name("row", 3, "ledger") == "row-3-ledger.csv"
    assert file_name("pairs") == "pairs.csv"
    assert file_name("../a/b:c", "levels") == ".._a_b_c-levels.csv"
