"""The judged parts of a run, validation and test: predictions, metrics, and cells of their rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import home
from deepfm_core.data.reading import read_table
from deepfm_core.data.table import Table
from deepfm_core.errors import DeepFMError
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


def same_table(run: home.OpenRun, other: home.OpenRun, part: str) -> bool:
    """Say whether a part of two runs is of the same table."""
    return _table_sha(run, part) == _table_sha(other, part)


def same_rows(run: home.OpenRun, other: home.OpenRun, part: str) -> bool:
    """Say whether two runs were judged on the same rows of the same table."""
    mine, theirs = predictions(run, part), predictions(other, part)
    if mine is None or theirs is None or not same_table(run, other, part):
        return False
    return len(mine) == len(theirs) and bool((mine["row"] == theirs["row"]).all())


def _table_sha(run: home.OpenRun, part: str) -> str:
    return {"test": run.spec.test_table, "valid": run.spec.valid_table}[part] or run.spec.table


def table_apart(run: home.OpenRun, part: str) -> str | None:
    """Return what the table of a part is called where it is apart from the one trained on."""
    spec = run.spec
    sha, name = {
        "test": (spec.test_table, spec.test_table_name),
        "valid": (spec.valid_table, spec.valid_table_name),
    }[part]
    return (name or home.table_name(sha)) if sha else None


def training_range(run: home.OpenRun, column: str) -> tuple[float, float] | None:
    """Give the least and the greatest number of a column in the rows trained on; None where they are not known."""
    try:
        return _training_range(run.id, column, run)
    except DeepFMError:
        return None  # the table has been removed


@st.cache_data(max_entries=256, show_spinner=False)
def _training_range(run_id: str, column: str, _run: home.OpenRun) -> tuple[float, float] | None:
    cells = _table(_run.spec.table, _run.id == home.BUNDLED_ID).frame[column]
    judged = home.frame(_run, "predictions")
    held_out = np.zeros(len(cells), dtype=bool)
    if judged is not None:
        own = [part for part in NAMES if _table_sha(_run, part) == _run.spec.table]
        held_out[judged.loc[judged["part"].isin(own), "row"].to_numpy()] = True
    texts = pd.Series(cells[~held_out].cat.remove_unused_categories().cat.categories)
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=float)
    known = numbers[np.isfinite(numbers)]
    return (float(known.min()), float(known.max())) if len(known) else None


def table_of(run: home.OpenRun, part: str) -> Table:
    """Load the table that a part's row numbers point into.

    Raises:
        RunError: the store does not have it any more.
    """
    return _table(_table_sha(run, part), run.id == home.BUNDLED_ID)


@st.cache_resource(max_entries=8, show_spinner=False)
def _table(sha: str, bundled: bool) -> Table:
    return read_table(home.SAMPLE_TABLE) if bundled else home.store().table(sha)
