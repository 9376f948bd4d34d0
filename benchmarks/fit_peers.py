"""One whole fit of a peer's DeepFM, as its own documentation does it. Run by `benchmarks/fit.py` in the peers' python,
and by `benchmarks/plateau.py` with more settings.

    python fit_peers.py LIBRARY FOLDER      the folder holds table.npz and job.json; one JSON object on stdout

Every peer gets the same rows, batch size, widths, embedding size, Adam, epochs and threads, no L2 and no dropout, and
evaluates AUC and logloss on the validation rows after every epoch.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score


class Job:
    """What is fitted: ids within each field, labels; training rows, validation rows, then test rows, if any."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "table.npz") as table:
            self.ids, self.labels, self.sizes = table["ids"], table["labels"], table["sizes"].tolist()
        for name, value in json.loads((folder / "job.json").read_text()).items():
            setattr(self, name, value)
        self.folder = folder
        self.names = [f"f{number}" for number in range(len(self.sizes))]

    rows_train: int
    batch_size: int
    embedding_size: int
    layers: list[int]
    learning_rate: float
    epochs: int
    threads: int
    rows_valid: int | None = None
    """None: all that follow the training rows; no test rows."""
    seed: int = 0
    dropout: float = 0.0
    batch_norm: bool = False
    embedding_l2: float = 0.0
    patience: int | None = None
    """FuxiCTR's; the rate is then divided by ten after every epoch without a better AUC. None: all epochs, one rate."""


