"""What the visitor has and may have on a shared server, and the button that deletes all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from app.state import links, saved_runs, saved_tables, visitor
from app.state.store import store
from app.widgets.text import counted, errors_shown
from deepfm_core.store.limits import Limits, shared

_PRIVACY = Path(__file__).resolve().parents[2] / "docs" / "privacy.md"


def show_use() -> None:
    """Say what the visitor uses of what a shared server allows, and how long it is kept; nothing without limits."""
    limits = Limits.of_environment()
    if limits == Limits():
        return
    use, parts = store().use(visitor.owner()), []
    if limits.megabytes is not None:
        parts.append(f"{use.bytes / 10**6:,.0f} of {limits.megabytes:,} MB")
    if limits.tables is not None:
        parts.append(f"{use.tables:,} of {counted(limits.tables, 'table')}")
    if limits.queued is not None:
        parts.append(f"{use.queued:,} of {counted(limits.queued, 'waiting run')}")
    said = f"You use {', '.join(parts)}." if parts else ""
    kept = "" if limits.days is None else f" Tables and ended runs are deleted after {counted(limits.days, 'day')}."
    st.caption(said + kept)


def show_privacy() -> None:
    """Draw a button that shows what is stored and for how long: the text of docs/privacy.md."""
    with st.popover("What is stored, and for how long", icon=":material/shield_person:", type="tertiary"):
        heading, _, text = _PRIVACY.read_text(encoding="utf-8").partition("\n")
        days = Limits.of_environment().days
        age = f"after {counted(days, 'day')}" if days is not None else "only when you delete them"
        st.markdown(f"**{heading.removeprefix('# ')}**\n{text}\nOn this server, tables and ended runs go {age}.")


def offer_to_delete_all(forget: Callable[[], None]) -> None:
    """Draw the button that deletes all that the visitor has, after saying what goes.

    `forget` is called then: what pages keep of tables that were read goes, too.
    """
    owner = visitor.owner()
    tables, runs = store().tables(owner), store().runs(owner)
    if not (tables or runs):
        return
    with st.popover("Delete everything of mine", icon=":material/delete_forever:", type="tertiary"):
        active = sum(row.state in ("queued", "running") for row in runs)
        stopped = f" {counted(active, 'run')} that {'waits or runs' if active == 1 else 'wait or run'} will be stopped."
        st.markdown(
            f"This deletes **{counted(len(tables), 'table')}** and **{counted(len(runs), 'run')}** for good, with their"
            " names, notes, comparisons and studies. Links to them no longer open. There is no undo."
            f"{stopped if active else ''}"
        )
        if shared():
            st.caption("A table that another visitor uploaded, too, stays for that visitor.")
        st.button(
            "Delete for good", icon=":material/delete_forever:", type="primary", on_click=_delete_all, args=(forget,)
        )


def _delete_all(forget: Callable[[], None]) -> None:
    with errors_shown():
        store().delete_all(visitor.owner())
        saved_tables.forget_read()
        forget()
        for name in (saved_runs.RUN, saved_runs.COMPARED, saved_tables.TABLE, "selected"):
            links.choose(name, None)
        st.session_state.pop("deleted runs", None)
        st.toast("All tables and runs of yours are deleted.", icon=":material/check:")
