"""`explain`: each row's logit, split into its terms."""

from __future__ import annotations

import argparse

import pandas as pd

from deepfm_core.cli.options import model_folder, scored_table
from deepfm_core.cli.output import digits, write
from deepfm_core.errors import SpecError
from deepfm_core.runs.predictor import Trained


def run(arguments: argparse.Namespace) -> None:
    """Print the terms of every row, in order."""
    if arguments.top is not None and arguments.top < 1:
        raise SpecError(f"Top is {arguments.top}. Use 1 or more.")
    trained = Trained.load(model_folder(arguments.folder))
    table = scored_table(arguments, trained)
    write(trained.explain(table).assign(row=table.records), arguments.top, short)


def short(terms: pd.DataFrame) -> pd.DataFrame:
    """Return rows as a terminal shows them: four digits; a narrow one leaves out `fm_logit`."""
    texts = {name: digits(terms[name], 4) for name in terms.columns if name != "row"}
    table = pd.DataFrame({"row": terms["row"].astype(str).to_list(), **texts}, dtype=object)
    table.attrs["dispensable"] = ("fm_logit",)
    return table
