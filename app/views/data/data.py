"""The page Data: a table, the roles of its columns, and the button to train."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from app.shared import datasets, launch
from app.shared.holdout import choose_parts, say_unusable
from app.shared.uploads import FORMATS, SHARED, name_files, reading_section, say_refused, upload
from app.state import links, saved_tables, visitor
from app.state.saved_runs import show_use
from app.state.store import store
from app.views.data.evidence import observed_section, values_section
from app.views.data.roles import KEPT, choose_label, edit_roles, table_heading
from app.widgets.layout import STACKED, sideways_hint
from app.widgets.text import counted, errors_said, errors_shown, plain, say_missing_letters, show_error, without_options
from deepfm_core.errors import DeepFMError, Problem, in_words
from deepfm_core.schema.schema import KEEP, Schema
from deepfm_core.tables.table import Table

PREVIEWED = 100
LONGEST_CELL = 120
"""Letters of a cell that are shown: a page of whole texts would be megabytes."""
ON_PHONE, ON_TABLET = 3, 6
"""Columns that narrow screens show without scrolling."""
SKIPPED_SHOWN = 50


def main() -> None:
    """Draw the page."""
    st.title("Data", anchor=False)
    choose_table()
    with errors_shown():
        sha = saved_tables.current_table()
        table = saved_tables.table(sha)
        datasets.say_sample(sha)
        to_choose = choose_label(sha, table)
        schema = _understood(sha, to_choose=to_choose)
        _skipped(table)
        reading_section(sha, table, changeable=sha in saved_tables.tables())
        if schema is None:
            _roles_alone(sha, table)
        else:
            choose_parts(sha, schema, len(table))
            with errors_shown():
                _begin(sha, table, schema)
            edit_roles(sha, table, schema)
            values_section(sha, table, schema)
            observed_section(sha, schema, len(table))
    _preview(saved_tables.current_table())


def _understood(sha: str, *, to_choose: bool) -> Schema | None:
    """Draw the verdict and return the roles; None where there are none, after a message that says why.

    While the label is still to be chosen, the message invites to that, and nothing is wrong.
    """
    try:
        schema = launch.chosen_schema(sha)
        _verdict(sha, schema)
    except DeepFMError as error:
        show_error(error, to_choose=to_choose)
        return None
    return schema


def _roles_alone(sha: str, table: Table) -> None:
    """Draw the role table where a column of several values lacks its separator, so that it can be said."""
    with suppress(DeepFMError):
        edit_roles(sha, table, launch.marked_schema(sha))


def _verdict(sha: str, schema: Schema) -> None:
    (head, *remarks), copies = saved_tables.understood(sha, schema)
    st.markdown(f"### {plain(head)}")
    if remarks:
        st.markdown("\n".join(f"- {plain(without_options(remark))}" for remark in remarks))
    if copies.count or links.chosen(launch.COPIES):
        text = "Repeated rows may be meant, as weights. Held-out rows then hold copies of training rows."
        st.toggle("Keep copies of rows", help=text, **links.mirror_flag(launch.COPIES, False, on=KEEP))


def _begin(sha: str, table: Table, schema: Schema) -> None:
    spec, unusable = launch.recommended(sha, schema, saved_tables.trained_rows(sha, schema)), say_unusable(schema)
    launch.say_expectations(spec)
    changed = any(map(links.chosen_values, KEPT.values()))
    with st.container(horizontal=True, key=STACKED):
        label = f"Train with {'these' if changed else 'the suggested'} roles"
        if st.button(label, type="primary", icon=":material/play_arrow:", disabled=unusable):
            launch.launch(spec)
        if st.button("Choose model and settings", icon=":material/tune:"):
            links.go("train", new="1")
        if st.button("Compare models", icon=":material/leaderboard:"):
            links.go("compare", new="1")


def _skipped(table: Table) -> None:
    """Say which lines of the file were left out, which were repaired, and why."""
    report = table.report
    if report.skipped_count:
        rest = "is" if report.skipped_count == 1 else "are"
        lines, rows = counted(report.skipped_count, "line"), counted(len(table), "row")
        if all(problem.harmless for problem in report.skipped) and len(report.skipped) == report.skipped_count:
            st.caption(f"{lines} of the file {rest} left out, and nothing is lost: {rows} were read.")
        else:
            st.warning(f"**{lines} of the file {rest} left out**; {rows} could be read.", icon=":material/warning:")
        _listed(report.skipped)
    if report.repaired_count:
        rest, lines = "was" if report.repaired_count == 1 else "were", counted(report.repaired_count, "line")
        st.warning(f"**{lines} of the file {rest} repaired.**", icon=":material/build:")
        _listed(report.repaired)


def _listed(problems: Sequence[Problem]) -> None:
    with st.expander("Which lines, and why"):
        st.markdown("\n".join(f"- {plain(line)}" for line in in_words(problems)[:SKIPPED_SHOWN]))


def _preview(sha: str) -> None:
    try:
        frame = saved_tables.table(sha).frame.head(PREVIEWED).astype(str)
    except DeepFMError:
        return  # the error is shown above
    frame = frame.apply(lambda cells: cells.where(cells.str.len() <= LONGEST_CELL, cells.str[:LONGEST_CELL] + " …"))
    say_missing_letters([saved_tables.table_name(sha), *frame.columns, *frame.to_numpy().ravel()])
    table_heading("First rows", frame)
    st.dataframe(frame, hide_index=True)
    if len(frame.columns) > ON_PHONE:
        sideways_hint("The table", wide=len(frame.columns) > ON_TABLET)


# The table of the page: upload one, choose one, remove one, and bring it back.


TABLE, REMOVED = "table to show", "removed table"
"""In the session: the table in the select box, and the one removed last, which can be restored."""


def choose_table() -> None:
    """Draw the upload and the choice of a table; say if a file cannot be read."""
    launch.follow_run()
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        file = upload(f"Your table: {FORMATS}", "upload", launch.choose_table)
    name_files("named files", launch.choose_table)
    names, sha = saved_tables.tables(), saved_tables.current_table()
    names.setdefault(sha, SHARED)  # a link may name another visitor's table
    st.session_state[TABLE] = sha
    right.selectbox("Table", list(names), format_func=names.__getitem__, key=TABLE, on_change=_switch)
    _removal(sha, names)
    say_refused(file, "upload", f"Still showing **{plain(names[sha])}**.")
    show_use()
    st.header(plain(names[sha]), anchor=False, divider="gray")


def _switch() -> None:
    launch.choose_table(st.session_state[TABLE])


def _removal(sha: str, names: dict[str, str]) -> None:
    """Offer to remove the visitor's own table from the list, and to restore the one removed last."""
    removed = st.session_state.get(REMOVED)
    own = sha not in saved_tables.samples() and names[sha] != SHARED
    if not own and removed is None:
        return
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        if removed is not None:
            st.caption(f"{plain(removed[1])} is removed. Runs trained on it keep it.", width="content")
            st.button("Undo", type="tertiary", icon=":material/undo:", on_click=_restore, args=removed)
        if own:
            remove = (sha, names[sha])
            st.button("Remove table", type="tertiary", icon=":material/delete:", on_click=_remove, args=remove)


def _remove(sha: str, name: str) -> None:
    with errors_said():
        store().delete_table(sha, visitor.owner())
        st.session_state[REMOVED] = (sha, name)
        launch.choose_table(next(iter(saved_tables.samples())))


def _restore(sha: str, _name: str) -> None:
    with errors_said():
        store().restore_table(sha, visitor.owner())
        st.session_state.pop(REMOVED, None)
        launch.choose_table(sha)


main()
