"""Each model learns what it can express: the benchmark of docs/accuracy.md, on few rows and with wide margins."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
import torch

from benchmarks.models_on_truth import markdown, results
from deepfm_core.spec.run import MODEL_NAMES, ModelSpec

pytestmark = pytest.mark.slow

ROWS = 16_000


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: with two, such small fits take many times as long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def evaluated(world: str, models: list[str]) -> pd.DataFrame:
    return pd.DataFrame(results([world], models, ROWS, 1)).set_index("model")


def test_where_the_truth_is_first_order_lr_is_not_beaten() -> None:
    found = evaluated("main effects", ["lr", "fm", "deepfm"])
    assert (found["less"] + found["half"] > -1e-3).all()
    assert found["closed"]["lr"] > 0.85


def test_where_there_are_pairs_fm_and_deepfm_beat_lr() -> None:
    found = evaluated("pairs", ["lr", "fm", "deepfm"])
    assert (found.loc[["fm", "deepfm"], "less"] + found.loc[["fm", "deepfm"], "half"] < -0.01).all()
    assert (found.loc[["fm", "deepfm"], "closed"] > 0.6).all()


def test_a_parity_is_learned_by_every_model_with_a_network_and_by_no_other() -> None:
    found = evaluated("three-way parity", list(MODEL_NAMES))
    for name in MODEL_NAMES:
        closed = found["closed"][name]
        assert (closed > 0.6) if ModelSpec(name).deep else (closed < 0.15), (name, closed)
    assert "| deepfm |" in markdown(found.reset_index())
