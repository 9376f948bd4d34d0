"""What every kind of field gives when it is fitted, and which class fits which kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfm_core.encoding.vocabulary import Vocabulary
from deepfm_core.errors import Problem
from deepfm_core.schema.column import Cells
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole

Code = tuple[NDArray[np.int32], NDArray[np.float32] | None]
"""For D distinct texts: (D, slots) ids within the field's block, and (D, slots) weights or None where every x is 1."""


@dataclass(frozen=True)
class FieldSettings:
    """What the fitting of fields depends on besides their cells.

    Attributes:
        min_count: values of a vocabulary in fewer training rows share the feature "rare".
        knots: about how many knots a piecewise field gets.
        buckets: about how many buckets a bucketised field gets.
        average: whether the n values of a multi-valued cell have x = 1/n each rather than 1.
    """

    min_count: int
    knots: int
    buckets: int
    average: bool


class FittedField(Protocol):
    """What embedded and dense fields share: a kind's class makes them of a column, and writes and reads them."""

    kind: ClassVar[Kind]

    @classmethod
    def of_role(cls, cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[Any]:
        """Fit the field or fields that a column of the training rows becomes.

        Raises:
            SchemaError: the cells are not what the kind asks for; `subject` is the table's name.
        """

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Any:
        """Rebuild from `to_dict`."""

    @property
    def column(self) -> str:
        """The table's column."""

    def problems(self, cells: Cells) -> list[Problem]:
        """Name the cells that cannot stand in this field."""

    def to_dict(self) -> dict[str, Any]:
        """Give the field as plain values for JSON."""


class FieldCode(FittedField, Protocol):
    """How one embedded field is encoded."""

    @property
    def name(self) -> str:
        """The field's name."""

    @property
    def slots(self) -> int:
        """Feature ids a row has for this field."""

    @property
    def features(self) -> Sequence[str]:
        """The name of each feature of the block."""

    @property
    def unseen(self) -> int | None:
        """The feature for values the training part did not hold."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The values that the training rows hold, where features stand for such; None where they do not."""

    def code(self, cells: Cells) -> Code:
        """Encode the D distinct texts of `cells`."""

    def single(self, cells: Cells, buckets: int) -> FieldCode | None:
        """Return a code that gives each row one feature, for crossing; None if this field has no such code.

        Args:
            cells: the column's training rows.
            buckets: about how many buckets a number is cut into.
        """


class DenseFieldCode(FittedField, Protocol):
    """How one field without embedding is encoded."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each number that a row has for this field."""

    def code(self, cells: Cells) -> NDArray[np.float32]:
        """Return the (D, names) numbers of the D distinct texts of `cells`."""


CLASSES: dict[Kind, type[FittedField]] = {}
"""The class that fits and encodes columns of each kind, as `encodes` has put it there."""

Class = TypeVar("Class", bound=type[FittedField])


def encodes(fitted: Class) -> Class:
    """Register the class for its kind."""
    CLASSES[fitted.kind] = fitted
    return fitted


# From a column's role and its training rows to its fitted field or fields, whatever its kind.


def field_from_dict(values: dict[str, Any]) -> Any:
    """Rebuild a field from its `to_dict`: an embedded or a dense one, as its kind is."""
    return CLASSES[Kind(values["kind"])].from_dict(values)


def fit_role(cells: Cells, role: FieldRole, settings: FieldSettings, subject: str) -> Sequence[Any]:
    """Return the embedded field or fields, or the dense one, that a column of the training rows becomes.

    Raises:
        SchemaError: the cells are not what the kind asks for, such as points in time of one form.
    """
    return CLASSES[role.kind].of_role(cells, role, settings, subject)


def tally(field: FieldCode, code: Code, cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return how many training rows each feature of the field has x ≠ 0 in, and the sum of its x.

    Args:
        field: the fitted field.
        code: of the distinct texts of `cells`.
        cells: of the training rows.
    """
    ids, weights = code
    size = len(field.features)
    rows = np.repeat(cells.counts, ids.shape[1])
    flat = ids.ravel()
    if weights is None:
        counts = np.bincount(flat, weights=rows, minlength=size)
        return counts.astype(np.int64), counts.astype(np.float64)
    x = weights.ravel()
    shares = rows * x.astype(np.float64)
    # Sums of floats depend on their order, and the order of the distinct texts must not matter.
    order = np.argsort(shares, kind="stable")
    mass = np.bincount(flat[order], weights=shares[order], minlength=size)
    counts = np.bincount(flat, weights=rows * (x != 0), minlength=size)
    return counts.astype(np.int64), mass.astype(np.float64)
