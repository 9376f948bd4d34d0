"""The chosen feature: its strongest partners, and its nearest neighbours in all dimensions."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.embeddings import partner_bars, point_name
from app.shared.run_status import outcome
from app.state.saved_runs import OpenRun
from app.widgets.columns import EMBEDDED, configured
from app.widgets.figure import figure
from app.widgets.text import code, plain
from deepfm_core._words import percent, signed
from deepfm_core.explain.embeddings import CELLS, FM, THIN, Embeddings

NEAREST = 8


def partners_section(run: OpenRun, made: Embeddings, feature: int) -> None:
    """Draw what the chosen feature does together with its strongest partners."""
    field = made.fields[made.field[feature]]
    name = point_name(field, str(made.names[feature]))
    partners = made.partners(feature, level_pairs(run, field))
    measure = "fm" if made.multiplied else "whole"
    if partners.empty or not partners[measure].abs().max() > 0:
        st.subheader(plain(f"Partners of {name}"), anchor=False)
        st.info(f"The model adds nothing for {code(name)} together with another feature.")
        return
    figure(
        f"Partners of {name}",
        lambda: partner_bars(partners, name, measure=measure),
        partners.drop(columns="id").dropna(axis="columns", how="all"),
        _reading(made, run),
        key="partners",
        titles=EMBEDDED,
        file="partners",
    )
    st.markdown(_strongest(partners.iloc[0], name, measure, run))


def level_pairs(run: OpenRun, field: str) -> pd.DataFrame | None:
    """Read what the run stored of the pairs of a field."""
    return run.folder.frame("level_pairs", filters=[[("field_a", "=", field)], [("field_b", "=", field)]])


def _reading(made: Embeddings, run: OpenRun) -> str:
    beyond = "Beyond what each does alone, for a row that holds both. Green raises the logit, purple lowers it."
    if not made.multiplied:
        return f"What the whole logit adds. {beyond} Only the levels that *Interactions* shows are known."
    tick = " Tick: the whole logit with the DNN, where it is known." if run.spec.model.deep else ""
    return f"What FM pairs add. {beyond}{tick}"


def _strongest(partner: pd.Series[float], name: str, measure: str, run: OpenRun) -> str:
    """Say what the feature and its strongest partner do together, and how many rows say so."""
    other = point_name(str(partner["field"]), str(partner["feature"]))
    does = f"{code(name)} with {code(other)}: **{signed(float(partner[measure]))} log-odds**"
    if not partner["both"] > 0:
        return f"{does}. It is not known how many rows hold both; the partner is in {int(partner['rows']):,}."
    rows, positive = int(partner["both"]), code(outcome(run.spec.schema.label))
    said = f"{does}. {rows:,} training rows hold both, {percent(partner['rate'])} of them with {positive}."
    return f"{said} That is few: take it as a hint." if rows < THIN else said


def neighbours_section(made: Embeddings, space: str, feature: int) -> None:
    """List the nearest neighbours of the chosen feature, by both metrics."""
    name = point_name(made.fields[made.field[feature]], str(made.names[feature]))
    st.subheader("Nearest neighbours", anchor=False)
    inner, cosine = st.tabs(["By inner product", "By cosine"])
    with inner:
        _neighbours(made, space, feature, "inner")
        st.caption(_inner_reading(made, space))
    with cosine:
        _neighbours(made, space, feature, "cosine")
        st.caption(f"The angle alone, 1 being the same direction as {code(name)}. It says nothing about strength.")


def _inner_reading(made: Embeddings, space: str) -> str:
    if space == CELLS:
        return "How much the cells of two features agree, by the rows that they are for."
    if made.multiplied and space == FM:
        return "What FM pairs use: it grows with both lengths. Only features of different fields are multiplied."
    return "The FM would use it. Here only the DNN reads these vectors."


def _neighbours(made: Embeddings, space: str, feature: int, metric: str) -> None:
    found = made.neighbours(feature, space, metric, NEAREST)
    if found.empty:
        st.info("No other trained feature points the same way.")
        return
    names = [point_name(field, name) for field, name in zip(found["field"], found["feature"], strict=True)]
    found = found.assign(feature=names).drop(columns=["id", "field"])
    st.dataframe(found, hide_index=True, column_config=configured(found, EMBEDDED), alt="Nearest neighbours")
