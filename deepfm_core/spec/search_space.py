"""The factors of a hyper-parameter study: what is varied, and what a setting of them makes of a run's spec.

The first five are those of the DeepFM paper (Guo et al. 2017, section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deepfm_core.errors import SpecError
from deepfm_core.spec.run import ModelSpec, RunSpec
from deepfm_core.spec.settings import SETTINGS, Setting, capitalised, setting_named
from deepfm_core.spec.value_kinds import Choice, Whole

# Shapes of a network at an equal number of neurons, as in the DeepFM paper's study (section 3.3).

SHAPES = ("constant", "increasing", "decreasing", "diamond")


def layer_widths(shape: str, neurons: int, layers: int) -> tuple[int, ...]:
    """Divide `neurons` among hidden layers; they always add up to `neurons`.

    Three layers of 600 neurons are 200-200-200, 100-200-300, 300-200-100 and 150-300-150, as in the paper.

    Raises:
        SpecError: there is no such shape, or there are too few neurons for it.
    """
    if shape not in SHAPES:
        raise SpecError(f"Shape is {shape!r}. Use one of {', '.join(SHAPES)}.")
    if layers < 1:
        raise SpecError(f"Number of layers is {layers}. Use 1 or more.")
    parts = _proportions(shape, layers)
    if neurons < sum(parts):
        raise SpecError(f"Neurons is {neurons}. Use at least {sum(parts)} for {layers} layers of shape {shape}.")
    whole = sum(parts)
    widths = [neurons * part // whole for part in parts]
    missing_most = sorted(range(layers), key=lambda number: neurons * parts[number] % whole, reverse=True)
    for number in missing_most[: neurons - sum(widths)]:  # layers that are to be alike differ by one neuron at most
        widths[number] += 1
    return tuple(widths)


def _proportions(shape: str, layers: int) -> list[int]:
    """Give the widths in proportion to each other: 1 1 1, 1 2 3, 3 2 1 or 1 2 1 for three layers."""
    numbers = list(range(1, layers + 1))
    match shape:
        case "constant":
            return [1] * layers
        case "increasing":
            return numbers
        case "decreasing":
            return numbers[::-1]
        case _:
            return [min(up, down) for up, down in zip(numbers, numbers[::-1], strict=True)]


Value = str | int | float

Point = Mapping[str, Value]
"""Values by name of the factor."""

NETWORK = ("neurons", "layers", "shape")
"""Factors that make the widths of the hidden layers together."""


@dataclass(frozen=True)
class Factor:
    """Something a study varies: a setting, or another way to count one.

    Attributes:
        title: how it is called.
        kind: names to choose from, whole numbers, or numbers.
        values: tried where nothing else is said; of a choice, all there are.
        setting: which it varies, by name.
        log: whether a search looks at orders of magnitude.
        help: what it is, in a sentence.
    """

    title: str
    kind: Literal["choice", "whole", "number"]
    values: tuple[Value, ...]
    setting: str
    log: bool = False
    help: str = ""


def _factor(setting: Setting) -> Factor:
    """Give the factor that is a setting itself."""
    assert setting.varied is not None
    kind: Literal["choice", "whole", "number"] = "number"
    if isinstance(setting.values, Choice | Whole):
        kind = "choice" if isinstance(setting.values, Choice) else "whole"
    return Factor(
        setting.title, kind, setting.varied.values, setting.name, setting.varied.log, f"{capitalised(setting.help)}."
    )


_COUNTED = {
    "keep": Factor(
        "share kept (dropout)",
        "number",
        (1.0, 0.9, 0.8, 0.7, 0.6, 0.5),
        "dropout",
        help="Share of hidden units kept while training, as the paper counts dropout; 1 drops none.",
    ),
    "neurons": Factor(
        "neurons per layer", "whole", (16, 32, 64, 128), "layers", log=True, help="Mean width of a hidden layer."
    ),
    "layers": Factor("number of layers", "whole", (1, 2, 3, 4), "layers", help="Hidden layers."),
    "shape": Factor(
        "DNN shape",
        "choice",
        SHAPES,
        "layers",
        help="How neurons are divided among layers; their sum stays the same.",
    ),
}
"""Factors that count a setting as the paper does."""
PLAIN = {setting.name: _factor(setting) for setting in SETTINGS if setting.varied}
"""Factors that are settings themselves."""

PAPER = ("activation", "keep", "neurons", "layers", "shape")
"""The factors of the paper's study."""
FACTORS: Mapping[str, Factor] = {
    name: (PLAIN | _COUNTED)[name] for name in (*PAPER, *(name for name in PLAIN if name not in PAPER))
}


