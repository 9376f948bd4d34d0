"""The order of rows on the disk: each row once an epoch, whole batches, and as in memory where a window holds all."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepfm_core.training.rows import shuffled


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
