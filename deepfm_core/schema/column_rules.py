"""What one column is taken to be, judged by its cells and its name alone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepfm_core._words import percent
from deepfm_core.schema.column import (
    Cells,
    Typed,
    find_separator,
    name_words,
    names_a_quantity,
    names_an_id,
    names_codes,
    names_row_numbers,
    names_unnamed_codes,
    shown,
    typed_name,
)
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.number_parsing import MISSING_WORDS, PLAIN, Notation, holes_of, notation_of, number_names
from deepfm_core.schema.schema import FOLDERS, FieldRole
from deepfm_core.schema.timestamps import dated_order, form_of, looks_like_times

CATEGORIES, QUANTITY, LIST, MOMENT, LEFT_OUT = (
    Kind.CATEGORICAL,
    Kind.PIECEWISE,
    Kind.MULTI_VALUED,
    Kind.TIMESTAMP,
    Kind.IGNORE,
)
"""The kind suggested for texts and codes, for quantities, for several values in a cell, for points in time, and for
what there is nothing to learn from. The rules choose among these; every other kind is the user's choice."""

UNIQUE = 0.9
"""Distinct values per row from which a column of texts or whole numbers may be an identifier."""

MANY_VALUES = 10_000
"""Distinct values from which a minimum count is advised."""

_LEAST_ROWS = 10
"""Rows that must differ from the commonest value for a column to be worth learning from."""

_FEW_CODES = 50
"""Most distinct whole numbers that are taken for codes without a telling name."""

_STRAY_SHARE = 0.05

_WITH_UNITS = r"^[+-]?[$€£¥]\s?\d[\d.,]*$|^[+-]?\d[\d.,]*\s?[%$€£¥]?$"
_UNITS = "[%$€£¥]"


def column_role(cells: Cells, *, first: bool = False, said: Said = "") -> FieldRole:
    """Suggest the role of a column.

    Args:
        cells: of all rows.
        first: whether it is the table's first column.
        said: what the user has said of how it writes numbers or times.
    """
    noted = cells.noted(_notation(cells, said))
    for role in (_row_numbers(noted, first=first), _empty_or_constant(cells), _as_typed(noted)):
        if role is not None:
            return replace(role, notation=noted.notation)
    moment = _time(cells, said)
    if moment is not None:
        return moment
    number = _number(noted, literal=said == "literal")
    if number is not None:
        return number
    return replace(_multi_valued(cells) or _disguised(cells) or _text(cells), notation=PLAIN)


Said = Literal["", "day first", "month first", "decimal comma", "decimal point", "literal"]
"""What may be said of a column: which mark or part comes first, or that its cells are to be taken as they stand."""


def kind_if_used(cells: Cells) -> Kind:
    """Return the kind of a column that a person uses although it was suggested to leave it out."""
    numbers = len(cells.held) > 0 and not cells.numbers.wrong[cells.held].any()
    return QUANTITY if numbers else CATEGORIES


def _notation(cells: Cells, said: Said) -> Notation:
    """Find how a column writes numbers, and which words and numbers in it mean no value."""
    if said == "literal":
        return PLAIN
    if not cells.numbers.foreign[cells.held].any() and said != "decimal comma" and not _pointed(cells):
        return PLAIN
    marks = {"decimal comma": ",", "decimal point": "."}
    coded = names_codes(name_words(cells.name)) or names_unnamed_codes(cells.name)
    counts = cells.counts[cells.held]
    return notation_of(cells.held_texts, counts, marks.get(said, ""), quantity=not coded) or PLAIN


_DECIMALS = r"\.\d{0,2}$|\.\d{4}"
"""What follows a point that stands before decimals, other than three digits."""


def _pointed(cells: Cells) -> bool:
    """Say whether a point could stand between thousands: in `1.234` beside `998`."""
    texts = cells.held_texts
    if any(pc.any(pc.match_substring_regex(part, _DECIMALS)).as_py() for part in (texts[:100], texts)):
        return False
    return bool(pc.any(pc.match_substring(texts, ".")).as_py())


