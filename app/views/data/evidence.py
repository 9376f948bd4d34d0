"""What the labels say before any model is trained: of the values of a field, and of pairs, by another process."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import streamlit as st

from app.state import links, saved_tables, visitor
from app.state.store import store
from app.widgets.text import plain, without_options
from deepfm_core._words import percent
from deepfm_core.evidence.verdicts import why_no_pairs
from deepfm_core.schema.schema import Schema
from deepfm_core.store.query import Question

if TYPE_CHECKING:
    import pandas as pd

    from deepfm_core.tables.table import Table

ASKED_AT_ONCE = 50_000
"""Up to this many rows, the estimate starts without a click."""
SHOWN = 8
LOOK_SECONDS = 1.0
START_SECONDS, SECONDS_A_CELL = 2.0, 1e-6
"""Expected seconds: to start, and per row of each pair."""
MOST_ROWS = 200_000
"""Rows that are used of a longer table."""
MOST_TESTED = 1_000
"""Pairs that are tested of a wider table."""
WANTED = "pairs wanted of"
"""In the session: keys of the estimates that the visitor started by a click."""


def values_section(sha: str, table: Table, schema: Schema) -> None:
    """Draw how often each value of a chosen field occurs, and its share of positives; nothing before one is chosen."""
    st.subheader("A field's values", anchor=False)
    names = [role.column for role in schema.roles]
    field = st.selectbox(
        "Field to look at",
        names,
        placeholder="Choose a field to see its kind, its values and their share of positives",
        label_visibility="collapsed",
        **links.mirror("look", names, None),
    )
    if field is not None:
        role = schema.role(field)
        said = [f"**{role.kind.value}**: {plain(without_options(role.reason))}."]
        said += [f"Careful: {plain(without_options(role.warning))}."] if role.warning else []
        st.caption("  \n".join(said))
        _values_of(table, schema, field, _rates(sha, repr(schema), table, schema, field))


@st.cache_data(max_entries=64, show_spinner=False)
def _rates(sha: str, key: str, _table: Table, _schema: Schema, field: str) -> tuple[pd.DataFrame, float]:
    """Count the labelled rows by value of a field; also give the share of positives among all of them."""
    from deepfm_core.metrics.scores import level_rates, level_rows
    from deepfm_core.schema.copies import learned_rows

    rows, labels = learned_rows(_table.frame, _schema, _table.name)
    levels = level_rows(_table.frame[field].iloc[rows], _schema.role(field))
    return level_rates(labels, levels), float(labels.mean())


def _values_of(table: Table, schema: Schema, field: str, found: tuple[pd.DataFrame, float]) -> None:
    from app.charts.performance import slices
    from app.widgets.columns import RATES
    from app.widgets.figure import figure

    rates, overall = found
    outcome = schema.label.outcome()
    figure(
        f"{field} and {outcome}",
        lambda: slices(
            rates,
            value="rate",
            title=f"share of {outcome}",
            overall=overall,
            form=".1%",
            field=schema.role(field).measured_in,
            shares=True,
        ),
        rates,
        f"Point and band: share of rows with {plain(outcome)}, with its 95% interval. Dashed: "
        f"{percent(overall, 1)}, the share among all rows. Pale bar and number: rows with this value. Numbers are cut "
        "into five ranges of similar size; rare values are pooled.",
        key="values",
        titles={**RATES, "rate": (f"share of {outcome}", "percent"), "share": ("share of rows", "percent")},
        file=f"{field}-values",
    )


def observed_section(sha: str, schema: Schema, rows: int) -> None:
    """Draw the strongest pairs in the data, with a verdict on each; the page does not wait for them.

    Args:
        sha: SHA-256 of the table.
        schema: its roles, with the visitor's changes.
        rows: number of its rows.
    """
    st.subheader("What the table says about its pairs", anchor=False)
    if not schema.has_pairs:
        st.caption(plain(why_no_pairs(schema)))
        return
    question = store().questions.about_pairs(sha, schema, visitor.owner())
    standing = question.standing()
    wanted = st.session_state.setdefault(WANTED, set())
    begins = rows <= ASKED_AT_ONCE or question.key in wanted or standing.under_way
    if not standing.ended and not begins:
        st.caption(f"Estimated from the labels, without a model. With {rows:,} rows, it takes a moment.")
        st.button("Estimate pairs", icon=":material/grid_on:", on_click=wanted.add, args=(question.key,))
        return
    waiting = not standing.ended
    st.fragment(_answer, run_every=LOOK_SECONDS if waiting else None)(question, sha, schema, rows, waiting)


def _answer(question: Question, sha: str, schema: Schema, rows: int, waiting: bool) -> None:
    standing = question.look()
    if standing.answered and waiting:
        st.rerun()  # the answer is there: stop polling
    elif standing.answered:
        _pairs(_frame(str(question.path)), sha, schema)
    elif standing.problem:
        st.info(plain(standing.problem))
        st.button("Try again", icon=":material/refresh:", on_click=question.forget_problem)
    else:
        expected = START_SECONDS + SECONDS_A_CELL * min(rows, MOST_ROWS) * min(comb(len(schema.used), 2), MOST_TESTED)
        share = max(standing.share, min(0.15, standing.seconds / expected))
        st.progress(share, f"Estimating pairs from the labels … {standing.seconds:.0f} s")


@st.cache_data(max_entries=16, show_spinner=False)
def _frame(path: str) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path).dropna(axis="columns", how="all")


@st.cache_data(max_entries=16, show_spinner=False)
def _positives(sha: str, label: str, _schema: Schema) -> tuple[int, int]:
    """Count the positive rows of a table, and all that have a label."""
    from deepfm_core.schema.labels import labelled_rows

    table = saved_tables.table(sha)
    _, labels = labelled_rows(table.frame, _schema.label, table.name)
    return int(labels.sum()), len(labels)


def _pairs(pairs: pd.DataFrame, sha: str, schema: Schema) -> None:
    from app.charts.interactions.ranking import strongest_pairs
    from app.widgets.columns import PAIRS
    from app.widgets.figure import figure
    from deepfm_core.evidence.verdicts import data_verdicts, untested_said

    passed = pairs["significant"].any()
    st.markdown(sentence(pairs, None if passed else _positives(sha, repr(schema.label), schema)))
    if said := untested_said(pairs):
        st.caption(said)
    if not passed:  # a chart would draw noise as large as an effect
        return
    evaluated = pairs.assign(verdict=data_verdicts(pairs))
    figure(
        "Strongest pairs",
        lambda: strongest_pairs(evaluated, top=SHOWN, measures=()),
        evaluated.drop(columns="significant"),
        "Strength in log-odds: the standard deviation over rows of what a pair adds beyond its two fields alone. "
        "Estimated from the labels, without a model. Band: 90% interval. Faint: not clear above noise.",
        key="observed pairs",
        titles=PAIRS,
        file="observed-pairs",
    )


def sentence(pairs: pd.DataFrame, counted: tuple[int, int] | None = None) -> str:
    """Say how many pairs are clear above noise, and which is strongest.

    Args:
        pairs: what the labels say of them.
        counted: the numbers of positive and of all rows, where none is clear: few may be why.
    """
    from app.charts.interactions.ranking import pair_label
    from app.shared.field_pairs import no_clear_pairs
    from deepfm_core.evidence.verdicts import put_first
    from deepfm_core.explain.pair_counts import PairCounts

    said = PairCounts.of(pairs).sure_said
    if not said:
        return no_clear_pairs(pairs, counted)
    best = put_first(pairs, "strength").iloc[0]
    return (
        f"{said} The strongest is "
        f"**{plain(pair_label(best['field_a'], best['field_b']))}**, with {best['strength']:.2f} log-odds "
        f"(90%: {best['strength_low']:.2f} to {best['strength_high']:.2f})."
    )
