"""What the classifier is given besides a frame: labels, kinds of columns, a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
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
        SpecError: they are not named by column, or there is no such kind.
    """
    if not isinstance(named, Mapping | None):
        raise SpecError(f"Kinds is {named!r}. Give a kind by column name, such as {{'hour': 'categorical'}}.")
    known = {kind.value for kind in Kind}
    for column, kind in (named or {}).items():
        if kind not in known:
            raise SpecError(f"Kind of column `{column}` is {kind!r}. Use one of {', '.join(sorted(known))}.")
    return {str(column): Kind(kind) for column, kind in (named or {}).items()}


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Turn scikit-learn's random state into a seed of a run.

    Raises:
        SpecError: it is none.
    """
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        raise SpecError(f"Random state is {random_state!r}. Use a whole number, a RandomState or None.") from None


WHOLE = ("embedding_size", "epochs", "patience", "batch_size", "min_count")
REAL = ("dropout", "l2", "learning_rate", "validation_fraction")
"""Parameters of the classifier that are numbers; whether one is in range is for the run's spec to say."""


def require_kinds_of_values(parameters: Mapping[str, Any]) -> None:
    """Check that the classifier's parameters are numbers, flags and lists where they have to be; None is the preset's.

    Raises:
        SpecError: one is something else.
    """
    for names, kind, remedy in (
        (WHOLE, Integral, "a whole number"),
        (REAL, Real, "a number"),
        (("batch_norm",), bool | np.bool_, "True or False"),
    ):
        for name in names:
            value = parameters[name]
            flag = kind in (Integral, Real) and isinstance(value, bool)
            preset = value is None and name not in ("min_count", "validation_fraction")
            if not preset and (flag or not isinstance(value, kind)):
                raise SpecError(f"{name} is {value!r}. Use {remedy}.")
    layers, crosses = parameters["layers"], parameters["crosses"]
    if layers is not None and not (_listed(layers) and all(isinstance(units, Integral) for units in layers)):
        raise SpecError(f"layers is {layers!r}. Use a list of whole numbers, such as (64, 32).")
    if crosses is not None and not _listed(crosses):
        raise SpecError(f"crosses is {crosses!r}. Use a list of pairs of columns, such as [('device', 'hour')].")


def _listed(value: object) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)
