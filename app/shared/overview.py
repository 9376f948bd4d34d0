"""A run's pairs at a glance: the field matrix and the strongest pairs, for pages without a choice of pair."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.interactions.matrix import field_matrix
from app.charts.interactions.ranking import strongest_pairs
from app.shared.pair_selection import has_evidence, measures
from app.state import saved_runs
from app.state.saved_runs import OpenRun
from app.widgets.figure import show_chart

SHOWN = 10


def show_matrix(run: OpenRun) -> None:
    """Draw the field matrix of a run; if it is not finished, its FM pairs after the last epoch."""
    pairs, fields = saved_runs.frame(run, "pairs"), saved_runs.frame(run, "fields")
    if run.ready and pairs is not None and fields is not None and measures(pairs):
        st.markdown("**Field matrix**")
        upper = measures(pairs)[0]
        reading = "Strength of each pair in log-odds. Gold, on the diagonal: main effects of the fields."
        if fields["within"].notna().any():
            reading += " Corner of a gold cell: pairs of values within that field."
        if has_evidence(pairs):
            reading += " Hollow: not clear above noise."
        show_chart(lambda: field_matrix(pairs, fields, upper=upper), (run.id, run.state), reading, key="matrix")
        return
    by_epoch = saved_runs.frame(run, "pairs_by_epoch")
    if by_epoch is None or by_epoch.empty:
        return
    epoch = int(by_epoch["epoch"].max())
    now = by_epoch[by_epoch["epoch"] == epoch]
    st.markdown("**Field matrix**")
    show_chart(
        lambda: field_matrix(now, _bare(now), upper="learned_fm", live=True),
        (run.id, run.state, epoch),
        f"Strength of the FM pairs after epoch {epoch}, in log-odds.",
        key="matrix",
    )


def _bare(pairs: pd.DataFrame) -> pd.DataFrame:
    """Give the frame of fields that the matrix needs; main effects are unknown before the run ends."""
    names = list(dict.fromkeys([*pairs["field_a"], *pairs["field_b"]]))
    unknown = float("nan")
    return pd.DataFrame({"field": names, "order": range(len(names)), "main_effect": unknown, "within": unknown})


def show_strongest(run: OpenRun) -> None:
    """Draw the strongest pairs of a finished run."""
    pairs = saved_runs.frame(run, "pairs")
    if pairs is None or not measures(pairs):
        return
    rank_by = measures(pairs)[0]
    st.markdown("**Strongest pairs**")
    reading = (
        "Strength in log-odds: the standard deviation over rows of what the pair adds beyond its two fields alone."
    )
    if has_evidence(pairs):
        reading += " Hollow: not clear above noise. Band: 90% interval from the data."
    show_chart(
        lambda: strongest_pairs(pairs, top=SHOWN, rank_by=rank_by), (run.id, run.state), reading, key="strongest"
    )
