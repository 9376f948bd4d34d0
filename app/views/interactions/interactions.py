"""The page Interactions: strongest pairs, field matrix, the chosen pair level by level, and further views in tabs."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.charts.interactions.graph import pair_graph
from app.charts.interactions.levels import cell_scatter, pair_scatter
from app.charts.interactions.matrix import LIMIT, STRONGEST, WIDE, field_matrix
from app.charts.interactions.ranking import MEASURES, pair_label, pairs_by_epoch, ranked, strongest_pairs
from app.shared import field_pairs, run_status
from app.shared.field_pairs import finding, no_pairs, one_field, say_guided
from app.shared.predictions import say_what_pairs
from app.state import links, saved_runs
from app.state.saved_runs import OpenRun
from app.views.interactions.levels import SHRUNK, cells_of, field_section, pair_section
from app.widgets.columns import CELLS, PAIRS, configured
from app.widgets.figure import download, figure
from app.widgets.layout import bring_in_view, heading_for_readers, list_and_detail, side_by_side
from app.widgets.text import plain
from deepfm_core.evidence.verdicts import clear, has_evidence, verdicts

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
    run_status.say_copies(run)
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
        measure, chosen = choose(run, pairs, fields)
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


def choose(run: OpenRun, pairs: pd.DataFrame, fields: pd.DataFrame) -> tuple[str, Pair]:
    """Let the visitor choose the measure to rank by, and the pair."""
    names = field_pairs.measures(pairs)
    pair, ranked = side_by_side(2, least=_room(fields), gap="small")
    measure = ranked.selectbox("Rank by", names, format_func=label, **links.mirror(field_pairs.RANKED, names, names[0]))
    choices = field_pairs.options(pairs, fields, measure)
    field_pairs.stay_open(run, choices)
    chosen = pair.selectbox(
        "Pair", choices, format_func=field_pairs.title, **links.mirror(field_pairs.PAIR, choices, choices[0])
    )
    field_pairs.say_what_leads(run, choices, chosen)
    if (named := links.missing(field_pairs.PAIR, choices)) is not None:
        first = plain(field_pairs.title(choices[0]))
        st.info(f"This run has no pair {plain(pair_label(*field_pairs.pair_of(named)))}. Showing the first, {first}.")
    field_pairs.remember_open(run, chosen)
    return measure, field_pairs.pair_of(chosen)


def _room(fields: pd.DataFrame) -> int:
    """Give the width in pixels in which a choice shows the longest pair in full, up to that of some forty letters."""
    longest = fields["field"].astype(str).str.len().nlargest(2).sum() + len(" × ")
    return int(min(max(160, 64 + 8 * longest), 380))


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


# Further views of the pairs, one per tab: model against data, graph, over epochs, and all pairs as a table.


def pair_views(run: OpenRun, pairs: pd.DataFrame, fields: pd.DataFrame, chosen: Pair, measure: str) -> None:
    """Draw the tabs; only the open one is computed."""
    names = ["Model against data", "As graph", "Over epochs", "All pairs"]
    against, graph, epochs, table = st.tabs(names, on_change="rerun", key="views")
    if against.open:
        with against:
            model_against_data(run, pairs, chosen)
    if graph.open:
        with graph:
            as_graph(pairs, fields, chosen, measure)
    if epochs.open:
        with epochs:
            over_epochs(run, pairs, fields, chosen)
    if table.open:
        with table:
            all_pairs(pairs, measure)


def model_against_data(run: OpenRun, pairs: pd.DataFrame, chosen: Pair) -> None:
    """Draw every pair by its strength in the data and in the model, and the chosen pair's cells likewise."""
    observed = has_evidence(pairs)
    cells = None if chosen[0] == chosen[1] else cells_of(run, *chosen)
    left, right = side_by_side(2) if observed and cells is not None else (st.container(), st.container())
    if observed:
        with left:
            figure(
                "Pairs",
                lambda: pair_scatter(pairs, "strength", selected=chosen),
                pairs,
                "One point per pair. On the dashed line, the model learned what the data shows; below it, less.",
                key="pair_scatter",
                titles=PAIRS,
                file="pairs",
                **field_pairs.clickable("scatter of pairs", chosen),
            )
    if cells is not None:
        with right:
            figure(
                "Cells of the chosen pair",
                lambda: cell_scatter(cells),
                cells,
                "One point per pair of levels; its size shows training rows. On the dashed line, model and data agree. "
                f"{SHRUNK} Strength, a mean over rows, hardly counts such cells.",
                key="cell_scatter",
                titles=CELLS,
                file=f"{chosen[0]}-{chosen[1]}-cells",
            )
    elif not observed:
        st.info("Choose a pair of two fields to see its levels here.")


