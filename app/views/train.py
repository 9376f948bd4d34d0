"""Train: settings, one button, and the run as it goes."""

from __future__ import annotations

import streamlit as st

from app import home, launching, links, live, settings
from app.division import say_doubts
from app.inputs import told
from app.table_line import table_line
from app.unusable import say_unusable


def main() -> None:
    """Draw the page."""
    st.title("Train", anchor=False)
    run = home.current_run()
    if run.row is None:
        _form()
        return
    above = st.container()
    live.show(run)  # first in time, since it is what changes
    key = f"new run beside {run.id}"  # closed again, as at first, beside the run that it has begun
    with above.expander("New run", icon=":material/add:", expanded=links.chosen("new") is not None, key=key):
        _form()


def _form() -> None:
    with told():
        sha, schema, rows = table_line()
        unusable = say_unusable(schema)
        spec = settings.choose(sha, schema, rows)
        say_doubts(spec)
        if st.button("Train", type="primary", icon=":material/play_arrow:", disabled=unusable):
            launching.launch(spec, settings.in_words(spec, launching.base_spec(sha, schema), rows))


main()
