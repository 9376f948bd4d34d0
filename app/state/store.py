"""The store of tables and runs, opened once for the whole server."""

from __future__ import annotations

import streamlit as st

from deepfm_core.store.store import Store


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """Open the store; all sessions share it."""
    return Store.default()
