"""What a model's name stands for: the settings of its presets, its title, and the names of its new runs.

The settings of a preset go by the number of training rows, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deepfm_core.errors import SpecError
from deepfm_core.spec.models import GUIDED_EMBEDDING_SD, PUBLISHED
from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec, RunSpec
from deepfm_core.spec.search_space import written
from deepfm_core.spec.settings import SETTINGS, by_home

PRESETS = ("recommended", "paper", "quick")
"""What `--preset` takes."""

FIRST_ORDER_SD, EMBEDDING_SD = 0.25, 0.15
"""Expected sizes of weights (in log-odds) and of embeddings (in its square root)."""

EPOCHS = 60
"""The most epochs of the recommended settings."""
PATIENCE, GUIDED_PATIENCE = 3, 8
"""Epochs of patience at least, and the most of a guided model."""
STEADY_STEPS = 180
"""Steps that a model waits, in whole epochs, which has neither a DNN nor a guide: of a small table three epochs are a
dozen steps. All its weights have a prior, so training longer does no harm (docs/decisions/038)."""
GUIDED_STEPS = 1200
"""Steps that a guided model waits, in whole epochs: what it learns late shows after so many steps, not epochs."""
LEAST_GAIN = 5e-5
"""Share of the validation logloss that it must fall by for a guided model to be waited for. Of many rows every other
epoch gains a millionth, and patience does not end."""


def preset(name: str, model_name: str, rows: int, *, guided: bool = True) -> tuple[ModelSpec, FitSpec]:
    """Give a preset's settings for `rows` training rows; why they are as they are: docs/decisions/012, 022.

    `recommended` is the centred, regularised form, of which a model with FM pairs is guided unless that is not wanted:
    it starts from main effects and the pairs that the labels support. LR is solved, unless that is not wanted. `paper`
    is the form of Guo et al. 2017; `quick` is a first look, `recommended` with larger steps and few epochs.

    Raises:
        SpecError: there is no preset or no model of that name.
    """
    if model_name not in MODEL_NAMES:
        raise SpecError(f"Model is {model_name!r}. Use one of {', '.join(MODEL_NAMES)}.")
    if name == "recommended":
        return _recommended(model_name, rows, guided)
    if name == "paper":
        return _paper(model_name)
    if name == "quick":
        return _quick(model_name, rows, guided)
    raise SpecError(f"Preset is {name!r}. Use one of {', '.join(PRESETS)}.")


def settings(name: str, model_name: str, rows: int, chosen: Mapping[str, Any]) -> tuple[ModelSpec, FitSpec]:
    """Give a preset's settings with the `chosen` ones in their place.

    A chosen `l2` is that of the embeddings, too.

    Raises:
        SpecError: there is no such preset, model or setting, or a value is out of range.
    """
    model, fit = preset(name, model_name, rows, guided=bool(chosen.get("guided", True)))
    parts = by_home(chosen, ("model", "fit"))
    return replace(model, **parts["model"]), replace(fit, **parts["fit"])


def _recommended(model_name: str, rows: int, guided: bool) -> tuple[ModelSpec, FitSpec]:
    model = ModelSpec(model_name, embedding_size=8, layers=(64, 32), dropout=0.5, centred=True, embedding_sd=0.1)
    fit = FitSpec(
        epochs=EPOCHS,
        patience=PATIENCE if model.deep else _steady_patience(rows),
        batch_size=_batch_size(rows),
        learning_rate=3e-3,
        first_order_rate=3.0,
        averaging=True,
        l2=_l2(rows, FIRST_ORDER_SD),
        embedding_l2=_l2(rows, EMBEDDING_SD),
    )
    if guided and not model.switches.pairs:
        return replace(model, guided=True), fit
    if not (guided and model.switches.second_order):
        return model, fit
    # What a guide leaves is weaker, and takes longer to find: more patience, and embeddings that may be larger.
    freer = replace(
        fit, patience=_guided_patience(rows), least_gain=LEAST_GAIN, embedding_l2=_l2(rows, GUIDED_EMBEDDING_SD)
    )
    return replace(model, guided=True, embedding_sd=0.2), freer


def _paper(model_name: str) -> tuple[ModelSpec, FitSpec]:
    """The paper's settings on Criteo (section 3.1.4): tanh for IPNN, ReLU for the other networks; batch size, learning
    rate and L2, which it leaves out, are ours, and so is Adam for LR, which the paper trains by FTRL."""
    activation = "tanh" if model_name == "ipnn" else "relu"
    model = ModelSpec(model_name, embedding_size=10, layers=(400, 400, 400), activation=activation, dropout=0.5)
    return model, FitSpec(epochs=30, patience=PATIENCE, batch_size=1024, learning_rate=1e-3, l2=1e-5)


def _quick(model_name: str, rows: int, guided: bool) -> tuple[ModelSpec, FitSpec]:
    model, fit = _recommended(model_name, rows, guided)
    return model, replace(fit, epochs=3, batch_size=2 * fit.batch_size, learning_rate=2 * fit.learning_rate)


def _batch_size(rows: int) -> int:
    """Give the power of two nearest to 2√rows, from 64 to 4096: noise enough in small tables, few steps in large."""
    exponent = round(math.log2(_usual_batch(rows)))
    return int(2 ** min(max(exponent, 6), 12))


def _usual_batch(rows: int) -> float:
    return 2 * math.sqrt(max(rows, 1))


def _guided_patience(rows: int) -> int:
    """Give the epochs of `GUIDED_STEPS` steps: 2400/√rows, from 3 to 8. An epoch of a large table has many steps."""
    epochs = math.ceil(GUIDED_STEPS * _usual_batch(rows) / max(rows, 1))
    return min(max(epochs, PATIENCE), GUIDED_PATIENCE)


def _steady_patience(rows: int) -> int:
    """Give the epochs of `STEADY_STEPS` steps, from `PATIENCE` to `EPOCHS`."""
    steps = math.ceil(max(rows, 1) / _batch_size(rows))
    return min(max(math.ceil(STEADY_STEPS / steps), PATIENCE), EPOCHS)


def _l2(rows: int, sd: float) -> float:
    """Give the λ that is a Gaussian prior of that standard deviation on each weight: the mean logloss of N rows plus
    λ/2 · w² is 1/N of the negative log posterior with λ = 1 / (N · sd²)."""
    return float(f"{1 / (max(rows, 1) * sd**2):.2g}")


# Names of new runs, for the app and the command line.


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
