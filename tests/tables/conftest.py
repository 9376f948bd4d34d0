"""How tests of the reader read a text, and look at what was read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Table]:
    """Read a text from a file of its own, as `read_table` does."""

    def read(text: str, **settings: Any) -> Table:
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8", newline="")
        return read_table(path, **settings)

    return read


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    """Write a file that has no ending to tell what it is."""

    def write(content: bytes) -> Path:
        path = tmp_path / "table"
        path.write_bytes(content)
        return path

    return write


def lines(table: Table) -> list[str]:
    """Give the rows of a table as lines, with commas between their cells."""
    return [",".join(row) for row in table.frame.astype(object).to_numpy().tolist()]
