"""The table of the page Data: upload one, choose one, remove one, and bring it back."""

from __future__ import annotations

import streamlit as st

from app.shared import launch
from app.shared.uploads import SHARED, say_refused, upload
from app.state import saved_tables, visitor
from app.state.store import store
from app.widgets.messages import errors_shown
from app.widgets.text import plain

TABLE, REMOVED = "table to show", "removed table"
"""In the session: the table in the select box, and the one removed last, which can be restored."""


def choose_table() -> None:
    """Draw the upload and the choice of a table; say if a file cannot be read."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        file, taken = upload("Your table: CSV, TSV or Parquet, gzipped or not", "upload")
    if taken is not None:
        launch.choose_table(taken)
    names, sha = saved_tables.tables(), saved_tables.current_table()
    names.setdefault(sha, SHARED)  # a link may name another visitor's table
    st.session_state[TABLE] = sha
    right.selectbox("Table", list(names), format_func=names.__getitem__, key=TABLE, on_change=_switch)
    _removal(sha, names)
    say_refused(file, "upload", f"Still showing **{plain(names[sha])}**.")
    st.subheader(plain(names[sha]), anchor=False, divider="gray")


def _switch() -> None:
    launch.choose_table(st.session_state[TABLE])


def _removal(sha: str, names: dict[str, str]) -> None:
    """Offer to remove the visitor's own table from the list, and to restore the one removed last."""
    removed = st.session_state.get(REMOVED)
    own = sha not in saved_tables.samples() and names[sha] != SHARED
    if not own and removed is None:
        return
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        if removed is not None:
            st.caption(f"{plain(removed[1])} is removed. Runs trained on it keep it.", width="content")
            st.button("Undo", type="tertiary", icon=":material/undo:", on_click=_restore, args=removed)
        if own:
            remove = (sha, names[sha])
            st.button("Remove table", type="tertiary", icon=":material/delete:", on_click=_remove, args=remove)


def _remove(sha: str, name: str) -> None:
    with errors_shown():
        store().delete_table(sha, visitor.owner())
        st.session_state[REMOVED] = (sha, name)
        launch.choose_table(None)


def _restore(sha: str, _name: str) -> None:
    with errors_shown():
        store().restore_table(sha, visitor.owner())
        st.session_state.pop(REMOVED)
        launch.choose_table(sha)
