"""The sampled row that the page shows: kept in the URL, chosen in a chart, a select box, a table or by a button."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.shared.run_status import outcome
from app.state import links
from app.state.links import chart_key, point, selected
from app.widgets.layout import ask_in_view
from app.widgets.text import plain
from deepfm_core._words import percent
from deepfm_core.metrics.scores import logloss_by_row
from deepfm_core.schema.schema import LabelRole

ROW = "row"
"""Name of the choice in the URL."""


def with_surprise(examples: pd.DataFrame) -> pd.DataFrame:
    """Add each row's logloss in nats: how surprised the model is by the outcome."""
    loss = logloss_by_row(examples["label"].to_numpy(dtype=float), examples["logit"].to_numpy())
    return examples.assign(surprise=loss)


def odd_rows(examples: pd.DataFrame) -> dict[str, int]:
    """Find rows worth opening, by what is special about them; needs the column `surprise`."""
    positive = examples["label"] > 0.5
    by_outcome = {"Least expected positive": examples[positive], "Least expected negative": examples[~positive]}
    found = {
        name: _row_at(rows, rows["surprise"].to_numpy().argmax()) for name, rows in by_outcome.items() if len(rows)
    }
    found["Highest probability"] = _row_at(examples, examples["probability"].to_numpy().argmax())
    found["Nearest to even"] = _row_at(examples, np.abs(examples["logit"].to_numpy()).argmin())
    return found


def choose_row(examples: pd.DataFrame, label: LabelRole) -> int:
    """Let the visitor choose a row by number or by what is special about it, at first the least expected positive."""
    odd = odd_rows(examples)
    rows = [str(row) for row in examples["row"]]
    described = {
        row: f"{outcome(label, value > 0.5)} · {percent(probability, 1)}"
        for row, value, probability in zip(rows, examples["label"], examples["probability"], strict=True)
    }
    bar = st.container(horizontal=True, vertical_alignment="bottom")
    chosen = bar.selectbox(
        "Row",
        rows,
        width=280,
        format_func=lambda row: f"{int(row):,} · {described[row]}",
        **links.mirror(ROW, rows, str(next(iter(odd.values())))),
    )
    if (row_named := links.missing(ROW, rows)) is not None:
        first = next(iter(odd)).lower()
        st.info(f"Row {plain(row_named)} is not among the {len(rows):,} sampled rows. Showing the {first} row.")
    for name, row in odd.items():
        bar.button(name, on_click=keep, args=(row,), help=f"Row {row:,}")
    return int(chosen)


def keep(row: int) -> None:
    """Keep a row in the URL, and have the page show it."""
    links.choose(ROW, str(row))
    ask_in_view()


def keep_click(chart: str) -> None:
    """Keep the row that was clicked in a chart; an empty selection changes nothing."""
    picked = point(chart, ROW)
    if picked:
        keep(int(picked["row"]))


def plane_key(run_id: str, row: int) -> str:
    """Give the key of the chart of all rows; a selected area is kept when another row is opened."""
    return chart_key(
        f"plane of {run_id}",
        lambda picked: bool(picked.get("brush")) or all(int(p["row"]) == row for p in picked.get(ROW) or []),
    )


def brushed(examples: pd.DataFrame, chart: str, axes: dict[str, str]) -> pd.DataFrame | None:
    """Return the rows inside the selected area of a chart; None if no area is selected.

    Args:
        examples: the rows drawn.
        chart: its key.
        axes: the column of each axis of the selection.
    """
    area = selected(chart).get("brush") or {}
    inside = np.ones(len(examples), dtype=bool)
    ranges = [(axes[name], values) for name, values in area.items() if name in axes and len(values) == 2]
    for column, (low, high) in ranges:
        inside &= examples[column].between(low, high).to_numpy()
    return examples[inside] if ranges else None


def _row_at(examples: pd.DataFrame, position: Any) -> int:
    return int(examples["row"].iloc[int(position)])