def _role(cells: Cells, kind: Kind, reason: str, warning: str = "", separator: str | None = None) -> FieldRole:
    missing = int(cells.counts[cells.missing].sum())
    notes = [warning] if warning else []
    if kind.is_used and missing:
        reason += f"; {_missing_cells(missing, len(cells))}"
    if kind.is_used and missing > len(cells) / 2:
        notes.append(f"{percent(missing / len(cells))} of the cells are missing")
    return FieldRole(cells.name, kind, separator, reason, "; ".join(notes), missing=missing)


def _missing_cells(missing: int, rows: int) -> str:
    return f"{missing:,} {'cell' if missing == 1 else 'cells'} missing ({percent(missing / rows, 1)})"


def _empty_or_constant(cells: Cells) -> FieldRole | None:
    held = cells.counts[cells.held]
    if not len(held):
        return _role(cells, LEFT_OUT, "empty in every row")
    top = cells.texts[int(cells.held[_first_largest(cells)])].as_py()
    others = len(cells) - int(held.max())
    if others == 0:
        return _role(cells, LEFT_OUT, f"`{_short(top)}` in every row")
    if others < _LEAST_ROWS and others < 0.01 * len(cells):
        rows = "row" if others == 1 else "rows"
        return _role(cells, LEFT_OUT, f"`{_short(top)}` in all but {others} {rows}, too few to learn from")
    return None


def _first_largest(cells: Cells) -> int:
    """Return the place, among the held texts, of the commonest one; of equal ones the first in the alphabet."""
    counts = cells.counts[cells.held]
    largest = np.flatnonzero(counts == counts.max())
    texts = cells.texts.take(cells.held[largest]).to_pylist()
    return int(largest[min(range(len(texts)), key=texts.__getitem__)])


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:21]}…"


def _example(cells: Cells, among: NDArray[np.bool_] | None = None) -> str:
    """Return the first text of the column, `among` the held ones where given, short enough to show."""
    held = cells.held if among is None else cells.held[among]
    return _short(str(cells.texts[int(held[np.argmin(cells.first_rows[held])])].as_py()))


# Row numbers, which a program left in the file: they say where in the log a row stood.

_FEWEST_ROW_NUMBERS = 50
"""Distinct whole numbers from which a column called as row numbers is one; below that its values may be levels."""

_LEAST_NUMBERED = 0.3
"""Distinct values per row from which such a column is one: drawn with replacement 63% are left, joined rows repeat."""

_EVEN = 0.1
"""Largest distance of the values of a first column from an even spread over their range, as rows sampled have it."""


ROWS_OR_IDS = "row numbers or identifiers"
"""What numbers are that only their order or their even spread tells."""
_COUNTED = r"^\+?\d+(\.0*)?$"


def _row_numbers(cells: Cells, *, first: bool) -> FieldRole | None:
    """Find row numbers that were sampled, sorted, drawn again or joined: by the name, or by standing first."""
    distinct = len(cells.held)
    unique = distinct / max(len(cells), 1)
    named = names_row_numbers(cells.name, first=first)
    if distinct < _FEWEST_ROW_NUMBERS or unique < (_LEAST_NUMBERED if named else UNIQUE) or not (named or first):
        return None
    values = cells.numbers.values[cells.held]
    if np.isnan(values).any() or values.min() < 0 or np.any(values != np.floor(values)) or values.max() >= _TOO_LONG:
        return None
    if not pc.all(pc.match_substring_regex(cells.held_texts, _COUNTED)).as_py():
        return None  # no program numbers rows as `$1,234`
    if named:
        return _role(cells, LEFT_OUT, f"row numbers, {percent(unique)} unique")
    if not names_a_quantity(name_words(cells.name)) and _stands_for_rows(cells, values):
        return _role(cells, LEFT_OUT, f"{_numbered(cells)}, {percent(unique)} unique")
    return None


def _numbered(cells: Cells) -> str:
    """Say what numbers may be that count rows, or are spread as those of sampled rows are."""
    return "identifiers" if names_codes(name_words(cells.name)) else ROWS_OR_IDS


