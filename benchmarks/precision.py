"""What bfloat16 products cost in accuracy and gain in time. Prints a table of docs/benchmarks.md.

    python benchmarks/precision.py sample_data/clicks.csv:clicked shoppers.csv:Revenue \
        adult_train.csv:income:adult_test.csv criteo --seeds 5

A task is TABLE:LABEL[:TEST_TABLE] with roles as inferred, or `criteo`: a generated table of its shape. Both precisions
have the same division, the same start and the same order of batches; the division changes with the seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accuracy import Task, division
from fit import Job, encoded, write_table

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.state import FitState

CRITEO = Job(39, 1_000_000, 160_000, 40_000, 4096, (400, 400, 400), 2)


@dataclass(frozen=True)
class Trial:
    """What is fitted in both precisions."""

    name: str
    seed: int
    parts: tuple[EncodedTable, EncodedTable, EncodedTable]
    model: ModelSpec
    settings: FitSpec


def trials(task: str, seed: int, folder: Path) -> Iterator[Trial]:
    """Give the trials of a task: two presets of a table of rows, the paper's network on the generated one."""
    if task == "criteo":
        model = ModelSpec(embedding_size=CRITEO.embedding_size, layers=CRITEO.layers)
        settings = FitSpec(epochs=CRITEO.epochs, patience=CRITEO.epochs, batch_size=CRITEO.batch_size, l2=0.0)
        yield Trial("Criteo-shaped", seed, _generated(folder, seed), model, settings)
        return
    divided = division(task, seed, 0)
    parts = _encoded(divided)
    for name in ("recommended", "paper"):
        model, settings = preset(name, "deepfm", len(parts[0]))
        widths = "-".join(map(str, model.layers))
        yield Trial(f"{divided.name}, {name} ({widths})", seed, parts, model, settings)


def _encoded(task: Task) -> tuple[EncodedTable, EncodedTable, EncodedTable]:
    parts = task.parts
    encoder = Encoder.fit(parts.train.table.frame, task.schema, rows=parts.train.rows)
    return parts.train.encode(encoder), parts.valid.encode(encoder), parts.test.encode(encoder)


def _generated(folder: Path, seed: int) -> tuple[EncodedTable, EncodedTable, EncodedTable]:
    if not (folder / "table.npz").exists():
        write_table(CRITEO, folder)
    table: EncodedTable = encoded(folder)
    train, valid, test = np.split(np.random.default_rng(seed).permutation(len(table)), [160_000, 180_000])
    return table.take(train), table.take(valid), table.take(test)


def fitted(trial: Trial, precision: str) -> dict[str, float | None]:
    """Fit in one precision and judge the test rows."""
    train, valid, test = trial.parts
    began = time.perf_counter()
    settings = replace(trial.settings, precision=precision)
    state = FitState.new(train.layout, trial.model, settings, trial.seed)
    for _ in fit(settings, train, valid, state):
        pass
    seconds = time.perf_counter() - began
    logits = predict_logits(state.model, test)
    assert test.labels is not None
    return {"seconds": seconds, "auc": auc(test.labels, logits), "logloss": logloss(test.labels, logits)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task in options.tasks:
            for seed in range(options.seeds):
                for trial in trials(task, seed, Path(folder)):
                    full, half = fitted(trial, "float32"), fitted(trial, "bfloat16")
                    rows.append({"task": trial.name, **full, **{f"half_{name}": half[name] for name in half}})
                    print(rows[-1], file=sys.stderr, flush=True)
    print(markdown(pd.DataFrame(rows)))


def markdown(rows: pd.DataFrame) -> str:
    """Give a line a trial: means, the mean and the largest difference, and the median ratio of seconds."""
    head = ("test AUC, float32", "bfloat16 less float32: mean, largest", "logloss", "mean, largest", "time, ratio")
    lines = [f"| | {' | '.join(head)} |", "|---|---|---|---|---|---|"]
    for task, of in rows.groupby("task", sort=False):
        cells = [str(task)]
        for name in ("auc", "logloss"):
            difference = of[f"half_{name}"] - of[name]
            largest = difference[difference.abs().idxmax()]
            cells += [f"{of[name].mean():.4f}", f"{difference.mean():+.5f}, {largest:+.5f}"]
        cells.append(f"{(of['seconds'] / of['half_seconds']).median():.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines).replace("-0.", "−0.")


if __name__ == "__main__":
    main()
