"""A comparison of models: all are trained on the same rows, with the same encoder and the same stopping rule.

Start with `ComparisonPlan` and `begin`. `run_table` and `model_table` show what the finished runs reached.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.errors import SpecError
from deepfm_core.metrics.bootstrap import Difference, ModelScores, compare_paired
from deepfm_core.runs.evaluate import METRICS
from deepfm_core.spec.events import Fitted
from deepfm_core.spec.models import MODELS as SWITCHES
from deepfm_core.spec.models import PUBLISHED
from deepfm_core.spec.presets import preset, settings
from deepfm_core.spec.run import BASELINE, MODEL_NAMES, FitSpec, ModelSpec, RunSpec
from deepfm_core.store.groups import MODELS
from deepfm_core.store.records import NewRun, RunRow
from deepfm_core.store.store import LOCAL, Store

MOST_SEEDS = 20

COMPARED = (*MODEL_NAMES, PUBLISHED)
"""What can be compared: the models, and DeepFM exactly as the paper has it beside the form that the settings give."""


GUESS = "guess"
"""Not a model, but what each must beat: the share of positives as the probability of every row."""


@dataclass(frozen=True)
class ComparisonPlan:
    """The models and settings of a comparison.

    Attributes:
        models: names from `COMPARED`. DeepFM as published keeps its own settings, whatever was chosen; it is left out
            where the preset makes DeepFM the same.
        seeds: runs of each model. They differ in first weights, order of rows and dropout, but not in their rows.
        preset: the preset that each model's settings come from.
        chosen: settings that all models have instead of the preset's.
        baseline: whether to add the baseline, gradient boosting, with the first seed only.
    """

    models: tuple[str, ...] = COMPARED
    seeds: int = 1
    preset: str = "recommended"
    chosen: Mapping[str, Any] = field(default_factory=dict)
    baseline: bool = True

    def __post_init__(self) -> None:
        unknown = [name for name in self.models if name not in COMPARED]
        if unknown or not self.models:
            named = unknown[0] if unknown else "none"
            raise SpecError(f"Model to compare is `{named}`. Name some of {', '.join(COMPARED)}.")
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise SpecError(f"Seeds is {self.seeds}. Use 1 to {MOST_SEEDS}.")
        crossing = [name for name, switches in SWITCHES.items() if switches.crosses]
        if self.chosen.get("crosses") and not set(crossing) & set(self.models):
            raise SpecError(f"Crosses are set, but no compared model uses them. Compare {crossing[0]} as well.")

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON."""
        return {**vars(self), "models": list(self.models), "chosen": dict(self.chosen)}

    def specs(self, base: RunSpec, rows: int) -> list[RunSpec]:
        """Return the specs of the runs: all models with the first seed, the baseline, then the other seeds.

        Args:
            base: table, schema, parts and the first seed, which splits the rows of all runs.
            rows: the number of training rows, which presets depend on.

        Raises:
            SpecError: a setting is out of range for a model.
        """
        models = [name for name in MODEL_NAMES if name in self.models]  # LR first: times are relative to it
        same_rows = replace(base, split_seed=base.rows_seed, folds=0)  # one split for all seeds
        settled = [settings(self.preset, name, rows, self._settings_of(name)) for name in models]
        settled += self._published(settled, rows)
        # One rule to stop, for all: that of the most patient model with a DNN or a guide. Others may wait longer.
        patience = max((fit.patience for model, fit in settled if model.deep or model.has_guide), default=0)
        least_gain = min((fit.least_gain for _, fit in settled), default=0.0)
        specs = []
        for number in range(self.seeds):
            for model, fit in settled:
                fit = replace(fit, patience=max(fit.patience, patience), least_gain=least_gain)
                specs.append(replace(same_rows, model=model, fit=fit, seed=base.seed + number))
            if number == 0 and self.baseline:
                specs.append(replace(same_rows, model=ModelSpec(BASELINE)))
        return specs

    def _published(self, others: Sequence[tuple[ModelSpec, FitSpec]], rows: int) -> list[tuple[ModelSpec, FitSpec]]:
        """Give DeepFM as published, unless it is not compared or is there already; it stops as the others do."""
        model, fit = preset("paper", "deepfm", rows)
        if PUBLISHED not in self.models or model in [other for other, _ in others]:
            return []
        _, usual = settings(self.preset, "deepfm", rows, self._settings_of("deepfm"))
        return [(model, replace(fit, epochs=min(fit.epochs, usual.epochs)))]

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
        store: the store that holds the table.
        base: table, schema, parts and the first seed.
        rows: the number of training rows.
        plan: the models and settings.
        owner: the user whose list it appears in.
        name: the name to show; made from the table's name by default.
        titles: the models' titles in the names of the runs.

    Raises:
        SpecError: a setting is out of range for a model.
    """
    specs = plan.specs(base, rows)
    named = zip(specs, compared_as(specs), strict=True)
    runs = [NewRun(spec, _name((titles or {}).get(model, model), spec, plan.seeds), owner) for spec, model in named]
    return store.comparisons.begin(name or f"Models on {base.table_name}", owner, MODELS, plan.to_dict(), runs)


def compared_as(specs: Sequence[RunSpec]) -> list[str]:
    """Name the model of each spec as a comparison of them does: DeepFM as published is told from another DeepFM."""
    published, _ = preset("paper", "deepfm", 0)
    told = any(spec.model.name == published.name and spec.model != published for spec in specs)
    return [PUBLISHED if told and spec.model == published else spec.model.name for spec in specs]


def _name(title: str, spec: RunSpec, seeds: int) -> str:
    seed = f", seed {spec.seed}" if seeds > 1 and spec.model.name != BASELINE else ""
    return f"{title}{seed} on {spec.table_name}"


# The result of a comparison: what its finished runs reached, and which differences are clear above noise.

METRIC_COLUMNS = ("auc", "logloss")

COLUMNS = (
    "model",
    "baseline",
    "runs",
    "auc",
    "auc_sd",
    "auc_difference",
    "auc_low",
    "auc_high",
    "logloss",
    "logloss_sd",
    "logloss_difference",
    "logloss_low",
    "logloss_high",
    "normalised_entropy",
    "normalised_entropy_sd",
    "train_seconds",
    "train_seconds_sd",
    "relative_seconds",
    "parameters",
    "part",
    "rows",
)
"""`…_difference` is from the best model, with its 95% interval `…_low` to `…_high`; it is empty for the best model."""

RUN_COLUMNS = ("run", "model", "seed", "part", "auc", "logloss", "normalised_entropy", "train_seconds", "parameters")


def run_table(store: Store, runs: Sequence[RunRow]) -> pd.DataFrame:
    """Return one row per finished run, in the order given, with `RUN_COLUMNS`. Give all runs of the comparison.

    Metrics are of the test part, or of the validation part if a run has no test part.
    """
    named = zip(runs, compared_as([run.spec for run in runs]), strict=True)
    rows = [_of_run(store, run, model) for run, model in named if run.ended_well]
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def model_table(store: Store, runs: Sequence[RunRow]) -> pd.DataFrame:
    """Return one row per model over its finished runs, with `COLUMNS`: best logloss first, the baseline last.

    Give all runs of the comparison, finished or not.

    The best model has the best mean; the baseline is never the best. Intervals are from a paired bootstrap over rows,
    and over seeds if there are several (`metrics.bootstrap.compare_paired`).
    """
    by_run = run_table(store, runs)
    if by_run.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    evaluated, rows = _evaluated(store, by_run)
    lines = [_line(str(name), of_model, evaluated) for name, of_model in by_run.groupby("model", sort=False)]
    table = pd.DataFrame(lines).assign(rows=rows)
    # Times are relative to LR, so that they can be compared between machines.
    first_order = table.loc[table["model"] == "lr", "train_seconds"]
    table["relative_seconds"] = table["train_seconds"] / (float(first_order.iloc[0]) if len(first_order) else np.nan)
    order = ["baseline", "logloss"]
    return table.reindex(columns=list(COLUMNS)).sort_values(order, kind="stable", ignore_index=True)


def _of_run(store: Store, run: RunRow, model: str) -> dict[str, Any]:
    metrics = store.folder(run.id).read_json(METRICS) or {}
    part = "test" if "test" in metrics else "valid"
    values = metrics.get(part, {})
    fitted = [stored.event for stored in store.events(run.id, kinds=["fitted"])]
    seconds = run.summary["seconds"]["fit"]
    for event in fitted:
        assert isinstance(event, Fitted)
        seconds = event.seconds  # includes the time before the run was resumed
    return {
        "run": run.id,
        "model": model,
        "seed": run.spec.seed,
        "part": part,
        **{name: values.get(name) for name in (*METRIC_COLUMNS, "normalised_entropy")},
        "train_seconds": seconds,
        "parameters": run.summary.get("parameters"),
    }


def _evaluated(store: Store, by_run: pd.DataFrame) -> tuple[dict[str, dict[str, ModelScores]], int]:
    """Compare the models on the rows of the first run; leave out a run with other rows, which cannot be compared."""
    labels, logits = _logits(store, by_run)
    candidates = [name for name in COMPARED if name in logits]  # not the baseline
    return compare_paired(labels, logits, candidates=candidates or None), len(labels)


def differences(
    store: Store, runs: Sequence[RunRow], model: str, others: Sequence[str]
) -> dict[str, dict[str, Difference]]:
    """Return by other model and metric how far one of a comparison is from it, `model` − other, with 95% intervals.

    Give all runs of the comparison. The rows are those of `model_table`; `auc` is left out if a class is absent. A name
    may also be `GUESS`.
    """
    labels, logits = _logits(store, run_table(store, runs))
    logits[GUESS] = [np.full(len(labels), _guess(runs, labels))]
    compared = compare_paired(labels, {name: logits[name] for name in (model, *others)}, candidates=(model,))
    found: dict[str, dict[str, Difference]] = {other: {} for other in others}
    for metric, scores in compared.items():
        for other in others:
            difference = scores[other].difference
            found[other][metric] = Difference(0.0, 0.0, 0.0) if difference is None else -difference
    return found


def judging_labels(store: Store, runs: Sequence[RunRow]) -> NDArray[np.floating]:
    """Return the labels of the rows that judge the models, those of `model_table`."""
    first = run_table(store, runs).iloc[0]
    return predictions(store, first["run"], first["part"])["label"].to_numpy(np.float64)


def _guess(runs: Sequence[RunRow], labels: NDArray[np.floating]) -> float:
    """Give the logit of the share of positives among the training rows; of those that judge, if a run lacks it."""
    said = next(run.summary for run in runs if run.ended_well)
    rows, positives = (said.get(name, {}).get("train") for name in ("rows", "positives"))
    share = float(labels.mean()) if not rows or positives is None else positives / rows
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))


def _logits(store: Store, by_run: pd.DataFrame) -> tuple[NDArray[np.floating], dict[str, list[NDArray[np.float64]]]]:
    """Read the labels of the rows of the first run, and by model the logits of each run on these rows."""
    labels: NDArray[np.floating] | None = None
    places: NDArray[np.int64] | None = None
    logits: dict[str, list[NDArray[np.float64]]] = {}
    for name, run_id, part in zip(by_run["model"], by_run["run"], by_run["part"], strict=True):
        rows = predictions(store, run_id, part)
        if places is None:
            labels, places = rows["label"].to_numpy(np.float64), rows["row"].to_numpy()
        if np.array_equal(places, rows["row"]):
            logits.setdefault(name, []).append(rows["logit"].to_numpy(np.float64))
    assert labels is not None
    return labels, logits


def predictions(store: Store, run_id: str, part: str) -> pd.DataFrame:
    """Read the predictions of one part of a run: `row`, `label` and `logit`."""
    frame = store.folder(run_id).frame("predictions", columns=["part", "row", "label", "logit"])
    assert frame is not None
    return frame[frame["part"] == part].reset_index(drop=True)


def _line(name: str, runs: pd.DataFrame, evaluated: dict[str, dict[str, ModelScores]]) -> dict[str, Any]:
    line: dict[str, Any] = {"model": name, "baseline": name == BASELINE, "runs": len(runs)}
    for metric in METRIC_COLUMNS:
        one = evaluated.get(metric, {}).get(name)
        difference = None if one is None else one.difference
        line |= {
            metric: None if one is None else one.mean,
            f"{metric}_sd": None if one is None else one.spread,
            f"{metric}_difference": None if difference is None else difference.value,
            f"{metric}_low": None if difference is None else difference.low,
            f"{metric}_high": None if difference is None else difference.high,
        }
    for column in ("normalised_entropy", "train_seconds"):
        line[column] = runs[column].mean()
        line[f"{column}_sd"] = runs[column].std(ddof=1) if len(runs) > 1 else None
    return {**line, "parameters": runs["parameters"].iloc[0], "part": runs["part"].iloc[0]}


# The runs of a comparison or study as a group: cancel or resume all of them, and see how far they are.


STOPPED = ("lost", "failed", "cancelled")
"""States of a run from which it can be resumed."""


def cancel(store: Store, comparison: str) -> None:
    """Cancel all runs of a comparison that have not ended; waiting runs first, so that none of them starts."""
    runs = store.comparisons.runs(comparison)
    # A worker takes the next queued run as soon as its own is cancelled, so running ones come last.
    for state in ("queued", "lost", "running"):
        for run in runs:
            if run.state == state:
                store.request_cancel(run.id)


def resume(store: Store, comparison: str) -> int:
    """Queue the cancelled, failed and lost runs again, in their first order, and return their number."""
    stopped = [run for run in store.comparisons.runs(comparison) if run.state in STOPPED]
    for run in stopped:
        store.resume(run.id)
    return len(stopped)


@dataclass(frozen=True)
class Standing:
    """The progress of a comparison or study at one moment."""

    total: int
    finished: int
    running: int
    queued: int
    stopped: int
    """Failed, cancelled or lost runs, which can be resumed."""
    fraction: float
    """The share of all runs that is done, 0 … 1; running ones count in part."""
    seconds_left: float | None
    """An estimate from finished runs; None before the first has finished, and if no run is running or queued."""

    @property
    def active(self) -> bool:
        """Whether a run is running or queued."""
        return bool(self.running or self.queued)

    @classmethod
    def of(cls, runs: Sequence[RunRow], now: float, under_way: Mapping[str, float]) -> Standing:
        """Compute the progress of a comparison from its runs.

        Args:
            runs: all runs, as the store has them.
            now: in seconds since 1970.
            under_way: by id, the share done of each running run.
        """
        states = [run.state for run in runs]
        done = sum(1.0 if run.ended_well else under_way.get(run.id, 0.0) for run in runs)
        return cls(
            total=len(runs),
            finished=states.count("finished"),
            running=states.count("running"),
            queued=states.count("queued"),
            stopped=len(runs) - sum(states.count(state) for state in ("finished", "running", "queued")),
            fraction=done / max(len(runs), 1),
            seconds_left=_seconds_left(runs, states, now),
        )


def expected_seconds(specs: Sequence[RunSpec], earlier: Iterable[tuple[RunSpec, Mapping[str, Any]]]) -> float | None:
    """Estimate how long runs take that are not queued yet, one after the other; None where nothing tells.

    Args:
        specs: of the runs to come.
        earlier: specs and summaries of runs that have ended. Those on the same table count: for a model its own, and
            for one that has not run the mean of all. The baseline, a matter of a second, stands for none.
    """
    tables, took = {spec.table for spec in specs}, dict[str, list[float]]()
    explained = all(spec.explained for spec in specs)
    for spec, summary in earlier:
        if spec.table in tables and (stages := summary.get("seconds")):
            counted = [seconds for stage, seconds in stages.items() if explained or stage != "explain"]
            took.setdefault(spec.model.name, []).append(sum(counted))
    others = [seconds for name, values in took.items() if name != BASELINE for seconds in values]
    if not others:
        return None
    took.setdefault(BASELINE, [0.0])
    return sum(fmean(took.get(spec.model.name, others)) for spec in specs)


def _seconds_left(runs: Sequence[RunRow], states: Sequence[str], now: float) -> float | None:
    """Sum the expected seconds of the runs to come: the mean of the model's finished runs, or of all finished runs."""
    took: dict[str, list[float]] = {}  # seconds of finished runs, by model
    for run in runs:
        if run.ended_well and run.started is not None and run.ended is not None:
            took.setdefault(run.spec.model.name, []).append(run.ended - run.started)
    if not took or not any(state in ("queued", "running") for state in states):
        return None
    overall = fmean(seconds for values in took.values() for seconds in values)
    left = 0.0
    for run, state in zip(runs, states, strict=True):
        if state not in ("queued", "running"):
            continue
        expected = fmean(took.get(run.spec.model.name, [overall]))
        left += expected if state == "queued" else max(expected - (now - (run.started or now)), 0.0)
    return left
