"""What the workers of one fit exchange, by torch.distributed: sums, rows and copies; and the distinct ids of them all.

Every worker calls the same methods in the same order, and gets the same bits: sums are made once and handed round, and
what is added up here is added in the order of the workers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed

from deepfm_core._private import transposed_product
from deepfm_core.training.embedding_table import Distinct


@dataclass
class Replicas:
    """The workers of a fit, of which this one is number `rank` of `size`.

    `received` counts the bytes of others that reach this worker, by what they are for. A sum over W workers counts
    2 (W − 1) / W times its size: the most that a ring of workers sends each.
    """

    rank: int
    size: int
    received: dict[str, float] = field(default_factory=dict)

    def total(self, tensor: Tensor, what: str = "network") -> Tensor:
        """Sum a tensor over the workers, in its own memory."""
        self._all_reduce(tensor)
        self._count(what, 2 * (self.size - 1) / self.size * _bytes(tensor))
        return tensor

    def gather(self, own: Tensor, what: str) -> list[Tensor]:
        """Give every worker's (n, …), in their order; n may differ."""
        counts = self.counts(own.shape[0], own.device, what)
        return self.gather_known(own, counts, what)

    def counts(self, own: int, device: torch.device, what: str) -> list[int]:
        """Give every worker's number."""
        number = torch.tensor([own], device=device)
        each = [torch.empty_like(number) for _ in range(self.size)]
        self._all_gather(each, number)
        self._count(what, 8 * (self.size - 1))
        return [int(one) for one in each]

    def gather_known(self, own: Tensor, counts: Sequence[int], what: str) -> list[Tensor]:
        """Give every worker's (n, …), whose n are known; what is sent is as long as the longest."""
        padded = own
        if own.shape[0] < (most := max(counts)):
            padded = torch.cat([own, own.new_zeros(most - own.shape[0], *own.shape[1:])])
        each = [torch.empty_like(padded) for _ in counts]
        self._all_gather(each, padded.contiguous())
        self._count(what, (self.size - 1) * _bytes(padded))
        return [part[:count] for part, count in zip(each, counts, strict=True)]

    def deal(self, own: Tensor, sent: Sequence[int], got: Sequence[int]) -> Tensor:
        """Send the first `sent[0]` rows of (n, …) to the first worker, the next to the second, and so on.

        Returns:
            What all sent to this one, `got[r]` rows from worker r.
        """
        into = own.new_empty(sum(got), *own.shape[1:])
        self._all_to_all(into, own.contiguous(), list(got), list(sent))
        others = into.shape[0] - got[self.rank]
        self._count("rows", others * _bytes(into) / max(into.shape[0], 1))
        return into

    def send(self, tensors: Mapping[str, Tensor]) -> None:
        """Give named tensors to all other workers, who `receive` them at this moment. The first worker does this."""
        said = json.dumps([[name, str(one.dtype)[6:], list(one.shape)] for name, one in tensors.items()]).encode()
        self._broadcast(torch.tensor([len(said)]))
        self._broadcast(torch.frombuffer(bytearray(said), dtype=torch.uint8))
        for tensor in tensors.values():
            if tensor.numel():
                self._broadcast(tensor.contiguous())

    def receive(self) -> dict[str, Tensor]:
        """Take what the first worker sends."""
        length = torch.zeros(1, dtype=torch.long)
        self._broadcast(length)
        said = torch.empty(int(length), dtype=torch.uint8)
        self._broadcast(said)
        tensors = {}
        for name, kind, shape in json.loads(bytes(said.tolist())):
            tensors[name] = torch.empty(shape, dtype=getattr(torch, kind))
            if tensors[name].numel():
                self._broadcast(tensors[name])
                self._count("copies", _bytes(tensors[name]))
        return tensors

    def tell(self, numbers: Sequence[int]) -> None:
        """Give some numbers to all other workers, who `listen` for as many."""
        self._broadcast(torch.tensor(list(numbers)))

    def listen(self, count: int) -> list[int]:
        """Take as many numbers as the first worker tells."""
        numbers = torch.empty(count, dtype=torch.long)
        self._broadcast(numbers)
        return [int(number) for number in numbers]

    # What torch.distributed does; tensors of the processor go by gloo, those of a GPU by NCCL.

    def _all_reduce(self, tensor: Tensor) -> None:
        distributed.all_reduce(tensor)

    def _all_gather(self, into: list[Tensor], own: Tensor) -> None:
        distributed.all_gather(into, own)

    def _all_to_all(self, into: Tensor, own: Tensor, got: list[int], sent: list[int]) -> None:
        distributed.all_to_all_single(into, own, got, sent)

    def _broadcast(self, tensor: Tensor) -> None:
        distributed.broadcast(tensor, 0)

    def _count(self, what: str, size: float) -> None:
        self.received[what] = self.received.get(what, 0.0) + size


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class SharedDistinct(Distinct):
    """Finds the distinct ones of all workers' ids, and adds up their gradients: of touched rows alone."""

    shared = True

    def __init__(self, vocabulary: int, device: torch.device, replicas: Replicas) -> None:
        super().__init__(vocabulary, device)
        self._replicas = replicas

    def __call__(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Give the U distinct ones of all workers' ids, (U,) int32, and where in them this worker's (L,) stand."""
        own, positions = super().__call__(ids)
        parts = self._replicas.gather(own, "ids")
        self._counts = [part.shape[0] for part in parts]
        union, self._where = super().__call__(torch.cat(parts))
        self._own = torch.split(self._where, self._counts)[self._replicas.rank]
        return union, self._own.index_select(0, positions)

    def total(self, gradient: Tensor) -> Tensor:
        """Give the gradient (U, columns) of the distinct ones, summed over the workers in their order."""
        own = gradient.index_select(0, self._own)
        each = torch.cat(self._replicas.gather_known(own, self._counts, "gradients"))
        if gradient.device.type != "cpu":
            return torch.zeros_like(gradient).index_add_(0, self._where, each)
        starts = torch.arange(len(each) + 1, dtype=torch.int32)
        return transposed_product(each.new_ones(len(each)), self._where, starts, gradient.shape[0], each)
