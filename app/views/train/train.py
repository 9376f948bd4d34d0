"""The page Train: the settings of a new run, and the current run live."""

from __future__ import annotations

import streamlit as st

from app.shared import launch
from app.shared.holdout import say_doubts, say_unusable, table_line
from app.state import links, saved_runs
from app.views.train import live, settings
from app.widgets.text import errors_shown


def main() -> None:
    """Draw the page."""
    st.title("Train", anchor=False)
    run = saved_runs.current_run()
    if run.row is None:
        _form()
        return
    above = st.container()
    live.show(run)  # drawn first, since it is what changes
    key = f"new run beside {run.id}"  # a new key per run, so that the form is closed again once its run has started
    with above.expander("New run", icon=":material/add:", expanded=links.chosen("new") is not None, key=key):
        _form()


def _form() -> None:
    with errors_shown():
        sha, schema, rows = table_line()
        unusable = say_unusable(schema)
        spec = settings.choose(sha, schema, rows)
        say_doubts(spec)
        launch.say_expectations(spec)
        if st.button("Train", type="primary", icon=":material/play_arrow:", disabled=unusable):
            launch.launch(spec, settings.in_words(spec, launch.base_spec(sha, schema), rows))


main()
