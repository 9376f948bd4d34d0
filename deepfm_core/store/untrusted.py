"""Read files that may come from anybody, in a process beside this one that has limits of memory and time.

Start with `import_file`: it is given a path, and the other process writes what the store keeps. `done_apart` has any
other function called there. This process never decodes the file, so a file that unpacks to more than the machine has
ends the other one, and nobody else's session.
One such process is kept ready, since starting one takes longer than reading a small file.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import queue
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from signal import SIGKILL, SIGXCPU, Signals
from typing import TYPE_CHECKING, Any

from deepfm_core import errors
from deepfm_core._files import read_object, whole, write_json
from deepfm_core.errors import REASON, DeepFMError, Problem, SpecError, TableError
from deepfm_core.store.limits import shared
from deepfm_core.store.process import memory_of
from deepfm_core.store.records import DATASET, Whole
from deepfm_core.tables.columnar import budget

if TYPE_CHECKING:
    from deepfm_core.tables.containers import Outline
    from deepfm_core.tables.datasets.shelf import Shelf
    from deepfm_core.tables.table import Choices, Table

Heard = Callable[[float], object]
"""Takes the share done, 0 … 1."""
MEMORY, SECONDS = "DEEPFM_READ_MEMORY_MB", "DEEPFM_READ_SECONDS"
"""The environment's names of the limits."""
_MOST_MEMORY, _MOST_SECONDS = 4 << 30, 300.0
_IDLE_SECONDS = 600.0
_LOOK_SECONDS = 0.02
_TOLD_SECONDS = 0.25
_SHARE = "share done"
_PATIENCE = 12
"""A server that nobody shares may take so many times the seconds to draw a sample: it says how far it is."""
_GRANTED = 2
"""The system grants so many times the limit: a thread that gets no memory may wait for ever, so the watch comes first.
What asks for all of it at once is refused."""
_REUSED = 8
"""A process that took more than this part of its memory is not used again: it may not have given all of it back."""
_ROOT = Path(__file__).resolve().parents[2]
_HERE = "deepfm_core.store.untrusted"
_IMPORT = f"{_HERE}:_import"
_GATHER = f"{_HERE}:_gather"
REMEDY = "Use fewer rows, fewer columns or shorter cells, or save the table as CSV."
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
"""What is wrong with the disk, and not with the file."""


@dataclass(frozen=True)
class Limits:
    """What reading one file may take."""

    memory: int
    """Bytes of the process."""
    seconds: float
    """Time on the clock."""

    @classmethod
    def default(cls) -> Limits:
        """Return what the environment says, else 4 GB but no more than half of the machine's memory, and 5 minutes.

        Raises:
            SpecError: the environment says something that is no number above 0.
        """
        memory = _number(MEMORY, min(_MOST_MEMORY, budget.half_of_memory()) / 2**20)
        return cls(int(memory * 2**20), _number(SECONDS, _MOST_SECONDS))


def _number(name: str, usual: float) -> float:
    text = os.environ.get(name, "").strip()
    try:
        number = float(text) if text else usual
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise SpecError(f"{name} is {text!r}. Give a number above 0, or none.")
    return number


def import_file(
    original: Path,
    folder: Path,
    name: str,
    max_bytes: int | None,
    choices: Choices,
    limits: Limits | None = None,
) -> None:
    """Read a file and write the table that the store keeps of it, in another process with limits.

    Args:
        original: the file.
        folder: where the table is written, as `write_stored` does.
        name: the table's name in messages.
        max_bytes: the largest size allowed, before and after decompression.
        choices: what is said of the file instead of having it found.
        limits: of memory and time; by default those of the environment.

    Raises:
        TableError: the file cannot be read as a table, or takes more than a limit.
        OSError: the disk is full or cannot be written.
    """
    given = {
        "original": str(original),
        "folder": str(folder),
        "name": name,
        "max_bytes": max_bytes,
        "choices": choices.to_dict(),
    }
    done_apart(_IMPORT, given, folder, f"Table `{name}`", limits)


