"""Study: the settings of one model, varied one at a time, all together, or by a search."""

from __future__ import annotations

import streamlit as st

from app.shared import apply_settings, groups, launch
from app.state import links
from app.state.store import store
from app.views.study.form import STUDY, show_form
from app.views.study.results import show_results
from app.widgets.messages import told
from deepfm_core.experiments.study import StudyPlan
from deepfm_core.store.groups import SETTINGS
from deepfm_core.store.records import ComparisonRow

SECONDS = 1.0
"""How often a study at work is looked at."""


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
            "network one at a time; here each is varied on the same rows, with as many seeds as you like, or a search "
            "looks for the best of them together."
        )
        with above, told():
            show_form()
        return
    with above.expander("New study", icon=":material/add:", expanded=links.chosen("new") is not None), told():
        show_form()
    active = any(run.state in ("queued", "running") for run in store().comparisons.runs(row.id))
    st.fragment(_watch, run_every=SECONDS if active else None)(row, active)


def _watch(row: ComparisonRow, active: bool) -> None:
    with told():
        apply_settings.follow()
        runs = store().comparisons.runs(row.id)
        standing = groups.standing(runs)
        if active != standing.active:
            st.rerun()  # the page says how often this is drawn again
        if standing.queued and not standing.running:
            launch.keep_worker()  # one that was killed leaves the rest of the queue to another
        groups.show_panel(row, runs, standing, STUDY)
        show_results(runs, StudyPlan.from_dict(row.plan))


main()
