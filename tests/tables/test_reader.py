"""What a user's file may look like, and what is said about one that cannot be read."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from deepfm_core.errors import Problem, TableError
from deepfm_core.tables.csv_parser import _TAIL, BLOCK
from deepfm_core.tables.decoding import MOST_COLUMNS
from deepfm_core.tables.export import write_table
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices, Table
from tests.tables.conftest import lines

PLAIN = "id,city,click\n007,Köln,1\n1e5,Łódź,0\n,,1\n"
ROWS = [["007", "Köln", "1"], ["1e5", "Łódź", "0"], ["", "", "1"]]


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def cells(table: Table) -> list[list[str]]:
    return table.frame.astype(object).to_numpy().tolist()


def problems(path: Path, **settings) -> tuple[Problem, ...]:
    with pytest.raises(TableError) as caught:
        read_table(path, **settings)
    assert "Traceback" not in str(caught.value)
    for problem in caught.value.problems:
        assert problem.message
        assert problem.remedy, f"no remedy: {problem}"
    return caught.value.problems


def test_every_cell_is_the_text_of_the_file(write):
    table = read_table(write(PLAIN))
    assert list(table.frame.columns) == ["id", "city", "click"]
    assert cells(table) == ROWS
    assert table.report.rows == 3
    assert table.report.header_line == 1
    assert table.name == "table.csv"


def test_columns_are_categoricals_of_text_without_nulls(write):
    frame = read_table(write("a,b,c\nNA,nan,1\nnull,,1\n#N/A,N/A,1\n")).frame
    assert frame.index.equals(pd.RangeIndex(3))
    for column in frame:
        assert isinstance(frame[column].dtype, pd.CategoricalDtype)
        assert frame[column].cat.categories.is_unique
        assert not frame[column].isna().any()
    assert frame[["a", "b"]].astype(object).to_numpy().tolist() == [["NA", "nan"], ["null", ""], ["#N/A", "N/A"]]


@pytest.mark.parametrize("codes", [100, 127, 128, 129, 32767, 32768, 40000])
def test_any_number_of_distinct_values_survives(write, codes):
    texts = [f"v{i}" for i in range(codes)]
    frame = read_table(write("a,b\n" + "".join(f"{text},x\n" for text in texts))).frame
    assert frame["a"].astype(object).tolist() == texts


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found(write, delimiter):
    table = read_table(write(PLAIN.replace(",", delimiter)))
    assert cells(table) == ROWS
    assert table.report.delimiter == delimiter


def test_a_decimal_comma_does_not_make_a_comma_the_delimiter(write):
    table = read_table(write("price;size;click\n1,5;2,5;0\n3,5;1,0;1\n"))
    assert table.report.delimiter == ";"
    assert cells(table)[0] == ["1,5", "2,5", "0"]


def test_separators_within_cells_are_not_the_delimiter(write):
    table = read_table(write("user,interests,click\n1,a|b;c|d,0\n2,b|c;c|d,1\n"))
    assert table.report.delimiter == ","
    assert cells(table)[0] == ["1", "a|b;c|d", "0"]


def test_a_line_that_states_the_delimiter_is_obeyed(write):
    table = read_table(write("sep=;\na,b;c\n1,2;3\n"))
    assert list(table.frame.columns) == ["a,b", "c"]
    assert table.report.header_line == 2


@pytest.mark.parametrize(
    ("codec", "reported"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_unicode_encodings_are_recognised(write, codec, reported, packed):
    content = PLAIN.encode(codec)
    table = read_table(write(gzip.compress(content) if packed else content))
    assert cells(table) == ROWS
    assert table.report.encoding == reported
    assert table.report.compression == ("gzip" if packed else None)
    assert table.frame.columns[0] == "id"


def test_utf_16_with_its_big_endian_mark_is_recognised(write):
    assert cells(read_table(write(b"\xfe\xff" + PLAIN.encode("utf-16-be")))) == ROWS


@pytest.mark.parametrize(("codec", "text"), [("latin-1", "Köln, ½ Straße"), ("cp1252", "“Köln” – 5 €")])
def test_western_single_byte_encodings_are_the_fallback(write, codec, text):
    quoted = text.replace('"', '""')
    table = read_table(write(f'a,b\n"{quoted}",1\n'.encode(codec)))
    assert cells(table) == [[text, "1"]]
    assert table.report.encoding == codec


SCRIPTS = {
    ("gbk", "gb18030"): [["城市", "商品"], ["北京", "手机"], ["上海", "衣服"], ["广州", "图书"], ["Paris", "家电"]],
    ("big5", "big5"): [["城市", "商品"], ["臺北", "手機"], ["高雄", "衣服"], ["臺中", "圖書"], ["Paris", "家電"]],
    ("shift_jis", "cp932"): [["都市", "商品"], ["東京", "ソフト"], ["大阪", "カメラ"], ["Paris", "ノート"]],
    ("euc_kr", "cp949"): [["도시", "상품"], ["서울", "휴대폰"], ["부산", "의류"], ["대구", "도서"], ["Paris", "가전"]],
    ("cp1251", "cp1251"): [["город", "товар"], ["Москва", "телефон"], ["Казань", "одежда"], ["Paris", "чай"]],
    ("koi8_r", "koi8-r"): [["город", "товар"], ["Москва", "телефон"], ["Казань", "одежда"], ["Paris", "чай"]],
    ("cp866", "cp866"): [["город", "товар"], ["Москва", "телефон"], ["Казань", "одежда"], ["Paris", "чай"]],
    ("iso8859_5", "iso8859-5"): [["город", "товар"], ["Москва", "телефон"], ["Казань", "одежда"], ["Paris", "чай"]],
    ("cp1253", "cp1253"): [["πόλη", "είδος"], ["Αθήνα", "κινητό"], ["Πάτρα", "υπολογιστής"], ["Paris", "ναι"]],
    ("cp1255", "cp1255"): [["עיר", "מכשיר"], ["חיפה", "טלפון"], ["ירושלים", "מחשב"], ["תל אביב", "בגדים"],
                           ["באר שבע", "ספרים לילדים"], ["אילת", "מוצרי חשמל"], ["Paris", "לא"]],
    ("cp1256", "cp1256"): [["مدينة", "جهاز"], ["القاهرة", "هاتف"], ["دبي", "حاسوب"], ["Paris", "نعم"]],
    ("cp874", "cp874"): [["เมือง", "อุปกรณ์"], ["กรุงเทพ", "มือถือ"], ["เชียงใหม่", "คอมพิวเตอร์"], ["Paris", "ใช่"]],
    ("cp1250", "cp1250"): [["miasto", "urządzenie"], ["Łódź", "komórka"], ["Gdańsk", "źródło"], ["Paris", "nie"]],
    ("iso8859_2", "iso8859-2"): [["miasto", "urządzenie"], ["Łódź", "komórka"], ["Gdańsk", "źródło"], ["Paris", "nie"]],
    ("cp1254", "cp1254"): [["şehir", "cihaz"], ["Eskişehir", "telefon"], ["Ağrı", "bilgisayar"], ["Paris", "hayır"]],
    ("cp850", "cp850"): [["ville", "objet"], ["Orléans", "téléphone"], ["Nîmes", "règle"], ["Paris", "clé"]],
    ("mac_roman", "mac-roman"): [["straße", "gerät"], ["Köln", "tür"], ["Düsseldorf", "möbel"], ["Paris", "spaß"]],
    ("iso2022_jp", "iso2022-jp"): [["都市", "商品"], ["東京", "ソフト"], ["大阪", "カメラ"], ["Paris", "ノート"]],
}  # fmt: skip
"""By codec, and by the name it is reported under: header and rows."""


@pytest.mark.parametrize("repeats", [1, 5_000])
@pytest.mark.parametrize(("codec", "reported"), SCRIPTS)
def test_tables_in_another_script_are_read_right(write, codec, reported, repeats):
    header, *rows = SCRIPTS[codec, reported]
    lines = [f"{a},{b}" for a, b in [header, *rows * repeats]]
    table = read_table(write(("\n".join(lines) + "\n").encode(codec)))
    assert list(table.frame.columns) == header
    assert cells(table) == rows * repeats
    assert table.report.encoding == reported
    assert table.report.notes[0].startswith(f"The file is not UTF-8. It was read as {reported}")


@pytest.mark.slow
def test_another_script_late_in_a_long_file_is_read_right(write):
    rows = "abc,1\n" * 1_000_000  # more than is held at a time
    table = read_table(write(f"x,y\n{rows}Москва,2\nКазань,3\n".encode("cp1251")))
    assert cells(table)[-2:] == [["Москва", "2"], ["Казань", "3"]]


def test_a_byte_that_another_script_has_no_letter_for_leaves_the_file_western(write):
    header, *rows = SCRIPTS["gbk", "gb18030"]
    content = "\n".join(f"{a},{b}" for a, b in [header, *rows * 100]).encode("gbk")
    assert read_table(write(content + b"\nx,\xff\n")).report.encoding == "latin-1"


WESTERN = [
    "créée",
    "Größe",
    "œuvre",
    "à",
    "né",
    "été",
    "Ü",
    "señor",
    "½",
    "£",
    "€",
    "“gut”",
    "naïveté",
    "Æbler",
    "smørrebrød",
]


@pytest.mark.parametrize("codec", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", [*WESTERN, " ".join(WESTERN)])
def test_western_words_are_read_as_western_however_few_they_are(write, codec, text):
    text = text.encode(codec, "ignore").decode(codec) + " é"
    table = read_table(write(f"a,b\n{text},1\nx,2\n".encode(codec)))
    assert cells(table)[0] == [text, "1"]
    assert table.report.encoding in ("latin-1", "cp1252")


def test_a_table_in_utf_8_does_not_load_what_tells_encodings(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\né,1\n", encoding="utf-8")
    code = "import sys; from deepfm_core.tables.reader import read_table; read_table(sys.argv[1])"
    code += "; sys.exit('charset_normalizer' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "t.csv"], check=True)


@pytest.mark.slow
def test_an_accent_late_in_a_long_file_is_read_right(write):
    rows = "1,abc\n" * 400_000
    table = read_table(write(b"x,y\n" + rows.encode() + "2,é\n".encode("latin-1")))
    assert cells(table)[-1] == ["2", "é"]
    assert table.report.encoding == "latin-1"


def test_a_stray_byte_does_not_spoil_a_file_in_utf_8(write):
    table = read_table(write("a,b\n" + "é,ü\n" * 100 + "x,y\n" + "ø,å\n" * 100, "t.csv"))
    assert table.report.encoding == "utf-8"
    content = ("a,b\n" + "é,ü\n" * 100).encode() + b"\xff,y\n"
    table = read_table(write(content))
    assert table.report.encoding == "utf-8"
    assert cells(table)[0] == ["é", "ü"]
    assert cells(table)[-1] == ["\ufffd", "y"]
    assert "not valid UTF-8" in table.report.notes[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n", "\n  \n"])
def test_line_ends_and_blank_lines_at_the_end_do_not_matter(write, end, last):
    text = PLAIN.rstrip("\n") + last
    table = read_table(write(text.replace("\n", end).encode()))
    assert cells(table) == ROWS
    assert table.report.skipped == ()


def test_quotes_are_undone(write):
    table = read_table(write('"a","b ""c"""\r\n"x, y","line 1\r\nline 2"\r\n"",5" pipe\r\n'))
    assert list(table.frame.columns) == ["a", 'b "c"']
    assert cells(table) == [["x, y", "line 1\r\nline 2"], ["", '5" pipe']]


