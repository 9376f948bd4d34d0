"""Fields made of numbers: numeric, piecewise linear, bucketised and dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfm_core.encoding.field import Code, FieldSettings, encodes
from deepfm_core.encoding.vocabulary import MISSING, Vocabulary
from deepfm_core.errors import Problem
from deepfm_core.schema.column import Cells, number_problems
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.knots import Scale, blend, bucket_edges, bucket_names, piecewise_knots
from deepfm_core.schema.number_parsing import number_names
from deepfm_core.schema.schema import FieldRole


class NumberCode:
    """What the kinds made of numbers share."""

    unseen: ClassVar[int | None] = None
    vocabulary: ClassVar[Vocabulary | None] = None
    column: str

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column

    def single(self, cells: Cells, buckets: int) -> BucketisedCode:
        """Cut the training rows' values into buckets, a feature each."""
        return BucketisedCode.fit(cells, buckets)

    def problems(self, cells: Cells) -> list[Problem]:
        """Name the cells that are not finite numbers."""
        return number_problems(cells)


@encodes
@dataclass(frozen=True)
class NumericCode(NumberCode):
    """One feature a row whose x is the scaled value; a missing value is a feature of its own with x = 1."""

    kind: ClassVar[Kind] = Kind.NUMERIC
    slots: ClassVar[int] = 1
    features: ClassVar[tuple[str, ...]] = ("value", MISSING)
    column: str
    scale: Scale

    @classmethod
    def of_role(cls, cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[NumericCode]:
        """Fit the one field that a column becomes."""
        return [cls.fit(cells)]

    @classmethod
    def fit(cls, cells: Cells) -> NumericCode:
        """Fit the scale to the training rows."""
        return cls(cells.name, Scale.of(cells.numbers.values, cells.counts))

    def code(self, cells: Cells) -> Code:
        """Encode the D distinct texts of `cells`."""
        missing = np.isnan(cells.numbers.values)
        weights = np.where(missing, np.float32(1), self.scale.apply(cells.numbers.values))
        return missing.astype(np.int32)[:, None], weights[:, None]

    def to_dict(self) -> dict[str, Any]:
        """Give the field code as plain values for JSON."""
        return {"kind": self.kind.value, "column": self.column, "scale": vars(self.scale)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NumericCode:
        """Rebuild from `to_dict`."""
        return cls(values["column"], Scale(**values["scale"]))


@encodes
@dataclass(frozen=True)
class PiecewiseCode(NumberCode):
    """Two features a row, the knots to the left and right of the value, with x = 1-t and t.

    Each knot has an embedding, so first-order term and pairs are piecewise linear in the value.
    """

    kind: ClassVar[Kind] = Kind.PIECEWISE
    slots: ClassVar[int] = 2
    column: str
    knots: tuple[float, ...]

    @classmethod
    def of_role(cls, cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[PiecewiseCode]:
        """Fit the one field that a column becomes."""
        return [cls.fit(cells, settings.knots)]

    @classmethod
    def fit(cls, cells: Cells, knots: int) -> PiecewiseCode:
        """Place the knots by the values of the training rows."""
        return cls(cells.name, tuple(piecewise_knots(cells.numbers.values, cells.counts, knots).tolist()))

    @property
    def features(self) -> tuple[str, ...]:
        """Missing, then the knots in ascending order."""
        return (MISSING, *(f"{self.column} = {name}" for name in number_names(self.knots)))

    def code(self, cells: Cells) -> Code:
        """Encode the D distinct texts of `cells`."""
        values = cells.numbers.values
        left, t = blend(values, np.array(self.knots))
        right = np.minimum(left + 1, len(self.knots) - 1)
        ids = np.stack([left + 1, right + 1], axis=1).astype(np.int32)
        weights = np.stack([1 - t, t], axis=1)
        ids[np.isnan(values)] = self.features.index(MISSING)
        return ids, weights

    def to_dict(self) -> dict[str, Any]:
        """Give the field code as plain values for JSON."""
        return {"kind": self.kind.value, "column": self.column, "knots": list(self.knots)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PiecewiseCode:
        """Rebuild from `to_dict`."""
        return cls(values["column"], tuple(values["knots"]))


@encodes
@dataclass(frozen=True)
class BucketisedCode(NumberCode):
    """One feature a row: the quantile bucket the value falls into."""

    kind: ClassVar[Kind] = Kind.BUCKETISED
    slots: ClassVar[int] = 1
    column: str
    edges: tuple[float, ...]

    @classmethod
    def of_role(cls, cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[BucketisedCode]:
        """Fit the one field that a column becomes."""
        return [cls.fit(cells, settings.buckets)]

    @classmethod
    def fit(cls, cells: Cells, buckets: int) -> BucketisedCode:
        """Cut the training rows' values into quantile buckets."""
        return cls(cells.name, tuple(bucket_edges(cells.numbers.values, cells.counts, buckets).tolist()))

    @property
    def features(self) -> tuple[str, ...]:
        """Missing, then the buckets in ascending order."""
        return (MISSING, *bucket_names(self.edges))

    def code(self, cells: Cells) -> Code:
        """Encode the D distinct texts of `cells`."""
        values = cells.numbers.values
        bucket = np.maximum(np.searchsorted(np.array(self.edges), values, side="right"), 1)
        return np.where(np.isnan(values), 0, bucket).astype(np.int32)[:, None], None

    def single(self, cells: Cells, buckets: int) -> BucketisedCode:
        """The field itself puts each row at one feature."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Give the field code as plain values for JSON."""
        return {"kind": self.kind.value, "column": self.column, "edges": list(self.edges)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BucketisedCode:
        """Rebuild from `to_dict`."""
        return cls(values["column"], tuple(values["edges"]))


@encodes
@dataclass(frozen=True)
class DenseCode:
    """A scaled value without embedding; missing is 0, the training mean.

    Where the training part has missing values a second dense field says, by 0 or 1, whether the value is missing.
    """

    kind: ClassVar[Kind] = Kind.DENSE
    column: str
    scale: Scale
    flag: bool

    @classmethod
    def of_role(cls, cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[DenseCode]:
        """Fit the one field that a column becomes."""
        return [cls.fit(cells)]

    @classmethod
    def fit(cls, cells: Cells) -> DenseCode:
        """Fit the scale to the training rows."""
        flag = bool(cells.counts[cells.missing].sum())
        return cls(cells.name, Scale.of(cells.numbers.values, cells.counts), flag)

    @property
    def names(self) -> tuple[str, ...]:
        """The dense field, and the one that says whether it is missing."""
        return (self.column, f"{self.column} {MISSING}") if self.flag else (self.column,)

    def code(self, cells: Cells) -> NDArray[np.float32]:
        """Return the (D, 1 or 2) values of the D distinct texts of `cells`."""
        values = self.scale.apply(cells.numbers.values)
        if not self.flag:
            return values[:, None]
        return np.stack([values, cells.missing.astype(np.float32)], axis=1)

    def problems(self, cells: Cells) -> list[Problem]:
        """Name the cells that are not finite numbers."""
        return number_problems(cells)

    def to_dict(self) -> dict[str, Any]:
        """Give the dense code as plain values for JSON."""
        return {"kind": self.kind.value, "column": self.column, "scale": vars(self.scale), "flag": self.flag}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DenseCode:
        """Rebuild from `to_dict`."""
        return cls(values["column"], Scale(**values["scale"]), values["flag"])
