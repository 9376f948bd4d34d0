"""Training: repeatable, resumable, and equal to torch's own optimiser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepfm_core.errors import TrainingError
from deepfm_core.metrics.scores import auc, logloss
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.spec.events import EpochDone, Event, Fitted, Stage, Started
from deepfm_core.spec.run import MODEL_NAMES, FitSpec, ModelSpec
from deepfm_core.training.adam import Adam
from deepfm_core.training.fit import fit, predict_logits, train_epochs
from deepfm_core.training.state import FitState
from deepfm_core.training.step import AutogradStep, Step
from tests.worlds import MIXED, encoded

MODEL = ModelSpec(layers=(8,), dropout=0.3, centred=True, batch_norm=True)
SPEC = FitSpec(epochs=5, patience=5, batch_size=64, learning_rate=1e-2)
TRAIN, VALID = encoded(MIXED, 500, 1), encoded(MIXED, 200, 2)


def run(state: FitState, spec: FitSpec = SPEC) -> list[Event]:
    return list(fit(spec, TRAIN, VALID, state))


def losses(events: list[Event]) -> list[float]:
    return [event.valid_logloss for event in events if isinstance(event, EpochDone)]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run() -> None:
    one = run(FitState.new(MIXED, MODEL, SPEC, seed=3))
    torch.rand(7)  # what else draws random numbers must not matter
    two = run(FitState.new(MIXED, MODEL, SPEC, seed=3))
    other = run(FitState.new(MIXED, MODEL, SPEC, seed=4))
    assert losses(one) == losses(two)
    assert losses(one) != losses(other)


@pytest.mark.slow
@pytest.mark.parametrize("averaging", [False, True])
def test_a_run_resumed_from_a_checkpoint_ends_with_the_same_weights(averaging: bool) -> None:
    spec = replace(SPEC, averaging=averaging)
    whole = FitState.new(MIXED, MODEL, spec, seed=3)
    run(whole, spec)
    interrupted = FitState.new(MIXED, MODEL, spec, seed=3)
    for event in fit(spec, TRAIN, VALID, interrupted):
        if isinstance(event, EpochDone) and event.epoch == 2:
            break
    tensors = {name: value.clone() for name, value in interrupted.tensors().items()}
    resumed = FitState.new(MIXED, MODEL, spec, seed=3)
    resumed.load(tensors, interrupted.numbers())
    run(resumed, spec)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_an_epoch_that_gains_too_little_is_kept_and_is_not_waited_for() -> None:
    losses = [0.5, 0.48, 0.4799, 0.4798, 0.4797, 0.4796, 0.46]
    ends = {}
    for least_gain in (0.0, 0.001):
        state = FitState.new(MIXED, MODEL, SPEC, seed=0)
        for loss in losses:
            state.epoch += 1
            assert state.take(loss, least_gain)  # each is the best so far
            assert state.best_epoch == state.epoch
            if state.stalled == 3:
                break
        ends[least_gain] = state.epoch
    assert ends == {0.0: 7, 0.001: 5}


def test_small_gains_count_together() -> None:
    state = FitState.new(MIXED, MODEL, SPEC, seed=0)
    stalled = []
    for loss in (0.5, 0.4997, 0.4994, 0.4991):
        state.epoch += 1
        state.take(loss, 0.001)
        stalled.append(state.stalled)
    assert stalled == [0, 1, 0, 1]
    numbers = state.numbers()
    resumed = FitState.new(MIXED, MODEL, SPEC, seed=0)
    resumed.load(state.tensors(), numbers)
    assert (resumed.stalled, resumed.gained_loss) == (1, 0.4994)
    del numbers["gained"], numbers["gained_loss"]  # as a checkpoint was before
    resumed.load(state.tensors(), numbers)
    assert (resumed.stalled, resumed.gained_loss) == (0, 0.4991)


PLATEAU = FitSpec(epochs=40, patience=2, batch_size=32, learning_rate=0.1, l2=0.0, averaging=True)


@pytest.mark.parametrize("score", ["logloss", "auc"])
def test_on_a_plateau_the_rate_is_reduced_once_from_the_best_weights(score: str) -> None:
    plain, spec = PLATEAU, replace(PLATEAU, reduce_on_plateau=score)
    state = FitState.new(MIXED, ModelSpec(layers=(16,)), spec, seed=0)
    events = run(state, spec)
    epochs, fitted = [event for event in events if isinstance(event, EpochDone)], events[-1]
    assert isinstance(fitted, Fitted)
    first, after = fitted.best_epochs
    assert state.reduced == first + spec.patience
    assert fitted.epochs == max(fitted.best_epoch, state.reduced) + spec.patience
    assert fitted.best_epoch == (state.reduced + after if after else first)
    scores = [event.valid_logloss if score == "logloss" else -(event.valid_auc or 0.0) for event in epochs]
    assert epochs[fitted.best_epoch - 1].best
    assert scores[fitted.best_epoch - 1] == min(scores)
    # a tenth of the rate moves the weights far less: the first epoch after it is close to the best one
    assert abs(scores[state.reduced] - scores[first - 1]) < 0.5 * abs(scores[first] - scores[first - 1])
    if score == "logloss":
        same = losses(run(FitState.new(MIXED, ModelSpec(layers=(16,)), plain, seed=0), plain))
        assert losses(events)[: len(same)] == same


@pytest.mark.parametrize("cut", ["before", "at", "after"])
def test_a_run_cut_around_its_reduction_ends_with_the_same_weights(cut: str) -> None:
    spec = replace(PLATEAU, reduce_on_plateau="logloss")
    model = ModelSpec(layers=(16,))
    whole = FitState.new(MIXED, model, spec, seed=0)
    run(whole, spec)
    at = whole.reduced + {"before": -1, "at": 0, "after": 1}[cut]
    interrupted = FitState.new(MIXED, model, spec, seed=0)
    for event in fit(spec, TRAIN, VALID, interrupted):
        if isinstance(event, EpochDone) and event.epoch == at:
            break
    tensors = {name: value.clone() for name, value in interrupted.tensors().items()}
    resumed = FitState.new(MIXED, model, spec, seed=0)
    resumed.load(tensors, interrupted.numbers())
    run(resumed, spec)
    assert (resumed.best_epochs, resumed.epoch) == (whole.best_epochs, whole.epoch)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_epochs_without_validation_reduce_the_rate_where_the_run_did() -> None:
    spec = replace(PLATEAU, reduce_on_plateau="logloss")
    state = FitState.new(MIXED, FNN, spec, seed=3)
    assert list(train_epochs(spec, TRAIN, state, (2, 1, 1, 2)))
    assert (state.epoch, state.began, state.reduced) == (6, 3, 4)


def test_a_validation_part_without_an_auc_cannot_judge_by_it() -> None:
    spec = replace(PLATEAU, reduce_on_plateau="auc")
    assert VALID.labels is not None
    one = replace(VALID, labels=np.zeros_like(VALID.labels))
    with pytest.raises(TrainingError, match="no AUC"):
        list(fit(spec, TRAIN, one, FitState.new(MIXED, MODEL, spec, seed=0)))


def test_the_best_epoch_is_restored() -> None:
    spec = FitSpec(epochs=30, patience=2, batch_size=32, learning_rate=0.1, l2=0.0)
    state = FitState.new(MIXED, ModelSpec(layers=(16,)), spec, seed=0)
    events = run(state, spec)
    fitted = events[-1]
    assert isinstance(fitted, Fitted)
    assert fitted.stopped_early
    assert fitted.best_epoch == fitted.epochs - 2
    assert VALID.labels is not None
    assert logloss(VALID.labels, predict_logits(state.model, VALID)) == pytest.approx(min(losses(events)), abs=1e-9)


def test_training_starts_from_the_click_rate() -> None:
    state = FitState.new(MIXED, ModelSpec(name="lr"), SPEC, seed=0)
    started = next(iter(fit(SPEC, TRAIN, VALID, state)))
    assert isinstance(started, Started)
    assert started.steps_per_epoch == 8


def test_a_loss_that_is_no_number_is_said_with_its_remedy() -> None:
    spec = FitSpec(learning_rate=1e-3)
    state = FitState.new(MIXED, ModelSpec(), spec, seed=0)
    with torch.no_grad():
        state.model.table[0] = float("nan")
    with pytest.raises(TrainingError, match="lower learning rate"):
        run(state, spec)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_fit_by_hand_scores_as_one_through_autograd(name: str) -> None:
    spec = replace(SPEC, epochs=4, first_order_rate=3.0, embedding_l2=1e-3, averaging=True)
    model = ModelSpec(name, layers=(16, 8), dropout=0.4, centred=True)
    by_hand, reference = (FitState.new(MIXED, model, spec, 7, step) for step in (Step, AutogradStep))
    np.testing.assert_allclose(losses(run(by_hand, spec)), losses(run(reference, spec)), atol=1e-4)
    assert VALID.labels is not None
    scores = [auc(VALID.labels, predict_logits(state.model, VALID)) for state in (by_hand, reference)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)  # one pair of rows that change places is 1e-4


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_adam_equals_torchs(l2: float) -> None:
    torch.manual_seed(0)
    ours, target = torch.randn(6, 3), torch.randn(6, 3)
    theirs = torch.nn.Parameter(ours.clone())
    adam = Adam({"dense_weights": ours}, FitSpec(learning_rate=0.01, l2=l2))
    reference = torch.optim.Adam([theirs], lr=0.01, weight_decay=l2)
    for number in range(40):
        adam.slots["dense_weights"].gradient.copy_(2 * (ours - target))
        adam.step(number + 1)
        reference.zero_grad()
        (theirs - target).square().sum().backward()
        reference.step()
    np.testing.assert_allclose(ours, theirs.detach(), atol=1e-6)


def test_training_lowers_the_logloss_on_data_with_signal() -> None:
    rng = np.random.default_rng(0)
    table = encoded(MIXED, 4000, 5)
    logit = np.where(table.ids[:, 0] % 2 == 0, 1.5, -1.5)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    table = type(table)(table.layout, table.ids, table.weights, table.dense, labels)
    state = FitState.new(MIXED, ModelSpec(), SPEC, seed=0)
    events = list(fit(SPEC, table, table, state))
    started = events[0]
    assert isinstance(started, Started)
    assert min(losses(events)) < started.base_logloss - 0.15


FNN = ModelSpec("fnn", layers=(8,), dropout=0.3, centred=True)
TWO_PHASES = replace(SPEC, epochs=3, patience=3)


def test_fnn_starts_from_the_fm_that_the_same_settings_train() -> None:
    fm = FitState.new(MIXED, replace(FNN, name="fm"), TWO_PHASES, seed=3)
    fm_events = run(fm, TWO_PHASES)
    fnn = FitState.new(MIXED, FNN, TWO_PHASES, seed=3)
    began: dict[str, torch.Tensor] = {}
    events: list[Event] = []
    for event in fit(TWO_PHASES, TRAIN, VALID, fnn):
        events.append(event)
        if isinstance(event, Stage):
            began = {name: value.clone() for name, value in fnn.model.state_dict().items()}
    fitted = events[-1]
    assert isinstance(fitted, Fitted)
    assert fnn.earlier == (fm.best_epoch,)
    assert fitted.best_epochs == (fm.best_epoch, fitted.best_epoch - 3)
    assert losses(events)[:3] == pytest.approx(losses(fm_events), abs=1e-6)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(began["table"], fm.model.table.detach())
    assert not torch.allclose(fnn.model.table, began["table"])


def test_fnn_counts_the_parameters_of_its_network_and_the_epochs_of_both_phases() -> None:
    state = FitState.new(MIXED, FNN, TWO_PHASES, seed=3)
    started = next(iter(fit(TWO_PHASES, TRAIN, VALID, state)))
    assert isinstance(started, Started)
    assert started.epochs == 6
    inputs = len(MIXED.fields) * (1 + FNN.embedding_size) + len(MIXED.dense)
    network = (inputs + 1) * 8 + 8 + 1
    assert started.parameters == MIXED.vocabulary * (1 + FNN.embedding_size) + network


@pytest.mark.parametrize("stopped_after", [1, 3, 5])
@pytest.mark.parametrize("averaging", [False, True])
def test_fnn_resumed_in_either_phase_or_between_them_ends_with_the_same_weights(
    stopped_after: int, averaging: bool
) -> None:
    spec = replace(TWO_PHASES, averaging=averaging)
    whole = FitState.new(MIXED, FNN, spec, seed=3)
    run(whole, spec)
    interrupted = FitState.new(MIXED, FNN, spec, seed=3)
    for event in fit(spec, TRAIN, VALID, interrupted):
        if isinstance(event, EpochDone) and event.epoch == stopped_after:
            break
    tensors = {name: value.clone() for name, value in interrupted.tensors().items()}
    resumed = FitState.new(MIXED, FNN, spec, seed=3)
    resumed.load(tensors, interrupted.numbers())
    run(resumed, spec)
    assert resumed.best_epochs == whole.best_epochs
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_averages_of_the_second_phase_hold_nothing_of_before() -> None:
    spec = replace(TWO_PHASES, averaging=True, epochs=20, patience=20)
    state = FitState.new(MIXED, FNN, spec, seed=3)
    events = fit(spec, TRAIN, VALID, state)
    next(event for event in events if isinstance(event, Stage))
    network = {name: value.clone() for name, value in state.model.network.state_dict().items()}
    next(event for event in events if isinstance(event, EpochDone))
    for name, value in state.model.network.state_dict().items():
        if name.endswith("0.weight"):  # one epoch of small steps moves weights little: their average is as large
            assert float(value.norm()) == pytest.approx(float(network[name].norm()), rel=0.2)


def test_epochs_without_validation_train_both_phases() -> None:
    spec = replace(TWO_PHASES, averaging=True)
    state = FitState.new(MIXED, FNN, spec, seed=3)
    assert list(train_epochs(spec, TRAIN, state, (2, 1)))
    assert (state.epoch, state.began, state.model.spec.name) == (3, 2, "fnn")


def test_a_model_counts_what_it_trains() -> None:
    counts = {name: DeepFM(MIXED, ModelSpec(name, 4, (6,))).parameter_count for name in MODEL_NAMES}
    features, fields, dense, k = MIXED.vocabulary, len(MIXED.fields), len(MIXED.dense), 4

    def network(inputs: int) -> int:
        return (inputs + 1) * 6 + 6 + 1

    plain, pairs = fields * k + dense, fields * (fields - 1) // 2
    first = features + dense + 1
    assert counts == {
        "lr": first,
        "fm": first + features * k,
        "dnn": features * k + network(plain),
        "fnn": features * (1 + k) + network(plain + fields),
        "ipnn": features * k + network(plain + pairs),
        "opnn": features * k + network(plain + k * k),
        "pnn": features * k + network(plain + pairs + k * k),
        "wide-deep": first + features * k + network(plain),
        "fm-dnn": first + 2 * features * k + network(plain),
        "dcn": features * k + network(plain) + 3 * 2 * plain + plain,
        "dcn-v2": features * k + network(plain) + 3 * (plain + 1) * plain + plain,
        "deepfm": first + features * k + network(plain),
    }
