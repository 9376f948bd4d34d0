"""The split of the current table: one choice for Data, Train, Compare and Study, kept in the URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from app.state import links
from app.widgets.text import plain
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import SplitSpec

SPLIT = "split"
"""Name of the choice that holds what differs from the default split."""
VALID_TABLE, TEST_TABLE = "valid_table", "test_table"
"""Names of the choices that hold the holdout tables to validate and test on."""
WAYS = {"random": "at random", "time": "by time", "group": "by group"}
_HELP = {
    "random": "Rows are drawn at random; each part keeps the share of positive rows.",
    "time": "The latest rows are for testing, those before them for validation. This is how a model is used.",
    "group": "All rows of a group, such as a user, are in one part. This tests the model on new groups.",
}
_SHARES = {
    "valid": ("Validation share", "Rows that decide when to stop."),
    "test": ("Test share", "Rows that only measure."),
}
_USUAL = SplitSpec()
MOST_SHARE = 1000
"""A larger share in a link counts as unreadable."""


def chosen_split(schema: Schema) -> SplitSpec:
    """Return the URL's split.

    Raises:
        SpecError: a share is out of range.
    """
    return SplitSpec(**_read(schema)[0])


def choose_split(schema: Schema) -> None:
    """Draw the split, which can be changed; say which of a link's values cannot be read."""
    values, unread = _read(schema)
    links.say_unread(unread, SPLIT)
    with st.popover(_label(values), icon=":material/call_split:", type="tertiary", help="How rows are divided"):
        _draw(values, schema)


def in_words(split: SplitSpec) -> str:
    """Say how rows are divided, without the shares."""
    return WAYS[split.by] + ("" if split.column is None else f" of {plain(split.column)}")


def choice_of(split: SplitSpec) -> str | None:
    """Write a split for the URL; None if it is the default."""
    return links.as_text({name: value for name, value in vars(split).items() if value != getattr(_USUAL, name)})


def _read(schema: Schema) -> tuple[dict[str, Any], list[str]]:
    """Give the split of the URL, and the names of values that cannot be read."""
    linked = links.chosen_values(SPLIT)
    by, ways = linked.get("by", _USUAL.by), list(WAYS)  # a list, since a link may hold a value that cannot be hashed
    values: dict[str, Any] = {**vars(_USUAL), "by": by if by in ways else _USUAL.by}
    unread = [] if by in ways else ["by"]
    if values["by"] != "random":
        columns = split_columns(values["by"], schema)
        values["column"] = linked.get("column", columns[0])
        if values["column"] not in columns:
            values["column"] = columns[0]
            unread.append("column")
    for name in ("valid", "test"):
        share = linked.get(name, values[name])
        if isinstance(share, int | float) and not isinstance(share, bool) and abs(share) < MOST_SHARE:
            values[name] = float(share)
        else:
            unread.append(name)
    return values, unread


def _label(values: dict[str, Any]) -> str:
    parts = [values[name] for name in _shared()]
    shares = [f"{100 * share:.3g}" for share in (1 - sum(parts), *parts)]
    return f"Split {' / '.join(shares)} {in_words(SplitSpec(values['by'], values['column']))}"


def _shared() -> list[str]:
    """Name the parts that are shares of the table, not holdout tables."""
    return [part for part, table in (("valid", VALID_TABLE), ("test", TEST_TABLE)) if links.chosen(table) is None]


def _draw(values: dict[str, Any], schema: Schema) -> None:
    st.segmented_control(
        "Split",
        list(WAYS),
        format_func=WAYS.__getitem__,
        required=True,
        **_kept("by", values["by"]),
    )
    st.caption(_HELP[values["by"]])
    if values["by"] != "random":
        options = split_columns(values["by"], schema)
        st.selectbox("Time" if values["by"] == "time" else "Group", options, **_kept("column", values["column"]))
    for name in _shared():
        label, help_text = _SHARES[name]
        st.number_input(label, help=help_text, step=0.05, format="%.6g", **_kept(name, values[name]))


def split_columns(by: str, schema: Schema) -> list[str]:
    """Give the columns that a split can go by, likely ones first; by time only those with an order."""
    likely = _ORDERS_ROWS if by == "time" else _GROUPS_ROWS
    found = [role.column for fits in likely for role in schema.roles if fits(role.kind)]
    return list(dict.fromkeys(found)) or [role.column for role in schema.roles]


_ORDERS_ROWS: Sequence[Callable[[Kind], bool]] = (
    lambda kind: kind.is_time,
    lambda kind: not kind.is_used,
    lambda kind: kind.is_number,
)
"""What columns that a split by time goes by are, the likely ones first."""
_GROUPS_ROWS: Sequence[Callable[[Kind], bool]] = (
    lambda kind: not kind.is_used,
    lambda kind: kind.takes_any_text,
    lambda kind: True,
)
"""What columns that a split by group goes by are, the likely ones first; an identifier is ignored by the model."""


def _kept(name: str, value: Any) -> dict[str, Any]:
    key = f"split {name}"
    st.session_state[key] = value
    return {"key": key, "on_change": _keep, "args": (name,)}


def _keep(name: str) -> None:
    values = links.chosen_values(SPLIT)
    values.pop(name, None)
    value = st.session_state[f"split {name}"]
    if value is not None and value != getattr(_USUAL, name):
        values[name] = value
    if name == "by":
        values.pop("column", None)  # a column that orders rows seldom groups them
    links.choose_values(SPLIT, values)
