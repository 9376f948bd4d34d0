"""The deep part: fully connected layers ending in one number."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "linear": nn.Identity,
}


class Dropout(nn.Module):
    """Dropout whose mask can be given, so that the same units are dropped whichever way gradients are computed."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.kept: Tensor | None = None
        """(B, units), 0 where a unit is dropped and 1 / (1 − rate) where it is kept; None lets torch draw."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop units while training: (B, units)."""
        if self.training and self.kept is not None:
            return inputs * self.kept
        return functional.dropout(inputs, self.rate, self.training)


class Network(nn.Module):
    """`layers` hidden layers, each linear → batch normalisation → activation → dropout, then one output."""

    def __init__(self, inputs: int, layers: tuple[int, ...], activation: str, dropout: float, batch_norm: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        width = inputs
        for units in layers:
            parts.append(_linear(width, units))
            if batch_norm:
                parts.append(nn.BatchNorm1d(units))
            parts.append(_ACTIVATIONS[activation]())
            if dropout > 0:
                parts.append(Dropout(dropout))
            width = units
        parts.append(_linear(width, 1))
        self.stack = nn.Sequential(*parts)

    @property
    def first(self) -> nn.Linear:
        """The first layer, from the inputs on; the output's where there is no hidden one."""
        first = self.stack[0]
        assert isinstance(first, nn.Linear)
        return first

    @property
    def output(self) -> nn.Linear:
        """The last layer, from the last hidden units to the output."""
        last = self.stack[-1]
        assert isinstance(last, nn.Linear)
        return last

    @property
    def output_bias(self) -> Tensor:
        """The constant added to the output."""
        return self.output.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, inputs) to (B,)."""
        output: Tensor = self.stack(inputs)
        return output.squeeze(1)


def _linear(inputs: int, units: int) -> nn.Linear:
    layer = nn.Linear(inputs, units)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