def test_white_space_is_kept_as_it_stands(write):
    assert cells(read_table(write('a,b\n x ,"  y"\n\tz,\n'))) == [[" x ", "  y"], ["\tz", ""]]


def test_a_space_after_every_delimiter_is_left_out(write):
    table = read_table(write("age, work, income\n39, State-gov, <=50K\n50, ?, >50K\n17,, >50K\n"))
    assert list(table.frame.columns) == ["age", "work", "income"]
    assert cells(table) == [["39", "State-gov", "<=50K"], ["50", "?", ">50K"], ["17", "", ">50K"]]
    assert any("space" in note for note in table.report.notes)


def test_lines_before_the_header_are_found_and_reported(write):
    table = read_table(write("\n# exported, by, hand\n// at noon\n\nClicks in May\na,b\n1,2\n"))
    assert list(table.frame.columns) == ["a", "b"]
    assert table.report.header_line == 6
    assert [problem.line for problem in table.report.skipped] == [2, 3, 5]
    assert table.report.skipped[0].value == "# exported, by, hand"


def test_a_header_may_begin_with_a_number_sign(write):
    table = read_table(write("# a comment\n#id,click\n1,0\n2,1\n"))
    assert list(table.frame.columns) == ["#id", "click"]
    assert table.report.header_line == 2


