"""From the command line's options to tables, roles, parts and settings, for every verb; and what is said of a table."""

from __future__ import annotations

import argparse
import atexit
import hashlib
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

from deepfm_core._words import whole_number
from deepfm_core.cli.output import Waited
from deepfm_core.cli.parser import READ
from deepfm_core.encoding.memory import Place, place_of
from deepfm_core.encoding.sharding import SAMPLE_ROWS, name_of_sample
from deepfm_core.errors import (
    NOTHING_TO_DO,
    DamagedStore,
    Problem,
    RunError,
    SchemaError,
    SpecError,
    did_you_mean,
)
from deepfm_core.schema.column import mark_of
from deepfm_core.schema.column_rules import Said
from deepfm_core.schema.copies import learned_rows, look_for_copies
from deepfm_core.schema.infer import infer_schema, verdict, with_separators
from deepfm_core.schema.kinds import Kind
from deepfm_core.schema.schema import DROP, KEEP, Schema
from deepfm_core.spec.events import unheard
from deepfm_core.spec.run import BASELINE, RunSpec, SplitSpec
from deepfm_core.spec.settings import Home, of_home
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.columnar.budget import half_of_memory
from deepfm_core.tables.containers import is_zip
from deepfm_core.tables.datasets.pieces import Pieces
from deepfm_core.tables.parquet import write_parquet
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices, Table

if TYPE_CHECKING:
    from deepfm_core.runs.predictor import Trained


