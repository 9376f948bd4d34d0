"""Rows to train, validate and test on: shares of one table, or separate holdout tables.

Used on every page that starts a run: what the division will be, the choice of holdout tables, and one line about the
table for Train, Compare and Study.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import NamedTuple

import streamlit as st

from app.shared import launch
from app.shared.launch import TEST_TABLE, VALID_TABLE, choose_split
from app.shared.uploads import SHARED, say_refused, upload
from app.state import links, saved_tables
from app.widgets.layout import side_by_side
from app.widgets.text import code, counted, plain, show_error, without_options
from deepfm_core.errors import DeepFMError, SpecError
from deepfm_core.schema.compatibility import require_fit
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import RunSpec

# How a run will divide the rows: computed by the code that the run itself uses.


class Division(NamedTuple):
    """Numbers of rows to train, validate and test on, and notes on parts that are too small."""

    train: int
    valid: int
    test: int
    notes: tuple[str, ...]
    copies: str
    """What the notes say of copies of rows, if anything."""


def division(spec: RunSpec) -> Division | None:
    """Divide the rows as a run with this spec will; None if they cannot be divided so."""
    holdout = (spec.valid_table, spec.test_table)
    try:
        saved_tables.require_for(spec)
        return _divided((spec.table, *holdout, repr(spec.schema), spec.split, spec.rows_seed), spec)
    except DeepFMError:
        return None  # the page says why where table, roles or split are chosen


@st.cache_data(max_entries=32, show_spinner=False)
def _divided(key: tuple[object, ...], _spec: RunSpec) -> Division:
    from deepfm_core.encoding.splits import load_parts

    parts = load_parts(_spec, saved_tables.table)
    said = parts.copies.said if parts.copies else ""
    return Division(len(parts.train), len(parts.valid), len(parts.test), parts.notes, said)


def say_doubts(spec: RunSpec, *, copies: bool = True) -> None:
    """Warn of parts that are too small for a reliable result, and of copies of rows unless the page has done so."""
    divided = division(spec)
    notes = [] if divided is None else [note for note in divided.notes if copies or note != divided.copies]
    if notes:
        bullet = "- " if len(notes) > 1 else ""
        said = "\n".join(f"{bullet}{plain(without_options(note))}" for note in notes)
        st.warning(said, icon=":material/warning:")


PARTS = {VALID_TABLE: "validate", TEST_TABLE: "test"}
"""Holdout tables by their names in the URL, and what each is for."""


def choose_parts(sha: str, schema: Schema, rows: int) -> None:
    """Draw how rows are divided, and let holdout tables be uploaded or chosen.

    Args:
        sha: SHA-256 of the table to train on.
        schema: its roles.
        rows: number of its rows.
    """
    spec = None
    with suppress(SpecError):  # from the split, which the visitor fixes below
        spec = launch.base_spec(sha, schema)
    label = "Rows to train, validate and test" if spec is None else _in_words(spec, rows)
    has_holdout = any(links.chosen(name) for name in PARTS)
    with st.expander(label, key=f"parts of {sha[:8]}", icon=":material/call_split:", expanded=has_holdout):
        choose_split(schema)
        st.caption(
            "Validation rows decide when to stop; test rows only measure. A separate table needs the same columns. Its "
            "label may be written a little differently, such as `>50K.` for `>50K`."
        )
        cells = side_by_side(len(PARTS))
        for cell, name in zip(cells, reversed(PARTS), strict=True):
            with cell:
                _choose(name, sha)
    if spec is not None and not links.chosen(TEST_TABLE) and not saved_tables.understood(sha, schema)[1].besides:
        launch.offer_time(schema)  # of rows that come again at another time, the later ones would be copies
    if spec is not None:
        say_doubts(spec, copies=False)


def _in_words(spec: RunSpec, rows: int) -> str:
    """Say in one line how many rows are for what; if they cannot be divided so, how many were meant."""
    split = spec.split
    divided = division(spec)
    meant = (spec.training_rows(rows), round(rows * split.valid), round(rows * split.test))
    train, valid, test = meant if divided is None else (divided.train, divided.valid, divided.test)
    words = [f"{train:,} rows to train"]
    for verb, table, count in (("validate", spec.valid_table_name, valid), ("test", spec.test_table_name, test)):
        words.append(f"{plain(table)} to {verb}" if table else f"{count:,} to {verb}")
    return ", ".join(words)


def _choose(name: str, sha: str) -> None:
    verb = PARTS[name]
    above, key = st.container(), f"upload to {verb} {sha[:8]}"
    file = upload(f"Upload a table to {verb} on", key, partial(links.choose, name))
    tables = {other: called for other, called in saved_tables.tables().items() if other != sha}
    chosen = links.chosen(name)
    if chosen:
        tables.setdefault(chosen, SHARED)
    above.selectbox(
        f"{verb.capitalize()} on",
        ["", *tables],
        format_func=lambda other: tables.get(other, "a share of the rows"),
        **links.mirror(name, list(tables), ""),
    )
    say_refused(file, key, "The choice above is unchanged.")


def say_unfit(schema: Schema) -> bool:
    """Say which holdout tables do not fit the roles; return whether there are any."""
    problems = [problem for name in PARTS if (problem := _problem(name, schema)) is not None]
    for problem in problems:
        show_error(problem)
    return bool(problems)


def _problem(name: str, schema: Schema) -> DeepFMError | None:
    chosen, verb = links.chosen(name), PARTS[name]
    if chosen is None:
        return None
    if chosen == saved_tables.current_table():
        return SpecError(f"The table to {verb} on is also the one to train on. Choose another on *Data*.")
    try:
        saved_tables.require(chosen)
        _require_fit(chosen, schema)
    except DeepFMError as error:
        return error
    return None


@st.cache_data(max_entries=64, show_spinner="Looking at the other table …")
def _require_fit(sha: str, schema: Schema) -> None:
    require_fit(saved_tables.table(sha), schema)


# One line about the table, at the top of the forms of Train, Compare and Study.


def table_line() -> tuple[str, Schema, int]:
    """Draw the table's name, its label and its split, each can be changed; return SHA-256, roles and rows learned from.

    Raises:
        DeepFMError: there is no such table, or it cannot be learned from.
    """
    launch.follow_run()
    sha = saved_tables.current_table()
    schema, rows = launch.chosen_schema(sha), len(saved_tables.table(sha))
    with st.container(horizontal=True, vertical_alignment="center"):
        about = f"**{plain(saved_tables.table_name(sha))}**: {counted(rows, 'row')}{_left_out(sha, schema)}"
        about += f", label {code(schema.label.column)}"
        about += f" ({counted(left_out, 'row')} without one left out)" if (left_out := schema.label.left_out) else ""
        about += f", {counted(len(schema.used), 'field')}"
        holdout = (("validated", links.chosen(VALID_TABLE)), ("tested", links.chosen(TEST_TABLE)))
        for verb, other in holdout:
            about += f", {verb} on **{plain(saved_tables.table_name(other))}**" if other else ""
        st.markdown(about, width="content")
        if st.button("Change", type="tertiary", icon=":material/edit:"):
            links.go("data")
        choose_split(schema)
    return sha, schema, saved_tables.learned(sha, schema)


def _left_out(sha: str, schema: Schema) -> str:
    """Say how many of the table's rows are left out as copies of others, if any."""
    with suppress(DeepFMError):  # a cell that is no label: *Data* says so, and a run does
        copies = saved_tables.understood(sha, schema)[1]
        return f" ({copies.left_out})" if copies.count and not copies.kept else ""
    return ""


