"""One fit by several processes beside one, and what more of them would cost. Prints the tables of docs/scale.md.

    python benchmarks/data_parallel.py fit --turns 3
    python benchmarks/data_parallel.py model
    python benchmarks/data_parallel.py model --rows 1000000000 --features 40000000

`fit` trains two epochs on rows in Criteo's layout (39 fields) with the same batch, by one process of one thread and by
several, in turns. It compares the losses of all workers' rows after each epoch, rows a second, processor seconds, and
the bytes that reach the first worker in a step: as the system's TCP counts them, and as the cost model expects them.

`model` computes a step of W nodes with 4,096 rows each: with a replica of the table on each, as the program has it, and
with the table's rows divided between them, which it has not. Its constants are those that `fit` prints.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from step import CRITEO, skewed

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.spec.events import EpochDone, Event
from deepfm_core.spec.run import FitSpec
from deepfm_core.training.embedding_table import RowTable
from deepfm_core.training.fit import fit
from deepfm_core.training.replicas.local import Fitting, LocalWorkers
from deepfm_core.training.state import FitState

NUMBERS, CATEGORIES = 13, 26
BYTES_RECEIVED = 128
"""Where Linux's TCP_INFO has tcpi_bytes_received."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fitted = verbs.add_parser("fit")
    fitted.add_argument("--workers", type=int, default=2)
    fitted.add_argument("--turns", type=int, default=3)
    fitted.add_argument("--rows", type=int, default=204_800)
    fitted.add_argument("--batch-size", type=int, default=4096)
    fitted.add_argument("--features", type=int, default=1_000_000)
    modelled = verbs.add_parser("model")
    modelled.add_argument("--rows", type=float, default=1e9)
    modelled.add_argument("--features", type=float, default=1e6)
    modelled.add_argument("--nodes", type=int, nargs="*", default=[1, 2, 8, 64])
    modelled.add_argument("--batch-rows", type=int, default=4096, help="of a node")
    for name, value in vars(Machine()).items():
        modelled.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    arguments = parser.parse_args()
    if arguments.verb == "fit":
        compare(arguments)
    else:
        expect(arguments)


# Measured.


def compare(arguments: argparse.Namespace) -> None:
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    rows = learnable(skewed(arguments.features, arguments.rows))
    fitting = FitSpec(epochs=2, batch_size=arguments.batch_size, l2=1e-5)
    for turn in range(arguments.turns):
        for workers in (1, arguments.workers):
            said = {"turn": turn, "workers": workers, **measured(fitting, rows, workers)}
            if workers > 1:
                part = arguments.batch_size // workers
                said["kb_received_a_step_modelled"] = round(
                    sum(received_bytes(workers, part, arguments.features, CRITEO.embedding_size + 1).values()) / 1e3, 1
                )
            print(json.dumps(said), flush=True)


def learnable(rows: EncodedTable) -> EncodedTable:
    """Give rows labels that their values have effects on."""
    rng = np.random.default_rng(1)
    effects = rng.normal(0, 0.3, rows.layout.vocabulary).astype(np.float32)
    logit = effects[rows.ids].sum(1) - 1
    return replace(rows, labels=(rng.random(len(rows)) < 1 / (1 + np.exp(-logit))).astype(np.float32))


def measured(fitting: FitSpec, rows: EncodedTable, workers: int) -> dict[str, Any]:
    """Train two epochs, and say what the second took."""
    state, valid = FitState.new(rows.layout, CRITEO, fitting, 0), rows.take(np.arange(4096))
    steps, losses, now = -(-len(rows) // fitting.batch_size), [], np.zeros(4)
    with tempfile.TemporaryDirectory() as folder, timed() as tables:
        events: Iterator[Event] = fit(fitting, rows, valid, state)
        if workers > 1:
            events = LocalWorkers(workers)(Fitting(fitting, rows, valid, state, Path(folder), lambda: None))
        for event in events:
            if isinstance(event, EpochDone):
                losses.append(event.train_logloss)
                seconds, used, got, moved = (standing(tables) - now) / steps
                now = standing(tables)
    return {
        "rows_per_second": round(fitting.batch_size / seconds),
        "ms_a_step": round(1e3 * seconds, 1),
        "processor_ms_a_step": round(1e3 * used, 1),
        "of_it_table_of_first_worker": round(1e3 * moved, 1),
        "kb_received_a_step": round(got / 1e3, 1),
        "load": round(os.getloadavg()[0], 1),
        "losses": [round(loss, 7) for loss in losses],
    }


class timed:  # noqa: N801 (a context)
    """Counts the processor seconds of moving a table by rows alone, without what is exchanged for it."""

    def __enter__(self) -> timed:
        self.seconds, self._kept = 0.0, {name: getattr(RowTable, name) for name in ("_caught_up", "move")}
        for name, method in self._kept.items():
            setattr(RowTable, name, self._timing(method))
        return self

    def __exit__(self, *_: object) -> None:
        for name, method in self._kept.items():
            setattr(RowTable, name, method)

    def _timing(self, method: Any) -> Any:
        def run(*arguments: Any) -> Any:
            began = time.thread_time()
            found = method(*arguments)
            self.seconds += time.thread_time() - began
            return found

        return run


def standing(tables: timed) -> np.ndarray:
    """Give the clock, processor seconds of this process and its children, bytes received, and the tables' seconds."""
    own = psutil.Process()
    used = sum(sum(one.cpu_times()[:2]) for one in (own, *own.children()))
    return np.array([time.perf_counter(), used, received(), tables.seconds])


def received() -> int:
    """Give the bytes that have come through this process' open TCP connections, as the system counts them."""
    total = 0
    for connection in psutil.Process().net_connections("tcp"):
        if connection.fd >= 0 and connection.status == psutil.CONN_ESTABLISHED:
            with socket.socket(fileno=os.dup(connection.fd)) as one:
                info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_RECEIVED + 8)
            total += struct.unpack_from("Q", info, BYTES_RECEIVED)[0]
    return total


