"""Code for one run, ready to copy: the command line, the classifier, and the model in plain PyTorch.

Start with `code_text`, which puts all three into one Markdown text; `command_line`, `classifier_snippet` and
`torch_code.plain_torch` give each by itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import deepfm_core
from deepfm_core.encoding.sharding import name_of_whole, said_bytes
from deepfm_core.export.model_card import Facts
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import DROP, KEEP, LabelRole
from deepfm_core.spec.presets import PRESETS, settings
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec, SplitSpec
from deepfm_core.spec.settings import SETTINGS, of_home
from deepfm_core.spec.value_kinds import Flag

# The fewest words that lead to a run's settings: a preset, and the settings that differ from it.


@dataclass(frozen=True)
class Recipe:
    """How to come to the settings of a run's model and training.

    Attributes:
        preset: where to start.
        chosen: what to say beside it, by name.
        unsaid: settings of the run that cannot be said, by name; empty unless it was made by hand or by other code.
    """

    preset: str
    chosen: dict[str, Any]
    unsaid: dict[str, Any]


def recipe(spec: RunSpec, rows: int, names: Collection[str]) -> Recipe:
    """Find the preset and the fewest settings that lead to a run's model and training.

    Args:
        spec: the run's.
        rows: training rows, which presets depend on.
        names: the settings that can be said.
    """
    recipes = [_from_preset(spec, preset, rows, names) for preset in PRESETS]
    return min(recipes, key=lambda found: (len(found.unsaid), len(found.chosen)))


def _from_preset(spec: RunSpec, preset: str, rows: int, names: Collection[str]) -> Recipe:
    own = {each.name: each.of(spec) for each in (*of_home("model"), *of_home("fit"))}
    chosen = {name: own[name] for name in _differing(spec, *settings(preset, spec.model.name, rows, {}))}
    chosen = {name: value for name, value in chosen.items() if name in names}
    unsaid = _differing(spec, *settings(preset, spec.model.name, rows, chosen))
    return Recipe(preset, chosen, {name: own[name] for name in unsaid})


def _differing(spec: RunSpec, model: ModelSpec, fit: FitSpec) -> list[str]:
    """Name the settings in which a run differs from others, but for those that its model does not read."""
    parts = {"model": (spec.model, model), "fit": (spec.fit, fit)}
    return [
        each.name
        for home, (own, other) in parts.items()
        for each in (of_home("model") if home == "model" else of_home("fit"))
        if getattr(own, each.name) != getattr(other, each.name) and each.needs(spec.model.switches)
    ]


# Code for one run, ready to copy: the command line, the classifier, and the model in plain PyTorch.
#
# Start with `code_text`, which puts all three into one Markdown text; `command_line`, `classifier_snippet` and
# `torch_code.plain_torch` give each by itself.


NOT_OF_THE_CLASSIFIER = ("precision",)
"""Settings of model and training that have an option, but that the classifier does not take."""


def code_text(facts: Facts) -> str:
    """Give the command line, the classifier's snippet and the model in plain PyTorch as one Markdown text."""
    from deepfm_core.export.torch_code import plain_torch
    from deepfm_core.runs.predictor import Trained

    torch_code = plain_torch(Trained.load(facts.folder).model, facts.name)
    return f"""# Code for {facts.name}

Made with DeepFM Explorer {deepfm_core.__version__}.

## Train it again

```
{command_line(facts)}
```
{unsaid(facts)}
## As a classifier

It keeps no test rows, so it trains on more rows than the run.

```python
{classifier_snippet(facts)}```

## The model in plain PyTorch

`model.safetensors` is in the model bundle.

```python
{torch_code}```
"""


# The command line.


def command_line(facts: Facts) -> str:
    """Write the command that trains the run again, an option on each line."""
    spec, label = facts.spec, facts.spec.schema.label
    words = [("--label", label.column), ("--positive", label.said)]
    words += [("--blank-negative", "")] if not label.negative else []
    words += [("--memory", said_bytes(facts.summary["memory"]))] if "memory" in facts.summary else []
    words += [(f"--{name}", _as_option(value)) for name, value in facts.reading.items()]
    words += [(f"--{kind}", _listed(names)) for kind in Kind if (names := _columns(spec, kind))]
    words += [("--copies", copies)] if (copies := _copies(facts)) != DROP else []
    words += [(flag, value) for flag, value in (*_parts(spec), *_settings(facts))]
    lines = [" ".join([flag, *([shlex.quote(value)] if value else [])]) for flag, value in words]
    return " \\\n    ".join([f"python -m deepfm_core train {shlex.quote(name_of_whole(spec.table_name))}", *lines])


def _copies(facts: Facts) -> str:
    """Say what the run did with copies; keeping them need not be said where there are none."""
    copies = facts.spec.schema.copies
    return DROP if copies == KEEP and not facts.copies.count else copies


