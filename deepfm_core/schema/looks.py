"""What pages ask of a table as a whole: roles, a verdict, separators. Questions and answers are plain values.

So a large table is looked at in a process beside the server (`store.untrusted.look_apart`): twenty million distinct
cells take most of a minute, for which the pages of all visitors would wait, and a gigabyte of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from deepfm_core._files import read_object
from deepfm_core.schema.copies import look_for_copies
from deepfm_core.schema.infer import infer_schema, verdict, with_separators
from deepfm_core.schema.schema import Schema
from deepfm_core.tables.parquet import read_parquet_table
from deepfm_core.tables.table import ReadReport, Table

TASK = f"{__name__}:look"
"""The name by which another process calls `look`."""


def look(folder: str, name: str, question: str, given: Mapping[str, Any]) -> Any:
    """Answer a question about a table that the store keeps in a folder.

    Args:
        folder: of `table.parquet` and `table.json`.
        name: what messages call the table.
        question: one of `QUESTIONS`.
        given: what the answer depends on besides.

    Raises:
        TableError: the table or its roles cannot be used.
        RunError: the table's files are damaged.
    """
    return answer(_read(folder, name), question, given)


def answer(table: Table, question: str, given: Mapping[str, Any]) -> Any:
    """Answer one of `QUESTIONS` about a table that is there, with the values that `look` gives."""
    return QUESTIONS[question](table, **given)


@lru_cache(maxsize=1)
def _read(folder: str, name: str) -> Table:
    content = read_object((Path(folder) / "table.json").read_bytes(), f"Table `{name}`", "Upload the same file again.")
    return read_parquet_table(Path(folder) / "table.parquet", name, ReadReport.from_dict(content["report"]))


def _roles(table: Table, **given: Any) -> dict[str, Any]:
    return infer_schema(table, **given).to_dict()


def _verdict(table: Table, schema: Mapping[str, Any]) -> dict[str, Any]:
    roles = Schema.from_dict(schema)
    copies = look_for_copies(table.frame, roles, table.name).copies
    return {"remarks": verdict(table, roles, copies), "copies": asdict(copies)}


def _separators(table: Table, schema: Mapping[str, Any]) -> dict[str, Any]:
    return with_separators(Schema.from_dict(schema), table).to_dict()


QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {"roles": _roles, "verdict": _verdict, "separators": _separators}
"""What can be asked: the roles that `infer_schema` suggests, the remarks and copies of `verdict`, and a schema whose
columns of several values have their separators."""
