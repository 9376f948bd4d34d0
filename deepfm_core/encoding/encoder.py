"""The encoder: fitted on the training rows only, it turns the cells of a frame into what the model reads.

It is kept as JSON whose long texts and arrays stand in an Arrow file beside it.
"""

from __future__ import annotations

import json
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from deepfm_core._files import readable, sha256, whole
from deepfm_core._parallel import in_parallel
from deepfm_core.encoding import categorical, numeric
from deepfm_core.encoding.categorical import CrossedCode
from deepfm_core.encoding.encoded_table import CrossedField, EncodedField, EncodedTable, Layout, gather
from deepfm_core.encoding.field import Code, DenseFieldCode, FieldCode, FieldSettings, field_from_dict, fit_role, tally
from deepfm_core.encoding.summaries import ColumnSummary
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells, number_problems
from deepfm_core.schema.compatibility import absent
from deepfm_core.schema.knots import default_knots
from deepfm_core.schema.labels import labels_of
from deepfm_core.schema.number_parsing import PLAIN, Notation
from deepfm_core.schema.schema import Cross, FieldRole, LabelRole, Schema
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


# The encoder: fitted on the training rows only, it turns the cells of a frame into what the model reads.


MODULES = (categorical, numeric)
"""The modules whose classes encode the kinds. Importing them registers the classes (`encoding.field.encodes`)."""

# What the distinct texts of a column were encoded as last, so that the parts of one table encode them once.

_MOST_SLOTS = 2
"""Slots up to which codes are held: those of a multi-valued field may be larger than the table."""


