"""How long the exact AUC takes beside scikit-learn's, and how far they differ. Prints a table of docs/benchmarks.md."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.metrics.scores import auc

TURNS = 5


def main() -> None:
    rng = np.random.default_rng(0)
    print("| rows | ours, ms | scikit-learn, ms | difference |\n|---|---|---|---|")
    for rows in (100_000, 1_000_000):
        for digits, name in ((None, ""), (2, ", many ties")):
            scores = rng.normal(size=rows) if digits is None else rng.normal(size=rows).round(digits)
            labels = (rng.random(rows) < 1 / (1 + np.exp(1.5 - scores))).astype(np.float32)
            ours, ours_ms = best(partial(auc, labels, scores))
            theirs, theirs_ms = best(partial(roc_auc_score, labels, scores))
            print(f"| {rows:,}{name} | {ours_ms:.1f} | {theirs_ms:.1f} | {abs(ours - theirs):.0e} |", flush=True)


def best(work: Callable[[], float | None]) -> tuple[float, float]:
    """Give the value and the least milliseconds of a few turns."""
    times, value = [], None
    for _ in range(TURNS):
        began = time.perf_counter()
        value = work()
        times.append(time.perf_counter() - began)
    assert value is not None
    return value, 1e3 * min(times)


if __name__ == "__main__":
    main()
