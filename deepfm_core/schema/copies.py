"""Copies of rows: whether a table holds the same observation more than once, and which rows are learned from.

Start with `learned_rows`. Rows that are alike need not be copies: a log of few fields with few values has many honest
ones. `_kept` tells them apart; docs/decisions/037 has the figures. In shapes: N rows, G groups of rows that are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals

from deepfm_core.schema.labels import labelled_rows
from deepfm_core.schema.schema import KEEP, ONCE, Schema

Rows = NDArray[np.int64]
Labels = NDArray[np.float32]

LEAST_SHARE = 0.01
"""Share of the rows below which copies are too few to change a finding."""
FEWEST_EXPECTED = 20.0
"""Pairs of alike rows with different labels that must be expected before their absence says something."""
FEWEST_EXPECTED_APART = 5.0
"""The same between a table apart and the rows trained on. Such a table may be small, and no row is left out of it."""
DISAGREEING = 0.1
"""At most this share of the expected pairs with different labels is there among copies. A column tells rows apart that
are alike in the other columns, if more than this share of neighbours among them differ in it."""
TIMES_CHANCE = 10.0
"""How many times as many rows are alike among copies, at least, as would be if all fields were independent."""
FEWEST_GROUPS = 20
"""Distinct rows from which it is no chance that each occurs a multiple of k times."""
ROWS_OF_BLOCK = 10
"""Rows of a block, on average, from which a column with one value for each block may say where rows come from."""
_PRIOR_ROWS = 10.0

_KEPT = "They are kept, so held-out rows hold copies of training rows: scores and pairs look better than they are."
_LEFT_OUT = "They are left out, because with them noise looks like a finding."


@dataclass(frozen=True)
class Copies:
    """How many of a table's labelled rows are copies of others, and whether they are kept."""

    count: int = 0
    rows: int = 0
    kept: bool = False
    sampled: bool = False
    """Whether these are rows of a sample, so that most copies stand in other rows than these."""
    nearly: int = 0
    """How many of the other rows are copies but for `besides`; they are kept."""
    besides: tuple[str, ...] = ()
    """Columns of time, or of one value for each block of rows, in which such rows differ."""

    def __bool__(self) -> bool:
        return self.count > 0 or self.nearly > 0

    @property
    def flatter(self) -> bool:
        """Whether copies are learned from, so that figures look better than they are."""
        return self.kept or self.nearly > 0

    @classmethod
    def of_run(cls, summary: Mapping[str, Any]) -> Copies:
        """Read them from a run's summary; none where it does not say any, as those of earlier versions."""
        said = summary.get("copies")
        if not isinstance(said, dict) or not {"count", "rows", "kept"} <= set(said):
            return cls()
        exact = (int(said["count"]), int(said["rows"]), bool(said["kept"]), bool(said.get("sampled")))
        return cls(*exact, int(said.get("nearly", 0)), tuple(map(str, said.get("besides", ()))))

    @property
    def left_out(self) -> str:
        """Say how many are left out, beside the number of all rows."""
        return f"{self.count:,} left out as {'a copy' if self.count == 1 else 'copies'}"

    @property
    def said(self) -> str:
        """Say how many there are, what that means, and what to do; with options of the command line in brackets."""
        if self.kept:
            return self._with_nearly(f"{self._counted} {_KEPT} Leave the copies out (`--copies drop`).")
        return self._with_nearly(f"{self._counted} {_LEFT_OUT} You can keep them (`--copies keep`).")

    @property
    def said_of_run(self) -> str:
        """Say the same of a finished run."""
        if self.sampled:
            return self.said_of_sample
        if self.kept:
            return self._with_nearly(f"{self._counted} {_KEPT} Train again without the copies.")
        return self._with_nearly(f"{self._counted} {_LEFT_OUT}")

    @property
    def said_apart(self) -> str:
        """Say the same of a table that is held out as a whole."""
        if self.kept:
            return self._with_nearly(
                f"{self._counted} They are kept, so intervals are too narrow. Leave them out (`--copies drop`)."
            )
        return self._with_nearly(f"{self._counted} They are left out, because with them intervals are too narrow.")

    @property
    def said_of_sample(self) -> str:
        """Say the same of a sample of rows that stay on the disk."""
        return self._with_nearly(
            f"In the sample, {self.count:,} of {self.rows:,} rows are copies of others, so many of all rows are. They "
            "are kept, so scores and pairs look better than they are. Take the copies out of the files."
        )

    @property
    def _counted(self) -> str:
        are = "row is a copy of another" if self.count == 1 else "rows are copies of others"
        return f"{self.count:,} of {self.rows:,} {are}: alike in every field and in the label."

    def _with_nearly(self, exact: str) -> str:
        """Say of copies what `exact` says if there are any, and then what is to be said of those that are nearly."""
        if not self.nearly:
            return exact
        rest = self.rows if self.kept else self.rows - self.count
        names = " and ".join(f"`{column}`" for column in self.besides)
        it, does = ("it", "does") if len(self.besides) == 1 else ("them", "do")
        said = (
            f"{self.nearly:,} of {rest:,} rows are copies of others but for {names}: alike in every other field and in "
            "the label. They are kept, so held-out rows repeat training rows: scores and pairs look better than they "
            f"are. If {names} {does} not make them observations of their own, ignore {it}: they then count as copies. "
            "If the same subjects return over time, split by group of the subject."
        )
        return f"{exact} {said}" if self.count else said


