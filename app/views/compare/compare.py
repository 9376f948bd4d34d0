"""The page Compare: the models of the paper on the visitor's own rows, in one table with intervals.

Above: the form with models, seeds, settings, baseline, and the button.
"""

from __future__ import annotations

import streamlit as st

from app.shared import datasets, groups, launch, run_status
from app.shared.holdout import say_unusable, table_line
from app.state import links, saved_tables, visitor
from app.state.store import store
from app.views.compare.results import show_results
from app.widgets.layout import side_by_side
from app.widgets.text import MODEL_TITLES, errors_shown
from deepfm_core.experiments import comparison as experiments_comparison
from deepfm_core.experiments.comparison import COMPARED, MOST_SEEDS, ComparisonPlan
from deepfm_core.spec.models import MODELS as SWITCHES
from deepfm_core.spec.presets import PRESETS
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.settings import setting_named
from deepfm_core.store.groups import MODELS
from deepfm_core.store.records import ComparisonRow

SECONDS = 1.0
"""Seconds between two looks at an active comparison."""


def main() -> None:
    """Draw the page."""
    st.title("Compare models", anchor=False)
    groups.show_undo(COMPARISON)
    above = st.container()
    row = groups.choose(MODELS, COMPARISON, "Comparison")
    if row is None:
        above.markdown(
            "The DeepFM paper compares its models in one table, by AUC and logloss on the same split. Make that table "
            "from your own rows. Every model is trained on the same rows with the same stopping rule; LR is solved. "
            "The table says which differences are no more than noise."
        )
        with above, errors_shown():
            show_form()
        return
    key = f"new comparison beside {row.id}"  # keeps it open while runs end, and closes it once its runs have started
    opened = links.chosen("new") is not None
    with above.expander("New comparison", icon=":material/add:", expanded=opened, key=key), errors_shown():
        show_form()
    active = any(run.state in ("queued", "running") for run in store().comparisons.runs(row.id))
    st.fragment(_watch, run_every=SECONDS if active else None)(row, active)


def _watch(row: ComparisonRow, active: bool) -> None:
    links.depart()
    with errors_shown():
        runs = store().comparisons.runs(row.id)
        standing = groups.standing(runs)
        if active != standing.active:
            st.rerun()  # the whole page, which sets how often this is drawn
        if standing.queued and not standing.running:
            launch.keep_worker()  # a killed worker leaves the queue to a new one
        run_status.show_group(runs)
        groups.show_panel(row, runs, standing, COMPARISON)
        show_results(runs)


COMPARISON = "comparison"
"""Name of the choice that holds the id of the comparison shown."""
_MODELS, _SEEDS, _PRESET, _BASELINE, _CROSSES = "models", "seeds", "preset", "baseline", "crosses"
"""Names of choices in the URL."""
NO_MODEL = "none"
"""In the URL: no model is chosen, so far."""


def show_form() -> None:
    """Draw the form; its button queues the comparison and opens it.

    Raises:
        DeepFMError: the table cannot be learned from, or a setting is out of range.
    """
    sha, schema, rows = table_line()
    datasets.say_sample(sha, alone=True)
    unusable = say_unusable(schema)
    base = launch.base_spec(sha, schema)
    plan = _plan()
    if plan is None:
        st.info("Choose at least one model to compare.", icon=":material/arrow_upward:")
        return
    specs = plan.specs(base, base.training_rows(rows))
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Compare", type="primary", icon=":material/play_arrow:", disabled=unusable):
            _begin(base, base.training_rows(rows), plan)
        groups.say_length(specs)


def _plan() -> ComparisonPlan | None:
    """Draw what can be chosen; None if no model is."""
    models = _choose_models()
    seeds, preset, baseline = side_by_side(3, least=260)
    with preset:
        kept = links.mirror(_PRESET, list(PRESETS), "recommended")
        chosen = st.segmented_control("Settings", list(PRESETS), format_func=str.capitalize, required=True, **kept)
    with seeds:
        help_text = (
            "Runs of each model. A seed changes the first weights, the order of rows and the dropout, never the rows."
        )
        kept = links.mirror_number(_SEEDS, 1, MOST_SEEDS)
        count = int(st.number_input("Seeds", 1, MOST_SEEDS, help=help_text, **kept))
    with baseline:
        kept = links.mirror(_BASELINE, ["yes", "no"], "yes")
        help_text = (
            "Gradient boosting on the same rows (scikit-learn's HistGradientBoosting): what you might use instead."
        )
        label = "Baseline: gradient boosting"
        with_baseline = st.segmented_control(label, ["yes", "no"], required=True, help=help_text, **kept)
    crosses = _crosses() if any(SWITCHES[name].crosses for name in models if name in SWITCHES) else {}
    if not models:
        return None
    return ComparisonPlan(models, count, chosen, crosses, with_baseline == "yes")


def _choose_models() -> tuple[str, ...]:
    key, linked = "models to compare", links.chosen(_MODELS)
    named = [name for name in (linked or "").split(",") if name in COMPARED]
    st.session_state[key] = named if named or linked == NO_MODEL else list(COMPARED)

    def keep() -> None:
        picked = [name for name in COMPARED if name in st.session_state[key]]
        links.choose(_MODELS, None if len(picked) == len(COMPARED) else ",".join(picked) or NO_MODEL)

    st.pills(
        "Models",
        list(COMPARED),
        selection_mode="multi",
        format_func=MODEL_TITLES.__getitem__,
        key=key,
        on_change=keep,
        help="The models of the DeepFM paper, in its order, a DNN alone, and DCN. *DeepFM (paper)* is DeepFM exactly "
        "as published, whatever the settings are.",
    )
    chosen: tuple[str, ...] = tuple(st.session_state[key])
    with st.container(horizontal=True, gap="small"):
        for label, value, there in (("All models", None, chosen == tuple(COMPARED)), ("None", NO_MODEL, not chosen)):
            called, args = f"{label} to compare", (_MODELS, value)
            st.button(label, key=called, type="tertiary", disabled=there, on_click=links.choose, args=args)
    return chosen


def _crosses() -> dict[str, tuple[tuple[str, str], ...]]:
    key = f"choice of {_CROSSES}"
    st.session_state[key] = links.chosen(_CROSSES) or ""
    text = st.text_input(
        "Crossed fields of Wide & Deep",
        key=key,
        on_change=lambda: links.choose(_CROSSES, st.session_state[key] or None),
        placeholder="none; pairs such as device*hour, site*ad",
        help="Each pair of values gets its own first-order weight. The paper's comparison chose the pairs by hand.",
    )
    found = setting_named("crosses").from_text(text)
    return {"crosses": found} if found else {}


def _begin(base: RunSpec, train: int, plan: ComparisonPlan) -> None:
    saved_tables.require_for(base)
    comparison = experiments_comparison.begin(store(), base, train, plan, owner=visitor.owner(), titles=MODEL_TITLES)
    launch.keep_worker()
    links.go("compare", **{COMPARISON: comparison, "new": None})


main()
