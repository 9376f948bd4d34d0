"""What scikit-learn passes on unchecked to the classifier: labels, kinds of columns, the seed, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length

from deepfm_core.errors import Problem, SchemaError, SpecError
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import LabelRole
from deepfm_core.spec.settings import SETTINGS
from deepfm_core.spec.value_kinds import Choice
from deepfm_core.tables.dataframe import table_from_frame
from deepfm_core.tables.table import Table

NUMBERS = frozenset("biuf")
"""Kinds of numpy's types whose values can be compared: truth values, whole numbers and floats."""


def labels_of(y: ArrayLike, rows: int) -> NDArray[Any]:
    """Check labels and return them as an array (N,) of two classes.

    Raises:
        ValueError: there are not two classes, or not one label per row.
    """
    labels = column_of(y, rows)
    check_classification_targets(labels)
    kind = type_of_target(labels, input_name="y", raise_unknown=True)
    if kind != "binary":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    if len(np.unique(labels)) < 2:
        problem = Problem("there is only one class", "Give rows of both classes.", value=str(labels[0]))
        raise SchemaError("y", [problem])
    return labels


def label_of_classes(classes: NDArray[Any], positive: str | None = None) -> LabelRole:
    """Make the role of a label of two classes, the second of which is positive; `positive` is how that was said."""
    first, second = as_table(classes).frame["y"].astype(str)
    return LabelRole("y", positive=second, negative=first, rule=positive or "")


def as_table(labels: NDArray[Any]) -> Table:
    """Make a table of the labels alone, in a column `y`."""
    return table_from_frame(pd.DataFrame({"y": labels}), "y")


def _labels(count: int) -> str:
    return "1 label is" if count == 1 else f"{count:,} labels are"


def column_of(y: ArrayLike | None, rows: int) -> NDArray[Any]:
    """Return the labels of N rows: (N,).

    Raises:
        ValueError: y is None, does not fit, or lacks labels.
    """
    if y is None:
        raise ValueError("DeepFMClassifier requires y to be passed, but the target y is None.")
    labels: NDArray[Any] = column_or_1d(_whole(y), warn=True)
    check_consistent_length(labels, np.empty(rows))
    return labels


def _whole(y: ArrayLike) -> ArrayLike:
    """Check that no label is missing, and give those of pandas' nullable types the type of their values.

    Raises:
        ValueError: labels are missing.
    """
    absent = int(np.sum(np.asarray(pd.isna(y))))  # type: ignore[arg-type]
    if absent:
        raise ValueError(
            f"Input y contains NaN: {_labels(absent)} missing, of {len(np.asarray(y)):,}. Leave these rows out: "
            "`known = pd.notna(y)`, then `fit(X[known], y[known])`."
        )
    dtype = getattr(y, "dtype", None)
    if not isinstance(dtype, pd.api.extensions.ExtensionDtype) or isinstance(dtype, pd.CategoricalDtype):
        return y
    values = np.asarray(pd.Series(y).tolist())
    return values.astype(object) if values.dtype.kind == "U" else values


def kinds_of(named: Mapping[str, str] | None) -> tuple[dict[str, Kind], dict[str, str]]:
    """Turn kinds by column name into `Kind`s, and the separators that stand behind them, as in `multi-valued:^`.

    Raises:
        SpecError: the argument is not a mapping, or a kind does not exist.
    """
    if not isinstance(named, Mapping | None):
        raise SpecError(f"Kinds is {named!r}. Use kinds by column name, such as {{'hour': 'categorical'}}.")
    known = {kind.value: kind for kind in Kind}
    kinds, separators = dict[str, Kind](), dict[str, str]()
    for column, said in (named or {}).items():
        kind, colon, separator = str(said).partition(":")
        if kind not in known or (colon and not (known[kind].is_several and separator)):
            raise SpecError(f"Kind of column `{column}` is {said!r}. Use one of {', '.join(sorted(known))}.")
        kinds[str(column)] = known[kind]
        if separator:
            separators[str(column)] = separator
    return kinds, separators


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Turn scikit-learn's random state into the seed of a run.

    Raises:
        SpecError: it is not a random state.
    """
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        raise SpecError(f"Random state is {random_state!r}. Use a whole number, a RandomState or None.") from None


def require_kinds_of_values(parameters: Mapping[str, Any]) -> None:
    """Check the types of the classifier's parameters; None takes the preset's setting.

    Raises:
        SpecError: a parameter has the wrong type.
    """
    for setting in SETTINGS:
        name = "validation_fraction" if setting.name == "valid" else setting.name
        if name not in parameters or isinstance(setting.values, Choice):
            continue  # whether there is such a name is for the run's spec to say
        value = parameters[name]
        preset = value is None and (not setting.usual or setting.home == "model")
        if not preset and not setting.values.is_one(value):
            raise SpecError(f"{name} is {value!r}. Use {setting.values.kind}.")
