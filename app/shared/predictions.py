"""Test and validation part of a run: predictions, metrics and cells of their rows, also of a compared run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app.state import saved_runs, saved_tables
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.widgets.text import plain
from deepfm_core._words import signed
from deepfm_core.errors import DeepFMError
from deepfm_core.metrics.bootstrap import logloss_difference
from deepfm_core.metrics.scores import Metrics
from deepfm_core.schema.column import numbers_in
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Table

NAMES = {"test": "Test", "valid": "Validation"}
"""Titles of the held-out parts."""


def predictions(run: OpenRun, part: str) -> pd.DataFrame | None:
    """Give the columns `row`, `label`, `logit`, `probability` of a part; None if the run has no such part."""
    frame = saved_runs.frame(run, "predictions")
    if frame is None:
        return None
    rows = frame[frame["part"] == part].reset_index(drop=True)
    return rows if len(rows) else None


def metrics(run: OpenRun, part: str) -> Metrics | None:
    """Read the metrics of a part; None if the run has no such part."""
    values = run.folder.read_json("metrics.json") or {}
    return Metrics(**values[part]) if values.get(part) else None


def same_table(run: OpenRun, other: OpenRun, part: str) -> bool:
    """Say whether a part of two runs comes from the same table."""
    return _table_sha(run, part) == _table_sha(other, part)


def same_rows(run: OpenRun, other: OpenRun, part: str) -> bool:
    """Say whether a part of two runs holds the same rows of the same table."""
    mine, theirs = predictions(run, part), predictions(other, part)
    if mine is None or theirs is None or not same_table(run, other, part):
        return False
    return len(mine) == len(theirs) and bool((mine["row"] == theirs["row"]).all())


def _table_sha(run: OpenRun, part: str) -> str:
    return {"test": run.spec.test_table, "valid": run.spec.valid_table}[part] or run.spec.table


def holdout_table(run: OpenRun, part: str) -> str | None:
    """Return the name of the holdout table of a part; None if the part is a share of the table trained on."""
    spec = run.spec
    sha, name = {
        "test": (spec.test_table, spec.test_table_name),
        "valid": (spec.valid_table, spec.valid_table_name),
    }[part]
    return (name or saved_tables.table_name(sha)) if sha else None


def require_table(run: OpenRun) -> None:
    """Refuse to read the tables of a run of another visitor: a link to it does not show them.

    Raises:
        RunError: the visitor has no such table.
    """
    if run.id != saved_runs.BUNDLED_ID:
        saved_tables.require_for(run.spec)


def training_range(run: OpenRun, column: str) -> tuple[float, float] | None:
    """Give the smallest and largest number of a column in the training rows; None if they are not known."""
    try:
        require_table(run)
        return _training_range(run.id, column, run)
    except DeepFMError:
        return None  # the table has been removed, or is another visitor's


@st.cache_data(max_entries=256, show_spinner=False)
def _training_range(run_id: str, column: str, _run: OpenRun) -> tuple[float, float] | None:
    cells = _table(_run.spec.table, _run.id == saved_runs.BUNDLED_ID).frame[column]
    predicted = saved_runs.frame(_run, "predictions")
    held_out = np.zeros(len(cells), dtype=bool)
    if predicted is not None:
        own = [part for part in NAMES if _table_sha(_run, part) == _run.spec.table]
        held_out[predicted.loc[predicted["part"].isin(own), "row"].to_numpy()] = True
    texts = cells[~held_out].cat.remove_unused_categories().cat.categories
    numbers = numbers_in(texts, _run.spec.schema.role(column).notation)
    known = numbers[np.isfinite(numbers)]
    return (float(known.min()), float(known.max())) if len(known) else None


def table_of(run: OpenRun, part: str) -> Table:
    """Load the table that the row numbers of a part refer to.

    Raises:
        RunError: the store does not have it any more.
    """
    return _table(_table_sha(run, part), run.id == saved_runs.BUNDLED_ID)


def forget_tables() -> None:
    """Forget the tables that were read for rows: a deleted one must not be shown again."""
    _table.clear()


@st.cache_resource(max_entries=8, show_spinner=False)
def _table(sha: str, bundled: bool) -> Table:
    return read_table(saved_tables.SAMPLE_TABLE) if bundled else store().table(sha)


# The compared run: its predictions beside those of the current run, and what can be compared.

_ALIKE = 1e-6
"""Two logits count as the same if they differ by less, in log-odds: more than rounding does."""


def same_predictions(run: OpenRun, other: OpenRun | None, part: str) -> bool:
    """Say whether two runs give every row of a part the same logit."""
    if other is None or not same_rows(run, other, part):
        return False
    mine, theirs = predictions(run, part), predictions(other, part)
    if mine is None or theirs is None:
        return False
    return bool(np.allclose(mine["logit"], theirs["logit"], rtol=0, atol=_ALIKE))


def say_which_is_better(run: OpenRun, other: OpenRun, part: str) -> None:
    """Say which run has the lower logloss, and whether that is more than noise; or why they cannot be compared."""
    name = plain(saved_runs.name_of(other))
    mine, theirs = predictions(run, part), predictions(other, part)
    if not same_table(run, other, part):
        table = plain(other.spec.table_name)
        st.info(f"**{name}** was tested on another table, {table}. The two cannot be compared, so it is left out here.")
    elif mine is None or theirs is None or not same_rows(run, other, part):
        st.caption(
            f"**{name}** was tested on other rows of this table. Its curves are drawn, but do not compare figures."
        )
    elif same_predictions(run, other, part):
        st.caption(f"**{name}** is identical: it gives each of these rows the same probability.")
    else:
        labels, logits = mine["label"].to_numpy(dtype=float), mine["logit"].to_numpy()
        found = logloss_difference(labels, logits, theirs["logit"].to_numpy())
        which = "lower" if found.value < 0 else "higher"
        verdict = "This is more than noise" if found.significant else "This may be noise"
        st.caption(
            f"On the same rows, the logloss is {_size(found.value)} {which} than that of **{name}** "
            f"(95%: {signed(found.low, 4)} to {signed(found.high, 4)}). {verdict}."
        )


def predicted_runs(run: OpenRun, rows: pd.DataFrame, other: OpenRun | None, part: str) -> dict[str, pd.DataFrame]:
    """Give the predictions of a part by run name: the current run, and the compared one if its table is the same."""
    theirs = predictions(other, part) if other and same_table(run, other, part) else None
    if other is None or theirs is None:
        return {saved_runs.name_of(run): rows}
    return {saved_runs.name_of(run): rows, saved_runs.name_of(other): theirs}


def say_what_pairs(run: OpenRun, other: OpenRun | None, pairs: pd.DataFrame) -> None:
    """Say if a compared run has none of the pairs, or was trained on another table.

    Args:
        run: the current run.
        other: the compared one, if any.
        pairs: the frame `pairs`, with a column `compared` if the compared run has pairs.
    """
    if other is None:
        return
    name, elsewhere = plain(saved_runs.name_of(other)), other.spec.table != run.spec.table
    table = f"another table, {plain(other.spec.table_name)}" if elsewhere else "this table"
    if "compared" not in pairs or pairs["compared"].isna().all():
        st.info(f"**{name}**, trained on {table}, has none of these pairs, so it is left out here.")
    elif elsewhere:
        st.caption(f"**{name}** was trained on {table}. Pairs are matched by the names of their fields.")


def _size(difference: float) -> str:
    return "under 0.0001" if abs(difference) < 1e-4 else f"{abs(difference):.4f}"
