"""Presets: valid at every size, and what their settings do to a fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from deepfm_core.encoding.encoder import Encoder
from deepfm_core.errors import SpecError
from deepfm_core.schema.schema import FieldRole, LabelRole, Schema
from deepfm_core.spec.events import EpochDone
from deepfm_core.spec.models import GUIDED_EMBEDDING_SD
from deepfm_core.spec.presets import (
    EMBEDDING_SD,
    FIRST_ORDER_SD,
    LEAST_GAIN,
    PATIENCE,
    PRESETS,
    preset,
    settings,
)
from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec
from deepfm_core.synthetic.worlds import CATEGORICAL, make_world
from deepfm_core.training.fit import fit
from deepfm_core.training.state import FitState
from tests.worlds import MIXED, encoded

TRAIN, VALID = encoded(MIXED, 500, 1), encoded(MIXED, 200, 2)
ONE_STEP = FitSpec(epochs=6, patience=6, batch_size=500, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: with two, such small fits take many times as long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights_by_epoch(model: ModelSpec, spec: FitSpec) -> list[dict[str, Tensor]]:
    """Train and give the model's weights after each epoch."""
    state = FitState.new(MIXED, model, spec, seed=3)
    return [
        {name: value.clone() for name, value in state.model.named_parameters()}
        for event in fit(spec, TRAIN, VALID, state)
        if isinstance(event, EpochDone)
    ]


@given(st.sampled_from(PRESETS), st.sampled_from(MODEL_NAMES), st.integers(0, 10**10))
def test_every_preset_is_valid_for_every_model_and_size(name: str, model_name: str, rows: int) -> None:
    model, _ = preset(name, model_name, rows)
    assert model.name == model_name


def test_more_rows_mean_less_decay_and_larger_batches() -> None:
    fits = [preset("recommended", "deepfm", rows)[1] for rows in (500, 4_000, 20_000, 150_000, 3_000_000)]
    for smaller, larger in pairwise(fits):
        assert larger.l2 < smaller.l2
        assert larger.l2_embeddings < smaller.l2_embeddings
        assert larger.batch_size > smaller.batch_size


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [(0, 8), (16_000, 8), (117_000, 8), (160_000, 6), (400_000, 4), (800_000, 3), (10**8, 3)],
)
def test_a_guided_model_waits_a_number_of_steps_and_others_with_a_dnn_three_epochs(rows: int, epochs: int) -> None:
    for name in ("recommended", "quick"):
        assert preset(name, "deepfm", rows)[1].patience == epochs
        assert preset(name, "deepfm", rows, guided=False)[1].patience == PATIENCE
        assert preset(name, "dnn", rows)[1].patience == PATIENCE
        assert [preset(name, model, rows)[1].least_gain for model in ("deepfm", "dnn")] == [LEAST_GAIN, 0.0]
    assert preset("paper", "deepfm", rows)[1].patience == PATIENCE


@pytest.mark.parametrize(("rows", "epochs"), [(0, 60), (160, 60), (800, 14), (4_000, 6), (16_000, 3), (10**7, 3)])
def test_a_model_without_a_dnn_and_without_a_guide_waits_180_steps(rows: int, epochs: int) -> None:
    for model in ("lr", "fm"):
        assert preset("recommended", model, rows, guided=False)[1].patience == epochs
    assert preset("recommended", "lr", rows)[1].least_gain == 0.0
    assert preset("recommended", "fm", rows)[1].patience == preset("recommended", "deepfm", rows)[1].patience
    assert preset("paper", "lr", rows)[1].patience == PATIENCE


def test_a_patience_of_ones_own_stays_what_it_is() -> None:
    assert settings("recommended", "deepfm", 800_000, {"patience": 8})[1].patience == 8


def test_decay_is_a_gaussian_prior_of_fixed_width() -> None:
    _, fit_spec = preset("recommended", "deepfm", 20_000)
    assert fit_spec.l2 * 20_000 * FIRST_ORDER_SD**2 == pytest.approx(1, rel=0.05)
    assert fit_spec.l2_embeddings * 20_000 * GUIDED_EMBEDDING_SD**2 == pytest.approx(1, rel=0.05)
    _, fit_spec = preset("recommended", "deepfm", 20_000, guided=False)
    assert fit_spec.l2_embeddings * 20_000 * EMBEDDING_SD**2 == pytest.approx(1, rel=0.05)


def test_the_paper_preset_adds_nothing_to_the_papers_form() -> None:
    model, fit_spec = preset("paper", "deepfm", 20_000)
    assert (model.embedding_size, model.layers, model.activation, model.dropout) == (10, (400, 400, 400), "relu", 0.5)
    assert not model.centred
    assert not fit_spec.averaging
    assert fit_spec.first_order_rate == 1.0
    assert fit_spec.l2_embeddings == fit_spec.l2


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_paper_preset_has_tanh_in_ipnn_alone(name: str) -> None:
    assert preset("paper", name, 20_000)[0].activation == ("tanh" if name == "ipnn" else "relu")


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"'fast'.*recommended, paper, quick"):
        preset("fast", "deepfm", 100)


