"""The chosen pair level by level, or as a surface; or the levels of one field alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from app.charts.interactions.levels import (
    FAINT,
    PANELS,
    THIN,
    contrasts,
    effect_surface,
    has_surface,
    level_effects,
    level_panels,
    own_limit,
)
from app.charts.interactions.ranking import pair_label, ranked
from app.shared import predictions, run_status
from app.shared.field_pairs import strength_row, test_row
from app.shared.overview import cell_sentence
from app.state import links, saved_runs, visitor
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.widgets.columns import CELLS
from app.widgets.figure import figure
from app.widgets.layout import side_by_side
from app.widgets.text import code, plain
from deepfm_core.errors import DeepFMError
from deepfm_core.evidence.cell_effects import observed_effects
from deepfm_core.evidence.verdicts import (
    OVERSTATED,
    hardly_learned,
    has_evidence,
    spread_of,
    verdict_sentence,
    verdicts,
)
from deepfm_core.runs.telling import telling_cell
from deepfm_core.schema.kinds import Reading
from deepfm_core.store.query import OPENED_PAIR, Question

if TYPE_CHECKING:
    from deepfm_core.runs.in_place import InPlace

PLAUSIBLE_SD = 0.5
"""Spread of a pair's effects, in log-odds, that is assumed for runs without evidence."""
NOTICED = 0.4
"""Shared colours reach full strength at this many log-odds or more, so that noise does not look like an effect."""
LOOK_SECONDS = 1.0
UNREADABLE = (
    "The stored measurement of this pair is damaged and cannot be replaced. Choose another pair, or ask whoever runs "
    "this server to empty the folder `answers` of the store."
)
SHRUNK = (
    "The data's effects are shrunk towards zero where rows are few; the model's are drawn as they are. So in cells of "
    "few rows, the model may be far larger than the data."
)
"""Which of the two effects of a cell is shrunk."""
OF_PAIR = "pair_"
"""How the columns of a pair's own strengths begin, beside those of its cells."""
TEXTS = ("field_a", "field_b", "level_a", "level_b")


def pair_section(run: OpenRun, chosen: tuple[str, str], pairs: pd.DataFrame, measure: str) -> None:
    """Draw the levels of the chosen pair as observed and model, and on request their difference; or of one field."""
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
    own = pairs[(pairs["field_a"] == field_a) & (pairs["field_b"] == field_b)]
    if cells is None:
        opened = _opened(run, field_a, field_b)
        if opened is None:
            return
        cells, strengths = opened
        own = own.assign(**strengths)
        own = own.assign(verdict=verdicts(own))
    evaluated = own.iloc[0]
    if evaluated["verdict"]:
        st.markdown(f"{verdict_sentence(evaluated, plain)}{_in_place(run, evaluated)}")
    st.markdown(_what_is_seen(run, cells, evaluated["verdict"]))
    if evaluated["verdict"]:
        strength_row(evaluated)
    knots = {role.column for role in run.spec.schema.roles if role.kind.entry.reading is Reading.NEAREST}
    nearest = "Each number counts at the nearest value shown. " if knots & set(chosen) else ""
    difference, contrast = _looks()
    limit = None if contrast else _shared_limit(run, pairs, measure)
    panels = tuple(PANELS) if difference else tuple(PANELS)[:2]
    figure(
        "Level by level",
        lambda: level_panels(cells, levels, panels=panels, limit=limit),
        cells,
        "Effect of two levels together beyond what each does alone, in log-odds. Green raises, purple lowers. "
        f"{SHRUNK} Faded: fewer than {THIN} training rows. Hatched: no "
        "rows. Bars count rows. "
        f"{nearest}",
        key="levels",
        titles=CELLS,
        file=f"{field_a}-{field_b}-levels",
    )
    surface_section(cells, chosen, limit)
    if evaluated["verdict"]:
        test_row(evaluated)


