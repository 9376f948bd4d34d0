"""The hold-out stage of a run: train its model on K − 1 folds, and check each pair on the fold that is left out.

Start with `hold_out`. Each finished fold is saved, so that a stopped run goes on from there. Folds that take long are
trained by several processes at once (`fold_processes`); as a program, this module is one of them.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch

from deepfm_core._files import whole, write_json
from deepfm_core._processor import step_back
from deepfm_core.encoding.encoded_table import EncodedTable
from deepfm_core.evidence.cross_fit import (
    FOLDS,
    MOST_VALUES,
    FoldEvidence,
    HeldOut,
    Rows,
    Values,
    fold_judged,
    held_out_frame,
    rows_of_fold,
)
from deepfm_core.evidence.designs import field_levels
from deepfm_core.evidence.main_effects import logit_of_others
from deepfm_core.explain.learned import fm_contributions, measured, network_contributions, weight_contributions
from deepfm_core.explain.purify import purify
from deepfm_core.models.deepfm import DeepFM
from deepfm_core.runs.evidence_task import load_encoded, save_encoded
from deepfm_core.runs.explain_stage import network_sample
from deepfm_core.runs.fold_processes import DONE, WORTH_SECONDS, Asked, FoldProcesses, room_for
from deepfm_core.spec.events import HOLD_OUT, Event, Progress, Stage
from deepfm_core.spec.run import FitSpec, ModelSpec, fit_from, model_from
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.training.fit import predict_logits, train_epochs
from deepfm_core.training.hardware import set_threads, training_device
from deepfm_core.training.state import FitState

FOLDER = "folds"
_TABLE, _SETTINGS = "table.npz", "settings.json"
_TASK = "task"
_LOOK_SECONDS = 0.05
_TOLD = 0.01
"""Share of the check after which its progress is told again."""


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
        return _last(self.learned(train, held))

    def learned(self, train: Rows, held: Rows) -> Generator[float, None, HeldOut]:
        """Do so, and yield from time to time how much of the training is done, 0 … 1."""
        others = self.table.take(held)
        model, base = yield from self._trained(self.table.take(train), others)
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

    def _trained(
        self, table: EncodedTable, others: EncodedTable
    ) -> Generator[float, None, tuple[DeepFM, Values | None]]:
        """Train on a table, and give the logit of main effects alone of other rows, if its guide has fitted them."""
        state = FitState.new(table.layout, self.model, self.fit, self.seed, device=training_device())
        share = 0.0
        for event in train_epochs(self.fit, table, state, self.epochs):
            if isinstance(event, Progress):
                share = (event.epoch - 1 + event.step / event.steps) / sum(self.epochs)
            yield share
        main = None if state.guide is None else state.guide.main
        return state.model, None if main is None else logit_of_others(main, table, others)


@dataclass(frozen=True)
class Fold:
    """What every fold of a run is trained from, in whichever process."""

    learner: ModelLearner
    folds: int
    """K."""
    place: Path
    """The folder of the finished folds' files."""

    def file(self, fold: int) -> Path:
        """Say where a fold's evidence is kept once it is finished."""
        return self.place / f"{fold:02}.npz"

    def finish(self, fold: int) -> Iterator[float]:
        """Train a fold and keep its evidence; yield how much of the training is done, and 1 before it is kept."""
        learner = self.learner
        train, held = rows_of_fold(learner.table, self.folds, learner.seed, fold)
        held_out = yield from learner.learned(train, held)
        judged = fold_judged(learner.table, train, held, held_out, (learner.seed, fold))
        yield 1.0
        save_fold(self.file(fold), judged)

    def save(self, folder: Path) -> None:
        """Write it down for another process."""
        learner = self.learner
        save_encoded(learner.table, folder / _TABLE)
        values = {
            "model": asdict(learner.model),
            "fit": asdict(learner.fit),
            "epochs": list(learner.epochs),
            "seed": learner.seed,
            "most_rows": learner.most_rows,
            "pairs": learner.pairs,
            "folds": self.folds,
            "place": str(self.place.resolve()),
        }
        write_json(folder / _SETTINGS, values)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        values = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        learner = ModelLearner(
            load_encoded(folder / _TABLE),
            model_from(values["model"]),
            fit_from(values["fit"]),
            values["epochs"],
            values["seed"],
            values["most_rows"],
            None if values["pairs"] is None else [(a, b) for a, b in values["pairs"]],
        )
        return cls(learner, values["folds"], Path(values["place"]))


