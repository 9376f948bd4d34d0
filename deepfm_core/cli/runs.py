"""`runs`: what the store holds."""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import UTC, datetime

from deepfm_core.store.store import Store


def run(arguments: argparse.Namespace) -> None:
    """Print the runs, newest first."""
    store = Store.default()
    writer = csv.writer(sys.stdout)
    writer.writerow(["id", "name", "state", "model", "table", "created", "test_auc", "test_logloss", "notes", "folder"])
    for row in store.runs():
        test = (row.summary or {}).get("test") or {}
        writer.writerow(
            [
                row.id,
                row.name,
                row.state,
                row.spec.model.name,
                row.spec.table_name,
                datetime.fromtimestamp(row.created, UTC).isoformat(timespec="seconds"),
                test.get("auc"),
                test.get("logloss"),
                row.notes,
                store.folder(row.id).path,
            ]
        )