def test_a_header_cell_may_run_over_lines(write):
    table = read_table(write('"a\nb",c\n1,2\n3\n4,5\n6,7\n'))
    assert list(table.frame.columns) == ["a\nb", "c"]
    assert table.report.skipped[0].line == 4


def test_a_column_without_a_name_gets_one(write):
    table = read_table(write(",click,column 1\n5,0,x\n"))
    assert list(table.frame.columns) == ["column 1'", "click", "column 1"]
    assert "Column 1 has no name" in table.report.notes[0]


def criteo_row(label: int) -> str:
    return "\t".join([str(label), *(str(i - 2) if i % 3 else "" for i in range(13)), *["68fd1e64"] * 20, *[""] * 6])


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_the_headerless_criteo_layout_is_recognised(write, delimiter):
    lines = [criteo_row(0), criteo_row(1), criteo_row(0)]
    table = read_table(write("\n".join(lines).replace("\t", delimiter)))
    assert table.report.layout == "criteo"
    assert table.report.header_line is None
    assert list(table.frame.columns) == ["label", *(f"I{i + 1}" for i in range(13)), *(f"C{i + 1}" for i in range(26))]
    assert cells(table) == [line.split("\t") for line in lines]


def test_ragged_rows_of_a_criteo_file_have_their_lines(write):
    lines = [criteo_row(0)] * 50 + ["1\t2\t3"] + [criteo_row(1)] * 50
    table = read_table(write("\n".join(lines)))
    assert len(table) == 100
    (skipped,) = table.report.skipped
    assert skipped.line == 51
    assert skipped.message == "3 values where the Criteo layout has 40"


