"""A table: every cell as text, each column a dictionary of its distinct texts, and how it was read or is to be read."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from deepfm_core.errors import Problem, SpecError, in_words

MISSING_TEXTS = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "\\n", "<na>"})
"""Texts that mean "no value", in lower case and without white space around them."""


def is_missing(text: str) -> bool:
    """Return whether a cell's text stands for a missing value."""
    return text.strip().lower() in MISSING_TEXTS


QUOTINGS = ("doubled", "backslash", "single", "none")
"""How cells may be quoted: with `"`, in a cell doubled or after a backslash; with `'`; not at all."""
NO_ROWS = "the table has no rows"
"""What is said of a file that has a header or a schema alone."""
ALL_ROWS = "all"
"""The choice that every record is a row."""
_NO_TEXT = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem", "utf-7")
"""Codecs of Python that no table is written in."""
TWOFOLD = ("::", "||")
"""Delimiters of two characters."""
_NO_DELIMITERS = "\"'\\\r\n\0"


@dataclass(frozen=True)
class Choices:
    """What a person says of a file instead of having it found; None leaves it to be found.

    Raises:
        SpecError: a value is none of those that are possible.
    """

    encoding: str | None = None
    """Any text encoding that Python knows, such as `cp1252`."""
    delimiter: str | None = None
    """One character, or one of `TWOFOLD`."""
    quoting: str | None = None
    """One of `QUOTINGS`."""
    header: bool | int | None = None
    """Whether the first line of the table names its columns, or the number of the line that does, from 1."""
    sheet: str | None = None
    """The sheet of a workbook; the first one if None."""
    rows: str | None = None
    """`all` where every record is a row: also empty ones, a header once more, totals, and notes below the table."""

    def __post_init__(self) -> None:
        if self.encoding is not None:
            object.__setattr__(self, "encoding", _encoding(self.encoding))
        mark = self.delimiter
        if mark is not None and mark not in TWOFOLD and (len(mark) != 1 or mark in _NO_DELIMITERS):
            remedy = f"Use {' or '.join(TWOFOLD)}, or one character that is no quote and no backslash."
            raise SpecError(f"Delimiter is {mark!r}. {remedy}")
        if self.quoting not in (None, *QUOTINGS):
            raise SpecError(f"Quoting is {self.quoting!r}. Use one of {', '.join(QUOTINGS)}.")
        if self.rows not in (None, ALL_ROWS):
            raise SpecError(f"Rows is {self.rows!r}. Use {ALL_ROWS}, or leave it out.")
        if not isinstance(self.header, bool | int | None) or (type(self.header) is int and self.header < 1):
            raise SpecError(f"Header is {self.header!r}. Use yes, no, or the number of its line, from 1.")

    @property
    def header_line(self) -> int | None:
        """The number of the line that is said to be the header."""
        return None if isinstance(self.header, bool) else self.header

    def to_dict(self) -> dict[str, Any]:
        """Give what is said as plain values for JSON; an empty dictionary where nothing is."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choices:
        """Rebuild choices from `to_dict`; what this version does not know is dropped.

        Raises:
            SpecError: a value is none of those that are possible.
        """
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def key(self, sha256: str) -> str:
        """Name the table that bytes of this SHA-256 are when they are read so: the same if nothing is said."""
        said = self.to_dict()
        text = json.dumps([sha256, said], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest() if said else sha256


FOUND = Choices()
"""Nothing is said: all is found."""


def _encoding(name: str) -> str:
    """Return the usual name of a text encoding."""
    try:
        found = codecs.lookup(name).name.replace("_", "-")
        codecs.getincrementaldecoder(found)
        "a".encode(found)  # refuses codecs that give no text
    except (LookupError, ValueError):
        found = ""
    if not found or found in _NO_TEXT:
        raise SpecError(f"Encoding is {name!r}. Use the name of one, such as utf-8, cp1252, gb18030 or utf-16.")
    return {"iso8859-1": "latin-1"}.get(found, found)


class Places(dict[str, Any]):
    """Where the N rows of a table stand in its file, as plain values that go with its frame (`attrs`).

    Rows are named by the number of their record, from 0, as `predict` prints it. Records that were left out count, too,
    so that a join with the file by this number is right.
    """

    @classmethod
    def of(cls, rows: int, left_out: Sequence[Sequence[int]] = (), first_line: int | None = None) -> Places:
        """Make the places of `rows` rows; see `ReadReport` for the rest."""
        return cls(rows=rows, left_out=[list(run) for run in left_out], first_line=first_line)

    def __deepcopy__(self, _memo: object) -> Places:
        return self  # pandas copies attrs with every step; these never change

    def records(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the records that rows of the table are, of the same shape."""
        if not self["left_out"]:
            return rows
        starts, counts = np.array(self["left_out"], np.int64).T
        before = np.concatenate([[0], np.cumsum(counts)])
        shift: NDArray[np.int64] = before[np.searchsorted(starts - before[:-1], rows, side="right")]
        return rows + shift

    def name(self, row: int) -> str:
        """Name a row, and its line where that is known: `row 18 (line 20)`."""
        record = int(self.records(np.array([row]))[0])
        first: int | None = self["first_line"]
        return f"row {record:,}" + ("" if first is None else f" (line {first + record:,})")


