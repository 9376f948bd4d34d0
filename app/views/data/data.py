"""The page Data: a table, the roles of its columns, and the button to train."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app.shared import launch
from app.shared.holdout import choose_parts, say_unusable
from app.shared.reading import reading_section
from app.shared.uploads import FORMATS, SHARED, say_refused, upload
from app.state import links, saved_tables, visitor
from app.state.store import store
from app.views.data.evidence import observed_section
from app.widgets.download import download
from app.widgets.messages import errors_shown, show_error
from app.widgets.text import counted, plain
from deepfm_core.errors import DeepFMError, Problem, in_words
from deepfm_core.schema.infer import verdict
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.labels import named_as_label
from deepfm_core.schema.schema import LabelRole, Schema
from deepfm_core.tables.table import Table

PREVIEWED = 100
SKIPPED_SHOWN = 50


def main() -> None:
    """Draw the page."""
    st.title("Data", anchor=False)
    choose_table()
    with errors_shown():
        sha = saved_tables.current_table()
        table = saved_tables.table(sha)
        _choose_label(sha, table)
        schema = _understood(sha, table)
        _skipped(table)
        reading_section(sha, table, changeable=sha in saved_tables.tables())
        if schema is not None:
            choose_parts(sha, schema, len(table))
            with errors_shown():
                _begin(sha, table, schema)
            edit_roles(schema)
            observed_section(sha, schema, len(table))
    _preview(saved_tables.current_table())


def _choose_label(sha: str, table: Table) -> None:
    columns = [str(column) for column in table.frame.columns]
    found = _label(sha, links.chosen("label"), links.chosen("positive"))
    suggested = found if links.chosen("label") is None else _label(sha)
    left, right = st.columns([3, 2])
    left.selectbox(
        "Label",
        columns,
        help="The column to predict. It has two values.",
        placeholder="Choose the label's column",
        **links.mirror("label", columns, suggested.column if suggested else named_as_label(table)),
    )
    if found:
        values = sorted([found.positive, found.negative])
        kept = links.mirror("positive", values, found.positive)
        right.selectbox("Positive value", values, help=plain(found.reason), **kept)


def _label(sha: str, label: str | None = None, positive: str | None = None) -> LabelRole | None:
    try:
        return saved_tables.suggested_schema(sha, label, positive).label
    except DeepFMError:
        return None


def _understood(sha: str, table: Table) -> Schema | None:
    """Draw the verdict and return the roles; None where there are none, after a message that says why."""
    try:
        schema = launch.chosen_schema(sha)
        _verdict(table, schema)
    except DeepFMError as error:
        show_error(error)
        return None
    return schema


def _verdict(table: Table, schema: Schema) -> None:
    head, *remarks = verdict(table, schema)
    st.markdown(f"#### {plain(head)}")
    if remarks:
        st.markdown("\n".join(f"- {plain(remark)}" for remark in remarks))


def _begin(sha: str, table: Table, schema: Schema) -> None:
    spec, unusable = launch.recommended(sha, schema, len(table)), say_unusable(schema)
    changed = bool(links.chosen_values(launch.KINDS))
    with st.container(horizontal=True):
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
    table_heading("First rows", frame)
    st.dataframe(frame, hide_index=True)


# The role table: the kind of each column, why it was suggested, and what to be careful about.


ROLE_ROWS = 16
KINDS = [kind.value for kind in Kind]
MISSING_HELP = "Rows without a value: empty cells, `?`, `NA`, `null` and the like. Missing gets its own feature."
KIND_HELP = "  \n".join(f"**{kind}**: {kind.help}" for kind in Kind)


def edit_roles(schema: Schema) -> None:
    """Draw the role table; changes go to the URL."""
    columns = [role.column for role in schema.roles]
    frame = pd.DataFrame({"Field": columns, "Kind": [role.kind.value for role in schema.roles]})
    if any(role.missing for role in schema.roles):
        frame["Missing"] = [role.missing for role in schema.roles]
    frame["Why"] = [role.reason.replace("`", "") for role in schema.roles]
    if any(role.warning for role in schema.roles):
        frame["Careful"] = [role.warning.replace("`", "") for role in schema.roles]
    table_heading("Roles", frame)
    st.data_editor(
        frame,
        key=f"roles {len(columns)} {columns[0]}",
        hide_index=True,
        height="content" if len(columns) <= ROLE_ROWS else 600,
        disabled=["Field", "Missing", "Why", "Careful"],
        column_config={
            "Field": st.column_config.TextColumn(width="medium"),
            "Kind": st.column_config.SelectboxColumn(options=KINDS, required=True, help=KIND_HELP),
            "Missing": st.column_config.NumberColumn(width="small", format="localized", help=MISSING_HELP),
            "Why": st.column_config.TextColumn(width="large"),
        },
        on_change=_keep_roles,
        args=(columns,),
    )
    if links.chosen_values(launch.KINDS) and st.button("Back to the suggested roles", icon=":material/undo:"):
        links.choose(launch.KINDS, None)
        st.rerun()


def _keep_roles(columns: list[str]) -> None:
    kinds = links.chosen_values(launch.KINDS)
    editor = st.session_state[f"roles {len(columns)} {columns[0]}"]
    kinds |= {columns[int(row)]: changes["Kind"] for row, changes in editor["edited_rows"].items() if "Kind" in changes}
    links.choose_values(launch.KINDS, kinds)


def table_heading(title: str, frame: pd.DataFrame) -> None:
    """Draw a heading with a CSV button for the table below it."""
    with st.container(
        horizontal=True, vertical_alignment="center"
    ):  # on the left: the table's own buttons are on the right
        st.subheader(title, anchor=False, width="content")
        download(frame, title.lower(), f"{title} csv")


# The table of the page: upload one, choose one, remove one, and bring it back.


TABLE, REMOVED = "table to show", "removed table"
"""In the session: the table in the select box, and the one removed last, which can be restored."""


def choose_table() -> None:
    """Draw the upload and the choice of a table; say if a file cannot be read."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        file, taken = upload(f"Your table: {FORMATS}", "upload")
    if taken is not None:
        launch.choose_table(taken)
    names, sha = saved_tables.tables(), saved_tables.current_table()
    names.setdefault(sha, SHARED)  # a link may name another visitor's table
    st.session_state[TABLE] = sha
    right.selectbox("Table", list(names), format_func=names.__getitem__, key=TABLE, on_change=_switch)
    _removal(sha, names)
    say_refused(file, "upload", f"Still showing **{plain(names[sha])}**.")
    st.subheader(plain(names[sha]), anchor=False, divider="gray")


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
    with errors_shown():
        store().delete_table(sha, visitor.owner())
        st.session_state[REMOVED] = (sha, name)
        launch.choose_table(None)


def _restore(sha: str, _name: str) -> None:
    with errors_shown():
        store().restore_table(sha, visitor.owner())
        st.session_state.pop(REMOVED)
        launch.choose_table(sha)


main()
