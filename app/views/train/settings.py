"""The settings of a run as the page Train offers them: preset, model, and everything else under Custom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from app.shared import launch
from app.shared.apply_settings import CUSTOM
from app.state import links
from app.widgets.layout import side_by_side
from app.widgets.messages import MODEL_TITLES
from deepfm_core.errors import SpecError
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.crosses import parse_crosses
from deepfm_core.spec.naming import settings_said
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import ACTIVATIONS, MODEL_NAMES, PRECISIONS, FitSpec, ModelSpec, RunSpec
from deepfm_core.training.processor import announces_bfloat16

PRESETS = {
    "quick": "a first look: three epochs",
    "recommended": "the centred, regularised form, fitted to the number of rows",
    "paper": "the form and the settings of the DeepFM paper",
    "custom": "every setting, starting from the recommended ones",
}
MODELS = {
    "deepfm": "bias + first-order + pairs + network, over shared embeddings",
    "fm-dnn": "as DeepFM, but FM and network have an embedding set each",
    "wide-deep": "bias + first-order, crossed fields if named, + network: LR & DNN in the paper",
    "pnn": "a network that reads embeddings, their inner and their outer products",
    "opnn": "a network that reads embeddings and the outer product of their sum",
    "ipnn": "a network that reads embeddings and the inner products of all pairs",
    "fnn": "a network that starts from the weights and embeddings of an FM trained first",
    "dnn": "the network alone",
    "fm": "bias + first-order + pairs",
    "lr": "bias + first-order: no pairs",
}
assert set(MODELS) == set(MODEL_NAMES)
CHOICES = {"activation": ACTIVATIONS, "precision": PRECISIONS if announces_bfloat16() else PRECISIONS[:1]}
PRECISION_HELP = (
    "Of the hidden layers' products while training. bfloat16 keeps three digits of each factor; weights, the FM and"
    " every evaluation stay in float32. It pays for wide layers alone: with 400 units fits were 1.4 to 2 times as fast,"
    " with 64 no faster. Test AUC differed from float32's by 0.0004 or less on average, 0.0013 in the worst of 21 fits."
)
MOST_NUMBER = 2**53
"""Below it a browser holds every whole number."""


def choose(sha: str, schema: Schema, rows: int) -> RunSpec:
    """Draw the settings and return the spec they make.

    Raises:
        SpecError: a setting is out of range or contradicts another.
    """
    left, right = side_by_side(2)
    with left:
        kept = links.mirror("preset", list(PRESETS), "recommended")
        chosen = st.segmented_control("Settings", list(PRESETS), format_func=str.capitalize, required=True, **kept)
        st.caption(PRESETS[chosen].capitalize() + ".")
    with right:
        kept = links.mirror("model", list(MODELS), "deepfm")
        model_name = st.selectbox("Model", list(MODELS), format_func=MODEL_TITLES.__getitem__, **kept)
        st.caption(f"{MODELS[model_name][0].upper()}{MODELS[model_name][1:]}.")
    base = launch.base_spec(sha, schema)
    model, fit = preset("recommended" if chosen == CUSTOM else chosen, model_name, base.training_rows(rows))
    spec = replace(base, model=model, fit=fit)
    return _custom(spec, rows) if chosen == CUSTOM else spec


def in_words(spec: RunSpec, base: RunSpec, rows: int) -> str:
    """Say how a run's settings differ from the usual ones, for its name; nothing where they do not.

    Args:
        spec: as `choose` gives it.
        base: with the usual settings of what is neither the model's nor the fit's.
        rows: of the table.
    """
    chosen = links.chosen("preset") or "recommended"
    if chosen != CUSTOM:
        return settings_said(chosen, {})
    model, fit = preset("recommended", spec.model.name, spec.training_rows(rows))
    ours, usual = (
        {**_values(each.model), **_values(each.fit), **_apart(each)}
        for each in (spec, replace(base, model=model, fit=fit))
    )
    differing = {name: value for name, value in ours.items() if value != usual[name] and value is not None}
    return settings_said("recommended", differing) or CUSTOM


def _apart(spec: RunSpec) -> dict[str, Any]:
    return {"min_count": spec.min_count, "seed": spec.seed}


def _custom(spec: RunSpec, rows: int) -> RunSpec:
    defaults = {
        **_values(spec.model),
        **_values(spec.fit),
        "min_count": spec.min_count,
        "seed": spec.seed,
        "folds": spec.folds_for(rows),
    }
    defaults["layers"] = ", ".join(map(str, spec.model.layers))
    defaults["crosses"] = ""
    linked = links.chosen_values(CUSTOM)
    read = {name: value for name, value in linked.items() if name in defaults and _fits(name, value, defaults[name])}
    links.say_unread([name for name in linked if name not in read], "setting")
    values = {**defaults, **read}
    with st.container(border=True):
        values = _draw(values, defaults, spec)
    return _spec(spec, values)


def _fits(name: str, value: Any, default: Any) -> bool:
    """Say whether a value of the URL is of the kind that a setting has."""
    match default:
        case bool():
            return isinstance(value, bool)
        case int() | float():
            number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_NUMBER
            return number and (isinstance(default, float) or value == int(value))
        case str():
            return isinstance(value, str) and value in CHOICES.get(name, (value,))
    return False


def _values(part: object) -> dict[str, Any]:
    return {name: value for name, value in vars(part).items() if name != "name"}


def _draw(values: dict[str, Any], defaults: dict[str, Any], spec: RunSpec) -> dict[str, Any]:
    setting = _Settings(values, defaults)
    model, fit, table = side_by_side(3, least=220, gap="large")
    with model:
        st.markdown("###### Model")
        setting.number("embedding_size", "Embedding size", "Numbers an embedding holds: K of the paper.")
        setting.text("layers", "Layers", "Widths of the network's hidden layers, from the input on.")
        setting.one_of("activation", "Activation", list(CHOICES["activation"]))
        setting.number(
            "dropout", "Dropout", "Probability to drop a unit (the paper states the probability to keep it).", 0.05
        )
        setting.flag("batch_norm", "Batch normalisation")
        setting.flag(
            "centred",
            "Centred embeddings",
            "The FM multiplies embeddings less their field's mean: main effects stay out of pairs.",
        )
        if spec.model.switches.crosses:
            how = "Pairs of fields, such as `device*hour, site*ad`: each combination gets a first-order weight."
            setting.text("crosses", "Crossed fields", how)
        else:
            setting.values["crosses"] = ""
    with fit:
        st.markdown("###### Training")
        setting.number("epochs", "Epochs at most", "Passes over the training rows.")
        setting.number("patience", "Patience", "Epochs without a better validation logloss before training stops.")
        setting.number("batch_size", "Batch size", "Rows a step.")
        setting.number("learning_rate", "Learning rate", "Step size of Adam.", 1e-3)
        if len(CHOICES["precision"]) > 1:
            setting.one_of("precision", "Precision", list(CHOICES["precision"]), PRECISION_HELP)
        setting.number("l2", "L2", "λ of λ/2 · Σ w² over first-order weights and embeddings.", 1e-4)
    with table:
        st.markdown("###### Rows")
        setting.number("min_count", "Minimum count", "Values with fewer training rows share the feature “rare”.")
        setting.number("seed", "Seed", "Start of the random numbers: the same seed gives the same run.")
        help_text = "Parts to divide the rows into, to ask each pair on rows it was not learned from; 0 does not ask."
        setting.number("folds", "Folds for unseen rows", help_text)
    return setting.values


class _Settings:
    """Widgets of single settings, kept in the URL where they differ from the default."""

    def __init__(self, values: dict[str, Any], defaults: dict[str, Any]) -> None:
        self.values, self._defaults = values, defaults

    def number(self, name: str, label: str, help_text: str, step: float = 1) -> None:
        """Draw a number; the spec says what is out of range."""
        whole = isinstance(self._defaults[name], int)
        self._start(name, int(self.values[name]) if whole else float(self.values[name]))
        form = None if whole else "%.6g"
        self.values[name] = st.number_input(
            label, help=help_text, step=int(step) if whole else step, format=form, **self._kept(name)
        )

    def text(self, name: str, label: str, help_text: str) -> None:
        """Draw a text."""
        self._start(name, str(self.values[name]))
        self.values[name] = st.text_input(label, help=help_text, **self._kept(name))

    def one_of(self, name: str, label: str, options: list[str], help_text: str | None = None) -> None:
        """Draw a choice."""
        self._start(name, self.values[name] if self.values[name] in options else options[0])
        self.values[name] = st.selectbox(label, options, help=help_text, **self._kept(name))

    def flag(self, name: str, label: str, help_text: str | None = None) -> None:
        """Draw a switch."""
        self._start(name, bool(self.values[name]))
        self.values[name] = st.toggle(label, help=help_text, **self._kept(name))

    def _start(self, name: str, value: Any) -> None:
        st.session_state[_key(name)] = value

    def _kept(self, name: str) -> dict[str, Any]:
        return {"key": _key(name), "on_change": _keep, "args": (name, self._defaults[name])}


def _key(name: str) -> str:
    return f"setting {name}"


def _keep(name: str, default: Any) -> None:
    values = links.chosen_values(CUSTOM)
    value = st.session_state[_key(name)]
    values.pop(name, None)
    if value != default and value is not None:
        values[name] = value
    links.choose_values(CUSTOM, values)


def _spec(spec: RunSpec, values: dict[str, Any]) -> RunSpec:
    def of(part: type, **known: Any) -> dict[str, Any]:
        return {name: values[name] for name in part.__dataclass_fields__ if name in values} | known  # type: ignore[attr-defined]

    if values["l2"] != spec.fit.l2:
        values = {**values, "embedding_l2": None}  # a chosen λ is that of the embeddings, too
    own: dict[str, Any] = {"layers": _widths(values["layers"]), "crosses": parse_crosses(values["crosses"].split(","))}
    model = ModelSpec(**of(ModelSpec, name=spec.model.name, **own))
    own = {name: values[name] for name in ("min_count", "seed", "folds")}
    return replace(spec, model=model, fit=FitSpec(**of(FitSpec)), **own)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.replace(",", " ").split())
    except ValueError:
        raise SpecError(f"Layers is {text!r}. Use widths such as 64, 32.") from None
