"""Files that may come from anybody: limits of memory and time, and a server that never decodes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import hostile_files as hostile
from deepfm_core.errors import SchemaError, SpecError, TableError
from deepfm_core.schema import looks
from deepfm_core.schema.copies import Copies, look_for_copies
from deepfm_core.schema.infer import infer_schema, verdict
from deepfm_core.schema.schema import Schema
from deepfm_core.store import tables as store_tables
from deepfm_core.store import untrusted
from deepfm_core.store.store import Store
from deepfm_core.store.untrusted import MEMORY, SECONDS, Limits
from deepfm_core.tables.reader import read_table
from deepfm_core.tables.table import Choices

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def kept(store: Store) -> list[str]:
    """Give the names of all that stands beside the store's database."""
    return [path.name for path in (store.home / "tables").glob("*")]


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    """A file of a few kilobytes whose struct cells hold a million letters each, 4,000 times."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["x" * 1_000_000]))
    struct = pa.StructArray.from_arrays([texts], names=["text"])
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"label": ["0", "1"] * 2000, "cell": struct}), path, compression="zstd", store_schema=False)
    return path


def test_a_file_that_unpacks_to_more_than_its_memory_is_refused_and_leaves_nothing(
    store: Store, bomb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bomb.stat().st_size < 20_000
    monkeypatch.setenv(MEMORY, "500")
    with pytest.raises(TableError, match=r"takes more than the limit of 500 MB of memory\. Use fewer rows"):
        store.import_table(bomb, bomb.name)
    assert not kept(store)


def test_a_file_that_takes_too_long_is_refused_and_leaves_nothing(
    store: Store, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS, "0.0001")
    with pytest.raises(TableError, match=r"takes longer than the limit of 0\.0001 seconds"):
        store.import_table(table, table.name)
    assert not kept(store)
    monkeypatch.delenv(SECONDS)
    assert store.import_table(table, table.name).rows == 1500


@pytest.mark.parametrize(("name", "value"), [(MEMORY, "much"), (SECONDS, "0"), (SECONDS, "nan")])
def test_a_limit_that_is_no_number_above_zero_is_an_error(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=rf"{name} is '{value}'\. Give a number above 0, or none\."):
        Limits.default()


def test_another_process_finds_what_this_one_would(store: Store, table: Path) -> None:
    choices = Choices(delimiter=",", header=1)
    entry = store.import_table(table, table.name, choices=choices)
    here = read_table(table, choices=choices)
    there = store.table(entry.sha256, entry.owner)
    assert there.report == here.report
    assert there.frame.astype(str).equals(here.frame.astype(str))


def test_errors_come_back_with_every_problem(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("a,b\n" + "1,2\n1,2,3\n" * 40)
    with pytest.raises(TableError) as here:
        read_table(path)
    with pytest.raises(TableError) as there:
        store.import_table(path, path.name)
    assert there.value.problems == here.value.problems
    assert str(there.value) == str(here.value)


def test_a_process_that_ended_while_it_waited_is_replaced(store: Store, table: Path) -> None:
    untrusted.get_ready()
    reader = untrusted._READERS._ready
    assert reader is not None
    reader._process.send_signal(signal.SIGKILL)
    reader._process.wait()
    assert store.import_table(table, table.name).rows == 1500


def test_the_process_ends_when_nobody_is_left_to_ask_it() -> None:
    command = [sys.executable, "-m", "deepfm_core.store.untrusted"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, env=os.environ) as reader:
        assert reader.stdin is not None
        reader.stdin.close()
        assert reader.wait(60) == 0


def test_an_archive_is_looked_at_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.zip"
    path.write_bytes(hostile.workbook(1_000))
    monkeypatch.setattr("zipfile.ZipFile", lambda *_: pytest.fail("opened in this process"))
    assert untrusted.look_at(path).sheets == ("S",)
    assert untrusted.look_at(path.read_bytes()).sheets == ("S",)
    assert untrusted.look_at(b"PK\x03\x04 no archive").form == "columns"
    assert untrusted.look_at(b"a;b\n1;2\n").lines == ("a;b", "1;2")


@pytest.mark.parametrize("limit", ["_FEW_BYTES", "_FEW_COLUMNS"])
def test_a_large_table_is_looked_at_in_another_process_as_a_small_one_is_in_this(
    store: Store, table: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = store.import_table(table, table.name).sha256
    read = store.table(sha)
    schema = infer_schema(read, "clicked")
    copies = look_for_copies(read.frame, schema, read.name).copies
    asked: dict[str, dict[str, Any]] = {"roles": {"label": "clicked"}, "verdict": {"schema": schema.to_dict()}}
    here = {question: store.look_at_table(sha, read, question, **given) for question, given in asked.items()}
    assert Schema.from_dict(here["roles"]) == schema
    assert (here["verdict"]["remarks"], Copies.of_run(here["verdict"])) == (verdict(read, schema, copies), copies)
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr(store_tables, limit, 0)
    monkeypatch.setattr(looks, "QUESTIONS", {})  # nothing is answered in this process any more
    for question, given in asked.items():
        with ExitStack() as uploads:
            for _ in range(os.cpu_count() or 1):  # looks wait for none of them
                uploads.enter_context(untrusted._READERS._turns)
            there = store.look_at_table(sha, read, question, **given)
        assert there == json.loads(json.dumps(here[question]))
    with pytest.raises(SchemaError, match="missing"):
        store.look_at_table(sha, read, "roles", label="missing")


def test_a_look_that_met_a_limit_says_so_and_is_refused_at_once_for_a_while(
    store: Store, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = store.import_table(table, table.name).sha256
    read = store.table(sha)
    monkeypatch.setenv("DEEPFM_PRIVATE", "1")
    monkeypatch.setattr(store_tables, "_FEW_BYTES", 0)
    monkeypatch.setenv(SECONDS, "0.0001")
    refused = r"looking at all of its rows takes longer than the limit of 0\.0001 seconds\. Use fewer rows or fewer col"
    with pytest.raises(TableError, match=refused):
        store.look_at_table(sha, read, "roles", label="clicked")
    asked: list[object] = []
    monkeypatch.setattr(untrusted._LOOKERS, "answer", lambda *given: asked.append(given) or {"value": "seen"})
    with pytest.raises(TableError, match=refused):
        store.look_at_table(sha, read, "roles", label="clicked")
    assert not asked
    assert store.look_at_table(sha, read, "roles", label="other") == "seen"
    monkeypatch.setattr(untrusted, "_REFUSED_SECONDS", 0.0)
    assert store.look_at_table(sha, read, "roles", label="clicked") == "seen"
