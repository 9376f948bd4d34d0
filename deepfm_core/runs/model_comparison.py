"""A comparison of models: every one trained on the same rows with the same encoder and the same rule to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deepfm_core.errors import SpecError
from deepfm_core.runs.comparisons import MODELS
from deepfm_core.runs.entering import NewRun
from deepfm_core.runs.store import LOCAL, Store
from deepfm_core.training.presets import settings
from deepfm_core.training.spec import MODEL_NAMES, YARDSTICK, ModelSpec, RunSpec
from deepfm_core.training.switches import MODELS as SWITCHES

MOST_SEEDS = 20


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared.

    Attributes:
        models: names from `MODEL_NAMES`.
        seeds: runs of each model; they differ in first weights, order of rows and dropout, never in their rows.
        preset: whose settings each model has.
        chosen: settings that all models have instead of the preset's.
        yardstick: whether gradient boosting runs beside them, once: seeds do not change it.
    """

    models: tuple[str, ...] = MODEL_NAMES
    seeds: int = 1
    preset: str = "recommended"
    chosen: Mapping[str, Any] = field(default_factory=dict)
    yardstick: bool = True

    def __post_init__(self) -> None:
        unknown = [name for name in self.models if name not in MODEL_NAMES]
        if unknown or not self.models:
            named = unknown[0] if unknown else "none"
            raise SpecError(f"Model to compare is `{named}`. Name some of {', '.join(MODEL_NAMES)}.")
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise SpecError(f"Seeds is {self.seeds}. Use 1 to {MOST_SEEDS}.")
        crossing = [name for name, switches in SWITCHES.items() if switches.crosses]
        if self.chosen.get("crosses") and not set(crossing) & set(self.models):
            raise SpecError(f"Crossed fields are named, and no model that has them. Compare {crossing[0]} as well.")

    def to_dict(self) -> dict[str, Any]:
        """Give the plan as plain values for JSON."""
        return {**vars(self), "models": list(self.models), "chosen": dict(self.chosen)}

    def specs(self, base: RunSpec, rows: int) -> list[RunSpec]:
        """Give the runs' specs: all models with the first seed, the yardstick, then the other seeds.

        Args:
            base: says table, schema, parts and the first seed, which divides the rows for all of them.
            rows: of the training part, which presets go by.

        Raises:
            SpecError: a setting is out of range for a model.
        """
        models = [name for name in MODEL_NAMES if name in self.models]  # LR first, which times are measured by
        same_rows = replace(base, split_seed=base.rows_seed, folds=0)
        specs = []
        for number in range(self.seeds):
            for name in models:
                model, fit = settings(self.preset, name, rows, self._settings_of(name))
                specs.append(replace(same_rows, model=model, fit=fit, seed=base.seed + number))
            if number == 0 and self.yardstick:
                specs.append(replace(same_rows, model=ModelSpec(YARDSTICK)))
        return specs

    def _settings_of(self, name: str) -> dict[str, Any]:
        return {key: value for key, value in self.chosen.items() if SWITCHES[name].crosses or key != "crosses"}


def begin(
    store: Store,
    base: RunSpec,
    rows: int,
    plan: ComparisonPlan,
    *,
    owner: str = LOCAL,
    name: str = "",
    titles: Mapping[str, str] | None = None,
) -> str:
    """Queue a comparison and return its id.

    Args:
        store: where its table is.
        base: says table, schema, parts and the first seed.
        rows: of the training part.
        plan: what is compared.
        owner: whose list it goes to.
        name: to show; by default that of the table.
        titles: how models are called in the names of the runs.

    Raises:
        SpecError: a setting is out of range for a model.
    """
    specs = plan.specs(base, rows)
    called = {name: (titles or {}).get(name, name) for name in (*MODEL_NAMES, YARDSTICK)}
    runs = [NewRun(spec, _name(called[spec.model.name], spec, plan.seeds), owner) for spec in specs]
    return store.comparisons.begin(name or f"Models on {base.table_name}", owner, MODELS, plan.to_dict(), runs)


def _name(title: str, spec: RunSpec, seeds: int) -> str:
    seed = f", seed {spec.seed}" if seeds > 1 and spec.model.name != YARDSTICK else ""
    return f"{title}{seed} on {spec.table_name}"
