"""Whatever a table holds, reading it gives what Python's own csv module gives."""

import csv
import gzip
import io
import re
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import SchemaError, TableError
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.tables.containers import outline
from deepfm_core.tables.csv_parser import parse
from deepfm_core.tables.decoding import survey
from deepfm_core.tables.dialect import detect
from deepfm_core.tables.export import write_table
from deepfm_core.tables.parquet import read_parquet_table, write_parquet
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import QUOTINGS, Choices, Table, is_missing
from tests.tables.test_containers import workbook

pytestmark = pytest.mark.slow

LETTERS = "ab01 _-.'\"\n\r,;|\téß日"
NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
CELLS = st.text(LETTERS, max_size=6)
DELIMITERS = st.sampled_from([",", "\t", ";", "|"])
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
CODECS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tables(draw, cell=CELLS, min_rows=1):
    """Draw a header of two to five names and rows that fit it, none of which is empty, a note, or the header again."""
    header = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    row = st.lists(cell, min_size=len(header), max_size=len(header)).filter(lambda row: _is_row(row, header))
    return header, draw(st.lists(row, min_size=min_rows, max_size=12))


def _is_row(cells: list[str], header: list[str]) -> bool:
    alike = [cell.strip().lower() for cell in cells] == [name.strip().lower() for name in header]
    note = len(cells) > 2 and all(is_missing(cell) for cell in cells[1:])  # a text alone may be a note below the rows
    return (
        not alike
        and not note
        and not all(is_missing(cell) or re.fullmatch(r"\s*[-=_*—–]{2,}\s*", cell) for cell in cells)
    )


def read(content: bytes, **kwargs) -> Table:
    with TemporaryDirectory() as folder:
        path = Path(folder, "table")
        path.write_bytes(content)
        return read_table(path, **kwargs)


def cells(table: Table) -> list[list[str]]:
    return table.frame.astype(object).to_numpy().tolist()


def written(header, rows, **dialect) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, **dialect).writerows([header, *rows])
    return stream.getvalue()


