"""Small things drawn on more than one page: text that may hold anything, charts with their reading, tables as CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from deepfm_core.errors import DeepFMError
from deepfm_core.runs.naming import MODEL_TITLES as MODEL_TITLES

if TYPE_CHECKING:
    import pandas as pd

    from app.charts.vega import Chart
    from deepfm_core.training.spec import ModelSpec, RunSpec

SECONDS_HELP = "Work: reading, encoding, training, evaluating and explaining; without loading and waiting."
_MARKUP = re.compile(r"([\\$*_~\[\]<>:#|&])")
_FENCES = re.compile("``+")


def yardstick_sentence(run_name: str) -> str:
    """Say of a comparison's run of gradient boosting what it has to show."""
    return f"Run {code(run_name)} is a yardstick, gradient boosting beside a comparison: it has metrics, no pairs."


def to_pairs(spec: RunSpec) -> str:
    """Title the way from a run to its page Interactions, which shows the fields alone where there are no pairs."""
    paired = (spec.model.second_order or spec.model.deep) and spec.schema.has_pairs
    return "See the pairs" if paired else "See the fields"


def wide_title(model: ModelSpec) -> str:
    """Name what may stand beside a network: the FM, or bias and first-order term alone."""
    return "FM" if model.second_order else "LR"


def plain(text: str) -> str:
    """Escape what Markdown would take as markup, but for what stands between backticks: names and values of a user.

    Only single backticks of one line mark code, so that what is left as it is is what Markdown takes as code, whatever
    a name holds; other backticks become apostrophes.
    """
    return "\n".join(_plain_line(line) for line in re.split(r"\r\n?|\n", text))


def _plain_line(line: str) -> str:
    parts = _FENCES.sub(lambda fence: "'" * len(fence[0]), line).split("`")
    if len(parts) % 2 == 0:
        parts = ["'".join(parts)]
    return "`".join(part if place % 2 else _MARKUP.sub(r"\\\1", part) for place, part in enumerate(parts))


def code(name: str) -> str:
    """Write a name as code in Markdown, as it stands but for line ends, whatever it holds."""
    name = re.sub(r"[\r\n]+", " ", name)
    longest = max((len(run) for run in re.findall("`+", name)), default=0)
    fence = "`" * (longest + 1)
    padded = f" {name} " if not name.strip() or name[0] in "` " or name[-1] in "` " else name
    return f"{fence}{padded}{fence}"


def visitor_zone() -> tzinfo | None:
    """Return the time zone of the visitor's browser; None, the server's, where it is not known."""
    try:
        return ZoneInfo(st.context.timezone or "")
    except (ZoneInfoNotFoundError, ValueError):
        return None


def moment(seconds: float) -> str:
    """Write a time of the store as the visitor's clock shows it: the hour today, the day otherwise."""
    at = datetime.fromtimestamp(seconds, visitor_zone())
    today = datetime.now(visitor_zone()).date()
    return f"{at:%H:%M}" if at.date() == today else f"{at.day} {at:%b %H:%M}"


def duration(seconds: float) -> str:
    """Write how long something takes, in the unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(count: int, what: str) -> str:
    """Write a number of things, `what` being the word for one of them."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


@contextmanager
def told() -> Iterator[None]:
    """Show what the user can put right as a sentence, in the place where it happened."""
    try:
        yield
    except DeepFMError as error:
        show_error(error)


def show_error(error: DeepFMError) -> None:
    """Show an error's text as it stands, its lists as lists."""
    lines = str(error).splitlines()
    st.error("\n".join(f"- {plain(line[2:])}" if line.startswith("- ") else plain(line) for line in lines))


def show_chart(make: Callable[[], Chart], version: tuple[object, ...], reading: str, key: str) -> None:
    """Draw a chart that selects nothing, with its line on how to read it.

    It is made once for each version; a page that draws it again and again with more rows moves its marks.

    Args:
        make: makes the chart.
        version: tells apart all the charts of this key.
        reading: what the chart shows, its unit, how to read it.
        key: names the chart on the page.
    """
    chart = _made(key, version, make)
    st.vega_lite_chart(chart.spec, key=key, alt=chart.description)
    st.caption(reading)


@st.cache_data(max_entries=64, show_spinner=False)
def _made(key: str, version: tuple[object, ...], _make: Callable[[], Chart]) -> Chart:
    return _make()


def download(frame: pd.DataFrame, name: str, key: str) -> None:
    """Offer a table that is shown as CSV."""
    st.download_button(
        "CSV",
        lambda: frame.to_csv(index=False).encode(),
        f"{name}.csv",
        "text/csv",
        key=key,
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
        help=f"These {len(frame):,} rows as CSV",
    )
