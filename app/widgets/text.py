"""Text for Markdown: names that a user chose are escaped, and times, durations and counts are written out."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

_MARKUP = re.compile(r"([\\$*_~\[\]<>:#|&])")
_FENCES = re.compile("``+")
_OPTIONS = re.compile(r" \((?:on the command line |`?--)[^()]*\)")


def plain(text: str) -> str:
    """Escape everything that Markdown would take as markup, except code between backticks.

    Only a pair of single backticks in one line counts as code. All other backticks become apostrophes, so that no name
    can open or close code.
    """
    return "\n".join(_plain_line(line) for line in re.split(r"\r\n?|\n", text))


def _plain_line(line: str) -> str:
    parts = _FENCES.sub(lambda fence: "'" * len(fence[0]), line).split("`")
    if len(parts) % 2 == 0:
        parts = ["'".join(parts)]
    return "`".join(part if place % 2 else _MARKUP.sub(r"\\\1", part) for place, part in enumerate(parts))


def without_options(text: str) -> str:
    """Leave out what a message says for the command line alone, such as ``(`--header yes`)``."""
    return _OPTIONS.sub("", text)


def code(name: str) -> str:
    """Write a name as code in Markdown, unchanged except for line ends; it may hold backticks."""
    name = re.sub(r"[\r\n]+", " ", name)
    longest = max((len(run) for run in re.findall("`+", name)), default=0)
    fence = "`" * (longest + 1)
    padded = f" {name} " if not name.strip() or name[0] in "` " or name[-1] in "` " else name
    return f"{fence}{padded}{fence}"


def visitor_zone() -> tzinfo | None:
    """Return the time zone of the visitor's browser; None, for the server's, if it is not known."""
    try:
        return ZoneInfo(st.context.timezone or "")
    except (ZoneInfoNotFoundError, ValueError):
        return None


def moment(seconds: float) -> str:
    """Write a time in the visitor's time zone: hour and minute, with the day unless it is today."""
    at = datetime.fromtimestamp(seconds, visitor_zone())
    today = datetime.now(visitor_zone()).date()
    return f"{at:%H:%M}" if at.date() == today else f"{at.day} {at:%b %H:%M}"


def duration(seconds: float) -> str:
    """Write a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(count: int, what: str) -> str:
    """Write a number with its noun, such as `1 row` or `2,000 rows`; `what` is the singular."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
