"""Wide tables: seconds of whole commands on a table of 300 columns, and what the evidence finds among its pairs.

    python benchmarks/wide.py
    python benchmarks/wide.py --worlds 8
    python benchmarks/wide.py --trained 3

Without `--worlds` it writes the table, runs `interactions --observed-only` and `train` (3 epochs, everything else as
recommended) as a user would, and prints seconds of the clock and of the processor. With `--worlds` it asks the labels
of so many other tables, half of them with three planted pairs and half with none, and counts clear pairs. With
`--trained` it trains the recommended model on so many tables with one planted pair, and judges it on 10,000 other rows.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

Pair = tuple[str, str]
PLANTED = 3
MOST_LEVELS = 8
"""Levels of planted fields at most."""
TEST_ROWS = 10_000
"""Rows that judge a trained model."""


def world(rows: int, columns: int, seed: int, planted: int, spread: float = 0.45) -> tuple[pd.DataFrame, list[Pair]]:
    """Make a table of texts: a third of the columns are numbers, ten have main effects, and some pairs interact."""
    rng = np.random.default_rng(seed)
    names: list[str] = []
    cells: list[list[str]] = []
    codes: list[np.ndarray] = []
    for number in range(columns):
        if number % 3 == 2:
            x = rng.normal(size=rows)
            names.append(f"number_{number:03d}")
            cells.append([f"{value:.4f}" for value in x])
            codes.append(np.digitize(x, [-0.7, 0, 0.7]))
        else:
            level = rng.integers(0, int(rng.integers(2, 30)), rows)
            names.append(f"field_{number:03d}")
            cells.append([f"v{value}" for value in level])
            codes.append(level)
    logit = np.full(rows, -1.0)
    for number in rng.choice(columns, min(10, columns), replace=False):
        logit += 0.3 * rng.normal(size=40)[codes[number]]
    small = [number for number in range(columns) if number % 3 != 2 and codes[number].max() < MOST_LEVELS]
    pairs = []
    for _ in range(planted):
        a, b = sorted(rng.choice(small, 2, replace=False))
        effects = rng.normal(size=(codes[a].max() + 1, codes[b].max() + 1))
        effects -= effects.mean(0)
        effects -= effects.mean(1)[:, None]  # nothing additive is left
        added = effects[codes[a], codes[b]]
        logit += spread * added / added.std()
        pairs.append((names[a], names[b]))
    frame = pd.DataFrame(dict(zip(names, cells, strict=True)))
    return frame.assign(click=(rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int).astype(str)), pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=300)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--worlds", type=int, default=0, help="count clear pairs in so many tables instead")
    parser.add_argument("--trained", type=int, default=0, help="train on so many tables with one planted pair instead")
    parser.add_argument("--first-seed", type=int, default=100)
    options = parser.parse_args()
    if options.trained:
        train(options.rows, options.columns, range(options.first_seed, options.first_seed + options.trained))
    elif options.worlds:
        count(options.rows, options.columns, range(options.first_seed, options.first_seed + options.worlds))
    else:
        clock(options.rows, options.columns)


def clock(rows: int, columns: int) -> None:
    """Print what the two whole commands take."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "wide.csv"
        world(rows, columns, 0, PLANTED)[0].to_csv(table, index=False)
        train = ["train", str(table), "--label", "click", "--epochs", "3", "--quiet"]
        commands = {
            "interactions --observed-only": ["interactions", str(table), "--label", "click", "--observed-only"],
            "train --folds 0": [*train, "--folds", "0", "--out", f"{folder}/unchecked"],
            "train": [*train, "--out", f"{folder}/checked"],
        }
        print(f"{columns} columns x {rows:,} rows\n\n| command | seconds | CPU seconds |\n|---|---|---|")
        for name, words in commands.items():
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "deepfm_core", *words],
                cwd=ROOT,
                env={**os.environ, "DEEPFM_HOME": folder},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"| `{name}` | {seconds:.0f} | {used:.0f} |", flush=True)


def count(rows: int, columns: int, seeds: range) -> None:
    """Print, for each table, where its planted pairs rank and how many pairs are clear."""
    from deepfm_core.evidence.ranking import observed_of_table
    from deepfm_core.schema.infer import infer_schema
    from deepfm_core.tables.table import ReadReport, Table

    print("| table | planted: their ranks | clear, planted | clear, not planted |\n|---|---|---|---|")
    for seed in seeds:
        frame, planted = world(rows, columns, seed, PLANTED if seed % 2 else 0)
        table = Table("world", frame.astype("category"), ReadReport(rows=rows))
        pairs = observed_of_table(table, infer_schema(table, "click"))
        named = list(zip(pairs["field_a"], pairs["field_b"], strict=True))
        clear = {pair for pair, yes in zip(named, pairs["significant"], strict=True) if yes}
        ranks = ", ".join(f"{named.index(pair) + 1:,}" for pair in planted) or "none"
        print(f"| {seed} | {ranks} | {len(clear & set(planted))} | {len(clear - set(planted))} |", flush=True)


def train(rows: int, columns: int, seeds: range) -> None:
    """Print for each table the test logloss beside the base rate's, and what was learned of the planted pair."""
    import torch

    from deepfm_core.encoding.encoder import Encoder
    from deepfm_core.encoding.splits import load_parts
    from deepfm_core.evidence.main_effects import log_odds
    from deepfm_core.explain.learned import fm_strengths
    from deepfm_core.metrics.scores import logloss
    from deepfm_core.schema.infer import infer_schema
    from deepfm_core.spec.presets import preset
    from deepfm_core.spec.run import RunSpec
    from deepfm_core.tables.table import ReadReport, Table
    from deepfm_core.training.fit import fit, predict_logits
    from deepfm_core.training.state import FitState

    torch.set_num_threads(1)
    print("| table | base rate | LR | DeepFM | learned of the planted pair (.45) | CPU seconds |\n" + "|---" * 6 + "|")
    for seed in seeds:
        frame, planted = world(rows + TEST_ROWS, columns, seed, 1)
        tables = {
            name: Table(name, part.reset_index(drop=True).astype("category"), ReadReport(rows=len(part)))
            for name, part in (("main", frame[:rows]), ("test", frame[rows:]))
        }
        schema = infer_schema(tables["main"], "click")
        parts = load_parts(RunSpec("main", "wide", schema, test_table="test", seed=seed), tables.__getitem__)
        encoder = Encoder.fit(parts.train.table.frame, schema, rows=parts.train.rows)
        known, valid, test = (part.encode(encoder) for part in (parts.train, parts.valid, parts.test))
        labels = parts.test.labels
        scores = [logloss(labels, np.full(len(labels), log_odds(parts.train.labels)))]
        seconds, model = 0.0, None
        for name in ("lr", "deepfm"):
            began = time.process_time()
            model_spec, fit_spec = preset("recommended", name, len(known))
            state = FitState.new(known.layout, model_spec, fit_spec, seed)
            for _ in fit(fit_spec, known, valid, state):
                pass
            model, seconds = state.model, time.process_time() - began
            scores.append(logloss(labels, predict_logits(model, test)))
        assert model is not None
        a, b = sorted(known.layout.names.index(field) for field in planted[0])
        learned = float(fm_strengths(model, known, [(a, b)])[0])
        cells = [str(seed), *(f"{score:.4f}" for score in scores), f"{learned:.2f}", f"{seconds:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
