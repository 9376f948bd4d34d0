"""Find the files of a dataset: those of a folder, of a pattern such as `day=*/*.parquet`, or of a URI of either."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from deepfm_core.errors import Problem, TableError, first_line
from deepfm_core.tables.datasets.source import PATTERN, QUERY, URI, as_uri, is_uri, is_web, name_of, without_secrets

MOST_FILES = 100_000
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Found:
    """A file of a dataset."""

    path: str
    """As its file system has it."""
    name: str
    """Its path below the dataset's folder."""
    size: int
    changed: int
    """When it was last changed, in nanoseconds since 1970; 0 where that is not told."""
    parts: tuple[tuple[str, str], ...]
    """The columns that its folders name, as `day=3`, with their value."""


def list_files(source: Path | str) -> tuple[Any, list[Found]]:
    """List the files of a dataset in the order of their names; hidden ones and those that begin with `_` are left out.

    Returns:
        The file system they are on, and the files.

    Raises:
        TableError: there is no such folder or bucket, it may not be read, or it has no files.
    """
    name, text = f"Dataset `{name_of(source)}`", as_uri(source)
    system, base, pattern = _system(text, name)
    try:
        infos = _infos(system, base, whole=pattern is None)
    except FileNotFoundError as error:
        remedy = "Check the address; a signed one may have ended." if is_web(text) else "Check the path."
        raise _problem(name, "there is no such file or folder", remedy, base) from error
    except PermissionError as error:
        raise _problem(name, "the folder may not be read", "Ask for permission, or choose another.", base) from error
    except OSError as error:
        raise _problem(
            name, "it cannot be listed", "Check the address and your credentials.", first_line(error)
        ) from error
    except ValueError as error:
        raise _no_address(name, text) from error
    alone = [info.path.strip("/") for info in infos] == [base.strip("/")]
    typed = [] if is_web(text) else _typed(text, base.rpartition("/")[0] if alone else base)
    found = sorted(_chosen(infos, base, pattern, typed), key=lambda file: file.name)
    if not found:
        said = "no file has a name of this pattern" if pattern else "the folder has no files"
        raise _problem(name, said, "Check the path; names that begin with `.` or `_` are left out.", text)
    if len(found) > MOST_FILES:
        raise _problem(name, f"it has {len(found):,} files", f"Join them: {MOST_FILES:,} are allowed.", text)
    return system, found


def _system(text: str, name: str) -> tuple[Any, str, list[str] | None]:
    """Give the file system of a source, its path there, and the segments of a pattern below it; None where none is."""
    if not is_uri(text):
        return fs.LocalFileSystem(), *_split("", str(Path(text).expanduser().absolute()), Path.exists)
    scheme = text.partition(":")[0].lower()
    if is_web(text):  # `?` begins what is asked of the server, and it lists nothing
        return _by_fsspec(scheme, name), text, None
    query = match[0] if (match := QUERY.search(text)) else ""
    text = text.removesuffix(query)
    pattern = PATTERN.search(text)
    stem = text[: pattern.start()].rpartition("/")[0] if pattern else text  # a URI has no room for a pattern
    rest = text[len(stem) :]
    try:
        system, path = fs.FileSystem.from_uri(stem + query)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, NotImplementedError):
        system = _by_fsspec(scheme, name)
        if query:
            remedy = "Leave out what stands after `?`."
            raise _problem(name, f"no settings can be given in an address of `{scheme}`", remedy, text) from None
        path = stem.partition("://")[2]
    except OSError as error:
        raise _problem(name, "it cannot be reached", "Check the address.", first_line(error)) from error
    except ValueError as error:
        raise _no_address(name, text) from error
    return system, *_split(path, rest, Path.exists if system.type_name == "local" else _unknown)


def _by_fsspec(scheme: str, name: str) -> Any:
    try:
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (ImportError, ValueError) as error:
        remedy = f"Install what fsspec needs for `{scheme}`, or copy the files to this machine."
        raise _problem(name, f"nothing here reads `{scheme}`", remedy, first_line(error)) from error


def _unknown(_path: Path) -> bool:
    """Say that nothing is known of a path that stands elsewhere."""
    return False


def _split(base: str, rest: str, exists: Callable[[Path], bool]) -> tuple[str, list[str] | None]:
    """Split what follows a path before its first segment with a pattern; None where there is none.

    A name that is there is no pattern, whatever letters it has.
    """
    path, segments = base, rest.split("/") if rest else []
    for place, segment in enumerate(segments):
        here = f"{path}/{segment}" if place or not rest.startswith("/") else path
        if PATTERN.search(segment) and not exists(Path(here)):
            return path or "/", segments[place:]
        path = here
    return path.rstrip("/") or "/", None


def _infos(system: Any, base: str, *, whole: bool) -> list[Any]:
    if whole and (info := system.get_file_info(base)).type == fs.FileType.File:
        return [info]
    found: list[Any] = system.get_file_info(fs.FileSelector(base, recursive=True))
    return [info for info in found if info.type == fs.FileType.File]


def _chosen(infos: Sequence[Any], base: str, pattern: list[str] | None, typed: Sequence[str]) -> Iterator[Found]:
    for info in infos:
        below = PurePosixPath(info.path.lstrip("/").removeprefix(base.lstrip("/")).lstrip("/") or info.base_name)
        if pattern is None and is_web(base):
            yield Found(base, PurePosixPath(urlsplit(base).path).name or "file", info.size or 0, info.mtime_ns or 0, ())
            continue
        if any(part.startswith((".", "_")) for part in below.parts):
            continue
        if pattern is None or matches(below.parts, pattern):
            folders = [*typed, *below.parts[:-1]]
            yield Found(info.path, str(below), info.size or 0, info.mtime_ns or 0, tuple(_values(folders)))


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Say whether the segments of a path fit those of a pattern, in which `**` stands for any number of them."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])


def _typed(text: str, base: str) -> list[str]:
    """Give the folders of the path that the user wrote himself, above what is searched."""
    written = set(re.sub(URI, "", text).split("/"))
    return [segment for segment in base.split("/") if segment in written]


def _values(folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        key, sign, value = folder.partition("=")
        if key and sign:
            yield unquote(key), "" if value == _NO_VALUE else unquote(value)


def _problem(subject: str, message: str, remedy: str, value: str) -> TableError:
    return TableError(subject, [Problem(message, remedy, value=without_secrets(value))])


def _no_address(subject: str, text: str) -> TableError:
    return _problem(
        subject,
        "the address cannot be understood",
        "Write it as in `https://host/table.csv`; `/` in a password is `%2F`.",
        text,
    )
