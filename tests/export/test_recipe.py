"""The words that lead to a run's settings lead there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepfm_core.export.run_code import recipe
from deepfm_core.spec.models import MODELS
from deepfm_core.spec.presets import PRESETS, settings
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.settings import SETTINGS
from tests.small_engine import spec as small_spec

OPTIONS = [setting.name for setting in SETTINGS if setting.option]


def spec_of(model: str, preset: str, rows: int, **chosen: object) -> RunSpec:
    model_spec, fit = settings(preset, model, rows, chosen)
    return replace(small_spec(), model=model_spec, fit=fit)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("chosen", [{}, {"l2": 0.1}, {"epochs": 7, "batch_size": 32}])
def test_a_recipe_leads_to_the_settings_of_the_run(model, preset, chosen) -> None:
    spec = spec_of(model, preset, 9000, **chosen)
    found = recipe(spec, 9000, OPTIONS)
    assert settings(found.preset, model, 9000, found.chosen) == (spec.model, spec.fit)
    assert not found.unsaid
    assert len(found.chosen) <= len(chosen)


def test_what_no_option_says_is_named() -> None:
    spec = spec_of("deepfm", "recommended", 9000)
    odd = replace(spec, fit=replace(spec.fit, first_order_rate=9.0))
    assert recipe(odd, 9000, OPTIONS).unsaid == {"first_order_rate": 9.0}
