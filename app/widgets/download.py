"""The buttons that hand files out: a table as CSV (deepfm_core/tables/export.py), or whatever else a page makes."""

from __future__ import annotations

from collections.abc import Callable

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


def download_file(label: str, make: Callable[[], bytes], file: str, mime: str, key: str, why_not: str = "") -> None:
    """Draw a button that downloads a file. The file is made on the click.

    Args:
        label: of the button.
        make: makes its content.
        file: what it is called.
        mime: its type.
        key: names the button on the page.
        why_not: why it cannot be made, as the hover text of a button that does nothing; empty where it can.
    """
    st.download_button(
        label,
        make,
        file,
        mime,
        key=key,
        icon=":material/download:",
        on_click="ignore",
        help=why_not or None,
        disabled=bool(why_not),
        width="stretch",
    )
