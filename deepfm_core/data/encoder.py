"""The encoder: fitted on the training rows only, it turns the cells of a frame into what the model reads."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepfm_core.data.columns import Cells
from deepfm_core.data.crosses import CrossedCode
from deepfm_core.data.encoded import CrossedField, EncodedField, EncodedTable, Layout
from deepfm_core.data.field_codes import FieldCode
from deepfm_core.data.fitted_fields import FieldSettings, field_from_dict, fit_fields, tally
from deepfm_core.data.knots import default_knots
from deepfm_core.data.labels import labels_of
from deepfm_core.data.number_codes import DenseCode, number_problems
from deepfm_core.data.schema import NUMBER_KINDS, Cross, Kind, LabelRole, Schema
from deepfm_core.errors import Problem, SchemaError

BUCKETS = 10
"""Buckets of a bucketised field unless said otherwise."""

_BLOCK = 8192
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Encoder:
    """How a table's columns become features, as fitted on N training rows.

    Attributes:
        label: the label's role.
        fields: the embedded fields, in the schema's order.
        dense_fields: the fields without embedding.
        rows: N, the training rows it was fitted on.
        counts: (V,) int64, training rows in which each feature has x ≠ 0.
        mass: (V,) float64, sum of each feature's x over the training rows; mass / rows weighs a field's mean embedding.
        crosses: the crossed fields.
    """

    label: LabelRole
    fields: tuple[FieldCode, ...]
    dense_fields: tuple[DenseCode, ...]
    rows: int
    counts: NDArray[np.int64]
    mass: NDArray[np.float64]
    crosses: tuple[CrossedCode, ...] = ()

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        schema: Schema,
        *,
        rows: NDArray[np.int64] | None = None,
        min_count: int = 1,
        knots: int | None = None,
        buckets: int = BUCKETS,
        average: bool = False,
        crosses: Sequence[Cross] = (),
        subject: str = "Training table",
    ) -> Self:
        """Fit an encoder to the given `rows` of a frame of text Categoricals (all rows if None).

        Only those rows decide on features and knots; that numbers are numbers is checked for all rows at once.

        Args:
            min_count: values of a vocabulary in fewer training rows share the feature "rare".
            knots: about how many knots a piecewise field gets; as many as the rows support if None.
            buckets: about how many buckets a bucketised field gets.
            average: whether the n values of a multi-valued cell have x = 1/n each rather than 1.
            crosses: pairs of fields that are crossed; a number is crossed by its bucket.

        Raises:
            SchemaError: columns are missing, no field is left to learn from, or cells are not what their kind asks for.
        """
        if not schema.used:
            remedy = "Give at least one column a kind other than ignore."
            raise SchemaError(subject, [Problem("there is no field to learn from", remedy)])
        _require_columns(frame, [role.column for role in schema.used], subject)
        all_cells = {role.column: Cells.of(frame, role.column) for role in schema.used}
        _require_valid_numbers(schema, all_cells, subject)
        if rows is not None:
            all_cells = {column: cells.take(rows) for column, cells in all_cells.items()}
        count = len(frame) if rows is None else len(rows)
        settings = FieldSettings(min_count, default_knots(count) if knots is None else knots, buckets, average)
        fields: list[FieldCode] = []
        dense: list[DenseCode] = []
        for role in schema.used:
            if role.kind is Kind.DENSE:
                dense.append(DenseCode.fit(all_cells[role.column]))
            else:
                fields += fit_fields(all_cells[role.column], role, settings, subject)
        _require_embedded(fields, subject)
        _require_names([field.name for field in fields] + [name for code in dense for name in code.names], subject)
        tallies = [tally(field, all_cells[field.column]) for field in fields]
        counts = np.concatenate([counts for counts, _ in tallies]) if tallies else np.zeros(0, dtype=np.int64)
        mass = np.concatenate([mass for _, mass in tallies]) if tallies else np.zeros(0)
        crossed = tuple(
            CrossedCode.fit(pair, fields, all_cells, min_count=min_count, buckets=buckets, subject=subject)
            for pair in crosses
        )
        return cls(schema.label, tuple(fields), tuple(dense), count, counts, mass, crossed)

    @cached_property
    def layout(self) -> Layout:
        """Which slot and which feature belongs to which field."""
        placed = []
        slot = offset = 0
        for field in self.fields:
            size = len(field.features)
            placed.append(
                EncodedField(
                    name=field.name,
                    column=field.column,
                    kind=field.kind,
                    first_slot=slot,
                    slots=field.slots,
                    offset=offset,
                    size=size,
                    features=field.features,
                    unseen=field.unseen,
                )
            )
            slot, offset = slot + field.slots, offset + size
        crosses: list[CrossedField] = []
        for cross in self.crosses:
            crosses.append(cross.placed(sum(field.size for field in crosses)))
        dense = tuple(name for field in self.dense_fields for name in field.names)
        return Layout(tuple(placed), dense, tuple(crosses))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a frame must have to be encoded."""
        embedded, dense = [field.column for field in self.fields], [field.column for field in self.dense_fields]
        return tuple(dict.fromkeys(embedded + dense))

    def encode(self, frame: pd.DataFrame, *, subject: str, rows: NDArray[np.int64] | None = None) -> EncodedTable:
        """Encode N rows, those numbered `rows` of the frame or all, without looking at a label.

        Columns that are not fields do not matter.

        Raises:
            SchemaError: columns are missing, or cells are not what their kind asks for; all of them are named.
        """
        _require_columns(frame, self.columns, subject)
        all_cells = {column: _cells(frame, column, rows) for column in self.columns}
        count = len(frame) if rows is None else len(rows)
        problems = [p for field in self.fields for p in field.problems(all_cells[field.column])]
        problems += [p for field in self.dense_fields for p in field.problems(all_cells[field.column])]
        if problems:
            raise SchemaError(subject, list(dict.fromkeys(problems)))
        ids, weights = self._ids_and_weights(all_cells, count)
        return EncodedTable(self.layout, ids, weights, self._dense(all_cells, count), None, self._crosses(all_cells))

    def encode_with_labels(self, frame: pd.DataFrame, *, subject: str) -> EncodedTable:
        """Encode N rows and their labels.

        Raises:
            SchemaError: as `encode`, or a label is missing or neither of the label's two values.
        """
        labels = labels_of(frame, self.label, subject)
        return replace(self.encode(frame, subject=subject), labels=labels)

    def _ids_and_weights(
        self, all_cells: Mapping[str, Cells], rows: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        id_tables, weight_tables = [], []
        for field, placed in zip(self.fields, self.layout.fields, strict=True):
            cells = all_cells[field.column]
            ids, weights = field.code(cells)
            id_tables += [(cells.codes, column) for column in np.ascontiguousarray(ids.T) + np.int32(placed.offset)]
            columns = [None] * field.slots if weights is None else list(np.ascontiguousarray(weights.T))
            weight_tables += [(cells.codes, column) for column in columns]
        ids_out = _gather(id_tables, rows, np.int32)
        if all(table is None for _, table in weight_tables):
            return ids_out, None
        return ids_out, _gather(weight_tables, rows, np.float32)

    def _dense(self, all_cells: Mapping[str, Cells], rows: int) -> NDArray[np.float32]:
        tables = [
            (all_cells[field.column].codes, column)
            for field in self.dense_fields
            for column in np.ascontiguousarray(field.code(all_cells[field.column]).T)
        ]
        return _gather(tables, rows, np.float32)

    def _crosses(self, all_cells: Mapping[str, Cells]) -> NDArray[np.int32] | None:
        if not self.crosses:
            return None
        fields = zip(self.crosses, self.layout.crosses, strict=True)
        return np.stack([cross.code(all_cells) + np.int32(placed.offset) for cross, placed in fields], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Give the encoder as plain values for JSON."""
        return {
            "version": _VERSION,
            "label": vars(self.label),
            "fields": [field.to_dict() for field in self.fields],
            "dense": [field.to_dict() for field in self.dense_fields],
            "rows": self.rows,
            "counts": self.counts.tolist(),
            "mass": self.mass.tolist(),
            "crosses": [cross.to_dict() for cross in self.crosses],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild an encoder from `to_dict`."""
        fields = tuple(field_from_dict(field) for field in values["fields"])
        return cls(
            LabelRole(**values["label"]),
            fields,
            tuple(DenseCode.from_dict(field) for field in values["dense"]),
            values["rows"],
            np.array(values["counts"], dtype=np.int64),
            np.array(values["mass"], dtype=np.float64),
            tuple(CrossedCode.from_dict(cross, fields) for cross in values.get("crosses", ())),
        )

    def save(self, path: Path) -> None:
        """Write the encoder as JSON under a temporary name, synced, then renamed to `path`."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(self.to_dict(), file, ensure_ascii=False, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an encoder that `save` wrote."""
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))


