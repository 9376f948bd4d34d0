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


BESIDE = "beside"
"""Begins the keys of `list_and_detail`."""
_ASKED = "show in view"
"""In the session: how often something was chosen that has to be in view, and whether that was just now."""


def list_and_detail() -> tuple[DeltaGenerator, DeltaGenerator, DeltaGenerator]:
    """Make room for a list, the detail of what is chosen in it, and more to choose from.

    Where there is room, the detail stands beside both and stays in view. Else it follows the list.
    """
    grid = st.container(key=f"{BESIDE}-room").container(key=f"{BESIDE}-grid")
    chooser, detail, more = (grid.container(key=f"{BESIDE}-{name}") for name in ("list", "detail", "more"))
    return chooser, detail, more


def ask_in_view() -> None:
    """Remember that a choice was made in a chart or table, so that `bring_in_view` shows what came of it."""
    st.session_state[_ASKED] = (st.session_state.get(_ASKED, (0, False))[0] + 1, True)


def bring_in_view() -> None:
    """Scroll the detail into view if `ask_in_view` was called and it is out of view. Call it once it is drawn."""
    count, now = st.session_state.get(_ASKED, (0, False))
    if not now:
        return
    st.session_state[_ASKED] = (count, False)
    st.html(_SCROLL.format(count=count, key=f"{BESIDE}-detail"), unsafe_allow_javascript=True)


_SCROLL = """<script>/* {count} */ (() => {{
    const detail = document.querySelector(".st-key-{key}");
    if (!detail) return;
    const top = detail.getBoundingClientRect().top;
    if (top < 0 || top > window.innerHeight * 0.6) detail.scrollIntoView({{block: "start"}});
}})()</script>"""

# Rules of style: hidden labels of icon buttons, focus in the sidebar, contrast of what is chosen, and paper.

ICON = "icon"
"""Prefix of the keys of icon buttons. Their label is hidden, but screen readers read it."""

UNSEEN = "unseen-heading"
"""Class of headings that only screen readers read."""

SIDEWAYS = "goes-on-sideways"
"""Class of hints that only narrow screens show."""

WIDE = "wider-than-a-tablet"
"""Class of those among them that tablets show, too."""

STACKED = "stacked-on-a-phone"
"""Key of a row of buttons of unlike widths; where they would wrap, each gets a line of its own."""

NO_FONT = "letters-without-a-font"
"""Class of the note on letters that the browser cannot draw."""

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
/* Streamlit's own CSV of a table leaves formulas in its texts; `widgets/figure.py` has a button for one without. */
[data-testid="stElementToolbarButton"]:has([aria-label^="Download as CSV"]) {{ display: none; }}
[data-testid="stElementToolbarButton"] button:focus-visible,
[data-testid="stApp"] [role="tab"]:focus-visible, [data-testid="stApp"] summary:focus-visible {{
    outline: 2px solid var(--st-primary-color, #058298); outline-offset: 2px;
}}
[data-testid="stElementContainer"]:has(.{UNSEEN}) {{ position: absolute; width: 1px; }}
.{UNSEEN} {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
.st-key-{BESIDE}-room {{ container-type: inline-size; }}
.st-key-{BESIDE}-detail {{ scroll-margin-top: 9rem; }}
@container (min-width: 800px) {{
    .st-key-{BESIDE}-grid {{
        display: grid; grid-template: max-content 1fr / minmax(0, 9fr) minmax(0, 11fr);
        column-gap: 2rem; align-items: start;
    }}
    .st-key-{BESIDE}-grid > :nth-child(1), .st-key-{BESIDE}-grid > :nth-child(3) {{ grid-column: 1; }}
    .st-key-{BESIDE}-grid > :nth-child(2) {{
        grid-area: 1 / 2 / 3 / 3; position: sticky; top: 4rem; max-height: calc(100vh - 5rem); overflow-y: auto;
    }}
}}
.{SIDEWAYS} {{ display: none; margin: 0; font-size: 0.875rem; color: light-dark(#59656d, #9fadb6); }}
[data-testid="stElementContainer"]:has(.{SIDEWAYS}) {{ display: none; }}
@media (max-width: 640px) {{
    .st-key-{STACKED} [data-testid="stElementContainer"], .st-key-{STACKED} .stButton, .st-key-{STACKED} button {{
        width: 100%;
    }}
    .{SIDEWAYS} {{ display: block; }}
    [data-testid="stElementContainer"]:has(.{SIDEWAYS}) {{ display: flex; }}
}}
@media (max-width: 1100px) {{
    .{WIDE} {{ display: block; }}
    [data-testid="stElementContainer"]:has(.{WIDE}) {{ display: flex; }}
}}
.{NO_FONT} {{ margin: 0; font-size: 0.875rem; color: light-dark(#59656d, #9fadb6); }}
[data-testid="stElementContainer"]:has(.{NO_FONT}[hidden]) {{ position: absolute; width: 1px; }}
[data-testid="stApp"] .katex-display {{ padding: 4px; }}
[data-testid="stTable"] td, [data-testid="stTable"] th {{ overflow-wrap: anywhere; min-width: 4.5rem; }}
@media print {{
    @page {{ margin: 14mm 12mm; }}
    [data-testid="stSidebar"], [data-testid="stHeader"], [data-testid="stElementToolbar"],
    [data-testid="stApp"] button[data-testid^="stBaseButton"] {{ display: none; }}
    [data-testid="stMainBlockContainer"] {{ padding: 0; max-width: none; }}
    [data-testid="stApp"], [data-testid="stAppViewContainer"], [data-testid="stMain"] {{
        position: static; overflow: visible; height: auto;
    }}
    [data-testid="stVegaLiteChart"], [data-testid="stDataFrame"], [data-testid="stMetric"] {{ break-inside: avoid; }}
    h1, h2, h3, [data-testid="stHeading"] {{ break-after: avoid; }}
    .st-key-{BESIDE}-grid > :nth-child(2) {{ position: static; max-height: none; overflow: visible; }}
}}
</style>"""


def icon_key(name: str) -> str:
    """Give the key of a button that shows only its icon."""
    return f"{ICON}-{name}"


def heading_for_readers(text: str) -> None:
    """Add a heading of the second level that screen readers read, where the eye sees the section without one."""
    st.html(f'<h2 class="{UNSEEN}">{escape(text)}</h2>')


def sideways_hint(what: str, *, wide: bool = False) -> None:
    """Say on a narrow screen that a formula or table goes on to the right; of a wide one on a tablet, too."""
    kind = f"{SIDEWAYS} {WIDE}" if wide else SIDEWAYS
    st.html(f'<p class="{kind}">↔ {escape(what)} goes on to the right: scroll it sideways.</p>')


def apply() -> None:
    """Add the rules of style to the page."""
    st.html(_RULES)
