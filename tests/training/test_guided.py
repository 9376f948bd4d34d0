"""A guided model: its parts sum up, what is solved stays, and more is kept only where it pays."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pytest
import torch

from deepfm_core.encoding.encoded_table import EncodedTable, Layout
from deepfm_core.evidence.guide import Guide, GuidedPair
from deepfm_core.explain.learned import fm_contributions, fm_strengths
from deepfm_core.metrics.scores import auc, sigmoid
from deepfm_core.models.batch import Batch
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.events import GUIDE, EpochDone, Stage
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.fit import fit, predict_logits, train_epochs
from deepfm_core.training.guided import fixed_logits
from deepfm_core.training.state import FitState
from deepfm_core.training.step import AutogradStep, Predictor, Step
from tests.worlds import MIXED, encoded, layout

SHAPES = {
    "mixed": MIXED,
    "categorical": layout([(Kind.CATEGORICAL, 1, 7), (Kind.BUCKETISED, 1, 5), (Kind.CATEGORICAL, 1, 11)]),
    "several values": layout([(Kind.MULTI_VALUED, 4, 6), (Kind.CATEGORICAL, 1, 5)], dense=2),
}
SPEC = ModelSpec("deepfm", embedding_size=3, layers=(6, 4), centred=True, embedding_sd=0.5, guided=True)
FIT = FitSpec(learning_rate=0.01, l2=0.01)


def some_guide(shape: Layout, seed: int = 0) -> Guide:
    """Make a guide of random weights: half of the pairs by cells, half by embeddings."""
    rng, count = np.random.default_rng(seed), len(shape.fields)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    guided = tuple(GuidedPair(pair, 0.5, n % 2 == 0) for n, pair in enumerate(pairs))
    keys = [
        i * shape.vocabulary + j
        for pair in guided
        if pair.by_cells
        for i in _features(shape, pair.fields[0])
        for j in _features(shape, pair.fields[1])
        if rng.random() < 0.7
    ]
    return Guide(
        0.3,
        rng.normal(size=shape.vocabulary).astype(np.float32),
        rng.normal(size=len(shape.dense)).astype(np.float32),
        guided,
        np.sort(np.array(keys, np.int64)),
        rng.normal(size=len(keys)).astype(np.float32),
    )


def _features(shape: Layout, number: int) -> range:
    field = shape.fields[number]
    return range(field.offset, field.offset + field.size)


def guided_model(shape: Layout, **settings: object) -> DeepFM:
    torch.manual_seed(1)
    model = DeepFM(shape, replace(SPEC, **settings))  # type: ignore[arg-type]
    model.start_from(some_guide(shape))
    for parameter in model.network.parameters() if model.network else ():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("model_name", ["deepfm", "fm", "fm-dnn"])
def test_the_terms_sum_to_the_logit_and_a_pair_has_one_column(name: str, model_name: str) -> None:
    table = encoded(SHAPES[name], 40, 2)
    model = guided_model(SHAPES[name], name=model_name).double().eval()
    terms = model.terms(Batch.from_table(table).double())
    assert torch.allclose(terms.logit(), model(Batch.from_table(table).double()), atol=1e-10)
    assert terms.second_order is not None
    assert terms.second_order.shape[1] == len(model.pairs)
    fields = terms.fields_of("second-order")
    assert len(set(fields)) == len(fields)


@pytest.mark.parametrize("name", SHAPES)
def test_the_cells_are_those_of_a_double_loop(name: str) -> None:
    shape, table = SHAPES[name], encoded(SHAPES[name], 30, 4)
    guide, model = some_guide(shape), guided_model(shape)
    weight = dict(zip(guide.keys.tolist(), guide.weights.tolist(), strict=True))
    held = [pair.fields for pair in guide.pairs if pair.by_cells]
    fixed = fixed_logits(model, Batch.held(table)).numpy()
    for row in range(len(table)):
        x = np.ones(shape.slots) if table.weights is None else table.weights[row]
        expected = guide.base + float(table.dense[row] @ guide.dense)
        expected += sum(float(x[s]) * float(guide.first_order[table.ids[row, s]]) for s in range(shape.slots))
        for a, b in held:
            for s in _slots(shape, a):
                for t in _slots(shape, b):
                    key = int(table.ids[row, s]) * shape.vocabulary + int(table.ids[row, t])
                    expected += float(x[s]) * float(x[t]) * weight.get(key, 0.0)
        assert fixed[row] == pytest.approx(expected, abs=1e-4)


def _slots(shape: Layout, number: int) -> range:
    field = shape.fields[number]
    return range(field.first_slot, field.first_slot + field.slots)


def test_what_an_fnn_is_pretrained_with_has_no_guide() -> None:
    state = FitState.new(SHAPES["mixed"], replace(SPEC, name="fnn"), FIT, seed=0)
    assert state.pretraining
    assert state.model.spec.name == "fm"
    assert not state.model.spec.has_guide


@pytest.mark.parametrize("name", SHAPES)
def test_cells_are_found_the_same_way_where_they_are_not_laid_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table, model = encoded(SHAPES[name], 50, 4), guided_model(SHAPES[name])
    laid_out = fixed_logits(model, Batch.held(table))
    monkeypatch.setattr("deepfm_core.models.cells._LAID_OUT", 0)
    assert torch.equal(fixed_logits(model, Batch.held(table)), laid_out)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("model_name", ["deepfm", "fm", "fm-dnn"])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("weighed", [False, True])
def test_gradients_by_hand_are_those_of_autograd(name: str, model_name: str, centred: bool, weighed: bool) -> None:
    model = guided_model(SHAPES[name], name=model_name, centred=centred).train()
    if not weighed:
        model.start_from(without_embeddings(some_guide(SHAPES[name])))
    other = copy.deepcopy(model)
    batch = Batch.from_table(encoded(SHAPES[name], 64, 3))
    by_hand, reference = Step(model, FIT), AutogradStep(other, FIT)
    offset = fixed_logits(model, batch)
    logits = by_hand.differentiate(replace(batch, offset=offset)), reference.differentiate(batch)
    assert torch.allclose(logits[0], logits[1], atol=1e-5)
    for key, gradient in reference.gradients.items():
        own = by_hand.gradients[key]
        columns = slice(1, None) if key == "table" else slice(None)
        wanted = gradient[..., columns] if gradient.dim() else gradient
        given = own[..., columns] if own.dim() else own
        assert torch.allclose(given, wanted, atol=2e-6), key


def without_embeddings(guide: Guide) -> Guide:
    return replace(guide, pairs=tuple(pair for pair in guide.pairs if pair.by_cells))


def test_pairs_without_weight_cost_no_products(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = SHAPES["mixed"]
    model, table = guided_model(shape), encoded(shape, 60, 5)
    model.start_from(without_embeddings(some_guide(shape)))
    pairs = [(a, b) for a, b in model.pairs if a != b]
    by_cells = np.sqrt(np.mean(fm_contributions(model, table, pairs) ** 2, axis=0))
    batch = Batch.from_table(table)
    batch = replace(batch, offset=fixed_logits(model, batch))

    def refused(*_: object, **__: object) -> NoReturn:
        raise AssertionError("A product of all pairs.")

    for name in ("bmm", "matmul"):
        monkeypatch.setattr(torch, name, refused)
    np.testing.assert_allclose(fm_strengths(model, table, pairs), by_cells, rtol=1e-9)
    Step(model.train(), FIT)(batch)


def test_what_is_solved_stays_as_it_is() -> None:
    shape = SHAPES["mixed"]
    model, table = guided_model(shape).train(), encoded(shape, 200, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step, batch = Step(model, replace(FIT, averaging=True, first_order_rate=3.0)), Batch.from_table(table)
    batch = replace(batch, offset=fixed_logits(model, batch))
    step.begin_epoch()
    for count in range(1, 6):
        step(batch)
        step.average(count)
    step.end_epoch()
    after = model.state_dict()
    assert torch.equal(after["table"][:, 0], before["table"][:, 0])
    for name in ("bias", "dense_weights", "cell_keys", "cell_weights", "cell_pairs", "pair_weights"):
        assert torch.equal(after[name], before[name]), name
    assert not torch.equal(after["table"][:, 1:], before["table"][:, 1:])


def test_a_stored_model_gives_the_same_logits() -> None:
    shape = SHAPES["mixed"]
    model, table = guided_model(shape), encoded(shape, 60, 5)
    other = DeepFM(shape, SPEC)
    other.load_state_dict(model.state_dict())
    assert np.array_equal(predict_logits(other, table), predict_logits(model, table))
    batch = Batch.from_table(table)
    assert torch.allclose(Predictor(model)(batch), model(batch), atol=1e-5)


# Whole fits.


def planted(rows: int, seed: int = 0, parity: float = 0.0) -> EncodedTable:
    """Make rows of five fields with main effects, one pair, and a parity of three fields."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (rows, 5))
    cells = np.random.default_rng(1).normal(0, 1.0, (4, 4))
    main = np.random.default_rng(2).normal(0, 0.5, (5, 4))
    z = -1.0 + main[np.arange(5), x].sum(1) + cells[x[:, 3], x[:, 4]] + parity * (1 - 2 * (x[:, :3].sum(1) % 2))
    labels = (rng.random(rows) < sigmoid(z)).astype(np.float32)
    shape = layout([(Kind.CATEGORICAL, 1, 4)] * 5)
    return EncodedTable(shape, (x + 4 * np.arange(5)).astype(np.int32), None, np.zeros((rows, 0), np.float32), labels)