def _stands_for_rows(cells: Cells, values: NDArray[np.float64]) -> bool:
    """Say whether distinct whole numbers rise with the rows, or are spread evenly from about 0 on."""
    if form_of(cells.held_texts, cells.name) is not None:
        return False
    of_row = cells.numbers.values[cells.codes]
    if np.all(np.diff(of_row) > 0):
        return True
    order = np.sort(values)
    if order[0] > 0.05 * order[-1]:
        return False
    expected = order[-1] * (np.arange(len(order)) + 0.5) / len(order)
    return bool(np.abs(order - expected).max() <= _EVEN * order[-1])


def declared_role(cells: Cells, role: FieldRole) -> FieldRole:
    """Take numbers that were declared to be categories for what they were declared; row numbers stay left out."""
    if role.kind is not QUANTITY:
        return role
    return _role(cells, CATEGORIES, f"{_counted(len(cells.held))} values, declared as categories", _advice(cells))


# What folders say, as `day=2024-01-15`: the rows of another folder, scored later, hold another value.

_RECURRING = frozenset(("hour", "hr", "hh", "minute", "weekday", "dow", "dayofweek"))
"""What comes again every day or every week: a field as any other."""

_SPANS = frozenset(("day", "date", "dt", "ds", "month", "mon", "week", "wk", "isoweek", "quarter", "year", "yyyy"))
"""Words for spans of time, which are numbered as they come."""
_RUNNING = _SPANS | {"batch", "run", "partition", "chunk", "snapshot", "dump", "increment", "shard"}
"""Words for what is numbered as it comes, `batch_id` too; none that may say something of a row, as `p`, a position."""
_OF_ROWS = frozenset((
    "event", "log", "load", "ingest", "ingestion", "partition", "part", "snapshot", "export", "dump", "process",
    "processing", "file", "data", "etl", "batch", "run", "report", "utc", "local",
))  # fmt: skip
"""Words before them that still speak of the rows, as `event_day` does; `age_year` and `model_year` do not."""
_SHORT_SPANS = frozenset(("y", "yy", "m", "mm", "d", "dd", "w", "q", "time", "period"))
"""Words that may be spans of time, and are where the values say so: `m=2024-03`."""
_NUMBERS = frozenset(("id", "no", "nr", "num", "number", "key", "index"))


def folder_role(cells: Cells, role: FieldRole, *, part_of: str = "") -> FieldRole:
    """Leave out a column that folders name if it is a time, or counts them: it orders rows, and is new in later ones.

    Args:
        cells: of all rows.
        role: what the column would be taken for if a file held it.
        part_of: the column of dates of which this may be the year, month or day.
    """
    words, texts = name_words(cells.name), cells.held_texts
    *before, last = words[:-1] if len(words) > 1 and words[-1] in _NUMBERS else words or [""]
    if len(texts) < 2 or last in _RECURRING:
        return role
    if part_of:
        return _role(cells, LEFT_OUT, f"a part of `{part_of}`, by which the folders are named")
    found = form_of(texts, cells.name)
    dated = found is not None or dated_order(texts) is not None
    values = cells.numbers.values[cells.held]
    counted = bool(np.all(values == np.floor(values)))  # not where one is no number
    running = last in _RUNNING and _OF_ROWS.issuperset(before) and counted
    if found is None and not running and not (dated and last in _SPANS | _SHORT_SPANS):
        return role
    what = "the time" if dated else "a number"
    reason = f"{what} {FOLDERS}, such as `{_example(cells)}`: rows of later ones hold values never seen"
    advice = (
        f"use it for a split by time (--split-by time:{cells.name}), or make it a field (--categorical {cells.name})"
    )
    return replace(_role(cells, LEFT_OUT, reason, advice), form=found[0] if found else "")


def _as_typed(cells: Cells) -> FieldRole | None:
    """Take a column for what its header states, such as `user_id:token`."""
    typed, distinct = typed_name(cells.name)[1], len(cells.held)
    if typed is Typed.TOKEN and distinct < UNIQUE * len(cells):
        return _role(cells, CATEGORIES, f"{_counted(distinct)} values, `token` by its header", _advice(cells))
    if typed is Typed.TOKENS:
        separator = (find_separator(cells) or (" ", 0))[0]
        return _role(cells, LIST, "several values in a cell, `token_seq` by its header", separator=separator)
    if typed is Typed.NUMBERS:
        return _role(cells, LEFT_OUT, "sequences of numbers (`float_seq`), for which there is no kind")
    return None


