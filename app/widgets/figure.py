"""A figure: a title, a chart or its table, the rows as CSV, a line on how to read it; and the download buttons."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from threading import Event
from typing import Any

import pandas as pd
import streamlit as st

from app.charts.grammar.vega import Chart
from app.widgets.browser import OF, browser_of
from app.widgets.columns import Titles, configured
from app.widgets.layout import icon_key
from app.widgets.text import plain, without_options
from deepfm_core._log import fault
from deepfm_core._words import signed
from deepfm_core.errors import DeepFMError
from deepfm_core.tables.export import csv_bytes, file_name

# The buttons that hand files out: a table as CSV (deepfm_core/tables/export.py), or whatever else a page makes.


def _own(mime: str) -> str:
    """Give a type with a random number of 128 bits, so that a file is never taken for another, or guessed.

    Streamlit names a file by its type, its name and its bytes; of one over a megabyte it looks at a part of the bytes.
    Two visitors whose tables differ elsewhere would get the file of one of them. The type also says whose the file is.
    """
    browser = browser_of(st.context.cookies)
    return f"{mime}; v={secrets.token_hex(16)}" + (OF + browser if browser else "")


_BEGINS, _LOOKS = 10.0, 0.1
"""Seconds until a file that was clicked for is being made, at most, and between two looks at it."""
_SHOWN = 60.0
"""Seconds that a failure is shown, since a page that draws itself again every second would lose it at once."""


class _Making:
    """How the making of a file goes. A thread of Streamlit's makes it; the page's own run says what went wrong."""

    def __init__(self) -> None:
        self._begun, self._ended = Event(), Event()
        self._failed, self._at = "", 0.0

    def make(self, what: str, content: Callable[[], bytes]) -> bytes:
        """Make a file; where that fails, keep a sentence on it, and raise, so that the browser saves nothing."""
        self._failed = ""
        self._ended.clear()
        self._begun.set()
        try:
            return content()
        except DeepFMError as error:
            self._fail(what, without_options(str(error)))
            raise
        except Exception as error:
            if not fault("download failed", error):
                logging.getLogger("deepfm").exception("A download failed")
            self._fail(what, "Reload the page and try again; the server's log has the details.")
            raise
        finally:
            self._ended.set()

    def _fail(self, what: str, why: str) -> None:
        self._failed, self._at = f"{what}: the file was not made. {why}", time.monotonic()

    @property
    def under_way(self) -> bool:
        """Whether a file is being made, or was and nobody has looked at how it went."""
        return self._begun.is_set()

    def wait(self) -> None:
        """Wait until the file that was clicked for is made; another click on the page ends this."""
        yields, until = st.empty(), time.monotonic() + _BEGINS
        while not self._ended.wait(_LOOKS) and (self.under_way or time.monotonic() < until):
            yields.empty()  # Streamlit looks here whether something else was clicked

    def failure(self) -> str:
        """Say what went wrong not long ago; empty if nothing did."""
        if self._ended.is_set():
            self._begun.clear()
            self._ended.clear()
        return self._failed if time.monotonic() < self._at + _SHOWN else ""


def _offer(label: str, make: Callable[[], bytes], file: str, mime: str, key: str, **looks: Any) -> None:
    """Draw a button that downloads a file, made on the click, and beside it why that failed."""
    making: _Making = st.session_state.setdefault(f"making of {key}", _Making())
    make = partial(making.make, label, make)
    clicked = st.download_button(label, make, file, _own(mime), key=key, icon=":material/download:", **looks)
    if clicked or making.under_way:
        making.wait()
    if failure := making.failure():
        st.error(plain(failure))


def download(frame: pd.DataFrame, file: str, key: str, *, label: str = "CSV", subject: str = "These") -> None:
    """Offer a table that is shown as CSV. The file is written on the click, not before.

    Args:
        frame: its rows.
        file: what the file is called, without ending.
        key: names the button on the page.
        label: of the button.
        subject: begins the hover text, before the number of rows.
    """
    said = f"{subject} {len(frame):,} rows as CSV"
    _offer(label, lambda: csv_bytes(frame), file_name(file), "text/csv", key, type="tertiary", help=said)


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
    _offer(label, make, file, mime, key, help=why_not or None, disabled=bool(why_not), width="stretch")


# A figure: a title, a chart or its table, the rows as CSV, and a line on how to read it.


def show_chart(make: Callable[[], Chart], version: tuple[object, ...], reading: str, key: str) -> None:
    """Draw a chart without selections, and a line on how to read it.

    The chart is made once per version. A live page draws it again with more rows under the same key, so the browser
    only moves its marks.

    Args:
        make: makes the chart.
        version: identifies the rows, so that the chart is made again only for new ones.
        reading: what the chart shows, in which unit, and how to read it.
        key: names the chart on the page.
    """
    chart = _made(key, version, make)
    st.vega_lite_chart(chart.spec, key=key, alt=chart.description)
    st.caption(reading)


@st.cache_data(max_entries=64, show_spinner=False)
def _made(key: str, version: tuple[object, ...], _make: Callable[[], Chart]) -> Chart:
    return _make()


def figure(
    title: str,
    chart: Callable[[], Chart],
    table: pd.DataFrame,
    reading: str,
    *,
    key: str,
    file: str,
    titles: Titles,
    chart_key: str | None = None,
    on_select: Callable[[], None] | None = None,
    selections: Iterable[str] | None = None,
) -> None:
    """Draw a figure.

    Args:
        title: what is seen.
        chart: makes the chart, called only where it is shown.
        table: the rows of the chart, for the table and the CSV.
        reading: one line on how to read the chart: the unit, and what a band covers. The table has its units in its
            titles, and no marks to explain.
        key: names the figure's widgets.
        file: name of the CSV, without ending.
        titles: titles of the table's columns on the screen.
        chart_key: key of the chart's selection in the session; by default `key`.
        on_select: called after a selection in the chart; without it, nothing can be selected.
        selections: names of the selections to report.
    """
    if _heading(title, table, key, file):
        st.dataframe(table, hide_index=True, column_config=configured(table, titles), alt=title)
        return
    _draw(chart(), chart_key or key, on_select, selections)
    st.caption(reading)


def written(value: float, digits: int = 2) -> str:
    """Write a number as `signed` does, without a plus."""
    return signed(value, digits).removeprefix("+")


def _heading(title: str, table: pd.DataFrame, key: str, file: str) -> bool:
    """Draw title and buttons; return whether to show the table instead of the chart."""
    with st.container(
        horizontal=True, vertical_alignment="center", gap="small"
    ):  # on the left: the chart's own buttons are on the right
        st.subheader(plain(title), anchor=False, width="content")
        as_table = _table_or_chart(title, f"{key}_as_table")
        name = plain(title)
        download(table, file, icon_key(f"{key} csv"), label=f"{name} as CSV", subject=f"{name}:")
    return as_table


def _table_or_chart(title: str, key: str) -> bool:
    """Draw the button that switches between chart and table; return whether the table is chosen."""
    as_table = bool(st.session_state.get(key, False))

    def turn() -> None:
        st.session_state[key] = not as_table

    icon, other = (":material/insert_chart:", "chart") if as_table else (":material/table_rows:", "table")
    said = f"{title} as {other}"
    st.button(plain(said), key=icon_key(f"{key} turn"), icon=icon, type="tertiary", on_click=turn, help=plain(said))
    return as_table


def _draw(chart: Chart, key: str, on_select: Callable[[], None] | None, selections: Iterable[str] | None) -> None:
    if on_select is None:
        st.vega_lite_chart(chart.spec, key=key, alt=chart.description)
    else:
        st.vega_lite_chart(chart.spec, key=key, alt=chart.description, on_select=on_select, selection_mode=selections)
