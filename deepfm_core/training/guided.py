"""How a guided model trains: it starts from its guide, and keeps what it learns beyond it only where that pays.

LR, which can learn nothing beyond main effects, is solved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfm_core._words import training_rows
from deepfm_core.evidence.guide import Guide, fit_first_order, fit_guides
from deepfm_core.metrics.scores import logloss_by_row
from deepfm_core.models.batch import Batch, Reading
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.models.terms import terms_of
from deepfm_core.spec.events import GUIDE, Event, Report, Stage
from deepfm_core.training.rows import Source, windows

Solved = TypeVar("Solved")

SOLVED = (
    "LR is solved, not trained in epochs: it has its most probable weights, those of each field under a normal prior "
    "as wide as the labels say."
)
_AT_ONCE = 8192
_PATIENCE = 0.1
"""Seconds to wait for news of the evidence before looking whether training was stopped."""


def begin_from_guide(model: DeepFM, train: Source, seed: int, *, anew: bool) -> Generator[Event, None, Guide]:
    """Ask the labels of the training rows, solve main effects and supported pairs, and put them into the model.

    Args:
        model: guided.
        train: its N training rows, in memory or on the disk.
        seed: of the evidence.
        anew: whether the model begins; otherwise it goes on from a checkpoint, and is left as it is.

    Yields:
        `Stage`, the last one with a note that says which pairs guide the model.

    Returns:
        The guide that the model must do better than.
    """
    yield Stage(GUIDE, 0.0)
    guides = yield from _watched(GUIDE, lambda report: fit_guides(train, seed=seed, report=report))
    if anew:
        model.start_from(guides.start)
    yield Stage(GUIDE, 1.0, said(guides.alone, train.layout.names))
    return guides.alone


def said(guide: Guide, names: Sequence[str], most: int = 5) -> str:
    """Say in a sentence or two which pairs guide a model, and by which rows."""
    rows = f"the labels of {training_rows(guide.asked, guide.rows)}"
    if not guide.pairs:
        return f"No pair guides the model: {rows} suggest none. It starts from what each field does alone."
    pairs = ", ".join(f"{names[a]} × {names[b]}" for a, b in (pair.fields for pair in guide.pairs[:most]))
    more = f" and {len(guide.pairs) - most} more" if len(guide.pairs) > most else ""
    count = "1 candidate pair" if len(guide.pairs) == 1 else f"{len(guide.pairs)} candidate pairs"
    sizes = "" if guide.asked == guide.rows else " How large their effects are is learned from all of them."
    return f"The model starts from {count}, which {rows} suggest: {pairs}{more}.{sizes}"


def solve_first_order(model: DeepFM, train: Source) -> Generator[Event, None, None]:
    """Give LR the most probable weights, with no epoch (`evidence.guide.fit_first_order`).

    Args:
        model: LR.
        train: its N training rows, in memory or on the disk.

    Yields:
        `Stage`, the last one with a note that says so.
    """
    model.take_first_order((yield from _watched("fit", lambda report: fit_first_order(train, report=report))))
    yield Stage("fit", 1.0, SOLVED)


def _watched(stage: str, compute: Callable[[Report], Solved]) -> Generator[Event, None, Solved]:
    """Compute in a thread and yield how far it is; closing the generator ends the thread at its next report."""
    share, closed, news = [0.0], threading.Event(), threading.Event()
    outcome: list[Solved | BaseException] = []

    def report(done: float) -> None:
        if closed.is_set():
            raise _Closed
        share[0] = done
        news.set()

    def work() -> None:
        try:
            outcome.append(compute(report))
        except BaseException as error:  # raised again by the generator
            outcome.append(error)
        news.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    told = 0.0
    try:
        while not outcome:
            news.wait(_PATIENCE)
            news.clear()
            if share[0] >= told + 0.02:
                told = share[0]
                yield Stage(stage, told)
    finally:
        closed.set()
        thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


class _Closed(Exception):  # noqa: N818 (not an error)
    """Nobody waits for the guide any more."""


@torch.no_grad()
def fixed_logits(model: DeepFM, rows: Batch) -> Tensor:
    """Give what the terms that do not learn add to each row: (N,)."""
    terms = [term for term in terms_of(model) if term.fixed]
    parts = []
    for batch in rows.split(_AT_ONCE):
        read = Reading(model, batch)
        parts.append(sum((term.forward(read) for term in terms), start=model.table.new_zeros(len(batch))))
    return torch.cat(parts) if parts else model.table.new_zeros(0)


def keep_if_earned(model: DeepFM, guide: Guide, valid: Source, logits: NDArray[np.float64]) -> bool:
    """Keep what a model learned beyond its guide where that pays on the validation rows; else put the guide in it.

    It pays where it lowers their logloss by more than one standard error of the difference, row by row: a smaller gain
    is as likely as not to be luck in choosing the epoch.

    Args:
        model: in its best epoch.
        guide: what it must do better than.
        valid: M labelled rows.
        logits: (M,) of the model.

    Returns:
        Whether it is kept.
    """
    assert valid.labels is not None
    learned = {name: value.clone() for name, value in model.state_dict().items()}
    model.start_from(guide)
    parts = [fixed_logits(model, window) for window in windows(valid, model.table.device)]
    alone = torch.cat(parts).cpu().double().numpy()
    gain = logloss_by_row(valid.labels, alone) - logloss_by_row(valid.labels, logits)
    earned = bool(gain.mean() > gain.std() / np.sqrt(max(len(gain), 1)))
    if earned:
        model.load_state_dict(learned)
    else:
        model.keep_guide_alone()
    return earned
