"""What is a guide worth? Prints the tables of docs/accuracy.md ("A model guided by its evidence").

    python benchmarks/guided.py categorical mixed none --seeds 5
    python benchmarks/guided.py categorical none --rows 5000 --seeds 5
    python benchmarks/guided.py parity embeddings --seeds 3

A world's first rows are the table (a tenth of them validates), 50,000 others are the test part. Every method has the
same rows. `told the truth` is the guide of somebody who knows which pairs were planted, and how strong they are: it
bounds what any evidence can give. Seconds are of processor time on one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.evidence.guide import GuidedPair, solve
from deepfm_core.metrics.scores import auc, logloss, sigmoid
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.infer import infer_schema
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import ModelSpec
from deepfm_core.synthetic.worlds import CATEGORICAL, MIXED, World, WorldSpec, make_world
from deepfm_core.tables.table import ReadReport, Table
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.guided import fixed_logits
from deepfm_core.training.state import FitState

TEST_ROWS = 50_000
Parts = tuple[EncodedTable, EncodedTable, EncodedTable]
Strengths = dict[frozenset[str], float]

SPECS: dict[str, WorldSpec] = {
    "categorical": CATEGORICAL,
    "mixed": MIXED,
    "none": CATEGORICAL.without_interactions(),
    "low-rank": replace(CATEGORICAL, shape="low-rank"),
    "few-cells": replace(CATEGORICAL, shape="few-cells"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="+", choices=[*SPECS, "parity", "embeddings"], metavar="WORLD")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name in options.worlds:
        for seed in range(options.seeds):
            parts, strengths, logits = made(name, options.rows, seed)
            for result in evaluated(parts, strengths, logits, seed):
                results.append({"world": name, "seed": seed} | result)
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    table = pd.DataFrame(results).groupby(["world", "method"], sort=False).mean(numeric_only=True).drop(columns="seed")
    print(markdown(table))


def markdown(table: pd.DataFrame) -> str:
    rows = (
        f"| {row.world} | {row.method} | {row.auc:.4f} | {row.logloss:.4f} | {row.cpu_seconds:.1f} |"
        for row in table.reset_index().itertuples(index=False)
    )
    return "\n".join(["| world | method | AUC | logloss | seconds |", "|---|---|---|---|---|", *rows])


def made(name: str, rows: int, seed: int) -> tuple[Parts, Strengths, np.ndarray]:
    """Make a world's parts, its planted strengths, and the true logits of its test rows."""
    total = rows + TEST_ROWS
    if name in SPECS:
        world = make_world(total, seed, SPECS[name])
        return _parts(world.frame, rows), planted_strengths(world), world.truth.parts["logit"].to_numpy()[rows:]
    rng = np.random.default_rng([seed, 7])
    frame, logit = (parity if name == "parity" else embeddings)(rng, total)
    frame["click"] = (rng.random(total) < sigmoid(logit)).astype(int)
    return _parts(frame, rows), {}, logit[rows:]


def parity(rng: np.random.Generator, rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw eight fields, three of which matter together alone: by whether the sum of their levels is odd."""
    x = rng.integers(0, 4, (rows, 8))
    main = rng.normal(0, 0.4, (8, 4))[np.arange(8), x].sum(1)
    frame = pd.DataFrame({f"f{k}": np.char.add("v", x[:, k].astype(str)) for k in range(8)})
    return frame, -1.2 + main + 1.0 - 2.0 * (x[:, :3].sum(1) % 2)


def embeddings(rng: np.random.Generator, rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw 1,000 users and 4,000 items whose interaction has rank three."""
    user, item = (rng.pareto(1.2, rows) * 20).astype(int) % 1000, (rng.pareto(1.0, rows) * 30).astype(int) % 4000
    taste, style = rng.normal(size=(1000, 3)), rng.normal(size=(4000, 3))
    logit = -0.8 + rng.normal(0, 0.6, 1000)[user] + rng.normal(0, 0.8, 4000)[item]
    logit += (taste[user] * style[item]).sum(1) / np.sqrt(3)
    names = {"user": np.char.add("u", user.astype(str)), "item": np.char.add("i", item.astype(str))}
    return pd.DataFrame({**names, "day": np.char.add("d", rng.integers(0, 7, rows).astype(str))}), logit


def _parts(frame: pd.DataFrame, rows: int) -> Parts:
    table = Table("world", frame.astype(str).astype("category"), ReadReport())
    schema = infer_schema(table, "click")
    places = np.split(np.arange(len(frame)), [round(rows * 0.9), rows])
    encoder = Encoder.fit(table.frame, schema, rows=places[0])
    labels = frame["click"].to_numpy(np.float32)
    coded = [encoder.encode(table.frame, rows=place, subject="world") for place in places]
    train, valid, test = (replace(part, labels=labels[place]) for part, place in zip(coded, places, strict=True))
    return train, valid, test


def planted_strengths(world: World) -> Strengths:
    """Give the strengths of the planted pairs."""
    planted = world.truth.pairs[world.truth.pairs["strength"] > 0]
    return {frozenset((a, b)): float(s) for a, b, s in planted.itertuples(index=False, name=None)}


def evaluated(parts: Parts, strengths: Strengths, logits: np.ndarray, seed: int) -> Iterator[dict[str, Any]]:
    """Fit each method and judge its logits on the test rows."""
    labels = np.asarray(parts[2].labels)
    methods: dict[str, Callable[[], np.ndarray]] = {
        "LR": lambda: trained(parts, seed, "lr", False),
        "recommended FM, not guided": lambda: trained(parts, seed, "fm", False),
        "recommended DeepFM, not guided": lambda: trained(parts, seed, "deepfm", False),
        "recommended DeepFM": lambda: trained(parts, seed, "deepfm", True),
        "told the truth": lambda: told(parts, strengths),
        "the truth itself": lambda: logits,
    }
    if not strengths:
        del methods["told the truth"]
    for name, method in methods.items():
        began = time.process_time()
        found = method()
        seconds = time.process_time() - began
        yield {"method": name, "auc": auc(labels, found), "logloss": logloss(labels, found), "cpu_seconds": seconds}


def trained(parts: Parts, seed: int, model_name: str, guided: bool) -> np.ndarray:
    """Train with the recommended preset."""
    train, valid, test = parts
    model_spec, fit_spec = preset("recommended", model_name, len(train), guided=guided)
    state = FitState.new(train.layout, model_spec, fit_spec, seed)
    for _ in fit(fit_spec, train, valid, state):
        pass
    return predict_logits(state.model, test)


def told(parts: Parts, strengths: Strengths) -> np.ndarray:
    """Solve main effects and cells for the planted pairs at their planted strengths."""
    train, _, test = parts
    names = train.layout.names
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    known = [GuidedPair(pair, strengths.get(frozenset((names[pair[0]], names[pair[1]])), 0.0)) for pair in pairs]
    model = DeepFM(train.layout, ModelSpec("deepfm", guided=True))
    model.start_from(solve(train, [pair for pair in known if pair.strength]))
    return fixed_logits(model, Batch.held(test)).double().numpy()


if __name__ == "__main__":
    main()
