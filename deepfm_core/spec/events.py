"""What happens while a run trains, as plain typed values: the only thing `fit` and an engine give out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from deepfm_core._files import require_types

PLACE = "place"
"""The stage in which a run waits for a node of a cluster."""
GUIDE = "guide"
"""The stage that comes before a guided model trains: which pairs do the labels of the training part support?"""
HOLD_OUT = "hold out"
"""The stage that comes after everything pages show first: evidence on unseen rows."""


@dataclass(frozen=True)
class Event:
    """Base of all events; `kind` names the type in the store."""

    kind: ClassVar[str] = "event"

    def to_dict(self) -> dict[str, Any]:
        """Give the event's values as plain values for JSON, without its kind."""
        return asdict(self)


@dataclass(frozen=True)
class Stage(Event):
    """A stage of the run has begun or moved on: reading, encoding, fitting, evaluating, explaining."""

    kind: ClassVar[str] = "stage"
    name: str
    fraction: float = 0.0
    """Done of this stage, 0 … 1."""
    note: str = ""


@dataclass(frozen=True)
class Placed(Event):
    """A node of a cluster has taken the run up; a run of this machine's worker has no such event."""

    kind: ClassVar[str] = "placed"
    node: str


@dataclass(frozen=True)
class Started(Event):
    """Training begins."""

    kind: ClassVar[str] = "started"
    rows_train: int
    rows_valid: int
    parameters: int
    epochs: int
    steps_per_epoch: int
    base_logloss: float
    """Validation logloss of predicting the training part's click rate for every row."""
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Progress(Event):
    """Some batches were trained; `loss` is the mean logloss over the batches since the last such event."""

    kind: ClassVar[str] = "progress"
    epoch: int
    """Counts from 1."""
    step: int
    """Batches done in this epoch."""
    steps: int
    """Batches in an epoch."""
    loss: float
    rows_per_second: float


@dataclass(frozen=True)
class EpochDone(Event):
    """An epoch ended and was evaluated on the validation part."""

    kind: ClassVar[str] = "epoch"
    epoch: int
    train_logloss: float
    """Mean over the epoch's batches, as trained (with dropout, weights changing)."""
    valid_logloss: float
    valid_auc: float | None
    """None where the validation part has a single class."""
    seconds: float
    """Since training began, this epoch's evaluation included."""
    best: bool
    """Whether this is the lowest validation logloss so far, or the highest AUC where the fit goes by that."""


@dataclass(frozen=True)
class Fitted(Event):
    """Training ended and the best epoch's weights are back in the model."""

    kind: ClassVar[str] = "fitted"
    epochs: int
    best_epoch: int
    seconds: float
    rows_per_second: float
    stopped_early: bool
    best_epochs: tuple[int, ...] = ()
    """How many epochs the kept weights of each phase have been trained for, as `FitState.best_epochs` has it."""


@dataclass(frozen=True)
class Scored(Event):
    """The scores on held-out rows are known; `summary` has `epochs`, `best_epoch`, and `valid` and `test` scores."""

    kind: ClassVar[str] = "scored"
    summary: dict[str, Any]


@dataclass(frozen=True)
class Ready(Event):
    """Everything that pages show is written, except for the evidence on unseen rows."""

    kind: ClassVar[str] = "ready"
    summary: dict[str, Any]


@dataclass(frozen=True)
class Finished(Event):
    """The run is complete and everything is written; `summary` is the JSON object that `train` prints."""

    kind: ClassVar[str] = "finished"
    summary: dict[str, Any]


@dataclass(frozen=True)
class Failed(Event):
    """The run cannot go on; `message` is a sentence for the user."""

    kind: ClassVar[str] = "failed"
    message: str


@dataclass(frozen=True)
class Cancelled(Event):
    """The run was stopped on request; what was checkpointed can be resumed."""

    kind: ClassVar[str] = "cancelled"
    epoch: int


_TYPES: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (Stage, Placed, Started, Progress, EpochDone, Fitted, Scored, Ready, Finished, Failed, Cancelled)
}


def event_from_dict(kind: str, values: dict[str, Any]) -> Event:
    """Rebuild an event from its kind and `to_dict`; values unknown to this version are dropped."""
    cls = _TYPES[kind]
    known = {field.name for field in fields(cls)}
    event: Event = require_types(cls(**{name: value for name, value in values.items() if name in known}))
    return event


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


# Progress of a long computation: it calls a function with the share done.

Report = Callable[[float], None]
"""Takes the share done, 0 … 1."""


def unheard(_share: float) -> None:
    """Ignore the share done: the report of a caller that wants none."""


def within(report: Report, low: float, high: float) -> Report:
    """Return a report for a part of a computation: its 0 … 1 becomes the shares from `low` to `high`."""
    return lambda share: report(low + share * (high - low))
