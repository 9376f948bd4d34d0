"""LR is solved: its weights are the most probable ones, in one epoch, by every way that a fit is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.designs import field_designs
from deepfm_core.evidence.guide import fit_first_order
from deepfm_core.evidence.main_effects import fit_main_effects
from deepfm_core.metrics.scores import logloss
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.events import EpochDone, Fitted, Stage
from deepfm_core.spec.presets import preset
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.training.fit import fit, predict_logits, train_epochs
from deepfm_core.training.guided import SOLVED
from deepfm_core.training.state import FitState
from tests.worlds import MIXED, encoded, layout

SIMPLE = layout([(Kind.CATEGORICAL, 1, 7), (Kind.CATEGORICAL, 1, 4)])


def steep(rows: int, seed: int) -> EncodedTable:
    """Make rows of which one level decides alone: its weight is far from what one penalty for all expects."""
    table = encoded(SIMPLE, rows, seed)
    level = table.ids[:, 0] == table.ids[:, 0].min()
    chance = np.where(level, 0.97, 0.1)
    return replace(table, labels=(np.random.default_rng(seed).random(rows) < chance).astype(np.float32))


def fitted(model: ModelSpec, spec: FitSpec, train: EncodedTable, valid: EncodedTable) -> tuple[FitState, list[object]]:
    state = FitState.new(train.layout, model, spec, 0)
    return state, list(fit(spec, train, valid, state))


def test_lr_has_the_most_probable_main_effects() -> None:
    train, valid = encoded(SIMPLE, 300, 1), encoded(SIMPLE, 100, 2)
    state, _ = fitted(*preset("recommended", "lr", len(train)), train, valid)
    asked = fit_main_effects(field_designs(train), np.asarray(train.labels, np.float64))
    np.testing.assert_allclose(predict_logits(state.model, train), asked.logit, atol=1e-4)


def test_features_of_every_kind_and_dense_values_keep_the_weights_that_were_solved() -> None:
    train, valid = encoded(MIXED, 300, 1), encoded(MIXED, 100, 2)
    state, _ = fitted(*preset("recommended", "lr", len(train)), train, valid)
    found = fit_first_order(train)
    sums = np.full(len(train), found.base) + np.asarray(train.dense) @ found.dense
    for field in train.layout.fields:
        x = train.x(field)
        for slot in range(field.slots):
            weights = found.first_order[np.asarray(train.ids[:, field.first_slot + slot])]
            sums += weights if x is None else weights * x[:, slot]
    np.testing.assert_allclose(predict_logits(state.model, train), sums, atol=1e-5)


def test_it_has_one_epoch_with_its_losses_and_says_that_it_is_solved() -> None:
    train, valid = steep(400, 1), steep(200, 2)
    state, events = fitted(*preset("recommended", "lr", len(train)), train, valid)
    done = [event for event in events if isinstance(event, EpochDone)]
    ended = next(event for event in events if isinstance(event, Fitted))
    assert [event.epoch for event in done] == [1]
    assert (ended.epochs, ended.best_epoch, ended.best_epochs) == (1, 1, (1,))
    assert done[0].train_logloss == pytest.approx(logloss(train.labels, predict_logits(state.model, train)))
    assert done[0].valid_logloss == pytest.approx(logloss(valid.labels, predict_logits(state.model, valid)))
    assert SOLVED in [event.note for event in events if isinstance(event, Stage)]


def test_one_penalty_for_all_fields_would_hold_a_strong_level_back() -> None:
    train, valid, test = steep(2_000, 1), steep(300, 2), steep(4_000, 3)
    model, spec = preset("recommended", "lr", len(train))
    losses = []
    for guided in (True, False):
        state, events = fitted(replace(model, guided=guided), spec, train, valid)
        losses.append(logloss(test.labels, predict_logits(state.model, test)))
    assert len([event for event in events if isinstance(event, EpochDone)]) > 1  # unless it is to be guided
    assert losses[0] < losses[1]


def test_a_fold_solves_it_anew_on_its_own_rows() -> None:
    train, fold = steep(400, 1), steep(250, 4)
    model, spec = preset("recommended", "lr", len(train))
    state = FitState.new(fold.layout, model, spec, 0)
    list(train_epochs(spec, fold, state, (1,)))
    again, _ = fitted(model, spec, fold, train)
    np.testing.assert_array_equal(predict_logits(state.model, train), predict_logits(again.model, train))


def test_one_label_alone_gives_its_log_odds_to_every_row() -> None:
    train, valid = steep(100, 1), steep(100, 2)
    ones = replace(train, labels=np.ones(len(train), np.float32))
    state, _ = fitted(*preset("recommended", "lr", len(ones)), ones, valid)
    assert np.ptp(predict_logits(state.model, valid)) == 0.0


@pytest.mark.parametrize("name", ["fm", "deepfm", "wide-deep", "dnn"])
def test_no_other_model_is_solved(name: str) -> None:
    assert not preset("recommended", name, 1_000)[0].solved
    assert not preset("paper", "lr", 1_000)[0].solved
