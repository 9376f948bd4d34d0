"""The order of rows on the disk: each row once an epoch, whole batches, and as in memory where a window holds all."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.encoding.sharding import Shards, ShardWriter, open_shards
from deepfm_core.training.rows import TrainingRows, shuffled, windows


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 60_000), st.integers(1, 20_000), st.integers(1, 5_000), st.integers(0, 5))
def test_each_row_is_in_one_window_and_windows_are_of_whole_batches(rows, window, size, seed):
    windows = list(shuffled(rows, window, size, generator(seed)))
    places = np.concatenate([np.arange(start, stop) for ranges in windows for start, stop in ranges])
    assert len(places) == rows
    assert len(np.unique(places)) == rows
    counts = [sum(stop - start for start, stop in ranges) for ranges in windows]
    assert all(count % size == 0 for count in counts[:-1])
    assert sum(-(-count // size) for count in counts) == -(-rows // size)
    assert all(count <= max(window, size) for count in counts[:-1])


def test_an_order_depends_on_its_seed_alone():
    one, again, other = (list(shuffled(50_000, 10_000, 100, generator(seed))) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_a_window_that_holds_all_rows_is_one_stretch():
    assert list(shuffled(1_000, 1_000, 64, generator(0))) == [[(0, 1_000)]]


def test_windows_hold_rows_from_everywhere():
    windows = list(shuffled(1_000_000, 100_000, 1_000, generator(0)))
    for ranges in windows:
        starts = [start for start, _ in ranges]
        assert max(starts) - min(starts) > 500_000


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """140,000 rows of two slots on the disk, of which 50,000 may be in memory."""
    layout, rows = Layout((), ()), 140_000
    numbers = np.arange(2 * rows, dtype=np.int32).reshape(rows, 2)
    labels = np.arange(rows, dtype=np.float32) % 2
    with ShardWriter(tmp_path) as writer:
        for part in ("train", "valid", "test"):
            writer.write(part, EncodedTable(layout, numbers, None, np.zeros((rows, 0), np.float32), labels))
        writer.finish({})
    return open_shards(tmp_path, layout, 50_000 * 3 * 4)[0]["train"]


def test_a_window_is_gone_before_the_next_one_is_read(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    read, before = Shards.read, list[weakref.ref[np.ndarray]]()

    def watched(self: Shards, ranges: list[tuple[int, int]]) -> EncodedTable:
        assert all(array() is None for array in before)
        table = read(self, ranges)
        before.append(weakref.ref(table.ids))
        return table

    monkeypatch.setattr(Shards, "read", watched)
    seen = [batch.ids[:, 0].clone() for batch in TrainingRows(shards, torch.device("cpu")).batches(0, 1_000)]
    assert len(before) >= 3
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(0, 280_000, 2, dtype=torch.int32))


def test_rows_in_their_order_need_no_large_window(shards: Shards) -> None:
    roomy = open_shards(shards.folder, shards.layout, 1 << 40)[0]["train"]
    assert [len(window) for window in windows(roomy)] == [131_072, 8_928]
    assert [len(window) for window in windows(shards)] == [50_000, 50_000, 40_000]
