"""A run of more pairs than the labels are tested for."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.evidence.cross_fit import FoldEvidence, HeldOut
from deepfm_core.evidence.verdicts import PAIR_COLUMNS
from deepfm_core.explain.example_rows import example_cells_frame, own_cells
from deepfm_core.runs import cross_fit_stage
from deepfm_core.runs.cross_fit_stage import hold_out, kept_folds, pairs_checked, save_fold
from deepfm_core.spec.run import FitSpec, ModelSpec
from deepfm_core.store.run_folder import RunFolder
from tests.evidence.test_ranking import small_table, table_of

NAMES = list("abcd")
TESTED = [("a", "b"), ("b", "d")]


def pairs_of(tested: list[tuple[str, str]]) -> pd.DataFrame:
    """What the explain stage leaves of four fields: figures of the labels for tested pairs only."""
    pairs = pd.DataFrame(list(combinations(NAMES, 2)), columns=["field_a", "field_b"])
    known = [pair in tested for pair in combinations(NAMES, 2)]
    pairs["strength"] = np.where(known, 0.2, np.nan)
    pairs["learned"] = [0.1, 0.5, 0.3, 0.2, 0.0, 0.4]
    return pairs.assign(significant=False).sort_values("learned").reindex(columns=list(PAIR_COLUMNS))


def test_pairs_that_were_tested_are_checked_on_held_out_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    every = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert pairs_checked(pairs_of(TESTED), NAMES) == every
    monkeypatch.setattr(cross_fit_stage, "MOST_TESTED", 2)
    assert pairs_checked(pairs_of(TESTED), NAMES) == [(0, 1), (1, 3)]
    assert pairs_checked(pairs_of([]).assign(significant=np.nan), NAMES) == [(0, 2), (2, 3)]


def checked(folder: RunFolder) -> pd.DataFrame:
    codes, labels = small_table(0, rows=400)
    folder.create().write_frame("pairs", pairs_of(TESTED))
    fit = FitSpec(epochs=1, batch_size=128)
    model = ModelSpec(embedding_size=4, layers=(4,))
    list(hold_out(folder, table_of(codes, labels, NAMES), model, fit, folds=2, epochs=[1], seed=0))
    pairs = folder.frame("pairs")
    assert pairs is not None
    return pairs.set_index(["field_a", "field_b"]).sort_index()


def test_what_held_out_rows_say_of_a_pair_is_the_same_whichever_others_are_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    every = checked(RunFolder(tmp_path / "every"))
    monkeypatch.setattr(cross_fit_stage, "MOST_TESTED", 2)
    some = RunFolder(tmp_path / "some")
    (some.create().path / "folds").mkdir()
    # What an attempt left that checked other pairs is not used.
    save_fold(some.path / "folds" / "00.npz", FoldEvidence(np.arange(3), np.zeros(3), HeldOut(np.zeros((3, 6)))))
    few = checked(some)
    assert every["held_out_z"].notna().all()
    assert list(few.index[few["held_out_z"].notna()]) == TESTED
    columns = ["held_out_z", "held_out_strength", "knock_out_logloss"]
    pd.testing.assert_frame_equal(few.loc[TESTED][columns], every.loc[TESTED][columns])
    assert not kept_folds(some)


@pytest.mark.filterwarnings("error")
def test_the_cells_of_many_columns_are_kept_without_a_warning() -> None:
    cells = pd.DataFrame({f"c{number}": pd.Series(["x", "y"], dtype="category") for number in range(150)})
    frame = example_cells_frame(cells.assign(row=["1", "2"]), np.array([7, 9]))
    assert list(frame.columns[[0, 1, -1]]) == ["row", "c0", "row (cell)"]
    assert frame["row"].tolist() == [7, 9]
    assert own_cells(frame).columns[-1] == "row"