def _time(cells: Cells, said: Said = "") -> FieldRole | None:
    found = form_of(cells.held_texts, cells.name, order=said)
    if found is None:
        return None
    form, ambiguous = found
    moments = cells.moments(form)
    valid = moments.valid[cells.held]
    parts = (("hour of day", moments.hours), ("day of week", moments.weekdays))
    varied = [part for part, values in parts if len(np.unique(values[cells.held][valid])) > 1]
    if not varied:
        return _role(cells, LEFT_OUT, "points in time of a single hour and weekday")
    reason = f"points in time such as `{_example(cells, valid)}` ({form}): enters as {' and '.join(varied)}"
    warnings = []
    if ambiguous:
        read, other = ("day", "month") if form.startswith("day") else ("month", "day")
        remedy = f"taken for {read} first (--{other}-first changes that)"
        warnings = [f"day and month cannot be told apart for sure: {remedy}"]
    if not valid.all():
        rows = int(cells.counts[cells.held][~valid].sum())
        what = "1 cell is no point" if rows == 1 else f"{rows:,} cells are no points"
        warnings.append(f"{what} in time, such as `{_example(cells, ~valid)}`: they count as missing")
    return replace(_role(cells, MOMENT, reason, "; ".join(warnings)), form=form)


def _number(cells: Cells, *, literal: bool) -> FieldRole | None:
    """Judge a column whose cells are numbers, but for a few strays and what means no value."""
    numbers = cells.numbers
    counts = cells.counts[cells.held]
    foreign = numbers.foreign[cells.held]
    strays = int(counts[foreign].sum())
    values = np.unique(numbers.values[cells.held][~numbers.wrong[cells.held]])
    if not len(values) or strays > _STRAY_SHARE * counts.sum():
        return None
    if _too_long(cells, foreign) or _lists_of_codes(cells):
        return None
    if len(values) == 1 and not numbers.wrong[cells.held].any():
        return _noted(_one_or_none(cells), cells)
    whole = bool(np.all(values == np.floor(values))) and typed_name(cells.name)[1] is not Typed.NUMBER
    if strays or numbers.infinite[cells.held].any():
        return _number_with_strays(cells, values, whole)
    if len(values) == 2:
        low, high = number_names(values)
        return _noted(_role(cells, CATEGORIES, f"two values, {low} and {high}"), cells)
    role = _whole_number(cells, values) if whole else None
    return _noted(role, cells) if role is not None else _quantity(cells, literal=literal)


def _noted(role: FieldRole, cells: Cells) -> FieldRole:
    """Keep the notation in the role, and say in its reason what is unusual about it."""
    said = cells.notation.in_words
    reason = f"{role.reason}; {said}" if said else role.reason
    warning = "; ".join(filter(None, (role.warning, _words_warning(cells))))
    return replace(role, notation=cells.notation, reason=reason, warning=warning)


def _words_warning(cells: Cells) -> str:
    """Warn of words among numbers that count as missing although they usually say something."""
    words = sorted(set(cells.notation.blanks) - MISSING_WORDS)
    words = [word for word in words if re.search(r"\w", word)]
    if not words:
        return ""
    lower = pc.utf8_lower(cells.texts)
    among = np.asarray(pc.is_in(lower, value_set=pa.array(words).cast(lower.type))) & (cells.counts > 0)
    rows = int(cells.counts[among].sum())
    what = "1 cell is no number" if rows == 1 else f"{rows:,} cells are no numbers"
    example = _short(cells.texts[int(np.flatnonzero(among)[np.argmin(cells.first_rows[among])])].as_py())
    return f"{what}, such as `{example}`: taken as missing (--literal changes that)"


