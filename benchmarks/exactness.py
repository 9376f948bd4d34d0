"""A fit by hand beside one through autograd with dense Adam, seed by seed. Prints the table of docs/benchmarks.md.

    python benchmarks/exactness.py

10 fields, 24,000 rows to train, 4,000 to validate, 12,000 to test, layers 64-32 with dropout, batch 512, three epochs.
A vocabulary of 200,000 is trained by rows that are caught up, the other one densely.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

import torch  # noqa: E402
from growth import table  # noqa: E402

from deepfm_core.encoding.encoded_table import EncodedTable  # noqa: E402
from deepfm_core.metrics.scores import auc, logloss  # noqa: E402
from deepfm_core.spec.run import FitSpec, ModelSpec  # noqa: E402
from deepfm_core.training.fit import fit, predict_logits  # noqa: E402
from deepfm_core.training.state import FitState  # noqa: E402
from deepfm_core.training.step import AutogradStep, Step  # noqa: E402

MODEL = ModelSpec(embedding_size=8, layers=(64, 32), dropout=0.2)
SEEDS = 3


def main() -> None:
    torch.set_num_threads(1)
    print("| vocabulary | L2 | seed | test AUC | difference | test logloss | difference |")
    print("|---" * 7 + "|")
    for vocabulary, l2 in ((5_000, 0.0), (5_000, 1e-4), (200_000, 0.0), (200_000, 1e-4)):
        parts = divided(vocabulary)
        for seed in range(SEEDS):
            ours, reference = (scores(step, parts, l2, seed) for step in (Step, AutogradStep))
            said = " | ".join(f"{a:.5f} | {a - b:+.1e}" for a, b in zip(ours, reference, strict=True))
            print(f"| {vocabulary:,} | {l2:g} | {seed} | {said} |", flush=True)


def divided(vocabulary: int) -> list[EncodedTable]:
    """Draw a table whose labels depend on its values; give its training, validation and test part."""
    drawn = table(10, vocabulary, 40_000)
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 0.5, drawn.layout.vocabulary)[drawn.ids].sum(1) - 1
    drawn = replace(drawn, labels=(rng.random(len(drawn)) < 1 / (1 + np.exp(-logits))).astype(np.float32))
    return [drawn.take(rows) for rows in np.split(np.arange(40_000), [24_000, 28_000])]


def scores(
    step: type[Step] | type[AutogradStep], parts: Sequence[EncodedTable], l2: float, seed: int
) -> tuple[float, float]:
    """Fit, and give AUC and logloss of the test part."""
    train, valid, test = parts
    spec = FitSpec(epochs=3, patience=3, batch_size=512, l2=l2)
    state = FitState.new(train.layout, MODEL, spec, seed=seed, step=step)
    for _ in fit(spec, train, valid, state):
        pass
    assert test.labels is not None
    logits = predict_logits(state.model, test)
    found = auc(test.labels, logits)
    assert found is not None
    return found, logloss(test.labels, logits)


if __name__ == "__main__":
    main()
