"""Training, validation and test part: which rows of a table belong to each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.compatibility import require_fit
from deepfm_core.schema.copies import Copies, CopiesApart, copied_from, look_for_copies
from deepfm_core.schema.labels import labelled_rows
from deepfm_core.schema.timestamps import dated_order, form_of
from deepfm_core.spec.run import RunSpec, SplitSpec
from deepfm_core.tables.table import Table

_TRAIN, _VALID, _TEST = 0, 1, 2

_FAR_OFF = 2.0
"""A part this many times larger or smaller than its share gets a note."""

_ROUNDED = 2
"""Rows by which a part may differ because each class has whole rows, at least one of three."""

GUESSED_AUC = 0.65
"""An AUC that models of clicks commonly reach; where guessing reaches it by luck, a part's AUC tells nothing apart."""

_LUCK = 1.96
"""Guessing exceeds 0.5 by this many standard errors one time in forty."""


@dataclass(frozen=True)
class Parts:
    """Row numbers of each part, ascending.

    `notes` say of a part that it has no rows, far more or fewer than asked for, or too few to judge by.
    """

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def split_rows(
    labels: NDArray[np.float32], spec: SplitSpec, frame: pd.DataFrame, seed: int, *, form: str = ""
) -> Parts:
    """Divide N rows into training, validation and test part; the same arguments give the same parts.

    `random` keeps each part's share of positive labels; `time` puts the latest rows into the test part and the ones
    before them into the validation part, rows of one time together; `group` puts all rows of a group into one part.

    Args:
        labels: (N,) of 0 and 1.
        frame: N rows; only the split's column is looked at.
        form: how the split's column writes points in time, where its role says so.

    Raises:
        SchemaError: the split's column is missing or holds no times; the training part lacks a class; the validation
            part was asked for and has no rows.
    """
    subject = f"Split by {spec.by}" + (f" of `{spec.column}`" if spec.column else "")
    if spec.column is not None and spec.column not in frame.columns:
        names = ", ".join(f"`{name}`" for name in list(frame.columns)[:40])
        raise SchemaError(subject, [Problem("there is no such column", f"Columns are {names}.")])
    ways: dict[str, Callable[[], tuple[NDArray[np.int8], list[str]]]] = {
        "random": lambda: (_random(labels, spec, seed), []),
        "time": lambda: _by_time(Cells.of(frame, str(spec.column)), spec, subject, form),
        "group": lambda: (_by_group(Cells.of(frame, str(spec.column)), spec, seed), []),
    }
    part, notes = ways[spec.by]()
    train, valid, test = (np.flatnonzero(part == which) for which in (_TRAIN, _VALID, _TEST))
    _require_trainable(labels[train], len(labels), subject)
    if spec.valid > 0 and not len(valid):
        remedy = "Use a larger share, another column, or a split by random."
        raise SchemaError(subject, [Problem(f"the validation part has no rows (of {len(labels):,})", remedy)])
    for name, rows, share in (("validation", valid, spec.valid), ("test", test, spec.test)):
        if share > 0:
            notes += _part_notes(name, labels[rows], share, len(labels))
    return Parts(train, valid, test, tuple(notes))


def _random(labels: NDArray[np.float32], spec: SplitSpec, seed: int) -> NDArray[np.int8]:
    """Give each row a part, by chance within each class."""
    rng = np.random.default_rng(seed)
    part = np.zeros(len(labels), dtype=np.int8)
    for value in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == value))
        test, valid = _of_class(len(rows), spec.test), _of_class(len(rows), spec.valid)
        part[rows[:test]] = _TEST
        part[rows[test : test + valid]] = _VALID
    return part


def _of_class(rows: int, share: float) -> int:
    """Return how many of a class's rows a part gets: its share, at least one of three or more."""
    return max(round(rows * share), int(share > 0 and rows >= 3))


def _by_time(cells: Cells, spec: SplitSpec, subject: str, form: str) -> tuple[NDArray[np.int8], list[str]]:
    """Give each row a part by its time; rows without a time go to the training part."""
    times = _times(cells, subject, form)[cells.codes]
    known = ~np.isnan(times)
    distinct, counts = np.unique(times[known], return_counts=True)
    later = np.cumsum(counts[::-1])[::-1]
    starts = [_start(distinct, later, share * known.sum()) for share in (spec.test, spec.test + spec.valid)]
    part = np.zeros(len(times), dtype=np.int8)
    part[known & (times >= starts[1])] = _VALID
    part[known & (times >= starts[0])] = _TEST
    empty = len(times) - int(known.sum())
    return part, _without_time(empty)


def _without_time(rows: int) -> list[str]:
    if not rows:
        return []
    which = "1 row without a time is" if rows == 1 else f"{rows:,} rows without a time are"
    return [f"{which} in the training part."]


