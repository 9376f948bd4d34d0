"""The roles: which column is the label and which of its values are positive; and the role table of all columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.shared import launch
from app.state import links, saved_tables
from app.widgets.figure import download
from app.widgets.layout import sideways_hint
from app.widgets.text import plain, without_options
from deepfm_core.errors import DeepFMError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.column_rules import LEFT_OUT, kind_if_used
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.labels import named_as_label, named_labels, normal_label
from deepfm_core.schema.number_parsing import PLAIN, number_names
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.tables.table import Table

ROLE_ROWS = 16
SEARCHED = 12
"""A search stands above the role table from this many columns on."""
USE = "Use"
_VERSION, _SEARCH = "version of the role table", "search among roles"
"""In the session: counts what changed roles elsewhere, since the table would bring its own edits back; the search."""
KINDS = [kind.value for kind in Kind]
MISSING_HELP = "Rows without a value: empty cells, `?`, `NA`, `null` and the like. Missing gets its own feature."
KIND_HELP = "  \n".join(f"**{kind}**: {kind.help}" for kind in Kind)


def edit_roles(sha: str, table: Table, schema: Schema) -> None:
    """Draw the role table; changes go to the URL."""
    heading, suggested = st.container(), launch.suggested_roles(sha)
    shown = _choose_several(table, suggested, schema)
    frame = _role_frame(schema, shown)
    with heading:
        table_heading("Roles", _role_frame(schema, schema.roles))
    columns = [role.column for role in shown]
    wanted = st.session_state.get(_SEARCH, "")
    key = f"roles {sha[:12]} {_version()} {len(columns)} {columns[:1]} {wanted}"  # edits are kept by it
    st.data_editor(
        frame,
        key=key,
        hide_index=True,
        height="content" if len(columns) <= ROLE_ROWS else 600,
        disabled=[name for name in frame.columns if name not in KEPT and name != USE],
        column_config={
            USE: st.column_config.CheckboxColumn(width="small", help="Whether the column enters the model."),
            "Field": st.column_config.TextColumn(width=_fitting(columns)),
            "Kind": st.column_config.SelectboxColumn(width=112, options=KINDS, required=True, help=KIND_HELP),
            "Separator": st.column_config.TextColumn(width=96, help=SEPARATOR_HELP),
            "Written": st.column_config.SelectboxColumn(
                options=[AS_FOUND, *launch.WAYS_TO_WRITE], required=True, help=WRITTEN_HELP
            ),
            "Missing": st.column_config.NumberColumn(width="small", format="localized", help=MISSING_HELP),
            "Why": st.column_config.TextColumn(width=330 if any(role.warning for role in schema.roles) else "large"),
            "Careful": st.column_config.TextColumn(width="large"),
        },
        on_change=_keep_roles,
        args=(key, columns, table, suggested),
    )
    if len(columns) > ROLE_ROWS:
        st.caption(f"{len(columns):,} columns: scroll in the table to see the rest.")
    sideways_hint("The table", wide=True)
    if any(role.warning for role in schema.roles):
        st.caption("Choose a field under *A field's values* below to read its full reason.")
    kinds = [kind for kind in Kind if any(role.kind is kind for role in schema.roles)]
    st.caption("  \n".join(f"**{kind.value}**: {kind.help}." for kind in kinds))
    if any(map(links.chosen_values, KEPT.values())):
        st.button("Back to the suggested roles", icon=":material/undo:", on_click=_as_suggested)


def _fitting(names: Sequence[str]) -> int:
    """Give the width that shows names in full, in pixels, up to that of some forty letters."""
    return min(max(170, 24 + 8 * max(map(len, names), default=0)), 340)


def _as_suggested() -> None:
    for name in KEPT.values():
        links.choose(name, None)
    _renew()


def _renew() -> None:
    """Have the role table begin anew, without the edits that it remembers."""
    st.session_state[_VERSION] = _version() + 1


def _version() -> int:
    return int(st.session_state.get(_VERSION, 0))


def _several_key() -> str:
    """Name the choice of a kind for several columns, which is empty again in each version of the table."""
    return f"kind of several {_version()}"


def _choose_several(table: Table, suggested: Schema, schema: Schema) -> list[FieldRole]:
    """Let the visitor search among the columns, and use or leave out all that are found; return these."""
    if len(schema.roles) < SEARCHED:
        st.session_state.pop(_SEARCH, None)
        return list(schema.roles)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.text_input(
            "Search fields", key=_SEARCH, persist_state="session", placeholder="Part of a name", width=220
        )
        found = [role for role in schema.roles if wanted.strip().casefold() in role.column.casefold()]
        if not found:
            st.caption(f"No field's name has {plain(wanted.strip())} in it. All are listed.", width="content")
            found = list(schema.roles)
        these = f"all {len(found):,}" if len(found) == len(schema.roles) else f"these {len(found):,}"
        names = [role.column for role in found]
        arguments = (names, table, suggested)
        st.button(f"Use {these}", icon=":material/check_box:", on_click=_use, args=(*arguments, True))
        st.button(f"Leave out {these}", icon=":material/disabled_by_default:", on_click=_use, args=(*arguments, False))
        st.selectbox(
            f"Kind of {these}",
            [kind.value for kind in Kind if kind.is_used],
            index=None,
            key=_several_key(),
            placeholder="Set a kind",
            width=170,
            on_change=_set_kind,
            args=(names, suggested),
        )
    return found


def _use(columns: list[str], table: Table, suggested: Schema, used: bool) -> None:
    _keep_kinds({column: _kind_of(column, used, table, suggested) for column in columns}, suggested)
    _renew()


def _set_kind(columns: list[str], suggested: Schema) -> None:
    kind = st.session_state[_several_key()]
    if kind is not None:
        _keep_kinds(dict.fromkeys(columns, kind), suggested)
        _renew()


def _kind_of(column: str, used: bool, table: Table, suggested: Schema) -> str:
    """Give the kind of a column that is used or left out: as suggested, or where that is left out, as its cells are."""
    kind = suggested.role(column).kind
    if not used:
        return LEFT_OUT.value
    if kind.is_used:
        return kind.value
    return kind_if_used(Cells.of(table.frame, column)).value


def _keep_kinds(changed: Mapping[str, str], suggested: Schema) -> None:
    """Keep kinds in the URL; those that are suggested anyway are left out of it."""
    kept = links.chosen_values(launch.KINDS) | dict(changed)
    as_suggested = {role.column: role.kind.value for role in suggested.roles}
    links.choose_values(launch.KINDS, {name: kind for name, kind in kept.items() if as_suggested.get(name) != kind})


KEPT = {"Kind": launch.KINDS, "Separator": launch.SEPARATORS, "Written": launch.WRITTEN}
"""Columns of the role table that can be changed, and the names of their choices."""
AS_FOUND = "as found"
SEPARATOR_HELP = "What stands between the values of a cell. Write a control character as `\\x02` or `\\t`."
WRITTEN_HELP = "How numbers or dates are written, where it was found wrongly. *literal*: take the cells as they stand."


def _role_frame(schema: Schema, roles: Sequence[FieldRole]) -> pd.DataFrame:
    """Make the lines of some roles; which columns there are goes by all roles, so that a search changes none."""
    written = links.chosen_values(launch.WRITTEN)
    frame = pd.DataFrame(
        {
            USE: [role.kind.is_used for role in roles],
            "Field": [role.column for role in roles],
            "Kind": [role.kind.value for role in roles],
        }
    )
    if any(role.kind.is_several for role in schema.roles):
        frame["Separator"] = [_visible(role.separator or "") if role.kind.is_several else "" for role in roles]
    if any(role.form or role.notation != PLAIN or role.column in written for role in schema.roles):
        frame["Written"] = [written.get(role.column, AS_FOUND) for role in roles]
    if any(role.missing for role in schema.roles):
        frame["Missing"] = [role.missing for role in roles]
    frame["Why"] = [without_options(role.reason).replace("`", "") for role in roles]
    if any(role.warning for role in schema.roles):
        frame["Careful"] = [without_options(role.warning).replace("`", "") for role in roles]
    return frame


def _visible(mark: str) -> str:
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in mark)


def _keep_roles(key: str, columns: list[str], table: Table, suggested: Schema) -> None:
    edited: dict[str, dict[str, Any]] = {
        columns[int(row)]: changes for row, changes in st.session_state[key]["edited_rows"].items()
    }
    for title, name in KEPT.items():
        kept = links.chosen_values(name) | {column: row[title] for column, row in edited.items() if title in row}
        links.choose_values(name, {column: value for column, value in kept.items() if value not in ("", AS_FOUND)})
    uses = {column: row[USE] for column, row in edited.items() if USE in row}
    _keep_kinds({column: _kind_of(column, used, table, suggested) for column, used in uses.items()}, suggested)
    if uses:
        _renew()  # else the box and the kind of a column could contradict each other


def table_heading(title: str, frame: pd.DataFrame) -> None:
    """Draw a heading with a CSV button for the table below it."""
    with st.container(
        horizontal=True, vertical_alignment="center"
    ):  # on the left: the table's own buttons are on the right
        st.subheader(title, anchor=False, width="content")
        download(frame, title.lower(), f"{title} csv")


# The label: which column it is, and which of its values are positive.


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
