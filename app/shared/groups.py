"""Groups of runs, comparisons and studies: the choice of one, its progress panel, and the tables of its runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from app.shared import launch
from app.shared.launch import in_words
from app.state import links, saved_runs, sharing, visitor
from app.state.store import store
from app.widgets.text import MODEL_TITLES, counted, duration, errors_said, moment, plain
from deepfm_core.errors import DeepFMError
from deepfm_core.experiments import comparison as experiments_comparison
from deepfm_core.experiments.comparison import Standing
from deepfm_core.schema.copies import Copies
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.groups import MODELS
from deepfm_core.store.records import ComparisonRow, RunRow

if TYPE_CHECKING:
    import pandas as pd

    from deepfm_core.experiments.study import StudyPlan
    from deepfm_core.metrics.bootstrap import Difference


def choose(kind: str, key: str, label: str) -> ComparisonRow | None:
    """Draw the choice among the visitor's groups of a kind, kept in the URL; None if there are none.

    A link may also name a group of another visitor who shared it.
    """
    known = {row.id: row for row in store().comparisons.all(visitor.owner(), kind)}
    linked = links.chosen(key)
    if linked and linked not in known:
        try:
            row = sharing.comparison(linked)
            if row.id in known:  # an owner who opens the link that they gave out
                links.choose(key, row.id)
            else:
                known[linked] = row
        except DeepFMError as error:
            st.warning(plain(str(error)))
            links.choose(key, None)
    if not known:
        return None
    names = {key: f"{row.name} · {moment(row.created)}" for key, row in known.items()}
    kept = links.mirror(key, list(names), next(iter(names)))
    chosen = st.selectbox(label, list(names), format_func=names.__getitem__, **kept)
    return known[chosen]


def mine(row: ComparisonRow) -> bool:
    """Say whether the visitor may change a group; with a link to it, others can only look."""
    return row.owner == visitor.owner()


def say_length(specs: Sequence[RunSpec]) -> None:
    """Say how many runs a form would start, and about how long they take by runs of the visitor's or the sample."""
    sample = saved_runs.open_run(saved_runs.BUNDLED_ID)
    known = [(row.spec, row.summary) for row in saved_runs.runs(together=True) if row.ended_well]
    seconds = experiments_comparison.expected_seconds(specs, [*known, (sample.spec, sample.summary)])
    about = "The time left shows once the first has ended."
    if seconds is not None:
        about = f"Roughly {duration(max(seconds, 1.0))} in all, judged by earlier runs on this table."
    st.caption(f"{counted(len(specs), 'run')}, one after the other, in the background. All use the same rows. {about}")


def standing(runs: Sequence[RunRow]) -> Standing:
    """Say how far the runs of a group are."""
    under_way = {
        run.id: saved_runs.run_progress(saved_runs.open_run(run.id)).fraction for run in runs if run.state == "running"
    }
    return Standing.of(runs, time.time(), under_way)


def model_table(runs: Sequence[RunRow]) -> pd.DataFrame:
    """Give one row per model with finished runs, with a column `title`."""
    finished = [run for run in runs if run.ended_well]
    return _model_table(tuple(run.id for run in finished), runs)


def run_table(runs: Sequence[RunRow]) -> pd.DataFrame:
    """Give one row of metrics per finished run, with a column `title`."""
    finished = [run for run in runs if run.ended_well]
    return _run_table(tuple(run.id for run in finished), runs)


@st.cache_data(max_entries=64, show_spinner=False)
def _model_table(ids: tuple[str, ...], _runs: Sequence[RunRow]) -> pd.DataFrame:
    from deepfm_core.experiments.comparison import model_table

    table = model_table(store(), _runs)
    return table.assign(title=table["model"].map(MODEL_TITLES))


@st.cache_data(max_entries=64, show_spinner=False)
def _run_table(ids: tuple[str, ...], _runs: Sequence[RunRow]) -> pd.DataFrame:
    from deepfm_core.experiments.comparison import run_table

    table = run_table(store(), _runs)
    return table.assign(title=table["model"].map(MODEL_TITLES))


def advice(runs: Sequence[RunRow]) -> tuple[str, str] | None:
    """Say which model of a comparison to use and why, then what else counts; None until all its runs have ended."""
    return _advice(tuple(run.id for run in runs), tuple(run.state for run in runs), runs)


@st.cache_data(max_entries=64, show_spinner=False)
def _advice(ids: tuple[str, ...], states: tuple[str, ...], _runs: Sequence[RunRow]) -> tuple[str, str] | None:
    from deepfm_core.experiments.advice import advice_sentences, advise

    found = advise(store(), _runs, model_table(_runs))
    return None if found is None else advice_sentences(found)


def newest_comparison(spec: RunSpec, *, under_way: bool = False) -> tuple[ComparisonRow, Sequence[RunRow]] | None:
    """Give the visitor's newest comparison of models on a run's table and label that has results; None without one.

    With `under_way`, one that has none yet counts, too, while it is queued or running.
    """
    states = ("queued", "running") if under_way else ()
    for row in store().comparisons.all(visitor.owner(), MODELS):
        runs = store().comparisons.runs(row.id)
        if any((run.ended_well or run.state in states) and same_question(run.spec, spec) for run in runs):
            return row, runs
    return None


def same_question(one: RunSpec, other: RunSpec) -> bool:
    """Say whether two runs predict the same outcome of the same table."""
    return one.table == other.table and one.schema.label.outcome() == other.schema.label.outcome()


def study_table(runs: Sequence[RunRow], plan: StudyPlan) -> pd.DataFrame:
    """Give one row of metrics and settings per finished run of a study."""
    from deepfm_core.experiments.study import study_table

    return study_table(runs, plan)


