"""The cached doors into the core: the store, tables, the chosen run, its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from deepfm_core.store.store import Store

if TYPE_CHECKING:
    pass


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """Open the store once for all sessions."""
    return Store.default()
