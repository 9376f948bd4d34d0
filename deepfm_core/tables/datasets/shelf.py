"""Text files of a dataset that does not fit into memory: each is read once, into a Parquet file in a folder.

Start with `Shelf`. `look` tells how many rows there are, `fill` reads them, and `find` gives what was made of a file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import pyarrow.parquet as pq

from deepfm_core._files import sha256, write_json
from deepfm_core.errors import Problem, TableError
from deepfm_core.tables.containers import is_json
from deepfm_core.tables.datasets.dataset import First, Found, here, list_files, name_of, require_types
from deepfm_core.tables.decoding import Content
from deepfm_core.tables.parquet import MAGIC
from deepfm_core.tables.table import FOUND, NO_ROWS, Choices, PartFile, ReadReport
from deepfm_core.tables.texts.spilled import Heard, look, shares, spill
from deepfm_core.tables.texts.text import TextFile

_LOOKED = 0.3
"""Share of the time that looking through all files takes."""


@dataclass(frozen=True)
class Made:
    """What was made of a text file.

    Attributes:
        path: its rows as Parquet; there is no such file if it has no rows.
        file: as it was read.
        report: how it was read; None if it has no rows.
    """

    path: Path
    file: PartFile
    report: ReadReport | None


@dataclass(frozen=True)
class Size:
    """How large the text files of a dataset are, before they are cut."""

    rows: int
    """Lines, which are at least as many as rows where each has one."""
    columns: int
    bytes: int
    """After decompression."""


def are_texts(source: Path | str) -> bool:
    """Whether a source names files of this machine the first of which is no Parquet file.

    Raises:
        TableError: there are no such files.
    """
    system, found = list_files(source)
    if system.type_name != "local":
        return False
    try:
        with Path(found[0].path).open("rb") as file:
            return file.read(len(MAGIC)) != MAGIC
    except OSError:
        return False  # reading it says what is wrong


class Shelf:
    """A folder with the rows of text files as Parquet, and what a person said of how they are read."""

    def __init__(self, folder: Path, choices: Choices = FOUND) -> None:
        """Take what is in `folder` already for made; it may be missing."""
        self.folder, self.choices = folder, choices
        self._contents: dict[str, Content] = {}
        self._listed: list[Found] = []
        """The files that were looked through last."""

    @classmethod
    def temporary(cls, within: Path | None = None, choices: Choices = FOUND) -> Shelf:
        """Make one whose folder goes with it, in a folder or in that for temporary files."""
        if within is not None:
            within.mkdir(parents=True, exist_ok=True)
        shelf = cls(Path(tempfile.mkdtemp(prefix=".texts-", dir=within)), choices)
        weakref.finalize(shelf, shutil.rmtree, shelf.folder, ignore_errors=True)
        return shelf

    def look(self, source: Path | str, heard: Heard = lambda _: None) -> Size:
        """Look through all files once.

        Raises:
            TableError: one cannot be read a piece at a time, or not at all, or changed meanwhile.
        """
        system, found = list_files(source)
        called, all_bytes, before = name_of(source), max(sum(file.size for file in found), 1), 0
        rows = columns = size = 0
        first = First(found[0].name)
        for file in found:
            with here(system, file, called) as path:
                require_types(path, file.name, f"{called}: {file.name}", first)
                part = shares(heard, before / all_bytes, (before + file.size) / all_bytes)
                content = look(path, f"{called}: {file.name}", self.choices, part)
                columns = columns or _columns_of(content, f"{called}: {file.name}", self.choices)
            self._contents[self._key(file)] = content
            rows, size, before = rows + content.lines, size + content.size, before + file.size
        self._listed = found
        return Size(rows, columns, size)

    def fill(self, source: Path | str) -> Generator[float, None, None]:
        """Read all text files that are not here yet; yield the share done.

        Raises:
            TableError: as `read_table` does; a file changed or vanished; the disk has no room.
        """
        found = self._listed or (list_files(source)[1] if are_texts(source) else [])
        if any(self.find(file) is None for file in found):
            yield from _in_thread(lambda heard: self._fill(source, heard))

    def _fill(self, source: Path | str, heard: Heard) -> None:
        if not self._listed:
            self.look(source, shares(heard, 0.0, _LOOKED))
        system, found, called = list_files(source)[0], self._listed, name_of(source)
        contents = [self._contents[self._key(file)] for file in found]
        self.folder.mkdir(parents=True, exist_ok=True)
        _require_room(self.folder, sum(content.size for content in contents), called)
        before, total = 0, max(sum(content.size for content in contents), 1)
        for file, content in zip(found, contents, strict=True):
            start, before = before, before + content.size
            with here(system, file, called):
                ends = (_LOOKED + (1 - _LOOKED) * place / total for place in (start, before))
                self._make(file, content, f"{called}: {file.name}", shares(heard, *ends))

    def _make(self, file: Found, content: Content, own: str, heard: Heard) -> None:
        path = self._path(file)
        try:
            report = spill(content, own, self.choices, path, heard)
        except TableError as error:
            if any(problem.message != NO_ROWS for problem in error.problems):
                raise
            report = None
        rows = 0 if report is None else report.rows
        part = PartFile(file.name, file.size, sha256(Path(file.path)), rows)
        noted = None if report is None else report.to_dict()
        write_json(path.with_suffix(".json"), {"file": asdict(part), "report": noted})

    def find(self, file: Found) -> Made | None:
        """Give what was made of a file as it is now; None where that is not here."""
        path = self._path(file)
        try:
            said: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            report = None if said["report"] is None else ReadReport.from_dict(said["report"])
            if report is not None:
                pq.read_metadata(path)
            return Made(path, PartFile(**said["file"]), report)
        except Exception:  # nothing is here, or a damaged file, which may raise anything; it is then made anew
            return None

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, file: Found) -> Path:
        return self.folder / f"{self._key(file)}.parquet"

    def _key(self, file: Found) -> str:
        said = json.dumps([file.path, file.size, file.changed, self.choices.to_dict()], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()


def _columns_of(content: Content, own: str, choices: Choices) -> int:
    if is_json(content):
        with content.open() as stream:
            return len(json.loads(next(line for line in stream if line.strip())))
    try:
        return len(TextFile.of(content, f"Table `{own}`", choices).dialect.columns)
    except TableError as error:
        if all(problem.message == NO_ROWS for problem in error.problems):
            return 0
        raise


def _require_room(folder: Path, need: int, called: str) -> None:
    if need > (free := shutil.disk_usage(folder).free):
        message = f"its rows take up to {need / 1e6:,.0f} MB on the disk of `{folder.parent}`, and {free / 1e6:,.0f} MB"
        problem = Problem(f"{message} are free", "Free some space, then try again.")
        raise TableError(f"Dataset `{called}`", [problem])


class _Left(BaseException):
    """Nobody waits for the work any more."""


def _in_thread(work: Callable[[Heard], None]) -> Iterator[float]:
    """Do work that tells the share done, and yield that ten times a second; stop the work if nobody goes on."""
    told, raised, left = SimpleQueue[float](), list[BaseException](), list[bool]()

    def heard(share: float) -> None:
        if left:
            raise _Left
        told.put(share)

    def run() -> None:
        try:
            work(heard)
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    most = 0.0  # a text with quotes in doubt is read again
    try:
        while thread.is_alive():
            thread.join(0.1)
            if (share := _last(told)) is not None:
                yield (most := max(most, share))
    finally:
        left.append(True)
        thread.join()
    if raised:
        raise raised[0]


def _last(told: SimpleQueue[float]) -> float | None:
    last = None
    try:
        while True:
            last = told.get_nowait()
    except Empty:
        return last
