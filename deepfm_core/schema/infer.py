"""Schema inference: a role, a reason and at times a warning for every column of a table; leaks are looked for, too."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core._words import percent
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import WRAPPING, Cells, require_separator
from deepfm_core.schema.column_rules import (
    CATEGORIES,
    LEFT_OUT,
    QUANTITY,
    Said,
    column_role,
    declared_role,
    folder_role,
)
from deepfm_core.schema.copies import Copies, learned_rows, look_for_copies
from deepfm_core.schema.integer_codes import checked_for_codes, checked_for_lost_digits
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.knots import bucket_edges
from deepfm_core.schema.labels import label_role, labelled_rows, named_as_label, suggest_label
from deepfm_core.schema.schema import DROP, FieldRole, LabelRole, Schema
from deepfm_core.schema.timestamps import Moments
from deepfm_core.tables.table import DATE, PARTS_OF_DATES, Table

# How well a single column predicts the label on rows it was not counted on: what leaks shows here.
#
# Start with `checked_for_leaks`. A column is looked at in several ways: whether it has a value, its values, and where
# it holds points in time their hour, weekday and order.

LEAK_WARNING, LEAK_IGNORED = 0.95, 0.995
"""Out-of-fold AUC of a single field from which it is suspected of leaking the label, and from which it is left out."""

FAR_ABOVE, TIMES_ABOVE = 0.9, 2.0
"""AUC from which a column is advised to be looked at if its distance from 0.5 is so many times that of any other."""

FOLDS = 5
_PRIOR_ROWS = 10.0
_BUCKETS = 200
_VALUES = 100
"""Values of a multi-valued column that are looked at, the most frequent ones."""


@dataclass(frozen=True)
class Look:
    """One way to look at a column, and how well that alone predicts the label.

    Attributes:
        auc: out of fold.
        said: what predicts, as the subject of a sentence.
        enters: whether a model would see it.
    """

    auc: float
    said: str
    enters: bool = True

    @property
    def gini(self) -> float:
        """Twice the distance of the AUC from one half."""
        return 2 * self.auc - 1


NO_LOOK = Look(0.5, "it")


def checked_for_leaks(roles: Sequence[FieldRole], looks: Sequence[Look], *, leave_out: bool) -> list[FieldRole]:
    """Leave out or warn of the columns that nearly give the label away, and advise on one far above all others.

    Args:
        roles: of all columns but the label.
        looks: the strongest look at each.
        leave_out: whether a column that gives the label away is ignored; if not, it is warned of.
    """
    strongest = sorted((look.gini for look in looks), reverse=True)
    second = strongest[1] if len(strongest) > 1 else 1.0
    return [_checked(role, look, second, leave_out) for role, look in zip(roles, looks, strict=True)]


def _checked(role: FieldRole, look: Look, second: float, leave_out: bool) -> FieldRole:
    said = f"alone {look.said} predicts the label with AUC {look.auc:.3f}"
    if look.auc >= LEAK_IGNORED and leave_out and look.enters:
        return replace(role, kind=LEFT_OUT, reason=said, warning="it may have been written after the label")
    if look.auc < LEAK_WARNING:
        if look.auc < FAR_ABOVE or look.gini < TIMES_ABOVE * second:
            return role
        said += f", far above every other column (at most {0.5 + second / 2:.2f})"
    remedy = "make sure it is known before the label is"
    if not look.enters:
        remedy = "rows may be sorted by the label, so use a split by time"
    return replace(role, warning="; ".join(filter(None, (f"{said}: {remedy}", role.warning))))


ORDER_TELLS = 0.6
"""AUC of row numbers from which the labels follow the order of the log."""

_RISING = 0.999


def checked_for_order(role: FieldRole, cells: Cells, labels: NDArray[np.bool_], folds: NDArray[np.int64]) -> FieldRole:
    """Warn of numbers that stand for the order of the log where the labels follow that order.

    These are row numbers, which are left out, and whole numbers that rise with the rows.
    """
    left_out = role.reason.startswith(("row numbers", "identifiers"))
    if not left_out and not (role.kind.is_number and _rises(cells)):
        return role
    auc = level_auc(_levels(cells, by_number=True), cells, labels, folds)
    if auc < ORDER_TELLS:
        return role
    warning = f"the labels follow the order of the log: row numbers alone reach AUC {auc:.2f}"
    if not left_out:
        warning = f"its numbers rise with the rows, and the labels follow (AUC {auc:.2f}): it may be the log's order"
    remedy = "a split by time is the honest test" if left_out else "ignore it if so"
    return replace(role, warning="; ".join(filter(None, (f"{warning}: {remedy}", role.warning))))


def _rises(cells: Cells) -> bool:
    """Say whether nearly unique whole numbers rise, or fall, from row to row."""
    values = cells.numbers.values[cells.codes]
    if len(cells.held) < len(cells) / 2 or np.isnan(values).any() or np.any(values != np.floor(values)):
        return False
    steps = np.diff(values)
    return bool(len(steps)) and max(float((steps >= 0).mean()), float((steps <= 0).mean())) >= _RISING


def strongest_look(role: FieldRole, cells: Cells, labels: NDArray[np.bool_], folds: NDArray[np.int64]) -> Look:
    """Return the look at a column that predicts the label best; of nearly equal ones the first.

    Args:
        role: what the column is taken to be; at an ignored one nobody looks.
        cells: its cells in N labelled rows.
        labels: (N,) of these rows.
        folds: (N,) the fold of each row.
    """
    best = NO_LOOK
    if not role.kind.is_used:
        return best
    for said, levels, enters in _levels_to_look_at(role, cells):
        auc = level_auc(levels, cells, labels, folds)
        if auc > best.auc + 0.001:
            best = Look(auc, said, enters)
    return best


def _levels_to_look_at(role: FieldRole, cells: Cells) -> Iterator[tuple[str, NDArray[np.int64], bool]]:
    """Yield each way to look at a column: what it looks at, (D,) a level per distinct text, whether a model sees it."""
    if role.missing:
        yield "whether it has a value", cells.missing.astype(np.int64), True
    if role.kind.is_time:
        yield from _of_times(cells, role.form)
    elif role.kind.is_several and role.separator:
        yield from _of_lists(cells, role.separator)
        yield "it", _levels(cells, by_number=False), True
    else:
        yield "it", _levels(cells, by_number=role.kind.is_number), True


def _of_times(cells: Cells, form: str) -> Iterator[tuple[str, NDArray[np.int64], bool]]:
    moments = cells.moments(form)
    placeholder = _placeholder(moments, cells.counts)
    if placeholder is not None:
        said = f"whether it is `{cells.texts[placeholder].as_py()}`"
        yield said, (np.arange(len(cells.texts)) == placeholder).astype(np.int64), True
    yield "its hour of day", np.where(moments.valid, moments.hours, 24), True
    yield "its day of week", np.where(moments.valid, moments.weekdays, 7), True
    seconds = np.where(moments.valid, moments.instant.astype(np.float64), np.nan)
    yield "its order in time", _bucketed(seconds, cells.counts), False


def _placeholder(moments: Moments, counts: NDArray[np.int64]) -> int | None:
    """Return the place of the most frequent time, of D, if it is further from all others than they are apart.

    It stands for no time, such as `1970-01-01` or `9999-12-31` where nothing happened.
    """
    rows = np.where(moments.valid, counts, 0)
    place = int(rows.argmax())
    others = moments.instant[(rows > 0) & (np.arange(len(rows)) != place)].astype(np.float64)
    if len(others) < 2:
        return None
    low, high = others.min(), others.max()
    here = float(moments.instant[place])
    return place if max(low - here, here - high) > high - low else None


def _of_lists(cells: Cells, separator: str) -> Iterator[tuple[str, NDArray[np.int64], bool]]:
    parts = pc.split_pattern(cells.texts, separator)
    of_cell = np.asarray(pc.list_parent_indices(parts))
    values = pc.utf8_trim(pc.list_flatten(parts), WRAPPING).dictionary_encode()
    codes = np.asarray(values.indices)
    rows = np.bincount(codes, weights=cells.counts[of_cell], minlength=len(values.dictionary))
    for value in np.argsort(-rows, kind="stable")[:_VALUES].tolist():
        levels = np.zeros(len(cells.texts), dtype=np.int64)
        levels[of_cell[codes == value]] = 1
        yield f"its value `{values.dictionary[value].as_py()}`", levels, True


def folds_of(labels: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (N,) the fold of each row, dealt out in turn within each class, in an order that is not the table's.

    In the table's own order every stretch of rows would be dealt out evenly, so that the rate of a stretch in the other
    folds were its rate in all of them: row numbers would seem to predict labels drawn at random.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    mixed, folds = labels[order], np.empty(len(labels), dtype=np.int64)
    folds[order] = np.where(mixed, np.cumsum(mixed), np.cumsum(~mixed)) % FOLDS
    return folds


def level_auc(levels: NDArray[np.int64], cells: Cells, labels: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    """Return the AUC of scoring each row by the click rate of its level in the other folds.

    Rates are drawn towards the base rate by 10 rows, so a level that stands in one row only scores like any other and
    nearly unique columns come out at about one half.

    Args:
        levels: (D,) the level of each distinct text of `cells`.
        cells: of N rows.
        labels: (N,) of these rows.
        folds: (N,) the fold of each row.

    Source: out-of-fold target encoding (Micci-Barreca 2001) and the rank-sum form of the AUC with ties as halves.
    """
    level = levels[cells.codes]
    size = int(level.max(initial=0)) + 1
    cell = level * FOLDS + folds
    rows = np.bincount(cell, minlength=size * FOLDS).reshape(size, FOLDS).astype(np.float64)
    clicks = np.bincount(cell, weights=labels.astype(np.float64), minlength=size * FOLDS).reshape(size, FOLDS)
    base = clicks.sum() / max(rows.sum(), 1.0)
    others_rows = rows.sum(axis=1, keepdims=True) - rows
    others_clicks = clicks.sum(axis=1, keepdims=True) - clicks
    score = (others_clicks + _PRIOR_ROWS * base) / (others_rows + _PRIOR_ROWS)
    return weighted_auc(score.ravel(), clicks.ravel(), (rows - clicks).ravel())


def weighted_auc(score: NDArray[Any], positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """Return the AUC of n groups of rows that share a score; 0.5 where a class is empty."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    up, down = np.add.reduceat(positive[order], starts), np.add.reduceat(negative[order], starts)
    if not up.sum() or not down.sum():
        return 0.5
    below = np.cumsum(down) - down
    return float((up * (below + down / 2)).sum() / (up.sum() * down.sum()))