@QUICK
@given(tables(), DELIMITERS, LINE_ENDS, CODECS, st.booleans(), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
def test_a_quoted_table_is_read_as_it_was_written(table, delimiter, end, codec, packed, quoting):
    header, rows = table
    content = written(header, rows, delimiter=delimiter, lineterminator=end, quoting=quoting).encode(codec)
    got = read(gzip.compress(content) if packed else content)
    assert list(got.frame.columns) == header
    assert cells(got) == rows
    assert got.report.delimiter == delimiter
    assert got.report.skipped == ()


@QUICK
@given(tables(st.text("ab01 .é-", max_size=5)), DELIMITERS, LINE_ENDS, st.integers(0, 3), st.booleans())
def test_an_unquoted_table_is_read_as_it_stands(table, delimiter, end, blank, ended):
    header, rows = table
    lines = [delimiter.join(row) for row in [header, *rows]]
    text = end * blank + (end * (blank + 1)).join(lines) + end * ended
    got = read(text.encode())
    assert cells(got) == rows
    assert got.report.header_line == blank + 1


STRAYS = st.one_of(st.text("ab ", max_size=4), st.text('ab "', max_size=4), st.text("ab\n").map('"{}"'.format))


@QUICK
@given(st.lists(st.lists(STRAYS, min_size=2, max_size=2), min_size=1, max_size=12), DELIMITERS)
@example([["", ' "']] * 3, ",")
def test_well_formed_cells_with_stray_quotes_are_cut_as_the_csv_module_cuts_them(rows, delimiter):
    text = "\n".join(delimiter.join(row) for row in [["first", "second"], *rows])
    try:
        expected = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        assume(False)
    # A space before quotes that come in twos is taken for what some programs write after each delimiter.
    assume(not any(any(c.startswith(' "') for c in row) and "".join(row).count('"') % 2 == 0 for row in rows))
    fitting = [row for row in expected[1:] if len(row) == 2 and _is_row(row, expected[0])]
    assume(len(fitting) > len(expected) / 2)
    # Lines that are rows by themselves, more than there are records: then the quotes are doubted, not believed.
    assume(sum(line.count(delimiter) == 1 for line in text.split("\n")) <= len(expected))
    assert cells(read(text.encode())) == fitting


SIZES = st.from_regex(r'[a-z0-9][a-z0-9, ]{0,4}"?', fullmatch=True)


@QUICK
@given(st.lists(st.tuples(SIZES, SIZES, st.sampled_from("01")), min_size=4, max_size=12), LINE_ENDS)
@example([("0", "0", "0"), *[('0"', "0,", "0")] * 3], "\n")
@example([('0"', "0,0", "0"), *[("0", "0", "0")] * 3], "\n")
def test_inch_marks_that_are_not_doubled_swallow_no_row(rows, end):
    lines = [f'"{a}","{b}",{c}' for a, b, c in rows]
    got = read(end.join(["first,second,label", *lines]).encode())
    assert cells(got) == [list(row) for row in rows]


@QUICK
@given(tables(min_rows=3), LINE_ENDS)
def test_backslashes_before_quotes_are_undone(table, end):
    header, rows = table
    rows = [[*row[:-1], 'say "hi"'] for row in rows]
    text = written(header, rows, lineterminator=end, quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\")
    assert cells(read(text.encode())) == rows


@QUICK
@given(
    tables(min_rows=3),
    st.lists(st.tuples(st.integers(0, 11), st.lists(CELLS.map("z{}z".format), min_size=7, max_size=9)), max_size=2),
    LINE_ENDS,
)
def test_ragged_rows_are_reported_with_the_line_an_editor_shows(table, strays, end):
    header, rows = table
    strays = [(min(place, len(rows)), row) for place, row in strays]
    assume(len(strays) < len(rows))
    mixed = list(rows)
    for place, row in strays:
        mixed.insert(place, row)
    dialect = {"lineterminator": end, "quoting": csv.QUOTE_ALL}
    got = read(written(header, mixed, **dialect).encode())
    assert cells(got) == rows
    lines = []
    for i, row in enumerate(mixed):
        if len(row) != len(header):
            above = written(header, mixed[:i], **dialect)
            lines.append(sum(1 for _ in io.StringIO(above, newline="")) + 1)
    assert [problem.line for problem in got.report.skipped] == lines
    assert got.report.skipped_count == len(lines)


@QUICK
@given(tables())
def test_writing_and_reading_change_nothing(table):
    header, rows = table
    got = read(written(header, rows, quoting=csv.QUOTE_ALL).encode())
    stream = io.StringIO(newline="")
    write_table(got, stream)
    assert list(csv.reader(io.StringIO(stream.getvalue(), newline=""))) == [header, *rows]
    assert cells(read(stream.getvalue().encode())) == rows
    with TemporaryDirectory() as folder:
        write_parquet(got, Path(folder, "p"))
        assert cells(read_parquet_table(Path(folder, "p"), "t", got.report)) == rows
        assert cells(read_table(Path(folder, "p"))) == rows


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_table_or_a_sentence(content):
    with suppress(TableError):
        table = read(content)
        assert len(table) == table.report.rows > 0


@settings(max_examples=300, deadline=None)
@given(st.text('a1,;\t|"\n\r #é', max_size=60), CODECS)
def test_any_text_gives_a_table_or_a_sentence(text, codec):
    with suppress(TableError):
        table = read(text.encode(codec))
        assert len(table) == table.report.rows > 0
        assert len(set(table.frame.columns)) == len(table.frame.columns) > 1


@QUICK
@given(
    st.lists(st.tuples(st.text("ab1 é", max_size=4), st.sampled_from("xyz")), min_size=1, max_size=30),
    LINE_ENDS,
    st.integers(1, 60),
    st.integers(16, 64),
)
def test_cutting_a_long_text_into_segments_changes_nothing(rows, end, segment, block):
    text = end.join(",".join(row) for row in [("first", "second"), *rows])
    with TemporaryDirectory() as folder:
        path = Path(folder, "table")
        path.write_bytes(text.encode())
        content = survey(path, "table")
        parsed = parse(content, detect(content, "table"), block=block, segment=segment)
    assert list(zip(*(column.astype(object) for column in parsed.columns), strict=True)) == rows
    assert parsed.closed
    for column in parsed.columns:
        assert len(set(column.categories)) == len(column.categories)


ROWS_OF_KINDS = st.tuples(st.sampled_from(["a", "b", "", " a", "é"]), st.sampled_from(["1", "2.5", "", "7", "7.0"]))


@QUICK
@given(st.lists(ROWS_OF_KINDS, min_size=1, max_size=30), st.integers(1, 60), st.integers(16, 64), LINE_ENDS)
def test_ids_are_the_same_for_any_size_of_blocks_and_segments(rows, segment, block, end):
    roles = (FieldRole("text", Kind.CATEGORICAL), FieldRole("number", Kind.PIECEWISE))
    text = end.join(",".join(row) for row in [("text", "number"), *rows])
    encoded = []
    with TemporaryDirectory() as folder:
        path = Path(folder, "table")
        path.write_bytes(text.encode())
        content = survey(path, "table")
        for sizes in ({}, {"block": block, "segment": segment}):
            columns = parse(content, detect(content, "table"), **sizes).columns
            frame = pd.DataFrame(dict(zip(("text", "number"), columns, strict=True)))
            encoder = Encoder.fit(frame, Schema(LabelRole("label", "1", "0"), roles), knots=3)
            encoded.append(encoder.encode(frame, subject="table"))
    one, other = encoded
    assert one.layout == other.layout
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.weights, other.weights)


# Files of every form, damaged, and read by any choices: a table, or one of the project's own errors.


def _forms() -> dict[str, bytes]:
    rows: list[list[object]] = [["place", "seen", "price", "tags", "click"]]
    rows += [[f"ü {i % 3}", f"2024-0{i % 9 + 1}-1{i % 9}", i * 1.25, "a|b", i % 2] for i in range(12)]
    frame = pd.DataFrame(rows[1:], columns=[str(name) for name in rows[0]])
    text, parquet, feather = frame.to_csv(index=False).encode(), io.BytesIO(), io.BytesIO()
    frame.to_parquet(parquet)
    frame.to_feather(feather)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", text)
    return {
        "csv": text,
        "quoted": b'a;"b ""c"""\n"x;y";1\n"z\nz";0\n' * 3,
        "utf-16": text.decode().encode("utf-16"),
        "gzip": gzip.compress(text),
        "zip": packed.getvalue(),
        "parquet": parquet.getvalue(),
        "feather": feather.getvalue(),
        "json": frame.to_json(orient="records", lines=True).encode(),
        "list": frame.to_json(orient="records").encode(),
        "xlsx": workbook(May=rows, June=rows[:4]),
    }


FORMS = _forms()
HURTS = ["flip", "insert", "drop", "cut", "twice"]
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "drop", "cut", "twice"]), st.integers(0, 1 << 16), st.binary(max_size=6)
    ),
    max_size=4,
)
CHOICES = st.builds(
    Choices,
    encoding=st.sampled_from([None, None, "utf-8", "cp1252", "utf-16", "big5", "utf-32-be", "iso2022-jp", "cp037"]),
    delimiter=st.sampled_from([None, None, ",", ";", " ", "a", "§", "\x01"]),
    quoting=st.sampled_from([None, None, *QUOTINGS]),
    header=st.sampled_from([None, None, True, False, 1, 2, 3, 40]),
    sheet=st.sampled_from([None, "June", "none"]),
)


def damaged(content: bytes, damage: list[tuple[str, int, bytes]]) -> bytes:
    for how, place, some in damage:
        at = place % (len(content) + 1)
        before, after = content[:at], content[at:]
        content = {
            "flip": before + bytes(255 - byte for byte in after[:1]) + after[1:],
            "insert": before + some + after,
            "drop": before + after[len(some) :],
            "cut": before,
            "twice": before + after[:50] + after,
        }[how]
    return content


@settings(QUICK, max_examples=200)
@given(st.sampled_from(sorted(FORMS)), DAMAGE, CHOICES, st.booleans())
def test_damaged_files_of_every_form_give_a_table_or_a_sentence(form, damage, choices, strict):
    content = damaged(FORMS[form], damage)
    outline(io.BytesIO(content), choices.encoding)
    # Arrow asks for as much memory as a damaged file says: the command line and the app say so.
    with warnings.catch_warnings(), suppress(TableError, MemoryError):
        warnings.simplefilter("error")
        table = read(content, choices=choices, strict=strict)
        assert len(table) == table.report.rows == len(table.records)
        with suppress(SchemaError):
            infer_schema(table, str(table.frame.columns[-1]), ">=1")
        with suppress(SchemaError):
            infer_schema(table)
