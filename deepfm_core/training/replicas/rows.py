"""The rows of one worker of a fit: its share of every batch, in the order of a fit that has no others.

Each worker reads a stretch of its own from memory or the disk, the same one every epoch, and no other row. Before a
window is trained on, its rows are dealt to the workers whose share of a batch they are in. So the order does not depend
on the number of workers, and a worker's disk needs its own stretch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.sharding import Ranges, Shards
from deepfm_core.models.batch import Batch, Share
from deepfm_core.training.replicas.exchange import Replicas
from deepfm_core.training.rows import Source, shuffled, windows

Places = NDArray[np.int64]


def stretch(rows: int, rank: int, size: int) -> tuple[int, int]:
    """Say which of N rows worker `rank` of `size` reads: from the first to before the last."""
    return rows * rank // size, rows * (rank + 1) // size


class SharedRows:
    """N rows that workers share, to take this worker's part of batches from."""

    def __init__(
        self,
        table: Source,
        device: torch.device,
        replicas: Replicas,
        fixed: Callable[[Batch], Tensor] | None = None,
    ) -> None:
        """Take rows where they are.

        Args:
            table: N rows, of which those of `stretch` are read.
            device: where their batches go.
            replicas: the workers.
            fixed: gives what does not learn of the logits, for each of some rows; None where all of it learns.
        """
        self._table, self._device, self._replicas, self._fixed = table, device, replicas, fixed
        self._rank, self._size = replicas.rank, replicas.size
        self._cuts = np.array([stretch(len(table), rank, self._size)[1] for rank in range(self._size)])

    def __len__(self) -> int:
        return len(self._table)

    def split(self, size: int) -> Iterator[Batch]:
        """Yield all rows, of all workers, in their order, at most `size` at a time."""
        for window in windows(self._table, self._device):
            yield from window.split(size)

    def batches(self, seed: int, size: int) -> Iterator[Batch]:
        """Yield this worker's part of each batch of `size` rows; the last batch may be less.

        The order of all rows depends on `seed` alone, which is that of torch's generator.
        """
        generator, window = torch.Generator().manual_seed(seed), len(self)
        if isinstance(self._table, Shards):
            window = self._table.window
        for ranges in shuffled(len(self), window, size, generator):
            order = torch.randperm(sum(stop - start for start, stop in ranges), generator=generator).numpy()
            yield from _cut(self._dealt(ranges, order, size), len(order), size, self._replicas)

    def _dealt(self, ranges: Ranges, order: Places, size: int) -> Batch:
        """Read this worker's rows of a window, deal them, and give those of its part of each batch, in their order."""
        places = np.concatenate([np.arange(start, stop) for start, stop in ranges])
        holder = np.searchsorted(self._cuts, places, "right")  # of each row of the window, who reads it
        own = _within(ranges, *stretch(len(self), self._rank, self._size))
        wanted = [order[_part(len(order), size, rank, self._size)] for rank in range(self._size)]
        position = np.cumsum(holder == self._rank) - 1  # of each row, where it stands among those read here
        sent = [position[rows[holder[rows] == self._rank]] for rows in wanted]
        of = holder[wanted[self._rank]]  # of each row that comes, who sends it
        back = np.argsort(np.argsort(of, kind="stable"), kind="stable")
        table = _read(self._table, own).take(np.concatenate(sent))
        got = [int(np.count_nonzero(of == rank)) for rank in range(self._size)]
        rows = Batch.held(_exchanged(table, [len(one) for one in sent], got, self._replicas).take(back), self._device)
        return rows if self._fixed is None else replace(rows, offset=self._fixed(rows))


def _cut(rows: Batch, whole: int, size: int, replicas: Replicas) -> Iterator[Batch]:
    """Cut a window's rows into this worker's part of each batch, of which the whole window has so many rows."""
    place = 0
    for start in range(0, whole, size):
        count = min(size, whole - start)
        first, stop = _span(count, replicas.rank, replicas.size)
        share = Share(first, count, 1 if count >= replicas.size else replicas.size)
        yield replace(rows.slice(place, place + stop - first), share=share)
        place += stop - first


def _span(count: int, rank: int, size: int) -> tuple[int, int]:
    """Say which rows of a batch a worker has: all of them, where there are fewer than workers."""
    return stretch(count, rank, size) if count >= size else (0, count)


def _part(whole: int, size: int, rank: int, workers: int) -> Places:
    """Give the places, in the order of a window, of a worker's part of each batch."""
    rest = whole % size
    first, stop = _span(size, rank, workers)
    full = (np.arange(0, whole - rest, size)[:, None] + np.arange(first, stop)).ravel()
    first, stop = _span(rest, rank, workers)
    return np.concatenate([full, whole - rest + np.arange(first, stop)])


def _within(ranges: Ranges, first: int, stop: int) -> Ranges:
    """Give what of some stretches of rows lies within one."""
    cut = [(max(start, first), min(end, stop)) for start, end in ranges]
    return [(start, end) for start, end in cut if start < end]


def _read(table: Source, ranges: Ranges) -> EncodedTable:
    if isinstance(table, Shards):
        return table.read(ranges)
    return table.take(np.concatenate([np.arange(start, stop) for start, stop in ranges] or [np.arange(0)]))


def _exchanged(table: EncodedTable, sent: list[int], got: list[int], replicas: Replicas) -> EncodedTable:
    """Deal the rows of a table to the workers, and give those that came."""

    def dealt(array: NDArray[Any]) -> NDArray[Any]:
        if not array.shape[1]:
            return np.empty((sum(got), 0), array.dtype)
        return replicas.deal(torch.from_numpy(np.ascontiguousarray(array)), sent, got).numpy()

    assert table.labels is not None
    return EncodedTable(
        table.layout,
        dealt(table.ids),
        None if table.weights is None else dealt(table.weights),
        dealt(table.dense),
        dealt(table.labels[:, None])[:, 0],
        None if table.crosses is None else dealt(table.crosses),
        table.weighted,
    )


def own_windows(table: Source, replicas: Replicas, device: torch.device, most: int = 1 << 17) -> Iterator[Batch]:
    """Yield the rows that this worker reads, in their order, a few at a time."""
    first, last = stretch(len(table), replicas.rank, replicas.size)
    size = min(table.window, most) if isinstance(table, Shards) else most
    for start in range(first, last, size):
        yield Batch.held(_read(table, [(start, min(start + size, last))]), device)
