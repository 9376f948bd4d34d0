"""The page Start: what a finished run found, and three buttons to go on."""

from __future__ import annotations

import streamlit as st

from app.export import menu
from app.shared import guide, launch, overview, run_status
from app.state import links, saved_runs, saved_tables
from app.state.saved_runs import OpenRun
from app.widgets.layout import side_by_side
from app.widgets.text import MODEL_TITLES, errors_shown, plain
from deepfm_core.spec.run import BASELINE

DRAWN = "pairs are drawn"
"""In the session: missing at first, False once the text is drawn, True from the next turn on, which draws charts."""

UNDER_WAY = (
    "Models are being compared on this table. Once all runs have ended, the page says which one to use, and why."
)


def main() -> None:
    """Draw the page."""
    st.title("DeepFM Explorer", anchor=False)
    st.markdown(
        "Which pairs of fields interact in your data? Train DeepFM on your own table, watch it learn, "
        "and explain every prediction."
    )
    run = saved_runs.current_run()
    shown = run if run.ready else saved_runs.open_run(saved_runs.BUNDLED_ID)
    _ways_on(shown)
    if not run.ready:
        st.info(f"{plain(run.name)} is {run.state}. *Train* shows its progress. Below is what the sample run found.")
    _about(shown)
    overview.show(shown)
    guide.say_alone(shown)
    with st.container(horizontal=True):
        menu.show_menu(shown)
    if shown.spec.model.name != BASELINE:
        _rest(shown)


def _rest(run: OpenRun) -> None:
    """Draw the rest; in the first turn of a session a moment later, so that the findings appear at once."""
    if DRAWN in st.session_state:  # also after a click in the first moment, whose dialog a second turn would close
        st.session_state[DRAWN] = True
        _which_model(run)
        left, right = side_by_side(2, least=400, gap="large")
        with left:
            overview.show_strongest(run)
        with right:
            overview.show_matrix(run)
        saved_tables.keep_sample(next(iter(saved_tables.samples())))  # so that *Train this live* starts at once
    else:
        st.fragment(_later, run_every=0.8)()


def _which_model(run: OpenRun) -> None:
    """Say which model to use, where models were compared on the run's rows; else offer to compare them."""
    from app.shared import groups

    found = groups.newest_comparison(run.spec, under_way=True)
    advice = None if found is None else groups.advice(found[1])
    with st.container(border=True):
        st.caption(":material/leaderboard: Which model should I use?")
        if found is not None and (advice is not None or groups.standing(found[1]).active):
            said = UNDER_WAY if advice is None else advice[0]
            if _said_with_button(said, "See the comparison"):
                links.go("compare", comparison=found[0].id)
            return
        offer = "Train the models of the paper on the same rows. *Compare* then says which one to use, and why."
        if _said_with_button(offer, "Compare models"):
            with errors_shown():
                launch.open_compare(run.spec)


def _said_with_button(said: str, label: str) -> bool:
    """Draw a sentence with a button beside it, or below where there is no room; say whether it was clicked."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(said, width="stretch")
        return st.button(label, icon=":material/leaderboard:")


def _later() -> None:
    turns = st.session_state.get(DRAWN)
    st.session_state[DRAWN] = turns is not None
    if turns is not None:
        st.rerun()


def _ways_on(run: OpenRun) -> None:
    with st.container(horizontal=True):
        if st.button("Train this live", type="primary", icon=":material/play_arrow:", help=_what_is_trained(run)):
            with errors_shown():
                launch.launch(launch.as_shown(run))
        if st.button("Use my CSV", icon=":material/upload_file:"):
            links.go("data")
        if st.button("How it works", icon=":material/functions:"):
            _how_it_works()


def _what_is_trained(run: OpenRun) -> str:
    """Say what a click trains, and that a run like it exists where one does."""
    text = f"Trains DeepFM on {plain(run.spec.table_name)}, with the recommended settings."
    if launch.trained_already(run):
        text += " You have a finished run with the same table and settings: a second one ends the same."
    return text


def _about(run: OpenRun) -> None:
    st.header(f"What {MODEL_TITLES[run.spec.model.name]} found in {plain(run.spec.table_name)}", anchor=False)
    run_status.show_run(run)
    run_status.say_copies(run)


@st.dialog("How DeepFM works", width="large")
def _how_it_works() -> None:
    st.markdown(
        "A row has one feature per field. DeepFM adds up three parts. The sum is the *logit*, the log-odds that a "
        "row is positive:"
    )
    st.latex(
        r"\begin{array}{rll}"
        r"y = & w_0 + \sum_i w_i x_i & \text{\footnotesize bias, first order} \\[6pt]"
        r"+ & \sum_{i<j} \langle v_i, v_j\rangle\, x_i x_j & \text{\footnotesize FM pairs} \\[6pt]"
        r"+ & \mathrm{DNN}(v_1, v_2, \dots) & \text{\footnotesize DNN}"
        r"\end{array}"
    )
    st.markdown(
        "- Each feature has a weight *w* and an embedding *v*. **FM pairs and DNN share the embeddings.**\n"
        "- **Interactions** shows how much each pair of fields moves the logit.\n"
        "- **Examples** splits the logit of any row into its terms. They sum to it exactly.\n"
        "- **Performance** measures the model on held-out rows, since what it learned need not hold.\n\n"
        "Guo et al., *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*, 2017."
    )
    with st.container(horizontal=True):
        if st.button("See the sample's pairs", icon=":material/grid_on:"):
            links.go("interactions")
        if st.button("Work it out on one row", icon=":material/school:"):
            links.go("learn")


main()
