"""A comparison of models: every one trained on the same rows with the same encoder and the same rule to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.errors import SpecError
from deepfm_core.metrics.bootstrap import Judged, judge_together
from deepfm_core.runs.evaluate import METRICS
from deepfm_core.spec.events import Fitted
from deepfm_core.spec.models import MODELS as SWITCHES
from deepfm_core.spec.presets import settings
from deepfm_core.spec.run import MODEL_NAMES, YARDSTICK, ModelSpec, RunSpec
from deepfm_core.store.groups import MODELS
from deepfm_core.store.records import NewRun, RunRow
from deepfm_core.store.store import LOCAL, Store

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


# The table of a comparison: what its finished runs reached, and which differences are more than noise.

METRIC_COLUMNS = ("auc", "logloss")

COLUMNS = (
    "model",
    "yardstick",
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
"""`…_difference` is from the best model, with the 95% interval `…_low` to `…_high`; of the best itself it is empty."""

RUN_COLUMNS = ("run", "model", "seed", "part", "auc", "logloss", "normalised_entropy", "train_seconds", "parameters")


def run_table(store: Store, runs: Sequence[RunRow]) -> pd.DataFrame:
    """Give what each finished run reached, in the order given: `RUN_COLUMNS`.

    A run is judged by its test part, or by its validation part where it has no other.
    """
    rows = [_of_run(store, run) for run in runs if run.ended_well]
    return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def model_table(store: Store, runs: Sequence[RunRow]) -> pd.DataFrame:
    """Give what each model reached over its finished runs, best logloss first and the yardstick last: `COLUMNS`.

    The best model is the one of best mean; the yardstick is never called the best. Intervals are over test rows drawn
    again for all models together, and over seeds where there are several (`training.paired`).
    """
    by_run = run_table(store, runs)
    if by_run.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    judged, rows = _judged(store, by_run)
    lines = [_line(str(name), of_model, judged) for name, of_model in by_run.groupby("model", sort=False)]
    table = pd.DataFrame(lines).assign(rows=rows)
    first_order = table.loc[table["model"] == "lr", "train_seconds"]
    table["relative_seconds"] = table["train_seconds"] / (float(first_order.iloc[0]) if len(first_order) else np.nan)
    order = ["yardstick", "logloss"]
    return table.reindex(columns=list(COLUMNS)).sort_values(order, kind="stable", ignore_index=True)


def _of_run(store: Store, run: RunRow) -> dict[str, Any]:
    metrics = store.folder(run.id).read_json(METRICS) or {}
    part = "test" if "test" in metrics else "valid"
    values = metrics.get(part, {})
    fitted = [stored.event for stored in store.events(run.id, kinds=["fitted"])]
    seconds = run.summary["seconds"]["fit"]
    for event in fitted:
        assert isinstance(event, Fitted)
        seconds = event.seconds  # counts what came before the run was resumed
    return {
        "run": run.id,
        "model": run.spec.model.name,
        "seed": run.spec.seed,
        "part": part,
        **{name: values.get(name) for name in (*METRIC_COLUMNS, "normalised_entropy")},
        "train_seconds": seconds,
        "parameters": run.summary.get("parameters"),
    }


def _judged(store: Store, by_run: pd.DataFrame) -> tuple[dict[str, dict[str, Judged]], int]:
    """Judge the models on the rows of the first run; a run judged on others would be a mistake, and is left out."""
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
    candidates = [name for name in MODEL_NAMES if name in logits]
    return judge_together(labels, logits, candidates=candidates or None), len(labels)


def predictions(store: Store, run_id: str, part: str) -> pd.DataFrame:
    """Read `row`, `label` and `logit` of a run's part."""
    frame = store.folder(run_id).frame("predictions", columns=["part", "row", "label", "logit"])
    assert frame is not None
    return frame[frame["part"] == part].reset_index(drop=True)


def _line(name: str, runs: pd.DataFrame, judged: dict[str, dict[str, Judged]]) -> dict[str, Any]:
    line: dict[str, Any] = {"model": name, "yardstick": name == YARDSTICK, "runs": len(runs)}
    for metric in METRIC_COLUMNS:
        one = judged.get(metric, {}).get(name)
        apart = None if one is None else one.difference
        line |= {
            metric: None if one is None else one.mean,
            f"{metric}_sd": None if one is None else one.spread,
            f"{metric}_difference": None if apart is None else apart.value,
            f"{metric}_low": None if apart is None else apart.low,
            f"{metric}_high": None if apart is None else apart.high,
        }
    for column in ("normalised_entropy", "train_seconds"):
        line[column] = runs[column].mean()
        line[f"{column}_sd"] = runs[column].std(ddof=1) if len(runs) > 1 else None
    return {**line, "parameters": runs["parameters"].iloc[0], "part": runs["part"].iloc[0]}