def _levels(cells: Cells, by_number: bool) -> NDArray[np.int64]:
    """Return (D,) a level for each distinct text."""
    if not by_number:
        return np.where(cells.missing, len(cells.texts), np.arange(len(cells.texts)))
    return _bucketed(cells.numbers.values, cells.counts)


def _bucketed(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    edges = bucket_edges(values, counts, _BUCKETS)
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="right") + 1)


# Schema inference: a role, a reason and at times a warning for every column of a table.


_CHOSEN = "chosen by you"
_FAMILY = 3
_SHOWN = 3


def infer_schema(
    table: Table,
    label: str | None = None,
    positive: str | None = None,
    *,
    leave_out_leaks: bool = True,
    said: Mapping[str, Said] | None = None,
    blank_negative: bool = False,
    copies: str = DROP,
) -> Schema:
    """Suggest what each column of `table` is.

    Args:
        label: the label's column; suggested by name and values if None.
        positive: the label's positive value; suggested if None.
        leave_out_leaks: whether a column that all but gives the label away is ignored; if not, it is warned of.
        said: what the user says of how columns write numbers or times, such as `{"seen": "day first"}`.
        blank_negative: whether a blank cell of the label means its other value, where it holds only one.
        copies: what is done with copies of rows, as `Schema.copies` has it.

    Raises:
        SchemaError: the table has no rows or no column besides the label, or the label cannot be one.
    """
    if not len(table):
        raise SchemaError(table.name, [Problem("the table has no rows", "Add rows below the header.")])
    chosen = _label(table, label, positive, blank_negative)
    columns = [str(column) for column in table.frame.columns if column != chosen.column]
    if not columns:
        remedy = "Add columns to learn from."
        raise SchemaError(table.name, [Problem(f"there is no column besides the label `{chosen.column}`", remedy)])
    roles = []
    distinct = _distinct_rows(table, chosen, columns, copies)
    for column in columns:
        cells = Cells.of(table.frame, column)
        cells = cells if distinct is None else cells.take(distinct)  # a row number that stands twice is one
        roles.append(_role_of(table, cells, (said or {}).get(column, "")))
    rows, clicks = learned_rows(table.frame, Schema(chosen, tuple(roles), copies), table.name)
    labels = clicks > 0
    folds = folds_of(labels)
    looks = []
    for place, role in enumerate(roles):
        labelled = Cells.of(table.frame, role.column).noted(role.notation).take(rows)
        roles[place] = checked_for_order(checked_for_codes(role, labelled, labels), labelled, labels, folds)
        looks.append(strongest_look(roles[place], labelled, labels, folds))
    roles = checked_for_leaks(roles, looks, leave_out=leave_out_leaks)
    roles = _checked_for_copies(roles, table)
    return Schema(chosen, tuple(_alike_in_families(roles)), copies)


