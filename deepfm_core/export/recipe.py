"""The fewest words that lead to a run's settings: a preset, and the settings that differ from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from deepfm_core.spec.presets import PRESETS, settings
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec
from deepfm_core.spec.settings import of_home


@dataclass(frozen=True)
class Recipe:
    """How to come to the settings of a run's model and training.

    Attributes:
        preset: where to start.
        chosen: what to say beside it, by name.
        unsaid: settings of the run that cannot be said, by name; empty unless it was made by hand or by other code.
    """

    preset: str
    chosen: dict[str, Any]
    unsaid: dict[str, Any]


def recipe(spec: RunSpec, rows: int, names: Collection[str]) -> Recipe:
    """Find the preset and the fewest settings that lead to a run's model and training.

    Args:
        spec: the run's.
        rows: training rows, which presets depend on.
        names: the settings that can be said.
    """
    recipes = [_from_preset(spec, preset, rows, names) for preset in PRESETS]
    return min(recipes, key=lambda found: (len(found.unsaid), len(found.chosen)))


def _from_preset(spec: RunSpec, preset: str, rows: int, names: Collection[str]) -> Recipe:
    own = {each.name: each.of(spec) for each in (*of_home("model"), *of_home("fit"))}
    chosen = {name: own[name] for name in _differing(spec, *settings(preset, spec.model.name, rows, {}))}
    chosen = {name: value for name, value in chosen.items() if name in names}
    unsaid = _differing(spec, *settings(preset, spec.model.name, rows, chosen))
    return Recipe(preset, chosen, {name: own[name] for name in unsaid})


def _differing(spec: RunSpec, model: ModelSpec, fit: FitSpec) -> list[str]:
    """Name the settings in which a run differs from others, but for those that its model does not read."""
    parts = {"model": (spec.model, model), "fit": (spec.fit, fit)}
    return [
        each.name
        for home, (own, other) in parts.items()
        for each in (of_home("model") if home == "model" else of_home("fit"))
        if getattr(own, each.name) != getattr(other, each.name) and each.needs(spec.model.switches)
    ]
