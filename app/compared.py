"""What a compared run adds to a page: its predictions by name and time, and a sentence on what may be compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import home, parts
from app.figure import signed
from app.inputs import plain
from deepfm_core.training.comparison import logloss_difference

_ALIKE = 1e-6
"""Log-odds up to which two runs give a row the same logit; rounding alone moves it by less."""


def same_predictions(run: home.OpenRun, other: home.OpenRun | None, part: str) -> bool:
    """Say whether two runs give every row of a part the same logit."""
    if other is None or not parts.same_rows(run, other, part):
        return False
    mine, theirs = parts.predictions(run, part), parts.predictions(other, part)
    if mine is None or theirs is None:
        return False
    return bool(np.allclose(mine["logit"], theirs["logit"], rtol=0, atol=_ALIKE))


def say_which_is_better(run: home.OpenRun, other: home.OpenRun, part: str) -> None:
    """Say which of two runs predicts the same rows better and whether chance would explain it, or why none can be."""
    name = plain(home.name_of(other))
    mine, theirs = parts.predictions(run, part), parts.predictions(other, part)
    if not parts.same_table(run, other, part):
        table = plain(other.spec.table_name)
        st.info(
            f"**{name}** was judged on another table, {table}: the two cannot be compared, and it is left out here."
        )
    elif mine is None or theirs is None or not parts.same_rows(run, other, part):
        st.caption(
            f"**{name}** was judged on other rows of this table: its curves are drawn, but do not compare figures."
        )
    elif same_predictions(run, other, part):
        st.caption(f"**{name}** is identical: it gives every one of these rows the same probability.")
    else:
        labels, logits = mine["label"].to_numpy(dtype=float), mine["logit"].to_numpy()
        apart = logloss_difference(labels, logits, theirs["logit"].to_numpy())
        which = "lower" if apart.value < 0 else "higher"
        verdict = "more than chance explains" if apart.told_apart else "which chance alone could explain"
        st.caption(
            f"Against **{name}**, row by row on the same rows, the logloss is {_size(apart.value)} {which} "
            f"(95%: {signed(apart.low, 4)} to {signed(apart.high, 4)}), {verdict}."
        )


def predicted_runs(
    run: home.OpenRun, rows: pd.DataFrame, other: home.OpenRun | None, part: str
) -> dict[str, pd.DataFrame]:
    """Give a part's predictions by run: the current run's, and the compared one's where it was judged on this table."""
    theirs = parts.predictions(other, part) if other and parts.same_table(run, other, part) else None
    if other is None or theirs is None:
        return {home.name_of(run): rows}
    return {home.name_of(run): rows, home.name_of(other): theirs}


def say_what_pairs(run: home.OpenRun, other: home.OpenRun | None, pairs: pd.DataFrame) -> None:
    """Say where a compared run has none of the pairs, or has them from another table.

    Args:
        run: the current run.
        other: the compared one, if any.
        pairs: with the column `compared` where it has pairs at all.
    """
    if other is None:
        return
    name, elsewhere = plain(home.name_of(other)), other.spec.table != run.spec.table
    table = f"another table, {plain(other.spec.table_name)}" if elsewhere else "this table"
    if "compared" not in pairs or pairs["compared"].isna().all():
        st.info(f"**{name}**, trained on {table}, has none of these pairs: it cannot be compared and is left out here.")
    elif elsewhere:
        st.caption(f"**{name}** was trained on {table}: pairs of fields of the same names stand side by side.")


def _size(difference: float) -> str:
    return "under 0.0001" if abs(difference) < 1e-4 else f"{abs(difference):.4f}"