class Tables:
    """The tables of a run, read once and found by the SHA-256 of their bytes."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        began = time.perf_counter()
        self.choices, self.limit = reading_choices(arguments), reading_limit(arguments)
        self._folder = TemporaryDirectory()
        self.paths: dict[str, Path] = {}
        self.tables: dict[str, Table] = {}
        self._place = place_said(arguments, self.choices)
        self.dataset = None if self._place is None else self._place.dataset
        """What a run needs whose rows stay on the disk; its table is a sample of them. None where the rows fit."""
        self._pieces = None if self._place is None or self.dataset is None else _pieces(self._place, arguments)
        self.main = self._add(arguments.table) if self._pieces is None else self._add_sample(self._pieces, arguments)
        self.valid = self._add(arguments.valid_table)
        self.test = self._add(arguments.test_table)
        self.seconds = time.perf_counter() - began
        for sha in self.paths:
            _warn(self.tables[sha], arguments.quiet, apart=sha != self.main)

    @property
    def rows(self) -> int:
        """The rows that there are to train and to judge by, of the sample's dataset or of the table."""
        assert self.main is not None
        return len(self.tables[self.main]) if self._pieces is None else len(self._pieces)

    def timed(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Count the reading, done here before the run began, among its seconds."""
        seconds = summary["seconds"]
        return {**summary, "seconds": {**seconds, "read": round(seconds["read"] + self.seconds, 4)}}

    def understood(self, summary: dict[str, Any], schema: Schema) -> dict[str, Any]:
        """Add to a run's summary how its tables were read and understood."""
        assert self.main is not None
        own = understood(self.tables[self.main], schema)
        others = [table for sha, table in self.tables.items() if sha != self.main]
        notes = [f"{table.name}: {note}" for table in others for note in table.report.notes]
        warnings = [warning for table in others for warning in reading_warnings(table)]
        return {
            **summary,
            **own,
            "notes": [*own["notes"], *notes, *summary.get("notes", [])],
            "warnings": [*own["warnings"], *warnings],
            **self._files(),
        }

    def _files(self) -> dict[str, Any]:
        """Name the files of datasets, so that one that has changed since is noticed."""
        found = {table.name: [asdict(file) for file in table.report.files] for table in self.tables.values()}
        listed = {name: files for name, files in found.items() if files}
        return {"files": listed} if listed else {}

    def name(self, sha: str | None) -> str | None:
        """Return what a table is called; None for none."""
        return None if sha is None else self.tables[sha].name

    def _add(self, path: Path | None) -> str | None:
        if path is None:
            return None
        return self._keep(read_table(path, choices=self.choices, max_bytes=self.limit), path)

    def _add_sample(self, pieces: Pieces, arguments: argparse.Namespace) -> str:
        """Read a sample of a dataset in the place of the table."""
        if arguments.valid_table or arguments.test_table:
            raise SpecError(
                "Of a table that stays on the disk, validation and test rows are parts. Leave out --valid-table and "
                "--test-table, or give as much --memory as all rows need."
            )
        waited = Waited(lambda _: f"drawing a sample of {SAMPLE_ROWS:,} rows")
        heard = unheard if arguments.quiet else waited.report
        table = pieces.sample(SAMPLE_ROWS, heard)
        waited.end()
        named = name_of_sample(table.name, len(pieces)) if len(pieces) > len(table) else table.name
        return self._keep(replace(table, name=named), arguments.table)

    def _keep(self, table: Table, path: Path) -> str:
        if table.report.files:  # the store keeps one file: what was read of all of them
            path = Path(self._folder.name) / f"dataset {len(self.paths)}.parquet"
            write_parquet(table, path)
        with path.open("rb") as file:
            sha = self.choices.key(hashlib.file_digest(file, "sha256").hexdigest())
        self.paths[sha], self.tables[sha] = path, table
        return sha


def place_said(arguments: argparse.Namespace, choices: Choices) -> Place | None:
    """Choose whether a run reads its table into memory, and say so where many files or `--memory` leave a choice.

    Raises:
        TableError: the files differ, or cannot be read.
        SpecError, RunError: `--memory` says no size, or too little.
    """
    if not hasattr(arguments, "memory"):
        return None
    from deepfm_core.store.store import default_home

    waited, out = Waited(lambda _: "looking through text files"), getattr(arguments, "out", None)
    heard = unheard if arguments.quiet else waited.report
    within = default_home() if out is None else out.parent
    place = place_of(arguments.table, arguments.memory, choices, within, heard)
    waited.end()
    if place is not None and not arguments.quiet:
        print(f"note: {place.said}", file=sys.stderr)
    return place


def _pieces(place: Place, arguments: argparse.Namespace) -> Pieces:
    """Give the rows of a dataset that stays on the disk; those of text files are read onto it first."""
    waited = Waited(lambda _: "reading text files onto the disk")
    for share in place.fill():
        if not arguments.quiet:
            waited.report(share)
    waited.end()
    return place.pieces


def _warn(table: Table, quiet: bool, *, apart: bool) -> None:
    if not quiet:
        warn_of_reading(table, notes=apart)


def read_chosen(arguments: argparse.Namespace, path: Path) -> Table:
    """Read a table by what the command line says of it, within the limit that it gives.

    Raises:
        TableError: the file cannot be read as a table, or is larger.
        SpecError: an option says something that is not possible.
    """
    return read_table(path, choices=reading_choices(arguments), max_bytes=reading_limit(arguments))


def reading_limit(arguments: argparse.Namespace) -> int:
    """Give the bytes that a file may have: what the command line says, else half of the machine's memory.

    Raises:
        SpecError: it says no number above 0.
    """
    said = arguments.max_mb
    if said is None:
        return half_of_memory()
    if not 0 < said < float("inf"):
        raise SpecError(f"--max-mb is {said:g}. Give a number of megabytes above 0.")
    return int(said * 1e6)


def reading_choices(arguments: argparse.Namespace) -> Choices:
    """Give what the command line says of how a table is read.

    Raises:
        SpecError: a value is none of those that are possible.
    """
    said = {name: value for name in READ if (value := getattr(arguments, name)) is not None}
    header = said.get("header", "")
    if header:
        number = whole_number(header)
        said["header"] = {"yes": True, "no": False}.get(header, header) if number is None else number
    if "delimiter" in said:
        said["delimiter"] = DELIMITER_WORDS.get(said["delimiter"], said["delimiter"])
    return Choices(**said)


DELIMITER_WORDS = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";", "bar": "|", "space": " "}
"""Delimiters by their names, since a shell makes some of them hard to type."""


def warn_of_reading(table: Table, *, notes: bool = True) -> None:
    """Say on stderr what the reader left out, repaired or doubts."""
    said = [f"{table.name}: {note}" for note in table.report.notes] if notes else []
    for sentence in (*reading_warnings(table), *said):
        print(f"{'note' if sentence.endswith(NOTHING_TO_DO) else 'warning'}: {sentence}", file=sys.stderr)