def _number_with_strays(cells: Cells, values: NDArray[np.float64], whole: bool) -> FieldRole | None:
    """Judge numbers among which are a few cells that are none: name and shape count before these."""
    role = _whole_number(cells, values) if whole else None
    if role is not None:
        return _noted(role, cells)
    texts = cells.texts.take(pa.array(np.flatnonzero(cells.numbers.foreign & (cells.counts > 0))))
    if whole and len(texts) and pc.all(pc.match_substring_regex(texts, _LIKE_A_CODE)).as_py():
        reason = f"{_counted(len(cells.held))} codes, such as `{_short(texts[0].as_py())}` beside whole numbers"
        return _noted(_role(cells, CATEGORIES, reason, _advice(cells)), cells)
    if len(texts) and len(values) <= _FEW_CODES:
        return None
    role = _role(cells, QUANTITY, _quantity_reason(cells, values), _stray_warning(cells, _first_stray(cells)))
    return _noted(replace(role, stray=_first_stray(cells)), cells)


_LIKE_A_CODE = r"^([A-Za-z]{1,3}[- ]?\d+|\d+[- ]?[A-Za-z]{1,3}|\d+([-/ ]\d+)+)$"
"""What stands beside whole numbers where these are codes: `12345-6789`, `A12`, `75B`."""


def _quantity(cells: Cells, *, literal: bool) -> FieldRole:
    """Judge a quantity; numbers that stand for no value, such as -999, count as missing."""
    holes = () if literal else holes_of(cells.numbers.values, cells.counts)
    whole = cells.noted(replace(cells.notation, holes=holes)) if holes else cells
    values = np.unique(whole.numbers.values[whole.held])
    return _noted(_role(whole, QUANTITY, _quantity_reason(whole, values)), whole)


def _one_or_none(cells: Cells) -> FieldRole:
    """Judge a column that holds one value or none: a flag that is written only where it is set."""
    role = _role(cells, CATEGORIES, f"one value, `{_example(cells)}`, or none")
    return replace(role, warning="")  # that many cells are empty is what such a flag says


_TOO_LONG = 2.0**53
"""From this size on numbers cannot be told from their neighbours: whole numbers so long are names."""


def _too_long(cells: Cells, foreign: NDArray[np.bool_]) -> bool:
    """Say whether the numbers are digits too long to be held exactly, which only identifiers are."""
    values = np.abs(cells.numbers.values[cells.held][~foreign])
    digits = pc.match_substring_regex(cells.held_texts, r"^[+-]?\d{16,}$")
    return bool(np.any(values >= _TOO_LONG)) and int(pc.sum(digits).as_py() or 0) >= 0.5 * len(cells.held)


def _lists_of_codes(cells: Cells) -> bool:
    """Say whether what looks like `101,205` with marks between thousands is a list of codes of three digits."""
    texts, mark = cells.held_texts, cells.notation.group
    if not mark or not pc.any(pc.match_substring(texts, mark)).as_py():
        return False
    if not pc.all(pc.match_substring_regex(texts, rf"^[1-9]\d{{2}}({re.escape(mark)}[1-9]\d{{2}})*$")).as_py():
        return False
    found = find_separator(cells)
    return found is not None and found[0] == mark


def _whole_number(cells: Cells, values: NDArray[np.float64]) -> FieldRole | None:
    """Judge whole numbers: row numbers, identifiers and codes; None where they are quantities."""
    words = name_words(cells.name)
    unique = len(values) / len(cells)
    if unique >= UNIQUE and values[-1] - values[0] < 1.05 * len(cells):
        return _role(cells, LEFT_OUT, f"{_numbered(cells)}, {percent(unique)} unique")
    if names_an_id(words) and unique >= 0.5:
        return _role(cells, LEFT_OUT, f"{percent(unique)} unique")
    if unique >= UNIQUE and _digits_alike(values) and not names_a_quantity(words):
        return _role(cells, LEFT_OUT, f"{percent(unique)} unique, all of {len(str(int(values[0])))} digits")
    if names_a_quantity(words):
        return None
    if names_codes(words) or names_unnamed_codes(cells.name):
        if unique >= UNIQUE:
            return _role(cells, LEFT_OUT, f"{percent(unique)} unique")
        return _role(cells, CATEGORIES, f"{_counted(len(values))} codes, as the name says", _advice(cells))
    if pc.any(pc.match_substring_regex(cells.held_texts, r"^0\d")).as_py():
        return _role(cells, CATEGORIES, "digits with leading zeros are codes", _advice(cells))
    shape = _code_shape(cells, values) if len(values) <= _FEW_CODES else ""
    return (
        _role(cells, CATEGORIES, f"{_counted(len(values))} whole numbers {shape}, so taken for codes")
        if shape
        else None
    )


