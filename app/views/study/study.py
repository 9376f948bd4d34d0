"""The page Study: the settings of one model, varied one by one, as a grid, or by a search.

Above: the form with model, factors, design, and the button. Below: the best setting, one chart per factor, all settings
on parallel axes, and their table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.study import MEASURES, Axis, axis_shares, brushed_settings, factor_line, setting_lines
from app.shared import datasets, groups, launch, run_status
from app.shared.holdout import say_unusable, table_line
from app.state import links, saved_runs, saved_tables, visitor
from app.state.links import selected
from app.state.store import store
from app.widgets.columns import configured
from app.widgets.figure import download, figure, show_chart
from app.widgets.layout import heading_for_readers, side_by_side, sideways_hint
from app.widgets.text import MODEL_TITLES, errors_shown, guide_alone, plain
from deepfm_core._words import signed
from deepfm_core.experiments import study
from deepfm_core.experiments.study import (
    DESIGNS,
    MOST_RUNS,
    ONE,
    SEARCH,
    StudyPlan,
    factor_lines,
    in_order,
    trial_table,
    untried,
)
from deepfm_core.spec.presets import PRESETS
from deepfm_core.spec.run import MODEL_NAMES, RunSpec
from deepfm_core.spec.search_space import FACTORS, PAPER, Value, factors_of, parse_values, setting_of, written
from deepfm_core.store.groups import SETTINGS
from deepfm_core.store.records import ComparisonRow, RunRow

SECONDS = 1.0
"""Seconds between two looks at an active study."""


def main() -> None:
    """Draw the page."""
    launch.take_over()
    st.title("Study settings", anchor=False)
    groups.show_undo(STUDY)
    above = st.container()
    row = groups.choose(SETTINGS, STUDY, "Study")
    if row is None:
        above.markdown(
            "Which settings suit your rows? The DeepFM paper varies five settings of the DNN, one by one. Do the same "
            "on your own rows, or let a search look for the best combination."
        )
        with above, errors_shown():
            show_form()
        return
    key = f"new study beside {row.id}"  # keeps it open while runs end, and closes it once its study has started
    opened = links.chosen("new") is not None
    with above.expander("New study", icon=":material/add:", expanded=opened, key=key), errors_shown():
        show_form()
    active = any(run.state in ("queued", "running") for run in store().comparisons.runs(row.id))
    st.fragment(_watch, run_every=SECONDS if active else None)(row, active)


def _watch(row: ComparisonRow, active: bool) -> None:
    links.depart()
    with errors_shown():
        launch.take_over()
        runs = store().comparisons.runs(row.id)
        standing = groups.standing(runs)
        if active != standing.active:
            st.rerun()  # the whole page, which sets how often this is drawn
        if standing.queued and not standing.running:
            launch.keep_worker()  # a killed worker leaves the queue to a new one
        run_status.show_group(runs)
        groups.show_panel(row, runs, standing, STUDY)
        show_results(runs, row.planned(StudyPlan.from_dict), mine=groups.mine(row))


STUDY = "study"
"""Name of the choice that holds the id of the study shown."""
DESIGN_TITLES = {"one": "One by one", "grid": "Grid", "search": "Search"}
DESIGN_HELP = {
    "one": "One factor at a time, while the others stay at their start, as in the DeepFM paper.",
    "grid": "Every combination of the values.",
    "search": "Optuna proposes each setting from the validation loglosses so far, within the range of your values.",
}
_FACTORS, _VALUES, _DESIGN, _TRIALS, _SEEDS = "factors", "values", "design", "trials", "seeds"


def show_form() -> None:
    """Draw the form; its button queues the study and opens it.

    Raises:
        DeepFMError: the table cannot be learned from, or a value is out of range.
    """
    sha, schema, rows = table_line()
    datasets.say_sample(sha, alone=True)
    unusable = say_unusable(schema)
    base = launch.base_spec(sha, schema)
    train = base.training_rows(rows)
    model, preset = _choose_model()
    guided = launch.choose_guided(preset, model)
    start = StudyPlan({"l2": (1e-5,)}, model, preset, guided=guided).start(base, train)
    factors = _choose_factors(model, start)
    plan = replace(_choose_design(factors, model, preset), guided=guided)
    runs = plan.runs(base, train)
    _say_guided(start, factors)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Study", type="primary", icon=":material/play_arrow:", disabled=unusable):
            title = f"{MODEL_TITLES[model]} on {base.table_name}"
            saved_tables.require_for(base)
            opened = study.begin(store(), base, train, plan, owner=visitor.owner(), name=title)
            launch.keep_worker()
            links.go("study", **{STUDY: opened, "new": None})
        groups.say_length([run.spec for run in runs])


def _choose_model() -> tuple[str, str]:
    left, right = side_by_side(2, least=260)
    with left:
        names = list(reversed(MODEL_NAMES))
        kept = links.mirror("model", names, "deepfm")
        model = st.selectbox("Model", names, format_func=MODEL_TITLES.__getitem__, **kept)
    with right:
        kept = links.mirror("preset", list(PRESETS), "recommended")
        help_text = "The settings of the first trial, and of everything that is not varied."
        label = "Start from the settings"
        preset = st.segmented_control(
            label, list(PRESETS), format_func=str.capitalize, required=True, help=help_text, **kept
        )
    return model, preset


HOW_TO_STUDY = "Switch *Guided by the evidence* off to study them."


def _say_guided(start: RunSpec, factors: Mapping[str, Sequence[Value]]) -> None:
    """Warn of a study of the DNN alone where the table's newest run kept its guide: all its runs may end the same.

    Args:
        start: the spec of the first trial.
        factors: what is varied.
    """
    if not start.model.has_guide or not _of_dnn(factors):
        return
    for row in saved_runs.runs(together=True):
        spec, same = row.spec, groups.same_question(row.spec, start)
        if same and row.ended_well and spec.model.has_guide and spec.model.deep:
            if guide_alone(row.summary):
                st.warning(
                    f"The newest such run on this table, {plain(row.name)}, kept its guide alone: its DNN never came "
                    f"into play. All runs of a study of the DNN's settings may end the same. {HOW_TO_STUDY}"
                )
            return


def _of_dnn(factors: Iterable[str]) -> bool:
    """Say whether all factors are settings of the DNN, which FM does not have."""
    return set(factors).isdisjoint(factors_of("fm"))


def _choose_factors(model: str, start: RunSpec) -> dict[str, tuple[Value, ...]]:
    known = factors_of(model)
    default = [name for name in PAPER if name in known] or list(known[:1])
    named = [name for name in (links.chosen(_FACTORS) or "").split(",") if name in known] or default
    key = f"factors of {model}"
    st.session_state[key] = named

    def keep() -> None:
        picked = [name for name in known if name in st.session_state[key]]
        links.choose(_FACTORS, None if picked in ([], default) else ",".join(picked))

    st.pills(
        "Factors",
        list(known),
        selection_mode="multi",
        format_func=lambda name: FACTORS[name].title,
        key=key,
        on_change=keep,
        help="What to vary. The first five are those of the paper's study.",
    )
    cells = side_by_side(len(named), least=240)
    own, found = setting_of(start), {}
    for place, name in enumerate(named):
        with cells[place]:
            found[name] = _values_of(name, own[name])
    return found


def _values_of(name: str, own: Value) -> tuple[Value, ...]:
    """Draw the field for a factor's values. The URL keeps them if they differ from the usual ones."""
    factor, key = FACTORS[name], f"values of {name}"
    usual = ", ".join(written(value) for value in factor.values)
    st.session_state[key] = str(links.chosen_values(_VALUES).get(name, usual))

    def keep() -> None:
        values: dict[str, Any] = links.chosen_values(_VALUES)
        values.pop(name, None)
        if st.session_state[key].strip() not in ("", usual):
            values[name] = st.session_state[key]
        links.choose_values(_VALUES, values)

    label = f"{factor.title[0].upper()}{factor.title[1:]}, starting at {written(own)}"
    text = st.text_input(label, key=key, on_change=keep, help=f"{factor.help} Separate values by commas.")
    return parse_values(name, text)


