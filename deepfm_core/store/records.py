"""Rows of the store as plain typed values."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeVar

from deepfm_core._files import read_object
from deepfm_core.errors import DeepFMError, RunError
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.spec.events import Event
from deepfm_core.spec.presets import run_name
from deepfm_core.spec.run import RunSpec
from deepfm_core.store.database import Connection, Database, Row, insert
from deepfm_core.store.process import Process
from deepfm_core.store.run_folder import RunFolder

REPAIR = "Delete the run, or run `python -m deepfm_core check --repair`, which reads it from the run's folder."
"""What to do about a run whose row is damaged."""

STALE_SECONDS = 30.0
"""A running run without a heartbeat for this long is lost, whatever its process looks like."""


@dataclass(frozen=True)
class TableEntry:
    """A table of an owner; its content stands under its SHA-256, once for all owners."""

    sha256: str
    owner: str
    name: str
    rows: int
    bytes: int
    """Size of the file as it came."""
    created: float
    """Seconds since 1970, as all times of the store."""


@dataclass(frozen=True)
class RunRow:
    """A run as the store has it at one moment."""

    id: str
    name: str
    owner: str
    status: str
    """As stored: queued, running, finished, failed or cancelled. Show `state`, which knows *lost* as well."""
    spec_json: str
    summary_json: str | None
    notes: str
    message: str | None
    """Why the run failed, as a sentence."""
    comparison: str | None
    """The comparison or study that the run belongs to."""
    trial: int | None
    """In a study, the number of its setting."""
    to_choose: bool
    """Whether the worker that claims it still has to choose its setting, as in a search."""
    created: float
    queued: float
    started: float | None
    """When its worker began; after a resume, the last time."""
    ended: float | None
    heartbeat: float | None
    worker: str | None
    cancel_requested: bool

    @classmethod
    def of(cls, row: Row) -> RunRow:
        """Read a row of the table `runs`."""
        values = {name: row[name] for name in row.keys() if name in _RUN_COLUMNS}  # noqa: SIM118 (iterates values)
        for flag in ("cancel_requested", "to_choose"):
            values[flag] = bool(values[flag])
        return cls(spec_json=row["spec"], summary_json=row["summary"], **values)

    @cached_property
    def spec(self) -> RunSpec:
        """What the run was asked to do."""
        try:
            return _spec_of(self.spec_json)
        except RunError as error:
            raise RunError(f"Run `{self.id}`: {error}") from error

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The metrics known: none, then `epochs` and `valid` of the best epoch so far, then what `train` prints."""
        values: dict[str, Any] = read_object(self.summary_json or "{}", f"Run `{self.id}`: its summary", REPAIR)
        return values

    @cached_property
    def damage(self) -> str | None:
        """Say what of the row cannot be read; None where all can."""
        for name in ("spec", "summary"):
            try:
                getattr(self, name)
            except RunError:
                return f"its {name} in the database cannot be read"
        return None

    def readable(self) -> RunRow:
        """Return the row as a listing shows it: one that cannot be read is `damaged`, and says so in its message."""
        if self.damage is None:
            return self
        spec, message = json.dumps(_UNREADABLE.to_dict()), f"Run `{self.id}`: {self.damage}. {REPAIR}"
        return replace(self, status="damaged", message=message, spec_json=spec, summary_json=None)

    @property
    def tables(self) -> set[str]:
        """The SHA-256 of the tables that the run is made from; none where its spec cannot be read."""
        try:
            values = json.loads(self.spec_json)
            named = [values[name] for name in ("table", "valid_table", "test_table") if name in values]
        except (ValueError, TypeError, RecursionError):
            return set()
        return {sha for sha in named if isinstance(sha, str) and is_sha256(sha)}

    @property
    def state(self) -> str:
        """The status, or `lost` where the run's worker is gone. Computed at each call, never stored."""
        return "lost" if self.status == "running" and self._worker_is_gone() else self.status

    @property
    def ended_well(self) -> bool:
        """Whether the run is finished and will never change."""
        return self.status == "finished"

    def _worker_is_gone(self) -> bool:
        if self.worker is None or self.heartbeat is None:
            return True
        process = Process.parse(self.worker)
        return (process.here and not process.alive()) or time.time() - self.heartbeat > STALE_SECONDS


_UNREADABLE = RunSpec(
    "0" * 64, "damaged", Schema(LabelRole("damaged", "1", "0"), (FieldRole("damaged", next(iter(Kind))),))
)
"""Stands in a listing for a spec that cannot be read."""


@lru_cache(maxsize=4096)
def _spec_of(text: str) -> RunSpec:
    spec: RunSpec = read_object(text, "its spec", REPAIR, RunSpec.from_dict)
    return spec


_RUN_COLUMNS = {field.name for field in fields(RunRow)}


Plan = TypeVar("Plan")


@dataclass(frozen=True)
class ComparisonRow:
    """Runs asked for together: the models of a comparison, or the settings of a study."""

    id: str
    name: str
    owner: str
    kind: str
    """`models` or `settings`."""
    plan_json: str
    created: float

    @cached_property
    def plan(self) -> dict[str, Any]:
        """What was asked for: `preset`, `seeds`, and more that depends on the kind."""
        return self.planned(_with_seeds)

    def planned(self, made: Callable[[dict[str, Any]], Plan]) -> Plan:
        """Make something of what was asked for; RunError where that is damaged."""
        plan: Plan = read_object(
            self.plan_json, f"Comparison `{self.name}`: its plan", "Delete it, and make it again.", made
        )
        return plan


def _with_seeds(values: dict[str, Any]) -> dict[str, Any]:
    if type(values["seeds"]) is not int or not isinstance(values["preset"], str):
        raise TypeError("it has no preset and number of seeds")
    return values