def field_section(run: OpenRun, field: str, levels: pd.DataFrame) -> None:
    """Draw the main effect of each level of a field."""
    st.header(plain(field), anchor=False, divider="gray")
    own = levels[levels["field"] == field]
    if own.empty or own["effect"].isna().all():
        run_name, name = code(run.name), code(field)
        st.info(f"Run {run_name} has no first-order term for {name}: its model is a DNN alone. Choose a pair.")
        return
    figure(
        "Main effect by level",
        lambda: level_effects(levels, field),
        own,
        "What each level adds to the logit by itself, in log-odds, purified of pairs. The DNN is left out; the "
        "purified ledger on *Examples* has it. The size of a dot shows training rows.",
        key="level_effects",
        titles=CELLS,
        file=f"{field}-levels",
    )


def cells_of(run: OpenRun, field_a: str, field_b: str) -> pd.DataFrame | None:
    """Read the cells of a pair of fields with their effects beyond main effects; None if the run has none.

    Observed effects are shrunk by the pair's strength in the data, or by `PLAUSIBLE_SD` without evidence.
    """
    return _cells(run.id, field_a, field_b, run)


@st.cache_data(max_entries=128, show_spinner=False)
def _cells(run_id: str, field_a: str, field_b: str, _run: OpenRun) -> pd.DataFrame | None:
    cells = saved_runs.pair_cells(_run, field_a, field_b)
    return None if cells is None or cells.empty else _with_effects(cells, field_a, field_b, _run)


def _opened(run: OpenRun, field_a: str, field_b: str) -> tuple[pd.DataFrame, dict[str, float]] | None:
    """Give the cells and the strengths in the model of a pair that the run did not explain; None while they are made.

    A separate process makes them, and the page polls for its answer.
    """
    try:
        predictions.require_table(run)
    except DeepFMError as error:
        st.info(plain(str(error)))
        return None
    written = run.folder.model.stat().st_mtime
    asked = {"run": str(run.folder.path), "field_a": field_a, "field_b": field_b, "written": written}
    question = store().questions.of(OPENED_PAIR, **asked, owner=visitor.owner())
    standing = question.look()
    if standing.problem is not None:
        st.info(plain(standing.problem))
        return None
    answer = question.answer() if standing.answered else None
    if answer is None and standing.answered and question.standing().answered:
        # It stays as it is, so that the fragment would run this page again and again.
        st.info(UNREADABLE)
        return None
    if answer is None:
        st.fragment(_measuring, run_every=LOOK_SECONDS)(question)
        return None
    of_pair = [name for name in answer.columns.astype(str) if name.startswith(OF_PAIR)]
    strengths = {name.removeprefix(OF_PAIR): float(answer[name].iloc[0]) for name in of_pair}
    return _with_effects(answer.drop(columns=of_pair), field_a, field_b, run), strengths


def _measuring(question: Question) -> None:
    if question.look().ended:
        st.rerun()
    st.progress(0.0, "Measuring this pair in the model …")


def _with_effects(cells: pd.DataFrame, field_a: str, field_b: str, run: OpenRun) -> pd.DataFrame:
    cells = cells[cells["rows"] > 0].astype(dict.fromkeys(TEXTS, object))
    cells = cells.assign(
        level_a=[short(level, field_a) for level in cells["level_a"]],
        level_b=[short(level, field_b) for level in cells["level_b"]],
    )
    return contrasts(cells.assign(observed=observed_effects(cells, _spread(run, field_a, field_b))))


def _spread(run: OpenRun, field_a: str, field_b: str) -> float:
    """Give the spread of the pair's effects in the data, in log-odds; `PLAUSIBLE_SD` without evidence."""
    pairs = saved_runs.frame(run, "pairs")
    if pairs is None or not has_evidence(pairs):
        return PLAUSIBLE_SD
    return spread_of(pairs, field_a, field_b)


def short(level: str, field: str) -> str:
    """Shorten a level such as `price = 20` to its value."""
    return level.removeprefix(f"{field} = ")


