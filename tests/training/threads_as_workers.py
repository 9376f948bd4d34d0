"""Workers of a fit as threads of this process: the same exchange, without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deepfm_core.training.replicas.exchange import Replicas


class _Table:
    """Where threads lay down what they exchange."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=60)
        self.laid: list[Any] = [None] * size


class ThreadReplicas(Replicas):
    """One of several threads."""

    def __init__(self, rank: int, size: int, table: _Table) -> None:
        super().__init__(rank, size)
        self._table = table

    def _laid(self, own: object) -> list[Any]:
        self._table.laid[self.rank] = own
        self._table.barrier.wait()
        laid = list(self._table.laid)
        self._table.barrier.wait()
        return laid

    def _all_reduce(self, tensor: Tensor) -> None:
        tensor.copy_(sum(self._laid(tensor.clone())))

    def _all_gather(self, into: list[Tensor], own: Tensor) -> None:
        for one, laid in zip(into, self._laid(own.clone()), strict=True):
            one.copy_(laid)

    def _all_to_all(self, into: Tensor, own: Tensor, got: list[int], sent: list[int]) -> None:
        assert own.shape[0] == sum(sent)
        parts = [laid[self.rank] for laid in self._laid(own.clone().split(sent))]
        assert [len(part) for part in parts] == got
        into.copy_(torch.cat(parts))

    def _broadcast(self, tensor: Tensor) -> None:
        laid = self._laid(tensor.clone() if self.rank == 0 else None)
        tensor.copy_(laid[0])


def together(size: int, work: Callable[[Replicas], Any]) -> list[Any]:
    """Have so many workers do the same work, and give what each returned."""
    table = _Table(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadReplicas(rank, size, table))
        except BaseException as error:
            errors.append(error)
            table.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    assert not errors
    return results