@dataclass(frozen=True)
class CopiesApart:
    """How many rows of a table that is held out as a whole are copies of rows trained on."""

    count: int = 0
    rows: int = 0
    """Rows of the table that are used."""
    nearly: int = 0
    """How many of the other rows are copies but for `besides`."""
    besides: tuple[str, ...] = ()
    """As in `Copies`."""

    @property
    def said(self) -> tuple[str, ...]:
        """A sentence for copies, and one for those that are nearly."""
        flatter = "so its figures look better than they are."
        remedy = "Take these rows out of one of the tables."
        exact = f"{self.count:,} of {self.rows:,} rows are copies of rows trained on, {flatter} {remedy}"
        names = " and ".join(f"`{column}`" for column in self.besides)
        do = "does" if len(self.besides) == 1 else "do"
        nearly = (
            f"{self.nearly:,} of {self.rows:,} rows are copies of rows trained on but for {names}: alike in every "
            f"other field and in the label, {flatter} If {names} {do} not make them observations of their own, "
            "take them out of one of the tables."
        )
        return tuple(said for count, said in ((self.count, exact), (self.nearly, nearly)) if count)


class Learned(NamedTuple):
    """The M rows that are learned from, ascending, their labels, and what is known of copies."""

    rows: Rows
    labels: Labels
    copies: Copies


def learned_rows(frame: pd.DataFrame, schema: Schema, subject: str) -> tuple[Rows, Labels]:
    """Return the numbers of the rows to learn from, ascending, and their labels: (M,), (M,) float32.

    These are the rows with a label, but for copies where the schema leaves them out.

    Raises:
        SchemaError: as `labelled_rows` does.
    """
    if schema.copies == KEEP:
        return labelled_rows(frame, schema.label, subject)
    return _exact(frame, schema, subject, LEAST_SHARE)[:2]


def look_for_copies(frame: pd.DataFrame, schema: Schema, subject: str, *, least_share: float = LEAST_SHARE) -> Learned:
    """Give the rows to learn from as `learned_rows` does, and count the copies whether they are left out or not.

    Copies but for columns of time and of one value for each block of rows are counted, too, and never left out: they
    may be the same subjects at another time. A million rows of 13 fields take about a second.

    Args:
        frame: N rows, with or without a label.
        schema: its roles; it says what is done with copies.
        subject: the table's name, for errors.
        least_share: of the rows that must be copies; fewer are not counted.

    Raises:
        SchemaError: as `labelled_rows` does.
    """
    found = _exact(frame, schema, subject, least_share)
    rows, labels, copies = found
    fewest = max(1, least_share * len(rows))
    aside, rest = _aside(frame, schema, rows)
    if not aside or not rest:
        return found
    left = _kept(frame, rest, rows, labels)
    nearly = len(rows) - int(left.sum())
    nearly -= copies.count if copies.kept else 0
    if nearly < fewest:
        return found
    besides = _telling(frame, aside, rest, rows, labels)
    known = replace(copies, rows=copies.rows or len(rows), nearly=nearly, besides=besides)
    return Learned(rows, labels, known) if besides else found


