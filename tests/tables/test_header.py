"""Files whose header does not fit, or that have none, and lines that are not as even as they should be."""

import pytest

from deepfm_core.errors import TableError
from deepfm_core.tables.table import Choices
from tests.tables.conftest import lines

ROWS = [f"{place},{i % 9 + 1}.5,{i % 2}" for i, place in enumerate(["home", "search", "list"] * 10)]
BODY = "\n".join(ROWS) + "\n"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        (BODY, ["column 1", "column 2", "column 3"], "Line 1 reads like a row, not like a header"),
        ("place,price,place\n" + BODY, ["place", "price", "place (2)"], "`place` stands in line 1 again; column 3"),
        ("a,a (2),a\n" + BODY, ["a", "a (2)", "a (3)"], "column 3 is called `a (3)`"),
        ("place,price\n" + BODY, ["place", "price", "column 3"], "Line 1 has 2 names where rows have 3 values"),
        ("a,b,c,d\n" + BODY, ["a", "b", "c"], "Line 1 has 4 names where rows have 3 values; `d` was left out."),
        ("a,b,c,\n" + BODY, ["a", "b", "c"], None),
        ("a,b,c\n" + BODY.replace("\n", ",\n"), ["a", "b", "c"], "Every row ends with a delimiter"),
        ("a,b,c,\n" + BODY.replace("\n", ",\n"), ["a", "b", "c"], "Every row ends with a delimiter"),
        ("junk,1\na,b,c\n" + BODY, ["a", "b", "c"], "line 1: the line stands before the header (found `junk,1`)"),
        ("1;2;3;4\na,b,c\n" + BODY, ["a", "b", "c"], "line 1: the line stands before the header"),
        (
            "Report\nby hand, in May\n\na,b,c\n" + BODY,
            ["a", "b", "c"],
            "2 lines (1, 2): the line stands before the header",
        ),
        ("a,b,c\n" + BODY + "\nSource: log\n(30 rows)\n", ["a", "b", "c"], "the line stands below the table"),
        ("place,2019,2020\n" + BODY, ["place", "2019", "2020"], None),
        ("name,0,1\n" + BODY, ["name", "0", "1"], None),
    ],
)
def test_a_header_that_does_not_fit_is_fitted_and_said(read, text, names, said, strict):
    table = read(text, strict=strict)
    assert list(table.frame.columns) == names
    assert lines(table) == ROWS
    if said:
        assert any(said in sentence for sentence in table.report.sentences()), table.report.sentences()
    else:
        assert table.report.notes == ()


def test_a_name_too_few_is_that_of_the_row_names_where_these_differ(read):
    table = read("place,price,y\n" + "".join(f"{i},{row}\n" for i, row in enumerate(ROWS)))
    assert list(table.frame.columns) == ["column 1", "place", "price", "y"]
    assert "was taken for row names" in table.report.notes[0]


def test_the_first_line_is_a_row_or_a_header_where_that_is_chosen(read):
    assert lines(read("a,b,c\n" + BODY, choices=Choices(header=False))) == ["a,b,c", *ROWS]
    table = read(BODY, choices=Choices(header=True))
    assert (list(table.frame.columns), lines(table)) == (["home", "1.5", "0"], ROWS[1:])


def test_the_delimiter_can_be_chosen(read):
    table = read("a;b,c\n1;2,3\n", choices=Choices(delimiter=";"))
    assert (list(table.frame.columns), lines(table)) == (["a", "b,c"], ["1,2,3"])


@pytest.mark.parametrize("first", ["a,b", "a;b"])
def test_texts_above_texts_are_a_header(read, first):
    assert lines(read(first + "\nx,y\nz,w\n".replace(",", first[1]))) == ["x,y", "z,w"]


def test_a_first_line_of_texts_that_all_stand_below_is_a_row(read):
    table = read("home,phone\n" + "home,phone\nhome,tablet\nlist,phone\n" * 10)
    assert len(table) == 31
    assert table.report.header_line is None


def test_empty_cells_left_out_at_the_end_are_put_back(read):
    rows = ["x,1,a", "y,2", "z,3", "w,4,b"] * 10
    table = read("k,n,t\n" + "\n".join(rows) + "\n")
    assert lines(table) == ["x,1,a", "y,2,", "z,3,", "w,4,b"] * 10
    assert "20 rows had empty cells too many or too few at their end." in table.report.notes


def test_empty_cells_added_at_the_end_are_taken_away(read):
    table = read("a,b,c\n" + BODY + "home,1.5,0,,\n", strict=True)
    assert lines(table) == [*ROWS, "home,1.5,0"]


@pytest.mark.parametrize("other_first", [False, True])
def test_of_two_tables_the_larger_is_read(read, other_first):
    other = "k,v\n" + "".join(f"{i},{i * i}\n" for i in range(8))
    own = "a,b,c\n" + BODY
    table = read("\n".join([other, own] if other_first else [own, other]))
    assert (list(table.frame.columns), lines(table)) == (["a", "b", "c"], ROWS)
    assert table.report.skipped_count == 9
    if not other_first:
        assert "another table of 9 lines and 2 columns begins here" in table.report.skipped[0].message


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a b c\n" + BODY.replace(",", " "), " "),
        ("a:b:c\n" + BODY.replace(",", ":"), ":"),
        ("a^b^c\n" + BODY.replace(",", "^"), "^"),
        ("a\x01b\x01c\n" + BODY.replace(",", "\x01"), "\x01"),
        ("a   b c\n" + BODY.replace(",", "   "), " "),
    ],
)
def test_unusual_delimiters_are_found(read, text, delimiter):
    table = read(text)
    assert (list(table.frame.columns), lines(table)) == (["a", "b", "c"], ROWS)
    assert table.report.delimiter == delimiter


