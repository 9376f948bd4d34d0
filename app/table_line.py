"""One line about the table that a run, a comparison or a study will be made from, and how its rows are divided."""

from __future__ import annotations

import streamlit as st

from app import home, launching, links
from app.inputs import code, plain
from app.split_choice import choose_split
from deepfm_core.data.schema import Schema


def table_line() -> tuple[str, Schema, int]:
    """Say which table it is, with a way to change it and its split; return its SHA-256, its roles and number of rows.

    Raises:
        DeepFMError: there is no such table, or it cannot be learned from.
    """
    sha = home.current_table()
    schema, rows = launching.chosen_schema(sha), len(home.table(sha))
    with st.container(horizontal=True, vertical_alignment="center"):
        name = plain(home.tables().get(sha, f"table {sha[:8]}"))
        about = f"**{name}**: {rows:,} rows, label {code(schema.label.column)}, {len(schema.used)} fields"
        st.markdown(about, width="content")
        if st.button("Change", type="tertiary", icon=":material/edit:"):
            links.go("data")
        choose_split(schema)
    return sha, schema, rows