def _role_of(table: Table, cells: Cells, said: Said) -> FieldRole:
    """Suggest what a column is by its cells, and by what its file and its folders say of it."""
    role = column_role(cells, first=cells.name == table.frame.columns[0], said=said)
    if cells.name in table.report.declared:
        role = declared_role(cells, role)
    role = checked_for_lost_digits(role, cells)
    if cells.name in table.report.folders:
        role = folder_role(cells, role, part_of=_date_with(cells.name, table))
    return role


def _distinct_rows(table: Table, label: LabelRole, columns: Sequence[str], copies: str) -> NDArray[np.int64] | None:
    """Return the rows of a table without those that are copies in all columns; None where there are none to leave out.

    Rows without a label stay.
    """
    every = Schema(label, tuple(FieldRole(column, CATEGORIES) for column in columns), copies)
    rows, _ = learned_rows(table.frame, every, table.name)
    labelled, _ = labelled_rows(table.frame, label, table.name)
    if len(rows) == len(labelled):
        return None
    distinct = np.ones(len(table), dtype=bool)
    distinct[labelled] = False
    distinct[rows] = True
    return np.flatnonzero(distinct)


def with_separators(schema: Schema, table: Table) -> Schema:
    """Find what stands between values in the columns that the user has said to hold several.

    Raises:
        SchemaError: no separator is found in one of them.
    """
    roles = (
        replace(role, separator=require_separator(Cells.of(table.frame, role.column), table.name))
        if role.kind.is_several and role.separator is None
        else role
        for role in schema.roles
    )
    return replace(schema, roles=tuple(roles))


