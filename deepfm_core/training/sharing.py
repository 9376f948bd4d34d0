"""Whether a fit's steps go on sharing the cores: measured while it trains, since other work comes and goes.

Threads that share a step wait for each other a hundred times in it. Where another process takes one of their cores,
every wait is as long as that has the core, and two threads are several times slower than one.
"""

from __future__ import annotations

import math
from collections import deque
from types import TracebackType
from typing import Self

import torch

from deepfm_core.training.spec import ModelSpec
from deepfm_core.training.threads import wanted_threads

SEEN = 5
"""Steps whose mean time stands for the present number of threads."""
TRIED = 4
"""Steps for which the other number is tried."""
FASTER = 0.9
"""How long a step may take of the present time for the other number to be taken instead."""
SLOWED = 2.0
"""So many times as long as when last compared, and it is time to compare again."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 16.0
"""Seconds of training between comparisons; twice as long after each that changed nothing."""


class Sharing:
    """Chooses between one thread and as many as torch had at first, whichever takes less time for a step at present.

    It is told the time of every step, and sets torch's threads; leaving the context puts them back. The weights are the
    same, bit by bit. With one thread at first, and where `$DEEPFM_THREADS` says how many, nothing is ever changed.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Watch the steps of a model; the sums of batch normalisation depend on the threads, so there they stay."""
        self._most = torch.get_num_threads()
        self._fixed = self._most == 1 or spec.batch_norm or wanted_threads() is not None
        self._sharing = True
        self._times: deque[float] = deque(maxlen=SEEN)
        self._begun = False
        self._left: float | None = None
        """Mean time of a step with the number that was left to try the other; None while none is tried."""
        self._usual = math.inf
        self._since, self._wait = 0.0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._fixed:
            torch.set_num_threads(self._most)

    @property
    def threads(self) -> int:
        """How many threads the next step has."""
        return self._most if self._sharing else 1

    def took(self, seconds: float) -> None:
        """Take in how long a step took, and set how many threads the next one has."""
        if self._fixed or not self._begun:  # the first step of all does what is done only once
            self._begun = True
            return
        self._times.append(seconds)
        self._since += seconds
        if self._left is not None:
            self._judge(self._left)
        elif self._is_time():
            self._left = self._mean()
            self._change()

    def _is_time(self) -> bool:
        seen = len(self._times) == SEEN
        return seen and (self._since >= self._wait or self._mean() > SLOWED * self._usual)

    def _judge(self, left: float) -> None:
        """End the trial as soon as it is clear which number is faster than `left`, the time of a step before it."""
        lost = sum(self._times) > FASTER * TRIED * left
        if len(self._times) < TRIED and not lost:
            return
        self._usual = left if lost else self._mean()
        self._wait = min(max(2 * self._wait, FIRST_WAIT), LONGEST_WAIT) if lost else FIRST_WAIT
        self._left, self._since = None, 0.0
        if lost:
            self._change()

    def _change(self) -> None:
        self._sharing = not self._sharing
        self._times.clear()
        torch.set_num_threads(self.threads)

    def _mean(self) -> float:
        return sum(self._times) / len(self._times)
