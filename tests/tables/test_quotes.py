"""Quotes within cells, however a program writes them: no row is swallowed, and what was mended is said."""

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepfm_core.errors import TableError
from deepfm_core.tables import records as mending
from deepfm_core.tables import repair
from deepfm_core.tables.decoding import survey
from deepfm_core.tables.dialect import Dialect
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.records import Cut, _next_record, _Source, is_blank, is_sound
from deepfm_core.tables.table import Choices, Table

ROWS = 3_000


def cells(table: Table) -> list[list[str]]:
    return table.frame.astype(object).to_numpy().tolist()


def of_rows(odd: str, usual: str = '"plain"', every: int = 50) -> str:
    """Write a table in which one row of `every` has the cell `odd`."""
    body = (f"{i},{odd if i % every == 1 else usual},{i % 2}\n" for i in range(ROWS))
    return "id,size,click\n" + "".join(body)


@pytest.mark.parametrize(
    ("odd", "value"),
    [
        ('"24""', '24"'),
        ('"ends in \\""', 'ends in "'),
        ('"say \\"hi\\""', 'say "hi"'),
        ('"say \\"hi, you\\""', 'say "hi, you"'),
        ('"say ""hi"""', 'say "hi"'),
        ('"a "big, bold" one"', 'a "big, bold" one'),
        ('"C:\\dir\\"', "C:\\dir\\"),
        ('"never closed', '"never closed'),
        ('"two\nlines"', "two\nlines"),
        ('5" pipe', '5" pipe'),
        ("\\N", "\\N"),
    ],
)
@pytest.mark.parametrize("every", [50, 2])
def test_no_row_is_swallowed_however_quotes_are_written(read, odd, value, every):
    table = read(of_rows(odd, every=every))
    assert len(table) == ROWS
    assert set(table.frame["size"].astype(object)) == {"plain", value}
    assert table.report.skipped_count == 0


def test_a_long_file_with_a_quote_that_is_never_closed_is_refused_at_once(write, monkeypatch) -> None:
    text = ('a,b\n1,x\n"2' + "y,z\n" * 5000).encode()
    monkeypatch.setattr(repair, "MOST_DOUBTED", 5001)
    refused = "mended_records was asked"
    monkeypatch.setattr(repair, "mended_records", lambda *_: pytest.fail(refused))
    with pytest.raises(TableError) as raised:
        read_table(write(text))
    (problem,) = raised.value.problems
    assert problem.line == 3
    assert problem.value == "5,002 lines"
    assert "a quote is not closed or not doubled, and the file has too many lines to mend it" in str(raised.value)
    assert len(read_table(write(text), choices=Choices(quoting="none"))) == 5001


def lines_read(text: str, width: int) -> int:
    """Count the lines that cutting a text reads, those that are given back and read again as often as they are."""
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for line in text.splitlines(keepends=True):
            count += 1
            yield line

    source = _Source(lines())
    for line in source:
        _next_record(line, source, Cut(), width)
    return source.looked + count


def test_quotes_that_open_on_every_line_are_not_looked_for_a_thousand_times_each(monkeypatch) -> None:
    monkeypatch.setattr(mending, "_MOST_LOOKED", 3000)
    assert lines_read('a",b,"c\n' * 5000, 3) < 5000 * 12 + 4000


def test_ways_to_cut_a_line_are_not_tried_without_end(monkeypatch) -> None:
    monkeypatch.setattr(mending, "_TRIED_IN_ALL", 1000)
    line = '"x",' * 40 + '"y"z,"\n'
    source = _Source([line] * 1000)
    for each in source:
        _next_record(each, source, Cut(), 30)
    assert source.tried < 1000 + 22 * 1000


@pytest.mark.parametrize("cut", [Cut(), Cut(";"), Cut(spaced=True), Cut(escape=True), Cut(quote=None), Cut("\t", "'")])
@given(line=st.text("ab ;,\t\\x\x1c", max_size=20), end=st.sampled_from(["", "\n", "\r\n"]))
def test_a_line_without_quotes_is_cut_as_the_csv_module_does(cut: Cut, line: str, end: str) -> None:
    cells, unquoted = mending._cells(line + end, cut) or [], mending._unquoted(line + end, cut)
    assert unquoted == cells or (is_blank(cells) and is_blank(unquoted))


