"""Find the layout of a text table: its delimiter, its header line, and the lines before it.

Start with `detect`. It cuts the start of the text by each delimiter in turn, and takes the one that fits best.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

from deepfm_core.errors import NOTHING_TO_DO, Problem, TableError
from deepfm_core.tables.decoding import UNIT, Content
from deepfm_core.tables.header import (
    Names,
    column_names,
    could_be_names,
    is_header,
    is_title,
    is_value,
    numbered_names,
    over_several_lines,
    stands_out,
)
from deepfm_core.tables.records import Cut, Record, is_sound, mended_records, records
from deepfm_core.tables.table import FOUND, NO_ROWS, TWOFOLD, Choices, is_missing

DELIMITERS = (",", "\t", ";", "|")
CRITEO_COLUMNS = ("label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27)))  # 40 columns

# What is looked at to find the layout: at most so much of the text.
_SAMPLE_BYTES = 1 << 20
_SAMPLE_RECORDS, _SAMPLE_LINES = 500, 2_000
_COMMENT = ("#", "//")
_CONTROLS = "\x01\x1f"  # nothing but delimiters, even beside commas
_RARE = f"^~{_CONTROLS}"
_OTHER_DELIMITERS = f":{_RARE}"
_UNEVEN = 0.5
"""Share of even records below which other delimiters than the usual ones are tried."""
_EVEN = 0.9
"""Share of the records that have the same number of cells, from which a cut is even."""
_FEWEST_RECORDS = 3
_MOST_TITLES = 20
"""Lines above a header beyond which there is no table."""
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}


@dataclass(frozen=True)
class Dialect:
    """How to cut a text into rows and cells."""

    cut: Cut
    columns: tuple[str, ...]
    header_line: int | None
    first_line: int
    """The number of the line after the header, where the first row is."""
    offset: int
    """Bytes of UTF-8 before the first row."""
    layout: str | None = None
    preamble: tuple[Problem, ...] = ()
    """Lines of text before the header, which are left out."""
    notes: tuple[str, ...] = ()
    unnamed_end: int = 0
    """How many columns at the end have no name in the header."""
    header: tuple[str, ...] = ()
    """The header's cells as they stand, one for each column; empty where there is no header."""
    settled: bool = False
    """Whether a person has said how quotes are meant, so that nothing else is tried."""


def detect(content: Content, subject: str, choices: Choices = FOUND) -> Dialect:
    """Find the delimiter, the header line and the column names from the start of a text.

    Raises:
        TableError: the text is empty, has only one column, or no such line as is said to be its header.
    """
    lines, complete = _sample(content)
    start = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(_COMMENT)), None)
    if start is None:
        remedy = "Give a table with a header line and at least one row below it."
        raise TableError(subject, [Problem("the file is empty", remedy)])
    stated = re.fullmatch(r"sep=(.)\s*", lines[start])  # Excel's way to name the delimiter
    start = start + bool(stated) if choices.header_line is None else _said_line(lines, choices.header_line, subject)
    chosen = choices.delimiter or (stated[1] if stated else None)
    fits = _fits(lines, start, _cuts((chosen,) if chosen else DELIMITERS, choices), complete, choices)
    best = max(fits, key=lambda fit: fit.rank, default=None)
    if not choices.quoting and (
        best is None or best.rank[0] < _EVEN or _holds_quotes(best) or _is_within_cells(best, lines[start])
    ):
        cuts = [cut for cut in _other_cuts(lines, lines[start], best) if chosen in (None, cut.delimiter)]
        others = [fit for fit in _fits(lines, start, cuts, complete, choices) if _is_plausible(fit)]
        best = max([*others, *fits], key=_rank_with_quotes, default=None)
    if best is None:
        raise TableError(subject, _one_column(lines[start:], start + 1, chosen))
    return _dialect(best, lines, choices)


def twofold_delimiter(content: Content) -> str | None:
    """Find a delimiter of two characters: every line has it equally often, and no usual delimiter as often."""
    lines, _ = _sample(content)
    lines = [line for line in lines[:_SAMPLE_RECORDS] if line.strip()]
    if len(lines) < _FEWEST_RECORDS or any(UNIT in line for line in lines):
        return None
    for mark in TWOFOLD:
        others = (delimiter for delimiter in DELIMITERS if delimiter not in mark)
        if _even_cuts(lines, mark) > max(_even_cuts(lines, other) for other in others):
            return mark
    return None


