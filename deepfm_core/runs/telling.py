"""The cells of a pair, as a run's folder holds them, and the one that tells most about the pair."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deepfm_core._words import named
from deepfm_core.evidence.cell_effects import observed_effects
from deepfm_core.runs.findings import Cell
from deepfm_core.schema.kinds import Reading
from deepfm_core.schema.schema import Schema
from deepfm_core.store.run_folder import RunFolder

THIN = 30
"""Training rows below which a cell is too thin to be named."""
PLAUSIBLE_SD = 0.5
"""Spread of a pair's effects, in log-odds, that is assumed for runs without evidence."""
_POOLED = "other ("
"""How the name of a level begins that stands for all that are not shown by themselves."""
_TEXTS = ("field_a", "field_b", "level_a", "level_b")


def cells_of(folder: RunFolder, field_a: str, field_b: str, spread: float) -> pd.DataFrame:
    """Give the level pairs of a pair that have rows: `level_a`, `level_b`, `rows`, `clicks`, `observed`, `learned`.

    `observed` is the effect of the two together by the labels, in log-odds, shrunk by `spread`, the pair's strength.
    """
    cells = folder.frame("level_pairs", filters=[("field_a", "=", field_a), ("field_b", "=", field_b)])
    if cells is None or cells.empty:
        return pd.DataFrame(columns=["level_a", "level_b", "rows", "clicks", "expected", "observed", "learned"])
    cells = cells[cells["rows"] > 0].astype(dict.fromkeys(_TEXTS, object)).reset_index(drop=True)
    effects = observed_effects(cells, spread)
    short = {f"level_{s}": _short(cells[f"level_{s}"], field) for s, field in (("a", field_a), ("b", field_b))}
    return cells.assign(observed=effects, **short)


def telling_cell(cells: pd.DataFrame, schema: Schema) -> Cell | None:
    """Give the two levels whose effect together stands out most from noise; None where all have few rows.

    That is the largest effect times the root of its rows: a large effect in a handful of rows tells little.

    Args:
        cells: as `cells_of` gives them.
        schema: roles of the table's columns.
    """
    pooled = cells["level_a"].str.startswith(_POOLED) | cells["level_b"].str.startswith(_POOLED)
    firm = cells[(cells["rows"] >= THIN) & ~pooled]
    if firm.empty:
        return None
    cell = firm.iloc[int((firm["observed"].abs() * np.sqrt(firm["rows"])).to_numpy().argmax())]
    rows = int(cell["rows"])
    a, b = (_named(str(cell[f"field_{side}"]), str(cell[f"level_{side}"]), schema) for side in "ab")
    rate, expected = float(cell["clicks"]) / rows, float(cell["expected"]) / rows
    return Cell(a, b, rows, rate, expected, float(cell["observed"]), float(cell["learned"]))


def _named(field: str, level: str, schema: Schema) -> str:
    """Write a level with its field; rows of a number with knots stand near it, but for those without a number."""
    knots = {role.column for role in schema.used if role.kind.entry.reading is Reading.NEAREST}
    return f"{field} near {level}" if field in knots and any(map(str.isdigit, level)) else named(field, level)


def _short(levels: pd.Series[str], field: str) -> list[str]:
    """Shorten levels such as `price = 20` to their values."""
    return [level.removeprefix(f"{field} = ") for level in levels]
