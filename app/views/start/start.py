"""Start: what a finished run found, before anything is clicked, and the ways on."""

from __future__ import annotations

import streamlit as st

from app.shared import findings, launch
from app.state import links, saved_runs, saved_tables
from app.state.saved_runs import OpenRun
from app.widgets.layout import side_by_side
from app.widgets.messages import MODEL_TITLES, told
from app.widgets.text import counted, plain
from deepfm_core.spec.run import YARDSTICK

DRAWN = "pairs are drawn"
"""In the session: nothing in its first turn, then whether the turn for the pictures has come."""


def main() -> None:
    """Draw the page."""
    st.title("DeepFM Explorer", anchor=False)
    st.markdown(
        "Which pairs of fields interact in your click data? Train DeepFM on your own table, watch it learn, "
        "and take every prediction apart."
    )
    _ways_on()
    run = saved_runs.current_run()
    if not run.ready:
        st.info(f"{plain(run.name)} is {run.state}: *Train* shows how far it is. Below, what the sample run found.")
        run = saved_runs.open_run(saved_runs.BUNDLED_ID)
    _about(run)
    findings.show(run)
    if run.spec.model.name != YARDSTICK:
        _pictures(run)


def _pictures(run: OpenRun) -> None:
    """Draw the run's pairs, in the first turn of a session a moment later: what is said stands on the screen first."""
    if st.session_state.get(DRAWN):
        from app.shared import overview

        left, right = side_by_side(2, least=400, gap="large")
        with left:
            overview.show_strongest(run)
        with right:
            overview.show_matrix(run)
        saved_tables.keep_sample(next(iter(saved_tables.samples())))  # *Train this live* then starts at once
    else:
        st.fragment(_later, run_every=0.8)()


def _later() -> None:
    turns = st.session_state.get(DRAWN)
    st.session_state[DRAWN] = turns is not None
    if turns is not None:
        st.rerun()


def _ways_on() -> None:
    with st.container(horizontal=True):
        if st.button("Train this live", type="primary", icon=":material/play_arrow:"):
            with told():
                launch.launch(launch.sample())
        if st.button("Use my CSV", icon=":material/upload_file:"):
            links.go("data")
        if st.button("How it works", icon=":material/functions:"):
            _how_it_works()


def _about(run: OpenRun) -> None:
    rows = sum(run.summary.get("rows", {}).values())
    auc = (run.summary.get("test") or {}).get("auc")
    measured = "" if auc is None else f" Test AUC {auc:.3f}."
    st.subheader(f"What {MODEL_TITLES[run.spec.model.name]} found in {plain(run.spec.table_name)}", anchor=False)
    label, fields = plain(run.spec.schema.label.column), len(run.spec.schema.used)
    st.caption(f"{counted(rows, 'row')}, label **{label}**, {counted(fields, 'field')}.{measured}")


@st.dialog("How DeepFM works", width="large")
def _how_it_works() -> None:
    st.markdown(
        "A row has one feature a field. DeepFM adds up three parts; the sum is the log-odds of a click, the *logit*:"
    )
    st.latex(
        r"\underbrace{w_0 + \sum_i w_i x_i}_{\text{first-order}} \;+\; "
        r"\underbrace{\sum_{i<j} \langle v_i, v_j\rangle\, x_i x_j}_{\text{second-order: pairs}} \;+\; "
        r"\underbrace{\mathrm{DNN}(v_1, v_2, \dots)}_{\text{deep}}"
    )
    st.markdown(
        "- Each feature has a weight *w* and an embedding *v*, which **pairs and network share**.\n"
        "- **Interactions** shows how much each pair of fields moves the logit.\n"
        "- **Examples** takes the logit of any row apart into its terms. They sum to it exactly.\n"
        "- What a model learned need not hold: **Performance** measures it on rows it has not seen.\n\n"
        "Guo et al., *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*, 2017."
    )
    if st.button("See the sample's pairs", icon=":material/grid_on:"):
        links.go("interactions")


main()