class StepTimes:
    """Times each optimiser's step to the next: what a training step costs, loader included."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        step = torch.optim.Adam.step

        def timed(optimiser: torch.optim.Adam, *arguments: Any, **options: Any) -> Any:
            result = step(optimiser, *arguments, **options)
            self.ends.append(time.perf_counter())
            return result

        torch.optim.Adam.step = timed  # type: ignore[method-assign, assignment]


def deepctr_torch(job: Job) -> Callable[[], Callable[[], np.ndarray]]:
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import DeepFM

    columns = [
        SparseFeat(name, size, embedding_dim=job.embedding_size)
        for name, size in zip(job.names, job.sizes, strict=True)
    ]
    model = DeepFM(
        columns,
        columns,
        dnn_hidden_units=tuple(job.layers),
        l2_reg_linear=0,
        l2_reg_embedding=0,
        l2_reg_dnn=0,
        device="cpu",
    )
    model.compile(
        torch.optim.Adam(model.parameters(), lr=job.learning_rate),
        "binary_crossentropy",
        metrics=["auc", "binary_crossentropy"],
    )
    parts = [({name: ids[:, number] for number, name in enumerate(job.names)}, labels) for ids, labels in divided(job)]

    def run() -> Callable[[], np.ndarray]:
        model.fit(*parts[0], batch_size=job.batch_size, epochs=job.epochs, verbose=0, validation_data=parts[1])
        return lambda: model.predict(parts[1][0], batch_size=8192)

    return run


def torchfm(job: Job) -> Callable[[], Callable[[], np.ndarray]]:
    from torch.utils.data import DataLoader, TensorDataset
    from torchfm.model.dfm import DeepFactorizationMachineModel

    model = DeepFactorizationMachineModel(job.sizes, job.embedding_size, tuple(job.layers), dropout=0.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=job.learning_rate)
    train, valid = (
        TensorDataset(torch.from_numpy(ids).long(), torch.from_numpy(labels)) for ids, labels in divided(job)
    )

    def predict() -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return np.concatenate([model(x).numpy() for x, _ in DataLoader(valid, batch_size=8192)])

    def run() -> Callable[[], np.ndarray]:
        loss = torch.nn.BCELoss()
        for _ in range(job.epochs):
            model.train()
            for x, y in DataLoader(train, batch_size=job.batch_size, shuffle=True):
                value = loss(model(x), y)
                model.zero_grad()
                value.backward()
                optimiser.step()
            scores(divided(job)[1][1], predict())
        return predict

    return run


def fuxictr(job: Job) -> Callable[[], Callable[[], np.ndarray]]:
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader
    from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    features = FeatureMap("bench", str(job.folder))
    features.features = OrderedDict(
        (name, {"type": "categorical", "vocab_size": size}) for name, size in zip(job.names, job.sizes, strict=True)
    )
    features.labels, features.num_fields, features.input_length = ["label"], len(job.names), len(job.names)
    features.set_column_index()
    for part, (ids, labels) in {**dict(zip(("train", "valid"), divided(job), strict=True)), "last": last(job)}.items():
        columns = {name: ids[:, number].astype(np.float64) for number, name in enumerate(job.names)}
        np.savez(job.folder / f"{part}-fuxictr.npz", allow_pickle=False, **columns, label=labels)

    class DeepFM(BaseModel):  # type: ignore[misc]  # as in FuxiCTR's model zoo, which the wheel leaves out
        def __init__(self) -> None:
            super().__init__(
                features,
                "DeepFM",
                verbose=0,
                model_root=str(job.folder),
                metrics=["AUC", "logloss"],
                early_stop_patience=job.patience or job.epochs,
                reduce_lr_on_plateau=job.patience is not None,
                embedding_regularizer=job.embedding_l2 or None,
            )
            self.embedding_layer = FeatureEmbedding(features, job.embedding_size)
            self.fm = FactorizationMachine(features)
            width = job.embedding_size * len(job.names)
            self.mlp = MLP_Block(
                input_dim=width,
                output_dim=1,
                hidden_units=list(job.layers),
                dropout_rates=job.dropout,
                batch_norm=job.batch_norm,
            )
            self.compile("adam", "binary_crossentropy", job.learning_rate)
            self.reset_parameters()
            self.model_to_device()

        def forward(self, inputs: Any) -> dict[str, torch.Tensor]:
            X = {name: value.long() for name, value in self.get_inputs(inputs).items()}
            embedded = self.embedding_layer(X)
            return {"y_pred": self.output_activation(self.fm(X, embedded) + self.mlp(embedded.flatten(start_dim=1)))}

    (job.folder / "bench").mkdir(exist_ok=True)
    model = DeepFM()

    def loader(part: str, size: int, shuffle: bool) -> NpzDataLoader:
        path = str(job.folder / f"{part}-fuxictr.npz")
        return NpzDataLoader(features, path, batch_size=size, shuffle=shuffle, num_workers=0)

    def run() -> Callable[[], np.ndarray]:
        model.fit(
            loader("train", job.batch_size, True), epochs=job.epochs, validation_data=loader("valid", 8192, False)
        )
        return lambda: model.predict(loader("last", 8192, False))

    return run


LIBRARIES = {"deepctr-torch": deepctr_torch, "torchfm": torchfm, "fuxictr": fuxictr}


def divided(job: Job) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    n = job.rows_train
    stop = None if job.rows_valid is None else n + job.rows_valid
    return (job.ids[:n], job.labels[:n]), (job.ids[n:stop], job.labels[n:stop])


def last(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Give the test rows, or where there are none the validation rows."""
    start = job.rows_train + (job.rows_valid or 0)
    return job.ids[start:], job.labels[start:]


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    p = np.clip(probabilities.ravel().astype(np.float64), 1e-7, 1 - 1e-7)
    return {"auc": float(roc_auc_score(labels, p)), "logloss": float(log_loss(labels, p))}


def main() -> None:
    job = Job(Path(sys.argv[2]))
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    times = StepTimes()
    with contextlib.redirect_stdout(sys.stderr):
        run = LIBRARIES[sys.argv[1]](job)
        began = time.perf_counter()
        predict = run()
        fit = time.perf_counter() - began
        began = time.perf_counter()
        probabilities = predict()
        inference = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    steps = len(times.ends)
    step = float(np.median(np.diff(times.ends))) if len(times.ends) > 1 else float("nan")
    cpu = time.process_time()
    found = {"fit": fit, "cpu": cpu, "step": step, "inference": inference, "peak_mb": peak, "steps": steps}
    result = {**found, **scores(last(job)[1], probabilities)}
    print(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # ray leaves threads behind


if __name__ == "__main__":
    main()
