"""A run of more pairs than the labels are tested for."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfm_core.errors import RunError
from deepfm_core.evidence import cross_fit
from deepfm_core.evidence.cross_fit import FoldEvidence, HeldOut
from deepfm_core.evidence.designs import field_designs
from deepfm_core.evidence.main_effects import fit_main_effects, logit_of_others
from deepfm_core.evidence.ranking import labels_of
from deepfm_core.evidence.verdicts import PAIR_COLUMNS, unexplained_said
from deepfm_core.explain.example_rows import example_cells_frame, own_cells
from deepfm_core.runs import explain_stage
from deepfm_core.runs.cross_fit_stage import ModelLearner, hold_out, kept_folds, save_fold
from deepfm_core.runs.engine import execute
from deepfm_core.runs.explain_stage import opened_pair
from deepfm_core.runs.job import Context, Job
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.kinds import Kind
from deepfm_core.spec.run import FitSpec, ModelSpec, RunSpec
from deepfm_core.store.run_folder import RunFolder
from deepfm_core.tables.reader import read_table
from tests.conftest import clicks
from tests.evidence.test_ranking import small_table, table_of
from tests.worlds import encoded, layout

NAMES = list("abcd")
MEASURED = [("a", "b"), ("b", "d")]


def pairs_of(known: list[tuple[str, str]]) -> pd.DataFrame:
    """What the explain stage leaves of four fields, of which it has measured the `known` pairs."""
    pairs = pd.DataFrame(list(combinations(NAMES, 2)), columns=["field_a", "field_b"])
    there = [pair in known for pair in combinations(NAMES, 2)]
    pairs["strength"] = pairs["learned"] = np.where(there, [0.1, 0.5, 0.3, 0.2, 0.0, 0.4], np.nan)
    return pairs.assign(significant=False).sort_values("learned").reindex(columns=list(PAIR_COLUMNS))


def checked(folder: RunFolder, known: list[tuple[str, str]]) -> pd.DataFrame:
    codes, labels = small_table(0, rows=400)
    folder.create().write_frame("pairs", pairs_of(known))
    fit = FitSpec(epochs=1, batch_size=128)
    model = ModelSpec(embedding_size=4, layers=(4,))
    list(hold_out(folder, table_of(codes, labels, NAMES), model, fit, folds=2, epochs=[1], seed=0))
    pairs = folder.frame("pairs")
    assert pairs is not None
    return pairs.set_index(["field_a", "field_b"]).sort_index()


def test_what_held_out_rows_say_of_a_pair_is_the_same_whichever_others_are_checked(tmp_path: Path) -> None:
    every = checked(RunFolder(tmp_path / "every"), list(combinations(NAMES, 2)))
    some = RunFolder(tmp_path / "some")
    (some.create().path / "folds").mkdir()
    # What an attempt left that checked other pairs is not used.
    save_fold(some.path / "folds" / "00.npz", FoldEvidence(np.arange(3), np.zeros(3), HeldOut(np.zeros((3, 6)))))
    few = checked(some, MEASURED)
    assert every["held_out_z"].notna().all()
    assert list(few.index[few["held_out_z"].notna()]) == MEASURED
    columns = ["held_out_z", "held_out_strength", "knock_out_logloss"]
    pd.testing.assert_frame_equal(few.loc[MEASURED][columns], every.loc[MEASURED][columns])
    assert not kept_folds(some)


@pytest.mark.filterwarnings("error")
def test_the_cells_of_many_columns_are_kept_without_a_warning() -> None:
    cells = pd.DataFrame({f"c{number}": pd.Series(["x", "y"], dtype="category") for number in range(150)})
    frame = example_cells_frame(cells.assign(row=["1", "2"]), np.array([7, 9]))
    assert list(frame.columns[[0, 1, -1]]) == ["row", "c0", "row (cell)"]
    assert frame["row"].tolist() == [7, 9]
    assert own_cells(frame).columns[-1] == "row"


@pytest.mark.slow
def test_a_run_on_a_wide_table_explains_the_pairs_that_stand_out_and_another_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks().to_csv(tmp_path / "clicks.csv", index=False)
    table = read_table(tmp_path / "clicks.csv")
    fit = FitSpec(epochs=2, batch_size=128, learning_rate=3e-3)
    spec = RunSpec("small", table.name, infer_schema(table, "clicked"), model=ModelSpec(layers=(8,)), fit=fit, folds=2)

    def run(name: str) -> RunFolder:
        for _ in execute(Job(spec, str(tmp_path / name)), Context(lambda _: table)):
            pass
        return RunFolder(tmp_path / name)

    every = run("every")
    monkeypatch.setattr(explain_stage, "MOST_TESTED", 3)
    monkeypatch.setattr(explain_stage, "MOST_EXPLAINED", 4)
    wide = run("wide")
    index = ["field_a", "field_b"]
    whole, pairs = (folder.frame("pairs").set_index(index).sort_index() for folder in (every, wide))
    known = pairs.index[pairs["learned"].notna()]
    clear = whole.index[whole["significant"].astype(bool)]
    assert len(whole) == len(pairs) > len(known) >= 4
    assert set(clear) <= set(known)
    labels = ["strength", "observed_z", "q_value", "significant"]
    pd.testing.assert_frame_equal(pairs[labels], whole[labels])  # what the labels say does not depend on it
    pd.testing.assert_frame_equal(
        pairs.loc[known][["learned_fm", "learned"]], whole.loc[known][["learned_fm", "learned"]]
    )
    assert list(pairs.index[pairs["held_out_z"].notna()]) == list(known)
    assert f"{len(known)} of {len(pairs)} pairs" in unexplained_said(pairs)
    assert unexplained_said(whole) == ""

    def cells(folder: RunFolder) -> pd.DataFrame:
        frame = folder.frame("level_pairs")
        assert frame is not None
        return frame.astype(dict.fromkeys(("field_a", "field_b", "level_a", "level_b"), str))

    assert set(map(tuple, cells(wide)[index].drop_duplicates().to_numpy())) == set(known)
    for name in ("example_terms", "purified_terms"):
        terms, examples = wide.frame(name), wide.frame("examples")
        assert terms is not None
        assert examples is not None
        shown = terms.dropna(subset=index).astype(dict.fromkeys(index, str)).query("field_a != field_b")
        assert set(map(tuple, shown[index].drop_duplicates().to_numpy())) == set(known)
        sums = terms.groupby("row")["value"].sum().loc[examples["row"]]
        np.testing.assert_allclose(sums, examples["logit"], atol=1e-4)
    left = next(pair for pair in pairs.index if pair not in known)
    opened = opened_pair(wide, left, lambda _: table)
    there = cells(every).query("field_a == @left[0] and field_b == @left[1]").reset_index(drop=True)
    now = opened.filter(items=there.columns).astype(there.dtypes.to_dict())
    pd.testing.assert_frame_equal(now, there, rtol=1e-4)
    assert opened["pair_learned"].iloc[0] == pytest.approx(whole.loc[left, "learned"], rel=1e-3)
    with pytest.raises(RunError, match="has no field `nothing`"):
        opened_pair(wide, (left[0], "nothing"), lambda _: table)


def test_main_effects_of_other_rows_are_those_of_a_fit_that_knows_their_levels() -> None:
    shape = layout([(Kind.CATEGORICAL, 1, 40), (Kind.MULTI_VALUED, 3, 6), (Kind.PIECEWISE, 2, 5)])
    table, rows = encoded(shape, 500, 0), np.arange(500)
    train, held = rows[:400], rows[400:]
    table.ids[train, 0] %= 30  # ten levels are those of held-out rows alone
    main = fit_main_effects(field_designs(table.take(train)), labels_of(table)[train])
    found = logit_of_others(main, table.take(train), table.take(held))
    assert found is not None
    np.testing.assert_allclose(found, cross_fit._base_logit(table, train, held), atol=1e-9)
    assert np.ptp(found) > 0.1


def test_main_effects_of_a_sample_or_of_quantiles_say_nothing_of_other_rows() -> None:
    for shape, fitted in ((layout([(Kind.CATEGORICAL, 1, 4)]), 90), (layout([(Kind.NUMERIC, 1, 2)]), 100)):
        table = encoded(shape, 100, 0)
        some = table.take(np.arange(fitted))
        main = fit_main_effects(field_designs(some), labels_of(some))
        assert logit_of_others(main, table, table) is None


def test_main_effects_that_rare_levels_share_say_nothing_of_other_rows() -> None:
    """Which of more than 1,000 levels share an effect depends on the rows: logits differed by up to .7."""
    table = encoded(layout([(Kind.CATEGORICAL, 1, 1_400)]), 3_000, 0)
    main = fit_main_effects(field_designs(table), labels_of(table))
    assert logit_of_others(main, table, table) is None


def test_folds_take_main_effects_from_their_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, labels = small_table(0, rows=600)
    table = table_of(codes, labels, NAMES)
    learner = ModelLearner(table, ModelSpec(layers=(4,), guided=True), FitSpec(epochs=1), [1], 0, 50)
    fitted = [fold.base for fold in cross_fit.fold_evidence(table, learner=lambda *rows: asked_again(learner(*rows)))]
    monkeypatch.setattr(cross_fit, "_base_logit", None)
    for taken, anew in zip(cross_fit.fold_evidence(table, learner=learner), fitted, strict=True):
        assert len(taken.rows) == 50
        np.testing.assert_allclose(taken.base, anew, atol=1e-9)


def asked_again(held_out: HeldOut) -> HeldOut:
    """Leave out the main effects that a learner knows."""
    return replace(held_out, base=None)
