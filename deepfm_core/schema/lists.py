"""Whether the cells of a column hold several values each, and what stands between them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfm_core.errors import Problem, SchemaError
from deepfm_core.schema.column import Cells

WRAPPING = "[](){}'\" \t\r\n"
"""What may stand around the values of a list."""


@dataclass(frozen=True)
class Mark:
    """What may stand between values, and how much must speak for it.

    Attributes:
        separated: share of the distinct cells that must hold it.
        uses: distinct cells that a value must stand in, on average: a blank is in all text, a bar in hardly any.
        varied: whether cells must differ in how many values they hold: times, fractions and pairs do not.
        placed: whether values may keep their places, as the levels of a path do.
        free: share of the values' places that must hold a value which stands first in some cells and further back in
            others.
    """

    separated: float
    uses: float
    varied: bool = False
    placed: bool = False
    free: float = 0.3


MARKS: dict[str, Mark] = {
    **dict.fromkeys(("|", "^", "~", "\x01", "\x02", "\x03", "\t"), Mark(0.1, 1.5)),
    **dict.fromkeys((";", "；", "、", "，"), Mark(0.2, 1.5)),
    " > ": Mark(0.2, 1.5, placed=True),
    **dict.fromkeys(("->", ">"), Mark(0.2, 2.0, varied=True)),
    ",": Mark(0.3, 2.0),
    **dict.fromkeys(("#", "&", "$", "@", "+", "\\"), Mark(0.2, 2.0, varied=True)),
    "/": Mark(0.3, 2.0, varied=True),
    ":": Mark(0.3, 2.0, varied=True),
    " ": Mark(0.5, 5.0),
    **dict.fromkeys(("_", "-"), Mark(0.5, 5.0, varied=True, free=0.8)),  # they stand within names, too
}
"""The separators that are tried, in this order."""

_LONG, _LONG_FREE = 4, 0.8
"""Values in each cell from which cells of equal length are lists, too, and the share of places that must be free: dates
and paths are shorter, or keep their places. A colon stands in addresses of machines, too."""

_MAX_VALUES = 5_000

_MAX_LENGTH = 40.0


def find_separator(cells: Cells) -> tuple[str, int] | None:
    """Return the separator within the cells of a column and the number of distinct values, or None.

    The values must come from a vocabulary that the cells share and stand now first and now further back: this tells
    `Action|Comedy` from `Smith, John`, `New York` and sentences.
    """
    texts = cells.held_texts
    for mark, demands in MARKS.items():
        if _cells_with(texts, mark) >= max(demands.separated * len(texts), 1):
            values = _shared_values(texts, mark, demands)
            if values is not None:
                return mark, values
    return None


def mark_of(text: str) -> str:
    """Read a separator as a person writes it; a control character is written as `\\x02` or `\\t`."""
    return text.encode().decode("unicode_escape") if _ESCAPES.fullmatch(text) else text


_ESCAPES = re.compile(r"(\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\t)+")


def require_separator(cells: Cells, subject: str) -> str:
    """Return the separator of a column that is known to hold several values in a cell.

    It is the one of a shared vocabulary, or else the mark that most cells hold.

    Raises:
        SchemaError: no cell holds a mark; `subject` is the table's name.
    """
    found = find_separator(cells)
    if found is not None:
        return found[0]
    texts = cells.held_texts
    held = {mark: _cells_with(texts, mark) for mark in MARKS}
    likely = max(held, key=lambda mark: held[mark])
    if len(texts) and not held[likely]:
        remedy = f"Say what stands between values (on the command line --multi-valued '{cells.name}:^'), or make it "
        raise SchemaError(
            subject,
            [
                Problem(
                    "several values in a cell, but no separator was found", remedy + "categorical.", column=cells.name
                )
            ],
        )
    return likely


def shown(separator: str) -> str:
    """Write a separator so that it can be seen: a blank and what is not printed by name."""
    if separator == " ":
        return "a blank"
    return f"`{separator}`" if separator.isprintable() else f"U+{ord(separator):04X}"


def _cells_with(texts: pa.Array, mark: str) -> int:
    return int(pc.sum(pc.match_substring(texts, mark)).as_py() or 0)


def _shared_values(texts: pa.Array, mark: str, demands: Mark) -> int | None:
    """Return the number of distinct values if the cells, split at `mark`, draw on a shared vocabulary."""
    parts = pc.split_pattern(texts, mark)
    flat = pc.utf8_trim(pc.list_flatten(parts), WRAPPING)
    there = np.asarray(pc.not_equal(flat, ""))  # `a||b` holds two values
    cell = np.repeat(np.arange(len(parts)), np.asarray(pc.list_value_length(parts)))[there]
    lengths = np.bincount(cell, minlength=len(parts))
    least = demands.free
    if demands.varied and len(np.unique(lengths)) < 3:
        if mark == ":" or lengths.min() < _LONG:
            return None
        least = _LONG_FREE
    encoded = flat.filter(pa.array(there)).dictionary_encode()
    codes, size = np.asarray(encoded.indices), len(encoded.dictionary)
    if not 0 < size <= _MAX_VALUES or len(codes) < demands.uses * size:
        return None
    if float(np.mean(np.asarray(pc.utf8_length(encoded.dictionary)))) > _MAX_LENGTH:
        return None
    first = np.diff(cell, prepend=-1) > 0
    uses, leading = np.bincount(codes, minlength=size), np.bincount(codes[first], minlength=size)
    free = uses[(leading > 0) & (leading < uses)].sum() / len(codes)
    return size if demands.placed or free >= least else None
