"""The page Compare: the models of the paper on the visitor's own rows, in one table with intervals."""

from __future__ import annotations

import streamlit as st

from app.shared import groups, launch
from app.state import links
from app.state.store import store
from app.views.compare.form import COMPARISON, show_form
from app.views.compare.results import show_results
from app.widgets.messages import errors_shown
from deepfm_core.store.groups import MODELS
from deepfm_core.store.records import ComparisonRow

SECONDS = 1.0
"""Seconds between two looks at an active comparison."""


def main() -> None:
    """Draw the page."""
    st.title("Compare models", anchor=False)
    groups.show_undo(COMPARISON)
    above = st.container()
    row = groups.choose(MODELS, COMPARISON, "Comparison")
    if row is None:
        above.markdown(
            "The DeepFM paper compares its models in one table, by AUC and logloss on the same split. Make that table "
            "from your own rows. Every model is trained on the same rows with the same stopping rule, and the table "
            "says which differences are no more than noise."
        )
        with above, errors_shown():
            show_form()
        return
    with (
        above.expander("New comparison", icon=":material/add:", expanded=links.chosen("new") is not None),
        errors_shown(),
    ):
        show_form()
    active = any(run.state in ("queued", "running") for run in store().comparisons.runs(row.id))
    st.fragment(_watch, run_every=SECONDS if active else None)(row, active)


def _watch(row: ComparisonRow, active: bool) -> None:
    with errors_shown():
        runs = store().comparisons.runs(row.id)
        standing = groups.standing(runs)
        if active != standing.active:
            st.rerun()  # the whole page, which sets how often this is drawn
        if standing.queued and not standing.running:
            launch.keep_worker()  # a killed worker leaves the queue to a new one
        groups.show_panel(row, runs, standing, COMPARISON)
        show_results(runs)


main()
