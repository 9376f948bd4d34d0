"""From a column's role and its training rows to its fitted field or fields, whatever its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfm_core.encoding import categorical, numeric
from deepfm_core.encoding.field import CLASSES, Code, FieldCode, FieldSettings
from deepfm_core.schema.column import Cells
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import FieldRole

MODULES = (categorical, numeric)
"""The modules whose classes encode the kinds; each class has registered itself as its module was imported."""


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
