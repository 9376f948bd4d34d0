"""JSON whose long texts and arrays stand in an Arrow file beside it: millions of values are read in a moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from deepfm_core._files import sha256, whole
from deepfm_core.tables.table import Texts

_PLACE = "in the Arrow file"
_SHA256 = "sha256 of the Arrow file"


def beside(path: Path) -> Path:
    """Return where the long values of the JSON file `path` stand."""
    return path.with_suffix(".arrow")


def write_arrow_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values for JSON among which Texts and arrays may be; each of the two files appears whole or not at all.

    The JSON names the SHA-256 of the Arrow file, so that a new one beside an old JSON is noticed.
    """
    pieces: list[pa.Array] = []

    def placed(value: Any) -> dict[str, int]:
        pieces.append(value.array if isinstance(value, Texts) else pa.array(value))
        return {_PLACE: len(pieces) - 1}

    text = json.dumps(values, default=placed, ensure_ascii=False, separators=(",", ":"))
    with whole(beside(path)) as temporary:
        _write_pieces(temporary, pieces)
        names = json.dumps({_SHA256: sha256(temporary)})
    if pieces:
        text = f"{names[:-1]},{text[1:]}"
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_arrow_json(path: Path) -> Any:
    """Read what `write_arrow_json` wrote, or plain JSON; texts come back as Texts, arrays as arrays.

    Raises:
        ValueError: the file is not JSON, or the Arrow file beside it is missing, damaged or another one's.
    """
    pieces: list[pa.Array] = []

    def found(values: dict[str, Any]) -> Any:
        if _PLACE not in values:
            return values
        if not pieces:
            pieces.extend(_read_pieces(beside(path)))
        if values[_PLACE] >= len(pieces):
            raise _another(path)
        piece = pieces[values[_PLACE]]
        return Texts(piece) if pa.types.is_large_string(piece.type) else np.asarray(piece)

    values = json.loads(path.read_text(encoding="utf-8"), object_hook=found)
    if pieces:
        written = values.pop(_SHA256, None)
        if written is not None and written != sha256(beside(path)):
            raise _another(path)
    return values


def _another(path: Path) -> ValueError:
    return ValueError(f"{beside(path).name} is not the file that {path.name} was written with")


def _write_pieces(path: Path, pieces: list[pa.Array]) -> None:
    """Write every piece as the one value, a list, of a column."""
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(piece)], pa.int64()), piece) for piece in pieces]
    batch = pa.record_batch(lists, names=[str(number) for number in range(len(lists))])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def _read_pieces(path: Path) -> list[pa.Array]:
    try:
        with pa.OSFile(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
    except OSError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return [column.values for column in batch.columns]
