"""The page Study: the settings of one model, varied one by one, as a grid, or by a search.

Above: the form with model, factors, design, and the button.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.shared import groups, launch, run_status
from app.shared.holdout import say_unusable, table_line
from app.state import links, saved_tables, visitor
from app.state.store import store
from app.views.study.results import show_results
from app.widgets.layout import side_by_side
from app.widgets.text import MODEL_TITLES, counted, errors_shown, plain
from deepfm_core.experiments import study
from deepfm_core.experiments.study import DESIGNS, MOST_RUNS, SEARCH, StudyPlan
from deepfm_core.spec.presets import PRESETS
from deepfm_core.spec.run import MODEL_NAMES, RunSpec
from deepfm_core.spec.search_space import FACTORS, PAPER, Value, factors_of, parse_values, setting_of, written
from deepfm_core.store.groups import SETTINGS
from deepfm_core.store.records import ComparisonRow

SECONDS = 1.0
"""Seconds between two looks at an active study."""


def main() -> None:
    """Draw the page."""
    launch.follow()
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
    with above.expander("New study", icon=":material/add:", expanded=links.chosen("new") is not None), errors_shown():
        show_form()
    active = any(run.state in ("queued", "running") for run in store().comparisons.runs(row.id))
    st.fragment(_watch, run_every=SECONDS if active else None)(row, active)


def _watch(row: ComparisonRow, active: bool) -> None:
    links.depart()
    with errors_shown():
        launch.follow()
        runs = store().comparisons.runs(row.id)
        standing = groups.standing(runs)
        if active != standing.active:
            st.rerun()  # the whole page, which sets how often this is drawn
        if standing.queued and not standing.running:
            launch.keep_worker()  # a killed worker leaves the queue to a new one
        run_status.show_group(runs)
        groups.show_panel(row, runs, standing, STUDY)
        show_results(runs, StudyPlan.from_dict(row.plan), mine=groups.mine(row))


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
    unusable = say_unusable(schema)
    base = launch.base_spec(sha, schema)
    train = base.training_rows(rows)
    model, preset = _choose_model()
    start = StudyPlan({"l2": (1e-5,)}, model, preset).start(base, train)
    factors = _choose_factors(model, start)
    plan = _choose_design(factors, model, preset)
    runs = plan.runs(base, train)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Study", type="primary", icon=":material/play_arrow:", disabled=unusable):
            title = f"{MODEL_TITLES[model]} on {base.table_name}"
            saved_tables.require_for(base)
            opened = study.begin(store(), base, train, plan, owner=visitor.owner(), name=title)
            launch.keep_worker()
            links.go("study", **{STUDY: opened, "new": None})
        st.caption(f"{counted(len(runs), 'run')}, one after the other, in the background. All use the same rows.")


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


main()
