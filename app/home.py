"""The cached doors into the core: the store, tables, the chosen run, its frames."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import links, visitor
from app.inputs import moment, plain
from deepfm_core.data.schema import Schema
from deepfm_core.errors import DeepFMError
from deepfm_core.runs.folder import RunFolder
from deepfm_core.runs.rows import RunRow
from deepfm_core.runs.store import Store
from deepfm_core.training.spec import RunSpec

if TYPE_CHECKING:  # the first page is drawn without these
    import pandas as pd

    from deepfm_core.data.table import Table
    from deepfm_core.runs.story import Story

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_TABLE = ROOT / "sample_data" / "clicks.csv"
CONTROL_TABLE = ROOT / "sample_data" / "clicks_no_interaction.csv"
BUNDLED_RUN = ROOT / "sample_data" / "run"
BUNDLED_ID = "sample"
RUN, COMPARED, TABLE = "run", "compare", "table"
"""Names of the choices shared by all pages, in the URL."""
MOST_SIBLINGS = 60
"""Runs of a comparison beyond which they are not listed in the sidebar."""
MAX_TABLE_BYTES = 200 * 2**20
"""The largest table taken, before and after decompression; the same limit as in .streamlit/config.toml."""


@dataclass(frozen=True)
class OpenRun:
    """A run that pages show: one of the store, or the finished one that comes with the app."""

    id: str
    name: str
    state: str
    spec: RunSpec
    summary: dict[str, Any]
    folder: RunFolder
    row: RunRow | None
    """None for the run that comes with the app."""

    @property
    def finished(self) -> bool:
        """Whether the run is complete and will never change."""
        return self.state == "finished"

    @property
    def ready(self) -> bool:
        """Whether everything that pages show is there; evidence on unseen rows may still come."""
        return self.finished or "run" in self.summary

    @property
    def scored(self) -> bool:
        """Whether the model is trained and its scores on held-out rows are in the summary."""
        return "best_epoch" in self.summary

    @property
    def active(self) -> bool:
        """Whether the run waits or is at work."""
        return self.state in ("queued", "running")

    @property
    def mine(self) -> bool:
        """Whether the visitor may change the run; a link alone lets one look."""
        return self.row is not None and self.row.owner == visitor.owner()


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """Open the store once for all sessions."""
    return Store.default()


# Tables


@st.cache_resource(show_spinner=False)
def samples() -> dict[str, Path]:
    """Return the tables that come with the app, by the SHA-256 of their bytes."""
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in (SAMPLE_TABLE, CONTROL_TABLE)}


def tables() -> dict[str, str]:
    """Return the names of the tables to choose from by their SHA-256: the visitor's, newest first, then the samples."""
    own = {entry.sha256: entry.name for entry in store().tables(visitor.owner()) if entry.sha256 not in samples()}
    return own | {sha: path.name for sha, path in samples().items()}


def table_name(sha: str) -> str:
    """Return what a table is called; one that is not the visitor's is called by its SHA-256."""
    return tables().get(sha, f"table {sha[:8]}")


def add_table(source: Path | bytes, name: str) -> str:
    """Keep a table for the visitor and return its SHA-256.

    Raises:
        TableError: the file cannot be read as a table, or is too large.
    """
    return store().import_table(source, name, visitor.owner(), max_bytes=MAX_TABLE_BYTES).sha256


def current_table() -> str:
    """Return the SHA-256 of the table chosen in the URL; the sample where none is."""
    return links.chosen(TABLE) or next(iter(samples()))


def table(sha: str) -> Table:
    """Load a table; a sample is put into the store first, where the worker finds it.

    Raises:
        RunError: the store does not have it.
    """
    keep_sample(sha)
    return _table(sha, visitor.owner())


def keep_sample(sha: str) -> None:
    """Put a table that comes with the app into the store, where the worker finds it; nothing for other tables."""
    if sha in samples() and sha not in {entry.sha256 for entry in store().tables(visitor.owner())}:
        add_table(samples()[sha], samples()[sha].name)


@st.cache_resource(max_entries=4, show_spinner="Reading the table …")
def _table(sha: str, owner: str) -> Table:
    return store().table(sha, owner)