def test_a_chosen_l2_is_that_of_the_embeddings_too() -> None:
    _, fit_spec = settings("recommended", "deepfm", 20_000, {"l2": 0.25, "epochs": 2})
    assert (fit_spec.l2, fit_spec.l2_embeddings, fit_spec.epochs) == (0.25, 0.25, 2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"first_order_rate": 0.0}, "First-order rate is 0.0"),
        ({"embedding_l2": -1.0}, "Embedding L2 is -1.0"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        replace(FitSpec(), **wrong)  # type: ignore[arg-type]


def test_embeddings_cannot_start_from_nothing() -> None:
    with pytest.raises(SpecError, match=r"Embedding sd is 0\.0"):
        ModelSpec(embedding_sd=0.0)


def test_the_first_order_rate_multiplies_the_rate_of_first_order_weights_alone() -> None:
    faster = weights_by_epoch(ModelSpec("lr"), replace(ONE_STEP, first_order_rate=4.0))
    same = weights_by_epoch(ModelSpec("lr"), replace(ONE_STEP, learning_rate=4e-2))
    slower = weights_by_epoch(ModelSpec("lr"), ONE_STEP)
    for name in ("bias", "dense_weights"):
        torch.testing.assert_close(faster[-1][name], same[-1][name])
    torch.testing.assert_close(faster[-1]["table"][:, 0], same[-1]["table"][:, 0])
    assert not torch.allclose(faster[-1]["table"][:, 0], slower[-1]["table"][:, 0])
    fm_faster, fm = (weights_by_epoch(ModelSpec("fm"), replace(ONE_STEP, first_order_rate=c)) for c in (4.0, 1.0))
    torch.testing.assert_close(fm_faster[0]["table"][:, 1:], fm[0]["table"][:, 1:])


def test_embeddings_can_decay_apart_from_first_order_weights() -> None:
    equal, plain, apart = (
        weights_by_epoch(ModelSpec("fm", embedding_sd=0.1), replace(ONE_STEP, l2=0.1, embedding_l2=value))[0]["table"]
        for value in (0.1, None, 100.0)
    )
    assert torch.equal(equal, plain)
    torch.testing.assert_close(apart[:, 0], plain[:, 0])
    assert apart[:, 1:].norm() < plain[:, 1:].norm()


def test_what_is_kept_is_the_average_of_the_weights_that_were_trained() -> None:
    model = ModelSpec(layers=(8,), dropout=0.3, centred=True)
    trained, averaged = (weights_by_epoch(model, replace(ONE_STEP, averaging=flag)) for flag in (False, True))
    expected = trained[0]["network.stack.0.weight"]
    for count, (weights, average) in enumerate(zip(trained, averaged, strict=True), start=1):
        new = weights["network.stack.0.weight"]
        expected = expected + 9 / (count + 8) * (new - expected)  # Shamir & Zhang 2013 with η = 8
        torch.testing.assert_close(average["network.stack.0.weight"], expected)


def test_an_averaged_run_resumed_from_a_checkpoint_ends_with_the_same_weights() -> None:
    model, spec = preset("recommended", "deepfm", len(TRAIN))
    spec = replace(spec, epochs=5, patience=5)
    whole = FitState.new(MIXED, model, spec, seed=3)
    list(fit(spec, TRAIN, VALID, whole))
    interrupted = FitState.new(MIXED, model, spec, seed=3)
    for event in fit(spec, TRAIN, VALID, interrupted):
        if isinstance(event, EpochDone) and event.epoch == 3:
            break
    resumed = FitState.new(MIXED, model, spec, seed=3)
    resumed.load({name: value.clone() for name, value in interrupted.tensors().items()}, interrupted.numbers())
    list(fit(spec, TRAIN, VALID, resumed))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.slow
def test_recommended_predicts_better_than_the_papers_form_of_its_size_on_a_small_table() -> None:
    world = make_world(5_000, 11, CATEGORICAL)
    frame = world.frame.astype(str).astype("category")
    roles = tuple(FieldRole(name, kind) for name, kind in world.kinds.items())
    train_frame, valid_frame = frame.iloc[:4_000], frame.iloc[4_000:]
    encoder = Encoder.fit(train_frame, Schema(LabelRole("click", "1", "0"), roles))
    train, valid = (encoder.encode_with_labels(part, subject="world") for part in (train_frame, valid_frame))
    best = []
    for name in ("recommended", "paper"):
        model, spec = preset(name, "deepfm", len(train))
        state = FitState.new(train.layout, replace(model, layers=(64, 32)), spec, seed=0)
        list(fit(replace(spec, epochs=8), train, valid, state))
        best.append(state.best_loss)
    assert best[0] < best[1] - 0.003
