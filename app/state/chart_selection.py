"""What is selected in a chart, kept in step with choices made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

Selected = dict[str, Any]
"""By name of the selection: a list of points, or an area as ranges by column."""


def selected(chart_key: str) -> Selected:
    """Return what is selected in a chart."""
    state: Any = st.session_state.get(chart_key) or {}
    found: Selected = state.get("selection") or {}
    return found


def point(chart_key: str, selection: str) -> dict[str, Any] | None:
    """Return the first point selected in a chart; None where there is none."""
    points = selected(chart_key).get(selection)
    return points[0] if isinstance(points, list) and points else None


def chart_key(name: str, still_chosen: Callable[[Selected], bool]) -> str:
    """Name a chart so that a click on anything but the present choice is always news.

    A chart remembers its selection, and tells nothing when the same is clicked again. Where another choice has been
    made elsewhere since, the chart starts anew under another key; otherwise it stays and only takes new rows.

    Args:
        name: of the chart.
        still_chosen: whether the page still shows what is selected in the chart.
    """
    count = f"{name} starts"
    key = f"{name} {st.session_state.get(count, 0)}"
    picked = selected(key)
    if any(picked.values()) and not still_chosen(picked):
        st.session_state[count] = st.session_state.get(count, 0) + 1
        key = f"{name} {st.session_state[count]}"
    return key
