"""The model card of a bundle, in Markdown: what the model is for, what it learned from, how good it is, its limits.

`Facts` are what is to be said of a finished run; the report has them from here, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

import deepfm_core
from deepfm_core._words import named, percent, training_rows
from deepfm_core.errors import RunError
from deepfm_core.evidence.verdicts import clear, has_evidence, holding, put_first, spread_of, verdicts
from deepfm_core.explain.pair_counts import PairCounts
from deepfm_core.metrics.scores import Metrics, few_cases
from deepfm_core.runs.findings import Cell, Findings, findings
from deepfm_core.runs.telling import PLAUSIBLE_SD, cells_of, telling_cell
from deepfm_core.schema.copies import Copies
from deepfm_core.spec.presets import MODEL_TITLES, run_name
from deepfm_core.spec.run import BASELINE, RunSpec
from deepfm_core.spec.settings import SETTINGS, Setting, capitalised
from deepfm_core.store.run_folder import RunFolder

# What is to be said of a finished run, read once from its folder: for the model card and the report.


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

    @property
    def copies(self) -> Copies:
        """What is known of copies among the rows of the run's table."""
        return Copies.of_run(self.summary)

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
        sure = clear(pairs) if has_evidence(pairs) else pd.Series(False, pairs.index)
        order = put_first(pairs.assign(clear=sure, holds=holding(pairs)), "strength")
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


# The model card of a bundle, in Markdown: what the model is for, what it learned from, how good it is, its limits.


MOST_PAIRS = 5
"""Pairs that the card lists."""


def model_card(facts: Facts) -> str:
    """Write the card of a finished run."""
    sections = (
        (f"# {_text(facts.name)}", _summary(facts)),
        ("## Data", _data(facts)),
        ("## Scores", _scores(facts)),
        ("## Strongest pairs of fields", _pairs(facts)),
        ("## Fields", _fields(facts)),
        ("## Settings", _table(("setting", "value"), list(facts.settings()))),
        ("## Intended use", _use(facts)),
        ("## Limits", _limits(facts)),
        ("## Use it", _how(facts)),
    )
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections) + "\n"


def _summary(facts: Facts) -> str:
    count = f"{facts.summary.get('parameters', 0):,} parameters"
    return (
        f"{facts.model} ({count}) gives the probability that {_code(facts.label)}. It was trained on "
        f"{_code(facts.spec.table_name)} with DeepFM Explorer {deepfm_core.__version__}."
    )


def _data(facts: Facts) -> str:
    spec, rows, label = facts.spec, facts.summary["rows"], facts.spec.schema.label
    by = spec.split.by + (f" ({_code(spec.split.column)})" if spec.split.column else "")
    lines = [
        f"- Label: {_code(label.column)}. Positive: {_code(label.positive)}; negative: {_code(label.negative)}.",
        f"- Rows: {rows['train']:,} to train, {rows['valid']:,} to validate, {rows['test']:,} to test. Split: {by}.",
        f"- SHA-256 of the table: `{spec.table}`." if spec.table else "",
        *(
            f"- {title} table: {_code(name)}."
            for title, name in (("Validation", spec.valid_table_name), ("Test", spec.test_table_name))
            if name
        ),
    ]
    return "\n".join(filter(None, lines))


def _scores(facts: Facts) -> str:
    titles = {"test": "test", "valid": "validation"}
    rows = [
        (
            titles[part],
            f"{metrics.rows:,}",
            f"{metrics.clicks:,}",
            _interval(metrics.auc, metrics.auc_low, metrics.auc_high, 3),
            _interval(metrics.logloss, metrics.logloss_low, metrics.logloss_high, 4),
            _interval(metrics.calibration_ratio, metrics.calibration_low, metrics.calibration_high, 2),
        )
        for part, metrics in facts.metrics.items()
    ]
    head = ("part", "rows", "positive", "AUC", "logloss (nats)", "predicted ÷ observed")
    return f"{_table(head, rows)}\n\nIn brackets: 95% intervals. {_base(facts)}"


def _base(facts: Facts) -> str:
    judged = facts.judged
    if judged is None:
        return ""
    part, metrics = judged
    return f"{part} logloss of always predicting the share of positives: {metrics.base_logloss:.4f}."


