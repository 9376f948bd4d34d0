"""A fit of wide layers beside other work, by threads: always one, always all, and as `sharing` chooses.

    python benchmarks/sharing.py --busy 0 1 2 --turns 2

20 fields, vocabulary 100,000, layers 400-400-400, batch 1,024, 60,000 rows, 2 epochs. Beside it so many processes run
in circles. Prints the table of docs/benchmarks.md: medians of seconds on the clock.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

import torch  # noqa: E402
from growth import table  # noqa: E402

from deepfm_core.spec.run import FitSpec, ModelSpec  # noqa: E402
from deepfm_core.training.fit import fit  # noqa: E402
from deepfm_core.training.state import FitState  # noqa: E402

MODEL = ModelSpec(embedding_size=10, layers=(400, 400, 400))
SPEC = FitSpec(epochs=2, patience=2, batch_size=1024, l2=0.0)
WAYS = {"one thread": "1", "all cores, always": str(os.cpu_count()), "as chosen": ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--turns", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    drawn = table(20, 100_000, 66_000)
    parts = drawn.take(np.arange(60_000)), drawn.take(np.arange(60_000, 66_000))
    print(f"| processes beside it | {' | '.join(WAYS)} |")
    print("|---" * (len(WAYS) + 1) + "|")
    for count in arguments.busy:
        with beside(count):
            turns = [[seconds(threads, parts) for threads in WAYS.values()] for _ in range(arguments.turns)]
        print(f"| {count} | {' | '.join(f'{s:.1f}' for s in np.median(turns, 0))} |", flush=True)


def seconds(threads: str, parts: tuple[object, object]) -> float:
    """Time a fit with `$DEEPFM_THREADS`, or with all cores to begin with."""
    os.environ["DEEPFM_THREADS"] = threads
    torch.set_num_threads(int(threads or os.cpu_count() or 1))
    train, valid = parts
    state = FitState.new(train.layout, MODEL, SPEC, seed=0)  # type: ignore[attr-defined]
    began = time.perf_counter()
    for _ in fit(SPEC, train, valid, state):  # type: ignore[arg-type]
        pass
    return time.perf_counter() - began


@contextmanager
def beside(count: int) -> Iterator[None]:
    """Let so many processes do nothing but work."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