def _aside(frame: pd.DataFrame, schema: Schema, rows: Rows) -> tuple[list[str], list[str]]:
    """Name the fields of time or of one value for each block of rows, and the other fields."""
    fields = [role for role in schema.used if role.column in frame]
    aside = [role.column for role in fields if role.kind.is_time or _is_in_blocks(frame, role.column, rows)]
    return aside, [role.column for role in fields if role.column not in aside]


def _telling(
    frame: pd.DataFrame, aside: Sequence[str], rest: Sequence[str], rows: Rows, labels: Labels
) -> tuple[str, ...]:
    """Name the columns set aside that tell rows apart which are alike in the rest and in the label."""
    groups = _grouped(_with_label(_hashes(frame, rest, rows), labels))
    return tuple(column for column in aside if _tells_apart(_codes(frame, column, rows), *groups))


def _is_in_blocks(frame: pd.DataFrame, column: str, rows: Rows) -> bool:
    """Say whether each value of a column stands in one block of rows, as where files were put below each other."""
    codes = _codes(frame, column, rows)
    blocks = int(np.count_nonzero(codes[1:] != codes[:-1])) + 1
    return 1 < blocks <= len(codes) / ROWS_OF_BLOCK and blocks == np.count_nonzero(np.bincount(codes + 1))


def _tells_apart(codes: NDArray[np.signedinteger], order: Rows, counts: Rows) -> bool:
    """Say whether rows of one group, alike in other columns and in the label, differ in this one, but for a few."""
    codes = codes[order]
    within = np.ones(len(codes), dtype=bool)
    within[np.cumsum(counts) - counts] = False
    return float((codes[1:] != codes[:-1])[within[1:]].mean()) > DISAGREEING


def _exact(frame: pd.DataFrame, schema: Schema, subject: str, least_share: float) -> Learned:
    rows, labels = labelled_rows(frame, schema.label, subject)
    fields = [role.column for role in schema.used if role.column in frame]
    left = _once(frame, fields, rows, labels) if schema.copies == ONCE else _first(frame, schema, rows, labels)
    count = len(rows) - int(left.sum())
    if schema.copies != ONCE and count < least_share * len(rows):
        return Learned(rows, labels, Copies())
    if schema.copies == KEEP:
        return Learned(rows, labels, Copies(count, len(rows), kept=count > 0))
    return Learned(rows[left], labels[left], Copies(count, len(rows)) if count else Copies())


def copied_from(
    schema: Schema, trained: tuple[pd.DataFrame, Rows, Labels], apart: tuple[pd.DataFrame, Rows, Labels]
) -> CopiesApart:
    """Count the rows of a table apart that are copies of rows trained on, by the same rules.

    Args:
        schema: the roles.
        trained: the frame of the table trained on, the rows of it that are used, and their labels.
        apart: the same of the table apart.
    """
    fields = [role.column for role in schema.used if role.column in apart[0]]
    columns = {
        field: union_categoricals([frame[field].array.take(rows) for frame, rows, _ in (trained, apart)])
        for field in fields
    }
    frame, labels = pd.DataFrame(columns), np.concatenate([trained[2], apart[2]])
    rows, before = np.arange(len(labels)), len(trained[2])
    left = _first(frame, schema, rows, labels, FEWEST_EXPECTED_APART)
    exact = CopiesApart(int(_stands_before(frame, fields, labels, left, before).sum()), len(apart[2]))
    aside, rest = _aside(frame, schema, rows)
    if not aside or not rest:
        return exact
    left = _kept(frame, rest, rows, labels, FEWEST_EXPECTED_APART)
    nearly = int(_stands_before(frame, rest, labels, left, before).sum()) - exact.count
    if nearly < max(1, LEAST_SHARE * exact.rows):
        return exact
    besides = _telling(frame, aside, rest, rows, labels)
    return replace(exact, nearly=nearly, besides=besides) if besides else exact


