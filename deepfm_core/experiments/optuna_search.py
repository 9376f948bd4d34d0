"""The search of a study: a worker that starts a trial asks Optuna for its setting, given the trials that have ended.

Start with `choose`. Settings are chosen late, one by one, so that each trial learns from all trials before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from deepfm_core.errors import RunError
from deepfm_core.experiments.study import StudyPlan
from deepfm_core.runs.job import Context, Engine, Job
from deepfm_core.spec.events import Event, Stage
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.search_space import FACTORS, Point, Value, setting_of, with_setting
from deepfm_core.store.records import RunRow
from deepfm_core.store.store import Store

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

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
    plan = StudyPlan.from_dict(store.comparisons.of(run.comparison).plan)
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
    trial, plan = int(run.trial or 0), StudyPlan.from_dict(store.comparisons.of(run.comparison).plan)
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