def _looks() -> tuple[bool, bool]:
    """Let the visitor add the difference to the panels, and give the pair its own contrast; say which are chosen."""
    first, second = side_by_side(2, least=180, gap="small")
    difference = first.toggle(
        "Show the difference", key="difference", bind="query-params", help="Adds a panel: observed − model."
    )
    own = second.toggle(
        "This pair's own contrast",
        key="own_contrast",
        bind="query-params",
        help="Off: all pairs share the colours of the strongest one. On: this pair's largest cell has full colour.",
    )
    return difference, own


def _shared_limit(run: OpenRun, pairs: pd.DataFrame, measure: str) -> float | None:
    """Give the log-odds of full colour for the strongest pair; None if it has no cells."""
    best = ranked(pairs, measure).iloc[0]
    cells = cells_of(run, best["field_a"], best["field_b"])
    return None if cells is None else max(own_limit(cells), NOTICED)


def _in_place(run: OpenRun, pair: pd.Series) -> str:
    """Say which pair the model has learned in place of one that it has hardly learned, if the data tells."""
    if not bool(hardly_learned(pd.DataFrame([pair])).iloc[0]) or not bool(pair.get("significant")):
        return ""
    found = _found_in_place(run.id, str(pair["field_a"]), str(pair["field_b"]), float(pair["strength"]), run)
    if found is None:
        return ""
    missed, other = plain(found.missed), plain(found.other)
    return (
        f" Here it has learned **{plain(pair_label(found.shared, found.other))}** instead: {missed} and {other} go "
        f"together, so that pair accounts for {found.strength:.2f} log-odds of this one."
    )


@st.cache_data(max_entries=128, show_spinner=False)
def _found_in_place(run_id: str, field_a: str, field_b: str, strength: float, _run: OpenRun) -> InPlace | None:
    from deepfm_core.runs.in_place import learned_in_place  # it loads scipy

    cells = saved_runs.frame(_run, "level_pairs")
    return None if cells is None else learned_in_place(cells, field_a, field_b, strength)


def _what_is_seen(run: OpenRun, cells: pd.DataFrame, verdict: str) -> str:
    """Say which two levels tell most about the pair: what the data and the model say of them."""
    cell = telling_cell(cells.assign(learned=cells["model"]), run.spec.schema)
    if cell is None:
        return f"Every pair of levels has fewer than {THIN} training rows: too few to name one."
    said = cell_sentence(cell)
    if cells["model"].abs().max() < FAINT:
        return f"{said} It has learned nothing of this pair."
    if verdict == OVERSTATED and abs(cell.learned) <= abs(cell.observed):
        return f"{said} These two levels are not overstated: that is said of the pair as a whole."
    return said


# The chosen pair as a surface, where both fields are numbers. It is drawn on request, since Plotly is large.


SURFACE, PANEL = "surface", "surface_of"
"""Names of the choices in the URL."""


def surface_section(cells: pd.DataFrame, fields: tuple[str, str], limit: float | None) -> None:
    """Offer the surface of a pair of numeric fields, and draw it on request; nothing for other pairs.

    Args:
        cells: the pair's cells with their effects.
        fields: the names of both fields.
        limit: log-odds of full colour in the panels above.
    """
    if not has_surface(cells):
        return
    if not st.toggle("As a surface", help="Loads a 3-D chart to turn.", **links.mirror_flag(SURFACE, False)):
        return
    names = list(PANELS)
    panel = st.segmented_control(
        "Height",
        names,
        format_func=PANELS.__getitem__,
        required=True,
        **links.mirror(PANEL, names, names[0]),
    )
    dark = st.context.theme.type == "dark"
    figure = effect_surface(cells, fields, panel or names[0], dark=dark, limit=limit)
    alt = f"Surface of {fields[0]} and {fields[1]}: {PANELS[panel or names[0]]}, in log-odds"
    st.plotly_chart(figure, key="surface of pair", alt=alt, config={"displaylogo": False})
    st.caption("Height: what both numbers do together beyond each alone, in log-odds. Drag to turn, scroll to zoom.")
