"""How often whole numbers without a telling name are taken for codes: drawn quantities of many shapes, and codes.

Run it from the repository's root: `python benchmarks/codes.py [TABLES]`. Each line is a shape, then of how many tables
the column became categorical, and of how many more it is advised to look.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.schema.column import Cells
from deepfm_core.schema.integer_codes import checked_for_codes
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole
from deepfm_core.tables.dataframe import table_from_frame

Draw = Callable[[np.random.Generator], tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Draws values and the rate of each row."""


def multiples(number: int, low: float, high: float, levels: int = 40, rows: int = 10_000) -> Draw:
    """Counts of which the multiples of a number differ."""

    def draw(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        values = rng.integers(1, levels + 1, rows)
        return values, np.where(values % number == 0, high, low)

    return draw


def apart(which: tuple[int, ...], slope: float = 0.0, rows: int = 10_000, levels: int = 40) -> Draw:
    """Counts of which some values differ: a flat or sloping effect with spikes or sentinels."""

    def draw(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        values = rng.integers(0, levels, rows)
        special = np.isin(values, [place % levels for place in which])
        return values, np.where(special, 0.3, 0.1 + slope * values / levels)

    return draw


def smooth(rows: int = 10_000) -> Draw:
    """Counts with three cosines as their effect, or none."""

    def draw(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        levels = int(rng.choice([12, 40, 120]))
        values = rng.integers(0, levels, rows)
        at = np.arange(levels) / levels
        logit = sum(rng.normal() * np.cos(np.pi * k * at) / k for k in (1, 2, 3)) * rng.choice([0, 0.3, 1.0])
        return values, 1 / (1 + np.exp(1.5 - logit[values]))

    return draw


def weekly(rows: int = 10_000) -> Draw:
    """Days of which each day of the week differs."""

    def draw(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        values, effect = rng.integers(1, 61, rows), rng.normal(0, 0.5, 7)
        return values, 1 / (1 + np.exp(1.5 - effect[values % 7]))

    return draw


def grouped(groups: int, levels: int = 40, rows: int = 10_000) -> Draw:
    """Numbers without an effect, each the same in all rows of a group, whose rows share a rate."""

    def draw(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        group, value, effect = rng.integers(0, groups, rows), rng.integers(0, levels, groups), rng.normal(0, 1, groups)
        return value[group], 1 / (1 + np.exp(1.5 - effect[group]))

    return draw


def codes(levels: int, spread: float, rows: int = 10_000) -> Draw:
    """Codes, each with an effect of its own."""

    def draw(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        values, effect = rng.integers(1, levels + 1, rows), rng.normal(0, spread, levels)
        return values, 1 / (1 + np.exp(1.5 - effect[values - 1]))

    return draw


SHAPES: dict[str, Draw] = {
    "smooth or no effect": smooth(),
    "multiples of 5, .25 against .12": multiples(5, 0.12, 0.25),
    "multiples of 7, .25 against .12": multiples(7, 0.12, 0.25),
    "multiples of 10, .25 against .12": multiples(10, 0.12, 0.25),
    "multiples of 12, .25 against .12, 120 values": multiples(12, 0.12, 0.25, 120),
    "multiples of 7, .25 against .12, 50,000 rows": multiples(7, 0.12, 0.25, rows=50_000),
    "days of the week differ": weekly(),
    "flat, one value .3 against .1": apart((17,)),
    "flat, two values .3": apart((17, 29)),
    "flat, three values .3": apart((8, 17, 29)),
    "flat, five values .3": apart((3, 8, 17, 29, 34)),
    "flat, seven values .3": apart((3, 8, 13, 17, 26, 29, 34)),
    "flat, lowest .3": apart((0,)),
    "flat, highest .3": apart((-1,)),
    "sloping, lowest and one value .3": apart((0, 17), 0.2),
    "flat, lowest and three values .3, 50,000 rows": apart((0, 8, 17, 29), rows=50_000),
    "numbers of 400 groups of rows with one rate each": grouped(400),
    "40 codes, effects of sd 0.3": codes(40, 0.3),
    "40 codes, effects of sd 0.5": codes(40, 0.5),
    "40 codes, effects of sd 1": codes(40, 1.0),
    "20 codes, effects of sd 0.5": codes(20, 0.5),
    "10 codes, effects of sd 1": codes(10, 1.0),
}


def main(tables: int) -> None:
    """Print a line a shape."""
    print(f"of {tables} tables each: categorical, advised")
    for name, draw in SHAPES.items():
        found = [evaluated(draw, seed) for seed in range(tables)]
        print(f"{name:48s} {found.count('categorical'):4d} {found.count('advised'):4d}", flush=True)


def evaluated(draw: Draw, seed: int) -> str:
    """Draw a table and say what its column becomes."""
    rng = np.random.default_rng(seed)
    values, rates = draw(rng)
    labels = rng.random(len(rates)) < rates
    cells = Cells.of(table_from_frame(pd.DataFrame({"found": values})).frame, "found")
    role = checked_for_codes(FieldRole("found", Kind.PIECEWISE), cells, labels)
    if role.kind is Kind.CATEGORICAL:
        return "categorical"
    return "advised" if role.warning else "number"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