def test_forty_columns_with_a_header_are_not_the_criteo_layout(write):
    header = "\t".join(f"x{i}" for i in range(40))
    table = read_table(write(f"{header}\n{criteo_row(1)}\n"))
    assert table.report.layout is None
    assert table.report.header_line == 1


def test_a_few_ragged_rows_are_left_out_and_reported(write):
    rows = ["1,2,3,4"] * 30
    rows[4] = "1,2,3,4,5"
    rows[9] = "1,2"
    table = read_table(write("a,b,c,d\n" + "\n".join(rows)))
    assert len(table) == 28
    assert table.report.skipped_count == 2
    more, less = table.report.skipped
    assert (more.line, more.message, more.value) == (6, "5 values where the header has 4", "1,2,3,4,5")
    assert (less.line, less.message, less.value) == (11, "2 values where the header has 4", "1,2")
    assert "delimiter `,`" in more.remedy
    assert "Add the missing values" in less.remedy


def test_line_numbers_count_quoted_line_ends_and_blank_lines(write):
    text = '\n\n"a","b"\n"one\ntwo\r\nthree",1\n\n\n2,3\n4\n5,"6\n7"\n8,9,10\n11,12\n13,14\n15,16\n'
    table = read_table(write(text))
    assert table.report.header_line == 3
    assert [problem.line for problem in table.report.skipped] == [10, 13]


def test_a_ragged_row_over_several_lines_points_at_the_quote(write):
    table = read_table(write('a,b\n1,2\n3,"x\n4","y"\n5,6\n7,8\n9,"z"\n'))
    (skipped,) = table.report.skipped
    assert skipped.line == 3
    assert "line 4" in skipped.remedy