def verdict(table: Table, schema: Schema, copies: Copies | None = None) -> list[str]:
    """Sum up a table and its schema, then name what needs a look first, one remark an element.

    Args:
        table: the table.
        schema: its roles.
        copies: what `look_for_copies` finds of them, where it is known; with many rows it takes a while.
    """
    _, labels = labelled_rows(table.frame, schema.label, table.name)
    share = float(labels.mean()) if len(labels) else 0.0
    few = f" ({int(labels.sum()):,} rows)" if labels.sum() < 100 else ""
    positive = percent(share, 2 if share < 0.01 else 1)
    copies = look_for_copies(table.frame, schema, table.name).copies if copies is None else copies
    left = f" ({copies.left_out})" if copies.count and not copies.kept else ""
    head = f"{len(table):,} rows{left}, label `{schema.label.column}` {positive} positive{few}"
    used = Counter(role.kind for role in schema.used)
    ignored = len(schema.roles) - len(schema.used)
    held = [f"{used[kind]} {kind.value}" for kind in Kind if used[kind]]
    head = ", ".join([head, *held, *([f"{ignored} ignored"] if ignored else [])])
    remarks = [*([copies.said] if copies else []), *_remarks(schema)]
    unlabelled = len(table) - len(labels)
    has = "row has" if unlabelled == 1 else "rows have"
    left_out = f"{unlabelled:,} {has} no label and {'is' if unlabelled == 1 else 'are'} left out"
    unsaid = len(remarks) - _SHOWN
    more = [f"{unsaid} more {'remark' if unsaid == 1 else 'remarks'} below"] if unsaid > 0 else []
    return [head, *([left_out] if unlabelled else []), *remarks[:_SHOWN], *more]


def _label(table: Table, label: str | None, positive: str | None, blank_negative: bool) -> LabelRole:
    if label is not None:
        return label_role(table, label, positive, blank_negative=blank_negative)
    suggested = suggest_label(table)
    named = named_as_label(table) if suggested is None else None
    if named is not None:
        return label_role(table, named, positive, blank_negative=blank_negative)  # says what is wrong with it
    if suggested is None:
        names = ", ".join(f"`{name}`" for name in list(table.frame.columns)[:40])
        remedy = (
            "Name the label's column: one with two values, or ratings or classes of which you say what is positive. "
            f"Columns are {names}."
        )
        raise SchemaError(table.name, [Problem("no column looks like a label", remedy)])
    if positive is None:
        return suggested
    return label_role(table, suggested.column, positive)


