"""Study: the settings of one model, varied one at a time, all together, or by a search."""

from __future__ import annotations

import streamlit as st

from app import comparisons, home, launching, links, takeover, together_panel
from app.inputs import told
from app.study_form import STUDY, show_form
from app.study_results import show_results
from deepfm_core.runs.comparisons import SETTINGS
from deepfm_core.runs.rows import ComparisonRow
from deepfm_core.runs.study import StudyPlan

SECONDS = 1.0
"""How often a study at work is looked at."""


def main() -> None:
    """Draw the page."""
    takeover.follow()
    st.title("Study settings", anchor=False)
    together_panel.show_undo(STUDY)
    above = st.container()
    row = comparisons.choose(SETTINGS, STUDY, "Study")
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
    active = any(run.state in ("queued", "running") for run in home.store().comparisons.runs(row.id))
    st.fragment(_watch, run_every=SECONDS if active else None)(row, active)


def _watch(row: ComparisonRow, active: bool) -> None:
    with told():
        takeover.follow()
        runs = home.store().comparisons.runs(row.id)
        standing = comparisons.standing(runs)
        if active != standing.active:
            st.rerun()  # the page says how often this is drawn again
        if standing.queued and not standing.running:
            launching.keep_worker()  # one that was killed leaves the rest of the queue to another
        together_panel.show_panel(row, runs, standing, STUDY)
        show_results(runs, StudyPlan.from_dict(row.plan))


main()
