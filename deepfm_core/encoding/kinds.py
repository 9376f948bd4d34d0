"""From a column's role and its training rows to its fitted field or fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfm_core.encoding.categorical import CategoricalCode, MultiValuedCode, TimeCode
from deepfm_core.encoding.field import Code, FieldCode
from deepfm_core.encoding.numeric import BucketisedCode, DenseCode, NumericCode, PiecewiseCode
from deepfm_core.encoding.vocabulary import likely_separator
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.schema import FieldRole, Kind
from deepfm_core.schema.timestamps import form_of

MAX_SLOTS = 64
"""Most values a cell of a multi-valued field can have; further ones, the least frequent, are left out."""

_CODES: dict[str, Any] = {
    code.kind.value: code
    for code in (CategoricalCode, MultiValuedCode, TimeCode, NumericCode, PiecewiseCode, BucketisedCode)
}


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


def field_from_dict(values: dict[str, Any]) -> FieldCode:
    """Rebuild a field from its `to_dict`."""
    code: FieldCode = _CODES[values["kind"]].from_dict(values)
    return code


def fit_role(
    cells: Cells, role: FieldRole, settings: FieldSettings, subject: str
) -> Sequence[FieldCode] | Sequence[DenseCode]:
    """Return the embedded field or fields, or the dense one, that a column of the training rows becomes.

    Raises:
        SchemaError: the cells of a timestamp are not all points in time of one form.
    """
    match role.kind:
        case Kind.CATEGORICAL:
            return [CategoricalCode.fit(cells, settings.min_count)]
        case Kind.MULTI_VALUED:
            separator = role.separator or likely_separator(cells.held_texts)
            return [MultiValuedCode.fit(cells, separator, settings.min_count, MAX_SLOTS, settings.average)]
        case Kind.NUMERIC:
            return [NumericCode.fit(cells)]
        case Kind.PIECEWISE:
            return [PiecewiseCode.fit(cells, settings.knots)]
        case Kind.BUCKETISED:
            return [BucketisedCode.fit(cells, settings.buckets)]
        case Kind.DENSE:
            return [DenseCode.fit(cells)]
        case Kind.TIMESTAMP:
            return list(_time_fields(cells, subject))
        case _:
            raise AssertionError(role.kind)


def _time_fields(cells: Cells, subject: str) -> list[TimeCode]:
    """Return hour and weekday, each only where the training rows have more than one."""
    form = form_of(cells.held_texts, cells.name, sure=True)
    if form is None:
        remedy = "Write all cells in one form, such as 2019-11-24 13:05, or ignore the field."
        message = "the cells are not points in time, or not all in one form"
        raise SchemaError(subject, [Problem(message, remedy, column=cells.name)])
    moments = cells.moments(form[0])
    parts = {"hour": moments.hours[cells.held], "weekday": moments.weekdays[cells.held]}
    varied = [part for part, values in parts.items() if len(np.unique(values)) > 1]
    return [TimeCode(cells.name, form[0], part) for part in varied or ["weekday"]]


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
