"""How well do the presets predict, beside trees and explainable boosting? Prints the tables of docs/accuracy.md.

    python -m venv .venv-bench && .venv-bench/bin/pip install -r benchmarks/accuracy_requirements.txt
    python benchmarks/accuracy.py world:categorical world:mixed --seeds 5 --peers .venv-bench/bin/python
    python benchmarks/accuracy.py world:categorical world:other --rows 5000 --test-rows 50000 --peers PYTHON
    python benchmarks/accuracy.py shoppers.csv:Revenue --seeds 5
    python benchmarks/accuracy.py adult_train.csv:income:adult_test.csv --seeds 3

A task is a kind of generated world or TABLE:LABEL[:TEST_TABLE]; roles are as inferred, and every method sees the same
training and test rows (DeepFM's stops by the validation rows, which the others do not use). Of worlds alone: `told`
solves main effects and cells for the planted pairs at their planted strengths, and `truth` is the logit that the labels
were drawn from. `--learned` prints the strongest pair that a model of ours learned and that was not planted, too, the
mean and the largest over worlds. Seconds are of processor time on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.guided import Strengths, planted_strengths, told
from benchmarks.other_worlds import other_world
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import Part, RunParts, load_parts
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.schema import FieldRole, Schema
from deepfm_core.spec.run import RunSpec
from deepfm_core.synthetic.worlds import CATEGORICAL, MIXED, MULTI_VALUED, World, make_world
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import ReadReport, Table

WORLDS: dict[str, Callable[[int, int], World]] = {
    "world:categorical": lambda rows, seed: make_world(rows, seed, CATEGORICAL),
    "world:mixed": lambda rows, seed: make_world(rows, seed, MIXED),
    "world:multi-valued": lambda rows, seed: make_world(rows, seed, MULTI_VALUED),
    "world:other": other_world,
    "world:none": lambda rows, seed: make_world(rows, seed, CATEGORICAL.without_interactions()),
    "world:other-none": lambda rows, seed: other_world(rows, seed, interactions=False),
}
OURS = ("recommended deepfm", "unguided deepfm", "paper deepfm", "quick deepfm", "recommended fm", "recommended lr")
"""A preset and a model. Unguided is the recommended preset without its guide."""
KNOWING = ("told", "truth")
OURS_FIRST = "recommended deepfm"
"""What the others are compared with, within each seed."""
SCORES = ("auc", "logloss")
PEERS = ("gradient-boosting", "xgboost", "lightgbm", "ebm")


@dataclass(frozen=True)
class Task:
    """One division of a table: what the methods learn from and are judged by."""

    name: str
    seed: int
    schema: Schema
    parts: RunParts
    world: World | None = None


@dataclass(frozen=True)
class Found:
    """What a method found: (M,) logits of the test rows, its seconds, and the strength of its strongest false pair."""

    logits: NDArray[np.float64]
    seconds: float
    false_pair: float = float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--seeds", type=int, default=3, help="worlds, or divisions of a table")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=20_000, help="of a world, all parts together")
    parser.add_argument(
        "--test-rows", type=int, default=0, help="of a world, drawn beside --rows; otherwise a tenth tests"
    )
    parser.add_argument("--methods", nargs="+", default=[*OURS, *KNOWING, *PEERS], metavar="METHOD")
    parser.add_argument("--learned", action="store_true", help="measure what a model learned of pairs not planted")
    parser.add_argument("--peers", default=sys.executable, help="python of the environment the peers are installed in")
    parser.add_argument("--results", type=Path, help="CSV file that results are added to")
    options = parser.parse_args()
    results = []
    for name in options.tasks:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            task = division(name, seed, options.rows, options.test_rows)
            for result in evaluated(task, options.methods, options.peers, options.learned):
                results.append({"task": task.name, "seed": seed} | result)
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
                if options.results:
                    header = not options.results.exists()
                    pd.DataFrame(results[-1:]).to_csv(options.results, mode="a", index=False, header=header)
    print(markdown(pd.DataFrame(results)))


def division(name: str, seed: int, rows: int, test_rows: int) -> Task:
    """Make the task's table, and divide its rows by the seed."""
    test, world = None, None
    if name in WORLDS:
        world = WORLDS[name](rows + test_rows, seed)
        frame, label = world.frame.astype(str).astype("category"), "click"
        table = Table(name, frame[:rows], ReadReport())
        test = Table("test", frame[rows:].reset_index(drop=True), ReadReport()) if test_rows else None
    else:
        path, label, *test_path = name.split(":")
        name = Path(path).name
        table, test = read_table(Path(path)), read_table(Path(test_path[0])) if test_path else None
    schema = infer_schema(table, label)
    spec = RunSpec("main", name, schema, test_table="test" if test else None, seed=seed)
    parts = load_parts(spec, lambda which: test if which == "test" and test else table)
    return Task(name, seed, schema, parts, world)


def evaluated(task: Task, methods: list[str], peers: str, learned: bool) -> Iterator[dict[str, Any]]:
    """Fit each method and judge its logits on the test rows."""
    labels = task.parts.test.labels
    for method in methods:
        if method in KNOWING:
            if task.world is None or (method == "told" and not planted_strengths(task.world)):
                continue
            found = knowing(task, task.world, method)
        else:
            found = own(task, method, learned) if method in OURS else peer(task, method, peers)
        yield {
            "method": method,
            "auc": auc(labels, found.logits),
            "logloss": logloss(labels, found.logits),
            "cpu_seconds": found.seconds,
            "false_pair": found.false_pair,
        }


