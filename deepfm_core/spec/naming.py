"""Names of new runs, for the app and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepfm_core.spec.models import PUBLISHED
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.search_space import written
from deepfm_core.spec.settings import SETTINGS

MODEL_TITLES = {
    "deepfm": "DeepFM",
    PUBLISHED: "DeepFM (paper)",
    "dcn-v2": "DCN-V2",
    "dcn": "DCN",
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
"""The models as their papers call them; the "LR & DNN" of DeepFM's is Wide & Deep. Last the baseline of comparisons."""

MOST_SAID = 3
"""Most settings in a name."""


def settings_said(preset: str, chosen: Mapping[str, Any]) -> str:
    """Say in a few words how a run's settings differ from the usual ones: by its preset, and by what was chosen."""
    said = {setting.name: setting.said for setting in SETTINGS if setting.said and setting.name in chosen}
    names = sorted(said, key=lambda name: (said[name].place, name))
    parts = [said[name].form.format(_value(chosen[name])) for name in names]
    parts = parts if preset == "recommended" else [preset, *parts]
    return ", ".join([*parts[:MOST_SAID], "…"] if len(parts) > MOST_SAID else parts)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):  # widths, or pairs of crossed fields
        return "-".join("*".join(part) if isinstance(part, tuple) else str(part) for part in value)
    return "-".join(part.strip() for part in written(value).split(","))


def run_name(spec: RunSpec, settings: str = "") -> str:
    """Name a run by its model, its settings where they are not the usual ones, and its table."""
    said = f", {settings}" if settings else ""
    return f"{MODEL_TITLES.get(spec.model.name, spec.model.name)}{said} on {spec.table_name}"
