"""The button that hands a table out as CSV: the app's side of the door in deepfm_core/tables/export.py."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from deepfm_core.tables.export import csv_bytes, file_name


def download(frame: pd.DataFrame, file: str, key: str, *, label: str = "CSV", subject: str = "These") -> None:
    """Offer a table that is shown as CSV; it is written when it is asked for.

    Args:
        frame: its rows.
        file: what the file is called, without ending.
        key: names the button on the page.
        label: of the button.
        subject: begins the hover text, before the number of rows.
    """
    st.download_button(
        label,
        lambda: csv_bytes(frame),
        file_name(file),
        "text/csv",
        key=key,
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
        help=f"{subject} {len(frame):,} rows as CSV",
    )
