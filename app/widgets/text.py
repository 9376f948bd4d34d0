"""Text of pages: names that a user chose are escaped, numbers and times are written out, and errors are sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from deepfm_core.errors import DeepFMError
from deepfm_core.spec.presets import MODEL_TITLES as MODEL_TITLES

if TYPE_CHECKING:
    from deepfm_core.spec.run import ModelSpec, RunSpec


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


# Messages of more than one page: errors as sentences, what a baseline run has to show, names of parts.


SECONDS_HELP = (
    "Seconds of work: reading, encoding, training, evaluating, explaining, and checking pairs on held-out rows. "
    "Waiting is not counted."
)


def seconds_of_work(summary: Mapping[str, Any]) -> float | None:
    """Sum up the seconds of all stages that a run has ended; None if it has ended none."""
    stages = summary.get("seconds")
    return sum(stages.values()) + summary.get("hold_out_seconds", 0.0) if stages else None


def guide_alone(summary: Mapping[str, Any]) -> bool:
    """Say whether a run kept its guide alone, since no epoch did clearly better."""
    return bool(summary.get("best_epoch") == 0)


def baseline_sentence(run_name: str) -> str:
    """Say what a run of the baseline has to show."""
    return f"Run {code(run_name)} is the baseline of a comparison: gradient boosting. It has metrics, but no pairs."


def to_pairs(spec: RunSpec) -> str:
    """Label the button from a run to Interactions; without pairs, that page shows fields alone."""
    has_pairs = spec.model.switches.pairs and spec.schema.has_pairs
    return "See the pairs" if has_pairs else "See the fields"


def wide_title(model: ModelSpec) -> str:
    """Name the part of the logit that is not the DNN: `FM logit`, or `LR` for bias and first order alone."""
    return "FM logit" if model.second_order else "LR"


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show a `DeepFMError` as a message at this place of the page, instead of raising it."""
    try:
        yield
    except DeepFMError as error:
        show_error(error)


def show_error(error: DeepFMError, *, to_choose: bool = False) -> None:
    """Show an error: its text escaped, its lists as lists, without options of the command line.

    Args:
        error: what is wrong, and the remedy.
        to_choose: whether nothing is wrong yet, since the remedy is a choice that stands above.
    """
    lines = without_options(str(error)).splitlines()
    text = "\n".join(f"- {plain(line[2:])}" if line.startswith("- ") else plain(line) for line in lines)
    if to_choose:
        st.info(text, icon=":material/arrow_upward:")
    else:
        st.error(text)
