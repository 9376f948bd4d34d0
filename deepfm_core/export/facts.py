"""What is to be said of a finished run, read once from its folder: for the model card and the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from deepfm_core.errors import RunError
from deepfm_core.evidence.cell_effects import observed_effects
from deepfm_core.evidence.verdicts import has_evidence, verdicts
from deepfm_core.metrics.scores import Metrics
from deepfm_core.runs.findings import Findings, findings
from deepfm_core.schema.kinds import Reading
from deepfm_core.spec.naming import MODEL_TITLES, run_name
from deepfm_core.spec.run import BASELINE, RunSpec
from deepfm_core.spec.settings import SETTINGS, capitalised
from deepfm_core.store.run_folder import RunFolder

PARTS = {"test": "Test", "valid": "Validation"}
"""The held-out parts, the one that judges first."""
THIN = 30
"""Training rows below which a cell is too thin to be named."""
_PLAUSIBLE_SD = 0.5
"""Spread of a pair's effects, in log-odds, that is assumed for runs without evidence."""
_POOLED = "other ("
"""How the name of a level begins that stands for all that are not shown by themselves."""
_TEXTS = ("field_a", "field_b", "level_a", "level_b")


@dataclass(frozen=True)
class Cell:
    """Two levels together: the rows that hold both, how many are positive, and the effect beyond each level alone."""

    levels: str
    rows: int
    rate: float
    expected: float
    """The share of positives that the model gives these rows."""
    observed: float
    """In log-odds, by the labels, shrunk by its rows."""
    learned: float
    """In log-odds, by the model."""

    def __str__(self) -> str:
        return f"{self.levels}: {self.rate:.0%} positive in {self.rows:,} rows, {signed(self.observed)} log-odds"


@dataclass(frozen=True)
class Facts:
    """A finished run: what was asked, and what came of it."""

    folder: RunFolder
    name: str
    spec: RunSpec
    summary: dict[str, Any]

    @classmethod
    def of(cls, folder: RunFolder, name: str = "") -> Facts:
        """Read a run.

        Raises:
            RunError: it is not finished, or is the baseline of a comparison, which has no model of ours.
        """
        spec, summary = folder.spec(), folder.summary()
        if spec.model.name == BASELINE:
            raise RunError(f"Run `{folder.path}` is a baseline without a model of its own. Export another run.")
        if summary is None:
            raise RunError(f"Run `{folder.path}` is not finished. Wait until it is, or resume it; then export it.")
        return cls(folder, name or run_name(spec), spec, summary)

    @property
    def model(self) -> str:
        """The model's title."""
        return MODEL_TITLES[self.spec.model.name]

    @property
    def label(self) -> str:
        """The label with its positive value, such as `income = >50K`."""
        return f"{self.spec.schema.label.column} = {self.spec.schema.label.positive}"

    @cached_property
    def metrics(self) -> dict[str, Metrics]:
        """The metrics of each held-out part that the run has."""
        values = self.folder.read_json("metrics.json") or {}
        return {part: Metrics(**values[part]) for part in PARTS if values.get(part)}

    @property
    def judged(self) -> tuple[str, Metrics] | None:
        """The part that judges the model, by its title, with its metrics: the test part if there is one."""
        return next(((PARTS[part], metrics) for part, metrics in self.metrics.items()), None)

    @cached_property
    def findings(self) -> Findings:
        """What the app says first."""
        return findings(self.folder)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The pairs of fields, strongest first, each with its verdict; without rows where the run has none."""
        pairs = self.folder.frame("pairs")
        if pairs is None or pairs.empty or pairs["learned"].isna().all():
            return pd.DataFrame(columns=["field_a", "field_b", "strength", "verdict", "significant", "clear"])
        pairs = pairs.assign(verdict=verdicts(pairs))
        clear = (
            pairs["significant"].fillna(False).astype(bool) if has_evidence(pairs) else pd.Series(False, pairs.index)
        )
        order = pairs.assign(clear=clear).sort_values(["clear", "strength"], ascending=False, kind="stable")
        return order.reset_index(drop=True)

    def cells(self, field_a: str, field_b: str) -> pd.DataFrame:
        """Give the level pairs of a pair that have rows: `level_a`, `level_b`, `rows`, `clicks`, `observed`, `learned`.

        `observed` is the effect of the two together by the labels, in log-odds, shrunk by the pair's strength.
        """
        cells = self.folder.frame("level_pairs", filters=[("field_a", "=", field_a), ("field_b", "=", field_b)])
        if cells is None or cells.empty:
            return pd.DataFrame(columns=["level_a", "level_b", "rows", "clicks", "expected", "observed", "learned"])
        cells = cells[cells["rows"] > 0].astype(dict.fromkeys(_TEXTS, object)).reset_index(drop=True)
        effects = observed_effects(cells, self._spread(field_a, field_b))
        short = {f"level_{s}": _short(cells[f"level_{s}"], field) for s, field in (("a", field_a), ("b", field_b))}
        return cells.assign(observed=effects, **short)

    def telling_cell(self, field_a: str, field_b: str) -> Cell | None:
        """Give the two levels whose effect together stands out most from noise; None where all have few rows.

        That is the largest effect times the root of its rows: a large effect in a handful of rows tells little.
        """
        cells = self.cells(field_a, field_b)
        pooled = cells["level_a"].str.startswith(_POOLED) | cells["level_b"].str.startswith(_POOLED)
        firm = cells[(cells["rows"] >= THIN) & ~pooled]
        if firm.empty:
            return None
        cell = firm.iloc[int((firm["observed"].abs() * np.sqrt(firm["rows"])).to_numpy().argmax())]
        rows = int(cell["rows"])
        levels = " with ".join(self._named(cell[f"field_{side}"], cell[f"level_{side}"]) for side in "ab")
        rate, expected = float(cell["clicks"]) / rows, float(cell["expected"]) / rows
        return Cell(levels, rows, rate, expected, float(cell["observed"]), float(cell["learned"]))

    def _named(self, field: str, level: str) -> str:
        """Write a level with its field; rows of a number with knots stand near it, but for those without a number."""
        knots = {role.column for role in self.spec.schema.used if role.kind.entry.reading is Reading.NEAREST}
        return f"{field} near {level}" if field in knots and any(map(str.isdigit, level)) else f"{field} = {level}"

    def _spread(self, field_a: str, field_b: str) -> float:
        pairs = self.pairs
        if not has_evidence(pairs):
            return _PLAUSIBLE_SD
        return float(pairs.loc[(pairs["field_a"] == field_a) & (pairs["field_b"] == field_b), "strength"].iloc[0])

    def settings(self) -> Iterator[tuple[str, str]]:
        """Yield the title and the value of every setting that the model reads."""
        for setting in SETTINGS:
            value = setting.of(self.spec)
            asked = setting.home != "run" or setting.option is not None
            if asked and value not in (None, ()) and setting.needs(self.spec.model.switches):
                yield capitalised(setting.title), said(setting.as_text(value))


def said(value: Any) -> str:
    """Write a setting's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def signed(value: float, digits: int = 2) -> str:
    """Write a number with its sign and a true minus; a number that rounds to zero is not negative."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def _short(levels: pd.Series[str], field: str) -> list[str]:
    """Shorten levels such as `price = 20` to their values."""
    return [level.removeprefix(f"{field} = ") for level in levels]
