"""What an engine is asked to do, and the shape of every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfm_core.spec.events import Event, never
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.run_folder import RunFolder

if TYPE_CHECKING:
    from deepfm_core.tables.table import Table


@dataclass(frozen=True)
class Job:
    """One run to do: what is asked for, where its files go, where its tables come from, and whether to stop."""

    spec: RunSpec
    folder: RunFolder
    table: Callable[[str], Table]
    """Gives the table of a SHA-256, as `RunSpec` names them."""
    cancelled: Callable[[], bool] = never
    """Cheap enough to ask between batches; once true, the engine yields `Cancelled` and returns."""
    home: Path | None = None
    """Of the store the run is in, whose answers it shares; None for a run that is in none."""


Engine = Callable[[Job], Iterator[Event]]
"""Does a job and yields its events, ending with Finished, Failed or Cancelled. User errors may be raised instead."""
