"""`predict`: a probability for each row."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from deepfm_core.cli.options import model_folder, scored_table
from deepfm_core.runs.predictor import Trained
from deepfm_core.tables.export import write_csv


def run(arguments: argparse.Namespace) -> None:
    """Print `row,probability`, one line a row, in order."""
    trained = Trained.load(model_folder(arguments.folder))
    probability = trained.predict(scored_table(arguments, trained))
    frame = pd.DataFrame({"row": range(len(probability)), "probability": probability})
    write_csv(frame, sys.stdout)
