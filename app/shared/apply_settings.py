"""Open the page Train with the settings of an earlier run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.shared import launch
from app.shared.split_choice import SPLIT, TEST_TABLE, VALID_TABLE, choice_of
from app.state import links, saved_runs, saved_tables
from app.widgets.text import errors_shown
from deepfm_core.schema.schema import FieldRole, Schema
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.settings import SETTINGS

if TYPE_CHECKING:
    from deepfm_core.schema.column_rules import Said

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
        launch.choose_table(spec.table)  # not before all is known: it replaces the visitor's own table
        links.go("train", **chosen, new="1", run=None)


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
        launch.BLANK: launch.NEGATIVE if blank else None,
        launch.KINDS: links.as_text(kinds),
        launch.SEPARATORS: links.as_text({column: mark for column, mark in separators.items() if mark}),
        launch.WRITTEN: links.as_text(dict(ways)),
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
    for way in launch.WAYS_TO_WRITE:
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
