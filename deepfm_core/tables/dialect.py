"""Find the layout of a text table: its delimiter, its header line, and the lines before it.

Start with `detect`. It cuts the start of the text by each delimiter in turn, and takes the one that fits best.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

from deepfm_core.errors import Problem, TableError
from deepfm_core.tables.decoding import Content
from deepfm_core.tables.records import Cut, Record, is_sound, mended_records, records

DELIMITERS = (",", "\t", ";", "|")
CRITEO_COLUMNS = ("label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27)))  # 40 columns

# What is looked at to find the layout: at most so much of the text.
_SAMPLE_BYTES = 1 << 20
_SAMPLE_RECORDS = 500
_COMMENT = ("#", "//")
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
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def detect(content: Content, subject: str) -> Dialect:
    """Find the delimiter, the header line and the column names from the start of a text.

    Raises:
        TableError: the text is empty, or has only one column.
    """
    lines, complete = _sample(content)
    start = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(_COMMENT)), None)
    if start is None:
        remedy = "Give a table with a header line and at least one row below it."
        raise TableError(subject, [Problem("the file is empty", remedy)])
    stated = re.fullmatch(r"sep=(.)\s*", lines[start])  # Excel's way to name the delimiter
    candidates = (stated[1],) if stated else DELIMITERS
    start += bool(stated)
    fits = [fit for delimiter in candidates if (fit := _fit(lines, start, delimiter, complete))]
    if not fits:
        raise TableError(subject, _one_column(lines[start:], start + 1))
    return _dialect(max(fits, key=lambda fit: fit.rank), lines)


@dataclass(frozen=True)
class _Fit:
    """The sample cut by one delimiter, from its header on. The fit of highest rank wins."""

    cut: Cut
    rank: tuple[float, int, int]
    sample: list[Record]


def _fit(lines: list[str], start: int, delimiter: str, complete: bool) -> _Fit | None:
    cut, sound = _sound_cut(lines[start:], delimiter)
    sample = [
        record
        for record in islice(_records(lines[start:], cut, start + 1, sound=sound), _SAMPLE_RECORDS)
        if any(cell.strip() for cell in record.cells)
    ]
    # The last record may be cut off by the end of the sample.
    if not complete and len(sample) > 1 and sample[-1].last_line == len(lines):
        sample.pop()
    before = next((i for i, record in enumerate(sample) if not _is_title(record, sample[i + 1 :])), None)
    if before is None or before > 20:  # more than 20 title lines: no table
        return None
    body = sample[before:]
    width = len(body[0].cells)
    consistency = sum(len(record.cells) == width for record in body) / len(sample)
    # Records of equal width count most, then few lines before the header, then many columns.
    return _Fit(cut, (round(consistency, 2), -before, width), body)


def _sound_cut(lines: list[str], delimiter: str) -> tuple[Cut, bool]:
    """Return how a sample is cut by a delimiter, and whether its quotes are well-formed then."""
    cut = Cut(delimiter)
    if not any('"' in line for line in lines) or is_sound(lines, cut):
        return cut, True
    escaped = replace(cut, escape=True)
    if any('\\"' in line for line in lines) and is_sound(lines, escaped):
        return escaped, True
    return cut, False


def _records(lines: list[str], cut: Cut, first_line: int, *, sound: bool) -> Iterator[Record]:
    """Cut a sample, by the usual number of its delimiters where its quotes are not well-formed."""
    if sound:
        return records(lines, cut, first_line)
    widths = Counter(line.count(cut.delimiter) + 1 for line in lines if line.strip())
    return mended_records(lines, cut, widths.most_common(1)[0][0], first_line)


def _is_title(record: Record, below: list[Record]) -> bool:
    """Return whether a record is a title above the table, as spreadsheets export it: `Clicks in May,,`."""
    if len(record.cells) < 2:
        return True
    alone = bool(record.cells[0].strip()) and not any(cell.strip() for cell in record.cells[1:])
    names = below[0].cells if below else []
    return alone and len(names) > 2 and all(cell.strip() and not _is_number(cell) for cell in names)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?[.\d][\d.,eE+-]*\s*", text) is not None


def _dialect(fit: _Fit, lines: list[str]) -> Dialect:
    header = fit.sample[0]
    if _is_criteo(fit.sample):
        columns, first, header_line, layout = CRITEO_COLUMNS, header.line, None, "criteo"
        problems: list[Problem] = []
        notes = ["The file has no header line; its columns are those of the Criteo click log."]
    else:
        header = _commented_header(fit, lines) or header
        first, header_line, layout = header.last_line + 1, header.line, None
        columns, problems, notes = _column_names(header)
    return Dialect(
        cut=fit.cut,
        columns=columns,
        header_line=header_line,
        first_line=first,
        offset=sum(len(line.encode()) for line in lines[: first - 1]),
        layout=layout,
        preamble=tuple(_preamble(lines[: header.line - 1])),
        problems=tuple(problems),
        notes=tuple(notes),
    )


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
    """Return the header if it begins with `#`, as in `#id,click`; None otherwise."""
    first = fit.sample[0]
    above = lines[first.line - 2] if first.line > 1 else ""
    if not re.match(r"#\w", above) or not any(_is_number(cell) for cell in first.cells):
        return None
    record = next(records([above], fit.cut, first.line - 1))
    return record if len(record.cells) == len(first.cells) else None


def _column_names(header: Record) -> tuple[tuple[str, ...], list[Problem], list[str]]:
    names, notes = [], []
    for number, cell in enumerate(header.cells, 1):
        name = cell
        if not cell.strip():
            name = f"column {number}"
            while name in header.cells:
                name += "'"
            notes.append(f"Column {number} has no name in line {header.line}; it is called `{name}`.")
        names.append(name)
    if all(_is_number(cell) for cell in header.cells if cell.strip()):
        notes.append(f"Line {header.line} was taken as the header, but it holds numbers: is the header missing?")
    return tuple(names), _duplicates(header.line, names), notes


def _duplicates(line: int, names: list[str]) -> list[Problem]:
    remedy = "Give every column a name of its own; if the file has no header line, add one."
    problems = []
    for name, times in Counter(names).items():
        if times > 1:
            places = " and ".join(str(i) for i, other in enumerate(names, 1) if other == name)
            problems.append(Problem(f"the name stands over columns {places}", remedy, line=line, column=name))
    return problems


def _preamble(lines: list[str]) -> Iterator[Problem]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield Problem("the line stands before the header", "Nothing to do.", line=number, value=line.strip()[:80])


def _one_column(lines: list[str], number: int) -> list[Problem]:
    known = ", ".join(f"{_NAMES[delimiter]} (`{delimiter}`)" for delimiter in DELIMITERS if delimiter != "\t")
    remedy = f"Separate the columns by {known} or tab."
    text = next((line.strip() for line in lines if line.strip()), "")
    others = Counter(re.findall(r"[^\w\s.\"'<>=+-]|[ \x01]", text)).most_common(1)
    if others:
        used = {" ": "spaces", "\x01": "the control character U+0001"}.get(others[0][0], f"`{others[0][0]}`")
        remedy += f" This line seems to use {used}."
    problems = [Problem("the table has only one column", remedy, line=number, value=text[:80])]
    if sum(bool(line.strip()) for line in lines) < 2:
        problems.append(Problem("the table has no rows", "Add rows below the header."))
    return problems
