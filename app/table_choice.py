"""Which table the page Data is about: uploaded, chosen from the visitor's own, removed and brought back."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app import home, launching, visitor
from app.inputs import plain, show_error, told
from deepfm_core.errors import DeepFMError, Problem, TableError

SHARED = "shared table"
TABLE, REMOVED = "table to show", "removed table"
"""In the session: the table in the select box, and the one removed last, which can be brought back."""


def choose_table() -> None:
    """Draw the upload and the choice of a table; what cannot be read gets its sentence here."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    file = left.file_uploader("Your table: CSV, TSV or Parquet, gzipped or not", key="upload")
    if file is not None and st.session_state.get("taken upload") != file.file_id:
        _take(file)
    names, sha = home.tables(), home.current_table()
    names.setdefault(sha, SHARED)  # a link to somebody else's table
    st.session_state[TABLE] = sha
    right.selectbox("Table", list(names), format_func=names.__getitem__, key=TABLE, on_change=_switch)
    _removal(sha, names)
    problem = st.session_state.get("upload problem")
    if file is not None and problem is not None:
        show_error(problem)
        st.markdown(f"**{plain(file.name)}** was not taken. What follows is still **{plain(names[sha])}**.")
    st.subheader(plain(names[sha]), anchor=False, divider="gray")


def _switch() -> None:
    launching.choose_table(st.session_state[TABLE])


def _removal(sha: str, names: dict[str, str]) -> None:
    """Offer to take one's own table out of the list, and to bring back the one removed last."""
    removed = st.session_state.get(REMOVED)
    own = sha not in home.samples() and names[sha] != SHARED
    if not own and removed is None:
        return
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        if removed is not None:
            st.caption(f"{plain(removed[1])} is removed; runs made from it keep it.", width="content")
            st.button("Undo", type="tertiary", icon=":material/undo:", on_click=_restore, args=removed)
        if own:
            remove = (sha, names[sha])
            st.button("Remove table", type="tertiary", icon=":material/delete:", on_click=_remove, args=remove)


def _remove(sha: str, name: str) -> None:
    with told():
        home.store().delete_table(sha, visitor.owner())
        st.session_state[REMOVED] = (sha, name)
        launching.choose_table(None)


def _restore(sha: str, _name: str) -> None:
    with told():
        home.store().restore_table(sha, visitor.owner())
        st.session_state.pop(REMOVED)
        launching.choose_table(sha)


def _take(file: UploadedFile) -> None:
    st.session_state["taken upload"], st.session_state["upload problem"] = file.file_id, None
    try:
        with st.spinner(f"Reading {plain(file.name)} …"):
            sha = home.add_table(file.getvalue(), file.name)
    except DeepFMError as error:
        st.session_state["upload problem"] = error
    except MemoryError:
        problem = Problem("it does not fit into this machine's memory", "Upload fewer rows or fewer columns.")
        st.session_state["upload problem"] = TableError(f"Table `{file.name}`", [problem])
    else:
        launching.choose_table(sha)