# Errors that keep a run from starting: columns of numbers with other cells, and holdout tables that do not fit.

UNUSABLE_SHOWN = 5
WAYS = [
    (f"Make it {kind}", ":material/category:", kind) if kind.is_used else ("Ignore it", ":material/block:", kind)
    for kind in Kind
    if kind.takes_any_text
]
"""What a column can be whatever its cells hold: the button's label and icon, and the kind."""


def say_unusable(schema: Schema) -> bool:
    """Say what keeps a run from starting; return whether anything does.

    A column of numbers that holds other cells gets two buttons: make it categorical, or ignore it. Problems of holdout
    tables are listed.
    """
    for role in schema.unusable[:UNUSABLE_SHOWN]:
        st.error(
            f"{code(role.column)} cannot be trained on as a number: {plain(role.stray)} is not a finite number. "
            "Fix or clear these cells and upload the table again, or choose:"
        )
        with st.container(horizontal=True):
            for label, icon, kind in WAYS:
                st.button(label, key=f"{label} {role.column}", icon=icon, on_click=_make, args=(role.column, kind))
    more = len(schema.unusable) - UNUSABLE_SHOWN
    if more > 0:
        st.error(f"{more:,} more {'column has' if more == 1 else 'columns have'} the same problem.")
    return say_unfit(schema) or bool(schema.unusable)


def _make(column: str, kind: Kind) -> None:
    links.choose_values(launch.KINDS, links.chosen_values(launch.KINDS) | {column: kind.value})
