"""What the pages keep for all sessions: each by an id, or by a digest of its content, never by a name alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.state import saved_tables, visitor
from deepfm_core.errors import Problem, TableError
from deepfm_core.store import store as store_module
from deepfm_core.store.store import LOCAL, Store

APP = Path(__file__).resolve().parents[2] / "app"
MODULES = sorted(APP.rglob("*.py"))
IDENTITIES = {
    "run_id": "an id, which no two runs share",
    "ids": "the ids of runs",
    "sha": "a digest of a table's content",
    "path": "of a file that is named by a digest of what was asked",
    "key": "made where it is called of the table's digest and what was said of it",
}
ONE_FOR_ALL = {"samples", "_bundled", "store"}
"""What has no arguments, and is the same for everybody."""
OWNED = {"_table": "owner", "_large_table": "owner"}
"""What differs by owner: a table's name is what its owner calls it."""


def cached() -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Give every function whose result Streamlit keeps."""
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(
                "cache_" in ast.unparse(decorator) for decorator in node.decorator_list
            ):
                yield module, node


@pytest.mark.parametrize(("module", "function"), [*cached()], ids=lambda part: getattr(part, "name", ""))
def test_what_is_kept_is_kept_by_an_id_or_a_digest(module: Path, function: ast.FunctionDef) -> None:
    names = [argument.arg for argument in function.args.args]
    told_apart = [name for name in names if not name.startswith("_")]
    if not names:
        assert function.name in ONE_FOR_ALL
        return
    assert told_apart[0] in IDENTITIES, f"{module}: {function.name} is kept by {told_apart}"
    if module.name == "saved_tables.py" and function.name in OWNED:
        assert OWNED[function.name] in told_apart


def versions() -> Iterator[tuple[str, str]]:
    """Give the place of every chart that is kept, and what tells it from others."""
    for module in MODULES:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        named = {
            ast.unparse(node.targets[0]): ast.unparse(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "version"
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "show_chart":
                said = ast.unparse(node.args[1])
                place = f"{module.relative_to(APP)}:{node.lineno}"
                yield place, named.get(said.partition("[")[0], said)


@pytest.mark.parametrize(("place", "version"), [*versions()], ids=lambda text: text)
def test_a_chart_is_kept_by_the_ids_of_its_runs(place: str, version: str) -> None:
    assert "run.id" in version or "row.id" in version or "table['run']" in version, place


def test_of_large_tables_a_shared_server_keeps_one_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [store.import_table(b"click,a\n1,x\n0,%d\n1,y\n" % number, "t.csv").sha256 for number in range(3)]
    read: list[str] = []
    monkeypatch.setattr(saved_tables, "store", lambda: store)
    monkeypatch.setattr(Store, "table", lambda _store, sha, _owner: read.append(sha) or sha)
    saved_tables.forget_read()
    for sha in [*keys, *keys]:
        saved_tables.table(sha)
    assert read == keys  # small ones are all kept
    monkeypatch.setattr(store_module, "MUCH", 0)
    for sha in keys:
        saved_tables.table(sha)
    assert read == keys  # so are large ones on a personal server
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr(visitor, "owner", lambda: LOCAL)
    for sha in [keys[0], keys[0], keys[1], keys[0]]:
        saved_tables.table(sha)
    assert read[3:] == [keys[0], keys[1], keys[0]]
    saved_tables.forget_read()
    saved_tables.table(keys[0])
    assert len(read) == 7
    saved_tables.forget_read()


def test_rows_are_counted_where_looking_for_copies_meets_a_limit(
    store: Store, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = store.import_table(table, "t.csv").sha256
    monkeypatch.setattr(saved_tables, "store", lambda: store)
    schema = saved_tables.suggested_schema(sha)

    def refused(*_: object) -> None:
        raise TableError("Table `t.csv`", [Problem("looking at it takes too long", "Use fewer rows.")])

    monkeypatch.setattr(saved_tables, "understood", refused)
    assert saved_tables.learned(sha, schema) == 1500
    saved_tables.forget_read()