# Modelled.


@dataclass(frozen=True)
class Machine:
    """What a node does: the first two are of one processor, from `fit`."""

    microseconds_a_row: float = 49.0
    microseconds_a_touched_row: float = 1.05
    processors: float = 16
    efficiency: float = 0.7
    gigabits: float = 10.0
    microseconds_a_message: float = 100.0


def sizes_of(features: float) -> np.ndarray:
    """Give the sizes of the categorical fields of so many features, as `step.skewed` makes them."""
    low, high = 4.0, features
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if np.geomspace(4, middle, CATEGORIES).sum() > features - 26 else (middle, high)
    return np.geomspace(4, low, CATEGORIES).astype(np.int64)


def distinct(rows: float, features: float) -> float:
    """Give the expected distinct ids of so many rows: of each value v, 1 − (1 − p)^rows with p = log((v+2) / (v+1)) /
    log(size)."""
    total = float(NUMBERS)  # a numeric field has one feature in every row
    for size in sizes_of(features):
        rarer = np.geomspace(1, size, 100_000).astype(np.int64)  # values beside each other are as frequent
        edges = np.unique(np.concatenate([np.arange(min(size, 100_000)), np.minimum(rarer, size - 1)]))
        width = np.diff(np.append(edges, size))
        share = np.log((edges + width + 1) / (edges + 1)) / np.log(size) / np.maximum(width, 1)
        total += float((width * -np.expm1(rows * np.log1p(-np.minimum(share, 1 - 1e-12)))).sum())
    return total


def network_weights() -> int:
    widths = ((NUMBERS + CATEGORIES) * CRITEO.embedding_size, *CRITEO.layers, 1)
    return sum(a * b + b for a, b in pairwise(widths)) + 1


def received_bytes(nodes: int, rows: int, features: float, columns: int) -> dict[str, float]:
    """Give the bytes that reach a worker in a step of so many rows each, by what they are for."""
    others, touched = nodes - 1, distinct(rows, features)
    return {
        "network": 2 * others / nodes * 4 * (network_weights() + 1),
        "ids": others * (4 * touched + 8),
        "gradients": others * 4 * columns * touched,
        "rows": rows * others / nodes * 4 * (2 * (NUMBERS + CATEGORIES) + 1),
    }


def expect(arguments: argparse.Namespace) -> None:
    machine = Machine(**{name: getattr(arguments, name) for name in vars(Machine())})
    columns, features, rows = CRITEO.embedding_size + 1, arguments.features, arguments.batch_rows
    print("| nodes | table | MB a step | step, ms | speed-up | hours an epoch | TB exchanged a node | GB a node |")
    print("|---|---|---|---|---|---|---|---|")
    alone = step_seconds(machine, rows, distinct(rows, features), 0.0, 0)
    for nodes in arguments.nodes:
        for name, (sent, moved, messages) in ways(nodes, rows, features, columns).items():
            seconds = step_seconds(machine, rows, moved, sent, messages)
            steps = arguments.rows / nodes / rows
            held = features * columns * 4 * 5 / (nodes if name == "divided" else 1)
            held += 4 * network_weights() * 5 + 0.4e9
            print(
                f"| {nodes} | {name} | {sent / 1e6:.1f} | {1e3 * seconds:.0f} | {nodes * alone / seconds:.1f} "
                f"| {steps * seconds / 3600:.2f} | {steps * sent / 1e12:.2f} | {held / 1e9:.1f} |"
            )


def ways(nodes: int, rows: int, features: float, columns: int) -> dict[str, tuple[float, float, int]]:
    """Give, by how the table is kept, the bytes that reach a node in a step, the table's rows that it moves, and the
    messages that it waits for."""
    every, own = distinct(nodes * rows, features), distinct(rows, features)
    found = {"replicas": (sum(received_bytes(nodes, rows, features, columns).values()), every, 4 * (nodes > 1))}
    if nodes > 1:
        others = received_bytes(nodes, rows, features, columns)
        # Ids go to those who hold the rows, rows come back, gradients go there: on the way in, ids, rows, gradients.
        sent = others["network"] + others["rows"] + own * (nodes - 1) / nodes * 4 * (1 + 2 * columns)
        found["divided"] = sent, every / nodes, 5
    return found


def step_seconds(machine: Machine, rows: int, moved: float, sent: float, messages: int) -> float:
    """Give how long a step takes: the network on all processors, the table on one, exchange after both."""
    network = rows * machine.microseconds_a_row / machine.processors / machine.efficiency
    table, waits = moved * machine.microseconds_a_touched_row, messages * machine.microseconds_a_message
    return 1e-6 * (network + table + waits) + sent * 8 / (machine.gigabits * 1e9)


if __name__ == "__main__":
    main()
