"""Fields whose features are values of a vocabulary: categorical, multi-valued, parts of a time, and crosses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import CrossedField
from deepfm_core.encoding.field import Code, FieldCode, FieldSettings, encodes, field_from_dict
from deepfm_core.encoding.vocabulary import (
    HOURS,
    MISSING,
    SPECIALS,
    UNSEEN,
    WEEKDAYS,
    Vocabulary,
    padded,
    split_tokens,
    with_separator,
)
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells, require_separator
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import Cross, FieldRole
from deepfm_core.schema.timestamps import STRAYS, form_of
from deepfm_core.tables.table import Texts

MAX_SLOTS = 64
"""Most values a cell of a multi-valued field can have; further ones, the least frequent, are left out."""


@encodes
@dataclass(frozen=True)
class CategoricalCode:
    """One feature a row: the cell's text."""

    kind: ClassVar[Kind] = Kind.CATEGORICAL
    slots: ClassVar[int] = 1
    unseen: ClassVar[int | None] = SPECIALS.index(UNSEEN)
    column: str
    vocabulary: Vocabulary

    @classmethod
    def of_role(cls, cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[CategoricalCode]:
        """Fit the one field that a column becomes."""
        return [cls.fit(cells, settings.min_count)]

    @classmethod
    def fit(cls, cells: Cells, min_count: int) -> CategoricalCode:
        """Take the values of the training rows; those in fewer than `min_count` rows are rare."""
        held = np.where(cells.missing, 0, cells.counts)
        return cls(cells.name, Vocabulary.of(cells.texts, held, min_count, distinct=not cells.trimmed))

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column

    @property
    def features(self) -> Texts:
        """Missing, unseen, rare, then the values."""
        return self.vocabulary.features

    def code(self, cells: Cells) -> Code:
        """Encode the D distinct texts of `cells`."""
        return self.vocabulary.ids(cells.texts, cells.missing)[:, None], None

    def single(self, cells: Cells, buckets: int) -> CategoricalCode:
        """The field itself puts each row at one feature."""
        return self

    def problems(self, cells: Cells) -> list[Problem]:
        """Any text can stand in a categorical field."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Give the field code as plain values for JSON."""
        return {"kind": self.kind.value, "column": self.column, **self.vocabulary.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CategoricalCode:
        """Rebuild from `to_dict`."""
        return cls(values["column"], Vocabulary.from_dict(values))


@encodes
@dataclass(frozen=True)
class MultiValuedCode:
    """Several features a row: the distinct values of the cell, x = 1 each, or 1/n where `average` is set."""

    kind: ClassVar[Kind] = Kind.MULTI_VALUED
    unseen: ClassVar[int | None] = SPECIALS.index(UNSEEN)
    column: str
    separator: str
    vocabulary: Vocabulary
    slots: int
    average: bool

    @classmethod
    def of_role(cls, cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[MultiValuedCode]:
        """Fit the one field that a column becomes, its values between the role's separator or the likely one."""
        separator = role.separator or require_separator(cells, subject)
        tokens = split_tokens(cells, separator)
        longest = tokens.longest(cells.counts)
        return [cls.of_values(cells.name, separator, tokens.texts, tokens.rows(cells.counts), longest, settings)]

    @classmethod
    def of_values(
        cls,
        column: str,
        separator: str,
        values: pa.Array,
        counts: NDArray[np.int64],
        longest: int,
        settings: FieldSettings,
    ) -> MultiValuedCode:
        """Take the values within cells: U of them stand in `counts` (U,) training rows each, `longest` in one cell."""
        vocabulary = Vocabulary.of(values, counts, settings.min_count)
        return cls(column, separator, vocabulary, min(longest, MAX_SLOTS), settings.average)

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column

    @property
    def features(self) -> Texts:
        """Missing, unseen, rare, then the values."""
        return self.vocabulary.features

    def code(self, cells: Cells) -> Code:
        """Encode the D distinct cells; where there are more values than slots, the most frequent are kept."""
        tokens = split_tokens(cells, self.separator)
        ids = self._ids(tokens.texts)[tokens.codes]
        strange = np.bincount(tokens.cells[ids == self.unseen], minlength=len(cells.texts)) > 0
        strange[tokens.cells[ids != self.unseen]] = False
        if strange.any() and (again := self._otherwise_separated(cells, strange)) is not None:
            tokens = split_tokens(again, self.separator)
            ids = self._ids(tokens.texts)[tokens.codes]
        size, specials = self.vocabulary.size, len(SPECIALS)
        # Turned so that the special features come last, a full row gives them up first.
        turned, used = padded(tokens.cells, (ids - specials) % size, len(cells.texts), self.slots)
        out = np.where(used, (turned + specials) % size, SPECIALS.index(MISSING)).astype(np.int32)
        weights = used.astype(np.float32)
        if self.average:
            weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
        weights[~used.any(axis=1), 0] = 1.0
        return out, weights

    def _ids(self, values: pa.Array) -> NDArray[np.int32]:
        return self.vocabulary.ids(values, np.zeros(len(values), dtype=bool))

    def _otherwise_separated(self, cells: Cells, strange: NDArray[np.bool_]) -> Cells | None:
        """Return cells whose values stand between the field's separator if the strange ones have another; or None."""
        places = pa.array(np.flatnonzero(strange))
        texts = cells.texts.take(places)
        written = with_separator(texts, self.separator, lambda values: self._ids(values) != self.unseen)
        if written.equals(texts):
            return None
        return replace(cells, texts=pc.replace_with_mask(cells.texts, pa.array(strange), written), source=None)

    def single(self, cells: Cells, buckets: int) -> None:
        """A row has several values."""

    def problems(self, cells: Cells) -> list[Problem]:
        """Any text can stand in a multi-valued field."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Give the field code as plain values for JSON."""
        own = {"separator": self.separator, "slots": self.slots, "average": self.average}
        return {"kind": self.kind.value, "column": self.column, **own, **self.vocabulary.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MultiValuedCode:
        """Rebuild from `to_dict`."""
        vocabulary = Vocabulary.from_dict(values)
        return cls(values["column"], values["separator"], vocabulary, values["slots"], values["average"])


@encodes
@dataclass(frozen=True)
class TimeCode:
    """One feature a row: the hour of day or the day of week of a point in time, as its own clock shows it."""

    kind: ClassVar[Kind] = Kind.TIMESTAMP
    slots: ClassVar[int] = 1
    unseen: ClassVar[int | None] = None
    vocabulary: ClassVar[Vocabulary | None] = None
    column: str
    form: str
    part: str
    """`hour` or `weekday`."""

    @classmethod
    def of_role(cls, cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[TimeCode]:
        """Make hour and weekday, each only where the training rows have more than one.

        Raises:
            SchemaError: the cells are not all points in time of one form.
        """
        form = role.form or (form_of(cells.held_texts, cells.name, sure=True) or ("", False))[0]
        if not form:
            remedy = "Write all cells in one form, such as 2019-11-24 13:05, or ignore the field."
            message = "the cells are not points in time, or not all in one form"
            raise SchemaError(subject, [Problem(message, remedy, column=cells.name)])
        moments = cells.moments(form)
        held = cells.held[moments.valid[cells.held]]
        parts = {"hour": moments.hours[held], "weekday": moments.weekdays[held]}
        varied = [part for part, values in parts.items() if len(np.unique(values)) > 1]
        return [cls(cells.name, form, part) for part in varied or ["weekday"]]

    @property
    def name(self) -> str:
        """The column's name and the part."""
        return f"{self.column} {self.part}"

    @property
    def features(self) -> tuple[str, ...]:
        """Missing, then the hours or days in natural order."""
        return (MISSING, *(HOURS if self.part == "hour" else WEEKDAYS))

    def code(self, cells: Cells) -> Code:
        """Encode the D distinct texts of `cells`."""
        moments = cells.moments(self.form)
        part = moments.hours if self.part == "hour" else moments.weekdays
        return np.where(moments.valid, part + 1, 0).astype(np.int32)[:, None], None

    def single(self, cells: Cells, buckets: int) -> TimeCode:
        """The field itself puts each row at one feature."""
        return self

    def problems(self, cells: Cells) -> list[Problem]:
        """Name the cells that are not points in time in the form of the training part; a few count as missing."""
        wrong = ~cells.moments(self.form).valid & ~cells.missing
        if wrong[cells.held].sum() <= STRAYS * len(cells.held):
            return []
        return not_in_time(cells, wrong, self.form)

    def to_dict(self) -> dict[str, Any]:
        """Give the field code as plain values for JSON."""
        return {"kind": self.kind.value, "column": self.column, "form": self.form, "part": self.part}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TimeCode:
        """Rebuild from `to_dict`."""
        return cls(values["column"], values["form"], values["part"])


def not_in_time(cells: Cells, wrong: NDArray[np.bool_], form: str) -> list[Problem]:
    """Name the cells whose texts are `wrong` (D,), as they are no points in time of a form."""
    remedy = f"Write it as {form}, leave it empty, or ignore the field."
    return cells.problems(wrong, "is not a point in time", remedy)


# Crossed fields: the combinations of two fields' values, each a feature with a first-order weight of its own.


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
