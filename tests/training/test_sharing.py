"""Steps share the cores only as long as that is faster; what is trained does not depend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec
from deepfm_core.training import fit as fitting
from deepfm_core.training import hardware
from deepfm_core.training.fit import fit
from deepfm_core.training.hardware import SEEN, TRIED, Sharing
from deepfm_core.training.state import FitState
from tests.training.test_fit import TRAIN, VALID

pytestmark = pytest.mark.slow

Seconds = Callable[[int], float]
"""How long a step takes by the number of threads."""


def quiet(threads: int) -> float:
    return 0.02 / threads


def busy(threads: int) -> float:
    return 0.02 if threads == 1 else 0.2


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("DEEPFM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def same_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose as where matrix products are the same whatever the threads; here they may not be."""
    monkeypatch.setattr(hardware, "products_depend_on_threads", lambda: False)


def train(sharing: Sharing, seconds: Seconds, steps: int) -> list[int]:
    """Take so many steps; give the threads of each."""
    threads = []
    for _ in range(steps):
        threads.append(sharing.threads)
        assert torch.get_num_threads() == sharing.threads
        sharing.took(seconds(sharing.threads))
    return threads


def test_on_a_quiet_machine_it_costs_few_steps(same_products: None) -> None:
    with Sharing(ModelSpec()) as sharing:
        threads = train(sharing, quiet, 2000)
    assert threads[-1] == 2
    assert threads.count(1) <= 6 * TRIED  # after 0, 1, 2, 4 and 8 seconds of training


def test_on_a_busy_machine_it_goes_on_with_one(same_products: None) -> None:
    with Sharing(ModelSpec()) as sharing:
        threads = train(sharing, busy, 2000)
        assert threads[SEEN + TRIED + 1 :].count(2) <= 6  # a trial ends with its first slow step
    assert torch.get_num_threads() == 2


def test_it_notices_work_that_comes_and_goes(same_products: None) -> None:
    with Sharing(ModelSpec()) as sharing:
        assert train(sharing, quiet, 1000)[-1] == 2
        assert train(sharing, busy, 2 * SEEN + TRIED)[-1] == 1
        assert train(sharing, quiet, 1000)[-1] == 2


def test_a_lone_slow_step_at_first_does_not_count() -> None:
    with Sharing(ModelSpec()) as sharing:
        sharing.took(30.0)
        assert train(sharing, quiet, SEEN + TRIED + 1)[-1] == 2


@pytest.mark.parametrize(("most", "variable"), [(1, None), (2, "2")])
def test_one_thread_and_a_number_that_was_asked_for_stay(
    most: int, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(most)
    if variable is not None:
        monkeypatch.setenv("DEEPFM_THREADS", variable)
    with Sharing(ModelSpec()) as sharing:
        assert set(train(sharing, busy, 100)) == {most}


def test_a_fit_that_is_closed_leaves_the_threads_as_they_were(same_products: None) -> None:
    state = FitState.new(TRAIN.layout, ModelSpec(), FitSpec(), seed=0)
    events = fit(FitSpec(), TRAIN, VALID, state)
    next(events), next(events)
    torch.set_num_threads(1)  # as a trial would
    events.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 2


class Changing(Sharing):
    """Takes another number at every step, where that may be."""

    def took(self, seconds: float) -> None:
        if not self._fixed:
            self._change()


def test_batch_normalisation_keeps_its_threads() -> None:
    with Sharing(ModelSpec(batch_norm=True)) as sharing:
        assert set(train(sharing, busy, 100)) == {2}


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize(("l2", "embedding_size"), [(0.0, 16), (1e-4, 5)])
def test_the_weights_are_the_same_whatever_shares(
    name: str, l2: float, embedding_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = FitSpec(epochs=2, batch_size=256, l2=l2)
    model = ModelSpec(name, embedding_size, layers=(256, 200), dropout=0.2, centred=name == "deepfm")

    def weights() -> dict[str, torch.Tensor]:
        state = FitState.new(TRAIN.layout, model, spec, seed=0)
        for _ in fit(spec, TRAIN, VALID, state):
            pass
        return state.model.state_dict()

    first = weights()
    monkeypatch.setattr(fitting, "Sharing", Changing)
    changing = weights()
    assert all(torch.equal(first[name], changing[name]) for name in first)


def test_threads_stay_where_products_depend_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "products_depend_on_threads", lambda: True)
    with Sharing(ModelSpec()) as sharing:
        assert set(train(sharing, busy, 100)) == {2}
