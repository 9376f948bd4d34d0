"""The sidebar: the choice of the current run and of a run to compare it with."""

from __future__ import annotations

import streamlit as st

from app.state import links
from app.state.saved_runs import BUNDLED_ID, COMPARED, RUN, current_id, open_run, run_names
from app.state.store import store
from app.widgets.text import plain
from deepfm_core.errors import DeepFMError

MOST_SIBLINGS = 60
"""A comparison or study with more runs is not listed in the sidebar."""


def choose_runs() -> None:
    """Draw the choice of the current and the compared run; all pages share it, and the URL keeps it."""
    names = run_names()
    for key in (RUN, COMPARED):  # a link may name a run of another visitor
        linked = links.chosen(key)
        if linked and linked not in names:
            try:
                run = open_run(linked)
                names[linked] = run.name if run.mine else f"{run.name} · shared"
            except DeepFMError as error:
                st.warning(plain(f"{error} Showing the sample run instead." if key == RUN else str(error)))
                links.choose(key, None)
    names |= {run_id: name for run_id, name in _siblings(current_id()).items() if run_id not in names}
    with st.sidebar:
        kept = links.mirror(RUN, list(names), BUNDLED_ID)
        st.selectbox("Run", list(names), format_func=names.__getitem__, **kept)
        others = [run_id for run_id in names if run_id != current_id()]
        if links.chosen(COMPARED) not in others:
            links.choose(COMPARED, None)
        kept = links.mirror(COMPARED, others, "")
        st.selectbox(
            "Compare with",
            ["", *others],
            format_func=lambda run_id: names.get(run_id, "no other run"),
            **kept,
        )


def _siblings(run_id: str) -> dict[str, str]:
    """Name the finished runs of a run's comparison by id, since one wants to compare it with them."""
    row = open_run(run_id).row
    if row is None or row.comparison is None:
        return {}
    runs = store().comparisons.runs(row.comparison)
    return {row.id: row.name for row in runs if row.ended_well} if len(runs) <= MOST_SIBLINGS else {}
