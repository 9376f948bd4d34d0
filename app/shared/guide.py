"""Runs with a guide: what their FM pairs are made of, and what a run that kept its guide alone does not have."""

from __future__ import annotations

import streamlit as st

from app.shared import launch
from app.state.saved_runs import OpenRun
from app.widgets.text import alone_in_words, guide_alone
from deepfm_core.spec.models import ADDENDS

OF_CELLS = r"\sum_{i<j} c_{ij}\, x_i x_j"
OF_BOTH = r"\sum_{i<j} \big(c_{ij} + r_{ij} \langle v_i, v_j\rangle\big) x_i x_j"
_CELL = "$c_{ij}$: the cell of features *i* and *j*, which the guide adds where a row has both."
LEGENDS = {
    OF_CELLS: f"{_CELL} This run's embeddings are all 0, so it has no inner products.",
    OF_BOTH: f"{_CELL} $r_{{ij}}$: the weight of the inner product, 0 for pairs that have cells.",
}
"""What the signs of a second-order part stand for, where they are not those of the paper."""


def second_order(run: OpenRun) -> str:
    """Write the second-order part of a run's formula: of cells, of embeddings, or of both."""
    if not run.spec.model.has_guide:
        return ADDENDS["second-order"].symbol
    if guide_alone(run.summary):
        return OF_CELLS
    pairs = (run.summary.get("guide") or {}).get("pairs", [])
    return OF_BOTH if any(pair.get("learned_by") == "cells" for pair in pairs) else ADDENDS["second-order"].symbol


def say_alone(run: OpenRun) -> None:
    """Say what a run that kept its guide alone lacks, and offer to train without the guide; nothing of other runs."""
    if not guide_alone(run.summary):
        return
    lacks = "no DNN and no embeddings" if run.spec.model.deep else "no embeddings"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**This run has {lacks}.** It kept its {alone_in_words(run.summary)}, since no epoch did clearly "
            "better on the validation rows.",
            width="stretch",
        )
        offer_without(run, "Train without the guide", "train without the guide")


def offer_without(run: OpenRun, label: str, key: str | None = None) -> None:
    """Offer to open Train with the run's settings, without the guide."""
    launch.offer_settings(run, label, {launch.GUIDED: "off"}, key)
