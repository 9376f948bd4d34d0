"""Numbers as people write them in tables, read once per distinct text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_GROUPED = r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$"
_INFINITE = r"^(?i)[+-]?inf(inity)?$"
_DECIMAL_COMMA = r"^[+-]?\d+,\d+$"


@dataclass(frozen=True)
class Numbers:
    """D distinct texts read as numbers.

    Attributes:
        values: (D,) float64; NaN where the text is missing, foreign or infinite.
        foreign: (D,) whether the text is neither a number nor missing.
        infinite: (D,) whether the text is a number without bound or too large to hold, such as `inf` or `1e999`.
    """

    values: NDArray[np.float64]
    foreign: NDArray[np.bool_]
    infinite: NDArray[np.bool_]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """(D,) whether the text cannot stand in a field of numbers."""
        return self.foreign | self.infinite


def parse_numbers(texts: pa.Array, missing: NDArray[np.bool_]) -> Numbers:
    """Read D stripped texts as numbers: `12`, `-0.5`, `1e-3` and, with commas between thousands, `1,234.5`.

    A comma as decimal point (`12,50`) is foreign: guessing would turn `1,234` into something else from table to table.
    """
    plain = pc.match_substring_regex(texts, _PLAIN)
    rest = ~np.asarray(plain) & ~missing
    values = np.array(pc.if_else(plain, texts, None).cast(pa.float64()).fill_null(np.nan))
    infinite = np.isinf(values)
    if rest.any():
        places = np.flatnonzero(rest)
        odd = texts.take(pa.array(places))
        grouped = np.asarray(pc.match_substring_regex(odd, _GROUPED))
        ungrouped = pc.replace_substring(odd.filter(pa.array(grouped)), ",", "")
        values[places[grouped]] = np.asarray(ungrouped.cast(pa.float64()))
        rest[places[grouped]] = False
        endless = np.asarray(pc.match_substring_regex(odd, _INFINITE))
        infinite[places[endless]] = True
        rest[places[endless]] = False
    values[infinite] = np.nan
    return Numbers(values, rest, infinite)


def has_decimal_comma(text: str) -> bool:
    """Say whether `text` looks like a number written with a decimal comma, such as `12,50`."""
    return bool(pc.match_substring_regex(pa.scalar(text), _DECIMAL_COMMA).as_py())


def number_names(values: Sequence[float] | NDArray[np.float64]) -> tuple[str, ...]:
    """Write distinct finite numbers for people, with as few digits as keep them apart."""
    for digits in (4, 6, 9, 17):
        names = tuple(_number_name(float(value), digits) for value in values)
        if len(set(names)) == len(names):
            break
    return names


def _number_name(value: float, digits: int) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value)}"
    return f"{value:.{digits}g}"
