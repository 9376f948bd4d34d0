"""Further views of the pairs, one per tab: model against data, graph, over epochs, and all pairs as a table."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.interactions.agreement import cell_scatter, pair_scatter
from app.charts.interactions.graph import pair_graph
from app.charts.interactions.matrix import field_matrix
from app.charts.interactions.ranking import MEASURES, pairs_by_epoch, ranked
from app.shared import field_pairs
from app.state import saved_runs
from app.state.saved_runs import OpenRun
from app.views.interactions.levels import cells_of
from app.widgets.columns import CELLS, PAIRS, configured
from app.widgets.figure import download, figure
from app.widgets.layout import side_by_side
from deepfm_core.evidence.verdicts import has_evidence

Pair = tuple[str, str]


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
                "Small points scatter along the data's axis by chance alone.",
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
    known = pairs[["field_a", "field_b", "significant"]]
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
