"""The role table: the kind of each column, why it was suggested, and what to be careful about."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.shared import launch
from app.state import links
from app.widgets.download import download
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Schema

ROLE_ROWS = 16
KINDS = [kind.value for kind in Kind]
MISSING_HELP = "Rows without a value: empty cells, `?`, `NA`, `null` and the like. Missing gets its own feature."
KIND_HELP = "  \n".join(f"**{kind}**: {kind.help}" for kind in Kind)


def edit_roles(schema: Schema) -> None:
    """Draw the role table; changes go to the URL."""
    columns = [role.column for role in schema.roles]
    frame = pd.DataFrame({"Field": columns, "Kind": [role.kind.value for role in schema.roles]})
    if any(role.missing for role in schema.roles):
        frame["Missing"] = [role.missing for role in schema.roles]
    frame["Why"] = [role.reason.replace("`", "") for role in schema.roles]
    if any(role.warning for role in schema.roles):
        frame["Careful"] = [role.warning.replace("`", "") for role in schema.roles]
    table_heading("Roles", frame)
    st.data_editor(
        frame,
        key=f"roles {len(columns)} {columns[0]}",
        hide_index=True,
        height="content" if len(columns) <= ROLE_ROWS else 600,
        disabled=["Field", "Missing", "Why", "Careful"],
        column_config={
            "Field": st.column_config.TextColumn(width="medium"),
            "Kind": st.column_config.SelectboxColumn(options=KINDS, required=True, help=KIND_HELP),
            "Missing": st.column_config.NumberColumn(width="small", format="localized", help=MISSING_HELP),
            "Why": st.column_config.TextColumn(width="large"),
        },
        on_change=_keep_roles,
        args=(columns,),
    )
    if links.chosen_values(launch.KINDS) and st.button("Back to the suggested roles", icon=":material/undo:"):
        links.choose(launch.KINDS, None)
        st.rerun()


def _keep_roles(columns: list[str]) -> None:
    kinds = links.chosen_values(launch.KINDS)
    editor = st.session_state[f"roles {len(columns)} {columns[0]}"]
    kinds |= {columns[int(row)]: changes["Kind"] for row, changes in editor["edited_rows"].items() if "Kind" in changes}
    links.choose_values(launch.KINDS, kinds)


def table_heading(title: str, frame: pd.DataFrame) -> None:
    """Draw a heading with a CSV button for the table below it."""
    with st.container(
        horizontal=True, vertical_alignment="center"
    ):  # on the left: the table's own buttons are on the right
        st.subheader(title, anchor=False, width="content")
        download(frame, title.lower(), f"{title} csv")
