"""What the table of a comparison says, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

MANY = 5
"""Models from which on it is worth saying that one interval in twenty errs."""
METRICS = {"logloss": ("the lowest logloss", "{:.4f} nats"), "auc": ("the highest AUC", "{:.4f}")}


def verdict(table: pd.DataFrame, metric: str = "logloss") -> str:
    """Say which model is best by a metric, which are no more than noise away, and which are worse.

    Args:
        table: as `comparison_table.model_table` gives it, with a column `title`.
        metric: `logloss` or `auc`.
    """
    models = table[~table["yardstick"].astype(bool)].dropna(subset=[metric])
    if models.empty:
        return ""
    best = models[models[f"{metric}_difference"].isna()].iloc[0]
    honour, form = METRICS[metric]
    said = f"**{best['title']}** has {honour}, {form.format(best[metric])}"
    others = models[models[f"{metric}_difference"].notna()]
    if others.empty:
        return f"{said}; no other model has finished."
    apart = (others[f"{metric}_low"] > 0) | (others[f"{metric}_high"] < 0)
    near, worse = list(others.loc[~apart, "title"]), list(others.loc[apart, "title"])
    if not worse:
        return f"{said}, but no difference between the models is more than noise on these {_rows(best)}."
    if not near:
        return f"{said}, and every other model is worse by more than noise."
    differ = "differs" if len(near) == 1 else "differ"
    is_worse = "is" if len(worse) == 1 else "are"
    return f"{said}. {_listed(near)} {differ} by no more than noise; {_listed(worse)} {is_worse} worse by more."


def yardstick(table: pd.DataFrame) -> str:
    """Say how gradient boosting did beside the best model; nothing where it has not finished."""
    rows = table[table["yardstick"].astype(bool)]
    if rows.empty or pd.isna(rows.iloc[0]["logloss_difference"]):
        return ""
    row = rows.iloc[0]
    low, high = float(row["logloss_low"]), float(row["logloss_high"])
    how = "lower" if row["logloss_difference"] < 0 else "higher"
    noise = "no more than noise" if low <= 0 <= high else "more than noise"
    return (
        f"{row['title']}, set apart as the yardstick, has a logloss {abs(row['logloss_difference']):.4f} {how} "
        f"than the best model's: {noise}."
    )


def caveat(table: pd.DataFrame) -> str:
    """Say what the intervals cover."""
    models = table[~table["yardstick"].astype(bool)]
    rows = _rows(table.iloc[0])
    cover = f"Intervals cover which {rows} and which seeds were drawn, together for all models."
    if int(models["runs"].max()) < 2:
        cover = f"Intervals cover which {rows} were drawn. One seed each: what chance in training does is not in them."
    if len(models) < MANY:
        return cover
    picked = "the best, picked on these very rows, looks a little better than it is"
    return f"{cover} One interval in twenty leaves out zero by chance, and {picked}."


def _rows(row: pd.Series) -> str:
    part = {"test": "test", "valid": "validation"}[str(row["part"])]
    return f"{int(row['rows']):,} {part} rows"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
