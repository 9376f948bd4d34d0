"""The hold-out stage of a run: train its model on K − 1 folds, and check each pair on the fold that is left out.

Start with `hold_out`. Each finished fold is saved, so that a stopped run goes on from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepfm_core._files import whole
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.cross_fit import (
    FOLDS,
    MOST_VALUES,
    FoldEvidence,
    HeldOut,
    Rows,
    Values,
    fold_evidence,
    held_out_frame,
)
from deepfm_core.evidence.designs import field_levels
from deepfm_core.evidence.main_effects import logit_of_others
from deepfm_core.explain.learned import fm_contributions, measured, network_contributions, weight_contributions
from deepfm_core.explain.purify import purify
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.runs.explain_stage import network_sample
from deepfm_core.spec.events import HOLD_OUT, Event, Stage
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.training.fit import predict_logits, train_epochs
from deepfm_core.training.hardware import training_device
from deepfm_core.training.state import FitState

FOLDER = "folds"


@dataclass(frozen=True)
class ModelLearner:
    """Trains a run's own model on the rows of the other folds; a `Learner` of `evidence.cross_fit`.

    It trains for as many epochs as were best in the run. So it needs no validation part, and every row is either
    trained on or held out.

    Attributes:
        table: N labelled rows.
        model: the run's model settings.
        fit: the run's training settings.
        epochs: the number of epochs in each phase of the fit.
        seed: of weights, orders and samples.
        most_rows: most held-out rows used of each fold.
        pairs: those asked for; None for all that the model has.
    """

    table: EncodedTable
    model: ModelSpec
    fit: FitSpec
    epochs: Sequence[int]
    seed: int
    most_rows: int
    pairs: Sequence[tuple[int, int]] | None = None

    def __call__(self, train: Rows, held: Rows) -> HeldOut:
        """Train on rows `train`, and return the pure contributions for rows `held`, or for a sample of them."""
        others = self.table.take(held)
        model, base = self._trained(self.table.take(train), others)
        pairs = [pair for pair in model.pairs if pair[0] != pair[1]] if self.pairs is None else list(self.pairs)
        rows, background = self.most_rows, 0
        if model.spec.deep:
            affordable, background = network_sample(model, others)
            rows = min(rows, affordable)
        chosen = np.arange(len(held))
        if rows < len(held):
            chosen = np.sort(np.random.default_rng(self.seed).choice(len(held), rows, replace=False))
            others = others.take(chosen)
        parts = weight_contributions(model, others, pairs)
        if model.spec.second_order:
            parts += fm_contributions(model, others, pairs)
        if model.spec.deep:
            parts += network_contributions(model, others, pairs, background, self.seed)
        pure = purify(parts, pairs, field_levels(others))  # under the held-out rows' own distribution
        return HeldOut(pure, predict_logits(model, others), chosen, None if base is None else base[chosen])

    def _trained(self, table: EncodedTable, others: EncodedTable) -> tuple[DeepFM, Values | None]:
        """Train on a table, and give the logit of main effects alone of other rows, if its guide has fitted them."""
        state = FitState.new(table.layout, self.model, self.fit, self.seed, device=training_device())
        for _ in train_epochs(self.fit, table, state, self.epochs):
            pass
        main = None if state.guide is None else state.guide.main
        return state.model, None if main is None else logit_of_others(main, table, others)


def hold_out(
    folder: RunFolder,
    table: EncodedTable,
    model: ModelSpec,
    fit: FitSpec,
    *,
    folds: int,
    epochs: Sequence[int],
    seed: int,
) -> Iterator[Event]:
    """Check the pairs of a run's model on held-out rows, and add the results to its `pairs` frame.

    Those that were measured in the run's model: all, or of a wide table those that stand out, clear pairs among them
    (`explain.learned.standing_out`).

    Args:
        folder: the run's folder, which holds its `pairs`.
        table: all labelled rows of the run's own table.
        model: the run's model settings.
        fit: the run's training settings.
        folds: the number of folds K.
        epochs: the number of epochs in each phase of the fit.
        seed: the run's seed.
    """
    # Files of folds that an earlier attempt finished; a fold is a file, so the count says where to go on.
    (folder.path / FOLDER).mkdir(exist_ok=True)
    frame = folder.frame("pairs")
    assert frame is not None
    pairs = measured(frame, table.layout.names)
    done = _folds_of(folder, len(pairs))
    yield Stage(HOLD_OUT, len(done) / folds)
    # Each fold has its share of what `FOLDS` folds may keep, whatever their number.
    most_rows = max(1, FOLDS * MOST_VALUES // (max(len(pairs), 1) * folds))
    learner = ModelLearner(table, model, fit, epochs, seed, most_rows, pairs)
    for fold in fold_evidence(table, learner=learner, folds=folds, seed=seed, first=len(done)):
        save_fold(folder.path / FOLDER / f"{len(done):02}.npz", fold)
        done.append(fold)
        yield Stage(HOLD_OUT, len(done) / folds)
    add_to_pairs(folder, held_out_frame(done, table, pairs))
    shutil.rmtree(folder.path / FOLDER)  # with what a killed process may have left half-written there


def _folds_of(folder: RunFolder, pairs: int) -> list[FoldEvidence]:
    """Load the folds that an earlier attempt finished; those that checked other pairs begin anew."""
    done = [load_fold(path) for path in kept_folds(folder)]
    if all(fold.held_out.parts.shape[1] == pairs for fold in done):
        return done
    for path in kept_folds(folder):
        path.unlink()
    return []


def add_to_pairs(folder: RunFolder, held_out: pd.DataFrame) -> None:
    """Put the columns of `held_out_frame` into the run's `pairs` frame, and replace old ones."""
    pairs = folder.frame("pairs")
    assert pairs is not None
    order = list(pairs.columns)
    added = held_out[[name for name in held_out if name in order]]
    kept = pairs.drop(columns=[name for name in added if name not in ("field_a", "field_b")])
    merged = kept.merge(added, on=["field_a", "field_b"], how="left", validate="one_to_one")
    folder.write_frame("pairs", merged.reindex(columns=order))


def kept_folds(folder: RunFolder) -> list[Path]:
    """Return the files of finished folds, in order."""
    return sorted((folder.path / FOLDER).glob("[0-9]*.npz"))


def save_fold(path: Path, fold: FoldEvidence) -> None:
    """Write a fold to a file of plain arrays."""
    arrays: dict[str, Any] = {"rows": fold.rows, "base": fold.base, "parts": fold.held_out.parts}
    if fold.held_out.logit is not None:
        arrays["logit"] = fold.held_out.logit
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_fold(path: Path) -> FoldEvidence:
    """Read a fold that `save_fold` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return FoldEvidence(arrays["rows"], arrays["base"], HeldOut(arrays["parts"], arrays.get("logit")))
