"""The page System: how the server does, for its operator alone."""

from __future__ import annotations

import os
import time
from dataclasses import fields
from typing import Any

import pandas as pd
import streamlit as st

from app.state import visitor
from app.state.store import store
from app.widgets.layout import sideways_hint
from app.widgets.text import plain
from deepfm_core.store.limits import SETTINGS, STORE, Limits, Room, shared
from deepfm_core.store.process import memory_of
from deepfm_core.store.upkeep.overview import Overview, OwnerState, Waiting, WorkerLine, overview

LISTED = 200
"""Lines of a list that are shown."""


def main() -> None:
    """Draw the page, or ask who is there."""
    st.title("System", anchor=False)
    if not visitor.signed_in():
        visitor.ask()
        return
    state = overview(store())
    _problems(state)
    _figures(state)
    _queue(state.queue)
    _workers(state.workers)
    if shared():
        _owners(state.owners)
    _disk(state)
    _limits(state.room)


def _problems(state: Overview) -> None:
    for problem in state.problems:
        st.warning(plain(problem), icon=":material/warning:")
    for note in state.notes:
        st.info(plain(note), icon=":material/info:")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Refresh", icon=":material/refresh:")
        if not (state.problems or state.notes):
            st.caption("Nothing needs your attention.")


def _figures(state: Overview) -> None:
    waiting = sum(line.state == "queued" for line in state.queue)
    figures = {
        "Waiting runs": f"{waiting:,}",
        "Running": f"{sum(line.state == 'running' for line in state.queue):,}",
        "Live workers": f"{sum(worker.alive for worker in state.workers):,}",
        "Disk free": f"{_size(state.disk_free)} of {_size(state.disk_total)}",
        "Memory available": f"{_size(state.memory_available)} of {_size(state.memory_total)}",
        "Memory of the server": _size(memory_of(os.getpid())),
    }
    with st.container(horizontal=True):
        for title, value in figures.items():
            st.metric(title, value, width="content")


def _queue(lines: list[Waiting]) -> None:
    now = time.time()
    shown = [
        {
            "Place": line.place or None,
            "State": line.state,
            "Minutes": (now - line.since) / 60,
            "Run": line.run,
            "Owner": line.owner,
        }
        for line in lines
    ]
    _listed("Queue", shown, {"Minutes": "%.1f"}, "No run waits or is at work.", "runs")


def _workers(workers: list[WorkerLine]) -> None:
    shown = [
        {
            "Lane": worker.lane,
            "State": worker.state if worker.alive else "ended",
            "Memory (MB)": None if worker.memory is None else worker.memory / 10**6,
            "Alive (min)": worker.seconds / 60,
            "Last heard (s)": worker.silent,
            "Process": worker.pid,
            "Machine": worker.host,
        }
        for worker in workers
    ]
    formats = {"Memory (MB)": "%.0f", "Alive (min)": "%.1f", "Last heard (s)": "%.0f", "Process": "%d"}
    empty = "No worker is registered. Opening any page starts one."
    _listed("Workers", shown, formats, empty, "workers")


def _owners(owners: list[OwnerState]) -> None:
    shown = [
        {
            "Owner": owner.owner,
            "MB": (owner.table_bytes + owner.run_bytes) / 10**6,
            "Tables": owner.tables,
            "Runs": owner.runs,
            "Waiting": owner.waiting,
            "Newest": pd.Timestamp(owner.last, unit="s", tz="UTC").tz_convert(st.context.timezone or "UTC"),
        }
        for owner in owners
    ]
    _listed("Owners", shown, {"MB": "%.1f"}, "Nobody has a table or a run.", "owners")
    if owners:
        st.caption("Owners and runs are shown by short digests, as in the log. A digest opens nothing.")


def _disk(state: Overview) -> None:
    shown: list[dict[str, Any]] = [{"Files": name, "MB": size / 10**6} for name, size in state.folders.items()]
    _listed("Files of the store", shown, {"MB": "%.1f"}, "There are none.", "folders")


def _listed(title: str, lines: list[dict[str, Any]], formats: dict[str, str], empty: str, what: str) -> None:
    """Draw the first lines of a list under its title, or say that it is empty.

    Args:
        title: of the list.
        lines: all of them, as values by column.
        formats: how columns of numbers are written.
        empty: the sentence of an empty list.
        what: lies in the list, in the plural.
    """
    st.header(title, anchor=False)
    if not lines:
        st.caption(empty)
        return
    config = {column: st.column_config.NumberColumn(column, format=how) for column, how in formats.items()}
    st.dataframe(pd.DataFrame(lines[:LISTED]), hide_index=True, column_config=config)
    sideways_hint("The table")
    if len(lines) > LISTED:
        st.caption(f"The first {LISTED:,} of {len(lines):,} {what}.")


def _limits(room: Room) -> None:
    st.header("Limits", anchor=False)
    limits = Limits.of_environment()
    shown = [
        {"Limit": TITLES.get(one.name, one.name), "Value": getattr(limits, one.name), "Setting": SETTINGS[one.name]}
        for one in fields(limits)
    ]
    most = None if room.most is None else room.most // 10**6
    shown.append({"Limit": "Megabytes of the whole store", "Value": most, "Setting": STORE})
    frame = pd.DataFrame(shown).astype({"Value": "Int64"})
    st.dataframe(frame, hide_index=True, placeholder="no limit")
    sideways_hint("The table")
    if room.used is not None:
        st.caption(f"The whole store takes {room.used / 10**6:,.0f} MB now, without encoded rows.")


def _size(count: int) -> str:
    return f"{count / 10**9:,.1f} GB" if count >= 10**9 else f"{count / 10**6:,.0f} MB"


TITLES = {
    "megabytes": "Megabytes of an owner's tables and runs",
    "tables": "Tables of an owner",
    "queued": "Waiting runs of an owner",
    "questions": "Estimates that an owner's pages wait for",
    "days": "Days that tables and ended runs are kept",
}

main()
