"""The random masks of dropout, from a stream of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_LEVELS = 1 << 16


class DropoutMasks:
    """Draws the masks of a network's dropout layers, the same ones for the same seed on every device.

    A unit is kept where 16 random bits fall below (1 − rate) · 2¹⁶, so the rate is met to 2⁻¹⁷. That takes a
    thirtieth of the time of torch's own `bernoulli_`, which would cost more than all the rest of a small step.
    """

    def __init__(self, widths: Sequence[int], rate: float, device: torch.device) -> None:
        self._widths = tuple(widths) if rate > 0 else ()
        self._device = device
        kept = max(round((1.0 - rate) * _LEVELS), 1)
        self._highest = kept - 1 - _LEVELS // 2
        self._scale = 1.0 / (1.0 - rate)
        self._bits = np.random.SFC64(0)

    def seed(self, *numbers: int) -> None:
        """Begin a new stream that depends on `numbers` alone."""
        self._bits = np.random.SFC64(numbers)

    def draw(self, rows: int) -> list[Tensor]:
        """Draw B rows' masks: for each hidden layer (B, units) of 0 and 1 / (1 − rate); none without dropout."""
        if not self._widths:
            return []
        words = -(-rows * sum(self._widths) // 4)
        bits = torch.from_numpy(self._bits.random_raw(words).view(np.int16)).to(self._device)
        masks, start = [], 0
        for width in self._widths:
            drawn = bits[start : start + rows * width].view(rows, width)
            mask = torch.empty(rows, width, device=self._device)
            masks.append(torch.le(drawn, self._highest, out=mask).mul_(self._scale))
            start += rows * width
        return masks
