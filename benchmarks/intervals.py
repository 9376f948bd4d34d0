"""How often the 90% interval of a planted pair's strength holds the truth: the table of docs/interactions.md, 2.5.

    python benchmarks/intervals.py --worlds 12

Three fields of equally frequent levels; two of them interact, with effects of ± the strength in two levels each and
normal ones, without their main effects, in more. Clicks are as frequent as non-clicks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from deepfm_core.evidence.ranking import observed_of_table  # noqa: E402
from deepfm_core.schema.kinds import Kind  # noqa: E402
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema  # noqa: E402
from deepfm_core.tables.table import ReadReport, Table  # noqa: E402

WORLDS = (
    *((rows, 2, 0.7) for rows in (100, 300, 1000, 3000, 50_000)),
    *((rows, levels, strength) for rows, levels in ((5000, 12), (20_000, 6), (20_000, 12)) for strength in (0.3, 0.7)),
)
"""Rows, levels of each field, and standard deviation of the planted effects over rows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=12, help="of each kind")
    count = parser.parse_args().worlds
    print("| rows | levels | planted | strength, median | width of the interval, median | holds the planted one |")
    print("|---|---|---|---|---|---|")
    for rows, levels, strength in WORLDS:
        found = pd.DataFrame([planted(rows, levels, strength, seed) for seed in range(count)])
        inside = int(((found["strength_low"] <= strength) & (strength <= found["strength_high"])).sum())
        width = (found["strength_high"] - found["strength_low"]).median()
        middle = found["strength"].median()
        print(f"| {rows:,} | {levels} | {strength} | {middle:.2f} | {width:.2f} | {inside} of {count} |", flush=True)


def planted(rows: int, levels: int, strength: float, seed: int) -> Any:
    """Draw a world and give what is found of its planted pair."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(levels, size=rows).astype(np.int32) for _ in range(3)]
    effects = rng.normal(size=(levels, levels)) if levels > 2 else np.array([[1.0, -1.0], [-1.0, 1.0]])
    effects -= effects.mean(axis=0) + effects.mean(axis=1)[:, None] - effects.mean()
    logit = effects[codes[0], codes[1]]
    logit *= strength / logit.std()
    clicks = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int32)
    columns = dict(zip(("a", "b", "c", "click"), (*codes, clicks), strict=True))
    frame = pd.DataFrame(columns).astype(str).astype("category")
    schema = Schema(LabelRole("click", "1", "0"), tuple(FieldRole(name, Kind.CATEGORICAL) for name in "abc"))
    pairs = observed_of_table(Table("world", frame, ReadReport(rows=rows)), schema)
    return pairs.set_index(["field_a", "field_b"]).loc["a", "b"]


if __name__ == "__main__":
    main()
