"""How well do the presets predict, beside trees and explainable boosting? Prints the tables of docs/accuracy.md.

    python -m venv .venv-bench && .venv-bench/bin/pip install -r benchmarks/accuracy_requirements.txt
    python benchmarks/accuracy.py world:categorical world:mixed --seeds 5 --peers .venv-bench/bin/python
    python benchmarks/accuracy.py shoppers.csv:Revenue --seeds 5
    python benchmarks/accuracy.py adult_train.csv:income:adult_test.csv --seeds 3

A task is a kind of generated world or TABLE:LABEL[:TEST_TABLE]; roles are as inferred, and every method sees the same
training and test rows (DeepFM's stops by the validation rows, which the others do not use). Seconds are of processor
time on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import Part, RunParts, load_parts
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import RunSpec
from deepfm_core.synthetic.worlds import CATEGORICAL, MIXED, make_world
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import ReadReport, Table

WORLDS = {"world:categorical": CATEGORICAL, "world:mixed": MIXED}
OURS = ("recommended deepfm", "paper deepfm", "quick deepfm", "recommended fm", "recommended lr")
PEERS = ("gradient-boosting", "xgboost", "lightgbm", "ebm")


@dataclass(frozen=True)
class Task:
    """One division of a table: what the methods learn from and are judged by."""

    name: str
    seed: int
    schema: Schema
    parts: RunParts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--seeds", type=int, default=3, help="worlds, or divisions of a table")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=20_000, help="of a world, all parts together")
    parser.add_argument("--methods", nargs="+", default=[*OURS, *PEERS], metavar="METHOD")
    parser.add_argument("--peers", default=sys.executable, help="python of the environment the peers are installed in")
    parser.add_argument("--results", type=Path, help="CSV file that results are added to")
    options = parser.parse_args()
    results = []
    for name in options.tasks:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            task = division(name, seed, options.rows)
            for result in evaluated(task, options.methods, options.peers):
                results.append({"task": task.name, "seed": seed} | result)
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
                if options.results:
                    header = not options.results.exists()
                    pd.DataFrame(results[-1:]).to_csv(options.results, mode="a", index=False, header=header)
    print(markdown(pd.DataFrame(results)))


def division(name: str, seed: int, rows: int) -> Task:
    """Make the task's table, and divide its rows by the seed."""
    test = None
    if name in WORLDS:
        world = make_world(rows, seed, WORLDS[name])
        table, label = Table(name, world.frame.astype(str).astype("category"), ReadReport()), "click"
    else:
        path, label, *test_path = name.split(":")
        name = Path(path).name
        table, test = read_table(Path(path)), read_table(Path(test_path[0])) if test_path else None
    schema = infer_schema(table, label)
    spec = RunSpec("main", name, schema, test_table="test" if test else None, seed=seed)
    parts = load_parts(spec, lambda which: test if which == "test" and test else table)
    return Task(name, seed, schema, parts)


def evaluated(task: Task, methods: list[str], peers: str) -> Iterator[dict[str, Any]]:
    """Fit each method and judge its logits on the test rows."""
    labels = task.parts.test.labels
    for method in methods:
        logits, seconds = own(task, *method.split()) if method in OURS else peer(task, method, peers)
        yield {
            "method": method,
            "auc": auc(labels, logits),
            "logloss": logloss(labels, logits),
            "cpu_seconds": seconds,
        }


def own(task: Task, preset_name: str, model_name: str) -> tuple[NDArray[np.float64], float]:
    """Encode and train with a preset."""
    import torch

    from deepfm_core.spec.presets import preset
    from deepfm_core.training.fit import fit, predict_logits
    from deepfm_core.training.state import FitState

    torch.set_num_threads(1)
    began = time.process_time()
    parts = task.parts
    encoder = Encoder.fit(parts.train.table.frame, task.schema, rows=parts.train.rows)
    train, valid, test = (part.encode(encoder) for part in (parts.train, parts.valid, parts.test))
    model_spec, fit_spec = preset(preset_name, model_name, len(train))
    state = FitState.new(train.layout, model_spec, fit_spec, task.seed)
    for _ in fit(fit_spec, train, valid, state):
        pass
    return predict_logits(state.model, test), time.process_time() - began


def peer(task: Task, method: str, python: str) -> tuple[NDArray[np.float64], float]:
    """Train a peer in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.npz"
        np.savez(path, allow_pickle=False, **columns_for_peers(task))
        script = Path(__file__).with_name("accuracy_peers.py")
        command = [python, str(script), str(path), method]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)[method]
    p = np.clip(np.array(found["probabilities"]), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p)), float(found["seconds"])


def columns_for_peers(task: Task) -> dict[str, NDArray[Any]]:
    """Give numbers as they are, and everything else as codes of the texts."""
    used = [role for role in task.schema.roles if role in task.schema.used]
    columns = [_column(task.parts, role.column, role.kind.is_number) for role in used]
    return {
        "train": np.stack([train for train, _ in columns], axis=1),
        "test": np.stack([test for _, test in columns], axis=1),
        "nominal": np.array([not role.kind.is_number for role in used]),
        "labels": task.parts.train.labels,
    }


def _column(parts: RunParts, column: str, number: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    train, test = (_texts(part, column) for part in (parts.train, parts.test))
    if number:
        return tuple(pd.to_numeric(cells, errors="coerce").to_numpy(np.float64) for cells in (train, test))  # type: ignore[return-value]
    values = sorted(set(train) | set(test))
    return tuple(pd.Categorical(cells, categories=values).codes.astype(np.float64) for cells in (train, test))  # type: ignore[return-value]


def _texts(part: Part, column: str) -> pd.Series[str]:
    return part.table.frame[column].take(part.rows).astype(str).str.strip()


def markdown(results: pd.DataFrame) -> str:
    """Lay the means over seeds out as a table a task, best AUC first."""
    lines = []
    for task, here in results.groupby("task", sort=False):
        means = here.groupby("method")[["auc", "logloss", "cpu_seconds"]].mean().sort_values("auc", ascending=False)
        lines += [
            f"**{task}** ({here['seed'].nunique()} seeds)",
            "",
            "| | test AUC | logloss | CPU seconds |",
            "|---" * 4 + "|",
        ]
        for method, row in means.iterrows():
            lines.append(f"| {method} | {row.auc:.4f} | {row.logloss:.4f} | {row.cpu_seconds:.1f} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
