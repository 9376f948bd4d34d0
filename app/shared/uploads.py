"""Uploads: a file becomes a table of the visitor's; how it was read is shown, each with a choice to correct it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app.shared import launch
from app.state import saved_tables, visitor
from app.widgets.layout import side_by_side
from app.widgets.text import plain, show_error, without_options
from deepfm_core._words import whole_number
from deepfm_core.errors import DeepFMError, Problem, SpecError, TableError
from deepfm_core.store.limits import data_roots
from deepfm_core.store.untrusted import get_ready, look_at
from deepfm_core.tables.table import ALL_ROWS, FOUND, Choices, ReadReport, Table

if TYPE_CHECKING:
    from deepfm_core.tables.containers import Outline


# How a file was read: what was found, each with a choice to correct it, and the file's first lines.
#
# `reading_section` is for a table of the store, `choose_reading` for any file, also for one that was refused.


ENCODINGS = {
    "utf-8": "",
    "utf-16": "",
    "cp1252": "Western European",
    "latin-1": "Western European",
    "cp1250": "Central European",
    "cp1251": "Cyrillic",
    "koi8-r": "Cyrillic",
    "cp1253": "Greek",
    "cp1254": "Turkish",
    "cp1255": "Hebrew",
    "cp1256": "Arabic",
    "cp1257": "Baltic",
    "gb18030": "simplified Chinese",
    "big5": "traditional Chinese",
    "cp932": "Japanese, Shift-JIS",
    "euc-jp": "Japanese",
    "cp949": "Korean",
    "cp850": "DOS",
    "mac-roman": "Macintosh",
}
"""Encodings to choose from, and whose they are; others can be typed."""
DELIMITERS = {",": "Comma", "\t": "Tab", ";": "Semicolon", "|": "Vertical bar", " ": "Space"}
QUOTINGS = {
    "doubled": '"…", with "" inside',
    "backslash": '"…", with \\" inside',
    "single": "'…', with '' inside",
    "none": "None: each line is a row",
}
HEADERS = {True: "First line of the table", False: "No header line"}
FIND = ""
"""The choice that leaves it to be found."""
NOTES_SHOWN = 3
_LABELS = {
    "encoding": ("Encoding", "How the file's bytes stand for letters. Choose another one if letters look wrong."),
    "delimiter": ("Delimiter", "What stands between cells. You can type any character."),
    "quoting": ("Quotes", "What stands around a cell that holds delimiters or line ends."),
    "header": ("Header", "The line that names the columns. You can type the number of a line."),
    "sheet": ("Sheet", "The sheet of the workbook."),
    "rows": ("Rows", "Whether empty records, the header once more, totals and notes below the table are left out."),
}
_TYPED = ("encoding", "delimiter", "header")
"""Choices that may be typed besides those in the list."""
_WORDS = {title.lower(): mark for mark, title in DELIMITERS.items()} | {"\\t": "\t", "bar": "|"}


def reading_section(sha: str, table: Table, *, changeable: bool) -> None:
    """Draw how a stored table was read, and let it be read again by other choices.

    Args:
        sha: its key in the store.
        table: the table.
        changeable: whether the visitor may have it read again; not so for a table of somebody else.
    """
    report, key = table.report, f"reading {sha[:12]}"
    _read_again(sha, table, key)
    problem = st.session_state.get(f"problem of {key}")
    label = f"How the file was read: {plain(in_words(report))}"
    open_now = problem is not None or report.choices != FOUND
    with st.expander(label, icon=":material/description:", key=f"{key} shown", expanded=open_now):
        seen = _outline(sha, report.encoding)
        if report.files:
            st.caption("To read these files otherwise, open them again, and say how text files are read.")
        elif changeable:
            choose_reading(key, seen, report.choices, report, _ask, (key,))
        if problem is not None:
            show_error(problem)
            st.markdown("The table is still as it was read before.")
        if report.choices != FOUND and changeable and not report.files:
            st.button("Find it all again", icon=":material/undo:", on_click=_ask, args=(key, True))
        _first_lines(seen.lines)
        _bullets(report.notes[NOTES_SHOWN:])
    _bullets(report.notes[:NOTES_SHOWN])


def _bullets(notes: Sequence[str]) -> None:
    if notes:
        st.caption("\n".join(f"- {plain(without_options(note))}" for note in notes))


def in_words(report: ReadReport) -> str:
    """Sum up how a file was read in a few words."""
    if report.format not in ("csv", "json", "xlsx"):
        return f"{report.format.title()}, which says itself how it is read"
    words = [report.compression] if report.compression else []
    words += [{"json": "JSON", "xlsx": "Excel"}[report.format]] if report.format != "csv" else []
    words += [_encoding(report.encoding)] if report.format != "xlsx" else []
    if report.delimiter is not None:
        words.append(f"{DELIMITERS.get(report.delimiter, repr(report.delimiter)).lower()} between cells")
    if report.format != "json":
        words.append("no header" if report.header_line is None else f"names in line {report.header_line}")
    return ", ".join(words)


@st.cache_data(max_entries=32, show_spinner=False)
def _outline(sha: str, encoding: str) -> Outline:
    return look_at(saved_tables.original(sha), encoding)


def _first_lines(lines: Sequence[str]) -> None:
    if lines:
        st.caption("The file's first lines")
        st.code("\n".join(lines), language=None, line_numbers=True)


# Reading again.


def _ask(key: str, all_again: bool = False) -> None:
    """Have the table read again once the page is drawn."""
    st.session_state[f"asked {key}"] = "found" if all_again else "chosen"


def _read_again(sha: str, table: Table, key: str) -> None:
    asked = st.session_state.pop(f"asked {key}", None)
    if asked is None:
        return
    try:
        choices = FOUND if asked == "found" else chosen_reading(key)
        if choices == table.report.choices:
            st.session_state.pop(f"problem of {key}", None)
            return
        with st.spinner(f"Reading {plain(table.name)} again …"):
            again = saved_tables.read_again(sha, choices)
    except DeepFMError as error:
        st.session_state[f"problem of {key}"] = error
        return
    st.session_state.pop(f"problem of {key}", None)
    launch.follow_table(table, again)
    st.rerun()


# The choices, for any file.


def chosen_reading(key: str) -> Choices:
    """Return what is chosen in the widgets that `choose_reading` drew under a key.

    Raises:
        SpecError: something that was typed is not possible.
    """
    values = {name: st.session_state.get(f"{key} {name}", FIND) for name in _LABELS}
    values = {name: None if value == FIND else value for name, value in values.items()}
    delimiter, header = values["delimiter"], values["header"]
    if isinstance(delimiter, str):
        values["delimiter"] = _WORDS.get(delimiter.lower(), delimiter)
    if isinstance(header, str):
        values["header"] = whole_number(header.lower().removeprefix("line ").strip()) or 0
    return Choices(**values)


def choose_reading(
    key: str,
    seen: Outline,
    choices: Choices,
    report: ReadReport | None,
    on_change: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    """Draw a choice for all that a file of this form can be told.

    Args:
        key: of the widgets; `chosen_reading` takes it.
        seen: the start of the file.
        choices: what was said so far.
        report: how the file was read; None if it was refused.
        on_change: called with `args` when a choice changes.
    """
    names = [name for name in seen.form.choices if name != "sheet" or seen.sheets]
    for name, cell in zip(names, side_by_side(len(names), least=200, gap="small") if names else [], strict=True):
        widget, value = f"{key} {name}", getattr(choices, name)
        st.session_state.setdefault(widget, FIND if value is None else value)
        options = [FIND, *_options(name, seen)]
        if st.session_state[widget] not in options:
            options.append(st.session_state[widget])
        label, text = _LABELS[name]
        cell.selectbox(
            label,
            options,
            format_func=_Titles(name, _found(name, report, seen) if value is None else "Find it"),
            key=widget,
            help=text,
            accept_new_options=name in _TYPED,
            on_change=on_change,
            args=args,
        )


class _Titles:
    """How the values of a choice are called."""

    def __init__(self, name: str, found: str) -> None:
        self._name, self._found = name, found

    def __call__(self, value: Any) -> str:
        if value == FIND:
            return self._found
        titles: dict[str, Callable[[Any], str]] = {
            "encoding": _encoding_option,
            "delimiter": lambda mark: DELIMITERS.get(mark, mark),
            "quoting": lambda quoting: QUOTINGS.get(quoting, quoting),
            "header": lambda header: HEADERS[header] if isinstance(header, bool) else _line(header),
            "rows": lambda rows: "Keep every record" if rows == ALL_ROWS else str(rows),
        }
        return titles.get(self._name, str)(value)


def _line(header: int | str) -> str:
    return f"Line {header}" if str(header).isdecimal() else str(header)


def _options(name: str, seen: Outline) -> list[Any]:
    return {
        "encoding": list[Any](ENCODINGS),
        "delimiter": list[Any](DELIMITERS),
        "quoting": list[Any](QUOTINGS),
        "header": [*HEADERS, *range(2, len(seen.lines) + 1)],
        "sheet": list[Any](seen.sheets),
        "rows": [ALL_ROWS],
    }[name]


def _found(name: str, report: ReadReport | None, seen: Outline) -> str:
    """Say what was found; without a report, that it is looked for."""
    if report is None:
        return "Find it"
    found = {
        "encoding": _encoding(report.encoding),
        "delimiter": DELIMITERS.get(report.delimiter or "", report.delimiter or ""),
        "quoting": "None needed" if report.quoting is None else report.quoting.replace("`", "").capitalize(),
        "header": "No header line" if report.header_line is None else f"Line {report.header_line}",
        "sheet": seen.sheets[0] if seen.sheets else "",
        "rows": "None left out" if not report.left_out and not report.skipped_count else "Some left out",
    }
    return f"{found[name]} (found)"


def _encoding(name: str) -> str:
    return name.removesuffix("-sig").upper() if name.startswith("utf") else name


def _encoding_option(name: str) -> str:
    return _encoding(name) + (f": {ENCODINGS[name]}" if ENCODINGS.get(name) else "")


# A file that was refused.


def choose_for_refused(content: bytes, key: str, choices: Choices, on_change: Callable[..., Any]) -> None:
    """Let a refused file be read otherwise: `on_change` is called with the key of the widgets."""
    try:
        seen = look_at(content, choices.encoding)
    except TableError:
        return  # the refusal says why
    if not seen.form.choices:
        return
    with st.expander("Read it otherwise", icon=":material/description:", expanded=True):
        choose_reading(key, seen, choices, None, on_change, (key,))
        _first_lines(seen.lines)


# Uploads: a file becomes a table of the visitor's, or its problem is shown.


FORMATS = "CSV, Excel, Parquet, Feather or JSON, also zipped"
"""What is read, in the words of a label."""
SHARED = "shared table"
"""Name of a table of another visitor."""


def upload(label: str, key: str, take: Callable[[str], object]) -> UploadedFile | None:
    """Draw an uploader and give its file; `take` is called once with the SHA-256 of a file's table."""
    file = st.file_uploader(label, key=key)
    get_ready()
    if file is None:
        return None

    def read() -> str | None:
        try:
            return saved_tables.add_table(file.getvalue(), file.name, _said(file, key))
        except DeepFMError as error:
            problem = error
        except MemoryError:
            problem = TableError(f"Table `{file.name}`", [_TOO_LARGE])
        st.session_state[f"problem of {key}"] = problem
        return None

    take_once(key, _attempt(file, key), read, take, f"Reading {plain(file.name)} …")
    return file


