"""Delimiters of two characters, as MovieLens has them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from deepfm_core.errors import SpecError
from deepfm_core.tables.decoding import UNIT, _Replacing
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices

MOVIES = (
    "1::Toy Story (1995)::Animation|Children's|Comedy\n"
    "260::Star Wars: Episode IV (1977)::Action|Sci-Fi\n"
    "11::American President, The (1995)::Comedy|Drama\n"
)


def written(folder: Path, text: str) -> Path:
    (folder / "movies.dat").write_text(text, encoding="utf-8")
    return folder / "movies.dat"


def test_two_colons_cut_and_one_stays_in_its_cell(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, MOVIES))
    assert table.report.delimiter == "::"
    assert table.frame.iloc[1].tolist() == ["260", "Star Wars: Episode IV (1977)", "Action|Sci-Fi"]
    assert table.frame["column 3"].tolist()[0] == "Animation|Children's|Comedy"


def test_a_comma_within_every_title_does_not_cut(tmp_path: Path) -> None:
    text = "".join(f"{number}::Matrix {number}, The (1999)::Action|Sci-Fi\n" for number in range(6))
    table = read_table(written(tmp_path, text))
    assert (table.report.delimiter, table.frame.shape) == ("::", (6, 3))


def test_two_bars_cut_below_a_header_and_empty_cells_are_kept(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "id||name||clicked\n1||a|b||0\n2||||1\n3||d||1\n"))
    assert table.report.delimiter == "||"
    assert table.frame.columns.tolist() == ["id", "name", "clicked"]
    assert table.frame["name"].tolist() == ["a|b", "", "d"]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,ip,clicked\n" + "x,fe80::1,0\ny,fe80::2,1\n" * 3, ","),
        ("a|b|c\n1||2\n3||4\n5||6\n", "|"),
        ("a;b\nx::y;1\nz::y;0\nw::y;0\n", ";"),
    ],
)
def test_two_marks_within_cells_or_beside_an_empty_one_do_not_cut(tmp_path: Path, text: str, delimiter: str) -> None:
    assert read_table(written(tmp_path, text)).report.delimiter == delimiter


def test_a_person_may_say_which(tmp_path: Path) -> None:
    path = written(tmp_path, "a||b\n1||2\n")
    assert read_table(path, choices=Choices(delimiter="||")).frame.columns.tolist() == ["a", "b"]
    with pytest.raises(SpecError, match=r"Use :: or \|\|, or one character"):
        Choices(delimiter=";;")


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("end", ["", ":", "::", "::\n"])
def test_a_mark_is_found_across_the_pieces_of_a_stream(size: int, end: str) -> None:
    text = "a::b:c:::d::\n:e::f" + end

    class Slowly(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            return super().read(size)

    read = io.BufferedReader(_Replacing(Slowly(text.encode()), "::")).read()
    assert read.decode() == text.replace("::", UNIT)