def _start(distinct: NDArray[np.float64], later: NDArray[np.int64], rows: float) -> float:
    """Return the time from which on the number of rows comes nearest to `rows`; `later` counts rows from each time."""
    sizes = np.append(later, 0)
    place = len(sizes) - 1 - int(np.argmin(np.abs(sizes[::-1] - rows)))
    return float(distinct[place]) if place < len(distinct) else float("inf")


def _times(cells: Cells, subject: str, form: str) -> NDArray[np.float64]:
    """Return (D,) each distinct text as seconds, or as the number it is; NaN where missing."""
    form = form or (form_of(cells.held_texts, cells.name) or ("", False))[0]
    if form:
        moments = cells.moments(form)
        return np.where(moments.valid, moments.instant.astype(np.float64), np.nan)
    texts = pc.if_else(pa.array(cells.missing), "", cells.texts)
    if (order := dated_order(texts)) is not None:
        return order
    problems = cells.problems(cells.numbers.wrong, "is not a time", "Write all times in one form, such as 2019-11-24.")
    if problems:
        raise SchemaError(subject, problems)
    return cells.numbers.values


def _by_group(cells: Cells, spec: SplitSpec, seed: int) -> NDArray[np.int8]:
    """Give whole groups, in random order, to the test part, then the validation part, until each has its share.

    A row without a group is a group of its own.
    """
    names = np.where(cells.missing, "", np.asarray(cells.texts.to_pylist(), dtype=object))
    _, group = np.unique(names.astype(str), return_inverse=True)
    group = group[cells.codes].astype(np.int64)
    alone = np.flatnonzero(cells.missing[cells.codes])
    group[alone] = group.max(initial=0) + 1 + np.arange(len(alone))
    present, group = np.unique(group, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(present))
    sizes = np.bincount(group, minlength=len(present))[order]
    middles = (np.cumsum(sizes) - sizes / 2) / max(len(group), 1)
    of_group = np.empty(len(present), dtype=np.int8)
    of_group[order] = np.where(middles < spec.test, _TEST, np.where(middles < spec.test + spec.valid, _VALID, _TRAIN))
    return of_group[group]


def _require_trainable(labels: NDArray[np.float32], rows: int, subject: str) -> None:
    if not len(labels):
        raise SchemaError(subject, [Problem(f"the training part has no rows (of {rows:,})", "Use smaller shares.")])
    positive = int(labels.sum())
    if positive in (0, len(labels)):
        which = "negative" if positive == 0 else "positive"
        remedy = "Use a split by random, smaller shares, or more rows."
        raise SchemaError(subject, [Problem(f"all {len(labels):,} rows of the training part are {which}", remedy)])


def _part_notes(name: str, labels: NDArray[np.float32], share: float, rows: int) -> list[str]:
    if not len(labels):
        return [f"The {name} part has no rows: its figures cannot be computed."]
    notes = part_notes_of(name, labels)
    got = len(labels) / rows
    rounded = abs(len(labels) - share * rows) < _ROUNDED
    if not rounded and (got > share * _FAR_OFF or got < share / _FAR_OFF):
        notes.append(f"The {name} part has {got:.1%} of the rows where {share:.1%} was asked for.")
    return notes


def part_notes_of(name: str, labels: NDArray[np.float32]) -> list[str]:
    """Say of the labels of a part that has rows why its AUC cannot be computed or says next to nothing, where so.

    Without any relation between score and label the AUC of m positive and n negative rows has mean 1/2 and variance
    (m + n + 1) / 12mn (Mann and Whitney, 1947): with 2 rows guessing is right half of the time, with 14 positives among
    very many others it reaches 0.65 one time in forty.
    """
    rows, positive = len(labels), int(labels.sum())
    if not rows:
        return []
    if positive in (0, rows):
        which = "negative" if positive == 0 else "positive"
        return [f"All {rows:,} rows of the {name} part are {which}: AUC cannot be computed there."]
    lucky = min(0.5 + _LUCK * math.sqrt((rows + 1) / (12 * positive * (rows - positive))), 1.0)
    if lucky < GUESSED_AUC:
        return []
    return [
        f"The {name} part has only {rows:,} rows, {positive:,} of them positive. A model that only guesses can reach "
        f"an AUC of {lucky:.2f} there by luck, so AUC says next to nothing. Use a larger share, or more rows."
    ]


# The parts of a run: training, validation and test rows, encoded.


@dataclass(frozen=True)
class Part:
    """Rows of one table that serve one purpose.

    Attributes:
        read: gives the table they come from.
        rows: (N,) int64, their numbers in the table, ascending.
        labels: (N,) float32.
    """

    read: Callable[[], Table]
    rows: NDArray[np.int64]
    labels: NDArray[np.float32]

    @property
    def table(self) -> Table:
        """Where they come from."""
        return self.read()

    def __len__(self) -> int:
        return len(self.rows)

    def encode(self, encoder: Encoder) -> EncodedTable:
        """Encode the part's rows with their labels."""
        encoded = encoder.encode(self.table.frame, rows=self.rows, subject=self.table.name)
        return replace(encoded, labels=self.labels)


