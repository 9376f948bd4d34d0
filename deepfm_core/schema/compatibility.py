"""A table apart from the one trained on, to validate or to test on: does it fit the schema?"""

from __future__ import annotations

from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells, number_problems
from deepfm_core.schema.labels import labelled_rows
from deepfm_core.schema.schema import Schema
from deepfm_core.tables.header import header_doubt
from deepfm_core.tables.table import Table


def require_fit(table: Table, schema: Schema) -> None:
    """Check that models of a schema can be judged by a table: its fields, its numbers, and its label.

    A label may be written as `labels.normal_label` allows (`>50K.` for `>50K`), and rows without one are left out.

    Raises:
        SchemaError: columns are missing, a label or a number cannot be read, or no row has a label; all are named.
    """
    there = [role for role in schema.used if role.column in table.frame.columns]
    problems = absent([role.column for role in schema.used if role not in there])
    if problems:
        problems += header_doubt(table)
    for role in there:
        if role.kind.is_number:
            problems += number_problems(Cells.of(table.frame, role.column).noted(role.notation))
    problems += _label_problems(table, schema)
    if problems:
        raise SchemaError(table.name, problems)


def absent(columns: list[str]) -> list[Problem]:
    """Tell of `columns` that a table lacks: one problem, or none if there are none."""
    if not columns:
        return []
    what = "a column is" if len(columns) == 1 else f"{len(columns):,} columns are"
    remedy = f"Add {'it' if len(columns) == 1 else 'them'}; cells may be empty where a value is not known."
    return [Problem(f"{what} missing: {', '.join(f'`{column}`' for column in columns)}", remedy)]


def _label_problems(table: Table, schema: Schema) -> list[Problem]:
    try:
        rows, _ = labelled_rows(table.frame, schema.label, table.name)
    except SchemaError as error:
        return list(error.problems)
    return [] if len(rows) else [Problem("no row has a label", "Fill them in.", column=schema.label.column)]
