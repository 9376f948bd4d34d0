"""Runs that several tests of this room read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.table import Table
from tests.export.runs import rows, table, trained


@pytest.fixture(scope="session")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """A table with a column of each kind."""
    return table(rows(), tmp_path_factory.mktemp("rows") / "rows.csv")


@pytest.fixture(scope="session")
def run_of(every_kind: Table, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunFolder]:
    """Give a run of a model on `every_kind`, trained once a session."""
    known: dict[str, RunFolder] = {}
    home: Path = tmp_path_factory.mktemp("runs")

    def run(model: str, **chosen: Any) -> RunFolder:
        name = f"{model} {chosen}"
        if name not in known:
            known[name] = trained(every_kind, model, home / str(len(known)), **chosen)
        return known[name]

    return run