def places_of(frame: pd.DataFrame) -> Places:
    """Return where the rows of a table's frame stand in its file; those of any other frame are counted from 0."""
    places = frame.attrs.get(_PLACES)
    if isinstance(places, Places) and places["rows"] == len(frame):  # attrs stay with a part of the rows, too
        return places
    return Places.of(len(frame))


def runs_of(numbers: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Write ascending numbers as runs: the first number of each, and how many follow one another."""
    breaks = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
    lengths = np.diff(breaks, append=len(numbers))
    return tuple(zip(numbers[breaks].tolist(), lengths.tolist(), strict=True))


@dataclass(frozen=True)
class PartFile:
    """A file of a dataset, as it was when it was read."""

    name: str
    """Its path below the dataset's folder."""
    bytes: int
    sha256: str
    rows: int


DATE = "date"
"""The column that folders of years and months, and of days and hours where there are any, make together."""
YEARS, MONTHS, DAYS = ("year", "yyyy", "y"), ("month", "mm", "mon", "m"), ("day", "dd", "d")
"""What such folders are called."""
PARTS_OF_DATES = frozenset((*YEARS, *MONTHS, *DAYS))

_PLACES = "places"
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
    choices: Choices = field(default_factory=Choices)
    """What a person said of the file."""
    left_out: tuple[tuple[int, int], ...] = ()
    """The records among the rows that are none, as runs: the number of the first, from 0, and how many there are."""
    first_line: int | None = None
    """The line of the first record, where each record is a line; otherwise None."""
    files: tuple[PartFile, ...] = ()
    """The files of a dataset, in the order of their rows; empty for a table of one file."""
    folders: tuple[str, ...] = ()
    """The columns that a dataset's folders name, as `day=3`."""
    declared: tuple[str, ...] = ()
    """The columns whose numbers or truth values were declared to be categories, as pandas' `category`."""

    def sentences(self) -> list[str]:
        """Say what was left out, what was repaired and what else there is to know, a short sentence each."""
        return [
            *_listed(self.skipped, self.skipped_count, "lines left out in all"),
            *_listed(self.repaired, self.repaired_count, "lines repaired in all"),
            *self.notes,
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {**asdict(self), "choices": self.choices.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ReadReport:
        """Rebuild a report from `to_dict`."""
        listed = {name: tuple(Problem(**one) for one in values.get(name, ())) for name in ("skipped", "repaired")}
        choices = Choices.from_dict(values.get("choices", {}))
        left_out = tuple((first, count) for first, count in values.get("left_out", ()))
        files = tuple(PartFile(**file) for file in values.get("files", ()))
        names = {name: tuple(values.get(name, ())) for name in ("notes", "folders", "declared")}
        told = {"files": files, "choices": choices, "left_out": left_out, **names}
        return cls(**{**values, **listed, **told})


def _listed(problems: Sequence[Problem], count: int, what: str) -> list[str]:
    texts = in_words(problems)
    shown = texts[:_SENTENCES]
    more = count > len(problems) and all(problem.line is not None for problem in problems)
    return [*shown, f"{count:,} {what}."] if len(texts) > _SENTENCES or more else shown


@dataclass(frozen=True)
class Table:
    """A frame of N rows whose columns are pandas Categoricals of text; an empty cell is `""`.

    The frame's index is 0 … N-1. Categories are the distinct texts of a column in any order, and nothing may depend on
    that order. `attrs` of the frame say where its rows stand in the file (`places_of`).
    """

    name: str
    frame: pd.DataFrame
    report: ReadReport

    def __post_init__(self) -> None:
        if self.report.left_out or self.report.first_line is not None:
            self.frame.attrs[_PLACES] = Places.of(self.report.rows, self.report.left_out, self.report.first_line)
        else:
            self.frame.attrs.pop(_PLACES, None)

    @property
    def records(self) -> NDArray[np.int64]:
        """The number of each row's record in the file, from 0: (N,)."""
        return places_of(self.frame).records(np.arange(len(self.frame)))

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
