"""The chosen pair as a surface, where both fields are numbers. It is drawn on request, since Plotly is large."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts.interactions.levels import PANELS, effect_surface, has_surface
from app.state import links

SURFACE, PANEL = "surface", "surface_of"
"""Names of the choices in the URL."""


def surface_section(cells: pd.DataFrame, fields: tuple[str, str], limit: float | None) -> None:
    """Offer the surface of a pair of numeric fields, and draw it on request; nothing for other pairs.

    Args:
        cells: the pair's cells with their effects.
        fields: the names of both fields.
        limit: log-odds of full colour in the panels above.
    """
    if not has_surface(cells):
        return
    if not st.toggle("As a surface", help="Loads a 3-D chart to turn.", **links.mirror_flag(SURFACE, False)):
        return
    names = list(PANELS)
    panel = st.segmented_control(
        "Height",
        names,
        format_func=PANELS.__getitem__,
        required=True,
        **links.mirror(PANEL, names, names[0]),
    )
    dark = st.context.theme.type == "dark"
    figure = effect_surface(cells, fields, panel or names[0], dark=dark, limit=limit)
    alt = f"Surface of {fields[0]} and {fields[1]}: {PANELS[panel or names[0]]}, in log-odds"
    st.plotly_chart(figure, key="surface of pair", alt=alt, config={"displaylogo": False})
    st.caption("Height: what both numbers do together beyond each alone, in log-odds. Drag to turn, scroll to zoom.")
