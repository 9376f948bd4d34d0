"""The cached doors into the core: the store, tables, the chosen run, its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.state import links
from app.state.saved_runs import BUNDLED_ID, COMPARED, RUN, current_id, open_run, run_names
from app.state.store import store
from app.widgets.text import plain
from deepfm_core.errors import DeepFMError

if TYPE_CHECKING:
    pass
MOST_SIBLINGS = 60
"""Runs of a comparison beyond which they are not listed in the sidebar."""


def choose_runs() -> None:
    """Draw the choice of the current and the compared run, which all pages share and the URL keeps."""
    names = run_names()
    for key in (RUN, COMPARED):  # a shared link may name a run of somebody else
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
    """Name the other runs of a run's comparison, which one wants to set beside it."""
    row = open_run(run_id).row
    if row is None or row.comparison is None:
        return {}
    runs = store().comparisons.runs(row.comparison)
    return {row.id: row.name for row in runs if row.ended_well} if len(runs) <= MOST_SIBLINGS else {}
