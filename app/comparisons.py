"""The doors to comparisons and studies: which there are, how far they are, and what their runs reached."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from app import home, links, visitor
from app.inputs import MODEL_TITLES, moment, plain
from deepfm_core.errors import DeepFMError
from deepfm_core.runs.rows import ComparisonRow, RunRow
from deepfm_core.runs.together import Standing

if TYPE_CHECKING:
    import pandas as pd

    from deepfm_core.runs.study import StudyPlan
    from deepfm_core.training.comparison import Difference


def choose(kind: str, key: str, label: str) -> ComparisonRow | None:
    """Draw the choice among the visitor's comparisons of a kind, kept in the URL; None where there are none.

    A link may name one of somebody else.
    """
    known = {row.id: row for row in home.store().comparisons.all(visitor.owner(), kind)}
    linked = links.chosen(key)
    if linked and linked not in known:
        try:
            row = home.store().comparisons.of(linked)
            known[row.id] = row
        except DeepFMError as error:
            st.warning(plain(str(error)))
            links.choose(key, None)
    if not known:
        return None
    names = {row.id: f"{row.name} · {moment(row.created)}" for row in known.values()}
    kept = links.mirror(key, list(names), next(iter(names)))
    chosen = st.selectbox(label, list(names), format_func=names.__getitem__, **kept)
    return known[chosen]


def mine(row: ComparisonRow) -> bool:
    """Say whether the visitor may change a comparison; a link alone lets one look."""
    return row.owner == visitor.owner()


def standing(runs: Sequence[RunRow]) -> Standing:
    """Say how far a comparison's runs are now."""
    under_way = {run.id: home.story(home.open_run(run.id)).fraction for run in runs if run.state == "running"}
    return Standing.of(runs, time.time(), under_way)


def model_table(runs: Sequence[RunRow]) -> pd.DataFrame:
    """Give the table of the models whose runs have finished, with a column `title`."""
    finished = [run for run in runs if run.ended_well]
    return _model_table(tuple(run.id for run in finished), finished)


def run_table(runs: Sequence[RunRow]) -> pd.DataFrame:
    """Give what each finished run reached, with a column `title`."""
    finished = [run for run in runs if run.ended_well]
    return _run_table(tuple(run.id for run in finished), finished)


@st.cache_data(max_entries=64, show_spinner=False)
def _model_table(ids: tuple[str, ...], _runs: Sequence[RunRow]) -> pd.DataFrame:
    from deepfm_core.runs.comparison_table import model_table

    table = model_table(home.store(), _runs)
    return table.assign(title=table["model"].map(MODEL_TITLES))


@st.cache_data(max_entries=64, show_spinner=False)
def _run_table(ids: tuple[str, ...], _runs: Sequence[RunRow]) -> pd.DataFrame:
    from deepfm_core.runs.comparison_table import run_table

    table = run_table(home.store(), _runs)
    return table.assign(title=table["model"].map(MODEL_TITLES))


def study_table(runs: Sequence[RunRow], plan: StudyPlan) -> pd.DataFrame:
    """Give what each finished run of a study reached."""
    from deepfm_core.runs.study_table import study_table

    return study_table(runs, plan)


def against_start(runs: Sequence[RunRow], table: pd.DataFrame, trial: int) -> Difference | None:
    """Give the test logloss of a setting less that of the study's first trial, with its interval."""
    ids = tuple(run.id for run in runs if run.trial in (0, trial) and run.ended_well)
    return _against_start(ids, trial, table)


@st.cache_data(max_entries=64, show_spinner=False)
def _against_start(ids: tuple[str, ...], trial: int, _table: pd.DataFrame) -> Difference | None:
    from deepfm_core.runs.study_table import against_start

    return against_start(home.store(), _table, trial)
