"""`check`, `backup` and `restore`: whether the store is sound, and copies of it."""

from __future__ import annotations

import argparse

from deepfm_core.errors import DamagedStore
from deepfm_core.store import backup as backups
from deepfm_core.store import check as checks
from deepfm_core.store.store import default_home


def check(arguments: argparse.Namespace) -> None:
    """Print what is wrong with the store, a line each.

    Raises:
        DamagedStore: something is wrong, and is not repaired.
    """
    home = default_home()
    report = checks.check(home, repair=arguments.repair)
    _tell(report, f"Store `{home}`", "is sound")


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