def _stands_before(
    frame: pd.DataFrame, columns: Sequence[str], labels: Labels, left: NDArray[np.bool_], before: int
) -> NDArray[np.bool_]:
    """Say of the rows from `before` on which are copies, by `left`, of a row before it."""
    hashes = _with_label(_hashes(frame, columns, np.arange(len(labels))), labels)
    copied: NDArray[np.bool_] = ~left[before:] & np.isin(hashes[before:], hashes[:before])
    return copied


def _first(
    frame: pd.DataFrame, schema: Schema, rows: Rows, labels: Labels, fewest: float = FEWEST_EXPECTED
) -> NDArray[np.bool_]:
    """Say of N rows which are no copies, by all columns and then by those that enter the model: an id may differ."""
    roles = [role for role in schema.roles if role.column in frame]  # a table apart may lack some
    every, used = [role.column for role in roles], [role.column for role in roles if role.kind.is_used]
    left = np.ones(len(rows), dtype=bool)
    for columns in [every] if len(used) == len(every) else [every, used]:
        while True:  # a table of copies may have been copied as a whole
            here = np.flatnonzero(left)
            kept = _kept(frame, columns, rows[here], labels[here], fewest)
            if kept.all():
                break
            left[here[~kept]] = False
    return left


def _once(frame: pd.DataFrame, columns: Sequence[str], rows: Rows, labels: Labels) -> NDArray[np.bool_]:
    return _ranks(*_grouped(_with_label(_hashes(frame, columns, rows), labels))) < 1


def _kept(
    frame: pd.DataFrame, columns: Sequence[str], rows: Rows, labels: Labels, fewest: float = FEWEST_EXPECTED
) -> NDArray[np.bool_]:
    """Say of N rows which are left when copies are taken out; all of them where rows are alike for honest reasons.

    Rows are copies in two cases, where more of them are alike than independent fields would give. First, each distinct
    row, label included, stands k, 2k, 3k … times: the table was copied k times as a whole, and one k-th is left.
    Second, rows alike in all columns agree in their labels, too, where by their values at least `fewest` pairs should
    not: two impressions of an advertisement to a user often end differently. Each distinct row is then left once.
    """
    hashes = _hashes(frame, columns, rows)
    whole = _with_label(hashes, labels)
    ordered = np.sort(whole)
    if not (ordered[1:] == ordered[:-1]).any():
        return np.ones(len(rows), dtype=bool)
    order, counts = _grouped(whole)
    ranks = _ranks(order, counts)
    times = int(np.gcd.reduce(counts))
    alike = Alike.of(frame, columns, rows, labels, hashes)
    if times > 1 and len(counts) >= FEWEST_GROUPS and alike.pairs > alike.chance:
        return ranks < _of_rows(order, counts) // times
    if alike.pairs > TIMES_CHANCE * alike.chance:
        expected = alike.expected
        if expected >= fewest and alike.different <= DISAGREEING * expected:
            return ranks < 1
    return np.ones(len(rows), dtype=bool)


def _hashes(frame: pd.DataFrame, columns: Sequence[str], rows: Rows) -> NDArray[np.uint64]:
    """Return (N,) a number for each row, equal where the texts of all columns are."""
    hashes = np.zeros(len(rows), dtype=np.uint64)
    for place, column in enumerate(columns):
        cells = frame[column].array
        values = np.random.default_rng(place).integers(0, 2**64, len(cells.categories) + 1, dtype=np.uint64)
        hashes += values[_codes(frame, column, rows)]
    return hashes