def _digits_alike(values: NDArray[np.float64]) -> bool:
    """Say whether all whole numbers have the same number of digits, six or more."""
    return values[0] >= 1e5 and len(str(int(values[0]))) == len(str(int(values[-1])))


def _code_shape(cells: Cells, values: NDArray[np.float64]) -> str:
    """Say what in few whole numbers speaks for codes, or nothing.

    Quantities stand on a grid, and their counts rise to a peak and fall; a difference of counts speaks from three
    standard errors on.
    """
    if values[-1] - values[0] >= _TOO_LONG:
        return ""
    grid = np.gcd.reduce(np.diff(values).astype(np.int64))
    if (values[-1] - values[0]) / grid > 20 * len(values):
        return "far apart"
    place = np.searchsorted(values, cells.numbers.values[cells.held])
    rows = np.bincount(place, weights=cells.counts[cells.held], minlength=len(values))
    steps, noise = np.diff(rows), np.sqrt(rows[1:] + rows[:-1])
    directions = np.sign(steps[np.abs(steps) > 3 * noise])
    turns = int(np.count_nonzero(np.diff(directions)))
    consecutive = values[-1] - values[0] == len(values) - 1
    if turns >= 2:
        return "whose counts jump"
    return "in even shares" if consecutive and rows.max() < 1.5 * rows.min() else ""


def _quantity_reason(cells: Cells, values: NDArray[np.float64]) -> str:
    low, high = number_names([values[0], values[-1]]) if len(values) > 1 else number_names([values[0]]) * 2
    low, high = (cells.notation.measured(end) for end in (low, high))
    reason = f"{_counted(len(values))} numbers from {low} to {high}"
    top = float(cells.numbers.values[cells.held[_first_largest(cells)]])
    share = cells.counts[cells.held].max() / len(cells)
    if share >= 0.2 and np.isfinite(top):
        reason += f"; {cells.notation.measured(number_names([top])[0])} in {percent(share)} of the rows"
    return reason


def _first_stray(cells: Cells) -> str:
    wrong = cells.numbers.wrong & (cells.counts > 0)
    first = int(np.flatnonzero(wrong)[np.argmin(cells.first_rows[wrong])])
    return f"`{_short(cells.texts[first].as_py())}` in {cells.row_name(int(cells.first_rows[first]))}"


def _stray_warning(cells: Cells, first: str) -> str:
    rows = int(cells.counts[cells.numbers.wrong].sum())
    cell, is_not = ("cell", "is not a finite number") if rows == 1 else ("cells", "are not finite numbers")
    it = "it" if rows == 1 else "them"
    return f"{rows:,} {cell} {is_not} ({first}): fix or clear {it} before training, or make the field categorical"


def _disguised(cells: Cells) -> FieldRole | None:
    """Judge a column whose cells look like numbers of several units: they stay texts, with advice."""
    texts = cells.held_texts
    if not pc.all(pc.match_substring_regex(texts, _WITH_UNITS)).as_py():
        return None
    if not pc.any(pc.match_substring_regex(texts, _UNITS)).as_py():
        return None  # addresses such as 10.0.0.8
    warning = f"amounts such as `{_example(cells)}` differ in their unit: put it into a column of its own"
    return _role(cells, CATEGORIES, f"{_counted(len(cells.held))} values", warning)


def _multi_valued(cells: Cells) -> FieldRole | None:
    found = find_separator(cells)
    if found is None:
        return None
    separator, values = found
    example = _example(cells, np.asarray(pc.match_substring(cells.held_texts, separator)))
    reason = f"several of {values:,} values in a cell, between them {shown(separator)}, as in `{example}`"
    return _role(cells, LIST, reason, separator=separator)