def trained(train: EncodedTable, valid: EncodedTable, *, guided: bool = True, seed: int = 0) -> FitState:
    spec, how = preset("recommended", "deepfm", len(train), guided=guided)
    state = FitState.new(train.layout, spec, how, seed)
    for _ in fit(how, train, valid, state):
        pass
    return state


def test_a_pair_is_solved_before_the_first_epoch_and_said() -> None:
    train, valid = planted(4000), planted(800, 5)
    spec, how = preset("recommended", "deepfm", len(train))
    state = FitState.new(train.layout, spec, replace(how, epochs=2), 0)
    events = list(fit(replace(how, epochs=2), train, valid, state))
    stages = [event for event in events if isinstance(event, Stage) and event.name == GUIDE]
    assert "starts from 1 candidate pair, which the labels of 4,000 training rows suggest" in stages[-1].note
    assert state.guide is not None
    assert [pair.fields for pair in state.guide.pairs] == [(3, 4)]


def test_what_does_not_pay_is_taken_out() -> None:
    train, valid = planted(4000), planted(800, 5)
    state = trained(train, valid)
    assert state.best_epoch == 0
    assert state.model.network_is_silent
    assert not state.model.table[:, 1:].any()
    alone = fixed_logits(state.model, Batch.held(valid)).double().numpy()
    assert predict_logits(state.model, valid) == pytest.approx(alone, abs=1e-5)


