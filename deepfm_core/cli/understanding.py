"""What the command line says of a table before anything is trained: verdict, roles, notes and warnings."""

from __future__ import annotations

import sys
from typing import Any

from deepfm_core.schema.infer import verdict
from deepfm_core.schema.schema import Schema
from deepfm_core.tables.table import Table

_SHOWN = 40
"""Roles that are printed; `roles` prints all."""

_LONGEST = 100
"""Letters of a reason that are printed."""


def understood(table: Table, schema: Schema) -> dict[str, Any]:
    """Give the verdict, the reader's notes, the warnings and the role table as plain values for JSON."""
    return {
        "verdict": verdict(table, schema),
        "notes": list(table.report.notes),
        "warnings": [*schema.warnings, *reading_warnings(table)],
        "roles": schema.role_rows([str(column) for column in table.frame.columns]),
    }


def reading_warnings(table: Table) -> list[str]:
    """Say what the reader left out and repaired of a table."""
    notes = table.report.notes
    return [f"{table.name}: {sentence}" for sentence in table.report.sentences() if sentence not in notes]


def tell(table: Table, schema: Schema, *, roles: bool = True) -> None:
    """Print on stderr how a table was read and understood: one line per note, column and warning."""
    lines = [f"note: {table.name}: {note}" for note in table.report.notes]
    lines.append(f"{table.name}: {verdict(table, schema)[0]}")
    if roles:
        lines += _role_lines(table, schema)
    lines += [f"warning: {warning}" for warning in schema.warnings]
    print("\n".join(lines), file=sys.stderr)


def _role_lines(table: Table, schema: Schema) -> list[str]:
    rows = schema.role_rows([str(column) for column in table.frame.columns])
    shown = rows[:_SHOWN]
    names, kinds = (max(len(str(row[cell])) for row in shown) for cell in ("field", "kind"))
    lines = [f"  {row['field']:<{names}}  {row['kind']:<{kinds}}  {_cut(row['why'])}".rstrip() for row in shown]
    left = len(rows) - len(shown)
    return lines + ([f"  and {left:,} more: the command `roles` prints them all"] if left else [])


def _cut(reason: str) -> str:
    return reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 1]}…"
