"""Does each model learn what it can express, and no more? Prints the table of docs/accuracy.md.

    python benchmarks/models_on_truth.py --seeds 3

Three kinds of generated world, whose true logits are known: main effects only; main effects and pairs; a
three-way parity, of which no field and no pair shows anything. Every model trains with the recommended preset on the
same rows and stops by the same ones. The figure is the share of the gap between the click rate's logloss and the
truth's own that a model closes on the test rows: 100% is the truth, 0% knows the click rate alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.metrics.bootstrap import logloss_difference
from deepfm_core.metrics.scores import base_logloss, logloss
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.spec.run import MODEL_NAMES
from deepfm_core.synthetic.worlds import Effects, World, WorldSpec, assemble, categorical, make_world, pure_three_way

Values = NDArray[np.float64]

TRAIN, VALID = 0.4, 0.1
"""Shares of a world's rows; the rest are test rows, many so that small differences show."""
PAIRS = WorldSpec(fields=8, levels=(3, 12), pairs=3, strengths=(0.5, 0.9), shape="low-rank", three_way=0.0)
PARITY = 1.2
"""Standard deviation of the parity over rows, in log-odds."""


@dataclass(frozen=True)
class Task:
    """One world's encoded parts, with the test rows' true logits and the training part's click rate."""

    train: EncodedTable
    valid: EncodedTable
    test: EncodedTable
    truth: Values
    click_rate: float


def parity_world(rows: int, seed: int) -> World:
    """Draw eight fields, of which three decide by a parity of their levels and nothing else does."""
    rng = np.random.default_rng([seed, 3])
    columns = [
        categorical(f"f{number + 1:02d}", rng.normal(size=rows), 0.3, int(rng.integers(2, 5))) for number in range(8)
    ]
    three = columns[0], columns[3], columns[6]
    odd = np.sum([column.codes % 2 for column in three], axis=0) % 2
    parity = pure_three_way(odd * 2.0 - 1.0, three, PARITY)
    effects = Effects({}, {}, tuple(column.name for column in three), parity)
    return assemble(columns, effects, 0.3, rng)


WORLDS: dict[str, Callable[[int, int], World]] = {
    "main effects": lambda rows, seed: make_world(rows, seed, PAIRS.without_interactions()),
    "pairs": lambda rows, seed: make_world(rows, seed, PAIRS),
    "three-way parity": parity_world,
}


def divided(world: World, seed: int) -> Task:
    """Divide a world's rows and encode them."""
    frame = world.frame.astype(str).astype("category")
    order = np.random.default_rng(seed).permutation(len(frame))
    first, second = int(TRAIN * len(frame)), int((TRAIN + VALID) * len(frame))
    parts = [frame.take(rows) for rows in (order[:first], order[first:second], order[second:])]
    roles = tuple(FieldRole(name, kind) for name, kind in world.kinds.items())
    encoder = Encoder.fit(parts[0], Schema(LabelRole("click", "1", "0"), roles))
    train, valid, test = (encoder.encode_with_labels(part, subject="world") for part in parts)
    truth = world.truth.parts["logit"].to_numpy()[order[second:]]
    assert train.labels is not None
    return Task(train, valid, test, truth, float(train.labels.mean()))


def logits_of(task: Task, model_name: str, seed: int) -> Values:
    """Train a model with the recommended preset and give the test rows' logits."""
    from deepfm_core.spec.presets import preset
    from deepfm_core.training.fit import fit, predict_logits
    from deepfm_core.training.state import FitState

    model, settings = preset("recommended", model_name, len(task.train))
    state = FitState.new(task.train.layout, model, settings, seed)
    for _ in fit(settings, task.train, task.valid, state):
        pass
    return predict_logits(state.model, task.test)


def results(worlds: list[str], models: list[str], rows: int, seeds: int) -> Iterator[dict[str, object]]:
    """Train every model on every world."""
    for name in worlds:
        for seed in range(seeds):
            task = divided(WORLDS[name](rows, seed), seed)
            labels = task.test.labels
            assert labels is not None
            floor, ceiling = logloss(labels, task.truth), base_logloss(labels, task.click_rate)
            linear = logits_of(task, "lr", seed)
            for model in models:
                logits = linear if model == "lr" else logits_of(task, model, seed)
                found = {"closed": (ceiling - logloss(labels, logits)) / (ceiling - floor), "logloss": floor}
                against = logloss_difference(labels, logits, linear)
                half = (against.high - against.low) / 2
                yield {"world": name, "seed": seed, "model": model, "less": against.value, "half": half, **found}


def markdown(frame: pd.DataFrame) -> str:
    """Lay the means over seeds out: the share closed, and the logloss less LR's with the interval of the mean."""
    worlds = list(dict.fromkeys(frame["world"]))
    lines = ["| | " + " | ".join(f"{world} | logloss less LR's" for world in worlds) + " |"]
    lines.append("|---" * (1 + 2 * len(worlds)) + "|")
    for model, own in frame.groupby("model", sort=False):
        cells = []
        for world in worlds:
            here = own[own["world"] == world]
            half = float(np.sqrt((here["half"] ** 2).sum()) / len(here))
            cells.append(f"{here['closed'].mean():.1%}")
            cells.append("" if model == "lr" else f"{here['less'].mean():+.4f} ± {half:.4f}")
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="worlds of each kind")
    parser.add_argument("--rows", type=int, default=60_000, help="of a world, all parts together")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS), metavar="WORLD")
    parser.add_argument("--models", nargs="+", default=list(MODEL_NAMES), choices=MODEL_NAMES, metavar="MODEL")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    found = []
    for result in results(options.worlds, options.models, options.rows, options.seeds):
        found.append(result)
        print(result, file=sys.stderr, flush=True)
    print(markdown(pd.DataFrame(found)))


if __name__ == "__main__":
    main()
