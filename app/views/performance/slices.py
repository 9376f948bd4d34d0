"""Slices: calibration, AUC or logloss at each level of a field."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.performance import goes_on, slices
from app.shared import predictions
from app.state import links
from app.state.saved_runs import OpenRun
from app.widgets.columns import SLICES
from app.widgets.figure import figure
from app.widgets.layout import side_by_side
from app.widgets.text import code, plain
from deepfm_core.errors import DeepFMError
from deepfm_core.metrics.scores import Metrics, level_rows, slice_metrics
from deepfm_core.schema.schema import FieldRole

RATIO, AUC, LOGLOSS = "Predicted ÷ observed rate", "AUC", "Logloss"
MEASURES = {
    RATIO: ("calibration_ratio", "calibration", "predicted ÷ observed positive rate"),
    AUC: ("auc", "auc", "AUC"),
    LOGLOSS: ("logloss", "logloss", "logloss (nats)"),
}
FEWEST_CLICKS = 5
"""A slice of fewer clicks is never named as the worst, since its interval is only an approximation."""


@st.fragment
def slice_section(run: OpenRun, part: str, rows: pd.DataFrame, metrics: Metrics) -> None:
    """Draw the section; as a fragment, only it runs again when the field changes."""
    st.header("Slices", anchor=False, divider="gray")
    roles = [role for role in run.spec.schema.roles if role.column != run.spec.schema.label.column]
    left, right = side_by_side(2)
    names = [role.column for role in roles]
    used = [role.column for role in roles if role.kind.is_used]
    field = left.selectbox("By field", names, **links.mirror("slice", names, (used or names)[0]))
    measure = right.segmented_control(
        "Measure", list(MEASURES), required=True, **links.mirror("measure", list(MEASURES), RATIO)
    )
    role = roles[names.index(field)]
    try:
        predictions.require_table(run)
        sliced = sliced_metrics(run.id, part, role, rows, run)
    except DeepFMError as error:
        st.info(plain(str(error)))
        return
    _show(sliced, role, measure or RATIO, metrics)


@st.cache_data(max_entries=64, show_spinner=False)
def sliced_metrics(run_id: str, part: str, role: FieldRole, _rows: pd.DataFrame, _run: OpenRun) -> pd.DataFrame:
    """Evaluate a finished run's predictions at each level of a field."""
    cells = predictions.table_of(_run, part).frame[role.column].take(_rows["row"].to_numpy())
    return slice_metrics(_rows["label"].to_numpy(), _rows["logit"].to_numpy(), level_rows(cells, role))


def _show(sliced: pd.DataFrame, role: FieldRole, measure: str, metrics: Metrics) -> None:
    name, stem, title = MEASURES[measure]
    table = sliced[["level", "rows", "clicks", name, f"{stem}_low", f"{stem}_high"]].rename(
        columns={f"{stem}_low": "low", f"{stem}_high": "high"}
    )
    overall: float | None = getattr(metrics, name)
    drawn = table.dropna(subset=[name])
    left_out = len(table) - len(drawn)
    reading = (
        "One point per level, with its 95% interval; the number of rows is in brackets. Dashed: all rows. "
        + _finding(drawn, name, overall)
        + (" Arrow: the interval continues." if measure == RATIO and goes_on(drawn, name, overall) else "")
        + (f" {left_out} levels with only one outcome are in the table only." if left_out else "")
    )
    if drawn.empty:
        st.info(f"No level of {code(role.column)} has both positive and negative rows here.")
        return
    figure(
        f"{measure} by {role.column}",
        lambda: slices(drawn, value=name, title=title, overall=overall, field=role.column, ratio=measure == RATIO),
        table,
        reading,
        key="slices",
        titles=SLICES,
        file=f"slices-{role.column}",
    )


def _finding(table: pd.DataFrame, name: str, overall: float | None) -> str:
    """Say how many intervals miss the target, and how many would by chance."""
    target = 1.0 if name == "calibration_ratio" else overall
    evaluated = table[table["clicks"] >= FEWEST_CLICKS]
    if target is None or evaluated.empty:
        return ""
    off = evaluated[(evaluated["low"] > target) | (evaluated["high"] < target)]
    goal = "1" if name == "calibration_ratio" else "the line"
    if off.empty:
        return f"Every interval contains {goal}."
    worst = off.iloc[int((off[name] - target).abs().to_numpy().argmax())]
    return (
        f"{len(off)} of {len(evaluated)} intervals miss {goal}; by chance, one in 20 would. The worst is "
        f"{plain(str(worst['level']))}, with {worst[name]:.2f}."
    )