@st.cache_data(max_entries=64, show_spinner="Looking at every column …")
def suggested_schema(sha: str, label: str | None = None, positive: str | None = None) -> Schema:
    """Suggest the roles of a table's columns.

    Raises:
        SchemaError: the table cannot be learned from, or the label cannot be one.
    """
    from deepfm_core.data.inference import infer_schema

    return infer_schema(table(sha), label, positive)


# Runs


def runs(together: bool = False) -> list[RunRow]:
    """List the visitor's runs, newest first; those of comparisons and studies only where they are asked for."""
    return [row for row in store().runs(visitor.owner()) if together or row.comparison is None]


def open_run(run_id: str) -> OpenRun:
    """Open a run by its id.

    Raises:
        RunError: there is no such run.
    """
    if run_id == BUNDLED_ID:
        return _bundled()
    row = store().run(run_id)
    return OpenRun(row.id, row.name, row.state, row.spec, row.summary, store().folder(row.id), row)


@st.cache_resource(show_spinner=False)
def _bundled() -> OpenRun:
    folder = RunFolder(BUNDLED_RUN)
    return OpenRun(BUNDLED_ID, "sample run", "finished", folder.spec(), folder.summary() or {}, folder, None)


def run_names() -> dict[str, str]:
    """Return what to call the runs to choose from, by id; no two alike."""
    names: dict[str, str] = {}
    for row in runs():
        name = f"{moment(row.created)} · {row.name}"  # the time first: narrow boxes cut the end off
        names[row.id] = name if name not in names.values() else f"{name} · {row.id[:4]}"
    return names | {BUNDLED_ID: "sample run"}


def name_of(run: OpenRun) -> str:
    """Return what to call a run beside others: with its time, which tells it from others of the same name."""
    return run.name if run.row is None else run_names().get(run.id, run.name)


def choose_runs() -> None:
    """Draw the choice of the current and the compared run, which all pages share and the URL keeps."""
    names = run_names()
    for key in (RUN, COMPARED):  # a shared link may name a run of somebody else
        linked = links.chosen(key)
        if linked and linked not in names:
            try:
                run = open_run(linked)
                names[linked] = run.name if run.mine else f"{run.name} · shared"
            except DeepFMError as error:
                st.warning(plain(f"{error} Showing the sample run instead." if key == RUN else str(error)))
                links.choose(key, None)
    names |= {run_id: name for run_id, name in _siblings(current_id()).items() if run_id not in names}
    with st.sidebar:
        kept = links.mirror(RUN, list(names), BUNDLED_ID)
        st.selectbox("Run", list(names), format_func=names.__getitem__, **kept)
        others = [run_id for run_id in names if run_id != current_id()]
        if links.chosen(COMPARED) not in others:
            links.choose(COMPARED, None)
        kept = links.mirror(COMPARED, others, "")
        st.selectbox(
            "Compare with",
            ["", *others],
            format_func=lambda run_id: names.get(run_id, "no other run"),
            **kept,
        )


def _siblings(run_id: str) -> dict[str, str]:
    """Name the other runs of a run's comparison, which one wants to set beside it."""
    row = open_run(run_id).row
    if row is None or row.comparison is None:
        return {}
    runs = store().comparisons.runs(row.comparison)
    return {row.id: row.name for row in runs if row.ended_well} if len(runs) <= MOST_SIBLINGS else {}


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


def story(run: OpenRun) -> Story:
    """Tell what a run's events say so far; an ended run is told once."""
    from deepfm_core.runs.story import Story

    if run.row is None:
        return Story.of([])
    if run.active:
        return Story.of(store().events(run.id))
    return _ended_story(run.id, run.row.queued, run.state)


@st.cache_data(max_entries=64, show_spinner=False)
def _ended_story(run_id: str, queued: float, state: str) -> Story:
    from deepfm_core.runs.story import Story

    return Story.of(store().events(run_id))


def frame(run: OpenRun, name: str) -> pd.DataFrame | None:
    """Read a frame of a run (docs/store.md lists them); None where there is none.

    Frames of finished runs are read once; those of a running one at each call.
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