def against_start(runs: Sequence[RunRow], table: pd.DataFrame, trial: int) -> Difference | None:
    """Give the difference in test logloss, a setting − the study's first trial, with its interval."""
    ids = tuple(run.id for run in runs if run.trial in (0, trial) and run.ended_well)
    return _against_start(ids, trial, table)


@st.cache_data(max_entries=64, show_spinner=False)
def _against_start(ids: tuple[str, ...], trial: int, _table: pd.DataFrame) -> Difference | None:
    from deepfm_core.experiments.study import against_start

    return against_start(store(), _table, trial)


# The panel of a group: its progress, with cancel, resume, delete and undo for all of its runs.

PARTS = {"train": "train", "valid": "validate", "test": "test"}
"""What each part of the rows is for, as a verb."""

DELETED = "deleted comparison"
"""In the session: id, name and URL key of the group deleted last, which can be restored."""


def show_panel(row: ComparisonRow, runs: Sequence[RunRow], standing: Standing, key: str) -> None:
    """Draw the panel of a comparison or study.

    Args:
        row: the comparison or study.
        runs: all of its runs.
        standing: their progress.
        key: name of the choice in the URL.
    """
    with st.container(border=True):
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.markdown(f"**{plain(row.name)}** · {_state(standing)}")
        with right, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
            _actions(row, standing, key)
        if standing.active:
            st.progress(standing.fraction)
        lines = [" · ".join(part) for part in (_details(runs, standing), _about(row, runs)) if part]
        st.caption("  \n".join(lines))


def _state(standing: Standing) -> str:
    if standing.finished == standing.total:
        return f"all {counted(standing.total, 'run')} finished" if standing.total > 1 else "finished"
    return f"{standing.finished} of {counted(standing.total, 'run')} finished"


def _about(row: ComparisonRow, runs: Sequence[RunRow]) -> list[str]:
    """List what all runs share: settings, seeds and rows."""
    spec, seeds = runs[0].spec, row.plan["seeds"]
    facts = [f"{row.plan['preset'].capitalize()} settings", "1 seed" if seeds == 1 else f"{seeds} seeds"]
    done = next((run.summary for run in runs if run.ended_well), {})
    rows, copies = done.get("rows"), Copies.of_run(done)
    if copies.count:
        facts.append("copies of rows are kept" if copies.kept else f"{copies.rows:,} rows, {copies.left_out}")
    if rows is None:
        return [*facts, f"split {in_words(spec.split)}"]
    holdout = {"valid": spec.valid_table_name, "test": spec.test_table_name}
    counts = [
        f"{rows[name]:,} {f'of {plain(table)} ' if (table := holdout.get(name)) else ''}to {verb}"
        for name, verb in PARTS.items()
        if rows.get(name)
    ]
    counts[0] = counts[0].replace(" ", " rows ", 1)
    return [*facts, f"split {in_words(spec.split)}: {', '.join(counts)}" if _divided(spec) else ", ".join(counts)]


def _divided(spec: RunSpec) -> bool:
    """Say whether any part is a share of the table to train on."""
    return spec.valid_table is None or spec.test_table is None


def _details(runs: Sequence[RunRow], standing: Standing) -> list[str]:
    facts = [f"{plain(run.name)} is training" for run in runs if run.state == "running"]
    if standing.queued and not standing.running:
        facts.append("waiting for the worker")
    if standing.seconds_left is not None:
        facts.append(f"about {duration(standing.seconds_left)} left")
    if standing.active:
        facts.append("continues when this page is closed")
    failed = [run for run in runs if run.state == "failed"]
    facts += [f"{plain(run.name)} failed: {plain(run.message or '')}" for run in failed[:3]]
    if standing.stopped > len(failed):
        facts.append(f"{standing.stopped - len(failed)} stopped: *Resume* continues from the last epoch")
    return facts


def _actions(row: ComparisonRow, standing: Standing, key: str) -> None:
    if not mine(row):
        return
    sharing.offer("comparison", row, "compare" if row.kind == MODELS else "study", key, "Share")
    if standing.active:
        st.button("Cancel all", icon=":material/stop_circle:", key=f"cancel {key}", on_click=_cancel, args=(row.id,))
    if standing.stopped:
        st.button(
            "Resume",
            icon=":material/resume:",
            key=f"resume {key}",
            type="secondary" if standing.active else "primary",
            on_click=_resume,
            args=(row.id,),
        )
    if not standing.running:
        args = (row.id, row.name, key)
        st.button("Delete", icon=":material/delete:", key=f"delete {key}", type="tertiary", on_click=_delete, args=args)


def _cancel(comparison: str) -> None:
    with errors_said():
        experiments_comparison.cancel(store(), comparison)


def _resume(comparison: str) -> None:
    with errors_said():
        experiments_comparison.resume(store(), comparison)
        launch.wake_worker()


def _delete(comparison: str, name: str, key: str) -> None:
    with errors_said():
        store().comparisons.delete(comparison)
        st.session_state[DELETED] = (comparison, name, key)
        links.choose(key, None)


def show_undo(key: str) -> None:
    """Offer to restore the group deleted last."""
    deleted = st.session_state.get(DELETED)
    if deleted is None or deleted[2] != key:
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(f"Deleted: {plain(deleted[1])} with its runs. You can bring it back for a day.", width="stretch")
        st.button("Undo", icon=":material/undo:", on_click=_restore)
        st.button("Dismiss", type="tertiary", on_click=st.session_state.pop, args=(DELETED, None))


def _restore() -> None:
    if DELETED not in st.session_state:  # a second click came before the page was drawn anew
        return
    comparison, _, key = st.session_state.pop(DELETED)
    with errors_said():
        store().comparisons.restore(comparison)
        links.choose(key, comparison)
