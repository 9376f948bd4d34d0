"""The sixth step: why embeddings are shared, and what each model of the paper's comparison adds."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.shared import groups, launch
from app.state import links
from app.state.saved_runs import OpenRun
from app.widgets.text import MODEL_TITLES, errors_shown, plain
from deepfm_core.spec.models import MODELS as SWITCHES

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
                launch.compare(run.spec)
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
