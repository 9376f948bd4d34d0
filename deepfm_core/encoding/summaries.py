"""What an encoder needs to know of a column, summed up piece by piece: for tables that do not fit into memory.

Start with `ColumnSummary`. A summary has a bound, whatever the rows, and two of them make one: `plus` of the parts of a
table is the summary of the whole, in whatever order the parts come. Up to the bound nothing is lost, and what is fitted
is what a table in memory would give. Beyond it, `TextCounts` says by how many rows a count may be too small, and
`NumberCounts` how far a value may be moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core.encoding.categorical import MultiValuedCode, not_in_time
from deepfm_core.encoding.field import FieldSettings, fit_role
from deepfm_core.encoding.vocabulary import split_tokens
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.number_parsing import Numbers
from deepfm_core.schema.schema import FieldRole
from deepfm_core.schema.timestamps import STRAYS, form_of

_MANTISSA = 52
"""Bits of a float64 after its leading one."""
MOST_NUMBERS = 1 << 16
"""Distinct numbers of a column that are kept: at least one for every thousandth of a number, over nine orders of
magnitude."""
_PENDING = 1 << 17
"""Distinct texts that are collected before they are put together: that is slow, so it is done seldom."""


@dataclass(frozen=True)
class TextCounts:
    """In how many rows the texts of a column stand: the most frequent ones, by the rule of Misra and Gries (1982).

    Attributes:
        limit: the most texts that are kept.
        texts: (D,) distinct, ascending.
        counts: (D,) rows; each is too small by at most `error`.
        error: 0 where nothing was dropped. It is at most rows ÷ (`limit` + 1), in whatever order summaries are merged
            (Agarwal and others, 2012): a text in more rows than that is always kept.
    """

    limit: int
    texts: pa.Array = field(default_factory=lambda: pa.array([], pa.large_string()))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    error: int = 0

    @classmethod
    def of(cls, texts: pa.Array, counts: NDArray[np.int64], limit: int) -> TextCounts:
        """Sum up texts that stand in `counts` (D,) rows each; a text may stand more than once."""
        return cls(limit)._with([texts], [counts], 0)

    def plus(self, *others: TextCounts) -> TextCounts:
        """Return the summary of the rows of all."""
        every = (self, *others)
        return self._with([one.texts for one in every], [one.counts for one in every], sum(one.error for one in every))

    def _with(self, texts: Sequence[pa.Array], counts: Sequence[NDArray[np.int64]], error: int) -> TextCounts:
        given = np.concatenate(counts)
        encoded = pa.concat_arrays([_large(one) for one in texts]).dictionary_encode()
        # Sums of float64 are exact up to 2^53 rows. Arrow's own grouping of texts takes six times as long.
        summed = np.bincount(np.asarray(encoded.indices), given, len(encoded.dictionary)).astype(np.int64)
        order = np.asarray(pc.sort_indices(encoded.dictionary))
        order = order[summed[order] > 0]
        kept, rows = encoded.dictionary.take(pa.array(order)), summed[order]
        if len(rows) > self.limit:
            least = int(np.partition(rows, len(rows) - self.limit - 1)[len(rows) - self.limit - 1])
            left = np.flatnonzero(rows > least)
            kept, rows, error = kept.take(pa.array(left)), rows[left] - least, error + least
        return replace(self, texts=kept, counts=rows, error=error)

    def most_frequent(self, limit: int) -> TextCounts:
        """Return the `limit` most frequent texts alone; those that are dropped count as an error."""
        if len(self.texts) <= limit:
            return self
        order = np.argsort(-self.counts, kind="stable")
        kept = np.sort(order[:limit])
        dropped = int(self.counts[order[limit]])
        return TextCounts(limit, self.texts.take(pa.array(kept)), self.counts[kept], max(self.error, dropped))


def _large(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.large_string())


@dataclass(frozen=True)
class NumberCounts:
    """In how many rows the numbers of a column stand: each by itself up to a limit, beyond it close ones together.

    Where there would be more than `limit` distinct numbers, all lose one bit of their mantissa after another, until
    there are few enough. So a number is moved towards 0 by less than 2^(`lost` − 52) of itself, a quantile with it, and
    the result does not depend on the order in which parts are put together.

    Attributes:
        limit: the most numbers that are kept.
        values: (D,) distinct, ascending, finite.
        counts: (D,) rows.
        lost: bits of the mantissa that were lost, 0 … 52.
        low, high: the least and the largest number, exactly; NaN where there is none.
        missing: rows without a number.
    """

    limit: int
    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    lost: int = 0
    low: float = float("nan")
    high: float = float("nan")
    missing: int = 0

    @classmethod
    def of(cls, values: NDArray[np.float64], counts: NDArray[np.int64], limit: int) -> NumberCounts:
        """Sum up D finite numbers that stand in `counts` (D,) rows each; NaN is no number."""
        held = ~np.isnan(values) & (counts > 0)
        known = values[held]
        low, high = (float(known.min()), float(known.max())) if len(known) else (float("nan"), float("nan"))
        found = cls(limit, low=low, high=high, missing=int(counts[np.isnan(values)].sum()))
        return found._with(known, counts[held], 0)

    def plus(self, *others: NumberCounts) -> NumberCounts:
        """Return the summary of the rows of all."""
        every = (self, *others)
        ends = [end for one in every for end in (one.low, one.high) if end == end]
        low, high = (min(ends), max(ends)) if ends else (float("nan"), float("nan"))
        found = replace(self, low=low, high=high, missing=sum(one.missing for one in every))
        values, counts = (np.concatenate([getattr(one, name) for one in every]) for name in ("values", "counts"))
        return found._with(values, counts, max(one.lost for one in every))

    def _with(self, values: NDArray[np.float64], counts: NDArray[np.int64], lost: int) -> NumberCounts:
        values = _coarse(values + 0.0, lost)  # -0 becomes 0
        distinct, place = np.unique(values, return_inverse=True)
        rows = np.bincount(place, counts, len(distinct)).astype(np.int64)
        while len(distinct) > self.limit and lost < _MANTISSA:
            lost += 1
            distinct, place = np.unique(_coarse(distinct, lost), return_inverse=True)
            rows = np.bincount(place, rows, len(distinct)).astype(np.int64)
        return replace(self, values=distinct, counts=rows, lost=lost)

    @property
    def held(self) -> NDArray[np.float64]:
        """(D,) the numbers that stand for those of the rows: the first and the last are the ends themselves."""
        values = self.values.copy()
        if len(values):
            values[0] = self.low
            values[-1] = self.high
        return values


def _coarse(values: NDArray[np.float64], lost: int) -> NDArray[np.float64]:
    """Take the last `lost` bits from the mantissas."""
    if not lost:
        return values
    kept = np.uint64(0xFFFFFFFFFFFFFFFF) << np.uint64(lost)
    return np.asarray((values.view(np.uint64) & kept).view(np.float64) + 0.0)


class Strays:
    """Cells of a column that are no points in time, over all pieces: a piece alone may hold one time and one stray."""

    def __init__(self) -> None:
        self._wrong, self._all = np.zeros(2, np.int64), np.zeros(2, np.int64)
        """Rows, and distinct texts of each piece."""
        self._first: SchemaError | None = None

    def add(self, cells: Cells, form: str, subject: str) -> None:
        """Count the cells of more rows; `subject` names them."""
        held = cells.held
        wrong = held[~cells.moments(form).valid[held]]
        self._all += cells.counts[held].sum(), len(held)
        self._wrong += cells.counts[wrong].sum(), len(wrong)
        if len(wrong) and self._first is None:
            asked = np.zeros(len(cells.texts), bool)
            asked[wrong] = True
            self._first = SchemaError(subject, not_in_time(cells, asked, form))

    def require_few(self) -> None:
        """Check that few of the rows, or few of the texts, are no points in time.

        Raises:
            SchemaError: there are many of both.
        """
        if self._first is not None and bool((self._wrong > STRAYS * self._all).all()):
            raise self._first


class ColumnSummary:
    """What is known of the training rows of a column, as its role reads it."""

    def __init__(self, role: FieldRole, limit: int, subject: str) -> None:
        """Begin without rows.

        Args:
            role: of the column.
            limit: the most distinct texts that are kept.
            subject: the table's name in messages.
        """
        self.role, self.limit, self._subject = role, limit, subject
        self.numbers = NumberCounts(MOST_NUMBERS)
        self._texts: list[TextCounts] = [TextCounts(limit)]
        self._pending = 0
        self._longest = 1
        self._form = role.form
        self._strays = Strays()

    def add(self, cells: Cells) -> None:
        """Take in the cells of more training rows.

        Raises:
            SchemaError: the role needs a separator or a form that it does not have and that is not found.
        """
        kind = self.role.kind
        if kind.is_number:
            self.numbers = self.numbers.plus(NumberCounts.of(cells.numbers.values, cells.counts, MOST_NUMBERS))
        elif kind.is_several:
            tokens = split_tokens(cells, self.role.separator or "")
            rows = tokens.rows(cells.counts)
            self._longest = max(self._longest, tokens.longest(cells.counts))
            self._take(tokens.texts, rows)
        elif kind.is_time:
            self._take(*self._moments(cells))
        else:
            self._take(cells.texts, np.where(cells.missing, 0, cells.counts))

    def judge(self, cells: Cells, subject: str) -> None:
        """Look for cells of a piece, of training rows or others, that are no points in time; `subject` names it."""
        if self.role.kind.is_time and self._form:
            self._strays.add(cells, self._form, subject)

    def require_few_strays(self) -> None:
        """Check that few of the cells judged are no points in time: those count as missing.

        Raises:
            SchemaError: many are not; it names the first ones.
        """
        self._strays.require_few()

    @property
    def texts(self) -> TextCounts:
        """The texts so far: values, or values within cells; of times one for each hour of a week."""
        if len(self._texts) > 1:
            self._texts = [TextCounts.plus(*self._texts)]
        self._pending = 0
        return self._texts[0]

    def _take(self, texts: pa.Array, counts: NDArray[np.int64]) -> None:
        self._texts.append(TextCounts(len(texts) + 1, texts, counts))
        self._pending += len(texts)
        if self._pending > max(self.limit, _PENDING):
            _ = self.texts

    def _moments(self, cells: Cells) -> tuple[pa.Array, NDArray[np.int64]]:
        """Return a text for each hour of a week that the cells hold: the least, so that the order does not matter."""
        if not len(cells.held):
            return cells.texts.slice(0, 0), np.zeros(0, np.int64)  # a piece without times says nothing of their form
        self._form = self._form or (form_of(cells.held_texts, cells.name, sure=True) or ("", False))[0]
        if not self._form:
            remedy = "Write all cells in one form, such as 2019-11-24 13:05, or ignore the field."
            problem = Problem("the cells are not points in time, or not all in one form", remedy, column=cells.name)
            raise SchemaError(self._subject, [problem])
        moments = cells.moments(self._form)
        held = cells.held[moments.valid[cells.held]]
        hours = moments.weekdays[held] * 24 + moments.hours[held]
        ordered = held[np.asarray(pc.sort_indices(cells.texts.take(pa.array(held))))] if len(held) else held
        of_hour = moments.weekdays[ordered] * 24 + moments.hours[ordered]
        _, first = np.unique(of_hour, return_index=True)
        chosen = ordered[first]
        rows = np.bincount(hours, cells.counts[held], 24 * 7).astype(np.int64)
        return cells.texts.take(pa.array(chosen)), rows[np.unique(of_hour)]

    @property
    def size(self) -> int:
        """How many values have been kept that become features; 0 of numbers and times, whose features are few."""
        return 0 if self.role.kind.is_number or self.role.kind.is_time else len(self.texts.texts)

    def keep(self, limit: int) -> None:
        """Keep the `limit` most frequent values alone."""
        self.limit, self._texts = min(self.limit, limit), [self.texts.most_frequent(limit)]

    @property
    def ends(self) -> tuple[float, float] | None:
        """The least and the largest number; None where there is none."""
        return (self.numbers.low, self.numbers.high) if len(self.numbers.values) else None

    @property
    def note(self) -> str:
        """Say what was lost beyond the limit; empty where nothing was."""
        if self.role.kind.is_number or not self.texts.error:
            return ""
        return (
            f"Field `{self.role.column}` has more than {self.limit:,} values. The most frequent have a feature each, "
            "the others share the feature `unseen`, which is learned from them. A larger `--memory` keeps more."
        )

    def fit(self, settings: FieldSettings) -> Sequence[Any]:
        """Return the embedded field or fields, or the dense one, that the column becomes.

        Raises:
            SchemaError: as `field.fit_role` does.
        """
        if self.role.kind.is_several:
            name, separator, counted = self.role.column, self.role.separator or "", self.texts
            counts = counted.counts + counted.error
            return [MultiValuedCode.of_values(name, separator, counted.texts, counts, self._longest, settings)]
        role = replace(self.role, form=self._form)
        return fit_role(self._cells, role, settings, self._subject)

    @property
    def _cells(self) -> Cells:
        """Cells whose counts are those of the summary, and which have no rows of their own."""
        if self.role.kind.is_number:
            return _cells_of_numbers(self.role, self.numbers)
        counted = self.texts
        # A count that may be too small is taken for as large as it may be, so that a minimum count drops no value.
        return _known(self.role, counted.texts, counted.counts + counted.error)


def _cells_of_numbers(role: FieldRole, numbers: NumberCounts) -> Cells:
    values = np.append(numbers.held, [np.nan] if numbers.missing else [])
    counts = np.append(numbers.counts, [numbers.missing] if numbers.missing else [])
    texts = pa.array([repr(value) for value in numbers.held.tolist()] + [""] * bool(numbers.missing), pa.large_string())
    cells = _known(role, texts, counts.astype(np.int64))
    none = np.zeros(len(values), dtype=bool)
    cells.__dict__["missing"] = np.isnan(values)
    cells.__dict__["numbers"] = Numbers(values, none, none)
    return cells


def _known(role: FieldRole, texts: pa.Array, counts: NDArray[np.int64]) -> Cells:
    cells = Cells(role.column, texts, np.zeros(0, np.int32), trimmed=False, notation=role.notation)
    cells.__dict__["counts"] = counts
    return cells


def within(summaries: Sequence[ColumnSummary], features: int) -> None:
    """Keep so many values of each column that there are at most about `features` in all: large columns lose some."""
    left, sizes = features, sorted(summary.size for summary in summaries)
    for place, size in enumerate(sizes):
        share = left // (len(sizes) - place)
        if size > share:
            for summary in summaries:
                if summary.size > share:
                    summary.keep(max(share, 1))
            return
        left -= size
