"""Encoded rows that are kept for the next run on the same table."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from deepfm_core._files import write_json
from deepfm_core.encoding.encoder import Encoder
from deepfm_core.encoding.splits import load_parts
from deepfm_core.runs.engine import execute
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.events import EpochDone, Event, Failed, Finished
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec, SplitSpec
from deepfm_core.store import encoding_cache
from deepfm_core.store.encoding_cache import EncodingCache, Prepared
from deepfm_core.store.process import Process
from deepfm_core.store.store import LOCAL, Store
from deepfm_core.tables.table import Table
from deepfm_core.workers.lane import perform

ROWS = 400
MODEL, FIT = ModelSpec(embedding_size=2, layers=(4,)), FitSpec(epochs=1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(encoding_cache, "FEWEST_ROWS", 10)
    return Store(tmp_path / "home")


@pytest.fixture
def spec(store: Store) -> RunSpec:
    rng = np.random.default_rng(0)
    lines = [f"{rng.integers(3)},{rng.normal():.3f},{rng.integers(2)}|{rng.integers(9)},{i % 2}" for i in range(ROWS)]
    entry = store.import_table("\n".join(["colour,price,tags,click", *lines]).encode(), "clicks.csv")
    table = store.table(entry.sha256)
    schema = infer_schema(table, "click").with_kinds({"price": Kind.PIECEWISE, "tags": Kind.MULTI_VALUED})
    return RunSpec(entry.sha256, "clicks.csv", schema, model=MODEL, fit=FIT, explained=False)


def prepared(spec: RunSpec, table: Callable[[str], Table]) -> Prepared:
    parts = load_parts(spec, table)
    encoder = Encoder.fit(parts.train.table.frame, spec.schema, rows=parts.train.rows, min_count=spec.min_count)
    tables = {name: getattr(parts, name).encode(encoder) for name in ("train", "valid", "test")}
    return Prepared(parts, encoder, tables)


def no_table(sha: str) -> Table:
    raise AssertionError("the table is read")


def entries(store: Store) -> list[Path]:
    return sorted((store.home / "tables").glob("*/encoded/*"))


@pytest.mark.parametrize("split", [SplitSpec(), SplitSpec(test=0.0)])
def test_what_was_kept_is_found_again_without_reading_the_table(store: Store, spec: RunSpec, split: SplitSpec) -> None:
    spec = replace(spec, split=split)
    assert store.encoded.find(spec, no_table) is None
    made = prepared(spec, store.table)
    store.encoded.keep(spec, made)
    found = store.encoded.find(spec, no_table)
    assert found is not None
    assert found.parts.notes == made.parts.notes
    assert found.encoder.layout == made.encoder.layout
    for name, table in made.tables.items():
        assert found.tables[name].weighted == table.weighted
        for array in ("ids", "weights", "dense", "labels"):
            np.testing.assert_array_equal(getattr(found.tables[name], array), getattr(table, array))
        np.testing.assert_array_equal(getattr(found.parts, name).rows, getattr(made.parts, name).rows)
    again = store.encoded.find(spec, store.table)
    assert again is not None
    assert list(again.parts.train.table.frame.columns) == ["colour", "price", "tags", "click"]


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: {"split_seed": 1},
        lambda spec: {"split": SplitSpec(valid=0.2)},
        lambda spec: {"min_count": 2},
        lambda spec: {"schema": spec.schema.with_kinds({"price": Kind.BUCKETISED})},
        lambda spec: {"schema": spec.schema.with_kinds({"price": Kind.IGNORE})},
        lambda spec: {"test_table": spec.table},
        lambda spec: {"model": replace(spec.model, name="wide-deep", crosses=(("colour", "price"),))},
    ],
)
def test_what_would_be_encoded_otherwise_is_not_found(
    store: Store, spec: RunSpec, change: Callable[[RunSpec], dict[str, Any]]
) -> None:
    store.encoded.keep(spec, prepared(spec, store.table))
    assert store.encoded.find(replace(spec, **change(spec)), store.table) is None


def test_what_another_program_kept_is_not_found(store: Store, spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    store.encoded.keep(spec, prepared(spec, store.table))
    assert store.encoded.find(spec, no_table)
    monkeypatch.setattr(encoding_cache, "_PROGRAM", "another")
    assert store.encoded.find(spec, no_table) is None


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:64])])
@pytest.mark.parametrize("file", ["train.ids.npy", "encoder.arrow", "encoder.json", "parts.json", "test.rows.npy"])
def test_a_damaged_entry_counts_as_none(
    store: Store, spec: RunSpec, file: str, damage: Callable[[Path], object]
) -> None:
    store.encoded.keep(spec, prepared(spec, store.table))
    damage(entries(store)[0] / file)
    assert store.encoded.find(spec, no_table) is None


def test_writing_to_what_was_found_changes_no_file(store: Store, spec: RunSpec) -> None:
    made = prepared(spec, store.table)
    store.encoded.keep(spec, made)
    found = store.encoded.find(spec, no_table)
    assert found is not None
    found.tables["train"].ids[:] = -1
    again = store.encoded.find(spec, no_table)
    assert again is not None
    np.testing.assert_array_equal(again.tables["train"].ids, made.tables["train"].ids)


def test_a_second_run_reads_no_table_and_ends_as_without_the_cache(store: Store, spec: RunSpec) -> None:
    def trained(spec: RunSpec, table: Callable[[str], Table] | None = None) -> bytes:
        worker = Process.current()
        run = store.begin(spec, worker)
        *_, last = perform(store, run, execute, worker, table)
        assert isinstance(last, Finished)
        return store.folder(run.id).model.read_bytes()

    first = trained(spec)
    assert len(entries(store)) == 1
    assert trained(spec, no_table) == first
    assert trained(replace(spec, model=replace(MODEL, layers=(8,))), no_table) != first


@pytest.mark.parametrize("how", ["gone", "cut", "both damaged", "of another owner"])
def test_a_run_whose_rows_are_kept_asks_for_its_table_all_the_same(store: Store, spec: RunSpec, how: str) -> None:
    worker, folder = Process.current(), store.original(spec.table).parent
    store.encoded.keep(spec, prepared(spec, store.table))
    owner = "b" * 32 if how == "of another owner" else LOCAL
    if how == "gone":
        (folder / "original").unlink()
    elif how != "of another owner":
        (folder / "table.parquet").write_bytes((folder / "table.parquet").read_bytes()[:-9])
    if how == "both damaged":
        (folder / "original").write_bytes(b"a,b")
    if owner != LOCAL:
        store.database.change("UPDATE tables SET owner = ? WHERE sha256 = ?", ("a" * 32, spec.table))
    *_, last = perform(store, store.begin(spec, worker, owner=owner), execute, worker)
    if how == "cut":
        assert last.kind == "finished"
        assert store.table_damage(spec.table) is None
    else:
        assert isinstance(last, Failed)
        assert "Upload" in last.message


def test_deleting_a_table_removes_what_was_kept_of_it(store: Store, spec: RunSpec) -> None:
    other = store.import_table(b"colour,price,tags,click\n1,2,3,1\n1,2,3,0\n1,2,3,1\n1,2,3,0", "other.csv").sha256
    for each in (spec, replace(spec, test_table=other)):
        store.encoded.keep(each, prepared(each, store.table))
    assert len(entries(store)) == 2
    store.delete_table(other)
    assert len(entries(store)) == 1
    store.delete_table(spec.table)
    assert entries(store) == []


def test_what_was_not_used_for_longest_makes_room(store: Store, spec: RunSpec) -> None:
    specs = [replace(spec, split_seed=seed) for seed in range(3)]
    encoding_cache = EncodingCache(store.home / "tables")
    for number, each in enumerate(specs[:2]):
        encoding_cache.keep(each, prepared(each, store.table))
        (new,) = (path for path in entries(store) if path.stat().st_mtime > 1e9)
        os.utime(new, (number, number))
    size = sum(file.stat().st_size for path in entries(store) for file in path.iterdir())
    assert encoding_cache.find(specs[0], no_table)  # used: now the other one is the oldest
    EncodingCache(store.home / "tables", size + 1).keep(specs[2], prepared(specs[2], store.table))
    assert [encoding_cache.find(each, no_table) is not None for each in specs] == [True, False, True]


def test_what_is_too_large_or_too_small_is_not_kept(
    store: Store, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepared(spec, store.table)
    EncodingCache(store.home / "tables", made.bytes).keep(spec, made)
    assert entries(store) == []
    monkeypatch.setattr(encoding_cache, "FEWEST_ROWS", ROWS + 1)
    store.encoded.keep(spec, made)
    assert entries(store) == []


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:64])])
def test_a_damaged_entry_is_replaced(store: Store, spec: RunSpec, damage: Callable[[Path], object]) -> None:
    made = prepared(spec, store.table)
    store.encoded.keep(spec, made)
    damage(entries(store)[0] / "train.ids.npy")
    assert store.encoded.find(spec, no_table) is None
    assert entries(store) == []
    store.encoded.keep(spec, made)
    found = store.encoded.find(spec, no_table)
    assert found is not None
    np.testing.assert_array_equal(found.tables["train"].ids, made.tables["train"].ids)


@pytest.mark.parametrize("file", ["parts.json", "encoder.json"])
@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"', "{}", '{"notes": 1, "arrays": 2, "weighted": 3}'])
def test_what_is_json_of_another_form_counts_as_none(store: Store, spec: RunSpec, file: str, content: str) -> None:
    store.encoded.keep(spec, prepared(spec, store.table))
    (entries(store)[0] / file).write_text(content)
    assert store.encoded.find(spec, no_table) is None


def test_arrays_of_other_lengths_count_as_none(store: Store, spec: RunSpec) -> None:
    store.encoded.keep(spec, prepared(spec, store.table))
    (entry,) = entries(store)
    np.save(entry / "train.labels.npy", np.zeros(7, np.float32))
    assert store.encoded.find(spec, no_table) is None


def test_an_entry_that_a_process_has_half_removed_is_none_and_goes_with_the_next_purge(
    store: Store, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.encoded.keep(spec, prepared(spec, store.table))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda path, ignore_errors: next(path.iterdir()).unlink())
        store.encoded.forget(spec.table)
    (left,) = entries(store)
    assert left.name.startswith(".")
    assert store.encoded.find(spec, no_table) is None
    store.purge()
    assert entries(store) == [left]
    os.utime(left, (0, 0))
    store.purge()
    assert entries(store) == []


@pytest.mark.parametrize("role", ["table", "test_table"])
def test_nothing_is_kept_of_a_deleted_table_until_it_is_restored(store: Store, spec: RunSpec, role: str) -> None:
    other = store.import_table(b"colour,price,tags,click\n1,2,3,1\n1,2,3,0\n1,2,3,1\n1,2,3,0", "other.csv").sha256
    spec = replace(spec, test_table=other)
    made, sha = prepared(spec, store.table), getattr(spec, role)
    store.delete_table(sha)
    store.encoded.keep(spec, made)
    assert entries(store) == []
    store.restore_table(sha)
    store.encoded.keep(spec, made)
    assert len(entries(store)) == 1


def test_a_table_deleted_while_its_rows_are_kept_stays_deleted(
    store: Store, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_json

    def deleted_before_the_last_file(path: Path, values: dict[str, object]) -> None:
        Store(store.home)._tables.delete(spec.table, "local")  # as another process does before it forgets
        written(path, values)

    monkeypatch.setattr(encoding_cache, "write_json", deleted_before_the_last_file)
    store.encoded.keep(spec, prepared(spec, store.table))
    assert entries(store) == []


def test_what_is_stopped_between_arrays_leaves_nothing(store: Store, spec: RunSpec) -> None:
    asked: list[int] = []

    def at_the_third() -> bool:
        asked.append(len(list((store.home / "tables").glob("*/encoded/.*/*.npy"))))
        return len(asked) == 3

    store.encoded.keep(spec, prepared(spec, store.table), at_the_third)
    assert asked == [0, 1, 2]
    assert entries(store) == []


def test_a_cancelled_run_does_not_wait_for_what_it_keeps(
    store: Store, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, stopped = threading.Event(), []

    def slow(_encoding_cache: EncodingCache, _spec: RunSpec, _prepared: Prepared, given_up: Callable[[], bool]) -> None:
        go_on.wait(30)
        stopped.append(given_up())

    monkeypatch.setattr(EncodingCache, "keep", slow)
    (keeping,) = (thread for thread in [*_until_epoch(store, spec)] if thread.is_alive())
    assert not go_on.is_set()
    go_on.set()
    keeping.join()
    assert stopped == [True]


def _until_epoch(store: Store, spec: RunSpec) -> set[threading.Thread]:
    """Leave a run after its first epoch, and give the threads it has begun."""
    before = set(threading.enumerate())
    folder = store.folder(store.enqueue(spec))
    events = cast(
        "Generator[Event]",
        execute(Job(spec, str(folder.path)), Context(store.table, encoded=store.encoded, questions=store.questions)),
    )
    next(event for event in events if isinstance(event, EpochDone))
    begun = set(threading.enumerate()) - before
    events.close()
    return begun


def test_two_workers_that_keep_the_same_rows_at_once_leave_one_whole_entry(
    store: Store, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting, made, written = threading.Barrier(2, timeout=10), prepared(spec, store.table), write_json

    def at_once(path: Path, values: dict[str, object]) -> None:
        written(path, values)
        meeting.wait()

    monkeypatch.setattr(encoding_cache, "write_json", at_once)
    with ThreadPoolExecutor(2) as workers:
        for kept in [workers.submit(Store(store.home).encoded.keep, spec, made) for _ in range(2)]:
            kept.result()
    assert len(entries(store)) == 1
    found = store.encoded.find(spec, no_table)
    assert found is not None
    for name, table in made.tables.items():
        np.testing.assert_array_equal(found.tables[name].ids, table.ids)


def test_what_another_worker_removes_meanwhile_does_not_end_making_room(
    store: Store, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [replace(spec, split_seed=seed) for seed in range(3)]
    for number, each in enumerate(specs):
        store.encoded.keep(each, prepared(each, store.table))
        os.utime(store.encoded._entry(each), (number, number))
    newest, use = store.encoded._entry(specs[2]), encoding_cache._use

    def removed_before(entry: Path) -> tuple[float, int, Path]:
        if entry == newest:
            shutil.rmtree(entry)
        return use(entry)

    monkeypatch.setattr(encoding_cache, "_use", removed_before)
    EncodingCache(store.home / "tables", 1)._make_room()
    assert entries(store) == []
