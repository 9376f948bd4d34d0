"""Compares all models on a table, on one division of its rows or several, and prints the table of docs/comparison.md.

    python benchmarks/comparison.py online_shoppers_intention.csv:Revenue --splits 5
    python benchmarks/comparison.py adult_train.csv:income:adult_test.csv --seeds 3

A task is TABLE:LABEL[:TEST_TABLE]. Each division is one `python -m deepfm_core compare`, in a store of its own.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", metavar="TASK")
    parser.add_argument("--splits", type=int, default=1, help="divisions of the rows, seeds 0, 1, …")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each model on each division")
    parser.add_argument("--models", help="names with commas between them; all by default, with gradient boosting")
    options = parser.parse_args()
    seeds = ["--seeds", str(options.seeds)]
    chosen = ["--models", options.models, "--no-baseline"] if options.models else []
    with tempfile.TemporaryDirectory() as home:
        tables = [compared(options.task, split, [*seeds, *chosen], home) for split in range(options.splits)]
    print(of_one(tables[0]) if len(tables) == 1 else of_many(pd.concat(tables)))


def compared(task: str, split: int, chosen: list[str], home: str) -> pd.DataFrame:
    """Compare the models on one division."""
    table, label, *test = task.split(":")
    own = ["--test-table", str(Path(test[0]).resolve())] if test else []
    command = [sys.executable, "-m", "deepfm_core", "compare", str(Path(table).resolve()), "--label", label, *own]
    command += ["--seed", str(split), *chosen]
    environment = {**os.environ, "DEEPFM_HOME": home}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return pd.read_csv(io.StringIO(done.stdout)).assign(split=split)


def of_one(table: pd.DataFrame) -> str:
    """Lay out the table of one division: means and deviations over seeds, differences with their paired intervals."""
    lines = [
        [
            row["model"],
            _spread(row["auc"], row["auc_sd"]),
            _spread(row["logloss"], row["logloss_sd"]),
            _interval(row["logloss_difference"], row["logloss_low"], row["logloss_high"]),
            _times(row["relative_seconds"]),
            "–" if pd.isna(row["parameters"]) else f"{row['parameters']:,.0f}",
        ]
        for _, row in table.iterrows()
    ]
    return _markdown(["", "test AUC", "logloss", "from the best (95%)", "time ÷ LR", "parameters"], lines)


def of_many(tables: pd.DataFrame) -> str:
    """Lay out means over divisions; differences are from DeepFM on the same division, by Student's t over divisions."""
    by_split = tables.pivot_table(index="split", columns="model", values="logloss")
    apart = by_split.sub(by_split["deepfm"], axis=0)
    half = t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart))
    means = tables.groupby("model")[["auc", "logloss", "relative_seconds"]].mean().sort_values("logloss")
    spread = tables.groupby("model")[["auc", "logloss"]].std(ddof=1)
    lines = []
    for model, row in means.iterrows():
        away, width = float(apart[model].mean()), float(half[model])
        lines.append(
            [
                str(model),
                _spread(row["auc"], spread["auc"][str(model)]),
                _spread(row["logloss"], spread["logloss"][str(model)]),
                "–" if model == "deepfm" else _interval(away, away - width, away + width),
                _times(row["relative_seconds"]),
            ]
        )
    return _markdown(["", "test AUC", "logloss", "from DeepFM (95% over divisions)", "time ÷ LR"], lines)


def _times(relative: float) -> str:
    return "–" if pd.isna(relative) else f"{relative:.1f}"


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:.4f}" + ("" if pd.isna(deviation) else f" ± {deviation:.4f}")


def _interval(value: float, low: float, high: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f})".replace("-", "−")


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
