"""Training on a device other than the processor.

`meta` tensors have shapes and no values: a step that runs on them reads no value on the way, calls nothing that only
the processor has, and makes every tensor where the model is.
"""

from __future__ import annotations

import os
from dataclasses import fields

import pytest
import torch

from deepfm_core.errors import SpecError
from deepfm_core.models.batch import Batch, Lookup, Slots
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec
from deepfm_core.training.fit import fit, predict_logits
from deepfm_core.training.hardware import training_device
from deepfm_core.training.state import FitState
from deepfm_core.training.step import Predictor, Step
from tests.worlds import MIXED, crossed, encoded

pytestmark = pytest.mark.slow

SHAPE = crossed(MIXED, 12, 7)
FIT = FitSpec(epochs=2, batch_size=16, l2=0.01, first_order_rate=3.0, averaging=True)


def moved(batch: Batch, device: str) -> Batch:
    parts = (getattr(batch, part.name) for part in fields(batch))
    return Batch(*(None if part is None else part.to(device) for part in parts))


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_step_and_an_evaluation_stay_on_the_models_device(name: str) -> None:
    model = DeepFM(SHAPE, ModelSpec(name, 4, (6,), batch_norm=True, centred=name in ("fm", "deepfm"))).to("meta")
    batch = moved(Batch.from_table(encoded(SHAPE, 33, 1)), "meta")
    step = Step(model.train(), FIT)
    assert step(batch).device.type == "meta"
    step.average(1)
    step.end_epoch()
    assert all(value.device.type == "meta" for value in step.tensors().values())
    assert Predictor(model)(batch).device.type == "meta"


def test_gradients_are_brought_back_alike_with_and_without_the_processors_kernel() -> None:
    batch = Batch.from_table(encoded(MIXED, 21, 3)).double()
    assert batch.weights is not None
    slots = Slots([field.slots for field in MIXED.fields], torch.device("cpu"))
    table = torch.zeros(MIXED.vocabulary, 4, dtype=torch.float64)
    lookup = Lookup(table, batch.ids.view(-1), batch.weights.view(-1))
    for bags in (1, len(MIXED.fields)):
        gradient = torch.randn(21 * bags, 3, dtype=torch.float64)
        by_kernel, by_torch = slots._back(lookup, gradient, bags), slots._back_anywhere(lookup, gradient, bags)
        assert torch.allclose(by_kernel, by_torch, atol=1e-12)


@pytest.mark.parametrize("wanted", ["gpu", "meta", "cuda:99"])
def test_a_device_that_is_not_here_is_an_error_that_says_so(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFM_DEVICE", wanted)
    with pytest.raises(SpecError, match=wanted):
        training_device()


def test_without_a_wish_the_processor_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPFM_DEVICE", raising=False)
    assert training_device() == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_fit_on_the_gpu_scores_as_one_on_the_processor(name: str) -> None:
    train, valid = encoded(SHAPE, 400, 1), encoded(SHAPE, 100, 2)
    logits = []
    for device in ("cpu", os.environ.get("DEEPFM_DEVICE") or "cuda"):
        state = FitState.new(SHAPE, ModelSpec(name, 4, (6,)), FIT, seed=0, device=device)
        list(fit(FIT, train, valid, state))
        logits.append(torch.from_numpy(predict_logits(state.model, valid)))
    assert torch.allclose(logits[0], logits[1], atol=1e-3)