_TOO_LARGE = Problem("it does not fit into this machine's memory", "Upload fewer rows or fewer columns.")


def take_once(
    key: str, attempt: object, make: Callable[[], str | None], take: Callable[[str], object], doing: str
) -> None:
    """Make something of what a visitor brought and take it, once each `attempt`; then the page starts anew.

    A click meanwhile ends this run of the page. So what was made is kept, and the next run takes it.
    """
    taken, made = f"taken {key}", f"made of {key}"
    if st.session_state.get(taken) == attempt:
        return
    if st.session_state.get(made, (None,))[0] != attempt:
        st.session_state[f"problem of {key}"] = None
        try:
            with st.spinner(doing, show_time=True):
                st.session_state[made] = attempt, make()
        except Exception:
            st.session_state[taken] = attempt  # what failed unforeseen is not tried again on every click
            raise
    result: str | None = st.session_state[made][1]
    if result is not None:
        take(result)
    st.session_state[taken] = attempt
    st.rerun()


_NAMED_HELP = (
    "A CSV, Parquet, Excel or JSON file, a folder of files with the same columns, or a pattern such as "
    "`data/day=*/*.parquet`. Folders such as `day=3` become columns. An address such as `s3://bucket/clicks` or "
    "`https://…/table.csv` works, too. Reading may take five minutes and 4 GB of memory, unless the server has "
    "other limits."
)


