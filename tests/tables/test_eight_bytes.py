"""Columns of eight bytes a text are parsed as numbers, and read as everything else is."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfm_core.tables import csv_parser
from deepfm_core.tables.csv_parser import FEWEST, Parsed, has_eight_bytes, parse
from deepfm_core.tables.decoding import survey
from deepfm_core.tables.dialect import detect

pytestmark = pytest.mark.slow

HASHES = [f"{i * 2_654_435_761 & 0xFFFFFFFF:08x}" for i in range(4000)]
ODD = ["        ", " 1234567", "null    ", "NULLNULL", "été1234", "ünïc", "-1.#IND\t"[:-1] + "0", "1.#QNAN0"]


def parsed(path: Path, cells: list[str], **sizes: int) -> Parsed:
    path.write_text("n,h\n" + "".join(f"{i % 7},{cell}\n" for i, cell in enumerate(cells)), encoding="utf-8")
    content = survey(path, "Table")
    return parse(content, detect(content, "Table"), **sizes)


def texts(one: Parsed) -> list[str]:
    return [str(text) for text in one.columns[1]]


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the stretches of columns that were parsed as numbers."""
    seen: list[int] = []
    made = csv_parser.coded_keys

    def counted(column: pa.ChunkedArray) -> tuple[list[pa.Array], pa.Array]:
        seen.append(len(column))
        return made(column)

    monkeypatch.setattr(csv_parser, "coded_keys", counted)
    return seen


def test_hashes_with_gaps_are_parsed_as_numbers_and_read_as_texts(tmp_path: Path, keyed: list[int]) -> None:
    cells = [HASHES[i * i % 977] if i % 3 else "" for i in range(6000)]
    one = parsed(tmp_path / "t.csv", cells, block=2000, segment=20_000)
    assert texts(one) == cells
    assert len(one.columns[1].categories) == len(set(cells))
    assert sum(keyed) > 5000


@pytest.mark.parametrize("odd", ODD)
def test_any_text_of_eight_bytes_stays_as_it_is(tmp_path: Path, keyed: list[int], odd: str) -> None:
    cells = [HASHES[i % 500] for i in range(3000)]
    cells[1500] = cells[2500] = odd
    assert texts(parsed(tmp_path / "t.csv", cells, block=2000, segment=9000)) == cells
    assert keyed


@pytest.mark.parametrize("late", ["1234567", "123456789", "x"])
def test_a_text_of_another_length_that_comes_late_is_read_too(tmp_path: Path, keyed: list[int], late: str) -> None:
    cells = [*(HASHES[i % 500] for i in range(3000)), late]
    one = parsed(tmp_path / "t.csv", cells, block=2000, segment=9000)
    assert keyed
    assert texts(one) == cells
    assert (one.ragged, one.closed) == (0, True)


def test_few_words_of_eight_letters_are_not_taken_for_hashes() -> None:
    assert not has_eight_bytes(pa.array(["accepted", "rejected"], pa.large_string()))
    assert not has_eight_bytes(pa.array([], pa.large_string()))
    assert not has_eight_bytes(pa.array(["", *HASHES[:FEWEST], "1"], pa.large_string()))
    assert has_eight_bytes(pa.array(["", *HASHES[:FEWEST]], pa.large_string()))
    assert not has_eight_bytes(pa.array([*HASHES[: FEWEST - 1], ""], pa.large_string()))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*HASHES[:40], "", *ODD]), min_size=200, max_size=400),
    st.integers(200, 3000),
    st.integers(200, 6000),
)
def test_cells_are_those_of_the_csv_module_whatever_the_sizes(tmp_path_factory, cells, block, segment) -> None:
    path = tmp_path_factory.mktemp("t") / "t.csv"
    one = parsed(path, HASHES[:100] + cells, block=block, segment=segment)
    with path.open(encoding="utf-8", newline="") as file:
        assert texts(one) == [row[1] for row in csv.reader(file)][1:]
