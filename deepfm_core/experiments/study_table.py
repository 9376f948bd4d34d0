"""The results of a study: by run (`study_table`), by setting (`trial_table`) and by factor (`factor_lines`)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from deepfm_core.experiments.study import ONE, SEARCH, StudyPlan
from deepfm_core.metrics.bootstrap import Difference, compare_paired
from deepfm_core.spec.search_space import FACTORS, Value, setting_of
from deepfm_core.store.records import RunRow
from deepfm_core.store.store import Store

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
