"""Read a text with delimiters: cut it into rows, leave out what is none of them, name the columns, and report on it.

Start with `read_text`. Where rows are gathered elsewhere than in memory, `TextFile` gives the steps one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from deepfm_core.errors import REASON, Problem, TableError
from deepfm_core.tables.csv_parser import Parsed, parse
from deepfm_core.tables.decoding import UNIT, Content, refuse_columns
from deepfm_core.tables.dialect import Dialect, detect, twofold_delimiter
from deepfm_core.tables.header import is_value
from deepfm_core.tables.no_rows import LeftOut, without_no_rows
from deepfm_core.tables.records import Cut, Misfits
from deepfm_core.tables.repair import (
    Gather,
    Repaired,
    all_escaped,
    are_lines,
    doubts,
    in_memory,
    is_sound_below,
    refuse_doubts,
    repair,
    swallowing,
    too_many,
)
from deepfm_core.tables.row_errors import excerpt, lines_left_out, mended_rows, misfits, ragged_rows
from deepfm_core.tables.table import FOUND, NO_ROWS, TWOFOLD, Choices, Places, ReadReport, Table, runs_of

_SPACE_REMOVED = "The space after every delimiter was removed."


def read_text(content: Content, name: str, choices: Choices = FOUND, *, strict: bool = False) -> Table:
    """Read lines of cells with a delimiter between them.

    Raises:
        TableError: they cannot be read as a table; with `strict`, a row is ragged.
    """
    text = TextFile.of(content, f"Table `{name}`", choices)
    rows = text.rows()
    text.refuse(rows, strict=strict)
    unnamed, no_rows = pd.DataFrame(dict(enumerate(rows.columns)), copy=False), LeftOut()
    if not text.every_row:
        unnamed, no_rows = without_no_rows(unnamed, text.header)
    text.require_rows(len(unnamed))
    columns = [unnamed[place].array for place in unnamed]
    framing = text.framing([_Looks(column.categories) for column in columns])
    named = {name: framing.trimmed(columns[place], place) for place, name in framing.columns.items()}
    return Table(name, pd.DataFrame(named, copy=False), text.report(rows, no_rows, framing))


@dataclass(frozen=True)
class TextFile:
    """A text and how it is to be read."""

    content: Content
    dialect: Dialect
    subject: str
    """What messages call it."""
    twofold: str | None
    """Its delimiter, if that has two characters."""
    said: Choices
    """What a person said of it."""

    @classmethod
    def of(cls, content: Content, subject: str, choices: Choices = FOUND) -> TextFile:
        """Find how a text is to be read, from its start.

        Raises:
            TableError: it is empty, or has one column or too many.
        """
        own, twofold = choices, choices.delimiter if choices.delimiter in TWOFOLD else None
        if choices.delimiter is None:
            twofold = twofold_delimiter(content)
        if twofold:
            content, own = replace(content, twofold=twofold), replace(choices, delimiter=UNIT)
        dialect = detect(content, subject, own)
        refuse_columns(dialect.columns, subject)
        return cls(content, dialect, subject, twofold, choices)

    @property
    def every_row(self) -> bool:
        """Whether records that look like no rows, such as totals, are kept."""
        return self.said.rows is not None

    @property
    def header(self) -> tuple[str, ...]:
        """The cells of the header, if a record that repeats them is no row; a chosen one may look like its rows."""
        return () if any(map(is_value, self.dialect.header)) else self.dialect.header

    def rows(self, parsed: Callable[[], Parsed | None] | None = None, gather: Gather = in_memory) -> Rows:
        """Take what the fast parser finds or, where it may be wrong, read the text record by record.

        Where every record is a row, one with too few cells is a row, too: the others are empty.

        Args:
            parsed: gives what the fast parser finds, None where it finds nothing; by default it reads into memory.
            gather: takes what is read record by record.
        """
        content, dialect, every = self.content, self.dialect, self.every_row
        found_fast = (parsed or self._parsed)() if dialect.cut.is_usual else None
        if found_fast is not None:
            sound = not doubts(content, dialect, found_fast)
            if sound and (escaped := _with_backslashes(content, dialect, found_fast)) is not None:
                return _rows_and(escaped, repair(content, escaped, sound=True, gather=gather))
            if sound and not found_fast.ragged:
                return Rows(found_fast.columns, dialect.cut, found_fast.rows)
            if sound and not every:
                found = misfits(content, dialect)
                if not found.restored_count and not too_many(found.ragged_count, found_fast.rows):
                    kept = Repaired(dialect.cut, found_fast.columns, found, rows=found_fast.rows)
                    return _rows_and(dialect, kept)
        else:
            sound = is_sound_below(content, dialect)
        if not sound:
            refuse_doubts(content, dialect, self.subject)
        return _rows_and(dialect, repair(content, dialect, sound=sound, every=every, gather=gather))

    def _parsed(self) -> Parsed:
        with separable(self.subject):
            return parse(self.content, self.dialect)

    def refuse(self, rows: Rows, *, strict: bool = False) -> None:
        """Raise a TableError if many rows are ragged, or there is another reason not to go on."""
        problems = list[Problem]()
        if rows.ragged_count and (strict or too_many(rows.ragged_count, rows.fitting)):
            problems += rows.ragged
        if problems:
            raise TableError(self.subject, problems)
        self.require_rows(rows.fitting)

    def require_rows(self, count: int) -> None:
        """Raise a TableError if there are no rows."""
        if not count:
            problem = Problem(NO_ROWS, "Add rows below the header.", line=self.dialect.header_line)
            raise TableError(self.subject, [problem])

    def framing(self, looks: Sequence[Looks]) -> Framing:
        """Decide which columns there are, by what the texts of each have in common."""
        dialect, names, notes = self.dialect, list(self.dialect.columns), list[str]()
        places = list(range(len(names)))
        if dialect.cut.spaced and dialect.cut.delimiter != " ":
            notes.append(_SPACE_REMOVED)
        if dialect.header_line is not None and (end := _empty_end(looks, dialect.unnamed_end)):
            places = places[:-end]
            notes.append("Every row ends with a delimiter; the empty column at the end was left out.")
            if len(places) > 2 and dialect.header[:1] == ("",) and looks[0].is_white:
                places = places[1:]
                notes.append("Every row begins with one, too; the empty column there was left out.")
        kept, trim = [names[place] for place in places], ""
        if all(looks[place].is_spaced for place in places[1:]) and all(name.startswith(" ") for name in kept[1:]):
            filled = all(looks[place].is_filled_up for place in places[:-1])
            drawn = filled and all(name.endswith(" ") for name in kept[:-1])
            kept, trim = [name.lstrip(" ") for name in kept], "left"
            notes.append(_SPACE_REMOVED)
            if drawn:
                kept, trim = [name.strip(" ") for name in kept], "both"
                notes[-1] = "The spaces around cells, with which columns are aligned, were removed."
        return Framing(dict(zip(places, kept, strict=True)), trim, tuple(notes))

    def report(self, rows: Rows, no_rows: LeftOut, framing: Framing) -> ReadReport:
        """Say how the text was read."""
        content, dialect = self.content, self.dialect
        names = framing.columns.values()
        notes = [
            *(note for note in dialect.notes if _is_of(names, note)),
            *framing.notes,
            *rows.notes,
            *_doubtful_cells(content, dialect, rows),
            *_encoding_notes(content, said=self.said.encoding is not None),
        ]
        return ReadReport(
            encoding=content.encoding,
            compression=content.compression,
            delimiter=self.twofold or rows.cut.delimiter,
            header_line=dialect.header_line,
            layout=dialect.layout,
            rows=rows.fitting - len(np.unique(no_rows.records)),
            skipped=(*dialect.preamble, *rows.ragged, *no_rows.problems, *rows.left_out),
            skipped_count=len(dialect.preamble) + rows.ragged_count + no_rows.count + rows.left_out_count,
            quoting=str(rows.cut) if content.quoted_until > dialect.offset or rows.cut.quote != '"' else None,
            repaired=tuple(rows.mended),
            repaired_count=rows.mended_count,
            notes=tuple(notes),
            left_out=_left_out(rows, no_rows),
            first_line=dialect.first_line if are_lines(content, dialect, rows.count) else None,
        )


@contextmanager
def separable(subject: str) -> Iterator[None]:
    """Say in a sentence why the fast parser cannot separate rows."""
    try:
        yield
    except MemoryError:
        raise  # Arrow's is an ArrowException, too
    except pa.ArrowException as error:
        remedy = "Save the table again as CSV, with quotes around cells that contain delimiters or line ends."
        raise TableError(
            subject, [Problem("the rows cannot be separated", remedy, value=str(error), how=REASON)]
        ) from error


@dataclass(frozen=True)
class Rows:
    """The rows of a text, how it was cut, and what is to be said of its lines."""

    columns: list[pd.Categorical]
    """All texts; or, of rows gathered elsewhere, those that are to be looked at for what is to be said."""
    cut: Cut
    fitting: int
    """How many rows there are."""
    ragged: list[Problem] = field(default_factory=list)
    ragged_count: int = 0
    left_out: list[Problem] = field(default_factory=list)
    left_out_count: int = 0
    mended: list[Problem] = field(default_factory=list)
    mended_count: int = 0
    notes: list[str] = field(default_factory=list)
    out: list[int] = field(default_factory=list)
    """The numbers of the records that are none of these rows, from 0."""

    @property
    def count(self) -> int:
        """The number of all records."""
        return self.fitting + len(self.out)


def _with_backslashes(content: Content, dialect: Dialect, parsed: Parsed) -> Dialect | None:
    """Return the dialect in which a backslash escapes quotes, if that is how all quotes in cells are written."""
    if not content.escapes or dialect.settled:
        return None
    escaped = replace(dialect, cut=replace(dialect.cut, escape=True))
    return escaped if all_escaped(parsed.columns) and is_sound_below(content, escaped) else None


def _rows_and(dialect: Dialect, read: Repaired) -> Rows:
    found: Misfits = read.misfits
    count = found.empty_count + found.rule_count + len(found.footer) + sum(lines for _, lines in found.others)
    notes = [f"{found.restored_count:,} rows had empty cells too many or too few at their end."]
    return Rows(
        read.columns,
        read.cut,
        read.rows,
        ragged_rows(found.ragged, dialect, read.rows),
        found.ragged_count,
        lines_left_out(found),
        count,
        mended_rows(read.mended, dialect),
        read.mended_count,
        notes if found.restored_count else [],
        found.places,
    )


def _left_out(rows: Rows, no_rows: LeftOut) -> tuple[tuple[int, int], ...]:
    """Return the records below the header that are no rows, up to the last row."""
    if not rows.out and not no_rows.count:
        return ()
    out = np.array(rows.out, np.int64)
    numbers = Places.of(rows.fitting, runs_of(out) if len(out) else ()).records(no_rows.records)
    gone = np.unique(np.concatenate([out, numbers]))
    trailing = int(np.count_nonzero(gone[::-1] == rows.count - 1 - np.arange(len(gone))))
    return runs_of(gone[: len(gone) - trailing]) if trailing < len(gone) else ()


def _is_of(names: Iterable[str], note: str) -> bool:
    """Whether a note says something of this table: not if it is on a nameless column that is gone."""
    nameless = _NAMELESS.match(note)
    return nameless is None or nameless[1] in names


def _doubtful_cells(content: Content, dialect: Dialect, rows: Rows) -> list[str]:
    if content.quoted_until <= dialect.offset or are_lines(content, dialect, rows.count):
        return []
    if not (cells := swallowing(rows.columns, dialect)):
        return []
    shown = excerpt(cells[0].splitlines()[0])
    return [
        f"{len(cells):,} distinct quoted cells hold line ends and what may be rows, such as the one that begins "
        f"`{shown}`. If rows are missing, check its quotes."
    ]


# Which columns a table has, and whether the spaces around its cells belong to them.


class Looks(Protocol):
    """What the texts of a column have in common."""

    @property
    def is_blank(self) -> bool:
        """Whether they hold nothing but spaces and tabs."""

    @property
    def is_white(self) -> bool:
        """Whether they hold nothing but white space."""

    @property
    def is_spaced(self) -> bool:
        """Whether each begins with a space, or is empty."""

    @property
    def is_filled_up(self) -> bool:
        """Whether each ends with a space."""


@dataclass(frozen=True)
class _Looks:
    """The same of distinct texts in memory, which are looked at if they must be."""

    texts: pd.Index

    @property
    def is_blank(self) -> bool:
        return not any(text.strip(" \t") for text in self.texts)

    @property
    def is_white(self) -> bool:
        return not any(map(str.strip, self.texts))

    @property
    def is_spaced(self) -> bool:
        return all(text.startswith(" ") or not text for text in self.texts)

    @property
    def is_filled_up(self) -> bool:
        return all(text.endswith(" ") for text in self.texts)


class SeenLooks:
    """The same of texts that come a piece at a time."""

    def __init__(self) -> None:
        self.is_blank = self.is_white = self.is_spaced = self.is_filled_up = True

    def add(self, texts: pd.Index) -> None:
        """Look at some more distinct texts."""
        own = _Looks(texts)
        self.is_blank = self.is_blank and own.is_blank
        self.is_white = self.is_white and own.is_white
        self.is_spaced = self.is_spaced and own.is_spaced
        self.is_filled_up = self.is_filled_up and own.is_filled_up


@dataclass(frozen=True)
class Framing:
    """The columns of a table, as they stand in its text."""

    columns: dict[int, str]
    """The place of each column in the text, and its name."""
    trim: str
    """Which spaces do not belong to cells: `left` those before them, but for the first column; `both`; or none."""
    notes: tuple[str, ...]

    def trimmed(self, column: pd.Categorical, place: int) -> pd.Categorical:
        """Return a column without the spaces that do not belong to its cells."""
        if not self.trim or (self.trim == "left" and place == next(iter(self.columns))):
            return column
        texts = column.categories.str
        codes, categories = pd.factorize(texts.strip(" ") if self.trim == "both" else texts.lstrip(" "))
        return pd.Categorical.from_codes(codes[column.codes], categories)


_NAMELESS = re.compile(r"Column \d+ has no name in line \d+; it is called `(.*)`\.$")
"""What `header.column_names` says of a column, and nobody needs to know of one that is left out."""


def _empty_end(looks: Sequence[Looks], unnamed: int) -> int:
    """Return how many of the unnamed columns at the end are empty, and not needed for a table of two columns."""
    empty = takewhile(lambda column: column.is_blank, reversed(looks))
    return min(unnamed, sum(1 for _ in empty), len(looks) - 2)


def _encoding_notes(content: Content, *, said: bool) -> list[str]:
    if content.replaced:
        name = "UTF-8" if content.encoding.startswith("utf-8") else content.encoding
        return [f"{content.replaced:,} bytes are not valid {name}; they read as `\ufffd`."]
    if content.controls:
        count = f"{content.controls:,} control character{'s' if content.controls > 1 else ''}"
        return [
            f"The file is UTF-8, but {count} in it must have been marks or letters of Windows-1252, such as `’`; they "
            "were read as these. To keep them, say that it is UTF-8 (`--encoding utf-8`)."
        ]
    if not said and not content.encoding.startswith("utf-"):
        return [
            f"The file is not UTF-8. It was read as {content.encoding}; if letters look wrong, choose its encoding "
            "(`--encoding` on the command line)."
        ]
    return []
