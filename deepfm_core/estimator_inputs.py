"""What the classifier is given besides a frame: labels, kinds of columns, a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length

from deepfm_core.data.schema import Kind
from deepfm_core.errors import Problem, SchemaError, SpecError


def labels_of(y: ArrayLike, rows: int) -> NDArray[Any]:
    """Check labels and give them as an array (N,) of two classes.

    Raises:
        ValueError: they are not of two classes, or not one a row.
    """
    if y is None:
        raise ValueError("DeepFMClassifier requires y to be passed, but the target y is None.")
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    check_classification_targets(labels)
    check_consistent_length(labels, np.empty(rows))
    kind = type_of_target(labels, input_name="y", raise_unknown=True)
    if kind != "binary":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    if len(np.unique(labels)) < 2:
        problem = Problem("there is only one class", "Give rows of both classes.", value=str(labels[0]))
        raise SchemaError("y", [problem])
    return labels


def kinds_of(named: Mapping[str, str] | None) -> dict[str, Kind]:
    """Give the kind of each column that has one named.

    Raises:
        SpecError: there is no such kind.
    """
    known = {kind.value for kind in Kind}
    for column, kind in (named or {}).items():
        if kind not in known:
            raise SpecError(f"Kind of column `{column}` is {kind!r}. Use one of {', '.join(sorted(known))}.")
    return {str(column): Kind(kind) for column, kind in (named or {}).items()}


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Turn scikit-learn's random state into a seed of a run."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
