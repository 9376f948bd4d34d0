"""What a table says about its pairs before any model is trained, asked of its labels by another process."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import streamlit as st

from app.state.store import store
from app.widgets.text import plain
from deepfm_core.evidence.verdicts import why_no_pairs
from deepfm_core.schema.schema import Schema
from deepfm_core.store.query import Question

if TYPE_CHECKING:
    import pandas as pd

ASKED_AT_ONCE = 50_000
"""Rows up to which a table is asked without a click."""
SHOWN = 8
LOOK_SECONDS = 1.0
START_SECONDS, SECONDS_A_CELL = 2.0, 1e-6
"""Roughly how long it takes: to start, and for each row of each pair, up to the rows that are drawn of a long table."""
MOST_ROWS = 200_000
WANTED = "pairs wanted of"
"""In the session: questions that the visitor asked by a click."""


def observed_section(sha: str, schema: Schema, rows: int) -> None:
    """Draw the strongest pairs by what the labels say, with a verdict against noise; nothing here waits.

    Args:
        sha: of the table.
        schema: its roles, with what the user changed.
        rows: how many the table has.
    """
    st.subheader("What the table says about its pairs", anchor=False)
    if not schema.has_pairs:
        st.caption(plain(why_no_pairs(schema)))
        return
    fields = len(schema.used)
    question = store().questions.about_pairs(sha, schema)
    standing = question.standing()
    wanted = st.session_state.setdefault(WANTED, set())
    begins = rows <= ASKED_AT_ONCE or question.key in wanted or standing.under_way
    if not standing.ended and not begins:
        st.caption(f"Asked of all labels, without a model. With {rows:,} rows it takes a moment.")
        st.button("Ask the data", icon=":material/grid_on:", on_click=wanted.add, args=(question.key,))
        return
    waiting = not standing.ended
    st.fragment(_answer, run_every=LOOK_SECONDS if waiting else None)(question, rows, fields, waiting)


def _answer(question: Question, rows: int, fields: int, waiting: bool) -> None:
    standing = question.look()
    if standing.answered and waiting:
        st.rerun()  # nothing is looked for any more
    elif standing.answered:
        _pairs(_frame(str(question.path)))
    elif standing.problem:
        st.info(plain(standing.problem))
        st.button("Ask again", icon=":material/refresh:", on_click=question.forget_problem)
    else:
        expected = START_SECONDS + SECONDS_A_CELL * min(rows, MOST_ROWS) * comb(fields, 2)
        share = max(standing.share, min(0.15, standing.seconds / expected))
        st.progress(share, f"Asking the data … {standing.seconds:.0f} s")


@st.cache_data(max_entries=16, show_spinner=False)
def _frame(path: str) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path).dropna(axis="columns", how="all")


def _pairs(pairs: pd.DataFrame) -> None:
    from app.charts.interactions.ranking import strongest_pairs
    from app.widgets.columns import PAIRS
    from app.widgets.figure import figure
    from deepfm_core.evidence.verdicts import data_verdicts

    st.markdown(sentence(pairs))
    if not pairs["solid"].any():  # a chart would draw noise at full size
        return
    judged = pairs.assign(verdict=data_verdicts(pairs))
    figure(
        "Strongest pairs",
        lambda: strongest_pairs(judged, top=SHOWN, measures=()),
        judged.drop(columns="solid"),
        "Strength in log-odds: the standard deviation over rows of what a pair adds beyond its two fields alone, by "
        "all labels, without a model. Band: 90% of what the data supports. Faint: not told apart from noise.",
        key="observed pairs",
        titles=PAIRS,
        file="observed-pairs",
    )


def sentence(pairs: pd.DataFrame) -> str:
    """Say what the labels tell apart from noise, and which pair is strongest."""
    from app.charts.interactions.ranking import pair_label
    from app.shared.pair_verdicts import clear_pairs, no_clear_pairs

    solid = pairs[pairs["solid"].astype(bool)]
    if solid.empty:
        return no_clear_pairs(pairs)
    best = solid.sort_values("strength", ascending=False).iloc[0]
    return (
        f"{clear_pairs(solid, pairs)} clear above noise. The strongest is "
        f"**{plain(pair_label(best['field_a'], best['field_b']))}** with {best['strength']:.2f} log-odds "
        f"(90%: {best['strength_low']:.2f} to {best['strength_high']:.2f})."
    )
