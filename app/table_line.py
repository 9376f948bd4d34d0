"""One line about the table that a run, a comparison or a study will be made from, and how its rows are divided."""

from __future__ import annotations

import streamlit as st

from app import home, launching, links
from app.inputs import code, counted, plain
from app.split_choice import TEST_TABLE, VALID_TABLE, choose_split
from deepfm_core.data.schema import Schema


def table_line() -> tuple[str, Schema, int]:
    """Say which table it is, with a way to change it and its split; return its SHA-256, its roles and number of rows.

    Raises:
        DeepFMError: there is no such table, or it cannot be learned from.
    """
    sha = home.current_table()
    schema, rows = launching.chosen_schema(sha), len(home.table(sha))
    with st.container(horizontal=True, vertical_alignment="center"):
        about = f"**{plain(home.table_name(sha))}**: {counted(rows, 'row')}, label {code(schema.label.column)}"
        about += f", {counted(len(schema.used), 'field')}"
        apart = (("validated", links.chosen(VALID_TABLE)), ("tested", links.chosen(TEST_TABLE)))
        for verb, other in apart:
            about += f", {verb} on **{plain(home.table_name(other))}**" if other else ""
        st.markdown(about, width="content")
        if st.button("Change", type="tertiary", icon=":material/edit:"):
            links.go("data")
        choose_split(schema)
    return sha, schema, rows
