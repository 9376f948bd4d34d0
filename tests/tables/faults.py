"""Faults that files have in the wild, each with the table that it should give: start with `FAULTS`.

One clean table is written with one fault at a time. `python benchmarks/faults.py` reads them with other libraries.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

NAMES = ["place", "price", "title", "click"]
ROWS = [
    [
        ["home", "search", "list"][i % 3],
        f"{i % 7 + 1}.{i % 4 + 1}",
        ["plain", "two words", "a-b"][i % 5 % 3],
        str(i % 2),
    ]
    for i in range(40)
]
RECOGNISED, SAID, REFUSED = "recognised", "corrected and said", "refused"


@dataclass(frozen=True)
class Fault:
    """A file, and what should come of it.

    Attributes:
        kind: what is wrong with the file, in a few words.
        content: its bytes.
        outcome: whether its table is recognised, corrected with a word on it, or refused.
        said: a part of what the report or the error says.
    """

    kind: str
    content: bytes
    outcome: str
    said: str = ""
    names: Sequence[str] = tuple(NAMES)
    rows: Sequence[Sequence[str]] = tuple(ROWS)


def text_of(
    rows: Sequence[Sequence[str]] = ROWS, names: Sequence[str] | None = NAMES, mark: str = ",", end: str = "\n"
) -> str:
    """Write a table without any quotes."""
    return "".join(mark.join(row) + end for row in ([names, *rows] if names else rows))


TEXT = text_of()
LINES = TEXT.splitlines(keepends=True)
HEADER, BODY = LINES[0], "".join(LINES[1:])


def with_cells(title: Callable[[int], str], every: int = 5) -> list[list[str]]:
    """Return the rows with another title in each row of `every`."""
    return [[*row[:2], title(i) if i % every == every // 2 else row[2], row[3]] for i, row in enumerate(ROWS)]


def quoted(rows: Sequence[Sequence[str]], **dialect: object) -> str:
    """Write a table as Python's csv module does."""
    stream = io.StringIO(newline="")
    csv.writer(stream, **{"lineterminator": "\n", **dialect}).writerows([NAMES, *rows])  # type: ignore[arg-type]
    return stream.getvalue()