class StoredEvent(NamedTuple):
    """An event with its place in the run's sequence (from 1) and its time."""

    seq: int
    time: float
    event: Event


@dataclass(frozen=True)
class ClusterState:
    """The cluster whose nodes do a store's runs, as its dispatcher last saw it."""

    worker: str
    """The dispatcher."""
    nodes: int
    """Nodes that can do runs."""
    processors: int
    places: int
    """Runs that have room at a time."""
    taken: int
    """Runs at work."""


@dataclass(frozen=True)
class WorkerState:
    """The queue as a page shows it: its length and its workers."""

    queued: int
    running: int
    """Running runs, without lost ones."""
    starting: int
    """Workers that are still loading."""
    idle: int
    """Workers that take the next run within a moment."""
    busy: int
    limit: int
    """Workers allowed at a time."""
    cluster: ClusterState | None = None
    """None where the runs are done on this machine."""

    @property
    def warm(self) -> bool:
        """Whether a run asked for now starts at once."""
        return self.idle > 0

    @property
    def live(self) -> int:
        """Workers of any state."""
        return self.starting + self.idle + self.busy


# A new run: an id that nobody can guess, a folder with the spec, and a row.

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"

_LENGTH = 16

_ID = re.compile(f"[{_LETTERS}]{{{_LENGTH}}}")


def new_id() -> str:
    """Draw an id that nobody can guess, since whoever has it may open the run."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


_SHA256 = re.compile("[0-9a-f]{64}")


def is_sha256(text: str) -> bool:
    """Say whether a text is a SHA-256 in hexadecimal, as the folder of a table is named."""
    return _SHA256.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Say whether a text is an id that the store gives out."""
    return _ID.fullmatch(text) is not None


DATASET = "dataset.json"
"""A file in the folder of a table that is a sample, and in that of a run on the whole: where the whole is."""


@dataclass(frozen=True)
class Whole:
    """The dataset that a table is a sample of.

    Attributes:
        source: its files: a path, absolute, or a pattern.
        rows: how many it has.
    """

    source: str
    rows: int


IMPORTED = "imported"
"""In the summary of a run that came as a bundle: its figures are the file's."""
MOST_NAME = 200
"""Characters of the name of a run, comparison or study."""
MOST_SPEC = 4_000_000
"""Bytes of what a run, comparison or study asks for, as JSON; a table of 2,000 columns has a tenth of it."""


def shortened(name: str) -> str:
    """Cut a name that the program makes of what visitors wrote to `MOST_NAME`."""
    return name if len(name) <= MOST_NAME else name[: MOST_NAME - 1] + "…"


def asked_json(values: Mapping[str, Any]) -> str:
    """Write what is asked for as JSON.

    Raises:
        RunError: it is longer than `MOST_SPEC`.
    """
    text = json.dumps(values)
    if len(text) > MOST_SPEC:
        raise RunError(
            f"The settings take {len(text) / 10**6:,.1f} MB. The most is {MOST_SPEC / 10**6:,.0f} MB."
            " Shorten names of columns and lists of values."
        )
    return text


@dataclass(frozen=True)
class NewRun:
    """A run to be entered.

    Attributes:
        spec: what is asked for.
        name: to show; by default model and table.
        owner: whose list it goes to.
        comparison: the comparison or study it belongs to.
        trial: in a study, the number of its setting.
        to_choose: whether its setting is chosen by the worker that takes it up.
        worker: who does it at once, without the queue.
        dataset: what the run reads instead of its table, which is a sample of it, as `dataset.json` has it.
    """

    spec: RunSpec
    name: str
    owner: str
    comparison: str | None = None
    trial: int | None = None
    to_choose: bool = False
    worker: Process | None = None
    dataset: Mapping[str, Any] | None = None

    def enter(self, connection: Connection, folder: Callable[[str], RunFolder]) -> str:
        """Write the run's folder and its row, within the connection's transaction, and return the id."""
        run_id, now, spec = new_id(), time.time(), asked_json(self.spec.to_dict())
        try:
            folder(run_id).create().write_spec(self.spec)
            if self.dataset is not None:
                folder(run_id).write_json(DATASET, self.dataset)
        except OSError:  # a full disk: leave nothing behind
            shutil.rmtree(folder(run_id).path, ignore_errors=True)
            raise
        values = {
            "id": run_id,
            "name": shortened(self.name or run_name(self.spec)),
            "owner": self.owner,
            "status": "running" if self.worker else "queued",
            "spec": spec,
            "comparison": self.comparison,
            "trial": self.trial,
            "to_choose": int(self.to_choose),
            "created": now,
            "queued": now,
            "started": now if self.worker else None,
            "heartbeat": now if self.worker else None,
            "worker": None if self.worker is None else str(self.worker),
        }
        try:
            insert(connection, "runs", values)
        except BaseException:
            shutil.rmtree(folder(run_id).path, ignore_errors=True)
            raise
        return run_id


@contextmanager
def entering(database: Database, folder: Callable[[str], RunFolder]) -> Iterator[tuple[Connection, list[str]]]:
    """Open a transaction in which runs are entered, and a list for their ids.

    If it is not kept, as on a full disk, their folders go, unless the database knows them all the same.
    """
    made: list[str] = []
    try:
        with database.write() as connection:
            yield connection, made
    except BaseException:
        with suppress(DeepFMError):  # one that does not answer may know them
            for run_id in made:
                if database.row("SELECT 1 FROM runs WHERE id = ?", (run_id,)) is None:
                    shutil.rmtree(folder(run_id).path, ignore_errors=True)
        raise
