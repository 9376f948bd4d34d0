"""`read` and `roles`: the table as understood, and what every column of it is taken to be. Neither trains."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from deepfm_core.cli.options import chosen_schema, read_chosen, reading_warnings, tell
from deepfm_core.cli.output import as_json
from deepfm_core.tables.export import write_csv, write_table


def read(arguments: argparse.Namespace) -> None:
    """Print the table as CSV on stdout and how it was read as one JSON object on stderr."""
    table = read_chosen(arguments, arguments.table)
    print(as_json(table.report.to_dict(), sys.stderr), file=sys.stderr)
    write_table(table, sys.stdout)


COLUMNS = ["field", "kind", "separator", "missing", "why", "warning"]


def roles(arguments: argparse.Namespace) -> None:
    """Print the role table as CSV, one line a column, and on stderr the notes, verdict and warnings.

    Raises:
        DeepFMError: the table or its label cannot be used.
    """
    table = read_chosen(arguments, arguments.table)
    schema = chosen_schema(arguments, table)
    if not arguments.quiet:
        tell(table, schema, roles=False)
        print(*(f"warning: {said}\n" for said in reading_warnings(table)), sep="", end="", file=sys.stderr)
    rows = schema.role_rows([str(column) for column in table.frame.columns])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), sys.stdout)