def test_strict_reading_refuses_a_single_ragged_row(write):
    (problem,) = problems(write("a,b\n" + "1,2\n" * 100 + "3\n"), strict=True)
    assert problem.line == 102


def test_many_ragged_rows_are_an_error_that_lists_them_all(write):
    found = problems(write("a,b\n1\n2,3\n4,5,6\n"))
    assert [problem.line for problem in found] == [2, 4]


def test_a_text_that_is_no_table_is_said_to_be_none(write):
    prose = (
        "To train, give a table.\n" + "Give a label, too.\nIt is one column.\nOf one, two, or many values, one.\n" * 5
    )
    (problem,) = problems(write(prose))
    assert "it does not look like a table: only 5 of 15 lines have 2 cells" in problem.message
    assert "--delimiter" in problem.remedy


@pytest.mark.parametrize("content", ["", "\n\n  \n", "# only a comment\n", gzip.compress(b"", mtime=0), "\ufeff"])
def test_an_empty_file_is_named_so(write, content):
    assert problems(write(content))[0].message == "the file is empty"


def test_a_header_alone_is_not_a_table(write):
    (problem,) = problems(write("a,b,c\n\n"))
    assert problem.message == "the table has no rows"


def test_one_column_is_too_few_and_the_separator_in_use_is_named(write):
    (problem,) = problems(write("a:b:c\n1:2:3\n"))
    assert problem.message == "the table has only one column"
    assert "`:`" in problem.remedy
    assert len(problems(write("click\n"))) == 2


def test_one_column_is_enough_where_only_it_is_needed(write):
    text = '# made today\n\nsite\n"news"\n""\n\na|b\n"x, y"\n'
    assert cells(read_table(write(text), only="site")) == [["news"], [""], ["a|b"], ["x, y"]]
    assert problems(write(text.replace("site", "page")), only="site")
    assert cells(read_table(write("site,n\na,1\n"), only="site")) == [["a", "1"]]
    assert cells(read_table(write("site\nid,site\na,1\n"), only="site")) == [["a", "1"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("site\n", "the table has no rows"),
        ("site\na\nb,c\n", "2 values where the header has 1"),
        ('site\na\n"b\n', "a quoted cell is never closed"),
        ('site\n"b', "a quoted cell is never closed"),
        ('site\na\n"b"c\n', "a quoted cell goes on after its closing quote"),
    ],
)
def test_what_is_wrong_with_a_single_column_is_said(write, text, message):
    assert [problem.message for problem in problems(write(text), only="site")] == [message]


def test_the_line_of_a_quote_that_is_wrong_in_a_single_column_is_said(write):
    assert problems(write('site\n"a\nb"\n\nc\n"d\ne\n'), only="site")[0].line == 6


def test_a_header_that_cannot_be_read_as_a_single_column_is_read_as_any_other(write):
    assert cells(read_table(write('"a"b,site\n1,2\n3,4\n'), only="site")) == [["1", "2"], ["3", "4"]]
    assert problems(write('"site\na\nb\n'), only="site")
    assert problems(write('"si"te\na\nb\n'), only="other")
    long = "x" * 200_000
    assert "200,000 characters" in problems(write(f"site,{long}\n1,2\n3,4\n"), only="site")[0].message
    assert problems(write(f"{long}\n1\n"), only="site")


def test_a_very_long_cell_can_stand_in_a_single_column(write):
    long = "x" * 200_000
    assert cells(read_table(write(f"site\n{long}\nb\n"), only="site")) == [[long], ["b"]]


def test_every_problem_is_reported_at_once(write):
    found = problems(write("a,b,c,d\n1,2,3,4\n2,3,4,5\n5,6,7,8,9\n7\n5,6,7,8,9,0\n9\n"))
    assert [problem.line for problem in found] == [4, 5, 6, 7]


def test_an_unclosed_quote_swallows_no_row(write):
    table = read_table(write('a,b,c\n1,"x\ny",2\n3,4,"five\n6,7,8\n9,10,11\n'))
    assert cells(table) == [["1", "x\ny", "2"], ["3", "4", '"five'], ["6", "7", "8"], ["9", "10", "11"]]
    assert table.report.repaired_count == 1
    (mended,) = table.report.repaired
    assert (mended.line, mended.value) == (4, '3,4,"five')


