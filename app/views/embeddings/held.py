"""What a run's embeddings hold and what they do not, in sentences; and what to do if there are none."""

from __future__ import annotations

import streamlit as st

from app.charts.interactions.ranking import pair_label
from app.shared import launch
from app.state import links, saved_tables
from app.state.saved_runs import OpenRun
from app.widgets.text import MODEL_TITLES, counted, errors_shown, plain, to_pairs
from deepfm_core._words import percent
from deepfm_core.explain.embeddings import CELLS, FM, OWN, Embeddings

SPACES = {FM: "Embeddings", OWN: "The DNN's own embeddings", CELLS: "Cells of the guide"}
"""What features can be placed by, as the page calls it."""
_MOST_NAMED = 4


def say_none(run: OpenRun, made: Embeddings) -> None:
    """Say why a run has nothing to place features by, and offer what has."""
    if made.fm is None:
        st.info(f"{MODEL_TITLES[run.spec.model.name]} has no embeddings: each feature has a weight, and no pairs.")
        if st.button(to_pairs(run.spec), icon=":material/grid_on:"):
            links.go("interactions")
    else:
        st.info("The embeddings of this run are all 0, and it has no cells: it found no pairs.")
    _offer(run, "Train DeepFM on this table", {"model": None, launch.GUIDED: "off"})


def say_what_is_held(run: OpenRun, made: Embeddings, space: str) -> None:
    """Say what the vectors of a space are, and what else the model knows of pairs."""
    guide = run.summary.get("guide") if run.spec.model.has_guide else None
    if space == CELLS:
        _say_cells(run, made, guide)
        return
    size = run.spec.model.embedding_size
    text = f"{counted(len(made), 'feature')}, each with **{size} numbers** that the model learned: its embedding. "
    text += _who_reads(run, made, space)
    st.markdown(text)
    if guide:
        st.caption(_left_to_embeddings(guide))


def _who_reads(run: OpenRun, made: Embeddings, space: str) -> str:
    if space == OWN:
        return "Only the DNN reads these; FM pairs multiply others."
    if not made.multiplied:
        return "Only the DNN reads them, so no part of the logit is their inner product."
    both = run.spec.model.deep and made.own is None
    return "FM pairs multiply two of them" + (", and the DNN reads the same numbers." if both else ".")


def _named_pairs(guide: dict[str, list[dict[str, str]]], by: str) -> str:
    named = [plain(pair_label(pair["field_a"], pair["field_b"])) for pair in guide["pairs"] if pair["learned_by"] == by]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(named[:_MOST_NAMED]) + more


def _left_to_embeddings(guide: dict[str, list[dict[str, str]]]) -> str:
    cells, sparse = _named_pairs(guide, "cells"), _named_pairs(guide, "embeddings")
    solved = f"main effects and the cells of {cells}" if cells else "the main effects"
    text = f"**Guided.** This model started from {solved}. Its embeddings do not hold these. "
    if sparse:
        return f"{text}They hold the pairs with too few rows in a cell ({sparse}), and what the DNN reads of a feature."
    return f"{text}No pair was left to FM pairs, so the embeddings hold only what the DNN reads of a feature."


def _say_cells(run: OpenRun, made: Embeddings, guide: dict[str, list[dict[str, str]]] | None) -> None:
    if FM not in made.spaces:
        st.info(
            "**This run kept its guide alone.** Its embeddings found nothing more that helps on the validation rows. "
            "So they are all 0. The map places features by the guide's cells instead."
        )
    named = _named_pairs(guide, "cells") if guide else ""
    of = f" The guide has cells for {named}." if named else ""
    st.markdown(
        "A **cell** is the weight of two features that stand in one row. Features are close if their cells with all "
        f"other features are alike.{of}"
    )
    if FM not in made.spaces:
        _offer(run, "Train without the guide, to see embeddings", {launch.GUIDED: "off"})


def _offer(run: OpenRun, label: str, changes: dict[str, str | None]) -> None:
    """Offer to open Train with the run's settings, changed."""
    if not st.button(plain(label), icon=":material/model_training:"):
        return
    with errors_shown():
        table = saved_tables.table(run.spec.table)
        chosen = launch.choices(run.spec, len(table)) | changes
        launch.choose_table(run.spec.table)
        links.go("train", **chosen, new="1", run=None)


def say_variance(shares: tuple[float, ...], dimensions: int, drawn: int) -> None:
    """Say how much of what there is a map shows."""
    two, three = sum(shares[:2]), sum(shares[:3])
    rest = "The neighbours below are found in all dimensions." if two < 0.995 else "That is all there is."
    st.caption(
        f"Two components show **{percent(two)}** of the variance of {dimensions:,} dimensions, three "
        f"{percent(three)}. {rest} Each of the {drawn:,} points counts by its rows."
    )
