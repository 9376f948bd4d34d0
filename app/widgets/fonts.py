"""Letters that the visitor's computer has no font for: a browser draws boxes in their place, and a note says why.

The app brings no font for the scripts of the world; the visitor's system has them. See docs/decisions.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from html import escape

import streamlit as st

from app.widgets.layout import NO_FONT

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
