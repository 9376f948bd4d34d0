"""The distinct ids of a batch, without sorting them."""

from __future__ import annotations

import torch
from torch import Tensor


class Distinct:
    """Finds the distinct ones of ids below V: of equal ids the last in a list stands for all.

    Every id writes its place into a list of V places, and reads back which place was written last. That is three
    passes over the ids, where sorting them takes ten times as long.
    """

    def __init__(self, vocabulary: int, device: torch.device) -> None:
        self._place = torch.zeros(vocabulary, dtype=torch.int32, device=device)
        self._places = torch.zeros(0, dtype=torch.int32, device=device)

    def __call__(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Give the U distinct ones of (L,) ids, (U,) int32, and where in them each of the L stands, (L,) int32."""
        if self._places.shape[0] < ids.shape[0]:
            self._places = torch.arange(ids.shape[0], dtype=torch.int32, device=ids.device)
        places, where = self._places[: ids.shape[0]], ids.long()
        self._place.scatter_(0, where, places)
        last = self._place.gather(0, where)
        found = (last == places).nonzero().squeeze(1)
        self._place.scatter_(0, where.index_select(0, found), self._places[: found.shape[0]])
        return ids.index_select(0, found), self._place.gather(0, where)
