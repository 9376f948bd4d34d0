"""`check`: whether the store is sound, and what can be repaired."""

from __future__ import annotations

import argparse

from deepfm_core.errors import DamagedStore
from deepfm_core.store import check as checks
from deepfm_core.store.store import default_home


def check(arguments: argparse.Namespace) -> None:
    """Print what is wrong with the store, a line each.

    Raises:
        DamagedStore: something is wrong, and is not repaired.
    """
    home = default_home()
    report = checks.check(home, repair=arguments.repair)
    for finding in report.findings:
        print(f"{'repaired' if finding.repaired else 'damaged'}: {finding}")
    left = len(report.left)
    if left:
        raise DamagedStore(f"Store `{home}`: {left:,} of its parts {'is' if left == 1 else 'are'} damaged.")
    print(f"Store `{home}` is sound: {report.tables:,} tables, {report.runs:,} runs.")
