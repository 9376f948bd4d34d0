"""What patience saves, and what it costs: tables of docs/decisions/036, of guided models, and 038, of others.

    python benchmarks/patience.py world:categorical world:other --rows 20000 --seeds 3
    python benchmarks/patience.py sample_data/clicks.csv:clicked --seeds 3
    python benchmarks/patience.py sample_data/clicks.csv:clicked --steps 100 200 --models lr fm dnn --rows 200 --seeds 8

Each division of each task is trained twice by the recommended preset: with eight epochs of patience that any gain
begins anew, and as the preset says. Both fits begin alike, so where they keep the same epoch they are the same model.
Tasks are those of `benchmarks/accuracy.py`, and `parity`, a world whose only effect is of three fields.

With `--steps`, models without a guide are trained, once each: a fit with less patience is the beginning of one with
more, so each rule is read from the most patient fit. The differences are those from three epochs, within divisions.
Of a table, `--rows` are drawn by the seed, a tenth of them to stop by, and `--test-rows` others to test.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accuracy import WORLDS, division, encoded
from benchmarks.accuracy import Task as Division
from benchmarks.models_on_truth import divided, parity_world
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.splits import load_parts
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.events import EpochDone
from deepfm_core.spec.presets import GUIDED_PATIENCE, PATIENCE, preset
from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec, RunSpec
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import ReadReport, Table
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.state import FitState

Encoded = tuple[EncodedTable, EncodedTable, EncodedTable]
ONE_PHASE = tuple(name for name in MODEL_NAMES if name != "fnn")
"""Models whose fit with less patience is the beginning of one with more."""
read = lru_cache(read_table)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--test-rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="+", help="patience in steps, three epochs at least")
    parser.add_argument("--models", nargs="+", default=["lr", "fm"], choices=ONE_PHASE, help="with --steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.steps:
        torch.set_flush_denormal(True)
        print(markdown(read_off(options)))
        return
    print("| task | seed | epochs | kept | CPU s | test logloss | test AUC |\n|---|---|---|---|---|---|---|")
    for name in options.tasks:
        for seed in range(options.seeds):
            tables = tables_of(name, seed, options.rows, options.test_rows)
            print(f"| {Path(name).name} | {seed} | {compared(tables, seed)} |", flush=True)


class Stopped(NamedTuple):
    """Where a rule ends a fit: the epochs trained, the one kept, and its logloss on the test rows."""

    epochs: int
    kept: int
    logloss: float


def read_off(options: argparse.Namespace) -> pd.DataFrame:
    """Train each model on each division, and read every rule from its fit: a line a model and rule, over divisions."""
    lines = []
    for name in options.tasks:
        for seed in range(options.seeds):
            in_memory = name == "parity" or name in WORLDS
            make = tables_of if in_memory else drawn
            tables = make(name, seed, options.rows, options.test_rows)
            for model in options.models:
                three, *rules = waited(tables, model, [0, *options.steps], seed)
                for steps, found in zip([0, *options.steps], [three, *rules], strict=True):
                    less = found.logloss - three.logloss
                    lines.append({"model": model, "steps": steps, **found._asdict(), "less": less})
                    print(name, seed, *lines[-1].values(), file=sys.stderr, flush=True)
    return pd.DataFrame(lines)


def waited(tables: Encoded, model_name: str, rules: Sequence[int], seed: int) -> list[Stopped]:
    """Train once with the most patience, and say where each patience in steps would have stopped."""
    train, valid, test = tables
    assert test.labels is not None
    model, spec = preset("recommended", model_name, len(train), guided=False)
    steps = math.ceil(len(train) / spec.batch_size)
    patience = [max(PATIENCE, math.ceil(each / steps)) for each in rules]
    spec = replace(spec, patience=max(patience))
    state, better = FitState.new(train.layout, model, spec, seed), list[tuple[int, float]]()
    for event in fit(spec, train, valid, state):
        if isinstance(event, EpochDone) and event.best:
            better.append((event.epoch, logloss(test.labels, predict_logits(state.model, test))))
    return [stopped(better, each, spec.epochs) for each in patience]


def stopped(better: Sequence[tuple[int, float]], patience: int, most: int) -> Stopped:
    """Follow the epochs that were better than all before them until patience ends."""
    kept, score = better[0]
    for epoch, found in better[1:]:
        if epoch - kept > patience:
            break
        kept, score = epoch, found
    return Stopped(min(kept + patience, most), kept, score)


def markdown(lines: pd.DataFrame) -> str:
    """Lay the means over divisions out, with the standard error of the differences."""
    rows = [
        "| model | patience | epochs | kept | test logloss | less that of three epochs |\n|---|---|---|---|---|---|"
    ]
    for (model, steps), one in lines.groupby(["model", "steps"], sort=False):
        error = float(one["less"].std() / np.sqrt(len(one)))
        less = f"{one['less'].mean():+.4f} ± {error:.4f}" if steps else ""
        said = f"{steps} steps" if steps else f"{PATIENCE} epochs"
        means = f"{one['epochs'].mean():.0f} | {one['kept'].mean():.0f} | {one['logloss'].mean():.4f}"
        rows.append(f"| {model} | {said} | {means} | {less} |")
    return "\n".join(rows)


def drawn(name: str, seed: int, rows: int, test_rows: int) -> Encoded:
    """Draw rows of a table by the seed, and others to test, and encode the parts."""
    path, label = name.split(":")[:2]
    frame = read(Path(path)).frame
    order = np.random.default_rng(seed).permutation(len(frame))
    parts = [frame.take(order[part]).reset_index(drop=True) for part in (slice(rows), slice(rows, rows + test_rows))]
    table, test = (
        Table(Path(path).name, part.apply(lambda column: column.cat.remove_unused_categories()), ReadReport())
        for part in parts
    )
    schema = infer_schema(table, label)
    spec = RunSpec("main", name, schema, test_table="test", seed=seed)
    own = load_parts(spec, lambda which: test if which == "test" else table)
    return encoded(Division(name, seed, schema, own))


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
