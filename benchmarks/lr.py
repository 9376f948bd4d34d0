"""LR that is solved against LR that is trained in epochs: the table of docs/decisions/042.

    python benchmarks/lr.py adult_train.csv:income sample_data/clicks.csv:clicked world:mixed --rows 1000 20000

Of each table `--rows` are drawn by the seed, a tenth of them to stop by, and `--test-rows` others to test; a world is
drawn anew. Both fits are of the recommended preset, the second with `guided` off. Prints test loglosses.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accuracy import WORLDS
from benchmarks.patience import drawn, tables_of, trained
from deepfm_core.spec.presets import preset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000])
    parser.add_argument("--test-rows", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    print("| task | rows | seed | solved | trained | solved less trained |\n|---|---|---|---|---|---|")
    for rows in options.rows:
        for task in options.tasks:
            for seed in range(options.seeds):
                one, other = losses(task, seed, rows, options.test_rows)
                print(
                    f"| {Path(task).name} | {rows:,} | {seed} | {one:.4f} | {other:.4f} | {one - other:+.4f} |",
                    flush=True,
                )


def losses(task: str, seed: int, rows: int, test_rows: int) -> tuple[float, float]:
    """Give the test loglosses of LR solved and trained."""
    draw = tables_of if task in WORLDS else drawn
    tables = draw(task, seed, rows, test_rows)
    model, spec = preset("recommended", "lr", len(tables[0]))
    one, other = (float(trained(tables, replace(model, guided=on), spec, seed)[3]) for on in (True, False))
    return one, other


if __name__ == "__main__":
    main()
