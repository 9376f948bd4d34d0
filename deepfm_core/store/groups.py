"""The store's comparisons and studies: groups of runs that are queued, cancelled and deleted as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from deepfm_core._log import note, short
from deepfm_core.errors import RunError
from deepfm_core.store.database import Database, Row
from deepfm_core.store.limits import require_room_in_queue, require_room_in_store
from deepfm_core.store.records import ComparisonRow, NewRun, RunRow, asked_json, entering, new_id, shortened
from deepfm_core.store.run_folder import RunFolder

MODELS, SETTINGS = "models", "settings"
"""Kinds: models compared, and settings of one model studied."""


class StoredComparisons:
    """The comparisons and studies of a store. A run names its group in the column `comparison`."""

    def __init__(self, database: Database, folder: Callable[[str], RunFolder]) -> None:
        self._database = database
        self._folder = folder

    def begin(self, name: str, owner: str, kind: str, plan: Mapping[str, Any], runs: Iterable[NewRun]) -> str:
        """Queue all runs of a comparison, or none if one cannot be queued. Return the comparison's id.

        Raises:
            RunError: they are more than the owner may have waiting.
        """
        comparison, runs = new_id(), list(runs)
        home = self._database.path.parent
        require_room_in_store(owner, 0, home)
        with entering(self._database, self._folder) as (connection, made):
            require_room_in_queue(owner, len(runs), self._database, home)
            connection.execute(
                "INSERT INTO comparisons (id, name, owner, kind, plan, created) VALUES (?, ?, ?, ?, ?, ?)",
                (comparison, shortened(name), owner, kind, asked_json(plan), time.time()),
            )
            for run in runs:
                made.append(replace(run, owner=owner, comparison=comparison).enter(connection, self._folder))
        note("runs queued", owner=short(owner), runs=len(runs), kind=kind)
        return comparison

    def of(self, comparison: str) -> ComparisonRow:
        """Return a comparison.

        Raises:
            RunError: there is none of this id, or it was deleted.
        """
        row = self._database.row("SELECT * FROM comparisons WHERE id = ? AND deleted IS NULL", (comparison,))
        if row is None:
            raise RunError(
                f"Comparison `{comparison}` is not in the store. Choose another one, or restore it if you deleted it."
            )
        return _row(row)

    def all(self, owner: str, kind: str) -> list[ComparisonRow]:
        """Return an owner's comparisons of a kind, newest first."""
        query = "SELECT * FROM comparisons WHERE owner = ? AND kind = ? AND deleted IS NULL ORDER BY created DESC"
        return [_row(row) for row in self._database.rows(query, (owner, kind))]

    def runs(self, comparison: str) -> list[RunRow]:
        """Return the runs of a comparison in the order they were asked for."""
        query = "SELECT * FROM runs WHERE comparison = ? AND deleted IS NULL ORDER BY rowid"
        return [RunRow.of(row).readable() for row in self._database.rows(query, (comparison,))]

    def delete(self, comparison: str) -> None:
        """Put a comparison and its runs into the bin, from where `restore` takes them for a day.

        Raises:
            RunError: one of its runs is at work.
        """
        row = self.of(comparison)
        if any(run.state == "running" for run in self.runs(comparison)):
            raise RunError(f"Comparison `{row.name}` is running. Cancel it first, then delete it.")
        with self._database.write() as connection:
            now = time.time()
            connection.execute("UPDATE comparisons SET deleted = ? WHERE id = ?", (now, comparison))
            connection.execute(
                "UPDATE runs SET deleted = :now, ended = COALESCE(ended, :now),"
                " status = CASE WHEN status IN ('queued', 'running') THEN 'cancelled' ELSE status END"
                " WHERE comparison = :comparison AND deleted IS NULL",
                {"now": now, "comparison": comparison},
            )

    def restore(self, comparison: str) -> ComparisonRow:
        """Take a comparison and the runs deleted with it out of the bin.

        Raises:
            RunError: it was purged, or never was there.
        """
        with self._database.write() as connection:
            connection.execute(
                "UPDATE runs SET deleted = NULL WHERE comparison = :id"
                " AND deleted = (SELECT deleted FROM comparisons WHERE id = :id)",
                {"id": comparison},
            )
            connection.execute("UPDATE comparisons SET deleted = NULL WHERE id = ?", (comparison,))
        return self.of(comparison)


_COLUMNS = {field.name for field in fields(ComparisonRow)}


def _row(row: Row) -> ComparisonRow:
    values = {name: row[name] for name in row.keys() if name in _COLUMNS}  # noqa: SIM118 (iterates values)
    return ComparisonRow(plan_json=row["plan"], **values)