def gather_files(
    source: str,
    folder: Path,
    name: str,
    max_bytes: int | None,
    allowed: Sequence[str] | None,
    choices: Choices,
    heard: Heard | None = None,
) -> str:
    """Read a table of files that are not uploads, and write what the store keeps of it, in another process with limits.

    Of files whose rows take more than the limit of memory, or `max_bytes`, it keeps a sample, and notes in
    `dataset.json` of what.

    Args:
        source: a file, a folder, a pattern or a URI.
        folder: where its rows are written as one file, `original`, and the table as `write_stored` does.
        name: the table's name in messages.
        max_bytes: the most bytes that all files may have.
        allowed: the places that they must lie below; None for any.
        choices: what is said of each file instead of having it found.
        heard: called with the share of a sample that is drawn; what it raises ends the other process. Whoever listens
            may wait for longer, on a server that nobody shares.

    Returns:
        What the table is called.

    Raises:
        TableError: they cannot be read as a table, take more than a limit, or lie elsewhere.
        OSError: the disk is full or cannot be written.
    """
    limits = Limits.default()
    if heard is not None and not shared():
        limits = replace(limits, seconds=_PATIENCE * limits.seconds)
    given = {
        "source": source,
        "folder": str(folder),
        "name": name,
        "max_bytes": max_bytes,
        "allowed": None if allowed is None else list(allowed),
        "choices": choices.to_dict(),
        "memory": limits.memory,
    }
    called: str = done_apart(_GATHER, given, folder, f"Table `{name}`", limits, heard=heard)
    return called


def done_apart(
    task: str,
    given: dict[str, Any],
    folder: Path | None,
    subject: str,
    limits: Limits | None = None,
    remedy: str = REMEDY,
    heard: Heard | None = None,
) -> Any:
    """Have a function called in another process with limits, and return what it returns.

    Args:
        task: the function as `module:name`. It takes and returns plain values, as JSON has them.
        given: its arguments by name.
        folder: where it may leave files for as long as it works; the system's folder if None.
        subject: what messages call the file.
        limits: of memory and time; by default those of the environment.
        remedy: what to do where a limit is reached.
        heard: called now and then with the share that the function has told (`_tell`), 0 … 1.

    Raises:
        DeepFMError: that of the function; a TableError where it takes more than a limit, or breaks.
        OSError: the disk is full or cannot be written.
    """
    said_of = Wording("reading the file", remedy, "the file cannot be read", "It may be damaged. Write it again.")
    return _answered(_READERS, task, given, folder, subject, limits or Limits.default(), said_of, heard)


def look_apart(task: str, given: dict[str, Any], subject: str) -> Any:
    """Have a function called that looks at a whole table which was read before; see `done_apart`.

    Such looks have places of their own, so that no upload waits for one. One that met a limit is refused at once for
    ten minutes: a page asks at every turn.

    Raises:
        LimitReached: it takes more than a limit.
        DeepFMError: that of the function.
    """
    limits = Limits.default()
    key = json.dumps([task, given, asdict(limits)], sort_keys=True)
    at, before = _refused.get(key, (0.0, None))
    if before is not None and time.monotonic() - at < _REFUSED_SECONDS:
        raise LimitReached(before.subject, before.problems)
    try:
        return _answered(_LOOKERS, task, given, None, subject, limits, _LOOKING)
    except LimitReached as error:
        _refused[key] = time.monotonic(), error.with_traceback(None)
        while len(_refused) > _MOST_REFUSED:
            _refused.pop(next(iter(_refused)), None)
        raise


class LimitReached(TableError):  # noqa: N818 (says what was found)
    """Reading a file, or looking at a table, takes more than a limit of memory or time."""


@dataclass(frozen=True)
class Wording:
    """What messages call a piece of work, and what to do where it ends without an answer."""

    work: str
    less: str
    """What to do where it meets a limit."""
    broke: str
    again: str
    """What to do where it broke."""


