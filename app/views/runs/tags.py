"""Tags of runs: words of their notes that begin with #. They are chosen as tags here, and read as notes elsewhere.

Tags at the end of the notes are tags alone. One within a sentence, such as `see #42 for why`, is a word of it, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import streamlit as st

from app.state import links
from app.state.store import store
from app.widgets.text import errors_said, plain
from deepfm_core.store.records import RunRow

_TAG = re.compile(r"(?<![^\s,;])#([^\s#,;]+)[,;]?")
_WANTED = "tags"
"""Name of the choice in the URL that holds the tags to show."""


def tags_of(notes: str) -> list[str]:
    """Give the tags in a run's notes, without their mark, each once."""
    return list(dict.fromkeys(_TAG.findall(notes)))


def without_tags(notes: str) -> str:
    """Give a run's notes without the tags at their end."""
    return notes[: _end_of_words(notes)].strip()


def tags_at_end(notes: str) -> list[str]:
    """Give the tags that `without_tags` leaves out."""
    return tags_of(notes[_end_of_words(notes) :])


def _end_of_words(notes: str) -> int:
    """Give the place in the notes after which there are tags alone."""
    end = len(notes)
    for tag in reversed(list(_TAG.finditer(notes))):
        if notes[tag.end() : end].strip():
            break
        end = tag.start()
    return end


def with_tags(notes: str, tags: Sequence[str]) -> str:
    """Write notes and tags as one text: the tags stand at its end, but for those that are words of a sentence.

    A word of a sentence that is no tag any more loses its mark alone.
    """
    words = dict.fromkeys(word for tag in tags if (word := "-".join(re.sub(r"[#,;]", " ", tag).split())))
    text = _TAG.sub(lambda tag: tag[0] if tag[1] in words else tag[0].replace("#", "", 1), without_tags(notes))
    return " ".join(part for part in (text, *(f"#{word}" for word in words if word not in tags_of(text))) if part)


def keep_tagged(rows: list[RunRow]) -> list[RunRow]:
    """Let the visitor keep only the runs that have all of some tags; draws nothing where no run has any."""
    known = sorted({tag for row in rows for tag in tags_of(row.notes)}, key=str.casefold)
    if not known:
        return rows
    key = f"choice of {_WANTED}"
    st.session_state[key] = [tag for tag in (links.chosen(_WANTED) or "").split(",") if tag in known]

    def keep() -> None:
        links.choose(_WANTED, ",".join(st.session_state[key]) or None)

    wanted = set(st.pills("Tags", known, selection_mode="multi", format_func=plain, key=key, on_change=keep) or [])
    return [row for row in rows if wanted <= set(tags_of(row.notes))]


def choose_tags(chosen: list[RunRow], every: Sequence[RunRow]) -> None:
    """Draw the tags that all chosen runs have; those added or taken away are added to or taken from each of them."""
    common = [tag for tag in tags_of(chosen[0].notes) if all(tag in tags_of(row.notes) for row in chosen[1:])]
    known = sorted({tag for row in every for tag in tags_of(row.notes)} | set(common), key=str.casefold)
    key = f"tags of {','.join(row.id for row in chosen)}"
    st.session_state[key] = common
    st.multiselect(
        "Tags" if len(chosen) == 1 else f"Tags that these {len(chosen)} share",
        known,
        key=key,
        accept_new_options=True,
        placeholder="Choose or type a tag",
        help="A tag is a word that you find runs by. Notes keep it as #word.",
        on_change=_set_tags,
        args=(key, chosen, common),
    )


def _set_tags(key: str, chosen: list[RunRow], common: list[str]) -> None:
    wanted = st.session_state[key]
    for row in chosen:
        kept = [tag for tag in tags_of(row.notes) if tag not in common or tag in wanted]
        with errors_said():
            store().set_notes(row.id, with_tags(row.notes, [*kept, *wanted]))
