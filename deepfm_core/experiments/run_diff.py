"""Run B minus run A: the settings in which they differ, and the differences of their metrics and pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.metrics.bootstrap import compare_paired
from deepfm_core.spec.run import RunSpec
from deepfm_core.spec.settings import SETTINGS, Setting

_TABLES = ("table", "valid_table", "test_table")
_UNTOLD = {*_TABLES, "schema"}
_TITLES = {
    "model.name": "model",
    "split.by": "split by",
    "split.column": "split field",
    "table_name": "table",
    "valid_table_name": "validation table",
    "test_table_name": "test table",
}
"""What a run has beside its settings, which say themselves how they are called."""


def setting_differences(b: RunSpec, a: RunSpec) -> pd.DataFrame:
    """Return the settings in which two runs differ, as texts: `setting`, `b`, `a`; a table counts as one setting."""
    return _differing({"b": b, "a": a}, {"b": _settings(b), "a": _settings(a)})


def settings_beside(specs: Mapping[str, RunSpec]) -> pd.DataFrame:
    """Return the settings in which several runs differ, side by side as texts: `setting`, and a column per run.

    Args:
        specs: by the name of the run. Of a single one, all settings are returned. Of runs on different tables, the
            kinds of their fields are left out.
    """
    flat = {run: _settings(spec) for run, spec in specs.items()}
    if len(flat) == 1:
        (names,) = flat.values()
        return _table([_line(name, flat) for name in names], flat)
    if len({spec.table for spec in specs.values()}) > 1:
        flat = {run: {n: v for n, v in each.items() if not n.startswith("field ")} for run, each in flat.items()}
    return _differing(specs, flat)


def resolved(spec: RunSpec, summary: Mapping[str, Any]) -> RunSpec:
    """Give the spec of a run with the number of folds that it had, where its rows decided and are known.

    Args:
        spec: as it was asked for.
        summary: what the run says of itself so far.
    """
    rows = sum((summary.get("rows") or {}).values())
    return replace(spec, folds=spec.folds_for(rows)) if rows else spec


def _differing(specs: Mapping[str, RunSpec], flat: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    """List what is not the same in all runs; a table of the same name, but another content, by its version."""
    every = dict.fromkeys(name for settings in flat.values() for name in settings)
    names = [name for name in every if not _same([settings.get(name) for settings in flat.values()])]
    lines = [_line(name, flat) for name in names]
    for place, table in enumerate(_TABLES):
        versions = {run: getattr(spec, table) for run, spec in specs.items()}
        if f"{table}_name" not in names and not _same(list(versions.values())):
            said = {run: f"version {sha[:8]}" if sha else "–" for run, sha in versions.items()}
            lines.insert(place, {"setting": _title(f"{table}_name"), **said})
    return _table(lines, flat)


def _same(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _line(name: str, flat: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    return {"setting": _title(name), **{run: _text(settings.get(name)) for run, settings in flat.items()}}


def _table(lines: list[dict[str, str]], runs: Iterable[str]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=["setting", *runs])


def _settings(spec: RunSpec) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in spec.to_dict().items():
        if isinstance(value, Mapping) and name != "schema":
            flat |= {f"{name}.{inner}": each for inner, each in value.items()}
        elif name not in _UNTOLD:
            flat[name] = value
    flat["split_seed"] = spec.rows_seed
    flat["label"] = spec.schema.label.outcome()
    return flat | {f"field {role.column}": role.kind.value for role in spec.schema.roles}


def _title(name: str) -> str:
    titles = {_place(setting): setting.title for setting in SETTINGS}
    return (titles | _TITLES).get(name, name)


def _place(setting: Setting) -> str:
    return setting.name if setting.home == "run" else f"{setting.home}.{setting.name}"


def _text(value: Any) -> str:
    if value is None or value == () or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join("×".join(map(str, each)) if isinstance(each, (list, tuple)) else str(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def metric_differences(
    labels: NDArray[np.floating], b: NDArray[np.floating], a: NDArray[np.floating], base_logloss: float
) -> pd.DataFrame:
    """Return AUC, logloss and normalised entropy of two runs on the same N rows: `metric`, `b`, `a`, `difference`.

    `low` to `high` is the 95% interval of the difference, by a paired bootstrap of the rows.

    Args:
        labels: (N,) of 0 and 1.
        b: (N,) log-odds of run B.
        a: (N,) log-odds of run A.
        base_logloss: the logloss of always predicting the training part's click rate.
    """
    evaluated = compare_paired(labels, {"b": [b], "a": [a]}, candidates=["a"])
    lines = []
    for metric, by_run in evaluated.items():
        difference = by_run["b"].difference
        assert difference is not None
        values = [by_run["b"].mean, by_run["a"].mean, difference.value, difference.low, difference.high]
        lines.append([metric, *values])
        if metric == "logloss" and base_logloss > 0:
            lines.append(["normalised entropy", *(value / base_logloss for value in values)])  # as He et al. (2014)
    return pd.DataFrame(lines, columns=["metric", "b", "a", "difference", "low", "high"])


def pair_differences(b: pd.DataFrame, a: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return `measure` of the pairs that two runs share: `field_a`, `field_b`, `b`, `a`, `difference`, largest first.

    Args:
        b: the frame `pairs` of run B.
        a: the frame `pairs` of run A.
        measure: a strength in log-odds, such as `learned`.
    """
    theirs = a.assign(key=_key(a))[["key", measure]].rename(columns={measure: "a"})
    ours = b.assign(key=_key(b))[["key", "field_a", "field_b", measure]].rename(columns={measure: "b"})
    both = ours.merge(theirs, on="key", validate="one_to_one").drop(columns="key").dropna()
    both["difference"] = both["b"] - both["a"]
    order = both["difference"].abs().sort_values(ascending=False, kind="stable").index
    return both.loc[order].reset_index(drop=True)


def _key(pairs: pd.DataFrame) -> list[str]:
    """Name each pair by its sorted fields, because their order may differ between runs."""
    return ["\0".join(sorted(names)) for names in zip(pairs["field_a"], pairs["field_b"], strict=True)]