def _even_cuts(lines: list[str], delimiter: str) -> int:
    """Count how often every line has a delimiter; 0 where they differ."""
    counts = {line.count(delimiter) for line in lines}
    return counts.pop() if len(counts) == 1 else 0


def _said_line(lines: list[str], number: int, subject: str) -> int:
    """Return the place of the line that is said to be the header."""
    if number > len(lines) or not lines[number - 1].strip():
        what = "is blank" if number <= len(lines) else "does not exist or stands too far below"
        raise TableError(subject, [Problem(f"the header's line {what}", "Choose another line.", line=number)])
    return number - 1


def _cuts(delimiters: Iterable[str], choices: Choices) -> list[Cut]:
    """Return the usual ways to cut at each delimiter, or those with quotes as they are said to be."""
    cut = _QUOTED[choices.quoting or "doubled"]
    return [replace(cut, delimiter=delimiter, spaced=delimiter == " ") for delimiter in delimiters]


_QUOTED = {"doubled": Cut(), "backslash": Cut(escape=True), "single": Cut(quote="'"), "none": Cut(quote=None)}


@dataclass(frozen=True)
class _Fit:
    """The sample cut in one way, from its header on. The fit of highest rank wins."""

    cut: Cut
    rank: tuple[float, int, int]
    sample: list[Record]
    width: int
    """The number of cells that most records have."""


def _fits(lines: list[str], start: int, cuts: Iterable[Cut], complete: bool, choices: Choices) -> list[_Fit]:
    return [fit for cut in cuts if (fit := _fit(lines, start, cut, complete, choices))]


def _fit(lines: list[str], start: int, cut: Cut, complete: bool, choices: Choices) -> _Fit | None:
    if not any(cut.delimiter in line for line in lines):
        return None
    cut, sound = _sound_cut(lines[start : start + _SAMPLE_LINES], cut, settled=choices.quoting is not None)
    sample = [
        record
        for record in islice(_records(lines[start:], cut, start + 1, sound=sound), _SAMPLE_RECORDS)
        if not all(map(is_missing, record.cells))
    ]
    # The last record may be cut off by the end of the sample.
    if not complete and len(sample) > 1 and sample[-1].last_line == len(lines):
        sample.pop()
    widths = Counter(len(record.cells) for record in sample if len(record.cells) > 1)
    if not widths:
        return None
    places = {width: 0 if choices.header_line else _first(sample, width) for width in widths}
    near = [width for width in widths if places[width] <= _MOST_TITLES]
    if not near:
        return None
    width = max(near, key=lambda width: (widths[width], width))  # of two tables the larger, if its start is in reach
    before = places[width]
    body = sample[before:]
    consistency = widths[width] / len(sample)
    # Records of equal width count most, then few lines before the header, then many columns.
    return _Fit(cut, (round(consistency, 2), -before, width), body, width)


def _first(sample: list[Record], width: int) -> int:
    """Return the place of the header, or of the first row where there is none."""
    fitting = (i for i, record in enumerate(sample) if len(record.cells) == width)
    top = next((i for i in fitting if not is_title(sample[i], sample[i + 1 :])), len(sample))
    below = [record for record in sample[top + 1 :] if len(record.cells) == width]
    if 0 < top < len(sample) and could_be_names(sample[top - 1], width) and not stands_out(sample[top], below):
        return top - 1  # a header with a name too many or too few
    return top if top < len(sample) else 0


def _rank_with_quotes(fit: _Fit) -> tuple[float, ...]:
    """Rank a cut as `rank` does, but of two that are as even, one that takes quotes for what they are goes first."""
    evenness, *others = fit.rank
    return (evenness, fit.cut.quote == "'" or fit.cut.spaced, *others)


def _holds_quotes(fit: _Fit) -> bool:
    """Return whether most records have a cell within single quotes, or with a space before its quotes.

    Quotes around cells come in twos: a record with an odd number of them has a stray one.
    """
    held = [_is_quoted(row.cells) for row in fit.sample[1:]]
    return len(held) > 1 and sum(held) >= _EVEN * len(held)


