"""How columns of frames are titled and written in tables on the screen; a CSV keeps their short names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

Titles = Mapping[str, tuple[str, str]]
"""By column: title with unit, and number format (`st.column_config.NumberColumn`)."""

STRENGTHS = ("strength", "learned_fm", "learned_dnn", "learned", "compared", "held_out_strength", "observed")
"""Columns of `PAIRS` in log-odds, the standard deviation over rows: said once below the table and on their headings."""
RATES: Titles = {
    "predicted": ("predicted click rate", "percent"),
    "observed": ("observed click rate", "percent"),
    "low": ("95% from", "percent"),
    "high": ("95% to", "percent"),
    "recall": ("recall", "percent"),
    "false_positive_rate": ("false positive rate", "percent"),
    "precision": ("precision", "percent"),
    "share": ("share of rows called", "percent"),
    "lift": ("lift (times the base rate)", "%.2f"),
}
SLICES: Titles = {
    "calibration_ratio": ("predicted ÷ observed", "%.2"),
    "auc": ("AUC", "%.3"),
    "logloss": ("logloss (nats)", "%.3"),
    "low": ("95% from", "%.3"),
    "high": ("95% to", "%.3f"),
}
PAIRS: Titles = {
    "field_a": ("field", ""),
    "field_b": ("with", ""),
    "strength": ("the data", "%.3"),
    "strength_low": ("90% from", "%.3"),
    "strength_high": ("90% to", "%.3"),
    "learned_fm": ("FM's part", "%.3"),
    "learned_dnn": ("DNN's part", "%.3"),
    "learned": ("whole logit", "%.3"),
    "compared": ("compared run", "%.3"),
    "held_out_strength": ("on unseen rows", "%.3"),
    "held_out_z": ("held-out z", "%.1"),
    "observed": ("the data, pair alone", "%.3"),
    "observed_z": ("observed z", "%.1"),
    "p_value": ("p-value", "%.2g"),
    "q_value": ("false discovery rate", "%.2g"),
    "probability": ("probability that it interacts", "percent"),
    "support": ("level pairs seen", "localized"),
    "held_out_slope": ("held-out slope", "%.2"),
    "knock_out_logloss": ("knock-out (nats)", "%.5"),
    "knock_out_low": ("knock-out 95% from", "%.5"),
    "knock_out_high": ("knock-out 95% to", "%.5f"),
}
CELLS: Titles = {
    "level_a": ("level", ""),
    "level_b": ("with level", ""),
    "rows": ("training rows", "localized"),
    "expected": ("expected clicks", "%.1"),
    "observed": ("observed (log-odds)", "%.3"),
    "model": ("model (log-odds)", "%.3"),
    "difference": ("observed − model (log-odds)", "%.3"),
    "learned_fm": ("FM's part (log-odds)", "%.3"),
    "learned": ("whole logit (log-odds)", "%.3"),
    "effect": ("main effect (log-odds)", "%.3f"),
}
ROWS: Titles = {
    "row": ("row", "localized"),
    "probability": ("probability", "percent"),
    "logit": ("logit (log-odds)", "%.3"),
    "fm_logit": ("FM logit (log-odds)", "%.3"),
    "dnn_logit": ("DNN logit (log-odds)", "%.3"),
    "surprise": ("surprise (nats)", "%.2"),
    "value": ("log-odds", "%.4f"),
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
    "difference": ("difference", "%.4"),
    "low": ("95% from", "%.4"),
    "high": ("95% to", "%.4"),
    "b": ("this run", "%.4"),
    "a": ("compared", "%.4"),
}


def configured(table: pd.DataFrame, titles: Titles) -> dict[str, Any]:
    """Give the columns' titles and number formats for `st.dataframe`."""
    return {str(name): _column(str(name), table[name], titles) for name in table.columns}


def _column(name: str, values: pd.Series[Any], titles: Titles) -> Any:
    title, form = titles.get(name, (name.replace("_", " "), ""))
    if pd.api.types.is_float_dtype(values):
        return st.column_config.NumberColumn(title, format=form or "%.3")
    if pd.api.types.is_integer_dtype(values):
        return st.column_config.NumberColumn(title, format=form or "localized")
    return st.column_config.Column(title)
