"""The page Study: the settings of one model, varied one by one, as a grid, or by a search."""

from __future__ import annotations

import streamlit as st

from app.shared import apply_settings, groups, launch
from app.state import links
from app.state.store import store
from app.views.study.form import STUDY, show_form
from app.views.study.results import show_results
from app.widgets.messages import errors_shown
from deepfm_core.experiments.study import StudyPlan
from deepfm_core.store.groups import SETTINGS
from deepfm_core.store.records import ComparisonRow

SECONDS = 1.0
"""Seconds between two looks at an active study."""


def main() -> None:
    """Draw the page."""
    apply_settings.follow()
    st.title("Study settings", anchor=False)
    groups.show_undo(STUDY)
    above = st.container()
    row = groups.choose(SETTINGS, STUDY, "Study")
    if row is None:
        above.markdown(
            "Which settings suit your rows? The DeepFM paper varies activation, dropout, width, depth and shape of the "
            "DNN one by one. Do the same on your own rows, with several seeds if you like. Or let a search look for "
            "the best combination."
        )
        with above, errors_shown():
            show_form()
        return
    with above.expander("New study", icon=":material/add:", expanded=links.chosen("new") is not None), errors_shown():
        show_form()
    active = any(run.state in ("queued", "running") for run in store().comparisons.runs(row.id))
    st.fragment(_watch, run_every=SECONDS if active else None)(row, active)


def _watch(row: ComparisonRow, active: bool) -> None:
    with errors_shown():
        apply_settings.follow()
        runs = store().comparisons.runs(row.id)
        standing = groups.standing(runs)
        if active != standing.active:
            st.rerun()  # the whole page, which sets how often this is drawn
        if standing.queued and not standing.running:
            launch.keep_worker()  # a killed worker leaves the queue to a new one
        groups.show_panel(row, runs, standing, STUDY)
        show_results(runs, StudyPlan.from_dict(row.plan))


main()