def base_spec(arguments: argparse.Namespace, tables: Tables) -> tuple[RunSpec, int]:
    """Make a run's spec from the command line, but for its model and fit, and count the rows to train on.

    Raises:
        DeepFMError: a setting is out of range, or a named field does not exist.
    """
    assert tables.main is not None
    table = tables.tables[tables.main]
    schema = chosen_schema(arguments, table)
    if tables.dataset is not None:
        schema = _with_all_rows(schema, arguments.copies)
    if not arguments.quiet:
        tell(table, schema)
    by, _, column = arguments.split_by.partition(":")
    split = SplitSpec(by, column or None, **_given(arguments, "split"))
    base = RunSpec(
        table=tables.main,
        table_name=table.name,
        schema=schema,
        valid_table=tables.valid,
        test_table=tables.test,
        valid_table_name=tables.name(tables.valid),
        test_table_name=tables.name(tables.test),
        split=split,
        **_given(arguments, "run"),
    )
    learned = tables.rows if tables.dataset is not None else len(learned_rows(table.frame, schema, table.name)[0])
    return base, base.training_rows(learned)


def _with_all_rows(schema: Schema, copies: str | None) -> Schema:
    if copies not in (None, KEEP):
        raise SpecError(
            f"Copies is {copies!r}, but of a table that stays on the disk all rows are kept. Leave out --copies, or "
            "give as much --memory as all rows need."
        )
    return replace(schema, copies=KEEP)


def chosen_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of model and fit that the command line names, for `presets.settings`."""
    return _given(arguments, "model", "fit")


def _given(arguments: argparse.Namespace, *homes: Home) -> dict[str, Any]:
    names = [setting.name for home in homes for setting in of_home(home)]
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}


def chosen_schema(arguments: argparse.Namespace, table: Table) -> Schema:
    """Understand a table, and give the fields that the command line names the kinds it says.

    Raises:
        DeepFMError: the label cannot be one; a field is named twice, is the label, or does not exist; no separator is
            found where a field is said to hold several values.
    """
    columns = [str(column) for column in table.frame.columns]
    inferred = infer_schema(
        table,
        arguments.label,
        arguments.positive,
        said=_said(arguments, columns),
        blank_negative=arguments.blank_negative,
        copies=arguments.copies or DROP,
    )
    kinds: dict[str, Kind] = {}
    separators: dict[str, str] = {}
    for kind in Kind:
        for named in getattr(arguments, kind.replace("-", "_")):
            name, separator = _with_separator(named, columns) if kind.is_several else (named, "")
            if kinds.get(name, kind) is not kind:
                raise SpecError(f"Field `{name}` is named as {kinds[name]} and as {kind}. Choose one.")
            if name == inferred.label.column:
                raise SpecError(f"Field `{name}` is the label. Leave it out of --{kind}.")
            kinds[name] = kind
            if separator:
                separators[name] = separator
    return with_separators(inferred.with_kinds(kinds, separators), table)


def _said(arguments: argparse.Namespace, columns: Sequence[str]) -> dict[str, Said]:
    said: dict[str, Said] = {}
    for written in get_args(Said):
        for name in getattr(arguments, written.replace(" ", "_")) if written else []:
            if name not in columns:
                raise SpecError(f"Field `{name}` is not in the table. {did_you_mean(name, columns)}See `roles`.")
            if name in said:
                raise SpecError(f"Field `{name}` is said to be {said[name]} and {written}. Choose one.")
            said[name] = written
    return said


def _with_separator(named: str, columns: Sequence[str]) -> tuple[str, str]:
    """Split `NAME:^` into a column and its separator; empty where none is given.

    A comma parts names, so `NAME:` alone means a comma. A control character is written as `\\x02`.
    """
    if named in columns:
        return named, ""
    if named.endswith("::"):
        return named[:-2], ":"
    name, colon, mark = named.rpartition(":")
    if not colon or name not in columns:
        return named, ""
    return name, mark_of(mark) or ","


# Finding a run by its folder or its id.


def model_folder(named: str) -> RunFolder:
    """Give the folder of a run, named as for `run_folder`, that has a model of ours.

    Raises:
        RunError: there is no such run, or it is a comparison's baseline.
    """
    folder = run_folder(named)
    if folder.spec().model.name == BASELINE:
        raise RunError(
            f"Run `{named}` is a baseline, gradient boosting beside a comparison: it has metrics, but no terms and no "
            "pairs. Name a run of one of the models compared."
        )
    return folder


def run_folder(named: str) -> RunFolder:
    """Give the folder of a run named by a path or by an id in the store; that of a bundle goes with the process.

    Raises:
        RunError: there is no such run.
    """
    path = Path(named)
    if (path / "spec.json").exists():
        return RunFolder(path)
    if path.is_file():
        if is_zip(path):  # by what it holds: it may have been renamed
            return _unpacked(path)
        raise RunError(
            f"Run `{named}` is a file, and no model bundle. Name a run's folder, its id or a bundle (a table needs "
            "--observed-only)."
        )
    if path.is_dir():
        raise RunError(f"Run `{named}` is a folder without spec.json. Name the folder of a run, as `train` prints it.")
    if len(path.parts) > 1:
        raise RunError(f"Run `{named}`: there is no such folder. Name the folder of a run, as `train` prints it.")
    from deepfm_core.store.store import Store

    store = Store.default()
    try:
        return store.folder(store.run(named).id)
    except DamagedStore:
        raise
    except RunError as error:
        raise RunError(
            f"Run `{named}` is no folder and no run of the store `{store.home}`. The command `runs` lists its runs."
        ) from error


def _unpacked(path: Path) -> RunFolder:
    from deepfm_core.export.bundle import opened

    bundle = ExitStack()
    atexit.register(bundle.close)
    return bundle.enter_context(opened(path))[0]


def run_name_of(named: str) -> str:
    """Give the name of a run of the store; empty for one named by a path."""
    if Path(named).exists():
        return ""
    from deepfm_core.store.store import Store

    return Store.default().run(named).name


def scored_table(arguments: argparse.Namespace, trained: Trained) -> Table:
    """Read the table whose rows a run scores, and say on stderr what its training rows did not prepare for.

    Raises:
        TableError: the table cannot be read, lacks fields, or with `--strict` holds such cells.
    """
    choices = reading_choices(arguments)
    limit = reading_limit(arguments)
    table = read_table(arguments.table, strict=True, only=trained.only_column, choices=choices, max_bytes=limit)
    warn_of_reading(table)
    if table.report.left_out:
        said = "rows have the numbers of their records in the file, so those left out are missing among them"
        print(f"note: {table.name}: {said}.", file=sys.stderr)
    notes = trained.unseen(table)
    if notes and arguments.strict:
        raise SchemaError(table.name, [Problem(note.removesuffix("."), "") for note in notes])
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    return table


# What the command line says of a table before anything is trained: verdict, roles, notes and warnings.


_SHOWN = 40
"""Roles that are printed; `roles` prints all."""

_LONGEST = 100
"""Letters of a reason that are printed."""


def understood(table: Table, schema: Schema) -> dict[str, Any]:
    """Give the verdict, the reader's notes, the warnings and the role table as plain values for JSON."""
    return {
        "verdict": verdict(table, schema),
        "notes": list(table.report.notes),
        "warnings": [*schema.warnings, *reading_warnings(table)],
        "roles": schema.role_rows([str(column) for column in table.frame.columns]),
    }


