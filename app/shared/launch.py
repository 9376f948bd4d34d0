"""Start a run: the chosen table, roles and split, its spec, and its place in the queue.

The choices are kept in the URL. Data, Train, Compare and Study share one choice of the split. Settings can be taken
from an earlier run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.shared import datasets
from app.state import links, saved_runs, saved_tables, visitor
from app.state.saved_runs import OpenRun
from app.state.store import store
from app.widgets.text import code, errors_shown, plain, without_options
from deepfm_core.errors import DeepFMError, RunError
from deepfm_core.schema.column import mark_of
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import COPIES as WITH_COPIES
from deepfm_core.schema.schema import DROP, KEEP, FieldRole, Schema
from deepfm_core.spec.models import MODELS as MODEL_SWITCHES
from deepfm_core.spec.presets import preset, run_name
from deepfm_core.spec.run import RunSpec, SplitSpec
from deepfm_core.spec.settings import SETTINGS, setting_named

if TYPE_CHECKING:
    from deepfm_core.schema.column_rules import Said
    from deepfm_core.tables.table import Table


KINDS = "kinds"
"""Name of the choice that holds the roles that the visitor changed, by column."""
BLANK, NEGATIVE = "blank", "negative"
"""Name of the choice of what a blank label means, and its only value."""
COPIES = "copies"
"""Name of the choice of what is done with copies of rows."""
SEPARATORS, WRITTEN = "separators", "written"
"""Names of the choices that hold what stands between values, and how cells are written, by column."""
WAYS_TO_WRITE: tuple[Said, ...] = ("day first", "month first", "decimal comma", "decimal point", "literal")


def choose_table(sha: str) -> None:
    """Make a table the current one, and forget label, roles and split of the last one."""
    for name in _of_a_table():
        links.choose(name, None)
    links.choose(saved_tables.TABLE, sha)


def follow_run() -> None:
    """Make the current run's table the current one, with its label, roles and split, unless the visitor chose one.

    A link may name a run alone. What was taken from a run is no choice of the visitor's, so another run replaces it.
    Nothing changes for a run whose table is not in the visitor's list.
    """
    current, (run_id, taken) = _said_of_table(), st.session_state.get(_FOLLOWED, (saved_runs.BUNDLED_ID, {}))
    if current != taken or saved_runs.current_id() == run_id:
        return
    with suppress(DeepFMError):
        run = saved_runs.current_run()
        told: dict[str, str | None] = {}
        if run.id != saved_runs.BUNDLED_ID:
            if run.spec.table not in saved_tables.tables():
                return
            saved_tables.require_for(run.spec)
            told = choices_of(run.spec, saved_tables.learned(run.spec.table, run.spec.schema))
            told |= {saved_tables.TABLE: run.spec.table}
        for name in (saved_tables.TABLE, *_of_a_table()):
            links.choose(name, told.get(name))
        st.session_state[_FOLLOWED] = run.id, _said_of_table()


_FOLLOWED = "followed run"
"""In the session: the run whose table was made the current one, and what the URL then said of it."""


def _said_of_table() -> dict[str, str]:
    names = (saved_tables.TABLE, *_of_a_table())
    return {name: value for name in names if (value := links.chosen(name)) is not None}


def _of_a_table() -> tuple[str, ...]:
    """Name the choices that mean nothing on another table."""
    return (
        "label",
        "positive",
        BLANK,
        COPIES,
        KINDS,
        SEPARATORS,
        WRITTEN,
        SPLIT,
        VALID_TABLE,
        TEST_TABLE,
        datasets.MEMORY,
    )


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
    copies = links.chosen(COPIES) or DROP
    if copies not in WITH_COPIES:
        links.say_unread([COPIES], "choice")
        copies = DROP
    return saved_tables.suggested_schema(sha, label, positive, blank_negative=blank, said=said, copies=copies)


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
    model, fit = preset("recommended", "deepfm", made.training_rows(saved_tables.trained_rows(sha, base.schema)))
    return replace(made, model=model, fit=fit)


def choose_guided(preset_name: str, model_name: str) -> bool:
    """Draw the switch for guidance, which models with FM pairs have; the paper's form is never guided."""
    if preset_name == "paper" or not MODEL_SWITCHES[model_name].second_order:
        return False
    setting = setting_named("guided")
    return st.toggle(setting.heading, help=setting.sentence, **links.mirror_flag(GUIDED, True))


