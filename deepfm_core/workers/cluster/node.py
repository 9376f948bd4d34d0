"""What a node does: one run, in a folder of its own, whose events and changed files it gives back one after the other.

Nothing here is imported by the machine that has the store; it only sends `attempt` its task as plain values.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from deepfm_core import __version__
from deepfm_core._files import atomic_folder, write_bytes, write_json
from deepfm_core._parallel import use_system_memory
from deepfm_core._processor import wait_passively
from deepfm_core.errors import RunError
from deepfm_core.runs.job import Context, Job
from deepfm_core.spec.events import Event, Failed, Placed, Progress
from deepfm_core.store.encoding_cache import EncodingCache, digest_of
from deepfm_core.workers.lane import sentence

if TYPE_CHECKING:
    from deepfm_core.tables.table import Choices, Table


# A run's folder between two machines: what has changed in it is packed there and unpacked here.


@dataclass(frozen=True)
class Parcel:
    """Files of a folder by their path in it, and the paths of those that are gone."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    gone: Sequence[str] = ()

    def unpack(self, folder: Path) -> None:
        """Write the files, each whole or not at all, and remove those that are gone.

        Raises:
            RunError: a path leads out of the folder.
        """
        for name, content in self.files.items():
            write_bytes(_inside(folder, name), content)
        for name in self.gone:
            _inside(folder, name).unlink(missing_ok=True)


class Packer:
    """Packs what has changed in a folder since it was last packed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._packed = _stamps(self._folder)

    def pack(self) -> Parcel:
        """Pack what is new or has changed."""
        there = _stamps(self._folder)
        changed = [name for name, stamp in there.items() if self._packed.get(name) != stamp]
        gone = tuple(self._packed.keys() - there.keys())
        self._packed = there
        return Parcel(dict(_read(self._folder, changed)), gone)


def whole_folder(folder: Path) -> Parcel:
    """Pack all files of a folder."""
    return Parcel(dict(_read(folder, _stamps(folder))))


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Give a stamp of each file that is whole; what is being written has a hidden name."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.name.startswith("."):
                status = path.stat()
                stamp = status.st_ino, status.st_mtime_ns, status.st_size
                found[str(PurePosixPath(path.relative_to(folder)))] = stamp
    return found


def _read(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        with suppress(FileNotFoundError):  # removed in this moment
            yield name, (folder / name).read_bytes()


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise RunError(f"A node sent the file `{name}`, which is not one of a run. Start the cluster's nodes anew.")
    return folder / path


TABLE_FILES = ("table.parquet", "table.json")
"""What a node needs of a table's folder in the store."""
SETTINGS = ("DEEPFM_THREADS", "DEEPFM_DEVICE")
"""Variables of the dispatcher's that hold on the nodes."""
_UNUSED_SECONDS = 24 * 3600.0
"""A node forgets a table that no run has asked for in so long."""
_PROGRAM = digest_of(".")
"""Of the whole package, as this process imported it."""


@cache
def program() -> dict[str, str]:
    """Say what computes here: equal programs compute equal figures."""
    return {
        "DeepFM Explorer": f"{__version__} ({_PROGRAM[:8]})",
        "Python": platform.python_version(),
        "torch": version("torch"),
    }


@dataclass(frozen=True)
class Task:
    """What a node is asked to do: plain values all, but for references to what the cluster's memory holds."""

    job: Mapping[str, Any]
    """As `Job.to_dict`; its place is the folder on the store's machine."""
    engine: str
    """`MODULE:FUNCTION`."""
    program: Mapping[str, str]
    """That of whoever asks."""
    settings: Mapping[str, str]
    folder: Mapping[str, bytes]
    """The files that an earlier attempt has left."""
    tables: Mapping[str, tuple[str, Any]]
    """By SHA-256: the table's name, and a reference to its files."""


Message = tuple[str, dict[str, Any], Parcel]
"""The kind and values of an event, and what has changed in the run's folder before it."""