@dataclass(frozen=True)
class RunParts:
    """What a run trains on, stops by, and is judged by; `notes` are sentences for the user."""

    train: Part
    valid: Part
    test: Part
    notes: tuple[str, ...] = ()
    copies: Copies = field(default_factory=Copies)
    """Of rows of the run's own table."""


def load_parts(spec: RunSpec, table: Callable[[str], Table]) -> RunParts:
    """Read a run's tables and divide their rows.

    Raises:
        TableError, SchemaError: a table does not fit the schema, or a part cannot be made.
    """
    main, copies = _learned(spec, table(spec.table))
    own_valid, of_valid = (None, Copies()) if spec.valid_table is None else _apart(spec, table(spec.valid_table))
    own_test, of_test = (None, Copies()) if spec.test_table is None else _apart(spec, table(spec.test_table))
    split = SplitSpec(
        spec.split.by,
        spec.split.column,
        valid=0.0 if own_valid else spec.split.valid,
        test=0.0 if own_test else spec.split.test,
    )
    frame = main.table.frame.take(main.rows) if len(main) < len(main.table) else main.table.frame
    form = next((role.form for role in spec.schema.roles if role.column == split.column), "")
    division = split_rows(main.labels, split, frame, spec.rows_seed, form=form)
    train, valid, test = (
        Part(main.read, main.rows[rows], main.labels[rows]) for rows in (division.train, division.valid, division.test)
    )
    apart = (("validation", spec.valid_table, own_valid, of_valid), ("test", spec.test_table, own_test, of_test))
    said = [
        note
        for name, sha, part, of_part in apart
        if part is not None
        for note in _notes_apart(spec, name, part, of_part, None if sha == spec.table else train)
    ]
    notes = (*([copies.said] if copies else []), *division.notes, *said)
    parts = RunParts(train, own_valid or valid, own_test or test, notes, copies)
    require_validation(len(parts.valid), main.table.name)
    return parts


def require_validation(rows: int, subject: str) -> None:
    """Check that the validation part has rows.

    Raises:
        SchemaError: it has none.
    """
    if not rows:
        remedy = "Training stops by it: use a share such as 0.1, or give a validation table."
        raise SchemaError(subject, [Problem("the validation part has no rows", remedy)])


def _learned(spec: RunSpec, table: Table) -> tuple[Part, Copies]:
    rows, labels, copies = look_for_copies(table.frame, spec.schema, table.name)
    return Part(lambda: table, rows, labels), copies


def _apart(spec: RunSpec, table: Table) -> tuple[Part, Copies]:
    try:
        return _learned(spec, table)
    except SchemaError:
        require_fit(table, spec.schema)  # names everything that does not fit, not the label alone
        raise


def _trained_on_too(spec: RunSpec, train: Part, part: Part) -> CopiesApart:
    """Count the rows of a table apart that are copies of training rows."""
    trained, apart = ((each.table.frame, each.rows, each.labels) for each in (train, part))
    return copied_from(spec.schema, trained, apart)


def said_of_copies(spec: RunSpec, tables: Callable[[str], Table], table: Table) -> tuple[str, ...]:
    """Say how many of a table's labelled rows are copies of rows that a run was trained on; nothing where none is.

    Args:
        spec: the run's.
        tables: gives the tables that it names.
        table: another one, with the run's label.

    Raises:
        TableError, SchemaError: a table does not fit the schema.
    """
    rows, labels = labelled_rows(table.frame, spec.schema.label, table.name)
    return _trained_on_too(spec, load_parts(spec, tables).train, Part(lambda: table, rows, labels)).said


def _notes_apart(spec: RunSpec, name: str, part: Part, copies: Copies, train: Part | None) -> list[str]:
    """Say of a validation or test table of its own which rows are left out, are copies, or are too few to judge by.

    Args:
        spec: the run's.
        name: of the part.
        part: the rows of the table that are used.
        copies: what is known of copies within it.
        train: the rows trained on, among which its rows may have copies; None where both are of one table.
    """
    rows = len(part.table) - len(part) - (0 if copies.kept else copies.count)
    left = f"{part.table.name}: {rows:,} " + ("row without a label is" if rows == 1 else "rows without a label are")
    notes = [f"{left} left out."] if rows else []
    if copies:
        notes.append(f"{part.table.name}: {copies.said_apart}")
    if train is None:
        notes.append(f"The {name} table is the one trained on: its figures say nothing of unseen rows.")
    else:
        notes += [f"{part.table.name}: {said}" for said in _trained_on_too(spec, train, part).said]
    return notes + part_notes_of(name, part.labels)