def _checked_for_copies(roles: list[FieldRole], table: Table) -> list[FieldRole]:
    """Warn of columns that say the same as one before them: a copy, an id and its name, cents beside euros."""
    alike: dict[tuple[Any, ...], list[tuple[str, Cells]]] = {}
    roles = list(roles)
    for place, role in enumerate(roles):
        if not role.kind.is_used:
            continue
        cells = Cells.of(table.frame, role.column).noted(role.notation)
        counts = np.sort(cells.counts[cells.held])
        ordered = len(counts) > len(cells) / _ROWS_A_VALUE and (role.kind.is_number or role.kind.is_time)
        key: tuple[Any, ...] = (role.missing, *counts.tolist()[:_COMPARED], len(counts))
        if ordered:  # of equal orders the digest is equal; the orders themselves would be as large as the table
            key = (role.kind.is_time, hashlib.sha256(_order(cells, role).tobytes()).digest())
        elif not 2 <= len(counts) <= len(cells) / _ROWS_A_VALUE:
            continue
        same = alike.setdefault(key, [])
        original = next((name for name, other in same if ordered or _says_the_same(cells, other)), None)
        if original is None:
            same.append((role.column, cells))
            continue
        warning = f"says the same as `{original}`: their pair carries no information, so ignore one of them"
        roles[place] = replace(role, warning="; ".join(filter(None, (warning, role.warning))))
    return roles


def _order(cells: Cells, role: FieldRole) -> NDArray[np.int64]:
    """Return (N,) the rank of each row's number or time, -1 for none; turned so that ranks do not begin high.

    Columns of equal ranks are each other in another unit, or against each other.
    """
    moments = cells.moments(role.form) if role.kind.is_time else None
    values = cells.numbers.values if moments is None else np.where(moments.valid, moments.instant, np.nan)
    known = ~np.isnan(values)
    ranks = np.full(len(values), -1, dtype=np.int64)
    ranks[known] = np.unique(values[known], return_inverse=True)[1]
    turned = np.where(known, ranks.max(initial=0) - ranks, -1)
    rows: NDArray[np.int64] = ranks[cells.codes]
    others: NDArray[np.int64] = turned[cells.codes]
    first = int(np.argmax(rows != others))
    return rows if rows[first] <= others[first] else others


_ROWS_A_VALUE = 2
"""Rows for each distinct value, from which two columns do not say the same by chance alone; of rarer values the order
is compared, if they have one."""

_COMPARED = 50
"""Counts of values that must be equal before two columns are compared row by row."""


def _says_the_same(a: Cells, b: Cells) -> bool:
    """Say whether each value of one column stands beside one value of the other, and the other way round."""
    pairs = len(np.unique(a.codes.astype(np.int64) * len(b.texts) + b.codes))
    return pairs == len(np.unique(a.codes)) == len(np.unique(b.codes))


def _alike_in_families(roles: list[FieldRole]) -> list[FieldRole]:
    """Let columns that differ in a trailing number (`affinity_0`, `affinity_1`, …) be numbers if one of them is."""
    families: dict[str, list[int]] = {}
    for place, role in enumerate(roles):
        if re.search(r"\d$", role.column):
            families.setdefault(role.column.rstrip("0123456789"), []).append(place)
    roles = list(roles)
    for stem, places in families.items():
        if len(places) < _FAMILY or not any(roles[place].kind is QUANTITY for place in places):
            continue
        for place in places:
            if roles[place].kind is CATEGORIES and roles[place].reason.startswith("two values"):
                reason = f"{roles[place].reason}; a number like others named `{stem}…`"
                roles[place] = replace(roles[place], kind=QUANTITY, reason=reason)
    return roles


def _date_with(column: str, table: Table) -> str:
    """Name the column of dates that a folder's year, month or day is a part of; empty where there are no such dates."""
    if column.lower() not in PARTS_OF_DATES or DATE not in table.report.folders:
        return ""
    return DATE if any(table.frame[DATE].array.categories) else ""


def _remarks(schema: Schema) -> list[str]:
    """Return what the verdict says of roles: warnings first, and once for columns of which the same is to be said."""
    alike: dict[tuple[bool, str], list[FieldRole]] = {}
    for role in schema.roles:
        ignored = not role.kind.is_used
        if role.orders_rows:
            ignored, role = False, replace(role, warning=f"left out as {role.reason}; {role.warning}")
        said = role.reason if ignored else role.warning
        if said and said != _CHOSEN:
            alike.setdefault((ignored, re.sub(r"`[^`]*`|[\d.,%]+|s\b", "", said)), []).append(role)
    return [_remark(roles, ignored) for (ignored, _), roles in sorted(alike.items(), key=lambda item: item[0][0])]


def _remark(roles: list[FieldRole], ignored: bool) -> str:
    column, others = f"`{roles[0].column}`", len(roles) - 1
    if ignored and others:
        return f"{column} ({roles[0].reason}) and {others} more like it: left out (you can change this)"
    if ignored:
        return f"{column} {roles[0].reason}: left out (you can change this)"
    return f"{column}: {roles[0].warning}" + (f" ({others} more like it)" if others else "")