def attempt(task: Task) -> Iterator[Message]:
    """Do a run and yield its events with what has changed in its folder; what goes wrong becomes a Failed event.

    A cancelled attempt is interrupted: whoever cancels it asks for no further event.
    """
    home = node_home()
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=home))
    try:
        yield from _attempt(task, folder, home)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _attempt(task: Task, folder: Path, home: Path) -> Iterator[Message]:
    use_system_memory()
    wait_passively()
    for name in SETTINGS:
        os.environ.pop(name, None)
    os.environ.update(task.settings)
    Parcel(task.folder).unpack(folder)
    asked = Job.from_dict(dict(task.job))
    job, packer = Job(asked.spec, str(folder), asked.run), Packer(folder)
    yield _message(Placed(where()), Parcel())
    if differs := difference(task.program):
        yield _message(Failed(differs), Parcel())
        return
    log = job.folder.log.open("a", encoding="utf-8", buffering=1)
    with log, redirect_stdout(log), redirect_stderr(log):
        for event in _events(task, job, home):
            told = _placed_as_asked(event, job, asked)
            yield _message(told, Parcel() if isinstance(event, Progress) else packer.pack())


def _events(task: Task, job: Job, home: Path) -> Iterator[Event]:
    from deepfm_core.workers.worker import load_engine  # loads torch, after the settings above

    try:
        tables = _Tables(task, home)
        engine, _ = load_engine(task.engine)
        context = Context(tables.read, encoded=EncodingCache(home / "tables"), choices=tables.choices, helped=False)
        yield from engine(job, context)
    except Exception as error:
        yield Failed(sentence(error, job.folder))


def _message(event: Event, parcel: Parcel) -> Message:
    return event.kind, event.to_dict(), parcel


def _placed_as_asked(event: Event, job: Job, asked: Job) -> Event:
    """Name in what the run says of itself the folder that it was asked for, instead of the one on this node."""
    summary = getattr(event, "summary", None)
    if not summary or summary.get("run") != job.place:
        return event
    if written := job.folder.summary():
        write_json(job.folder.path / "summary.json", {**written, "run": asked.place})
    return type(event)(**{**vars(event), "summary": {**summary, "run": asked.place}})


def difference(wanted: Mapping[str, str]) -> str | None:
    """Say in a sentence what of a program differs here from what is wanted; None where nothing does."""
    here = program()
    differing = [name for name in wanted if here.get(name) != wanted[name]]
    if not differing:
        return None
    said = ", ".join(f"{name} {here.get(name, 'none')} instead of {wanted[name]}" for name in differing)
    return f"Node {where()} has {said}. Install the same versions on every node, then resume the run."


def where() -> str:
    """Name this node: its address, and the beginning of its id, since a machine may have several."""
    import ray

    return f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"


def node_home() -> Path:
    """Give the folder where this user's runs on this machine share tables; it is nobody else's to read."""
    home = Path(os.environ.get("DEEPFM_NODE_HOME") or Path(tempfile.gettempdir()) / f"deepfm-node-{os.getuid()}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_uid != os.getuid():
        raise PermissionError(f"{home} belongs to another user")
    return home


class _Tables:
    """The tables of a task, kept on this machine for the next run that needs them."""

    def __init__(self, task: Task, home: Path) -> None:
        self._task = task
        self._folder = home / "tables"
        for sha in task.tables:
            self._bring(sha)

    def read(self, sha: str) -> Table:
        """Read a table; see `Context.table`."""
        from deepfm_core.store.untrusted import read_stored, stored_content

        return read_stored(self._folder / sha, self._task.tables[sha][0], stored_content(self._folder / sha))

    def choices(self, sha: str) -> Choices:
        """See `Context.choices`."""
        from deepfm_core.store.untrusted import stored_content
        from deepfm_core.tables.table import ReadReport

        return ReadReport.from_dict(stored_content(self._folder / sha)["report"]).choices

    def _bring(self, sha: str) -> None:
        """Take a table out of the cluster's memory, unless it is here."""
        import ray

        path = self._folder / sha
        if not path.is_dir():
            self._forget_unused()
            files: dict[str, bytes] = ray.get(self._task.tables[sha][1])
            with atomic_folder(path) as folder:
                Parcel(files).unpack(folder)
        with suppress(OSError):
            os.utime(path)

    def _forget_unused(self) -> None:
        before = time.time() - _UNUSED_SECONDS
        for folder in [*self._folder.glob("*"), *self._folder.parent.glob("run-*")]:
            with suppress(OSError):
                if folder.stat().st_mtime < before:
                    shutil.rmtree(folder, ignore_errors=True)
