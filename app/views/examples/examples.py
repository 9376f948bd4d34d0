"""The page Examples: sampled rows as points, and the exact ledger of a chosen one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app.charts.logits import logit_plane, logit_strip
from app.shared import predictions, run_status, subject
from app.state.saved_runs import OpenRun
from app.views.examples import selection
from app.views.examples.ledger import nearest_section, row_section
from app.views.examples.what_if import what_if_section
from app.widgets.columns import ROWS, configured
from app.widgets.figure import figure
from app.widgets.layout import heading_for_readers, side_by_side
from app.widgets.messages import wide_title
from app.widgets.text import plain
from deepfm_core.explain.example_rows import own_cells
from deepfm_core.runs.findings import logit_spread

SHOWN_ROWS = 200
NO_DNN = "Training found nothing beyond the guide that helps, so the DNN adds nothing, and its charts are left out."


def main() -> None:
    """Draw the page."""
    st.title("Examples", anchor=False)
    run = run_status.finished_run()
    subject.show_run(run)
    examples = selection.with_surprise(run_status.frame(run, "examples", "examples"))
    terms = run_status.frame(run, "example_terms", "terms of examples")
    cells = run_status.frame(run, "example_cells", "cells of examples")
    cells = own_cells(cells)
    what_is_seen(run, examples)
    heading_for_readers("Sampled rows")
    row = selection.choose_row(examples, run.spec.schema.label)
    position = int((examples["row"] == row).to_numpy().argmax())
    left, right = side_by_side(2)
    with left:
        inside = show_rows(run, examples, row)
    with right:
        list_rows(run, examples if inside is None else inside, inside is not None)
    own = {str(name): str(value) for name, value in cells.iloc[position].items()}
    row_section(run, run_status.compared_run(run), examples.iloc[position], terms[terms["row"] == row], own)
    left, right = side_by_side(2)
    with left:
        what_if_section(run, cells, position)
    with right:
        nearest_section(run, examples, cells, position)


def what_is_seen(run: OpenRun, examples: pd.DataFrame) -> None:
    """Say which rows are sampled, and what share of the logit's variance each part has."""
    part = "test" if examples["part"].iloc[0] == "test" else "valid"
    both = run.spec.model.deep and run.spec.model.first_order and not silent(examples)
    spread = logit_spread(examples) if both else None
    table = predictions.holdout_table(run, part)
    text = f"{len(examples):,} sampled {predictions.NAMES[part].lower()} rows" + (
        f" of {plain(table)}." if table else "."
    )
    if spread:
        text += (
            f" Shares of the logit's variance: :blue[**{wide_title(run.spec.model)} {spread.fm:.0%}**], "
            f":orange[**DNN {spread.dnn:.0%}**]."
        )
    if run.spec.model.deep and silent(examples):
        text += f" {NO_DNN}"
    st.markdown(text)


def silent(examples: pd.DataFrame) -> bool:
    """Say whether the DNN adds nothing to any row."""
    return not examples["dnn_logit"].any()


def show_rows(run: OpenRun, examples: pd.DataFrame, row: int) -> pd.DataFrame | None:
    """Draw every row as a point; return the rows inside the selected area, or None if no area is selected."""
    spec, called = run.spec.model, subject.outcomes(run.spec.schema.label)
    key = selection.plane_key(run.id, row)
    reading = "Drag over an area to list its rows; click a row to open it. "
    if spec.second_order and spec.deep and not silent(examples):
        drawn, axes = examples, {"fm_logit": "fm_logit", "dnn_logit": "dnn_logit"}
        chart, title = lambda: logit_plane(drawn, selected=row, outcomes=called), "FM logit and DNN logit"
        reading += "On a dotted line, the probability is the same. Other splits of the logit would sum to the same."
    elif spec.first_order and spec.deep and not silent(examples):
        drawn, axes = examples, {"fm_logit": "fm_logit", "dnn_logit": "dnn_logit"}
        names, title = ("bias + first order", "DNN logit"), "First-order logit and DNN logit"
        chart = lambda: logit_plane(drawn, selected=row, names=names, titles=names, outcomes=called)  # noqa: E731
        reading += "On a dotted line, the probability is the same. Other splits of the logit would sum to the same."
    elif spec.second_order:
        drawn = examples.assign(fm_logit=examples["bias"] + examples["first_order"], dnn_logit=examples["second_order"])
        axes, title = {"fm_logit": "fm_logit", "dnn_logit": "dnn_logit"}, "First-order logit and FM pairs"
        names = ("bias + first order", "FM pairs (second order)")
        chart = lambda: logit_plane(drawn, selected=row, names=names, titles=names, outcomes=called)  # noqa: E731
        reading += "On a dotted line, the probability is the same."
    else:
        drawn, axes = examples, {"logit": "logit"}
        chart, title = lambda: logit_strip(drawn, selected=row, outcomes=called), "Logits by outcome"
        reading += "The model has one part, so there is one axis. The height within a strip has no meaning."
    figure(
        title,
        chart,
        examples,
        reading,
        key="plane",
        titles=ROWS,
        chart_key=key,
        file="examples",
        on_select=lambda: selection.keep_click(key),
        selections=["brush", "row"],
    )
    return selection.brushed(drawn, key, axes)


def list_rows(run: OpenRun, rows: pd.DataFrame, from_area: bool) -> None:
    """List rows, the most surprising first; a click opens one."""
    st.subheader(f"{len(rows):,} rows in the area" if from_area else "Most surprising rows", anchor=False)
    shown = rows.sort_values("surprise", ascending=False).head(SHOWN_ROWS)
    negative, positive = subject.outcomes(run.spec.schema.label)
    shown = shown.assign(outcome=np.where(shown["label"] > 0.5, positive, negative))
    shown = shown[["row", "outcome", "probability", "surprise"]]

    def open_row() -> None:
        picked = st.session_state["row_table"]["selection"]["rows"]
        if picked:
            selection.keep(int(shown["row"].iloc[picked[0]]))

    st.dataframe(
        shown,
        hide_index=True,
        height=420,
        column_config=configured(shown, ROWS),
        on_select=open_row,
        selection_mode="single-row",
        key="row_table",
        alt="Rows with outcome and probability",
    )
    st.caption("Surprise is the logloss of the row, in nats. Choose a row to open it.")


main()