_LOOKING = Wording(
    "looking at all of its rows",
    "Use fewer rows or fewer columns.",
    "it cannot be looked at",
    "Upload the same file again, or use fewer rows or fewer columns.",
)
_REFUSED_SECONDS, _MOST_REFUSED = 600.0, 64
_refused: dict[str, tuple[float, LimitReached]] = {}
"""What met a limit, and when, by all that it depends on."""


def _answered(
    readers: _Readers,
    task: str,
    given: dict[str, Any],
    folder: Path | None,
    subject: str,
    limits: Limits,
    wording: Wording,
    heard: Heard | None = None,
) -> Any:
    asked = {"task": task, "given": given, "limits": asdict(limits)}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # what an end by force leaves behind is swept with it
        answer = readers.answer({**asked, "scratch": scratch}, limits, heard)
    if (said := answer.get("error")) is not None:
        raise _error(said, subject, limits, wording)
    return answer.get("value")


def look_at(source: Path | bytes, encoding: str | None = None) -> Outline:
    """Look at the start of a file, as `outline` does; an archive is opened in another process, as its list may be long.

    Raises:
        TableError: the archive's list takes more than a limit.
    """
    from deepfm_core.tables.containers import Form, Outline, outline, starts_like_zip

    with source.open("rb") if isinstance(source, Path) else BytesIO(source) as file:
        if not starts_like_zip(file.read(4)):
            file.seek(0)
            return outline(file, encoding)
    with tempfile.TemporaryDirectory() as folder:
        path = source if isinstance(source, Path) else Path(folder) / "upload"
        if isinstance(source, bytes):
            path.write_bytes(source)
        seen = done_apart(f"{_HERE}:_outline", {"path": str(path)}, None, "The file")
    return Outline(Form(seen["form"]), sheets=tuple(seen["sheets"]))


def _outline(path: str) -> dict[str, Any]:
    from deepfm_core.tables.containers import outline

    with Path(path).open("rb") as file:
        seen = outline(file)
    return {"form": str(seen.form), "sheets": seen.sheets}


def write_stored(table: Table, original: Path, folder: Path) -> None:
    """Write what the store keeps of a table: its cells, their number, and how it was read; each file appears whole."""
    from deepfm_core.tables.parquet import write_parquet

    with whole(folder / "table.parquet") as temporary:
        write_parquet(table, temporary)
    content = {"rows": len(table), "bytes": original.stat().st_size}
    write_json(folder / "table.json", {**content, "report": table.report.to_dict()})


def stored_content(folder: Path) -> dict[str, Any]:
    """Return what `write_stored` noted of a table beside its cells: `rows`, `bytes` and `report`.

    Args:
        folder: the table's, named by its SHA-256.

    Raises:
        FileNotFoundError: there is no such table.
        RunError: what is there is damaged.
    """
    text = (folder / "table.json").read_bytes()
    subject = f"Table `{folder.name[:12]}`: table.json"
    content: dict[str, Any] = read_object(text, subject, "Upload the same file again.")
    return content


def read_stored(folder: Path, name: str, content: Mapping[str, Any]) -> Table:
    """Read what `write_stored` wrote, as a table of a name; `content` is the folder's `stored_content`.

    Damaged files raise anything.
    """
    from deepfm_core.tables.parquet import read_parquet_table
    from deepfm_core.tables.table import ReadReport

    table = read_parquet_table(folder / "table.parquet", name, ReadReport.from_dict(content["report"]))
    if len(table) != content["rows"]:
        raise ValueError(f"{len(table)} rows of {content['rows']}")
    return table


def stored_rows(folder: Path) -> int:
    """Count the rows of a table that `write_stored` wrote, by its last bytes; damaged files raise anything."""
    from pyarrow import parquet

    return int(parquet.read_metadata(folder / "table.parquet").num_rows)


def get_ready() -> None:
    """Start a process that reads files, unless one waits already, so that the next file does not wait for its start."""
    _READERS.get_ready()


