"""`runs`: what the store holds."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

import pandas as pd

from deepfm_core.store.store import Store
from deepfm_core.tables.export import write_csv

COLUMNS = ["id", "name", "state", "model", "table", "created", "test_auc", "test_logloss", "notes", "folder"]


def run(arguments: argparse.Namespace) -> None:
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
