"""Fits one peer at its defaults on one task; runs in the peers' environment, called by accuracy.py.

    python benchmarks/accuracy_peers.py TASK.npz METHOD [METHOD …]     METHOD: gradient-boosting, xgboost, lightgbm, ebm

The file holds `train` (N, C) and `test` (M, C) float64, NaN where missing and categories as codes, `labels` (N,), and
`nominal` (C,) bool. Prints one JSON object: per method `probabilities` (M,) and `seconds`.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

Task = dict[str, Any]


def main() -> None:
    """Run the methods named on the command line."""
    warnings.filterwarnings("ignore")
    path, *methods = sys.argv[1:]
    task = dict(np.load(path))
    out = {}
    for method in methods:
        began = time.process_time()
        probabilities = METHODS[method](task)[:, 1]
        out[method] = {"probabilities": probabilities.tolist(), "seconds": time.process_time() - began}
    print(json.dumps(out))


def gradient_boosting(task: Task) -> np.ndarray:
    """Fit scikit-learn's HistGradientBoostingClassifier, which is told what is categorical."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(categorical_features=task["nominal"], random_state=0)
    return np.asarray(model.fit(task["train"], task["labels"]).predict_proba(task["test"]))


def xgboost(task: Task) -> np.ndarray:
    """Fit XGBoost on the codes; told what is categorical it takes tens of seconds where there are many levels."""
    from xgboost import XGBClassifier

    return np.asarray(XGBClassifier(n_jobs=1).fit(task["train"], task["labels"]).predict_proba(task["test"]))


def lightgbm(task: Task) -> np.ndarray:
    """Fit LightGBM, which is told what is categorical."""
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_jobs=1, verbose=-1)
    model.fit(task["train"], task["labels"], categorical_feature=np.flatnonzero(task["nominal"]).tolist())
    return np.asarray(model.predict_proba(task["test"]))


def ebm(task: Task) -> np.ndarray:
    """Fit interpret-core's explainable boosting machine with pairs, which is told what is categorical."""
    from interpret.glassbox import ExplainableBoostingClassifier

    types = ["nominal" if nominal else "continuous" for nominal in task["nominal"]]
    model = ExplainableBoostingClassifier(feature_types=types, n_jobs=1, random_state=0)
    train, test = (_as_frame(task[part], task["nominal"]) for part in ("train", "test"))
    return np.asarray(model.fit(train, task["labels"]).predict_proba(test))


def _as_frame(values: np.ndarray, nominal: np.ndarray) -> pd.DataFrame:
    columns = {f"c{c}": values[:, c].astype(np.int64) if flag else values[:, c] for c, flag in enumerate(nominal)}
    return pd.DataFrame(columns)


METHODS: dict[str, Callable[[Task], np.ndarray]] = {
    "gradient-boosting": gradient_boosting,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "ebm": ebm,
}

if __name__ == "__main__":
    main()
