"""JSON whose long texts and arrays stand in an Arrow file beside it: millions of values are read in a moment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from deepfm_core.data.texts import Texts

_PLACE = "in the Arrow file"


def beside(path: Path) -> Path:
    """Return where the long values of the JSON file `path` stand."""
    return path.with_suffix(".arrow")


def write_packed(path: Path, values: Mapping[str, Any]) -> None:
    """Write values for JSON among which Texts and arrays may be, each file under a temporary name, synced, renamed."""
    pieces: list[pa.Array] = []

    def placed(value: Any) -> dict[str, int]:
        pieces.append(value.array if isinstance(value, Texts) else pa.array(value))
        return {_PLACE: len(pieces) - 1}

    text = json.dumps(values, default=placed, ensure_ascii=False, separators=(",", ":"))
    _write(beside(path), lambda file: _write_pieces(file, pieces))
    _write(path, lambda file: file.write(text.encode()))


def read_packed(path: Path) -> Any:
    """Read what `write_packed` wrote, or plain JSON; texts come back as Texts, arrays as arrays.

    Raises:
        ValueError: the file is not JSON, or the Arrow file beside it is missing or damaged.
    """
    pieces: list[pa.Array] = []

    def found(values: dict[str, Any]) -> Any:
        if _PLACE not in values:
            return values
        if not pieces:
            pieces.extend(_read_pieces(beside(path)))
        piece = pieces[values[_PLACE]]
        return Texts(piece) if pa.types.is_large_string(piece.type) else np.asarray(piece)

    return json.loads(path.read_text(encoding="utf-8"), object_hook=found)


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _write_pieces(file: BinaryIO, pieces: list[pa.Array]) -> None:
    """Write every piece as the one value, a list, of a column."""
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(piece)], pa.int64()), piece) for piece in pieces]
    batch = pa.record_batch(lists, names=[str(number) for number in range(len(lists))])
    with pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def _read_pieces(path: Path) -> list[pa.Array]:
    try:
        with pa.OSFile(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
    except OSError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return [column.values[: len(column.values)] for column in batch.columns]
