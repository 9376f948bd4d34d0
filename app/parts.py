"""The judged parts of a run, validation and test: predictions, metrics, and cells of their rows."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import home
from deepfm_core.data.reading import read_table
from deepfm_core.data.table import Table
from deepfm_core.training.metrics import Metrics

NAMES = {"test": "Test", "valid": "Validation"}


def predictions(run: home.OpenRun, part: str) -> pd.DataFrame | None:
    """Give `row`, `label`, `logit`, `probability` of a part; None where the run has no such part."""
    frame = home.frame(run, "predictions")
    if frame is None:
        return None
    rows = frame[frame["part"] == part].reset_index(drop=True)
    return rows if len(rows) else None


def metrics(run: home.OpenRun, part: str) -> Metrics | None:
    """Read a part's metrics; None where the run has no such part."""
    values = run.folder.read_json("metrics.json") or {}
    return Metrics(**values[part]) if values.get(part) else None


def same_rows(run: home.OpenRun, other: home.OpenRun, part: str) -> bool:
    """Say whether two runs were judged on the same rows of the same table."""
    mine, theirs = predictions(run, part), predictions(other, part)
    if mine is None or theirs is None or _table_sha(run, part) != _table_sha(other, part):
        return False
    return len(mine) == len(theirs) and bool((mine["row"] == theirs["row"]).all())


def _table_sha(run: home.OpenRun, part: str) -> str:
    return {"test": run.spec.test_table, "valid": run.spec.valid_table}[part] or run.spec.table


def table_of(run: home.OpenRun, part: str) -> Table:
    """Load the table that a part's row numbers point into.

    Raises:
        RunError: the store does not have it any more.
    """
    return _table(_table_sha(run, part), run.id == home.BUNDLED_ID)


@st.cache_resource(max_entries=8, show_spinner=False)
def _table(sha: str, bundled: bool) -> Table:
    return read_table(home.SAMPLE_TABLE) if bundled else home.store().table(sha)
