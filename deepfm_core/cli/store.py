"""`check`, `health`, `backup`, `restore` and `runs`: whether the store is sound, copies of it, and what it holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import pandas as pd

from deepfm_core.errors import DamagedStore, RunError
from deepfm_core.store.store import Store, database_url, default_home
from deepfm_core.store.upkeep import backup as backups
from deepfm_core.store.upkeep import check as checks
from deepfm_core.tables.export import write_csv


def check(arguments: argparse.Namespace) -> None:
    """Print what is wrong with the store, a line each.

    Raises:
        DamagedStore: something is wrong, and is not repaired.
    """
    home = default_home()
    report = checks.check(home, repair=arguments.repair)
    _tell(report, f"Store `{home}`", "is sound")


def health(arguments: argparse.Namespace) -> None:
    """Print what is not well, a line each, or that all is; end with status 1 if something is not.

    Notes change no status. For a container's health check. An older store is brought up to date first, as by any
    command.
    """
    home = default_home()
    problems, notes = _looked_at(home)
    problems = [*_answering(arguments.server), *problems]
    for kind, said in (("problem", problems), ("note", notes)):
        for sentence in said:
            print(f"{kind}: {sentence}")
    if problems:
        raise SystemExit(1)
    print(f"Store `{home}` is well.")


def _answering(server: str | None) -> Iterator[str]:
    if server is None:
        return
    url = f"{server.rstrip('/')}/_stcore/health"
    try:
        with urlopen(url, timeout=5) as answer:
            if answer.status == HTTPStatus.OK:
                return
            said = f"status {answer.status}"
    except (OSError, ValueError, HTTPException) as error:
        said = str(error)
    yield f"The server does not answer at {url} ({said}). Start it, or give another --server."


def _looked_at(home: Path) -> tuple[list[str], list[str]]:
    """Give a store's problems and notes; none where there is no store yet, as before the first visitor."""
    from deepfm_core.store.limits import room_of
    from deepfm_core.store.upkeep.overview import notes, problems

    try:
        if not checks.is_there(home, database_url()):
            return [], []
        with closing(Store(home)) as store:
            return list(problems(store)), list(notes(room_of(home)))
    except RunError as error:
        return [str(error)], []


def backup(arguments: argparse.Namespace) -> None:
    """Copy the store, which may be in use, to a new folder, and check the copy.

    Raises:
        RunError: it cannot be copied, or something in it is damaged.
    """
    _tell(backups.backup(default_home(), arguments.folder), f"Backup `{arguments.folder}`", "is written")


def restore(arguments: argparse.Namespace) -> None:
    """Put a backup in the place of the store, which must be empty or not there, and check it.

    Raises:
        RunError: it cannot be copied, or something in it is damaged.
    """
    home = default_home()
    _tell(backups.restore(arguments.folder, home), f"Store `{home}`", "is restored")


def _tell(report: checks.Report, subject: str, well: str) -> None:
    for finding in report.findings:
        print(f"{'repaired' if finding.repaired else 'damaged'}: {finding}")
    left = len(report.left)
    if left:
        raise DamagedStore(f"{subject}: {left:,} of its parts {'is' if left == 1 else 'are'} damaged.")
    print(f"{subject} {well}: {report.tables:,} tables, {report.runs:,} runs.")


COLUMNS = ["id", "name", "state", "model", "table", "created", "test_auc", "test_logloss", "notes", "folder"]


def runs(arguments: argparse.Namespace) -> None:
    """Print the runs, newest first."""
    store = Store.default()
    lines = []
    for row in store.runs():
        if row.state == "damaged":
            print(f"warning: {row.message}", file=sys.stderr)
        test = (row.summary or {}).get("test") or {}
        lines.append(
            [
                row.id,
                row.name,
                row.state,
                None if row.state == "damaged" else row.spec.model.name,
                None if row.state == "damaged" else row.spec.table_name,
                datetime.fromtimestamp(row.created, UTC).isoformat(timespec="seconds"),
                test.get("auc"),
                test.get("logloss"),
                row.notes,
                store.folder(row.id).path,
            ]
        )
    listing = pd.DataFrame(lines, columns=COLUMNS, dtype=object).astype({"test_auc": float, "test_logloss": float})
    write_csv(listing, sys.stdout, line_end="\r\n")  # the end of line that this command has always had
