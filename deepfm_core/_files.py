"""A file that is either whole or not there: written under a temporary name, synced, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 1 << 20


def beside(path: Path) -> Path:
    """Give a hidden name in the same folder that nobody else has."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")


def sync(path: Path) -> None:
    """Wait until what was written to a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder, and move what was written there to `path` when the block ends well.

    A reader sees the old file or the new one, never a part, whenever the process or the machine stops.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, reading it a megabyte at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


# Files that are either whole or not there: written under a temporary name, synced, renamed.

__all__ = ["sha256", "sync", "whole", "whole_folder", "write_bytes", "write_frame", "write_json"]


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder, and move it to `path` when the block ends well; one that is there already is kept."""
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
        except OSError:
            if not path.is_dir():
                raise
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `values` as indented JSON in UTF-8, whole or not at all."""
    write_bytes(path, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def write_frame(path: Path, frame: pd.DataFrame, row_group: int = 4096) -> None:
    """Write a frame as parquet without its index, whole or not at all.

    Small row groups let a reader who filters (one pair of `level_pairs`) skip nearly all of the file.
    """
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    with whole(path) as temporary:
        parquet.write_table(table, temporary, row_group_size=row_group, compression="zstd")
