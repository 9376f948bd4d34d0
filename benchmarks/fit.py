"""A whole fit of DeepFM beside the peers' on the same table. Prints the tables of docs/benchmarks.md.

    python -m venv .venv-bench-fit && .venv-bench-fit/bin/pip install -r benchmarks/fit_requirements.txt
    .venv-bench-fit/bin/pip install --no-deps deepctr-torch==0.3.0 torchfm==0.7.0 fuxictr==2.3.10
    python benchmarks/fit.py --peers .venv-bench-fit/bin/python criteo-4096 criteo-1024 small

Each fit is a process of its own, and they take turns, so that whatever else the machine does meets all of them. A whole
fit is batching, shuffling, training and an evaluation of AUC and logloss after every epoch, from encoded arrays to a
trained model. The products are the network's matrix products alone, in sequence, measured after our fit in its process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

PEERS = ("deepctr-torch", "fuxictr", "torchfm")
OURS = "DeepFM Explorer"


@dataclass(frozen=True)
class Job:
    """What every library fits."""

    fields: int
    vocabulary: int
    rows_train: int
    rows_valid: int
    batch_size: int
    layers: tuple[int, ...]
    epochs: int
    embedding_size: int = 10
    learning_rate: float = 1e-3
    threads: int = 2
    precision: str = "float32"


JOBS = {
    "criteo-4096": Job(39, 1_000_000, 180_224, 20_000, 4096, (400, 400, 400), 1),
    "criteo-1024": Job(39, 1_000_000, 102_400, 10_000, 1024, (400, 400, 400), 1),
    "small": Job(8, 10_000, 50_000, 5_000, 1024, (64, 32), 3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"{', '.join(JOBS)} (all)")
    parser.add_argument("--peers", help="python of the environment the peers are installed in")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ours", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        print(json.dumps(fit_ours(arguments.ours)))
        return
    for name in arguments.jobs or JOBS:
        results = pd.DataFrame(list(turns(JOBS[name], arguments.peers, arguments.turns)))
        print(markdown(name, JOBS[name], results), flush=True)


def turns(job: Job, peers: str | None, count: int) -> Iterator[dict[str, Any]]:
    """Let every library fit the table in turn, `count` times over."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_table(job, folder)
        used = precisions()
        for _ in range(count):
            for precision in used:
                (folder / "job.json").write_text(json.dumps(asdict(replace(job, precision=precision))))
                done = _run([sys.executable, str(Path(__file__).resolve()), "--ours", str(folder)], job.threads)
                yield {"library": OURS if precision == "float32" else f"{OURS}, bfloat16", **done}
            for library in PEERS if peers else ():
                script = Path(__file__).with_name("fit_peers.py")
                yield {"library": library, **_run([str(peers), str(script), library, temporary], job.threads)}


def precisions() -> list[str]:
    """Return the precisions that this processor is fit for, and say on stderr which is left out and why."""
    from deepfm_core.errors import SpecError
    from deepfm_core.training.hardware import require_precision

    try:
        require_precision("bfloat16")
    except SpecError as error:
        print(f"The row of bfloat16 is left out. {error}", file=sys.stderr)
        return ["float32"]
    return ["float32", "bfloat16"]


def _run(command: list[str], threads: int) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "DEEPFM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        print(done.stderr[-600:], file=sys.stderr)
        return {}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_table(job: Job, folder: Path) -> None:
    """Draw ids of Zipf-like frequencies, field sizes growing geometrically, and labels that depend on them."""
    rng = np.random.default_rng(0)
    rows = job.rows_train + job.rows_valid
    low, high = 1.0, 10.0
    for _ in range(60):  # the growth with which the sizes make up the vocabulary
        middle = (low + high) / 2
        low, high = (low, middle) if (4 * middle ** np.arange(job.fields)).sum() > job.vocabulary else (middle, high)
    sizes = np.maximum(2, (4 * low ** np.arange(job.fields)).astype(np.int64))
    ids = np.stack([np.minimum(size ** rng.random(rows) - 1, size - 1).astype(np.int32) for size in sizes], 1)
    logit = -1.2 + sum(rng.normal(0, 0.4, size)[ids[:, f]] for f, size in enumerate(sizes)) / np.sqrt(job.fields / 8)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    np.savez(folder / "table.npz", ids=ids, labels=labels, sizes=sizes)


