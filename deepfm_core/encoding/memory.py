"""Choose where the rows of a table are while a model trains: in memory, or on the disk where they do not fit.

Start with `place_of`. `encoded_on_disk` then encodes the rows of a dataset that stays on the disk, and
`parts_of_sample` divides its sample as they are divided.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from deepfm_core._words import percent
from deepfm_core.encoding.sharding import (
    PARTS,
    Dataset,
    MemoryPlan,
    Sharded,
    Sharding,
    bytes_in_memory,
    said_bytes,
)
from deepfm_core.encoding.splits import Part, RunParts
from deepfm_core.errors import SpecError, TableError
from deepfm_core.schema.copies import look_for_copies
from deepfm_core.schema.schema import KEEP, Schema
from deepfm_core.spec.run import ModelSpec, RunSpec
from deepfm_core.tables.columnar.budget import half_of_memory
from deepfm_core.tables.datasets.dataset import is_dataset, is_uri, list_files
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.table import Table

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_OF_TEXT = 8
"""Bytes that a byte of a file that is not Parquet takes in memory, about."""


@dataclass(frozen=True)
class Place:
    """Where the rows of a dataset are.

    Attributes:
        dataset: what a run needs whose rows stay on the disk; None where they fit into memory.
        pieces: the rows.
        said: how much they take, and where they are for that, in a sentence.
    """

    dataset: Dataset | None
    pieces: Pieces
    said: str


def memory_of(said: str | int | None) -> int:
    """Give the bytes that a run may take: what is said, such as `2GB`, else half of the machine's memory.

    Raises:
        SpecError: it says no size.
    """
    if said is None:
        return half_of_memory()
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", str(said), re.IGNORECASE)
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if not size:
        raise SpecError(f"Memory is {said!r}. Write a size such as 2GB or 800MB.")
    return size


def place_of(source: Path | str, said: str | int | None) -> Place | None:
    """Choose where the rows of a source are, where it is many files or a size of memory is said.

    Args:
        source: a file, a folder, a pattern or a URI.
        said: of the memory, as for `memory_of`.

    Returns:
        None for a table that is to be read as ever: one file without a size, or no rows that can stay on the disk.

    Raises:
        TableError: the files differ, or cannot be read.
        SpecError, RunError: the memory is no size, or too little.
    """
    memory = memory_of(said)
    if said is None and not is_dataset(source):
        return None
    try:
        pieces = Pieces(source)
    except TableError:
        size = 0 if is_uri(str(source)) else sum(file.size for file in list_files(source)[1])
        if said is None or size * _OF_TEXT <= memory:
            return None  # it fits, or reading it says what is wrong
        raise
    need = bytes_in_memory(pieces)
    what = f"{pieces.name}: {len(pieces):,} rows take about {said_bytes(need, up=True)} of memory"
    if need <= memory:
        return Place(None, pieces, f"{what}, within {said_bytes(memory)}: they are read into it.")
    MemoryPlan.of(memory, len(pieces), len(pieces.columns), ModelSpec().embedding_size)
    whole = str(source) if is_uri(str(source)) else str(Path(source).expanduser().absolute())
    choice = f"more than {said_bytes(memory)}: they stay on the disk, and the model trains from there"
    return Place(Dataset(whole, memory), pieces, f"{what}, {choice}.")


def encoded_on_disk(pieces: Pieces, spec: RunSpec, memory: int, sample: int, folder: Path) -> Iterator[float]:
    """Read the rows of a dataset three times, and write them into `folder`, encoded; yield the share done.

    Raises:
        DeepFMError: memory or disk do not suffice, files change, or cells are not what their kind asks for.
    """
    sharding = Sharding(pieces, spec, memory, sample)
    for start, end, shares in (
        (0.0, 0.1, sharding.divide()),
        (0.1, 0.5, sharding.summarise()),
        (0.5, 1.0, sharding.write(folder)),
    ):
        for share in shares:
            yield start + (end - start) * share


def parts_of_sample(whole: Sharded, table: Table, schema: Schema) -> RunParts:
    """Divide the sample of a dataset as all of its rows are divided; copies of rows are kept, and said."""
    rows, labels, copies = look_for_copies(table.frame, replace(schema, copies=KEEP), table.name, least_share=0.0)
    part = whole.sample[rows]
    train, valid, test = (Part(lambda: table, rows[part == n], labels[part == n]) for n in range(len(PARTS)))
    return RunParts(train, valid, test, whole.notes, replace(copies, sampled=True))


def said_of_sample(sample: int, rows: int) -> str:
    """Say what is of the `sample` of a dataset that has so many `rows`."""
    if sample == rows:
        return "The encoded rows stay on the disk, and the model trains from there."
    error = percent(0.5 / math.sqrt(sample), 2)
    return (
        f"The encoded rows stay on the disk, and the model trains from there; its scores are of all {rows:,} rows. "
        f"Roles, what the labels say, examples, levels and the predictions listed are of a sample of {sample:,} rows, "
        f"drawn from each file in proportion; a share of all of them has a standard error of at most {error}."
    )
