"""Tables: the visitor's, the samples that come with the app, the current one, and suggested roles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.state import links, visitor
from app.state.store import store
from deepfm_core.errors import RunError, TableError
from deepfm_core.schema.schema import DROP, Schema
from deepfm_core.store.limits import data_roots, shared
from deepfm_core.store.store import LOCAL

if TYPE_CHECKING:
    from deepfm_core.schema.column_rules import Said
    from deepfm_core.schema.copies import Copies
    from deepfm_core.spec.run import RunSpec
    from deepfm_core.store.records import Whole
    from deepfm_core.tables.table import Choices, Table

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_TABLE = ROOT / "sample_data" / "clicks.csv"
CONTROL_TABLE = ROOT / "sample_data" / "clicks_no_interaction.csv"
TABLE = "table"
"""Name, in the URL, of the choice of a table."""
MAX_TABLE_BYTES = 200 * 2**20
"""Size limit of a table, before and after decompression; .streamlit/config.toml has the same."""


@st.cache_resource(show_spinner=False)
def samples() -> dict[str, Path]:
    """Return the tables that come with the app, by the SHA-256 of their bytes."""
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in (SAMPLE_TABLE, CONTROL_TABLE)}


def tables() -> dict[str, str]:
    """Return the names of the tables to choose from by their SHA-256: the visitor's, newest first, then the samples."""
    own = {entry.sha256: entry.name for entry in store().tables(visitor.owner()) if entry.sha256 not in samples()}
    return own | {sha: path.name for sha, path in samples().items()}


def table_name(sha: str) -> str:
    """Return the name of a table; one that is not the visitor's is named by its SHA-256."""
    return tables().get(sha, f"table {sha[:8]}")


def add_table(source: Path | bytes, name: str, choices: Choices | None = None, *, replacing: str | None = None) -> str:
    """Keep a table for the visitor and return its key: its SHA-256, if nothing is said of how it is read.

    `replacing` is the key of a table that it will replace.

    Raises:
        TableError: the file cannot be read as a table, or is too large.
    """
    called = name + (_sheet_in_name(choices) if choices else "")
    keep = partial(store().import_table, source, called, visitor.owner(), max_bytes=MAX_TABLE_BYTES)
    return keep(choices=choices, replacing=replacing).sha256


def add_files(source: str, choices: Choices | None = None, heard: Callable[[float], object] | None = None) -> str:
    """Keep a table of files that are not uploads for the visitor, and return its key.

    Of Parquet files whose rows do not fit into memory it is a sample (`whole_of`).

    Args:
        source: a file, a folder, a pattern or a URI, below the operator's places where there are any.
        choices: what the visitor says of each file.
        heard: called with the share of a sample that is drawn; what it raises stops that.

    Raises:
        TableError: the files cannot be read as a table, are too large, or lie elsewhere.
        RunError: the visitor has as much as is allowed, or may not name files.
    """
    allowed = _places()
    from deepfm_core.tables.columnar.budget import half_of_memory

    most = MAX_TABLE_BYTES if shared() else half_of_memory()
    return store().gather_table(source, visitor.owner(), most, allowed, choices, heard).sha256


def _places() -> Sequence[str] | None:
    """Give the places whose files the visitor may name; None for any.

    Raises:
        RunError: the visitor may name none.
    """
    if not visitor.may_name_files():
        raise RunError("Only a browser on the server's own machine may open its files. Upload the file.")
    return data_roots() or (() if shared() else None)


def whole_of(sha: str) -> Whole | None:
    """Say which dataset a table is a sample of; None where it is the whole."""
    return store().whole_of_table(sha)


def require_whole(whole: Whole) -> None:
    """Refuse a dataset that the visitor may not read, or whose files are gone.

    Raises:
        TableError: it lies outside the operator's places, or is not there.
        RunError: the visitor may name no files.
    """
    allowed = _places()
    if allowed is not None:
        from deepfm_core.tables.datasets.roots import require_below

        require_below(whole.source, allowed)


def trained_rows(sha: str, schema: Schema) -> int:
    """Count the rows that a run of *Train* learns from: those of the dataset that a table is a sample of, or its own.

    Raises:
        RunError: the store does not have the table, or it is not the visitor's.
    """
    whole = whole_of(sha)
    return learned(sha, schema) if whole is None else whole.rows


def original(sha: str) -> Path:
    """Return the path of a table's file as it came.

    Raises:
        RunError: the store does not have it, or it is not the visitor's.
    """
    require(sha)
    return store().original(sha)


def read_again(sha: str, choices: Choices) -> str:
    """Read the visitor's table again by other choices, put it in the place of the earlier one, and return its key.

    Another sheet of a workbook is another table, so the earlier one stays.

    Raises:
        DeepFMError: the file cannot be read so; the earlier table stays.
    """
    before, owner = table(sha).report.choices, visitor.owner()
    name = table_name(sha).removesuffix(_sheet_in_name(before))
    again = add_table(original(sha), name, choices, replacing=sha)
    own = {entry.sha256 for entry in store().tables(owner)} - samples().keys()
    if again != sha and sha in own and before.sheet == choices.sheet:
        store().delete_table(sha, owner)
    return again