def knowing(task: Task, world: World, method: str) -> Found:
    """Predict as somebody does who knows the planted pairs and strengths, or the true logits."""
    test = task.parts.test
    if method == "truth":
        logits = world.truth.parts["logit"].to_numpy()
        before = len(logits) - len(test.table.frame)  # 0 where the test rows are of the same table
        return Found(logits[before + test.rows], 0.0)
    began = time.process_time()
    logits = told(encoded(task), planted_strengths(world))
    return Found(logits, time.process_time() - began)


def encoded(task: Task) -> tuple[EncodedTable, EncodedTable, EncodedTable]:
    """Encode the parts with the vocabularies of the training rows."""
    parts = task.parts
    encoder = Encoder.fit(parts.train.table.frame, task.schema, rows=parts.train.rows)
    train, valid, test = (part.encode(encoder) for part in (parts.train, parts.valid, parts.test))
    return train, valid, test


def own(task: Task, method: str, learned: bool) -> Found:
    """Encode and train with a preset."""
    import torch

    from deepfm_core.spec.presets import preset
    from deepfm_core.training.fit import fit, predict_logits
    from deepfm_core.training.state import FitState

    torch.set_num_threads(1)
    began = time.process_time()
    train, valid, test = encoded(task)
    preset_name, model_name = method.split()
    guided = preset_name != "unguided"
    model_spec, fit_spec = preset(preset_name if guided else "recommended", model_name, len(train), guided=guided)
    state = FitState.new(train.layout, model_spec, fit_spec, task.seed)
    for _ in fit(fit_spec, train, valid, state):
        pass
    logits, seconds = predict_logits(state.model, test), time.process_time() - began
    if not (learned and task.world):
        return Found(logits, seconds)
    return Found(logits, seconds, strongest_false_pair(state.model, train, planted_strengths(task.world)))


def strongest_false_pair(model: DeepFM, train: EncodedTable, planted: Strengths) -> float:
    """Measure the purified strength of the strongest pair that was not planted, as a run does."""
    from deepfm_core.explain.frames import sample_rows
    from deepfm_core.explain.learned import learned_pairs
    from deepfm_core.runs.explain_stage import SAMPLE_ROWS, network_sample

    sample = sample_rows(train, 0, SAMPLE_ROWS)
    rows, background = network_sample(model, sample)
    found = learned_pairs(model, sample, network_rows=rows, background=background).whole
    pairs = combinations(train.layout.names, 2)
    return max(float(each) for pair, each in zip(pairs, found, strict=True) if frozenset(pair) not in planted)


def peer(task: Task, method: str, python: str) -> Found:
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
    return Found(np.log(p / (1 - p)), float(found["seconds"]))


def columns_for_peers(task: Task) -> dict[str, NDArray[Any]]:
    """Give numbers as they are, a column of 0 and 1 for each of several values, all else as codes of the texts."""
    columns, nominal = [], []
    for role in task.schema.used:
        found = (
            _several(task.parts, role)
            if role.kind.is_several
            else [_column(task.parts, role.column, role.kind.is_number)]
        )
        columns += found
        nominal += [not role.kind.is_number] * len(found)
    return {
        "train": np.stack([train for train, _ in columns], axis=1),
        "test": np.stack([test for _, test in columns], axis=1),
        "nominal": np.array(nominal),
        "labels": task.parts.train.labels,
    }


def _several(parts: RunParts, role: FieldRole) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Give a column for each value: whether a row has it."""
    train, test = (
        _texts(part, role.column).str.get_dummies(role.separator or "|") for part in (parts.train, parts.test)
    )
    held = test.reindex(columns=train.columns, fill_value=0)
    return [(train[value].to_numpy(np.float64), held[value].to_numpy(np.float64)) for value in train.columns]


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
            f"| | test AUC | less that of {OURS_FIRST} | logloss | less that of {OURS_FIRST} | CPU seconds |",
            "|---" * 6 + "|",
        ]
        for method, row in means.iterrows():
            less = {
                score: _paired(here.pivot(index="seed", columns="method", values=score), str(method))
                for score in SCORES
            }
            cells = f"{row.auc:.4f} | {less['auc']} | {row.logloss:.4f} | {less['logloss']} | {row.cpu_seconds:.1f}"
            lines.append(f"| {method} | {cells} |")
        lines.append("")
        false = here.dropna(subset=["false_pair"]).groupby("method", sort=False)["false_pair"]
        lines += [f"Strongest false pair of {m}: mean {one.mean():.3f}, largest {one.max():.3f}" for m, one in false]
    return "\n".join(lines)


def _paired(scores: pd.DataFrame, method: str) -> str:
    """Say the mean difference within seeds, with its standard error over seeds."""
    if method == OURS_FIRST or OURS_FIRST not in scores:
        return ""
    less = (scores[method] - scores[OURS_FIRST]).dropna()
    error = f" ± {less.std() / np.sqrt(len(less)):.4f}" if len(less) > 1 else ""
    return f"{less.mean():+.4f}{error}"


if __name__ == "__main__":
    main()
