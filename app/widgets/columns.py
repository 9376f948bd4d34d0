"""Titles and number formats of columns in tables on the screen; a CSV keeps the short names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app.widgets.glossary import meaning

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
