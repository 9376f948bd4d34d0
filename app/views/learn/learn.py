"""The page Learn: the paper in six steps, worked out on one row of the run that is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app.charts.architecture import MOST_NUMBERS, SELECTION, architecture, parts_of
from app.shared import run_status
from app.state import links
from app.state.links import chart_key, point
from app.state.saved_runs import OpenRun
from app.views.learn.steps import (
    features_step,
    first_order_step,
    models_step,
    network_step,
    pairs_step,
    sum_step,
    with_cross,
)
from app.widgets.columns import GLOSSARY, WORKED
from app.widgets.figure import figure
from app.widgets.layout import heading_for_readers
from app.widgets.text import baseline_sentence, code, errors_shown, plain
from deepfm_core._words import percent, signed
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.explain.embeddings import Embeddings
from deepfm_core.explain.example_rows import own_cells
from deepfm_core.explain.worked_row import WorkedRow
from deepfm_core.spec.run import BASELINE

ROW, FIELD = "row", "field"
"""Names of the choices in the URL."""
PAPER = "https://arxiv.org/abs/1703.04247"


def main() -> None:
    """Draw the page."""
    st.title("Learn", anchor=False)
    run = run_status.finished_run()
    run_status.show_run(run)
    heading_for_readers("The model in one drawing")
    st.markdown(
        f"[Guo et al. 2017, *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*]({PAPER}), in "
        "six steps, on one row of this run. Every number is the model's own."
    )
    if run.spec.model.name == BASELINE:
        st.info(baseline_sentence(run.name))
    else:
        with errors_shown():
            _steps(run)
    models_step(run)
    _glossary()


def _steps(run: OpenRun) -> None:
    examples = run_status.frame(run, "examples", "examples")
    cells = own_cells(run_status.frame(run, "example_cells", "cells of examples"))
    position = _choose_row(run, examples)
    own = {str(name): str(value) for name, value in cells.iloc[position].items()}
    row = _worked(run.id, tuple(own.items()), run)
    example = examples.iloc[position]
    _drawing(run, row, example)
    features_step(row)
    first_order_step(run, example)
    pairs_step(run, row)
    network_step(run, row, float(example["dnn_logit"]))
    sum_step(run, example)


def _choose_row(run: OpenRun, examples: pd.DataFrame) -> int:
    """Let the visitor choose a sampled row; give its position."""
    label = run.spec.schema.label
    names = [str(row) for row in examples["row"]]
    outcomes = [run_status.outcome(label, positive > 0.5) for positive in examples["label"]]
    said = {
        name: f"{int(name):,} · {outcome} · {percent(probability, 1)} predicted"
        for name, outcome, probability in zip(names, outcomes, examples["probability"], strict=True)
    }
    first = names[int(examples["probability"].to_numpy().argmax())]
    chosen = st.selectbox("Row", names, format_func=said.__getitem__, **links.mirror(ROW, names, first))
    if (named := links.missing(ROW, names)) is not None:
        st.info(f"Row {plain(named)} is not among the sampled rows. Showing the one with the highest probability.")
    return names.index(chosen)


@st.cache_resource(max_entries=32, show_spinner="Reading the model …")
def _worked(run_id: str, cells: tuple[tuple[str, str], ...], _run: OpenRun) -> WorkedRow:
    encoder, weights, spec = Encoder.load(_run.folder.encoder), _run.folder.weights(), _run.spec.model
    return WorkedRow.of(Embeddings.of(weights, encoder, spec), weights, encoder, spec, dict(cells))


def _drawing(run: OpenRun, row: WorkedRow, example: pd.Series[Any]) -> None:
    """Draw the model on the row; a click on a field says its numbers."""
    model = run.spec.model
    fields = _by_field(row)
    names = list(fields["field"])
    linked = links.chosen(FIELD)
    chosen = linked if linked in names else names[0]
    key = chart_key(f"drawing of {run.id}", lambda picked: all(at["field"] == chosen for at in picked[SELECTION]))

    def keep() -> None:
        picked = point(key, SELECTION)
        if picked:
            links.choose(FIELD, picked["field"])

    parts = parts_of(example, first_order=model.first_order, second_order=model.second_order, deep=model.deep)
    if model.switches.cross:
        parts = [replace(part, name=with_cross(part.name)) if part.name == "DNN" else part for part in parts]
    sizes = [len(layer) for layer in row.layers]
    figure(
        "The model on this row",
        lambda: architecture(
            fields, row.vectors, parts, sizes, float(example["logit"]), float(example["probability"]), chosen=chosen
        ),
        row.features,
        "From left to right: fields, the weight of each (one square), its embedding, the parts of the logit, the sum. "
        f"Green squares are positive, purple ones negative. {_empty(row)}Click a field to read its numbers.",
        key="drawing",
        titles=WORKED,
        file="row",
        chart_key=key,
        on_select=keep,
        selections=[SELECTION],
    )
    st.selectbox("Field", names, **links.mirror(FIELD, names, names[0]))
    _say_field(row, fields, names.index(chosen))


def _empty(row: WorkedRow) -> str:
    silent = row.vectors is not None and not row.vectors.any()
    return "Empty squares: the embeddings are all 0, since this run kept its guide alone. " if silent else ""


def _by_field(row: WorkedRow) -> pd.DataFrame:
    """Sum the weights of each field's features, in the model's order."""
    weighed = row.features.assign(weight=row.features["x"] * row.features["weight"])
    grouped = weighed.groupby("field", sort=False)
    cells, weights = grouped["cell"].first(), grouped["weight"].sum(min_count=1)
    return pd.DataFrame(
        {
            "field": row.fields,
            "cell": [cells.get(name, "") for name in row.fields],
            "weight": [weights.get(name, float("nan")) for name in row.fields],
        }
    )


def _say_field(row: WorkedRow, fields: pd.DataFrame, place: int) -> None:
    """Say the weight of a field in this row, its embedding, and its strongest pair."""
    line = fields.iloc[place]
    parts = []
    if pd.notna(line["weight"]):
        parts.append(f"Weight **{signed(float(line['weight']))}** log-odds.")
    if row.vectors is not None:
        parts.append(_embedding(row.vectors[place]))
    if row.products is not None and len(row.fields) > 1:
        other = int(abs(row.products[place]).argmax())
        added = float(row.products[place, other])
        if abs(added) > 0:
            parts.append(
                f"Its strongest pair in this row is with {code(row.fields[other])}: **{signed(added)}**, as trained."
            )
    st.caption(" ".join(parts))


def _embedding(numbers: NDArray[np.float64]) -> str:
    if not numbers.any():
        return "Its embedding is all 0."
    more = ", …" if len(numbers) > MOST_NUMBERS else ""
    return f"Embedding ({', '.join(signed(value) for value in numbers[:MOST_NUMBERS])}{more})."


def _glossary() -> None:
    st.header("Glossary", anchor=False)
    words = st.text_input("Find a term", placeholder="such as logit", key="glossary term").strip().lower()
    found = {term: text for term, text in GLOSSARY.items() if words in f"{term} {text}".lower()}
    if not found:
        st.info(f"The glossary has no {code(words)}.")
        return
    st.markdown("\n".join(f"- **{term}**: {text}" for term, text in found.items()))


main()