def trained_already(run: OpenRun) -> bool:
    """Say whether the visitor has a finished run of what `as_shown` gives; False if its table is gone."""
    alike = [
        row.spec for row in saved_runs.runs(together=True) if row.ended_well and row.spec.schema == run.spec.schema
    ]
    try:
        return bool(alike) and as_shown(run) in alike
    except DeepFMError:
        return False


def say_expectations(spec: RunSpec) -> None:
    """Say what to expect of a run where its table is wide and short; nothing where it is not."""
    if saved_tables.whole_of(spec.table) is not None:
        return  # the sample does not tell how many values all rows have
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

    A run on a table that is a sample trains on the whole of it, from the disk.

    Raises:
        RunError: one of its tables is not the visitor's, or as many runs wait as may.
        SpecError: it needs all rows in memory, and its table is a sample.
        TableError: the files of the whole are gone, or the visitor may not read them.
    """
    saved_tables.require_for(spec)
    whole, dataset = saved_tables.whole_of(spec.table), None
    if whole is not None:
        dataset = datasets.dataset_of(spec, whole)
        spec = replace(spec, schema=replace(spec.schema, copies=KEEP))
    run_id = store().enqueue(spec, _called(spec, settings), visitor.owner(), dataset=dataset)
    keep_worker()
    links.go("train", run=run_id, new=None)


def _called(spec: RunSpec, settings: str) -> str:
    """Name a run by what it trains on, which may be the whole that its table is a sample of."""
    if saved_tables.whole_of(spec.table) is None:
        return run_name(spec, settings)
    from deepfm_core.encoding.sharding import name_of_whole

    return run_name(replace(spec, table_name=name_of_whole(spec.table_name)), settings)


def wake_worker() -> None:
    """Start a worker if none is alive. For callbacks, which say what fails (`errors_said`).

    Raises:
        RunError: it cannot be started.
    """
    store().workers.ensure()


def keep_worker() -> None:
    """Start a worker if none is alive, so that the next run starts at once; warn if it cannot be started."""
    try:
        wake_worker()
    except RunError as error:
        st.warning(plain(str(error)))


# Open the page Train with the settings of an earlier run.


CUSTOM = "custom"
"""Name of the choice that holds the custom settings that differ from the recommended ones."""
GUIDED = "guided"
"""Name of the choice that says whether a model is guided."""
_ASKED = "settings to take over"


def ask_to_take_over(run_id: str) -> None:
    """Remember whose settings are wanted. For a button's callback; `take_over` then opens Train."""
    st.session_state[_ASKED] = run_id


def take_over() -> None:
    """Open Train with the settings of the remembered run, if there is one; say so if its tables are not here."""
    run_id = st.session_state.pop(_ASKED, None)
    if run_id is None:
        return
    with errors_shown():
        spec = saved_runs.open_run(run_id).spec
        saved_tables.require_for(spec)
        chosen = choices_of(spec, saved_tables.trained_rows(spec.table, spec.schema))
        choose_table(spec.table)  # not before all is known: it replaces the visitor's own table
        links.go("train", **chosen, new="1", run=None)


def open_compare(spec: RunSpec) -> None:
    """Open Compare with a run's table, label, roles and split.

    Raises:
        DeepFMError: its tables are not here.
    """
    saved_tables.require_for(spec)
    chosen = choices_of(spec, saved_tables.learned(spec.table, spec.schema))
    choose_table(spec.table)
    links.go("compare", **{name: chosen[name] for name in _of_a_table() if name in chosen}, new="1")


