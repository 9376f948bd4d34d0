"""The run that a results page shows, or what to do if it has no results yet."""

from __future__ import annotations

from typing import NoReturn

import pandas as pd
import streamlit as st

from app.state import links, saved_runs
from app.state.saved_runs import OpenRun
from app.widgets.messages import baseline_sentence
from app.widgets.text import code, plain
from deepfm_core.spec.run import BASELINE

WAITING = {
    "queued": "is waiting for a worker. Its results appear here when it is done.",
    "running": "is still training. Its results appear here when it is done; *Train* shows it live.",
    "lost": "stopped before it finished, since its worker is gone. Resume it on *Train*.",
    "cancelled": "was cancelled before it finished. Resume it on *Train*, or choose another run.",
    "failed": "failed, so there is nothing to show.",
}
"""Why a run has no results yet, by its state; each follows its name."""


def finished_run() -> OpenRun:
    """Open the current run; if it has no results yet, say why, link to Train and end the page."""
    run = saved_runs.current_run()
    if not run.ready:
        _wait_for(run)
    return run


def _wait_for(run: OpenRun) -> NoReturn:
    message = plain((run.row.message if run.row else None) or "")
    how = WAITING.get(run.state, "is not finished.")
    st.info(f"Run {code(run.name)} {how} {message}", icon=":material/hourglass_top:")
    _link_to_train("Watch it live" if run.active else "Open Train")
    st.stop()


def compared_run(run: OpenRun) -> OpenRun | None:
    """Open the run to compare with; None if there is none, or, with a message, if it is not finished."""
    other = saved_runs.compared_run()
    if other is None or other.id == run.id:
        return None
    if not other.ready:
        st.info(f"The compared run {code(other.name)} is not finished, so it is left out.")
        return None
    return other


def frame(run: OpenRun, name: str, what: str) -> pd.DataFrame:
    """Read a frame of a finished run; if it is missing or empty, say so and end the page."""
    found = saved_runs.frame(run, name)
    if (found is None or found.empty) and run.spec.model.name == BASELINE:
        st.info(baseline_sentence(run.name))
        if st.button("How good is it", icon=":material/monitoring:"):
            links.go("performance")
        st.stop()
    if found is None or found.empty:
        st.info(f"Run {code(run.name)} has no {what}. Train it again, or choose another run.")
        _link_to_train("Open Train")
        st.stop()
    return found


def _link_to_train(label: str) -> None:
    if st.button(label, icon=":material/model_training:"):
        links.go("train")
