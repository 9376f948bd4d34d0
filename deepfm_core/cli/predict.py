"""`predict`: a probability for each row."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from deepfm_core.cli.options import model_folder, scored_table
from deepfm_core.runs.predictor import Trained
from deepfm_core.tables.export import beside, write_csv


def run(arguments: argparse.Namespace) -> None:
    """Print `row,probability`, one line a row, in order; rows have the numbers of their records in the file.

    With `--keep-columns` the table's own columns follow; one of such a name ends in ` (cell)`, as in `score_table`.
    """
    trained = Trained.load(model_folder(arguments.folder))
    table = scored_table(arguments, trained)
    scores = pd.DataFrame({"row": table.records, "probability": trained.predict(table)})
    if arguments.keep_columns:
        own = beside(table.frame, list(scores.columns))
        scores = pd.concat([scores, own.reset_index(drop=True)], axis=1)
    write_csv(scores, sys.stdout)
