"""Predictions and metrics of a run, from its logits on the validation and test part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.encoding.splits import Part
from deepfm_core.errors import TrainingError
from deepfm_core.metrics.scores import Metrics, evaluate, sigmoid
from deepfm_core.store.run_folder import RunFolder

METRICS = "metrics.json"


def evaluate_parts(
    folder: RunFolder, evaluated: Mapping[str, tuple[Part, NDArray[np.float64]]], rate: float
) -> dict[str, Metrics]:
    """Write the frame `predictions` and the metrics of each part, and return the metrics.

    Args:
        folder: the run's folder.
        judged: by name of the part, its N rows and their logits (N,).
        rate: the training part's click rate.

    Raises:
        TrainingError: a logit is not a number.
    """
    for name, (_, logits) in evaluated.items():
        if not np.isfinite(logits).all():
            raise TrainingError(f"Some logits of the {name} part are not numbers. Use a lower learning rate.")
    metrics = {name: evaluate(part.labels, logits, rate) for name, (part, logits) in evaluated.items()}
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