def _as_option(value: Any) -> str:
    """Write how a file is read as the command line takes it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def unsaid(facts: Facts) -> str:
    """Name the settings of the run that no option says; empty unless other code or a hand made them."""
    found = _recipe(facts).unsaid
    said = ", ".join(f"{name} = {value}" for name, value in found.items())
    return f"\nNo option says: {said}. Set it in the run's `spec.json`.\n" if found else ""


def _columns(spec: RunSpec, kind: Kind) -> list[str]:
    return [role.column for role in spec.schema.roles if role.kind is kind]


def _listed(names: Sequence[str]) -> str:
    """Write names with commas between them; one that holds a comma in quotes."""
    quoted = ('"' + name.replace('"', '""') + '"' for name in names)
    return ",".join(q if set(name) & set(',"\n\r') else name for name, q in zip(names, quoted, strict=True))


def _parts(spec: RunSpec) -> Iterator[tuple[str, str]]:
    if spec.split.column is not None:
        yield "--split-by", f"{spec.split.by}:{spec.split.column}"
    for flag, name in (("--valid-table", spec.valid_table_name), ("--test-table", spec.test_table_name)):
        if name:
            yield flag, name


def _settings(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield the options of the settings that are not the usual ones."""
    spec, found = facts.spec, _recipe(facts)
    if found.preset != PRESETS[0]:
        yield "--preset", found.preset
    if spec.model.name != ModelSpec().name:
        yield "--model", spec.model.name
    usual = {each.name: each.default for each in (*fields(RunSpec), *fields(SplitSpec))}
    for setting in SETTINGS:
        value = setting.of(spec)
        own = setting.home in ("run", "split") and value not in (None, usual.get(setting.name))
        if setting.option and (own or setting.name in found.chosen):
            yield setting.flag, "" if isinstance(setting.values, Flag) else str(setting.as_text(value))


def _recipe(facts: Facts) -> Recipe:
    """Find what to say of the settings; presets depend on the rows that `train` expects to train on."""
    spec, rows = facts.spec, facts.summary["rows"]
    whole = rows["train"] + (0 if spec.valid_table else rows["valid"]) + (0 if spec.test_table else rows["test"])
    return recipe(spec, spec.training_rows(whole), [setting.name for setting in SETTINGS if setting.option])


# The classifier.


def classifier_snippet(facts: Facts) -> str:
    """Write the Python that fits a `DeepFMClassifier` with the run's settings to the run's table."""
    spec, label = facts.spec, facts.spec.schema.label
    kinds = [f"    {kind.value!r}: {columns!r}," for kind in Kind if (columns := _columns(spec, kind))]
    parameters = {**_parameters(facts), **({"positive": label.said} if label.rule else {})}
    kept, y = _labels(label)
    lines = [f"    {name}={value!r}," for name, value in parameters.items()]
    said = ", ".join(f"{name}={value!r}" for name, value in facts.reading.items())
    names, reading = ("Choices, ", f", choices=Choices({said})") if said else ("", "")
    source = repr(name_of_whole(spec.table_name))
    read, given, scored = (
        f"""from deepfm_core import {names}DeepFMClassifier, read_table

rows = read_table({source}{reading}).frame
rows = rows[{kept}]
X, y = rows.drop(columns={label.column!r}), {y}
""",
        "X, y",
        "X",
    )
    if "memory" in facts.summary and label.negative:  # blank labels are left out there
        read, given, scored = "from deepfm_core import DeepFMClassifier\n", f"{source}, {label.column!r}", source
        lines.append(f"    memory={said_bytes(facts.summary['memory'])!r},")
        lines += [f"    positive={label.positive!r},"] * (not label.rule and label.positive < label.negative)
    return f"""{read}
kinds = {{
{chr(10).join(kinds)}
}}
model = DeepFMClassifier(
    kinds={{column: kind for kind, columns in kinds.items() for column in columns}},
{chr(10).join(lines)}
).fit({given})

model.predict_proba({scored})[:, 1]   # the probability of {label.outcome()}
model.interactions()           # the pairs of fields, strongest first
"""


def _labels(label: LabelRole) -> tuple[str, str]:
    """Write the Python that keeps the rows with a label, and that gives their labels."""
    column = f"rows[{label.column!r}]"
    if label.rule:
        return f"{column}.str.strip() != ''", column
    if not label.negative:
        return f"{column}.isin(['', {label.positive!r}])", f"({column} == {label.positive!r}).astype(int)"
    return f"{column}.isin({[label.negative, label.positive]!r})", f"({column} == {label.positive!r}).astype(int)"


def _parameters(facts: Facts) -> dict[str, Any]:
    """Give the classifier's parameters that are not its defaults."""
    spec, found = facts.spec, _recipe(facts)
    usual = {"model": ModelSpec().name, "preset": PRESETS[0], "min_count": 1, "copies": KEEP}
    values = {
        "model": spec.model.name,
        "preset": found.preset,
        **{name: value for name, value in found.chosen.items() if name not in NOT_OF_THE_CLASSIFIER},
        "min_count": spec.min_count,
        "copies": spec.schema.copies if facts.copies.count else KEEP,
        "random_state": spec.seed,
    }
    return {name: value for name, value in values.items() if usual.get(name) != value}
