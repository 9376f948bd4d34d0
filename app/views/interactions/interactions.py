"""The page Interactions: the strongest pairs and the field matrix, beside them the chosen pair level by level."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.charts.interactions.matrix import LIMIT, STRONGEST, WIDE, field_matrix
from app.charts.interactions.ranking import MEASURES, pair_label, strongest_pairs
from app.shared import field_pairs, run_status
from app.shared.field_pairs import finding, no_pairs, one_field, say_guided
from app.shared.predictions import say_what_pairs
from app.state import links, saved_runs
from app.state.saved_runs import OpenRun
from app.views.interactions.levels import field_section, pair_section
from app.views.interactions.tabs import pair_views
from app.widgets.columns import PAIRS
from app.widgets.figure import figure
from app.widgets.layout import bring_in_view, heading_for_readers, list_and_detail, side_by_side
from app.widgets.text import plain
from deepfm_core.evidence.verdicts import has_evidence, verdicts

Pair = tuple[str, str]
TOP, UNCLEAR = 14, 5
"""How many of the strongest pairs are drawn, and how many of these that are not clear above noise."""
MORE = ("learned_fm", "learned_dnn", "held_out_strength")
"""Measures that are drawn on request."""


def main() -> None:
    """Draw the page."""
    st.title("Interactions", anchor=False)
    run = run_status.finished_run()
    run_status.show_run(run)
    fields = run_status.frame(run, "fields", "fields")
    if not run.spec.schema.has_pairs:
        one_field(run)
        choose_field(run, fields)
        return
    other = run_status.compared_run(run)
    pairs = with_compared(run_status.frame(run, "pairs", "pairs of fields"), other)
    if not has_evidence(pairs):
        pairs = pairs.drop(columns=["significant", "strength_low", "strength_high"], errors="ignore")
    pairs = pairs.assign(verdict=verdicts(pairs))
    if not has_evidence(pairs) and not run.spec.model.switches.pairs:
        no_pairs(run)
        choose_field(run, fields)
        return
    if run.active:
        st.fragment(still_checking, run_every=1.0)(run.id)
    say_what_pairs(run, other, pairs)
    sentence = st.container()
    heading_for_readers("All pairs at a glance")
    chooser, detail, more = list_and_detail()
    with chooser:
        measure, chosen = choose(pairs, fields)
        show_strongest(pairs, measure, chosen)
    with sentence:
        finding(run, pairs, measure)
        say_guided(run, pairs)
    with detail:
        pair_section(run, chosen, pairs, measure)
    with more:
        show_matrix(pairs, fields, measure, chosen)
    pair_views(run, pairs, fields, chosen, measure)
    bring_in_view()


def still_checking(run_id: str) -> None:
    """Show how far the checks on held-out rows are, and draw the page again when they are done."""
    run = saved_runs.open_run(run_id)
    if not run.active:
        st.rerun()
    st.progress(saved_runs.run_progress(run).fraction, "Checking each pair on held-out rows …")


def with_compared(pairs: pd.DataFrame, other: OpenRun | None) -> pd.DataFrame:
    """Add the column `compared`: the strength in the whole logit of the compared run, if it has the pair."""
    theirs = None if other is None else saved_runs.frame(other, "pairs")
    if theirs is None:
        return pairs
    theirs = theirs[["field_a", "field_b", "learned"]].rename(columns={"learned": "compared"})
    turned = theirs.rename(columns={"field_a": "field_b", "field_b": "field_a"})
    both = pd.concat([theirs, turned]).drop_duplicates(["field_a", "field_b"])
    return pairs.merge(both, on=["field_a", "field_b"], how="left")


def choose(pairs: pd.DataFrame, fields: pd.DataFrame) -> tuple[str, Pair]:
    """Let the visitor choose the measure to rank by, and the pair."""
    names = field_pairs.measures(pairs)
    pair, ranked = side_by_side(2, least=160, gap="small")
    measure = ranked.selectbox("Rank by", names, format_func=label, **links.mirror(field_pairs.RANKED, names, names[0]))
    choices = field_pairs.options(pairs, fields, measure)
    chosen = pair.selectbox(
        "Pair", choices, format_func=field_pairs.title, **links.mirror(field_pairs.PAIR, choices, choices[0])
    )
    if (named := links.missing(field_pairs.PAIR, choices)) is not None:
        first = plain(field_pairs.title(choices[0]))
        st.info(f"This run has no pair {plain(pair_label(*field_pairs.pair_of(named)))}. Showing the first, {first}.")
    return measure, field_pairs.pair_of(chosen)


def choose_field(run: OpenRun, fields: pd.DataFrame) -> None:
    """Let the visitor choose a field and draw its levels; the default has the largest main effect."""
    names = list(fields.sort_values("main_effect", ascending=False)["field"])
    field = st.selectbox("Field", names, **links.mirror("field", names, names[0]))
    field_section(run, field, run_status.frame(run, "levels", "levels"))


def label(measure: str) -> str:
    """Name a measure."""
    return MEASURES[measure].label


def show_strongest(pairs: pd.DataFrame, measure: str, chosen: Pair) -> None:
    """Draw the strongest pairs: by the data and by the model, and on request by all that was measured."""
    more = [name for name in MORE if name in pairs and pairs[name].notna().any()]
    every = bool(more) and st.toggle(
        "All measures",
        help=f"Adds {', '.join(label(name) for name in more)} to the marks. One that would hide another is left out.",
        **links.mirror_flag("marks", False),
    )
    drawn = ["strength", "learned", "compared", *(more if every else [])]
    drawn = drawn if has_evidence(pairs) else [name for name in drawn if name != "strength"]
    band = "Band: 90% interval from the data. " if "strength_low" in pairs else ""
    hollow = "Hollow: not clear above noise. " if "significant" in pairs else ""
    figure(
        "Strongest pairs",
        lambda: strongest_pairs(pairs, top=TOP, unclear=UNCLEAR, rank_by=measure, measures=drawn, selected=chosen),
        pairs,
        "Strength: the typical size (standard deviation over rows) of what a pair adds beyond its two fields alone, in "
        f"log-odds. {band}{hollow}Click a pair to open it.",
        key="strongest",
        titles=PAIRS,
        file="pairs",
        **field_pairs.clickable("strongest pairs", chosen),
    )


def show_matrix(pairs: pd.DataFrame, fields: pd.DataFrame, measure: str, chosen: Pair) -> None:
    """Draw the field matrix, with the measures that the visitor chooses for its two halves."""
    triangles = field_pairs.triangles(pairs, measure)
    default = next(iter(triangles))
    placed = fields.dropna(subset=["order"])
    wide = len(placed) > WIDE
    half, size = side_by_side(2, least=160, gap="small") if wide else (st.container(), None)
    drawn = half.selectbox("Matrix", list(triangles), **links.mirror(field_pairs.MATRIX, list(triangles), default))
    most = STRONGEST if size is None or not _all_fields(size, len(placed)) else LIMIT
    above, below = triangles[drawn]
    what = f"Above the diagonal: {label(above)}; below: {label(below)}. " if above != below else f"{label(above)}. "
    hollow = "Hollow: not clear above noise. " if "significant" in pairs else ""
    linear = ", without the DNN" if pairs["learned_dnn"].notna().any() else ""
    gold = f"Gold: main effect of the field{linear}, on its own scale. "
    gold = gold if placed["main_effect"].notna().any() else ""
    corner = "Corner of a gold cell: pairs of values within that field. " if placed["within"].notna().any() else ""
    figure(
        "Field matrix",
        lambda: field_matrix(pairs, placed, upper=above, lower=below, selected=chosen, limit=most if wide else LIMIT),
        pairs,
        f"{what[0].upper()}{what[1:]}{gold}{corner}{hollow}Hover over a cell for its number; click to open the pair.",
        key="matrix",
        titles=PAIRS,
        file="pairs",
        **field_pairs.clickable("field matrix", chosen),
    )


def _all_fields(cell: DeltaGenerator, count: int) -> bool:
    """Let the visitor have more than the strongest fields in the matrix."""
    few, many = f"{STRONGEST} strongest", f"all {count}" if count <= LIMIT else f"{LIMIT} strongest"
    return bool(cell.selectbox("Fields", [few, many], **links.mirror("matrix_fields", [few, many], few)) == many)


main()
