"""`read`: the table as understood."""

from __future__ import annotations

import argparse
import sys

from deepfm_core.cli.options import read_chosen
from deepfm_core.cli.output import as_json
from deepfm_core.tables.export import write_table


def run(arguments: argparse.Namespace) -> None:
    """Print the table as CSV on stdout and how it was read as one JSON object on stderr."""
    table = read_chosen(arguments, arguments.table)
    print(as_json(table.report.to_dict(), sys.stderr), file=sys.stderr)
    write_table(table, sys.stdout)
