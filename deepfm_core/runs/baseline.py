"""The yardstick of a comparison: scikit-learn's gradient boosting on the same rows, what a user would try instead."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import Part, RunParts, load_parts
from deepfm_core.runs.evaluate import judge, scores
from deepfm_core.runs.job import Job
from deepfm_core.schema.column import Cells
from deepfm_core.schema.schema import NUMBER_KINDS, Kind, Schema
from deepfm_core.spec.events import Cancelled, Event, Finished, Stage

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

MOST_TREES, PATIENCE = 1000, 10
"""Trees at most, and trees without a better validation logloss before it stops; all else is scikit-learn's default."""
MOST_CATEGORIES = 255
"""Categories a column of scikit-learn's trees may have; of more, the rarest share the last."""
MOST_VALUES = 64
"""Columns that a multi-valued field becomes at most: its most frequent values."""
THREADED_ROWS = 100_000
"""Training rows from which on several threads pay; with fewer they mostly wait for each other."""

Features = dict[str, NDArray[np.float64]]
"""By name of the part: (N, C) numbers as they are, NaN where missing, categories as codes."""


def boost(job: Job) -> Iterator[Event]:
    """Do a yardstick's run: read, encode, fit, evaluate, and write its predictions and metrics.

    Raises:
        DeepFMError: the tables or the schema cannot be used.
    """
    job.folder.create().write_spec(job.spec)
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    for name in ("read", "encode", "fit", "evaluate"):
        yield Stage(name)
        if job.cancelled():
            yield Cancelled(0)
            return
        match name:
            case "read":
                parts = load_parts(job.spec, job.table)
            case "encode":
                features, categorical = columns(parts, job.spec.schema, job.spec.min_count)
            case "fit":
                model = _fit(features, parts, categorical, job.spec.seed)
            case "evaluate":
                metrics = judge(job.folder, _judged(model, features, parts), float(parts.train.labels.mean()))
        seconds[name], began = time.perf_counter() - began, time.perf_counter()
    trees = _best(model)
    summary = {
        "run": str(job.folder.path),
        "model": job.spec.model.name,
        "rows": {name: len(getattr(parts, name)) for name in ("train", "valid", "test")},
        "parameters": None,
        "epochs": int(model.n_iter_),
        "best_epoch": trees,
        **{name: scores(metrics.get(name)) for name in ("valid", "test")},
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "rows_per_second": round(len(parts.train) * int(model.n_iter_) / max(seconds["fit"], 1e-9), 1),
    }
    job.folder.write_summary(summary)
    yield Finished(summary)


def columns(parts: RunParts, schema: Schema, min_count: int) -> tuple[Features, NDArray[np.bool_]]:
    """Turn the rows of each part into the columns of trees.

    Values, and which of them are rare or unseen, are those of the encoder that the models compared have.

    Returns:
        the columns of each part, and (C,) which of them are categories.
    """
    train = parts.train
    encoder = Encoder.fit(train.table.frame, schema, rows=train.rows, min_count=min_count, subject=train.table.name)
    named: dict[str, Part] = {name: getattr(parts, name) for name in ("train", "valid", "test")}
    encoded = {name: part.encode(encoder) for name, part in named.items()}
    blocks: dict[str, list[NDArray[np.float64]]] = {name: [] for name in named}
    categorical: list[bool] = []
    for role in schema.used:
        if role.kind in NUMBER_KINDS:
            for name, part in named.items():
                blocks[name].append(_numbers(part, role.column))
            categorical.append(False)
    for field in encoded["train"].layout.fields:
        if field.kind not in NUMBER_KINDS:
            order = _by_frequency(field, encoded["train"])
            for name, table in encoded.items():
                blocks[name].append(_values(field, table, order))
            categorical += [field.kind is Kind.CATEGORICAL] * blocks["train"][-1].shape[1]
    return {name: np.concatenate(made, axis=1) for name, made in blocks.items()}, np.array(categorical)


def _numbers(part: Part, column: str) -> NDArray[np.float64]:
    cells = Cells.of(part.table.frame, column)
    values = np.asarray(cells.numbers.values, dtype=np.float64)
    return np.asarray(values[cells.codes[part.rows], None])


def _by_frequency(field: EncodedField, train: EncodedTable) -> NDArray[np.int64]:
    """Give (size,) each feature's place among those of its field, the one with most training rows first."""
    ids, used = _slots(field, train)
    counts = np.bincount(ids[used], minlength=field.size)
    places = np.empty(field.size, dtype=np.int64)
    places[np.argsort(-counts, kind="stable")] = np.arange(field.size)
    return places


def _values(field: EncodedField, table: EncodedTable, order: NDArray[np.int64]) -> NDArray[np.float64]:
    ids, used = _slots(field, table)
    if field.kind is Kind.CATEGORICAL:
        return np.minimum(order[ids], MOST_CATEGORIES - 1).astype(np.float64)
    if field.kind is Kind.TIMESTAMP:
        return ids.astype(np.float64)
    hot = np.zeros((len(ids), min(field.size, MOST_VALUES)))
    rows, slots = np.nonzero(used & (order[ids] < hot.shape[1]))
    hot[rows, order[ids[rows, slots]]] = 1.0
    return hot


def _slots(field: EncodedField, table: EncodedTable) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Give the field's features within its block (N, slots), and which of them count."""
    slots = slice(field.first_slot, field.first_slot + field.slots)
    ids = table.ids[:, slots].astype(np.int64) - field.offset
    x = table.x(field)
    used = np.ones(ids.shape, dtype=bool) if x is None else x != 0
    return ids, used


def _fit(
    features: Features, parts: RunParts, categorical: NDArray[np.bool_], seed: int
) -> HistGradientBoostingClassifier:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        categorical_features=categorical,
        max_iter=MOST_TREES,
        early_stopping=True,
        n_iter_no_change=PATIENCE,
        random_state=seed,
    )
    with _threads(parts):
        model.fit(features["train"], parts.train.labels, X_val=features["valid"], y_val=parts.valid.labels)
    return model


def _threads(parts: RunParts) -> AbstractContextManager[Any]:
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1 if len(parts.train) < THREADED_ROWS else None, "openmp")
    return limits


def _best(model: HistGradientBoostingClassifier) -> int:
    """Give the number of trees with which the validation logloss was lowest."""
    return int(np.argmax(model.validation_score_))


def _judged(
    model: HistGradientBoostingClassifier, features: Features, parts: RunParts
) -> dict[str, tuple[Part, NDArray[np.float64]]]:
    judged: dict[str, tuple[Part, NDArray[np.float64]]] = {}
    start = float(logit(np.average(parts.train.labels.astype(np.float64))))
    with _threads(parts):
        for name in ("valid", "test"):
            part: Part = getattr(parts, name)
            if len(part):
                judged[name] = part, _logits(model, features[name], start)
    return judged


def _logits(model: Any, rows: NDArray[np.float64], start: float) -> NDArray[np.float64]:
    """Give the log-odds (N,) by the trees up to the best one; with none, where the trees start: the mean label's."""
    stages = islice(model.staged_decision_function(rows), _best(model))
    logits = deque(stages, maxlen=1)
    if not logits:
        return np.full(len(rows), start)
    return np.asarray(logits[0], dtype=np.float64)