def hold_out(
    folder: RunFolder,
    table: EncodedTable,
    model: ModelSpec,
    fit: FitSpec,
    *,
    folds: int,
    epochs: Sequence[int],
    seed: int,
    helped: bool = True,
    look: Callable[[], None] = lambda: None,
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
        helped: whether other processes may train folds, too, on processors that the fit does not use.
        look: called often; raises where the check is to stop.
    """
    # Files of folds that an earlier attempt finished; a fold is a file, so their names say what is left.
    (folder.path / FOLDER).mkdir(exist_ok=True)
    frame = folder.frame("pairs")
    assert frame is not None
    pairs = measured(frame, table.layout.names)
    _forget_others(folder, len(pairs))
    # Each fold has its share of what `FOLDS` folds may keep, whatever their number.
    most_rows = max(1, FOLDS * MOST_VALUES // (max(len(pairs), 1) * folds))
    task = Fold(ModelLearner(table, model, fit, epochs, seed, most_rows, pairs), folds, folder.path / FOLDER)
    kept = len(kept_folds(folder))
    told = kept / folds
    yield Stage(HOLD_OUT, told)
    for trained in _finished(task, folder.log, helped=helped):
        look()
        before, kept = kept, len(kept_folds(folder))
        if kept > before or (kept + trained) / folds >= told + _TOLD:
            told = (kept + trained) / folds
            yield Stage(HOLD_OUT, told)
    done = [load_fold(path) for path in kept_folds(folder)]
    add_to_pairs(folder, held_out_frame(done, table, pairs))
    shutil.rmtree(folder.path / FOLDER)  # with what a killed process may have left half-written there


def _finished(task: Fold, log: Path, *, helped: bool) -> Iterator[float]:
    """Finish the folds that are left, here and in processes beside; yield how many those at work have done."""
    left = deque(fold for fold in range(task.folds) if not task.file(fold).exists())
    threads, place = torch.get_num_threads(), task.place / _TASK
    with FoldProcesses(("-m", "deepfm_core.runs.cross_fit_stage", str(place)), left, log) as others:
        while others.busy or left:  # in this order: a process that ends first puts its fold back
            try:
                fold = left.popleft()
            except IndexError:  # the others took the last ones
                time.sleep(_LOOK_SECONDS)
                yield _share(task, others)
                continue
            began = time.monotonic()
            for share in task.finish(fold):
                if helped and left and time.monotonic() - began > WORTH_SECONDS:
                    helped = False
                    _begin(others, task, place, room_for(len(left), threads))
                if share < 1:
                    yield share + _share(task, others)
            yield _share(task, others)


def _share(task: Fold, others: FoldProcesses) -> float:
    """Give how many folds the others have done of those that they are at: a half for each that is half done."""
    return sum(share for fold, share in others.shares.items() if not task.file(fold).exists())


def _begin(others: FoldProcesses, task: Fold, place: Path, count: int) -> None:
    """Start processes for the other folds, if there is room for any, also on the disk for a copy of the rows."""
    if not count or training_device().type != "cpu":
        return
    with suppress(OSError):
        place.mkdir(exist_ok=True)
        task.save(place)
        others.begin(count)


def _last(steps: Generator[float, None, HeldOut]) -> HeldOut:
    """Go through the steps and give what they return."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        result: HeldOut = end.value
        return result


def _forget_others(folder: RunFolder, pairs: int) -> None:
    """Remove the folds of an earlier attempt if they checked other pairs."""
    if all(load_fold(path).held_out.parts.shape[1] == pairs for path in kept_folds(folder)):
        return
    for path in kept_folds(folder):
        path.unlink()


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


def main(place: Path) -> None:
    """Train the folds whose numbers come on the input, a line each; print shares, and `DONE` when one is finished.

    When nobody waits any more, or the run's folder is gone, nothing is kept.
    """
    step_back()
    torch.set_flush_denormal(True)
    task, asked = Fold.load(place), Asked()
    set_threads(task.learner.table.layout, task.learner.model, task.learner.fit)
    while (fold := asked.next()) is not None:
        told = -_TOLD
        for share in task.finish(fold):
            if asked.over.is_set() or not task.place.is_dir():
                return
            if share >= told + _TOLD:
                print(told := share, flush=True)
        print(DONE, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