def packed(**members: str) -> bytes:
    """Write a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return stream.getvalue()


def typed(write: Callable[[pa.Table, io.BytesIO], None]) -> bytes:
    """Write the table with an Arrow library, all cells text."""
    stream = io.BytesIO()
    write(pa.table([list(column) for column in zip(*ROWS, strict=True)], names=NAMES), stream)
    return stream.getvalue()


def objects() -> list[dict[str, str]]:
    """Return the rows as objects of JSON."""
    return [dict(zip(NAMES, row, strict=True)) for row in ROWS]


BIG, INCH, LINE = (
    with_cells(lambda i: f'a "big, bold" {i}'),
    with_cells(lambda i: f'{i}"'),
    with_cells(lambda i: f"{i}\nx"),
)
COMMA = with_cells(lambda i: f"one, {i}")
NUMBERED = [[str(i), *row] for i, row in enumerate(ROWS)]
OTHER = "k,v\n" + "".join(f"{i},{i * i}\n" for i in range(9))
CYRILLIC = with_cells(lambda i: f"слово {'да' * (i % 3)}", 2)
CHINESE = with_cells(lambda i: f"点击广告{'商品' * (i % 3)}", 2)
ACCENTS = with_cells(lambda i: "Größe", 2)
SPARSE = [[*row[:3], row[3] if i % 3 else ""] for i, row in enumerate(ROWS)]


def naive(rows: Sequence[Sequence[str]]) -> str:
    """Put quotes around titles without doubling those within."""
    return HEADER + "".join(f'{a},{b},"{c}",{d}\n' for a, b, c, d in rows)


def _delimiters() -> list[Fault]:
    kinds = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
    return [
        *(Fault(f"{kind} between cells", text_of(mark=mark).encode(), RECOGNISED) for mark, kind in kinds.items()),
        *(
            Fault(f"{kind} between cells", text_of(mark=mark).encode(), RECOGNISED)
            for mark, kind in {"^": "carets", "~": "tildes", "\x01": "U+0001", "\x1f": "U+001F"}.items()
        ),
        Fault("colons between cells", text_of(mark=":").encode(), RECOGNISED),
        Fault(
            "blanks between cells",
            text_of([[c.replace(" ", "_") for c in row] for row in ROWS], mark=" ").encode(),
            RECOGNISED,
            rows=[[c.replace(" ", "_") for c in row] for row in ROWS],
        ),
        Fault("a space after each delimiter", text_of(mark=", ").encode(), SAID, "The space after every delimiter"),
        Fault(
            "a space before quotes",
            (", ".join(NAMES) + "\n" + "".join(f'{a}, {b}, "{c}", {d}\n' for a, b, c, d in COMMA)).encode(),
            SAID,
            "The space after every delimiter",
            rows=COMMA,
        ),
        Fault("a line that names the delimiter", ("sep=;\n" + text_of(mark=";")).encode(), SAID, "before the header"),
        Fault(
            "decimal commas beside semicolons",
            text_of([[c.replace(".", ",") for c in row] for row in ROWS], mark=";").encode(),
            RECOGNISED,
            rows=[[c.replace(".", ",") for c in row] for row in ROWS],
        ),
    ]


def _lines() -> list[Fault]:
    return [
        Fault("Windows line ends", TEXT.replace("\n", "\r\n").encode(), RECOGNISED),
        Fault("old Macintosh line ends", TEXT.replace("\n", "\r").encode(), RECOGNISED),
        Fault("no line end after the last row", TEXT.rstrip().encode(), RECOGNISED),
        Fault("blank lines below the table", (TEXT + "\n\n \n").encode(), RECOGNISED),
        Fault("a blank line after every row", TEXT.replace("\n", "\n\n").encode(), RECOGNISED),
        Fault("blank lines above the header", ("\n\n" + TEXT).encode(), RECOGNISED),
        Fault("line ends of two kinds", (HEADER + BODY.replace("\n", "\r\n", 20)).encode(), RECOGNISED),
    ]


def _encodings() -> list[Fault]:
    codecs = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
    return [
        *(Fault(f"{codec} text", text_of(ACCENTS).encode(codec), RECOGNISED, rows=ACCENTS) for codec in codecs),
        *(
            Fault(f"{codec} text", text_of(rows).encode(codec), SAID, "The file is not UTF-8.", rows=rows)
            for codec, rows in {
                "latin-1": ACCENTS,
                "cp1251": CYRILLIC,
                "koi8-r": CYRILLIC,
                "gb18030": CHINESE,
                "big5": with_cells(lambda i: f"點擊廣告{'商品' * (i % 3)}", 2),
            }.items()
        ),
        Fault(
            "marks of Windows-1252 that were taken for Latin-1",
            text_of(with_cells(lambda i: f"it\u2019s {i}")).replace("\u2019", "\x92").encode(),
            SAID,
            "must have been marks or letters of Windows-1252",
            rows=with_cells(lambda i: f"it\u2019s {i}"),
        ),
        Fault(
            "a stray byte in UTF-8",
            text_of(ACCENTS).encode() + b"home,1.1,\xff,1\n",
            SAID,
            "not valid UTF-8",
            rows=[*ACCENTS, ["home", "1.1", "\ufffd", "1"]],
        ),
    ]


def _quotes() -> list[Fault]:
    return [
        Fault("quotes around every cell", quoted(COMMA, quoting=csv.QUOTE_ALL).encode(), RECOGNISED, rows=COMMA),
        Fault("doubled quotes", quoted(BIG).encode(), RECOGNISED, rows=BIG),
        Fault(
            "a backslash before quotes",
            quoted(BIG, doublequote=False, escapechar="\\").encode(),
            RECOGNISED,
            rows=BIG,
        ),
        Fault("quotes that are not doubled", naive(BIG).encode(), SAID, "not closed or not doubled", rows=BIG),
        Fault("an inch mark at the end of a quoted cell", naive(INCH).encode(), SAID, "not doubled", rows=INCH),
        Fault(
            "a quote that is never closed",
            TEXT.replace("two words", '"two words', 1).encode(),
            SAID,
            "a quote is not closed",
            rows=[[c if i != 1 else c.replace("two words", '"two words') for c in row] for i, row in enumerate(ROWS)],
        ),
        Fault("quotes in the middle of bare cells", text_of(INCH).encode(), RECOGNISED, rows=INCH),
        Fault("line ends within quoted cells", quoted(LINE).encode(), RECOGNISED, rows=LINE),
        Fault(
            "a path that ends in a backslash",
            naive(with_cells(lambda i: f"C:\\d{i}\\")).encode(),
            RECOGNISED,
            rows=with_cells(lambda i: f"C:\\d{i}\\"),
        ),
        Fault(
            "single quotes around texts",
            (HEADER + "".join(f"'{a}',{b},'{c}',{d}\n" for a, b, c, d in COMMA)).encode(),
            RECOGNISED,
            rows=COMMA,
        ),
        Fault(
            "apostrophes in texts",
            text_of(with_cells(lambda i: f"'{i} o'clock")).encode(),
            RECOGNISED,
            rows=with_cells(lambda i: f"'{i} o'clock"),
        ),
        Fault(
            "\\N for null", text_of(with_cells(lambda i: "\\N")).encode(), RECOGNISED, rows=with_cells(lambda i: "\\N")
        ),
    ]


def _headers() -> list[Fault]:
    unnamed = ["column 1", "column 2", "column 3", "column 4"]
    return [
        Fault("no header line", BODY.encode(), SAID, "reads like a row, not like a header", names=unnamed),
        Fault("a name twice", BODY.join(["a,b,a,c\n", ""]).encode(), SAID, "again", names=["a", "b", "a (2)", "c"]),
        Fault(
            "a column without a name",
            ("place,,title,click\n" + BODY).encode(),
            SAID,
            "has no name",
            names=["place", "column 2", "title", "click"],
        ),
        Fault(
            "a name too few",
            ("place,price,title\n" + BODY).encode(),
            SAID,
            "has 3 names where rows have 4",
            names=["place", "price", "title", "column 4"],
        ),
        Fault("a name too many", ("place,price,title,click,more\n" + BODY).encode(), SAID, "`more` was left out"),
        Fault(
            "no name for the row names",
            text_of(NUMBERED, NAMES).encode(),
            SAID,
            "was taken for row names",
            names=["column 1", *NAMES],
            rows=NUMBERED,
        ),
        Fault("a delimiter at the end of the header", (HEADER.strip() + ",\n" + BODY).encode(), RECOGNISED),
        Fault(
            "a delimiter at the end of the rows", (HEADER + BODY.replace("\n", ",\n")).encode(), SAID, "Every row ends"
        ),
        Fault("a delimiter at the end of all lines", TEXT.replace("\n", ",\n").encode(), SAID, "Every row ends"),
        Fault("a header that begins with #", ("#" + TEXT).encode(), RECOGNISED, names=["#place", *NAMES[1:]]),
        Fault(
            "a header that begins with # and a space", ("# " + TEXT).encode(), RECOGNISED, names=["# place", *NAMES[1:]]
        ),
        Fault(
            "a header over two lines",
            ("place,sold,,click\n,price,title,\n" + BODY).encode(),
            SAID,
            "stand in several lines, 1 to 2",
            names=["place", "sold price", "sold title", "click"],
        ),
        Fault(
            "a header over three lines",
            ("place,sold,,click\n,by,,\n,price,title,\n" + BODY).encode(),
            SAID,
            "stand in several lines, 1 to 3",
            names=["place", "sold by price", "sold by title", "click"],
        ),
        Fault(
            "years above some names, and a remark below",
            (",2019,2020,\nplace,price,title,click\n,restated,,\n" + BODY).encode(),
            SAID,
            "stand in several lines, 1 to 3",
            names=["place", "2019 price restated", "2020 title", "click"],
        ),
        Fault(
            "names in groups, as pandas writes them",
            ("sold,sold,title,\nplace,price,title,click\n" + BODY).encode(),
            SAID,
            "stand in several lines, 1 to 2",
            names=["sold place", "sold price", "title title", "click"],
        ),
        Fault(
            "a line of units below the names",
            (HEADER + "-,EUR,text,yes or no\n" + BODY).encode(),
            SAID,
            "such as units",
        ),
        Fault(
            "no name for the row names, and a name twice",
            text_of(NUMBERED, ["x", "x", "x", "y"]).encode(),
            SAID,
            "was taken for row names",
            names=["column 1", "x", "x (2)", "x (3)", "y"],
            rows=NUMBERED,
        ),
        Fault(
            "two names too many",
            text_of(names=[*NAMES, "a", "b"]).encode(),
            SAID,
            "`a`, `b` was left out",
        ),
        Fault(
            "names that are years",
            ("place,2019,title,2020\n" + BODY).encode(),
            RECOGNISED,
            names=["place", "2019", "title", "2020"],
        ),
        Fault(
            "a name that runs over lines",
            ('"pl\nace",price,title,click\n' + BODY).encode(),
            RECOGNISED,
            names=["pl\nace", *NAMES[1:]],
        ),
        Fault(
            "blanks around names",
            ("place , price,title,click\n" + BODY).encode(),
            RECOGNISED,
            names=["place ", " price", "title", "click"],
        ),
    ]


def _above_and_below() -> list[Fault]:
    total = f"Total,{sum(float(row[1]) for row in ROWS):.1f},,20\n"
    return [
        Fault("a title above the table", ("Clicks of May\n" + TEXT).encode(), SAID, "before the header"),
        Fault(
            "a title in the cells of a sheet", ("Clicks of May,,,\n,,,\n" + TEXT).encode(), SAID, "before the header"
        ),
        Fault(
            "several titles in the cells of a sheet",
            ("Clicks,,,\nby hand,,,\n,,,\n,in May,,\n" + TEXT).encode(),
            SAID,
            "before the header",
        ),
        Fault(
            "a title above a header with a gap",
            ("Clicks,,,\nplace,,title,click\n" + BODY).encode(),
            SAID,
            "before the header",
            names=["place", "column 2", "title", "click"],
        ),
        Fault(
            "several lines above the table",
            ("Report\nfrom 1 to 31\n\nby hand\n" + TEXT).encode(),
            SAID,
            "before the header",
        ),
        Fault(
            "comments above the table",
            ("# exported, by, hand, today\n// at noon\n" + TEXT).encode(),
            SAID,
            "before the header",
        ),
        Fault("a wrong line at the top", ("1;2;3\n" + TEXT).encode(), SAID, "before the header"),
        Fault("a line of two cells at the top", ("junk,1\n" + TEXT).encode(), SAID, "before the header"),
        Fault(
            "a source below the table", (TEXT + "\nSource: the log of the server\n").encode(), SAID, "below the table"
        ),
        Fault("a number of rows below the table", (TEXT + "(40 rows affected)\n").encode(), SAID, "below the table"),
        Fault(
            "several notes below the table", (TEXT + "\n* preliminary\nSource: log\n").encode(), SAID, "below the table"
        ),
        Fault("totals at the end", (TEXT + total).encode(), SAID, "holds totals"),
        Fault("totals in another language", (TEXT + total.replace("Total", "Summe")).encode(), SAID, "holds totals"),
        *(_totals_with(unit, thousands) for unit in ("$%s", "%s %%", "%s EUR") for thousands in (True, False)),
        Fault(
            "a title and the header once more",
            ("Clicks of May,,,\n,,,\n" + TEXT + ",,,\nClicks of June,,,\n" + TEXT).encode(),
            SAID,
            "a title above the header once more",
            rows=ROWS * 2,
        ),
        Fault("the header once more", (TEXT + TEXT).encode(), SAID, "header once more", rows=ROWS * 2),
        Fault("a smaller table below", (TEXT + "\n" + OTHER).encode(), SAID, "another table of 10 lines"),
        Fault(
            "a smaller table with a title below", (TEXT + "\nThe other table\n" + OTHER).encode(), SAID, "another table"
        ),
        Fault("a smaller table above", (OTHER + "\n" + TEXT).encode(), SAID, "before the header"),
    ]


def _totals_with(unit: str, thousands: bool) -> Fault:
    """Write prices with a unit, and their sum below; with thousands as `1.234,50` or as `1234.50`."""
    numbers = [1000 * (i % 7) + i % 4 + 0.5 for i in range(len(ROWS))]
    texts = [f"{number:,.2f}" if thousands else f"{number:.2f}" for number in [*numbers, sum(numbers)]]
    if thousands:
        texts = [text.translate(str.maketrans(",.", ".,")) for text in texts]
    *prices, total = [unit % text for text in texts]
    rows = [[place, price, *others] for (place, _, *others), price in zip(ROWS, prices, strict=True)]
    kind = f"totals as `{unit % ('1.234,50' if thousands else '1234.50')}`"
    return Fault(kind, text_of([*rows, ["Total", total, "", "20"]], mark=";").encode(), SAID, "holds totals", rows=rows)


def _rows() -> list[Fault]:
    short = "".join(line.replace("\n", ",\n") if i % 4 == 1 else line for i, line in enumerate(LINES))
    return [
        Fault("records of empty cells below", (TEXT + ",,,\n" * 50).encode(), SAID, "50 empty records"),
        Fault(
            "records of empty cells between rows",
            (HEADER + BODY.replace("\n", "\n,,,\n")).encode(),
            SAID,
            "40 empty records",
        ),
        Fault("records of quoted nothing", (TEXT + '"","","",""\n').encode(), SAID, "an empty record"),
        Fault("records of NA", (TEXT + "NA,NA,NA,NA\n").encode(), SAID, "an empty record"),
        Fault("records of empty cells, too many of them", (TEXT + ",,,,,,,\n" * 9).encode(), SAID, "9 empty records"),
        Fault(
            "a row with a cell too many", (TEXT + "home,1.1,x,1,9\n").encode(), SAID, "5 values where the header has 4"
        ),
        Fault("a row with a cell too few", (TEXT + "home,1.1\n").encode(), SAID, "2 values where the header has 4"),
        Fault("a row cut short at the end", (TEXT + "home\n").encode(), SAID, "1 value where the header has 4"),
        Fault("empty cells at the end of some rows", short.encode(), SAID, "empty cells too many or too few"),
        Fault(
            "rows without the empty cells at their end",
            (HEADER + "".join(",".join(row).rstrip(",") + "\n" for row in SPARSE)).encode(),
            SAID,
            "empty cells too many or too few",
            rows=SPARSE,
        ),
        Fault("a delimiter in a bare cell of one row", (TEXT + "home,1.1,one, two,1\n").encode(), SAID, "5 values"),
    ]


def drawn(row: str, rule: str, cross: str, around: str) -> str:
    """Draw the table with lines, its columns aligned by spaces; a line is above and below it, too, if `around`."""
    widths = [max(len(one[place]) for one in [NAMES, *ROWS]) for place in range(len(NAMES))]
    line = rule.format(cross.join("-" * width for width in widths)) + "\n"
    padded = [[cell.ljust(width) for cell, width in zip(one, widths, strict=True)] for one in [NAMES, *ROWS]]
    head, *body = [row.format(" | ".join(one)) + "\n" for one in padded]
    ends = line if around else ""
    return ends + head + line + "".join(body) + ends


def _other_files() -> list[Fault]:
    lines = "\n".join(json.dumps(row) for row in objects())
    return [
        Fault("gzip", gzip.compress(TEXT.encode()), RECOGNISED),
        Fault("a zip archive", packed(table=TEXT), SAID, "unpacked from the archive"),
        Fault("a zip archive of a Macintosh", packed(**{"t.csv": TEXT, "__MACOSX/._t.csv": "x"}), SAID, "unpacked"),
        Fault("Parquet", typed(pq.write_table), RECOGNISED),
        Fault("Feather", typed(feather.write_feather), RECOGNISED),
        Fault("an object of JSON a line", lines.encode(), RECOGNISED),
        Fault("a list of objects of JSON", json.dumps(objects()).encode(), RECOGNISED),
        Fault(
            "a list within an object of JSON",
            json.dumps({"total": 1, "data": objects()}).encode(),
            SAID,
            "under `data`",
        ),
        Fault(
            "columns in an object of JSON, as pandas writes them",
            json.dumps({name: {str(i): one[name] for i, one in enumerate(objects())} for name in NAMES}).encode(),
            SAID,
            "the cells of each column",
        ),
        Fault("a table that psql printed", drawn(" {} ", "-{}-", "+", "").encode(), SAID, "1 line drawn between rows"),
        Fault("a table that mysql printed", drawn("| {} |", "+-{}-+", "-+-", "+").encode(), SAID, "2 drawn lines"),
        Fault("a table of Markdown", drawn("| {} |", "|-{}-|", "-|-", "").encode(), SAID, "begins with one, too"),
        Fault(
            "a table of Markdown that says how it is aligned",
            drawn("| {} |", "|:{}:|", ":|:", "").encode(),
            SAID,
            "begins with one, too",
        ),
        Fault(
            "a zip archive of two unlike files",
            packed(a=TEXT, b="k;v\n1;2\n3;4\n"),
            REFUSED,
            "the archive holds 2 files",
        ),
        Fault("an empty file", b"", REFUSED, "the file is empty"),
        Fault("a header without rows", HEADER.encode(), REFUSED, "the table has no rows"),
        Fault("a header above empty records", (HEADER + ",,,\n").encode(), REFUSED, "the table has no rows"),
        Fault("one column", b"click\n1\n0\n", REFUSED, "only one column"),
        Fault("a NUL in the text", TEXT.encode() + b"\0", REFUSED, "binary"),
        Fault("bzip2", bz2.compress(TEXT.encode()), REFUSED, "bzip2"),
        Fault("a web page", b"<!DOCTYPE html><p>x</p>", REFUSED, "web page"),
        Fault("a PDF", b"%PDF-1.7", REFUSED, "PDF"),
        Fault("gzip cut short", gzip.compress(TEXT.encode())[:-9], REFUSED, "gzip"),
        Fault("Parquet cut short", typed(pq.write_table)[:-9], REFUSED, "Parquet"),
        Fault("JSON that is no table", b'{"a": {"b": [1, 2}', REFUSED, "JSON but no table"),
    ]


FAULTS = (
    *_delimiters(),
    *_lines(),
    *_encodings(),
    *_quotes(),
    *_headers(),
    *_above_and_below(),
    *_rows(),
    *_other_files(),
)


def score(fault: Fault, frame: pd.DataFrame | None) -> float:
    """Score a table between 0 and 10: the share of names and rows that are right, each row with its place."""
    if fault.outcome == REFUSED:
        return 10.0 * (frame is None)
    if frame is None:
        return 0.0
    got = [[str(name) for name in frame.columns], *frame.astype(object).to_numpy().tolist()]
    wanted = [list(fault.names), *map(list, fault.rows)]
    right = sum([*map(str, one)] == list(other) for one, other in zip(got, wanted, strict=False))
    return 10.0 * right / max(len(got), len(wanted))