class KnownCodes:
    """The codes of each field's distinct texts, as long as these are the same object in memory."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[weakref.ref[Any], Code]] = {}

    def code(self, field: FieldCode, cells: Cells) -> Code:
        """Encode the distinct texts of `cells`, or give what they were encoded as; nobody may write to that."""
        source, known = cells.source, self._known.get(field.name)
        if source is None or field.slots > _MOST_SLOTS:
            return field.code(cells)
        if known is None or known[0]() is not source:
            gone = partial(self._forget, field.name)
            known = self._known[field.name] = weakref.ref(source, gone), field.code(cells)
        return known[1]

    def _forget(self, name: str, source: weakref.ref[Any]) -> None:
        if name in self._known and self._known[name][0] is source:
            del self._known[name]

    def __reduce__(self) -> tuple[type[KnownCodes], tuple[()]]:
        return KnownCodes, ()  # in another process no texts are the same object


BUCKETS = 10
"""Buckets of a bucketised field unless said otherwise."""

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
        notations: how columns write numbers, where that is unusual.
        ranges: the least and the largest number that the training rows hold, by column; none from earlier versions.
        known: what it has encoded last.
    """

    label: LabelRole
    fields: tuple[FieldCode, ...]
    dense_fields: tuple[DenseFieldCode, ...]
    rows: int
    counts: NDArray[np.int64]
    mass: NDArray[np.float64]
    crosses: tuple[CrossedCode, ...] = ()
    notations: Mapping[str, Notation] = dataclass_field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = dataclass_field(default_factory=dict)
    known: KnownCodes = dataclass_field(default_factory=KnownCodes)

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
        all_cells = {role.column: Cells.of(frame, role.column).noted(role.notation) for role in schema.used}
        _require_valid_numbers(schema, all_cells, subject)
        if rows is not None:
            all_cells = {column: cells.take(rows) for column, cells in all_cells.items()}
        count = len(frame) if rows is None else len(rows)
        settings = FieldSettings(min_count, default_knots(count) if knots is None else knots, buckets, average)
        size = _distinct_in(all_cells)
        found = in_parallel(
            lambda role: fit_role(all_cells[role.column], role, settings, subject), schema.used, count, size
        )
        fields: list[FieldCode] = [code for codes in found for code in codes if code.kind.is_embedded]
        dense: list[DenseFieldCode] = [code for codes in found for code in codes if not code.kind.is_embedded]
        _require_embedded(fields, subject)
        _require_names([field.name for field in fields] + [name for code in dense for name in code.names], subject)
        known = KnownCodes()
        tallies = in_parallel(
            lambda field: tally(field, known.code(field, all_cells[field.column]), all_cells[field.column]),
            fields,
            count,
            size,
        )
        counts = np.concatenate([counts for counts, _ in tallies]) if tallies else np.zeros(0, dtype=np.int64)
        mass = np.concatenate([mass for _, mass in tallies]) if tallies else np.zeros(0)
        crossed = tuple(
            CrossedCode.fit(pair, fields, all_cells, min_count=min_count, buckets=buckets, subject=subject)
            for pair in crosses
        )
        ranges = {role.column: _range(all_cells[role.column]) for role in schema.used if role.kind.is_number}
        held = {column: ends for column, ends in ranges.items() if ends is not None}
        notations = _notations(schema)
        return cls(schema.label, tuple(fields), tuple(dense), count, counts, mass, crossed, notations, held, known)

    @classmethod
    def of_summaries(
        cls, schema: Schema, summaries: Mapping[str, ColumnSummary], rows: int, *, min_count: int, subject: str
    ) -> Self:
        """Fit an encoder to what was summed up of N training rows, by column; `counted` says the rest of them.

        Raises:
            SchemaError: as `fit` does.
        """
        settings = FieldSettings(min_count, default_knots(rows), BUCKETS, average=False)
        found = [code for role in schema.used for code in summaries[role.column].fit(settings)]
        fields = tuple(code for code in found if code.kind.is_embedded)
        dense = tuple(code for code in found if not code.kind.is_embedded)
        _require_embedded(fields, subject)
        _require_names([field.name for field in fields] + [name for code in dense for name in code.names], subject)
        size = sum(len(field.features) for field in fields)
        held = {column: ends for column, summary in summaries.items() if (ends := summary.ends) is not None}
        empty = np.zeros(size, np.int64), np.zeros(size)
        return cls(schema.label, fields, dense, rows, *empty, (), _notations(schema), held)

    def counted(self, counts: NDArray[np.int64], mass: NDArray[np.float64]) -> Self:
        """Return the encoder with what was counted (V,) while it encoded its training rows."""
        return replace(self, counts=counts, mass=mass)

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

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"notations": {}, "ranges": {}, **state})  # encoders pickled earlier have none

    def cells(self, frame: pd.DataFrame, column: str, rows: NDArray[np.int64] | None = None) -> Cells:
        """Return the cells of a column, those numbered `rows` or all, read as the training rows were."""
        cells = Cells.of(frame, column).noted(self.notations.get(column, PLAIN))
        return cells if rows is None else cells.take(rows)

    def require_columns(self, frame: pd.DataFrame, subject: str) -> None:
        """Check that a frame has the columns that the fields are made of.

        Raises:
            SchemaError: columns are missing; all of them are named.
        """
        _require_columns(frame, self.columns, subject)

    def encode(
        self, frame: pd.DataFrame, *, subject: str, rows: NDArray[np.int64] | None = None, judged: bool = False
    ) -> EncodedTable:
        """Encode N rows, those numbered `rows` of the frame or all, without looking at a label.

        Columns that are not fields do not matter.

        Args:
            judged: whether the frame is a piece of a table whose points in time were found right as a whole.

        Raises:
            SchemaError: columns are missing, or cells are not what their kind asks for; all of them are named.
        """
        self.require_columns(frame, subject)
        all_cells = {column: self.cells(frame, column, rows) for column in self.columns}
        count = len(frame) if rows is None else len(rows)
        asked = [field for field in self.fields if not (judged and field.kind.is_time)]
        problems = [p for field in asked for p in field.problems(all_cells[field.column])]
        problems += [p for field in self.dense_fields for p in field.problems(all_cells[field.column])]
        if problems:
            raise SchemaError(subject, list(dict.fromkeys(problems)))
        ids, weights, weighted = self._ids_and_weights(all_cells, count)
        dense, crosses = self._dense(all_cells, count), self._crosses(all_cells)
        return EncodedTable(self.layout, ids, weights, dense, None, crosses, weighted)

    def encode_with_labels(self, frame: pd.DataFrame, *, subject: str) -> EncodedTable:
        """Encode N rows and their labels.

        Raises:
            SchemaError: as `encode`, or a label is missing or neither of the label's two values.
        """
        labels = labels_of(frame, self.label, subject)
        return replace(self.encode(frame, subject=subject), labels=labels)

    def _ids_and_weights(
        self, all_cells: Mapping[str, Cells], rows: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32] | None, tuple[int, ...] | None]:
        id_tables, weight_tables = [], []
        weighted: list[int] = []
        size = _distinct_in(all_cells)
        codes = in_parallel(lambda field: self.known.code(field, all_cells[field.column]), self.fields, rows, size)
        for placed, (ids, weights) in zip(self.layout.fields, codes, strict=True):
            of_row = all_cells[placed.column].codes
            id_tables += [(of_row, column) for column in np.ascontiguousarray(ids.T) + np.int32(placed.offset)]
            if weights is not None:
                weight_tables += [(of_row, column) for column in np.ascontiguousarray(weights.T)]
                weighted += range(placed.first_slot, placed.first_slot + placed.slots)
        ids_out = gather(id_tables, rows, np.int32)
        if not weighted:
            return ids_out, None, None
        return ids_out, gather(weight_tables, rows, np.float32), tuple(weighted)

    def _dense(self, all_cells: Mapping[str, Cells], rows: int) -> NDArray[np.float32]:
        tables = [
            (all_cells[field.column].codes, column)
            for field in self.dense_fields
            for column in np.ascontiguousarray(field.code(all_cells[field.column]).T)
        ]
        return gather(tables, rows, np.float32)

    def _crosses(self, all_cells: Mapping[str, Cells]) -> NDArray[np.int32] | None:
        if not self.crosses:
            return None
        fields = zip(self.crosses, self.layout.crosses, strict=True)
        return np.stack([cross.code(all_cells) + np.int32(placed.offset) for cross, placed in fields], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Give the encoder as values for JSON, but for the texts of vocabularies and two arrays, held as they are."""
        return {
            "version": _VERSION,
            "label": vars(self.label),
            "fields": [field.to_dict() for field in self.fields],
            "dense": [field.to_dict() for field in self.dense_fields],
            "rows": self.rows,
            "counts": self.counts,
            "mass": self.mass,
            "crosses": [cross.to_dict() for cross in self.crosses],
            "notations": {column: notation.to_dict() for column, notation in self.notations.items()},
            "ranges": {column: list(ends) for column, ends in self.ranges.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild an encoder from `to_dict`; what does not fit together raises what Python happens to raise."""
        fields = tuple(field_from_dict(field) for field in values["fields"])
        size = sum(len(field.features) for field in fields)
        if not len(values["counts"]) == len(values["mass"]) == size:
            raise ValueError(f"its fields have {size:,} features, and its counts are of others")
        return cls(
            LabelRole(**values["label"]),
            fields,
            tuple(field_from_dict(field) for field in values["dense"]),
            values["rows"],
            np.array(values["counts"], dtype=np.int64),
            np.array(values["mass"], dtype=np.float64),
            tuple(CrossedCode.from_dict(cross, fields) for cross in values.get("crosses", ())),
            {column: Notation.from_dict(said) for column, said in values.get("notations", {}).items()},
            {column: (float(low), float(high)) for column, (low, high) in values.get("ranges", {}).items()},
        )

    def save(self, path: Path) -> None:
        """Write the encoder as JSON to `path`, and its long texts and arrays beside it (see `packed`)."""
        write_arrow_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an encoder that `save` wrote, or an earlier version as JSON alone.

        Raises:
            RunError: it is missing or damaged.
        """
        with readable(path):
            return cls.from_dict(read_arrow_json(path))


def _notations(schema: Schema) -> dict[str, Notation]:
    return {role.column: role.notation for role in schema.used if role.notation != PLAIN}


def _range(cells: Cells) -> tuple[float, float] | None:
    """Return the least and the largest number of the rows; None where there is none."""
    held = cells.numbers.values[cells.counts > 0]
    held = held[np.isfinite(held)]
    return (float(held.min()), float(held.max())) if len(held) else None


def _distinct_in(all_cells: Mapping[str, Cells]) -> Callable[[FieldCode | FieldRole], int]:
    """Return a function that counts the distinct texts of a field's or role's column, a measure of its work."""
    return lambda field: len(all_cells[field.column].texts)


def _require_embedded(fields: Sequence[FieldCode], subject: str) -> None:
    if not fields:
        remedy = "Give at least one a kind with an embedding, such as piecewise."
        raise SchemaError(subject, [Problem("all fields are dense, and a dense field has no embedding", remedy)])


def _require_names(names: Sequence[str], subject: str) -> None:
    """Check that no field made of a column has the name of another column."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    remedy = "One is a column, one is made of another column: rename the column, or give it the kind ignore."
    if twice:
        raise SchemaError(subject, [Problem(f"two fields are called `{name}`", remedy) for name in twice])


def _require_columns(frame: pd.DataFrame, columns: Sequence[str], subject: str) -> None:
    if problems := absent([column for column in columns if column not in frame.columns]):
        raise SchemaError(subject, problems)


def _require_valid_numbers(schema: Schema, all_cells: Mapping[str, Cells], subject: str) -> None:
    problems = [p for role in schema.used if role.kind.is_number for p in number_problems(all_cells[role.column])]
    if problems:
        raise SchemaError(subject, problems)
