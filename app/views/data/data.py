"""The page Data: a table, the roles of its columns, and the button to train."""

from __future__ import annotations

import streamlit as st

from app.shared import launch
from app.shared.holdout import choose_parts
from app.shared.unusable import say_unusable
from app.state import links, saved_tables
from app.views.data.evidence import observed_section
from app.views.data.roles import edit_roles, table_heading
from app.views.data.table_picker import choose_table
from app.widgets.messages import errors_shown
from app.widgets.text import counted, plain
from deepfm_core.errors import DeepFMError, in_words
from deepfm_core.schema.infer import verdict
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
        schema = launch.chosen_schema(sha)
        _verdict(table, schema)
        _skipped(table)
        choose_parts(sha, schema, len(table))
        with errors_shown():
            _begin(sha, table, schema)
        edit_roles(schema)
        observed_section(sha, schema, len(table))
        if table.report.notes:
            st.caption("  \n".join(plain(note) for note in table.report.notes))
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
    """Say which lines of the file were left out, and why."""
    report = table.report
    if not report.skipped_count:
        return
    rest = "is" if report.skipped_count == 1 else "are"
    lines, rows = counted(report.skipped_count, "line"), counted(len(table), "row")
    st.warning(f"**{lines} of the file {rest} left out**; {rows} could be read.", icon=":material/warning:")
    with st.expander("Which lines, and why"):
        st.markdown("\n".join(f"- {plain(line)}" for line in in_words(report.skipped)[:SKIPPED_SHOWN]))


def _preview(sha: str) -> None:
    try:
        frame = saved_tables.table(sha).frame.head(PREVIEWED).astype(str)
    except DeepFMError:
        return  # the error is shown above
    table_heading("First rows", frame)
    st.dataframe(frame, hide_index=True)


main()
