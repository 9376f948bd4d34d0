"""Files: written atomically, and JSON read that may be damaged."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from deepfm_core.errors import DeepFMError, RunError, first_line

if TYPE_CHECKING:
    import pandas as pd


_CHUNK = 1 << 20


def beside(path: Path) -> Path:
    """Return a hidden, unique path in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")


_BESIDE = re.compile(r"\..+\.\d+-[0-9a-f]{8}")


def sweep(folder: Path, before: float) -> None:
    """Remove what `beside` named, in a folder and below it, and a process that was ended left before a time."""
    for path in folder.rglob(".*"):
        with suppress(OSError):  # another process sweeps, too
            if _BESIDE.fullmatch(path.name) and path.stat().st_mtime < before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename it to `path` if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path)
    try:
        yield temporary
        sync(temporary)  # the content must be on the disk before the name is
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal; the file is read a megabyte at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


# Folders, and files of the usual kinds.

__all__ = ["atomic_folder", "finite", "sha256", "sync", "whole", "write_bytes", "write_frame", "write_json"]


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder, and rename it to `path` if the block ends without an error; an existing one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        try:
            os.rename(temporary, path)
        except OSError:  # another process was faster, and its folder has the same content
            if not path.is_dir():
                raise
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with whole(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `values` atomically as indented JSON in UTF-8; numbers that JSON does not know become null."""
    write_bytes(path, (json.dumps(finite(values), indent=1, ensure_ascii=False) + "\n").encode())


def finite(value: Any) -> Any:
    """Return plain values with None in the place of NaN and infinite numbers, for which JSON has no word."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_frame(path: Path, frame: pd.DataFrame, row_group: int = 4096) -> None:
    """Write a frame atomically as Parquet, without its index.

    Row groups are small, so that a reader who wants one pair of `level_pairs` skips nearly all of the file.
    """
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    with whole(path) as temporary:
        parquet.write_table(table, temporary, row_group_size=row_group, compression="zstd")


# The one place that reads JSON which may be damaged: whatever is wrong with it becomes an error that a user can read.
#
# A file may be cut or edited by hand, a row changed by another program, an address typed. Values of a wrong type raise
# what Python happens to raise, from AttributeError to RecursionError.


DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, DeepFMError)
"""What reading damaged values may raise. UnicodeError is a ValueError, OverflowError an ArithmeticError."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a pair that JSON writes a rare character as. Alone it makes a text that cannot be written."""


def read_object(
    text: str | bytes, subject: str, remedy: str, made: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """Read a JSON object, and make something of it.

    Args:
        text: the JSON.
        subject: what an error says is damaged, as the beginning of a sentence.
        remedy: what to do about it, as a sentence.
        made: what is made of the values; by default they are returned.

    Raises:
        RunError: it is not JSON, not an object, or nothing can be made of it.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        values = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("it is not a JSON object")
        if _HALF.search(text):
            json.dumps(values, ensure_ascii=False).encode()
        return values if made is None else made(values)
    except DAMAGE as error:
        raise RunError(f"{subject} cannot be read ({_why(error)}). {remedy}") from error


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Make a `RunError` of what reading a file of a run's folder raises where it is missing or damaged."""
    subject = f"Run `{path.parent}`: {path.name}"
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(f"{subject} is gone from its folder. Put it back, or train the run again.") from error
    except (OSError, RuntimeError, *DAMAGE) as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise RunError(f"{subject} is damaged or from an earlier version ({said}). Train it again.") from error


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).partition("\n")[0].rstrip(".")[:200] or type(error).__name__


# Whether values have the types that a dataclass says: Python itself does not look.


def require_types(record: Any) -> Any:
    """Return a dataclass's instance whose values, and theirs, have the types that their fields say.

    Raises:
        TypeError: one has not.
    """
    for field in fields(record):
        hints = _hints(type(record))  # type: ignore[arg-type]  # a type is hashable
        if not _fits(getattr(record, field.name), hints[field.name]):
            raise TypeError(f"`{field.name}` is `{str(getattr(record, field.name))[:40]}`")
    return record


@cache
def _hints(record: Any) -> dict[str, Any]:
    return get_type_hints(record)


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:  # JSON has it as a list
        if not isinstance(value, (tuple, list)):
            return False
        kinds = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if is_dataclass(hint):
        return isinstance(value, hint) and require_types(value) is value  # type: ignore[arg-type]
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)
