"""The rows that a fit trains on and is validated by: in memory, or on the disk, of which a window is in memory.

Rows in memory are shuffled all together. Those on the disk are shuffled in two levels: shards, stretches of rows beside
each other, come in random order, as many as a window holds are read, and the rows of a window are shuffled. If one
window holds all rows, both orders are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.sharding import Ranges, Shards
from deepfm_core.models.batch import Batch

Source = EncodedTable | Shards
"""Encoded rows, wherever they are."""

CHUNK_BATCHES = 16
"""Batches that are gathered at a time: one gather instead of many."""
_SHARD = 4096
"""Rows of a shard, at least: enough to be read at once, few enough that a window holds rows from everywhere."""


def windows(table: Source, device: str | torch.device = "cpu") -> Iterator[Batch]:
    """Yield all rows in their order, a window at a time: those in memory at once."""
    for window in table.windows() if isinstance(table, Shards) else (table,):
        yield Batch.held(window, device)


class TrainingRows:
    """N rows to take batches from."""

    def __init__(self, table: Source, device: torch.device, fixed: Callable[[Batch], Tensor] | None = None) -> None:
        """Take rows where they are.

        Args:
            table: N rows.
            device: where their batches go.
            fixed: gives what does not learn of the logits, for each of some rows; None where all of it learns.
        """
        self._table, self._device, self._fixed = table, device, fixed
        self._held = None if isinstance(table, Shards) else self._with_offset(Batch.held(table, device))

    def __len__(self) -> int:
        return len(self._table)

    def split(self, size: int) -> Iterator[Batch]:
        """Yield all rows in their order, at most `size` at a time; a window of rows on the disk may end with fewer."""
        for window in windows(self._table, self._device) if self._held is None else (self._held,):
            yield from window.split(size)

    def batches(self, seed: int, size: int) -> Iterator[Batch]:
        """Yield the rows in a random order that depends on `seed` alone, `size` at a time; the last batch may be less.

        The seed is that of torch's generator.
        """
        generator = torch.Generator().manual_seed(seed)
        if self._held is not None:
            yield from _taken(self._held, generator, size)
            return
        assert isinstance(self._table, Shards)
        for ranges in shuffled(len(self), self._table.window, size, generator):
            # Given on without a name here: the next window would otherwise be read while this one is in memory.
            yield from _taken(self._with_offset(Batch.held(self._table.read(ranges), self._device)), generator, size)

    def _with_offset(self, rows: Batch) -> Batch:
        return rows if self._fixed is None else replace(rows, offset=self._fixed(rows))


def _taken(rows: Batch, generator: torch.Generator, size: int) -> Iterator[Batch]:
    order = torch.randperm(len(rows), generator=generator).to(rows.ids.device)
    for start in range(0, len(order), size * CHUNK_BATCHES):
        yield from rows.take(order[start : start + size * CHUNK_BATCHES]).split(size)


def shuffled(rows: int, window: int, size: int, generator: torch.Generator) -> Iterator[Ranges]:
    """Yield the stretches of rows of each window, shards in random order.

    Each row is in one window, and each window but the last is of whole batches. Where shards begin is random, too.

    Args:
        rows: N, of all shards.
        window: the most rows of a window; one batch, if that is more. The last may have rows of one more shard.
        size: rows of a batch.
        generator: of the order.
    """
    shard = size * max(_SHARD // size, 1)
    shard = shard if shard <= window else size
    if rows <= max(window, shard):
        yield [(0, rows)]
        return
    whole, rest = divmod(rows, shard)
    begin = int(torch.randint(rest + 1, (1,), generator=generator))
    order = torch.randperm(whole, generator=generator).numpy() * shard + begin
    at_once = max(window // shard, 1)
    edges = [(0, begin), (begin + whole * shard, rows)]  # what is left over at both ends makes the last batches
    for place in range(0, whole, at_once):
        starts = np.sort(order[place : place + at_once])  # within a window the order does not matter
        last = place + at_once >= whole
        yield [(int(start), int(start) + shard) for start in starts] + (edges if last else [])
