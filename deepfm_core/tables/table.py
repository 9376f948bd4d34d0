"""A table: every cell as text, each column a dictionary of its distinct texts, and a report of how it was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

import pandas as pd
import pyarrow as pa

from deepfm_core.errors import Problem, in_words

MISSING_TEXTS = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "\\n", "<na>"})
"""Texts that mean "no value", in lower case and without white space around them."""


def is_missing(text: str) -> bool:
    """Return whether a cell's text stands for a missing value."""
    return text.strip().lower() in MISSING_TEXTS


_SENTENCES = 5
"""Kinds of lines that `ReadReport.sentences` names."""


@dataclass(frozen=True)
class ReadReport:
    """How a file was read. Lines are numbered from 1, as in an editor."""

    format: str = "csv"
    encoding: str = "utf-8"
    compression: str | None = None
    delimiter: str | None = ","
    header_line: int | None = 1
    layout: str | None = None
    """`criteo` for a header-less file in the Criteo layout, otherwise None."""
    rows: int = 0
    skipped: tuple[Problem, ...] = field(default_factory=tuple)
    """Lines left out, each with its reason. Of a long list these are the first; `skipped_count` counts all."""
    skipped_count: int = 0
    quoting: str | None = None
    """How a quote within a quoted cell is written, if it matters; None for a table without quoted cells."""
    repaired: tuple[Problem, ...] = field(default_factory=tuple)
    """Rows whose quotes are not well-formed, but which were read. Of a long list these are the first."""
    repaired_count: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)
    """Sentences for the user, for example about a column without a name."""

    def sentences(self) -> list[str]:
        """Say what was left out, what was repaired and what else there is to know, a short sentence each."""
        return [
            *_listed(self.skipped, self.skipped_count, "lines left out in all"),
            *_listed(self.repaired, self.repaired_count, "lines repaired in all"),
            *self.notes,
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ReadReport:
        """Rebuild a report from `to_dict`."""
        listed = {name: tuple(Problem(**one) for one in values.get(name, ())) for name in ("skipped", "repaired")}
        return cls(**{**values, **listed, "notes": tuple(values["notes"])})


def _listed(problems: Sequence[Problem], count: int, what: str) -> list[str]:
    texts = in_words(problems)
    shown = texts[:_SENTENCES]
    more = count > len(problems) and all(problem.line is not None for problem in problems)
    return [*shown, f"{count:,} {what}."] if len(texts) > _SENTENCES or more else shown


@dataclass(frozen=True)
class Table:
    """A frame of N rows whose columns are pandas Categoricals of text; an empty cell is `""`.

    The frame's index is 0 … N-1. Categories are the distinct texts of a column in any order, and nothing may depend on
    that order.
    """

    name: str
    frame: pd.DataFrame
    report: ReadReport

    def __len__(self) -> int:
        return len(self.frame)


# Vocabularies of a million texts: one piece of memory that reads like a tuple of strings.


class Texts(Sequence[str]):
    """A sequence of N texts in an Arrow array, which makes strings only when they are read."""

    __slots__ = ("array",)

    def __init__(self, texts: pa.Array | Iterable[str]) -> None:
        """Hold an Arrow array of text without nulls, or any strings."""
        self.array = texts if isinstance(texts, pa.Array) else pa.array(list(texts), pa.large_string())

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Return `texts` itself if it is a `Texts`, or make one of it."""
        return texts if isinstance(texts, Texts) else cls(texts)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[str]:
        return iter(self.array.to_pylist())

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step == 1:
                return tuple(self.array.slice(start, max(stop - start, 0)).to_pylist())
            return tuple(self)[place]
        text: str = self.array[place].as_py()
        return text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return bool(self.array.equals(other.array))
        return isinstance(other, tuple) and tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Texts({list(self[:5])!r}{', …' if len(self) > 5 else ''})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Texts, (list(self),)
