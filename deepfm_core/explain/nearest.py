"""Rows that are alike, cell by cell: the nearest real row with the other outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from deepfm_core.encoding.categorical import CategoricalCode, MultiValuedCode
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.vocabulary import SPECIALS
from deepfm_core.schema.number_parsing import parse_numbers
from deepfm_core.schema.schema import NUMBER_KINDS, FieldRole, Schema
from deepfm_core.tables.table import is_missing


def distances(cells: pd.DataFrame, position: int, schema: Schema) -> NDArray[np.float64]:
    """Measure how far each of N rows is from one of them: the mean over the used fields of a distance from 0 to 1.

    Two texts are 0 apart if equal and 1 if not; two numbers by their difference ÷ the field's range between its 1% and
    99% quantiles, at most 1; two multi-valued cells by 1 − shared ÷ all values (Jaccard); a missing cell is 1 from all
    but a missing one (Gower 1971).

    Args:
        cells: N rows of the table's columns, as text.
        position: which row to measure from.
        schema: names the fields and their kinds.

    Returns:
        (N,), 0 for the row itself.
    """
    parts = [_field_distances(cells[role.column], position, role) for role in schema.used]
    return np.mean(parts, axis=0) if parts else np.zeros(len(cells))


def differing(cells: pd.DataFrame, position: int, other: int, schema: Schema) -> list[str]:
    """Name the used fields in which two rows differ, in the schema's order."""
    return [role.column for role in schema.used if cells[role.column].iloc[position] != cells[role.column].iloc[other]]


def _field_distances(column: pd.Series[str], position: int, role: FieldRole) -> NDArray[np.float64]:
    texts = column.astype(object).fillna("").astype(str).str.strip()
    missing = np.array([is_missing(text) for text in texts], dtype=bool)
    if role.kind in NUMBER_KINDS:
        apart = _number_distances(texts, missing, position)
    elif role.separator:
        own = _values(texts.iloc[position], role.separator)
        apart = np.array([_jaccard(own, _values(text, role.separator)) for text in texts])
    else:
        apart = (texts != texts.iloc[position]).to_numpy().astype(np.float64)
    apart[missing] = 1.0
    if missing[position]:
        apart = np.where(missing, 0.0, 1.0)
    return apart


def _number_distances(texts: pd.Series[str], missing: NDArray[np.bool_], position: int) -> NDArray[np.float64]:
    numbers = parse_numbers(pa.array(texts.tolist(), pa.string()), missing).values
    low, high = np.nanquantile(numbers, [0.01, 0.99]) if not np.isnan(numbers).all() else (0.0, 1.0)
    apart = np.abs(numbers - numbers[position]) / max(float(high - low), 1e-12)
    apart = np.where(numbers == numbers[position], 0.0, apart)
    return np.asarray(np.clip(np.nan_to_num(apart, nan=1.0), 0.0, 1.0))


def _values(text: str, separator: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(separator) if part.strip())


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return 1.0 - len(a & b) / len(a | b) if a | b else 0.0


# What a model has not met in training: values that its vocabulary lacks, and the seen ones nearest to them.

_COMPARED = 20_000
"""Values compared with an unseen one, the most frequent first."""


@dataclass(frozen=True)
class Unfamiliar:
    """A value without a feature of its own.

    Attributes:
        value: as given.
        feature: what it counts as, `unseen` or `rare`.
        nearest: the value of the vocabulary that reads most like it; None where none does.
    """

    value: str
    feature: str
    nearest: str | None


def unfamiliar(encoder: Encoder, column: str, values: list[str]) -> list[Unfamiliar]:
    """List those of `values`, single values of a categorical or multi-valued column, that the training rows lacked."""
    found = []
    for field in encoder.fields:
        if field.column != column or not isinstance(field, CategoricalCode | MultiValuedCode):
            continue
        given = list(dict.fromkeys(filter(None, values)))
        ids = field.vocabulary.ids(pa.array(given, pa.large_string()), np.zeros(len(given), dtype=bool))
        for value, feature in zip(given, ids.tolist(), strict=True):
            if feature < len(SPECIALS):
                near = _nearest(value, field.vocabulary.values)
                found.append(Unfamiliar(value, SPECIALS[feature], near))
    return found


def _nearest(value: str, known: Sequence[str]) -> str | None:
    by_case = {text.casefold(): text for text in reversed(known[:_COMPARED])}
    close = get_close_matches(value.casefold(), list(by_case), n=1, cutoff=0.5)
    return by_case[close[0]] if close else None