# This side: the processes, and what their answers and their deaths mean.


class _Reader:
    """A process that reads one file after the other."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process is)
        self._process = subprocess.Popen(
            [sys.executable, "-m", _HERE],
            cwd=_ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def answer(self, asked: dict[str, Any], limits: Limits, heard: Heard | None) -> dict[str, Any] | None:
        """Return what the process answers, or what its death means; None if it had ended before it was asked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watch = _Watch(self._process, limits)
        watch.start()
        try:
            with suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(asked).encode() + b"\n")
                self._process.stdin.flush()
            while heard is not None and not select.select([self._process.stdout], [], [], _TOLD_SECONDS)[0]:
                heard(_told(Path(asked["scratch"])))
            line = self._process.stdout.readline()
        finally:
            watch.done.set()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        return self._death(watch.reached)

    def _death(self, reached: str) -> dict[str, Any] | None:
        status = self._process.wait()
        self._said.seek(0)
        said = self._said.read()[-4096:].decode("utf-8", "replace").strip()
        if reached or status == -SIGXCPU:
            return {"error": {"kind": reached or "time"}}
        if status == 0:
            return None
        if status == -SIGKILL or "alloc" in said:
            return {"error": {"kind": "memory"}}
        signal = Signals(-status).name if status < 0 else f"status {status}"
        return {"error": {"kind": "crash", "text": " ".join([signal, *said.splitlines()[-1:]])}}

    def end(self) -> None:
        """End the process and collect it."""
        self._process.kill()
        self._process.communicate()
        self._said.close()


def _told(scratch: Path) -> float:
    try:
        return float((scratch / _SHARE).read_text())
    except (OSError, ValueError):  # nothing was told yet, or it is just being written
        return 0.0


def _tell(share: float) -> None:
    """Tell whoever listens how far this process is, 0 … 1."""
    share_file = Path(tempfile.gettempdir()) / _SHARE
    written = share_file.with_suffix(".now")
    written.write_text(f"{share:.6f}")
    written.replace(share_file)  # at once: whoever reads it while it is written would find it empty


