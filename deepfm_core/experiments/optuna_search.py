"""A study's search: the worker that takes up a trial asks Optuna for its setting, from what has ended before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from deepfm_core.experiments.study import StudyPlan
from deepfm_core.runs.job import Engine, Job
from deepfm_core.spec.events import Event, Stage
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.search_space import FACTORS, Point, Value, setting_of, with_setting
from deepfm_core.store.records import RunRow
from deepfm_core.store.store import Store

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST_RANDOM = 10
"""Trials drawn at random before the search learns from them; fewer where there are few."""


def choosing(store: Store, run: RunRow, engine: Engine) -> Engine:
    """Give an engine that chooses the run's setting first, where it is still to be chosen."""
    if not run.to_choose:
        return engine

    def execute(job: Job) -> Iterator[Event]:
        yield Stage("choose")
        yield from engine(replace(job, spec=choose(store, run)))

    return execute


def choose(store: Store, run: RunRow) -> RunSpec:
    """Choose the setting of a run, write it into the store, and return the whole spec.

    Runs of one trial have one setting: that of whichever run was taken up first. The same runs ended before give the
    same setting.
    """
    import optuna  # heavy, and needed here alone

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert run.comparison is not None
    plan = StudyPlan.from_dict(store.comparisons.of(run.comparison).plan)
    with store.database.write() as connection:  # so that two workers do not choose for one trial at once
        runs = store.comparisons.runs(run.comparison)
        same = next((other for other in runs if other.trial == run.trial and not other.to_choose), None)
        setting = _of(plan, same.spec) if same is not None else propose(plan, runs, int(run.trial or 0))
        spec = with_setting(run.spec, setting)
        connection.execute("UPDATE runs SET spec = ?, to_choose = 0 WHERE id = ?", (json.dumps(spec.to_dict()), run.id))
    store.folder(run.id).write_spec(spec)
    return spec


def propose(plan: StudyPlan, runs: Sequence[RunRow], trial: int) -> dict[str, Value]:
    """Ask Optuna (a tree-structured Parzen estimator) for the next setting, by validation logloss."""
    import optuna

    ranges = distributions(plan)
    random = min(MOST_RANDOM, max(plan.trials // 3, 1))
    sampler = optuna.samplers.TPESampler(seed=trial, n_startup_trials=random)
    study = optuna.create_study(sampler=sampler, direction="minimize")
    for setting, value in _ended(plan, runs):
        with suppress(ValueError):  # the start may lie outside the ranges
            study.add_trial(optuna.create_trial(params=dict(setting), distributions=ranges, value=value))
    return dict(study.ask(ranges).params)


def distributions(plan: StudyPlan) -> dict[str, BaseDistribution]:
    """Say where a search looks: among the names of a choice, and between the smallest and the largest number."""
    import optuna

    found: dict[str, BaseDistribution] = {}
    for name, values in plan.factors.items():
        factor = FACTORS[name]
        if factor.kind == "choice":
            found[name] = optuna.distributions.CategoricalDistribution(values)
            continue
        low, high = min(map(float, values)), max(map(float, values))
        if factor.kind == "whole":
            found[name] = optuna.distributions.IntDistribution(int(low), int(high), log=factor.log)
        else:
            found[name] = optuna.distributions.FloatDistribution(low, high, log=factor.log and low > 0)
    return found


def _of(plan: StudyPlan, spec: RunSpec) -> dict[str, Value]:
    own = setting_of(spec)
    return {name: own[name] for name in plan.factors}


def _ended(plan: StudyPlan, runs: Sequence[RunRow]) -> list[tuple[Point, float]]:
    """Give setting and mean validation logloss of every trial with a finished run, in order."""
    trials: dict[int, list[RunRow]] = {}
    for run in runs:
        if run.ended_well and not run.to_choose:
            trials.setdefault(int(run.trial or 0), []).append(run)
    found: list[tuple[Point, float]] = []
    for _, of_trial in sorted(trials.items()):
        scores: list[Any] = [run.summary["valid"]["logloss"] for run in of_trial]
        found.append((_of(plan, of_trial[0].spec), fmean(scores)))
    return found
