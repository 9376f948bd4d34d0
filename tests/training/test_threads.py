"""The thread count follows a step's work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from deepfm_core.errors import SpecError
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training import hardware
from tests.worlds import layout

SMALL = layout([(Kind.CATEGORICAL, 1, 50)] * 8)
LARGE = layout([(Kind.CATEGORICAL, 1, 50)] * 39)


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hardware, "_cores", lambda: 4)
    monkeypatch.delenv("DEEPFM_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_small_step_takes_one_thread() -> None:
    hardware.set_threads(SMALL, ModelSpec(layers=(64, 32)), FitSpec(batch_size=1024))
    assert torch.get_num_threads() == 1


def test_a_large_network_takes_every_core() -> None:
    hardware.set_threads(LARGE, ModelSpec(layers=(400, 400, 400)), FitSpec(batch_size=4096))
    assert torch.get_num_threads() == 4


def test_a_table_that_moves_densely_takes_every_core_and_one_that_moves_by_rows_does_not() -> None:
    for vocabulary, threads in ((100_000, 4), (400_000, 1)):
        table = layout([(Kind.CATEGORICAL, 1, vocabulary)])
        hardware.set_threads(table, ModelSpec("fm", embedding_size=16), FitSpec(batch_size=256))
        assert torch.get_num_threads() == threads


def test_a_number_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_THREADS", "3")
    hardware.set_threads(SMALL, ModelSpec(), FitSpec())
    assert torch.get_num_threads() == 3


def test_no_more_than_one_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_THREADS", "100")
    hardware.set_threads(SMALL, ModelSpec(), FitSpec())
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("text", ["abc", "0", "-1", "1.5", "²", "9" * 5000])
def test_what_is_no_number_of_threads_is_said(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DEEPFM_THREADS", text)
    with pytest.raises(SpecError, match=f"DEEPFM_THREADS is '{text}'. Use a whole number from 1 to 4"):
        hardware.set_threads(SMALL, ModelSpec(), FitSpec())
