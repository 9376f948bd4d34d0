"""Start a run: the chosen table and roles, its spec, its place in the queue; and settings taken from an earlier run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.shared.split_choice import SPLIT, TEST_TABLE, VALID_TABLE, choice_of, chosen_split
from app.state import links, saved_runs, saved_tables, visitor
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.widgets.text import errors_shown, plain, without_options
from deepfm_core.errors import RunError
from deepfm_core.schema.column import mark_of
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, Schema
from deepfm_core.spec.presets import preset, run_name
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.settings import SETTINGS

if TYPE_CHECKING:
    from deepfm_core.schema.column_rules import Said
    from deepfm_core.tables.table import Table


KINDS = "kinds"
"""Name of the choice that holds the roles that the visitor changed, by column."""
BLANK, NEGATIVE = "blank", "negative"
"""Name of the choice of what a blank label means, and its only value."""
SEPARATORS, WRITTEN = "separators", "written"
"""Names of the choices that hold what stands between values, and how cells are written, by column."""
WAYS_TO_WRITE: tuple[Said, ...] = ("day first", "month first", "decimal comma", "decimal point", "literal")


def choose_table(sha: str | None) -> None:
    """Make a table the current one, None the sample, and forget label, roles and split of the last one."""
    for name in ("label", "positive", BLANK, KINDS, SEPARATORS, WRITTEN, SPLIT, VALID_TABLE, TEST_TABLE):
        links.choose(name, None)
    links.choose(saved_tables.TABLE, sha)


def follow_table(before: Table, sha: str) -> None:
    """Make a table that was read again the current one; label, roles and split stay if its columns are the same."""
    if list(saved_tables.table(sha).frame.columns) == list(before.frame.columns):
        links.choose(saved_tables.TABLE, sha)
    else:
        choose_table(sha)


def chosen_schema(sha: str) -> Schema:
    """Return a table's roles: the suggested ones with the visitor's changes; say which of a link cannot be read.

    Raises:
        DeepFMError: there is no such table, or it cannot be learned from with this label; no separator is found where
            a column is to hold several values.
    """
    return saved_tables.separated(sha, marked_schema(sha))


def marked_schema(sha: str) -> Schema:
    """Return the roles as `chosen_schema` does, but a column of several values may lack its separator.

    Raises:
        DeepFMError: there is no such table, or it cannot be learned from with this label.
    """
    suggested = suggested_roles(sha)
    linked, separators = _linked(KINDS, suggested), _linked(SEPARATORS, suggested)
    kinds = {column: Kind(kind) for column, kind in linked.items() if kind in set(Kind)}
    links.say_unread([column for column in linked if column not in kinds], "role")
    return suggested.with_kinds(kinds, {column: mark_of(mark) for column, mark in separators.items() if mark})


def suggested_roles(sha: str) -> Schema:
    """Return the suggested roles, by what the visitor says of the label and of how cells are written.

    Raises:
        DeepFMError: there is no such table, or it cannot be learned from with this label.
    """
    written = links.chosen_values(WRITTEN)
    said = tuple((column, way) for column in sorted(written) for way in WAYS_TO_WRITE if written[column] == way)
    blank = links.chosen(BLANK) == NEGATIVE
    label, positive = links.chosen("label"), links.chosen("positive")
    return saved_tables.suggested_schema(sha, label, positive, blank_negative=blank, said=said)


def _linked(name: str, schema: Schema) -> dict[str, str]:
    """Return the texts of a choice by column, of the columns that the table has."""
    known = {role.column for role in schema.roles}
    return {column: str(value) for column, value in links.chosen_values(name).items() if column in known}


def base_spec(sha: str, schema: Schema) -> RunSpec:
    """Return a spec of tables, roles and split; model and settings are still the defaults.

    Raises:
        SpecError: the split of the link is out of range.
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
    """Return the spec of a run with the settings recommended for a table of this many rows."""
    base = base_spec(sha, schema)
    model, fit = preset("recommended", "deepfm", base.training_rows(rows))
    return replace(base, model=model, fit=fit)


def as_shown(run: OpenRun) -> RunSpec:
    """Return the spec of a run on the table, roles and split of another, with the recommended settings.

    Raises:
        RunError: the store does not have the table any more.
    """
    base = run.spec
    sha, name = base.table, base.table_name
    if run.id == saved_runs.BUNDLED_ID:
        sha, name = next(iter(saved_tables.samples())), saved_tables.SAMPLE_TABLE.name
    held_out = (base.valid_table, base.test_table, base.valid_table_name, base.test_table_name)
    made = RunSpec(sha, name, base.schema, *held_out, split=base.split)
    model, fit = preset("recommended", "deepfm", made.training_rows(len(saved_tables.table(sha))))
    return replace(made, model=model, fit=fit)


def say_expectations(spec: RunSpec) -> None:
    """Say what to expect of a run where its table is wide and short; nothing where it is not."""
    said = [plain(without_options(sentence)) for sentence in _expectations(json.dumps(spec.to_dict()), spec)]
    if said:
        bullet = "- " if len(said) > 1 else ""
        st.info("\n".join(bullet + sentence for sentence in said), icon=":material/hourglass_top:")


