"""Choose where the rows of a table are while a model trains: in memory, or on the disk where they do not fit.

Start with `place_of`. `encoded_on_disk` then encodes the rows of a dataset that stays on the disk, and
`parts_of_sample` divides its sample as they are divided.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from deepfm_core._words import percent
from deepfm_core.encoding.sharding import (
    PARTS,
    Dataset,
    MemoryPlan,
    Sharded,
    Sharding,
    bytes_in_memory,
    bytes_of,
    said_bytes,
)
from deepfm_core.encoding.splits import Part, RunParts
from deepfm_core.errors import SpecError, TableError
from deepfm_core.schema.copies import look_for_copies
from deepfm_core.schema.schema import KEEP, Schema
from deepfm_core.spec.run import ModelSpec, RunSpec
from deepfm_core.tables.columnar.budget import half_of_memory
from deepfm_core.tables.datasets.dataset import is_dataset, is_uri, list_files, name_of
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.datasets.shelf import Shelf, are_texts
from deepfm_core.tables.table import FOUND, Choices, Table
from deepfm_core.tables.texts.spilled import Heard

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_OF_TEXT = 8
"""Bytes that a byte of a file that is not Parquet takes in memory, about."""
_OF_PACKED = 20
"""Bytes that a byte of a packed one becomes at most, as a rule."""


@dataclass(frozen=True)
class Place:
    """Where the rows of a dataset are.

    Attributes:
        dataset: what a run needs whose rows stay on the disk; None where they fit into memory.
        said: how much they take, and where they are for that, in a sentence.
        listed: the rows of Parquet files; of text files, what messages call them.
        shelf: has the rows of text files, once it is filled; None of Parquet files.
    """

    dataset: Dataset | None
    said: str
    listed: Pieces | str
    shelf: Shelf | None = None

    @cached_property
    def pieces(self) -> Pieces:
        """The rows, of text files once these are filled in.

        Raises:
            TableError: a file has changed.
        """
        assert self.dataset is not None
        named = self.listed
        return Pieces(self.dataset.source, named, self.shelf) if isinstance(named, str) else named

    def fill(self) -> Iterator[float]:
        """Read text files onto the disk; yield the share done. Nothing is to be done of Parquet files.

        Raises:
            TableError: as `read_table` does; a file changed or vanished; the disk has no room.
        """
        if self.shelf is not None and self.dataset is not None:
            yield from self.shelf.fill(self.dataset.source)


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


def place_of(
    source: Path | str,
    said: str | int | None,
    choices: Choices = FOUND,
    within: Path | None = None,
    heard: Heard = lambda _: None,
) -> Place | None:
    """Choose where the rows of a source are, where it is many files or a size of memory is said.

    Args:
        source: a file, a folder, a pattern or a URI.
        said: of the memory, as for `memory_of`.
        choices: what is said of how text files are read.
        within: the folder in which rows of text files are put, in one that goes with the place; by default that for
            temporary files.
        heard: takes the share done, while text files are looked through.

    Returns:
        None for a table that is to be read as ever: one file without a size, or no rows that can stay on the disk.

    Raises:
        TableError: the files differ, or cannot be read.
        SpecError, RunError: the memory is no size, or too little.
    """
    memory = memory_of(said)
    if said is None and not is_dataset(source):
        return None
    if not is_uri(str(source)) and are_texts(source):
        return _place_of_texts(source, memory, choices, within, heard)
    try:
        pieces = Pieces(source)
    except TableError:
        size = 0 if is_uri(str(source)) else sum(file.size for file in list_files(source)[1])
        if said is None or size * _OF_TEXT <= memory:
            return None  # it fits, or reading it says what is wrong
        raise
    return _placed(source, memory, pieces, (len(pieces), len(pieces.columns), bytes_in_memory(pieces)))


def _place_of_texts(
    source: Path | str, memory: int, choices: Choices, within: Path | None, heard: Heard
) -> Place | None:
    """Do the same for text files, whose lines are counted where it may matter."""
    if not may_exceed(source, memory):
        return None
    shelf = Shelf.temporary(within, choices)
    size = shelf.look(source, heard)
    if not size.rows:
        return None  # reading it says what is wrong
    need = bytes_of(size.rows, size.columns, size.bytes)
    return _placed(source, memory, name_of(source), (size.rows, size.columns, need), shelf)


def may_exceed(source: Path | str, memory: int) -> bool:
    """Say whether the rows of text files may take more than so many bytes, by the sizes of the files alone."""
    found = list_files(source)[1]
    most = max(_OF_PACKED if _is_packed(Path(file.path)) else 1 for file in found)
    return most * _OF_TEXT * sum(file.size for file in found) > memory


def _is_packed(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(2) in (b"\x1f\x8b", b"PK")
    return False


def _placed(
    source: Path | str, memory: int, listed: Pieces | str, size: tuple[int, int, int], shelf: Shelf | None = None
) -> Place:
    """Choose by what was counted: rows, columns, and the bytes that they would take in memory."""
    rows, columns, need = size
    counted = f"{rows:,} {'rows' if shelf is None else 'lines'}"
    what = f"{name_of(source)}: {counted} take about {said_bytes(need, up=True)} of memory"
    if need <= memory:
        return Place(None, f"{what}, within {said_bytes(memory)}: they are read into it.", listed)
    MemoryPlan.of(memory, rows, columns, ModelSpec().embedding_size)
    whole = str(source) if is_uri(str(source)) else str(Path(source).expanduser().absolute())
    said = f"{what}, more than {said_bytes(memory)}: they stay on the disk, and the model trains from there."
    if shelf is None:
        return Place(Dataset(whole, memory), said, listed)
    return Place(Dataset(whole, memory, shelf.choices.to_dict(), str(shelf.folder.absolute())), said, listed, shelf)


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
