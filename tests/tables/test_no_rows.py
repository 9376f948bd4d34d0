"""Records that are no rows: empty ones, the header once more, totals, titles, footers: all left out and said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.errors import SpecError
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices, Places, places_of, runs_of
from tests.tables.conftest import lines

ROWS = [f"{place},{i % 9 + 1},{i % 2}" for i, place in enumerate(["home", "search", "list"] * 20)]
TEXT = "place,clicks,label\n" + "\n".join(ROWS) + "\n"
TOTAL = sum(i % 9 + 1 for i in range(60))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("text", "count", "said"),
    [
        (TEXT + ",,\n" * 300, 300, "300 empty records were left out, the first as record 60 (from 0) below the header"),
        (TEXT + ' ,"",\n', 1, "record 60 (from 0) below the header is an empty record; it was left out"),
        (TEXT + "NA,NA,NA\nnull,,-\n".replace("-", "n/a"), 2, "2 empty records were left out"),
        ("\n,,\n".join(TEXT.splitlines()), 60, "60 empty records were left out, the first as record 0 (from 0) below"),
        (TEXT + ",,,,\n" * 300, 300, "300 empty records of another number of cells were left out"),
        (TEXT + TEXT.splitlines()[0] + "\n", 1, "record 60 (from 0) below the header is the header once more"),
        (TEXT + TEXT.removeprefix("x"), 1, "is the header once more"),
        (TEXT + f"Total,{TOTAL},\n", 1, "the last line holds totals; it was left out (found `Total,"),
        (TEXT + f"Summe:,{TOTAL},30\n", 1, "the last line holds totals"),
        (TEXT + f"Subtotal,{TOTAL},\nGrand Total,{TOTAL},\n", 2, "the last line holds totals"),
        (TEXT + ",,\n\n" + f"Total,{TOTAL},\n", 2, "the last line holds totals"),
        ("Clicks of May\n\n" + TEXT, 1, "line 1: the line stands before the header (found `Clicks of May`)"),
        ("Clicks of May,,\n,,\n" + TEXT, 2, "the line stands before the header"),
        (TEXT + "\nSource: the server's log\n", 1, "line 63: the line stands below the table"),
        (TEXT + "(60 rows affected)\n* preliminary\n", 2, "the line stands below the table"),
    ],
)
def test_records_that_are_no_rows_are_left_out_and_said(read, text, count, said, strict):
    table = read(text, strict=strict)
    assert lines(table) == (ROWS * 2 if table.report.rows > 60 else ROWS)
    assert table.report.skipped_count == count
    assert any(said in sentence for sentence in table.report.sentences()), table.report.sentences()


@pytest.mark.parametrize(
    "last",
    ["total,5,1", "total,$5,1", "Step 21,NA,NA", "Total Recall,,1", "sum,,", "home,600,1", "total eclipse,5,1"],
)
def test_a_row_that_only_reads_like_totals_is_a_row(read, last):
    rows = [*ROWS[:30], "sum,3,0", *ROWS[30:]]
    assert lines(read(TEXT.splitlines()[0] + "\n" + "\n".join([*rows, last]) + "\n")) == [*rows, last]


def test_a_step_without_values_below_other_steps_is_a_row(read):
    rows = [f"Step {i},{i % 9 + 1},{i % 2}" for i in range(30)]
    for last in ("Step 30,,", "Step 30,NA,NA"):
        assert lines(read("step,clicks,label\n" + "\n".join([*rows, last]) + "\n")) == [*rows, last]


def test_a_row_cut_short_is_no_footer(read):
    table = read(TEXT + "home\n")
    assert "1 value where the header has 3" in table.report.skipped[0].message


def test_the_texts_of_records_left_out_are_gone(read):
    assert set(read(TEXT + f"Total,{TOTAL},\n,,\n").frame["place"].cat.categories) == {"home", "search", "list"}


def test_null_rows_of_parquet_are_left_out_and_said(tmp_path: Path):
    pq.write_table(pa.table({"a": ["x", None, "y", None], "b": [1.0, None, 2.0, float("nan")]}), tmp_path / "t")
    table = read_table(tmp_path / "t")
    assert lines(table) == ["x,1.0", "y,2.0"]
    assert "2 empty records were left out, the first as record 1" in table.report.sentences()[0]


def test_a_table_of_empty_records_alone_has_no_rows(read):
    with pytest.raises(Exception, match="the table has no rows"):
        read("a,b\n,\n,\n")


# Where rows stand in the file.


ROW = "x,1,0\n"


@pytest.mark.parametrize(
    ("text", "records", "first_line"),
    [
        (ROW * 3, [0, 1, 2], 2),
        (",,\n" + ROW * 2 + "NA,NA,NA\n" + ROW, [1, 2, 4], 2),
        (ROW + ",\n" + ROW + ",,\n,,\n" + ROW, [0, 2, 5], 2),
        (ROW + "a,b,c\n" + ROW + ",,\n" * 3, [0, 2], 2),
        (ROW * 12 + "x,1,0,9\n" + ROW + "Source: a log\n", [*range(12), 13], 2),
        ('"x\ny",1,0\n' + ROW, [0, 1], None),
        ("\n" + ROW * 2, [0, 1], None),
        (ROW * 2 + "\n\n", [0, 1], 2),
        (ROW + "x,1,0", [0, 1], 2),
    ],
)
def test_rows_have_the_numbers_of_their_records_and_lines_where_these_are_known(read, text, records, first_line):
    table = read("a,b,c\n" + text)
    assert table.records.tolist() == records
    assert table.report.first_line == first_line
    name = places_of(table.frame).name(1)
    assert name == f"row {records[1]}" + (f" (line {records[1] + 2})" if first_line else "")


def test_a_part_of_a_table_is_counted_by_itself(read):
    frame = read("a,b\n,\nx,1\ny,2\n").frame
    assert places_of(frame).name(1) == "row 2 (line 4)"
    assert places_of(frame.take([1])).name(0) == "row 0"


def test_frames_with_places_copy_and_leave_as_any_other(read, tmp_path):
    frame = read("a,b\n,\nx,1\ny,2\n").frame
    assert places_of(frame.copy()).name(1) == "row 2 (line 4)"
    frame.to_parquet(tmp_path / "frame")
    assert pd.read_parquet(tmp_path / "frame").astype(str).equals(frame.astype(str))


@given(st.sets(st.integers(0, 30)), st.integers(1, 20))
def test_runs_stand_for_the_numbers_left_out(out, rows):
    kept = [number for number in range(60) if number not in out][:rows]
    left = np.array(sorted(number for number in out if number < kept[-1]), np.int64)
    assert Places.of(rows, runs_of(left)).records(np.arange(rows)).tolist() == kept


WIDE = "place,clicks,price,label\n" + "".join(f"home,{i % 9 + 1},{i},{i % 2}\n" for i in range(60))
SUMS = f"{sum(i % 9 + 1 for i in range(60))},{sum(range(60))},30"


@pytest.mark.parametrize(
    "last",
    ["Average,,,", "Gesamtergebnis,,,", "Count: 60,,,", "(60 rows affected),,,", "总计：,,,", f",{SUMS}",
     "Generated on 2024-01-01,,,", "* estimated,,,", "---,---,---,---", "Total rows: 60,,,"],
)  # fmt: skip
def test_lines_of_other_totals_and_notes_in_cells_are_left_out_and_kept_by_choice(read, last):
    table = read(WIDE + last + "\n")
    assert len(table) == 60
    assert table.report.skipped_count == 1
    kept = read(WIDE + last + "\n", choices=Choices(rows="all"))
    assert len(kept) == 61
    assert not kept.report.skipped_count


@pytest.mark.parametrize("last", ["home,,,", "list,,,", "north-east,3,,"])
def test_a_row_that_is_mostly_empty_is_a_row(read, last):
    assert len(read(WIDE + last + "\n")) == 61


def test_a_header_written_otherwise_is_the_header_once_more(read):
    table = read(TEXT + "PLACE, clicks ,Label\n" + "\n".join(ROWS))
    assert "the header once more" in table.report.sentences()[0]


def test_all_records_are_rows_where_that_is_said(read, tmp_path):
    text = TEXT + ",,\nplace,clicks,label\nTotal,5,\n(60 rows)\n"
    assert len(read(text)) == 60
    table = read(text, choices=Choices(rows="all"))
    assert lines(table)[60:] == [",,", "place,clicks,label", "Total,5,", "(60 rows),,"]
    pq.write_table(pa.table({"a": ["x", None, "y"], "b": [1, None, 2]}), tmp_path / "t")
    assert len(read_table(tmp_path / "t", choices=Choices(rows="all"))) == 3
    (tmp_path / "j").write_text('{"a": 1, "b": 2}\n{"a": null, "b": null}\n')
    assert (len(read_table(tmp_path / "j")), len(read_table(tmp_path / "j", choices=Choices(rows="all")))) == (1, 2)


def test_the_choice_of_rows_has_one_value():
    with pytest.raises(SpecError, match="Rows is 'some'"):
        Choices(rows="some")


def test_a_long_text_in_the_last_row_costs_no_more_than_its_beginning(read):
    """Judged whole, a million letters would be tried from each of them on."""
    last = "a" * 1_000_000
    text = TEXT + f"{last},,\n"
    assert lines(read(text))[-1] == f"{last},,"
    assert lines(read(TEXT + f"{last},3,1\n"))[-1] == f"{last},3,1"
    assert lines(read(TEXT + f"Source: {last},,\n")) == ROWS
