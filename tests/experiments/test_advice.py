"""Which model of a comparison to use: each case has an answer that a person can check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from deepfm_core.experiments import comparison
from deepfm_core.experiments.advice import Advice, advice_sentences, advise, choose, without_markup
from deepfm_core.experiments.comparison import ComparisonPlan, differences, model_table
from deepfm_core.metrics.bootstrap import Difference, compare_paired
from deepfm_core.runs.engine import execute
from deepfm_core.schema.infer import infer_schema
from deepfm_core.schema.schema import Schema
from deepfm_core.spec.run import ModelSpec, RunSpec
from deepfm_core.store.process import Process
from deepfm_core.store.records import RunRow
from deepfm_core.store.store import Store
from deepfm_core.workers.lane import perform
from tests.conftest import clicks

SIZES = {"lr": 200, "fm": 3_000, "dnn": 2_500, "deepfm": 6_000}


def models(**behind: float | None) -> pd.DataFrame:
    """Give models with the lower end of the interval of their logloss above the best one's; None for the best."""
    return pd.DataFrame(
        {
            "model": list(behind),
            "logloss": [0.3 + 0.01 * (low or 0) for low in behind.values()],
            "logloss_difference": [None if low is None else low + 0.1 for low in behind.values()],
            "logloss_low": list(behind.values()),
            "parameters": [SIZES[name] for name in behind],
        }
    )


@pytest.mark.parametrize(
    ("behind", "use", "simpler"),
    [
        ({"deepfm": None, "fm": 0.1, "lr": 0.2}, "deepfm", "fm"),  # clear of all others
        ({"deepfm": None, "fm": -0.1, "lr": 0.2}, "fm", "lr"),  # a tie goes to the simpler one
        ({"deepfm": None, "fm": -0.1, "dnn": -0.1, "lr": 0.2}, "fm", "lr"),  # one without a DNN is simpler
        ({"deepfm": None, "fm": 0.1, "dnn": -0.1, "lr": 0.2}, "dnn", "fm"),
        ({"deepfm": None, "fm": -0.1, "lr": -0.1}, "lr", None),  # no model is clearly better than the simplest
        ({"lr": None, "deepfm": 0.1}, "lr", None),
    ],
)
def test_the_simplest_model_that_is_no_worse_than_by_noise_is_used(
    behind: dict[str, float | None], use: str, simpler: str | None
) -> None:
    best = next(name for name, low in behind.items() if low is None)
    table = models(**behind)
    assert choose(table) == (use, best, simpler)
    assert choose(table.iloc[::-1]) == (use, best, simpler)  # in whatever order they stand


def test_a_model_that_may_not_be_used_gives_way_to_the_next_simplest() -> None:
    table = models(deepfm=None, fm=-0.1, lr=-0.1)
    assert choose(table, ["lr"]) == ("fm", "deepfm", "lr")
    assert choose(table, ["lr", "fm"])[0] == "deepfm"
    assert choose(table, ["deepfm"]) == ("lr", "deepfm", None)


AHEAD = Advice(
    "deepfm",
    "deepfm",
    ("fm-dnn",),
    rows=2_000,
    part="test",
    simpler="fm",
    auc=Difference(0.012, 0.006, 0.018),
    logloss=Difference(-0.004, -0.006, -0.002),
    parameters=(6_000, 3_000),
    seconds=(4.26, 1.5),
)


def test_the_advice_is_one_sentence_with_its_reason_and_then_ties_and_costs() -> None:
    use, more = advice_sentences(AHEAD)
    assert use == (
        "**Use DeepFM:** it has the lowest logloss on these 2,000 test rows, and it is ahead of FM by 0.0040 nats of "
        "logloss (95%: +0.0020 to +0.0060)."
    )
    assert more == (
        "By AUC, which looks at the order of rows alone, the difference from FM is +0.0120 (95%: +0.0060 to +0.0180): "
        "ahead, too. FM & DNN does as well within noise, and is less simple. DeepFM has 6,000 parameters, FM 3,000; "
        "training took 4.3 s and 1.5 s."
    )


def test_a_tie_is_told_with_what_the_best_model_may_be_worth() -> None:
    tie = replace(AHEAD, use="fm", tied=(), behind=Difference(0.001, -0.001, 0.003), simpler="lr", part="valid")
    use, more = advice_sentences(tie)
    assert use.startswith(
        "**Use FM:** it is the simplest model that does as well, within noise, as the best one, DeepFM, on these 2,000 "
        "validation rows, and it is ahead of LR by"
    )
    assert "DeepFM has a logloss 0.0010 nats lower (95% interval of the difference: −0.0010 to +0.0030)" in more
    alone = advice_sentences(replace(tie, use="lr", simpler=None, auc=None, logloss=None))[0]
    assert alone.endswith("on these 2,000 validation rows.")
    several = advice_sentences(replace(tie, tied=("dnn", "fnn")))[1]
    assert "may tell them apart. DNN and FNN come as close, and are less simple." in several
    assert several.count("within noise") == 0  # the first sentence has said it


