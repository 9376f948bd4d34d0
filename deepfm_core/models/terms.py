"""The addends of a logit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """The addends of the logit for B rows, F embedded, D dense and C crossed fields, and P pairs.

    Attributes:
        bias: () or None.
        first_order: (B, F + D + C), a column per field, in the order of `Layout.first_order_names`; None where the
            model has no such term.
        second_order: (B, P), a column per entry of `pairs`; None where the model has no such term.
        dnn: (B,), the network's output; None where the model has no network.
        pairs: the field numbers (a, b) of each second-order column, a < b, and (a, a) for the pairs within a
            multi-valued field.
    """

    bias: Tensor | None
    first_order: Tensor | None
    second_order: Tensor | None
    dnn: Tensor | None
    pairs: tuple[tuple[int, int], ...]

    def logit(self) -> Tensor:
        """Sum all terms: (B,), equal to `DeepFM.forward`."""
        parts: list[Tensor] = []
        if self.first_order is not None and self.bias is not None:
            parts.append(self.bias + self.first_order.sum(1))
        if self.second_order is not None:
            parts.append(self.second_order.sum(1))
        if self.dnn is not None:
            parts.append(self.dnn)
        return torch.stack(parts).sum(0)
