"""What words and columns mean: the glossary, and titles and number formats of columns; a CSV keeps the short names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

# The terms of the interface, each said once: for the glossary on Learn, and for hover texts elsewhere.


GLOSSARY = {
    "AUC": "How often a positive row gets a higher score than a negative one. 0.5 is guessing, 1 is perfect.",
    "baseline": "Gradient boosting on the same rows, to compare the models with.",
    "bias": "The constant of the logit: what a row has before its features count.",
    "calibration": "Whether rows with a probability of 20% are positive in 20% of cases.",
    "cell": "Two features that stand in one row; in a guided model, also the weight that the two have together.",
    "clear above noise": "A table without this interaction would hardly ever look like this one: the false discovery "
    "rate is at most 5%, and no other pair explains it: beside the others, its interval stays above zero or held-out "
    "rows confirm it.",
    "clear alone, unsure beside others": "Of a pair that is clear if taken alone: beside the other pairs, its interval "
    "reaches down to zero, so that it could add nothing.",
    "DNN": "The deep neural network: hidden layers that read all embeddings of a row, and one output.",
    "dropout": "The share of hidden units that each training step leaves out. The paper states the share kept.",
    "embedding": "K numbers that the model learns for each feature.",
    "epoch": "One pass of the training over all training rows.",
    "false discovery rate": "Of the pairs that pass the test against noise, the share that is expected to be noise.",
    "feature": "One value of a field, such as `device = phone`.",
    "field": "A column that the model reads.",
    "first order": "The sum of the weights of a row's features: what each does alone.",
    "FM": "The factorization machine: bias, first order, and the products of all pairs of embeddings.",
    "FM logit": "Bias + first order + FM pairs.",
    "FM pairs": "The second-order part of the FM alone: the sum of ⟨vᵢ, vⱼ⟩ over all pairs of features of a row.",
    "guide": "Main effects and pairs that the labels of the training rows support, solved before the first epoch.",
    "held-out rows": "Rows that the model was not trained on: the validation and the test part.",
    "inner product": "The sum of the products of two embeddings, number by number: ⟨a, b⟩ = Σ aₖbₖ.",
    "interaction": "What two fields do together beyond what each does alone.",
    "knock-out": "How much worse the logloss on held-out rows gets if a pair's part is taken out of the logit.",
    "label": "The column to predict. One of its two values is called positive.",
    "log-odds": "The logarithm of p ÷ (1 − p). 0 is 50%; +1 multiplies the odds by 2.7.",
    "logit": "The sum that the model computes for a row, in log-odds. The probability is its sigmoid.",
    "logloss": "The mean surprise at the labels, −log of the probability given to what happened. Lower is better.",
    "main effect": "What a field does alone, on average over all other fields.",
    "nats": "The unit of logloss: surprise by natural logarithms. 1 nat is 1.44 bits.",
    "purified": "With the main effects taken out of the pairs, and the pairs out of what is higher, so that nothing is "
    "counted twice.",
    "strength": "The standard deviation over rows of what a pair adds to the logit, in log-odds.",
}
"""By term, in the order of the alphabet."""


def meaning(term: str) -> str:
    """Say what a term means, for the `help` of a heading or a figure."""
    return f"**{term[0].upper()}{term[1:]}.** {GLOSSARY[term]}"


# Titles and number formats of columns in tables on the screen; a CSV keeps the short names.


Titles = Mapping[str, tuple[str, str]]
"""By column: title with unit, and number format (`st.column_config.NumberColumn`)."""

STRENGTHS = ("strength", "learned_fm", "learned_dnn", "learned", "compared", "held_out_strength", "observed")
"""Columns of `PAIRS` that are strengths; the unit is in the help of each heading and once below the table."""
STRENGTH_HELP = "Strength: standard deviation over rows, in log-odds."
HELP = {
    "learned_fm": f"The second-order part of the FM alone, purified. {STRENGTH_HELP}",
    "learned_dnn": f"The DNN alone, purified. {STRENGTH_HELP}",
    "fm_logit": "Bias + first order + second order.",
    "q_value": meaning("false discovery rate"),
    "knock_out_logloss": meaning("knock-out"),
    "logloss": meaning("logloss"),
    "auc": meaning("AUC"),
}
"""Help of a heading, by column: FM pairs are the second order alone, the FM logit also has bias and first order."""
RATES: Titles = {
    "predicted": ("predicted positive rate", "percent"),
    "observed": ("observed positive rate", "percent"),
    "low": ("95% from", "percent"),
    "high": ("95% to", "percent"),
    "recall": ("recall", "percent"),
    "false_positive_rate": ("false positive rate", "percent"),
    "precision": ("precision", "percent"),
    "share": ("share of rows flagged", "percent"),
    "lift": ("lift (times the base rate)", "%.2f"),
}
SLICES: Titles = {
    "calibration_ratio": ("predicted ÷ observed", "%.2f"),
    "auc": ("AUC", "%.3f"),
    "logloss": ("logloss (nats)", "%.3f"),
    "low": ("95% from", "%.3f"),
    "high": ("95% to", "%.3f"),
}
PAIRS: Titles = {
    "field_a": ("field", ""),
    "field_b": ("with", ""),
    "strength": ("the data", "%.3f"),
    "strength_low": ("90% from", "%.3f"),
    "strength_high": ("90% to", "%.3f"),
    "learned_fm": ("FM pairs", "%.3f"),
    "learned_dnn": ("DNN", "%.3f"),
    "learned": ("whole logit", "%.3f"),
    "compared": ("compared run", "%.3f"),
    "held_out_strength": ("held-out rows", "%.3f"),
    "held_out_z": ("held-out z", "%.1f"),
    "observed": ("the data, pair alone", "%.3f"),
    "observed_z": ("observed z", "%.1f"),
    "p_value": ("p-value", "%.2g"),
    "q_value": ("false discovery rate", "%.2g"),
    "probability": ("probability that it interacts", "percent"),
    "support": ("level pairs with rows", "localized"),
    "held_out_slope": ("held-out slope", "%.2f"),
    "knock_out_logloss": ("knock-out (nats)", "%.5f"),
    "knock_out_low": ("knock-out 95% from", "%.5f"),
    "knock_out_high": ("knock-out 95% to", "%.5f"),
}
CELLS: Titles = {
    "level_a": ("level", ""),
    "level_b": ("with level", ""),
    "rows": ("training rows", "localized"),
    "expected": ("expected positives", "%.1f"),
    "observed": ("observed (log-odds)", "%.3f"),
    "model": ("model (log-odds)", "%.3f"),
    "difference": ("observed − model (log-odds)", "%.3f"),
    "learned_fm": ("FM pairs (log-odds)", "%.3f"),
    "learned": ("whole logit (log-odds)", "%.3f"),
    "effect": ("main effect (log-odds)", "%.3f"),
}
ROWS: Titles = {
    "row": ("row", "localized"),
    "probability": ("probability", "percent"),
    "logit": ("logit (log-odds)", "%.3f"),
    "fm_logit": ("FM logit (log-odds)", "%.3f"),
    "dnn_logit": ("DNN logit (log-odds)", "%.3f"),
    "surprise": ("surprise (nats)", "%.2f"),
    "value": ("log-odds", "%.4f"),
}
WORKED: Titles = {
    "x": ("x", "%.3f"),
    "weight": ("weight (log-odds)", "%.3f"),
    "what": (" ", ""),
    "total": ("total", "%.3f"),
    "active": ("not 0", "percent"),
}
EMBEDDED: Titles = {
    "rows": ("training rows", "localized"),
    "rate": ("share of positives", "percent"),
    "norm": ("length", "%.3f"),
    "weight": ("first-order weight", "%.3f"),
    "effect": ("with the chosen feature (log-odds)", "%.3f"),
    "x": ("first component", "%.3f"),
    "y": ("second component", "%.3f"),
    "z": ("third component", "%.3f"),
    "fm": ("FM pairs (log-odds)", "%.3f"),
    "whole": ("whole logit (log-odds)", "%.3f"),
    "both": ("rows with both", "localized"),
    "inner": ("inner product", "%.3f"),
    "cosine": ("cosine", "%.2f"),
}
LADDER: Titles = {
    name: (title, "%.4f")
    for name, title in {
        "auc": "AUC",
        "auc_low": "95% from",
        "auc_high": "95% to",
        "logloss": "logloss (nats)",
        "logloss_low": "95% from",
        "logloss_high": "95% to",
    }.items()
}
DIFFERENCES: Titles = {
    "difference": ("difference", "%.4f"),
    "low": ("95% from", "%.4f"),
    "high": ("95% to", "%.4f"),
    "b": ("this run", "%.4f"),
    "a": ("compared run", "%.4f"),
}


def configured(table: pd.DataFrame, titles: Titles) -> dict[str, Any]:
    """Give `st.dataframe` the title, number format and help of each column."""
    return {str(name): _column(str(name), table[name], titles) for name in table.columns}


def _column(name: str, values: pd.Series[Any], titles: Titles) -> Any:
    title, form = titles.get(name, (name.replace("_", " "), ""))
    if pd.api.types.is_float_dtype(values):
        help_text = HELP.get(name, STRENGTH_HELP if titles is PAIRS and name in STRENGTHS else None)
        return st.column_config.NumberColumn(title, format=form or "%.3f", help=help_text)
    if pd.api.types.is_integer_dtype(values):
        return st.column_config.NumberColumn(title, format=form or "localized")
    return st.column_config.Column(title)