def _cells(frame: pd.DataFrame, column: str, rows: NDArray[np.int64] | None) -> Cells:
    cells = Cells.of(frame, column)
    return cells if rows is None else cells.take(rows)


def _gather(
    tables: Sequence[tuple[NDArray[Any], NDArray[Any] | None]], rows: int, dtype: type[np.int32] | type[np.float32]
) -> NDArray[Any]:
    """Return (rows, len(tables)): in column j, table j at each row's code; 1 where a table is None.

    A block of rows is gathered column by column, each in one piece of memory, and then turned: twice as fast as writing
    to the columns of a row-major array, which are far apart. Codes are in range, so "clip" only saves the check.
    """
    out = np.empty((rows, len(tables)), dtype=dtype)
    columns = np.ones((len(tables), _BLOCK), dtype=dtype)
    for start in range(0, rows, _BLOCK):
        size = min(_BLOCK, rows - start)
        for column, (codes, table) in zip(columns, tables, strict=True):
            if table is not None:
                np.take(table, codes[start : start + size], out=column[:size], mode="clip")
        out[start : start + size] = columns[:, :size].T
    return out


def _require_embedded(fields: Sequence[FieldCode], subject: str) -> None:
    if not fields:
        remedy = "Give at least one a kind with an embedding, such as piecewise."
        raise SchemaError(subject, [Problem("all fields are dense, and a dense field has no embedding", remedy)])


def _require_names(names: Sequence[str], subject: str) -> None:
    """Check that what the encoder makes of a column is not called like another column."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    remedy = "One is a column, one is made of another column: rename the column, or give it the kind ignore."
    if twice:
        raise SchemaError(subject, [Problem(f"two fields are called `{name}`", remedy) for name in twice])


def _require_columns(frame: pd.DataFrame, columns: Sequence[str], subject: str) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        named = ", ".join(f"`{column}`" for column in missing)
        what = "column is" if len(missing) == 1 else f"{len(missing)} columns are"
        remedy = "Add them; cells may be empty where a value is not known."
        raise SchemaError(subject, [Problem(f"{what} missing: {named}", remedy)])


def _require_valid_numbers(schema: Schema, all_cells: Mapping[str, Cells], subject: str) -> None:
    problems = [p for role in schema.used if role.kind in NUMBER_KINDS for p in number_problems(all_cells[role.column])]
    if problems:
        raise SchemaError(subject, problems)
