"""What a setting's value may be: its range or its choices, how a text becomes one, and how it is written."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

from deepfm_core.errors import SpecError

if TYPE_CHECKING:
    from deepfm_core.schema.schema import Cross


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` on; without `high` there is no end.

    Attributes:
        zero: whether 0 is allowed, too, where the range begins later.
        unit: what is counted.
    """

    low: int = 0
    high: int | None = None
    zero: bool = False
    unit: str = ""
    step: int = 1
    kind: ClassVar[str] = "a whole number"

    def is_one(self, value: object) -> bool:
        """Say whether a value is of this kind, whatever its size."""
        return isinstance(value, Integral) and not isinstance(value, bool)

    def allows(self, value: Any) -> bool:
        """Say whether a number is in range."""
        inside = bool(self.low <= value and (self.high is None or value <= self.high))
        return inside or (self.zero and value == 0)

    @property
    def least(self) -> int:
        """The smallest number allowed."""
        return 0 if self.zero else self.low

    @property
    def remedy(self) -> str:
        """What to use instead of a number out of range."""
        end = "or more" if self.high is None else f"to {self.high}"
        return f"{self.low} {end}" + (f" {self.unit}" if self.unit else "") + (", or 0" if self.zero else "")


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`; without `high` there is no end.

    Attributes:
        above: whether `low` itself is out of range.
        below: whether `high` itself is out of range.
        noun: what the number is.
        example: one as a person would write it.
        step: by which a form's buttons change it.
    """

    low: float = 0.0
    high: float | None = None
    above: bool = False
    below: bool = False
    noun: str = "a number"
    example: str = ""
    step: float = 1.0
    kind: ClassVar[str] = "a number"

    def is_one(self, value: object) -> bool:
        """Say whether a value is of this kind, whatever its size."""
        return isinstance(value, Real) and not isinstance(value, bool)

    def allows(self, value: Any) -> bool:
        """Say whether a number is in range; what is not a number is in none."""
        from_below = value > self.low if self.above else value >= self.low
        to_above = self.high is None or (value < self.high if self.below else value <= self.high)
        return bool(from_below and to_above)

    @property
    def least(self) -> float:
        """Where the range begins."""
        return self.low

    @property
    def remedy(self) -> str:
        """What to use instead of a number out of range."""
        such = f", such as {self.example}" if self.example else ""
        return f"{self.noun}{self._range}{such}"

    @property
    def _range(self) -> str:
        below = "below " if self.below else ""
        if self.above:
            end = "" if self.high is None else f", {below or 'up to '}{self.high:g}"
            return f" above {self.low:g}{end}"
        end = "or more" if self.high is None else f"to {below}{self.high:g}"
        return f", {self.low:g} {end}"


@dataclass(frozen=True)
class Choice:
    """One of some names."""

    options: tuple[str, ...]
    kind: ClassVar[str] = "a name"

    def is_one(self, value: object) -> bool:
        """Say whether a value is a name, known or not."""
        return isinstance(value, str)

    def allows(self, value: Any) -> bool:
        """Say whether there is such a name."""
        return value in self.options

    @property
    def remedy(self) -> str:
        """What to use instead of an unknown name."""
        return f"one of {', '.join(self.options)}"


@dataclass(frozen=True)
class Flag:
    """On or off."""

    kind: ClassVar[str] = "True or False"
    remedy: ClassVar[str] = "True or False"

    def is_one(self, value: object) -> bool:
        """Say whether a value is on or off."""
        return type(value).__name__ in ("bool", "bool_")  # NumPy's too, without NumPy: `--help` answers at once

    def allows(self, value: Any) -> bool:
        """Allow both."""
        return True


@dataclass(frozen=True)
class Widths:
    """Units of the hidden layers, from the input on, each from 1 to `high`."""

    high: int
    kind: ClassVar[str] = "a list of whole numbers, such as (64, 32)"

    def read(self, text: str) -> tuple[int, ...]:
        """Read widths separated by commas or spaces.

        Raises:
            ValueError: one is not a whole number.
        """
        try:
            return tuple(int(width) for width in text.replace(",", " ").split())
        except ValueError:
            raise ValueError(f"{text!r} is not a list of widths such as 64,32") from None

    def text(self, value: Sequence[int]) -> str:
        """Write widths as `read` takes them."""
        return ", ".join(map(str, value))

    def is_one(self, value: object) -> bool:
        """Say whether a value is a list of whole numbers."""
        return _listed(value) and all(isinstance(units, Integral) for units in value)  # type: ignore[attr-defined]

    def allows(self, value: Any) -> bool:
        """Say whether all widths are in range."""
        return all(1 <= units <= self.high for units in value)

    @property
    def remedy(self) -> str:
        """What to use instead of widths out of range."""
        return f"widths of 1 to {self.high}, such as 64,32"


@dataclass(frozen=True)
class Crosses:
    """Pairs of fields; whether they go together is for the model's spec to say."""

    kind: ClassVar[str] = "a list of pairs of columns, such as [('device', 'hour')]"
    remedy: ClassVar[str] = "pairs of fields, such as device*hour"

    def read(self, text: str) -> tuple[tuple[str, str], ...]:
        """Read pairs written as `A*B,C*D`; one that holds a comma or a new line stands in double quotes.

        Raises:
            SpecError: one does not name two fields, or is a hundred thousand letters long.
        """
        try:
            lines = list(csv.reader(StringIO(text, newline=""), skipinitialspace=True))
        except csv.Error as error:
            raise SpecError(f"Crosses cannot be read: {error}. Use {self.remedy}.") from None
        return parse_crosses(part.strip() for line in lines for part in line)

    def text(self, value: Sequence[tuple[str, str]]) -> str:
        """Write pairs as `read` takes them."""
        return ", ".join(_quoted(f"{a}*{b}") for a, b in value)

    def is_one(self, value: object) -> bool:
        """Say whether a value is a list."""
        return _listed(value)

    def allows(self, value: Any) -> bool:
        """Allow all."""
        return True


def _listed(value: object) -> bool:
    return (isinstance(value, Sequence) and not isinstance(value, str | bytes)) or hasattr(value, "__array__")


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"' if text.startswith('"') or any(mark in text for mark in ",\r\n") else text


Values = Whole | Number | Choice | Flag | Widths | Crosses


# Pairs of fields that a user crosses: how they are written, and what is wrong with them.


def parse_crosses(texts: Iterable[str]) -> tuple[Cross, ...]:
    """Read pairs of fields written as `A*B`; empty texts count for nothing.

    Raises:
        SpecError: a text does not name two fields.
    """
    return tuple(_parsed(text) for text in texts if text.strip())


def _parsed(text: str) -> Cross:
    names = [name.strip() for name in text.split("*")]
    if len(names) != 2 or not all(names):
        raise SpecError(f"Cross is {text.strip()!r}. Name two fields, such as device*hour.")
    return names[0], names[1]


def named_crosses(pairs: Iterable[object]) -> tuple[Cross, ...]:
    """Check that each is a pair of names.

    Raises:
        SpecError: one is not.
    """
    found = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise SpecError(f"Cross is {pair!r}. Name two columns, such as ('device', 'hour').")
        found.append((str(pair[0]), str(pair[1])))
    return tuple(found)


def require_different(crosses: Sequence[Cross]) -> None:
    """Check that each cross has two different fields, and that none is named twice.

    Raises:
        SpecError: they have not, or one is.
    """
    seen = set()
    for a, b in crosses:
        if a == b:
            raise SpecError(f"Cross is '{a}*{b}'. Name two different fields.")
        if frozenset((a, b)) in seen:
            raise SpecError(f"Cross is '{a}*{b}' a second time. Name each pair of fields once.")
        seen.add(frozenset((a, b)))
