"""The judged parts of a run, validation and test: predictions, metrics, and cells of their rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app.state import saved_runs, saved_tables
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.widgets.figure import signed
from app.widgets.text import plain
from deepfm_core.errors import DeepFMError
from deepfm_core.metrics.bootstrap import logloss_difference
from deepfm_core.metrics.scores import Metrics
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table

NAMES = {"test": "Test", "valid": "Validation"}


def predictions(run: OpenRun, part: str) -> pd.DataFrame | None:
    """Give `row`, `label`, `logit`, `probability` of a part; None where the run has no such part."""
    frame = saved_runs.frame(run, "predictions")
    if frame is None:
        return None
    rows = frame[frame["part"] == part].reset_index(drop=True)
    return rows if len(rows) else None


def metrics(run: OpenRun, part: str) -> Metrics | None:
    """Read a part's metrics; None where the run has no such part."""
    values = run.folder.read_json("metrics.json") or {}
    return Metrics(**values[part]) if values.get(part) else None


def same_table(run: OpenRun, other: OpenRun, part: str) -> bool:
    """Say whether a part of two runs is of the same table."""
    return _table_sha(run, part) == _table_sha(other, part)


def same_rows(run: OpenRun, other: OpenRun, part: str) -> bool:
    """Say whether two runs were judged on the same rows of the same table."""
    mine, theirs = predictions(run, part), predictions(other, part)
    if mine is None or theirs is None or not same_table(run, other, part):
        return False
    return len(mine) == len(theirs) and bool((mine["row"] == theirs["row"]).all())


def _table_sha(run: OpenRun, part: str) -> str:
    return {"test": run.spec.test_table, "valid": run.spec.valid_table}[part] or run.spec.table


def table_apart(run: OpenRun, part: str) -> str | None:
    """Return what the table of a part is called where it is apart from the one trained on."""
    spec = run.spec
    sha, name = {
        "test": (spec.test_table, spec.test_table_name),
        "valid": (spec.valid_table, spec.valid_table_name),
    }[part]
    return (name or saved_tables.table_name(sha)) if sha else None


def training_range(run: OpenRun, column: str) -> tuple[float, float] | None:
    """Give the least and the greatest number of a column in the rows trained on; None where they are not known."""
    try:
        return _training_range(run.id, column, run)
    except DeepFMError:
        return None  # the table has been removed


@st.cache_data(max_entries=256, show_spinner=False)
def _training_range(run_id: str, column: str, _run: OpenRun) -> tuple[float, float] | None:
    cells = _table(_run.spec.table, _run.id == saved_runs.BUNDLED_ID).frame[column]
    judged = saved_runs.frame(_run, "predictions")
    held_out = np.zeros(len(cells), dtype=bool)
    if judged is not None:
        own = [part for part in NAMES if _table_sha(_run, part) == _run.spec.table]
        held_out[judged.loc[judged["part"].isin(own), "row"].to_numpy()] = True
    texts = pd.Series(cells[~held_out].cat.remove_unused_categories().cat.categories)
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=float)
    known = numbers[np.isfinite(numbers)]
    return (float(known.min()), float(known.max())) if len(known) else None


def table_of(run: OpenRun, part: str) -> Table:
    """Load the table that a part's row numbers point into.

    Raises:
        RunError: the store does not have it any more.
    """
    return _table(_table_sha(run, part), run.id == saved_runs.BUNDLED_ID)


@st.cache_resource(max_entries=8, show_spinner=False)
def _table(sha: str, bundled: bool) -> Table:
    return read_table(saved_tables.SAMPLE_TABLE) if bundled else store().table(sha)


# What a compared run adds to a page: its predictions by name and time, and a sentence on what may be compared.

_ALIKE = 1e-6
"""Log-odds up to which two runs give a row the same logit; rounding alone moves it by less."""


def same_predictions(run: OpenRun, other: OpenRun | None, part: str) -> bool:
    """Say whether two runs give every row of a part the same logit."""
    if other is None or not same_rows(run, other, part):
        return False
    mine, theirs = predictions(run, part), predictions(other, part)
    if mine is None or theirs is None:
        return False
    return bool(np.allclose(mine["logit"], theirs["logit"], rtol=0, atol=_ALIKE))


def say_which_is_better(run: OpenRun, other: OpenRun, part: str) -> None:
    """Say which of two runs predicts the same rows better and whether chance would explain it, or why none can be."""
    name = plain(saved_runs.name_of(other))
    mine, theirs = predictions(run, part), predictions(other, part)
    if not same_table(run, other, part):
        table = plain(other.spec.table_name)
        st.info(
            f"**{name}** was judged on another table, {table}: the two cannot be compared, and it is left out here."
        )
    elif mine is None or theirs is None or not same_rows(run, other, part):
        st.caption(
            f"**{name}** was judged on other rows of this table: its curves are drawn, but do not compare figures."
        )
    elif same_predictions(run, other, part):
        st.caption(f"**{name}** is identical: it gives every one of these rows the same probability.")
    else:
        labels, logits = mine["label"].to_numpy(dtype=float), mine["logit"].to_numpy()
        apart = logloss_difference(labels, logits, theirs["logit"].to_numpy())
        which = "lower" if apart.value < 0 else "higher"
        verdict = "more than chance explains" if apart.told_apart else "which chance alone could explain"
        st.caption(
            f"Against **{name}**, row by row on the same rows, the logloss is {_size(apart.value)} {which} "
            f"(95%: {signed(apart.low, 4)} to {signed(apart.high, 4)}), {verdict}."
        )


def predicted_runs(run: OpenRun, rows: pd.DataFrame, other: OpenRun | None, part: str) -> dict[str, pd.DataFrame]:
    """Give a part's predictions by run: the current run's, and the compared one's where it was judged on this table."""
    theirs = predictions(other, part) if other and same_table(run, other, part) else None
    if other is None or theirs is None:
        return {saved_runs.name_of(run): rows}
    return {saved_runs.name_of(run): rows, saved_runs.name_of(other): theirs}


def say_what_pairs(run: OpenRun, other: OpenRun | None, pairs: pd.DataFrame) -> None:
    """Say where a compared run has none of the pairs, or has them from another table.

    Args:
        run: the current run.
        other: the compared one, if any.
        pairs: with the column `compared` where it has pairs at all.
    """
    if other is None:
        return
    name, elsewhere = plain(saved_runs.name_of(other)), other.spec.table != run.spec.table
    table = f"another table, {plain(other.spec.table_name)}" if elsewhere else "this table"
    if "compared" not in pairs or pairs["compared"].isna().all():
        st.info(f"**{name}**, trained on {table}, has none of these pairs: it cannot be compared and is left out here.")
    elif elsewhere:
        st.caption(f"**{name}** was trained on {table}: pairs of fields of the same names stand side by side.")


def _size(difference: float) -> str:
    return "under 0.0001" if abs(difference) < 1e-4 else f"{abs(difference):.4f}"
