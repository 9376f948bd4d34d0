"""The chosen pair level by level, or the chosen field alone."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.interactions.levels import FAINT, THIN, contrasts, level_effects, level_panels, own_limit
from app.charts.interactions.ranking import pair_label, ranked
from app.shared import run_status
from app.shared.pair_verdicts import figure_row, verdict_sentence
from app.state import saved_runs
from app.state.saved_runs import OpenRun
from app.widgets.columns import CELLS
from app.widgets.figure import figure, signed
from app.widgets.text import code, plain
from deepfm_core.evidence.cell_effects import observed_effects
from deepfm_core.evidence.verdicts import has_evidence
from deepfm_core.schema.schema import Kind

PLAUSIBLE_SD = 0.5
NOTICED = 0.4
"""Log-odds of a cell at which shared colours are full at the least, so that noise does not look like an effect."""
SIDES = (("field_a", "level_a"), ("field_b", "level_b"))
TEXTS = ("field_a", "field_b", "level_a", "level_b")


def pair_section(run: OpenRun, chosen: tuple[str, str], pairs: pd.DataFrame, measure: str) -> None:
    """Draw the levels of the chosen pair as observed | model | difference, or those of one field."""
    field_a, field_b = chosen
    levels = run_status.frame(run, "levels", "levels")
    levels = levels.assign(
        level=[short(level, field) for level, field in zip(levels["level"], levels["field"], strict=True)]
    )
    if field_a == field_b:
        field_section(run, field_a, levels)
        return
    cells = cells_of(run, field_a, field_b)
    st.header(plain(pair_label(field_a, field_b)), anchor=False, divider="gray")
    if cells is None:
        st.info(f"Run {code(run.name)} holds no levels of this pair. Choose another pair.")
        return
    judged = pairs[(pairs["field_a"] == field_a) & (pairs["field_b"] == field_b)].iloc[0]
    if judged["verdict"]:
        st.markdown(verdict_sentence(judged))
        figure_row(judged)
    knots = {role.column for role in run.spec.schema.roles if role.kind is Kind.PIECEWISE}
    st.markdown(_what_is_seen(cells, knots))
    nearest = "A number counts at the nearest of the values shown. " if knots & set(chosen) else ""
    limit = None if _own_contrast() else _shared_limit(run, pairs, measure)
    figure(
        "Observed, model, difference",
        lambda: level_panels(cells, levels, limit=limit),
        cells,
        "What two levels do together beyond what each does alone, in log-odds: green raises, purple lowers. "
        f"What is observed is shrunk by support. Under {THIN} training rows: faded; none: hatched. Bars count rows. "
        f"{nearest}",
        key="levels",
        titles=CELLS,
        file=f"{field_a}-{field_b}-levels",
    )


def field_section(run: OpenRun, field: str, levels: pd.DataFrame) -> None:
    """Draw what a field's levels do alone."""
    st.header(plain(field), anchor=False, divider="gray")
    own = levels[levels["field"] == field]
    if own.empty or own["effect"].isna().all():
        run_name, name = code(run.name), code(field)
        st.info(f"Run {run_name} has no first-order term for {name}: its model is a network alone. Choose a pair.")
        return
    figure(
        "Main effect by level",
        lambda: level_effects(levels, field),
        own,
        "What each level adds to the logit by itself, purified of pairs, in log-odds, without what the network adds "
        "(the purified ledger of *Examples* has both); the dot's size is training rows.",
        key="level_effects",
        titles=CELLS,
        file=f"{field}-levels",
    )


def cells_of(run: OpenRun, field_a: str, field_b: str) -> pd.DataFrame | None:
    """Read the level pairs of a pair of fields with what they show beyond main effects; None where there are none.

    How far the observed effects are shrunk depends on the strength that the data supports, where the run knows it.
    """
    return _cells(run.id, field_a, field_b, run)


@st.cache_data(max_entries=128, show_spinner=False)
def _cells(run_id: str, field_a: str, field_b: str, _run: OpenRun) -> pd.DataFrame | None:
    cells = saved_runs.pair_cells(_run, field_a, field_b)
    if cells is None or cells.empty:
        return None
    cells = cells[cells["rows"] > 0].astype(dict.fromkeys(TEXTS, object))
    cells = cells.assign(
        level_a=[short(level, field_a) for level in cells["level_a"]],
        level_b=[short(level, field_b) for level in cells["level_b"]],
    )
    return contrasts(cells.assign(observed=observed_effects(cells, _spread(_run, field_a, field_b))))


def _spread(run: OpenRun, field_a: str, field_b: str) -> float:
    """Say how far the pair's effects spread in the data, in log-odds; what is plausible where the run does not know."""
    pairs = saved_runs.frame(run, "pairs")
    if pairs is None or not has_evidence(pairs):
        return PLAUSIBLE_SD
    return float(pairs.loc[(pairs["field_a"] == field_a) & (pairs["field_b"] == field_b), "strength"].iloc[0])


def _named(field: str, level: str, knots: set[str]) -> str:
    nearby = field in knots and any(sign.isdigit() for sign in level)  # others of its levels: missing, unseen
    return f"{field} near {level}" if nearby else f"{field} = {level}"


def short(level: str, field: str) -> str:
    """Leave the field's name out of a level such as `price = 20`."""
    return level.removeprefix(f"{field} = ")


def _own_contrast() -> bool:
    chosen: bool = st.toggle(
        "This pair's own contrast",
        key="own_contrast",
        bind="query-params",
        help="Off: colours as for the strongest pair, so pairs can be compared. On: this pair's largest cell is full.",
    )
    return chosen


def _shared_limit(run: OpenRun, pairs: pd.DataFrame, measure: str) -> float | None:
    """Give the colour scale of the strongest pair."""
    best = ranked(pairs, measure).iloc[0]
    cells = cells_of(run, best["field_a"], best["field_b"])
    return None if cells is None else max(own_limit(cells), NOTICED)


def _what_is_seen(cells: pd.DataFrame, knots: set[str]) -> str:
    """Say which levels stand out, in the data and in the model; levels of the fields `knots` are values nearby."""
    firm = cells[cells["rows"] >= THIN]
    if firm.empty:
        return f"No pair of levels has {THIN} training rows, too few to say anything about one of them."
    where = "model" if firm["model"].abs().max() >= FAINT else "observed"
    cell = firm.iloc[int(firm[where].abs().to_numpy().argmax())]  # the darkest that is not faded, as the picture has it
    rate, expected = cell["clicks"] / cell["rows"], cell["expected"] / cell["rows"]
    levels = " with ".join(f"**{plain(_named(cell[field], cell[level], knots))}**" for field, level in SIDES)
    shows, learned = signed(cell["observed"]), signed(cell["model"])
    if where == "observed":
        seen = f"The model has nothing here; in the data {levels} has the largest effect, {shows} log-odds"
    else:
        seen = f"In the model {levels} has the largest effect: {learned} log-odds where the data shows {shows}"
    return f"{seen}, on {cell['rows']:,} rows ({rate:.1%} positive, {expected:.1%} predicted)."