@pytest.mark.parametrize(
    ("auc", "said"),
    [
        (Difference(0.001, -0.001, 0.003), "from FM, +0.0010 (95%: −0.0010 to +0.0030), is no more than noise."),
        (Difference(-0.002, -0.003, -0.001), "from FM is −0.0020 (95%: −0.0030 to −0.0010): behind."),
    ],
)
def test_the_advice_goes_by_logloss_and_says_what_auc_says(auc: Difference, said: str) -> None:
    use, more = advice_sentences(replace(AHEAD, auc=auc))
    assert "ahead of FM by 0.0040 nats of logloss (95%: +0.0020 to +0.0060)" in use
    assert said in more


def test_a_model_is_not_ahead_of_a_simpler_one_that_only_the_best_model_beats() -> None:
    worse = replace(
        AHEAD,
        use="fm",
        simpler="lr",
        tied=(),
        behind=Difference(0.003, -0.0001, 0.006),
        auc=Difference(0.001, -0.002, 0.003),
        logloss=Difference(0.001, -0.001, 0.003),
        seconds=(0.04, 12.3),
    )
    use, more = advice_sentences(worse)
    assert "ahead" not in use
    assert use.endswith("2,000 test rows. LR, which is simpler, is worse than DeepFM by more than noise.")
    assert "training took under 0.1 s and 12 s." in more


def test_a_star_in_a_models_name_is_no_markup_and_models_without_a_result_are_named() -> None:
    use, more = advice_sentences(replace(AHEAD, use="pnn", best="pnn", left_out=("wide-deep", "deepfm-paper")))
    assert use.startswith(r"**Use PNN\*:** it has")
    assert without_markup(use).startswith("Use PNN*: it has")
    assert more.endswith("Wide & Deep and DeepFM (paper) did not finish, and are not weighed.")


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Difference(-0.01, -0.02, -0.005), "predicts better:** its logloss is 0.0100 nats lower"),
        (Difference(0.01, 0.005, 0.02), "DeepFM is ahead of gradient boosting, the baseline, by 0.0100 nats"),
        (Difference(0.001, -0.005, 0.02), "Gradient boosting, the baseline, does as well as DeepFM within noise."),
    ],
)
def test_the_baseline_is_told_whether_it_wins_or_not(gap: Difference, said: str) -> None:
    assert said in advice_sentences(replace(AHEAD, against_baseline=gap))[1]


def test_where_no_model_beats_guessing_none_is_advised_and_the_rows_are_counted() -> None:
    none = Advice(
        "fm",
        "fm",
        (),
        rows=20,
        part="test",
        clear=False,
        guess=Difference(-0.108, -0.298, 0.087),
        guessing=("lr", "boosting"),
        positives=10,
        against_baseline=Difference(-0.02, -0.03, -0.01),
    )
    use, more = advice_sentences(none)
    assert use.startswith("**These rows cannot tell which model to use:** on 20 test rows, 10 of them positive, no ")
    assert "Use " not in use
    assert more.startswith("FM has the lowest logloss, 0.1080 nats lower than guessing (95% interval")
    assert "(95% interval of the difference: −0.2980 to +0.0870). Use a larger share, or more rows." in more
    assert "Gradient boosting, the baseline, has a lower logloss, but is not clearly better than guessing" in more
    noted = advice_sentences(replace(none, notes=("The test part has only 20 rows.",)))[1]
    assert noted.endswith("The test part has only 20 rows.")
    assert "larger share" not in noted


def test_a_simpler_model_that_is_close_but_not_used_is_named_with_its_reason() -> None:
    wide = replace(AHEAD, simpler="lr", logloss=Difference(-0.1, -0.3, 0.1), guessing=("lr",), tied=())
    use, more = advice_sentences(wide)
    assert use.endswith("on these 2,000 test rows. LR, which is simpler, is not clearly better than guessing.")
    assert "(95%: +0.0060 to +0.0180): ahead. LR is not clearly better than guessing, which gives every row" in more
    use, more = advice_sentences(replace(wide, guessing=(), behind_by_auc=("lr",), behind=None))
    assert use.endswith("LR, which is simpler, has a lower AUC than DeepFM by more than noise.")
    assert "LR comes as close by logloss, but its AUC is lower than that of DeepFM by more than noise." in more


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Advice | None]:
    """Weigh models by made logits on made rows: `judged(labels, lr=…, fm=…)`."""

    def weigh(labels: list[int], **logits: list[float]) -> Advice | None:
        truth = np.array(labels, dtype=np.float64)
        summary = {"rows": {"train": 100}, "positives": {"train": 50}, "seconds": {"fit": 1.0}}
        specs = {name: RunSpec("t", "t", cast("Schema", None), model=ModelSpec(name)) for name in logits}
        runs = [
            SimpleNamespace(state="finished", ended_well=True, summary=summary, spec=specs[name]) for name in logits
        ]
        by_model = {name: [np.array(values, dtype=np.float64)] for name, values in logits.items()}
        by_run = pd.DataFrame({"run": list(logits), "model": list(logits), "part": "test"})
        monkeypatch.setattr(comparison, "run_table", lambda *_: by_run)
        monkeypatch.setattr(comparison, "_logits", lambda *_: (truth, dict(by_model)))
        monkeypatch.setattr(comparison, "predictions", lambda *_: pd.DataFrame({"label": truth}))
        scores = compare_paired(truth, by_model)["logloss"]
        gaps = [scores[name].difference for name in logits]
        table = pd.DataFrame(
            {
                "model": list(logits),
                "baseline": False,
                "part": "test",
                "rows": len(labels),
                "logloss": [scores[name].mean for name in logits],
                "logloss_difference": [None if gap is None else gap.value for gap in gaps],
                "logloss_low": [None if gap is None else gap.low for gap in gaps],
                "parameters": [SIZES[name] for name in logits],
                "train_seconds": 1.0,
            }
        )
        return advise(cast("Store", None), cast("list[RunRow]", runs), table)

    return weigh