def name_files(key: str, take: Callable[[str], object]) -> None:
    """Draw a way to open files without an upload; `take` is called once with the SHA-256 of their table.

    Nothing is drawn for visitors who may not name files.
    """
    if not visitor.may_name_files():
        return
    from deepfm_core.tables.datasets.dataset import name_of

    problem = st.session_state.get(f"problem of {key}")
    with st.expander("Open a folder or many files", icon=":material/folder_open:", expanded=problem is not None):
        if places := data_roots():
            st.caption("This server reads files below " + ", ".join(plain(name_of(place)) for place in places) + ".")
        with st.form(f"{key} form", border=False):
            source = st.text_input(
                "Path, pattern or address", key=key, placeholder="data/day=*/*.parquet", help=_NAMED_HELP
            ).strip()
            if st.form_submit_button("Open", icon=":material/folder_open:"):
                st.session_state[f"asked for {key}"] = source, object()
        if st.toggle("Say how text files are read", key=f"{key} said", help=_SAID_HELP):
            from deepfm_core.tables.containers import Form, Outline

            choose_reading(_reading(key), Outline(Form.TEXT), FOUND, None, _keep_choice, ())
        if asked := st.session_state.get(f"asked for {key}"):
            take_once(key, asked, partial(_named, asked[0], key), take, "Reading the files …")
        if problem is not None:
            show_error(problem)


