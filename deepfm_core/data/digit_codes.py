"""Whole numbers that might be codes: what is made of a column without a telling name, once the labels are asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deepfm_core.data.column_kinds import name_words, names_a_quantity
from deepfm_core.data.columns import Cells
from deepfm_core.data.number_order import CODES_SURE, MOST_LEVELS, order_evidence
from deepfm_core.data.number_patterns import evidence_beyond_patterns
from deepfm_core.data.schema import FieldRole, Kind

SPARSE_GRID = 3.0
"""Times as many numbers as occur that their range may hold for them to be taken for codes: prices leave most out."""
_SAYS_NOTHING = frozenset(("feature", "feat", "field", "col", "column", "var", "variable", "attr", "attribute"))
_SHORTEST_WORD = 3
_ADVICE = "make it categorical if they are codes"
_OTHERWISE = "make it piecewise if it is a quantity"


def checked_for_codes(role: FieldRole, cells: Cells, labels: NDArray[np.bool_]) -> FieldRole:
    """Make a column of whole numbers categorical where the labels say that its values differ but not by their order.

    A column named as a quantity, or with numbers that are not whole, is left as it is. Where the labels are not sure,
    where an effect that is smooth but for a pattern would explain them as well (see `number_patterns`), or where they
    say nothing of a column whose name says nothing either, the role is kept with advice.

    Args:
        role: what the column was taken to be.
        cells: its cells in the labelled rows.
        labels: (N,) of these rows.
    """
    if role.kind is not Kind.PIECEWISE or role.stray or names_a_quantity(name_words(role.column)):
        return role
    values, rows, clicks = _by_number(cells, labels)
    if not 0 < len(values) <= MOST_LEVELS or np.any(values != np.floor(values)):
        return role
    found = order_evidence(rows, clicks)
    there = [of_value[rows > 0] for of_value in (values, rows, clicks)]
    dense = values[0] >= -1 and values[-1] - values[0] < SPARSE_GRID * len(values)
    if found.codes and dense and evidence_beyond_patterns(*there) >= CODES_SURE:
        reason = f"{len(values):,} whole numbers whose order says nothing of the label: codes"
        missing = "".join(role.reason.partition("; ")[1:]) if role.missing and "missing" in role.reason else ""
        warning = f"taken for codes, since values differ and neighbours are no more alike than others: {_OTHERWISE}"
        return replace(role, kind=Kind.CATEGORICAL, reason=reason + missing, warning=_with(role.warning, warning))
    if found.codes or found.doubtful:
        said = f"whole numbers that might be codes, since their order says nothing of the label: {_ADVICE}"
        return replace(role, warning=_with(role.warning, said))
    if dense and values[0] in (0, 1) and found.unknown and _name_says_nothing(role.column):
        return replace(role, warning=_with(role.warning, f"whole numbers that might be codes: {_ADVICE}"))
    return role


def _by_number(
    cells: Cells, labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Give the distinct numbers in ascending order, and the rows and clicks of each."""
    of_text = cells.numbers.values
    values = np.unique(of_text[~np.isnan(of_text) & (cells.counts > 0)])
    of_row = of_text[cells.codes]
    known = ~np.isnan(of_row)
    place = np.searchsorted(values, of_row[known])
    rows, clicks = (np.bincount(place[chosen], minlength=len(values)) for chosen in (slice(None), labels[known]))
    return values, rows.astype(np.float64), clicks.astype(np.float64)


def _name_says_nothing(column: str) -> bool:
    words = name_words(column)
    return all(len(word) < _SHORTEST_WORD or word in _SAYS_NOTHING for word in words)


def _with(warning: str, said: str) -> str:
    return f"{warning}; {said}" if warning else said
