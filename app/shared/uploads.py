"""Uploads: a file becomes a table of the visitor's, or its problem is shown."""

from __future__ import annotations

from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app.shared.reading import choose_for_refused, chosen_reading
from app.state import saved_tables
from app.widgets.text import plain, show_error
from deepfm_core.errors import DeepFMError, Problem, TableError
from deepfm_core.store.untrusted import get_ready
from deepfm_core.tables.table import FOUND, Choices

FORMATS = "CSV, Excel, Parquet, Feather or JSON, also zipped"
"""What is read, in the words of a label."""
SHARED = "shared table"
"""Name of a table of another visitor."""


def upload(label: str, key: str) -> tuple[UploadedFile | None, str | None]:
    """Draw an uploader; return its file and, in the first run of the page after the upload, its table's SHA-256."""
    file = st.file_uploader(label, key=key)
    get_ready()
    if file is None or st.session_state.get(f"taken {key}") == _attempt(file, key):
        return file, None
    st.session_state[f"taken {key}"], st.session_state[f"problem of {key}"] = _attempt(file, key), None
    try:
        with st.spinner(f"Reading {plain(file.name)} …"):
            return file, saved_tables.add_table(file.getvalue(), file.name, _said(file, key))
    except DeepFMError as error:
        st.session_state[f"problem of {key}"] = error
    except MemoryError:
        problem = Problem("it does not fit into this machine's memory", "Upload fewer rows or fewer columns.")
        st.session_state[f"problem of {key}"] = TableError(f"Table `{file.name}`", [problem])
    return file, None


def say_refused(file: UploadedFile | None, key: str, instead: str) -> None:
    """Say why the file was not loaded, if it was not, and what is shown `instead`; let it be read otherwise."""
    problem = st.session_state.get(f"problem of {key}")
    if file is not None and problem is not None:
        show_error(problem)
        st.markdown(f"**{plain(file.name)}** was not loaded. {instead}")
        choose_for_refused(file.getvalue(), _widgets(file, key), _said(file, key), partial(_say, file, key))


# What the visitor says of a file that was refused.


def _widgets(file: UploadedFile, key: str) -> str:
    return f"{key} {file.file_id}"


def _attempt(file: UploadedFile, key: str) -> tuple[str, object]:
    return file.file_id, st.session_state.get(f"said of {_widgets(file, key)}")


def _said(file: UploadedFile, key: str) -> Choices:
    said: Choices = st.session_state.get(f"said of {_widgets(file, key)}", FOUND)
    return said


def _say(file: UploadedFile, key: str, widgets: str) -> None:
    try:
        st.session_state[f"said of {widgets}"] = chosen_reading(widgets)
    except DeepFMError as error:
        st.session_state[f"problem of {key}"] = error