_SAID_HELP = "What you choose holds for every file. All else is found for each file by itself."


def _reading(key: str) -> str:
    """Name the widgets that say how named files are read."""
    return f"{key} reading"


def _keep_choice() -> None:
    """Do nothing: a choice holds from the next opening on."""


def _named(source: str, key: str) -> str | None:
    try:
        if not source:
            raise SpecError("No files are named. Write a path, a pattern or an address.")
        said = chosen_reading(_reading(key)) if st.session_state.get(f"{key} said") else FOUND
        return saved_tables.add_files(source, said, _Drawing(key))
    except DeepFMError as error:
        st.session_state[f"problem of {key}"] = error
        return None


class _Drawing:
    """Shows how much of a sample is drawn, with a button that stops it."""

    def __init__(self, key: str) -> None:
        self._key, self._place = key, st.empty()
        self._bar: Any = None

    def __call__(self, share: float) -> None:
        """Show the share done; a click on the page ends its run here, and with it the reading."""
        if not share:
            return  # it reads all of them, or has just begun
        text = f"The rows do not fit into memory: drawing a sample of them, {share:.0%}"
        if self._bar is None:
            with self._place.container():
                st.button("Cancel", key=f"cancel {self._key}", on_click=_forget, args=(self._key,))
                self._bar = st.empty()
        self._bar.progress(share, text=text)


def _forget(key: str) -> None:
    st.session_state.pop(f"asked for {key}", None)


def say_refused(file: UploadedFile | None, key: str, instead: str) -> None:
    """Say why the file was not loaded, if it was not, and what is shown `instead`; let it be read otherwise."""
    problem = st.session_state.get(f"problem of {key}")
    if file is not None and problem is not None:
        show_error(problem)
        st.markdown(f"**{plain(file.name)}** was not loaded. {instead}")
        choose_for_refused(file.getvalue(), _widgets(file, key), _said(file, key), partial(_say, file, key))


# What the visitor says of a file that was refused.


def _widgets(file: UploadedFile, key: str) -> str:
    return f"{key} {file.file_id}"


def _attempt(file: UploadedFile, key: str) -> tuple[str, object]:
    return file.file_id, st.session_state.get(f"said of {_widgets(file, key)}")


def _said(file: UploadedFile, key: str) -> Choices:
    said: Choices = st.session_state.get(f"said of {_widgets(file, key)}", FOUND)
    return said


def _say(file: UploadedFile, key: str, widgets: str) -> None:
    try:
        st.session_state[f"said of {widgets}"] = chosen_reading(widgets)
    except DeepFMError as error:
        st.session_state[f"problem of {key}"] = error
