"""An encoded table: what the model reads, and the layout that says which feature is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfm_core._parallel import in_parallel
from deepfm_core.schema.kinds import Kind


@dataclass(frozen=True)
class EncodedField:
    """One embedded field of the model: its slots in a row and its block of features in the one embedding table.

    A row has `slots` feature ids for this field (1 for categorical, numeric and bucketised fields, 2 for piecewise
    fields, the largest number of values in a cell for multi-valued fields). Ids are `offset … offset + size - 1`.
    """

    name: str
    column: str
    """The table's column it comes from (two fields come from one timestamp column)."""
    kind: Kind
    first_slot: int
    slots: int
    offset: int
    size: int
    features: Sequence[str]
    """The name of each feature of the block, `size` of them, for people to read."""
    unseen: int | None
    """The id, within the block, of the feature that stands for values the training part did not hold."""

    @property
    def pairs_within(self) -> bool:
        """Whether pairs of features within this field belong to the second-order term (multi-valued fields)."""
        return self.kind.is_several

    @property
    def repeats(self) -> bool:
        """Whether rows are often alike in this field: one value out of a vocabulary, no blend, number or set."""
        return self.slots == 1 and self.kind.repeats


@dataclass(frozen=True)
class CrossedField:
    """Two fields' combinations of values, which have a first-order weight each and no embedding.

    A row has one combination; ids are `offset … offset + size - 1` in the crossed fields' own table of weights.
    """

    name: str
    fields: tuple[int, int]
    """The numbers of the two embedded fields."""
    offset: int
    size: int
    features: tuple[str, ...]
    """The name of each combination, `size` of them, for people to read; the first stands for all others."""


@dataclass(frozen=True)
class Layout:
    """All fields of a model: F embedded fields over S slots and V features, D dense fields and C crossed fields."""

    fields: tuple[EncodedField, ...]
    dense: tuple[str, ...] = ()
    crosses: tuple[CrossedField, ...] = ()

    @property
    def slots(self) -> int:
        """S, the number of feature ids a row has."""
        return sum(field.slots for field in self.fields)

    @property
    def vocabulary(self) -> int:
        """V, the number of features over all embedded fields."""
        return sum(field.size for field in self.fields)

    @property
    def crossed(self) -> int:
        """The number of combinations over all crossed fields."""
        return sum(field.size for field in self.crosses)

    @property
    def names(self) -> tuple[str, ...]:
        """The embedded fields' names, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def first_order_names(self) -> tuple[str, ...]:
        """The names of the first-order terms, in order: embedded fields, dense fields, crossed fields."""
        return (*self.names, *self.dense, *(field.name for field in self.crosses))

    def to_dict(self) -> dict[str, Any]:
        """Give the layout as plain values for JSON."""
        fields = [{**vars(field), "kind": field.kind.value, "features": list(field.features)} for field in self.fields]
        return {"fields": fields, "dense": list(self.dense), "crosses": [vars(field) for field in self.crosses]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Layout:
        """Rebuild a layout from `to_dict`."""
        fields = tuple(
            EncodedField(**{**field, "kind": Kind(field["kind"]), "features": tuple(field["features"])})
            for field in values["fields"]
        )
        crosses = tuple(
            CrossedField(**{**field, "fields": tuple(field["fields"]), "features": tuple(field["features"])})
            for field in values.get("crosses", ())
        )
        return cls(fields, tuple(values["dense"]), crosses)


@dataclass(frozen=True)
class EncodedTable:
    """N encoded rows.

    Attributes:
        layout: which slot and feature belongs to which field.
        ids: (N, S) int32, feature ids in `0 … V-1`; an unused slot of a multi-valued field repeats any id of the
            field's block with weight 0.
        weights: (N, W) float32, the x of each feature in the slots `weighted`; None where every x is 1.
        dense: (N, D) float32, scaled values of the dense fields.
        labels: (N,) float32 of 0 and 1, or None for a table without label.
        crosses: (N, C) int32, the id of each crossed field's combination; None where the layout has none.
        weighted: the W slots, ascending, that `weights` has a column for; None if all S. In all others x is 1. A
            field's slots are all among them, or none is.
    """

    layout: Layout
    ids: NDArray[np.int32]
    weights: NDArray[np.float32] | None
    dense: NDArray[np.float32]
    labels: NDArray[np.float32] | None
    crosses: NDArray[np.int32] | None = None
    weighted: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def x(self, field: EncodedField) -> NDArray[np.float32] | None:
        """Return (N, slots) the x of a field's features, or None where every one is 1."""
        first = field.first_slot
        if self.weights is not None and self.weighted is not None:
            if first not in self.weighted:
                return None
            first = self.weighted.index(first)
        return None if self.weights is None else self.weights[:, first : first + field.slots]

    def take(self, rows: NDArray[np.int64]) -> EncodedTable:
        """Return the given rows, in the given order."""
        return EncodedTable(
            self.layout,
            self.ids[rows],
            None if self.weights is None else self.weights[rows],
            self.dense[rows],
            None if self.labels is None else self.labels[rows],
            None if self.crosses is None else self.crosses[rows],
            self.weighted,
        )


def together(parts: Sequence[EncodedTable]) -> EncodedTable:
    """Put the rows of parts with one layout below each other; labels only where all parts have them."""
    weights = [part.weights for part in parts if part.weights is not None]
    labels = [part.labels for part in parts if part.labels is not None]
    crosses = [part.crosses for part in parts if part.crosses is not None]
    return EncodedTable(
        parts[0].layout,
        np.concatenate([part.ids for part in parts]),
        np.concatenate(weights) if weights else None,
        np.concatenate([part.dense for part in parts]),
        np.concatenate(labels) if len(labels) == len(parts) else None,
        np.concatenate(crosses) if crosses else None,
        parts[0].weighted,
    )


# Rows from tables over distinct texts: the last step of encoding, and the one that touches every row.

_BLOCK = 4096

_STRETCH = 32 * _BLOCK

_APART = 16
"""Numbers between one column of a block and the next: a power of two would put all at one place of the cache."""


def gather(
    tables: Sequence[tuple[NDArray[Any], NDArray[Any]]], rows: int, dtype: type[np.int32] | type[np.float32]
) -> NDArray[Any]:
    """Return (rows, len(tables)): in column j, table j at each row's code.

    A block of rows is gathered column by column, each in one piece of memory, and then turned: twice as fast as writing
    to the columns of a row-major array. Codes are in range, so "clip" only saves the check.
    """
    out = np.empty((rows, len(tables)), dtype=dtype)

    def fill(first: int) -> None:
        columns = np.empty((len(tables), min(_BLOCK, rows) + _APART), dtype=dtype)
        for start in range(first, min(first + _STRETCH, rows), _BLOCK):
            size = min(_BLOCK, rows - start)
            for column, (codes, table) in zip(columns, tables, strict=True):
                np.take(table, codes[start : start + size], out=column[:size], mode="clip")
            out[start : start + size] = columns[:, :size].T

    in_parallel(fill, range(0, rows, _STRETCH), rows)
    return out
