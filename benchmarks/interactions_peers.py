"""Scores every pair of fields of one table with the peers; runs in their environment, called by interactions.py.

    python benchmarks/interactions_peers.py TABLE.npz METHOD [METHOD …]      METHOD: fast, shap

The file holds `values` (N, C) float64, `nominal` (C,) bool, `field` (C,) the field each column belongs to, and `labels`
(N,). Prints one JSON object: per method `scores` by pair of fields in order, and `seconds`.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from itertools import combinations
from typing import Any

import numpy as np

SHAP_CELLS, FEWEST_SHAP_ROWS = 12 * 400, 100
"""Rows × columns over which SHAP interaction values are averaged: a row costs 10 to 40 ms."""


def main() -> None:
    """Run the methods named on the command line."""
    warnings.filterwarnings("ignore")
    path, *methods = sys.argv[1:]
    table = dict(np.load(path))
    fields = int(table["field"].max()) + 1
    pairs = list(combinations(range(fields), 2))
    out = {}
    for method in methods:
        began = time.process_time()
        columns = {"fast": fast, "shap": shap}[method](table)
        scores = [float(columns[np.ix_(table["field"] == a, table["field"] == b)].sum()) for a, b in pairs]
        out[method] = {"scores": scores, "seconds": time.process_time() - began}
    print(json.dumps(out))


def fast(table: dict[str, Any]) -> np.ndarray:
    """Score columns by FAST on the residuals of the boosted main effects, as EBM does."""
    from interpret.glassbox import ExplainableBoostingClassifier
    from interpret.utils import measure_interactions

    types = ["nominal" if nominal else "continuous" for nominal in table["nominal"]]
    values = table["values"].astype(object)
    values[:, table["nominal"]] = table["values"][:, table["nominal"]].astype(np.int64).astype(str)
    main = ExplainableBoostingClassifier(interactions=0, feature_types=types, n_jobs=1, random_state=0)
    main.fit(values, table["labels"])
    found = measure_interactions(values, table["labels"], init_score=main, feature_types=types, objective="log_loss")
    scores = np.zeros((len(types), len(types)))
    for (a, b), score in found:
        scores[a, b] = scores[b, a] = max(score, 0.0)
    return scores


def shap(table: dict[str, Any]) -> np.ndarray:
    """Average the absolute SHAP interaction values of XGBoost at its defaults."""
    import xgboost

    values, labels = table["values"], table["labels"]
    matrix = xgboost.DMatrix(values, labels)
    settings = {"objective": "binary:logistic", "nthread": 1, "seed": 0}
    booster = xgboost.train(settings, matrix, num_boost_round=100)
    rows = min(len(values), max(FEWEST_SHAP_ROWS, SHAP_CELLS // values.shape[1]))
    sample = np.random.default_rng(0).choice(len(values), size=rows, replace=False)
    total = np.zeros((values.shape[1], values.shape[1]))
    for block in np.array_split(sample, max(1, rows // 100)):
        total += np.abs(booster.predict(xgboost.DMatrix(values[block]), pred_interactions=True))[:, :-1, :-1].sum(0)
    return np.asarray(total / rows)


if __name__ == "__main__":
    main()
