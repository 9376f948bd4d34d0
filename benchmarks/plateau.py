"""Fits a table like the public benchmark of app usage, with and without reducing the rate on a plateau.

    python benchmarks/plateau.py --rows 60000 --seeds 3

Two ids of 1,000 and 4,000 values and eight fields of context. For each use of an app two other apps are drawn that were
not used then. The settings are the benchmarks': 400-400-400, batch normalisation, dropout .2, embedding L2 .05, batches
of 4,096, rate 1e-3, patience 2. Beside them stands the same model in plain torch (`Reference`), with the same rule.
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable, Layout
from deepfm_core.metrics.scores import auc
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.state import FitState

SIZES = (1000, 4000, 7, 2, 2, 9, 80, 230, 24, 4)
MODEL = ModelSpec(embedding_size=10, layers=(400, 400, 400), dropout=0.2, batch_norm=True)
FIT = FitSpec(epochs=40, patience=2, batch_size=4096, learning_rate=1e-3, l2=0.0, embedding_l2=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="rows of the training part")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| fit | seed | test AUC | epochs | best |\n|---|---|---|---|---|")
    for seed in range(options.seeds):
        parts = table(options.rows, seed)
        for score in ("never", "logloss", "auc"):
            print(line(f"reduce on plateau: {score}", seed, *ours(parts, score, seed)), flush=True)
        print(line("plain torch, by AUC", seed, *reference(parts, seed)), flush=True)


def line(name: str, seed: int, score: float, epochs: int, best: int) -> str:
    """Lay out a fit's result."""
    return f"| {name} | {seed} | {score:.4f} | {epochs} | {best} |"


def table(rows: int, seed: int) -> list[EncodedTable]:
    """Draw a training part of so many rows, and validation and test parts of a seventh of that."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(SIZES)])[:-1]
    fields = [
        EncodedField(f"f{n}", f"f{n}", Kind.CATEGORICAL, n, 1, int(offset), size, [str(i) for i in range(size)], None)
        for n, (offset, size) in enumerate(zip(offsets, SIZES, strict=True))
    ]
    vectors = [rng.normal(size=(size, 6)) / 6**0.5 for size in SIZES]
    popular = rng.normal(size=SIZES[1])
    uses = -(-rows * 9 // 21)
    context = np.stack([rng.integers(0, size, uses) for size in SIZES], 1)
    taste = np.sum([vectors[n][context[:, n]] for n in range(len(SIZES)) if n != 1], axis=0)
    candidates = rng.integers(0, SIZES[1], (uses, 40))
    utility = 1.5 * (vectors[1][candidates] * taste[:, None]).sum(2) + popular[candidates]
    context[:, 1] = candidates[np.arange(uses), (utility + rng.gumbel(size=utility.shape)).argmax(1)]
    ids = np.repeat(context, 3, axis=0)
    labels = np.tile([1.0, 0.0, 0.0], uses).astype(np.float32)
    ids[labels == 0, 1] = rng.integers(0, SIZES[1], 2 * uses)
    order, cuts = rng.permutation(len(ids)), np.array([rows, rows + rows // 7])
    whole = EncodedTable(
        Layout(tuple(fields), ()), (ids + offsets).astype(np.int32), None, np.zeros((len(ids), 0), np.float32), labels
    )
    return [whole.take(part) for part in np.split(order, cuts)]


def ours(parts: list[EncodedTable], score: str, seed: int) -> tuple[float, int, int]:
    """Fit by the library; give test AUC, epochs and the best epoch."""
    train, valid, test = parts
    spec = FitSpec(**{**vars(FIT), "reduce_on_plateau": score})
    state = FitState.new(train.layout, MODEL, spec, seed)
    for _ in fit(spec, train, valid, state):
        pass
    return area(test, predict_logits(state.model, test)), state.epoch, state.best_epoch


def area(part: EncodedTable, logits: object) -> float:
    """Give the AUC of a part."""
    assert part.labels is not None
    found = auc(part.labels, np.asarray(logits))
    assert found is not None
    return found


class Reference(nn.Module):
    """DeepFM as one writes it first."""

    def __init__(self) -> None:
        super().__init__()
        self.weights, self.embeddings = nn.Embedding(sum(SIZES), 1), nn.Embedding(sum(SIZES), MODEL.embedding_size)
        nn.init.zeros_(self.weights.weight)
        nn.init.normal_(self.embeddings.weight, std=MODEL.embedding_sd)
        self.bias, width, layers = nn.Parameter(torch.zeros(())), len(SIZES) * MODEL.embedding_size, []
        for units in MODEL.layers:
            layers += [nn.Linear(width, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(MODEL.dropout)]
            width = units
        self.network = nn.Sequential(*layers, nn.Linear(width, 1))
        for layer in self.network:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, ids: Tensor) -> Tensor:
        """Give the logit: (B,)."""
        e = self.embeddings(ids)
        pairs = 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1)
        logit: Tensor = self.bias + self.weights(ids).sum((1, 2)) + pairs + self.network(e.flatten(1)).squeeze(1)
        return logit


def reference(parts: list[EncodedTable], seed: int) -> tuple[float, int, int]:
    """Fit in plain torch by the same rule: test AUC, epochs and the best epoch."""
    torch.manual_seed(seed)
    model, (train, valid, test) = Reference(), parts
    ids, labels = torch.from_numpy(train.ids).long(), torch.from_numpy(np.asarray(train.labels))
    best, best_epoch, reduced, weights, epoch = 0.0, 0, 0, copy.deepcopy(model.state_dict()), 0
    adam = torch.optim.Adam(model.parameters(), FIT.learning_rate)
    while epoch < FIT.epochs:
        epoch += 1
        model.train()
        for rows in torch.randperm(len(ids)).split(FIT.batch_size):
            loss = functional.binary_cross_entropy_with_logits(model(ids[rows]), labels[rows])
            loss = loss + FIT.l2_embeddings / 2 * model.embeddings.weight.square().sum()
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
        found = area(valid, logits_of(model, valid))
        if found > best:
            best, best_epoch, weights = found, epoch, copy.deepcopy(model.state_dict())
        if epoch - max(best_epoch, reduced) >= FIT.patience:
            if reduced:
                break
            model.load_state_dict(weights)
            reduced, adam = epoch, torch.optim.Adam(model.parameters(), FIT.learning_rate / 10)
    model.load_state_dict(weights)
    return area(test, logits_of(model, test)), epoch, best_epoch


@torch.no_grad()
def logits_of(model: Reference, part: EncodedTable) -> object:
    """Give the logits of a part: (N,)."""
    return model.eval()(torch.from_numpy(part.ids).long()).double().numpy()


if __name__ == "__main__":
    main()
