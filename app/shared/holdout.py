"""The rows a run is judged by: shares of the table that is trained on, or tables apart."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import streamlit as st

from app.shared import launch
from app.shared.split_choice import TEST_TABLE, VALID_TABLE, choose_split
from app.shared.uploads import SHARED, say_refused, upload
from app.state import links, saved_tables
from app.widgets.layout import side_by_side
from app.widgets.messages import show_error
from app.widgets.text import code, counted, plain
from deepfm_core.errors import DeepFMError, SpecError
from deepfm_core.schema.compatibility import require_fit
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import RunSpec

# How the rows of a run to be made are divided: by the code that the run itself divides them with.


class Division(NamedTuple):
    """Rows to train on, to validate and to test on, and what is not as one would wish."""

    train: int
    valid: int
    test: int
    notes: tuple[str, ...]


def division(spec: RunSpec) -> Division | None:
    """Divide a table's rows as a run with this spec does; None where they cannot be divided so."""
    apart = (spec.valid_table, spec.test_table)
    try:
        return _divided((spec.table, *apart, spec.schema.label, spec.split, spec.rows_seed), spec)
    except DeepFMError:
        return None  # the table, its roles or the split say why where they are chosen, or the run does


@st.cache_data(max_entries=32, show_spinner=False)
def _divided(asked: tuple[object, ...], _spec: RunSpec) -> Division:
    from deepfm_core.encoding.splits import load_parts

    parts = load_parts(_spec, saved_tables.table)
    return Division(len(parts.train), len(parts.valid), len(parts.test), parts.notes)


def say_doubts(spec: RunSpec) -> None:
    """Say what of the parts of a run to be made is not as one would wish."""
    divided = division(spec)
    if divided is not None and divided.notes:
        bullet = "- " if len(divided.notes) > 1 else ""
        st.warning("\n".join(f"{bullet}{plain(note)}" for note in divided.notes), icon=":material/warning:")


PARTS = {VALID_TABLE: "validate", TEST_TABLE: "test"}
"""What a table apart is for."""


def choose_parts(sha: str, schema: Schema, rows: int) -> None:
    """Draw which rows are trained on, stopped by and tested on, and let tables apart be uploaded or chosen.

    Args:
        sha: of the table that is trained on.
        schema: its roles.
        rows: how many it has.
    """
    spec = None
    with suppress(SpecError):  # of the split, which is put right below
        spec = launch.base_spec(sha, schema)
    said = "Rows to train, to validate and to test" if spec is None else _in_words(spec, rows)
    apart = any(links.chosen(name) for name in PARTS)
    with st.expander(said, key=f"parts of {sha[:8]}", icon=":material/call_split:", expanded=apart):
        choose_split(schema)
        st.caption(
            "Validation says when to stop, test rows only measure. A table apart has the same columns; its label may "
            "be written a little differently, as `>50K.` for `>50K`."
        )
        cells = side_by_side(len(PARTS))
        for cell, name in zip(cells, reversed(PARTS), strict=True):
            with cell:
                _choose(name, sha)
    if spec is not None:
        say_doubts(spec)


def _in_words(spec: RunSpec, rows: int) -> str:
    """Say in one line which rows are for what; of rows that cannot be divided as asked, how they are meant to be."""
    split = spec.split
    there = division(spec)
    meant = (spec.training_rows(rows), round(rows * split.valid), round(rows * split.test))
    train, valid, test = meant if there is None else (there.train, there.valid, there.test)
    said = [f"{train:,} rows to train"]
    for verb, table, count in (("validate", spec.valid_table_name, valid), ("test", spec.test_table_name, test)):
        said.append(f"{plain(table)} to {verb}" if table else f"{count:,} to {verb}")
    return ", ".join(said)


def _choose(name: str, sha: str) -> None:
    verb = PARTS[name]
    above, key = st.container(), f"upload to {verb} {sha[:8]}"
    file, taken = upload(f"Upload a table to {verb} on", key)
    if taken is not None:
        links.choose(name, taken)
        st.rerun()  # what stands above says which tables are chosen
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
    say_refused(file, key, "The choice above stands.")


def say_unfit(schema: Schema) -> bool:
    """Say which tables apart do not fit the roles, and return whether any does not."""
    problems = [problem for name in PARTS if (problem := _problem(name, schema)) is not None]
    for problem in problems:
        show_error(problem)
    return bool(problems)


def _problem(name: str, schema: Schema) -> DeepFMError | None:
    chosen, verb = links.chosen(name), PARTS[name]
    if chosen is None:
        return None
    if chosen == saved_tables.current_table():
        return SpecError(f"The table to {verb} on is the one trained on: choose another under *Data*.")
    try:
        _require_fit(chosen, schema)
    except DeepFMError as error:
        return error
    return None


@st.cache_data(max_entries=64, show_spinner="Looking at the other table …")
def _require_fit(sha: str, schema: Schema) -> None:
    require_fit(saved_tables.table(sha), schema)


# One line about the table that a run, a comparison or a study will be made from, and how its rows are divided.


def table_line() -> tuple[str, Schema, int]:
    """Say which table it is, with a way to change it and its split; return its SHA-256, its roles and number of rows.

    Raises:
        DeepFMError: there is no such table, or it cannot be learned from.
    """
    sha = saved_tables.current_table()
    schema, rows = launch.chosen_schema(sha), len(saved_tables.table(sha))
    with st.container(horizontal=True, vertical_alignment="center"):
        about = f"**{plain(saved_tables.table_name(sha))}**: {counted(rows, 'row')}, label {code(schema.label.column)}"
        about += f", {counted(len(schema.used), 'field')}"
        apart = (("validated", links.chosen(VALID_TABLE)), ("tested", links.chosen(TEST_TABLE)))
        for verb, other in apart:
            about += f", {verb} on **{plain(saved_tables.table_name(other))}**" if other else ""
        st.markdown(about, width="content")
        if st.button("Change", type="tertiary", icon=":material/edit:"):
            links.go("data")
        choose_split(schema)
    return sha, schema, rows