def _sheet_in_name(choices: Choices) -> str:
    return f" · {choices.sheet}" if choices.sheet else ""


def current_table() -> str:
    """Return the SHA-256 of the table chosen in the URL; by default the sample."""
    return links.chosen(TABLE) or next(iter(samples()))


def require(*shas: str | None) -> None:
    """Refuse tables of other visitors, on a shared server: a SHA-256 is no secret.

    Raises:
        RunError: one of them is neither in the visitor's list nor needed by a run of theirs.
    """
    if shared():
        for sha in shas:
            if sha and sha not in samples() and not store().has_table(sha, visitor.owner(), removed=True):
                raise RunError(f"Table `{sha[:12]}` is not yours. Choose another one, or upload the file on *Data*.")


def require_for(spec: RunSpec) -> None:
    """Refuse the tables of a run where the visitor does not have them; RunError names the first."""
    require(spec.table, spec.valid_table, spec.test_table)


def table(sha: str) -> Table:
    """Load a table; a sample is first put into the store, where the worker finds it.

    Raises:
        RunError: the store does not have it, or it is not the visitor's.
    """
    require(sha)
    keep_sample(sha)
    read = _large_table if shared() and store().is_large_table(sha) else _table
    return read(sha, visitor.owner())


def keep_sample(sha: str) -> None:
    """Put a sample into the store, where the worker finds it, for no visitor; do nothing for other tables."""
    if sha in samples() and sha not in {entry.sha256 for entry in store().tables(LOCAL)}:
        store().import_table(samples()[sha], samples()[sha].name)


def forget_read() -> None:
    """Forget what was read of tables, of all visitors': a deleted one must not open again."""
    _table.clear()
    _large_table.clear()
    _suggested_schema.clear()
    _understood.clear()


@st.cache_resource(max_entries=4, show_spinner="Reading the table …")
def _table(sha: str, owner: str) -> Table:
    return store().table(sha, owner)


@st.cache_resource(max_entries=1, show_spinner="Reading the table …")
def _large_table(sha: str, owner: str) -> Table:
    """Keep one alone on a shared server: each takes up to two gigabytes of the process that all visitors share."""
    return store().table(sha, owner)


def suggested_schema(
    sha: str,
    label: str | None = None,
    positive: str | None = None,
    *,
    blank_negative: bool = False,
    said: tuple[tuple[str, Said], ...] = (),
    copies: str = DROP,
) -> Schema:
    """Suggest the roles of a table's columns.

    Args:
        sha: key of the table.
        label: the label's column; suggested if None.
        positive: its positive value; suggested if None.
        blank_negative: whether a blank cell of the label means its other value.
        said: what the visitor says of how columns are written, by column.
        copies: what is done with copies of rows.

    Raises:
        SchemaError: the table cannot be learned from, or the label cannot be one.
        RunError: the store does not have it, or it is not the visitor's.
    """
    require(sha)
    return _suggested_schema(sha, label, positive, blank_negative, said, copies)


@st.cache_data(max_entries=64, show_spinner="Looking at every column …")
def _suggested_schema(
    sha: str,
    label: str | None,
    positive: str | None,
    blank_negative: bool,
    said: tuple[tuple[str, Said], ...],
    copies: str,
) -> Schema:
    given = {"label": label, "positive": positive, "said": dict(said), "blank_negative": blank_negative}
    return Schema.from_dict(store().look_at_table(sha, table(sha), "roles", **given, copies=copies))


def understood(sha: str, schema: Schema) -> tuple[list[str], Copies]:
    """Sum up a table and its schema, as `schema.infer.verdict` does, and count the rows that are copies of others.

    Raises:
        SchemaError: a cell is no label.
        RunError: the store does not have the table, or it is not the visitor's.
    """
    require(sha)
    return _understood(sha, repr(schema), schema)


def learned(sha: str, schema: Schema) -> int:
    """Count the rows of a table that are learned from: those with a label, without copies that are left out.

    Where a cell is no label, or looking for copies meets a limit, none is left out as a copy; *Data* says so.

    Raises:
        RunError: the store does not have the table, or it is not the visitor's.
    """
    rows = len(table(sha)) - schema.label.left_out
    with suppress(TableError):
        copies = understood(sha, schema)[1]
        rows -= 0 if copies.kept else copies.count
    return rows


@st.cache_data(max_entries=64, show_spinner=False)
def _understood(sha: str, key: str, _schema: Schema) -> tuple[list[str], Copies]:
    from deepfm_core.schema.copies import Copies

    found = store().look_at_table(sha, table(sha), "verdict", schema=_schema.to_dict())
    return found["remarks"], Copies.of_run(found)


def separated(sha: str, schema: Schema) -> Schema:
    """Find what stands between values in the columns of several values where the visitor has not said it.

    Raises:
        SchemaError: no separator is found in one of them.
    """
    if all(role.separator or not role.kind.is_several for role in schema.roles):
        return schema
    return Schema.from_dict(store().look_at_table(sha, table(sha), "separators", schema=schema.to_dict()))
