"""The settings of a run as the page Train offers them: preset, model, and everything else under Custom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from app.shared import launch
from app.shared.launch import CUSTOM, GUIDED
from app.state import links
from app.widgets.layout import side_by_side
from app.widgets.text import MODEL_TITLES, plain
from deepfm_core._processor import announces_bfloat16
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.presets import preset, settings_said
from deepfm_core.spec.run import MODEL_NAMES, RunSpec
from deepfm_core.spec.settings import PRECISIONS, SETTINGS, Home, Setting, of_home, setting_named
from deepfm_core.spec.value_kinds import Choice, Crosses, Flag, Number, Whole, Widths

PRESETS = {
    "quick": "a first look: three epochs",
    "recommended": "the centred, regularised form, fitted to the number of rows",
    "paper": "the form and the settings of the DeepFM paper",
    "custom": "every setting, starting from the recommended ones",
}
MODELS = {
    "deepfm": "bias, first order, FM pairs and a DNN, over shared embeddings",
    "fm-dnn": "as DeepFM, but the FM and the DNN have embeddings of their own",
    "dcn-v2": "a DNN beside a cross network whose layers have a matrix each",
    "dcn": "a DNN beside a cross network, which multiplies what it reads with itself, layer by layer",
    "wide-deep": "bias, first order, crossed fields if you name some, and a DNN: the paper's LR & DNN",
    "pnn": "a DNN that reads the embeddings, their inner and their outer products",
    "opnn": "a DNN that reads the embeddings and the outer product of their sum",
    "ipnn": "a DNN that reads the embeddings and the inner products of all pairs",
    "fnn": "a DNN that starts from the weights and embeddings of an FM trained first",
    "dnn": "the DNN alone",
    "fm": "bias, first order and FM pairs",
    "lr": "bias and first order: no pairs",
}
assert set(MODELS) == set(MODEL_NAMES)
OFFERED = {"precision": PRECISIONS if announces_bfloat16() else PRECISIONS[:1]}
"""Choices that depend on the machine. With one left, the form shows no choice."""
GROUPS: dict[Home, str] = {"model": "Model", "fit": "Training", "run": "Rows"}
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
    name, guided = "recommended" if chosen == CUSTOM else chosen, launch.choose_guided(chosen, model_name)
    model, fit = preset(name, model_name, base.training_rows(rows), guided=guided)
    spec = replace(base, model=model, fit=fit)
    return _custom(spec, rows) if chosen == CUSTOM else spec


def in_words(spec: RunSpec, base: RunSpec, rows: int) -> str:
    """Write how a run's settings differ from the usual ones, for its name; empty if they do not.

    Args:
        spec: from `choose`.
        base: the usual values of settings that belong to neither model nor fit.
        rows: of the table.
    """
    chosen = links.chosen("preset") or "recommended"
    off = {"guided": False} if spec.model.switches.second_order and links.chosen(GUIDED) == "off" else {}
    if chosen != CUSTOM:
        return settings_said(chosen, {} if chosen == "paper" else off)
    model, fit = preset("recommended", spec.model.name, spec.training_rows(rows), guided=not off)
    usual = replace(base, model=model, fit=fit)
    named = [setting for setting in SETTINGS if setting.said and setting.of(spec) is not None]
    differing = {setting.name: setting.of(spec) for setting in named if setting.of(spec) != setting.of(usual)}
    return settings_said("recommended", {**off, **differing}) or CUSTOM


def _custom(spec: RunSpec, rows: int) -> RunSpec:
    values = {setting.name: _shown(setting, spec, rows) for setting in SETTINGS if _in_link(setting)}
    linked = links.chosen_values(CUSTOM)
    read = {name: value for name, value in linked.items() if name in values and _fits(name, value, values[name])}
    links.say_unread([name for name in linked if name not in read], "setting")
    with st.container(border=True):
        drawn = {name: setting_named(name).from_text(value) for name, value in _drawn(values, read, spec).items()}
    usual = {name: setting_named(name).from_text(value) for name, value in values.items()}
    return spec.with_settings({name: value for name, value in drawn.items() if value != usual[name]})


def _in_link(setting: Setting) -> bool:
    """Say whether a link may hold a setting: it is drawn, or a preset sets it."""
    return setting.drawn or setting.home in ("model", "fit")


def _shown(setting: Setting, spec: RunSpec, rows: int) -> Any:
    """Return a run's value in the form that its widget takes."""
    if setting.name == "folds":  # by default, the number of rows decides
        return spec.folds_for(rows)
    return setting.as_text(setting.of(spec))


def _fits(name: str, value: Any, default: Any) -> bool:
    """Say whether a value from the URL has the type of a setting."""
    setting = setting_named(name)
    match setting.values:
        case Whole() | Number():
            number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_NUMBER
            return number and default is not None and (isinstance(setting.values, Number) or value == int(value))
        case Choice():
            return value in _offered(setting)
        case Flag():
            return isinstance(value, bool)
        case Widths() | Crosses():
            return isinstance(value, str)


def _offered(setting: Setting) -> tuple[str, ...]:
    assert isinstance(setting.values, Choice)
    return OFFERED.get(setting.name, setting.values.options)


def _drawn(defaults: dict[str, Any], linked: dict[str, Any], spec: RunSpec) -> dict[str, Any]:
    """Draw one widget per setting; return the values of all settings, drawn or not."""
    values = {**defaults, **linked}
    for cell, (home, title) in zip(side_by_side(3, least=220, gap="large"), GROUPS.items(), strict=True):
        with cell:
            st.markdown(f"**{title}**")
            for setting in of_home(home):
                if not setting.needs(spec.model.switches):
                    values[setting.name] = defaults[setting.name]
                elif setting.drawn:
                    values[setting.name] = _widget(setting, values[setting.name], defaults[setting.name])
    return values


def _widget(setting: Setting, value: Any, default: Any) -> Any:
    """Draw a setting and return its value. The URL keeps it if it differs from the default."""
    label, key = setting.heading, f"setting {setting.name}"
    kept: dict[str, Any] = {"key": key, "on_change": _keep, "args": (setting.name, key, default)}
    kept["help"] = plain(setting.sentence)
    match setting.values:
        case Whole() | Number() as numbers:
            whole = isinstance(numbers, Whole)
            st.session_state[key] = int(value) if whole else float(value)
            kept |= {"step": numbers.step, "format": None if whole else "%.6g"}
            return st.number_input(label, **_limits(numbers, value), **kept)
        case Choice():
            options = _offered(setting)
            st.session_state[key] = value if value in options else options[0]
            return st.selectbox(label, options, **kept) if len(options) > 1 else value
        case Flag():
            st.session_state[key] = bool(value)
            return st.toggle(label, **kept)
        case Widths() | Crosses():
            st.session_state[key] = str(value)
            return st.text_input(label, **kept)


def _limits(numbers: Whole | Number, value: float) -> dict[str, Any]:
    """Return a widget's range. It has none if a link's value is outside: the page then shows the spec's error."""
    if not numbers.allows(value):
        return {}
    kind = type(numbers.step)
    found = {"min_value": numbers.least, "max_value": numbers.high}
    return {name: kind(limit) for name, limit in found.items() if limit is not None}


def _keep(name: str, key: str, default: Any) -> None:
    values = links.chosen_values(CUSTOM)
    value = st.session_state[key]
    values.pop(name, None)
    if value != default and value is not None:
        values[name] = value
    links.choose_values(CUSTOM, values)
