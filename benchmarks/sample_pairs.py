"""What is found and learned of the planted pairs of the sample table.

    python benchmarks/sample_pairs.py --seeds 3
    python benchmarks/sample_pairs.py --seeds 1 --folds 5 --forms guided no-guided

Prints the tables that stand in docs/benchmarks.md, one model a seed: how well each measure ranks the planted pairs
(precision among the first k, k planted pairs, and ROC-AUC of planted against other pairs), and what each run learned of
them, beside what its labels support. Seconds are of processor time, of the whole command.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).resolve().parents[1]
MEASURES = {
    "learned_fm": "purified strength, FM of one model",
    "learned_dnn": "purified strength, DNN of one model",
    "learned": "purified strength, whole logit of one model",
    "observed": "observed in the data, each pair by itself",
    "strength": "strength (the ranking)",
}


@dataclass(frozen=True)
class Trained:
    """What a run says of its pairs (the frame of docs/store.md), its test AUC, and its seconds of processor time."""

    pairs: pd.DataFrame
    auc: float
    seconds: float


def trained(preset: str, form: str, seed: int, folds: int) -> Trained:
    """Train on the sample as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        table = ROOT / "sample_data" / "clicks.csv"
        words = ["train", str(table), "--label", "clicked", "--preset", preset, "--seed", str(seed), "--out", str(out)]
        words += [f"--{form}", "--folds", str(folds), "--quiet"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "deepfm_core", *words],
            cwd=ROOT,
            env={**os.environ, "DEEPFM_HOME": folder},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        pairs = pd.read_parquet(out / "frames" / "pairs.parquet")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Trained(pairs, float(json.loads(done.stdout)["test"]["auc"]), seconds)


def planted() -> set[frozenset[str]]:
    truth = json.loads((ROOT / "sample_data" / "clicks.truth.json").read_text())
    return {frozenset((pair["field_a"], pair["field_b"])) for pair in truth["pairs"]}


def scores(pairs: pd.DataFrame, measure: str, truth: set[frozenset[str]]) -> tuple[float, float]:
    is_planted = np.array([frozenset(pair) in truth for pair in zip(pairs["field_a"], pairs["field_b"], strict=True)])
    values = pairs[measure].to_numpy(dtype=float)
    first = np.argsort(-values, kind="stable")[: len(truth)]
    return float(is_planted[first].mean()), float(roc_auc_score(is_planted, values))


def learned(run: Trained, truth: set[frozenset[str]]) -> str:
    """Lay out what a run learned: of each planted pair, of the largest other one, and its test AUC and seconds."""
    is_planted = np.array(
        [frozenset(pair) in truth for pair in zip(run.pairs["field_a"], run.pairs["field_b"], strict=True)]
    )
    ours = run.pairs[is_planted].sort_values("strength", ascending=False)
    shares = ours["learned"].to_numpy(dtype=float) / ours["strength"].to_numpy(dtype=float)
    each = " · ".join(
        f"{a:.2f} of {b:.2f}"
        for a, b in zip(ours["learned"].astype(float), ours["strength"].astype(float), strict=True)
    )
    others = run.pairs.loc[~is_planted, "learned"].to_numpy(dtype=float).max()
    return f"{each} | {shares.min():.0%} | {others:.3f} | {run.auc:.4f} | {run.seconds:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="recommended")
    parser.add_argument("--forms", nargs="+", default=["guided"], choices=["guided", "no-guided"])
    parser.add_argument(
        "--folds", type=int, default=0, help="of the held-out evidence, which only the seconds depend on"
    )
    given = parser.parse_args()
    truth = planted()
    runs = {
        form: [trained(given.preset, form, seed, given.folds) for seed in range(given.seeds)] for form in given.forms
    }
    first = runs[given.forms[0]]
    print(f"| measure | P@{len(truth)}, each seed | mean | ROC-AUC, each seed | mean |\n|---|---|---|---|---|")
    for measure, words in MEASURES.items():
        if not any(run.pairs[measure].any() for run in first):
            print(f"| {words} | none | | none | |")
            continue
        columns = np.array([scores(run.pairs, measure, truth) for run in first]).T
        cells = [
            text for column in columns for text in (" · ".join(f"{v:.2f}" for v in column), f"{column.mean():.2f}")
        ]
        print("| " + " | ".join([words, *cells]) + " |", flush=True)
    print("\n| form | seed | learned of the planted pairs | least | largest other | test AUC | CPU seconds |")
    print("|---" * 7 + "|")
    for form, seeds in runs.items():
        for seed, run in enumerate(seeds):
            print(f"| {form} | {seed} | {learned(run, truth)} |", flush=True)


if __name__ == "__main__":
    main()
