"""`predict`: a probability for each row."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from deepfm_core.cli.options import model_folder, scored_table
from deepfm_core.runs.predictor import Trained
from deepfm_core.tables.export import write_csv


def run(arguments: argparse.Namespace) -> None:
    """Print `row,probability`, one line a row, in order; rows have the numbers of their records in the file."""
    trained = Trained.load(model_folder(arguments.folder))
    table = scored_table(arguments, trained)
    write_csv(pd.DataFrame({"row": table.records, "probability": trained.predict(table)}), sys.stdout)
