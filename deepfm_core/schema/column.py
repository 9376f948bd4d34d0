"""A column as its distinct texts and the one each row holds: everything costly is done once per distinct text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core.errors import Problem
from deepfm_core.schema.number_parsing import PLAIN, Notation, Numbers, has_decimal_comma, parse_numbers
from deepfm_core.schema.timestamps import Moments, parse_moments
from deepfm_core.tables.table import MISSING_TEXTS, Places, places_of

_MISSING = pa.array(sorted(MISSING_TEXTS))


def missing_texts(texts: pa.Array) -> NDArray[np.bool_]:
    """Say for each of D stripped texts whether it stands for a missing value; returns (D,)."""
    return np.asarray(pc.is_in(pc.ascii_lower(texts), value_set=_MISSING.cast(texts.type)))


def numbers_in(texts: pd.Series | pd.Index | Sequence[str], notation: Notation) -> NDArray[np.float64]:
    """Read N texts as numbers in a column's notation; returns (N,), NaN where there is no finite number."""
    given = pa.array(texts, type=pa.large_string())
    whole = given.combine_chunks() if isinstance(given, pa.ChunkedArray) else given
    stripped = pc.utf8_trim_whitespace(whole.fill_null(""))
    return parse_numbers(stripped, missing_texts(stripped), notation).values


@dataclass(frozen=True)
class Cells:
    """The N cells of a column over D distinct texts.

    Attributes:
        name: the column.
        texts: (D,) the distinct texts, stripped of white space; texts that differ only there stand more than once.
        codes: (N,) integers in 0 … D-1, the text of each row.
        rows: (N,) the number of each row in its table, or None where they are all rows of it.
        source: the categories of the frame's column, where they give all of the texts.
        trimmed: whether white space was stripped of a text.
        notation: how the column writes numbers, and what else in it means no value.
        places: where the rows of the table stand in its file.
    """

    name: str
    texts: pa.Array
    codes: NDArray[np.signedinteger]
    rows: NDArray[np.int64] | None = None
    source: pd.Index | None = None
    trimmed: bool = True
    notation: Notation = PLAIN
    places: Places | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame, name: str) -> Cells:
        """Return the cells of the text Categorical `name` of `frame`; a null cell counts as the empty text."""
        column: pd.Categorical = frame[name].array
        texts = pa.array(column.categories, type=pa.large_string())
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        codes = column.codes
        source: pd.Index | None = column.categories
        if len(codes) and codes.min() < 0:
            source = None
            codes = np.where(codes < 0, len(texts), codes.astype(np.int32))
            texts = pa.concat_arrays([texts, pa.array([""], type=texts.type)])
        stripped = pc.utf8_trim_whitespace(texts)
        trimmed = stripped.nbytes != texts.nbytes
        kept = stripped if trimmed else texts  # equal ones are held once
        return cls(name, kept, codes, None, source, trimmed, places=places_of(frame))

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """(D,) whether each distinct text stands for a missing value."""
        missing = missing_texts(self.texts)
        if self.notation.blanks:
            lower, blanks = pc.utf8_lower(self.texts), pa.array(self.notation.blanks)
            missing = missing | np.asarray(pc.is_in(lower, value_set=blanks.cast(lower.type)))
        if self.notation.holes:
            numbers = parse_numbers(self.texts, missing, self.notation)
            missing = missing | (np.isnan(numbers.values) & ~numbers.wrong)
        return missing

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(D,) how many rows hold each distinct text."""
        return np.bincount(self.codes, minlength=len(self.texts))

    @cached_property
    def held(self) -> NDArray[np.int64]:
        """Which of the distinct texts stand in some row and are not missing."""
        return np.flatnonzero((self.counts > 0) & ~self.missing)

    @property
    def held_texts(self) -> pa.Array:
        """The distinct texts that stand in some row and are not missing."""
        return self.texts.take(pa.array(self.held))

    @cached_property
    def numbers(self) -> Numbers:
        """The distinct texts read as numbers."""
        return parse_numbers(self.texts, self.missing, self.notation)

    def noted(self, notation: Notation) -> Cells:
        """Return the same cells, read in a notation."""
        return self if notation == self.notation else replace(self, notation=notation)

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """(D,) the first row that holds each distinct text, N where none does."""
        rows = np.full(len(self.texts), len(self), dtype=np.int64)
        rows[self.codes[::-1]] = np.arange(len(self) - 1, -1, -1)
        return rows

    def moments(self, form: str) -> Moments:
        """Return the distinct texts read as points in time in one of the known forms."""
        known: dict[str, Moments] = self.__dict__.setdefault("_moments", {})
        if form not in known:
            known[form] = parse_moments(self.texts, form)
        return known[form]

    def problems(self, wrong: NDArray[np.bool_], message: str, remedy: str) -> list[Problem]:
        """Name the cells whose text is marked in `wrong` (D,), one problem a text, by its first row in the table."""
        if not wrong.any():
            return []  # without counting rows
        places = np.flatnonzero(wrong & (self.counts > 0))
        if not len(places):
            return []
        places = places[np.argsort(self.first_rows[places])]
        return [
            Problem(f"{self._where(place)} {message}", remedy, column=self.name, value=self.texts[place].as_py())
            for place in places.tolist()
        ]

    def _where(self, place: int) -> str:
        more = int(self.counts[place]) - 1
        return self.row_name(int(self.first_rows[place])) + (f" and {more:,} more" if more else "")

    def row_name(self, row: int) -> str:
        """Name one of these rows by its place in the file, as `predict` numbers it: `row 18 (line 20)`."""
        row = row if self.rows is None else int(self.rows[row])
        return (self.places or Places.of(row + 1)).name(row)

    def take(self, rows: NDArray[np.int64]) -> Cells:
        """Return the cells of the given rows, over the same distinct texts."""
        numbers = rows if self.rows is None else self.rows[rows]
        taken = replace(self, codes=self.codes[rows], rows=numbers)
        for known in ("missing", "numbers", "_moments"):
            if known in self.__dict__:
                taken.__dict__[known] = self.__dict__[known]
        return taken


def number_problems(cells: Cells) -> list[Problem]:
    """Name the cells that are not finite numbers, one problem a distinct text."""
    numbers = cells.numbers
    infinite = cells.problems(numbers.infinite, "is infinite", "Leave the cell empty, or make the field categorical.")
    foreign = cells.problems(numbers.foreign, "is not a number", "Leave the cell empty, or make the field categorical.")
    return [
        replace(problem, remedy="Use a decimal point, or make the field categorical.")
        if has_decimal_comma(problem.value or "")
        else problem
        for problem in infinite + foreign
    ]
