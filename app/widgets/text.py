"""Small things drawn on more than one page: text that may hold anything, charts with their reading, tables as CSV."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from deepfm_core.spec.naming import MODEL_TITLES as MODEL_TITLES

if TYPE_CHECKING:
    pass
_MARKUP = re.compile(r"([\\$*_~\[\]<>:#|&])")
_FENCES = re.compile("``+")


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
