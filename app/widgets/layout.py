"""Layout: cells that wrap on narrow screens, and the few rules of style that Streamlit has no setting for."""

from __future__ import annotations

from html import escape
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

Gap = Literal["small", "medium", "large"]


def side_by_side(count: int, *, least: int = 340, gap: Gap = "medium", border: bool = False) -> list[DeltaGenerator]:
    """Make cells of equal width that wrap as soon as one would be narrower than `least` pixels.

    Streamlit's own columns only wrap below 640 pixels of window, which squeezes charts.
    """
    grid = st.grid(count, min_column_width=least, gap=("small", gap), border=border)
    return [grid.cell() for _ in range(count)]


# Rules of style: hidden labels of icon buttons, focus in the sidebar, and contrast of what is chosen.

ICON = "icon"
"""Prefix of the keys of icon buttons. Their label is hidden, but screen readers read it."""

UNSEEN = "unseen-heading"
"""Class of headings that only screen readers read."""

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
[data-testid="stApp"] [data-testid="stCaptionContainer"] {{ color: light-dark(#59656d, #9fadb6); opacity: 1; }}
[data-testid="stCaptionContainer"] code {{ font-size: 0.9em; color: inherit; }}
[data-testid="stElementToolbar"]:focus-within {{ opacity: 1; }}
[data-testid="stElementToolbarButton"] button:focus-visible,
[data-testid="stApp"] [role="tab"]:focus-visible, [data-testid="stApp"] summary:focus-visible {{
    outline: 2px solid var(--st-primary-color, #058298); outline-offset: 2px;
}}
[data-testid="stElementContainer"]:has(.{UNSEEN}) {{ position: absolute; width: 1px; }}
.{UNSEEN} {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
[data-testid="stApp"] .katex-display {{ padding: 4px; }}
[data-testid="stTable"] td, [data-testid="stTable"] th {{ overflow-wrap: anywhere; min-width: 4.5rem; }}
</style>"""


def icon_key(name: str) -> str:
    """Give the key of a button that shows only its icon."""
    return f"{ICON}-{name}"


def heading_for_readers(text: str) -> None:
    """Add a heading of the second level that screen readers read, where the eye sees the section without one."""
    st.html(f'<h2 class="{UNSEEN}">{escape(text)}</h2>')


def apply() -> None:
    """Add the rules of style to the page."""
    st.html(_RULES)
