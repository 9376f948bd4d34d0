"""Fits a table like the public benchmark of app usage beside FuxiCTR, by the benchmarks' settings.

    python benchmarks/plateau.py --seeds 3 --peers .venv-bench-fit/bin/python

Two ids of 1,000 and 4,000 values and eight fields of context. A user has few apps, most of them popular ones, and which
of them is used depends on the context. For each use two other apps are drawn that were not used then. The settings are
the benchmarks': 400-400-400, batch normalisation, dropout .2, embedding L2 .05, batch 4,096, rate 1e-3, patience 2. The
peers' environment is that of `benchmarks/fit.py`. All see the same rows and parts. Seconds are of processor time.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable, Layout
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.state import FitState

SIZES = (1000, 4000, 7, 2, 2, 9, 80, 230, 24, 4)
TEST_ROWS = 30_000
MODEL = ModelSpec(embedding_size=10, layers=(400, 400, 400), dropout=0.2, batch_norm=True, embedding_sd=1e-4)
FIT = FitSpec(
    epochs=60,
    patience=2,
    batch_size=4096,
    learning_rate=1e-3,
    l2=0.05,  # FuxiCTR's "embedding" L2 falls on first-order weights as well
    embedding_l2=0.05,
    reduce_on_plateau="auc",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000, help="of the training part; a seventh of that validates")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peers", help="python of the environment FuxiCTR is installed in")
    parser.add_argument("--fits", nargs="+", default=[*OURS][:2], choices=[*OURS], metavar="FIT")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for seed in range(options.seeds):
        for result in fitted(options.rows, seed, options.fits, options.peers):
            results.append(result)
            print(json.dumps(result), file=sys.stderr, flush=True)
    print(markdown(pd.DataFrame(results)))


def markdown(results: pd.DataFrame) -> str:
    """Lay out each fit's AUC a seed, and the means."""
    lines = [
        "| fit | " + " | ".join(f"seed {seed}" for seed in results["seed"].unique()) + " | mean | logloss | seconds |"
    ]
    lines.append("|---" * (results["seed"].nunique() + 4) + "|")
    for name, own in results.groupby("fit", sort=False):
        cells = [*(f"{value:.4f}" for value in own["auc"]), f"{own['auc'].mean():.4f}"]
        cells += [f"{own['logloss'].mean():.4f}", f"{own['seconds'].mean():.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw ids within fields (N, 10) and labels (N,): `rows` to train on, a seventh to validate, and test rows."""
    rng = np.random.default_rng(seed)
    users, apps = SIZES[:2]
    total = rows + rows // 7 + TEST_ROWS
    uses = -(-total // 3)
    popular = np.arange(1, apps + 1) ** -1.0
    context = np.stack([rng.integers(0, size, uses) for size in SIZES], 1)
    context[:, 0] = rng.choice(users, uses, p=_shares(np.arange(1, users + 1) ** -0.6))
    own = np.stack([rng.choice(apps, 15, replace=False, p=_shares(popular)) for _ in range(users)])
    habits, fits = rng.gumbel(size=(users, 15)), [rng.normal(0, 0.7, (apps, 3)) for _ in SIZES[2:]]
    styles = [rng.normal(size=(size, 3)) for size in SIZES[2:]]
    candidates = own[context[:, 0]]
    utility = habits[context[:, 0]] + rng.gumbel(size=candidates.shape)
    for field, (fit_, style) in enumerate(zip(fits, styles, strict=True), 2):
        utility += (fit_[candidates] * style[context[:, field]][:, None]).sum(2) / 3**0.5
    context[:, 1] = candidates[np.arange(uses), utility.argmax(1)]
    ids = np.repeat(context, 3, axis=0)
    labels = np.tile([1.0, 0.0, 0.0], uses).astype(np.float32)
    used = context[:, 1].repeat(2)
    ids[labels == 0, 1] = (used + rng.integers(1, apps, 2 * uses)) % apps
    renamed = rng.permutation(apps)  # so that an app's number says nothing of how popular it is
    ids[:, 1] = renamed[ids[:, 1]]
    order = rng.permutation(len(ids))[:total]
    return ids[order].astype(np.int32), labels[order]


def _shares(weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights / weights.sum())


def fitted(rows: int, seed: int, fits: list[str], peers: str | None) -> Iterator[dict[str, Any]]:
    """Let each fit learn the same rows."""
    ids, labels = table(rows, seed)
    cuts = [rows, rows + rows // 7]
    whole = EncodedTable(
        _layout(), (ids + _offsets()).astype(np.int32), None, np.zeros((len(ids), 0), np.float32), labels
    )
    parts = [whole.take(part) for part in np.split(np.arange(len(ids)), cuts)]
    for name in fits:
        yield {"fit": name, "seed": seed, **ours(parts, *OURS[name](rows), seed)}
    if peers:
        yield {"fit": "FuxiCTR", "seed": seed, **fuxictr(ids, labels, cuts, seed, peers)}


def _offsets() -> np.ndarray:
    return np.concatenate([[0], np.cumsum(SIZES)])[:-1]


def _layout() -> Layout:
    fields = [
        EncodedField(f"f{n}", f"f{n}", Kind.CATEGORICAL, n, 1, int(offset), size, [str(i) for i in range(size)], None)
        for n, (offset, size) in enumerate(zip(_offsets(), SIZES, strict=True))
    ]
    return Layout(tuple(fields), ())


OURS: dict[str, Callable[[int], tuple[ModelSpec, FitSpec]]] = {
    "the benchmark's settings": lambda rows: (MODEL, FIT),
    "recommended": lambda rows: preset("recommended", "deepfm", rows),
    "the benchmark's, never reduced": lambda rows: (MODEL, replace(FIT, reduce_on_plateau="never")),
    "the benchmark's, by logloss": lambda rows: (MODEL, replace(FIT, reduce_on_plateau="logloss")),
}


def ours(parts: list[EncodedTable], model: ModelSpec, settings: FitSpec, seed: int) -> dict[str, Any]:
    """Fit by the library."""
    train, valid, test = parts
    began = time.process_time()
    state = FitState.new(train.layout, model, settings, seed)
    for _ in fit(settings, train, valid, state):
        pass
    seconds = time.process_time() - began
    logits, labels = predict_logits(state.model, test), np.asarray(test.labels)
    found = {"auc": auc(labels, logits), "logloss": logloss(labels, logits), "seconds": seconds}
    return {**found, "epochs": state.epoch, "best": state.best_epoch}


def fuxictr(ids: np.ndarray, labels: np.ndarray, cuts: list[int], seed: int, peers: str) -> dict[str, Any]:
    """Fit by FuxiCTR, in a process of its own."""
    job: dict[str, Any] = {"rows_train": cuts[0], "rows_valid": cuts[1] - cuts[0], "threads": 1, "seed": seed}
    job |= {"batch_size": FIT.batch_size, "learning_rate": FIT.learning_rate, "epochs": FIT.epochs}
    job |= {"patience": FIT.patience, "embedding_l2": FIT.l2_embeddings, "embedding_size": MODEL.embedding_size}
    job |= {"layers": MODEL.layers, "dropout": MODEL.dropout, "batch_norm": MODEL.batch_norm}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "table.npz", ids=ids, labels=labels, sizes=SIZES)
        (Path(folder) / "job.json").write_text(json.dumps(job))
        command = [peers, str(Path(__file__).with_name("fit_peers.py")), "fuxictr", folder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"FuxiCTR has failed.\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    per_epoch = -(-cuts[0] // FIT.batch_size)
    return {k: found[k] for k in ("auc", "logloss")} | {
        "seconds": found["cpu"],
        "epochs": found["steps"] // per_epoch,
    }


if __name__ == "__main__":
    main()
