"""`export`: a finished run as one file to take away, or as a run of MLflow."""

from __future__ import annotations

import argparse

from deepfm_core.cli.options import model_folder, run_name_of
from deepfm_core.errors import SpecError
from deepfm_core.export.formats import export
from deepfm_core.export.tracking import send


def run(arguments: argparse.Namespace) -> None:
    """Write the file and print its path; send the run to MLflow and print where it is.

    Raises:
        DeepFMError: there is no such run, it cannot be written, or MLflow does not answer.
    """
    named, form, out = arguments.folder, arguments.format, arguments.out
    if (form is None) is not (out is None) or not (form or arguments.mlflow):
        lacks = "`--format` is missing" if form is None else "`--out` is missing"
        lacks = "`--format` and `--out` are missing" if form is None and out is None else lacks
        raise SpecError(f"A file needs --format and --out: {lacks}. Or give only --mlflow with an address.")
    folder, name = model_folder(named), run_name_of(named)
    if form is not None:
        export(folder, form, out, name)
        print(out)
    if arguments.mlflow:
        print(send(folder, arguments.mlflow, name))