def offer_settings(run: OpenRun, label: str, changes: dict[str, str | None], key: str | None = None) -> None:
    """Offer to open Train with the run's table, roles and settings, changed."""
    if not st.button(plain(label), icon=":material/model_training:", key=key):
        return
    with errors_shown():
        rows = saved_tables.learned(run.spec.table, run.spec.schema)
        chosen = choices_of(run.spec, rows) | changes
        choose_table(run.spec.table)
        links.go("train", **chosen, new="1", run=None)


def choices_of(spec: RunSpec, rows: int) -> dict[str, str | None]:
    """Return the URL choices that give the form of Train a run's settings.

    Args:
        spec: of the run.
        rows: number of rows of its table that are learned from.
    """
    blank, copies = not spec.schema.label.negative, _done_with_copies(spec)
    suggested = _suggested(spec, copies)
    ways = _ways_to_write(spec, suggested, copies)
    if ways:
        suggested = _suggested(spec, copies, tuple(sorted(ways.items())))
    usual = {role.column: role.kind for role in suggested.roles}
    marks = {role.column: role.separator for role in suggested.roles}
    separators = {role.column: role.separator for role in spec.schema.roles if role.separator != marks.get(role.column)}
    kinds = {role.column: role.kind.value for role in spec.schema.roles if usual.get(role.column) != role.kind}
    return {
        "preset": "custom",
        "model": None if spec.model.name == "deepfm" else spec.model.name,
        "label": spec.schema.label.column,
        "positive": spec.schema.label.said,
        BLANK: NEGATIVE if blank else None,
        COPIES: None if copies == DROP else copies,
        KINDS: links.as_text(kinds),
        SEPARATORS: links.as_text({column: mark for column, mark in separators.items() if mark}),
        WRITTEN: links.as_text(dict(ways)),
        VALID_TABLE: spec.valid_table,
        TEST_TABLE: spec.test_table,
        SPLIT: choice_of(spec.split),
        GUIDED: "off" if spec.model.switches.second_order and not spec.model.guided else None,
        CUSTOM: links.as_text(_differences(spec, rows)),
    }


def _suggested(spec: RunSpec, copies: str, said: tuple[tuple[str, Said], ...] = ()) -> Schema:
    label = spec.schema.label
    blank = not label.negative
    return saved_tables.suggested_schema(
        spec.table, label.column, label.said, blank_negative=blank, said=said, copies=copies
    )


def _done_with_copies(spec: RunSpec) -> str:
    """Say what a run did with copies of rows; keeping them need not be said where there are none."""
    copies = spec.schema.copies
    return copies if copies != KEEP or saved_tables.understood(spec.table, spec.schema)[1].count else DROP


def _ways_to_write(spec: RunSpec, suggested: Schema, copies: str) -> dict[str, Said]:
    """Find what was said of how columns are written: the way in which the table gives the run's forms and notations."""
    found = {role.column: role for role in suggested.roles}
    differing = [role for role in spec.schema.roles if role.column in found and not _alike(role, found[role.column])]
    ways: dict[str, Said] = {}
    for way in WAYS_TO_WRITE:
        left = [role for role in differing if role.column not in ways]
        if not left:
            break
        said = tuple((role.column, way) for role in left)  # each column is read by itself, so all are asked at once
        other = _suggested(spec, copies, said)
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


def offer_time(schema: Schema) -> None:
    """Offer the split by time where rows are split at random although a column says when they came."""
    timed = any(role.orders_rows or role.kind.is_time for role in schema.roles)
    if not timed or _read(schema)[0]["by"] != "random":
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        column = code(split_columns("time", schema)[0])
        said = f"Rows are split at random, and {column} says when they came. A split by time tests on the latest rows."
        st.caption(said, width="content")
        st.button("Split by time", type="tertiary", icon=":material/schedule:", on_click=_by_time)


def _by_time() -> None:
    kept = {name: value for name, value in links.chosen_values(SPLIT).items() if name != "column"}
    links.choose_values(SPLIT, {**kept, "by": "time"})


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
    found = [role.column for role in schema.roles if by == "time" and role.orders_rows]
    found += [role.column for fits in likely for role in schema.roles if fits(role.kind)]
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
