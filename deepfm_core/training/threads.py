"""How many threads a fit uses: more only where a step's work is large enough to share."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from deepfm_core.data.encoded import Layout
from deepfm_core.errors import SpecError
from deepfm_core.models.products import network_inputs
from deepfm_core.training.rows import worth_rows
from deepfm_core.training.spec import FitSpec, ModelSpec

SECONDS_WORTH_SHARING = 2e-3
_SECONDS_AN_OPERATION, _SECONDS_A_WEIGHT = 1e-11, 1.5e-9
"""Of one core: an addition or multiplication in a matrix product, and Adam's pass over a weight."""


def step_seconds(layout: Layout, model: ModelSpec, fit: FitSpec) -> float:
    """Estimate how long one core needs for a training step's matrix products and its pass over the table."""
    widths = (network_inputs(model, len(layout.fields), len(layout.dense)), *model.layers, 1)
    products = sum(a * b for a, b in itertools.pairwise(widths)) if model.deep else 0
    moved = 0 if worth_rows(layout.vocabulary, layout.slots, fit) else layout.vocabulary
    table = moved * (1 + model.switches.embedding_sets * model.embedding_size) * _SECONDS_A_WEIGHT
    return 3 * 2 * fit.batch_size * products * _SECONDS_AN_OPERATION + table


def set_threads(layout: Layout, model: ModelSpec, fit: FitSpec) -> None:
    """Set torch's threads for a fit: one for small steps (far steadier on a busy machine), otherwise every core.

    `$DEEPFM_THREADS` sets another number. While a fit trains, `sharing` goes on with one where other work makes that
    faster.

    Raises:
        SpecError: `$DEEPFM_THREADS` is no such number.
    """
    shared = step_seconds(layout, model, fit) >= SECONDS_WORTH_SHARING
    torch.set_num_threads(wanted_threads() or (_cores() if shared else 1))


def wanted_threads() -> int | None:
    """Give the number of threads that `$DEEPFM_THREADS` asks for, at most one a core; None where it asks for none.

    Raises:
        SpecError: it is not a whole number from 1.
    """
    text = os.environ.get("DEEPFM_THREADS", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise SpecError(f"DEEPFM_THREADS is {text!r}. Use a whole number from 1 to {_cores()}, or leave it out.")
    return min(int(text), _cores())


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