@pytest.mark.slow
def test_the_network_learns_what_three_fields_do_together() -> None:
    train, valid, test = planted(12_000, parity=1.0), planted(2000, 5, 1.0), planted(20_000, 6, 1.0)
    state = trained(train, valid)
    assert state.best_epoch > 0
    state_alone = copy.deepcopy(state.model)
    state_alone.keep_guide_alone()
    labels = np.asarray(test.labels)
    gain = (auc(labels, predict_logits(state.model, test)) or 0) - (auc(labels, predict_logits(state_alone, test)) or 0)
    assert gain > 0.05


def test_a_fit_repeats_exactly_and_goes_on_from_a_checkpoint() -> None:
    train, valid = planted(2000, parity=1.0), planted(500, 5, 1.0)
    spec, how = preset("recommended", "deepfm", len(train))
    how = replace(how, epochs=4)
    whole, again = FitState.new(train.layout, spec, how, 3), FitState.new(train.layout, spec, how, 3)
    for _ in fit(how, train, valid, whole):
        pass
    for event in fit(how, train, valid, again):
        if isinstance(event, EpochDone) and event.epoch == 2:
            tensors = {name: value.clone() for name, value in again.tensors().items()}
            numbers = again.numbers()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    resumed = FitState.new(train.layout, spec, how, 3)
    resumed.load(tensors, numbers)
    for _ in fit(how, train, valid, resumed):
        pass
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert resumed.best_epoch == whole.best_epoch


def test_no_epochs_leave_the_guide_alone() -> None:
    train = planted(4000)
    spec, how = preset("recommended", "deepfm", len(train))
    state = FitState.new(train.layout, spec, how, 0)
    for _ in train_epochs(how, train, state, (0,)):
        pass
    assert state.model.network_is_silent
    assert len(state.model.cell_keys) == 16


def test_training_can_be_stopped_while_the_labels_are_asked() -> None:
    train, valid = planted(4000), planted(800, 5)
    spec, how = preset("recommended", "deepfm", len(train))
    events = fit(how, train, valid, FitState.new(train.layout, spec, how, 0))
    assert isinstance(next(events), Stage)
    next(events)
    events.close()  # type: ignore[attr-defined]
