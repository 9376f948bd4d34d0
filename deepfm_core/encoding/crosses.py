"""Crossed fields: the combinations of two fields' values, each a feature with a first-order weight of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import CrossedField
from deepfm_core.encoding.field import FieldCode, field_from_dict
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.schema import Cross

MOST_COMBINATIONS = 100_000
"""Combinations of a crossed field that have a weight of their own: the ones with most training rows."""
OTHER = "other"
"""The first feature of a crossed field: combinations without a weight of their own, and ones never seen."""


@dataclass(frozen=True)
class CrossedCode:
    """How the combinations of two fields become features.

    Attributes:
        fields: the numbers of the two fields among the encoder's.
        parts: what gives a row one feature of each: the field's own code, or buckets where it is a number.
        combinations: the features of the two that have a weight together, by decreasing training rows.
    """

    fields: tuple[int, int]
    parts: tuple[FieldCode, FieldCode]
    combinations: tuple[tuple[int, int], ...]

    @classmethod
    def fit(
        cls,
        cross: Cross,
        fields: Sequence[FieldCode],
        all_cells: Mapping[str, Cells],
        *,
        min_count: int,
        buckets: int,
        subject: str,
    ) -> CrossedCode:
        """Count the combinations over the training rows.

        Raises:
            SchemaError: a name is not that of an embedded field with one value a row.
        """
        (a, first), (b, second) = (_numbered(name, fields, all_cells, buckets, subject) for name in cross)
        parts = (first, second)
        empty = cls((a, b), parts, ())
        keys, rows = np.unique(empty._keys(all_cells), return_counts=True)
        order = np.lexsort((keys, -rows))[:MOST_COMBINATIONS]
        kept = keys[order[rows[order] >= min_count]].tolist()
        return cls((a, b), parts, tuple(divmod(key, empty._width) for key in kept))

    @property
    def name(self) -> str:
        """The names of the two fields."""
        return " × ".join(part.name for part in self.parts)

    def placed(self, offset: int) -> CrossedField:
        """Give the field's place in a layout."""
        first, second = (part.features for part in self.parts)
        names = (OTHER, *(f"{first[a]} × {second[b]}" for a, b in self.combinations))
        return CrossedField(self.name, self.fields, offset, len(names), names)

    def code(self, all_cells: Mapping[str, Cells]) -> NDArray[np.int32]:
        """Encode N rows: (N,) features within the crossed field's block."""
        known, features = self._sorted
        keys = self._keys(all_cells)
        if not len(known):
            return np.zeros(len(keys), dtype=np.int32)
        places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[places] == keys, features[places], 0).astype(np.int32)

    @property
    def _width(self) -> int:
        return len(self.parts[1].features)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The keys of the combinations in ascending order, and the feature of each."""
        keys = np.array([a * self._width + b for a, b in self.combinations], dtype=np.int64)
        order = np.argsort(keys)
        return keys[order], order + 1

    def _keys(self, all_cells: Mapping[str, Cells]) -> NDArray[np.int64]:
        """Number the combination of each row: (N,)."""
        a, b = (
            part.code(all_cells[part.column])[0][:, 0].astype(np.int64)[all_cells[part.column].codes]
            for part in self.parts
        )
        return np.asarray(a * self._width + b)

    def to_dict(self) -> dict[str, Any]:
        """Give the crossed field as plain values for JSON; what another field's code says already is left out."""
        own = [part.to_dict() if part.kind.is_number else None for part in self.parts]
        return {"fields": list(self.fields), "parts": own, "combinations": [list(pair) for pair in self.combinations]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], fields: Sequence[FieldCode]) -> CrossedCode:
        """Rebuild from `to_dict` and the encoder's fields."""
        a, b = values["fields"]
        first, second = (
            fields[number] if own is None else field_from_dict(own)
            for number, own in zip((a, b), values["parts"], strict=True)
        )
        return cls((a, b), (first, second), tuple((left, right) for left, right in values["combinations"]))


def _numbered(
    name: str, fields: Sequence[FieldCode], all_cells: Mapping[str, Cells], buckets: int, subject: str
) -> tuple[int, FieldCode]:
    """Give the number of a field among all, and what puts each row at one feature of it."""
    for number, field in enumerate(fields):
        if field.name == name:
            return number, _single(field, all_cells, buckets, subject)
    names = ", ".join(f"`{field.name}`" for field in fields if not field.kind.is_several)
    raise SchemaError(subject, [Problem("there is no such field to cross", f"Cross two of {names}.", column=name)])


def _single(field: FieldCode, all_cells: Mapping[str, Cells], buckets: int, subject: str) -> FieldCode:
    single = field.single(all_cells[field.column], buckets)
    if single is None:
        remedy = "Make it categorical, or cross another field."
        raise SchemaError(subject, [Problem("a field with several values a row is crossed", remedy, column=field.name)])
    return single
