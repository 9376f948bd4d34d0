"""Results of a study: the best setting, one chart per factor, all settings on parallel axes, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.study import MEASURES, Axis, axis_shares, brushed_settings, factor_line, setting_lines
from app.shared import groups, launch
from app.state import links
from app.state.links import selected
from app.widgets.columns import configured
from app.widgets.figure import download, figure, show_chart
from app.widgets.layout import heading_for_readers, side_by_side, sideways_hint
from app.widgets.text import guide_alone, plain
from deepfm_core._words import signed
from deepfm_core.experiments.study import ONE, SEARCH, StudyPlan, factor_lines, in_order, trial_table, untried
from deepfm_core.spec.search_space import FACTORS, Value, written
from deepfm_core.store.records import RunRow

_SHORT_MEASURES = {
    "valid_logloss": "valid. logloss",
    "valid_auc": "valid. AUC",
    "test_logloss": "test logloss",
    "test_auc": "test AUC",
}
BRUSH, POINT = "brush", "trial"
SEVERAL = "several_axes"
"""Name, in the URL, of the choice to brush several axes."""
MOST_VALUES = 12
"""Up to this many values of a factor, each has its own place on its axis; with more, the axis is a scale."""


def show_results(runs: Sequence[RunRow], plan: StudyPlan, *, mine: bool) -> None:
    """Draw the results of the finished runs of a study; only its owner has the table to train on."""
    table = groups.study_table(runs, plan)
    if table.empty:
        st.info("Results appear here as soon as the first run has finished.", icon=":material/hourglass_top:")
        return
    heading_for_readers("Results")
    trials = trial_table(table, plan)
    _best(runs, table, trials, plan, mine)
    there = [name for name in MEASURES if table[name].notna().any()]
    kept = links.mirror("measure", there, there[0])
    measure = st.segmented_control(
        "Measure", there, format_func=lambda name: MEASURES[name].split(" (")[0], required=True, **kept
    )
    _lines(table, plan, measure, untried(runs, plan))
    shown = _parallel(trials, plan, measure)
    _trials(runs, shown, len(trials), plan, mine)


def _best(runs: Sequence[RunRow], table: pd.DataFrame, trials: pd.DataFrame, plan: StudyPlan, mine: bool) -> None:
    best = trials.iloc[0]
    number = int(best["trial"])
    setting = _written(best, plan)
    ended = [run for run in runs if run.ended_well]
    if len(ended) > 1 and all(guide_alone(run.summary) for run in ended):
        text = (
            f"So far all {len(ended)} runs end with the same model: each kept its guide alone, since no epoch did "
            "clearly better. These settings do not matter on this table."
        )
    elif number == 0:
        text = f"The start, **{setting}**, has the best validation logloss so far: {best['valid_logloss']:.4f} nats."
    else:
        text = (
            f"Best by validation logloss, {best['valid_logloss']:.4f} nats: **{setting}**."
            f"{_on_test(runs, table, best, number)}"
        )
    st.markdown(text)
    if not mine:
        return
    chosen = next(run for run in runs if run.trial == number and run.ended_well)
    st.button(
        "Use these settings in Train",
        icon=":material/model_training:",
        type="primary",
        key="take over best",
        on_click=launch.ask,
        args=(chosen.id,),
    )


def _on_test(runs: Sequence[RunRow], table: pd.DataFrame, best: pd.Series, number: int) -> str:
    """Compare the chosen setting with the start on test rows, which did not choose it."""
    found = groups.against_start(runs, table, number)
    if found is None:
        return ""
    noise = "more than noise" if found.significant else "no more than noise"
    return (
        f" On test rows, which did not choose it, the logloss is {best['test_logloss']:.4f}. Difference to the start: "
        f"{signed(found.value, 4)} (95%: {signed(found.low, 4)} to {signed(found.high, 4)}), {noise}."
    )


def _written(trial: pd.Series, plan: StudyPlan) -> str:
    return ", ".join(f"{FACTORS[name].title} {plain(_short(trial[name]))}" for name in plan.factors)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else written(value)


def _lines(table: pd.DataFrame, plan: StudyPlan, measure: str, left_out: Mapping[str, Sequence[Value]]) -> None:
    lines = factor_lines(table, plan, measure)
    many = lines["seed"].nunique() > 1
    cells = side_by_side(len(plan.factors), least=280)
    reading = (
        "Other settings stay at their defaults."
        if plan.design == ONE
        else "Mean over the values of the other settings."
    )
    reading = "Each point is a run." if plan.design == SEARCH else reading
    reading += " Thin: one seed. Thick: median over seeds." if many and plan.design != SEARCH else ""
    ends = float(lines["measure"].min()), float(lines["measure"].max())
    for place, name in enumerate(plan.factors):
        rows = lines[lines["factor"] == name]
        scaled = plan.design == SEARCH and FACTORS[name].kind != "choice"
        order = [] if scaled else [_short(value) for value in in_order(name, list(rows["value"]))]
        axis = Axis(FACTORS[name].title, order, log=scaled and _by_magnitude(name, rows["value"]))
        drawn = rows.assign(value=rows["value"].astype(float) if scaled else rows["value"].map(_short))
        same = ", ".join(map(_short, left_out[name]))
        with cells[place]:
            show_chart(
                lambda drawn=drawn, axis=axis: factor_line(  # type: ignore[misc]
                    drawn, axis, measure=measure, joined=plan.design != SEARCH, ends=ends
                ),
                (measure, len(table), tuple(table["run"])),
                f"{reading} Not run, since another value gives the same DNN: {same}." if same else reading,
                key=f"factor {name}",
            )


def _parallel(trials: pd.DataFrame, plan: StudyPlan, measure: str) -> pd.DataFrame:
    """Draw all settings on parallel axes; return the selected ones, or all."""
    drawn = trials.dropna(subset=[measure])
    if len(drawn) < 2:
        return trials
    axes = _axes(drawn, plan)
    if st.toggle(
        "Brush several axes at once",
        help="Loads a chart whose axes can each be brushed, and dragged to another place.",
        **links.mirror_flag(SEVERAL, False),
    ):
        _brushed(drawn, axes, measure)
        return trials
    key = f"settings {measure}"
    chosen = _selected(drawn, axes, measure, key)
    figure(
        "All settings",
        lambda: setting_lines(drawn, axes, measure, brush=BRUSH, point=POINT, chosen=list(chosen["trial"])),
        drawn,
        "A line is a setting: the stronger its colour, the better. Drag along an axis, or click a point, to list only "
        "these settings below.",
        key="settings",
        chart_key=key,
        file="settings",
        titles={},
        on_select=lambda: None,
        selections=[BRUSH, POINT],
    )
    return chosen if len(chosen) else trials


def _brushed(trials: pd.DataFrame, axes: Mapping[str, Axis], measure: str) -> None:
    """Draw all settings with Plotly, which is large: so it is loaded here alone."""
    st.subheader("All settings", anchor=False)
    figure_of_all = brushed_settings(trials, axes, measure, dark=st.context.theme.type == "dark")
    alt = f"{len(trials)} settings across {len(axes)} factors, by {MEASURES[measure]}"
    st.plotly_chart(figure_of_all, key=f"brushed {measure}", alt=alt, config={"displayModeBar": False})
    st.caption(
        "A line is a setting: the stronger its colour, the better. Drag along an axis to keep the lines that pass "
        "there, on as many axes as you like; click the mark to let it go. Drag an axis by its name to move it."
    )


def _by_magnitude(name: str, values: pd.Series) -> bool:
    """Say whether the numbers of a factor are on a logarithmic axis, as a search samples them."""
    return FACTORS[name].log and float(values.astype(float).min()) > 0


def _axes(trials: pd.DataFrame, plan: StudyPlan) -> dict[str, Axis]:
    axes: dict[str, Axis] = {}
    for name in plan.factors:
        order = in_order(name, list(trials[name]))
        choice = FACTORS[name].kind == "choice"
        laid_out = choice or (plan.design != SEARCH and len(order) <= MOST_VALUES)
        log = not laid_out and _by_magnitude(name, trials[name])
        axes[name] = Axis(FACTORS[name].title, order if laid_out else (), log)
    return axes


def _selected(trials: pd.DataFrame, axes: dict[str, Axis], measure: str, key: str) -> pd.DataFrame:
    """Give the settings inside the selected area, or the one clicked; an empty frame if nothing is selected."""
    picked = selected(key)
    points = picked.get(POINT)
    if isinstance(points, list) and points:
        return trials[trials["trial"].isin([int(point["trial"]) for point in points if "trial" in point])]
    area = picked.get(BRUSH) or {}
    if not {"axis", "share"} <= set(area):
        return trials.head(0)
    low, high = sorted(area["share"])[0], sorted(area["share"])[-1]
    shares = axis_shares(trials, axes, measure)
    inside = shares["axis"].isin(area["axis"]) & shares["share"].between(low, high)
    counted = shares[inside].groupby("trial").size()
    return trials[trials["trial"].map(counted).fillna(0).to_numpy() >= max(len(np.unique(area["axis"])), 1)]


def _trials(runs: Sequence[RunRow], trials: pd.DataFrame, all_of_them: int, plan: StudyPlan, mine: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        head = "Settings" if len(trials) == all_of_them else f"{len(trials)} of {all_of_them} settings"
        st.subheader(head, anchor=False, width="content")
        download(trials, "settings", "settings csv")
    columns = [*plan.factors, "runs", *(name for name in MEASURES if trials[name].notna().any())]
    columns += [f"{name}_sd" for name in ("valid_logloss",) if int(trials["runs"].max()) > 1]
    shown = trials[[*columns, "parameters", "seconds"]]
    titles = {name: (_SHORT_MEASURES[name], "%.4f") for name in MEASURES}
    titles |= {"valid_logloss_sd": ("sd over seeds", "%.4f"), "seconds": ("seconds", "%.1f")}
    titles |= {name: (FACTORS[name].title, "%.3g" if FACTORS[name].kind == "number" else "") for name in plan.factors}
    event = st.dataframe(
        shown,
        key=f"settings {len(trials)} {int(trials['trial'].iloc[0])}",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        column_config=configured(shown, titles),
        alt="Settings with their metrics",
    )
    sideways_hint("The table", wide=True)
    st.caption("Logloss in nats, as means over seeds. Seconds are training time.")
    places = event["selection"]["rows"]
    if not places or places[0] >= len(trials):
        also = " or to use it in Train" if mine else ""
        st.caption(f"Tick a setting in the first column to open its run{also}.")
        return
    number = int(trials["trial"].iloc[places[0]])
    run = next(run for run in runs if run.trial == number and run.ended_well)
    with st.container(horizontal=True):
        if mine:
            ask = launch.ask
            st.button("Use this setting in Train", icon=":material/model_training:", on_click=ask, args=(run.id,))
        st.button(
            "How good is it",
            icon=":material/monitoring:",
            on_click=links.leave,
            args=("performance",),
            kwargs={"run": run.id},
        )