def encoded(folder: Path) -> Any:
    """Give the table that `write_table` wrote as an EncodedTable."""
    from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable, Layout
    from deepfm_core.schema.kinds import Kind

    with np.load(folder / "table.npz") as arrays:
        ids, labels, sizes = arrays["ids"], arrays["labels"], arrays["sizes"]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    fields = tuple(
        EncodedField(f"f{number}", f"f{number}", Kind.CATEGORICAL, number, 1, int(offset), int(size), (), None)
        for number, (size, offset) in enumerate(zip(sizes, offsets, strict=True))
    )
    return EncodedTable(Layout(fields), ids + offsets, None, np.zeros((len(ids), 0), np.float32), labels)


def fit_ours(folder: Path) -> dict[str, Any]:
    """Fit with this library; the step is the median of single steps, as the peers' is."""
    import torch
    from step import network_products

    from deepfm_core.metrics.scores import auc, logloss
    from deepfm_core.spec.run import FitSpec, ModelSpec
    from deepfm_core.training import fit as fitting
    from deepfm_core.training.fit import fit, predict_logits
    from deepfm_core.training.state import FitState

    values = json.loads((folder / "job.json").read_text())
    job = Job(**{**values, "layers": tuple(values["layers"])})
    torch.set_num_threads(job.threads)
    torch.set_flush_denormal(True)
    table = encoded(folder)
    train = table.take(np.arange(job.rows_train))
    valid = table.take(np.arange(job.rows_train, len(table)))
    model = ModelSpec(embedding_size=job.embedding_size, layers=job.layers)
    spec = FitSpec(
        epochs=job.epochs,
        patience=job.epochs,
        batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        l2=0.0,
        precision=job.precision,
    )
    began = time.perf_counter()
    state = FitState.new(table.layout, model, spec, seed=0)
    for _ in fit(spec, train, valid, state):
        pass
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    logits = predict_logits(state.model, valid)
    inference = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    step = _median_step(fitting, spec, train, state)
    products = network_products(table.layout, model, job.batch_size, job.precision)
    return {
        "fit": seconds,
        "step": step,
        "inference": inference,
        "peak_mb": peak,
        "products": float(np.median([_seconds(products) for _ in range(12)])),
        "auc": auc(valid.labels, logits),
        "logloss": logloss(valid.labels, logits),
    }


def _median_step(fitting: Any, spec: Any, train: Any, state: Any) -> float:
    from deepfm_core.models.batch import Batch

    masks, rows = fitting._masks(state), Batch.from_table(train.take(np.arange(12 * spec.batch_size)))
    state.model.train()
    return float(np.median([_seconds(partial(state.step, b, masks.draw(len(b)))) for b in rows.split(spec.batch_size)]))


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def markdown(name: str, job: Job, results: pd.DataFrame) -> str:
    """Lay the medians out, with how many times as long as ours each peer takes."""
    median = results.groupby("library", sort=False).median()
    ours = median.loc[OURS]
    layers = "-".join(map(str, job.layers))
    turns_taken = len(results) // len(median)
    lines = [
        f"**{name}**: {job.fields} fields, vocabulary {job.vocabulary:,}, layers {layers}, batch {job.batch_size:,}, "
        f"{job.rows_train:,} rows, {job.epochs} epochs, {job.threads} threads; medians of {turns_taken}",
        "",
        "| | whole fit, s | ÷ ours | step, ms | ÷ ours | inference, s | peak, MB | products ÷ step | AUC | logloss |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for library, row in median.iterrows():
        share = f"{row['products'] / row['step']:.0%}" if pd.notna(row.get("products")) else ""
        lines.append(
            f"| {library} | {row['fit']:.2f} | {row['fit'] / ours['fit']:.2f} | {1e3 * row['step']:.2f} "
            f"| {row['step'] / ours['step']:.2f} | {row['inference']:.3f} | {row['peak_mb']:.0f} | {share} "
            f"| {row['auc']:.4f} | {row['logloss']:.4f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
