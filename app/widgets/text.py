"""Text of pages: names that a user chose are escaped, numbers and times are written out, and errors are sentences.

A visitor's computer may have no font for a letter: a browser draws a box in its place, and a note says why. The app
brings no font for the scripts of the world; the visitor's system has them (docs/decisions/031).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, tzinfo
from html import escape
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from app.widgets.layout import NO_FONT
from deepfm_core.errors import DeepFMError
from deepfm_core.spec.presets import MODEL_TITLES as MODEL_TITLES

if TYPE_CHECKING:
    import pandas as pd

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
    "Waiting is not counted. While pairs are being checked, the number is without that check."
)


def seconds_of_work(summary: Mapping[str, Any]) -> float | None:
    """Sum up the seconds of all stages that a run has ended; None if it has ended none."""
    stages = summary.get("seconds")
    return sum(stages.values()) + summary.get("hold_out_seconds", 0.0) if stages else None


def guide_alone(summary: Mapping[str, Any]) -> bool:
    """Say whether a run kept its guide alone, since no epoch did clearly better."""
    return bool(summary.get("best_epoch") == 0)


def alone_in_words(summary: Mapping[str, Any]) -> str:
    """Say what a guide that was kept alone is made of: `guide alone: first order and 28 pairs`."""
    pairs = len((summary.get("guide") or {}).get("pairs", []))
    return f"guide alone: first order and {counted(pairs, 'pair') if pairs else 'no pairs'}"


def guide_kept(epochs: pd.DataFrame, summary: Mapping[str, Any]) -> str:
    """Say why a run kept its guide alone, although its curves have a best epoch.

    Args:
        epochs: columns `epoch` and `best`.
        summary: of the run, which names the pairs of its guide.
    """
    best = epochs.loc[epochs["best"].astype(bool), "epoch"]
    named = f"the best epoch, {best.iloc[-1]} of {len(epochs)}, was not" if len(best) else "no epoch was"
    pairs = (summary.get("guide") or {}).get("pairs", [])
    what = "the pairs that the labels support" if pairs else "no pairs, since the labels support none"
    kept = f"The run keeps its guide: main effects and {what}."
    return f"{kept} On the validation rows, {named} clearly better."


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


@contextmanager
def errors_said() -> Iterator[None]:
    """Say a `DeepFMError` in a corner of the page until it is closed, instead of raising it. For callbacks.

    What a callback of a fragment draws replaces the top of the page. A toast has a place of its own.
    """
    try:
        yield
    except DeepFMError as error:
        st.toast(plain(without_options(str(error))), icon=":material/error:", duration="infinite")


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


_SHOWN = 6
"""Letters that are looked at: one of each script."""
_EVERYWHERE = ("LATIN", "GREEK", "CYRILLIC")
"""First words of the names of letters that every system can draw."""
_CALLED = {
    "CJK": "Chinese characters",
    "HIRAGANA": "Japanese kana",
    "KATAKANA": "Japanese kana",
    "HANGUL": "Korean letters",
    "emoji": "emoji",
}


def say_missing_letters(texts: Iterable[str]) -> None:
    """Say which letters of some names the visitor's browser cannot draw; only the browser knows, so it decides.

    Args:
        texts: names of columns and tables, and cells.
    """
    letters = letters_to_try(texts)
    if letters:
        st.html(_NOTE.format(letters=_for_script(letters)), unsafe_allow_javascript=True)


def letters_to_try(texts: Iterable[str]) -> dict[str, str]:
    """Give one letter of each script in some texts that a system may lack, by what people call the script."""
    found: dict[str, str] = {}
    for letter in dict.fromkeys("".join(texts)):
        kind = unicodedata.category(letter)
        if ord(letter) >= 0x250 and (kind[0] == "L" or kind == "So"):
            word = "emoji" if kind == "So" else re.split("[ -]", unicodedata.name(letter, ""))[0]
            if word and word not in _EVERYWHERE:
                found.setdefault(_CALLED.get(word, f"{word.title()} letters"), letter)
    return dict(list(found.items())[:_SHOWN])


def _for_script(letters: dict[str, str]) -> str:
    """Write letters as a value that may stand in a script of a page."""
    return escape(json.dumps(letters), quote=False)


_NOTE = f"""<p class="{NO_FONT}" role="note" hidden></p>
<script>(() => {{{{
    const letters = {{letters}};
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 32;
    const pen = canvas.getContext("2d", {{{{willReadFrequently: true}}}});
    const drawn = letter => {{{{
        pen.clearRect(0, 0, 32, 32);
        pen.font = "20px 'Source Sans', sans-serif";
        pen.fillText(letter, 2, 24);
        return pen.getImageData(0, 0, 32, 32).data.join();
    }}}};
    const boxes = ["\\u0378", "\\u{{{{10ABCD}}}}"].map(drawn);  // no font has these
    const missing = Object.keys(letters).filter(called => boxes.includes(drawn(letters[called])));
    for (const note of document.querySelectorAll(".{NO_FONT}")) {{{{
        note.hidden = !missing.length;
        note.textContent = "Boxes in names: this computer has no font for " + missing.join(", ")
            + ". Install one, such as Noto Sans CJK or Noto Color Emoji"
            + " (on Debian and Ubuntu: fonts-noto-cjk, fonts-noto-color-emoji), and open the page again.";
    }}}}
}}}})()</script>"""
