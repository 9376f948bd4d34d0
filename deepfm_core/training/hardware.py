"""How many threads a fit uses, and whether it multiplies in bfloat16: only what is faster on this processor."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from deepfm_core._processor import announces_bfloat16, processor_name
from deepfm_core._words import whole_number
from deepfm_core.encoding.encoded_table import Layout
from deepfm_core.errors import SpecError
from deepfm_core.spec.run import FitSpec, ModelSpec, cross_numbers, network_inputs
from deepfm_core.training.embedding_table import worth_rows

SECONDS_WORTH_SHARING = 2e-3

_SECONDS_AN_OPERATION, _SECONDS_A_WEIGHT = 1e-11, 1.5e-9
"""Of one core: an addition or multiplication in a matrix product, and Adam's pass over a weight."""


def step_seconds(layout: Layout, model: ModelSpec, fit: FitSpec) -> float:
    """Estimate how long one core needs for a training step's matrix products and its pass over the table."""
    widths = (network_inputs(model, len(layout.fields), len(layout.dense)), *model.layers, 1)
    products = sum(a * b for a, b in itertools.pairwise(widths)) if model.deep else 0
    products += cross_numbers(model, widths[0])
    moved = 0 if worth_rows(layout.vocabulary, layout.slots, fit) else layout.vocabulary
    table = moved * (1 + model.switches.embedding_sets * model.embedding_size) * _SECONDS_A_WEIGHT
    return 3 * 2 * fit.batch_size * products * _SECONDS_AN_OPERATION + table