@pytest.mark.parametrize("mark", ["^", "~", "\x01"])
@pytest.mark.parametrize("above", ["", "# by a log\n", "Clicks{0}{0}\n"])
def test_an_unusual_delimiter_is_found_beside_commas_within_numbers(read, mark, above):
    rows = [f"{place}{mark}1,{i:03}.50{mark}{i % 2}" for i, place in enumerate(["home", "search", "list"] * 10)]
    table = read(above.format(mark) + mark.join("abc") + "\n" + "\n".join(rows) + "\n")
    assert table.report.delimiter == mark
    assert [mark.join(row) for row in table.frame.astype(object).to_numpy()] == rows


def test_control_characters_are_delimiters_beside_commas_without_a_header_too(read):
    rows = [f"{place}\x011,{i:03}.50\x01{i % 2}" for i, place in enumerate(["home", "search", "list"] * 10)]
    table = read("\n".join(rows) + "\n")
    assert ["\x01".join(row) for row in table.frame.astype(object).to_numpy()] == rows


def test_single_quotes_are_undone_where_all_rows_have_them(read):
    rows = [f"'{row.replace(',', ', x', 1)}'" for row in ROWS]
    table = read("a;b\n" + "".join(f"{row};'1'\n" for row in rows))
    assert table.frame.iloc[:, 0].astype(object).tolist() == [row.strip("'") for row in rows]
    assert len(read("a,b\n" + "".join(f"{row},1\n" for row in rows))) == 30
    assert lines(read("a,b\n'90s music,1\nrock 'n' roll,0\n")) == ["'90s music,1", "rock 'n' roll,0"]


def test_spaces_before_quotes_belong_to_the_delimiter(read):
    table = read("a, b, c\n" + "".join(f'{i}, "x, {i}", 1\n' for i in range(20)))
    assert table.frame["b"].astype(object).tolist() == [f"x, {i}" for i in range(20)]


def test_rows_of_every_length_are_refused_with_their_lines(read):
    with pytest.raises(TableError, match="where the header has"):
        read("a,b,c\n1,2,3\n" + "4,5,6,7\n8,9,10,11,12\n" * 9, strict=True)


@pytest.mark.parametrize(
    "text",
    [
        "item,price,,sold\napple,free,red,yes\npear,2,green,no\nplum,3,blue,yes\n",
        "name,age,label,\nbob,unknown,yes,x\nann,31,no,y\njo,32,no,y\nal,33,yes,x\n",
        "user,,,label\n,x,y,no\nb,x,y,yes\nc,x,z,no\nd,u,z,no\n",
        ",,label\na,x,1\na,y,0\nb,x,1\n",
        ",,label\na,x,yes\na,y,no\nb,x,yes\n",
        "label,,\n1,a,b\n0,a,c\n1,b,c\n",
        "id,tag,tag\nx,y,z\n1,u,v\n2,w,t\n3,q,s\n",
        "id,tag,tag\nx,y,z\n1,y,u\n2,u,z\n3,z,y\n",
        "id,price,price\nunknown,none,low\n1,2,3\n2,3,4\n3,5,1\n",
    ],
)
def test_a_header_with_gaps_is_neither_a_title_nor_joined_to_its_first_row(read, text):
    header, *rows = text.splitlines()
    table = read(text)
    assert lines(table) == rows
    named = [(name, cell) for name, cell in zip(table.frame.columns, header.split(","), strict=True) if cell]
    assert all(name.removesuffix(" (2)") == cell for name, cell in named)


@pytest.mark.parametrize("end", ["", "title"])
def test_names_that_repeat_above_names_are_groups(read, end):
    rows = "".join(f"{word},{i},b{i},{i % 2}\n" for i, word in enumerate(["home", "list", "cart"] * 4))
    table = read(f"sold,sold,title,{end}\nplace,price,name,click\n{rows}")
    assert list(table.frame.columns) == ["sold place", "sold price", "title name", f"{end} click".strip()]


def test_a_hash_may_be_the_name_of_the_first_column(read):
    rows = "".join(f"{i},home,{i % 2}\n" for i in range(9))
    assert list(read("#,place,click\n" + rows).frame.columns) == ["#", "place", "click"]


def test_labelled_lines_above_a_table_in_the_cells_of_a_sheet_are_left_out(read):
    rows = "".join(f"home,{i},{i},{i % 2}\n" for i in range(9))
    table = read("Date:,2024-05-01,,\nUser:,me,,\n,,,\nplace,clicks,price,click\n" + rows)
    assert list(table.frame.columns) == ["place", "clicks", "price", "click"]
    assert len(table) == 9
