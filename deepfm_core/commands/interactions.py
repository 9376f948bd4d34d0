"""`interactions`: the pairs of fields, strongest first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from deepfm_core.commands.found import model_folder
from deepfm_core.data.schema import Schema
from deepfm_core.errors import RunError, SpecError
from deepfm_core.explain.no_pairs import why_no_pairs


def run(arguments: argparse.Namespace) -> None:
    """Print the run's pairs, or with `--observed-only` what a table itself says about its pairs."""
    pairs, schema = _observed(arguments) if arguments.observed_only else _of_run(arguments.folder)
    pairs.to_csv(sys.stdout, index=False)
    if why := why_no_pairs(schema):
        print(f"note: {why}", file=sys.stderr)


def _of_run(named: str) -> tuple[pd.DataFrame, Schema]:
    folder = model_folder(named)
    pairs = folder.frame("pairs")
    if pairs is None:
        raise RunError(f"Run `{named}` has no interactions yet. Wait until it is finished, or resume it.")
    return pairs, folder.spec().schema


def _observed(arguments: argparse.Namespace) -> tuple[pd.DataFrame, Schema]:
    from deepfm_core.commands.asked import chosen_schema
    from deepfm_core.data.inference import infer_schema
    from deepfm_core.data.reading import read_table
    from deepfm_core.explain.of_table import observed_of_table

    if arguments.label is None:
        raise SpecError("The label is not named. Say which column it is with --label NAME.")
    table = read_table(Path(arguments.folder))
    schema = chosen_schema(arguments, infer_schema(table, arguments.label, arguments.positive))
    return observed_of_table(table, schema, seed=arguments.seed), schema
