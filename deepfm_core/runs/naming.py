"""What runs are called until somebody names them, by the app and the command line alike."""

from __future__ import annotations

from deepfm_core.training.spec import RunSpec

MODEL_TITLES = {
    "deepfm": "DeepFM",
    "fm-dnn": "FM & DNN",
    "wide-deep": "Wide & Deep",
    "pnn": "PNN*",
    "opnn": "OPNN",
    "ipnn": "IPNN",
    "fnn": "FNN",
    "dnn": "DNN",
    "fm": "FM",
    "lr": "LR",
    "boosting": "Gradient boosting",
}
"""The models as the DeepFM paper calls them; its "LR & DNN" is Wide & Deep. Last the yardstick of comparisons."""


def run_name(spec: RunSpec, settings: str = "") -> str:
    """Name a run by its model, its settings where they are not the usual ones, and its table."""
    said = f", {settings}" if settings else ""
    return f"{MODEL_TITLES.get(spec.model.name, spec.model.name)}{said} on {spec.table_name}"