def factors_of(model: str) -> tuple[str, ...]:
    """Give the factors that a model has."""
    switches = ModelSpec(model).switches
    return tuple(name for name, factor in FACTORS.items() if setting_named(factor.setting).needs(switches))


def parse_values(name: str, text: str) -> tuple[Value, ...]:
    """Read the values of a factor, separated by commas; values named twice count once.

    Raises:
        SpecError: there is none, or one is no value of the factor.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise SpecError(f"Values of {FACTORS[name].title}: there is none. Name at least one, or leave the factor out.")
    return checked(name, parts)


def checked(name: str, values: Sequence[Any]) -> tuple[Value, ...]:
    """Convert values of a factor to their type: each once, in order.

    Raises:
        SpecError: there is no such factor, or a value is none of it.
    """
    if name not in FACTORS:
        raise SpecError(f"Factor is {name!r}. Use some of {', '.join(FACTORS)}.")
    return tuple(dict.fromkeys(_value(FACTORS[name], value) for value in values))


def _value(factor: Factor, value: Any) -> Value:
    if factor.kind == "choice":
        if value not in factor.values:
            raise SpecError(
                f"{factor.title.capitalize()} is {value!r}. Use some of {', '.join(map(str, factor.values))}."
            )
        return str(value)
    try:
        return int(value) if factor.kind == "whole" else float(value)
    except (TypeError, ValueError):
        kind = "a whole number" if factor.kind == "whole" else "a number"
        raise SpecError(f"{factor.title.capitalize()} is {value!r}, not {kind}. Separate values by commas.") from None


def setting_of(spec: RunSpec) -> dict[str, Value]:
    """Give the value of every factor that a run has."""
    widths = spec.model.layers or (0,)
    found: dict[str, Value] = {name: setting_named(name).of(spec) for name in PLAIN} | {
        "keep": round(1.0 - spec.model.dropout, 6),
        "neurons": round(sum(widths) / len(widths)),
        "layers": len(spec.model.layers),
        "shape": shape_of(spec.model.layers),
    }
    return {name: found[name] for name in FACTORS}


def shape_of(layers: Sequence[int]) -> str:
    """Name the shape of hidden layers; those of no known shape count as constant."""
    for shape in SHAPES:
        try:
            if layers and layer_widths(shape, sum(layers), len(layers)) == tuple(layers):
                return shape
        except SpecError:
            continue
    return SHAPES[0]


def with_setting(spec: RunSpec, setting: Point) -> RunSpec:
    """Replace a run's values by those of a setting; values that it does not name stay.

    Raises:
        SpecError: a value is out of range.
    """
    chosen: dict[str, Any] = {name: _value(FACTORS[name], setting[name]) for name in PLAIN if name in setting}
    if "keep" in setting:
        keep = float(setting["keep"])
        if not 0.0 < keep <= 1.0:
            raise SpecError(f"Share kept (dropout) is {keep:g}. Use a share above 0, up to 1.")
        chosen["dropout"] = round(1.0 - keep, 6)
    if any(name in setting for name in NETWORK):
        values = setting_of(spec) | dict(setting)
        count = int(values["layers"])
        chosen["layers"] = layer_widths(str(values["shape"]), int(values["neurons"]) * max(count, 1), count)
    return spec.with_settings(chosen)


def written(value: Value) -> str:
    """Write a value as a person would."""
    return f"{value:g}" if isinstance(value, float) else str(value)
