"""Compare: the models of the paper on one's own rows, as one table with honest differences."""

from __future__ import annotations

import streamlit as st

from app.shared import groups, launch
from app.state import links
from app.state.store import store
from app.views.compare.form import COMPARISON, show_form
from app.views.compare.results import show_results
from app.widgets.messages import told
from deepfm_core.store.groups import MODELS
from deepfm_core.store.records import ComparisonRow

SECONDS = 1.0
"""How often a comparison at work is looked at."""


def main() -> None:
    """Draw the page."""
    st.title("Compare models", anchor=False)
    groups.show_undo(COMPARISON)
    above = st.container()
    row = groups.choose(MODELS, COMPARISON, "Comparison")
    if row is None:
        above.markdown(
            "The DeepFM paper argues by a table: each model on the same split, by AUC and logloss. Make that table "
            "from your own rows: every model is trained on the same rows with the same rule to stop, and differences "
            "that are no more than noise are called so."
        )
        with above, told():
            show_form()
        return
    with above.expander("New comparison", icon=":material/add:", expanded=links.chosen("new") is not None), told():
        show_form()
    active = any(run.state in ("queued", "running") for run in store().comparisons.runs(row.id))
    st.fragment(_watch, run_every=SECONDS if active else None)(row, active)


def _watch(row: ComparisonRow, active: bool) -> None:
    with told():
        runs = store().comparisons.runs(row.id)
        standing = groups.standing(runs)
        if active != standing.active:
            st.rerun()  # the page says how often this is drawn again
        if standing.queued and not standing.running:
            launch.keep_worker()  # one that was killed leaves the rest of the queue to another
        groups.show_panel(row, runs, standing, COMPARISON)
        show_results(runs)


main()
