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


def test_a_file_is_named_by_what_it_holds() -> None:
    assert file_name("row", 3, "ledger") == "row-3-ledger.csv"
    assert file_name("pairs") == "pairs.csv"
    assert file_name("../a/b:c", "levels") == ".._a_b_c-levels.csv"
