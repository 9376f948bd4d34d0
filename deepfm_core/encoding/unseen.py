"""Cells that the training rows did not prepare for: values never seen, fields suddenly empty, numbers out of range.

Such cells are encoded as an average value or as missing, so the model answers, and only a word tells that it guesses.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtrc

from deepfm_core._words import percent
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.field import FieldCode
from deepfm_core.encoding.vocabulary import MISSING, SPECIALS, UNSEEN
from deepfm_core.schema.column import Cells
from deepfm_core.schema.number_parsing import number_names

_SPARE = 0.02
"""Share of the cells that may be new or missing beyond what the training rows suggest."""

_SURPRISING = 1e-4
"""Probability below which more such cells than expected are not put down to chance."""

_SHOWN = 3


def unseen_notes(encoder: Encoder, frame: pd.DataFrame, subject: str) -> list[str]:
    """Say which fields of a frame hold far more new, missing or outlying values than the training rows suggest.

    The share of new values to expect is that of the training rows whose value stands in no other (Good 1953).

    Args:
        encoder: fitted on the training rows.
        frame: N rows that it can encode.
        subject: the table's name.
    """
    notes = []
    for field, placed in zip(encoder.fields, encoder.layout.fields, strict=True):
        counts = encoder.counts[placed.offset : placed.offset + placed.size]
        cells = encoder.cells(frame, field.column)
        notes += [f"{subject}, field `{field.name}`: {said}" for said in _said(field, counts, encoder.rows, cells)]
    for column, ends in encoder.ranges.items():
        said = _beyond(encoder.cells(frame, column), *ends, encoder.rows)
        notes += [f"{subject}, field `{column}`: {said}"] if said else []
    return notes


def outside_shares(encoder: Encoder, frame: pd.DataFrame) -> dict[str, float]:
    """Give the share of rows whose number lies outside the range of the training rows, by column.

    Args:
        encoder: fitted on the training rows.
        frame: N rows that it can encode.
    """
    shares = {}
    for column, (low, high) in encoder.ranges.items():
        cells = encoder.cells(frame, column)
        values = np.nan_to_num(cells.numbers.values, nan=low)
        outside = int(cells.counts[(values < low) | (values > high)].sum())
        shares[column] = outside / max(len(cells), 1)
    return shares


def _beyond(cells: Cells, low: float, high: float, rows: int) -> str:
    """Say how many numbers lie outside the range of N training rows, where they are many or lie far outside."""
    values = np.nan_to_num(cells.numbers.values, nan=low)
    width = high - low if high > low else max(abs(high), 1.0)
    outside = (values < low) | (values > high)
    far = (values < low - width) | (values > high + width)
    known = int(cells.counts[~np.isnan(cells.numbers.values)].sum())
    expected = 2 / (rows + 1)  # of rows drawn alike, so many lie beyond either end
    many = _surprising(int(cells.counts[outside].sum()), known, expected)
    if not many and not _surprising(int(cells.counts[far].sum()), known, expected, spare=0.0):
        return ""
    found = outside if many else far
    lower, upper = number_names([low, high]) if high > low else number_names([low]) * 2
    where = "lie" if many else "lie far"
    return (
        f"{_share(int(cells.counts[found].sum()), known)} {where} outside {lower} to {upper}, the range of the "
        f"training rows, such as {_examples(cells, found)}. Check the unit and how the numbers are written."
    )


def _said(field: FieldCode, counts: NDArray[np.int64], rows: int, cells: Cells) -> Iterator[str]:
    missing = int(cells.counts[cells.missing].sum())
    known = len(cells) - missing
    usual = counts[list(field.features[: len(SPECIALS)]).index(MISSING)] / max(rows, 1)
    if _surprising(missing, len(cells), usual):
        yield (
            f"{_share(missing, len(cells))} have no value, in training {usual:.1%} had none. "
            "Check that the column was filled in."
        )
    if field.vocabulary is None:
        return
    new = _all_unseen(field, cells)
    unseen = int(cells.counts[new].sum())
    once = counts[len(SPECIALS) :] == 1
    if _surprising(unseen, known, float(once.sum()) / max(rows, 1)):
        yield (
            f"{_share(unseen, known)} hold values that training did not see, such as {_examples(cells, new)}. "
            "They count as an average value. Check how they are written: capitals, leading zeros, a trailing `.0`."
        )


def _all_unseen(field: FieldCode, cells: Cells) -> NDArray[np.bool_]:
    """Return (D,) whether no value of a distinct cell was seen in training."""
    ids, weights = field.code(cells)
    unused = np.zeros(ids.shape, dtype=bool) if weights is None else weights == 0
    return np.asarray((unused | (ids == SPECIALS.index(UNSEEN))).all(axis=1) & ~cells.missing)


def _surprising(cells: int, of: int, expected: float, spare: float = _SPARE) -> bool:
    """Say whether so many cells are too many to be chance, given the share that training suggests."""
    share = min(expected + spare, 1.0)
    return bool(cells) and cells > share * of and float(bdtrc(cells - 1, of, share)) < _SURPRISING


def _share(cells: int, of: int) -> str:
    return f"{percent(cells / of)} of the cells ({cells:,} of {of:,})"


def _examples(cells: Cells, new: NDArray[np.bool_]) -> str:
    places = np.flatnonzero(new & (cells.counts > 0))
    first = places[np.argsort(cells.first_rows[places])][:_SHOWN]
    return ", ".join(f"`{cells.texts[place].as_py()}`" for place in first.tolist())
