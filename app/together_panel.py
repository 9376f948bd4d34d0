"""The panel of runs asked for together: how far they are, and cancel, resume, delete and undo for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import comparisons, home, launching, links
from app.inputs import counted, duration, plain, told
from app.split_choice import in_words
from deepfm_core.runs import together
from deepfm_core.runs.rows import ComparisonRow, RunRow
from deepfm_core.runs.together import Standing
from deepfm_core.training.spec import RunSpec

PARTS = {"train": "train", "valid": "validate", "test": "test"}
DELETED = "deleted comparison"
"""In the session: id, name and URL key of what was deleted last, which can be brought back."""


def show_panel(row: ComparisonRow, runs: Sequence[RunRow], standing: Standing, key: str) -> None:
    """Draw the panel of a comparison or study.

    Args:
        row: which one.
        runs: all of it.
        standing: how far they are.
        key: its name in the URL.
    """
    with st.container(border=True):
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.markdown(f"**{plain(row.name)}** · {_state(standing)}")
        with right, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
            _actions(row, standing, key)
        if standing.active:
            st.progress(standing.fraction)
        said = [" · ".join(part) for part in (_details(runs, standing), _about(row, runs)) if part]
        st.caption("  \n".join(said))


def _state(standing: Standing) -> str:
    if standing.finished == standing.total:
        return f"all {counted(standing.total, 'run')} finished" if standing.total > 1 else "finished"
    return f"{standing.finished} of {counted(standing.total, 'run')} finished"


def _about(row: ComparisonRow, runs: Sequence[RunRow]) -> list[str]:
    """Say what all runs have in common: settings, seeds and rows."""
    spec, seeds = runs[0].spec, int(row.plan["seeds"])
    said = [f"{str(row.plan['preset']).capitalize()} settings", "1 seed" if seeds == 1 else f"{seeds} seeds"]
    rows = next((run.summary.get("rows") for run in runs if run.ended_well), None)
    if rows is None:
        return [*said, f"split {in_words(spec.split)}"]
    apart = {"valid": spec.valid_table_name, "test": spec.test_table_name}
    counts = [
        f"{rows[name]:,} {f'of {plain(table)} ' if (table := apart.get(name)) else ''}to {verb}"
        for name, verb in PARTS.items()
        if rows.get(name)
    ]
    counts[0] = counts[0].replace(" ", " rows ", 1)
    return [*said, f"split {in_words(spec.split)}: {', '.join(counts)}" if _divided(spec) else ", ".join(counts)]


def _divided(spec: RunSpec) -> bool:
    """Say whether any part is a share of the table that is trained on."""
    return spec.valid_table is None or spec.test_table is None


def _details(runs: Sequence[RunRow], standing: Standing) -> list[str]:
    said = [f"{plain(run.name)} is training" for run in runs if run.state == "running"]
    if standing.queued and not standing.running:
        said.append("waits for the worker")
    if standing.seconds_left is not None:
        said.append(f"about {duration(standing.seconds_left)} left")
    if standing.active:
        said.append("it goes on when this page is closed")
    failed = [run for run in runs if run.state == "failed"]
    said += [f"{plain(run.name)} failed: {plain(run.message or '')}" for run in failed[:3]]
    if standing.stopped > len(failed):
        said.append(f"{standing.stopped - len(failed)} stopped: *Resume* goes on from their last epoch")
    return said


def _actions(row: ComparisonRow, standing: Standing, key: str) -> None:
    if not comparisons.mine(row):
        return
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
    with told():
        together.cancel(home.store(), comparison)


def _resume(comparison: str) -> None:
    with told():
        together.resume(home.store(), comparison)
        launching.keep_worker()


def _delete(comparison: str, name: str, key: str) -> None:
    with told():
        home.store().comparisons.delete(comparison)
        st.session_state[DELETED] = (comparison, name, key)
        links.choose(key, None)


def show_undo(key: str) -> None:
    """Offer to bring back what was deleted last."""
    deleted = st.session_state.get(DELETED)
    if deleted is None or deleted[2] != key:
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(f"Deleted: {plain(deleted[1])} with its runs. It can be brought back for a day.", width="stretch")
        st.button("Undo", icon=":material/undo:", on_click=_restore)
        st.button("Dismiss", type="tertiary", on_click=st.session_state.pop, args=(DELETED,))


def _restore() -> None:
    comparison, _, key = st.session_state.pop(DELETED)
    with told():
        home.store().comparisons.restore(comparison)
        links.choose(key, comparison)