class _Watch(threading.Thread):
    """Ends a process that reaches a limit; from here, since what reads there may not let another thread look."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        super().__init__(daemon=True, name=f"limits of {process.pid}")
        self._process, self._limits = process, limits
        self.done = threading.Event()
        self.reached = ""
        """The limit that was reached."""

    def run(self) -> None:
        end = time.monotonic() + self._limits.seconds
        while not self.reached and not self.done.wait(_LOOK_SECONDS):
            if memory_of(self._process.pid) > self._limits.memory:
                self.reached = "memory"
            elif time.monotonic() > end:
                self.reached = "time"
        if self.reached and not self.done.is_set():
            self._process.kill()


class _Readers:
    """Processes of this one: so many at once, and one that is kept ready."""

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()
        self._ready: _Reader | None = None
        self._turns = threading.BoundedSemaphore(places)

    def get_ready(self) -> None:
        with self._lock:
            if self._ready is None or not self._ready.alive:
                self._ready = _Reader()

    def answer(self, asked: dict[str, Any], limits: Limits, heard: Heard | None) -> dict[str, Any]:
        with self._turns:
            while True:
                reader = self._take()
                answer = None
                try:
                    answer = reader.answer(asked, limits, heard)
                finally:
                    self._give_back(reader, again=bool(answer and answer.get("again")))
                if answer is not None:
                    return answer

    def _take(self) -> _Reader:
        with self._lock:
            reader, self._ready = self._ready, None
        if reader is not None and not reader.alive:
            reader.end()
            reader = None
        return reader or _Reader()

    def _give_back(self, reader: _Reader, *, again: bool) -> None:
        with self._lock:
            if again and self._ready is None:
                self._ready = reader
                return
        reader.end()


_PROCESSORS = os.cpu_count() or 1
_READERS = _Readers(_PROCESSORS)
_LOOKERS = _Readers(max(_PROCESSORS - 1, 1))


def _error(said: dict[str, Any], subject: str, limits: Limits, wording: Wording) -> Exception:
    """Rebuild the error that the other process met, or say which limit it reached."""
    match said["kind"]:
        case "table":
            refused: type[TableError] = getattr(errors, said["class"], TableError)
            return refused(said["subject"], [Problem(**problem) for problem in said["problems"]])
        case "text":
            kind: type[DeepFMError] = getattr(errors, said["class"], DeepFMError)
            return kind(said["text"])
        case "disk":
            return OSError(*said["arguments"])
        case "memory":
            message = f"{wording.work} takes more than the limit of {limits.memory / 2**20:,.0f} MB of memory"
        case "time":
            message = f"{wording.work} takes longer than the limit of {limits.seconds:,.10g} seconds"
        case _:
            broken = Problem(wording.broke, wording.again, value=said.get("text"), how=REASON)
            return TableError(subject, [broken])
    return LimitReached(subject, [Problem(message, wording.less)])


# The other side: `python -m deepfm_core.store.untrusted` reads a request a line, and answers each with a line.


def main() -> None:
    """Read the files that are asked for on standard input, until it ends or nothing was asked for some minutes."""
    from deepfm_core._parallel import use_system_memory
    from deepfm_core._processor import step_back

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    use_system_memory()
    step_back()
    importlib.import_module("deepfm_core.tables.reader")
    budget.APART = True
    requests: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        try:
            asked = json.loads(requests.get(timeout=_IDLE_SECONDS))
        except queue.Empty:
            return
        answer = _answer(asked)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _listen(requests: queue.Queue[bytes]) -> None:
    """Take requests; when there can be no more, whoever asked is gone, and an answer is not needed either."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    limits = Limits(**asked["limits"])
    tempfile.tempdir = asked["scratch"]
    _limit(limits)
    answer = _outcome(asked)
    said = answer["error"]
    light = memory_of(os.getpid()) < limits.memory // _REUSED
    return {**answer, "again": light and (said is None or said["kind"] != "memory")}


def _outcome(asked: dict[str, Any]) -> dict[str, Any]:
    """Call the function, and give what it returns or what stood in the way."""
    module, _, name = asked["task"].partition(":")
    try:
        value = getattr(importlib.import_module(module), name)(**asked["given"])
        return {"error": None, "value": value}
    except (DeepFMError, OSError, MemoryError) as error:
        return {"error": _said(error)}
    except Exception as error:
        traceback.print_exc()
        return {"error": {"kind": "crash", "text": f"{type(error).__name__}: {error}"}}


def _import(original: str, folder: str, name: str, max_bytes: int | None, choices: dict[str, Any]) -> None:
    from deepfm_core.tables.reader import read_table
    from deepfm_core.tables.table import Choices

    table = read_table(Path(original), name=name, max_bytes=max_bytes, choices=Choices.from_dict(choices))
    write_stored(table, Path(original), Path(folder))


