"""Schema inference: a role, a reason and at times a warning for every column of a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deepfm_core._words import percent
from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells, require_separator
from deepfm_core.schema.column_rules import CATEGORIES, QUANTITY, Said, column_role
from deepfm_core.schema.integer_codes import checked_for_codes
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.labels import label_role, labelled_rows, named_as_label, suggest_label
from deepfm_core.schema.leakage import checked_for_leaks, checked_for_order, folds_of, strongest_look
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.tables.table import Table

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
) -> Schema:
    """Suggest what each column of `table` is.

    Args:
        label: the label's column; suggested by name and values if None.
        positive: the label's positive value; suggested if None.
        leave_out_leaks: whether a column that all but gives the label away is ignored; if not, it is warned of.
        said: what the user says of how columns write numbers or times, such as `{"seen": "day first"}`.
        blank_negative: whether a blank cell of the label means its other value, where it holds only one.

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
    rows, clicks = labelled_rows(table.frame, chosen, table.name)
    labels = clicks > 0
    folds = folds_of(labels)
    roles, looks = [], []
    for column in columns:
        cells = Cells.of(table.frame, column)
        role = column_role(cells, first=column == table.frame.columns[0], said=(said or {}).get(column, ""))
        labelled = cells.noted(role.notation).take(rows)
        roles.append(checked_for_order(checked_for_codes(role, labelled, labels), labelled, labels, folds))
        looks.append(strongest_look(roles[-1], labelled, labels, folds))
    roles = checked_for_leaks(roles, looks, leave_out=leave_out_leaks)
    roles = _checked_for_copies(roles, table)
    return Schema(chosen, tuple(_alike_in_families(roles)))


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


def verdict(table: Table, schema: Schema) -> list[str]:
    """Sum up a table and its schema, then name what needs a look first, one remark an element."""
    _, labels = labelled_rows(table.frame, schema.label, table.name)
    share = float(labels.mean()) if len(labels) else 0.0
    few = f" ({int(labels.sum()):,} rows)" if labels.sum() < 100 else ""
    positive = percent(share, 2 if share < 0.01 else 1)
    head = f"{len(table):,} rows, label `{schema.label.column}` {positive} positive{few}"
    used = Counter(role.kind for role in schema.used)
    ignored = len(schema.roles) - len(schema.used)
    held = [f"{used[kind]} {kind.value}" for kind in Kind if used[kind]]
    head = ", ".join([head, *held, *([f"{ignored} ignored"] if ignored else [])])
    remarks = _remarks(schema)
    left = len(remarks) - _SHOWN
    more = [f"{left} more {'remark' if left == 1 else 'remarks'} below"] if left > 0 else []
    return [head, *remarks[:_SHOWN], *more]


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
    """Warn of columns that say the same as one before them: a copy, or an id and its name."""
    alike: dict[tuple[int, ...], list[tuple[str, Cells]]] = {}
    roles = list(roles)
    for place, role in enumerate(roles):
        if not role.kind.is_used or role.kind.is_several:
            continue
        cells = Cells.of(table.frame, role.column).noted(role.notation)
        counts = np.sort(cells.counts[cells.held])
        if not 2 <= len(counts) <= len(cells) / _ROWS_A_VALUE:
            continue
        same = alike.setdefault((role.missing, *counts.tolist()[:_COMPARED], len(counts)), [])
        original = next((name for name, other in same if _says_the_same(cells, other)), None)
        if original is None:
            same.append((role.column, cells))
            continue
        warning = f"says the same as `{original}`: their pair carries no information, so ignore one of them"
        roles[place] = replace(role, warning="; ".join(filter(None, (warning, role.warning))))
    return roles


_ROWS_A_VALUE = 2
"""Rows for each distinct value, from which two columns do not say the same by chance alone."""

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