def _is_quoted(cells: Sequence[str]) -> bool:
    """Return whether a record has a cell within single quotes, or, of paired quotes, one with a space before them."""
    together = "\n".join(cells)
    if "'" not in together and ' "' not in together:
        return False  # most tables, and wide ones have many cells
    paired = together.count('"') % 2 == 0
    return any(len(c) > 1 and (c[0] == c[-1] == "'" or (paired and c.startswith(' "'))) for c in cells)


def _is_within_cells(best: _Fit, first: str) -> bool:
    """Return whether the first line has another mark than the delimiter found, which may be that of thousands."""
    usual = best.cut.delimiter in first
    return any(mark in first for mark in (_CONTROLS if usual else _RARE))


def _other_cuts(lines: list[str], first: str, best: _Fit | None) -> Iterator[Cut]:
    """Yield unusual ways to cut of which there are signs: single quotes, spaces before quotes, other delimiters."""
    if not any('"' in line for line in lines):
        yield from (Cut(delimiter, quote="'") for delimiter in DELIMITERS if any("'" in line for line in lines))
    for delimiter in DELIMITERS:
        if any(f'{delimiter} "' in line for line in lines):
            yield Cut(delimiter, spaced=True)
    if best is None or best.rank[0] < _UNEVEN:
        yield from (Cut(" ", spaced=True), *(Cut(delimiter) for delimiter in _OTHER_DELIMITERS))
    elif _is_within_cells(best, first):
        yield from (Cut(delimiter) for delimiter in _RARE if delimiter in first)


def _is_plausible(fit: _Fit) -> bool:
    """Return whether an unusual cut gives a table rather than words: many even records, and a column of values."""
    return (
        fit.rank[0] >= _EVEN
        and len(fit.sample) > _FEWEST_RECORDS
        and (
            fit.cut.delimiter in (*DELIMITERS, *_CONTROLS) or stands_out(fit.sample[0], fit.sample[1:]) or fit.width > 3
        )
    )


def _sound_cut(lines: list[str], cut: Cut, *, settled: bool) -> tuple[Cut, bool]:
    """Return how a sample is cut, with a backslash before quotes or without, and whether its quotes are well-formed."""
    if cut.quote is None or not any(cut.quote in line for line in lines) or is_sound(lines, cut):
        return cut, True
    if settled:
        return cut, False
    escaped = replace(cut, escape=True)
    if any('\\"' in line for line in lines) and is_sound(lines, escaped):
        return escaped, True
    return cut, False


def _records(lines: list[str], cut: Cut, first_line: int, *, sound: bool) -> Iterator[Record]:
    """Cut a sample; where its quotes are not well-formed, by the number of cells that most records then have.

    That number is the first line's, or the one by the usual count of delimiters, which counts those within cells, too.
    """
    if sound:
        return records(lines, cut, first_line)
    lines = lines[:_SAMPLE_LINES]
    counts = Counter(line.count(cut.delimiter) + 1 for line in lines if line.strip())
    first = next(records(lines[:1], cut), None)
    widths = dict.fromkeys([counts.most_common(1)[0][0], len(first.cells) if first else 0])
    found = {width: list(mended_records(lines, cut, width, first_line)) for width in widths}
    best = max(found, key=lambda width: sum(len(record.cells) == width for record in found[width]) / len(found[width]))
    return iter(found[best])


def _dialect(fit: _Fit, lines: list[str], choices: Choices) -> Dialect:
    header, below = fit.sample[0], fit.sample[1:]
    first, layout = header.last_line + 1, None
    header_line: int | None = header.line
    if choices.header is None and _is_criteo(fit.sample):
        note = "The file has no header line; its columns are those of the Criteo click log."
        names = Names(CRITEO_COLUMNS, 0, (note,))
        first, header_line, layout = header.line, None, "criteo"
    elif choices.header in (None, True) and (commented := _commented_header(fit, lines)):
        header, first, header_line = commented, commented.last_line + 1, commented.line
        names = column_names(header, fit.sample, fit.width)
    elif _is_headed(fit, choices):
        if choices.header is None and (joined := over_several_lines(header, below)):
            below = [record for record in below if record.line > joined.last_line]
            header, first = joined, joined.last_line + 1
        names = column_names(header, below, fit.width)
        if header.last_line > fit.sample[0].last_line:
            names = replace(names, notes=(_joined_note(header, fit.sample[0]), *names.notes))
    else:
        names, first = numbered_names(fit.width, header.line, said=choices.header is False), header.line
        header_line = None
    return Dialect(
        cut=fit.cut,
        columns=names.columns,
        header_line=header_line,
        first_line=first,
        offset=sum(len(line.encode()) for line in lines[: first - 1]),
        layout=layout,
        preamble=tuple(_preamble(lines[: header.line - 1])),
        notes=names.notes,
        unnamed_end=names.unnamed_end,
        header=names.cells,
        settled=choices.quoting is not None,
    )