def _interval(value: float | None, low: float | None, high: float | None, digits: int) -> str:
    if value is None:
        return "–"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _pairs(facts: Facts) -> str:
    pairs = facts.pairs
    if pairs.empty:
        none = "This model's logit has no pairs of fields, or the run did not examine them."
        return "\n\n".join(filter(None, (none, _guided(facts))))
    rows = []
    for pair in pairs.head(MOST_PAIRS).to_dict("records"):
        cell = facts.telling_cell(pair["field_a"], pair["field_b"])
        names = f"{_text(pair['field_a'])} × {_text(pair['field_b'])}"
        rows.append((names, f"±{pair['strength']:.2f}", pair["verdict"] or "learned", _text(str(cell or "–"))))
    note = "Strength: standard deviation over rows of what the pair adds, in log-odds."
    table = _table(("pair", "strength", "verdict", "where it is clearest"), rows)
    return "\n\n".join(filter(None, (table, f"{note} {_clear(facts)}".rstrip(), _guided(facts))))


def _guided(facts: Facts) -> str:
    """Say which pairs the model started from; empty of a model without a guide."""
    guide = facts.summary.get("guide")
    if guide is None:
        return ""
    every = facts.summary["rows"]["train"]
    rows = f"the labels of {training_rows(guide.get('asked'), every)}"
    if not guide["pairs"]:
        return f"The model is guided: it started from what each field does alone, since {rows} suggest no pair."
    pairs = ", ".join(f"{_text(pair['field_a'])} × {_text(pair['field_b'])}" for pair in guide["pairs"])
    return f"The model is guided: it started from pairs that {rows} suggest, so it is no second proof of them: {pairs}."


def _clear(facts: Facts) -> str:
    if not has_evidence(facts.pairs):
        return ""
    return PairCounts.of(facts.pairs).said


def _fields(facts: Facts) -> str:
    rows = [
        (_code(role.column), str(role.kind), _text(role.kind.help), f"{role.missing:,}")
        for role in facts.spec.schema.used
    ]
    left_out = [_code(role.column) for role in facts.spec.schema.roles if not role.kind.is_used]
    table = _table(("field", "kind", "how it enters", "missing cells"), rows)
    return table + (f"\n\nLeft out: {', '.join(left_out)}." if left_out else "")


def _use(facts: Facts) -> str:
    return (
        f"Give the probability that {_code(facts.label)} to rows like those of training: same columns, same source, "
        "same period or soon after. Rank rows by it, or compare its mean with what happens. Every prediction splits "
        "into terms that sum to its logit, so single rows can be explained."
    )


def _limits(facts: Facts) -> str:
    lines = [
        "- It describes these rows. A pair or a field that matters here need not cause anything.",
        "- A value that training did not hold counts as an average one. Watch how many there are in new tables.",
        "- It says nothing of fairness. Check scores by group before people are affected by decisions.",
        *(f"- {_text(sentence)}" for sentence in _doubts(facts)),
    ]
    return "\n".join(lines)


def _doubts(facts: Facts) -> Iterator[str]:
    if copies := facts.copies:
        yield copies.said_of_run
    judged = facts.judged
    if judged is not None:
        yield from _doubts_of(*judged)
    worst = facts.findings.worst
    if worst is not None and worst.beyond_chance:
        yield (
            f"Calibration is off where {named(worst.field, worst.level)}: {percent(worst.predicted, 1)} predicted, "
            f"{percent(worst.observed, 1)} observed in {worst.rows:,} rows."
        )
    for role in facts.spec.schema.used:
        if role.warning:
            yield f"{role.column}: {role.warning}."


def _doubts_of(part: str, metrics: Metrics) -> Iterator[str]:
    if said := few_cases(metrics):
        yield said
    if metrics.auc_low is not None and metrics.auc_low <= 0.5:
        yield f"{part} AUC is not clearly above 0.5: it may rank no better than chance."


def _how(facts: Facts) -> str:
    label = facts.spec.schema.label
    return f"""Load it in Python, on any machine with the package:

```python
from deepfm_core import DeepFMClassifier, read_table

model = DeepFMClassifier.load("this-bundle.zip")
rows = read_table("tomorrow.csv").frame
model.predict_proba(rows)[:, 1]   # the probability that {label.column} is {label.positive}
model.explain(rows)               # each row's logit, split into parts
```

Or on the command line: `python -m deepfm_core predict this-bundle.zip tomorrow.csv`. Or in the app: *Runs*, *Import a
bundle*.

`encoder.json`, `encoder.arrow` and `frames/` hold values of the table. The frames of examples hold whole rows of it.
Share the bundle with those who may see them."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _code(text: str | None) -> str:
    """Write a name as code; a backtick within it becomes an apostrophe."""
    return "`" + " ".join((text or "").replace("`", "'").split()) + "`"


def _text(text: str) -> str:
    """Write a text without what Markdown would take for markup, except code between two backticks."""
    parts = " ".join(text.replace("``", "''").split()).split("`")
    if len(parts) % 2 == 0:
        parts = ["'".join(parts)]
    return "`".join(part if place % 2 else _escaped(part) for place, part in enumerate(parts))


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "\\*_[]<>#" else sign for sign in text)
