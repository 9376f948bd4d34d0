"""Selections in charts, kept in step with choices that are made elsewhere on the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

Selected = dict[str, Any]
"""Selections by name: each a list of points, or an area as ranges by column."""


def selected(chart_key: str) -> Selected:
    """Return what is selected in a chart."""
    state: Any = st.session_state.get(chart_key) or {}
    found: Selected = state.get("selection") or {}
    return found


def point(chart_key: str, selection: str) -> dict[str, Any] | None:
    """Return the first point selected in a chart; None if nothing is selected."""
    points = selected(chart_key).get(selection)
    return points[0] if isinstance(points, list) and points else None


def chart_key(name: str, still_chosen: Callable[[Selected], bool]) -> str:
    """Give a chart a key under which every click on something new is reported.

    A chart remembers its selection and reports nothing if the same mark is clicked again. If another choice was made
    elsewhere in the meantime, the chart therefore gets a new key, which clears its selection. Otherwise it keeps its
    key and only takes new rows.

    Args:
        name: name of the chart.
        still_chosen: says whether the page still shows what is selected in the chart.
    """
    count = f"{name} starts"
    key = f"{name} {st.session_state.get(count, 0)}"
    picked = selected(key)
    if any(picked.values()) and not still_chosen(picked):
        st.session_state[count] = st.session_state.get(count, 0) + 1
        key = f"{name} {st.session_state[count]}"
    return key
