"""The six steps: features, first order, FM pairs with the identity, DNN, the sum, and the models of the paper.

The sixth says why embeddings are shared, and what each model of the paper's comparison adds.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.shared import groups, guide, launch, run_status
from app.state import links
from app.state.saved_runs import OpenRun
from app.widgets.columns import WORKED, configured
from app.widgets.layout import sideways_hint
from app.widgets.text import MODEL_TITLES, code, counted, errors_shown, plain
from deepfm_core._words import percent, signed
from deepfm_core.explain.worked_row import WorkedRow, as_vectors, identity, pair_products
from deepfm_core.metrics.scores import sigmoid
from deepfm_core.spec.models import MODELS as SWITCHES

THREE = 3
ON_PHONE = 5
"""Columns of numbers that a phone shows without scrolling."""
NARROW = {"field": 80, "cell": 84, "feature": 84, "x": 52, "weight": 66}
"""Least widths of the columns of features, in pixels."""


def features_step(row: WorkedRow) -> None:
    """Show what the row's cells become."""
    st.header("1 · Cells become features", anchor=False)
    st.markdown(
        f"The model reads no words and no raw numbers, but **features**. This row has {len(row.features)} of them, of "
        f"{counted(len(row.fields), 'field')}, each with an *x*. A category has one feature with x = 1. A piecewise "
        "number lies between two knots, whose x add up to 1. A cell of several values has a feature for each."
    )
    shown = row.features
    columns = configured(shown, WORKED)
    for name, width in NARROW.items():  # so that the last column is in sight on a phone; elsewhere they grow
        columns[name] = {**columns.get(name, {}), "width": width}
    st.dataframe(shown, hide_index=True, column_config=columns, alt="Features", height=240)
    sideways_hint("The table")


def first_order_step(run: OpenRun, example: pd.Series[Any]) -> None:
    """Add up bias and weights."""
    st.header("2 · First order: what each feature does alone", anchor=False)
    if not run.spec.model.first_order:
        st.info(f"{MODEL_TITLES[run.spec.model.name]} has no first-order terms. Its DNN learns these as well.")
        return
    st.latex(r"w_0 + \sum_i w_i x_i")
    bias, weights = float(example["bias"]), float(example["first_order"])
    st.markdown(
        f"The bias is {signed(bias)}, and the weights of this row add up to {signed(weights)}. Together that is "
        f"**{signed(bias + weights)} log-odds**, a probability of {percent(_probability(bias + weights), 1)}. A model "
        "that stops here is logistic regression (LR)."
    )


def _probability(logit: float) -> float:
    return float(sigmoid(np.array([logit]))[0])


def pairs_step(run: OpenRun, row: WorkedRow) -> None:
    """Work the FM's identity out on three fields of the row."""
    st.header("3 · FM pairs: what two features do together", anchor=False)
    model, count = run.spec.model, len(row.fields)
    if row.products is None or count < THREE:
        why = "has no FM pairs" if row.products is None else f"reads {counted(count, 'field')}, and three are needed"
        st.info(f"{MODEL_TITLES[model.name]} {why}. Choose a run of FM or DeepFM to see the identity worked out.")
        return
    own = guide.second_order(run)
    if own in guide.LEGENDS:
        st.markdown("This run was guided, so its FM pairs are:")
        st.latex(own)
        st.caption(guide.LEGENDS[own])
        st.markdown("The FM of the paper has inner products alone. They are added up by an identity:")
    st.latex(r"\sum_{f<g} \langle e_f, e_g\rangle = \tfrac12\Big(\big|\sum_f e_f\big|^2 - \sum_f |e_f|^2\Big)")
    st.markdown(
        "The FM adds the inner product of every two embeddings. The identity saves the loop over pairs: take the "
        "square of the sum, subtract the sum of the squares, and halve it. A row has "
        f"{count * (count - 1) // 2:,} pairs of fields here, and only {count:,} embeddings to square."
    )
    chosen = _choose_three(row)
    if len(chosen) == THREE:
        _identity(run, row, chosen)
    else:
        st.info("Choose three fields.")


def _choose_three(row: WorkedRow) -> list[int]:
    first = [row.fields[place] for place in row.strongest(THREE)]
    key = "three fields"
    kept = [name for name in st.session_state.get(key, first) if name in row.fields]
    st.session_state[key] = kept
    picked = st.multiselect("Three fields", row.fields, max_selections=THREE, key=key)
    return [row.fields.index(name) for name in picked]