def _choose_design(factors: dict[str, tuple[Value, ...]], model: str, preset: str) -> StudyPlan:
    design, seeds, trials = side_by_side(3, least=260)
    with design:
        kept = links.mirror(_DESIGN, list(DESIGNS), "one")
        chosen = st.segmented_control(
            "How to vary them", list(DESIGNS), format_func=DESIGN_TITLES.__getitem__, required=True, **kept
        )
        st.caption(plain(DESIGN_HELP[chosen]))
    with seeds:
        help_text = "Runs of each setting, on the same rows."
        count = int(st.number_input("Seeds", 1, 20, help=help_text, **links.mirror_number(_SEEDS, 1, 20)))
    asked = StudyPlan.trials
    if chosen == SEARCH:
        with trials:
            kept = links.mirror_number(_TRIALS, StudyPlan.trials, MOST_RUNS)
            help_text = "How many settings to try, the start included."
            asked = int(st.number_input("Trials", 2, MOST_RUNS, help=help_text, **kept))
    return StudyPlan(factors, model, preset, chosen, asked, count)


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
            f"clearly better. {'The DNN’s' if _of_dnn(plan.factors) else 'These'} settings never came into play. "
            f"{HOW_TO_STUDY}"
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
        on_click=launch.ask_to_take_over,
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
            ask = launch.ask_to_take_over
            st.button("Use this setting in Train", icon=":material/model_training:", on_click=ask, args=(run.id,))
        st.button(
            "How good is it",
            icon=":material/monitoring:",
            on_click=links.leave,
            args=("performance",),
            kwargs={"run": run.id},
        )


main()
