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
