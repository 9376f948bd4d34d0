"""The label: which column it is, and which of its values are positive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.shared import launch
from app.state import links, saved_tables
from app.widgets.text import plain, without_options
from deepfm_core.errors import DeepFMError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.labels import named_as_label, named_labels, normal_label
from deepfm_core.schema.number_parsing import number_names
from deepfm_core.schema.schema import LabelRole
from deepfm_core.tables.table import Table

FEW_NUMBERS, MOST_CLASSES = 20, 64
"""Distinct numbers up to which each is offered as a bound, and classes up to which they can be chosen."""
SHARES = (0.25, 0.5, 0.75, 0.9)
"""Shares of the values that lie below the bounds that are offered of many numbers."""
LABEL, POSITIVE, BLANK, RULE = "choice of label", "positive", "blank label", "rule of the label"
"""In the session, but for the second, which is a name in the URL."""


def choose_label(sha: str, table: Table) -> bool:
    """Draw the choice of the label's column, and of what in it is positive; say whether something is still open."""
    columns = [str(column) for column in table.frame.columns]
    found = _label(sha, links.chosen("label"), links.chosen(POSITIVE))
    suggested = found if links.chosen("label") is None else _label(sha)
    left, right = st.columns([3, 2])
    kept = links.mirror("label", columns, suggested.column if suggested else named_as_label(table))
    left.selectbox(
        "Label",
        columns,
        help="The column to predict.",
        placeholder="Choose the label's column",
        key=kept["key"],
        on_change=_change_label,
        args=(kept["on_change"],),
    )
    if found and found.negative and not found.rule:
        values = sorted([found.positive, found.negative])
        mirrored = links.mirror(POSITIVE, values, found.positive)
        right.selectbox("Positive value", values, help=plain(without_options(found.reason)), **mirrored)
    elif st.session_state[LABEL] in columns:
        open_ = _choose_positive(right, Cells.of(table.frame, st.session_state[LABEL]))
        return open_ and not links.chosen(POSITIVE)
    return links.chosen("label") is None and found is None


def _change_label(keep: Callable[[], None]) -> None:
    """Keep the label's column; what was said of the last one is forgotten."""
    keep()
    links.choose(POSITIVE, None)
    links.choose(launch.BLANK, None)


def _label(sha: str, label: str | None = None, positive: str | None = None) -> LabelRole | None:
    blank = links.chosen(launch.BLANK) == launch.NEGATIVE
    try:
        return saved_tables.suggested_schema(sha, label, positive, blank_negative=blank).label
    except DeepFMError:
        return None


def _choose_positive(place: DeltaGenerator, cells: Cells) -> bool:
    """Draw what a label needs that has not two values: a bound, some classes, or that blank means no; say if it did."""
    if not len(cells.held):
        return False
    if not cells.numbers.wrong[cells.held].any() and len(cells.held) > 2:
        _choose_bound(place, cells)
        return True
    if len(cells.held) > MOST_CLASSES:
        return False
    texts = cells.held_texts.to_pylist()
    values = list({normal_label(text): text for text in reversed(texts)}.values())[::-1]
    if len(values) > 2:
        _choose_classes(place, sorted(values))
        return True
    if len(values) == 1 and cells.counts[cells.missing].sum():
        st.session_state[BLANK] = links.chosen(launch.BLANK) == launch.NEGATIVE
        place.toggle("A blank label means no", key=BLANK, on_change=_take_blank)
        return True
    return False


def _take_blank() -> None:
    links.choose("label", st.session_state[LABEL])
    links.choose(launch.BLANK, launch.NEGATIVE if st.session_state[BLANK] else None)


def _choose_bound(place: DeltaGenerator, cells: Cells) -> None:
    numbers = np.unique(cells.numbers.values[cells.held])
    bounds = numbers[1:] if len(numbers) <= FEW_NUMBERS else np.unique(np.quantile(numbers, SHARES, method="nearest"))
    options = [f">={name}" for name in number_names(bounds)]
    chosen = links.chosen(POSITIVE)
    st.session_state[RULE] = chosen
    place.selectbox(
        "Positive when",
        options if chosen in (None, *options) else [*options, chosen],
        key=RULE,
        placeholder="Choose or type, such as >=4",
        help="A bound, such as >=4, <2 or >0.5. Or values, with | between them: 1|5.",
        accept_new_options=True,
        on_change=_take_rule,
    )


def _take_rule() -> None:
    links.choose("label", st.session_state[LABEL])
    links.choose(POSITIVE, st.session_state[RULE] or None)


def _choose_classes(place: DeltaGenerator, values: list[str]) -> None:
    chosen = named_labels(links.chosen(POSITIVE) or "", {normal_label(value) for value in values})
    st.session_state[RULE] = [value for value in values if normal_label(value) in chosen]
    text = "All others are negative."
    place.multiselect("Positive values", values, key=RULE, help=text, on_change=_take_classes)


def _take_classes() -> None:
    links.choose("label", st.session_state[LABEL])
    links.choose(POSITIVE, "|".join(st.session_state[RULE]) or None)