def test_a_tied_model_at_the_logloss_of_guessing_is_not_used(judged: Callable[..., Advice | None]) -> None:
    labels = [0, 1] * 10
    noise = np.random.default_rng(0).normal(0, 1.5, 20)
    weak = [(1.2 if label else -1.2) + shift for label, shift in zip(labels, noise, strict=True)]
    few = judged(labels, fm=[-3.0, 0.9] * 2 + [0.3, -0.2] * 8, lr=[0.01, -0.01] * 10)
    assert few is not None
    assert not few.clear
    assert few.positives == 10
    assert "only 20 rows, 10 of them positive" in few.notes[0]
    many = judged(labels * 20, fm=weak * 20, lr=[0.01, -0.01] * 200)
    assert many is not None
    assert (many.use, many.clear, many.notes) == ("fm", True, ())


def test_a_model_tied_by_logloss_and_clearly_behind_by_auc_is_not_used(judged: Callable[..., Advice | None]) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    ordered = (2 * labels - 1) * 0.6 + rng.normal(0, 0.7, 400)
    cautious = (ordered + rng.normal(0, 0.9, 400)) * 0.6
    advice = judged(labels.tolist(), deepfm=(5 * ordered).tolist(), lr=cautious.tolist())  # the best is too sure
    assert advice is not None
    assert (advice.best, advice.use, advice.behind_by_auc, advice.guessing) == ("deepfm", "deepfm", ("lr",), ())


def test_auc_rules_out_no_model_where_none_would_be_left(judged: Callable[..., Advice | None]) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    signs = 2 * labels - 1
    sure = 1.5 * signs + rng.normal(0, 0.5, 400)
    sure[:3] = -52 * signs[:3]  # three rows cost it most of what it gains on all others
    cautious = 0.03 * signs + rng.normal(0, 0.03, 400)
    advice = judged(labels.tolist(), deepfm=sure.tolist(), lr=cautious.tolist())
    assert advice is not None
    assert advice.guess is not None
    assert advice.guess.high > 0
    assert (advice.best, advice.use, advice.clear, advice.behind_by_auc) == ("deepfm", "lr", True, ())
    assert advice_sentences(advice)[0].startswith("**Use LR:**")


@pytest.mark.slow
def test_a_real_comparison_is_weighed_by_its_own_intervals(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    entry = store.import_table(clicks(900).to_csv(index=False).encode(), "mine.csv")
    base = RunSpec(entry.sha256, entry.name, infer_schema(store.table(entry.sha256), "clicked"))
    plan = ComparisonPlan(("lr", "fm", "deepfm"), chosen={"embedding_size": 4, "layers": (8,), "epochs": 2})
    made = comparison.begin(store, base, 720, plan)
    while (run := store.claims.next(Process.current(), made)) is not None:
        assert advise(store, store.comparisons.runs(made)) is None
        list(perform(store, run, execute, Process.current()))
    runs = store.comparisons.runs(made)
    advice, table = advise(store, runs), model_table(store, runs).set_index("model")
    assert advice is not None
    assert advise(store, runs, model_table(store, runs)) == advice
    assert advice.best == table.loc[~table["baseline"], "logloss"].idxmin()
    if advice.best != "lr":
        for metric, gap in differences(store, runs, "lr", [advice.best])[advice.best].items():
            told = table.loc["lr"]
            assert gap.value == pytest.approx(told[f"{metric}_difference"])
            assert gap.low == pytest.approx(told[f"{metric}_low"], abs=2e-3)
    assert advice.against_baseline is not None
    assert advice.against_baseline.value == pytest.approx(
        table.loc["boosting", "logloss"] - table.loc[advice.use, "logloss"]
    )
    stopped = [replace(run, status="failed") if run.spec.model.name == "fm" else run for run in runs]
    partial = advise(store, stopped)
    assert partial is not None
    assert partial.left_out == ("fm",)
    assert "fm" not in {partial.use, partial.best, partial.simpler, *partial.tied}
    assert advise(store, [run for run in runs if run.spec.model.name in ("lr", "boosting")]) is None