def _codes(frame: pd.DataFrame, column: str, rows: Rows) -> NDArray[np.signedinteger]:
    """Return (N,) the code of each row's text; a null cell has the last, -1, which picks the last of a list."""
    codes: NDArray[np.signedinteger] = frame[column].array.codes
    return codes if len(rows) == len(codes) else codes[rows]


def _with_label(hashes: NDArray[np.uint64], labels: Labels) -> NDArray[np.uint64]:
    return hashes ^ np.where(labels > 0, np.uint64(0x9E3779B97F4A7C15), np.uint64(0))


def _grouped(hashes: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """Return (N,) the rows group by group, ascending within each, and (G,) the number of rows of each group."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(order) else order
    return order, np.diff(starts, append=len(order))


def _ranks(order: Rows, counts: Rows) -> Rows:
    """Return (N,) how many rows of its group stand above each row."""
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks


def _of_rows(order: Rows, counts: Rows) -> Rows:
    """Return (N,) the number of rows of each row's group."""
    sizes = np.empty(len(order), dtype=np.int64)
    sizes[order] = np.repeat(counts, counts)
    return sizes


@dataclass(frozen=True)
class Alike:
    """The G groups of more than one row that are alike in some columns, whatever their labels.

    Attributes:
        frame: the table's.
        columns: those in which they are alike.
        rows: (N,) the rows that were looked at.
        labels: (N,) theirs.
        first: (G,) the place of a row of each group, in 0 … N-1.
        counts: (G,) its rows.
        positives: (G,) those of them that are positive.
    """

    frame: pd.DataFrame
    columns: Sequence[str]
    rows: Rows
    labels: Labels
    first: Rows
    counts: Rows
    positives: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        columns: Sequence[str],
        rows: Rows,
        labels: Labels,
        hashes: NDArray[np.uint64] | None = None,
    ) -> Alike:
        """Find the groups among N rows; `hashes` are those of `columns`, where they are known."""
        order, counts = _grouped(_hashes(frame, columns, rows) if hashes is None else hashes)
        starts = np.cumsum(counts) - counts
        positives = np.add.reduceat(labels[order].astype(np.float64), starts)
        several = counts > 1
        return cls(frame, columns, rows, labels, order[starts[several]], counts[several], positives[several])

    @property
    def pairs(self) -> float:
        """How many pairs of rows are alike."""
        return float((self.counts * (self.counts - 1)).sum() / 2)

    @property
    def different(self) -> float:
        """How many of these pairs differ in their labels."""
        return float((self.positives * (self.counts - self.positives)).sum())

    @property
    def chance(self) -> float:
        """How many pairs of rows would be alike if the columns were independent."""
        count = len(self.rows)
        pairs = count * (count - 1) / 2
        for column in self.columns:
            share = np.bincount(_codes(self.frame, column, self.rows) + 1) / count
            pairs *= float(share @ share)
        return pairs

    @property
    def expected(self) -> float:
        """How many pairs would differ in their labels if alike rows were observations of their own.

        The probability that a group's rows are positive is told by its values in all other rows, as naive Bayes does.
        That is too sure where columns say the same, so it expects too few differences rather than too many.
        """
        base = float(self.labels.mean())
        if base in (0.0, 1.0):
            return 0.0
        prior = np.log(base / (1 - base))
        logit = np.full(len(self.first), prior)
        for column in self.columns:
            codes = _codes(self.frame, column, self.rows) + 1
            here = codes[self.first]
            others = np.bincount(codes)[here] - self.counts
            clicks = np.bincount(codes, weights=self.labels)[here] - self.positives
            rate = (clicks + _PRIOR_ROWS * base) / (others + _PRIOR_ROWS)
            logit += np.log(rate / (1 - rate)) - prior
        p = 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
        return float((self.counts * (self.counts - 1) * p * (1 - p)).sum())
