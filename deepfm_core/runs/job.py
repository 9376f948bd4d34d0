"""What an engine is asked to do, what it is given for that, and the shape of every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deepfm_core.spec.events import Event, never
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.run_folder import RunFolder

if TYPE_CHECKING:
    from deepfm_core.store.encoding_cache import EncodingCache
    from deepfm_core.store.query import Questions
    from deepfm_core.tables.table import Choices, Table
    from deepfm_core.training.replicas.local import Trainer


@dataclass(frozen=True)
class Job:
    """One run to do: a plain value, which can be sent to another machine as JSON."""

    spec: RunSpec
    place: str
    """Where its files go: a folder, as the machine names it that does the run."""
    run: str = ""
    """Its id in the store; empty for a run in none."""

    @property
    def folder(self) -> RunFolder:
        """The run's files."""
        return RunFolder(Path(self.place))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**vars(self), "spec": self.spec.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a job from `to_dict`."""
        return cls(**{**values, "spec": RunSpec.from_dict(values["spec"])})


@dataclass(frozen=True)
class Context:
    """What an engine may ask while it does a job, on its own machine."""

    table: Callable[[str], Table]
    """Gives the table of a SHA-256, as `RunSpec` names them."""
    cancelled: Callable[[], bool] = never
    """Cheap enough to ask between batches; once true, the engine yields `Cancelled` and returns."""
    questions: Questions | None = None
    """Those of the store, whose answers the run shares; None for a run in no store."""
    encoded: EncodingCache | None = None
    """The encoded rows that the store keeps; None where nothing is kept."""
    choices: Callable[[str], Choices] | None = None
    """Says how the store reads a table, without reading it; None for a run in no store."""
    require: Callable[[str], None] | None = None
    """Raises where a table that need not be read, since its encoded rows are kept, is gone or another owner's."""
    helped: bool = True
    """Whether the run may start processes on other processors. Not on a node of a cluster, which lends it one, and not
    where several workers share the processors."""
    trainer: Trainer | None = None
    """Does the fit by several workers; None where this process does it by itself."""


Engine = Callable[[Job, Context], Iterator[Event]]
"""Does a job and yields its events, ending with Finished, Failed or Cancelled. User errors may be raised instead."""
