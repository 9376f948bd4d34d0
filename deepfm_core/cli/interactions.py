"""`interactions`: the pairs of fields, strongest first."""

from __future__ import annotations

import argparse
import sys
from math import comb
from pathlib import Path

import pandas as pd

from deepfm_core.cli.options import model_folder
from deepfm_core.cli.output import Waited, digits, write
from deepfm_core.cli.parser import READ, WRITTEN
from deepfm_core.errors import RunError, SpecError
from deepfm_core.evidence.verdicts import (
    clear,
    data_verdicts,
    has_evidence,
    unexplained_said,
    untested_said,
    verdicts,
    why_no_pairs,
)
from deepfm_core.explain.pair_counts import PairCounts
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Schema

OF_A_TABLE = ("label", "positive", "seed", *READ, "max-mb", *Kind, *WRITTEN, "copies")
"""Options on how to understand a table. A run has them settled, so they are errors beside one."""


LEGEND = (
    "Strength: the typical size of what the pair adds beyond its two fields, in log-odds, as the labels support it. "
    "Interval: where it lies with 90% probability. Probability: that the pair interacts at all. Clear: whether a test "
    "against noise finds it, too (false discovery rate of 5%), and no other pair explains it. Verdict: what to "
    "make of it. The other columns (`--all`) are explained in docs/command-line.md."
)
"""What the columns on a terminal are."""


def run(arguments: argparse.Namespace) -> None:
    """Print the run's pairs, or with `--observed-only` what a table itself says about its pairs."""
    if arguments.top is not None and arguments.top < 1:
        raise SpecError(f"Top is {arguments.top}. Use 1 or more.")
    pairs, schema = _observed(arguments) if arguments.observed_only else _of_run(arguments)
    write(pairs, arguments.top, short, whole=arguments.all, legend=LEGEND)
    counted = PairCounts.of(pairs).said if has_evidence(pairs) else ""
    for said in (counted, untested_said(pairs), unexplained_said(pairs)):
        if said:
            print(f"note: {said}", file=sys.stderr)
    if why := why_no_pairs(schema):
        print(f"note: {why}", file=sys.stderr)


def short(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return pairs as a terminal shows them: texts, and the columns that a narrow one leaves out."""
    low, high = digits(pairs["strength_low"], 2), digits(pairs["strength_high"], 2)
    known = pairs["significant"].notna()
    table = pd.DataFrame(
        {
            "rank": [str(place) for place in range(1, len(pairs) + 1)],
            "pair": [f"{a} × {b}" for a, b in zip(pairs["field_a"], pairs["field_b"], strict=True)],
            "strength": digits(pairs["strength"], 2),
            "90% interval": ["–" if a == "–" else f"{a} to {b}" for a, b in zip(low, high, strict=True)],
            "probability": digits(pairs["probability"], 2),
            "clear": clear(pairs).map({True: "yes", False: "no"}).where(known, "–").to_list(),
            "verdict": pairs["verdict"].to_list(),
        },
        dtype=object,
    )
    table.attrs["dispensable"] = ("rank", "probability", "clear")
    return table


def _of_run(arguments: argparse.Namespace) -> tuple[pd.DataFrame, Schema]:
    named, folder = arguments.folder, model_folder(arguments.folder)
    for option in OF_A_TABLE:
        given = getattr(arguments, option.replace("-", "_"))
        if given not in (None, []):
            value = ",".join(given) if isinstance(given, list) else given
            raise SpecError(
                f"Option --{option} is {value!r}, but `{named}` is a run: its label and fields are settled. Leave the "
                "option out, or name a table and add --observed-only."
            )
    pairs = folder.frame("pairs")
    if pairs is None:
        raise RunError(f"Run `{named}` has no interactions yet. Wait until it is finished, or resume it.")
    return pairs.assign(verdict=verdicts(pairs)), folder.spec().schema


def _observed(arguments: argparse.Namespace) -> tuple[pd.DataFrame, Schema]:
    from deepfm_core.cli.options import chosen_schema, read_chosen
    from deepfm_core.evidence.ranking import ALONE, observed_of_table, progress_said

    if arguments.label is None:
        raise SpecError("The label is not named. Say which column it is with --label NAME.")
    if (Path(arguments.folder) / "spec.json").exists():
        raise SpecError(
            f"`{arguments.folder}` is the folder of a run, and --observed-only asks a table. Name one, or leave it out."
        )
    table = read_chosen(arguments, Path(arguments.folder))
    schema = chosen_schema(arguments, table)
    fields = sum(role.kind.entry.fields for role in schema.used if role.kind.is_embedded)
    waited = Waited(lambda share: progress_said(share, comb(fields, 2)), prepared=ALONE[0])
    pairs = observed_of_table(table, schema, seed=arguments.seed or 0, report=waited.report)
    waited.end()
    return pairs.assign(verdict=data_verdicts(pairs)), schema
