"""`predict`: a probability for each row."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from deepfm_core.cli.options import model_folder, reading_choices, warn_of_reading
from deepfm_core.runs.predictor import Trained
from deepfm_core.tables.export import write_csv
from deepfm_core.tables.reader import read_table


def run(arguments: argparse.Namespace) -> None:
    """Print `row,probability`, one line a row, in order."""
    trained = Trained.load(model_folder(arguments.folder))
    choices = reading_choices(arguments)
    table = read_table(arguments.table, strict=True, only=trained.only_column, choices=choices)
    warn_of_reading(table)
    probability = trained.predict(table)
    frame = pd.DataFrame({"row": range(len(probability)), "probability": probability})
    write_csv(frame, sys.stdout)
