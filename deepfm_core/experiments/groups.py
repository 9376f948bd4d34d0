"""Runs asked for together: how far they are, and what is done to all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from deepfm_core.store.records import RunRow
from deepfm_core.store.store import Store

STOPPED = ("lost", "failed", "cancelled")
"""States of a run from which it can be resumed."""


def cancel(store: Store, comparison: str) -> None:
    """Cancel all runs of a comparison that have not ended: the waiting ones first, so that none of them begins."""
    runs = store.comparisons.runs(comparison)
    for state in ("queued", "lost", "running"):
        for run in runs:
            if run.state == state:
                store.request_cancel(run.id)


def resume(store: Store, comparison: str) -> int:
    """Queue again what was cancelled, failed or lost, in the order it was asked for, and say how many runs."""
    stopped = [run for run in store.comparisons.runs(comparison) if run.state in STOPPED]
    for run in stopped:
        store.resume(run.id)
    return len(stopped)


@dataclass(frozen=True)
class Standing:
    """How far a comparison or study is at one moment."""

    total: int
    finished: int
    running: int
    queued: int
    stopped: int
    """Failed, cancelled or lost: they can be resumed."""
    fraction: float
    """Done of all runs, 0 … 1, the parts of those at work included."""
    seconds_left: float | None
    """By how long finished runs took; None before the first one, and where nothing is at work or waits."""

    @property
    def active(self) -> bool:
        """Whether runs wait or are at work."""
        return bool(self.running or self.queued)

    @classmethod
    def of(cls, runs: Sequence[RunRow], now: float, under_way: Mapping[str, float]) -> Standing:
        """Look at all runs of a comparison.

        Args:
            runs: as the store has them.
            now: in seconds since 1970.
            under_way: by id, the part done of each run at work.
        """
        states = [run.state for run in runs]
        done = sum(1.0 if run.ended_well else under_way.get(run.id, 0.0) for run in runs)
        return cls(
            total=len(runs),
            finished=states.count("finished"),
            running=states.count("running"),
            queued=states.count("queued"),
            stopped=len(runs) - sum(states.count(state) for state in ("finished", "running", "queued")),
            fraction=done / max(len(runs), 1),
            seconds_left=_seconds_left(runs, states, now),
        )


def _seconds_left(runs: Sequence[RunRow], states: Sequence[str], now: float) -> float | None:
    """Sum, over the runs to come, how long finished runs of their model took, or all runs where none of it has."""
    took: dict[str, list[float]] = {}
    for run in runs:
        if run.ended_well and run.started is not None and run.ended is not None:
            took.setdefault(run.spec.model.name, []).append(run.ended - run.started)
    if not took or not any(state in ("queued", "running") for state in states):
        return None
    overall = fmean(seconds for values in took.values() for seconds in values)
    left = 0.0
    for run, state in zip(runs, states, strict=True):
        if state not in ("queued", "running"):
            continue
        whole = fmean(took.get(run.spec.model.name, [overall]))
        left += whole if state == "queued" else max(whole - (now - (run.started or now)), 0.0)
    return left
