"""Damage to a store: it is noticed, nothing is lost by it, and what can be repaired is."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from deepfm_core.errors import DamagedStore, RunError
from deepfm_core.spec.events import Finished
from deepfm_core.spec.run import BASELINE, ModelSpec
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.store.upkeep.check import check
from tests.small_engine import spec

ME = Process.current()
CSV = b"click,hour\n1,08\n0,09\n1,?\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A store with a table, a finished run and a queued one, closed."""
    with closing(Store(tmp_path)) as store:
        sha = store.import_table(CSV, "clicks.csv", "ann").sha256
        baseline = replace(spec(), table=sha, model=ModelSpec(BASELINE))
        finish(store, store.enqueue(baseline, "first", "ann"))
        store.enqueue(replace(spec(), table=sha), "second", "ann")
    return tmp_path


def finish(store: Store, run_id: str) -> None:
    claimed = store.claims.next(ME)
    assert claimed is not None
    for name in ("summary.json", "metrics.json"):
        store.folder(run_id).write_json(name, {"test": {"auc": 0.7}})
    store.append_event(run_id, Finished({"test": {"auc": 0.7}}), ME)


def tear(kept: Path, how: str) -> None:
    path = kept / "runs.db"
    if how == "gone":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no database":
        path.write_bytes(b"not a database at all, but long enough to look" * 100)
    elif how == "without a table":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE runs")


TORN = ["gone", "empty", "no database", "without a table"]


@pytest.mark.parametrize("how", TORN)
def test_a_damaged_database_says_so_and_nothing_is_changed_until_it_is_repaired(kept: Path, how: str) -> None:
    tear(kept, how)
    before = sorted(kept.rglob("*"))
    with pytest.raises(DamagedStore, match=r"check --repair`"), closing(Store(kept)) as store:
        store.runs()
    assert [path for path in before if not path.exists()] == []
    report = check(kept, repair=True)
    assert report.left == []
    with closing(Store(kept)) as store:
        store.purge(older_than=-1)
        assert {run.status for run in store.runs()} == {"finished", "cancelled"}
        assert [len(store.table(entry.sha256)) for entry in store.tables()] == [3]
        assert check(kept).findings == []


def test_what_can_be_read_of_a_torn_database_keeps_its_owner_and_name(kept: Path) -> None:
    with closing(Store(kept)) as store:
        for number in range(300):
            store.enqueue(spec(), f"run {number}", "ann")
        store.database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        ids = {run.id for run in store.runs()}
    path = kept / "runs.db"
    content = bytearray(path.read_bytes())
    middle = len(content) // 8192 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(bytes(content))
    assert check(kept, repair=True).left == []
    with closing(Store(kept)) as store:
        assert {run.id for run in store.runs()} == ids
        assert len(store.runs("ann")) > 200
    assert len(list(kept.glob("runs.db.damaged-*"))) >= 1


def test_a_folder_that_no_list_names_outlives_every_purge(kept: Path) -> None:
    with closing(Store(kept)) as store:
        store.database.change("DELETE FROM tables")
        store.database.change("DELETE FROM runs")
        store.purge(older_than=-1)
    assert len(list((kept / "tables").iterdir())) == 1
    assert len(list((kept / "runs").iterdir())) == 2
    assert {finding.problem for finding in check(kept).findings} == {"it is in no list"}


def test_a_sound_store_has_no_findings_and_a_folder_that_is_none_is_refused(kept: Path, tmp_path: Path) -> None:
    report = check(kept)
    assert (report.tables, report.runs, report.findings) == (1, 2, [])
    with pytest.raises(RunError, match="there is none"):
        check(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["table.parquet", "table.json"])
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_damaged_table_is_read_anew_from_its_upload(kept: Path, name: str, content: bytes | None) -> None:
    with closing(Store(kept)) as store:
        sha = store.tables()[0].sha256
        path = kept / "tables" / sha / name
        path.write_bytes(path.read_bytes()[:-20] if content is None else content)
        assert any("cannot be read" in finding.problem for finding in check(kept).findings)
        assert store.table(sha, "ann").frame["hour"].tolist() == ["08", "09", "?"]
        assert store.table_damage(sha) is None


def test_a_flipped_bit_in_a_tables_cells_is_noticed(kept: Path) -> None:
    with closing(Store(kept)) as store:
        sha = store.tables()[0].sha256
        path = kept / "tables" / sha / "table.parquet"
        content = bytearray(path.read_bytes())
        content[content.index(b"?")] ^= 1
        path.write_bytes(bytes(content))
        assert store.table(sha).frame["hour"].tolist() == ["08", "09", "?"]


def test_a_disk_that_does_not_give_an_upload_back_is_a_finding(kept: Path) -> None:
    with closing(Store(kept)) as store:
        sha = store.tables()[0].sha256
        original = kept / "tables" / sha / "original"
        original.unlink()
        original.mkdir()  # opening it raises an OSError, as a bad block or a lack of rights does
        (finding,) = check(kept).findings
        assert finding.problem == "the upload cannot be read (IsADirectoryError)"
        with pytest.raises(RunError, match="Check free space and permissions there"):
            store.rebuild_table(sha)
        assert [finding.repaired for finding in check(kept, repair=True).findings] == [False]


def test_uploading_again_replaces_a_table_whose_upload_is_damaged_too(kept: Path) -> None:
    with closing(Store(kept)) as store:
        sha = store.tables()[0].sha256
        for path in (kept / "tables" / sha).iterdir():
            path.write_bytes(b"cut")
        with pytest.raises(RunError, match=r"and so is the upload\. Upload the same file again"):
            store.table(sha)
        assert check(kept, repair=True).left != []
        assert store.import_table(CSV, "again.csv", "bob").sha256 == sha
        assert store.table(sha, "bob").frame["hour"].tolist() == ["08", "09", "?"]
        assert store.table_damage(sha) is None


def test_a_run_whose_row_is_damaged_is_read_from_its_folder(kept: Path) -> None:
    with closing(Store(kept)) as store:
        run_id = store.runs()[0].id
        store.database.change("UPDATE runs SET spec = '{\"table\": 5' WHERE id = ?", (run_id,))
        store.purge(older_than=-1)
        with pytest.raises(RunError, match="its spec cannot be read"):
            store.run(run_id).spec  # noqa: B018 (reading it is the test)
        check(kept, repair=True)
        assert store.run(run_id).spec == store.folder(run_id).spec()


def test_weights_and_frames_that_cannot_be_read_are_named(kept: Path, trained: Path) -> None:
    with closing(Store(kept)) as store:
        run = next(run for run in store.runs() if run.status == "finished")
        folder = store.folder(run.id)
        store.database.change("UPDATE runs SET spec = (SELECT spec FROM runs WHERE name = 'second')")
        shutil.copytree(trained, folder.path, dirs_exist_ok=True)
        assert not [finding for finding in check(kept).findings if run.id in finding.subject]
        for path in (folder.model, folder.encoder.with_suffix(".arrow"), folder.frame_path("pairs")):
            path.write_bytes(path.read_bytes()[:-40])
        named = {finding.problem.split()[0] for finding in check(kept).findings if run.id in finding.subject}
        assert named == {"model.safetensors", "encoder.json", "frames/pairs.parquet"}