def _identity(run: OpenRun, row: WorkedRow, chosen: list[int]) -> None:
    assert row.products is not None
    names = [row.fields[place] for place in chosen]
    vectors = None if row.vectors is None or run.spec.model.has_guide else row.vectors[chosen]
    if vectors is None:
        products = row.products[np.ix_(chosen, chosen)]
        vectors = as_vectors(products)
        st.caption(
            "**Guided.** Cells and weighed products can be written as embeddings that are long enough: for three "
            "fields, two numbers each. The embeddings below are made for that. They give exactly this run's sums."
        )
    elif run.spec.model.centred:
        st.caption("Centred: each embedding less the mean of its field over the training rows.")
    worked = identity(vectors, names)
    st.dataframe(
        worked,
        hide_index=True,
        column_config=configured(worked, WORKED),
        alt="The identity, worked out",
        placeholder="",
    )
    if len(worked.columns) > ON_PHONE:
        sideways_hint("The table")
    pairs = pair_products(row.products, chosen, row.fields)
    summands = " ".join(
        f"{code(a)} × {code(b)} {signed(value, 3)}{mark}"
        for (a, b, value), mark in zip(pairs.itertuples(index=False), (",", ",", ";"), strict=True)
    )
    st.markdown(
        f"Pair by pair: {summands} together **{signed(float(pairs['value'].sum()), 3)}**. "
        f"By the identity: **{signed(float(worked['total'].iloc[-1]), 3)}** log-odds."
    )


def with_cross(name: str) -> str:
    """Name the DNN of a model that has a cross network beside it: the two are summed as one part."""
    return f"{name} + cross"


def network_step(run: OpenRun, row: WorkedRow, deep: float) -> None:
    """Show what each layer of the DNN passes on; `deep` is its logit, with that of a cross network if there is one."""
    st.header("4 · DNN: what many features do together", anchor=False)
    model = run.spec.model
    if not row.layers:
        st.info(f"{MODEL_TITLES[model.name]} has no DNN. Its logit ends here.")
        return
    st.latex(r"a^{(l+1)} = \sigma\big(W^{(l)} a^{(l)} + b^{(l)}\big)")
    both = model.second_order and not model.switches.own_embeddings
    shared = " They are the same embeddings as the FM's." if both else ""
    st.markdown(
        f"The DNN reads the embeddings of all fields side by side, {len(row.layers[0]):,} numbers.{shared} "
        f"After {counted(len(row.layers) - 2, 'hidden layer')}, one number is left: "
        f"**{signed(float(row.layers[-1][0]))} log-odds**."
    )
    if model.switches.cross:
        crossed = signed(deep - float(row.layers[-1][0]))
        st.markdown(f"Beside it, the cross network reads the same numbers. It adds **{crossed} log-odds**.")
    if not row.layers[-1].any() and model.has_guide:
        st.caption("It is 0: the DNN found nothing beyond the guide that helps on the validation rows.")
    names = ["inputs", *(f"hidden layer {number}" for number in range(1, len(row.layers) - 1)), "output"]
    table = pd.DataFrame(
        {
            "layer": names,
            "units": [len(values) for values in row.layers],
            "active": [float((np.abs(values) > 1e-12).mean()) for values in row.layers],
            "mean": [float(values.mean()) for values in row.layers],
            "largest": [float(values[np.abs(values).argmax()]) for values in row.layers],
        }
    )
    st.dataframe(table, hide_index=True, column_config=configured(table, WORKED), alt="Layers of the DNN")


def sum_step(run: OpenRun, example: pd.Series[Any]) -> None:
    """Add the parts up, and say what the row costs."""
    st.header("5 · One sum, trained as one", anchor=False)
    st.latex(r"\hat y = \mathrm{sigmoid}(y_{\mathrm{FM}} + y_{\mathrm{DNN}})")
    model = run.spec.model
    parts = {"bias": model.first_order, "first_order": model.first_order, "second_order": model.second_order}
    titles = {"bias": "bias", "first_order": "first order", "second_order": "FM pairs", "dnn_logit": "DNN"}
    if model.switches.cross:
        titles["dnn_logit"] = with_cross("DNN")
    there = [name for name in titles if {**parts, "dnn_logit": model.deep}[name]]
    summands = " + ".join(f"{titles[name]} ({signed(float(example[name]))})" for name in there)
    positive = float(example["label"]) > 0.5
    given = float(example["probability"]) if positive else 1 - float(example["probability"])
    outcome = run_status.outcome(run.spec.schema.label, positive)
    st.markdown(
        f"{summands[0].upper()}{summands[1:]} = **{signed(float(example['logit']))} log-odds**, a probability of "
        f"**{percent(example['probability'], 1)}**. The row has {code(outcome)}, to which the model gave "
        f"{percent(given, 1)}. So the row costs {-log(max(given, 1e-300)):.2f} nats of logloss. Training lowers the "
        "mean of that over all training "
        "rows, and moves all parts at once. DeepFM needs nothing trained ahead, unlike FNN, and no pairs named by "
        "hand, unlike Wide & Deep."
    )
    if model.has_guide:
        st.caption("**Guided.** This run differs from the paper: main effects and supported pairs were solved first.")
    if st.button(plain("Split other rows on Examples"), icon=":material/scatter_plot:"):
        links.go("examples")


