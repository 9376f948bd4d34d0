"""Slices: which levels of all fields are furthest off, and calibration, AUC or logloss at each level of one field."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.charts.performance import goes_on, slices
from app.shared import predictions
from app.state import links
from app.state.saved_runs import OpenRun
from app.widgets.columns import SLICES
from app.widgets.figure import download, figure
from app.widgets.layout import side_by_side
from app.widgets.text import code, counted, plain
from deepfm_core._words import named, percent
from deepfm_core.errors import DeepFMError
from deepfm_core.metrics.scores import Metrics, level_rows, slice_metrics
from deepfm_core.runs.findings import ranked_slices
from deepfm_core.schema.schema import FieldRole

RATIO, AUC, LOGLOSS = "Predicted ÷ observed rate", "AUC", "Logloss"
MEASURES = {
    RATIO: ("calibration_ratio", "calibration", "predicted ÷ observed positive rate"),
    AUC: ("auc", "auc", "AUC"),
    LOGLOSS: ("logloss", "logloss", "logloss (nats)"),
}
FEWEST_CLICKS = 5
"""A slice of fewer clicks is never named as the worst, since its interval is only an approximation."""
NAMED = 3
"""Levels that are named as not counted; further ones are a number."""


RANKED = 5
"""Slices of the ranking that are shown; the CSV has all."""
FIELD = "slice"
"""Name of the field's choice in the URL."""


@st.fragment
def slice_section(run: OpenRun, part: str, rows: pd.DataFrame, metrics: Metrics) -> None:
    """Draw the section; as a fragment, only it runs again when the field changes."""
    st.header("Slices", anchor=False, divider="gray")
    try:
        predictions.require_table(run)
        ranked = all_slices(run.id, part, rows, run)
    except DeepFMError as error:
        st.info(plain(str(error)))
        return
    show_ranking(ranked, part)
    roles = [role for role in run.spec.schema.roles if role.column != run.spec.schema.label.column]
    left, right = side_by_side(2)
    names = [role.column for role in roles]
    worst = str(ranked["field"].iloc[0]) if len(ranked) else names[0]
    field = left.selectbox("By field", names, **links.mirror(FIELD, names, worst))
    measure = right.segmented_control(
        "Measure", list(MEASURES), required=True, **links.mirror("measure", list(MEASURES), RATIO)
    )
    role = roles[names.index(field)]
    _show(sliced_metrics(run.id, part, role, rows, run), role, measure or RATIO, metrics)


@st.cache_data(max_entries=16, show_spinner="Judging the slices of all fields")
def all_slices(run_id: str, part: str, _rows: pd.DataFrame, _run: OpenRun) -> pd.DataFrame:
    """Rank the levels of all fields that a finished run reads, by how far its predictions are off."""
    frame, roles = predictions.table_of(_run, part).frame, _run.spec.schema.used
    cells = {role.column: frame[role.column].take(_rows["row"].to_numpy()) for role in roles}
    return ranked_slices(_rows["label"], _rows["probability"], cells, roles)


def show_ranking(ranked: pd.DataFrame, part: str) -> None:
    """List the slices of all fields that are furthest off, each with a button that opens its field.

    Args:
        ranked: the frame of `ranked_slices`.
        part: used in the file's name.
    """
    judged = ranked[ranked["judged"]]
    if judged.empty:
        st.caption("No slice has enough positive rows to judge. Test on more rows.")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader("Furthest off, over all fields", anchor=False, width="content")
        download(ranked, f"slices-ranked-{part}", "ranked slices csv", label="All slices as CSV", subject="All slices:")
    st.caption(advice(ranked))
    with st.container(gap="xxsmall"):
        for place, row in enumerate(judged.head(RANKED).itertuples()):
            _ranked(place, row)


def _ranked(place: int, row: Any) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.button(
            plain(named(str(row.field), str(row.level))),
            key=f"slice {place}",
            icon=":material/bar_chart:",
            type="tertiary",
            on_click=links.choose,
            args=(FIELD, str(row.field)),
            help=f"Show all levels of {code(str(row.field))} below.",
        )
        st.caption(ranked_line(row) + (" Beyond chance." if row.beyond_chance else ""))


def ranked_line(row: Any) -> str:
    """Write one slice of the ranking: its rows, what is predicted, and what is observed with its interval."""
    predicted, observed, low, high = (
        percent(float(share), 1) for share in (row.predicted, row.observed, row.low, row.high)
    )
    return f"{int(row.rows):,} rows: {predicted} predicted, **{observed}** observed (95%: {low} to {high})."


def advice(ranked: pd.DataFrame) -> str:
    """Say how many slices are further off than chance explains, what to do about them, and how many are not judged."""
    judged = int(ranked["judged"].sum())
    beyond, few = int(ranked["beyond_chance"].sum()), len(ranked) - judged
    if beyond:
        which = "slices is" if beyond == 1 else "slices are"
        text = (
            f"{beyond} of {judged:,} {which} further off than chance would put the worst of so many. Do not use the "
            "probabilities of such rows as they are: check the field's role on *Data*, add rows like these or a column "
            "that sets them apart, and train again."
        )
    else:
        text = f"None of {judged:,} slices is further off than chance would put the worst of so many: nothing to mend."
    return text + (f" {few:,} more have too few rows or positive rows to judge." if few else "")


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
        + finding(drawn, name, overall)
        + (" Arrow: the interval continues." if measure == RATIO and goes_on(drawn, name, overall) else "")
        + (f" In the table only, with one outcome each: {counted(left_out, 'level')}." if left_out else "")
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


def finding(table: pd.DataFrame, name: str, overall: float | None) -> str:
    """Say how many intervals miss the target, how many would by chance, and which are not counted."""
    target = 1.0 if name == "calibration_ratio" else overall
    enough = table["clicks"] >= FEWEST_CLICKS
    evaluated, goal = table[enough], "1" if name == "calibration_ratio" else "the line"
    few = _too_few(table[~enough])
    if target is None or evaluated.empty:
        return few
    off = evaluated[(evaluated["low"] > target) | (evaluated["high"] < target)]
    if off.empty:
        every = "Every interval contains" if enough.all() else f"All {len(evaluated)} intervals that count contain"
        return f"{every} {goal}. {few}".strip()
    worst = off.iloc[int((off[name] - target).abs().to_numpy().argmax())]
    return (
        f"{len(off)} of {counted(len(evaluated), 'interval')} {'misses' if len(off) == 1 else 'miss'} {goal}; by "
        f"chance, one in 20 would. The worst is {plain(str(worst['level']))}, with {worst[name]:.2f}. {few}"
    ).strip()


def _too_few(levels: pd.DataFrame) -> str:
    """Name the levels that are drawn but not counted, with their rows; empty if there are none."""
    if levels.empty:
        return ""
    first = ", ".join(
        f"{plain(str(level))} ({counted(int(rows), 'row')}, {int(clicks)} positive)"
        for level, rows, clicks in levels[["level", "rows", "clicks"]].head(NAMED).itertuples(index=False)
    )
    more = f" and {len(levels) - NAMED} more" if len(levels) > NAMED else ""
    return f"Too few positive rows to count: {first}{more}."
