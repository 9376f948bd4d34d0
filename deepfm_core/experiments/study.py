"""A hyper-parameter study: settings of one model on the same rows, by design or by a search.

Start with `StudyPlan` and `begin`. `study_table` shows what the runs reached, `optuna_search` does the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from deepfm_core.errors import SpecError
from deepfm_core.spec.presets import preset as preset_of
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.search_space import (
    FACTORS,
    NETWORK,
    Point,
    Value,
    checked,
    factors_of,
    setting_of,
    with_setting,
    written,
)
from deepfm_core.store.groups import SETTINGS
from deepfm_core.store.records import NewRun
from deepfm_core.store.store import LOCAL, Store

ONE, GRID, SEARCH = "one", "grid", "search"
DESIGNS = (ONE, GRID, SEARCH)
"""One factor at a time, as in the paper; every combination; or settings that Optuna proposes."""
MOST_RUNS = 500


@dataclass(frozen=True)
class StudyPlan:
    """The factors and the design of a study.

    Attributes:
        factors: the values to try of each factor; a search looks between the smallest and the largest number.
        model: the model whose settings are varied.
        preset: the settings of the first trial, which factors that are not varied keep.
        design: one of `DESIGNS`.
        trials: the number of trials of a search.
        seeds: runs of each setting, on the same rows.
    """

    factors: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    model: str = "deepfm"
    preset: str = "recommended"
    design: str = ONE
    trials: int = 20
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.design not in DESIGNS:
            raise SpecError(f"Design is {self.design!r}. Use one of {', '.join(DESIGNS)}.")
        if not self.factors:
            raise SpecError("No factor is varied. Choose at least one.")
        for name, values in self.factors.items():
            if name not in factors_of(self.model):
                known = ", ".join(factors_of(self.model))
                raise SpecError(f"Factor is {name!r}, which {self.model} does not have. Use some of {known}.")
            checked(name, values)
        if not 1 <= self.seeds <= 20:
            raise SpecError(f"Seeds is {self.seeds}. Use 1 to 20.")
        if self.design == SEARCH and not 2 <= self.trials <= MOST_RUNS:
            raise SpecError(f"Trials is {self.trials}. Use 2 to {MOST_RUNS}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON."""
        return {**vars(self), "factors": {name: list(values) for name, values in self.factors.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StudyPlan:
        """Rebuild a plan from `to_dict`."""
        factors = {name: checked(name, tried) for name, tried in values["factors"].items()}
        return cls(**{**values, "factors": factors})

    def start(self, base: RunSpec, rows: int) -> RunSpec:
        """Return the spec of the first trial, into which the settings of other trials are put.

        Args:
            base: table, schema, parts and the first seed, which splits the rows of all runs.
            rows: the number of training rows, which presets depend on.
        """
        model, fit = preset_of(self.preset, self.model, rows)
        return replace(base, model=model, fit=fit, split_seed=base.rows_seed, folds=0, explained=False)

    def settings(self, start: RunSpec) -> list[dict[str, Value]]:
        """Return the changes of each trial, in order; the first trial changes nothing.

        Settings that make the same model are tried once: with two layers, for example, a diamond is constant. A search
        has the first trial only, because its settings are chosen while it runs.

        Raises:
            SpecError: a setting is out of range, or there are too many.
        """
        changes: list[dict[str, Value]] = [{}]
        if self.design == GRID:
            changes += [dict(zip(self.factors, values, strict=True)) for values in product(*self.factors.values())]
        elif self.design == ONE:
            changes += [{name: value} for name, values in self.factors.items() for value in values]
        self._require_few(len(changes))
        own = {name: setting_of(start)[name] for name in self.factors}
        distinct: dict[RunSpec, dict[str, Value]] = {}
        for setting in changes:
            # Equal specs train equal models. A change that only states the start's own value is the first trial.
            complete = own | setting
            distinct.setdefault(start if complete == own else with_setting(start, setting), setting)
        return list(distinct.values())

    def runs(self, base: RunSpec, rows: int) -> list[NewRun]:
        """Return all runs: every setting with the first seed, then with the other seeds; a search goes trial by trial.

        Raises:
            SpecError: a setting is out of range, or there are too many.
        """
        start = self.start(base, rows)
        if self.design == SEARCH:
            self._require_few(self.trials)
            self._require_possible(start)
            return [self._run(start, {}, trial, seed) for trial in range(self.trials) for seed in range(self.seeds)]
        settings = list(enumerate(self.settings(start)))
        return [self._run(start, setting, trial, seed) for seed in range(self.seeds) for trial, setting in settings]

    def _require_few(self, settings: int) -> None:
        if settings * self.seeds > MOST_RUNS:
            raise SpecError(
                f"That would be {settings * self.seeds:,} runs, but {MOST_RUNS} is the limit. Use fewer values, fewer "
                "trials, fewer seeds, one factor at a time, or a search."
            )

    def _require_possible(self, start: RunSpec) -> None:
        """Check the settings a search may choose: each value by itself, and width, depth and shape together.

        Raises:
            SpecError: a setting is out of range.
        """
        for name, values in self.factors.items():
            for value in values:
                with_setting(start, {name: value})
        network = {name: values for name, values in self.factors.items() if name in NETWORK}
        for setting in product(*network.values()):
            with_setting(start, dict(zip(network, setting, strict=True)))

    def _run(self, start: RunSpec, setting: Point, trial: int, seed: int) -> NewRun:
        spec = replace(with_setting(start, setting), seed=start.seed + seed)
        to_choose = self.design == SEARCH and trial > 0
        said = ", ".join(f"{FACTORS[name].title} {written(value)}" for name, value in setting.items())
        named = f"trial {trial + 1}" if to_choose else said or "start"
        named += f", seed {spec.seed}" if self.seeds > 1 else ""
        return NewRun(spec, f"{named}, on {spec.table_name}", LOCAL, trial=trial, to_choose=to_choose)


def begin(store: Store, base: RunSpec, rows: int, plan: StudyPlan, *, owner: str = LOCAL, name: str = "") -> str:
    """Queue a study and return its id.

    Args:
        store: the store that holds the table.
        base: table, schema, parts and the first seed.
        rows: the number of training rows.
        plan: the factors and the design.
        owner: the user whose list it appears in.
        name: the name to show; made from model and table by default.

    Raises:
        SpecError: a setting is out of range, or there are too many.
    """
    runs = plan.runs(base, rows)
    return store.comparisons.begin(name or f"{plan.model} on {base.table_name}", owner, SETTINGS, plan.to_dict(), runs)
