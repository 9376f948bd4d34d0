"""Write files atomically: under a temporary name, synced to the disk, then renamed.

A reader, or the next start after a crash, finds the old file or the new one, and never a part. Use `whole` for a file
of any kind, and `write_bytes`, `write_json` and `write_frame` for the usual ones.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