def _joined_note(header: Record, first: Record) -> str:
    return (
        f"The names of the columns stand in several lines, {first.line} to {header.last_line}, and were joined. If "
        f"these hold rows, say that line {first.line} is the header (`--header {first.line}`)."
    )


def _is_headed(fit: _Fit, choices: Choices) -> bool:
    if choices.header is not None:
        return bool(choices.header)
    below = [record for record in fit.sample[1:] if len(record.cells) == fit.width]
    return len(fit.sample[0].cells) != fit.width or is_header(fit.sample[0], below)


def _sample(content: Content) -> tuple[list[str], bool]:
    """Return the first complete lines of the text, and whether they are all of it."""
    with closing(content.open()) as stream:
        head = stream.read(_SAMPLE_BYTES)
        while b"\n" not in head and b"\r" not in head and (more := stream.read(len(head))):
            head += more
        complete = not stream.read(1)
    lines = list(io.StringIO(head.decode("utf-8", "ignore"), newline=""))
    return (lines if complete or len(lines) < 2 else lines[:-1]), complete


def _is_criteo(sample: list[Record]) -> bool:
    return all(_is_criteo_row(record.cells) for record in sample if len(record.cells) == len(CRITEO_COLUMNS)) and any(
        len(record.cells) == len(CRITEO_COLUMNS) for record in sample
    )


def _is_criteo_row(cells: list[str]) -> bool:
    return (  # label, 13 counts, 26 hashes
        cells[0] in ("0", "1")
        and all(re.fullmatch(r"(-?\d+)?", cell) for cell in cells[1:14])
        and all(re.fullmatch(r"\w{0,64}", cell) for cell in cells[14:])
    )


def _commented_header(fit: _Fit, lines: list[str]) -> Record | None:
    """Return the header if it begins with `#`, as in `#id,click` or `# id,click`; None otherwise."""
    first = fit.sample[0]
    above = lines[first.line - 2] if first.line > 1 else ""
    named = re.match(rf"#+(\s?\w|{re.escape(fit.cut.delimiter)})", above)
    if not named or not any(is_value(cell) for cell in first.cells):
        return None
    record = next(records([above], fit.cut, first.line - 1))
    names = [cell for cell in record.cells if cell.strip() and not is_value(cell)]
    return record if len(record.cells) == fit.width == len(set(names)) else None


def _preamble(lines: list[str]) -> Iterator[Problem]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield Problem("the line stands before the header", NOTHING_TO_DO, line=number, value=line.strip()[:80])


def _one_column(lines: list[str], number: int, chosen: str | None) -> list[Problem]:
    known = ", ".join(f"{_NAMES[delimiter]} (`{delimiter}`)" for delimiter in DELIMITERS if delimiter != "\t")
    remedy = f"Separate the columns by {known} or tab."
    text = next((line.strip() for line in lines if line.strip()), "")
    if chosen:
        remedy = f"The delimiter {_NAMES.get(chosen, f'`{chosen}`')} does not stand in this line. Choose another one."
        return [Problem("the table has only one column", remedy, line=number, value=text[:80])]
    others = Counter(re.findall(r"[^\w\s.\"'<>=+-]|[ \x01]", text)).most_common(1)
    if others:
        used = {" ": "spaces", "\x01": "the control character U+0001"}.get(others[0][0], f"`{others[0][0]}`")
        remedy += f" This line seems to use {used}."
    problems = [Problem("the table has only one column", remedy, line=number, value=text[:80])]
    if sum(bool(line.strip()) for line in lines) < 2:
        problems.append(Problem(NO_ROWS, "Add rows below the header."))
    return problems