ADDS = {
    "lr": "Bias and weights alone. What each feature does, and no pair.",
    "fm": "LR, plus the inner product of every two embeddings. A pair that was never seen still gets a value.",
    "dnn": "The deep network alone, on embeddings of its own.",
    "fnn": "A DNN that starts from a trained FM. Training in two phases; the logit is the DNN's.",
    "ipnn": "A DNN that also reads the inner products of all pairs.",
    "opnn": "A DNN that also reads the outer product of the summed embeddings.",
    "pnn": "A DNN that reads both kinds of products.",
    "wide-deep": "LR beside a DNN. Pairs enter the LR only as crossed fields that a person names.",
    "fm-dnn": "FM beside a DNN, each with embeddings of its own.",
    "dcn": "A DNN beside a cross network, which multiplies what it reads with itself, layer by layer.",
    "dcn-v2": "DCN whose cross layers have a matrix each, in place of a vector.",
    "deepfm": "FM beside a DNN on the same embeddings. No phase ahead, no crossed fields.",
}
"""What each model adds to those before it, by its name."""


def models_step(run: OpenRun) -> None:
    """Show the models of the paper, on this table where a comparison has finished."""
    st.header("6 · Why share the embeddings, and what each model adds", anchor=False)
    st.markdown(
        "FM & DNN has the same parts as DeepFM, but two sets of embeddings. Sharing one set means fewer numbers to "
        "learn, and each feature's numbers are trained by both parts: by pairs where they are frequent, and by what "
        "many features do together. The paper finds DeepFM ahead on both of its tables."
    )
    compared = groups.newest_comparison(run.spec)
    found = None if compared is None else groups.model_table(compared[1])
    table = _table(found)
    if found is not None:
        said = _sharing(found)
        st.markdown(f"On **{plain(run.spec.table_name)}**: {said}")
    st.table(table, hide_index=True, alt="Models of the paper")
    if found is None:
        st.caption("No comparison on this table has finished yet, so there are no figures of your own here.")
    label = "Compare the models on this table" if found is None else "See the comparison with intervals"
    if st.button(label, icon=":material/leaderboard:"):
        with errors_shown():
            if compared is None:
                launch.open_compare(run.spec)
            else:
                links.go("compare", comparison=compared[0].id)


def _table(found: pd.DataFrame | None) -> pd.DataFrame:
    """List the models in the paper's order, with their scores where they are known, as texts."""
    names = [name for name in SWITCHES if name in ADDS]
    table = pd.DataFrame(
        {"model": [MODEL_TITLES[name] for name in names], "what it is": [ADDS[name] for name in names]}
    )
    if found is not None:
        known = found.set_index("model").reindex(names)
        for column, title in (("auc", "AUC"), ("logloss", "logloss")):
            table[title] = ["–" if pd.isna(value) else f"{value:.4f}" for value in known[column]]
    return table


def _sharing(found: pd.DataFrame) -> str:
    """Set DeepFM beside FM & DNN by their scores, and say how sure that is."""
    known = found.set_index("model")
    if not {"deepfm", "fm-dnn"} <= set(known.index) or known.loc[["deepfm", "fm-dnn"], "auc"].isna().any():
        return "the comparison has no DeepFM and FM & DNN side by side. Add both to see what sharing is worth."
    shared, apart = (found[found["model"] == name].iloc[0] for name in ("deepfm", "fm-dnn"))
    said = (
        f"DeepFM has AUC {shared['auc']:.4f} with {int(shared['parameters']):,} numbers to learn, FM & DNN "
        f"{apart['auc']:.4f} with {int(apart['parameters']):,}."
    )
    return f"{said} {_sure(shared, apart)}"


def _sure(shared: pd.Series[float], apart: pd.Series[float]) -> str:
    """Say whether the difference is clear; the intervals of a comparison are against its best model."""
    if pd.isna(shared["auc_difference"]) == pd.isna(apart["auc_difference"]):
        return "Neither is the best model, so see the comparison for how far each is behind it."
    other = apart if pd.isna(shared["auc_difference"]) else shared
    clear = float(other["auc_low"]) > 0 or float(other["auc_high"]) < 0
    return "The difference is clear above noise." if clear else "The difference is no more than noise on these rows."
