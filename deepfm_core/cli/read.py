"""`read`: the table as understood."""

from __future__ import annotations

import argparse
import json
import sys

from deepfm_core.cli.options import read_chosen
from deepfm_core.tables.export import write_table


def run(arguments: argparse.Namespace) -> None:
    """Print the table as CSV on stdout and how it was read as one JSON object on stderr."""
    table = read_chosen(arguments, arguments.table)
    print(json.dumps(table.report.to_dict()), file=sys.stderr)
    write_table(table, sys.stdout)
