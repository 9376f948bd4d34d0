"""A copy of a live store holds all that it lists, and can be put back."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from deepfm_core.errors import DamagedStore, RunError
from deepfm_core.store.process import Process
from deepfm_core.store.store import Store
from deepfm_core.store.upkeep.backup import backup, restore
from tests.small_engine import spec

CSV = b"click,hour\n1,08\n0,09\n1,?\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    with closing(Store(tmp_path / "store")) as store:
        store.import_table(CSV, "clicks.csv", "ann")
        store.folder(store.enqueue(spec(), "first", "ann")).write_json("more.json", {"a": 1})
    return tmp_path / "store"


def test_a_backup_is_put_back_with_all_it_had(kept: Path, tmp_path: Path) -> None:
    assert backup(kept, tmp_path / "copy").findings == []
    (tmp_path / "new").mkdir()
    assert restore(tmp_path / "copy", tmp_path / "new").findings == []
    with closing(Store(kept)) as before, closing(Store(tmp_path / "new")) as after:
        assert after.runs() == before.runs()
        assert after.tables() == before.tables()
        sha, run = after.tables()[0].sha256, after.runs()[0]
        assert after.table(sha, "ann").frame.equals(before.table(sha, "ann").frame)
        assert after.folder(run.id).read_json("more.json") == {"a": 1}


def test_a_backup_of_a_store_in_use_is_one_moment_of_it(kept: Path, tmp_path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        with closing(Store(kept)) as store:
            number = 0
            while not done.is_set():
                number += 1
                store.enqueue(spec(), f"run {number}", "ann")
                store.import_table(CSV + b"0,%d\n" % number, "more.csv", "ann")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = backup(kept, tmp_path / "copy")
    finally:
        done.set()
        writer.join()
    assert report.findings == []
    with closing(Store(tmp_path / "copy")) as store:
        for run in store.runs():
            assert store.folder(run.id).spec() == run.spec
        for entry in store.tables():
            assert len(store.table(entry.sha256)) >= 3


def test_a_running_run_is_lost_in_the_copy_and_can_be_resumed(kept: Path, tmp_path: Path) -> None:
    with closing(Store(kept)) as store:
        running = store.claims.next(Process("elsewhere", 1, 1))
        assert running is not None
        store.database.change("UPDATE runs SET heartbeat = 1")
    backup(kept, tmp_path / "copy")
    with closing(Store(tmp_path / "copy")) as store:
        assert store.run(running.id).state == "lost"
        store.resume(running.id)


def test_nothing_is_written_over(kept: Path, tmp_path: Path) -> None:
    backup(kept, tmp_path / "copy")
    with pytest.raises(RunError, match="exists already"):
        backup(kept, tmp_path / "copy")
    with pytest.raises(RunError, match="in the store itself"):
        backup(kept, kept / "copy")
    with pytest.raises(RunError, match="holds something already"):
        restore(tmp_path / "copy", kept)
    with pytest.raises(RunError, match=r"has no runs\.db"):
        restore(tmp_path, tmp_path / "new")
    with pytest.raises(RunError, match="there is none"):
        backup(tmp_path / "nothing", tmp_path / "copy 2")
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "file").touch()
    with pytest.raises(RunError, match="is not empty"):
        restore(tmp_path / "copy", tmp_path / "busy")


def test_a_backup_that_fails_leaves_nothing(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deepfm_core.store.upkeep.backup.sync", full)
    with pytest.raises(RunError, match=r"No space left on device\. Check free space"):
        backup(kept, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    (kept / "runs.db").write_bytes(b"")
    with pytest.raises(DamagedStore):
        backup(kept, tmp_path / "copy")


def test_a_backup_is_only_read_when_it_is_put_back(kept: Path, tmp_path: Path) -> None:
    backup(kept, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*")}
    assert restore(tmp_path / "copy", tmp_path / "new").findings == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*")} == before