def set_threads(layout: Layout, model: ModelSpec, fit: FitSpec, workers: int = 1) -> None:
    """Set torch's threads for a fit: one for small steps (far steadier on a busy machine), otherwise every core.

    Several `workers` have their part of the cores each. `$DEEPFM_THREADS` sets another number. While a fit trains,
    `sharing` goes on with one where other work makes that faster.

    Raises:
        SpecError: `$DEEPFM_THREADS` is no such number.
    """
    shared = step_seconds(layout, model, fit) >= SECONDS_WORTH_SHARING
    torch.set_num_threads(wanted_threads() or (max(_cores() // workers, 1) if shared else 1))


def wanted_threads() -> int | None:
    """Give the number of threads that `$DEEPFM_THREADS` asks for, at most one a core; None where it asks for none.

    Raises:
        SpecError: it is not a whole number from 1.
    """
    text = os.environ.get("DEEPFM_THREADS", "").strip()
    if not text:
        return None
    number = whole_number(text)
    if not number or not text.isascii():
        raise SpecError(f"DEEPFM_THREADS is {text!r}. Use a whole number from 1 to {_cores()}, or leave it out.")
    return min(number, _cores())


@contextmanager
def torch_left_as_it_was() -> Iterator[None]:
    """Give torch its threads and random state back: a library call must not change them."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Whether a fit's steps go on sharing the cores: measured while it trains, since other work comes and goes.

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
    same, bit by bit: where matrix products depend on the threads, these stay as they were at first. So they do with one
    thread at first, and where `$DEEPFM_THREADS` says how many.
    """

    def __init__(self, spec: ModelSpec, *, steady: bool = False) -> None:
        """Watch the steps of a model; the sums of batch normalisation depend on the threads, so there they stay.

        They also stay where they are to be `steady`: the time of a step that waits for other processes says little.
        """
        self._most = torch.get_num_threads()
        given = steady or self._most == 1 or wanted_threads() is not None
        self._fixed = given or spec.batch_norm or products_depend_on_threads()
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
            self._decide(self._left)
        elif self._is_time():
            self._left = self._mean()
            self._change()

    def _is_time(self) -> bool:
        seen = len(self._times) == SEEN
        return seen and (self._since >= self._wait or self._mean() > SLOWED * self._usual)

    def _decide(self, left: float) -> None:
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


_SHAPES = tuple(itertools.product((100, 256, 1024), (40, 136, 400), (1, 64, 400)))
"""Rows, inputs and outputs of the layers that are tried."""


@cache
def products_depend_on_threads() -> bool:
    """Say whether a layer's matrix products on one thread and on all differ in a bit, as MKL's may with AVX-512."""
    most, source = torch.get_num_threads(), torch.Generator().manual_seed(0)
    try:
        for rows, inputs, outputs in _SHAPES:
            x, w, d = (
                torch.randn(shape, generator=source) for shape in ((rows, inputs), (outputs, inputs), (rows, outputs))
            )
            found = []
            for threads in (1, _cores()):
                torch.set_num_threads(threads)
                found.append((x @ w.T, d @ w, d.T @ x))
            if not all(map(torch.equal, *found)):
                return True
    finally:
        torch.set_num_threads(most)
    return False


# Where a fit trains: on the processor, or on a GPU where the user names one.


def training_device() -> torch.device:
    """Give the device that `$DEEPFM_DEVICE` names: `cpu` where it names none.

    A GPU is never chosen unasked: its sums are not the same in every run, and small tables train slower on it.

    Raises:
        SpecError: torch knows no such device, or does not find it here.
    """
    wanted = os.environ.get("DEEPFM_DEVICE", "").strip() or "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise SpecError(f"`DEEPFM_DEVICE` is '{wanted}'. torch knows no such device. Use cpu or cuda.") from None
    if device.type not in ("cpu", "cuda"):
        raise SpecError(f"`DEEPFM_DEVICE` is '{wanted}'. Only cpu and cuda are supported. Use one of them.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SpecError(
            f"`DEEPFM_DEVICE` is '{wanted}'. torch {torch.__version__} finds no such GPU here. "
            "Install a build of torch for your GPU, or unset it."
        )
    return device


# Whether this processor multiplies matrices of bfloat16, and how much faster than those of float32.


_TRIAL = """
import time, torch
torch.set_num_threads(1)
def seconds(x):
    x @ x
    times = []
    for _ in range(7):
        began = time.perf_counter()
        x @ x
        times.append(time.perf_counter() - began)
    return min(times)
x = torch.randn(512, 512)
print(seconds(x) / seconds(x.bfloat16()))
"""


def require_precision(precision: str) -> None:
    """Check that a precision can be used here and is worth it.

    Raises:
        SpecError: it is bfloat16, and its products fail on this processor or are slower than those of float32.
    """
    if precision != "bfloat16":
        return
    gain = bfloat16_gain()
    if gain is None:
        raise SpecError("Precision is 'bfloat16'. This processor does not multiply matrices of it. Use float32.")
    if gain < 1.0:
        times = f"{1 / gain:.1f} times as long as those of float32"
        raise SpecError(f"Precision is 'bfloat16'. On this processor its products take {times}. Use float32.")


@cache
def bfloat16_gain() -> float | None:
    """Time a product of each precision and give float32's time over bfloat16's; None where bfloat16 does not work.

    A process of its own tries, for a few seconds: some processors announce instructions that their system does not let
    them execute, which ends the process that tries. That bfloat16 gains is remembered for this processor and version
    of torch, in the user's cache folder; any other answer is asked for again by the next process.
    """
    if not announces_bfloat16():
        return None
    key = f"{processor_name()}, torch {torch.__version__}"
    known = _remembered().get(key)
    if isinstance(known, float):
        return known
    trial = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=120, check=False)
    gain = float(trial.stdout) if trial.returncode == 0 else None
    if gain is not None and gain >= 1.0:
        _remember(key, gain)
    return gain


def _cache_file() -> Path:
    """Say where answers are remembered."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "deepfm-explorer" / "bfloat16.json"


def _remembered() -> dict[str, Any]:
    try:
        answers = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # no file, not JSON or too deep, no home
        return {}
    return answers if isinstance(answers, dict) else {}


def _remember(key: str, gain: float) -> None:
    """Write an answer beside the others; where that cannot be, the next process tries again."""
    answers = {**_remembered(), key: gain}
    with suppress(OSError, RuntimeError):
        path = _cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(answers, indent=1), encoding="utf-8")
        temporary.replace(path)
