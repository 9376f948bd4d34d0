"""The runs of a comparison or study as a group: cancel or resume all of them, and see how far they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from deepfm_core.store.records import RunRow
from deepfm_core.store.store import Store

STOPPED = ("lost", "failed", "cancelled")
"""States of a run from which it can be resumed."""


def cancel(store: Store, comparison: str) -> None:
    """Cancel all runs of a comparison that have not ended; waiting runs first, so that none of them starts."""
    runs = store.comparisons.runs(comparison)
    # A worker takes the next queued run as soon as its own is cancelled, so running ones come last.
    for state in ("queued", "lost", "running"):
        for run in runs:
            if run.state == state:
                store.request_cancel(run.id)


def resume(store: Store, comparison: str) -> int:
    """Queue the cancelled, failed and lost runs again, in their first order, and return their number."""
    stopped = [run for run in store.comparisons.runs(comparison) if run.state in STOPPED]
    for run in stopped:
        store.resume(run.id)
    return len(stopped)


@dataclass(frozen=True)
class Standing:
    """The progress of a comparison or study at one moment."""

    total: int
    finished: int
    running: int
    queued: int
    stopped: int
    """Failed, cancelled or lost runs, which can be resumed."""
    fraction: float
    """The share of all runs that is done, 0 … 1; running ones count in part."""
    seconds_left: float | None
    """An estimate from finished runs; None before the first has finished, and if no run is running or queued."""

    @property
    def active(self) -> bool:
        """Whether a run is running or queued."""
        return bool(self.running or self.queued)

    @classmethod
    def of(cls, runs: Sequence[RunRow], now: float, under_way: Mapping[str, float]) -> Standing:
        """Compute the progress of a comparison from its runs.

        Args:
            runs: all runs, as the store has them.
            now: in seconds since 1970.
            under_way: by id, the share done of each running run.
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
    """Sum the expected seconds of the runs to come: the mean of the model's finished runs, or of all finished runs."""
    took: dict[str, list[float]] = {}  # seconds of finished runs, by model
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
        expected = fmean(took.get(run.spec.model.name, [overall]))
        left += expected if state == "queued" else max(expected - (now - (run.started or now)), 0.0)
    return left
