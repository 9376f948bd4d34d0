"""Actions on the selected runs: open, compare, cancel, resume, export, annotate, delete and undo."""

from __future__ import annotations

import streamlit as st

from app.export import menu
from app.shared import launch
from app.state import links, saved_runs
from app.state.store import store
from app.widgets.messages import errors_shown
from app.widgets.text import plain
from deepfm_core.spec.run import BASELINE
from deepfm_core.store.records import RunRow

SELECTED = "selected"
"""Name of the choice that holds the selected runs, by id."""


def show_actions(chosen: list[RunRow]) -> None:
    """Draw the actions for the selected runs, and the name and notes of a single one."""
    if not chosen:
        st.caption("Select runs in the first column to open, compare, resume, export, annotate or delete them.")
        return
    one = chosen[0] if len(chosen) == 1 else None
    with st.container(horizontal=True):
        if one and st.button("Open", type="primary", icon=":material/open_in_full:"):
            links.go(_page_of(one), run=one.id)
        if (
            len(chosen) == 2
            and all(row.ended_well for row in chosen)
            and st.button("Compare", type="primary", icon=":material/compare_arrows:")
        ):
            links.go("performance", run=chosen[0].id, compare=chosen[1].id)
        for row_action, label, icon, states in _ACTIONS:
            fitting = [row for row in chosen if row.state in states]
            if fitting:
                st.button(label, icon=icon, on_click=row_action, args=(fitting,))
        if one:
            menu.show_menu(saved_runs.open_run(one.id))
    if one:
        _describe(one)


def _page_of(row: RunRow) -> str:
    if not row.ended_well:
        return "train"
    return "performance" if row.spec.model.name == BASELINE else "interactions"


def _describe(row: RunRow) -> None:
    left, right = st.columns([1, 2])
    key = f"name {row.id}"
    if not st.session_state.get(key, "").strip():
        st.session_state[key] = row.name  # an empty name is not taken
    name = left.text_input("Name", key=key)
    notes = right.text_input("Notes", row.notes, key=f"notes {row.id}", placeholder="What you tried, and the result")
    with errors_shown():
        if name.strip() and name != row.name:
            store().rename(row.id, name.strip())
            st.rerun()
        if notes != row.notes:
            store().set_notes(row.id, notes)
            st.rerun()


def _resume(rows: list[RunRow]) -> None:
    for row in rows:
        with errors_shown():
            store().resume(row.id)
    launch.keep_worker()


def _cancel(rows: list[RunRow]) -> None:
    for row in rows:
        with errors_shown():
            store().request_cancel(row.id)


def _delete(rows: list[RunRow]) -> None:
    for row in rows:
        with errors_shown():
            store().delete(row.id)
            st.session_state.setdefault("deleted runs", []).append((row.id, row.name))
    links.choose(SELECTED, None)


_ACTIONS = (
    (_cancel, "Cancel", ":material/stop_circle:", ("queued", "running")),
    (_resume, "Resume", ":material/resume:", ("lost", "failed", "cancelled")),
    (_delete, "Delete", ":material/delete:", ("queued", "lost", "failed", "cancelled", "finished")),
)


def show_undo() -> None:
    """Offer to restore the runs deleted last."""
    deleted = st.session_state.get("deleted runs", [])
    if not deleted:
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        names = ", ".join(plain(name) for _, name in deleted[:3]) + (" …" if len(deleted) > 3 else "")
        st.markdown(f"Deleted: {names}. You can bring back deleted runs for a day.", width="stretch")
        st.button("Undo", icon=":material/undo:", on_click=_restore)
        st.button("Dismiss", type="tertiary", on_click=st.session_state.pop, args=("deleted runs",))


def _restore() -> None:
    for run_id, _ in st.session_state.pop("deleted runs"):
        with errors_shown():
            store().restore(run_id)
