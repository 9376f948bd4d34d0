"""Shapes of a network at an equal number of neurons, as in the DeepFM paper's study (section 3.3)."""

from __future__ import annotations

from deepfm_core.errors import SpecError

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
