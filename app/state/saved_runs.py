"""Runs: the visitor's, the sample, the current and the compared one, their frames; and what a visitor may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.state import links, saved_tables, sharing, visitor
from app.state.saved_tables import ROOT
from app.state.store import store
from app.widgets.text import counted, errors_said, moment
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.limits import Limits, shared
from deepfm_core.store.records import RunRow
from deepfm_core.store.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from deepfm_core.runs.progress import RunProgress


BUNDLED_RUN = ROOT / "sample_data" / "run"
BUNDLED_ID = "sample"
RUN, COMPARED = "run", "compare"
"""Names of the choices, in the URL, that all pages share."""


@dataclass(frozen=True)
class OpenRun:
    """A run as pages show it: one of the store, or the sample run."""

    id: str
    name: str
    state: str
    spec: RunSpec
    summary: dict[str, Any]
    folder: RunFolder
    row: RunRow | None
    """None for the sample run."""

    @property
    def finished(self) -> bool:
        """Whether the run is complete and will not change any more."""
        return self.state == "finished"

    @property
    def ready(self) -> bool:
        """Whether pages can show the run; its checks on held-out rows may still be missing."""
        return self.finished or "run" in self.summary

    @property
    def scored(self) -> bool:
        """Whether the model is trained and its scores on held-out rows are in the summary."""
        return "best_epoch" in self.summary

    @property
    def active(self) -> bool:
        """Whether the run is queued or running."""
        return self.state in ("queued", "running")

    @property
    def mine(self) -> bool:
        """Whether the visitor may change the run; with a link to it, others can only look."""
        return self.row is not None and self.row.owner == visitor.owner()


def runs(together: bool = False) -> list[RunRow]:
    """List the visitor's runs, newest first; with `together`, also the runs of comparisons and studies."""
    return [row for row in store().runs(visitor.owner()) if together or row.comparison is None]


def open_run(run_id: str) -> OpenRun:
    """Open a run by its id, or by a link to it.

    Raises:
        RunError: there is no such run that the visitor may see.
    """
    if run_id == BUNDLED_ID:
        return _bundled()
    row = sharing.run(run_id)
    return OpenRun(row.id, row.name, row.state, row.spec, row.summary, store().folder(row.id), row)


@st.cache_resource(show_spinner=False)
def _bundled() -> OpenRun:
    folder = RunFolder(BUNDLED_RUN)
    return OpenRun(BUNDLED_ID, "sample run", "finished", folder.spec(), folder.summary() or {}, folder, None)


def run_names() -> dict[str, str]:
    """Return the names of the runs to choose from, by id; all are different."""
    names: dict[str, str] = {}
    for row in runs():
        name = f"{moment(row.created)} · {row.name}"  # the time comes first, since narrow boxes cut off the end
        names[row.id] = name if name not in names.values() else f"{name} · {row.id[:4]}"
    return names | {BUNDLED_ID: "sample run"}


def name_of(run: OpenRun) -> str:
    """Return the name of a run among others: with its time, since names can repeat."""
    return run.name if run.row is None else run_names().get(run.id, run.name)


def current_id() -> str:
    """Return the id of the current run."""
    return links.chosen(RUN) or BUNDLED_ID


def current_run() -> OpenRun:
    """Open the run chosen in the sidebar."""
    return open_run(current_id())


def compared_run() -> OpenRun | None:
    """Open the run to compare with, if one is chosen."""
    compared = links.chosen(COMPARED)
    return open_run(compared) if compared else None


def sample_of(run: OpenRun) -> tuple[int, int] | None:
    """Give the rows of the sample that a run from the disk explains, and all of its rows; None where these are all."""
    sample, rows = run.summary.get("sample"), sum(run.summary.get("rows", {}).values())
    return (sample, rows) if isinstance(sample, int) and sample < rows else None


def run_progress(run: OpenRun) -> RunProgress:
    """Read the progress of a run from its events; that of an ended run is cached."""
    from deepfm_core.runs.progress import RunProgress

    if run.row is None:
        return RunProgress.of([])
    if run.active:
        return RunProgress.of(store().events(run.id))
    return _ended_progress(run.id, run.row.queued, run.state)


@st.cache_data(max_entries=64, show_spinner=False)
def _ended_progress(run_id: str, queued: float, state: str) -> RunProgress:
    from deepfm_core.runs.progress import RunProgress

    return RunProgress.of(store().events(run_id))


def frame(run: OpenRun, name: str) -> pd.DataFrame | None:
    """Read a frame of a run (docs/store.md lists them); None if it does not exist.

    Frames of finished runs are cached; those of others are read at each call.
    """
    if run.finished:
        return _finished_frame(run.id, name, str(run.folder.path))
    return run.folder.frame(name)


@st.cache_data(max_entries=64, show_spinner=False)
def _finished_frame(run_id: str, name: str, path: str) -> pd.DataFrame | None:
    return RunFolder(Path(path)).frame(name)


def pair_cells(run: OpenRun, field_a: str, field_b: str) -> pd.DataFrame | None:
    """Read the `level_pairs` frame of one pair."""
    return run.folder.frame("level_pairs", filters=[("field_a", "=", field_a), ("field_b", "=", field_b)])


# What the visitor has and may have on a shared server, and the button that deletes all of it.


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
    if limits.questions is not None:
        parts.append(f"{use.questions:,} of {counted(limits.questions, 'estimate')} under way")
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
    with errors_said():
        store().delete_all(visitor.owner())
        saved_tables.forget_read()
        forget()
        for name in (RUN, COMPARED, saved_tables.TABLE, "selected"):
            links.choose(name, None)
        st.session_state.pop("deleted runs", None)
        st.toast("All tables and runs of yours are deleted.", icon=":material/check:")
