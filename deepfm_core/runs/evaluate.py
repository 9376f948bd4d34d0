"""Predictions and metrics of a run on the validation and test part; and the baseline that a comparison has."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedField, EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import Part, RunParts, load_parts
from deepfm_core.errors import TrainingError
from deepfm_core.metrics.scores import Metrics, evaluate, sigmoid
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.column import Cells
from deepfm_core.schema.schema import FieldRole, Schema
from deepfm_core.spec.events import Cancelled, Event, Finished, Stage
from deepfm_core.store.run_folder import RunFolder

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier


METRICS = "metrics.json"


def evaluate_parts(
    folder: RunFolder,
    evaluated: Mapping[str, tuple[Part, NDArray[np.float64]]],
    rate: float,
    whole: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float64]]] | None = None,
) -> dict[str, Metrics]:
    """Write the frame `predictions` and the metrics of each part, and return the metrics.

    Args:
        folder: the run's folder.
        judged: by name of the part, its N rows and their logits (N,).
        rate: the training part's click rate.
        whole: by name of the part, labels and logits of all its rows, where `evaluated` has those of a sample.

    Raises:
        TrainingError: a logit is not a number.
    """
    asked = whole or {name: (part.labels, logits) for name, (part, logits) in evaluated.items()}
    for name, (_, logits) in asked.items():
        if not np.isfinite(logits).all():
            raise TrainingError(f"Some logits of the {name} part are not numbers. Use a lower learning rate.")
    metrics = {name: evaluate(labels, logits, rate) for name, (labels, logits) in asked.items()}
    frames = [_predictions(name, part, logits) for name, (part, logits) in evaluated.items()]
    folder.write_frame("predictions", pd.concat(frames, ignore_index=True))
    folder.write_json(METRICS, {name: asdict(values) for name, values in metrics.items()})
    return metrics


def scores(metrics: Metrics | None) -> dict[str, float | None] | None:
    """Return a part's AUC and logloss for the run's summary; None for a part without rows."""
    return None if metrics is None else {"auc": metrics.auc, "logloss": metrics.logloss}


def _predictions(name: str, part: Part, logits: NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "part": pd.Categorical([name] * len(part)),
            "row": part.rows,
            "label": part.labels.astype(np.int8),
            "logit": logits,
            "probability": sigmoid(logits),
        }
    )


# The baseline of a comparison: scikit-learn's gradient boosting on the same rows, which a user would try instead.


MOST_TREES, PATIENCE = 1000, 10
"""Most trees, and trees without a better validation logloss before it stops. Other settings are the defaults."""
MOST_CATEGORIES = 255
"""Most categories of a column, which is scikit-learn's limit; the rarest values share the last one."""
MOST_VALUES = 64
"""Most columns of a multi-valued field, one for each of its most frequent values."""
THREADED_ROWS = 100_000
"""Training rows from which several threads are faster than one."""

Features = dict[str, NDArray[np.float64]]
"""By name of the part, (N, C): numbers as they are, categories as codes, NaN for a missing number."""


def boost(job: Job, context: Context) -> Iterator[Event]:
    """Do a run of the baseline: read, encode, fit, evaluate, and write predictions and metrics.

    Raises:
        DeepFMError: the tables or the schema cannot be used.
    """
    job.folder.create().write_spec(job.spec)
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    for name in ("read", "encode", "fit", "evaluate"):
        yield Stage(name)
        if context.cancelled():
            yield Cancelled(0)
            return
        match name:
            case "read":
                parts = load_parts(job.spec, context.table)
            case "encode":
                features, categorical = columns(parts, job.spec.schema, job.spec.min_count)
            case "fit":
                model = _fit(features, parts, categorical, job.spec.seed)
            case "evaluate":
                metrics = evaluate_parts(
                    job.folder, _evaluated(model, features, parts), float(parts.train.labels.mean())
                )
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
    """Turn the rows of each part into columns for trees.

    Values come from the same encoder as those of the compared models, so the same ones are rare or unseen.

    Returns:
        The columns (N, C) of each part, and which of them are categories (C,).
    """
    train = parts.train
    encoder = Encoder.fit(train.table.frame, schema, rows=train.rows, min_count=min_count, subject=train.table.name)
    named: dict[str, Part] = {name: getattr(parts, name) for name in ("train", "valid", "test")}
    encoded = {name: part.encode(encoder) for name, part in named.items()}
    blocks: dict[str, list[NDArray[np.float64]]] = {name: [] for name in named}
    categorical: list[bool] = []
    for role in schema.used:
        if role.kind.is_number:
            for name, part in named.items():
                blocks[name].append(_numbers(part, role))
            categorical.append(False)
    for field in encoded["train"].layout.fields:
        if not field.kind.is_number:
            order = _by_frequency(field, encoded["train"])
            for name, table in encoded.items():
                blocks[name].append(_values(field, table, order))
            categorical += [field.kind.takes_any_text] * blocks["train"][-1].shape[1]
    return {name: np.concatenate(made, axis=1) for name, made in blocks.items()}, np.array(categorical)


def _numbers(part: Part, role: FieldRole) -> NDArray[np.float64]:
    cells = Cells.of(part.table.frame, role.column).noted(role.notation)
    values = np.asarray(cells.numbers.values, dtype=np.float64)
    return np.asarray(values[cells.codes[part.rows], None])


def _by_frequency(field: EncodedField, train: EncodedTable) -> NDArray[np.int64]:
    """Return the rank of each feature of a field by its training rows, the most frequent one first: (size,)."""
    ids, used = _slots(field, train)
    counts = np.bincount(ids[used], minlength=field.size)
    places = np.empty(field.size, dtype=np.int64)
    places[np.argsort(-counts, kind="stable")] = np.arange(field.size)
    return places


def _values(field: EncodedField, table: EncodedTable, order: NDArray[np.int64]) -> NDArray[np.float64]:
    ids, used = _slots(field, table)
    if field.kind.takes_any_text:
        rank = np.minimum(order[ids], MOST_CATEGORIES - 1)  # by frequency, as the category's code
        return rank.astype(np.float64)
    if field.kind.is_time:
        return ids.astype(np.float64)
    hot = np.zeros((len(ids), min(field.size, MOST_VALUES)))
    rows, slots = np.nonzero(used & (order[ids] < hot.shape[1]))
    hot[rows, order[ids[rows, slots]]] = 1.0
    return hot


def _slots(field: EncodedField, table: EncodedTable) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return a field's feature numbers (N, slots), from 0 within the field, and which of these slots are used."""
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
    """Return the number of trees at the lowest validation logloss."""
    return int(np.argmax(model.validation_score_))


def _evaluated(
    model: HistGradientBoostingClassifier, features: Features, parts: RunParts
) -> dict[str, tuple[Part, NDArray[np.float64]]]:
    from scipy.special import logit

    evaluated: dict[str, tuple[Part, NDArray[np.float64]]] = {}
    start = float(logit(np.average(parts.train.labels.astype(np.float64))))
    with _threads(parts):
        for name in ("valid", "test"):
            part: Part = getattr(parts, name)
            if len(part):
                evaluated[name] = part, _logits(model, features[name], start)
    return evaluated


def _logits(model: Any, rows: NDArray[np.float64], start: float) -> NDArray[np.float64]:
    """Return the log-odds of the trees up to the best one: (N,). With no tree, that is where they start."""
    stages = islice(model.staged_decision_function(rows), _best(model))
    logits = deque(stages, maxlen=1)  # the last stage alone is kept
    if not logits:  # no tree improved on the base rate
        return np.full(len(rows), start)
    return np.asarray(logits[0], dtype=np.float64)
