"""A hyper-parameter study: settings of one model on the same rows, by design or by a search.

Start with `StudyPlan` and `begin`. `study_table` shows what the runs reached, `choose` asks the search for a setting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pandas as pd

from deepfm_core.errors import RunError, SpecError
from deepfm_core.metrics.bootstrap import Difference, compare_paired
from deepfm_core.runs.job import Context, Engine, Job
from deepfm_core.spec.events import Event, Stage
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
from deepfm_core.store.records import NewRun, RunRow
from deepfm_core.store.store import LOCAL, Store

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


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
        guided: whether a model that can starts from its guide. Where no epoch does better, the guide alone is kept,
            and the settings varied change nothing.
    """

    factors: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    model: str = "deepfm"
    preset: str = "recommended"
    design: str = ONE
    trials: int = 20
    seeds: int = 1
    guided: bool = True

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
        model, fit = preset_of(self.preset, self.model, rows, guided=self.guided)
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


# The results of a study: by run (`study_table`), by setting (`trial_table`) and by factor (`factor_lines`).


MEASURES = ("valid_logloss", "valid_auc", "test_logloss", "test_auc")
"""The metrics shown of a setting. The first one chooses the best setting; the test part never does."""


def study_table(runs: Sequence[RunRow], plan: StudyPlan) -> pd.DataFrame:
    """Return one row per finished run: `run`, `trial`, `seed`, the factors, `MEASURES`, `parameters`, `seconds`."""
    rows = []
    designed = _designed(runs, plan)
    for run in runs:
        if not run.ended_well:
            continue
        own, summary = setting_of(run.spec) | designed.get(int(run.trial or 0), {}), run.summary
        row = {"run": run.id, "trial": int(run.trial or 0), "seed": run.spec.seed}
        row |= {name: own[name] for name in plan.factors}
        for measure in MEASURES:
            part, _, metric = measure.partition("_")
            row[measure] = (summary.get(part) or {}).get(metric)
        rows.append(row | {"parameters": summary.get("parameters"), "seconds": summary["seconds"]["fit"]})
    columns = ["run", "trial", "seed", *plan.factors, *MEASURES, "parameters", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def _designed(runs: Sequence[RunRow], plan: StudyPlan) -> dict[int, dict[str, Value]]:
    """Return each trial's setting as planned. The spec may hide it: with one layer, all shapes are equal."""
    start = next((run.spec for run in runs if run.trial == 0), None)
    if plan.design == SEARCH or start is None:
        return {}
    own = setting_of(start)
    return {trial: own | setting for trial, setting in enumerate(plan.settings(start))}


def untried(runs: Sequence[RunRow], plan: StudyPlan) -> dict[str, list[Value]]:
    """Return the values of each factor that have no trial, because another value makes the same model."""
    settings = _designed(runs, plan).values()
    tried = {name: {setting[name] for setting in settings} for name in plan.factors}
    return {
        name: [value for value in values if tried[name] and value not in tried[name]]
        for name, values in plan.factors.items()
    }


def trial_table(table: pd.DataFrame, plan: StudyPlan) -> pd.DataFrame:
    """Return one row per setting, best mean validation logloss first: `trial`, `runs`, the factors, means, `…_sd`.

    Args:
        table: of `study_table`.
        plan: of the study.
    """
    grouped = table.groupby("trial")
    first = grouped[[*plan.factors, "parameters"]].first()
    means = grouped[[*MEASURES, "seconds"]].mean()
    spread = grouped[list(MEASURES)].std(ddof=1).add_suffix("_sd")
    together = pd.concat([grouped.size().rename("runs"), first, means, spread], axis=1).reset_index()
    return together.sort_values("valid_logloss", kind="stable", ignore_index=True)


def factor_lines(table: pd.DataFrame, plan: StudyPlan, measure: str) -> pd.DataFrame:
    """Return the measure by factor, value and seed, for a line per factor: `factor`, `value`, `seed`, `measure`.

    With one factor at a time, the other factors are as in the first trial. In a grid the measure is the mean over their
    values. Of a search every run is returned.

    Args:
        table: of `study_table`.
        plan: of the study.
        measure: one of `MEASURES`.
    """
    parts = []
    for name in plan.factors:
        rows = table
        if plan.design == ONE:
            # Keep the trials in which no other factor was changed.
            start = table[table["trial"] == 0].head(1)
            others = [other for other in plan.factors if other != name]
            if len(start):
                rows = table[(table[others] == start[others].iloc[0]).all(axis=1)] if others else table
        means = rows[[name, "seed", measure]].rename(columns={measure: "measure"})
        if plan.design != SEARCH:
            means = means.groupby([name, "seed"])["measure"].mean().reset_index()
        parts.append(means.rename(columns={name: "value"}).assign(factor=name))
    columns = ["factor", "value", "seed", "measure"]
    lines = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    place = {name: place for place, name in enumerate(plan.factors)}
    return lines.assign(value=lines["value"].astype(object)).sort_values(
        "factor", key=lambda names: names.map(place), kind="stable", ignore_index=True
    )


def in_order(name: str, values: Sequence[object]) -> list[object]:
    """Sort the values of a factor: numbers by size, choices in the factor's own order."""
    known = list(FACTORS[name].values)
    if FACTORS[name].kind == "choice":
        return sorted(set(values), key=lambda value: known.index(value))  # type: ignore[arg-type]
    return sorted(set(values), key=lambda value: float(str(value)))


def against_start(store: Store, table: pd.DataFrame, trial: int) -> Difference | None:
    """Return the test logloss of a setting minus that of the first trial, over rows and seeds; None if one is missing.

    Args:
        store: the store of the runs.
        table: of `study_table`.
        trial: the number of the setting's trial.
    """
    from deepfm_core.experiments.comparison import predictions

    logits = {}
    labels = None
    for name, number in (("start", 0), ("best", trial)):
        ids = table.loc[(table["trial"] == number) & table["test_logloss"].notna(), "run"]
        frames = [predictions(store, run_id, "test") for run_id in ids]
        logits[name] = [frame["logit"].to_numpy(float) for frame in frames]
        labels = frames[0]["label"].to_numpy(float) if frames else labels
    if trial == 0 or labels is None or not all(logits.values()):
        return None
    return compare_paired(labels, logits, candidates=["start"])["logloss"]["best"].difference


# The search of a study: a worker that starts a trial asks Optuna for its setting, given the trials that have ended.
#
# Start with `choose`. Settings are chosen late, one by one, so that each trial learns from all trials before it.


MOST_RANDOM = 10
"""Trials drawn at random before the search learns from them; a third of the trials if there are few."""


def choosing(store: Store, run: RunRow, engine: Engine) -> Engine:
    """Return an engine that first chooses the run's setting, if it is still to be chosen."""
    if not run.to_choose:
        return engine

    def execute(job: Job, context: Context) -> Iterator[Event]:
        yield Stage("choose")
        yield from engine(replace(job, spec=choose(store, run)), context)

    return execute


def choose(store: Store, run: RunRow) -> RunSpec:
    """Choose the setting of a run, write it into the store, and return the whole spec.

    All runs of a trial have the setting of the one that started first. The choice is reproducible: it depends only on
    the trial's number and on the trials that have ended.

    Raises:
        RunError: Optuna is not installed.
    """
    try:
        import optuna  # slow to import, needed here only, and an extra of the package
    except ModuleNotFoundError:
        raise RunError("A search needs Optuna, and it is not installed. Run `pip install optuna`.") from None

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert run.comparison is not None
    plan = store.comparisons.of(run.comparison).planned(StudyPlan.from_dict)
    with store.database.write() as connection:  # two workers must not choose for one trial at once
        runs = store.comparisons.runs(run.comparison)
        same = next((other for other in runs if other.trial == run.trial and not other.to_choose), None)
        setting = _of(plan, same.spec) if same is not None else propose(plan, runs, int(run.trial or 0))
        spec = with_setting(run.spec, setting)
        connection.execute("UPDATE runs SET spec = ?, to_choose = 0 WHERE id = ?", (json.dumps(spec.to_dict()), run.id))
    store.folder(run.id).write_spec(spec)
    return spec


def may_choose(store: Store, run: RunRow) -> bool:
    """Say whether a run's setting can be chosen now such that it is the one that a single worker would choose.

    The trials drawn at random need no others; a later one needs all before it to have ended.
    """
    if not run.to_choose or run.comparison is None:
        return True
    trial, plan = int(run.trial or 0), store.comparisons.of(run.comparison).planned(StudyPlan.from_dict)
    others = store.comparisons.runs(run.comparison)
    return trial < random_trials(plan) or not any(
        other.status in ("queued", "running") for other in others if int(other.trial or 0) < trial
    )


def random_trials(plan: StudyPlan) -> int:
    """Return how many trials are drawn at random before the search learns from them."""
    return min(MOST_RANDOM, max(plan.trials // 3, 1))


def propose(plan: StudyPlan, runs: Sequence[RunRow], trial: int) -> dict[str, Value]:
    """Ask Optuna (a tree-structured Parzen estimator) for the next setting, by validation logloss."""
    import optuna

    ranges = distributions(plan)
    sampler = optuna.samplers.TPESampler(seed=trial, n_startup_trials=random_trials(plan))
    study = optuna.create_study(sampler=sampler, direction="minimize")
    for setting, value in _ended(plan, runs):
        with suppress(ValueError):  # the first trial may be outside the ranges
            study.add_trial(optuna.create_trial(params=dict(setting), distributions=ranges, value=value))
    return dict(study.ask(ranges).params)


def distributions(plan: StudyPlan) -> dict[str, BaseDistribution]:
    """Return the range of each factor: its choices, or the numbers between its smallest and largest value."""
    import optuna

    ranges: dict[str, BaseDistribution] = {}
    for name, values in plan.factors.items():
        factor = FACTORS[name]
        if factor.kind == "choice":
            ranges[name] = optuna.distributions.CategoricalDistribution(values)
            continue
        low, high = min(map(float, values)), max(map(float, values))
        if factor.kind == "whole":
            ranges[name] = optuna.distributions.IntDistribution(int(low), int(high), log=factor.log)
        else:
            ranges[name] = optuna.distributions.FloatDistribution(low, high, log=factor.log and low > 0)
    return ranges


def _of(plan: StudyPlan, spec: RunSpec) -> dict[str, Value]:
    own = setting_of(spec)
    return {name: own[name] for name in plan.factors}


def _ended(plan: StudyPlan, runs: Sequence[RunRow]) -> list[tuple[Point, float]]:
    """Return the setting and mean validation logloss of each trial that has a finished run, in order."""
    trials: dict[int, list[RunRow]] = {}
    for run in runs:
        if run.ended_well and not run.to_choose:
            trials.setdefault(int(run.trial or 0), []).append(run)
    ended: list[tuple[Point, float]] = []
    for _, of_trial in sorted(trials.items()):
        scores: list[Any] = [run.summary["valid"]["logloss"] for run in of_trial]
        ended.append((_of(plan, of_trial[0].spec), fmean(scores)))
    return ended
