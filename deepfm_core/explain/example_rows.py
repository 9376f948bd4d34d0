"""Example rows: their cells as a frame, distances between rows, and values that a model has not seen in training.

Use `distances` to find the nearest row with the other label, `differing` for the fields in which two rows differ, and
`unfamiliar` for unseen values and the known ones that resemble them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.vocabulary import SPECIALS
from deepfm_core.schema.column import numbers_in
from deepfm_core.schema.schema import FieldRole, Schema
from deepfm_core.tables.table import is_missing

ROW = "row"
_OWN = " (cell)"


def example_cells_frame(cells: pd.DataFrame, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Put the column `row` before the table's columns; if the table has a `row` itself, that becomes `row (cell)`."""
    own = cells.astype(object).reset_index(drop=True)
    own.columns = [
        f"{name}{_OWN}" if re.fullmatch(r"row( \(cell\))*", name) else name for name in map(str, own.columns)
    ]
    return pd.concat([pd.Series(rows, name=ROW), own], axis=1)  # `insert` warns where there are many columns


def own_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table's own columns of the frame `example_cells`, under their own names."""
    own = frame.drop(columns=ROW)
    own.columns = [re.sub(r"^(row(?: \(cell\))*) \(cell\)$", r"\1", name) for name in map(str, own.columns)]
    return own


def derived_values(encoder: Encoder, cells: Mapping[str, str]) -> dict[str, str]:
    """Give the values of a row's fields that are no column of the table, such as `timestamp hour`, by field.

    Args:
        encoder: the encoder of the run.
        cells: the row's cells as text, by column.

    Raises:
        SchemaError: a cell cannot be used.
    """
    derived = [field for field in encoder.layout.fields if field.name not in cells]
    if not derived:
        return {}
    ids = encoder.encode(pd.DataFrame([dict(cells)]).astype("category"), subject="A row").ids[0]
    return {
        field.name: str(field.features[int(ids[field.first_slot]) - field.offset]).removeprefix(f"{field.name} = ")
        for field in derived
    }


# Distances between rows, cell by cell, and values that a model has not seen in training.


def distances(cells: pd.DataFrame, position: int, schema: Schema) -> NDArray[np.float64]:
    """Return the Gower distance (1971) of each of N rows from one of them: the mean over used fields, 0 … 1.

    By field, the distance of two cells is

    - of texts: 0 if they are equal, 1 if not;
    - of numbers: their difference ÷ the range between the field's 1% and 99% quantiles, at most 1;
    - of multi-valued cells: 1 − shared ÷ all values (Jaccard);
    - of a missing cell: 0 from a missing one, 1 from any other.

    Args:
        cells: N rows of the table's columns, as text.
        position: the number of the row to measure from.
        schema: the fields and their kinds.

    Returns:
        (N,), 0 for the row itself.
    """
    parts = [_field_distances(cells[role.column], position, role) for role in schema.used]
    return np.mean(parts, axis=0) if parts else np.zeros(len(cells))


def differing(cells: pd.DataFrame, position: int, other: int, schema: Schema) -> list[str]:
    """Return the used fields in which two rows differ, in the schema's order."""
    return [role.column for role in schema.used if cells[role.column].iloc[position] != cells[role.column].iloc[other]]


def by_weight(columns: Sequence[str], terms: pd.DataFrame) -> list[str]:
    """Order columns by how much the terms of their fields move the logits of some rows, the most first.

    Args:
        columns: names of columns; those of equal weight keep their order.
        terms: some rows of the frame `example_terms`: `field_a`, `field_b`, `value`.
    """
    size = terms["value"].abs()
    weights: dict[str, float] = {}
    for side in ("field_a", "field_b"):  # a pair counts for both of its fields
        for field, weight in size.groupby(terms[side], observed=True).sum().items():
            weights[str(field)] = weights.get(str(field), 0.0) + float(weight)
    derived = [field for field in weights if field not in set(columns)]

    def of_column(column: str) -> float:
        own = [field for field in derived if field.startswith(f"{column} ")]  # such as the hour of a timestamp
        return weights.get(column, sum(weights[field] for field in own))

    return sorted(columns, key=of_column, reverse=True)


def _field_distances(column: pd.Series[str], position: int, role: FieldRole) -> NDArray[np.float64]:
    texts = column.astype(object).fillna("").astype(str).str.strip()
    missing = np.array([is_missing(text) for text in texts], dtype=bool)
    if role.kind.is_number:
        numbers = numbers_in(texts, role.notation)
        missing, apart = np.isnan(numbers), _number_distances(numbers, position)
    elif role.separator:
        own = _values(texts.iloc[position], role.separator)
        apart = np.array([_jaccard(own, _values(text, role.separator)) for text in texts])
    else:
        apart = (texts != texts.iloc[position]).to_numpy().astype(np.float64)
    apart[missing] = 1.0
    if missing[position]:
        apart = np.where(missing, 0.0, 1.0)
    return apart


def _number_distances(numbers: NDArray[np.float64], position: int) -> NDArray[np.float64]:
    low, high = np.nanquantile(numbers, [0.01, 0.99]) if not np.isnan(numbers).all() else (0.0, 1.0)  # no outliers
    apart = np.abs(numbers - numbers[position]) / max(float(high - low), 1e-12)
    apart = np.where(numbers == numbers[position], 0.0, apart)  # two infinities, whose difference is NaN
    return np.asarray(np.clip(np.nan_to_num(apart, nan=1.0), 0.0, 1.0))


def _values(text: str, separator: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(separator) if part.strip())


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return 1.0 - len(a & b) / len(a | b) if a | b else 0.0


# Values that the vocabulary lacks, and the known values that resemble them.

_COMPARED = 20_000
"""Known values that an unseen one is compared with, the most frequent ones."""
_WORK = 2_000_000
"""Pairs of letters that these comparisons may look at: long values are compared with fewer known ones."""


@dataclass(frozen=True)
class Unfamiliar:
    """A value without a feature of its own.

    Attributes:
        value: the text of the cell.
        feature: what it counts as, `unseen` or `rare`.
        nearest: the value of the vocabulary that is spelled most like it; None if none is close.
    """

    value: str
    feature: str
    nearest: str | None


def unfamiliar(encoder: Encoder, column: str, values: list[str]) -> list[Unfamiliar]:
    """Return the values of a column with a vocabulary that have no feature of their own."""
    found = []
    for field in encoder.fields:
        if field.column != column or field.vocabulary is None:
            continue
        given = list(dict.fromkeys(filter(None, values)))
        ids = field.vocabulary.ids(pa.array(given, pa.large_string()), np.zeros(len(given), dtype=bool))
        for value, feature in zip(given, ids.tolist(), strict=True):
            if feature < len(SPECIALS):
                near = _nearest(value, field.vocabulary.values)
                found.append(Unfamiliar(value, SPECIALS[feature], near))
    return found


def _nearest(value: str, known: Sequence[str]) -> str | None:
    most = min(_COMPARED, _WORK // max(len(value), 1) ** 2)
    by_case = {text.casefold(): text for text in reversed(known[:most])}
    close = get_close_matches(value.casefold(), list(by_case), n=1, cutoff=0.5)
    return by_case[close[0]] if close else None
