"""What a guided model's patience saves, and what it costs: a table of docs/decisions/036.

    python benchmarks/patience.py world:categorical world:other --rows 20000 --seeds 3
    python benchmarks/patience.py sample_data/clicks.csv:clicked --seeds 3

Each division of each task is trained twice by the recommended preset: with eight epochs of patience that any gain
begins anew, and as the preset says. Both fits begin alike, so where they keep the same epoch they are the same model.
Tasks are those of `benchmarks/accuracy.py`, and `parity`, a world whose only effect is of three fields.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accuracy import division, encoded
from benchmarks.models_on_truth import divided, parity_world
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.spec.events import EpochDone
from deepfm_core.spec.presets import GUIDED_PATIENCE, preset
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.state import FitState

Encoded = tuple[EncodedTable, EncodedTable, EncodedTable]


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--test-rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| task | seed | epochs | kept | CPU s | test logloss | test AUC |\n|---|---|---|---|---|---|---|")
    for name in options.tasks:
        for seed in range(options.seeds):
            tables = tables_of(name, seed, options.rows, options.test_rows)
            print(f"| {Path(name).name} | {seed} | {compared(tables, seed)} |", flush=True)


def tables_of(name: str, seed: int, rows: int, test_rows: int) -> Encoded:
    """Draw or read a task, divide its rows by the seed, and encode the parts."""
    if name == "parity":
        task = divided(parity_world(rows + test_rows, seed), seed)
        return task.train, task.valid, task.test
    return encoded(division(name, seed, rows, test_rows))


def compared(tables: Encoded, seed: int) -> str:
    """Train by both rules, and give what came of it: before / now."""
    model, now = preset("recommended", "deepfm", len(tables[0]))
    before = replace(now, patience=GUIDED_PATIENCE, least_gain=0.0)
    lines = [trained(tables, model, spec, seed) for spec in (before, now)]
    return " | ".join(f"{one} / {other}" for one, other in zip(*lines, strict=True))


def trained(tables: Encoded, model: ModelSpec, spec: FitSpec, seed: int) -> tuple[str, ...]:
    """Train once: the epochs, the one that was kept, CPU seconds, and the scores on the test rows."""
    train, valid, test = tables
    assert test.labels is not None
    began, state = time.process_time(), FitState.new(train.layout, model, spec, seed)
    epochs = [event for event in fit(spec, train, valid, state) if isinstance(event, EpochDone)]
    seconds, logits = time.process_time() - began, predict_logits(state.model, test)
    kept = max((event.epoch for event in epochs if event.best), default=0)
    return (
        str(len(epochs)),
        str(kept),
        f"{seconds:.0f}",
        f"{logloss(test.labels, logits):.5f}",
        f"{auc(test.labels, logits):.4f}",
    )


if __name__ == "__main__":
    main()
