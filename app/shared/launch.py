"""From a table and settings to a queued run, the same way on every page."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app.shared.split_choice import SPLIT, TEST_TABLE, VALID_TABLE, chosen_split
from app.state import links, saved_runs, saved_tables, visitor
from app.state.store import store
from app.widgets.text import plain
from deepfm_core.errors import RunError
from deepfm_core.schema.schema import Kind, Schema
from deepfm_core.spec.naming import run_name
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import RunSpec
from deepfm_core.workers.launcher import ensure_worker

KINDS = "kinds"
"""Name of the choice that holds the roles the user changed, by column."""


def choose_table(sha: str | None) -> None:
    """Make a table the current one, None the sample; what was chosen for another, its roles and so on, is forgotten."""
    for name in ("label", "positive", KINDS, SPLIT, VALID_TABLE, TEST_TABLE):
        links.choose(name, None)
    links.choose(saved_tables.TABLE, sha)


def chosen_schema(sha: str) -> Schema:
    """Return a table's roles: as suggested, with what the user changed; say what of a link cannot be read.

    Raises:
        DeepFMError: there is no such table, or it cannot be learned from with this label.
    """
    suggested = saved_tables.suggested_schema(sha, links.chosen("label"), links.chosen("positive"))
    known = {role.column for role in suggested.roles}
    linked = {column: kind for column, kind in links.chosen_values(KINDS).items() if column in known}
    kinds = {column: Kind(kind) for column, kind in linked.items() if isinstance(kind, str) and kind in set(Kind)}
    links.say_unread([column for column in linked if column not in kinds], "role")
    return suggested.with_kinds(kinds)


def base_spec(sha: str, schema: Schema) -> RunSpec:
    """Return a spec that says what is trained on and judged by; model and settings are still to choose.

    Raises:
        SpecError: the rows cannot be divided as the link says.
    """
    valid, test = links.chosen(VALID_TABLE), links.chosen(TEST_TABLE)
    return RunSpec(
        table=sha,
        table_name=saved_tables.table_name(sha),
        schema=schema,
        valid_table=valid,
        test_table=test,
        valid_table_name=valid and saved_tables.table_name(valid),
        test_table_name=test and saved_tables.table_name(test),
        split=chosen_split(schema),
    )


def recommended(sha: str, schema: Schema, rows: int) -> RunSpec:
    """Return the spec of a run with everything as recommended for a table of so many rows."""
    base = base_spec(sha, schema)
    model, fit = preset("recommended", "deepfm", base.training_rows(rows))
    return replace(base, model=model, fit=fit)


def sample() -> RunSpec:
    """Return the spec of a run on the sample; its roles stand in the run that comes with the app."""
    sha = next(iter(saved_tables.samples()))
    base = RunSpec(sha, saved_tables.SAMPLE_TABLE.name, saved_runs.open_run(saved_runs.BUNDLED_ID).spec.schema)
    model, fit = preset("recommended", "deepfm", base.training_rows(len(saved_tables.table(sha))))
    return replace(base, model=model, fit=fit)


def launch(spec: RunSpec, settings: str = "") -> None:
    """Queue a run, named by its model, its settings in words and its table, and open it on the page Train."""
    run_id = store().enqueue(spec, run_name(spec, settings), visitor.owner())
    keep_worker()
    links.go("train", run=run_id, new=None)


def keep_worker() -> None:
    """See that a worker lives, so that the next run starts at once; say so where none can be started."""
    try:
        ensure_worker(store())
    except RunError as error:
        st.warning(plain(str(error)))
