"""The component ladder: what each part of a run's logit adds, against models trained with that part alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app.charts.performance import component_ladder
from app.shared import predictions
from app.state import saved_runs, sharing
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.widgets.columns import LADDER
from app.widgets.figure import figure
from app.widgets.layout import side_by_side
from app.widgets.text import MODEL_TITLES
from deepfm_core._words import signed
from deepfm_core.metrics.bootstrap import ladder

ALONE = ("lr", "fm", "dnn")
"""Models that are trained with a single part of the ladder."""


def ladder_section(run: OpenRun, part: str) -> None:
    """Draw the section, for runs whose logit has several parts and on the rows that have partial sums."""
    sums = saved_runs.frame(run, "partial_sums")
    if sums is None or not (sums["part"] == part).any():
        return
    rungs = _rungs(run.id, part, tuple(row.id for row in _alone(run)), run)
    name = MODEL_TITLES[run.spec.model.name]
    st.header("Component ladder", anchor=False, divider="gray")
    st.markdown(_sentence(rungs, name))
    left, right = side_by_side(2, least=400, gap="large")
    for cell, metric, title in ((left, "logloss", "Logloss by part"), (right, "auc", "AUC by part")):
        if rungs[metric].notna().any():
            with cell:
                _figure(rungs, metric, title, name)
    if not (rungs["model"] != "").any():
        st.caption("Compare this model with LR, FM and DNN on *Compare* to see them here, next to its parts.")


def _alone(run: OpenRun) -> list[OpenRun]:
    """Find the finished runs of the same comparison and seed that have one part only."""
    row = run.row
    if row is None or row.comparison is None:
        return []
    return [
        saved_runs.open_run(other.id)
        for other in store().comparisons.runs(row.comparison)
        if other.ended_well
        and sharing.may_see_run(other)
        and other.spec.model.name in ALONE
        and other.spec.seed == run.spec.seed
    ]


@st.cache_data(max_entries=64, show_spinner=False)
def _rungs(run_id: str, part: str, alone: tuple[str, ...], _run: OpenRun) -> pd.DataFrame:
    sums = saved_runs.frame(_run, "partial_sums")
    assert sums is not None
    logits: dict[str, NDArray[np.floating]] = {}
    for other in map(saved_runs.open_run, alone):
        rows = predictions.predictions(other, part)
        if rows is not None and predictions.same_rows(_run, other, part):
            logits[other.spec.model.name] = rows["logit"].to_numpy()
    rungs = ladder(sums[sums["part"] == part], logits)
    return rungs.assign(title=rungs["model"].map(MODEL_TITLES).fillna(""))


def _sentence(rungs: pd.DataFrame, name: str) -> str:
    own = rungs[rungs["model"] == ""].reset_index(drop=True)
    steps = [
        f"**{rung}** {signed(step, 4)} (95%: {signed(low, 4)} to {signed(high, 4)})"
        for rung, step, low, high in own.loc[1:, ["rung", "step", "step_low", "step_high"]].to_numpy()
    ]
    return (
        f"{name}'s logit is a sum. With {own['rung'][0]} alone, the logloss is {own['logloss'][0]:.4f} nats. The other "
        f"parts change it by: {'; '.join(steps)}. Intervals are of these differences, on the same rows."
    )


def _figure(rungs: pd.DataFrame, metric: str, title: str, name: str) -> None:
    better = "lower" if metric == "logloss" else "higher"
    reading = f"From top to bottom, the parts of one trained logit are added; {better} is better. Bar: 95% interval."
    if metric == "logloss":
        reading += " A partial sum was not trained to be used alone, so its mean may be off, which raises its logloss."
    else:
        reading += " AUC does not depend on the mean."
    table = rungs[["rung", "title", metric, f"{metric}_low", f"{metric}_high"]].rename(
        columns={"title": "trained alone"}
    )
    chart = component_ladder(rungs, metric, name)
    figure(title, lambda: chart, table, reading, key=f"ladder {metric}", file=f"ladder-{metric}", titles=LADDER)