def _gather(
    source: str,
    folder: str,
    name: str,
    max_bytes: int | None,
    allowed: list[str] | None,
    choices: dict[str, Any],
    memory: int,
) -> str:
    from deepfm_core.tables.datasets.dataset import is_dataset
    from deepfm_core.tables.datasets.roots import require_below
    from deepfm_core.tables.decoding import refuse_size
    from deepfm_core.tables.parquet import write_parquet
    from deepfm_core.tables.reader import read_table
    from deepfm_core.tables.table import Choices

    original, said = Path(folder) / "original", Choices.from_dict(choices)
    try:
        if allowed is not None:
            require_below(source, allowed)
        if (sample := _sample(source, name, max_bytes, memory, said, Path(folder))) is not None:
            table, whole = sample
            write_parquet(table, original)
            write_json(Path(folder) / DATASET, vars(whole))
        elif is_dataset(source):
            table = read_table(source, name=name, max_bytes=max_bytes, choices=said)
            write_parquet(table, original)  # the store keeps one file: the rows of all of them
        else:
            refuse_size(Path(source).stat().st_size, max_bytes, f"Table `{name}`")
            shutil.copyfile(source, original)
            table = read_table(original, name=name, max_bytes=max_bytes, choices=said)
    except (OSError, ValueError) as error:
        if isinstance(error, DeepFMError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise TableError(f"Table `{name}`", [Problem(f"it cannot be opened: {reason}", "Check the path.")]) from error
    write_stored(table, original, Path(folder))
    return table.name


def _sample(
    source: str, name: str, max_bytes: int | None, memory: int, choices: Choices, folder: Path
) -> tuple[Table, Whole] | None:
    """Draw a sample of a dataset whose rows take too much; None where they fit, or cannot stay on the disk.

    Rows of text files are put into `folder` for that, and removed.
    """
    from deepfm_core.encoding.sharding import SAMPLE_ROWS, bytes_in_memory, name_of_sample
    from deepfm_core.tables.datasets.pieces import Pieces
    from deepfm_core.tables.datasets.shelf import Shelf, are_texts

    shelf, start = Shelf(folder / "texts", choices), 0.0
    try:
        if are_texts(source):
            if not _exceeds(shelf, source, max_bytes, memory):
                return None
            start = _OF_TEXTS
            for share in shelf.fill(source):
                _tell(start * share)
        pieces = Pieces(source, name, shelf)
        fits = bytes_in_memory(pieces) <= memory and (max_bytes is None or pieces.size <= max_bytes)
        if (fits and not start) or len(pieces) <= SAMPLE_ROWS:
            return None
        table = pieces.sample(SAMPLE_ROWS, lambda share: _tell(start + (1 - start) * share))
        return replace(table, name=name_of_sample(name, len(pieces))), Whole(source, len(pieces))
    except TableError:
        return None  # reading it says what is wrong
    finally:
        shelf.remove()


_OF_TEXTS = 0.8
"""Share of the time of drawing a sample that reading text files takes."""


def _exceeds(shelf: Shelf, source: str, max_bytes: int | None, memory: int) -> bool:
    """Whether the rows of text files take too much memory, or more bytes than allowed."""
    from deepfm_core.encoding.memory import may_exceed
    from deepfm_core.encoding.sharding import SAMPLE_ROWS, bytes_of

    if not may_exceed(source, memory) and max_bytes is None:
        return False
    size = shelf.look(source)
    too_large = max_bytes is not None and size.bytes > max_bytes
    return size.rows > SAMPLE_ROWS and (too_large or bytes_of(size.rows, size.columns, size.bytes) > memory)


def _said(error: Exception) -> dict[str, Any]:
    """Turn an error into plain values, from which `_error` makes it again."""
    match error:
        case TableError():
            problems = [asdict(one) for one in error.problems]
            return {"kind": "table", "class": type(error).__name__, "subject": error.subject, "problems": problems}
        case DeepFMError():
            return {"kind": "text", "class": type(error).__name__, "text": str(error)}
        case MemoryError():
            return {"kind": "memory"}
        case OSError(errno=number) if number in _FULL:
            return {"kind": "disk", "arguments": [number, error.strerror, error.filename]}
        case _:
            return {"kind": "crash", "text": str(error)}


def _limit(limits: Limits) -> None:
    """Have the system limit this process, as far as it can."""
    most = {resource.RLIMIT_DATA: _GRANTED * limits.memory, resource.RLIMIT_CPU: _processor_seconds(limits)}
    for what, value in most.items():
        _, hard = resource.getrlimit(what)
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (value, hard))


def _processor_seconds(limits: Limits) -> int:
    """Return what all threads together may have spent by the end, for the case that nobody is left to stop this."""
    return int(time.process_time() + limits.seconds * (os.cpu_count() or 1)) + 1


if __name__ == "__main__":
    main()