def test_an_unclosed_quote_in_a_long_file_swallows_no_row(write):
    table = read_table(write('a,b\n1,"2\n' + "3,4\n" * 300_000))
    assert len(table) == 300_001
    assert [mended.line for mended in table.report.repaired] == [2]


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"a,b\n1,2\n3,\x00\n", bytes(range(1, 32)) * 40, b"\x00" * 100],
)
def test_a_binary_file_is_refused_whatever_its_name(write, content):
    assert problems(write(content))[0].message == "the file is binary, not text"


def test_a_nul_late_in_a_file_is_named_with_its_line(write):
    (problem,) = problems(write(b"a,b\n" + b"1,2\n" * 2_000_000 + b"\x00"))
    assert problem.line == 2_000_002


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"PK\x03\x04xl/", "zip archive is damaged"),
        (b"%PDF-1.7", "PDF"),
        (b"BZh9", "bzip2"),
        (b" <!DOCTYPE html>", "web page"),
    ],
)
def test_files_of_other_kinds_are_named(write, content, named):
    assert named in problems(write(content))[0].message


def test_a_gzip_file_cut_short_is_refused(write):
    whole = gzip.compress(PLAIN.encode() * 1000)
    assert "gzip" in problems(write(whole[: len(whole) // 2]))[0].message
    assert "gzip" in problems(write(whole[:-4]))[0].message
    assert "gzip" in problems(write(b"\x1f\x8bnot at all"))[0].message


@pytest.mark.parametrize("content", [b"PAR1 and then nothing", b"\x00\x01\x02", b"PAR1"])
def test_a_damaged_parquet_file_is_refused(write, content):
    assert "Parquet" in problems(write(content, "table.parquet"))[0].message


def test_csv_called_parquet_is_read_all_the_same(write):
    assert cells(read_table(write(PLAIN, "table.parquet"))) == ROWS


def test_a_file_above_the_limit_is_refused(write):
    path = write("a,b\n" + "1,2\n" * 1000)
    assert len(read_table(path, max_bytes=path.stat().st_size)) == 1000
    assert "larger than the limit" in problems(path, max_bytes=1000)[0].message
    bomb = write(gzip.compress(b"a,b\n" + b"1,2\n" * 1_000_000))
    assert "larger than the limit" in problems(bomb, max_bytes=100_000)[0].message


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert problems(tmp_path / "none.csv")[0].message == "there is no such file"
    assert problems(tmp_path)[0].message == "the folder has no files"


def test_rows_and_cells_longer_than_a_block_are_read(write):
    long = "x" * 9_000_000
    table = read_table(write(f'a,b\n1,2\n3,{long}\n4,"{long}\n"\n'))
    assert cells(table)[1:] == [["3", long], ["4", long + "\n"]]


@pytest.mark.slow
def test_a_very_wide_table_is_read(write):
    header = ",".join(f"a name of a column that is longer than all of its cells {i}" for i in range(MOST_COLUMNS))
    assert len(header) > 100_000
    table = read_table(write(header + "\n" + ",".join(map(str, range(MOST_COLUMNS))) + "\n"))
    assert cells(table) == [list(map(str, range(MOST_COLUMNS)))]


@pytest.mark.slow
def test_a_table_of_many_blocks_keeps_its_rows_in_order(write):
    rows = [f"{i},{i % 7},{'even' if i % 2 == 0 else ''}" for i in range(600_000)]
    frame = read_table(write("i,m,e\n" + "\n".join(rows))).frame
    assert frame["i"].astype(object).tolist() == [str(i) for i in range(600_000)]
    assert frame["m"].astype(object).tolist() == [str(i % 7) for i in range(600_000)]
    assert set(frame["e"].cat.categories) == {"even", ""}


def test_what_is_written_is_read_again(write):
    text = 'a,"b, c"\n"x ""y""","1\n2"\n,"3\r4"\n ü ,;\n'
    table = read_table(write(text))
    stream = io.StringIO(newline="")
    write_table(table, stream)
    assert stream.getvalue() == text


def test_the_report_is_plain_json(write):
    table = read_table(write("a;b\n1;2\n3;4\n5;6\n7\n"))
    said = json.loads(json.dumps(table.report.to_dict()))
    assert (said["encoding"], said["delimiter"], said["header_line"], said["rows"]) == ("utf-8", ";", 1, 3)
    assert said["skipped"] == [
        {
            "message": "1 value where the header has 2",
            "remedy": "Add the missing values. An empty cell needs its delimiter, too.",
            "line": 5,
            "column": None,
            "value": "7",
            "how": "found",
        }
    ]


def test_a_line_end_may_fall_between_two_blocks(write):
    row = "1,2\r\n"
    size = BLOCK - len(_TAIL)
    for surplus in range(-2, 3):
        rows = [row] * (size // len(row) - 1)
        first = "1" * (size + 1 + surplus - len(row) * len(rows) - 4) + ",2\r\n"
        table = read_table(write("a,b\r\n" + first + "".join(rows)))
        assert len(table) == len(rows) + 1


def test_a_title_exported_by_a_spreadsheet_is_not_the_header(write):
    table = read_table(write("Clicks in May,,\n,,\nid,city,click\n1,a,0\n2,b,1\n"))
    assert list(table.frame.columns) == ["id", "city", "click"]
    assert [problem.line for problem in table.report.skipped] == [1, 2]


def test_an_index_without_a_name_is_not_a_title(write):
    table = read_table(write(",click\n0,1\n1,0\n"))
    assert list(table.frame.columns) == ["column 1", "click"]


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        ("gb18030", ["点击广告", "首页推荐", "搜索结果", "视频列表"]),
        ("gb18030", ["是", "否", "北京"]),
        ("big5", ["點擊廣告", "首頁推薦", "搜尋結果"]),
        ("cp949", ["클릭광고", "홈화면", "검색결과"]),
        ("cp949", ["서울", "부산"]),
        ("cp932", ["クリック", "はい", "いいえ"]),
        ("euc_jp", ["クリック", "はい", "いいえ"]),
        ("koi8_r", ["главная", "поиск", "список товаров"]),
        ("koi8_r", ["Москва", "Казань", "Омск"]),
        ("cp1251", ["МОСКВА", "КАЗАНЬ", "ОМСК", "САМАРА"]),
        ("cp1251", ["ЗАКРЫТ", "ОТКРЫТ", "В РАБОТЕ"]),
        ("koi8_r", ["ДА", "НЕТ", "МОСКВА", "КЛИК", "ДОМ"]),
        ("cp1251", ["да", "нет"]),
        ("koi8_r", ["да", "нет"]),
        ("cp866", ["Да", "Нет"]),
        ("iso8859_5", ["да", "нет"]),
        ("cp1253", ["ΑΘΗΝΑ", "ΠΑΤΡΑ"]),
        ("cp1253", ["ναι", "όχι"]),
        ("cp1255", ["שלום", "מוצר", "לחיצה"]),
        ("cp1255", ["כן", "לא"]),
        ("cp1256", ["مرحبا", "منتج", "بغداد"]),
        ("cp1256", ["نعم", "لا"]),
        ("cp874", ["กรุงเทพ", "สินค้า"]),
        ("cp874", ["ใช่", "ไม่"]),
        ("gb18030", ["是", "否"]),
        ("cp949", ["예", "아니오"]),
    ],
)
def test_a_few_words_of_another_script_tell_its_encoding(write, codec, words):
    rows = [f"{words[i % len(words)]},{i},{i % 2}" for i in range(60)]
    table = read_table(write(("a,b,y\n" + "\n".join(rows) + "\n").encode(codec)))
    assert lines(table) == rows
    assert table.report.encoding.replace("-", "_") == codec
    assert any("not UTF-8" in note for note in table.report.notes)


@pytest.mark.parametrize(
    ("cell", "held"),
    [
        ("it\x92s", "it\u2019s"),
        ("a\x85b \x96 c", "a\u2026b \u2013 c"),
        ("a\x85b", "a\x85b"),  # the end of a line on other machines
        ("\x81 \x92", "\x81 \x92"),  # Windows-1252 has no such letter, so that is not where these come from
    ],
)
def test_control_characters_of_utf_8_are_the_marks_that_windows_has_in_their_place(write, cell, held):
    path = write(f'a,b\n"{cell}, so",1\nx,2\n"é","3"\n'.encode())
    table = read_table(path)
    assert table.frame["a"].astype(object).tolist() == [f"{held}, so", "x", "é"]
    assert table.report.encoding == "utf-8"
    assert any("Windows-1252" in note for note in table.report.notes) == (held != cell)
    kept = read_table(path, choices=Choices(encoding="utf-8"))
    assert kept.frame["a"][0] == f"{cell}, so"


def test_a_guessed_encoding_is_admitted(write):
    table = read_table(write("имя,клик\nиван,1\n".encode("cp1251")))
    assert "not UTF-8" in table.report.notes[0]


def test_a_header_above_a_quoted_nothing_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('1;\r""')
    with pytest.raises(TableError, match="no rows"):
        read_table(path)


@pytest.mark.parametrize("cells", [b"t\xfdk,\x81", b"urz\xb9dzenie,\x83\x81"])
def test_bytes_that_a_likely_encoding_does_not_have_leave_the_file_western(write, cells):
    assert read_table(write(b"a,b\n" + cells + b"\n")).report.encoding == "latin-1"


def test_a_named_encoding_is_named_where_the_text_cannot_be_a_table(write):
    content = "ville,clic\nOrléans,1\nNîmes,0\n".encode("latin-1")
    with pytest.raises(TableError, match=r"the text was read as utf-16, as was said\. If letters look wrong, choose"):
        read_table(write(content), choices=Choices(encoding="utf-16"))


@pytest.mark.parametrize(
    "first", ["2024-01-01T10:00:00Z,2024-01-01T10:00:00Z", "<1,>100", "12%,$5", "1 day,2 days", "~3,(4)"]
)
def test_a_first_row_that_is_written_otherwise_is_no_line_of_units(write, first):
    rows = "".join(f"2024-01-{number:02d},{number}\n" for number in range(1, 29))
    assert cells(read_table(write(f"begin,end\n{first}\n{rows}")))[0] == first.split(",")


@pytest.mark.parametrize("first", ["unknown,undisclosed", "(none),[redacted]", "low,high", "x,y", "EUR,12 kg"])
def test_a_first_row_of_words_above_numbers_is_no_line_of_units(write, first):
    rows = "".join(f"name {number},{number},{number * 7}\n" for number in range(20))
    assert cells(read_table(write(f"name,age,pay\nAlice,{first}\n{rows}")))[0] == ["Alice", *first.split(",")]


def test_a_currency_above_texts_is_no_unit(write):
    rows = "".join(f"{number},{number * 7},in euros\n" for number in range(20))
    assert len(read_table(write(f"age,pay,money\nunknown,secret,EUR\n{rows}"))) == 21


@pytest.mark.parametrize(
    "first", ["text,kg,cm", "name,(years),kg", ",€,", "-,%,km/h", "id,[m/s^2],US$", ",m²,kWh", "as written,USD,amount"]
)
def test_a_line_with_a_unit_above_numbers_is_a_line_of_units(write, first):
    rows = "".join(f"name {number},{number},{number * 7}\n" for number in range(20)) + ",,3\n"
    table = read_table(write(f"name,age,pay\n{first}\n{rows}"))
    assert len(table) == 21
    assert "such as units" in table.report.sentences()[0]


def test_a_line_of_units_can_be_kept_as_a_row(write):
    path = write("height,weight\ncm,kg\n" + "".join(f"{number},{number * 2}\n" for number in range(20)))
    table = read_table(path)
    assert len(table) == 20
    assert "`--rows all`" in table.report.sentences()[0]
    assert len(read_table(path, choices=Choices(rows="all"))) == 21


def test_a_line_of_another_length_with_many_blanks_is_read_at_once(write):
    text = "a,b\n" + "1,2\n" * 50 + " " * 20_000 + "x\n" + "1,2\n" * 50
    assert len(read_table(write(text))) == 100