@pytest.mark.parametrize("odd", ['"24""', '"never closed', '"a "big, bold" one"'])
def test_rows_whose_quotes_were_mended_are_listed(read, odd):
    report = read(of_rows(odd)).report
    assert report.repaired_count == ROWS // 50
    assert [problem.line for problem in report.repaired[:2]] == [3, 53]
    assert "60 lines (3, 53, 103, 153, 203, …)" in report.sentences()[0]


@pytest.mark.parametrize(
    ("odd", "quoting"),
    [('"say \\"hi\\""', '`"`, `\\"` within a cell'), ('"say ""hi"""', '`"`, doubled within a cell')],
)
def test_the_quoting_that_was_found_is_reported(read, odd, quoting):
    report = read(of_rows(odd)).report
    assert (report.quoting, report.repaired_count, report.notes) == (quoting, 0, ())


def test_a_backslash_before_a_quote_far_below_the_first_rows_is_found(read):
    text = of_rows('"x"') + "".join(f'{i},"say \\"hi, you\\"",1\n' for i in range(ROWS))
    table = read(text)
    assert len(table) == 2 * ROWS
    assert table.frame["size"].iloc[-1] == 'say "hi, you"'
    assert table.report.repaired_count == 0


def test_a_text_without_quoting_is_read_as_it_stands(read):
    rows = [[str(i), ('"' if i % 3 else "") + "word" + ('"' if i % 5 == 0 else ""), "x"] for i in range(200)]
    table = read("id\tword\tlast\n" + "".join("\t".join(row) + "\n" for row in rows))
    assert cells(table) == [[a, b[1:-1] if b == '"word"' else b, c] for a, b, c in rows]


def test_long_texts_over_many_lines_stay_cells(read):
    rows = [[str(i), f"Dear {i},\nall is well, and\n\nso on, {'ü' * (i % 7)}", str(i % 2)] for i in range(500)]
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["id", "text", "click"], *rows])
    table = read(stream.getvalue())
    assert cells(table) == rows
    assert table.report.notes == ()


def test_a_cell_whose_line_ends_may_be_those_of_rows_is_doubted(read):
    table = read('a,b\n1,2\n3,"x\n4,y"\n5,6\n')
    assert cells(table)[1] == ["3", "x\n4,y"]
    assert table.report.notes[0].startswith("1 distinct quoted cells hold line ends and what may be rows")


def test_every_row_has_an_answer_where_all_rows_are_needed(read):
    assert len(read(of_rows('"24""'), strict=True)) == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("cell", ['say "hi"', '24"', '"quoted"', '"', 'a\\"b'])
def test_quotes_that_are_escaped_in_bare_cells_are_undone(read, delimiter, cell):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, doublequote=False, escapechar="\\", lineterminator="\n")
    rows = [[["phone", "desk"][i % 2], cell if i % 40 == 7 else "plain", str(i % 2)] for i in range(2000)]
    writer.writerows([["device", "title", "click"], *rows])
    table = read(stream.getvalue())
    assert table.frame.astype(object).to_numpy().tolist() == rows


def test_a_doubled_quote_behind_a_backslash_stays_as_it_is(read):
    table = read("a,b\n" + 'x,"say \\""hi\\"" now"\n' * 3)
    assert table.frame["b"].tolist() == ['say \\"hi\\" now'] * 3


@given(st.text('"a,\n\r', max_size=24), st.sampled_from([1, 2, 3, 1000]))
@example('""', 1)
@example('a,"b""c"\n"",""', 1)
@example('"24"",a\n"x",b', 2)
def test_quotes_that_stand_at_the_ends_of_cells_are_well_formed(tmp_path_factory, text, piece):
    path = tmp_path_factory.mktemp("quotes") / "table"
    path.write_text("a,b\n" + text + "\n", newline="")
    content = survey(path, "Table")
    dialect = Dialect(Cut(), ("a", "b"), 1, 2, offset=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair, "_PIECE", piece)
        found = repair._quotes_are_at_ends(content, dialect)
    sound = is_sound(io.StringIO(text + "\n", newline=""), Cut())
    assert sound or not found
    assert repair.is_sound_below(content, dialect) == sound


@given(st.lists(st.lists(st.text('"a,\n ', max_size=5), min_size=2, max_size=2), min_size=1, max_size=5))
def test_quotes_that_a_program_writes_stand_at_the_ends_of_cells(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("quotes") / "table"
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    dialect = Dialect(Cut(), ("a", "b"), 1, 2, offset=9)
    assert repair._quotes_are_at_ends(survey(path, "Table"), dialect)
