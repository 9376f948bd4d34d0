"""How good probabilities are for each level of a field, in numpy alone.

`level_rows` says which level of a field each row is at; `slice_metrics` evaluates the rows of each level, and
`level_rates` only counts them.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from deepfm_core.metrics.scores import evaluate, wilson
from deepfm_core.schema.number_parsing import parse_numbers
from deepfm_core.schema.schema import FieldRole
from deepfm_core.schema.timestamps import form_of, parse_moments
from deepfm_core.tables.table import is_missing

MOST_LEVELS = 12
"""Levels shown by themselves; rarer ones are pooled as `other`."""
NUMBER_SLICES = 5
MISSING = "missing"


def level_rows(cells: pd.Series[str], role: FieldRole) -> pd.DataFrame:
    """Return the levels of a field that each of N rows is at.

    Numbers are cut into five buckets of similar size. Points in time become three-hour slices of the day. Each
    value of a multi-valued cell is a level. Only the twelve levels with most rows are kept; the others are pooled.

    Args:
        cells: the field's column as text, N rows.
        role: its role; an ignored field counts as categorical.

    Returns:
        One row per row and level, which is more than N for a multi-valued field: `position` (0 … N-1), `level` and
        `order` (the level's place among the others).
    """
    texts, codes = _distinct(cells)
    missing = np.array([is_missing(text) for text in texts], dtype=bool)
    if role.kind.is_number:
        return _number_rows(texts, missing, codes, role)
    if role.kind.is_time:
        return _hour_rows(texts, missing, codes, role)
    values = [
        [MISSING] if absent else _values(text, role.separator) for text, absent in zip(texts, missing, strict=True)
    ]
    exploded = pd.Series(values, dtype=object).take(codes).reset_index(drop=True).explode()
    return _pooled(pd.DataFrame({"position": exploded.index.to_numpy(), "level": exploded.to_numpy(dtype=str)}))


def slice_metrics(labels: NDArray[np.floating], logits: NDArray[np.floating], levels: pd.DataFrame) -> pd.DataFrame:
    """Evaluate the rows of each level by themselves; normalised entropies use the click rate of all N rows.

    Args:
        labels: (N,) of 0 and 1.
        logits: (N,) log-odds.
        levels: the frame of `level_rows`.

    Returns:
        One row per level, in the levels' order: `level` and the fields of `Metrics`; null if not defined.
    """
    base_rate = float(np.mean(labels))
    parts = []
    for (_, level), rows in levels.groupby(["order", "level"], sort=True)["position"]:
        positions = rows.to_numpy()
        parts.append({"level": level, **asdict(evaluate(labels[positions], logits[positions], base_rate))})
    return pd.DataFrame(parts)


def level_rates(labels: NDArray[np.floating], levels: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of each level, and the share of positives among them, with its 95% interval (Wilson).

    Args:
        labels: (N,) of 0 and 1.
        levels: the frame of `level_rows`.

    Returns:
        One row per level, in the levels' order: `level`, `rows`, `share` (of all N), `rate`, `low`, `high`.
    """
    known = levels.assign(positive=labels[levels["position"].to_numpy()])
    counts = known.groupby(["order", "level"], sort=True)["positive"].agg(rows="size", clicks="sum").reset_index()
    low, high = wilson(counts["clicks"].to_numpy(float), counts["rows"].to_numpy(float))
    rates = counts.assign(
        share=counts["rows"] / max(len(labels), 1), rate=counts["clicks"] / counts["rows"], low=low, high=high
    )
    return rates[["level", "rows", "share", "rate", "low", "high"]]


def _distinct(cells: pd.Series[str]) -> tuple[list[str], NDArray[np.int64]]:
    coded = cells.astype("category").cat.remove_unused_categories()
    codes, texts = coded.cat.codes.to_numpy().astype(np.int64), [str(text).strip() for text in coded.cat.categories]
    if (codes < 0).any():
        codes, texts = np.where(codes < 0, len(texts), codes), [*texts, ""]  # NaN becomes an empty text
    return texts, codes


def _values(text: str, separator: str | None) -> list[str]:
    parts = [part.strip() for part in text.split(separator)] if separator else [text]
    return list(dict.fromkeys(part for part in parts if part)) or [MISSING]


def _number_rows(
    texts: list[str], missing: NDArray[np.bool_], codes: NDArray[np.int64], role: FieldRole
) -> pd.DataFrame:
    numbers = parse_numbers(pa.array(texts, pa.string()), missing, role.notation).values[codes]
    present = ~np.isnan(numbers)
    edges = np.zeros(0)
    if present.any():
        edges = np.unique(np.quantile(numbers[present], np.linspace(0, 1, NUMBER_SLICES + 1)[1:-1]))
        edges = edges[edges > numbers[present].min()]  # no bucket below the smallest number
    names = np.array([*(_bucket_name(edges, number) for number in range(len(edges) + 1)), MISSING])
    bucket = np.where(present, np.searchsorted(edges, numbers, side="right"), len(edges) + 1)
    return pd.DataFrame({"position": np.arange(len(codes)), "level": names[bucket], "order": bucket})


def _bucket_name(edges: NDArray[np.float64], number: int) -> str:
    if not len(edges):
        return "any value"
    if number == 0:
        return f"below {edges[0]:,.4g}"
    if number == len(edges):
        return f"{edges[-1]:,.4g} or more"
    return f"{edges[number - 1]:,.4g} to {edges[number]:,.4g}"


def _hour_rows(texts: list[str], missing: NDArray[np.bool_], codes: NDArray[np.int64], role: FieldRole) -> pd.DataFrame:
    present = pa.array([text for text, absent in zip(texts, missing, strict=True) if not absent], pa.string())
    form = role.form or (form_of(present, role.column, sure=True) or ("", False))[0]
    hours = np.full(len(texts), -1, dtype=np.int64)
    if form:
        moments = parse_moments(present, form)
        hours[~missing] = np.where(moments.valid, moments.hours, -1)
    order = np.where(hours < 0, 8, hours // 3)  # 8 slices of 3 hours, and missing ones last
    names = np.array([*(f"{start:02d}:00 to {start + 2:02d}:59" for start in range(0, 24, 3)), MISSING])
    return pd.DataFrame({"position": np.arange(len(codes)), "level": names[order][codes], "order": order[codes]})


def _pooled(rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows["level"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    # A single level is never pooled: `other (1 levels)` would take the same space.
    kept = counts.index[: MOST_LEVELS if len(counts) > MOST_LEVELS + 1 else len(counts)]
    place = {level: number for number, level in enumerate(kept)}
    other = f"other ({len(counts) - len(kept)} levels)"
    level = rows["level"].where(rows["level"].isin(kept), other)
    return rows.assign(level=level, order=level.map(place).fillna(len(kept)).astype(int)).drop_duplicates()
