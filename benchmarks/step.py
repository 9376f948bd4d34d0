"""How long a training step takes, by hand and through autograd. Prints the tables of docs/benchmarks.md.

    python benchmarks/step.py                       every table, on one thread
    python benchmarks/step.py --threads 2 --only shapes

Both ways train the same model on the same batches in turns, so that whatever else the machine does meets both. Figures
are medians; on one thread they are of processor time. "Products alone" are the matrix products of the network, forward
and backward, in sequence and with nothing between them, in the same turns.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable, Layout
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.network import DropoutMasks
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.step import AutogradStep, Step

SMALL = ModelSpec(embedding_size=10, layers=(64, 32))
RECOMMENDED = ModelSpec(embedding_size=8, layers=(64, 32), dropout=0.5, centred=True)
CRITEO = ModelSpec(embedding_size=10, layers=(400, 400, 400))
RECOMMENDED_FIT = FitSpec(l2=1e-4, embedding_l2=1e-3, first_order_rate=3.0, averaging=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=40, help="steps of each kind in the small shape")
    parser.add_argument("--only", choices=["shapes", "vocabulary"])
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    if arguments.only != "vocabulary":
        shapes(arguments.turns)
    if arguments.only != "shapes":
        vocabulary(arguments.turns // 2)


def shapes(turns: int) -> None:
    print("| shape | batch | autograd, ms | by hand, ms | ratio | products alone, ms | share |")
    print("|---|---|---|---|---|---|---|")
    small, criteo = uniform(8, 10_000, 40_960), skewed(1_000_000, 20_480)
    for name, table, model, fit, batch, share in (
        ("small", small, SMALL, FitSpec(l2=0.0), 1024, 1.0),
        ("small", small, SMALL, FitSpec(l2=0.0), 256, 1.0),
        ("small, recommended preset", small, RECOMMENDED, RECOMMENDED_FIT, 256, 1.0),
        ("Criteo", criteo, CRITEO, FitSpec(l2=0.0), 4096, 0.1),
        ("Criteo", criteo, CRITEO, FitSpec(l2=0.0), 1024, 0.2),
        ("Criteo, with L2", criteo, CRITEO, FitSpec(), 1024, 0.2),
    ):
        autograd, by_hand, products = measure(table, model, fit, batch, max(round(turns * share), 4))
        print(
            f"| {name} | {batch:,} | {autograd:.2f} | {by_hand:.2f} | {autograd / by_hand:.1f} | {products:.2f} "
            f"| {products / by_hand:.0%} |",
            flush=True,
        )


def vocabulary(turns: int) -> None:
    print("\n| vocabulary | distinct ids a batch | autograd, ms | by hand, ms | to vocabulary 10,000 |")
    print("|---|---|---|---|---|")
    first = 0.0
    for size in (10_000, 100_000, 1_000_000, 10_000_000):
        table = skewed(size, 20_480)
        with_autograd = size <= 1_000_000
        autograd, by_hand, _ = measure(table, SMALL, FitSpec(l2=0.0), 1024, turns, autograd=with_autograd)
        first = first or by_hand
        distinct = len(np.unique(table.ids[:1024]))
        shown = f"{autograd:.1f}" if with_autograd else ""
        print(f"| {size:,} | {distinct:,} | {shown} | {by_hand:.2f} | {by_hand / first:.2f} |", flush=True)


def measure(
    table: EncodedTable, spec: ModelSpec, fit: FitSpec, rows: int, turns: int, *, autograd: bool = True
) -> tuple[float, float, float]:
    """Give the median milliseconds of a step through autograd, by hand, and of the matrix products alone."""
    fit = FitSpec(**{**vars(fit), "batch_size": rows})
    torch.manual_seed(0)
    model = DeepFM(table.layout, spec).train()
    batches = [batch for batch in Batch.from_table(table).split(rows) if len(batch) == rows]
    masks = DropoutMasks(spec.layers, spec.dropout, torch.device("cpu"))
    products = network_products(table.layout, spec, rows)
    steps: list[Step | AutogradStep] = [Step(copy.deepcopy(model), fit)]
    if autograd:
        steps.append(AutogradStep(model, fit))
    times: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for turn in range(turns + 3):
        batch = batches[turn % len(batches)]
        for number, step in enumerate(steps):
            times[number].append(seconds(lambda step=step, batch=batch: step(batch, masks.draw(rows))))  # type: ignore[misc]
        times[2].append(seconds(products))
    by_hand, through_autograd, alone = (1e3 * float(np.median(part[3:] or [0.0])) for part in times.values())
    return through_autograd, by_hand, alone


def seconds(work: Callable[[], object]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    work()
    return clock() - began


def network_products(layout: Layout, spec: ModelSpec, rows: int, precision: str = "float32") -> Callable[[], None]:
    widths = (len(layout.fields) * spec.embedding_size + len(layout.dense), *spec.layers, 1)
    dtype = getattr(torch, precision)
    layers = [
        (torch.randn(rows, a).to(dtype), torch.randn(b, a).to(dtype), torch.randn(rows, b).to(dtype))
        for a, b in pairwise(widths)
    ]

    def run() -> None:
        for x, weight, _ in layers:
            torch.mm(x, weight.t())
        for x, weight, dz in reversed(layers):
            torch.mm(dz.t(), x)
            torch.mm(dz, weight)

    return run


def uniform(fields: int, features: int, rows: int) -> EncodedTable:
    """Fields of equal size, frequent values far more frequent than rare ones."""
    rng = np.random.default_rng(0)
    sizes = [features // fields] * fields
    drawn = [(size * rng.random(rows) ** 3).astype(np.int32) for size in sizes]
    return table_of([Kind.CATEGORICAL] * fields, sizes, drawn, None, rng)


def skewed(features: int, rows: int) -> EncodedTable:
    """Criteo's layout: 13 numeric fields and 26 categorical ones of 4 to very many values, of Zipf's frequencies."""
    rng = np.random.default_rng(0)
    low, high = 4.0, float(features)
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if np.geomspace(4, middle, 26).sum() > features - 26 else (middle, high)
    sizes = [2] * 13 + [int(size) for size in np.geomspace(4, low, 26)]
    drawn = [np.zeros(rows, np.int32)] * 13
    drawn += [np.minimum(size ** rng.random(rows) - 1, size - 1).astype(np.int32) for size in sizes[13:]]
    weights = np.ones((rows, 39), np.float32)
    weights[:, :13] = rng.normal(size=(rows, 13))
    return table_of([Kind.NUMERIC] * 13 + [Kind.CATEGORICAL] * 26, sizes, drawn, weights, rng)


def names_of(size: int) -> tuple[str, ...]:
    """Name a field's features. The levels of a field, which evidence is taken of, are named ones."""
    return tuple(map(str, range(size)))


def table_of(
    kinds: Sequence[Kind],
    sizes: Sequence[int],
    drawn: Sequence[np.ndarray],
    weights: np.ndarray | None,
    rng: np.random.Generator,
) -> EncodedTable:
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    fields = tuple(
        EncodedField(f"f{number}", f"f{number}", kind, number, 1, int(offset), size, names_of(size), None)
        for number, (kind, size, offset) in enumerate(zip(kinds, sizes, offsets, strict=True))
    )
    rows = len(drawn[0])
    labels = (rng.random(rows) < 0.25).astype(np.float32)
    return EncodedTable(Layout(fields), np.stack(drawn, 1) + offsets, weights, np.zeros((rows, 0), np.float32), labels)


if __name__ == "__main__":
    main()