def _text(cells: Cells) -> FieldRole:
    distinct = len(cells.held)
    if distinct == 1:
        return _one_or_none(cells)
    unique = distinct / len(cells)
    named_id = names_an_id(name_words(cells.name))
    if distinct > _FEW_CODES and (advice := _of_parts(cells)):
        kind = LEFT_OUT if unique >= UNIQUE else CATEGORIES
        return _role(cells, kind, f"{_counted(distinct)} values", advice)
    if distinct > _FEW_CODES and looks_like_times(cells.held_texts):
        remedy = "write all of them as 2019-11-24 13:05 to learn from hour and weekday"
        kind = LEFT_OUT if unique >= UNIQUE else CATEGORIES
        reason = f"looks like points in time, such as `{_example(cells)}`, but not in one form that is known"
        return _role(cells, kind, reason, remedy)
    if unique >= (0.5 if named_id else UNIQUE) and len(cells) >= 20:
        return _role(cells, LEFT_OUT, f"{percent(unique)} unique")
    return _role(cells, CATEGORIES, f"{_counted(distinct)} values", _advice(cells))


_PARTS = (
    (r"^\{.*\}$", "objects", "its values as columns of their own"),
    (r"^\d{1,4}:\d{2}(:\d{2}(\.\d+)?)?$|^(?i)(\d+ ?d )?\d+ ?h( ?\d+ ?m(in)?)?( ?\d+ ?s)?$|^P(\d+D)?T(\d+[HMS])+$",
     "lengths of time", "it as a number of seconds or minutes"),
    (r"^\(?[-+]?\d+(\.\d+)?\s?[,;/x ]\s?[-+]?\d+(\.\d+)?\)?$", "two numbers each", "them as two columns"),
)  # fmt: skip
"""Patterns of cells that hold more than a text, what they hold, and how to write that."""


def _of_parts(cells: Cells) -> str:
    """Advise how to write cells from whose parts a model could learn; an empty text where it is another column."""
    for pattern, what, better in _PARTS:
        like = pc.sum(pc.match_substring_regex(cells.held_texts, pattern)).as_py() or 0
        if like >= (1 - _STRAY_SHARE) * len(cells.held):
            return f"cells hold {what}, such as `{_example(cells)}`: write {better} to learn from that"
    return ""


def _advice(cells: Cells) -> str:
    """Advise to write values alike that may mean the same, and a minimum count where most values are rare."""
    return "; ".join(filter(None, (_spelled_twice(cells), _of_rare(cells))))


_MOST_COMPARED = 10_000
"""Distinct values up to which their spelling is compared; of more, most are identifiers."""


def _spelled_twice(cells: Cells) -> str:
    """Say which values differ only in case or in blanks, by which no two values of one meaning should differ.

    Other mixtures of small and capital letters, such as `aB3`, may be identifiers.
    """
    if len(cells.held) > _MOST_COMPARED:
        return ""
    spelled: dict[str, list[str]] = {}
    for text in map(str, cells.held_texts.to_pylist()):
        bare = text.strip()
        if bare in (bare.lower(), bare.upper(), bare.title(), bare.capitalize()):
            spelled.setdefault(" ".join(text.split()).casefold(), []).append(text)
    alike = [texts for texts in spelled.values() if len(texts) > 1]
    if not alike:
        return ""
    first = sorted(alike[0])
    named = " and ".join(f"`{_short(text)}`" for text in first[:2])
    others = f" ({len(alike) - 1:,} more like these)" if len(alike) > 1 else ""
    remedy = "write them alike if they mean the same"
    return f"{named} differ only in case or blanks{others}, but are values of their own: {remedy}"


def _of_rare(cells: Cells) -> str:
    """Advise a minimum count where there are many values, most of them in few rows."""
    counts = cells.counts[cells.held]
    rare = int((counts < 5).sum())
    if len(counts) >= MANY_VALUES:
        share = percent(rare / len(counts))
        return f"{len(counts):,} values, {share} of them in fewer than 5 rows: set a minimum count of 5"
    if len(counts) > 0.5 * len(cells):
        return f"{percent(len(counts) / len(cells))} unique: most values are seen once"
    return ""


def _counted(count: int) -> str:
    return f"{count:,} distinct"
