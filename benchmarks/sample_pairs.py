"""How well each measure ranks the planted pairs of the sample table: `python benchmarks/sample_pairs.py`.

Prints the table that stands in docs/benchmarks.md: precision among the first k (k planted pairs) and ROC-AUC of planted
against other pairs, one model a seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
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


def pairs_of(preset: str, seed: int) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        table = ROOT / "sample_data" / "clicks.csv"
        words = ["train", str(table), "--label", "clicked", "--preset", preset, "--seed", str(seed), "--out", str(out)]
        subprocess.run(
            [sys.executable, "-m", "deepfm_core", *words, "--quiet"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
        return pd.read_parquet(out / "frames" / "pairs.parquet")


def planted() -> set[frozenset[str]]:
    truth = json.loads((ROOT / "sample_data" / "clicks.truth.json").read_text())
    return {frozenset((pair["field_a"], pair["field_b"])) for pair in truth["pairs"]}


def scores(pairs: pd.DataFrame, measure: str, truth: set[frozenset[str]]) -> tuple[float, float]:
    is_planted = np.array([frozenset(pair) in truth for pair in zip(pairs["field_a"], pairs["field_b"], strict=True)])
    values = pairs[measure].to_numpy(dtype=float)
    first = np.argsort(-values, kind="stable")[: len(truth)]
    return float(is_planted[first].mean()), float(roc_auc_score(is_planted, values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="recommended")
    given = parser.parse_args()
    truth = planted()
    runs = [pairs_of(given.preset, seed) for seed in range(given.seeds)]
    print(f"| measure | P@{len(truth)}, each seed | mean | ROC-AUC, each seed | mean |\n|---|---|---|---|---|")
    for measure, words in MEASURES.items():
        columns = np.array([scores(run, measure, truth) for run in runs]).T
        cells = [
            text for column in columns for text in (" · ".join(f"{v:.2f}" for v in column), f"{column.mean():.2f}")
        ]
        print("| " + " | ".join([words, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
