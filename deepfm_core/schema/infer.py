"""Schema inference: a role, a reason and at times a warning for every column of a table."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells
from deepfm_core.schema.column_rules import CATEGORIES, LEFT_OUT, QUANTITY, column_role
from deepfm_core.schema.integer_codes import checked_for_codes
from deepfm_core.schema.kinds import Content
from deepfm_core.schema.knots import bucket_edges
from deepfm_core.schema.labels import label_role, labelled_rows, named_as_label, suggest_label
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.tables.table import Table

LEAK_WARNING, LEAK_IGNORED = 0.95, 0.995
"""Out-of-fold AUC of a single field from which it is suspected of leaking the label, and from which it is left out."""

_CHOSEN = "chosen by you"
_FAMILY = 3
_SHOWN = 3


def infer_schema(
    table: Table,
    label: str | None = None,
    positive: str | None = None,
    *,
    leave_out_leaks: bool = True,
    blank_negative: bool = False,
) -> Schema:
    """Suggest what each column of `table` is.

    Args:
        label: the label's column; suggested by name and values if None.
        positive: the label's positive value; suggested if None.
        leave_out_leaks: whether a column that all but gives the label away is ignored; if not, it is warned of.
        blank_negative: whether rows without a label are negative; the label has one value besides then.

    Raises:
        SchemaError: the table has no rows or no column besides the label, or the label cannot be one.
    """
    if not len(table):
        raise SchemaError(table.name, [Problem("the table has no rows", "Add rows below the header.")])
    chosen = (
        label_role(table, label, positive, blank_negative=True)
        if label and blank_negative
        else _label(table, label, positive)
    )
    columns = [str(column) for column in table.frame.columns if column != chosen.column]
    if not columns:
        remedy = "Add columns to learn from."
        raise SchemaError(table.name, [Problem(f"there is no column besides the label `{chosen.column}`", remedy)])
    rows, clicks = labelled_rows(table.frame, chosen, table.name)
    labels = clicks > 0
    folds = folds_of(labels)
    roles = []
    for column in columns:
        cells = Cells.of(table.frame, column)
        labelled = cells.take(rows)
        role = checked_for_codes(column_role(cells), labelled, labels)
        roles.append(_checked_for_leaks(role, labelled, labels, folds, leave_out_leaks))
    return Schema(chosen, tuple(_alike_in_families(roles)))


def verdict(table: Table, schema: Schema) -> list[str]:
    """Sum up a table and its schema, then name what needs a look first, one remark an element."""
    _, labels = labelled_rows(table.frame, schema.label, table.name)
    share = float(labels.mean()) if len(labels) else 0.0
    few = f" ({int(labels.sum()):,} rows)" if labels.sum() < 100 else ""
    percent = f"{share:.2%}" if share < 0.01 else f"{share:.1%}"
    head = f"{len(table):,} rows, label `{schema.label.column}` {percent} positive{few}"
    used = Counter(role.kind.entry.content for role in schema.used)
    ignored = len(schema.roles) - len(schema.used)
    held = [f"{used[content]} {content}" for content in Content if used[content]]
    head = ", ".join([head, *held, *([f"{ignored} ignored"] if ignored else [])])
    remarks = _remarks(schema)
    left = len(remarks) - _SHOWN
    more = [f"{left} more {'remark' if left == 1 else 'remarks'} below"] if left > 0 else []
    return [head, *remarks[:_SHOWN], *more]


def _label(table: Table, label: str | None, positive: str | None) -> LabelRole:
    if label is not None:
        return label_role(table, label, positive)
    suggested = suggest_label(table)
    named = named_as_label(table) if suggested is None else None
    if named is not None:
        return label_role(table, named, positive)  # says what is wrong with it
    if suggested is None:
        names = ", ".join(f"`{name}`" for name in list(table.frame.columns)[:40])
        remedy = f"Name the label's column, one with two values. Columns are {names}."
        raise SchemaError(table.name, [Problem("no column looks like a label", remedy)])
    if positive is None:
        return suggested
    return label_role(table, suggested.column, positive)


def _checked_for_leaks(
    role: FieldRole, cells: Cells, labels: NDArray[np.bool_], folds: NDArray[np.int64], leave_out: bool
) -> FieldRole:
    if not role.kind.is_used or role.kind.is_time:
        return role
    auc = field_auc(cells, labels, folds, by_number=role.kind.is_number)
    if auc < LEAK_WARNING:
        return role
    said = f"alone it predicts the label with AUC {auc:.3f}"
    if auc >= LEAK_IGNORED and leave_out:
        return replace(role, kind=LEFT_OUT, reason=said, warning="it may have been written after the label")
    warning = f"{said}: make sure it is known before the label is"
    return replace(role, warning="; ".join(filter(None, (warning, role.warning))))


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


def _remarks(schema: Schema) -> list[str]:
    """Return what the verdict says of roles: warnings first, and once for columns of which the same is to be said."""
    alike: dict[tuple[bool, str], list[FieldRole]] = {}
    for role in schema.roles:
        ignored = not role.kind.is_used
        said = role.reason if ignored else role.warning
        if said and said != _CHOSEN:
            alike.setdefault((ignored, re.sub(r"`[^`]*`|[\d.,%]+|s\b", "", said)), []).append(role)
    return [_remark(roles, ignored) for (ignored, _), roles in sorted(alike.items(), key=lambda item: item[0][0])]


def _remark(roles: list[FieldRole], ignored: bool) -> str:
    column, others = f"`{roles[0].column}`", len(roles) - 1
    if ignored and others:
        return f"{column} ({roles[0].reason}) and {others} more like it: suggest ignoring them"
    if ignored:
        return f"{column} {roles[0].reason}: suggest ignoring it"
    return f"{column}: {roles[0].warning}" + (f" ({others} more like it)" if others else "")


# Columns that tell the label: how well one field predicts it on rows it was not counted on.


FOLDS = 5
_PRIOR_ROWS = 10.0
_BUCKETS = 200


def folds_of(labels: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (N,) the fold of each row, dealt out in turn within each class."""
    turn = np.where(labels, np.cumsum(labels), np.cumsum(~labels))
    return turn % FOLDS


def field_auc(cells: Cells, labels: NDArray[np.bool_], folds: NDArray[np.int64], *, by_number: bool) -> float:
    """Return the AUC of scoring each row by the click rate of its value in the other folds.

    Rates are drawn towards the base rate by 10 rows, so a value that stands in one row only scores like any other and
    nearly unique columns come out at about one half. Numbers are counted by quantile buckets.

    Source: out-of-fold target encoding (Micci-Barreca 2001) and the rank-sum form of the AUC with ties as halves.
    """
    level = _levels(cells, by_number)[cells.codes]
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
    values = cells.numbers.values
    edges = bucket_edges(values, cells.counts, _BUCKETS)
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="right") + 1)