@st.cache_data(max_entries=64, show_spinner=False)
def _expectations(key: str, _spec: RunSpec) -> list[str]:
    from deepfm_core.runs.progress import expectations

    return expectations(saved_tables.table(_spec.table), _spec)


def launch(spec: RunSpec, settings: str = "") -> None:
    """Queue a run and open it on Train; its name holds the model, the `settings` in words, and the table.

    Raises:
        RunError: one of its tables is not the visitor's, or as many runs wait as may.
    """
    saved_tables.require_for(spec)
    run_id = store().enqueue(spec, run_name(spec, settings), visitor.owner())
    keep_worker()
    links.go("train", run=run_id, new=None)


def keep_worker() -> None:
    """Start a worker if none is alive, so that the next run starts at once; warn if it cannot be started."""
    try:
        store().workers.ensure()
    except RunError as error:
        st.warning(plain(str(error)))


# Open the page Train with the settings of an earlier run.


CUSTOM = "custom"
"""Name of the choice that holds the custom settings that differ from the recommended ones."""
GUIDED = "guided"
"""Name of the choice that says whether a model is guided."""
_ASKED = "settings to take over"


def ask(run_id: str) -> None:
    """Remember whose settings are wanted. For a button's callback; `follow` then opens Train."""
    st.session_state[_ASKED] = run_id


def follow() -> None:
    """Open Train with the settings of the remembered run, if there is one; say so if its tables are not here."""
    run_id = st.session_state.pop(_ASKED, None)
    if run_id is None:
        return
    with errors_shown():
        spec = saved_runs.open_run(run_id).spec
        saved_tables.require_for(spec)
        chosen = choices(spec, len(saved_tables.table(spec.table)))
        choose_table(spec.table)  # not before all is known: it replaces the visitor's own table
        links.go("train", **chosen, new="1", run=None)


def compare(spec: RunSpec) -> None:
    """Open Compare with a run's table, label, roles and split.

    Raises:
        DeepFMError: its tables are not here.
    """
    saved_tables.require_for(spec)
    chosen = choices(spec, len(saved_tables.table(spec.table)))
    choose_table(spec.table)
    names = ("label", "positive", BLANK, KINDS, SEPARATORS, WRITTEN, VALID_TABLE, TEST_TABLE, SPLIT)
    links.go("compare", **{name: chosen[name] for name in names}, new="1")


def choices(spec: RunSpec, rows: int) -> dict[str, str | None]:
    """Return the URL choices that give the form of Train a run's settings.

    Args:
        spec: of the run.
        rows: number of rows of its table.
    """
    label, blank = spec.schema.label, not spec.schema.label.negative
    suggested = saved_tables.suggested_schema(spec.table, label.column, label.said, blank_negative=blank)
    ways = _ways_to_write(spec, suggested)
    if ways:
        said = tuple(sorted(ways.items()))
        suggested = saved_tables.suggested_schema(spec.table, label.column, label.said, blank_negative=blank, said=said)
    usual = {role.column: role.kind for role in suggested.roles}
    marks = {role.column: role.separator for role in suggested.roles}
    separators = {role.column: role.separator for role in spec.schema.roles if role.separator != marks.get(role.column)}
    kinds = {role.column: role.kind.value for role in spec.schema.roles if usual.get(role.column) != role.kind}
    return {
        "preset": "custom",
        "model": None if spec.model.name == "deepfm" else spec.model.name,
        "label": label.column,
        "positive": label.said,
        BLANK: NEGATIVE if blank else None,
        KINDS: links.as_text(kinds),
        SEPARATORS: links.as_text({column: mark for column, mark in separators.items() if mark}),
        WRITTEN: links.as_text(dict(ways)),
        VALID_TABLE: spec.valid_table,
        TEST_TABLE: spec.test_table,
        SPLIT: choice_of(spec.split),
        GUIDED: "off" if spec.model.switches.second_order and not spec.model.guided else None,
        CUSTOM: links.as_text(_differences(spec, rows)),
    }


def _ways_to_write(spec: RunSpec, suggested: Schema) -> dict[str, Said]:
    """Find what was said of how columns are written: the way in which the table gives the run's forms and notations."""
    label, blank = spec.schema.label, not spec.schema.label.negative
    found = {role.column: role for role in suggested.roles}
    differing = [role for role in spec.schema.roles if role.column in found and not _alike(role, found[role.column])]
    ways: dict[str, Said] = {}
    for way in WAYS_TO_WRITE:
        left = [role for role in differing if role.column not in ways]
        if not left:
            break
        said = tuple((role.column, way) for role in left)  # each column is read by itself, so all are asked at once
        other = saved_tables.suggested_schema(spec.table, label.column, label.said, blank_negative=blank, said=said)
        ways |= {role.column: way for role in left if _alike(role, other.role(role.column))}
    return ways


def _alike(role: FieldRole, other: FieldRole) -> bool:
    return (role.form, role.notation) == (other.form, other.notation)


def _differences(spec: RunSpec, rows: int) -> dict[str, Any]:
    model, fit = preset("recommended", spec.model.name, spec.training_rows(rows), guided=spec.model.guided)
    usual = replace(spec, model=model, fit=fit, min_count=RunSpec.min_count)
    return {
        setting.name: setting.as_text(setting.of(spec))
        for setting in SETTINGS
        if not setting.own and setting.of(spec) != setting.of(usual)
    }
