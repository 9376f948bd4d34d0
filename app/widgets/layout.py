"""Cells that stand beside each other where there is room, and below each other where there is not."""

from __future__ import annotations

from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

Gap = Literal["small", "medium", "large"]


def side_by_side(count: int, *, least: int = 340, gap: Gap = "medium", border: bool = False) -> list[DeltaGenerator]:
    """Make cells of equal width that wrap as soon as one would be narrower than `least` pixels.

    Streamlit's columns stay side by side down to 640 pixels of window, which squeezes charts.
    """
    grid = st.grid(count, min_column_width=least, gap=("small", gap), border=border)
    return [grid.cell() for _ in range(count)]


# The rules of style that no setting of Streamlit has: names of icon buttons, focus in the sidebar, what is chosen.

ICON = "icon"
"""Keys of buttons that show an icon alone begin with it; their label is there for those who cannot see the icon."""

_RULES = f"""<style>
[class*="st-key-{ICON}-"] button [data-testid="stMarkdownContainer"] {{
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}}
[data-testid="stSidebar"] a:focus-visible, [data-testid="stSidebar"] button:focus-visible {{
    outline: 2px solid var(--st-primary-color, #058298); outline-offset: 2px;
}}
[data-testid="stApp"] button[data-variant="segmented_control"][data-selected="true"][type],
[data-testid="stApp"] button[data-variant="pills"][data-selected="true"][type],
[data-testid="stTab"][data-selected="true"] {{
    color: light-dark(#0a6f82, #45bcd6);
}}
</style>"""


def icon_key(name: str) -> str:
    """Give the key of a button of which only the icon is seen."""
    return f"{ICON}-{name}"


def apply() -> None:
    """Add the rules to the page."""
    st.html(_RULES)