def as_graph(pairs: pd.DataFrame, fields: pd.DataFrame, chosen: Pair, measure: str) -> None:
    """Draw the pairs as chords between fields on a circle."""
    dashed = "Dashed: not clear above noise; weak ones are left out. " if has_evidence(pairs) else ""
    figure(
        "Pairs as a graph",
        lambda: pair_graph(pairs, fields.dropna(subset=["order"]), measure=measure, selected=chosen),
        pairs,
        f"A line is a pair: the wider, the stronger by {MEASURES[measure].label}, in log-odds. {dashed}A dot is a "
        "field; its area shows the main effect. Click a line to open the pair, or a dot for the field alone.",
        key="graph",
        titles=PAIRS,
        file="pairs",
        **field_pairs.clickable("graph of pairs", chosen),
    )


def over_epochs(run: OpenRun, pairs: pd.DataFrame, fields: pd.DataFrame, chosen: Pair) -> None:
    """Draw how the FM pairs grew over epochs, and the matrix at one epoch."""
    frame = saved_runs.frame(run, "pairs_by_epoch")
    if frame is None or frame.empty:
        st.info("Only FM pairs are kept by epoch, and this model has no FM.")
        return
    evaluated = _with_clear(frame, pairs)
    last = int(frame["epoch"].max())
    best = run.summary.get("best_epoch")
    kept = last if best is None else min(int(best), last)
    kept_note = f" The run kept {f'epoch {kept}' if kept else 'its guide alone'}." if kept < last else ""
    left, right = side_by_side(2, least=400)
    with left:
        figure(
            "FM pairs over epochs",
            lambda: pairs_by_epoch(evaluated, selected=chosen),
            frame,
            f"The strongest FM pairs after each epoch, centred but not purified. Where fields are correlated, they can "
            f"exceed the figures above.{kept_note} Thick: the chosen pair."
            f"{' Broken: not clear above noise.' if 'significant' in evaluated else ''}",
            key="by_epoch",
            titles=PAIRS,
            file="pairs-by-epoch",
        )
    with right:
        drawn = st.container()
        epoch = st.slider("After epoch", 1, last, kept or last, key="epoch", bind="query-params") if last > 1 else 1
        at = evaluated[evaluated["epoch"] == epoch]
        with drawn:
            figure(
                f"Field matrix after epoch {epoch}",
                lambda: field_matrix(
                    at,
                    fields.dropna(subset=["order"]).assign(main_effect=float("nan"), within=float("nan")),
                    upper="learned_fm",
                    selected=chosen,
                    largest=float(frame["learned_fm"].max()),
                ),
                at.drop(columns="significant", errors="ignore"),
                "FM pairs alone, on one scale for all epochs."
                f"{' Hollow: not clear above noise.' if 'significant' in at else ''}",
                key="epoch_matrix",
                titles=PAIRS,
                file=f"pairs-epoch-{epoch}",
            )


def _with_clear(frame: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Add to the pairs of each epoch whether they are clear above noise, if there is evidence."""
    if not has_evidence(pairs):
        return frame
    known = pairs[["field_a", "field_b"]].assign(significant=clear(pairs))
    turned = known.rename(columns={"field_a": "field_b", "field_b": "field_a"})
    evaluated = frame.merge(pd.concat([known, turned]), on=["field_a", "field_b"], how="left")
    return evaluated.assign(significant=evaluated["significant"].fillna(False).astype(bool))


def all_pairs(pairs: pd.DataFrame, measure: str) -> None:
    """Draw the pairs as a table in which a row can be chosen."""
    table = ranked(pairs, measure).drop(columns=["significant"], errors="ignore").dropna(axis="columns", how="all")
    if not table["verdict"].any():
        table = table.drop(columns="verdict")
    first = [name for name in ("field_a", "field_b", "verdict") if name in table]
    table = table[[*first, *(name for name in table.columns if name not in first)]]

    key = f"pair_table {measure}"  # a new key per order, since a selection is kept by row number

    def keep() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows:
            field_pairs.keep(table["field_a"].iloc[rows[0]], table["field_b"].iloc[rows[0]])

    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("All pairs", anchor=False, width="content")
        download(table, "pairs", "pairs csv")
    st.dataframe(
        table,
        hide_index=True,
        column_config=configured(table, PAIRS),
        on_select=keep,
        selection_mode="single-row",
        key=key,
        alt="All pairs with their strengths",
    )
    st.caption("Strengths are standard deviations over rows, in log-odds. Choose a row to see its levels above.")


main()
