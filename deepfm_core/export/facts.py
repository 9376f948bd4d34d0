"""What is to be said of a finished run, read once from its folder: for the model card and the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from deepfm_core.errors import RunError
from deepfm_core.evidence.verdicts import has_evidence, holding, spread_of, verdicts
from deepfm_core.metrics.scores import Metrics
from deepfm_core.runs.findings import Cell, Findings, findings
from deepfm_core.runs.telling import PLAUSIBLE_SD, cells_of, telling_cell
from deepfm_core.spec.presets import MODEL_TITLES, run_name
from deepfm_core.spec.run import BASELINE, RunSpec
from deepfm_core.spec.settings import SETTINGS, Setting, capitalised
from deepfm_core.store.run_folder import RunFolder

PARTS = {"test": "Test", "valid": "Validation"}
"""The held-out parts, the one that judges first."""


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
        return self.spec.schema.label.outcome()

    @property
    def reading(self) -> dict[str, Any]:
        """What a person said of how the table is read, as `Choices` has it."""
        return dict(self.summary.get("reading", {}))

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
            return pd.DataFrame(columns=["field_a", "field_b", "strength", "verdict", "significant", "clear", "holds"])
        pairs = pairs.assign(verdict=verdicts(pairs))
        clear = (
            pairs["significant"].fillna(False).astype(bool) if has_evidence(pairs) else pd.Series(False, pairs.index)
        )
        order = pairs.assign(clear=clear, holds=holding(pairs))
        order = order.sort_values(["holds", "clear", "strength"], ascending=False, kind="stable")
        return order.reset_index(drop=True)

    def cells(self, field_a: str, field_b: str) -> pd.DataFrame:
        """Give the level pairs of a pair that have rows, with their effects, as `cells_of` does."""
        return cells_of(self.folder, field_a, field_b, self._spread(field_a, field_b))

    def telling_cell(self, field_a: str, field_b: str) -> Cell | None:
        """Give the two levels whose effect together stands out most from noise; None where all have few rows."""
        return telling_cell(self.cells(field_a, field_b), self.spec.schema)

    def _spread(self, field_a: str, field_b: str) -> float:
        pairs = self.pairs
        if not has_evidence(pairs):
            return PLAUSIBLE_SD
        return spread_of(pairs, field_a, field_b)

    def settings(self) -> Iterator[tuple[str, str]]:
        """Yield the title and the value of every setting that the model reads."""
        for setting, value in self.asked():
            yield capitalised(setting.title), value

    def asked(self) -> Iterator[tuple[Setting, str]]:
        """Yield every setting that the model reads, with its value as people write it."""
        for setting in SETTINGS:
            value = setting.of(self.spec)
            asked = setting.home != "run" or setting.option is not None
            if asked and value not in (None, ()) and setting.needs(self.spec.model.switches):
                yield setting, said(setting.as_text(value))


def said(value: Any) -> str:
    """Write a setting's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
