"""`export`: a finished run as one file to take away."""

from __future__ import annotations

import argparse

from deepfm_core.cli.options import model_folder, run_name_of
from deepfm_core.export.formats import export


def run(arguments: argparse.Namespace) -> None:
    """Write the file and print its path."""
    named = arguments.folder
    export(model_folder(named), arguments.format, arguments.out, run_name_of(named))
    print(arguments.out)
