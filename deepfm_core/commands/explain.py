"""`explain`: each row's logit, split into its terms."""

from __future__ import annotations

import argparse
import sys

from deepfm_core.commands.found import model_folder
from deepfm_core.data.reading import read_table
from deepfm_core.runs.trained import Trained


def run(arguments: argparse.Namespace) -> None:
    """Print the terms of every row, in order."""
    trained = Trained.load(model_folder(arguments.folder))
    trained.explain(read_table(arguments.table, strict=True, only=trained.only_column)).to_csv(sys.stdout, index=False)