def reading_warnings(table: Table) -> list[str]:
    """Say what the reader left out and repaired of a table."""
    notes = table.report.notes
    return [f"{table.name}: {sentence}" for sentence in table.report.sentences() if sentence not in notes]


def tell(table: Table, schema: Schema, *, roles: bool = True) -> None:
    """Print on stderr how a table was read and understood: one line per note, column and warning."""
    lines = [f"note: {table.name}: {note}" for note in table.report.notes]
    copies = look_for_copies(table.frame, schema, table.name).copies
    lines.append(f"{table.name}: {verdict(table, schema, copies)[0]}")
    if copies:
        lines.append(f"warning: {table.name}: {copies.said}")
    if roles:
        lines += _role_lines(table, schema)
    lines += [f"warning: {warning}" for warning in schema.warnings]
    print("\n".join(lines), file=sys.stderr)


def _role_lines(table: Table, schema: Schema) -> list[str]:
    rows = schema.role_rows([str(column) for column in table.frame.columns])
    shown = rows[:_SHOWN]
    names, kinds = (max(len(str(row[cell])) for row in shown) for cell in ("field", "kind"))
    lines = [f"  {row['field']:<{names}}  {row['kind']:<{kinds}}  {_cut(row['why'])}".rstrip() for row in shown]
    left = len(rows) - len(shown)
    return lines + ([f"  and {left:,} more: the command `roles` prints them all"] if left else [])


def _cut(reason: str) -> str:
    return reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 1]}…"
