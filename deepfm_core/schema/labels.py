"""The label: which column it is, which of its texts count as positive, and its values as 0 and 1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core._words import percent
from deepfm_core.errors import ASKED_FOR, Problem, SchemaError, did_you_mean
from deepfm_core.schema.column import Cells
from deepfm_core.schema.number_parsing import number_names
from deepfm_core.schema.schema import BOUND, LabelRole
from deepfm_core.tables.header import header_doubt
from deepfm_core.tables.table import Table

# fmt: off
LABEL_NAMES = (
    "label", "click", "clicked", "is_click", "is_clicked", "target", "y", "class", "income", "revenue", "converted",
    "conversion", "is_converted", "purchase", "purchased", "is_purchase", "bought", "churn", "churned", "is_churn",
    "default", "outcome", "response", "subscribed", "deposit", "survived", "fraud", "is_fraud", "like", "liked",
    "installed", "is_installed", "attributed", "is_attributed",
)
# fmt: on
"""Usual names of labels, most telling first, compared in lower case with `_` between words."""

MAX_MISSING_SHARE = 0.05
"""Share of rows without a label above which a table is refused rather than shortened."""

# fmt: off
_POSITIVE = frozenset((
    "1", "true", "yes", "y", "t", "on", "click", "clicked", "positive", "pos", "buy", "bought", "purchase", "purchased",
    "converted", "conversion", "churn", "churned", "success", "install", "installed", "subscribed", "like", "liked",
    "fraud", "won", "win",
))
_NEGATIVE = frozenset((
    "0", "-1", "false", "no", "n", "f", "off", "negative", "neg", "failure", "lost", "loss", "lose",
))
# fmt: on
_NOT = re.compile(r"^(not?|non|un|without)[\s_-]*")
_SHOWN = 12


def normal_label(text: str) -> str:
    """Return a label's text in the form in which labels are compared.

    White space at the ends, case, one trailing dot (UCI Adult's test part writes `>50K.`) and the form of a number
    (`1.0` for `1`) make no difference.
    """
    plain = text.strip().casefold()
    bare = plain.removesuffix(".")
    text = bare if any(map(str.isalnum, bare)) else plain  # a label may be symbols alone, such as `.` and `-`
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else repr(number)


@dataclass(frozen=True)
class _Value:
    """One value of a label column: its commonest text and its rows."""

    text: str
    rows: int


def _values(cells: Cells) -> dict[str, _Value]:
    """Return the values of a label column under their normal form, commonest first."""
    texts: dict[str, Counter[str]] = {}
    for place in np.flatnonzero((cells.counts > 0) & ~cells.missing):
        text = cells.texts[int(place)].as_py()
        texts.setdefault(normal_label(text), Counter())[text] += int(cells.counts[place])
    values = {
        key: _Value(min(counts, key=lambda text: (-counts[text], text)), counts.total())
        for key, counts in texts.items()
    }
    return dict(sorted(values.items(), key=lambda item: (-item[1].rows, item[0])))


def suggest_label(table: Table) -> LabelRole | None:
    """Suggest the column that is the label, or None where no column has two values.

    A usual name decides first, then a two-valued column at the end of the table, at its beginning, or the only one.
    """
    columns = [str(column) for column in table.frame.columns if _two_valued(table.frame, column)]
    if not columns:
        return None
    named = _usual(columns)
    if named is not None:
        return _suggested(table, named, "its name is usual for a label")
    for column, reason in (
        (str(table.frame.columns[-1]), "the last column, with two values"),
        (str(table.frame.columns[0]), "the first column, with two values"),
    ):
        if column in columns:
            return _suggested(table, column, reason)
    if len(columns) == 1:
        return _suggested(table, columns[0], "the only column with two values")
    return None


def named_as_label(table: Table) -> str | None:
    """Return the column whose name is usual for a label, whatever it holds; None where there is none.

    Of several, one of few values goes first: `class` of three before `y` of a thousand numbers.
    """
    columns = [str(column) for column in table.frame.columns]
    few = [column for column in columns if len(table.frame[column].cat.categories) <= _FEW_VALUES]
    return _usual(few) or _usual(columns)


def _usual(columns: list[str]) -> str | None:
    names = {re.sub(r"[\s\-]+", "_", column.strip().lower()): column for column in reversed(columns)}
    return next((names[name] for name in LABEL_NAMES if name in names), None)


_FEW_VALUES = 64
"""Distinct texts of a label that is no quantity, at most."""


def _two_valued(frame: pd.DataFrame, column: str) -> bool:
    if len(frame[column].cat.categories) > _FEW_VALUES:
        return False
    cells = Cells.of(frame, column)
    return not _too_long(cells) and len(_values(cells)) == 2 and _missing_rows(cells) <= MAX_MISSING_SHARE * len(cells)


def _suggested(table: Table, column: str, reason: str) -> LabelRole:
    role = label_role(table, column)
    return LabelRole(role.column, role.positive, role.negative, f"{reason}; {role.reason}", role.missing)


def label_role(table: Table, column: str, positive: str | None = None, *, blank_negative: bool = False) -> LabelRole:
    """Return the role of `column` as label, with `positive` (or the value that seems to be it) as the positive value.

    With `blank_negative` a column of one value and blanks is a label, too: its negative value is the empty text.

    Args:
        table: the table.
        column: the label's.
        positive: one of its values; of a label of more than two also several with `|` between them, or a bound on its
            numbers such as `>=4`.
        blank_negative: whether a blank cell means the other value, where there is only one.

    Raises:
        SchemaError: there is no such column; it holds more than two values and `positive` does not say which count;
            more than 5% of the rows have no label; `positive` does not occur.
    """
    subject = f"Label `{column}` of {table.name}"
    _require_column(table, column, subject)
    cells = Cells.of(table.frame, column)
    _require_short(cells, subject)
    values = _values(cells)
    if blank_negative and len(values) == 1 and _missing_rows(cells):
        only = next(iter(values.values())).text
        if positive is not None and normal_label(positive) not in values:
            raise _absent(positive, f"Its only value is `{only}`.", subject)
        return LabelRole(column, only, "", f"`{only}`, and blank cells are the negative ones", _missing_rows(cells))
    if positive is not None and (rule := _rule_of(positive, values)):
        return _ruled(column, rule, cells, values, subject)
    _require_two(values, cells, subject, positive)
    _require_labelled(cells, subject)
    if positive is None:
        key, reason = _positive_of(values)
    else:
        key, reason = normal_label(positive), "chosen by you"
        if key not in values:
            raise _absent(positive, f"Choose one of its two values, {_listed(values)}.", subject)
    other = next(name for name in values if name != key)
    missing = _missing_rows(cells)
    if missing:
        reason += f"; {_rows(missing)} without a label will be left out"
    return LabelRole(column, values[key].text, values[other].text, reason, missing)


# Labels of more than two values.


_BOUND = re.compile(BOUND)
_COMPARED = {">=": np.greater_equal, "<=": np.less_equal, ">": np.greater, "<": np.less}
_OPPOSITE = {">=": "<", "<=": ">", ">": "≤", "<": "≥"}


def _rule_of(positive: str, values: Mapping[str, _Value]) -> str:
    """Read which values of a label are positive, as `LabelRole.rule` has it; empty where it is one of two values."""
    key = normal_label(positive)
    if key in values:
        text = values[key].text if len(values) > 2 else ""
        return f"={text}" if "|" in text or text[:1] in ("=", "<", ">", "≤", "≥") else text
    if bound := _BOUND.fullmatch(positive):
        return bound[1].replace("≥", ">=").replace("≤", "<=") + bound[2]
    named = named_labels(positive, values)
    known = all(key in values for key in named)
    return "|".join(dict.fromkeys(values[key].text for key in named)) if known and len(named) > 1 else ""


def named_labels(text: str, known: Container[str]) -> list[str]:
    """Read labels with `|` between them, in their usual form; a label that is `known` may hold `|` itself."""
    parts, named, first = text.split("|"), list[str](), 0
    while first < len(parts):
        ends = range(len(parts), first, -1)
        end = next((end for end in ends if normal_label("|".join(parts[first:end])) in known), first + 1)
        named.append(normal_label("|".join(parts[first:end])))
        first = end
    return named


def _ruled(column: str, rule: str, cells: Cells, values: Mapping[str, _Value], subject: str) -> LabelRole:
    _require_labelled(cells, subject)
    role = LabelRole(column, *_texts_of(rule), "", _missing_rows(cells), rule)
    problems = _no_numbers(cells, rule)
    if problems:
        raise SchemaError(subject, problems)
    positive = _positive_texts(cells, rule)
    rows = int(cells.counts[positive & ~cells.missing].sum())
    held = len(cells) - role.missing
    if rows in (0, held):
        message = f"{'no' if not rows else 'every'} label is positive by `{role.said}`"
        shown = _listed(dict(values)) if len(values) <= _SHOWN else _range(cells)
        raise SchemaError(subject, [Problem(message, f"Choose another rule. Its values are {shown}.")])
    reason = f"`{role.said}` chosen by you"
    if role.missing:
        reason += f"; {_rows(role.missing)} without a label will be left out"
    return replace(role, reason=reason)


def _texts_of(rule: str) -> tuple[str, str]:
    """Name what a rule takes for positive, and what is left."""
    if bound := _BOUND.fullmatch(rule):
        sign = bound[1].replace(">=", "≥").replace("<=", "≤")
        return f"{sign} {bound[2]}", f"{_OPPOSITE[bound[1]]} {bound[2]}"
    return rule.removeprefix("=") if rule.startswith("=") else rule.replace("|", " or "), "another value"


def _positive_texts(cells: Cells, rule: str) -> NDArray[np.bool_]:
    """Say which of the D distinct texts are positive by a rule: (D,)."""
    if bound := _BOUND.fullmatch(rule):
        with np.errstate(invalid="ignore"):
            return np.asarray(_COMPARED[bound[1]](cells.numbers.values, float(bound[2])))
    held = [normal_label(text) for text in cells.texts.to_pylist()]
    keys = {normal_label(rule[1:])} if rule.startswith("=") else {*named_labels(rule, set(held))}
    return np.array([key in keys for key in held], dtype=bool)


def _no_numbers(cells: Cells, rule: str) -> list[Problem]:
    """Name the cells that a bound says nothing about."""
    if not _BOUND.fullmatch(rule):
        return []
    return cells.problems(
        cells.numbers.wrong & ~cells.missing, f"is no number, so `{rule}` says nothing", "Correct it."
    )


def _range(cells: Cells) -> str:
    numbers = cells.numbers.values[cells.held]
    low, high = number_names([float(np.nanmin(numbers)), float(np.nanmax(numbers))])
    return f"{low} to {high}"


def labelled_rows(frame: pd.DataFrame, role: LabelRole, subject: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the M numbers of the rows that have a label, ascending, and their labels, 0 and 1: (M,), (M,) float32.

    Raises:
        SchemaError: the column is missing, or a cell is neither empty nor one of the label's two values.
    """
    labels, missing = _labels(frame, role, subject, may_be_missing=True)
    rows = np.flatnonzero(~missing)
    return rows, labels[rows]


def labels_of(frame: pd.DataFrame, role: LabelRole, subject: str) -> NDArray[np.float32]:
    """Return the labels of N rows as (N,) float32 of 0 and 1.

    Raises:
        SchemaError: the column is missing, or cells are empty or neither of the label's two values; rows are named.
    """
    return _labels(frame, role, subject, may_be_missing=False)[0]


def _labels(
    frame: pd.DataFrame, role: LabelRole, subject: str, *, may_be_missing: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Give the label of each of N rows, and whether it is missing; a negative label that is empty is not."""
    if role.column not in frame.columns:
        remedy = "Add the column, or use the table for prediction only."
        raise SchemaError(subject, [Problem(f"the label column `{role.column}` is missing", remedy)])
    cells = Cells.of(frame, role.column)
    if role.rule:
        return _labels_by_rule(cells, role, subject, may_be_missing=may_be_missing)
    positive, negative = normal_label(role.positive), normal_label(role.negative)
    texts = zip(cells.texts.to_pylist(), cells.missing, strict=True)
    keys = ["" if missing else normal_label(text) for text, missing in texts]
    absent = cells.missing if negative else np.zeros(len(cells.texts), dtype=bool)
    known = np.array([key in (positive, negative) for key in keys], dtype=bool) | (absent & may_be_missing)
    problems = [_unknown_label(cells, int(place), role) for place in np.flatnonzero(~known & (cells.counts > 0))]
    if problems:
        raise SchemaError(subject, problems)
    is_positive = np.array([key == positive for key in keys], dtype=np.float32)
    if not len(cells):
        return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=bool)
    return is_positive[cells.codes], absent[cells.codes]


def _labels_by_rule(
    cells: Cells, role: LabelRole, subject: str, *, may_be_missing: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    problems = _no_numbers(cells, role.rule)
    if not may_be_missing:
        absent = np.flatnonzero(cells.missing & (cells.counts > 0))
        problems = [_unknown_label(cells, int(place), role) for place in absent] + problems
    if problems:
        raise SchemaError(subject, problems)
    return _positive_texts(cells, role.rule).astype(np.float32)[cells.codes], cells.missing[cells.codes]


def _unknown_label(cells: Cells, place: int, role: LabelRole) -> Problem:
    rows = int(cells.counts[place])
    where = cells.row_name(int(cells.first_rows[place])) + (f" and {rows - 1:,} more" if rows > 1 else "")
    if cells.missing[place]:
        return Problem(f"{where} without a label", "Fill them in or leave the rows out.", column=cells.name)
    remedy = f"Labels of this schema are `{role.positive}` (positive) and `{role.negative}`."
    return Problem(f"{where}: not a label", remedy, column=cells.name, value=cells.texts[place].as_py())


def _positive_of(values: dict[str, _Value]) -> tuple[str, str]:
    """Return which of two values is the positive one, and why."""
    common, rare = values
    if all(_is_number(key) for key in values):
        key = max(values, key=float)
        return key, f"`{values[key].text}` is the larger of the two numbers"
    for key, other in ((rare, common), (common, rare)):
        if key in _POSITIVE and other not in _POSITIVE:
            return key, f"`{values[key].text}` is the usual word for a positive label"
        if other in _NEGATIVE and key not in _NEGATIVE:
            return key, f"`{values[other].text}` is the usual word for a negative label"
        if _NOT.match(other) and _NOT.sub("", other) == key:
            return key, f"`{values[other].text}` negates `{values[key].text}`"
        if key.startswith((">", "≥")) and other.startswith(("<", "≤")):
            return key, f"`{values[key].text}` is the higher of the two"
    share = values[rare].rows / (values[rare].rows + values[common].rows)
    return rare, f"`{values[rare].text}` is the rarer of the two ({percent(share, 1)})"


def _is_number(key: str) -> bool:
    try:
        float(key)
    except ValueError:
        return False
    return True


def _require_column(table: Table, column: str, subject: str) -> None:
    names = [str(name) for name in table.frame.columns]
    if column in names:
        return
    meant = did_you_mean(column, names)
    more = f" and {len(names) - 40} more" if len(names) > 40 else ""
    columns = ", ".join(f"`{name}`" for name in names[:40])
    problem = Problem("there is no such column", f"{meant}Columns are {columns}{more}.")
    raise SchemaError(subject, [problem, *header_doubt(table)])


_MOST_LETTERS = 1_000
"""Characters of a label's value: it stands in sentences and charts."""


def _too_long(cells: Cells) -> int:
    """Return the characters of the longest text of a column where a label has no such; else 0."""
    longest = pc.max(pc.utf8_length(cells.texts)).as_py() or 0
    return int(longest) if longest > _MOST_LETTERS else 0


def _require_short(cells: Cells, subject: str) -> None:
    if longest := _too_long(cells):
        message = f"a value has {longest:,} characters, more than the limit of {_MOST_LETTERS:,}"
        raise SchemaError(subject, [Problem(message, "Choose another column, or shorten its values.")])


def _absent(positive: str, remedy: str, subject: str) -> SchemaError:
    problem = Problem("the positive value does not occur", remedy, value=positive, how=ASKED_FOR)
    return SchemaError(subject, [problem])


def _require_two(values: dict[str, _Value], cells: Cells, subject: str, positive: str | None) -> None:
    if len(values) == 2:
        return
    if positive is not None and len(values) > 2:
        remedy = "Name values of the label, with `|` between them, or a bound on its numbers such as `>=4`. They are "
        raise _absent(positive, f"{remedy}{_listed(values)}.", subject)
    if not values:
        remedy = "Choose another column, or fill in the labels."
        raise SchemaError(subject, [Problem(f"all {len(cells):,} cells are missing", remedy)])
    blank = _missing_rows(cells)
    if len(values) == 1 and blank:
        only = next(iter(values.values()))
        message = f"there is only one class, in {_rows(only.rows)}; {_rows(blank)} are blank"
        remedy = "If blank means no, say so (`--blank-negative`), or write 0 there."
        raise SchemaError(subject, [Problem(message, remedy, value=only.text)])
    if len(values) == 1:
        remedy = "A model needs rows of both classes: add rows of the other one, or choose another column."
        only = next(iter(values.values()))
        message = f"there is only one class, in {_rows(only.rows)}"
        raise SchemaError(subject, [Problem(message, remedy, value=only.text)])
    remedy = "Say which of them are positive (`--positive 'a|b'`), or from which number on (`--positive '>=4'`)."
    message = f"there are {len(values):,} classes: {_listed(values)}"
    raise SchemaError(subject, [Problem(message, remedy)])


def _require_labelled(cells: Cells, subject: str) -> None:
    missing = _missing_rows(cells)
    if missing <= MAX_MISSING_SHARE * len(cells):
        return
    rows = np.flatnonzero(cells.missing[cells.codes])[:5]
    named = ", ".join(map(cells.row_name, rows.tolist())) + (", …" if missing > len(rows) else "")
    message = f"{missing:,} of {len(cells):,} rows ({percent(missing / len(cells), 1)}) have no label ({named})"
    remedy = f"Fill them in or leave the rows out; up to {MAX_MISSING_SHARE:.0%} are left out for you."
    raise SchemaError(subject, [Problem(message, remedy)])


def _missing_rows(cells: Cells) -> int:
    return int(cells.counts[cells.missing].sum())


def _listed(values: dict[str, _Value]) -> str:
    shown = [f"`{value.text}` ({_rows(value.rows)})" for value in list(values.values())[:_SHOWN]]
    more = [f"{len(values) - _SHOWN:,} more"] if len(values) > _SHOWN else []
    return ", ".join(shown + more)


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
