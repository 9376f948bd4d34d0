"""Train: settings, one button, and the run as it goes."""

from __future__ import annotations

import streamlit as st

from app import home, launching, links, live, settings
from app.inputs import plain, told


def main() -> None:
    """Draw the page."""
    st.title("Train", anchor=False)
    run = home.current_run()
    if run.row is None:
        _form()
        return
    above = st.container()
    live.show(run)  # first in time, since it is what changes
    with above.expander("New run", icon=":material/add:", expanded=links.chosen("new") is not None):
        _form()


def _form() -> None:
    with told():
        sha = home.current_table()
        schema, rows = launching.chosen_schema(sha), len(home.table(sha))
        _about(sha, rows, schema.label.column, len(schema.used))
        spec = settings.choose(sha, schema, rows)
        if st.button("Train", type="primary", icon=":material/play_arrow:"):
            launching.launch(spec, links.chosen("preset") or "recommended")


def _about(sha: str, rows: int, label: str, fields: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        name = plain(home.tables().get(sha, f"table {sha[:8]}"))
        st.markdown(f"**{name}**: {rows:,} rows, label `{label}`, {fields} fields", width="content")
        if st.button("Change", type="tertiary", icon=":material/edit:"):
            links.go("data")


main()
