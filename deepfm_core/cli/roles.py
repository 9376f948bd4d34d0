"""`roles`: what every column of a table is taken to be, without training."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from deepfm_core.cli.options import chosen_schema, read_chosen, tell
from deepfm_core.tables.export import write_csv

COLUMNS = ["field", "kind", "separator", "missing", "why", "warning"]


def run(arguments: argparse.Namespace) -> None:
    """Print the role table as CSV, one line a column, and on stderr the notes, verdict and warnings.

    Raises:
        DeepFMError: the table or its label cannot be used.
    """
    table = read_chosen(arguments, arguments.table)
    schema = chosen_schema(arguments, table)
    if not arguments.quiet:
        tell(table, schema, roles=False)
    rows = schema.role_rows([str(column) for column in table.frame.columns])
    write_csv(pd.DataFrame(rows, columns=COLUMNS), sys.stdout)
